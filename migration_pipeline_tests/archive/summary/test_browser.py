"""The page in a real Chromium, from disk and without a network: what a person sees and does.

Skipped where no Chromium is installed.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import inf, nan
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from migration_pipeline.archive.archive import RunKey
from migration_pipeline.archive.summary.report import ProjectReport, write_reports
from migration_pipeline_tests.archive.making import Row, archive_in, points, row, write_run
from migration_pipeline_tests.machine import lacks

MICRO = 10**6
BREAK = "document.title='broken'"
EVIL = f'</script><script>{BREAK}</script><img src=x onerror="{BREAK}">'
NAMES = [EVIL, "日本語/модель", 'it\'s <b>"quoted"</b> & more', "%{x} $HOME `a`"]
MANY = 130
CHROMIUMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        path = next((found for name in CHROMIUMS if (found := shutil.which(name))), None)
        if path is None and not Path(playwright.chromium.executable_path).exists():
            lacks("no Chromium is installed")
        launched = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield launched
        launched.close()


@dataclass
class Opened:
    """A page, what went wrong in it, and what it asked for."""

    page: Page
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def cells(self, column: int) -> list[str]:
        return self.page.locator(f"#runs-table tbody td:nth-child({column})").all_inner_texts()

    def curves(self, chart: int = 0) -> list[str]:
        """Names of the curves of a chart, as plotly has them."""
        script = "(plot) => plot.data.map((trace) => trace.name)"
        names: list[str] = self.page.locator(".plot").nth(chart).evaluate(script)
        return names


def open_page(browser: Browser, path: Path) -> Opened:
    opened = Opened(browser.new_context(offline=True, color_scheme="light").new_page())
    opened.page.on("pageerror", lambda error: opened.errors.append(str(error)))
    opened.page.on(
        "console",
        lambda said: opened.errors.append(said.text) if said.type == "error" else None,
    )
    opened.page.on("request", lambda request: opened.requests.append(request.url.split(":")[0]))
    opened.page.goto(path.as_uri())
    return opened


def written(folder: Path, project: str, runs: dict[str, list[Row]], metrics: list[str]) -> Path:
    archive = archive_in(folder)
    for run, rows in runs.items():
        write_run(archive, RunKey(project, run), rows)
    reports: list[ProjectReport] = []
    write_reports(archive, [project], [], metrics, folder / "report", reports.append)
    return reports[0].page


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs r-0 to r-129; every tenth is called "tenth"; the loss of r-i ends with i."""
    runs = {
        f"r-{i}": [
            *points("loss", [0, MICRO], [1.0, float(i)]),
            row("sys/name", "string", "tenth" if i % 10 == 0 else "other"),
        ]
        for i in range(MANY)
    }
    return written(tmp_path_factory.mktemp("many"), "ws/many", runs, [])


def test_hostile_names_are_shown_and_nothing_runs(browser: Browser, tmp_path: Path) -> None:
    runs = {
        name: [*points(name, [0, MICRO], [1.0, 2.0]), row("sys/name", "string", name)]
        for name in NAMES
    }
    opened = open_page(browser, written(tmp_path, EVIL, runs, NAMES))
    assert opened.page.title() == f"{EVIL} · summary"
    assert opened.page.locator("h1").inner_text() == EVIL
    assert sorted(opened.cells(2)) == sorted(NAMES)
    assert opened.page.locator(".chart h3").all_inner_texts() == NAMES
    # What hovering shows goes through plotly's own markup.
    script = "(plot) => Plotly.Fx.hover(plot, [{curveNumber: 0, pointNumber: 1}])"
    for chart, name in enumerate(NAMES):
        plot = opened.page.locator(".plot").nth(chart)
        plot.evaluate(script)
        expect(plot.locator(".hovertext")).to_contain_text(f"{name} · {name}")
    assert opened.page.locator("img").count() == 0
    assert (opened.errors, set(opened.requests)) == ([], {"file"})


