"""The shipped sample holds what the README promises of its projects of Neptune 3.x."""

from __future__ import annotations

import csv
import io
import math
import re
import struct
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from migration_pipeline.archive.archive import Archive, ArchivedRun, RunKey
from migration_pipeline.archive.schema import MICROS, PARAMETER_TYPES, float_to_micros
from migration_pipeline.neptune_server.sample import SAMPLE_ZIP
from migration_pipeline.neptune_server.sample.hostile import (
    COLLIDING,
    FLOATS,
    INTEGERS,
    LONG_ID,
    LONG_NAME,
    TEXTS,
    WIDEST_NAME,
)
from migration_pipeline.neptune_server.sample.make_sample import make_hostile, pack, summary

DIGITS, HOSTILE = "acme/digits", "acme/hostile"
NEPTUNE3_TYPES = {
    *("float", "int", "string", "bool", "datetime", "string_set", "file"),
    *("float_series", "string_series", "histogram_series", "file_series"),
}
SYSTEM = {
    "sys/id": "string",
    "sys/custom_run_id": "string",
    "sys/owner": "string",
    "sys/diagnostics/project_uuid": "string",
    "sys/diagnostics/run_uuid": "string",
    "sys/creation_time": "datetime",
    "sys/modification_time": "datetime",
    "sys/ping_time": "datetime",
    "sys/archived": "bool",
    "sys/failed": "bool",
    "sys/trashed": "bool",
    "sys/tags": "string_set",
    "sys/group_tags": "string_set",
    "sys/size": "int",
    "sys/forking/depth": "int",
}

Row = dict[str, Any]
_VALUES = ("int_value", "float_value", "string_value", "bool_value", "datetime_value",
           "string_set_value", "file_value", "histogram_value")  # fmt: skip


def _value(row: Row) -> Any:
    there = [row[name] for name in _VALUES if row[name] is not None]
    assert len(there) == 1, row
    return there[0]


class Sample:
    """The shipped archive, its rows read once a run."""

    def __init__(self, archive: Archive) -> None:
        self.archive = archive
        self.runs: dict[RunKey, ArchivedRun] = {}
        for project in (DIGITS, HOSTILE):
            self.runs |= archive.runs(project)
        self.rows: dict[RunKey, list[Row]] = {
            key: [row for batch in run.batches() for row in batch.to_pylist()]  # type: ignore[attr-defined]
            for key, run in self.runs.items()
        }

    def of(self, project: str) -> Iterator[tuple[RunKey, list[Row]]]:
        return ((key, rows) for key, rows in self.rows.items() if key.project == project)

    def config(self, project: str, run: str, path: str) -> Any:
        rows = self.rows[RunKey(project, run)]
        return _value(
            next(
                row
                for row in rows
                if row["attribute_path"] == path and row["attribute_type"] in PARAMETER_TYPES
            )
        )

    def configs(self, project: str, path: str) -> dict[str, Any]:
        return {
            key.run: _value(row)
            for key, rows in self.of(project)
            for row in rows
            if row["attribute_path"] == path
        }

    def series(self, project: str, run: str, path: str) -> list[tuple[str, Any]]:
        rows = self.rows[RunKey(project, run)]
        return [
            (f"{row['step']:f}".rstrip("0").rstrip("."), _value(row))
            for row in rows
            if row["attribute_path"] == path and row["step"] is not None
        ]

    def content(self, project: str, run: str, path: str) -> bytes:
        archived = self.runs[RunKey(project, run)]
        return archived.file(self.config_file(project, run, path)).read_bytes()

    def config_file(self, project: str, run: str, path: str) -> str:
        rows = self.rows[RunKey(project, run)]
        found = next(r for r in rows if r["attribute_path"] == path and r["step"] is None)
        return str(found["file_value"]["path"])


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    root = tmp_path_factory.mktemp("sample")
    with zipfile.ZipFile(SAMPLE_ZIP) as packed:
        packed.extractall(root)
    return Sample(Archive(root / "data", root / "files"))


def test_it_is_small_and_holds_an_archive() -> None:
    assert SAMPLE_ZIP.stat().st_size < 3_000_000
    with zipfile.ZipFile(SAMPLE_ZIP) as packed:
        names = packed.namelist()
        assert packed.testzip() is None
    assert {name.split("/")[0] for name in names} == {"data", "files"}
    assert names == sorted(names)
    assert not [name for name in names if ".." in name or "/." in name or name.endswith(".tmp")]


