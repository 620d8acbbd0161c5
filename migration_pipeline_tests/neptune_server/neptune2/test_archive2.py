"""An archive of 2.x, served as 2.x and exported again, is the same archive."""

from __future__ import annotations

import subprocess
import zipfile
from pathlib import Path

import neptune
import numpy as np
import pytest
from neptune.types import File, GitRef

from migration_pipeline.archive.archive import Archive, RunKey
from migration_pipeline.archive.manifest import Manifest
from migration_pipeline.neptune_server import RunningServer, Store, running_server
from migration_pipeline.neptune_server.archive_store import load_archive
from migration_pipeline.sources.export import export_runs, plan_export
from migration_pipeline.sources.neptune2.config import Neptune2Config
from migration_pipeline.sources.neptune2.source import Neptune2Source
from migration_pipeline.sources.source import Selection

from .clients import PROJECT, open_run, tree
from .looking import attributes, get, options

NOON = 1_700_000_000


def export(server: RunningServer, folder: Path) -> dict[RunKey, Manifest]:
    archive = Archive(folder / "data", folder / "files")
    source = Neptune2Source(Neptune2Config(api_token=server.token, workers=2))
    plan = plan_export(source, archive, PROJECT, Selection())
    report = export_runs(source, archive, plan.due, Selection())
    assert report.failures == []
    return {RunKey(m.project, m.run, m.kind): m for m in report.exported}


def write_everything(server: RunningServer, folder: Path) -> None:
    git = ["git", "-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-C", str(folder)]
    for words in (["init", "-q", "-b", "trunk"], ["commit", "-q", "--allow-empty", "-m", "1 ü"]):
        subprocess.run([*git, *words], check=True)
    (folder / "set" / "deep").mkdir(parents=True)
    (folder / "set" / "a.txt").write_bytes(b"a")
    (folder / "set" / "deep" / "b").write_bytes(b"bb" * 500)
    reference = GitRef(repository_path=folder)
    with open_run(server, custom_run_id="mine", git_ref=reference, tags=["t"]) as run:
        run["values"] = {"i": 1, "f": -0.0, "s": "ü", "b": True}
        run["curve"].extend([1.5, 2.5], steps=[0.125, 7], timestamps=[NOON, NOON + 1])
        run["log"].extend(["a", "b"], steps=[3, 4], timestamps=[NOON, NOON + 1])
        run["file"].upload(File.from_content("content", extension="conf"))
        run["images"].append(File.as_image(np.zeros((2, 2))), step=10)
        run["images"].append(File.as_image(np.ones((2, 2))), step=20)
        run["files"].upload_files("made/set")
        run["art"].track_files(f"file://{folder / 'set'}")
        backend = run._backend
        checkpoint = backend.create_checkpoint("an-id", "work/study.ipynb")
        backend.create_run(
            server.store.projects[PROJECT].uuid, notebook_id="an-id", checkpoint_id=checkpoint
        )
    with neptune.init_model(key="NET", **options(server)) as model:
        model["signature"] = "x -> y"
    with neptune.init_model_version(model="TAB-NET", **options(server)) as version:
        version["weights"].upload(File.from_content(b"w"))
        version.change_stage("production")
    with neptune.init_project(**options(server)) as project:
        project["notes"].append("of all", step=0, timestamp=NOON)


@pytest.fixture
def exported(server: RunningServer, tmp_path: Path) -> dict[RunKey, Manifest]:
    (tmp_path / "made").mkdir()
    write_everything(server, tmp_path / "made")
    return export(server, tmp_path / "first")


def loaded(folder: Path) -> Store:
    store = Store()
    load_archive(store, folder / "data", folder / "files")
    return store


