"""Sign in and out in a browser, by mouse and by keyboard alone."""

from playwright.sync_api import Browser, Locator, expect

from tests.dashboard.dashboard_gateway import ADMIN, DashboardGateway
from tests.dashboard.sight import Sight


def test_a_wrong_key_gets_an_error_and_the_right_one_opens(
    browser: Browser, stage: DashboardGateway
) -> None:
    """Afterwards the key is in no page, address, store or cookie."""
    sight = Sight(browser, stage.url, refused=True)
    page = sight.page
    page.goto(f"{stage.url}/dashboard#/budgets")
    page.get_by_label("Admin key").fill("wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("This is not an admin key")
    expect(page.get_by_label("Admin key")).to_be_focused()
    page.get_by_label("Admin key").fill(ADMIN)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Budgets")
    (cookie,) = sight.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    kept = page.evaluate(
        "JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])"
    )
    assert kept == '[{},{},""]'
    for text in (page.content(), page.url, str(cookie), *sight.asked):
        assert ADMIN not in text
    page.reload()
    expect(page.get_by_role("heading", level=1)).to_have_text("Budgets")
    sight.close()


def test_signing_out_ends_it_here(sight: Sight) -> None:
    sight.enter()
    sight.show("overview")  # all of it: after sign-out its requests would be refused
    sight.page.get_by_role("button", name="Sign out").click()
    expect(sight.page.get_by_label("Admin key")).to_be_visible()
    assert sight.context.cookies() == []
    sight.page.reload()
    expect(sight.page.get_by_label("Admin key")).to_be_visible()


def test_the_page_says_that_a_session_has_ended(browser: Browser, stage: DashboardGateway) -> None:
    """The page says so when it refreshes itself, and when the user goes to another page."""
    sight = Sight(browser, stage.url, refused=True)
    sight.enter()
    sight.show("overview")
    sight.context.clear_cookies()
    sight.page.get_by_role("link", name="Targets").click()
    expect(sight.page.get_by_role("alert")).to_contain_text("Your session has ended")
    expect(sight.page.get_by_label("Admin key")).to_be_focused()
    sight.close()


def test_all_of_it_is_done_by_keys_alone(sight: Sight) -> None:
    """The keyboard alone signs in, opens a page, picks a range, reads a chart, sorts, changes the theme."""
    page = sight.page
    page.goto(f"{sight.url}/dashboard")
    expect(page.get_by_label("Admin key")).to_be_focused()
    page.keyboard.type(ADMIN)
    page.keyboard.press("Enter")
    page.get_by_role("navigation").wait_for()
    press(sight, page.get_by_role("link", name="Latency"), "Tab", "Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Latency")
    expect(page.get_by_role("heading", level=1)).to_be_focused()
    press(sight, page.get_by_role("button", name="Last 7 days"), "Tab", "Enter")
    expect(page.get_by_role("button", name="Last 7 days")).to_have_attribute("aria-pressed", "true")
    page.wait_for_load_state("networkidle")
    press(sight, page.get_by_role("img", name="Whole answer, all calls").first, "Tab", "End")
    expect(page.get_by_role("status")).to_contain_text("p50 ")
    press(sight, page.get_by_role("button", name="Answers"), "Tab", "Enter")
    head = page.get_by_role("columnheader", name="Answers")
    expect(head).to_have_attribute("aria-sort", "descending")
    expect(page.get_by_role("status")).to_have_text("Sorted by Answers, descending")
    page.keyboard.press("Space")
    expect(head).to_have_attribute("aria-sort", "ascending")
    page.keyboard.press("Control+Home")
    page.locator("body").evaluate("() => document.activeElement.blur()")
    press(sight, page.get_by_role("link", name="Skip to content"), "Tab", "Enter")
    expect(page.locator("main")).to_be_focused()
    press(sight, page.get_by_role("button", name="Light theme"), "Shift+Tab", "Enter")
    expect(page.locator("html")).to_have_attribute("data-theme", "light")


def press(sight: Sight, wanted: Locator, way: str, key: str) -> None:
    """Move the focus until the element has it, then press a key."""
    wanted.wait_for()
    for _ in range(80):
        if wanted.evaluate("(one) => one === document.activeElement"):
            sight.page.keyboard.press(key)
            return
        sight.page.keyboard.press(way)
    raise AssertionError(f"{wanted} is not reached by {way}")