def test_two_projects_and_at_least_24_runs(sample: Sample) -> None:
    assert sample.archive.projects() == [DIGITS, HOSTILE, "acme/tabular"]
    runs = Counter(key.project for key in sample.runs)
    assert runs[DIGITS] >= 14
    assert runs[HOSTILE] >= 10
    assert runs.total() >= 24


def test_manifests_say_what_the_rows_and_files_are(sample: Sample) -> None:
    for key, run in sample.runs.items():
        manifest = run.manifest
        assert manifest is not None
        assert manifest.source == "neptune3"
        assert manifest.digest == run.sums().digest(), key
        assert manifest.modified == sample.config(key.project, key.run, "sys/modification_time")
        named = {
            row["file_value"]["path"] for row in sample.rows[key] if row["file_value"] is not None
        }
        assert named == {file.path for file in manifest.files}


def test_every_run_has_the_attributes_that_the_service_adds(sample: Sample) -> None:
    for key, rows in sample.rows.items():
        types = {row["attribute_path"]: row["attribute_type"] for row in rows}
        assert {path: types.get(path) for path in SYSTEM} == SYSTEM, key
        assert sample.config(key.project, key.run, "sys/custom_run_id") == key.run
        points = sum(row["step"] is not None for row in rows)
        counted = "sys/diagnostics/attributes/total_series_datapoints"
        assert sample.config(key.project, key.run, counted) == points
    for project, prefix in ((DIGITS, "DIG"), (HOSTILE, "HOS")):
        ids = sorted(sample.configs(project, "sys/id").values())
        assert ids == sorted(f"{prefix}-{n}" for n in range(1, len(ids) + 1))


def test_it_holds_nothing_that_the_protocol_could_not_carry(sample: Sample) -> None:
    for key, rows in sample.rows.items():
        assert "/" not in key.run
        assert len(key.run.encode()) <= 730
        last: dict[str, float] = {}
        for row in rows:
            assert len(row["attribute_path"].encode()) <= 1024
            if row["step"] is not None:
                assert 0 <= row["step"] < 10**12
                as_sent = float_to_micros(np.array([float(row["step"])]))[0]
                assert as_sent == int(row["step"] * MICROS)
                assert row["timestamp"] is not None
                assert last.get(row["attribute_path"], -1) < row["step"]
                last[row["attribute_path"]] = row["step"]
            if (histogram := row["histogram_value"]) is not None:
                assert len(histogram["edges"]) == len(histogram["values"]) + 1 <= 513
                assert histogram["edges"] == sorted(set(histogram["edges"]))


def test_one_head_an_experiment_and_it_is_the_newest(sample: Sample) -> None:
    for project in (DIGITS, HOSTILE):
        names = sample.configs(project, "sys/name")
        heads = sample.configs(project, "sys/experiment/is_head")
        created = sample.configs(project, "sys/creation_time")
        for name in set(names.values()):
            members = [run for run, of in names.items() if of == name]
            newest = max(members, key=created.__getitem__)
            assert [run for run in members if heads[run]] == [newest]


# --- acme/digits


def test_digits_are_as_many_points_as_a_demo_can_wait_for(sample: Sample) -> None:
    points = sum(row["step"] is not None for _, rows in sample.of(DIGITS) for row in rows)
    assert 15_000 <= points <= 20_000


def test_each_training_has_curves_images_logs_histograms_and_a_model(sample: Sample) -> None:
    for key, rows in sample.of(DIGITS):
        kinds = {row["attribute_type"] for row in rows}
        assert {*NEPTUNE3_TYPES} <= kinds, key
        images = [row for row in rows if row["attribute_path"] == "plots/confusion_matrix"]
        assert images
        for image in images:
            content = sample.runs[key].file(image["file_value"]["path"]).read_bytes()
            assert content.startswith(b"\x89PNG\r\n")
        histograms = [row["histogram_value"] for row in rows if row["histogram_value"] is not None]
        assert all(sum(h["values"]) > 0 for h in histograms)


