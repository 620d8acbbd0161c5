"""What a newcomer sees and does in Dagster's page, in a real Chromium with the daemon running.

Each step stands on the one before, as it does for a person: projects are found, migrated by a
backfill in which one run fails, looked at, repaired, and followed when they change at the source. A
picture of each step is kept.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from migration_pipeline.neptune_server import RunningServer, Store, running_server
from migration_pipeline.status.picture import WIDTH
from migration_pipeline_tests.browser.deployment import Deployment, deployed
from migration_pipeline_tests.browser.pages import (
    backfill_all,
    keep,
    open_record,
    re_execute_from_failure,
    turn_on,
)

pytestmark = pytest.mark.timeout(900)  # a page waits for several processes, each as for one test
PROJECTS = {"team/text": ["t-1", "t-2"], "team/vision": ["v-1", "v-2", "v-3"]}
NOON = 1_700_000_000_000
JOB = "migrate_project"


def write_run(server: RunningServer, project: str, run: str, points: int = 20) -> None:
    """A run with a parameter and a float series."""
    made = server.store.project(project).create_run(run)
    made.set("config/rate", "float", 0.5)
    times = [NOON + 1000 * i for i in range(points)]
    steps = [float(i) for i in range(points)]
    made.extend_float_series("loss", steps, times, [1 / (i + 1) for i in range(points)])


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    """A Neptune server whose runs the tests can change."""
    with running_server(Store()) as running:
        for project, runs in PROJECTS.items():
            for run in runs:
                write_run(running, project, run)
        yield running


@pytest.fixture(scope="module")
def dagster(
    server: RunningServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    variables = {"NEPTUNE_API_TOKEN": server.token, "MIGRATION_TARGETS": "dummy"}
    with deployed(tmp_path_factory.mktemp("dev"), variables) as running:
        yield running


def test_one_click_finds_the_projects(page: Page, dagster: Deployment) -> None:
    turn_on(page, dagster, "discover_projects")
    dagster.wait("the projects", lambda: dagster.partitions_of("neptune", "export"))
    assert dagster.partitions_of("neptune", "export") == list(PROJECTS)
    keep(page, "1-discovery")


def test_a_backfill_of_two_projects_is_launched_from_the_page(
    page: Page, dagster: Deployment, server: RunningServer
) -> None:
    server.refuse_series("team/vision", "v-2")
    backfill_all(page, dagster, "2-backfill-dialog")
    dagster.wait("the backfill's end", lambda: dagster.ended(JOB, 2, failed=["team/vision"]))
    page.goto(f"{dagster.job(JOB)}/runs")
    expect(page.get_by_text("Success", exact=True)).to_have_count(1)
    expect(page.get_by_text("Failure", exact=True)).to_have_count(1)
    keep(page, "3-backfill-ended")


def test_what_failed_is_named(page: Page, dagster: Deployment) -> None:
    page.goto(f"{dagster.url}/assets/migration/status")
    expect(page.get_by_text("archive: 4 of 5 runs, 1 failed; 1 of 2").first).to_be_visible()
    expect(page.get_by_text("dummy: 2 of 4 runs, 2 verified; 1 of 2").first).to_be_visible()
    expect(page.get_by_text("team/vision|v-2").first).to_be_visible()
    keep(page, "4-status-with-a-failure")


def test_re_executed_from_failure_it_does_what_is_missing(
    page: Page, dagster: Deployment, server: RunningServer
) -> None:
    (failed,) = (run for run in dagster.runs_of(JOB) if run.status == "FAILURE")
    server.faults.clear()
    dagster.wait("the backfill's end", dagster.backfills_ended)
    re_execute_from_failure(page, dagster, failed.id)
    runs = dagster.wait("the retry", lambda: dagster.ended(JOB, 3, failed=["team/vision"]))
    assert (runs[0].status, runs[0].partition) == ("SUCCESS", "team/vision")
    events = dagster.events(runs[0].id)
    exported = [
        event["partition"]
        for event in events
        if event["__typename"] == "MaterializationEvent"
        and event["assetKey"]["path"] == ["neptune", "run"]
    ]
    assert exported == ["team/vision|v-2"]
    assert "neptune__export.plan_runs" not in {event.get("stepKey") for event in events}
    page.goto(f"{dagster.url}/runs/{runs[0].id}")
    expect(page.get_by_text("Success", exact=True).first).to_be_visible()
    keep(page, "5-re-executed")


def test_the_lineage_leads_from_source_to_target(page: Page, dagster: Deployment) -> None:
    page.goto(f"{dagster.url}/assets/dummy/run?view=lineage&lineageScope=upstream&lineageDepth=5")
    graph = page.locator("svg foreignObject")
    for name in ("source", "export", "load"):
        expect(graph.get_by_text(name, exact=True).first).to_be_visible()
    expect(graph.get_by_text("run", exact=True)).to_have_count(2)  # in the archive, at the target
    expect(graph.get_by_text("dummy", exact=True).first).to_be_visible()  # the group's name
    expect(graph.get_by_text("Loading...")).to_have_count(0)
    keep(page, "6-lineage")


def test_a_run_has_a_record_of_its_own(page: Page, dagster: Deployment) -> None:
    open_record(page, dagster, "dummy/run", "team/vision|v-1")
    expect(page.get_by_text("verified", exact=True).first).to_be_visible()
    expect(page.get_by_text("points", exact=True).first).to_be_visible()
    keep(page, "7-record")


def test_the_status_says_how_far_it_is(page: Page, dagster: Deployment) -> None:
    page.goto(f"{dagster.url}/assets/migration/status")
    expect(page.get_by_text("archive: 5 of 5 runs; 2 of 2 projects done").first).to_be_visible()
    expect(page.get_by_text("dummy: 5 of 5 runs, 5 verified; 2 of 2").first).to_be_visible()
    keep(page, "8-status")
    page.get_by_text("Show Markdown").first.click()
    drawn = page.locator('img[alt="status"]')
    expect(drawn).to_be_visible()
    assert drawn.evaluate("image => image.decode().then(() => image.naturalWidth)") == WIDTH
    keep(page, "9-status-picture")
    page.goto((dagster.home / "exports" / "report" / "status.html").as_uri())
    states = page.locator("#stages tbody td:nth-child(3)").all_inner_texts()
    assert states == ["done"] * 4
    keep(page, "10-status-file")


def test_what_changes_at_the_source_is_followed(
    page: Page, dagster: Deployment, server: RunningServer
) -> None:
    write_run(server, "team/text", "t-3")
    changed = server.store.project("team/vision").find("v-1")
    assert changed
    changed.set("config/rate", "float", 0.25)
    changed.touch()
    turn_on(page, dagster, "follow_source")
    dagster.wait("what follows a change", lambda: dagster.ended(JOB, 5, failed=["team/vision"]))
    assert [run.status for run in dagster.runs_of(JOB)].count("FAILURE") == 1  # the first
    assert "team/text|t-3" in dagster.partitions_of("dummy", "run")
    page.goto(f"{dagster.url}/assets/migration/status")
    expect(page.get_by_text("dummy: 6 of 6 runs, 6 verified; 2 of 2").first).to_be_visible()
    keep(page, "11-followed")
