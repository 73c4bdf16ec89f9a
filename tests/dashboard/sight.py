"""A browser window: what it shows, and every error or outside request in it."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal
from urllib.parse import urlsplit

from playwright.sync_api import Browser, ConsoleMessage, Route, sync_playwright

from tests.dashboard.dashboard_gateway import ADMIN

CHROMIUM = shutil.which("chromium")
PAGES = (
    "overview",
    "calls",
    "latency",
    "targets",
    "budgets",
    "keys",
    "playground",
    "rules",
    "arms",
    "labels",
)
WIDE, PHONE = (1280, 800), (390, 844)
PATIENCE = 20_000
"""Milliseconds."""
_REFUSED = "Failed to load resource: the server responded with a status of 40"
"""The message that a browser logs for every 40x answer, whatever the page does with it."""

type Scheme = Literal["dark", "light"]


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run a browser until the block ends. CI runs it as root, where its sandbox cannot work."""
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield made
        made.close()


class Sight:
    """A browser window. It blocks requests to other hosts and reports them as errors."""

    def __init__(
        self,
        browser: Browser,
        url: str,
        *,
        size: tuple[int, int] = WIDE,
        scheme: Scheme = "dark",
        refused: bool = False,
    ) -> None:
        """Open a window; with `refused`, the test expects refused requests, and they are no errors."""
        self.url = url
        self.wrong: list[str] = []
        self.asked: list[str] = []
        self._refused = refused
        width, height = size
        self.context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme=scheme,
            reduced_motion="reduce",
            timezone_id="UTC",
            locale="en-GB",
        )
        self.context.set_default_timeout(PATIENCE)
        self.page = self.context.new_page()
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.route(lambda url: not url.startswith(self.url), self._abroad)
        # The browser reports a policy violation to the page, and the page logs it for the test.
        self.page.add_init_script(
            "addEventListener('securitypolicyviolation', (e) => console.error('policy: ' + e.violatedDirective + ' ' + e.blockedURI))"
        )

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type not in ("error", "warning"):
            return
        if not (self._refused and message.text.startswith(_REFUSED)):
            self.wrong.append(f"{message.type}: {message.text}")

    def _abroad(self, route: Route) -> None:
        if urlsplit(route.request.url).scheme not in ("data", "blob"):
            self.wrong.append(f"asked another host: {route.request.url}")
        route.abort()

    def enter(self, key: str = ADMIN) -> None:
        """Sign in as people do."""
        self.page.goto(f"{self.url}/dashboard")
        self.page.get_by_label("Admin key").fill(key)
        self.page.keyboard.press("Enter")
        self.page.get_by_role("navigation").wait_for()

    def show(self, name: str, query: str = "") -> None:
        """Go to a page, and wait until it shows something."""
        self.page.goto(f"{self.url}/dashboard#/{name}{query}")
        self.page.locator(f"main[data-page={name}] .panel").first.wait_for()
        self.page.wait_for_load_state("networkidle")

    @property
    def text(self) -> str:
        """Return all text of the page, also the hidden text."""
        text: str | None = self.page.locator("body").text_content()
        return text or ""

    def close(self) -> None:
        self.context.close()
        assert not self.wrong, self.wrong