def test_what_a_training_says_of_itself_is_what_its_curves_show(sample: Sample) -> None:
    """Log lines, summary and the table of errors come from the same training as the points."""
    for key, _ in sample.of(DIGITS):
        accuracy = sample.series(DIGITS, key.run, "metrics/val/accuracy")
        lines = [line for _, line in sample.series(DIGITS, key.run, "runtime/stdout")]
        said = [m[1] for line in lines if (m := re.search(r" val_acc=([\d.]+) .*f1_macro", line))]
        assert said == [f"{value:.4f}" for _, value in accuracy]
        if sample.config(DIGITS, key.run, "sys/failed"):
            continue
        assert sample.config(DIGITS, key.run, "summary/best_val_accuracy") == max(
            value for _, value in accuracy
        )
        table = sample.content(DIGITS, key.run, "results/errors").decode()
        wrong = len(list(csv.DictReader(io.StringIO(table))))
        assert accuracy[-1][1] == pytest.approx(1 - wrong / 540)
        assert accuracy[-1][1] > 0.55


def test_one_training_diverged(sample: Sample) -> None:
    failed = [run for run, value in sample.configs(DIGITS, "sys/failed").items() if value]
    assert failed == ["mlp-48-lr-1e5"]
    losses = [value for _, value in sample.series(DIGITS, failed[0], "train/batch_loss")]
    assert math.isnan(losses[-1])
    assert math.inf in losses
    assert losses[0] < 3
    last = sample.series(DIGITS, failed[0], "runtime/stderr")[-1][1]
    assert last.startswith("ValueError: Solver produced non-finite parameter weights")


def test_one_training_is_archived(sample: Sample) -> None:
    archived = [run for run, value in sample.configs(DIGITS, "sys/archived").items() if value]
    assert archived == ["mlp-16-first-try"]


def test_one_training_goes_on_from_the_checkpoint_of_another(sample: Sample) -> None:
    parents = sample.configs(DIGITS, "sys/forking/parent")
    assert parents == {"mlp-48-finetuned": "mlp-48-adam"}
    manifest = sample.runs[RunKey(DIGITS, "mlp-48-finetuned")].manifest
    assert manifest is not None
    assert manifest.parent == "mlp-48-adam"
    step = sample.config(DIGITS, "mlp-48-finetuned", "sys/forking/step")
    assert sample.config(DIGITS, "mlp-48-finetuned", "sys/forking/depth") == 1
    checkpoints = sample.series(DIGITS, "mlp-48-adam", "checkpoints/model")
    assert [float(at) for at, _ in checkpoints] == [step]
    own = sample.series(DIGITS, "mlp-48-finetuned", "train/batch_loss")
    assert float(own[0][0]) == step + 1
    before = dict(sample.series(DIGITS, "mlp-48-adam", "train/batch_loss"))
    assert own[0][1] == pytest.approx(before[f"{step:.0f}"], abs=0.2)


def test_weights_can_be_loaded_and_have_the_shapes_of_the_config(sample: Sample) -> None:
    with np.load(io.BytesIO(sample.content(DIGITS, "mlp-96-48-adam", "checkpoints/final"))) as file:
        assert [file[name].shape for name in file.files] == [(64, 96), (96, 48), (48, 10)]
    with np.load(io.BytesIO(sample.content(DIGITS, "svm-hinge", "checkpoints/final"))) as file:
        assert file["coef"].shape == (10, 64)
        norm = sample.series(DIGITS, "svm-hinge", "weights/norm/layer_0")[-1][1]
        assert np.linalg.norm(file["coef"]) == pytest.approx(norm)


def test_times_of_a_training_are_its_own(sample: Sample) -> None:
    for key, rows in sample.of(DIGITS):
        created = sample.config(DIGITS, key.run, "sys/creation_time")
        ping = sample.config(DIGITS, key.run, "sys/ping_time")
        times = [row["timestamp"] for row in rows if row["timestamp"] is not None]
        assert created.year == 2025
        assert created < min(times) <= max(times) < ping
        assert 10 < (max(times) - min(times)).total_seconds() < 600


# --- acme/hostile


def test_hostile_has_every_attribute_type(sample: Sample) -> None:
    rows = sample.rows[RunKey(HOSTILE, "run.1 ü[x]")]
    assert {row["attribute_type"] for row in rows} == NEPTUNE3_TYPES


@pytest.mark.parametrize("name", INTEGERS)
def test_integers_are_exact(sample: Sample, name: str) -> None:
    found = sample.config(HOSTILE, 'it\'s a "quoted" run', f"int/{name}")
    assert found == INTEGERS[name]
    assert isinstance(found, int)


def test_integers_are_those_that_a_double_loses() -> None:
    assert {9007199254740993, 2**60 + 7, -(2**63), 2**63 - 1} <= set(INTEGERS.values())


