"""Test signing in: only the gateway can make the cookie, which is valid as long as its key."""

import asyncio
import hashlib
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from fastapi import Request

from gateway.core import jsonio
from gateway.core.errors import ProblemError
from gateway.limits.keys import KeyTable
from gateway.server.dashboard.session import (
    COOKIE_NAME,
    CSRF_HEADER,
    DashboardSessions,
    check_origin,
)
from gateway.state.ended_sessions import SESSION_SECONDS, EndedSessions
from tests.e2e.world import Make, World

ADMIN = "admin-key-0123456789-never-shown"
CLIENT = "client-key-0123456789-never-shown"
SESSION_PATH = "/dashboard/session"
FOREIGN = (
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
    {"origin": "http://evil.example"},
    {"origin": "null"},
)


def digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


class FakeClock:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def make_sessions(tmp_path: Path) -> Callable[..., DashboardSessions]:
    """Return a function that makes the sessions of one worker; all workers share a data folder."""

    def make_for_worker(
        root: bytes, secret: str, keys: KeyTable, clock: FakeClock
    ) -> DashboardSessions:
        return DashboardSessions(
            root, secret, keys, EndedSessions(tmp_path / "s", None, clock), clock=clock
        )

    return make_for_worker


def is_valid(sessions: DashboardSessions, cookie: str) -> bool:
    return asyncio.run(sessions.is_valid(cookie))


def sign_in(world: World, key: str = ADMIN, **headers: str) -> httpx.Response:
    sent_headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return world.client.post(SESSION_PATH, json={"key": key}, headers=sent_headers)


def check_error(reply: httpx.Response, status: int) -> str:
    assert reply.status_code == status, reply.text
    text: str = reply.json()["error"]["message"]
    return text


def test_a_cookie_opens_until_its_end_and_not_one_second_longer(
    make_sessions: Callable[..., DashboardSessions],
) -> None:
    clock = FakeClock()
    sessions = make_sessions(b"root", ADMIN, KeyTable(None, {}), clock)
    cookie = sessions.begin(ADMIN)
    assert cookie is not None
    clock.now += SESSION_SECONDS - 1
    assert is_valid(sessions, cookie)
    clock.now += 1
    assert not is_valid(sessions, cookie)


def test_a_cookie_is_valid_on_every_worker_with_the_same_secret_and_key(
    make_sessions: Callable[..., DashboardSessions],
) -> None:
    """Every worker and machine accepts the cookie; one with another secret or key does not."""
    keys, clock = KeyTable(None, {}), FakeClock()
    cookie = make_sessions(b"root", ADMIN, keys, clock).begin(ADMIN) or ""
    assert is_valid(make_sessions(b"root", ADMIN, keys, clock), cookie)
    assert not is_valid(make_sessions(b"other", ADMIN, keys, clock), cookie)
    assert not is_valid(make_sessions(b"root", "another key", keys, clock), cookie)
    assert not is_valid(make_sessions(b"root", "", keys, clock), cookie)


def test_a_changed_cookie_is_invalid(
    make_sessions: Callable[..., DashboardSessions],
) -> None:
    sessions = make_sessions(b"root", ADMIN, KeyTable(None, {}), FakeClock())
    cookie = sessions.begin(ADMIN) or ""
    end, nonce, mark = cookie.split(".")
    changed = (
        "", ".", "..", cookie + "0", cookie[:-1], f"{int(end) + 1}.{nonce}.{mark}", f"{end}.x.{mark}",
        f"{end}..{mark}", f"{nonce}.{mark}", f"-1.{nonce}.{mark}", f"{end}.{nonce}.{'0' * 64}",
        f"{end}.{nonce}.\u00e9", f"\u00b2.{nonce}.{mark}", f"{end}.{'x' * 200}.{mark}",
    )  # fmt: skip
    assert not [changed_cookie for changed_cookie in changed if is_valid(sessions, changed_cookie)]
    assert is_valid(sessions, cookie)
    assert ADMIN not in cookie
    assert sessions.begin(ADMIN) != cookie, "no two are alike"


def test_a_session_ends_when_its_admin_key_is_revoked(
    make_sessions: Callable[..., DashboardSessions], tmp_path: Path
) -> None:
    """Revoking a key ends the sessions begun with it; a client's key begins none."""
    file, clock = tmp_path / "keys.yaml", FakeClock()

    def write(**boss: object) -> None:
        value = {"boss": {"sha256": digest(ADMIN), "admin": True, **boss}, "app": {"sha256": digest(CLIENT)}}  # fmt: skip
        file.write_bytes(jsonio.dumps(value))

    write()
    keys = KeyTable(file, {}, clock=clock)
    sessions = make_sessions(b"root", "", keys, clock)
    assert sessions.has_admin_key
    assert sessions.begin(CLIENT) is None
    assert sessions.begin("") is None
    cookie = sessions.begin(ADMIN) or ""
    assert is_valid(sessions, cookie)
    write(revoked="2020-01-01")
    keys.refresh()
    assert not is_valid(sessions, cookie)
    assert sessions.has_admin_key, "a key that was revoked does not open the door to everybody"


