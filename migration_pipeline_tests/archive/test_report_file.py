"""Reports replace older ones whole, and say where they cannot be written."""

from __future__ import annotations

from pathlib import Path

import pytest

from migration_pipeline.archive.report_file import report_file
from migration_pipeline.errors import ReportNotWritableError


def test_a_report_takes_the_place_of_the_older_one(tmp_path: Path) -> None:
    path = tmp_path / "new" / "r.json"
    for text in ("old", "neu ü\n"):
        with report_file(path) as file:
            file.write(text)
    assert path.read_bytes() == "neu ü\n".encode()
    assert [p.name for p in path.parent.iterdir()] == ["r.json"]


def test_what_breaks_leaves_the_older_one(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_text("old")

    def write_half() -> None:
        with report_file(path) as file:
            file.write("half")
            raise KeyError("in between")

    with pytest.raises(KeyError, match="in between"):
        write_half()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["r.json"]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    path = tmp_path / "file" / "r.json"
    with pytest.raises(ReportNotWritableError) as caught, report_file(path):
        pytest.fail("the block was entered")
    assert str(caught.value) == (
        f"cannot write the report {path}: {path.parent} is no directory. Point "
        "MIGRATION_REPORT_PATH at a directory that this user may write to and that has space. "
        "Reports that were there before are untouched."
    )


def test_a_lone_surrogate_is_no_reason_to_stop(tmp_path: Path) -> None:
    with report_file(tmp_path / "r.txt") as file:
        file.write("a\ud800b")
    assert (tmp_path / "r.txt").read_text() == "a?b"
