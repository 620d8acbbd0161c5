"""What changes at ZenML after a load is found by the read-back, wherever it is: cards, tags, rows,
files, the model version itself."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from migration_pipeline.archive.archive import Archive, RunKey
from migration_pipeline.mapping.terms import ProjectMapping
from migration_pipeline.targets.loading import load_runs, plan_load, verify_runs
from migration_pipeline.targets.zenml.client import ZenmlTarget
from migration_pipeline_tests.contract.making import (
    PROJECT,
    START,
    DataSet,
    Row,
    RunData,
    build,
    curve,
    param,
)
from migration_pipeline_tests.targets.zenml_backend import DATABASE, make

KEY = RunKey(PROJECT, "RUN-1")
ROWS = (
    param("p/lr", "float", 0.1),
    param("p/depth", "int", 3),
    param("sys/tags", "string_set", ["one"]),
    param("sys/description", "string", "why"),
    *curve("loss", 4),
    Row("log", "string_series", "a line", "1", START),
    Row("file", "file", b"content"),
)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Archive]:
    folder = tmp_path_factory.mktemp("whole")
    archive = build(folder, DataSet("whole", (RunData("RUN-1", ROWS),)))
    target = make(folder / "store")
    plan = plan_load(target, archive, PROJECT)
    assert all(run.good for run in load_runs(target, archive, plan.mapping, plan.due).runs)
    return folder / "store", archive


def _card(title: str, value: dict[str, Any]) -> Callable[[ZenmlTarget, Path], None]:
    def change(target: ZenmlTarget, folder: Path) -> None:
        target._records.put_cards(_version(target).id, {title: value})

    return change


def _version(target: ZenmlTarget) -> Any:
    found = target._find(KEY, ProjectMapping())
    assert found.version
    return target._records.version(found.version)


def _tag(target: ZenmlTarget, folder: Path) -> None:
    update = target._to.api.ModelVersionUpdate(remove_tags=["one"])
    target._to.store.update_model_version(_version(target).id, update)


def _description(target: ZenmlTarget, folder: Path) -> None:
    update = target._to.api.ModelVersionUpdate(description="another")
    target._to.store.update_model_version(_version(target).id, update)


def _rows(change: Callable[[pa.Table], pa.Table]) -> Callable[[ZenmlTarget, Path], None]:
    def changed(target: ZenmlTarget, folder: Path) -> None:
        (part,) = folder.glob("local_stores/*/neptune-export*/*/data/*.parquet")
        pq.write_table(change(pq.read_table(part)), part)

    return changed


def _moved(table: pa.Table) -> pa.Table:
    """One point a millionth later."""
    at = table.schema.get_field_index("step")
    steps = table.column(at).to_pylist()
    row = next(i for i, step in enumerate(steps) if step is not None)
    steps[row] += type(steps[row])("0.000001")
    return table.set_column(at, table.field(at), pa.array(steps, type=table.field(at).type))


def _without(path: str) -> Callable[[pa.Table], pa.Table]:
    return lambda table: table.filter(pc.not_equal(table["attribute_path"], path))


def _file(target: ZenmlTarget, folder: Path) -> None:
    (file,) = folder.glob("local_stores/*/neptune-export*/*/files/*")
    file.write_bytes(b"Content")


def _cut(target: ZenmlTarget, folder: Path) -> None:
    (part,) = folder.glob("local_stores/*/neptune-export*/*/data/*.parquet")
    part.write_bytes(part.read_bytes()[:-20])


def _gone(target: ZenmlTarget, folder: Path) -> None:
    target._records.delete_version(_version(target).id)


CHANGES = {
    "nothing": (lambda target, folder: None, ""),
    "a parameter": (_card("params", {"p": {"lr": 0.2, "depth": 3}}), "differing 'p/lr'"),
    "a parameter's type": (_card("params", {"p": {"lr": 0.1, "depth": True}}), "missing 'p/depth'"),
    "a parameter gone": (_card("params", {"p": {"lr": 0.1}}), "missing 'p/depth'"),
    "one too many": (_card("params", {"new": 1}), "unexpected 'new'"),
    "a summary": (_card("series", {"loss": {"count": 3}}), "the card of series 'loss' shows"),
    "a tag": (_tag, "the run's tags is ()"),
    "the description": (_description, "the run's description is 'another'"),
    "a step": (_rows(_moved), "differing 'loss'"),
    "a text gone": (_rows(_without("log")), "missing 'log'"),
    "a file": (_file, "differing 'file'"),
    "a part cut off": (_cut, "cannot be read: part"),
    "the version": (_gone, "the run is partial"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_found(change: str, stored: tuple[Path, Archive], tmp_path: Path) -> None:
    whole, archive = stored
    shutil.copytree(whole, tmp_path / "store")
    _move_artifacts(whole, tmp_path / "store")
    apply, said = CHANGES[change]
    apply(make(tmp_path / "store"), tmp_path / "store")
    again = make(tmp_path / "store")
    (run,) = verify_runs(again, archive, ProjectMapping(), [KEY]).runs
    assert run.good == (change == "nothing")
    found = run.verdict.findings if run.verdict else []
    assert said in (str(run.error) if run.error else "; ".join(map(str, found)))
    if {finding.kind for finding in found} - {"state"}:
        assert plan_load(again, archive, PROJECT).unverified == [KEY]


def _move_artifacts(old: Path, new: Path) -> None:
    """Addresses of artifacts are absolute."""
    with closing(sqlite3.connect(new / DATABASE)) as database:
        moved = "UPDATE artifact_version SET uri = replace(uri, ?, ?)"
        database.execute(moved, (str(old), str(new)))
        database.commit()