def _bits(value: float) -> bytes:
    return struct.pack(">d", value)


def test_floats_are_equal_bit_for_bit(sample: Sample) -> None:
    run = 'it\'s a "quoted" run'
    for name, number in FLOATS.items():
        found = sample.config(HOSTILE, run, f"float/{name}")
        assert _bits(found) == _bits(number) or (math.isnan(found) and math.isnan(number))
    points = [value for _, value in sample.series(HOSTILE, run, "points/all")]
    assert [repr(value) for value in points] == [repr(value) for value in FLOATS.values()]
    assert {repr(value) for value in points} >= {"nan", "inf", "-inf", "-0.0", "5e-324"}


def test_steps_are_decimal(sample: Sample) -> None:
    run = "run_1 ü[x]"
    quarters = [step for step, _ in sample.series(HOSTILE, run, "steps/quarters")]
    assert quarters[:5] == ["0", "0.25", "0.5", "0.75", "1"]
    assert sample.series(HOSTILE, run, "steps/tenths")[1][0] == "0.1"
    assert sample.series(HOSTILE, run, "steps/millionths")[0][0] == "0.000001"
    inexact = [step for step, _ in sample.series(HOSTILE, run, "steps/inexact as doubles")]
    assert inexact[0] == "0.29"
    assert all(float(step) * 100 != round(float(step) * 100) for step in inexact)
    far = [step for step, _ in sample.series(HOSTILE, run, "steps/far")]
    assert far[1:] == ["4294967296.000001", "8589934591.999999", "999999999999"]
    assert len(sample.series(HOSTILE, run, "steps/one point")) == 1


def test_attribute_names_meet_when_they_are_cleaned(sample: Sample) -> None:
    run = "comma, and; semicolon"
    paths = {row["attribute_path"] for row in sample.rows[RunKey(HOSTILE, run)]}
    assert {f"metric/{name}" for name in COLLIDING} <= paths
    assert {f"config/{name}" for name in COLLIDING} <= paths
    assert {"m", "m/x", "A/b", "a/B", LONG_NAME, WIDEST_NAME} <= paths
    assert len(LONG_NAME) == 900
    assert len(WIDEST_NAME.encode()) == 1024
    cleaned = Counter(re.sub(r"\W", "_", path).lower() for path in paths)
    assert max(cleaned.values()) >= 9
    values = [sample.series(HOSTILE, run, f"metric/{name}")[0][1] for name in COLLIDING]
    assert len(set(values)) == len(COLLIDING)


def test_run_ids_are_odd(sample: Sample) -> None:
    ids = {key.run for key, _ in sample.of(HOSTILE)}
    assert {
        *("run.1 ü[x]", "run_1 ü[x]", 'it\'s a "quoted" run', "comma, and; semicolon", "..."),
        *("100%2Fpercent%", "acme|hostile|run", " leading and trailing ", "CON", "con"),
        *("🚀 café", "🚀 cafe\u0301", LONG_ID, "empty run"),
    } <= ids
    assert len(LONG_ID) >= 300


def test_texts_arrive_whole(sample: Sample) -> None:
    for name, text in TEXTS.items():
        assert sample.config(HOSTILE, "...", f"text/{name}") == text
    assert [value for _, value in sample.series(HOSTILE, "...", "texts")] == list(TEXTS.values())
    assert {len(text) for text in TEXTS.values()} >= {0, 10_240}
    log = [line for _, line in sample.series(HOSTILE, "...", "log")]
    assert len(log) == 2_000
    assert log.count("") == 40
    assert "\x1b[31m" in TEXTS["controls"]
    assert "\0" not in "".join(TEXTS.values())


def test_sets_keep_their_order_and_their_commas(sample: Sample) -> None:
    run = " leading and trailing "
    assert sample.config(HOSTILE, run, "sets/empty") == []
    assert sample.config(HOSTILE, run, "sets/order") == ["z", "a", "m", "B", "b"]
    assert sample.config(HOSTILE, run, "sets/commas") == ["a,b", "a", "b", "a, b", ","]
    assert '"quoted"' in sample.config(HOSTILE, run, "sets/quotes")


