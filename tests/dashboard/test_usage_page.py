"""The usage page in a real browser: a key's own calls and budgets, at every width and theme."""

from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Route, expect

from tests.dashboard.dashboard_gateway import DashboardGateway, secret
from tests.dashboard.sight import PHONE, WIDE, Scheme, Sight

KEY = secret("chat-app")


def show_usage(sight: Sight, key: str) -> None:
    sight.page.goto(f"{sight.url}/usage")
    sight.page.get_by_label("Key of this gateway").fill(key)
    sight.page.get_by_role("button", name="Show").click()


@pytest.fixture
def window(browser: Browser, stage: DashboardGateway) -> Iterator[Sight]:
    sight = Sight(browser, stage.url, refused=True)
    yield sight
    sight.close()


def test_a_key_shows_its_spending_and_is_kept_nowhere(window: Sight) -> None:
    page = window.page
    show_usage(window, "wrong")
    expect(page.get_by_role("alert")).to_contain_text("The gateway does not know this key")
    expect(page.locator("#result")).to_be_hidden()
    page.get_by_label("Key of this gateway").fill(KEY)
    page.get_by_role("button", name="Show").click()
    expect(page.locator("#total")).to_contain_text("$")
    expect(page.locator("#summary")).to_contain_text("Key chat-app: ")
    expect(page.locator("#damage")).to_be_hidden()
    expect(page.get_by_role("alert")).to_be_hidden()
    budgets = page.locator("#budget-table tbody tr")
    expect(budgets).to_have_count(2)
    expect(budgets.nth(0)).to_contain_text("shared with others")
    expect(budgets.nth(1).get_by_role("progressbar")).to_be_visible()
    assert page.locator("#day-table tbody tr").count() > 1
    kept = page.evaluate(
        "JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])"
    )
    assert kept == '[{},{},""]'
    for text in (page.content(), page.url, *window.asked):
        assert KEY not in text


def test_damaged_rows_are_noted_under_the_sum(window: Sight) -> None:
    def change(route: Route) -> None:
        reply = route.fetch()
        route.fulfill(response=reply, json={**reply.json(), "damaged_rows": 1})

    window.page.route("**/v1/usage**", change)
    show_usage(window, KEY)
    note = "1 row of the journal is damaged: calls may be missing"
    expect(window.page.locator("#damage")).to_have_text(note)
    assert Axe().run(window.page).violations_count == 0


def test_a_time_without_calls_shows_no_rows(window: Sight) -> None:
    page = window.page
    page.goto(f"{window.url}/usage")
    page.get_by_label("From").fill("2020-01-01")
    page.get_by_label("To").fill("2020-01-31")
    page.get_by_label("Key of this gateway").fill(KEY)
    page.get_by_label("Key of this gateway").press("Enter")
    expect(page.locator("#total")).to_have_text("$0.00")
    expect(page.locator("#day-table")).to_be_hidden()


@pytest.mark.parametrize("scheme", ["dark", "light"])
@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
def test_the_usage_page_is_accessible_at_every_width(
    browser: Browser, stage: DashboardGateway, size: tuple[int, int], scheme: Scheme
) -> None:
    """The page passes axe's rules, and does not overflow sideways."""
    sight = Sight(browser, stage.url, size=size, scheme=scheme)
    show_usage(sight, KEY)
    expect(sight.page.locator("#total")).to_contain_text("$")
    report = Axe().run(sight.page)
    assert report.violations_count == 0, report.generate_report()
    assert sight.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    sight.close()
