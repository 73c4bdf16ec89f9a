"""Test the sign-in of people by a real identity provider (npm's oidc-provider), and their roles."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from bench.free_port import find_free_port
from gateway.server.dashboard.session import CSRF_HEADER
from gateway.state.audit import AuditQuery
from tests.e2e.child import Child, until
from tests.e2e.upstream import PATIENCE
from tests.e2e.world import Make, World, chat
from tests.server.test_scopes import digest

_ROOT = Path(__file__).parents[3]
_LIBRARY = _ROOT / ".tools/clients/oidc/node_modules/oidc-provider/lib/index.js"
_SECRET = "secret-of-the-gateway"
ROLES = {"viewer": "staff", "operator": ["oncall"], "admin": "platform"}

KEYS = {team: {"sha256": digest(team), "team": team} for team in ("search", "ads")}


class IdentityProvider:
    """The identity provider in a process of its own."""

    def __init__(self, folder: Path, port: int, redirect_uri: str) -> None:
        node = shutil.which("node")
        if node is None or not _LIBRARY.exists():
            pytest.skip("no oidc-provider: scripts/clients installs it (needs npm)")
        script = str(Path(__file__).with_name("provider.mjs"))
        self._child = Child(
            [node, script, str(port), redirect_uri, str(_LIBRARY)], folder / "provider"
        )
        until(lambda: "ready" in self._child.out, "an identity provider")

    def stop(self) -> None:
        self._child.stop()


def make_settings(port: int) -> dict[str, Any]:
    """Return the settings of a sign-in by the provider at a port."""
    return {
        "issuer": f"http://127.0.0.1:{port}",
        "client_id": "tiergate",
        "client_secret": _SECRET,
        "scopes": ["openid", "email", "groups"],
        "roles": ROLES,
        "teams": {"search-team": "search"},
    }


@pytest.fixture
def world(make: Make, tmp_path: Path) -> Iterator[World]:
    port = find_free_port()

    def set_sign_in(value: dict[str, Any]) -> None:
        value["sign_in"] = make_settings(port)
        value["keys"] = "keys.yaml"

    running: World = make(set_sign_in, files={"keys.yaml": KEYS})
    provider = IdentityProvider(tmp_path, port, f"{running.url}/dashboard/signed-in")
    yield running
    provider.stop()


def make_browser(world: World) -> httpx.Client:
    """Return a client that keeps cookies and follows redirects, as a browser does."""
    return httpx.Client(
        base_url=world.url, follow_redirects=True, timeout=PATIENCE, trust_env=False
    )


def sign_in(browser: httpx.Client, account: str) -> httpx.Response:
    """Go through the provider's pages as a person does; return the last answer."""
    page = browser.get("/dashboard/sign-in")
    for form in ({"prompt": "login", "login": account, "password": "any"}, {"prompt": "consent"}):
        action = re.search(r'action="([^"]+)"', page.text)
        assert action is not None, page.text
        page = browser.post(str(page.url.join(action[1])), data=form)
    return page


def read_session(browser: httpx.Client) -> dict[str, Any]:
    session: dict[str, Any] = browser.get("/dashboard/session").json()
    return session


def change(browser: httpx.Client, method: str, path: str) -> int:
    """Send a change as the dashboard does; return the status."""
    headers = {CSRF_HEADER: str(read_session(browser)["token"])}
    return browser.request(method, path, headers=headers).status_code


def read_costs(world: World, cookie: str) -> int:
    """Ask for costs with a cookie; return the status."""
    headers = {"cookie": f"tiergate-session={cookie}"}
    return world.client.get("/admin/costs", headers=headers).status_code


@pytest.mark.parametrize(
    ("account", "role", "reload_status", "end_status"),
    [
        pytest.param("ann", "viewer", 403, 403, id="viewer"),
        pytest.param("oli", "operator", 409, 403, id="operator"),
        pytest.param("ada", "admin", 409, 200, id="admin"),
    ],
)
def test_a_person_gets_the_highest_role_of_the_claim(
    world: World, account: str, role: str, reload_status: int, end_status: int
) -> None:
    """A viewer reads, an operator reloads, an admin ends all sessions. 409: nothing to reload."""
    with make_browser(world) as browser:
        assert browser.get("/admin/costs").status_code == 401
        assert not read_session(browser)["signed_in"]
        page = sign_in(browser, account)
        assert (page.status_code, page.url.path, page.url.query) == (200, "/dashboard", b"")
        session = read_session(browser)
        assert (session["signed_in"], session["person"], session["role"]) == (
            True, f"{account}@example.com", role,
        )  # fmt: skip
        assert browser.get("/admin/costs").status_code == 200
        assert browser.get("/admin/audit").status_code == (200 if role == "admin" else 403)
        assert change(browser, "POST", "/admin/reload") == reload_status
        assert change(browser, "DELETE", "/admin/sessions") == end_status
    assert {
        "event": "sign_in",
        "text": f"{account}@example.com has signed in",
        "role": role,
    } in world.log


