"""`dagster dev` as a newcomer starts it, and what tests ask of it beside its pages."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import migration_pipeline
from migration_pipeline_tests.targets.stores import free_port

ROOT = Path(migration_pipeline.__file__).parents[1]
LOCATION = "migration_pipeline.definitions"
PATIENCE = 240.0
"""Seconds until something that the page or the daemon must do is given up."""


@dataclass
class Deployment:
    """A running `dagster dev`.

    Args:
        url: of its page.
        home: DAGSTER_HOME, and the folder that it works in.
    """

    url: str
    home: Path
    process: subprocess.Popen[bytes]

    def job(self, name: str) -> str:
        """The address of a job's page."""
        return f"{self.url}/locations/{LOCATION}/jobs/{name}"

    def ask(self, query: str, **variables: Any) -> Any:
        """What GraphQL answers."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(
            f"{self.url}/graphql", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            found = json.load(answer)
        assert "errors" not in found, found
        return found["data"]

    def wait(self, what: str, found: Any) -> Any:
        """Calls until it gives something true: neither daemon nor launched runs tell anyone."""
        until = time.monotonic() + PATIENCE
        while not (result := found()):
            assert self.process.poll() is None, self.log()
            assert time.monotonic() < until, f"{what} did not come\n{self.log()}"
            time.sleep(0.2)
        return result

    def log(self) -> str:
        return (self.home / "dev.log").read_text(errors="replace")[-5000:]

    def partitions_of(self, *asset: str) -> list[str]:
        query = "query($k: [AssetKeyInput!]) {assetNodes(assetKeys: $k) {partitionKeys}}"
        return list(self.ask(query, k=[{"path": asset}])["assetNodes"][0]["partitionKeys"])

    def runs_of(self, job: str) -> list[DagsterRun]:
        """The newest first."""
        query = """query($job: String!) {runsOrError(filter: {pipelineName: $job}) {... on Runs {
            results {runId status tags {key value}}}}}"""
        return [
            DagsterRun(
                run["runId"],
                run["status"],
                {tag["key"]: tag["value"] for tag in run["tags"]}.get("dagster/partition", ""),
            )
            for run in self.ask(query, job=job)["runsOrError"]["results"]
        ]

    def ended(self, job: str, count: int, failed: Sequence[str] = ()) -> list[DagsterRun]:
        """So many runs of a job, once all have ended, those of `failed` partitions by failing.

        Any other failure is one of the test.
        """
        runs = self.runs_of(job)
        bad = [run.partition for run in runs if run.status == "FAILURE"]
        assert set(bad) <= set(failed), (bad, self.log())
        done = [run for run in runs if run.status in ("SUCCESS", "FAILURE")]
        return runs if len(done) == len(runs) == count else []

    def backfills_ended(self) -> bool:
        """The daemon notes that some time after the last of their runs has ended."""
        query = "{partitionBackfillsOrError {... on PartitionBackfills {results {status}}}}"
        found = self.ask(query)["partitionBackfillsOrError"]["results"]
        return bool(found) and all(one["status"].startswith("COMPLETED") for one in found)

    def events(self, run: str) -> list[dict[str, Any]]:
        """Of a Dagster run: type, step and, of a materialization, asset and partition."""
        query = """query($id: ID!) {logsForRun(runId: $id) {... on EventConnection {events {
            __typename ... on MessageEvent {stepKey}
            ... on MaterializationEvent {partition assetKey {path}}}}}}"""
        return list(self.ask(query, id=run)["logsForRun"]["events"])


@dataclass(frozen=True)
class DagsterRun:
    """A run of a job as GraphQL tells of it."""

    id: str
    status: str
    partition: str


@contextmanager
def deployed(
    home: Path, variables: Mapping[str, str], settings: Mapping[str, str] = MappingProxyType({})
) -> Iterator[Deployment]:
    """Starts `dagster dev` with the repository's `dagster.yaml`.

    Args:
        home: a folder that is there.
        variables: of its environment, which has nothing else of ours.
        settings: what stands in that file → what shall stand there instead.
    """
    yaml = (ROOT / "dagster.yaml").read_text()
    for old, new in settings.items():
        assert yaml.count(old) == 1, old
        yaml = yaml.replace(old, new)
    (home / "dagster.yaml").write_text(yaml)
    port = free_port()
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    command = [sys.executable, "-m", "dagster", "dev", "-m", LOCATION]
    with (home / "dev.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)],
            cwd=home,
            env={
                **kept,
                "PYTHONPATH": str(ROOT),
                "DAGSTER_HOME": str(home),
                # A run that cannot be started within its 60 s fails, on a machine with much to do.
                "DAGSTER_GRPC_TIMEOUT_SECONDS": str(int(PATIENCE)),
                **variables,
            },
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        found = Deployment(f"http://127.0.0.1:{port}", home, process)
        try:
            found.wait("the page", lambda: _answers(found))
            yield found
        finally:
            _end(process)


def _answers(deployment: Deployment) -> bool:
    """The page is there, and the code location behind it."""
    query = "{repositoriesOrError {... on RepositoryConnection {nodes {name}}}}"
    with suppress(OSError):
        return bool(deployment.ask(query)["repositoriesOrError"].get("nodes"))
    return False


def _end(process: subprocess.Popen[bytes]) -> None:
    """As Ctrl-C does; then whatever of its session is left."""
    process.send_signal(signal.SIGINT)
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=30)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