@pytest.mark.parametrize("headers", FOREIGN)
def test_a_page_from_elsewhere_is_refused(headers: dict[str, str]) -> None:
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "headers": [(b"host", b"gw.example:8484"), *raw]}
    with pytest.raises(ProblemError, match="No page of another origin"):
        check_origin(Request(scope))
    for own_page in ({"sec-fetch-site": "same-origin"}, {"origin": "https://gw.example:8484"}, {}):
        raw = [(name.encode(), value.encode()) for name, value in own_page.items()]
        check_origin(Request({**scope, "headers": [(b"host", b"gw.example:8484"), *raw]}))


def test_an_admin_signs_in_reads_admin_pages_and_signs_out(make: Make) -> None:
    world = make(TIERGATE_ADMIN_KEY=ADMIN)
    state = world.client.get(SESSION_PATH).json()
    assert (state["needed"], state["signed_in"], state["token"]) == (True, False, None)
    check_error(world.client.get("/admin/costs"), 401)
    reply = sign_in(world)
    assert reply.json() == {
        "signed_in": True,
        "token": world.client.get(SESSION_PATH).json()["token"],
    }
    cookie = reply.headers["set-cookie"]
    assert cookie.startswith(f"{COOKIE_NAME}=")
    for part in ("HttpOnly", "SameSite=strict", f"Max-Age={SESSION_SECONDS}", "Path=/"):
        assert part in cookie
    assert "Secure" not in cookie
    assert ADMIN not in cookie
    for path in ("/admin/costs", "/admin/entries", "/admin/health", "/admin/config"):
        assert world.client.get(path).status_code == 200
    token = reply.json()["token"]
    assert (
        world.client.delete(SESSION_PATH, headers={CSRF_HEADER: token}).json()["signed_in"] is False
    )
    assert COOKIE_NAME not in world.client.cookies
    check_error(world.client.get("/admin/costs"), 401)


def test_the_cookie_is_for_tls_alone_if_the_browser_used_tls(make: Make) -> None:
    world = make(TIERGATE_ADMIN_KEY=ADMIN)
    assert "Secure" in sign_in(world, x_forwarded_proto="https").headers["set-cookie"]


def test_a_request_that_changes_something_needs_the_token_too(make: Make) -> None:
    world = make(TIERGATE_ADMIN_KEY=ADMIN)
    token = sign_in(world).json()["token"]
    for headers in ({}, {CSRF_HEADER: ""}, {CSRF_HEADER: "0" * 64}, {CSRF_HEADER: "\u00e9"}):
        raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
        assert CSRF_HEADER in check_error(world.client.post("/admin/reload", headers=raw), 403)
        check_error(world.client.delete(SESSION_PATH, headers=raw), 403)
    reply = world.client.post("/admin/reload", headers={CSRF_HEADER: token})
    assert "cannot read it again" in check_error(reply, 409), "so far it came"
    for headers in FOREIGN:
        check_error(
            world.client.post("/admin/reload", headers={CSRF_HEADER: token, **headers}), 403
        )
        check_error(world.client.get("/admin/costs", headers=headers), 403)
        check_error(world.client.post(SESSION_PATH, json={"key": ADMIN}, headers=headers), 403)


def test_a_key_in_a_header_counts_and_not_the_cookie(make: Make) -> None:
    """The gateway refuses a program with a wrong key, whatever else it sends."""
    world = make(TIERGATE_ADMIN_KEY=ADMIN)
    sign_in(world)
    check_error(world.client.get("/admin/costs", headers={"x-api-key": "wrong"}), 401)
    world.client.cookies.clear()
    assert world.client.get("/admin/costs", headers={"x-api-key": ADMIN}).status_code == 200


def test_wrong_keys_are_slowed_down_and_the_right_one_never_is(make: Make) -> None:
    """The gateway slows down guesses; meanwhile an admin behind the same proxy can sign in."""
    world = make(TIERGATE_ADMIN_KEY=ADMIN)
    for _ in range(5):
        assert "not an admin key" in check_error(sign_in(world, "wrong"), 401)
    reply = sign_in(world, "wrong")
    assert "wait before you try again" in check_error(reply, 429)
    assert int(reply.headers["retry-after"]) >= 1
    assert "set-cookie" not in reply.headers
    assert sign_in(world).status_code == 200


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'"x"', b'{"key":1}', b'{"key":""}', b'{"secret":"x"}']
)
def test_a_sign_in_without_a_key_is_refused(make: Make, body: bytes) -> None:
    world = make(TIERGATE_ADMIN_KEY=ADMIN)
    headers = {"content-type": "application/json"}
    reply = world.client.post(SESSION_PATH, content=body, headers=headers)
    assert "Send the key as JSON" in check_error(reply, 400)