def test_a_viewer_of_a_team_sees_its_calls_alone(world: World) -> None:
    ids = {}
    for team in ("search", "ads"):
        reply = world.ask(chat(model="fast"), authorization=f"Bearer {team}")
        ids[team] = reply.headers["x-request-id"]
    with make_browser(world) as browser:
        sign_in(browser, "tim")
        session = read_session(browser)
        assert (session["role"], session["team"]) == ("viewer", "search")
        for path in ("costs", "series"):
            reply = browser.get(f"/admin/{path}", params={"by": "team", "only": "team=ads"})
            assert {group["team"] for group in reply.json()["groups"]} == {"search"}
        entries = browser.get("/admin/entries", params={"format": "json"}).json()["entries"]
        assert [entry["id"] for entry in entries] == [ids["search"]]
        assert browser.get("/admin/latency").status_code == 200
        for end in ("", "/decision"):
            assert browser.get(f"/admin/entries/{ids['search']}{end}").status_code == 200
            assert browser.get(f"/admin/entries/{ids['ads']}{end}").status_code == 404
        for path in ("budgets", "rules", "config", "health", "shadow"):
            reply = browser.get(f"/admin/{path}")
            assert (reply.status_code, "you see search" in reply.text) == (403, True)


def test_the_audit_names_the_person(world: World) -> None:
    with make_browser(world) as browser:
        sign_in(browser, "ada")
        change(browser, "DELETE", "/admin/sessions")
    rows = world.gateway.audit.iter_rows(AuditQuery(), 9)
    assert [(row.act, row.who) for row in rows] == [
        ("session.end_all", "ada@example.com"), ("session.begin", "ada@example.com"),
    ]  # fmt: skip


def test_a_person_without_a_role_is_not_signed_in(world: World) -> None:
    with make_browser(world) as browser:
        page = sign_in(browser, "eve")
        assert (page.url.path, page.url.query) == ("/dashboard", b"sign-in=no-role")
        assert not read_session(browser)["signed_in"]


def test_a_person_who_signs_out_has_to_sign_in_again(world: World) -> None:
    with make_browser(world) as browser:
        sign_in(browser, "ann")
        cookie = browser.cookies["tiergate-session"]
        assert change(browser, "DELETE", "/dashboard/session") == 200
        assert browser.get("/admin/costs").status_code == 401
    assert read_costs(world, cookie) == 401, "a copy of the cookie has ended too"


def test_a_changed_cookie_gives_no_other_role(world: World) -> None:
    with make_browser(world) as browser:
        sign_in(browser, "ann")
        cookie = browser.cookies["tiergate-session"]
    admin = cookie.replace(b'"viewer"'.hex(), b'"admin"'.hex())
    assert admin != cookie
    for forged in (admin, cookie[:-1], f"{cookie}0"):
        assert read_costs(world, forged) == 401


def begin(world: World, browser: httpx.Client) -> dict[str, str]:
    """Begin a sign-in without following it; return the query for the provider."""
    reply = browser.get("/dashboard/sign-in", follow_redirects=False)
    assert reply.status_code == 303
    query = parse_qs(urlsplit(reply.headers["location"]).query)
    return {name: values[0] for name, values in query.items()}


def test_a_sign_in_uses_pkce_state_and_nonce(world: World) -> None:
    with make_browser(world) as browser:
        first, second = begin(world, browser), begin(world, browser)
        assert first["code_challenge_method"] == "S256"
        for name in ("state", "nonce", "code_challenge"):
            assert len(first[name]) >= 32
            assert first[name] != second[name]
        assert first["redirect_uri"] == f"{world.url}/dashboard/signed-in"
        assert _SECRET not in str(first)


@pytest.mark.parametrize(
    "query",
    [
        pytest.param({"code": "x", "state": "another"}, id="another state"),
        pytest.param({"code": "x"}, id="no state"),
        pytest.param({"error": "access_denied", "state": "own"}, id="denied"),
        pytest.param({"code": "made up", "state": "own"}, id="a code that does not exist"),
        pytest.param({"code": "x", "state": "own", "iss": "https://evil.example"}, id="another provider"),
    ],
)  # fmt: skip
def test_a_wrong_answer_of_the_provider_signs_nobody_in(
    world: World, query: dict[str, str]
) -> None:
    with make_browser(world) as browser:
        state = begin(world, browser)["state"]
        if query.get("state") == "own":
            query = {**query, "state": state}
        page = browser.get("/dashboard/signed-in", params=query)
        assert page.url.query == b"sign-in=failed"
        assert not read_session(browser)["signed_in"]


def test_an_answer_without_its_cookie_signs_nobody_in(world: World) -> None:
    """Another site may send a browser to the end of a sign-in that it began itself."""
    with make_browser(world) as browser:
        state = begin(world, browser)["state"]
    with make_browser(world) as victim:
        page = victim.get("/dashboard/signed-in", params={"code": "x", "state": state})
        assert page.url.query == b"sign-in=failed"
        victim.cookies.set("tiergate-sign-in", "made.up")
        page = victim.get("/dashboard/signed-in", params={"code": "x", "state": state})
        assert page.url.query == b"sign-in=failed"


def test_a_provider_that_is_away_is_told(make: Make) -> None:
    def set_sign_in(value: dict[str, Any]) -> None:
        value["sign_in"] = {"issuer": "http://127.0.0.1:9", "client_id": "t", "roles": ROLES}

    world: World = make(set_sign_in)
    with make_browser(world) as browser:
        assert browser.get("/dashboard/sign-in").url.query == b"sign-in=away"


def test_without_a_provider_there_is_no_sign_in(make: Make) -> None:
    world: World = make()
    with make_browser(world) as browser:
        assert browser.get("/dashboard/sign-in").url.query == b"sign-in=off"
        assert read_session(browser)["provider"] is False
