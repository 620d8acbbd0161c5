"""Either tool reads what the other wrote: neptune-exporter's side of that, frozen as data.

The reader in here is made from the frozen description alone and shares nothing with ours. It reads
the archives that neptune-exporter wrote, which shows that the description is right, and then ours.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from migration_pipeline.archive import writer
from migration_pipeline.archive.archive import Archive, RunKey
from migration_pipeline.archive.writer import RunWriter
from migration_pipeline_tests.archive.making import (
    KEY,
    archive_in,
    fill,
    points,
    read_rows,
    row,
    write_run,
)
from migration_pipeline_tests.contract.datasets import DATASETS, DataSet, build

DATA = Path(__file__).parent.parent / "data"
CONTRACT: dict[str, Any] = json.loads((DATA / "neptune-exporter-contract.json").read_text())
PART = re.compile(re.escape(CONTRACT["part"]).replace(r"\{run\}", "(.+)").replace(
    r"\{number\}", r"(\d+)"
))  # fmt: skip
WRITTEN_BY_IT = (
    "neptune2-complete",
    "neptune3-complete",
    "neptune3-failed-requests",
    "neptune3-interrupted",
)


def on_disk(name: str) -> str:
    kept = "".join(c if c.isalnum() or c in "_-" else "_" for c in name)
    return f"{kept}-{hashlib.blake2b(name.encode(), digest_size=8).hexdigest()}"


@dataclass(frozen=True)
class Found:
    """A run as the frozen description finds it."""

    project: str
    run: str
    kind: str
    parts: tuple[Path, ...]
    rows: tuple[dict[str, Any], ...]


def read_as_described(data: Path) -> Iterator[Found]:
    """Every run below a data directory; an archive that breaks the contract fails here."""
    for project in sorted(p for p in data.iterdir() if p.is_dir()):
        for kind, folder in CONTRACT["folders of kinds"].items():
            names = [p.name for p in (project / folder).glob("*") if p.is_file()]
            stems = {m[1] for name in names if (m := PART.fullmatch(name))}
            for stem in sorted(stems):
                if CONTRACT["a run is there when this is"].format(run=stem) in names:
                    yield from _run(project, kind, folder, stem)


def _run(project: Path, kind: str, folder: str, stem: str) -> Iterator[Found]:
    """Nothing for a part without rows: nothing in it says whose it is, and it holds nothing."""
    parts, number = [], 0
    while (part := project / folder / CONTRACT["part"].format(run=stem, number=number)).exists():
        parts.append(part)
        number += 1
    rows = [one for part in parts for one in _rows(part)]
    runs = {(one["project_id"], one["run_id"]) for one in rows}
    assert len(runs) <= 1
    for project_id, run_id in runs:
        assert project.name == on_disk(project_id)
        assert stem == on_disk(run_id) or _is_cut(stem, on_disk(run_id))
        yield Found(project_id, run_id, kind, tuple(parts), tuple(rows))


def _is_cut(stem: str, whole: str) -> bool:
    """A stem of ours whose name is too long for the names of temporary parts.

    The reader lists stems; it makes them of run ids only to skip what it exported before.
    """
    kept, _, digest = stem.rpartition("-")
    return len(kept.encode()) > 170 and whole.startswith(kept) and whole.endswith(f"-{digest}")


def _rows(part: Path) -> list[dict[str, Any]]:
    with pq.ParquetFile(part) as file:
        found = [[field.name, str(field.type)] for field in file.schema_arrow]
        assert found == CONTRACT["columns"]
        for group in range(file.num_row_groups):
            chunk = file.metadata.row_group(group).column(0)
            assert chunk.compression == CONTRACT["compression"]
        rows: list[dict[str, Any]] = file.read().to_pylist()
    for one in rows:
        column = CONTRACT["value column"][one["attribute_type"]]
        others = {c for c in one if c.endswith("_value")} - {column}
        assert not [c for c in others if one[c] is not None]
    return rows


@pytest.mark.parametrize("name", WRITTEN_BY_IT)
def test_the_description_is_that_of_real_archives(name: str) -> None:
    root = DATA / name
    archive = Archive(root / "data", root / "files", root / "model_data", root / "model_files")
    roots = [r for r in (archive.data, root / "model_data") if r.exists()]
    found = [run for r in roots for run in read_as_described(r)]
    (project,) = archive.projects()
    ours = archive.runs(project)
    assert {(run.kind, run.run): len(run.rows) for run in found} == {
        (key.kind, key.run): sum(b.num_rows for b in run.batches()) for key, run in ours.items()
    }


@pytest.mark.parametrize("dataset", DATASETS, ids=lambda dataset: dataset.name)
def test_our_archives_keep_to_it(dataset: DataSet, tmp_path: Path) -> None:
    """Hostile names, types, steps, texts and files, as every target is given them."""
    archive = build(tmp_path, dataset)
    found = {RunKey(run.project, run.run): run for run in read_as_described(archive.data)}
    written = [run for run in dataset.runs if run.rows or not run.plain]
    assert set(found) == {RunKey(run.project, run.run) for run in written}
    for run in written:
        assert len(found[RunKey(run.project, run.run)].rows) >= len(run.rows)
    for key, run in found.items():
        (ours,) = [r for k, r in archive.runs(key.project).items() if k == key]
        table = pa.Table.from_batches(ours.batches())
        for name, _ in CONTRACT["columns"]:
            assert repr([one[name] for one in run.rows]) == repr(table[name].to_pylist())
        for one in run.rows:
            if file := one["file_value"]:
                assert (archive.files / on_disk(key.project) / file["path"]).exists()


def test_parts_follow_each_other_from_0(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "PART_BYTES", 1)
    archive = archive_in(tmp_path)
    with RunWriter(archive, KEY, "test") as writing:
        for number in range(3):
            fill(writing, points("m/a", [number * 1_000_000], [0.5]))
            writing.flush()
        writing.commit()
    (run,) = read_as_described(archive.data)
    assert [part.name.rpartition("_")[2] for part in run.parts] == [
        "0.parquet",
        "1.parquet",
        "2.parquet",
    ]
    assert [str(one["step"]) for one in run.rows] == ["0.000000", "1.000000", "2.000000"]


def test_a_run_that_is_being_written_is_not_there_for_either(tmp_path: Path) -> None:
    archive = archive_in(tmp_path)
    with RunWriter(archive, KEY, "test") as writing:
        fill(writing, [row("a", "int", 1)])
        writing.flush()
        directory = archive.project_directory(KEY.project)
        (unfinished,) = directory.iterdir()
        ending = CONTRACT["unfinished part"].format(run="", number=0)
        assert unfinished.name.endswith(ending.rpartition(".parquet")[1] + ".tmp")
        assert list(read_as_described(archive.data)) == []
        assert archive.find(KEY) is None
    assert list(read_as_described(archive.data)) == []


@pytest.mark.parametrize("kind", ["model", "model_version"])
def test_models_lie_where_it_looks_for_them(kind: str, tmp_path: Path) -> None:
    """It takes a root of its own for them: our data directory is one."""
    archive = archive_in(tmp_path)
    key = RunKey("acme/vision", "VIS-MOD", kind)  # type: ignore[arg-type]
    write_run(archive, key, [row("a", "int", 1), row("f", "file", b"weights")])
    (found,) = read_as_described(archive.data)
    assert (found.kind, found.run, len(found.rows)) == (kind, "VIS-MOD", 2)
    assert [r["value"] for r in read_rows(archive, key)] == [1, b"weights"]