def test_it_exports_again_with_the_same_digests(
    exported: dict[RunKey, Manifest], tmp_path: Path
) -> None:
    assert {(key.kind, key.run) for key in exported} == {
        ("run", "TAB-1"),
        ("run", "TAB-2"),
        ("model", "TAB-NET"),
        ("model_version", "TAB-NET-1"),
        ("project", "TAB"),
    }
    with running_server(loaded(tmp_path / "first")) as server:
        again = export(server, tmp_path / "second")
    assert again.keys() == exported.keys()
    for key, before in exported.items():
        after = again[key]
        assert (after.digest, after.types) == (before.digest, before.types), key
        assert after.files == before.files
        assert (after.modified, after.notes) == (before.modified, before.notes)


def test_the_client_reads_it_as_it_was(
    exported: dict[RunKey, Manifest], server: RunningServer, tmp_path: Path
) -> None:
    paths = ("source_code/git", "art", "sys/state", "file", "curve", "sys/tags")
    before = attributes(server, "TAB-1")
    notebook = attributes(server, "TAB-2")["source_code/notebook"]
    with running_server(loaded(tmp_path / "first")) as again:
        after = attributes(again, "TAB-1")
        assert {path: after[path] for path in paths} == {path: before[path] for path in paths}
        assert attributes(again, "TAB-2")["source_code/notebook"] == notebook
        (tmp_path / "out").mkdir()
        with open_run(again, with_id="TAB-1", mode="read-only") as run:
            run["files"].download(str(tmp_path / "out"))
            run["file"].download(str(tmp_path / "out"))
            run["images"].download(str(tmp_path / "out"))
            assert [one.file_path for one in run["art"].fetch_files_list()] == ["a.txt", "deep/b"]
            assert run["files"].list_fileset_files("made/set/deep")[0].size == 1000
        names = {"files.zip", "file.conf", "0.png", "1.png"}
        assert set(tree(tmp_path / "out")) == names
        one = get(again, "download", "TAB-1", "files", path="made/set/deep/b")
        assert one.content == b"bb" * 500
        with open_run(again, custom_run_id="mine") as resumed:
            assert resumed["sys/id"].fetch() == "TAB-1"
        with open_run(again) as fresh:
            assert fresh["sys/id"].fetch() == "TAB-3"
        with neptune.init_model_version(model="TAB-NET", **options(again)) as version:
            assert version["sys/id"].fetch() == "TAB-NET-2"


def test_a_set_that_changes_is_zipped_anew(
    exported: dict[RunKey, Manifest], tmp_path: Path
) -> None:
    with running_server(loaded(tmp_path / "first")) as again:
        (tmp_path / "c.txt").write_bytes(b"c")
        (tmp_path / "out").mkdir()
        with open_run(again, with_id="TAB-1") as run:
            run["files"].upload_files("c.txt")
            run["files"].delete_files("made/set/a.txt")
            run["files"].download(str(tmp_path / "out"))
    with zipfile.ZipFile(tmp_path / "out" / "files.zip") as packed:
        content = {n: packed.read(n) for n in packed.namelist() if not n.endswith("/")}
    assert content == {"c.txt": b"c", "made/set/deep/b": b"bb" * 500}


def test_another_servers_zip_is_served_as_it_is(
    exported: dict[RunKey, Manifest], tmp_path: Path
) -> None:
    """The real one may compress, and date its entries."""
    [entry] = [e for e in exported[RunKey(PROJECT, "TAB-1")].files if e.name == "files.zip"]
    place = Archive(tmp_path / "first" / "data", tmp_path / "first" / "files").files_root(PROJECT)
    with zipfile.ZipFile(place / entry.path, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("/", b"")
        packed.writestr("/made/set/deep/b", b"bb" * 500)
    (tmp_path / "out").mkdir()
    with running_server(loaded(tmp_path / "first")) as again:
        with open_run(again, with_id="TAB-1", mode="read-only") as run:
            run["files"].download(str(tmp_path / "out"))
        one = get(again, "download", "TAB-1", "files", path="made/set/deep/b")
    assert one.content == b"bb" * 500
    assert (tmp_path / "out" / "files.zip").read_bytes() == (place / entry.path).read_bytes()
