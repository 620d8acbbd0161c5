"""What a person finds at ZenML, by ZenML's own client: models, versions, tags, cards, artifacts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from migration_pipeline.archive.archive import Archive, RunKey
from migration_pipeline.mapping.terms import Loss, ProjectMapping
from migration_pipeline.targets.loading import LoadResult, LoadSettings, load_runs, plan_load
from migration_pipeline.targets.target import LoadState
from migration_pipeline.targets.zenml.client import ZenmlTarget
from migration_pipeline_tests.contract.making import (
    NAN,
    PROJECT,
    START,
    DataSet,
    Row,
    RunData,
    build,
    floats,
    param,
)
from migration_pipeline_tests.targets.zenml_backend import make

ROWS = (
    param("sys/creation_time", "datetime", START),
    param("sys/modification_time", "datetime", START + 1000),
    param("sys/name", "string", "churn"),
    param("sys/description", "string", "what it was for"),
    param("sys/tags", "string_set", ["good", "a, b", "12345678-1234-5678-1234-567812345678"]),
    param("sys/failed", "bool", True),
    param("model/depth", "int", 2**53 + 1),
    param("model/lr", "float", 0.1),
    param("notes", "string", "n" * 5000),
    *floats("loss", [("0.5", START, 3.0), ("0.25", START, NAN), ("2", None, 1.5)]),
    Row("log", "string_series", "a line", "1", START),
    Row("weights/best.bin", "file", b"\0\1"),
    Row("картинка.png", "file", b""),
    Row("plots", "file_series", b"1", "1.5", START, ".png"),
)
CHILD = "child/1"


@dataclass
class Loaded:
    client: Any
    archive: Archive
    result: LoadResult
    version: Any
    child: Any


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    folder = tmp_path_factory.mktemp("shown")
    runs = (RunData("RUN-1", ROWS), RunData(CHILD, parent="RUN-1"))
    archive, target = build(folder, DataSet("shown", runs)), make(folder / "store")
    plan = plan_load(target, archive, PROJECT)
    result = load_runs(target, archive, plan.mapping, plan.due)
    assert all(run.good for run in result.runs)
    from zenml.client import Client

    client = Client()
    name = target._records.versions(client.get_model("neptune-export-team-project").id)
    child = next(n for n in name if n.startswith("child_1-"))
    return Loaded(client, archive, result, *(_version(client, n) for n in ("RUN-1", child)))


def _version(client: Any, name: str) -> Any:
    return client.get_model_version("neptune-export-team-project", name)


def test_description_and_tags(loaded: Loaded) -> None:
    """An id would be taken for that of a tag, so it stands on the card only."""
    assert loaded.version.description == "what it was for"
    assert sorted(tag.name for tag in loaded.version.tags) == ["a, b", "churn", "good"]


def test_cards(loaded: Loaded) -> None:
    cards = loaded.version.run_metadata
    assert set(cards) == {"neptune", "sys", "params", "series"}
    assert cards["neptune"] == {
        "project": PROJECT,
        "run_id": "RUN-1",
        "kind": "run",
        "experiment": "churn",
        "tags": '["good", "a, b", "12345678-1234-5678-1234-567812345678"]',
        "start": "2023-11-14T22:13:20.000Z",
        "end": "2023-11-14T22:13:21.000Z",
        "failed": True,
        "damaged": False,
    }
    assert cards["sys"]["name"] == "churn"
    assert cards["sys"]["tags"][1] == "a, b"
    notes = cards["params"].pop("notes")
    assert cards["params"] == {"model": {"depth": "9007199254740993", "lr": 0.1}}
    assert notes.startswith("nnn")
    assert notes.endswith(" … [cut: 5000 characters, whole in the run's data artifact]")
    assert cards["series"] == {"loss": {"count": 3, "min": 1.5, "max": 3.0, "last": 1.5}}


def test_a_fork_is_linked_to_its_parent(loaded: Loaded) -> None:
    cards = loaded.child.run_metadata
    assert cards["fork"] == {"parent_version": str(loaded.version.id)}
    assert cards["neptune"]["forked_from"] == "RUN-1"


def test_rows_are_a_parquet_artifact(loaded: Loaded) -> None:
    """ZenML's own way of loading gives a folder, which reads as one table: the archive's."""
    artifact = loaded.version.get_artifact("neptune-export-team-project-data")
    assert artifact.version == "RUN-1"
    table = pq.read_table(artifact.load())
    run = loaded.archive.runs(PROJECT)[RunKey(PROJECT, "RUN-1")]
    (part,) = run.parts
    assert repr(table.to_pylist()) == repr(pq.read_table(part).to_pylist())
    notes = [r["string_value"] for r in table.to_pylist() if r["attribute_path"] == "notes"]
    assert notes == ["n" * 5000]


def test_files_are_a_folder_artifact(loaded: Loaded) -> None:
    artifact = loaded.version.get_artifact("neptune-export-team-project-files")
    folder = artifact.load()
    found = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.*")}
    assert found == {
        "weights/best.bin": b"\0\1",
        "картинка.png": b"",
        "plots/step_1.5.png": b"1",
    }
    assert loaded.child.get_artifact("neptune-export-team-project-files") is None


def test_what_is_said_of_the_load(loaded: Loaded) -> None:
    report = next(run.report for run in loaded.result.runs if run.key.run == "RUN-1")
    assert report is not None
    assert report.losses == [Loss("notes", "parameter too long", 1, "the run's data artifact")]
    assert report.renames == {}
    assert (report.points, report.files, report.bytes) == (5, 3, 3)
    assert report.id == str(loaded.version.id)


def test_a_prefix_is_another_model(tmp_path: Path) -> None:
    """Nothing of the one is found by the other."""
    archive = build(tmp_path, DataSet("one", (RunData("RUN-1"),)))
    target = make(tmp_path / "store")
    plans = [plan_load(target, archive, PROJECT, LoadSettings(name_prefix=p)) for p in ("", "x")]
    load_runs(target, archive, plans[0].mapping, plans[0].due)
    key = RunKey(PROJECT, "RUN-1")
    assert target.find(key, ProjectMapping()).state is LoadState.COMPLETE
    assert target.find(key, ProjectMapping(name_prefix="x")).state is LoadState.ABSENT
    load_runs(target, archive, plans[1].mapping, plans[1].due)
    again = ZenmlTarget(target._to._config)
    assert again.find(key, ProjectMapping(name_prefix="x")).state is LoadState.COMPLETE
    again.discard(key, ProjectMapping(name_prefix="x"))
    assert again.find(key, ProjectMapping(name_prefix="x")).state is LoadState.ABSENT
    assert list(again.runs(PROJECT, ProjectMapping())) == [key]
