"""Figures, picture and page of a status: what they say of stages, and that names break nothing."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from migration_pipeline.errors import ReportNotWritableError
from migration_pipeline.status.figures import (
    STATES,
    Stage,
    Status,
    counted,
    duration,
    headline,
    in_order,
    state_of,
)
from migration_pipeline.status.page import write_page
from migration_pipeline.status.picture import BAR, MAX_BARS, as_image, segments, shown, svg

EVIL = '</title><script>alert(1)</script>"\x00\ud800 & <b>'
ARCHIVE = Stage("ws/a", "archive", "failed", total=10, there=7, failed=2, points=70, bytes=1234)
MLFLOW = Stage("ws/a", "mlflow", "running", total=7, there=5, verified=4, points=50)


@pytest.mark.parametrize(
    ("state", "of"),
    [
        ("running", {"there": 1, "running": True, "failed": True}),
        ("failed", {"there": 3, "failed": True}),
        ("stopped", {"there": 3, "stopped": True}),
        ("not begun", {"there": 0}),
        ("incomplete", {"there": 2}),
        ("incomplete", {"there": 2, "damaged": True}),
        ("damaged", {"there": 3, "damaged": True}),
        ("failed", {"there": 3, "damaged": True, "failed": True}),
        ("not verified", {"there": 3, "verified": 2}),
        ("done", {"there": 3, "verified": 3}),
        ("done", {"there": 3}),
    ],
)
def test_the_state_follows_from_what_is_there(state: str, of: dict[str, int]) -> None:
    given = {"verified": None, "failed": False, "running": False, "stopped": False, **of}
    assert state_of(total=3, **given) == state  # type: ignore[arg-type]
    assert state in STATES


def test_a_project_without_runs_is_done() -> None:
    nothing = state_of(total=0, there=0, verified=0, failed=False, running=False, stopped=False)
    assert nothing == "done"


def test_bars_are_as_long_as_there_are_runs() -> None:
    assert segments(ARCHIVE) == [
        ("exported", 7),
        ("loaded", 0),
        ("failed", 2),
        ("damaged", 0),
        ("missing", 1),
    ]
    assert [n for _, n in segments(MLFLOW)] == [4, 1, 0, 0, 2]
    assert [n for _, n in segments(replace(ARCHIVE, damaged=3))] == [4, 0, 2, 3, 1]
    drawing = ElementTree.fromstring(svg([ARCHIVE, MLFLOW]))
    bars = [
        (one.get("fill"), float(str(one.get("width"))))
        for one in drawing.iter("{http://www.w3.org/2000/svg}rect")
        if len(one)
    ]
    assert sum(width for _, width in bars[:3]) == pytest.approx(BAR, abs=0.2)
    assert bars[0] == ("#2f6fd6", pytest.approx(BAR * 0.7, abs=0.1))


def test_of_many_those_are_drawn_that_need_a_look() -> None:
    done = [replace(ARCHIVE, project=f"ws/{i:03}", state="done") for i in range(100)]
    bad = replace(ARCHIVE, project="ws/999")
    assert len(shown([*done, bad])) == MAX_BARS
    assert shown([*done, bad])[-1] == bad
    assert f"{MAX_BARS} of 101 bars" in svg([*done, bad])
    assert svg([]) == ""


def test_the_picture_is_markdown_that_holds_it() -> None:
    drawing = svg([ARCHIVE])
    found = re.fullmatch(r"!\[status\]\(data:image/svg\+xml;base64,(.+)\)", as_image(drawing))
    assert found
    assert base64.b64decode(found[1]).decode() == drawing


def test_names_break_neither_picture_nor_page(tmp_path: Path) -> None:
    stage = replace(ARCHIVE, project=EVIL, reasons=((EVIL, EVIL),))
    ElementTree.fromstring(svg([stage]))
    page = write_page(Status((stage,), "now", EVIL, EVIL), tmp_path).read_text()
    assert "<script" not in page
    assert page.count("&lt;script&gt;") == 7
    assert page.count("</title>") == page.count("<title>")


def test_the_page_shows_figures_and_reasons(tmp_path: Path) -> None:
    stages = (replace(ARCHIVE, reasons=(("ws/a|r", "the server answered 400"),)), MLFLOW)
    page = write_page(Status(stages, "2026-01-01T00:00:00Z", "Records."), tmp_path).read_text()
    rows = re.findall(r'<tr class="\w+">(.*?)</tr>', page)
    cells = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in rows]
    assert cells[0][:8] == ["ws/a", "archive", "failed", "7", "10", "", "2", "0"]
    assert cells[0][8:10] == ["70", "1.23 kB"]
    assert cells[1][3:7] == ["5", "7", "4", "0"]
    assert "<td>ws/a|r</td><td>the server answered 400</td>" in page
    assert "As of 2026-01-01T00:00:00Z. Records." in page
    assert "src=" not in page
    assert "href=" not in page


def test_a_figure_that_does_not_count_all_runs_says_so() -> None:
    assert [counted(replace(ARCHIVE, uncounted=n), "70") for n in (0, 6, 7)] == [
        "70",
        "≥ 70",
        "not counted",
    ]


def test_a_folder_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ReportNotWritableError, match="file"):
        write_page(Status((), "now", ""), tmp_path / "file")


def test_the_headline_counts_by_place() -> None:
    status = Status((MLFLOW, ARCHIVE), "now", "")
    assert headline(status).splitlines() == [
        "archive: 7 of 10 runs, 2 failed; 0 of 1 projects done",
        "mlflow: 5 of 7 runs, 4 verified; 0 of 1 projects done",
    ]
    damaged = Status((replace(ARCHIVE, damaged=3),), "now", "")
    assert headline(damaged).startswith("archive: 7 of 10 runs, 2 failed, 3 damaged; 0 of 1")
    assert headline(Status((), "now", "")) == "no project is known yet"
    assert in_order([MLFLOW, ARCHIVE]) == [ARCHIVE, MLFLOW]
    assert Stage.from_plain(MLFLOW.plain()) == MLFLOW


def test_durations_are_for_people() -> None:
    assert [duration(s) for s in (None, 0.4, 99, 100, 7200)] == [
        "",
        "0 s",
        "99 s",
        "2 min",
        "2.0 h",
    ]
