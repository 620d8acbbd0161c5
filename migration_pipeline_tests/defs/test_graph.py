"""The graph as people see it, held as a snapshot: keys, partitions, dependencies, checks, jobs."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any, get_args

import dagster as dg
from pydantic import SecretStr
from syrupy.assertion import SnapshotAssertion

from migration_pipeline import definitions
from migration_pipeline.sources.registry import source_names
from migration_pipeline.targets import registry
from migration_pipeline.targets.registry import config_class, target_names


def described(defs: dg.Definitions) -> dict[str, Any]:
    graph = defs.resolve_asset_graph()
    repository = defs.get_repository_def()
    return {
        "assets": {
            key.to_user_string(): {
                "depends on": sorted(
                    parent.to_user_string() for parent in graph.get(key).parent_keys
                ),
                "partitions": getattr(graph.get(key).partitions_def, "name", None),
                "executable": graph.get(key).is_executable,
                "group": graph.get(key).group_name,
                "kinds": sorted(graph.get(key).kinds),
                "owners": list(graph.get(key).owners),
                "has a description": bool(graph.get(key).description),
            }
            for key in sorted(graph.get_all_asset_keys())
        },
        "checks": {
            key.to_user_string(): {
                "blocking": graph.get(key).blocking,
                "partitions": getattr(graph.get(key).partitions_def, "name", None),
            }
            for key in sorted(graph.asset_check_keys, key=str)
        },
        "jobs": {
            job.name: {
                "steps": sorted(str(handle) for handle in job.graph.iterate_node_handles()),
                "resources": sorted(job.get_required_resource_defs()),
                "pools": sorted(pools_of(job)),
                "has a description": bool(job.description),
            }
            for job in sorted(repository.get_all_jobs(), key=lambda job: job.name)
            if not job.name.startswith("__")
        },
        "sensors": {s.name: s.default_status.value for s in repository.sensor_defs},
        "schedules": {
            s.name: f"{s.cron_schedule} {s.default_status.value}" for s in repository.schedule_defs
        },
    }


def pools_of(job: dg.JobDefinition) -> set[str]:
    nodes = (job.get_node(handle).definition for handle in job.graph.iterate_node_handles())
    return {node.pool for node in nodes if isinstance(node, dg.OpDefinition) and node.pool}


OTHERS = [name for name in target_names() if name != "neptune"]
"""Targets that are called as nothing else is."""
_TARGET = re.compile(rf"(?<![a-zA-Z])({'|'.join(OTHERS)})(?![a-zA-Z])")


def folded(value: Any) -> Any:
    """Every target as `<target>`: what is said of one must hold for all."""
    if isinstance(value, str):
        return _TARGET.sub("<target>", value)
    if isinstance(value, list):
        return sorted({folded(item) for item in value})
    if not isinstance(value, dict):
        return value
    found: dict[str, Any] = {}
    for key, item in value.items():
        of_all = found.setdefault(folded(key), folded(item))
        assert of_all == folded(item), key
    return found


def test_the_graph(snapshot: SnapshotAssertion) -> None:
    assert folded(described(definitions.definitions([]))) == snapshot(name="export only")
    for target in OTHERS:
        graph = described(definitions.definitions([target]))
        assert folded(graph) == snapshot(name="into a target")


def test_assets_of_the_target_neptune_are_not_those_of_the_export() -> None:
    one = described(definitions.definitions(["neptune"]))
    assert one["assets"]["neptune_target/load"]["depends on"] == ["neptune/export"]
    assert one["assets"]["neptune_target/run"]["depends on"] == [
        "neptune/run",
        "neptune_target/load",
    ]
    steps = one["jobs"]["migrate_project"]["steps"]
    assert {s for s in steps if "target" in s} == {
        "neptune_target__load",
        "neptune_target__load.plan_neptune",
        "neptune_target__load.neptune_chunk",
        "neptune_target__load.finish_neptune",
    }


def test_default_run_configs_are_valid_and_name_no_secret(snapshot: SnapshotAssertion) -> None:
    jobs = definitions.definitions(target_names()).get_repository_def().get_all_jobs()
    configs = {job.name: default_config_of(job) for job in jobs}
    for job in jobs:
        if configs[job.name]:
            assert dg.validate_run_config(job, configs[job.name])
    for config in filter(None, configs.values()):
        given = config.get("resources", {})
        for target in set(given) & set(target_names()):
            assert given.pop(target)["config"].keys() == fields_of(target)
    assert folded(configs) == snapshot


def fields_of(target: str) -> set[str]:
    """Of its resource: its settings, and of a secret the name of a variable in its place."""
    fields = config_class(target).model_fields
    secret = {n for n, f in fields.items() if SecretStr in (f.annotation, *get_args(f.annotation))}
    return {f"{n}_variable" if n in secret else n for n in fields}


def default_config_of(job: dg.JobDefinition) -> Any:
    """What the launchpad is filled with."""
    if job.partitioned_config:
        return job.partitioned_config.get_run_config_for_partition_key("ws/alpha")
    return job.run_config


def test_definitions_load_without_any_vendor() -> None:
    """Opening the page must not need the packages of targets, nor pay for those of sources.

    pluto-ml imports itself at every start of Python, before anything of ours.
    """
    vendors = ("neptune_query", "neptune", "wandb", "comet_ml", "matplotlib", "pandas")
    vendors += tuple(e.module for e in registry._TARGETS.values() if e.module != "pyarrow")
    code = (
        "import sys; before = set(sys.modules); import migration_pipeline.definitions\n"
        f"print([name for name in {vendors} if name in sys.modules and name not in before])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
    assert out.stderr == ""


def test_every_registered_name_is_usable() -> None:
    assert set(source_names()) >= {"neptune2", "neptune3"}
    assert set(target_names()) >= {"mlflow"}