def test_values_that_are_no_numbers_break_nothing(browser: Browser, tmp_path: Path) -> None:
    series = {
        "all nan": [nan, nan, nan],
        "infinite": [inf, -inf, 1.0],
        "tiny": [0.0, -0.0, 5e-324],
        "huge": [1e299, -1e299, 1.7e308],
        "narrow": [1e17, 1e17 + 16, 1e17],
        "same": [3.0, 3.0, 3.0],
    }
    rows = [
        one
        for name, values in series.items()
        for one in points(name, [0, MICRO, 2 * MICRO], values)
    ]
    opened = open_page(browser, written(tmp_path, "ws/odd", {"r": rows}, list(series)))
    notes = opened.page.locator(".chart p").all_inner_texts()
    hidden = "point{} without a number that can be drawn"
    assert notes == [
        f"1 curve · 3 {hidden.format('s')}",
        f"1 curve · 2 {hidden.format('s')}",
        "1 curve",
        f"1 curve · 1 {hidden.format('')}",
        "1 curve",
        "1 curve",
    ]
    for chart in range(len(series)):
        expect(opened.page.locator(".plot").nth(chart).locator(".ytick").first).to_be_visible()
    opened.page.check("#log")
    assert opened.page.locator(".chart p").all_inner_texts() == notes
    assert opened.errors == []
    lasts = [opened.cells(column)[0] for column in range(3, 9)]
    assert lasts == ["nan", "1", "5e-324", "1.7e+308", "100000000000000000", "3"]


def test_the_filter_narrows_table_and_curves(browser: Browser, many: Path) -> None:
    opened = open_page(browser, many)
    expect(opened.page.locator("#count")).to_have_text(f"{MANY} rows")
    assert opened.cells(2)[:3] == ["r-0", "r-1", "r-2"]
    assert len(opened.curves()) == 25
    opened.page.fill("#filter", "TENTH")
    expect(opened.page.locator("#count")).to_have_text(f"13 of {MANY} rows")
    assert opened.cells(2) == [f"r-{i}" for i in range(0, MANY, 10)]
    assert opened.curves() == [f"r-{i} · tenth" for i in range(0, MANY, 10)]
    opened.page.fill("#filter", "tenth 12")
    expect(opened.page.locator("#count")).to_have_text(f"1 of {MANY} rows")
    assert opened.cells(2) == ["r-120"]
    opened.page.fill("#filter", "nobody")
    expect(opened.page.locator("#runs-table tbody")).to_have_text("No run matches the filter.")
    assert opened.curves() == []
    assert opened.errors == []


def test_sorting_turns_pages_and_chooses_curves(browser: Browser, many: Path) -> None:
    opened = open_page(browser, many)
    assert len(opened.cells(2)) == 100
    opened.page.get_by_role("button", name="Next").click()
    assert opened.cells(2) == [f"r-{i}" for i in range(100, MANY)]
    opened.page.get_by_role("button", name="last loss").click()
    assert opened.cells(2)[:2] == ["r-129", "r-128"]
    assert opened.curves()[:2] == ["r-129 · other", "r-128 · other"]
    opened.page.get_by_role("button", name="last loss").click()
    assert opened.cells(2)[:2] == ["r-0", "r-1"]
    opened.page.select_option("#most", "10")
    assert len(opened.curves()) == 10
    expect(opened.page.locator("#drawn")).to_contain_text(f"10 of {MANY} runs drawn")


def test_ticked_runs_are_drawn_alone(browser: Browser, many: Path) -> None:
    opened = open_page(browser, many)
    opened.page.get_by_label("Draw r-7", exact=True).check()
    opened.page.get_by_label("Draw r-3", exact=True).check()
    assert opened.curves() == ["r-7 · other", "r-3 · other"]
    expect(opened.page.locator("#drawn")).to_have_text("2 ticked runs drawn.")
    opened.page.get_by_role("button", name="Untick all").click()
    assert len(opened.curves()) == 25


def test_a_project_without_series_says_so(browser: Browser, tmp_path: Path) -> None:
    runs = {"r": [row("a", "int", 1)]}
    opened = open_page(browser, written(tmp_path, "ws/none", runs, []))
    expect(opened.page.locator("#drawn")).to_have_text("No run has a float series with points.")
    assert opened.cells(2) == ["r"]
    assert opened.errors == []


def test_it_follows_the_system_into_the_dark(browser: Browser, tmp_path: Path) -> None:
    page = written(tmp_path, "ws/p", {"r": points("loss", [0, MICRO], [0.0, 1.0])}, [])
    opened = open_page(browser, page)
    background = "() => getComputedStyle(document.body).backgroundColor"
    grid = "(plot) => plot.layout.xaxis.gridcolor"
    plot = opened.page.locator(".plot")
    assert opened.page.evaluate(background) == "rgb(246, 247, 249)"
    assert plot.evaluate(grid) == "#dde1e6"
    opened.page.emulate_media(color_scheme="dark")
    assert opened.page.evaluate(background) == "rgb(20, 24, 29)"
    # The plot is told by an event, which comes when the page has time for it.
    drawn = "() => document.querySelector('.plot').layout.xaxis.gridcolor === '#333b46'"
    opened.page.wait_for_function(drawn, timeout=10_000)
