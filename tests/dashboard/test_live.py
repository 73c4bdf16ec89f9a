"""The pages that act, in a real browser: calls as they come, the playground, and rule replays."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal
from urllib.parse import quote

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, StorageState, ViewportSize, expect

from tests.dashboard.live_dashboard import (
    ADMIN,
    BAD,
    CHEAPER,
    KEY,
    RULES,
    LiveDashboard,
    answer,
    slow,
)
from tests.dashboard.test_filters import add_filter
from tests.e2e.child import until
from tests.e2e.upstream import PATIENCE

DASH = "\N{EN DASH}"
SAID = ".said[aria-label=Answer]"
WIDE, PHONE = ViewportSize(width=1440, height=900), ViewportSize(width=390, height=844)

type Scheme = Literal["dark", "light"]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveDashboard]:
    made = LiveDashboard(tmp_path_factory.mktemp("scene") / "gateway")
    made.some()
    yield made
    made.stop()


class Looks:
    """The requests and messages of a page during a test."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.wrong: list[str] = []

    def at(self, page: Page) -> None:
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.on("console", lambda message: self._say(message.text))

    def _say(self, text: str) -> None:
        if "Content Security" in text:
            self.wrong.append(text)


@pytest.fixture
def looks() -> Looks:
    return Looks()


@pytest.fixture(scope="module")
def entered(browser: Browser, scene: LiveDashboard) -> StorageState:
    """The browser state of a user who has signed in."""
    context = browser.new_context()
    made = context.new_page()
    made.goto(f"{scene.url}/dashboard")
    made.fill("#key", ADMIN)
    made.click("button.main")
    made.wait_for_selector("nav")
    kept = context.storage_state()
    context.close()
    return kept


@pytest.fixture
def page(
    browser: Browser,
    scene: LiveDashboard,
    entered: StorageState,
    looks: Looks,
    request: pytest.FixtureRequest,
) -> Iterator[Page]:
    """A page of a user who has signed in; the test fails on any error or request elsewhere."""
    chosen: tuple[ViewportSize, Scheme] = getattr(request, "param", (WIDE, "dark"))
    size, scheme = chosen
    context = browser.new_context(viewport=size, color_scheme=scheme, storage_state=entered)
    made = context.new_page()
    made.set_default_timeout(PATIENCE * 1_000)
    looks.at(made)
    made.goto(f"{scene.url}/dashboard#/playground")
    made.wait_for_selector("nav")
    yield made
    assert looks.wrong == []
    assert {url for url in looks.asked if not url.startswith((f"{scene.url}/", "blob:"))} == set()
    assert not [url for url in looks.asked if ADMIN in url or KEY in url or "Prove" in url]
    assert made.evaluate("window.hit") is None
    assert made.locator("img, main script").count() == 0
    context.close()


def at(page: Page, place: str) -> None:
    page.evaluate("place => { location.hash = place }", place)


def read_main_text(page: Page) -> str:
    return str(page.inner_text("main"))


def test_the_list_follows_and_can_be_paused(page: Page, looks: Looks, scene: LiveDashboard) -> None:
    page.clock.install()
    at(page, "#/calls")
    page.wait_for_selector("tr.call")
    drawn = page.locator("tr.call").count()
    page.evaluate("window.here = true")
    id = scene.call()
    page.clock.run_for(2_100)
    page.wait_for_selector(f"tr[data-id='{id}']")
    assert page.locator("tr.call").first.get_attribute("data-id") == id
    assert page.locator("tr.call").count() == drawn + 1
    assert page.inner_text("#said") == "1 new call"
    assert page.get_attribute("#said", "aria-live") == "polite"
    page.click("button:text-is('Pause')")
    late = scene.call()
    page.evaluate("0")  # earlier requests are reported first
    requests_before = len(looks.asked)
    page.clock.run_for(20_000)
    assert looks.asked[requests_before:] == []
    page.click("button:text-is('Follow')")
    page.wait_for_selector(f"tr[data-id='{late}']")
    assert page.evaluate("window.here") is True, "it was not loaded again"


