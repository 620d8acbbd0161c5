"""What a person does on Dagster's pages, for tests that do it too."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from migration_pipeline_tests.browser.deployment import LOCATION, ROOT, Deployment

ARTIFACTS = ROOT / ".ci" / "artifacts"


def keep(page: Page, name: str) -> None:
    """A picture of the page as it is now."""
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=ARTIFACTS / f"{name}.png")


def turn_on(page: Page, dagster: Deployment, sensor: str) -> None:
    """The one click."""
    page.goto(f"{dagster.url}/locations/{LOCATION}/sensors/{sensor}")
    switch = page.locator("input[type=checkbox]").first
    expect(switch).not_to_be_checked()
    switch.evaluate("box => box.click()")
    expect(switch).to_be_checked()


def backfill_all(page: Page, dagster: Deployment, picture: str) -> None:
    """Starts `migrate_project` for all projects."""
    page.goto(dagster.job("migrate_project"))
    page.get_by_role("button", name="Materialize all").first.click()
    page.get_by_text("All", exact=True).last.click()
    keep(page, picture)
    page.get_by_role("button", name="Launch backfill").click()
    expect(page.get_by_text("Created backfill")).to_be_visible()


def open_record(page: Page, dagster: Deployment, asset: str, partition: str) -> None:
    """The page of one partition of an asset."""
    chosen = partition.replace("/", "%2F").replace("|", "%7C")
    page.goto(f"{dagster.url}/assets/{asset}?view=partitions&partition={chosen}")


def re_execute_from_failure(page: Page, dagster: Deployment, run: str) -> None:
    """Of a run within a backfill that has ended: the page asks once more then."""
    page.goto(f"{dagster.url}/runs/{run}")
    button = page.get_by_role("button", name="Re-execute")
    button.locator("xpath=following::button[1]").click()  # the menu of other ways
    page.get_by_role("menuitem", name="From failure").click()
    page.get_by_role("button", name="Confirm").click()
