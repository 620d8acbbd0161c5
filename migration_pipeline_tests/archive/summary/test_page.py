"""The page is one file: its data is what was summarized, and nothing in the data becomes markup."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from math import inf, nan
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from migration_pipeline.archive.archive import Archive, RunKey
from migration_pipeline.archive.summary.report import ProjectReport, write_reports
from migration_pipeline_tests.archive.making import Row, archive_in, points, row, write_run

EVIL = "</script><script>alert(1)</script><!-- <img src=x onerror=alert(2)> ${title} $style \u2028"
NAMES = [EVIL, "日本語/модель", "a\ud7ffb", 'it\'s "quoted" & <b>bold</b>', "%{x}"]
MICRO = 10**6


class Elements(HTMLParser):
    """The elements of a page with their attributes, and the texts of scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.starts: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.starts.append((tag, dict(attributes)))
        if tag == "script":
            self.scripts.append((dict(attributes), ""))

    def handle_data(self, data: str) -> None:
        if self.starts and self.starts[-1][0] == "script":
            attributes, text = self.scripts[-1]
            self.scripts[-1] = (attributes, text + data)

    def handle_endtag(self, tag: str) -> None:
        self.starts.append(("/" + tag, {}))


def page_of(archive: Archive, project: str, metrics: list[str], folder: Path) -> str:
    reports: list[ProjectReport] = []
    write_reports(archive, [project], [], metrics, folder, reports.append)
    return reports[0].page.read_text()


def parsed(page: str) -> Elements:
    elements = Elements()
    elements.feed(page)
    return elements


def data_of(page: str) -> dict[str, Any]:
    """id → content of the blocks of JSON."""
    blocks = {a["id"]: text for a, text in parsed(page).scripts if a.get("id")}
    return {name: json.loads(text) for name, text in blocks.items() if name}


def numbers(packed: dict[str, str]) -> list[float]:
    return np.frombuffer(base64.b64decode(packed["bdata"]), packed["dtype"]).tolist()


@pytest.fixture
def hostile(tmp_path: Path) -> Archive:
    """Every name in it is hostile."""
    archive = archive_in(tmp_path)
    for name in NAMES:
        rows: list[Row] = [
            *points(name, [0, MICRO], [1.0, 2.0]),
            row("sys/name", "string", name),
            row("sys/tags", "string_set", [name]),
        ]
        write_run(archive, RunKey(EVIL, name), rows)
    return archive


def test_names_arrive_as_they_are_and_make_no_element(hostile: Archive, tmp_path: Path) -> None:
    page = page_of(hostile, EVIL, NAMES, tmp_path / "report")
    data = data_of(page)
    assert data["head"]["project"] == EVIL
    assert data["head"]["metrics"]["drawn"] == NAMES
    assert {run["run"] for run in data["runs"]} == set(NAMES)
    assert {run["name"] for run in data["runs"]} == set(NAMES)
    assert {run["tags"][0] for run in data["runs"]} == set(NAMES)
    plain = archive_in(tmp_path / "plain")
    for name in "abcde":
        write_run(plain, RunKey("p", name), points("m", [0], [1.0]))
    expected = parsed(page_of(plain, "p", ["m"], tmp_path / "report"))
    tags = [tag for tag, _ in parsed(page).starts]
    assert tags == [tag for tag, _ in expected.starts]


def test_the_policy_allows_these_two_scripts_and_nothing_from_elsewhere(
    hostile: Archive, tmp_path: Path
) -> None:
    page = page_of(hostile, EVIL, NAMES, tmp_path / "report")
    found = parsed(page)
    (policy,) = [a["content"] or "" for tag, a in found.starts if "http-equiv" in a]
    code = [text for attributes, text in found.scripts if not attributes]
    hashes = [base64.b64encode(hashlib.sha256(c.encode()).digest()).decode() for c in code]
    scripts = " ".join(f"'sha256-{h}'" for h in hashes)
    assert policy == (
        f"default-src 'none'; script-src {scripts}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )
    assert [("plotly.js" in text[:200]) for text in code] == [True, False]
    fetching = [
        (tag, name)
        for tag, attributes in found.starts
        for name in attributes
        if name in ("src", "href", "srcset", "data", "action") or name.startswith("on")
    ]
    assert fetching == []
    (style,) = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    assert "url(" not in style
    assert "@import" not in style


def test_without_a_curve_plotly_stays_away(tmp_path: Path) -> None:
    archive = archive_in(tmp_path)
    write_run(archive, RunKey("p", "r"), [row("a", "int", 1)])
    page = page_of(archive, "p", [], tmp_path / "report")
    assert len([1 for attributes, _ in parsed(page).scripts if not attributes]) == 1
    assert len(page) < 100_000


def test_curves_are_exact_and_nothing_that_json_lacks_is_in_it(tmp_path: Path) -> None:
    archive = archive_in(tmp_path)
    values = [0.1, nan, -inf, 1 / 3]
    steps = [0, 250_000, 2**31 * MICRO, 2**31 * MICRO + 1]
    write_run(archive, RunKey("p", "r"), points("a", steps, values))
    write_run(archive, RunKey("p", "s"), points("a", [0, 5 * MICRO], [7.0, inf]))
    data = data_of(page_of(archive, "p", [], tmp_path / "report"))
    first, second = data["curves"]
    assert first[:6] == [0, 0, 4, 2, 1 / 3, [0.1, 1 / 3]]
    assert numbers(first[6]) == [0, 0.25, 2**31, 2**31 + 0.000001]
    assert [str(v) for v in numbers(first[7])] == ["0.1", "nan", "nan", str(1 / 3)]
    assert second[:6] == [1, 0, 2, 1, "inf", [7.0, 7.0]]
    assert (second[6]["dtype"], numbers(second[6])) == ("i4", [0, 5])
    assert (second[7]["dtype"], str(numbers(second[7]))) == ("f8", "[7.0, nan]")
    assert data["head"]["curves"] == {"limit": 2000, "left_out": 0}
    assert data["head"]["steps"]["most"] == "2147483648.000001"