def test_where_calls_come_too_fast_to_read_the_list_goes_on_with_the_newest(
    page: Page, scene: LiveDashboard
) -> None:
    """The ledger counts every call; the list leaves some out."""
    page.clock.install()
    at(page, "#/calls")
    page.wait_for_selector("tr.call")
    page.evaluate("window.here = true")
    many = [{"id": f"tg-{n}", "at": n} for n in range(500)]
    row = scene.admin("/admin/entries?format=json&limit=1")["entries"][0]
    page_of_entries = {"entries": [{**row, **entry} for entry in many], "cursor": "x.1"}
    page.route(
        "**/admin/entries?after=*", lambda route: route.fulfill(json=page_of_entries), times=1
    )
    id = scene.call()
    page.clock.run_for(2_100)
    expect(page.locator("tr.call").first).to_have_attribute("data-id", id)
    assert page.locator("tr[data-id='tg-499']").count() == 0
    assert page.evaluate("window.here") is True


def test_a_gateway_that_is_away_is_asked_again(page: Page, scene: LiveDashboard) -> None:
    page.clock.install()
    at(page, "#/calls")
    page.wait_for_selector("tr.call")
    page.route("**/admin/entries?after=*", lambda route: route.abort(), times=1)
    page.clock.run_for(2_100)
    page.wait_for_selector(".liveness >> text=not reached")
    id = scene.call()
    page.clock.run_for(2_100)
    page.wait_for_selector(f"tr[data-id='{id}']")
    page.wait_for_selector(".liveness >> text=live")


def test_calls_are_chosen_and_the_address_says_so(page: Page, scene: LiveDashboard) -> None:
    at(page, "#/calls?tag=draft")
    page.wait_for_selector("tr.call")
    assert page.locator("tr.call").count() == 1
    page.get_by_role("button", name="Remove the filter Tag draft").click()
    add_filter(page, "tier", "reasoning")
    rows = scene.admin("/admin/entries?format=json&only=tier:reasoning")["entries"]
    expect(page.locator("tr.call")).to_have_text([re.compile("reasoning")] * len(rows))
    assert page.url.endswith("#/calls?tier=reasoning")
    page.get_by_role("button", name="Remove the filter Tier reasoning").click()
    add_filter(page, "status", "404")
    expect(page.locator("tr.call")).to_have_count(1)
    assert BAD in page.inner_text("tr.call")
    add_filter(page, "key", "nobody")
    page.wait_for_selector("text=No such calls")
    page.get_by_role("button", name="Clear all").click()
    page.wait_for_selector("tr.call")
    assert page.url.endswith("#/calls")


def test_a_call_shows_the_trace_that_explain_prints(page: Page, scene: LiveDashboard) -> None:
    """The keyboard alone opens it: arrows, Enter, Escape; the call's address opens it again."""
    id = scene.call("Prove it again.")
    at(page, "#/calls")
    page.wait_for_selector(f"tr[data-id='{id}']")
    page.focus("tr.call[tabindex='0']")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Home")
    page.keyboard.press("Enter")
    page.wait_for_selector(".detail .pairs")
    assert page.url.endswith(f"#/calls/{id}")
    explained = scene.tiergate("explain", id)
    assert {**explained, "trace": 0} == {**scene.admin(f"/admin/entries/{id}/decision"), "trace": 0}
    steps = page.get_by_role("table", name="Steps of the decision").locator("tbody tr")
    expect(steps).to_have_count(len(explained["trace"]))
    cells = [[cell.inner_text() for cell in step.locator("th, td").all()] for step in steps.all()]
    drawn = [[re.sub(r" \d+\.\d ms$", "", text) for text in row] for row in cells]
    assert drawn == [[one["step"], one["effect"] or DASH, one["why"]] for one in explained["trace"]]
    assert any(BAD in cell for row in drawn for cell in row)
    page.click("button:text-is('Show what was said')")
    page.wait_for_selector("text=Prove it again.")
    page.click("summary:text-is('The whole row')")
    page.keyboard.press("Escape")
    assert page.locator(".detail").is_hidden()
    assert page.evaluate("document.activeElement.dataset.id") == id
    page.reload()
    at(page, f"#/calls/{id}")
    page.wait_for_selector(".detail .pairs")
    assert id in page.inner_text(".detail h2")
    at(page, "#/calls/tg-none")
    page.wait_for_selector(".detail [role=alert]")
    assert "no row of this call" in page.inner_text(".detail")


