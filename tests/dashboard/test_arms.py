"""The page Arms: the figures of both arms, their differences, and what can be claimed."""

import re
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, Route, expect

from tests.dashboard.dashboard_gateway import DashboardGateway
from tests.dashboard.sight import Sight


def read_table(page: Page) -> dict[str, list[str]]:
    """Return the cells of each row of the table of the canary, by the row's name."""
    rows = page.get_by_role("table", name="Arms of canary").locator("tbody tr")
    return {
        row.locator("th").inner_text(): [cell.inner_text() for cell in row.locator("td").all()]
        for row in rows.all()
    }


def ask(page: Page, query: str) -> Any:
    return page.evaluate("(url) => fetch(url).then((r) => r.json())", f"/admin/arms?{query}")


def test_the_table_has_the_figures_of_the_api(sight: Sight) -> None:
    sight.enter()
    sight.show("arms")
    (canary,) = ask(sight.page, "since=7d")["rules"]
    table = read_table(sight.page)
    assert table["Conversations"][:2] == [f"{canary[arm]['conversations']:,}" for arm in ("in", "out")]  # fmt: skip
    assert table["Calls"][:2] == [f"{canary[arm]['calls']:,}" for arm in ("in", "out")]
    low, high = (100 * canary["in"]["figures"]["failed"][end] for end in ("low", "high"))
    assert table["Failed"][0].endswith(f"\n{low:.1f} % to {high:.1f} %")
    findings = [table[name][3] for name in list(table)[4:]]
    assert findings == [
        {"higher": "in is higher", "lower": "in is lower"}.get(finding, finding)
        for finding in canary["findings"].values()
    ]
    assert findings[-1] == "in is lower"
    assert re.fullmatch(
        r"\N{MINUS SIGN}[0-9.]+ pp\n\N{MINUS SIGN}[0-9.]+ pp to \N{MINUS SIGN}[0-9.]+ pp",
        table["Good, of rated"][2],
    )


def test_a_time_and_filters_choose_the_calls(sight: Sight) -> None:
    page = sight.page
    sight.enter()
    sight.show("arms", "?range=24h&arm=canary:in&key=chat-app")
    table = read_table(page)
    assert table["Calls"][1] == "0"
    assert table["Failed"][2:] == ["\N{EN DASH}", "no calls to compare"]
    page.get_by_role("button", name="Last 30 days").click()
    rows = page.get_by_role("table", name="Arms of canary").locator("tbody tr")
    expect(rows.nth(1).locator("td").first).not_to_have_text(table["Calls"][0])
    assert page.url.endswith("#/arms?range=30d&key=chat-app&arm=canary%3Ain")


def test_few_conversations_and_changed_arms_are_noted(sight: Sight) -> None:
    def change(route: Route) -> None:
        reply = route.fetch()
        body = reply.json()
        (canary,) = body["rules"]
        canary["in_both"], body["damaged_rows"] = 2, 3
        canary["differences"]["failed"] |= {"low": None, "high": None}
        canary["findings"]["failed"] = None
        canary["findings"]["good"] = "higher"
        route.fulfill(response=reply, json=body)

    sight.page.route("**/admin/arms?*", change)
    sight.enter()
    sight.show("arms")
    table = read_table(sight.page)
    assert table["Failed"][3] == "too few conversations"
    assert "\n" not in table["Failed"][2]
    assert table["Good, of rated"][3] == "in is higher"
    for note in "2 conversations have calls in both arms", "3 rows of the journal are damaged":
        expect(sight.page.locator("main")).to_contain_text(note)


def test_without_arms_the_page_says_how_to_get_them(browser: Browser, folder: Path) -> None:
    stage = DashboardGateway(folder, rows=False, admin="")
    sight = Sight(browser, stage.url)
    sight.show("arms")
    assert "A rule with `traffic: 10%` takes a part of the conversations" in sight.text
    sight.close()
    stage.stop()
