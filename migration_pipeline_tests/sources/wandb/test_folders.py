"""Folders as they may be found: cut, changed inside, killed, resumed, read-only, nameless."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from migration_pipeline.archive.archive import RunKey
from migration_pipeline.errors import ConfigError, RunGoneError
from migration_pipeline.sources.export import export_runs, plan_export
from migration_pipeline.sources.source import Selection
from migration_pipeline.sources.wandb.config import WandbSourceConfig
from migration_pipeline.sources.wandb.source import WandbSource
from migration_pipeline.wandb_sdk import records
from migration_pipeline_tests.archive.making import archive_in, read_rows, values
from migration_pipeline_tests.machine import obeying_permissions, unreadable, unreadable_part
from migration_pipeline_tests.sources.serving import Exported
from migration_pipeline_tests.sources.wandb.conftest import PROJECT, Written, write
from migration_pipeline_tests.sources.wandb.writing import STEPS
from migration_pipeline_tests.sources.wandb_backend import write_folder


def exporting(root: Path, folder: Path, project: str = "team/vision", **more: Any) -> Exported:
    config = WandbSourceConfig.model_validate({"local_paths": (root,)} | more)
    made = Exported(None, archive_in(folder), WandbSource(config), project)
    made.export_all()
    return made


def state_of(root: Path) -> dict[str, tuple[str, int]]:
    """Content and time of every file."""
    return {
        str(path): (hashlib.blake2b(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in root.rglob("*")
        if path.is_file()
    }


def test_nothing_is_changed(written: Written, tmp_path: Path) -> None:
    root = written.folder / "offline"
    before = state_of(root)
    exporting(root, tmp_path, PROJECT)
    assert len(before) > 5
    assert state_of(root) == before


def test_a_folder_that_may_not_be_written(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    folder = write_folder(root, "vision", "r1", 1)
    (folder / "run-r1.wandb").chmod(0o400)
    folder.chmod(0o500)

    def rows() -> str:
        made = exporting(root, tmp_path / "archive")
        return str(len(made.series("r1", "loss"))) + "".join(made.manifest("r1").notes)

    try:
        assert obeying_permissions(rows).startswith("3")
    finally:
        folder.chmod(0o700)


@pytest.mark.parametrize("name", ["run-r1.wandb", "files/model.bin"])
def test_what_may_not_be_read_is_named_and_the_other_runs_are_exported(
    tmp_path: Path, name: str
) -> None:
    root = tmp_path / "runs"
    for i in range(3):
        write_folder(root, "vision", f"r{i}", i)
    file = root / "offline-run-20260101_000000-r1" / name
    source = WandbSource(WandbSourceConfig(local_paths=(root,)))
    made = Exported(None, archive_in(tmp_path / "archive"), source, "team/vision")
    due = plan_export(source, made.archive, made.project, Selection()).due
    file.chmod(0)
    made.report = obeying_permissions(
        lambda: export_runs(source, made.archive, due, Selection()),
    )
    assert list(made.failed) == ["r1"]
    assert f"team/vision|r1: {file} cannot be read: Permission denied" in str(made.failed["r1"])
    assert made.runs == {"r0", "r2"}
    if name.endswith(".wandb"):
        with pytest.raises(ConfigError, match=f"{file} cannot be read"):
            obeying_permissions(source.list_projects)
    file.chmod(0o600)
    made.export_all()
    assert made.values("r1")["files/model.bin"] == b"1"


def test_files_on_a_bad_sector_are_damage_and_all_others_are_exported(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    write_folder(root, "vision", "r1", 1)
    files = root / "offline-run-20260101_000000-r1" / "files"
    (files / "other.bin").write_bytes(b"other")
    unreadable(files / "model.bin")
    made = exporting(root, tmp_path / "archive")
    said = f"{files / 'model.bin'} cannot be read: Input/output error"
    assert made.manifest("r1").damage == [said]
    found = made.values("r1")
    assert found["files/other.bin"] == b"other"
    assert "files/model.bin" not in found


def test_a_log_on_a_bad_sector_has_everything_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that is cut there."""
    root = tmp_path / "runs"
    write_folder(root, "vision", "r1", 1)
    log = log_of(root)
    size, at = log.stat().st_size, offsets(log)[3] + 10
    with monkeypatch.context() as patch:
        unreadable_part(patch, log.name, range(at, size))
        made = exporting(root, tmp_path / "bad")
    (said,) = made.manifest("r1").damage
    assert f"at byte {offsets(log)[3]} of {size}: Input/output error" in said
    os.truncate(log, at)
    cut = exporting(root, tmp_path / "cut")
    assert made.series("r1", "loss") == cut.series("r1", "loss") != []
    assert made.values("r1") == cut.values("r1")