def test_a_call_is_rated_and_makes_a_golden_prompt(page: Page, scene: LiveDashboard) -> None:
    """One click each; the page shows the last rating again."""
    id = scene.call("Prove that seven is prime.")
    at(page, f"#/calls/{id}")
    page.get_by_role("button", name="Bad").click()
    page.wait_for_selector("text=Rated bad.")
    page.get_by_role("button", name="Good").click()
    page.wait_for_selector("text=Rated good.")
    expect(page.get_by_role("button", name="Good")).to_have_attribute("aria-pressed", "true")
    assert scene.admin(f"/admin/entries/{id}")["feedback"]["verdict"] == "good"
    page.reload()
    expect(page.get_by_role("button", name="Good")).to_have_attribute("aria-pressed", "true")
    page.get_by_label("Right tier").select_option("smart")
    page.get_by_role("button", name="Make a golden prompt").click()
    page.wait_for_selector("text=1 golden prompt.")
    golden = (scene.folder / "data" / "golden.yaml").read_text("utf-8")
    assert "Prove that seven is prime." in golden
    assert "smart" in golden
    page.get_by_role("button", name="Make a golden prompt").click()
    expect(page.locator(".detail")).to_contain_text("golden.yaml")


def test_the_page_shows_failed_attempts(page: Page, scene: LiveDashboard) -> None:
    rows = scene.admin("/admin/entries?format=json&only=status:200")["entries"]
    (row,) = [entry for entry in rows if entry["attempts"] > 1]
    at(page, f"#/calls/{row['id']}")
    page.wait_for_selector(".detail .pairs")
    tried = scene.admin(f"/admin/entries/{row['id']}")["tries"]
    assert [entry["problem"] for entry in tried] == ["upstream_overloaded"] * (row["attempts"] - 1)
    assert page.locator(".detail .tag.bad").all_inner_texts() == ["503 upstream_overloaded"] * len(
        tried
    )


def test_the_playground_decides_on_every_lab_and_streams(page: Page, scene: LiveDashboard) -> None:
    """The page shows the first words before the last come, and the cost that the ledger has."""
    scene.upstream.on("/acme", slow)
    at(page, "#/playground")
    page.wait_for_selector("text=Calls are billed to the key that you enter")
    page.fill("#key", KEY)
    page.press("#key", "Tab")
    page.wait_for_selector("text=Calls are billed to this key")
    page.fill(".turn textarea", f"Prove that {BAD} is text.")
    page.click("button:text-is('Decide')")
    expect(page.locator(".card > .pairs")).to_have_count(2)
    cards = page.locator(".card").all_inner_texts()
    assert [text.split()[0] for text in cards] == ["acme", "other"]
    assert f"rule “{BAD}”" in cards[0]
    assert "acme/deep-1" in cards[0]
    assert "other/else-1" in cards[1]
    page.click("button:text-is('Send')")
    expect(page.locator(SAID)).to_have_text("Hel")
    assert page.text_content(".thought") == "Let me see."
    assert page.inner_text(".answer .tag").startswith("first token after ")
    scene.release()
    expect(page.locator(SAID)).to_have_text("Hello you.")
    page.wait_for_selector(".bill >> text=settled")
    id = page.inner_text(".bill a")
    row = scene.admin(f"/admin/entries/{id}")
    bill = page.inner_text(".bill")
    assert (row["cost"], row["key"], row["stream"]) == ("0.0006", "client-1", True)
    assert "$0.0006" in bill
    assert "acme/deep-1" in bill
    assert KEY not in page.evaluate("JSON.stringify({...localStorage, ...sessionStorage})")
    scene.upstream.on("/acme", answer)


