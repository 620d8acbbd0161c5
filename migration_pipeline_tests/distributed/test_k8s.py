"""The example of values for Kubernetes: what Dagster's own code for it makes of them. There is no
cluster, and the chart's templates, which turn values into this configuration, are not here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from dagster._config import process_config, resolve_to_config_type
from dagster._core.run_coordinator import QueuedRunCoordinator
from dagster_k8s import K8sRunLauncher
from dagster_k8s.container_context import K8sContainerContext
from dagster_k8s.job import DagsterK8sJobConfig, construct_dagster_k8s_job

from migration_pipeline import deploy

VALUES = yaml.safe_load((Path(deploy.__file__).parent / "k8s-values.yaml").read_text())


def snaked(values: Mapping[str, Any]) -> dict[str, Any]:
    """As the chart writes names into `dagster.yaml`."""
    return {re.sub("[A-Z]", lambda c: f"_{c[0].lower()}", k): v for k, v in values.items()}


def errors(schema: Any, config: Mapping[str, Any]) -> list[str]:
    found = process_config(resolve_to_config_type(schema), config)
    return [error.message for error in found.errors or []]


def test_launcher_and_queue_take_them() -> None:
    assert VALUES["runLauncher"]["type"] == K8sRunLauncher.__name__
    of_chart = {
        "service_account_name": "dagster",
        "instance_config_map": "dagster-instance",
        "dagster_home": "/opt/dagster/dagster_home",
    }
    given = VALUES["runLauncher"]["config"]["k8sRunLauncher"]
    run = {"run_k8s_config": snaked(given["runK8sConfig"])}
    assert errors(K8sRunLauncher.config_type(), {**of_chart, **run}) == []
    assert errors(K8sRunLauncher.config_type(), {**of_chart, "run_k8s_confg": {}}) != []

    coordinator = VALUES["dagsterDaemon"]["runCoordinator"]
    assert coordinator["type"] == QueuedRunCoordinator.__name__
    queue = snaked(coordinator["config"]["queuedRunCoordinator"])
    assert errors(QueuedRunCoordinator.config_type(), queue) == []


def test_a_run_becomes_a_job_that_sees_archive_and_token() -> None:
    (deployment,) = VALUES["dagster-user-deployments"]["deployments"]
    assert deployment["includeConfigInLaunchedRuns"] == {"enabled": True}
    included = {
        "image_pull_policy": deployment["image"]["pullPolicy"],
        "env": deployment["env"],
        "env_secrets": [secret["name"] for secret in deployment["envSecrets"]],
        "volumes": deployment["volumes"],
        "volume_mounts": deployment["volumeMounts"],
        "run_k8s_config": snaked(VALUES["runLauncher"]["config"]["k8sRunLauncher"]["runK8sConfig"]),
    }
    made = construct_dagster_k8s_job(
        DagsterK8sJobConfig(job_image="{repository}:{tag}".format(**deployment["image"])),
        args=["dagster", "api", "execute_run"],
        job_name="run",
        user_defined_k8s_config=K8sContainerContext.create_from_config(
            {"k8s": included}
        ).run_k8s_config,
    )
    pod = made.to_dict()["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["image"] == "registry.example.org/migration-pipeline:0.1.0"
    variables = {one["name"]: one["value"] for one in container["env"]}
    mounted = {one["name"]: one["mount_path"] for one in container["volume_mounts"]}
    claims = {one["name"]: one["persistent_volume_claim"]["claim_name"] for one in pod["volumes"]}
    assert mounted.keys() == claims.keys() == {"archive"}
    for name in ("MIGRATION_DATA_PATH", "MIGRATION_FILES_PATH"):
        assert variables[name].startswith(mounted["archive"] + "/")
    assert [one["secret_ref"]["name"] for one in container["env_from"]] == ["neptune-api-token"]
    assert container["resources"]["limits"] == {"memory": "4Gi"}
    assert container["resources"]["requests"] == {"cpu": "1", "memory": "2Gi"}
