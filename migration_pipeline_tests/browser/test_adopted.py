"""What somebody finds in Dagster's page who has nothing but a directory of neptune-exporter.

No server, no token: the archive is adopted from the launchpad, looked at, and loaded into a real
MLflow server, to whose pages the records lead. One of its two projects is damaged.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from migration_pipeline_tests.browser.deployment import Deployment, deployed
from migration_pipeline_tests.browser.pages import backfill_all, keep, open_record
from migration_pipeline_tests.targets.stores import mlflow_server

pytestmark = pytest.mark.timeout(900)  # a page waits for several processes, each as for one test
DATA = Path(__file__).parents[1] / "data"
DAMAGED, WHOLE = "acme/faulty", "acme/interrupted"


@pytest.fixture(scope="module")
def dagster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp("adopted")
    exports, home = folder / "exports", folder / "home"
    home.mkdir()
    for archive in ("neptune3-interrupted", "neptune3-failed-requests"):
        shutil.copytree(DATA / archive, exports, dirs_exist_ok=True)
    (exports / "files").mkdir(exist_ok=True)
    (folder / "mlflow").mkdir()
    with mlflow_server(folder / "mlflow") as address:
        variables = {
            "MIGRATION_SOURCE": "archive",
            "MIGRATION_DATA_PATH": str(exports / "data"),
            "MIGRATION_FILES_PATH": str(exports / "files"),
            "MIGRATION_TARGETS": "mlflow",
            "MLFLOW_TRACKING_URI": address,
        }
        with deployed(home, variables) as running:
            yield running


def test_the_launchpad_adopts_as_it_stands(page: Page, dagster: Deployment) -> None:
    page.goto(f"{dagster.job('adopt')}/playground")
    page.get_by_role("button", name="Launch Run").click()
    dagster.wait("the end of adopt", lambda: dagster.ended("adopt", 1))
    assert dagster.partitions_of("neptune", "export") == [DAMAGED, WHOLE]


def test_each_run_has_a_record_with_its_grade(page: Page, dagster: Deployment) -> None:
    open_record(page, dagster, "neptune/run", f"{DAMAGED}|unet-001")
    expect(page.get_by_text("damaged", exact=True).first).to_be_visible()
    expect(page.get_by_text("the errors file names it").first).to_be_visible()
    keep(page, "20-adopted-record")
    open_record(page, dagster, "neptune/run", f"{WHOLE}|vit-001")
    expect(page.get_by_text("suspect", exact=True).first).to_be_visible()


def test_checks_and_status_say_what_is_damaged(page: Page, dagster: Deployment) -> None:
    page.goto(f"{dagster.url}/assets/neptune/export?view=checks&checkDetail=not_damaged")
    expect(page.get_by_text("Failed", exact=True).first).to_be_visible()
    keep(page, "21-adopted-check")
    page.goto(f"{dagster.url}/assets/migration/status")
    expect(page.get_by_text("archive: 11 of 11 runs, 6 damaged; 1 of 2").first).to_be_visible()
    keep(page, "22-adopted-status")


def test_a_backfill_loads_what_is_whole(page: Page, dagster: Deployment) -> None:
    backfill_all(page, dagster, "23-adopted-backfill")
    dagster.wait("its end", lambda: dagster.ended("migrate_project", 2, failed=[DAMAGED]))
    page.goto(f"{dagster.url}/assets/migration/status")
    expect(page.get_by_text("mlflow: 5 of 11 runs, 5 verified, 6 failed").first).to_be_visible()
    keep(page, "24-adopted-loaded")
    page.goto(f"{dagster.url}/assets/mlflow/load?view=checks&checkDetail=held_by_target")
    expect(page.get_by_text("runs verified", exact=True).first).to_be_visible()
    keep(page, "25-adopted-held")


def test_a_damaged_run_is_left_to_a_persons_decision(page: Page, dagster: Deployment) -> None:
    (failed,) = (run for run in dagster.runs_of("migrate_project") if run.status == "FAILURE")
    page.goto(f"{dagster.url}/runs/{failed.id}")
    expect(page.get_by_text("MIGRATION_LOAD_DAMAGED=1").first).to_be_visible()
    keep(page, "26-adopted-failure")


def test_a_record_leads_to_the_run_at_the_tracker(page: Page, dagster: Deployment) -> None:
    open_record(page, dagster, "mlflow/run", f"{WHOLE}|vit-001")
    link = page.get_by_role("link", name="/#/experiments/")
    expect(link).to_be_visible()
    keep(page, "27-loaded-record")
    page.goto(str(link.get_attribute("href")))
    expect(page.get_by_text("vit-001").first).to_be_visible()
    expect(page.get_by_text("train/loss").first).to_be_visible()
    keep(page, "28-run-at-mlflow")