def test_an_answer_can_be_stopped_and_errors_are_shown_as_they_are(
    page: Page, scene: LiveDashboard
) -> None:
    scene.upstream.on("/acme", slow)
    at(page, "#/playground")
    page.fill("#key", KEY)
    page.fill(".turn textarea", "Prove it slowly.")
    page.keyboard.press("Control+Enter")
    expect(page.locator(SAID)).to_have_text("Hel")
    page.click("button:text-is('Stop')")
    page.wait_for_selector(".answer .tag >> text=stopped")
    page.wait_for_selector(".bill >> text=aborted")
    scene.release()
    scene.upstream.on("/acme", answer)
    page.fill("#model", BAD)
    page.click("button:text-is('Send')")
    page.wait_for_selector(".answer .tag >> text=404")
    assert BAD in page.inner_text(SAID)
    page.fill("#key", "not-a-key")
    page.click("button:text-is('Send')")
    page.wait_for_selector(".answer .tag >> text=401")
    assert page.locator("nav").count() == 1, "whoever looks stays signed in"


def test_on_ones_own_machine_no_key_is_needed(browser: Browser, tmp_path: Path) -> None:
    """The user does not sign in, and calls are made as `open`."""
    scene, looks = LiveDashboard(tmp_path / "gateway", alone=True), Looks()
    context = browser.new_context()
    page = context.new_page()
    looks.at(page)
    page.goto(f"{scene.url}/dashboard#/playground")
    page.wait_for_selector("text=Keys are open: none is needed.")
    page.fill(".turn textarea", "Prove it.")
    page.click("button:text-is('Send')")
    page.wait_for_selector(".bill >> text=settled")
    assert page.inner_text(SAID) == "Hello you."
    assert "acme/deep-1" in page.inner_text(".bill")
    at(page, "#/rules")
    expect(page.locator(".yaml")).to_have_value(RULES)
    page.fill(".yaml", CHEAPER)
    page.click("button:text-is('Replay')")
    expect(page.locator(".headline")).to_have_text(
        "1 of 1 calls would go elsewhere.", timeout=60_000
    )
    assert looks.wrong == []
    context.close()
    scene.stop()


def test_the_page_shows_decisions_of_rules_and_useless_rules(
    page: Page, scene: LiveDashboard
) -> None:
    at(page, "#/rules")
    page.wait_for_selector(".findings")
    rules = scene.admin("/admin/rules?since=7d")
    rows = page.locator("section[aria-label='Rules in force'] tbody tr").all_inner_texts()
    assert [row.split("\t")[:3] for row in rows[:3]] == [
        ["guard", "drafts are cheap", str(rules["rules"][0]["hits"]["calls"])],
        ["choice", BAD, str(rules["rules"][1]["hits"]["calls"])],
        ["choice", "late", "0"],
    ]
    assert "rules.yaml:11" in page.inner_text(".findings")
    assert "is never reached" in page.inner_text(".findings")
    assert page.input_value(".yaml") == RULES


def test_an_edited_rule_is_replayed_as_the_command_replays_it(
    page: Page, scene: LiveDashboard
) -> None:
    at(page, "#/rules")
    expect(page.locator(".yaml")).to_have_value(RULES)
    page.fill(".yaml", CHEAPER)
    page.select_option(".bar select", "")
    page.click("button:text-is('Replay')")
    page.wait_for_selector(".headline", timeout=60_000)
    file = scene.folder / "cheaper.yaml"
    file.write_text(CHEAPER, "utf-8")
    replayed = scene.tiergate("replay", "--rules", str(file))
    shown = page.inner_text(".result")
    assert replayed["changed"] > 0
    assert (
        page.inner_text(".headline")
        == f"{replayed['changed']} of {replayed['calls'] - replayed['undecided']} calls would go elsewhere."
    )
    for side in ("before", "after"):
        assert replayed["usd"][side] in shown
    tiers = page.locator("[aria-label='Tiers before and after'] tbody tr").all_inner_texts()
    assert [row.split("\t")[:3] for row in tiers] == [
        [name, str(tier["before"]), str(tier["after"])] for name, tier in replayed["tiers"].items()
    ]
    assert scene.admin("/admin/rules")["yaml"] == RULES, "nothing took effect"


