from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from migration_pipeline_tests.machine import lacks

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
