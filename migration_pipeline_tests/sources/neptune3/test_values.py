"""Every 3.x type arrives with its exact value."""

from __future__ import annotations

import struct
from math import inf, nan
from typing import Any

import pytest

from migration_pipeline.archive.archive import RunKey
from migration_pipeline.neptune_server.store import HistogramValue, Project, Run
from migration_pipeline.sources.source import Selection
from migration_pipeline_tests.sources.serving import NOON, PROJECT, Exported, add_points, points_of


@pytest.fixture
def run(project: Project) -> Run:
    return project.create_run("r")


SCALARS: dict[str, tuple[str, Any]] = {
    "int/odd": ("int", 2**53 + 1),
    "int/most": ("int", 2**63 - 1),
    "int/least": ("int", -(2**63)),
    "int/zero": ("int", 0),
    "float/tiny": ("float", 5e-324),
    "float/inf": ("float", inf),
    "float/-inf": ("float", -inf),
    "float/third": ("float", 1 / 3),
    "string/empty": ("string", ""),
    "string/odd": ("string", "ü実\r\n\0\t\\\"'"),
    "string/long": ("string", "x" * 100_000),
    "bool/true": ("bool", True),
    "bool/false": ("bool", False),
    "at/now": ("datetime", 1_700_000_000_123),
    "at/zero": ("datetime", 0),
    "at/before": ("datetime", -62_135_596_799_999),
    "set/ordered": ("string_set", ("b", "a", "ü", "")),
    "set/empty": ("string_set", ()),
    "a.b": ("string", "dot"),
    "a_b": ("string", "underscore"),
    "a b|c & d!": ("string", "operators"),
    "`x` (y)": ("string", "quotes"),
    "x" * 1024: ("int", 1024),
}


def test_every_single_value(exported: Exported, run: Run) -> None:
    for path, (type_, value) in SCALARS.items():
        run.set(path, type_, value)
    exported.export_all()
    expected = {p: list(v) if t == "string_set" else v for p, (t, v) in SCALARS.items()}
    assert exported.values("r") == expected
    assert {r["path"]: r["type"] for r in exported.rows("r")} == {
        path: type_ for path, (type_, _) in SCALARS.items()
    }


def test_nan_and_minus_zero_keep_their_bits(exported: Exported, run: Run) -> None:
    run.set("nan", "float", nan)
    run.set("zero", "float", -0.0)
    add_points(run, "loss", [0.0, 1.0, 2.0, 3.0], [nan, -0.0, inf, -inf])
    exported.export_all()
    values = exported.values("r")
    assert [str(values[p]) for p in ("nan", "zero")] == ["nan", "-0.0"]
    assert [str(v) for _, _, v in exported.series("r", "loss")] == ["nan", "-0.0", "inf", "-inf"]


@pytest.mark.parametrize("value", [0.1, 1 / 3, 5e-324, -1.7976931348623157e308, 2**53 + 2.0])
def test_points_are_equal_in_every_bit(exported: Exported, run: Run, value: float) -> None:
    add_points(run, "loss", [0.0, 0.5], [value, -value])
    exported.export_all()
    bits = [struct.pack("<d", v) for _, _, v in exported.series("r", "loss")]
    assert bits == [struct.pack("<d", v) for v in (value, -value)]


STEPS = [0.0, 0.000001, 0.29, 1.0, 1.005, 4_503_599_627.370497, 9e9, 9e9 + 0.5, 999_999_999_999.0]


def test_steps_are_exact_in_every_kind_of_series(exported: Exported, run: Run) -> None:
    add_points(run, "floats", STEPS)
    run.extend_series("strings", "string_series", [(s, NOON, f"{s}") for s in STEPS])
    histogram = HistogramValue("COUNTING", (0.0, 1.0), (1.0,))
    run.extend_series("hists", "histogram_series", [(s, NOON, histogram) for s in STEPS])
    stored = run.set_file("f", b"f", "f.bin", "")
    run.extend_series("files", "file_series", [(s, NOON, stored) for s in STEPS])
    exported.export_all()
    expected = [
        *(0, 1, 290_000, 1_000_000, 1_005_000, 4_503_599_627_370_497),
        *(9 * 10**15, 9 * 10**15 + 500_000, 999_999_999_999 * 10**6),
    ]
    for path in ("floats", "strings", "hists", "files"):
        assert [step for step, _, _ in exported.series("r", path)] == expected, path
    assert [v for _, _, v in exported.series("r", "strings")] == [f"{s}" for s in STEPS]
    assert exported.series("r", "floats")[-1] == (expected[-1], NOON + 8000, STEPS[-1])


