"""What a plan says of one run: counted from its rows, per target, as far as it can be read."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migration_pipeline.archive.archive import Archive, ArchivedRun, RunKey
from migration_pipeline.errors import StepsMeetError, StepTooLargeError
from migration_pipeline.mapping.forecast import View, forecast_of_manifest, forecast_run
from migration_pipeline.mapping.terms import Capabilities, Loss, ProjectMapping
from migration_pipeline.targets.comet.capabilities import CAPABILITIES as COMET
from migration_pipeline.targets.mlflow.capabilities import CAPABILITIES as MLFLOW
from migration_pipeline_tests.archive.making import Row, points, read_rows, row, write_run

KEY = RunKey("acme/vision", "run 1")
NOWHERE = MLFLOW.model_copy(
    update={"files": "no", "string_series": "no", "histogram_series": "no", "nan": False}
)
"""A target that has no place for anything but parameters and metrics."""


def made(folder: Path, *rows: Row | list[Row]) -> ArchivedRun:
    archive = Archive(folder / "data", folder / "files")
    flat = [r for given in rows for r in (given if isinstance(given, list) else [given])]
    write_run(archive, KEY, flat)
    run = archive.find(KEY)
    assert run
    return run


def view(can: Capabilities, multiplier: int = 1, name: str = "there") -> View:
    return View(name, can, ProjectMapping(multiplier))


def micros(*whole: float) -> list[int]:
    return [round(step * 10**6) for step in whole]


def test_counts_and_what_each_target_does_not_hold(tmp_path: Path) -> None:
    run = made(
        tmp_path,
        row("p/long", "string", "x" * 1001),
        row("p/x?", "int", 1),
        points("m/odd", micros(1, 2, 3, 4), [math.inf, math.nan, -0.0, 1.0]),
        row("log", "string_series", "line", 10**6, 5),
        row("file.bin", "file", b"12345"),
    )
    found = forecast_run(
        run, [view(MLFLOW, name="mlflow"), view(COMET, name="comet"), view(NOWHERE, name="nowhere")]
    )
    assert (found.attributes, found.points, found.files, found.bytes) == (5, 5, 1, 5)
    assert found.types["float_series"] == (1, 4)
    assert (found.damage, found.decimals) == ("", {})
    mlflow, comet, nowhere = (found.sending[n] for n in ("mlflow", "comet", "nowhere"))
    assert mlflow.losses == [
        Loss("m/odd", "infinity", 1, "neptune/points.jsonl"),
        Loss("m/odd", "negative zero", 1, "neptune/points.jsonl"),
    ]
    assert Loss("m/odd", "NaN", 1, "neptune/points.jsonl") in comet.losses
    assert Loss("p/long", "parameter too long", 1, "neptune/parameters.jsonl") in comet.losses
    assert Loss("m/odd", "NaN", 1, "") in nowhere.losses
    assert Loss("log", "no string series there", 1, "") in nowhere.losses
    assert Loss("file.bin", "no file there", 1, "") in nowhere.losses
    assert mlflow.renames == {"p/x?": "p/x_"}
    assert mlflow.requests(MLFLOW) == {"points": 1, "parameters": 1, "files": 2}
    assert nowhere.uploads == 0


def test_a_sample_is_a_loss_of_the_points_beyond_it(tmp_path: Path) -> None:
    few = COMET.model_copy(update={"points_kept_per_series": 3, "points_per_request": 2})
    run = made(
        tmp_path,
        points("m/four", micros(0, 1, 2, 3), [1.0] * 4),
        points("m/three", micros(0, 1, 2), [1.0] * 3),
    )
    sending = forecast_run(run, [view(few)]).sending["there"]
    assert sending.losses == [Loss("m/four", "sampled to 3 points", 1, "neptune/series")]
    assert (sending.points, sending.requests(few)["points"]) == (7, 4)


def test_equal_points_are_not_sent_where_they_count_once(tmp_path: Path) -> None:
    same = [row("m", "float_series", 1.0, 10**6, 7) for _ in range(3)]
    run = made(tmp_path, same, points("m", micros(2), [2.0]))
    each = COMET.model_copy(update={"repeated_points": True})
    found = forecast_run(run, [view(MLFLOW, name="once"), view(each, name="each")])
    assert (found.sending["once"].points, found.sending["each"].points) == (2, 4)
    assert Loss("m", "repeated point", 2, "neptune/points.jsonl") in found.sending["once"].losses
    assert found.sending["each"].losses == []


@pytest.mark.parametrize(
    ("steps", "multiplier", "error"),
    [((0.25, 0.5), 1, StepsMeetError), ((999_999_999_999,), 10**12, StepTooLargeError)],
)
def test_a_multiplier_that_does_not_fit_is_said_and_the_others_go_on(
    tmp_path: Path, steps: tuple[float, ...], multiplier: int, error: type[Exception]
) -> None:
    run = made(tmp_path, points("m", micros(*steps), [1.0] * len(steps)))
    found = forecast_run(run, [view(MLFLOW, multiplier, "bad"), view(MLFLOW, 100, "good")])
    assert isinstance(found.sending["bad"].refused, error)
    assert found.sending["bad"].points == 0
    assert found.sending["good"].refused is None
    assert found.sending["good"].points == len(steps)


def test_each_series_has_its_own_decimals(tmp_path: Path) -> None:
    run = made(
        tmp_path,
        points("whole", micros(1, 2), [1.0, 2.0]),
        points("tenths", micros(0.5, 1), [1.0, 2.0]),
        points("finest", [1], [1.0]),
    )
    assert forecast_run(run, []).decimals == {"tenths": 1, "finest": 6}


def test_a_directory_counts_as_its_files(tmp_path: Path) -> None:
    run = made(tmp_path, row("set", "file_set", b""))
    (batch,) = run.batches()
    folder = run.file(batch.column("file_value")[0].as_py()["path"])
    folder.unlink()
    for name, content in (("a", b"1"), ("b/c", b"22"), ("b/d", b"")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    found = forecast_run(run, [view(MLFLOW)])
    assert (found.files, found.bytes, found.sending["there"].uploads) == (1, 3, 3)


def test_what_is_damaged_is_counted_as_far_as_it_goes(tmp_path: Path) -> None:
    run = made(
        tmp_path,
        row("here", "file", b"123"),
        row("gone", "file", b"4567"),
        points("m", micros(1), [1.0]),
    )
    (gone,) = [f.path for f in run.manifest.files if f.size == 4] if run.manifest else []
    run.file(gone).unlink()
    found = forecast_run(run, [view(MLFLOW)])
    assert "which is not there" in found.damage
    assert gone in found.damage
    assert (found.attributes, found.points, found.files, found.bytes) == (3, 1, 2, 3)
    assert found.sending == {}


def test_a_part_that_cannot_be_read_does_not_hide_the_next(tmp_path: Path) -> None:
    run = made(tmp_path, points("m", micros(1, 2), [1.0, 2.0]))
    broken = run.parts[0].with_name("broken_part_1.parquet")
    broken.write_bytes(run.parts[0].read_bytes()[:-20])
    other = ArchivedRun(KEY, (run.parts[0], broken, run.parts[0]), run.files_root)
    found = forecast_run(other, [view(MLFLOW)])
    assert "not a Parquet file" in found.damage
    assert found.points == 4


VALUES = st.floats(width=64) | st.sampled_from([0.0, -0.0, math.inf, math.nan])
ROWS = st.lists(
    st.tuples(
        st.sampled_from(["m/a", "m/b", "m/?"]),
        st.integers(-3, 3) | st.integers(-(10**12), 10**12),
        st.none() | st.integers(-5, 10**13),
        VALUES,
    ),
    min_size=1,
    max_size=30,
)


@settings(max_examples=40, deadline=None)
@given(ROWS)
def test_a_manifest_and_the_rows_give_the_same_figures(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, int, int | None, float]]
) -> None:
    """And what is not held is what a plain count of the rows finds."""
    folder = tmp_path_factory.mktemp("run")
    run = made(folder, [row(path, "float_series", v, s, t) for path, s, t, v in rows])
    found = forecast_run(run, [view(MLFLOW, 10**6)])
    announced = forecast_of_manifest(run)
    assert announced
    assert (announced.attributes, announced.points, announced.types) == (
        found.attributes,
        found.points,
        found.types,
    )
    archived = read_rows(Archive(folder / "data", folder / "files"), KEY)
    plain = Counter[tuple[str, str]]()
    for one in archived:
        plain[one["path"], "infinity"] += math.isinf(one["value"])
        plain[one["path"], "negative zero"] += (
            one["value"] == 0 and math.copysign(1, one["value"]) < 0
        )
        plain[one["path"], "without time"] += one["timestamp"] is None
        plain[one["path"], "time too early"] += (one["timestamp"] or 0) < 0
    said = {
        (loss.attribute, loss.reason): loss.count
        for loss in found.sending["there"].losses
        if loss.reason != "repeated point"
    }
    assert said == {name: count for name, count in plain.items() if count}


def test_without_a_manifest_only_the_rows_tell(tmp_path: Path) -> None:
    run = made(tmp_path, points("m", micros(1), [1.0]))
    table = pq.read_table(run.parts[0])
    pq.write_table(table.replace_schema_metadata(None), run.parts[0])
    again = ArchivedRun(KEY, run.parts, run.files_root)
    assert forecast_of_manifest(again) is None
    assert forecast_run(again, []).points == 1
