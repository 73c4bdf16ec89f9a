"""The page Keys: a key is made, rotated and revoked, and its secret is shown once."""

import http.client
import re
from pathlib import Path

from playwright.sync_api import Browser, expect

from tests.dashboard.dashboard_gateway import DashboardGateway
from tests.dashboard.sight import Sight
from tests.e2e.child import until
from tests.e2e.upstream import PATIENCE


def status(gateway: DashboardGateway, secret: str) -> int:
    client = http.client.HTTPConnection("127.0.0.1", gateway.port, PATIENCE)
    client.request("GET", "/v1/models", headers={"authorization": f"Bearer {secret}"})
    status_code = client.getresponse().status
    client.close()
    return status_code


def copied(sight: Sight) -> str:
    """Return the secret that the page shows, and close it."""
    secret = str(sight.page.locator("code.secret").text_content())
    assert re.fullmatch(r"tg-[0-9a-f]{64}", secret)
    sight.page.get_by_role("button", name="I have copied it").click()
    assert secret not in sight.text
    return secret


def test_a_key_is_made_rotated_and_revoked(browser: Browser, folder: Path) -> None:
    gateway = DashboardGateway(folder, rows=False, keys="sqlite:///keys.db")
    sight = Sight(browser, gateway.url, refused=True)
    sight.enter()
    sight.show("keys")
    page = sight.page
    page.get_by_label("Name", exact=True).fill("website")
    page.get_by_label("USD a month").fill("5")
    page.get_by_role("button", name="Create").click()
    first = copied(sight)
    row = page.locator("tr[data-key=website]")
    expect(row).to_contain_text("$5/month")
    expect(row).to_contain_text("by admin")
    page.get_by_label("Name", exact=True).fill("website")
    page.get_by_role("button", name="Create").click()
    expect(page.get_by_role("alert").last).to_contain_text("There is a key 'website'")
    page.get_by_role("button", name="Rotate website").click()
    second = copied(sight)
    until(lambda: status(gateway, second) == 200, "the new secret opens")
    assert status(gateway, first) == 200
    page.get_by_role("button", name="Revoke website").click()
    expect(row).to_contain_text("Revoke now?")
    page.get_by_role("button", name="Revoke website").click()
    expect(row).to_contain_text("revoked")
    until(lambda: status(gateway, second) != 200, "a revoked key opens nothing")
    page.reload()
    page.locator("tr[data-key=website]").wait_for()
    assert first not in sight.text
    assert second not in sight.text
    sight.close()
    gateway.stop()


def test_a_key_is_edited(browser: Browser, folder: Path) -> None:
    """Its team, its budget and its end; what is not changed stays as it was."""
    gateway = DashboardGateway(folder, rows=False, keys="sqlite:///keys.db")
    sight = Sight(browser, gateway.url, refused=True)
    sight.enter()
    sight.show("keys")
    page = sight.page
    row = page.locator("tr[data-key=chat-app]")
    page.get_by_role("button", name="Edit chat-app").click()
    form = page.get_by_role("form", name="Edit chat-app")
    form.get_by_label("Team").fill("shop")
    form.get_by_label("Budget, USD").fill("25")
    form.get_by_label("Every").select_option("day")
    form.get_by_label("Expires").fill("2027-06-30")
    form.get_by_role("button", name="Save").click()
    expect(row).to_contain_text("team shop, $25/day")
    expect(row).to_contain_text("2027-06-30")
    page.get_by_role("button", name="Edit chat-app").click()
    form.get_by_label("Budget, USD").fill("")
    page.keyboard.press("Enter")
    expect(row.locator("td").nth(1)).to_have_text("team shop")
    page.get_by_role("button", name="Edit support-bot").click()
    other = page.get_by_role("form", name="Edit support-bot")
    other.get_by_label("Budget, USD").fill("30")
    away = {"error": {"message": "The gateway cannot use its database of keys."}}
    page.route("**/admin/keys/support-bot", lambda route: route.fulfill(status=403, json=away))
    other.get_by_role("button", name="Save").click()
    expect(other.get_by_role("alert")).to_contain_text("cannot use its database")
    page.keyboard.press("Escape")
    expect(page.locator("tr[data-key=support-bot]")).to_contain_text("requests 600/m")
    sight.close()
    gateway.stop()


def test_keys_of_a_file_are_shown(browser: Browser, stage: DashboardGateway) -> None:
    sight = Sight(browser, stage.url)
    sight.enter()
    sight.show("keys")
    expect(sight.page.locator("tbody tr")).to_have_count(4)
    expect(sight.page.locator(".panel")).to_contain_text("change them there")
    assert sight.page.get_by_role("button", name="Create").count() == 0
    sight.close()
