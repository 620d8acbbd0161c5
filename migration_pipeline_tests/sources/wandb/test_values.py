"""What the real SDK logged arrives, from a server and from folders alike."""

from __future__ import annotations

import json
import math
import zipfile
from io import BytesIO
from typing import Any

import yaml  # type: ignore[import-untyped]

from migration_pipeline.archive.archive import RunKey
from migration_pipeline_tests.archive.making import read_rows
from migration_pipeline_tests.sources.serving import Exported
from migration_pipeline_tests.sources.wandb.conftest import PROJECT
from migration_pipeline_tests.sources.wandb.writing import STEPS, SWEPT

BIG = 2**53 + 1


def typed(exported: Exported, run: str = "rich") -> dict[str, Any]:
    """Path → type and value of what is no series."""
    rows = read_rows(exported.archive, RunKey(PROJECT, run))
    return {r["path"]: (r["type"], r["value"]) for r in rows if r["step"] is None}


def points(exported: Exported, path: str) -> list[tuple[int, Any]]:
    """(whole step, value) of a series; each point has a time."""
    found = exported.series("rich", path)
    assert all(time is not None and time > 1_600_000_000_000 for _, time, _ in found)
    return [(step // 10**6, value) for step, _, value in found]


def test_projects_are_named_as_at_neptune(exported: Exported) -> None:
    assert exported.source.list_projects() == [PROJECT]
    assert exported.runs >= {"rich", "poor"}


def test_config_keeps_types_and_nesting(exported: Exported) -> None:
    found = {p: v for p, v in typed(exported).items() if p.startswith("config/")}
    clash = next(path for path in found if path.startswith("config/nest/a-"))
    nested = {found.pop("config/nest/a"), found.pop(clash)}
    assert nested == {("int", 1), ("int", 2)}
    assert found == {
        "config/lr": ("float", 0.1),
        "config/big": ("int", BIG),
        "config/digits": ("string", str(2**70)),
        "config/nest/b/c": ("string", "x"),
        "config/list": ("string", "[1, 2]"),
        "config/on": ("bool", True),
        "config/late": ("int", 3),
    }


def test_summary(exported: Exported) -> None:
    found = typed(exported)
    assert found["summary/big"] == ("int", BIG + STEPS - 1)
    assert found["summary/best/x"] == ("int", 1)
    assert found["summary/nested/y/z"] == ("int", 2)  # the SDK writes 2.0 so
    assert found["summary/text"] == ("string", "line 4 ü")
    assert found["summary/flag"] == ("bool", True)
    assert found["summary/inf"] == ("float", -math.inf)
    kind, value = found["summary/nan"]
    assert kind == "float"
    assert math.isnan(value)
    assert json.loads(found["summary/h"][1])["_type"] == "histogram"


def test_sys_and_what_wandb_says(exported: Exported) -> None:
    found = typed(exported)
    assert {path: found[path][1] for path in found if path.startswith("sys/")} == {
        "sys/id": "rich",
        "sys/custom_run_id": "rich",
        "sys/name": "A rich run",
        "sys/description": "some notes",
        "sys/tags": ["one", "two, three"],
        "sys/group_tags": ["the group"],
        "sys/failed": False,
        "sys/creation_time": found["sys/creation_time"][1],
        "sys/modification_time": found["sys/modification_time"][1],
    } | {path: found[path][1] for path in ("sys/owner",) if path in found}
    expected = {"job_type": "train", "project": "my_vision", "entity": "team", "state": "finished"}
    assert {name: found[f"wandb/{name}"][1] for name in expected} == expected
    poor = typed(exported, "poor")
    assert poor["sys/failed"] == ("bool", True)
    assert poor["wandb/state"] == ("string", "failed")


def test_a_sweep_is_whole_from_the_server_and_its_id_in_a_folder(exported: Exported) -> None:
    found = {p: v for p, v in typed(exported).items() if p.startswith("wandb/sweep")}
    assert found.pop("wandb/sweep_name") == ("string", "sweep1")
    assert [p for p in typed(exported, "poor") if p.startswith("wandb/sweep")] == []
    if exported.source.folders:
        assert found == {}
        return
    kind, config = found.pop("wandb/sweep/config")
    assert (kind, yaml.safe_load(config)) == ("string", SWEPT)
    assert found == {
        "wandb/sweep/id": ("string", "project-1-sweep1"),
        "wandb/sweep/name": ("string", "sweep1"),
        "wandb/sweep/method": ("string", "grid"),
        "wandb/sweep/state": ("string", "PENDING"),
        "wandb/sweep/runCount": ("int", 1),
        "wandb/sweep/createdAt": ("string", "2026-01-01T00:00:00"),
        "wandb/sweep/updatedAt": ("string", "2026-01-01T00:00:00"),
    }


def test_numbers(exported: Exported) -> None:
    losses = [(i, 1 / (i + 1)) for i in range(STEPS)]
    assert points(exported, "loss") == [*losses, (1_000_000, 5.0)]
    assert points(exported, "acc") == [(i, float(i)) for i in range(STEPS)]
    assert points(exported, "nested/y/z") == [(i, i * 0.5) for i in range(STEPS)]
    assert points(exported, "inf") == [(i, -math.inf) for i in range(STEPS)]
    nans = points(exported, "nan")
    assert [step for step, value in nans if math.isnan(value)] == list(range(STEPS))
    assert points(exported, "flag") == [(i, float(i % 2 == 0)) for i in range(STEPS)]


def test_integers_beyond_doubles_are_exact_beside(exported: Exported) -> None:
    assert points(exported, "big") == [(i, float(BIG + i)) for i in range(STEPS)]
    odd = [(i, str(BIG + i)) for i in range(STEPS) if float(BIG + i) != BIG + i]
    assert points(exported, "big/exact") == odd
    assert [step for step, _ in odd] == [0, 2, 4]
    notes = exported.manifest("rich").notes
    assert any("3 integers beyond 2**53" in note and "big" in note for note in notes)


def test_text_lists_and_histograms(exported: Exported) -> None:
    assert points(exported, "text") == [(i, f"line {i} ü") for i in range(STEPS)]
    assert points(exported, "list") == [(i, f"[1, 2, {i}]") for i in range(STEPS)]
    assert points(exported, "h") == [
        (i, {"type": "COUNTING", "edges": [0.0, 0.5, 2.0], "values": [1.0, float(i)]})
        for i in range(STEPS)
    ]


def test_a_key_of_two_kinds_has_two_series(exported: Exported) -> None:
    assert points(exported, "mixed") == [(i, float(i)) for i in range(3)]
    assert points(exported, "mixed/as_text") == [(i, f"no {i}") for i in range(3, STEPS)]
    assert any("mixed/as_text" in note for note in exported.manifest("rich").notes)


def test_media_and_tables_are_file_series(exported: Exported) -> None:
    ((step, image),) = points(exported, "img")
    assert (step, image[:8]) == (STEPS, b"\x89PNG\r\n\x1a\n")
    assert json.loads(points(exported, "img/wandb")[0][1])["caption"] == "black"
    several = [points(exported, f"imgs/{i}")[0][1] for i in range(2)]
    assert several[0] == image
    assert several[1] != image
    ((_, table),) = points(exported, "tab")
    assert json.loads(table) == {"columns": ["a", "b"], "data": [[1, "x"], [2, "y"]]}
    assert points(exported, "page") == [(STEPS, b"<b>bold</b>")]
    assert not [path for path in typed(exported) if path.startswith("files/media/")]


def test_files_go_where_the_table_says(exported: Exported) -> None:
    found = {p: v for p, (kind, v) in typed(exported).items() if kind == "file"}
    assert found["files/f.txt"] == b"hi"
    assert found["checkpoints/sub/model.ckpt"] == b"weights"
    assert b"wandb==" in found["source_code/requirements"]


def test_what_was_printed_is_a_string_series(exported: Exported) -> None:
    lines = exported.series("rich", "monitoring/stdout")
    said = [(step // 10**6, line) for step, _, line in lines]
    assert said[:2] == [(0, "hello console 5"), (1, "a second line")]


def test_system_metrics_have_their_times(exported: Exported) -> None:
    found = exported.series("rich", "monitoring/memory_percent")
    assert [step for step, _, _ in found] == [i * 10**6 for i in range(len(found))]
    assert len(found) > 1
    assert all(0 < value < 100 for _, _, value in found)
    times = [time for _, time, _ in found]
    assert times == sorted(times)
    assert not exported.series("rich", "monitoring/system.memory_percent")


def test_artifacts_are_a_list_and_a_zip(exported: Exported) -> None:
    rows = [
        r
        for r in read_rows(exported.archive, RunKey(PROJECT, "rich"))
        if r["path"].startswith("artifacts/model:")
    ]
    found = {r["path"].partition("/")[2].partition("/")[2]: r["value"] for r in rows}
    assert found["type"] == "model"
    assert found["metadata/k"] == 1
    assert found["description"] == "the best one"
    assert "best" in found["aliases"]
    contents = [r["value"] for r in rows if r["type"] == "artifact"]
    packed = next(c for c in contents if c.startswith(b"PK"))
    listed = json.loads(next(c for c in contents if not c.startswith(b"PK")))["files"]
    with zipfile.ZipFile(BytesIO(packed)) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == {"dir/f.txt": b"hi"}
    (inside,) = (file for file in listed if file["filePath"] == "dir/f.txt")
    assert (inside["size"], inside["fileHash"]) == (2, "SfaKXIST7CwL9ImCHCH8Ow==")
    (outside,) = (file for file in listed if file["filePath"] == "elsewhere")
    assert outside["metadata"] == [{"key": "location", "value": "https://example.com/weights"}]
    notes = exported.manifest("rich").notes
    assert any("lie elsewhere" in n and "https://example.com/weights" in n for n in notes)


def test_what_is_left_out_is_named(exported: Exported) -> None:
    notes = exported.manifest("rich").notes
    nulls = next(note for note in notes if "are null" in note)
    assert "config/none" in nulls
    assert "summary/best/nan" in nulls  # the SDK itself made it null
    assert any("config/nest/a-" in note for note in notes)
    assert any("booleans" in note and "flag" in note for note in notes)
    assert "times of points are kept to the millisecond" in notes
