"""The page Labels: two blinded answers, and the verdict of a person."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from gateway.ledger.label_pairs import LabelPairs
from tests.dashboard.dashboard_gateway import PAIRS, DashboardGateway
from tests.dashboard.sight import Sight

_NAMES = re.compile(r"\b(fast|smart|reasoning|luna|sol|astra)\b")


def test_a_person_compares_answers_without_their_names(browser: Browser, folder: Path) -> None:
    stage = DashboardGateway(folder, rows=False)
    pairs = LabelPairs(folder / "data")
    pairs.add_pairs(PAIRS)
    try:
        sight = Sight(browser, stage.url)
        sight.enter()
        sight.show("labels")
        main = sight.page.locator("main")
        expect(main).to_contain_text("2 of 2 pairs wait")
        expect(main).to_contain_text(PAIRS[0].request)
        assert not _NAMES.search(main.inner_text())
        sight.page.get_by_role("button", name="B is better").click()
        expect(main).to_contain_text("1 of 2 pairs wait")
        expect(main).to_contain_text("<img src=x onerror=alert(1)>")  # as text, not as an image
        expect(main.locator("img")).to_have_count(0)
        sight.page.get_by_role("button", name="Skip").click()
        expect(main).to_contain_text("All pairs are compared")
        sight.close()
        verdicts = pairs.read_verdicts()
        assert {name: (item.better, item.who) for name, item in verdicts.items()} == {
            "a1-fast": ("B", "admin"), "b2-fast": ("skip", "admin"),
        }  # fmt: skip
    finally:
        stage.stop()


@pytest.mark.parametrize("size", [(1280, 800), (390, 844)])
def test_both_answers_fit_any_window(
    browser: Browser, stage: DashboardGateway, size: tuple[int, int]
) -> None:
    sight = Sight(browser, stage.url, size=size)
    sight.enter()
    sight.show("labels")
    for name in "A", "B":
        expect(sight.page.get_by_role("region", name=f"Answer {name}")).to_be_visible()
    assert sight.page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    sight.close()
