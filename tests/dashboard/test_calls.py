"""The page Calls: where figures lead, orders, searches, columns, exports and conversations."""

import csv
import re
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, expect

from tests.dashboard.sight import Sight
from tests.dashboard.test_filters import add_filter, read_query

ROWS = "tr.call"
PAGE_CALLS = 100
"""The most calls that the page shows at first."""


def ask(page: Page, path: str) -> Any:
    """Return the answer of the admin API."""
    return page.evaluate("path => fetch(path).then((reply) => reply.json())", path)


def wait_for_calls(page: Page) -> None:
    page.locator(f"main[data-page=calls] {ROWS}").first.wait_for()
    page.wait_for_load_state("networkidle")


def read_ids(page: Page) -> list[str]:
    return [row.get_attribute("data-id") or "" for row in page.locator(ROWS).all()]


def test_figures_rows_and_bars_lead_to_their_calls(sight: Sight) -> None:
    """The listed calls are those that were counted."""
    page = sight.page
    sight.enter()
    sight.show("overview", "?range=30d&by=model&key=chat-app")
    failed = page.locator(".figure", has_text="Failed")
    count = int((failed.locator(".faint").last.inner_text()).split()[0])
    failed.get_by_role("link").click()
    wait_for_calls(page)
    expect(page.locator(ROWS)).to_have_count(min(count, PAGE_CALLS))
    start = page.evaluate("fetch('/admin/series?since=30d').then((reply) => reply.json())")["starts"][0]  # fmt: skip
    assert read_query(page) == [
        ("range", "custom"), ("since", str(start)), ("key", "chat-app"),
        ("state", "failed"), ("state", "refused"), ("state", "unknown_crash"),
    ]  # fmt: skip
    sight.show("overview", "?range=24h&by=model")
    row = page.get_by_role("table", name="Calls by model").locator("tbody tr").last
    name, calls = row.locator("th").inner_text(), row.locator("td").first.inner_text()
    row.locator("th a").click()
    wait_for_calls(page)
    expect(page.locator(ROWS)).to_have_count(min(int(calls), PAGE_CALLS))
    assert read_query(page)[2:] == [("model", name)]


def test_a_bar_leads_to_the_calls_of_its_time_and_name(sight: Sight) -> None:
    """The mouse opens the bar that it is on; Enter opens all calls of the moment that arrows chose."""
    page = sight.page
    sight.enter()
    sight.show("overview", "?range=24h&by=tier")
    plot = page.get_by_role("img", name=re.compile("^Calls,"))
    plot.focus()
    page.keyboard.press("End")
    told = page.get_by_role("status").filter(has_text="fast").inner_text()
    page.keyboard.press("Enter")
    wait_for_calls(page)
    query = dict(read_query(page))
    assert query["range"] == "custom"
    assert int(query["until"]) - int(query["since"]) == 3_600
    calls = sum(int(number) for number in re.findall(r"(?:fast|smart|reasoning) (\d+)", told))
    expect(page.locator(ROWS)).to_have_count(min(calls, PAGE_CALLS))
    page.go_back()
    over = page.get_by_role("img", name=re.compile("^Calls,")).locator(".u-over")
    over.wait_for()
    page.wait_for_load_state("networkidle")
    box = over.bounding_box()
    assert box is not None
    over.click(position={"x": box["width"] * 0.98, "y": box["height"] - 3})
    wait_for_calls(page)
    assert dict(read_query(page))["tier"] in ("fast", "smart", "reasoning")


def test_calls_are_sorted_on_the_server_and_a_longer_time_is_refused(sight: Sight) -> None:
    page = sight.page
    sight.enter()
    sight.show("calls", "?range=24h")
    wait_for_calls(page)
    page.get_by_role("columnheader", name="Cost").get_by_role("button").click()
    expect(page.get_by_role("columnheader", name="Cost")).to_have_attribute("aria-sort", "descending")  # fmt: skip
    page.wait_for_load_state("networkidle")
    best = ask(page, "/admin/entries?since=24h&sort=-cost&limit=100&format=json")["entries"]
    assert read_ids(page) == [entry["id"] for entry in best]
    assert ("sort", "-cost") in read_query(page)
    assert page.locator(".liveness").count() == 0
    page.get_by_role("button", name="Earlier calls").click()
    page.wait_for_load_state("networkidle")
    more = ask(page, "/admin/entries?since=24h&sort=-cost&limit=200&format=json")["entries"]
    expect(page.locator(ROWS)).to_have_count(len(more))
    assert read_ids(page) == [entry["id"] for entry in more]


