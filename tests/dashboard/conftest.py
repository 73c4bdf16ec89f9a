"""A real browser, and one gateway for all tests that only look."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.dashboard.sight import CHROMIUM, PATIENCE, Sight, chromium
from tests.dashboard.stage import Stage


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Chromium, as the system has it.

    Of these tests alone: while it runs, this thread has an event loop, and no other test could have one.
    """
    if CHROMIUM is None:
        pytest.skip("there is no chromium: apt-get install chromium")
    expect.set_options(timeout=PATIENCE)
    with chromium() as made:
        yield made


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A gateway with a month of rows."""
    made = Stage(tmp_path_factory.mktemp("dashboard") / "gateway")
    yield made
    made.stop()


@pytest.fixture
def sight(browser: Browser, stage: Stage) -> Iterator[Sight]:
    """A window of its own before that gateway; nothing in it may have gone wrong at the end."""
    made = Sight(browser, stage.url)
    yield made
    made.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "gateway"