def test_a_folder_that_goes_after_it_was_listed_is_a_run_that_is_gone(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    for i in range(3):
        write_folder(root, "vision", f"r{i}", i)
    source = WandbSource(WandbSourceConfig(local_paths=(root,)))
    made = Exported(None, archive_in(tmp_path / "archive"), source, "team/vision")
    due = plan_export(source, made.archive, made.project, Selection()).due
    shutil.rmtree(root / "offline-run-20260101_000000-r1")
    made.report = export_runs(source, made.archive, due, Selection())
    assert {run: type(error) for run, error in made.failed.items()} == {"r1": RunGoneError}
    assert made.runs == {"r0", "r2"}


def log_of(root: Path) -> Path:
    (log,) = root.rglob("run-*.wandb")
    return log


def offsets(log: Path) -> list[int]:
    """Where the records begin, and the end."""
    _, store = records("source")
    scan = store()
    scan.open_for_scan(str(log))
    found = [scan.get_offset()]
    while scan.scan_data() is not None:
        found.append(scan.get_offset())
    scan.close()
    return found


# The records of `write_folder`: the run, 3 rows, 2 of system metrics, 2 texts, summary, end.
@pytest.mark.parametrize("whole", range(10))
def test_a_log_that_is_cut_has_everything_before(tmp_path: Path, whole: int) -> None:
    root = tmp_path / "runs"
    write_folder(root, "vision", "r1", 7)
    log = log_of(root)
    starts = offsets(log)
    assert len(starts) == 11
    os.truncate(log, (starts[whole] + starts[whole + 1]) // 2)
    project = "team/vision" if whole else "local/uncategorized"
    made = exporting(root, tmp_path / "archive", project)
    rows = min(max(0, whole - 1), 3)
    assert [value for _, _, value in made.series("r1", "loss")] == [7.0, 7.5, 8.0][:rows]
    assert len(made.series("r1", "monitoring/cpu")) == min(max(0, whole - 4), 2)
    manifest = made.manifest("r1")
    [damage] = manifest.damage
    assert damage.startswith(f"run-r1.wandb cannot be read further: at byte {starts[whole]} of")
    assert any("no end was written" in note for note in manifest.notes)
    assert made.values("r1")["files/model.bin"] == b"7"


def test_a_log_with_a_changed_byte_ends_there(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    write_folder(root, "vision", "r1", 7)
    log = log_of(root)
    content = bytearray(log.read_bytes())
    content[offsets(log)[2] + 10] ^= 1
    log.write_bytes(content)
    made = exporting(root, tmp_path / "archive")
    assert [value for _, _, value in made.series("r1", "loss")] == [7.0]
    assert ["checksum" in text for text in made.manifest("r1").damage] == [True]


@pytest.mark.parametrize("content", [b"", b"abc", b"not W&B's at all"])
def test_a_log_that_is_none_still_has_its_files(tmp_path: Path, content: bytes) -> None:
    root = tmp_path / "runs"
    write_folder(root, "vision", "r1", 7)
    log_of(root).write_bytes(content)
    made = exporting(root, tmp_path / "archive", "local/uncategorized")
    assert made.values("r1")["files/model.bin"] == b"7"
    notes = made.manifest("r1").notes
    assert ["none of W&B's" in text for text in made.manifest("r1").damage] == [True]
    assert any("does not say: entity; project; run" in note for note in notes)


def test_files_of_artifacts_that_are_gone_are_damage(written: Written, tmp_path: Path) -> None:
    """W&B's SDK keeps copies of them beside the runs' folders; the log names these."""
    root = written.folder / "offline"
    kept = root / "artifacts"
    assert exporting(root, tmp_path / "before", PROJECT).manifest("rich").damage == []
    kept.rename(tmp_path / "away")
    try:
        made = exporting(root, tmp_path / "after", PROJECT)
    finally:
        (tmp_path / "away").rename(kept)
    gone = [text for text in made.manifest("rich").damage if "artifacts/model:" in text]
    assert len(gone) == 1
    assert gone[0].endswith("are not on this machine any more: dir/f.txt")


def test_a_process_that_was_killed_left_what_it_had_written(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    program = write(root, "killed", WANDB_MODE="offline")
    program.communicate(timeout=250)
    assert program.returncode == -9
    made = exporting(root, tmp_path / "archive", PROJECT)
    losses = [(step // 10**6, value) for step, _, value in made.series("rich", "loss")]
    assert len(losses) > STEPS
    assert losses == [(i, 1 / (i + 1)) for i in range(len(losses))]
    assert values(made.archive, RunKey(PROJECT, "rich"))["config/big"] == 2**53 + 1
    assert any("no end was written" in note for note in made.manifest("rich").notes)


def test_a_resumed_run_is_one_run(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    write_folder(root, "vision", "r1", 1)
    later = write_folder(root / "later", "vision", "r1", 2, later=1)
    later.rename(root / "later" / "run-20260102_000000-r1")
    made = exporting(root, tmp_path / "archive")
    assert made.runs == {"r1"}
    found = [value for _, _, value in made.series("r1", "loss")]
    assert sorted(found) == [1.0, 1.5, 2.0, 2.0, 2.5, 3.0]
    assert made.values("r1")["config/n"] == 2
    assert made.values("r1")["config/later"] == 1
    assert made.values("r1")["files/model.bin"] == b"2"
    older = "files/offline-run-20260101_000000-r1/model.bin"
    assert made.values("r1")[older] == b"1"


def test_what_a_folder_does_not_say_comes_from_settings(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    folder = write_folder(root, "vision", "r1", 1)
    proto, store = records("source")
    log = folder / "run-r1.wandb"
    log.unlink()
    write_log = store()
    write_log.open_for_write(str(log))
    record = proto.Record()
    record.run.run_id = "r1"
    write_log.write(record)
    write_log.close()
    assert exporting(root, tmp_path / "a", "local/uncategorized").runs == {"r1"}
    made = exporting(root, tmp_path / "b", "us/uncategorized", entity="us")
    assert any("does not say: entity; project" in note for note in made.manifest("r1").notes)


def test_projects_that_would_meet_keep_their_names(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    for i, project in enumerate(("a_b", "a-b", "c_d")):
        write_folder(root, project, f"r{i}", i)
    config = WandbSourceConfig(local_paths=(root,))
    assert WandbSource(config).list_projects() == ["team/a-b", "team/a_b", "team/c-d"]
    assert exporting(root, tmp_path / "archive", "team/a_b").runs == {"r0"}


def test_a_folder_that_is_named_itself_and_one_that_is_not_there(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "runs", "vision", "r1", 1)
    assert exporting(folder, tmp_path / "archive").runs == {"r1"}
    with pytest.raises(ConfigError, match="MIGRATION_LOCAL_PATH"):
        WandbSource(WandbSourceConfig(local_paths=(tmp_path / "no",))).list_projects()


def test_a_missing_medium_is_named(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    folder = write_folder(root, "vision", "r1", 1)
    shutil.rmtree(folder / "files" / "media")
    made = exporting(root, tmp_path / "archive", accept_missing_files=True)
    assert made.manifest("r1").missing_files == ["img (media/images/i.png)"]
    assert not [
        r for r in read_rows(made.archive, RunKey("team/vision", "r1")) if r["path"] == "img"
    ]
