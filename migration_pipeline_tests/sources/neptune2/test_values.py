"""Every 2.x type arrives with its exact value, from a table and from the object itself."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Iterator
from math import inf, nan
from pathlib import Path
from typing import Any

import pytest

from migration_pipeline.archive.archive import RunKey
from migration_pipeline.errors import IncompleteAnswerError, UnreadableRunError
from migration_pipeline.neptune_server.faults import Fault
from migration_pipeline.neptune_server.neptune2 import creation
from migration_pipeline.neptune_server.running import RunningServer
from migration_pipeline.neptune_server.store import Attribute, Project, Run
from migration_pipeline.sources.neptune2 import attributes
from migration_pipeline.sources.source import Selection
from migration_pipeline_tests.archive.making import Row, read_rows
from migration_pipeline_tests.neptune_server.neptune2.clients import QUIET
from migration_pipeline_tests.over_http import over_http
from migration_pipeline_tests.sources.protocols import NEPTUNE2
from migration_pipeline_tests.sources.serving import (
    NOON,
    PROJECT,
    Exported,
    add_points,
    long_ago,
    points_of,
)

RUNS = Selection(kinds=("run",))


@pytest.fixture(params=["table", "itself"])
def run(request: pytest.FixtureRequest, project: Project) -> Iterator[Run]:
    """`TAB-1`: so old that it is read from a table, or so new that it is asked for by itself."""
    if request.param == "itself":
        yield creation.create_run(project)
    else:
        with long_ago(project.store):
            yield creation.create_run(project)


def asked_by_itself(server: RunningServer) -> bool:
    return "GET /api/leaderboard/v1/attributes" in server.requests


SCALARS: dict[str, tuple[str, Any]] = {
    "int/odd": ("int", 2**53 + 1),
    "int/most": ("int", 2**63 - 1),
    "int/least": ("int", -(2**63)),
    "float/tiny": ("float", 5e-324),
    "float/inf": ("float", inf),
    "float/-inf": ("float", -inf),
    "float/third": ("float", 1 / 3),
    "float/whole": ("float", 3.0),
    "string/empty": ("string", ""),
    "string/odd": ("string", "ü実\r\n\0\t\\\"'"),
    "string/long": ("string", "x" * 16_384),
    "bool/true": ("bool", True),
    "bool/false": ("bool", False),
    "at/now": ("datetime", 1_700_000_000_123),
    "at/zero": ("datetime", 0),
    "at/before": ("datetime", -1),
    "at/long before": ("datetime", -30_610_224_000_001),
    "at/late": ("datetime", 253_402_300_799_999),
    "set/ordered": ("string_set", ("b", "a", "ü", "")),
    "set/empty": ("string_set", ()),
    "a.b": ("string", "dot"),
    "a_b": ("string", "underscore"),
    "a b|c & d!": ("string", "operators"),
    "`x` (y)": ("string", "quotes"),
    "parameters/lr": ("float", 0.1),
    "properties/lr": ("string", "0.1"),
    "artifacts/dir/text file": ("string", "as clients of the older API call them"),
    "x" * 1024: ("int", 1024),
}


def test_every_single_value(exported: Exported, run: Run) -> None:
    for path, (type_, value) in SCALARS.items():
        run.set(path, type_, value)
    exported.export_all(RUNS)
    expected = {p: list(v) if t == "string_set" else v for p, (t, v) in SCALARS.items()}
    assert exported.values("TAB-1") == expected
    assert {r["path"]: r["type"] for r in exported.rows("TAB-1")} == {
        path: type_ for path, (type_, _) in SCALARS.items()
    }
    assert exported.manifest("TAB-1").notes == []
    assert exported.manifest("TAB-1").sys_id == "TAB-1"
    fresh = time.time() * 1000 - run.attributes["sys/modification_time"].value < 60_000
    assert asked_by_itself(exported.server) == fresh


def test_what_neptune_itself_says_of_a_run(exported: Exported, run: Run) -> None:
    exported.export_all(RUNS)
    found = {r["path"]: (r["type"], r["value"]) for r in system_rows(exported)}
    assert found == {
        "sys/id": ("string", "TAB-1"),
        "sys/state": ("string", "idle"),
        "sys/owner": ("string", "owner"),
        "sys/failed": ("bool", False),
        "sys/trashed": ("bool", False),
        "sys/tags": ("string_set", []),
        "sys/group_tags": ("string_set", []),
        "sys/size": ("float", 0.0),
        "sys/running_time": ("float", 0.0),
        "sys/monitoring_time": ("int", 0),
        **{
            f"sys/{name}_time": ("datetime", run.attributes[f"sys/{name}_time"].value)
            for name in ("creation", "modification", "ping")
        },
    }


def system_rows(exported: Exported) -> list[Row]:
    return read_rows(exported.archive, RunKey(PROJECT, "TAB-1"))


GIT = {
    "commit": {
        "commitId": "f00",
        "message": "größer",
        "authorName": "Ada",
        "authorEmail": "ada@example.com",
        "commitDate": "2024-01-01T00:00:00.000Z",
    },
    "repositoryDirty": True,
    "currentBranch": "main",
    "remotes": ["https://example.com/net.git"],
}
NOTEBOOK = {"notebookId": "n", "notebookName": "a.ipynb", "checkpointId": None}


def test_references_are_text(exported: Exported, run: Run) -> None:
    run.set("source_code/git", "git_ref", GIT)
    run.set("source_code/notebook", "notebook_ref", NOTEBOOK)
    run.set("sys/state", "run_state", "running")
    exported.export_all(RUNS)
    values = exported.values("TAB-1")
    assert values["source_code/git"] == (
        '{"commit":{"authorEmail":"ada@example.com","authorName":"Ada",'
        '"commitDate":"2024-01-01T00:00:00.000Z","commitId":"f00","message":"größer"},'
        '"currentBranch":"main","remotes":["https://example.com/net.git"],"repositoryDirty":true}'
    )
    assert json.loads(values["source_code/notebook"]) == NOTEBOOK
    (state,) = [r for r in system_rows(exported) if r["path"] == "sys/state"]
    assert (state["type"], state["value"]) == ("string", "running")


def test_nan_and_minus_zero_keep_their_bits(exported: Exported, run: Run) -> None:
    run.set("nan", "float", nan)
    run.set("zero", "float", -0.0)
    add_points(run, "words", [0.0, 1.0, 2.0, 3.0], [nan, -0.0, inf, -inf])
    add_points(run, "numbers", [0.0, 1.0], [-0.0, 0.0])
    exported.export_all(RUNS)
    values = exported.values("TAB-1")
    assert [str(values[p]) for p in ("nan", "zero")] == ["nan", "-0.0"]
    words = exported.series("TAB-1", "words")
    assert [str(v) for _, _, v in words] == ["nan", "-0.0", "inf", "-inf"]
    assert [str(v) for _, _, v in exported.series("TAB-1", "numbers")] == ["-0.0", "0.0"]


@pytest.mark.parametrize(
    ("spoken", "meant"),
    [
        ("NaN", "nan"),
        ("PosInf", "inf"),
        ("NegInf", "-inf"),
        ("NegZero", "-0.0"),
        ("Infinity", "inf"),
        ("-Infinity", "-inf"),
        (1, "1.0"),
        (None, "None"),
    ],
)
def test_words_for_numbers(exported: Exported, run: Run, spoken: object, meant: str) -> None:
    """As minfx's servers say them, and as `float` reads them; a point without a value is none."""
    assert str(attributes.number(spoken)) == meant
    add_points(run, "loss", [0.0, 1.0])
    points = [{"step": s, "timestampMillis": NOON, "value": v} for s, v in ((0, spoken), (1, 2.5))]
    page = json.dumps({"totalItemCount": 2, "values": points}).encode()
    exported.server.faults.add(Fault("series/float", status=200, content=page))
    exported.export_all(RUNS)
    expected = [] if spoken is None else [(0, NOON, meant)]
    found = [(s, t, str(v)) for s, t, v in exported.series("TAB-1", "loss")]
    assert found == [*expected, (10**6, NOON, "2.5")]


