"""The sign-in by an identity provider in a real browser."""

from pathlib import Path

from playwright.sync_api import Browser, expect

from bench.free_port import find_free_port
from tests.server.gate import Gate
from tests.server.identity.test_sign_in import IdentityProvider, make_settings


def test_a_person_signs_in_and_sees_the_dashboard(browser: Browser, tmp_path: Path) -> None:
    """Without a role the page says so; with one it names the person, and shows what the role may see."""
    port = find_free_port()

    def set_sign_in(value: dict[str, object]) -> None:
        value["sign_in"] = make_settings(port)

    gate = Gate(tmp_path / "gateway", "http://127.0.0.1:9", set_sign_in)
    url = f"http://127.0.0.1:{gate.port}"
    provider = IdentityProvider(tmp_path, port, f"{url}/dashboard/signed-in")
    try:
        for account, text, page_count in (
            ("eve", "have no role here. Ask the operator.", 0),
            ("oli", "oli@example.com, operator", 10),
            ("tim", "tim@example.com, viewer of search", 4),
        ):
            page = browser.new_context().new_page()
            page.goto(f"{url}/dashboard")
            page.get_by_role("link", name="Sign in with your organisation").click()
            page.get_by_placeholder("Enter any login").fill(account)
            page.get_by_placeholder("and password").fill("any")
            page.get_by_role("button", name="Sign-in").click()
            page.get_by_role("button", name="Continue").click()
            expect(page.get_by_text(text)).to_be_visible()
            expect(page.get_by_role("navigation").get_by_role("link")).to_have_count(page_count)
            if page_count:
                page.goto(f"{url}/dashboard#/keys")
                refusal = page.get_by_text("This needs the role admin")
                expect(refusal.or_(page.get_by_role("heading", name="Overview"))).to_be_visible()
                assert page.get_by_role("button", name="Create").count() == 0
            page.context.close()
    finally:
        provider.stop()
        gate.stop()
