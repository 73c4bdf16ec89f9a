"""A real browser, and one gateway for all tests that change nothing."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.dashboard.dashboard_gateway import DashboardGateway
from tests.dashboard.sight import CHROMIUM, PATIENCE, Sight, chromium


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Run Chromium, as the system has it.

    Only these tests may use it: while it runs, this thread has an event loop, and no other test
    could start one.
    """
    if CHROMIUM is None:
        pytest.skip("there is no chromium: apt-get install chromium")
    expect.set_options(timeout=PATIENCE)
    with chromium() as made:
        yield made


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DashboardGateway]:
    """A gateway with a month of rows."""
    made = DashboardGateway(tmp_path_factory.mktemp("dashboard") / "gateway")
    yield made
    made.stop()


@pytest.fixture
def sight(browser: Browser, stage: DashboardGateway) -> Iterator[Sight]:
    """A browser window on that gateway; closing it fails the test if anything in the page went wrong."""
    made = Sight(browser, stage.url)
    yield made
    made.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "gateway"