@pytest.mark.parametrize("value", [0.1, 1 / 3, 5e-324, -1.7976931348623157e308, 2**53 + 2.0])
def test_points_are_equal_in_every_bit(exported: Exported, run: Run, value: float) -> None:
    add_points(run, "loss", [0.0, 0.5], [value, -value])
    exported.export_all(RUNS)
    bits = [struct.pack("<d", v) for _, _, v in exported.series("TAB-1", "loss")]
    assert bits == [struct.pack("<d", v) for v in (value, -value)]


STEPS = [0.0, 0.000001, 0.29, 1.0, 1.005, 4_503_599_627.370497, 9e9, 9e9 + 0.5, 999_999_999_999.0]


def test_steps_are_exact_in_every_kind_of_series(exported: Exported, run: Run) -> None:
    add_points(run, "floats", STEPS)
    run.extend_series("strings", "string_series", [(s, NOON, f"{s}") for s in STEPS])
    exported.export_all(RUNS)
    expected = [
        *(0, 1, 290_000, 1_000_000, 1_005_000, 4_503_599_627_370_497),
        *(9 * 10**15, 9 * 10**15 + 500_000, 999_999_999_999 * 10**6),
    ]
    for path in ("floats", "strings"):
        assert [step for step, _, _ in exported.series("TAB-1", path)] == expected, path
    assert [v for _, _, v in exported.series("TAB-1", "strings")] == [f"{s}" for s in STEPS]


