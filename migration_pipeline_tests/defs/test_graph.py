"""The graph as people see it, held as a snapshot: keys, partitions, dependencies, checks, jobs."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import dagster as dg
import pytest
from syrupy.assertion import SnapshotAssertion

from migration_pipeline import definitions
from migration_pipeline.sources.registry import source_names
from migration_pipeline.targets.registry import target_names


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


@pytest.mark.parametrize("targets", [[], ["mlflow"]], ids=["export only", "into mlflow"])
def test_the_graph(targets: list[str], snapshot: SnapshotAssertion) -> None:
    assert described(definitions.definitions(targets)) == snapshot


def test_default_run_configs_are_valid_and_name_no_secret(snapshot: SnapshotAssertion) -> None:
    jobs = definitions.definitions(target_names()).get_repository_def().get_all_jobs()
    configs = {job.name: default_config_of(job) for job in jobs}
    for job in jobs:
        if configs[job.name]:
            assert dg.validate_run_config(job, configs[job.name])
    assert configs == snapshot


def default_config_of(job: dg.JobDefinition) -> Any:
    """What the launchpad is filled with."""
    if job.partitioned_config:
        return job.partitioned_config.get_run_config_for_partition_key("ws/alpha")
    return job.run_config


def test_definitions_load_without_any_vendor() -> None:
    """Opening the page must not need the packages of targets, nor pay for those of sources."""
    vendors = ("mlflow", "neptune_query", "neptune", "wandb", "comet_ml", "matplotlib", "pandas")
    code = (
        "import sys, migration_pipeline.definitions\n"
        f"print([name for name in {vendors} if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
    assert out.stderr == ""


def test_every_registered_name_is_usable() -> None:
    assert set(source_names()) >= {"neptune2", "neptune3"}
    assert set(target_names()) >= {"mlflow"}