@pytest.mark.parametrize("time", [0, 1, 127, 128, NOON, -1, -(10**12), 253_402_300_799_999])
def test_times_of_points(exported: Exported, run: Run, time: int) -> None:
    run.extend_float_series("loss", [0.0, 1.0], [time, NOON], [1.0, 2.0])
    run.extend_series("log", "string_series", [(0.0, time, "x")])
    exported.export_all()
    assert exported.series("r", "loss") == [(0, time, 1.0), (10**6, NOON, 2.0)]
    assert exported.series("r", "log") == [(0, time, "x")]


def test_strings_and_histograms(exported: Exported, run: Run) -> None:
    texts = ["", "line\n", "ü実\0", "y" * 50_000]
    run.extend_series("log", "string_series", [(i, NOON + i, t) for i, t in enumerate(texts)])
    histograms = [
        HistogramValue("COUNTING", (0.0, 0.5, 1.0), (3.0, 2.0**53)),
        HistogramValue("DENSITY", (-inf, 0.0, inf), (0.25, 0.75)),
        HistogramValue("COUNTING", tuple(map(float, range(513))), (1.0,) * 512),
    ]
    run.extend_series("hist", "histogram_series", [(i, NOON, h) for i, h in enumerate(histograms)])
    exported.export_all()
    assert [v for _, _, v in exported.series("r", "log")] == texts
    assert [v for _, _, v in exported.series("r", "hist")] == [
        {"type": h.type, "edges": list(h.edges), "values": list(h.values)} for h in histograms
    ]


def test_one_name_with_two_types_in_two_runs(exported: Exported, project: Project) -> None:
    """The server's project-wide definitions are inconsistent there; nothing relies on them."""
    project.create_run("ints").set("mixed", "int", 2**60 + 7)
    project.create_run("texts").set("mixed", "string", "7")
    add_points(project.create_run("series"), "mixed", [7.0])
    exported.export_all()
    assert exported.values("ints") == {"mixed": 2**60 + 7}
    assert exported.values("texts") == {"mixed": "7"}
    assert exported.series("series", "mixed") == points_of([7.0])


def test_previews_come_when_they_are_asked_for(exported: Exported, run: Run) -> None:
    add_points(run, "loss", [0.0, 1.0])
    run.float_series("loss").previews = {2.0: (NOON + 9, 0.5, 0.1), 3.0: (NOON + 10, 0.0, 0.2)}
    exported.export_all()
    assert exported.series("r", "loss") == points_of([0.0, 1.0])
    assert exported.manifest("r").notes == []
    run.touch()
    exported.export_all(Selection(previews=True))
    assert exported.series("r", "loss") == [
        *points_of([0.0, 1.0]),
        (2 * 10**6, NOON + 9, 0.5),
        (3 * 10**6, NOON + 10, 0.0),
    ]
    assert exported.manifest("r").notes == [
        "2 points are previews, which the archive does not mark"
    ]


def test_forks_have_their_own_points_and_say_where_they_began(
    exported: Exported, project: Project
) -> None:
    root = project.create_run("root", experiment="e")
    add_points(root, "loss", [0.0, 1.0, 2.0, 3.0])
    add_points(root, "root only", [0.0])
    child = project.create_run("child", parent="root", fork_step=1.5, experiment="e")
    add_points(child, "loss", [2.0, 3.0], [20.0, 30.0])
    child.extend_series("log", "string_series", [(2.0, NOON, "child")])
    grandchild = project.create_run("grandchild", parent="child", fork_step=2.0)
    add_points(grandchild, "loss", [2.5], [25.0])
    exported.export_all()
    assert exported.series("root", "loss") == points_of([0.0, 1.0, 2.0, 3.0])
    assert exported.series("child", "loss") == points_of([2.0, 3.0], [20.0, 30.0])
    assert exported.series("child", "log") == [(2 * 10**6, NOON, "child")]
    assert exported.series("grandchild", "loss") == points_of([2.5], [25.0])
    assert exported.series("child", "root only") == []
    parents = {run: exported.manifest(run).parent for run in exported.runs}
    assert parents == {"root": None, "child": "root", "grandchild": "child"}
    found = exported.archive.find(RunKey(PROJECT, "child"))
    assert found is not None
    system = {
        row["attribute_path"]: row["float_value"]
        if row["float_value"] is not None
        else row["string_value"]
        for batch in found.batches()
        for row in batch.to_pylist()
        if row["attribute_path"] in ("sys/forking/parent", "sys/forking/step")
    }
    assert system == {"sys/forking/parent": "VISIO-1", "sys/forking/step": 1.5}


def test_a_run_of_nothing_but_what_the_server_gives_it(exported: Exported, run: Run) -> None:
    exported.export_all()
    assert exported.rows("r") == []
    assert exported.manifest("r").sys_id == "VISIO-1"
    assert (
        exported.manifest("r").modified
        == exported.source.list_runs("acme/vision", Selection())[0].modified
    )
