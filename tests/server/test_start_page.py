"""Test the start page: what it is, its state, base URLs for SDKs; strangers learn nothing useful."""

import base64
import hashlib
import re

import pytest

from gateway.limits.load_shedding import SHED_REASONING
from gateway.runtime.composition import VERSION
from gateway.server.dashboard.routes import SAFE_HEADERS
from tests.e2e.world import Make, World
from tests.server.gate import CLIENT_KEY, Gate, GateReply, answers, request
from tests.server.test_fair_concurrency import environment_keys
from tests.server.test_load_shedding import set_pressure

HTML = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
JSON = {"accept": "application/json"}


def test_a_browser_gets_a_page_that_loads_nothing_from_elsewhere(world: World) -> None:
    """The page is one file that loads nothing, is not cached, and runs only its own script."""
    reply = world.client.get("/", headers=HTML)
    assert reply.status_code == 200
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    assert (reply.headers["cache-control"], reply.headers["vary"]) == ("no-store", "accept")
    page = reply.text
    assert not re.findall(r'(?:src|action)="', page)
    assert set(re.findall(r'href="([^"]+?)[:"]', page)) == {
        "data", "/v1/models", "/usage", "/dashboard", "/openapi.json", "/ready",
    }  # fmt: skip
    assert "<!--" not in page
    assert f"<small>{VERSION}</small>" in page
    assert '<p class="state good">Ready</p>' in page
    assert re.findall(r"<li>(\w+)</li>", page) == ["acme", "other"]
    assert page.count(f"<code>{world.url}</code>") == 3
    assert f"<code>{world.url}/v1</code>" in page


def test_the_policy_of_the_page_allows_only_its_own_script_and_style(world: World) -> None:
    """The page has the dashboard's headers; the policy allows script and style by their hashes."""
    reply = world.client.get("/", headers=HTML)
    policy = reply.headers["content-security-policy"]
    for kind in ("script", "style"):
        (text,) = re.findall(rf"<{kind}>(.*?)</{kind}>", reply.text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}';" in policy
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert "trusted-types 'none'" in policy
    for name in SAFE_HEADERS.keys() - {"content-security-policy"}:
        assert reply.headers[name] == SAFE_HEADERS[name]


@pytest.mark.parametrize("accept", [None, "*/*", "text/html", "text/html, application/json"])
def test_clients_that_do_not_ask_for_json_alone_get_the_page(
    world: World, accept: str | None
) -> None:
    headers = {} if accept is None else {"accept": accept}
    assert world.client.get("/", headers=headers).text.startswith("<!doctype html>")


def test_programs_get_json(world: World) -> None:
    reply = world.client.get("/", headers=JSON)
    assert reply.headers["content-type"] == "application/json"
    assert reply.json() == {
        "name": "tiergate",
        "version": VERSION,
        "status": "ok",
        "base_urls": {
            "openai": f"{world.url}/v1", "anthropic": world.url, "gemini": world.url, "azure": world.url,
        },
        "models": "/v1/models",
        "labs": ["acme", "other"],
    }  # fmt: skip


def test_the_start_page_answers_head_and_no_post(world: World) -> None:
    """Claude Code checks so if a gateway is there."""
    for headers in (HTML, JSON, {}):
        reply = world.client.head("/", headers=headers)
        assert (reply.status_code, reply.content) == (200, b"")
    reply = world.client.post("/")
    assert (reply.status_code, reply.headers["allow"]) == (405, "GET, HEAD")


def test_the_start_page_says_why_the_gateway_is_not_ready(world: World) -> None:
    set_pressure(world, SHED_REASONING)
    assert "Ready" in world.client.get("/").text
    world.app.admission.shutdown.has_begun = True
    assert (
        '<p class="state bad">Not ready: The gateway is stopping.</p>' in world.client.get("/").text
    )
    state = world.client.get("/", headers=JSON).json()
    assert (state["status"], state["reason"]) == ("draining", "The gateway is stopping.")


def test_without_a_key_the_start_page_shows_no_labs(make: Make) -> None:
    """A key's owner sees the labs that it may use; a wrong key shows what a stranger sees."""
    world = make(TIERGATE_KEYS=environment_keys("ann"))
    for headers in ({}, {"authorization": "Bearer bob"}):
        page = world.client.get("/", headers=headers).text
        assert "acme" not in page
        assert "other" not in page.replace("another", "")
        assert 'id="key" type="password"' in page
        assert "labs" not in world.client.get("/", headers={**JSON, **headers}).json()
    right_key = {"authorization": "Bearer ann"}
    assert world.client.get("/", headers={**JSON, **right_key}).json()["labs"] == ["acme", "other"]
    assert "<li>acme</li>" in world.client.get("/", headers=right_key).text


def page_at(gate: Gate, host: bytes, *lines: bytes) -> GateReply:
    """Return the page for a reader who names a host."""
    data = request("/", b"", b"connection: close", *lines, method="GET")
    (reply,) = answers(gate.exchange(data.replace(b"host: localhost", b"host: " + host)))
    return reply


def test_the_page_shows_addresses_with_the_host_of_its_reader(gate_with_keys: Gate) -> None:
    """The page uses the host that the reader asked for, and https if a proxy reports TLS."""
    assert (
        b"<code>http://gw.example:8484/v1</code>"
        in page_at(gate_with_keys, b"gw.example:8484").body
    )
    reply = page_at(gate_with_keys, b"gw.example", b"x-forwarded-proto: https")
    assert b"<code>https://gw.example/v1</code>" in reply.body
    old_request = b"GET / HTTP/1.0\r\n\r\n"
    assert b"<code>http://127.0.0.1:" in gate_with_keys.exchange(old_request)


def test_the_page_escapes_the_host(gate_with_keys: Gate) -> None:
    """The gateway refuses or escapes markup in a host."""
    assert page_at(gate_with_keys, b"<b>").status == 400
    reply = page_at(gate_with_keys, b"a'&b")
    assert b"<code>http://a&#x27;&amp;b</code>" in reply.body


def test_the_page_needs_no_key_and_shows_no_key_or_model(gate_with_keys: Gate) -> None:
    reply = gate_with_keys.ask("/", b"", "GET", accept="text/html")
    assert reply.status == 200
    assert CLIENT_KEY.encode() not in reply.body
    for lab in (b"acme", b"claude-haiku", b"reply-9", b"gem-9"):
        assert lab not in reply.body