@pytest.mark.parametrize("at", [0, 1, NOON, -1, -(10**12), 253_402_300_799_999])
def test_times_of_points(exported: Exported, run: Run, at: int) -> None:
    run.extend_float_series("loss", [0.0, 1.0], [at, NOON], [1.0, 2.0])
    run.extend_series("log", "string_series", [(0.0, at, "x")])
    exported.export_all(RUNS)
    assert exported.series("TAB-1", "loss") == [(0, at, 1.0), (10**6, NOON, 2.0)]
    assert exported.series("TAB-1", "log") == [(0, at, "x")]


def test_text_of_every_kind(exported: Exported, run: Run) -> None:
    texts = ["", "line\n", "ü実\0", "y" * 1_000]
    run.extend_series("log", "string_series", [(i, NOON + i, t) for i, t in enumerate(texts)])
    exported.export_all(RUNS)
    assert [v for _, _, v in exported.series("TAB-1", "log")] == texts


def test_series_without_points_are_noted(exported: Exported, run: Run) -> None:
    add_points(run, "loss", [])
    run.object_series("log", "string_series")
    exported.export_all(RUNS)
    assert exported.rows("TAB-1") == []
    assert exported.manifest("TAB-1").notes == ["2 series have no points: log; loss"]


def test_types_that_are_not_known_are_noted(exported: Exported, run: Run) -> None:
    """The fork minfx has series of HTML and of files, each a type of its own."""
    page = run.set_file("page", b"<p>", "p.html", "text/html")
    run.extend_series("pages", "file_series", [(0.0, NOON, page)])
    exported.export_all(RUNS)
    assert exported.values("TAB-1") == {"page": b"<p>"}
    assert exported.manifest("TAB-1").notes == [
        "attributes of types that this version does not know are left out: pages (htmlSeries)"
    ]


def test_one_name_with_two_types_in_two_runs(exported: Exported, project: Project) -> None:
    with long_ago(project.store):
        creation.create_run(project).set("mixed", "int", 2**60 + 7)
        creation.create_run(project).set("mixed", "string", "7")
        add_points(creation.create_run(project), "mixed", [7.0])
    exported.export_all(RUNS)
    assert not asked_by_itself(exported.server)
    assert exported.values("TAB-1") == {"mixed": 2**60 + 7}
    assert exported.values("TAB-2") == {"mixed": "7"}
    assert exported.series("TAB-3", "mixed") == points_of([7.0])


def test_an_attribute_that_cannot_be_read_fails_its_run_by_name(
    exported: Exported, project: Project
) -> None:
    with long_ago(project.store):
        for i in range(3):
            creation.create_run(project).set("n", "int", i)
    table: dict[str, Any] = {"matchingItemCount": 3, "entries": []}
    for id_, run in project.runs.items():
        number: dict[str, Any] = {"name": "n", "type": "int", "intProperties": {"value": 1}}
        if id_ == "TAB-2":
            del number["intProperties"]
        entry = {"experimentId": run.uuid, "shortId": id_, "attributes": [number]}
        table["entries"].append(entry)
    content = json.dumps(table).encode()
    exported.server.faults.add(NEPTUNE2.fault_of_values(status=200, content=content))
    exported.export(RUNS)
    assert exported.runs == {"TAB-1", "TAB-3"}
    error = exported.failed["TAB-2"]
    assert isinstance(error, IncompleteAnswerError)
    assert "TAB-2" in str(error)
    assert "intProperties" in str(error)


HALF = "half of a pair: \ud83d"
"""JSON can say it, escaped; Unicode cannot."""