def test_a_search_of_a_longer_time_says_what_to_do(browser: Any, stage: Any) -> None:
    sight = Sight(browser, stage.url, refused=True)
    page = sight.page
    sight.enter()
    sight.show("calls", "?range=30d")
    wait_for_calls(page)
    page.get_by_role("searchbox", name="Search").fill("CODING-agent")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("at most a day")
    page.get_by_role("button", name="Last 24 hours", exact=True).last.click()
    wait_for_calls(page)
    found = ask(page, "/admin/entries?since=24h&sort=-received&search=coding-agent&limit=100&format=json")  # fmt: skip
    assert read_ids(page) == [entry["id"] for entry in found["entries"]]
    assert {("search", "CODING-agent"), ("range", "24h")} <= set(read_query(page))
    sight.close()


def test_columns_are_chosen_and_stay_chosen(sight: Sight) -> None:
    """The column Key is visible without scrolling at 1440 px."""
    page = sight.page
    page.set_viewport_size({"width": 1440, "height": 900})
    sight.enter()
    sight.show("calls")
    wait_for_calls(page)
    expect(page.get_by_role("columnheader", name="Key")).to_be_in_viewport(ratio=1)
    page.get_by_text("Columns", exact=True).click()
    page.get_by_label("Provider").check()
    page.get_by_label("Asked").uncheck()
    page.get_by_role("group", name="Columns").press("Escape")
    expect(page.get_by_text("Columns", exact=True)).to_be_focused()
    expect(page.get_by_label("Provider")).not_to_be_visible()
    page.reload()
    wait_for_calls(page)
    expect(page.get_by_role("columnheader", name="Provider")).to_be_attached()
    assert page.get_by_role("columnheader", name="Asked").count() == 0
    page.get_by_text("Columns", exact=True).click()
    page.get_by_role("button", name="As usual").click()
    expect(page.get_by_role("columnheader", name="Asked")).to_be_visible()
    assert page.evaluate("localStorage.length") == 0


def test_what_is_seen_is_exported(sight: Sight, tmp_path: Path) -> None:
    page = sight.page
    sight.enter()
    sight.show("calls", "?range=24h&tier=reasoning&sort=-cost")
    wait_for_calls(page)
    with page.expect_download() as download:
        page.get_by_role("link", name="Export CSV").click()
    download.value.save_as(tmp_path / "calls.csv")
    with (tmp_path / "calls.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows][:100] == read_ids(page)
    sight.show("overview", "?range=24h&tier=reasoning&by=key")
    with page.expect_download() as download:
        page.get_by_role("link", name="Export CSV").click()
    download.value.save_as(tmp_path / "costs.csv")
    with (tmp_path / "costs.csv").open(newline="") as file:
        sums = list(csv.DictReader(file))
    assert sum(int(row["calls"]) for row in sums) == len(rows)


def test_conversations_are_threads(sight: Sight) -> None:
    """A conversation opens to its calls in their order; a call tells of its conversation too."""
    page = sight.page
    sight.enter()
    sight.show("calls", "?range=24h&key=chat-app")
    wait_for_calls(page)
    page.get_by_role("button", name="Conversations").click()
    page.locator(".threads summary").first.click()
    links = page.locator(".threads .thread li a")
    links.first.wait_for()
    (first, *_) = ask(page, "/admin/conversations?since=24h&only=key=chat-app")["conversations"]
    calls = ask(page, f"/admin/entries?sort=received&since={int(first['first'])}&format=json&only=conversation={first['conversation']}")["entries"]  # fmt: skip
    assert [link.get_attribute("href") for link in links.all()] == [f"#/calls/{call['id']}" for call in calls]  # fmt: skip
    assert ("view", "threads") in read_query(page)
    links.last.click()
    page.locator(".detail .thread li[aria-current]").wait_for()
    assert page.url.endswith(f"#/calls/{calls[-1]['id']}")


def test_a_calls_page_keeps_its_filters_with_an_open_call(sight: Sight) -> None:
    page = sight.page
    sight.enter()
    sight.show("calls", "?range=7d")
    wait_for_calls(page)
    add_filter(page, "tier", "smart")
    expect(page.locator(ROWS).first).to_contain_text("smart")
    page.locator(ROWS).first.click()
    page.locator(".detail .pairs").first.wait_for()
    id = page.locator(".detail").get_attribute("data-id")
    assert page.url.endswith(f"#/calls/{id}?range=7d&tier=smart")
    page.get_by_role("button", name="Close").click()
    assert page.url.endswith("#/calls?range=7d&tier=smart")
    expect(page.locator(f"tr[data-id='{id}']")).to_be_focused()