def test_files_are_told_apart(sample: Sample) -> None:
    run = "100%2Fpercent%"
    for name in ("a.b", "a_b", "A_b"):
        content = sample.content(HOSTILE, run, f"files/{name}")
        assert content == f"the bytes of files/{name}\n".encode()
    assert sample.content(HOSTILE, run, "files/empty") == b""
    twins = [f"files/twin {n}" for n in (1, 2)]
    assert len({sample.content(HOSTILE, run, twin) for twin in twins}) == 1
    assert len({sample.config_file(HOSTILE, run, twin) for twin in twins}) == 2
    assert Path(sample.config_file(HOSTILE, run, "files/no extension")).suffix == ""
    steps = [step for step, _ in sample.series(HOSTILE, run, "files/series")]
    assert steps == ["0.5", "1.5", "2.5", "3.5", "4.5", "5.5"]


def test_histograms_have_uneven_edges_one_bin_and_densities(sample: Sample) -> None:
    rows = sample.rows[RunKey(HOSTILE, "acme|hostile|run")]
    found = {
        row["attribute_path"].removeprefix("histograms/"): row["histogram_value"]
        for row in rows
        if row["histogram_value"] is not None and row["step"] == 0
    }
    assert found["uneven"]["edges"] == [-10, -1, -0.1, 0, 0.001, 1000]
    assert found["one bin"] == {"type": "COUNTING", "edges": [0, 1], "values": [42]}
    assert found["density"]["type"] == "DENSITY"
    assert np.dot(np.diff(found["density"]["edges"]), found["density"]["values"]) == 1.0
    assert len(found["widest"]["values"]) == 512


def test_forks_of_forks(sample: Sample) -> None:
    parents = sample.configs(HOSTILE, "sys/forking/parent")
    assert parents == {
        "fork: 1": "fork: root",
        "fork: 1.2": "fork: 1",
        "fork: 1.2.3": "fork: 1.2",
        "fork: 2 ü|x": "fork: root",
    }
    depths = sample.configs(HOSTILE, "sys/forking/depth")
    chain = ("fork: root", "fork: 1", "fork: 1.2", "fork: 1.2.3", "fork: 2 ü|x")
    assert [depths[run] for run in chain] == [0, 1, 2, 3, 1]
    assert sample.config(HOSTILE, "fork: 1.2.3", "sys/forking/step") == 9.29
    beyond = sample.config(HOSTILE, "fork: 2 ü|x", "sys/forking/step")
    assert beyond > float(sample.series(HOSTILE, "fork: root", "loss")[-1][0])
    at = sample.config(HOSTILE, "fork: 1", "sys/forking/step")
    assert float(sample.series(HOSTILE, "fork: 1", "loss")[0][0]) == at


def test_a_run_may_be_empty_or_without_an_experiment(sample: Sample) -> None:
    empty = sample.rows[RunKey(HOSTILE, "empty run")]
    assert {row["attribute_path"].split("/")[0] for row in empty} == {"sys"}
    assert sample.config(HOSTILE, "empty run", "sys/tags") == []
    nameless = {row["attribute_path"] for row in sample.rows[RunKey(HOSTILE, "CON")]}
    assert "sys/name" not in nameless


def test_one_name_has_three_types(sample: Sample) -> None:
    types = {
        row["attribute_type"]
        for _, rows in sample.of(HOSTILE)
        for row in rows
        if row["attribute_path"] == "mixed"
    }
    assert types == {"int", "float", "string"}


# --- the script


def test_the_hostile_project_is_made_again_equal(sample: Sample, tmp_path: Path) -> None:
    again = make_hostile(Archive(tmp_path / "data", tmp_path / "files"))
    made = {m.run: (m.digest, m.sys_id, m.parent, m.modified, m.types, m.files) for m in again}
    shipped = {}
    for key, run in sample.runs.items():
        if key.project == HOSTILE and (m := run.manifest):
            shipped[m.run] = (m.digest, m.sys_id, m.parent, m.modified, m.types, m.files)
    assert made == shipped


def test_equal_files_give_equal_zips(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "data").mkdir(parents=True)
    (root / "data" / "ü").write_bytes(b"1")
    pack(root, tmp_path / "1.zip")
    (root / "data" / "ü").touch()
    pack(root, tmp_path / "2.zip")
    assert (tmp_path / "1.zip").read_bytes() == (tmp_path / "2.zip").read_bytes()


def test_the_summary_counts_by_project_and_type(tmp_path: Path) -> None:
    text = summary(make_hostile(Archive(tmp_path / "data", tmp_path / "files")))
    assert text.startswith("acme/hostile: 20 runs, ")
    assert re.search(r"^  string_series: \d+ attributes, 20\d\d rows$", text, re.MULTILINE)