@pytest.mark.parametrize("where", ["attribute", "series", "artifact"])
def test_what_nobody_has_thought_of_fails_its_run_by_name(
    exported: Exported, project: Project, caplog: pytest.LogCaptureFixture, where: str
) -> None:
    with long_ago(project.store):
        bad, good = creation.create_run(project), creation.create_run(project)
    text = {"name": "text", "type": "string", "stringProperties": {"value": HALF}}
    log = {"name": "log", "type": "stringSeries", "stringSeriesProperties": {}}
    data = {"name": "data", "type": "artifact", "artifactProperties": {"hash": "h"}}
    number = {"name": "n", "type": "int", "intProperties": {"value": 1}}
    attribute = {"attribute": text, "series": log, "artifact": data}[where]
    entries = [
        {"experimentId": run.uuid, "shortId": run.sys_id, "attributes": [one]}
        for run, one in ((bad, attribute), (good, number))
    ]
    table = {"matchingItemCount": 2, "entries": entries}
    points = {"totalItemCount": 1, "values": [{"step": 0, "timestampMillis": 1, "value": HALF}]}
    unheard = {"filePath": "f", "fileHash": "h", "type": "Local", "size": 4, "metadata": 7}
    for path, content in (
        ("series/string", points),
        ("artifact/files", {"files": [unheard]}),
    ):
        fault = Fault(path, status=200, content=json.dumps(content).encode())
        exported.server.faults.add(fault)
    exported.server.faults.add(
        NEPTUNE2.fault_of_values(status=200, content=json.dumps(table).encode())
    )
    exported.export(RUNS)
    assert exported.values("TAB-2") == {"n": 1}
    assert set(exported.failed) == {"TAB-1"}
    error = exported.failed["TAB-1"]
    assert isinstance(error, IncompleteAnswerError if where != "artifact" else UnreadableRunError)
    assert "TAB-1" in str(error)
    assert ("TypeError" if where == "artifact" else "UnicodeEncodeError") in str(error)
    assert ("Traceback" in caplog.text) == (where == "artifact")


@pytest.fixture
def written(
    exported: Exported, project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, tuple[str, Any]]:
    """One of each type by the real client; path → type and value as the archive has them."""
    import neptune
    from neptune.types import File

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.csv").write_bytes(b"a,b\n")
    of_server = {"project": PROJECT, "api_token": exported.server.token}
    with over_http(), neptune.init_run(**of_server, mode="sync", tags=["t1"], **QUIET) as run:
        run["n"] = 7
        run["lr"] = 0.1
        run["ok"] = True
        run["text"] = "größer"
        run["loss"].extend([1.5, 2.5], steps=[0, 0.5], timestamps=[NOON / 1000, NOON / 1000 + 1])
        run["log"].append("line", step=3, timestamp=NOON / 1000)
        run["model"].upload(File.from_content(b"weights", extension="pt"))
        run["set"].upload_files("data/*.csv")
        run["data"].track_files("data")
        run["images"].append(File.from_content(PIXEL, extension="png"), step=40)
    return {
        "n": ("int", 7),
        "lr": ("float", 0.1),
        "ok": ("bool", True),
        "text": ("string", "größer"),
        "loss": ("float_series", [(0, NOON, 1.5), (500_000, NOON + 1000, 2.5)]),
        "log": ("string_series", [(3 * 10**6, NOON, "line")]),
        "model": ("file", b"weights"),
        "images": ("file_series", [(0, None, PIXEL)]),
    }


PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63"
    "f8cfc000000301010018dd8db00000000049454e44ae426082"
)


def test_what_the_real_client_wrote(
    exported: Exported, project: Project, written: dict[str, tuple[str, Any]]
) -> None:
    exported.export_all(RUNS)
    assert asked_by_itself(exported.server)
    fresh = everything(exported)
    for path, expected in written.items():
        assert fresh[path] == expected
    assert fresh["sys/tags"] == ("string_set", ["t1"])
    assert [type_ for type_, _ in (fresh["set"], fresh["data"])] == ["file_set", "artifact"]

    run = project.runs["TAB-1"]  # an hour later, nothing else having changed
    for name in ("modification", "ping"):
        at = run.attributes[f"sys/{name}_time"]
        run.attributes[f"sys/{name}_time"] = Attribute("datetime", at.value - 3_600_000)
    exported.server.store.changes += 1
    exported.server.traffic.reset()
    assert len(exported.export_all(RUNS).changed) == 1
    assert not asked_by_itself(exported.server)
    times = {"sys/modification_time", "sys/ping_time", "sys/state"}
    settled = everything(exported)
    assert {p: v for p, v in settled.items() if p not in times} == {
        p: v for p, v in fresh.items() if p not in times
    }


def everything(exported: Exported) -> dict[str, tuple[str, Any]]:
    found: dict[str, tuple[str, Any]] = {}
    for one in system_rows(exported):
        point = (one["step"], one["timestamp"], one["value"])
        if one["type"].endswith("_series"):
            found.setdefault(one["path"], (one["type"], []))[1].append(point)
        elif one["type"] in ("file_set", "artifact"):  # each has a zip and a listing
            found.setdefault(one["path"], (one["type"], set()))[1].add(one["value"])
        else:
            found[one["path"]] = (one["type"], one["value"])
    return found
