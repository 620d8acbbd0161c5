"""Whoever opens the page finds words for all that is there, and whom to ask."""

from __future__ import annotations

import dagster as dg

from migration_pipeline import definitions
from migration_pipeline.defs import records
from migration_pipeline.defs.adopt import AdoptConfig
from migration_pipeline.defs.config import ExportConfig
from migration_pipeline.defs.doctor import CheckConfig, DoctorConfig
from migration_pipeline.defs.jobs import MigrateConfig
from migration_pipeline.defs.load import LoadConfig
from migration_pipeline.defs.plan import PlanConfig
from migration_pipeline.defs.resources import ArchiveResource, SourceResource, target_resource
from migration_pipeline.defs.summary import SummaryConfig
from migration_pipeline.targets.registry import target_names

DEFINITIONS = definitions.definitions(target_names())
REPOSITORY = DEFINITIONS.get_repository_def()
JOBS = [job for job in REPOSITORY.get_all_jobs() if not job.name.startswith("__")]


def test_every_asset_is_described_and_owned() -> None:
    graph = DEFINITIONS.resolve_asset_graph()
    keys = graph.get_all_asset_keys()
    assert len(keys) == 4 + 2 * len(target_names())
    for key in keys:
        node = graph.get(key)
        assert node.description, key
        assert node.owners, key
        assert "neptune" in node.kinds, key
        assert node.group_name != "default", key
    for check in graph.asset_check_keys:
        assert graph.get(check).description, check


def test_every_target_is_a_kind_of_its_assets() -> None:
    graph = DEFINITIONS.resolve_asset_graph()
    for target in target_names():
        for name in ("load", "run"):
            assert target in graph.get(dg.AssetKey([records.folder(target), name])).kinds


def test_every_job_sensor_and_schedule_is_described_and_owned() -> None:
    assert len(JOBS) >= 7
    for one in (*JOBS, *REPOSITORY.sensor_defs, *REPOSITORY.schedule_defs):
        assert one.description, one.name
        assert one.owners, one.name


def test_every_step_is_described() -> None:
    for job in JOBS:
        for handle in job.graph.iterate_node_handles():
            node = job.get_node(handle).definition
            # Dagster makes the step of a check, and has the words at the check itself.
            assert node.description or node.name.endswith("_not_damaged"), handle


def test_every_resource_and_each_of_its_fields_is_described() -> None:
    resources = REPOSITORY.get_top_level_resources()
    assert set(resources) == {"archive", "source", *target_names()}
    for name, resource in resources.items():
        assert resource.description, name
    for model in (
        ArchiveResource,
        SourceResource,
        *(type(target_resource(n)) for n in target_names()),
    ):
        described(model)


def test_every_setting_of_the_launchpad_is_described() -> None:
    for model in (
        AdoptConfig,
        CheckConfig,
        DoctorConfig,
        ExportConfig,
        LoadConfig,
        MigrateConfig,
        PlanConfig,
        SummaryConfig,
    ):
        described(model)


def described(model: type[dg.Config]) -> None:
    for name, field in model.model_fields.items():
        assert field.description, f"{model.__name__}.{name}"
