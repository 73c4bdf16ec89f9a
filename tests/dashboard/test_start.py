"""The start page in a real browser: the prompt box, a key that is stored nowhere, every width and theme."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, expect

from tests.dashboard.dashboard_gateway import DashboardGateway, secret
from tests.dashboard.sight import PHONE, WIDE, Scheme, Sight
from tests.dashboard.test_pages import _RULES, _told
from tests.server.gate import Gate

KEY = secret("chat-app")


@pytest.fixture(scope="module")
def unlocked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    """A gateway with open keys; no test sends a call to its provider."""
    made = Gate(tmp_path_factory.mktemp("start") / "gateway", "http://127.0.0.1:9")
    yield made
    made.stop()


def test_a_prompt_is_decided(browser: Browser, unlocked: Gate) -> None:
    """The page shows tier, target and reason, without a key where none is needed; markup stays text."""
    sight = Sight(browser, f"http://127.0.0.1:{unlocked.port}")
    page = sight.page
    page.goto(f"{sight.url}/")
    expect(page.get_by_label("Key")).to_have_count(0)
    page.get_by_label("Prompt", exact=True).fill(
        "Prove that there are infinitely many primes.<img src=x>"
    )
    page.get_by_role("button", name="Decide").click()
    expect(page.locator("#tier")).to_have_text("reasoning")
    expect(page.locator("#target")).to_have_text("acme/deep-1, effort high")
    expect(page.locator("#by")).to_contain_text("classifier")
    expect(page.locator("#why li").first).to_contain_text("pin: 'auto' leaves the tier open")
    page.get_by_label("Prompt", exact=True).fill("Hello.")
    page.get_by_label("Prompt", exact=True).press("Control+Enter")
    expect(page.locator("#tier")).to_have_text("fast")
    assert {url.removeprefix(sight.url) for url in sight.asked if not url.startswith("data:")} == {
        "/", "/v1/route",
    }  # fmt: skip
    sight.close()


def test_a_key_is_asked_for_and_kept_nowhere(browser: Browser, stage: DashboardGateway) -> None:
    """The page reports a wrong key; the right one is in no address, store or cookie, and goes with the page."""
    sight = Sight(browser, stage.url, refused=True)
    page = sight.page
    page.goto(f"{stage.url}/")
    expect(page.get_by_role("listitem")).to_have_count(0)
    page.get_by_label("Key of this gateway").fill("wrong")
    page.get_by_role("button", name="Decide").click()
    expect(page.get_by_role("alert")).to_contain_text("The gateway does not know this key")
    page.get_by_label("Key of this gateway").fill(KEY)
    page.get_by_role("button", name="Decide").click()
    expect(page.locator("#tier")).not_to_be_empty()
    expect(page.get_by_role("alert")).to_be_hidden()
    kept = page.evaluate(
        "JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])"
    )
    assert kept == '[{},{},""]'
    for text in (page.content(), page.url, *sight.asked):
        assert KEY not in text
    page.reload()
    expect(page.get_by_label("Key of this gateway")).to_have_value("")
    sight.close()


@pytest.mark.parametrize("scheme", ["dark", "light"])
@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
def test_it_is_for_everybody(
    browser: Browser, unlocked: Gate, size: tuple[int, int], scheme: Scheme
) -> None:
    """The page passes axe's rules, and does not overflow sideways."""
    sight = Sight(browser, f"http://127.0.0.1:{unlocked.port}", size=size, scheme=scheme)
    page = sight.page
    page.goto(f"{sight.url}/")
    page.get_by_role("button", name="Decide").click()
    expect(page.locator("#tier")).not_to_be_empty()
    assert not _told(Axe().run(page, options=_RULES).response)
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    sight.close()


def test_it_works_without_javascript(browser: Browser, unlocked: Gate) -> None:
    """Only the prompt box needs JavaScript; without it, a line shows a command that does the same."""
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"http://127.0.0.1:{unlocked.port}/")
    expect(page.get_by_text("Ready", exact=True)).to_be_visible()
    expect(page.get_by_text(f"http://127.0.0.1:{unlocked.port}/v1")).to_be_visible()
    expect(page.locator("noscript code")).to_be_visible()
    expect(page.get_by_role("button")).to_have_count(0)
    context.close()


def test_a_page_of_a_listed_origin_calls(
    browser: Browser, stage: DashboardGateway, tmp_path: Path
) -> None:
    """With `server.cors` a browser lets the listed origin read answers and errors; else it does not."""

    def listed(value: dict[str, object]) -> None:
        value["server"] = {"cors": [f"http://localhost:{stage.port}"]}

    made = Gate(tmp_path / "gateway", "http://127.0.0.1:9", listed)
    try:
        context = browser.new_context()
        page = context.new_page()
        ask = """async (url) => {
          const headers = {"content-type": "application/json", authorization: "Bearer any"};
          const body = JSON.stringify({model: "no-such-model", messages: []});
          try {
            const reply = await fetch(`${url}/v1/chat/completions`, {method: "POST", headers, body});
            return [reply.status, !!reply.headers.get("x-request-id"), (await reply.json()).error.code];
          } catch (error) { return error.name; }
        }"""
        page.goto(f"http://localhost:{stage.port}/ready")
        url = f"http://127.0.0.1:{made.port}"
        assert page.evaluate(ask, url) == [404, True, "model_not_found"]
        page.goto(f"{stage.url}/ready")  # the same page by another origin
        assert page.evaluate(ask, url) == "TypeError"
        context.close()
    finally:
        made.stop()
