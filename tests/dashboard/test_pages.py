"""Every page, served by a real gateway: complete, without errors or outside requests, and accessible."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Route, expect

from tests.dashboard.dashboard_gateway import ADMIN, APPS, PROMPT, SECRET, DashboardGateway, secret
from tests.dashboard.sight import PAGES, PHONE, WIDE, Scheme, Sight

CANARIES = (ADMIN, SECRET, PROMPT, "canary 4711", *map(secret, APPS))
_NEVER = re.compile(r"\b(NaN|undefined|null|Infinity)\b|\[object")
_ABOUT = {"overview": "?range=7d", "latency": "?range=7d&by=model"}
_TWO_DAYS_AGO = datetime.now(UTC) - timedelta(days=2)
_STATES = (
    (
        "overview",
        f"?range=custom&since={_TWO_DAYS_AGO:%Y-%m-%d}&compare=before&by=model&tier=fast&key=chat-app",
    ),
    ("latency", "?range=30d&compare=before&by=dialect&state=settled"),
    ("calls", "?range=24h&sort=-cost&search=openai&tier=smart"),
    ("calls", "?view=threads"),
)
"""Pages with filters, a comparison, an order and other views."""
_RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_shows_what_there_is_and_no_secret(
    browser: Browser, stage: DashboardGateway, name: str
) -> None:
    """The page has no error, breaks no policy, and sends no request to another host; `Sight` checks
    that.

    The playground asks the gateway if it needs a key; the gateway's refusal is expected.
    """
    sight = Sight(browser, stage.url, refused=name == "playground")
    sight.enter()
    sight.show(name, _ABOUT.get(name, ""))
    expect(sight.page.get_by_role("heading", level=1)).to_have_text(name.capitalize())
    text = sight.text
    assert not _NEVER.search(text), _NEVER.search(text)
    assert not [canary for canary in CANARIES if canary in text]
    assert not [canary for canary in CANARIES for url in sight.asked if canary in url]
    assert {url.partition("/dashboard")[0].partition("/admin")[0].partition("/v1")[0] for url in sight.asked} == {sight.url}  # fmt: skip
    sight.close()


@pytest.mark.parametrize(("size", "scheme"), [(WIDE, "dark"), (WIDE, "light"), (PHONE, "dark")])
def test_pages_are_for_everybody(
    browser: Browser, stage: DashboardGateway, size: tuple[int, int], scheme: Scheme
) -> None:
    """The pages pass axe's rules of WCAG 2.2 AA and good practice, and do not overflow sideways."""
    sight, axe, wrong = Sight(browser, stage.url, size=size, scheme=scheme, refused=True), Axe(), {}
    sight.page.goto(f"{stage.url}/dashboard")
    sight.page.get_by_label("Admin key").wait_for()
    wrong["door"] = _told(axe.run(sight.page, options=_RULES).response)
    sight.enter()
    for name, query in (*((page, "") for page in PAGES), *_STATES):
        sight.show(name, query)
        for summary in sight.page.locator("details > summary:visible").all()[:1]:
            summary.click()
        if "view=threads" in query:  # an opened conversation fetches its calls
            sight.page.locator(".thread a").first.wait_for()
        wrong[name + query] = _told(axe.run(sight.page, options=_RULES).response)
        wide = sight.page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert wide <= 0, f"{name}{query} is {wide} px wider than the window"
    sight.close()
    assert not {name: faults for name, faults in wrong.items() if faults}


def _told(response: dict[str, Any]) -> list[str]:
    return [
        f"{violation['id']}: {node['html'][:160]} {node.get('failureSummary', '')[:200]}"
        for violation in response["violations"]
        for node in violation["nodes"][:3]
    ]


