"""What a newcomer sees and does in Dagster's page, in a real Chromium with the daemon running.

Each step stands on the one before, as it does for a person: projects are found, migrated by a
backfill, looked at, and followed when they change at the source. A picture of each step is kept.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from migration_pipeline.status.picture import WIDTH
from migration_pipeline_tests.browser.deployment import ARTIFACTS, Deployment, deployed, write_run
from migration_pipeline_tests.machine import lacks

PROJECTS = {"team/text": ["t-1", "t-2"], "team/vision": ["v-1", "v-2", "v-3"]}
LOCATION = "migration_pipeline.definitions"
CHROMIUMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SLOW = 60_000
"""Milliseconds, on a machine with much else to do."""


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with sync_playwright() as playwright:
        path = next((found for name in CHROMIUMS if (found := shutil.which(name))), None)
        if path is None and not Path(playwright.chromium.executable_path).exists():
            lacks("no Chromium is installed")
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        opened = browser.new_context(viewport={"width": 1500, "height": 1000}).new_page()
        opened.set_default_timeout(SLOW)
        expect.set_options(timeout=SLOW)
        yield opened
        browser.close()


@pytest.fixture(scope="module")
def dagster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with deployed(tmp_path_factory.mktemp("dev") / "home", PROJECTS) as running:
        yield running


def keep(page: Page, name: str) -> None:
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=ARTIFACTS / f"{name}.png")


def turn_on(page: Page, dagster: Deployment, sensor: str) -> None:
    """The one click."""
    page.goto(f"{dagster.url}/locations/{LOCATION}/sensors/{sensor}")
    switch = page.locator("input[type=checkbox]").first
    expect(switch).not_to_be_checked()
    switch.evaluate("box => box.click()")
    expect(switch).to_be_checked()


def partitions_of(dagster: Deployment, *asset: str) -> list[str]:
    query = "query($k: [AssetKeyInput!]) {assetNodes(assetKeys: $k) {partitionKeys}}"
    return list(dagster.ask(query, k=[{"path": asset}])["assetNodes"][0]["partitionKeys"])


def runs_of(dagster: Deployment) -> list[dict[str, Any]]:
    query = """{runsOrError(filter: {pipelineName: "migrate_project"}) {... on Runs {
        results {runId status tags {key value}}}}}"""
    return list(dagster.ask(query)["runsOrError"]["results"])


def all_ended(dagster: Deployment, count: int) -> bool:
    """So many runs of `migrate_project` have succeeded; a failed one is a failure of the test."""
    statuses = [run["status"] for run in runs_of(dagster)]
    assert "FAILURE" not in statuses, dagster.log()
    return statuses == ["SUCCESS"] * count


def test_one_click_finds_the_projects(page: Page, dagster: Deployment) -> None:
    turn_on(page, dagster, "discover_projects")
    dagster.wait("the projects", lambda: partitions_of(dagster, "neptune", "export"))
    assert partitions_of(dagster, "neptune", "export") == list(PROJECTS)
    keep(page, "1-discovery")


def test_a_backfill_of_two_projects_is_launched_from_the_page(
    page: Page, dagster: Deployment
) -> None:
    page.goto(f"{dagster.url}/locations/{LOCATION}/jobs/migrate_project")
    page.get_by_role("button", name="Materialize all").first.click()
    page.get_by_text("All", exact=True).last.click()
    keep(page, "2-backfill-dialog")
    page.get_by_role("button", name="Launch backfill").click()
    expect(page.get_by_text("Created backfill")).to_be_visible()
    dagster.wait("the backfill's end", lambda: all_ended(dagster, 2))
    page.goto(f"{dagster.url}/locations/{LOCATION}/jobs/migrate_project/runs")
    expect(page.get_by_text("Success", exact=True)).to_have_count(2)
    keep(page, "3-backfill-done")


def test_the_lineage_leads_from_source_to_target(page: Page, dagster: Deployment) -> None:
    page.goto(f"{dagster.url}/assets/dummy/run?view=lineage&lineageScope=upstream&lineageDepth=5")
    graph = page.locator("svg foreignObject")
    for name in ("source", "export", "load"):
        expect(graph.get_by_text(name, exact=True).first).to_be_visible()
    expect(graph.get_by_text("run", exact=True)).to_have_count(2)  # in the archive, at the target
    expect(graph.get_by_text("Loading...")).to_have_count(0)
    keep(page, "4-lineage")


def test_a_run_has_a_record_of_its_own(page: Page, dagster: Deployment) -> None:
    page.goto(f"{dagster.url}/assets/dummy/run?view=partitions&partition=team%2Fvision%7Cv-1")
    expect(page.get_by_text("verified", exact=True).first).to_be_visible()
    expect(page.get_by_text("points", exact=True).first).to_be_visible()
    keep(page, "5-record")


def test_the_status_says_how_far_it_is(page: Page, dagster: Deployment) -> None:
    page.goto(f"{dagster.url}/assets/migration/status")
    expect(page.get_by_text("archive: 5 of 5 runs; 2 of 2 projects done").first).to_be_visible()
    expect(page.get_by_text("dummy: 5 of 5 runs, 5 verified; 2 of 2").first).to_be_visible()
    keep(page, "6-status")
    page.get_by_text("Show Markdown").first.click()
    drawn = page.locator('img[alt="status"]')
    expect(drawn).to_be_visible()
    assert drawn.evaluate("image => image.decode().then(() => image.naturalWidth)") == WIDTH
    keep(page, "7-status-picture")
    page.goto((dagster.home / "exports" / "report" / "status.html").as_uri())
    states = page.locator("#stages tbody td:nth-child(3)").all_inner_texts()
    assert states == ["done"] * 4
    keep(page, "8-status-file")


def test_what_changes_at_the_source_is_followed(page: Page, dagster: Deployment) -> None:
    write_run(dagster.server, "team/text", "t-3")
    changed = dagster.server.store.project("team/vision").find("v-1")
    assert changed
    changed.set("config/rate", "float", 0.25)
    changed.touch()
    turn_on(page, dagster, "follow_source")
    dagster.wait("what follows a change", lambda: all_ended(dagster, 4))
    assert "team/text|t-3" in partitions_of(dagster, "dummy", "run")
    page.goto(f"{dagster.url}/assets/migration/status")
    expect(page.get_by_text("dummy: 6 of 6 runs, 6 verified; 2 of 2").first).to_be_visible()
    keep(page, "9-followed")