def test_a_sign_in_must_be_short_json(make: Make) -> None:
    """The gateway refuses other content types and long bodies; a form on another page cannot send
    JSON.
    """
    world = make(TIERGATE_ADMIN_KEY=ADMIN)
    check_error(world.client.post(SESSION_PATH, data={"key": ADMIN}), 400)
    check_error(world.client.post(SESSION_PATH, content=b"x" * 2_000), 413)
    check_error(sign_in(world, "x" * 2_000), 413)
    json = {"content-type": "application/json"}
    check_error(world.client.post(SESSION_PATH, content=iter([b'{"key":"x"}']), headers=json), 413)


def test_without_an_admin_key_only_this_machine_is_signed_in(
    world: World,
) -> None:
    state = world.client.get(SESSION_PATH).json()
    assert (state["needed"], state["signed_in"], state["refused"]) == (False, True, None)
    assert world.client.get("/admin/costs").status_code == 200
    state = world.client.get(SESSION_PATH, headers={"x-forwarded-for": "10.0.0.1"}).json()
    assert state["signed_in"] is False
    assert "Set TIERGATE_ADMIN_KEY" in state["refused"]
    check_error(sign_in(world, "anything"), 401)


def test_a_session_is_valid_in_every_gateway_with_the_same_secret(make: Make) -> None:
    """Workers share the secret of their folder, machines share TIERGATE_SECRET; other gateways
    refuse.
    """
    first, second = (make(TIERGATE_ADMIN_KEY=ADMIN, TIERGATE_SECRET="shared") for _ in range(2))
    other = make(TIERGATE_ADMIN_KEY=ADMIN, TIERGATE_SECRET="another")
    token = sign_in(first).json()["token"]
    cookie = {"cookie": f"{COOKIE_NAME}={first.client.cookies[COOKIE_NAME]}"}
    assert second.client.get("/admin/costs", headers=cookie).status_code == 200
    assert second.client.get(SESSION_PATH, headers=cookie).json()["token"] == token
    check_error(other.client.get("/admin/costs", headers=cookie), 401)
    assert other.client.get(SESSION_PATH, headers=cookie).json()["signed_in"] is False


def get_session_headers(world: World) -> tuple[dict[str, str], dict[str, str]]:
    """Sign in; return the headers that a browser sends to read, and to change something."""
    token = sign_in(world).json()["token"]
    cookie = {"cookie": f"{COOKIE_NAME}={world.client.cookies[COOKIE_NAME]}"}
    world.client.cookies.clear()
    return cookie, {**cookie, CSRF_HEADER: token}


def status(world: World, cookie: dict[str, str]) -> int:
    """Request an admin page with a cookie; return the status."""
    return world.client.get("/admin/costs", headers=cookie).status_code


def test_signing_out_ends_the_session_for_every_copy_of_its_cookie(make: Make) -> None:
    """The session ends in every browser that has the cookie; the key's other sessions go on."""
    world = make(TIERGATE_ADMIN_KEY=ADMIN)
    (cookie, with_token), (other, _) = get_session_headers(world), get_session_headers(world)
    check_error(world.client.delete(SESSION_PATH, headers=cookie), 403)
    assert status(world, cookie) == 200, "a page from elsewhere cannot sign anybody out"
    assert world.client.delete(SESSION_PATH, headers=with_token).json()["signed_in"] is False
    assert status(world, cookie) == 401
    assert world.client.get(SESSION_PATH, headers=cookie).json()["signed_in"] is False
    assert world.client.delete(SESSION_PATH, headers=with_token).status_code == 200, (
        "twice does no harm"
    )
    assert status(world, other) == 200


def test_an_ended_session_stays_ended_after_a_restart_and_in_every_worker(
    make: Make, tmp_path: Path
) -> None:
    """All workers of a machine share the data folder."""
    environ = {"TIERGATE_ADMIN_KEY": ADMIN, "TIERGATE_DATA": str(tmp_path / "shared")}
    first, second = make(**environ), make(**environ)
    cookie, with_token = get_session_headers(first)
    assert status(second, cookie) == 200
    first.client.delete(SESSION_PATH, headers=with_token)
    assert status(second, cookie) == 401
    second.close()
    assert status(make(**environ), cookie) == 401


def test_an_admin_can_sign_everybody_out(make: Make) -> None:
    world = make(TIERGATE_ADMIN_KEY=ADMIN)
    (cookie, with_token), (other, _) = get_session_headers(world), get_session_headers(world)
    check_error(world.client.delete("/admin/sessions"), 401)
    check_error(world.client.delete("/admin/sessions", headers=cookie), 403)
    assert status(world, other) == 200
    reply = world.client.delete("/admin/sessions", headers=with_token)
    assert reply.json() == {"ended": "all"}
    assert (status(world, cookie), status(world, other)) == (401, 401)
    again, _ = get_session_headers(world)
    assert status(world, again) == 200
    key = {"authorization": f"Bearer {ADMIN}"}
    assert world.client.delete("/admin/sessions", headers=key).status_code == 200
    assert status(world, again) == 401
