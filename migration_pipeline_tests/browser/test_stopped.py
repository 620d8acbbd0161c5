"""Runs that the page's backfill started and that end before their time, with the daemon running:
cancelled, or killed. Asked by GraphQL as the page asks; no browser is needed."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from migration_pipeline.archive.lease import this_process
from migration_pipeline.defs.liveness import TAG
from migration_pipeline.neptune_server import RunningServer, Store, running_server
from migration_pipeline.neptune_server.faults import Fault
from migration_pipeline_tests.browser.deployment import LOCATION, Deployment, deployed
from migration_pipeline_tests.distributed.conftest import fill
from migration_pipeline_tests.distributed.machines import QUIET

RUNS = 3
PROJECTS = ("team/one", "team/two", "team/killed")
REPOSITORY = {"repositoryName": "__repository__", "repositoryLocationName": LOCATION}
SOON = {
    "\nnux:": f"{QUIET}\nnux:",
    "run_monitoring:\n  enabled: true": "run_monitoring:\n  enabled: true\n"
    "  poll_interval_seconds: 1\n  cancel_timeout_seconds: 5",
    "default_limit: 2": "default_limit: 4",
    "free_slots_after_run_end_seconds: 60": "free_slots_after_run_end_seconds: 1",
}


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running_server(Store()) as running:
        for project in PROJECTS:
            fill(running.store, project, RUNS)
        yield running


@pytest.fixture(scope="module")
def dagster(
    server: RunningServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    variables = {"NEPTUNE_API_TOKEN": server.token, "MIGRATION_TARGETS": "dummy"}
    with deployed(tmp_path_factory.mktemp("stopped"), variables, SOON) as running:
        for project in PROJECTS:
            running.ask(
                """mutation($in: RepositorySelector!, $key: String!) {addDynamicPartition(
                    repositorySelector: $in, partitionsDefName: "neptune_projects",
                    partitionKey: $key) {... on AddDynamicPartitionSuccess {partitionKey}}}""",
                **{"in": REPOSITORY},
                key=project,
            )
        yield running


def launch(dagster: Deployment, *projects: str) -> str:
    """Starts a backfill of `migrate_project`; returns its id."""
    launched = dagster.ask(
        """mutation($p: LaunchBackfillParams!) {launchPartitionBackfill(backfillParams: $p) {
            ... on LaunchBackfillSuccess {backfillId} ... on PythonError {message}}}""",
        p={
            "selector": {
                "partitionSetName": "migrate_project_partition_set",
                "repositorySelector": REPOSITORY,
            },
            "partitionNames": list(projects),
        },
    )["launchPartitionBackfill"]
    return str(launched["backfillId"])


def runs_of(dagster: Deployment, backfill: str) -> list[dict[str, Any]]:
    """Status and tags by name of its runs, in the order of their partitions."""
    query = """query($t: [ExecutionTag!]) {runsOrError(filter: {tags: $t}) {... on Runs {
        results {runId status tags {key value}}}}}"""
    tag = {"key": "dagster/backfill", "value": backfill}
    found = dagster.ask(query, t=[tag])["runsOrError"]["results"]
    for run in found:
        run["tags"] = {one["key"]: one["value"] for one in run["tags"]}
    return sorted(found, key=lambda run: str(run["tags"]["dagster/partition"]))


def have_status(dagster: Deployment, backfill: str, *statuses: str) -> bool:
    return [run["status"] for run in runs_of(dagster, backfill)] == list(statuses)


def succeeded(dagster: Deployment, backfill: str) -> int:
    return [run["status"] for run in runs_of(dagster, backfill)].count("SUCCESS")


def slots_in_use(dagster: Deployment) -> int:
    query = "{instance {concurrencyLimits {activeSlotCount}}}"
    return sum(
        one["activeSlotCount"] for one in dagster.ask(query)["instance"]["concurrencyLimits"]
    )


def materialized(dagster: Deployment, *asset: str) -> int:
    query = """query($k: [AssetKeyInput!]) {assetNodes(assetKeys: $k) {
        partitionStats {numMaterialized}}}"""
    (node,) = dagster.ask(query, k=[{"path": asset}])["assetNodes"]
    return int(node["partitionStats"]["numMaterialized"])


def cancel(dagster: Deployment, backfill: str) -> None:
    """Where that was not done yet, or was lost: the daemon writes a backfill back as it has read
    it, and overwrites a cancellation that came in between."""
    if status_of(dagster, backfill) != "REQUESTED":
        return
    answer = dagster.ask(
        """mutation($id: String!) {cancelPartitionBackfill(backfillId: $id) {
            ... on CancelBackfillSuccess {backfillId} ... on PythonError {message}}}""",
        id=backfill,
    )
    assert answer["cancelPartitionBackfill"] == {"backfillId": backfill}


def status_of(dagster: Deployment, backfill: str) -> str:
    asked = "query($id: String!) {partitionBackfillOrError(backfillId: $id) "
    asked += "{... on PartitionBackfill {status}}}"
    return str(dagster.ask(asked, id=backfill)["partitionBackfillOrError"]["status"])


@pytest.mark.timeout(900)
def test_cancelled_and_killed_runs_free_their_slots_and_the_next_backfill_does_the_rest(
    dagster: Deployment, server: RunningServer
) -> None:
    """Both at once, for the daemon looks after backfills every 30 s only."""
    faults, held = server.faults, threading.Event()
    faults.add(Fault("series", hold=held))
    cancelled = launch(dagster, "team/one", "team/two")
    killed = launch(dagster, "team/killed")
    at_work = len(PROJECTS)
    dagster.wait("all at work", lambda: slots_in_use(dagster) == at_work)
    dagster.wait("their requests", lambda: faults.injected["hold"] >= at_work)
    (run,) = runs_of(dagster, killed)
    host, process, _ = run["tags"][TAG].split(" ")
    assert host == this_process().split(" ")[0]
    os.kill(int(process), signal.SIGKILL)
    dagster.wait("its failure", lambda: have_status(dagster, killed, "FAILURE"))

    def both_ended() -> bool:
        cancel(dagster, cancelled)
        return have_status(dagster, cancelled, "CANCELED", "CANCELED")

    dagster.wait("their end", both_ended)
    dagster.wait("the backfill's end", lambda: status_of(dagster, cancelled) == "CANCELED")
    dagster.wait("free slots", lambda: not slots_in_use(dagster))
    assert materialized(dagster, "neptune", "export") == 0
    assert materialized(dagster, "dummy", "load") == 0
    assert materialized(dagster, "neptune", "run") == 0
    assert not list((dagster.home / "exports" / "data").rglob("*_part_0.parquet"))

    faults.clear()
    held.set()
    again = launch(dagster, *PROJECTS)
    for count in range(1, at_work + 1):
        dagster.wait("the rest", lambda count=count: succeeded(dagster, again) >= count)
    assert materialized(dagster, "neptune", "export") == len(PROJECTS)
    assert materialized(dagster, "dummy", "run") == len(PROJECTS) * RUNS
