"""What pages are asked: one time, one comparison and one set of filters for all, kept in the address."""

import re
from urllib.parse import parse_qsl

from playwright.sync_api import Page, expect

from tests.dashboard.sight import Sight


def read_query(page: Page) -> list[tuple[str, str]]:
    """Return what the page keeps in its address."""
    return parse_qsl(page.url.partition("?")[2])


def add_filter(page: Page, name: str, value: str) -> None:
    """Add a filter as people do."""
    page.get_by_role("button", name="Add filter").click()
    page.get_by_label("Filter by").select_option(name)
    page.locator("input[list=filter-values]").fill(value)
    page.keyboard.press("Enter")


def test_filters_are_chips_that_the_address_keeps(sight: Sight) -> None:
    """Sums are those of the filtered calls, also after a reload; a click removes a filter."""
    page = sight.page
    sight.enter()
    sight.show("overview", "?range=30d")
    add_filter(page, "model", "gpt-6-luna")
    add_filter(page, "key", "chat-app")
    assert read_query(page) == [("range", "30d"), ("by", "tier"), ("model", "gpt-6-luna"), ("key", "chat-app")]  # fmt: skip
    path = "/admin/costs?since=30d&only=model=gpt-6-luna&only=key=chat-app"
    total = page.evaluate("path => fetch(path).then((r) => r.json())", path)["total"]
    calls = page.locator(".figure", has_text="by another attempt").locator(".value")
    expect(calls).to_have_text(f"{total['calls']:,}")
    page.reload()
    expect(calls).to_have_text(f"{total['calls']:,}")
    page.get_by_role("button", name="Remove the filter Model gpt-6-luna").click()
    expect(calls).not_to_have_text(f"{total['calls']:,}")
    expect(page.get_by_role("button", name="Add filter")).to_be_focused()
    assert read_query(page) == [("range", "30d"), ("by", "tier"), ("key", "chat-app")]


def test_a_filter_suggests_the_values_of_calls_and_can_be_left(sight: Sight) -> None:
    page = sight.page
    sight.enter()
    sight.show("latency", "?range=30d")
    page.get_by_role("button", name="Add filter").click()
    page.get_by_label("Filter by").select_option("provider")
    options = page.locator("#filter-values option")
    expect(options).to_have_count(3)
    values = {option.get_attribute("value") for option in options.all()}
    assert values == {"openai", "azure-openai", "mistral"}
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Add filter")).to_be_focused()
    assert page.locator("#filter-values").count() == 0


def test_filters_need_no_mouse(sight: Sight) -> None:
    """Keys choose a filter, add it, and remove its chip."""
    page = sight.page
    sight.enter()
    sight.show("overview", "?range=30d")
    page.get_by_role("button", name="Add filter").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_label("Filter by")).to_be_focused()
    page.keyboard.type("Mod")
    page.keyboard.press("Tab")
    page.keyboard.type("gpt-6-luna")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status").first).to_have_text("Only Model gpt-6-luna")
    expect(page.get_by_role("button", name="Add filter")).to_be_focused()
    page.keyboard.press("Tab")
    while "Remove the filter" not in (page.evaluate("document.activeElement.ariaLabel") or ""):
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert read_query(page) == [("range", "30d"), ("by", "tier")]


def test_pages_share_the_time_and_the_filters(sight: Sight) -> None:
    page = sight.page
    sight.enter()
    sight.show("overview", "?range=30d&tier=fast&compare=before")
    page.get_by_role("link", name="Latency").click()
    expect(page.get_by_role("button", name="Remove the filter Tier fast")).to_be_visible()
    expect(page.get_by_role("button", name="Last 30 days")).to_have_attribute("aria-pressed", "true")  # fmt: skip
    expect(page.get_by_role("button", name="Compare")).to_have_attribute("aria-pressed", "true")
    assert page.get_by_role("link", name="Targets").get_attribute("href") == "#/targets"


def test_figures_are_compared_with_the_time_before(sight: Sight) -> None:
    """The time before is as long, and ends where the shown one begins."""
    page = sight.page
    sight.enter()
    sight.show("overview", "?range=7d&by=model")
    with page.expect_response(re.compile(r"/admin/series\?")), page.expect_response(re.compile(r"/admin/costs\?")) as answer:  # fmt: skip
        page.get_by_role("button", name="Compare").click()
    former = answer.value.json()
    start = page.evaluate("fetch('/admin/series?by=model&since=7d').then((r) => r.json())")["starts"][0]  # fmt: skip
    assert former["until"] == start
    assert 7 * 86_400 <= former["until"] - former["since"] <= 7 * 86_400 + 3_660
    calls = page.locator(".figure", has_text="by another attempt")
    expect(calls).to_contain_text(f"was {former['total']['calls']:,}")
    head = page.get_by_role("columnheader", name="Cost before")
    expect(head).to_be_visible()
    assert ("compare", "before") in read_query(page)


def test_a_month_is_compared_with_the_same_part_of_the_month_before(sight: Sight) -> None:
    page = sight.page
    sight.enter()
    with page.expect_response(re.compile(r"/admin/costs\?")) as answer:
        sight.show("overview", "?range=month&compare=before")
    since, until = answer.value.json()["since"], answer.value.json()["until"]
    moments = page.evaluate("times => times.map((at) => new Date(at * 1000).toISOString())", [since, until])  # fmt: skip
    now = page.evaluate("new Date().toISOString()")
    assert moments[0][8:] == "01T00:00:00.000Z"
    assert moments[0][:7] < now[:7]
    assert moments[1][:7] <= now[:7]


def test_no_two_names_of_a_chart_look_alike(sight: Sight) -> None:
    """A name has the same look in all charts and on all pages, also where there are many names."""
    page = sight.page
    sight.enter()
    sight.show("overview", "?range=30d&by=model")
    looks = read_looks(page)
    assert len(looks) == len(set(looks.values())) > 4
    page.get_by_role("link", name="Latency").click()
    page.get_by_label("Split by").select_option("model")
    page.wait_for_load_state("networkidle")
    page.locator(".panel", has_text="First content by model").wait_for()
    assert read_looks(page).items() <= looks.items()
    many = page.evaluate(
        """async () => {
          const folder = document.querySelector("script[type=module]").src.replace(/[^/]*$/, "");
          const { looks } = await import(`${folder}colours.js`);
          const names = Array.from({ length: 24 }, (_, at) => `name-${at}`);
          const first = looks("test", names).map((look) => JSON.stringify(look));
          const later = looks("test", ["name-7", "another"]).map((look) => JSON.stringify(look));
          return { first: new Set(first).size, kept: later[0] === first[7], distinct: later[0] !== later[1] };
        }"""
    )
    assert many == {"first": 24, "kept": True, "distinct": True}


def read_looks(page: Page) -> dict[str, str]:
    """Return the classes of the dots of all names in the legends of models."""
    entries = page.locator(".legend li").all()
    looks: dict[str, str] = {}
    for entry in entries:
        name = entry.inner_text()
        if "-" not in name:
            continue
        look = entry.locator(".dot").get_attribute("class") or ""
        assert looks.setdefault(name, look) == look
    return looks
