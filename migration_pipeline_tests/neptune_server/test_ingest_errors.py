"""What ingestion refuses, by operations made by hand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from neptune_query.generated.neptune_api.proto.neptune_pb.ingest.v1.common_pb2 import (
    Run as CreateRun,
)
from neptune_query.generated.neptune_api.proto.neptune_pb.ingest.v1.common_pb2 import (
    UpdateRunSnapshot,
    UpdateRunSnapshots,
)
from neptune_query.generated.neptune_api.proto.neptune_pb.ingest.v1.ingest_pb2 import IngestCode
from neptune_query.generated.neptune_api.proto.neptune_pb.ingest.v1.pub.client_pb2 import (
    BulkRequestStatus,
    RequestId,
    RequestIdList,
    SubmitResponse,
)
from neptune_query.generated.neptune_api.proto.neptune_pb.ingest.v1.pub.ingest_pb2 import (
    RunOperation,
)

from migration_pipeline.neptune_server import RunningServer, Store, running_server

from .conftest import PROJECT, Api


class Writer:
    """Sends operations and tells what became of them."""

    def __init__(self, server: RunningServer) -> None:
        self.http = Api(server).http
        self.store = server.store

    def submit(self, operation: RunOperation) -> dict[str, int]:
        """Counts by the name of the IngestCode."""
        answer = self.http.post("/api/client/v1/ingest", content=operation.SerializeToString())
        (request_id,) = SubmitResponse.FromString(answer.content).request_ids
        asked = RequestIdList(ids=[RequestId(value=request_id)])
        checked = self.http.post(
            "/api/client/v1/ingest/check",
            params={"projectIdentifier": PROJECT},
            content=asked.SerializeToString(),
        )
        (status,) = BulkRequestStatus.FromString(checked.content).statuses
        return {IngestCode.Name(one.detail): one.count for one in status.code_by_count}

    def create(self, run_id: str, project: str = PROJECT, **settings: Any) -> dict[str, int]:
        return self.submit(
            RunOperation(project=project, run_id=run_id, create=CreateRun(**settings))
        )

    def update(self, *snapshots: UpdateRunSnapshot, run_id: str = "run") -> dict[str, int]:
        batch = UpdateRunSnapshots(snapshots=snapshots)
        return self.submit(RunOperation(project=PROJECT, run_id=run_id, update_batch=batch))


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running_server(Store(create_missing_projects=False)) as server:
        yield server


@pytest.fixture
def writer(server: RunningServer) -> Writer:
    server.store.projects.clear()
    server.store.project(PROJECT)
    writer = Writer(server)
    assert writer.create("run") == {"OK": 1}
    return writer


def point(
    path: str, step: float | None, value: float | str, seconds: int = 1, preview: bool = False
) -> UpdateRunSnapshot:
    snapshot = UpdateRunSnapshot()
    if step is not None:
        snapshot.step.whole, snapshot.step.micro = int(step), round(step % 1 * 10**6)
    snapshot.timestamp.seconds = seconds
    if isinstance(value, str):
        snapshot.append[path].string = value
    else:
        snapshot.append[path].float64 = value
    if preview:
        snapshot.preview.is_preview = True
    return snapshot


def test_creating(writer: Writer) -> None:
    assert writer.create("run") == {"RUN_DUPLICATE": 1}
    fork = {"fork_point": {"parent_run_id": "run", "step": {"whole": 2}}}
    assert writer.create("run", **fork) == {"RUN_CONFLICTING": 1}
    assert writer.create("fork", **fork) == {"OK": 1}
    assert writer.create("fork", **fork) == {"RUN_DUPLICATE": 1}
    orphan = {"fork_point": {"parent_run_id": "nobody", "step": {"whole": 2}}}
    assert writer.create("orphan", **orphan) == {"RUN_FORK_PARENT_NOT_FOUND": 1}
    assert writer.create("a/b") == {"RUN_INVALID_CREATION_PARAMETERS": 1}
    assert writer.create("run", project="acme/unknown") == {"PROJECT_NOT_FOUND": 1}
    assert [run.run_id for run in writer.store.project(PROJECT)] == ["run", "fork", "orphan"]


@pytest.mark.parametrize("value", [1.0, "text", float("nan")])
def test_steps_increase(writer: Writer, value: float | str) -> None:
    assert writer.update(point("s", 1, value), point("s", 2.5, value)) == {"OK": 1}
    assert writer.update(point("s", 2.5, value)) == {"SERIES_POINT_DUPLICATE": 1}
    other = "other" if isinstance(value, str) else 5.0
    assert writer.update(point("s", 2.5, other)) == {"SERIES_STEP_NON_INCREASING": 1}
    assert writer.update(point("s", 2, value)) == {"SERIES_STEP_NON_INCREASING": 1}
    assert writer.update(point("s", 3, value, seconds=0)) == {"SERIES_TIMESTAMP_DECREASING": 1}
    assert writer.update(point("s", 1e12, value)) == {"SERIES_STEP_TOO_LARGE": 1}
    assert writer.update(point("s", None, value)) == {"OK": 1}
    series = writer.store.project(PROJECT).runs["VISIO-1"].attributes["s"].value
    assert list(series.steps) == [1, 2.5, 3.5]


def test_previews_give_way(writer: Writer) -> None:
    assert writer.update(point("s", 1, 1.0), point("s", 5, 9.0, preview=True)) == {"OK": 1}
    late = "SERIES_PREVIEW_STEP_NOT_AFTER_LAST_COMMITTED_STEP"
    assert writer.update(point("s", 1, 9.0, preview=True)) == {late: 1}
    series = writer.store.project(PROJECT).runs["VISIO-1"].float_series("s")
    assert list(series.previews) == [5]
    assert writer.update(point("s", 5, 1.0)) == {"OK": 1}
    assert series.previews == {}


def test_a_fork_writes_from_its_fork_step_on(writer: Writer) -> None:
    writer.create("fork", fork_point={"parent_run_id": "run", "step": {"whole": 2}})
    early = writer.update(point("s", 1, 1.0), run_id="fork")
    assert early == {"SERIES_STEP_NOT_AFTER_FORK_POINT": 1}
    assert writer.update(point("s", 2, 1.0), run_id="fork") == {"OK": 1}


def test_paths_and_types(writer: Writer) -> None:
    snapshot = UpdateRunSnapshot()
    for path in ("", "ä" * 513, "sys/id", "sys/forking/depth", "sys/description", "n"):
        snapshot.assign[path].string = "x"
    assert writer.update(snapshot) == {
        "FIELD_PATH_EMPTY": 1,
        "FIELD_PATH_EXCEEDS_SIZE_LIMIT": 1,
        "FIELD_PATH_NON_WRITABLE": 2,
    }
    conflicting = UpdateRunSnapshot()
    conflicting.assign["n"].int64 = 1
    conflicting.append["sys/description"].float64 = 1
    conflicting.modify_sets["n"].string.values["a"] = 1
    assert writer.update(conflicting) == {"FIELD_TYPE_CONFLICTING": 3}
    long = UpdateRunSnapshot()
    long.assign["long"].string = "x" * (2**20 + 1)
    assert writer.update(long) == {"STRING_VALUE_EXCEEDS_SIZE_LIMIT": 1}
    assert writer.update(long, run_id="nobody") == {"RUN_NOT_FOUND": 1}


@pytest.mark.parametrize(
    ("edges", "counts", "code"),
    [
        ([0, float("nan")], [1], "HISTOGRAM_BIN_EDGES_CONTAINS_NAN"),
        ([0, 1, 1], [1, 2], "HISTOGRAM_BIN_EDGES_NOT_INCREASING"),
        ([0, 1], [1, 2], "HISTOGRAM_VALUES_LENGTH_DOESNT_MATCH_BINS"),
        (list(range(514)), [1] * 513, "HISTOGRAM_TOO_MANY_BINS"),
        (list(range(513)), [1] * 512, "OK"),
    ],
)
def test_histograms(writer: Writer, edges: list[float], counts: list[int], code: str) -> None:
    snapshot = UpdateRunSnapshot()
    snapshot.append["h"].histogram.bin_edges.extend(edges)
    snapshot.append["h"].histogram.counts.values.extend(counts)
    assert writer.update(snapshot) == {code: 1}


def test_every_change_moves_the_modification_time(writer: Writer) -> None:
    run = writer.store.project(PROJECT).runs["VISIO-1"]
    seen = [run.attributes["sys/modification_time"].value]
    for step in range(5):
        writer.update(point("s", step, 1.0))
        seen.append(run.attributes["sys/modification_time"].value)
    assert seen == sorted(set(seen))
