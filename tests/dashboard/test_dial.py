"""The curve of the quality dial on the page Rules."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, expect

from tests.dashboard.live_dashboard import ADMIN, LiveDashboard
from tests.dashboard.sight import PHONE, Sight


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveDashboard]:
    made = LiveDashboard(tmp_path_factory.mktemp("dial") / "gateway")
    made.call("Hello.")
    yield made
    made.stop()


def test_the_curve_is_computed_when_somebody_asks(browser: Browser, scene: LiveDashboard) -> None:
    """Without golden prompts the page says so; with them it shows what `/admin/dial` gives."""
    sight = Sight(browser, scene.url, refused=True)
    page = sight.page
    sight.enter(ADMIN)
    sight.show("rules")
    assert not [url for url in sight.asked if "/admin/dial" in url]
    source = page.get_by_role("group", name="The curve of")
    source.get_by_role("button", name="Of golden prompts").click()
    expect(page.get_by_text("There are no golden prompts")).to_be_visible()
    golden = "prompts:\n- {prompt: Hi, tier: fast}\n- {prompt: Prove that 2 is prime., tier: smart}\n"  # fmt: skip
    Path(scene.folder / "golden.yaml").write_text(golden)
    source.get_by_role("button", name="Of calls of the last 24 hours").click()
    source.get_by_role("button", name="Of golden prompts").click()
    table = page.get_by_role("table", name="Positions of the dial")
    expect(table.locator("tbody tr")).to_have_count(12)
    points = scene.admin("/admin/dial")["points"]
    rights = [row.locator("td").last.inner_text() for row in table.locator("tbody tr").all()]
    assert rights == [f"{point['agreed']} of {point['prompts']}" for point in points]
    expect(page.get_by_role("img", name="Quality by cost")).to_be_visible()
    assert page.locator(".curve circle").count() == 12
    page.locator(".curve-point").first.hover(force=True)
    expect(page.locator(".curve .tip")).to_contain_text("kept")
    for size in ((1440, 900), PHONE):
        page.set_viewport_size({"width": size[0], "height": size[1]})
        assert Axe().run(page).response["violations"] == []
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    sight.close()
