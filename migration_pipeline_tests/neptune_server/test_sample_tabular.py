"""The shipped sample holds what the README promises of its project of Neptune 2.x."""

from __future__ import annotations

import io
import json
import zipfile
from collections import Counter
from typing import Any

import pytest

from migration_pipeline.archive.archive import Archive, RunKey
from migration_pipeline.archive.manifest import Kind
from migration_pipeline.neptune_server.sample import SAMPLE_ZIP
from migration_pipeline.neptune_server.sample.scripts import odd
from migration_pipeline.neptune_server.sample.scripts.train import STAGES
from migration_pipeline_tests.archive.making import read_rows

PROJECT = "acme/tabular"
TYPES = {
    *("float", "int", "string", "bool", "datetime", "string_set"),
    *("float_series", "string_series", "file_series", "file", "file_set", "artifact"),
}


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    root = tmp_path_factory.mktemp("sample")
    with zipfile.ZipFile(SAMPLE_ZIP) as packed:
        packed.extractall(root)
    return Archive(root / "data", root / "files")


def key(run: str, kind: Kind = "run") -> RunKey:
    return RunKey(PROJECT, run, kind)


def values(archive: Archive, of: RunKey) -> dict[str, Any]:
    """path → value, or the list of values where there are several."""
    found: dict[str, list[Any]] = {}
    for row in read_rows(archive, of):
        found.setdefault(row["path"], []).append(row["value"])
    return {path: v if len(v) > 1 else v[0] for path, v in found.items()}


def test_every_kind_is_there(archive: Archive) -> None:
    runs = archive.runs(PROJECT)
    assert Counter(k.kind for k in runs) == {
        "run": 7,
        "model": 1,
        "model_version": 2,
        "project": 1,
    }
    assert {run.manifest.source for run in runs.values() if run.manifest} == {"neptune2"}
    assert {k.run for k in runs if k.kind != "run"} == {
        *("TAB-CANCER", "TAB-CANCER-1", "TAB-CANCER-2"),
        "TAB",
    }


def test_every_type_is_there(archive: Archive) -> None:
    found = {row["type"] for run in archive.runs(PROJECT) for row in read_rows(archive, run)}
    assert found == TYPES


def test_manifests_say_what_the_rows_and_files_are(archive: Archive) -> None:
    for run in archive.runs(PROJECT).values():
        assert run.manifest is not None
        assert run.manifest.digest == run.sums().digest()


def test_references_are_texts(archive: Archive) -> None:
    first = values(archive, key("TAB-1"))
    git = json.loads(first["source_code/git"])
    assert git["commit"]["authorName"] == "Ada"
    assert git["currentBranch"] == "main"
    assert json.loads(first["source_code/notebook"])["notebookName"] == "explore data.ipynb"
    assert first["sys/state"] == "idle"


def test_a_training_has_curves_pictures_sources_and_data(archive: Archive) -> None:
    second = values(archive, key("TAB-2"))
    assert len(second["metrics/val/auc"]) == STAGES
    assert second["results/last_auc"] == second["metrics/val/auc"][-1]
    assert [line.split(":")[0] for line in second["training/log"]] == [
        f"stage {n}" for n in range(10, STAGES + 1, 10)
    ]
    assert [content[:4] for content in second["charts/importances"]] == [b"\x89PNG"] * 2
    steps = [
        row["step"]
        for row in read_rows(archive, key("TAB-2"))
        if row["path"] == "charts/importances"
    ]
    assert steps == [0, 1_000_000]  # logged at 20 and 40: 2.x gives the order only
    manifest = archive.runs(PROJECT)[key("TAB-2")].manifest
    assert manifest is not None
    assert any("charts/importances" in note for note in manifest.notes)


def test_a_file_set_is_its_zip_and_its_listing(archive: Archive) -> None:
    contents = values(archive, key("TAB-1"))["source_code/files"]
    (listing,) = [json.loads(c) for c in contents if not c.startswith(b"PK")]
    (packed,) = [zipfile.ZipFile(io.BytesIO(c)) for c in contents if c.startswith(b"PK")]
    assert [entry["path"] for entry in listing] == ["conf/base.json", "train.py"]
    assert {n for n in packed.namelist() if not n.endswith("/")} == {"conf/base.json", "train.py"}
    assert b"logged as people log to Neptune 2.x" in packed.read("train.py")


def test_artifacts_name_their_files_whose_bytes_are_gone(archive: Archive) -> None:
    content = values(archive, key("TAB-1"))["data/all"]
    artifact = json.loads(content)
    assert [file["filePath"] for file in artifact["files"]] == ["train.csv", "val.csv"]
    assert len(artifact["hash"]) == 64
    manifest = archive.runs(PROJECT)[key("TAB-1")].manifest
    assert manifest is not None
    assert any("data/all" in note for note in manifest.notes)


def test_one_training_failed_and_one_run_is_in_the_trash(archive: Archive) -> None:
    failed = values(archive, key("TAB-4"))
    assert failed["sys/failed"] is True
    (traceback,) = [v for path, v in failed.items() if path.endswith("/traceback")]
    assert "FloatingPointError" in "".join(traceback)
    assert {
        run: values(archive, key(run))["sys/trashed"] for run in ("TAB-5", "TAB-6", "TAB-7")
    } == {"TAB-5": False, "TAB-6": True, "TAB-7": False}


def test_a_model_has_two_versions_at_their_stages(archive: Archive) -> None:
    assert values(archive, key("TAB-CANCER", "model"))["owner/team"] == "diagnostics"
    versions = [
        values(archive, key(name, "model_version")) for name in ("TAB-CANCER-1", "TAB-CANCER-2")
    ]
    assert [v["sys/stage"] for v in versions] == ["production", "staging"]
    assert {v["sys/model_id"] for v in versions} == {"TAB-CANCER"}
    assert [v["binary"] for v in versions] == [
        values(archive, key(run))["model/binary"] for run in ("TAB-1", "TAB-2")
    ]


def test_the_project_has_metadata(archive: Archive) -> None:
    project = values(archive, key("TAB", "project"))
    assert project["general/people"] == 3
    assert sorted(project["sys/tags"]) == ["2025", "diagnostics"]
    assert project["general/data"].startswith(b"mean radius,")


def test_odd_names_and_values_are_exact(archive: Archive) -> None:
    found = values(archive, key("TAB-5"))
    assert found["sys/custom_run_id"] == "odd one, 'quoted'"
    assert {name: found[f"names/{name}"] for name in odd.NAMES} == {
        name: number for number, name in enumerate(odd.NAMES)
    }
    assert {name: found[f"files/{name}"] for name in odd.NAMES} == {
        name: f"the bytes of {name}".encode() for name in odd.NAMES
    }
    for kind, given in (("text", odd.TEXTS), ("int", odd.INTEGERS), ("float", odd.FLOATS)):
        assert {name: found[f"{kind}/{name}"] for name in given} == given
    assert str(found["float/negative zero"]) == "-0.0"
    assert found["when"] == 946_684_799_999
    assert found["files/empty"] == b""
    steps = [
        row["step"] for row in read_rows(archive, key("TAB-5")) if row["path"] == "steps/decimal"
    ]
    assert steps == [1, 290_000, 570_000, 580_000, 1_000_000, 4_294_967_296_500_000]
    (listing,) = [json.loads(c) for c in found["sets/emptied"] if not c.startswith(b"PK")]
    assert listing == []


def test_it_names_no_machine(archive: Archive) -> None:
    hosts = {
        value
        for run in archive.runs(PROJECT)
        for path, value in values(archive, run).items()
        if path.endswith("hostname")
    }
    assert hosts == {"forge"}