def test_mistakes_have_lines_and_a_text_can_be_taken_away(page: Page, scene: LiveDashboard) -> None:
    at(page, "#/rules")
    expect(page.locator(".yaml")).to_have_value(RULES)
    page.fill(".yaml", RULES.replace("\n    tier: fast", "\n    tier: faster"))
    page.click("button:text-is('Replay')")
    page.wait_for_selector(".result .findings", timeout=60_000)
    page.click(".result .link")
    assert page.inner_text(".result .link") == "edited rules:13"
    area = (
        "const a = document.querySelector('.yaml'); a.value.slice(a.selectionStart, a.selectionEnd)"
    )
    assert page.evaluate(area) == "    tier: faster"
    with page.expect_download() as download:
        page.click("button:text-is('Download')")
    assert "tier: faster" in Path(download.value.path()).read_text("utf-8")
    page.click("button:text-is('Reset')")
    assert page.input_value(".yaml") == RULES


def test_a_replay_can_be_cancelled(page: Page, scene: LiveDashboard) -> None:
    """The child process ends, so that the next replay may begin."""
    at(page, "#/rules")
    expect(page.locator(".yaml")).to_have_value(RULES)
    page.route(re.compile("/admin/replay"), lambda _: None)  # nobody answers
    page.click("button:text-is('Replay')")
    page.click("button:text-is('Cancel')")
    page.wait_for_selector("text=Cancelled.")
    page.unroute(re.compile("/admin/replay"))
    page.click("button:text-is('Replay')")
    page.wait_for_selector(".headline", timeout=60_000)
    assert page.inner_text(".headline").startswith("0 of ")
    guard = page.locator("section[aria-label='Rules in force'] tbody tr").first
    figures = ["guard", "drafts are cheap", "1"]
    until(lambda: guard.inner_text().split("\t")[:3] == figures, "figures of the rules")


def test_names_are_text_on_every_page(page: Page, scene: LiveDashboard) -> None:
    """The names of rules, tags, keys and models are text, also if a provider invents them.

    The fixture of the page looks for markup.
    """
    for place, there in (
        ("overview?range=24h&by=key", "constructor"), ("overview?range=24h&by=key", "__proto__"),
        ("overview?range=24h&by=key", BAD), ("overview?range=24h&by=rule", BAD), ("overview?range=constructor", "Calls"),
        ("latency?range=24h&by=key", "__proto__"), ("targets", "able-1"), ("budgets", ""),
        ("calls?key=constructor", BAD), (f"calls?tag={quote(BAD)}", "auto"), ("calls/%E0%A4%A?tier=%", "Calls"),
        (f"calls/{quote(BAD)}", BAD), ("rules?range=__proto__", BAD), ("constructor", "Overview"), (quote(BAD), "Overview"),
    ):  # fmt: skip
        at(page, f"#/{place}")
        page.wait_for_load_state("networkidle")
        expect(page.locator("main")).to_contain_text(there)
        assert page.locator("main [role=alert]:not(.detail *)").count() == 0, place
    row = page.locator("tr.call")
    at(page, f"#/calls?model={quote('else-1')}")
    expect(row).to_have_count(
        len(scene.admin("/admin/entries?format=json&only=model:else-1")["entries"])
    )


@pytest.mark.parametrize(
    "page",
    [(WIDE, "dark"), (WIDE, "light"), (PHONE, "dark")],
    indirect=True,
    ids=["dark", "light", "phone"],
)
def test_axe_finds_nothing(page: Page, scene: LiveDashboard) -> None:
    id = scene.admin("/admin/entries?format=json&limit=1")["entries"][0]["id"]
    for place, there in (
        ("#/calls", "tr.call"), (f"#/calls/{id}", ".detail .pairs"), ("#/playground", ".turn textarea"), ("#/rules", ".findings"),
    ):  # fmt: skip
        at(page, place)
        page.wait_for_selector(there)
        violations = Axe().run(page).response["violations"]
        assert [
            (violation["id"], [node["html"] for node in violation["nodes"]])
            for violation in violations
        ] == [], place
        wide = page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        assert wide <= 0, f"{place} is wider than the screen"