def test_unknown_costs_are_not_shown_as_zero(sight: Sight) -> None:
    """Calls of unknown cost stand beside the sum, in the table, and in the chart's table."""
    sight.enter()
    sight.show("overview", "?range=30d")
    expect(sight.page.locator(".figures")).to_contain_text(re.compile(r"\+ \d+ of unknown cost"))  # fmt: skip
    expect(sight.page.get_by_role("table", name="Calls by tier")).to_contain_text("unknown")
    cost = sight.page.get_by_role("region", name="Cost", exact=True)
    cost.get_by_text("Show as table").click()
    expect(cost.get_by_role("table")).to_contain_text("of unknown cost")


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_pages_note_damaged_rows_and_reads_of_single_calls(
    browser: Browser, stage: DashboardGateway, scheme: Scheme
) -> None:
    def change(route: Route) -> None:
        reply = route.fetch()
        body = reply.json()
        for part in body, *body.get("budgets", ()):
            part.update(damaged_rows=3, from_rows=True)
        route.fulfill(response=reply, json=body)

    sight, axe = Sight(browser, stage.url, scheme=scheme), Axe()
    sight.page.route(re.compile(r"/admin/(series|latency|rules|budgets)(\?|$)"), change)
    sight.enter()
    for name in "overview", "latency", "rules", "budgets":
        sight.show(name)
        expect(sight.page.locator("main")).to_contain_text(
            "3 rows of the journal are damaged: calls may be missing"
        )
        note = sight.page.get_by_text("Read from single calls")
        expect(note).to_have_count(int(name in {"overview", "latency"}))
        assert not _told(axe.run(sight.page, options=_RULES).response)
    sight.close()


def test_sums_are_those_of_the_api(sight: Sight) -> None:
    """The page's calls by key in the last 30 days equal those of /admin/series."""
    sight.enter()
    sight.show("overview", "?range=30d&by=key")
    series = sight.page.evaluate("fetch('/admin/series?by=key&since=30d').then((r) => r.json())")
    rows = sight.page.get_by_role("table", name="Calls by key").locator("tbody tr")
    shown = {row.locator("th").inner_text(): row.locator("td").first.inner_text() for row in rows.all()}  # fmt: skip
    assert shown == {total["key"]: f"{total['calls']:,}" for total in series["totals"]}
    assert len(shown) == len(APPS)


def test_what_was_chosen_is_in_the_address(sight: Sight) -> None:
    sight.enter()
    sight.show("overview")
    sight.page.get_by_role("button", name="Last 30 days").click()
    sight.page.get_by_label("Split by").select_option("model")
    expect(sight.page.get_by_role("table", name="Calls by model")).to_contain_text("gpt-6-luna")
    assert sight.page.url.endswith("#/overview?range=30d&by=model")
    sight.page.reload()
    expect(sight.page.get_by_role("table", name="Calls by model")).to_contain_text("gpt-6-luna")
    sight.page.get_by_role("button", name="Custom range").click()
    sight.page.get_by_role("textbox", name="From").fill("2020-01-01T00:00")
    sight.page.get_by_role("textbox", name="to", exact=True).fill("2020-01-02T00:00")
    expect(sight.page.get_by_text("There is nothing to show yet")).to_be_visible()


def test_a_late_answer_never_replaces_a_newer_one(sight: Sight) -> None:
    """The page drops the slow answer for a longer range once the user picks a shorter one."""
    sight.enter()
    sight.show("overview")
    sight.page.route("**/admin/series?*since=30d*", lambda _: None)  # nobody answers
    with sight.page.expect_request(lambda request: "since=30d" in request.url):
        sight.page.get_by_role("button", name="Last 30 days").click()
    with sight.page.expect_event("requestfailed", lambda request: "since=30d" in request.url):
        sight.page.get_by_role("button", name="Last 7 days").click()
    expect(sight.page.locator(".figures")).to_contain_text("of unknown cost")


def test_budgets_and_targets_tell_how_they_stand(sight: Sight) -> None:
    sight.enter()
    sight.show("budgets")
    everything = sight.page.get_by_role("region", name="Budget everything, all tenants")
    expect(everything).to_contain_text("of $40.00")
    everything.get_by_text("How it burns down").click()
    expect(everything.locator("canvas")).to_be_visible()
    expect(sight.page.get_by_role("region", name="Budget applications, key chat-app")).to_contain_text("only warns")  # fmt: skip
    sight.show("targets")
    rows = sight.page.get_by_role("table", name="Targets").locator("tbody tr")
    expect(rows).to_have_count(7)
    expect(rows.filter(has_text="magistral-large-2")).to_contain_text("upstream_overloaded")


def test_without_a_call_pages_say_what_to_do(browser: Browser, folder: Path) -> None:
    """Without an admin key, the gateway lets this machine in without a key."""
    stage = DashboardGateway(folder, rows=False, admin="")
    sight = Sight(browser, stage.url)
    for name, hint in (
        ("overview", "Point an application at this gateway"),
        ("latency", "Times are told of calls that a provider has answered"),
        ("budgets", "everything"),
        ("targets", "gpt-6.2-astra"),
    ):
        sight.show(name)
        assert hint in sight.text
        assert not _NEVER.search(sight.text)
    assert sight.page.get_by_role("button", name="Sign out").count() == 0
    sight.close()
    stage.stop()
