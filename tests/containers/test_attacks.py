"""Run the same attacks on every shipped way of deployment, each with an expected result."""

import re
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from gateway.core import jsonio
from tests.containers import deployed
from tests.containers.deployed import ADMIN_KEY, METRICS_KEY, Deployed, DeployedReply
from tests.e2e.upstream import Answer, Upstream, whole
from tests.e2e.world import Loop

WAYS = tuple(deployed.ways())
EVIL = "https://evil.example"
THROUGH_A_PROXY = {"x_forwarded_for": "203.0.113.7"}
"""A header by which the client is not this machine's own browser."""
CHAT, MODELS = "/v1/chat/completions", "/v1/models"
HIDDEN = (
    deployed.PROVIDER_KEY,
    ADMIN_KEY,
    METRICS_KEY,
    deployed.ROOT_SECRET,
    "root:x:0",
    "Traceback",
)
"""Texts that no answer contains."""


def chat(content: object = "Say hello.") -> bytes:
    value = {"model": "openai/smart", "messages": [{"role": "user", "content": content}]}
    return jsonio.dumps(value)


def posts(gateway: Deployed, **headers: str) -> DeployedReply:
    """Send a call as text, which a page of another origin can do without a preflight request."""
    return gateway.ask("POST", CHAT, chat(), content_type="text/plain", **headers)


def allowed(gateway: Deployed, body: bytes, **headers: str) -> DeployedReply:
    """Send a call with a valid key."""
    return gateway.ask(
        "POST", CHAT, body, authorization=f"Bearer {gateway.key}", x_tiergate_cache="off", **headers
    )


def guesses(gateway: Deployed, path: str, **headers: str) -> DeployedReply:
    """Send wrong keys that begin alike; return the answer that most of them get.

    Each worker forgives five, and one more every five seconds.
    """
    replies = [
        gateway.ask("GET", path, b"", authorization=f"Bearer guessed-key-{at}", **headers)
        for at in range(60)
    ]
    return sorted(replies, key=lambda reply: reply.status)[len(replies) // 2]


def loops(gateway: Deployed, provider: Upstream) -> DeployedReply:
    """Send the gateway its own hop marks: any of its workers may get them."""
    marks = set()
    for _ in range(20):
        allowed(gateway, chat())
        marks.add(provider.requests[-1].header("x-tiergate-hop"))
    replies = [
        allowed(gateway, chat(), x_tiergate_hop=f"{mark}") for mark in marks for _ in range(8)
    ]
    return max(replies, key=lambda reply: reply.status)


def fetches(gateway: Deployed) -> DeployedReply:
    """Ask about images at this machine and at a cloud's metadata; nothing may fetch them."""
    with socket.create_server(("127.0.0.1", 0)) as trap:
        trap.setblocking(False)
        port = trap.getsockname()[1]
        hosts = (f"127.0.0.1:{port}", f"[::ffff:127.0.0.1]:{port}", "169.254.169.254")
        images = [
            {"type": "image_url", "image_url": {"url": f"http://{host}/key"}} for host in hosts
        ]
        reply = allowed(gateway, chat([{"type": "text", "text": "What is it?"}, *images]))
        with suppress(BlockingIOError):
            trap.accept()
            pytest.fail("the gateway fetched an address of this machine")
    return reply


def signs_in(gateway: Deployed, key: str) -> DeployedReply:
    body = jsonio.dumps({"key": key})
    return gateway.ask("POST", "/dashboard/session", body, content_type="application/json")


def rides(gateway: Deployed) -> DeployedReply:
    """Let a page of another origin reload the configuration with an admin's cookie."""
    signed = signs_in(gateway, ADMIN_KEY)
    cookie = signed.headers.get("set-cookie", "x=y").partition(";")[0]
    assert ("tiergate-session" in cookie) == gateway.admin
    if gateway.admin:
        assert gateway.ask("GET", "/admin/costs", cookie=cookie).status == 200
    one = gateway.ask("POST", "/admin/reload", cookie=cookie, origin=EVIL)
    two = gateway.ask("POST", "/admin/reload", cookie=cookie, sec_fetch_site="cross-site")
    three = gateway.ask("POST", "/admin/reload", b"", cookie=cookie, **THROUGH_A_PROXY)  # no token
    return max(one, two, three, key=lambda reply: 0 if reply.status == 403 else reply.status)


def quotes(gateway: Deployed, provider: Upstream) -> DeployedReply:
    """Let the provider refuse the gateway's key and quote it."""
    text = jsonio.dumps({"error": {"message": f"Incorrect API key: {deployed.PROVIDER_KEY}"}})
    provider.on("/", Answer(pieces=(text,), status=401, length=len(text)))
    try:
        return allowed(gateway, chat())
    finally:
        provider.on("/", whole())


type Attack = Callable[[Deployed, Upstream], DeployedReply]

ATTACKS: dict[str, tuple[Attack, tuple[int, ...]]] = {
    # attack                    make run, systemd, compose, fleet, kubernetes, helm
    "a page of another origin": (lambda g, _: posts(g, origin=EVIL), (403, 403, 401, 401, 401, 401)),
    "a page without an origin": (lambda g, _: posts(g, origin="null"), (403, 403, 401, 401, 401, 401)),
    "a page's name leads here": (lambda g, _: posts(g, host="evil.example"), (403, 403, 401, 401, 401, 401)),
    "a page's name, for admins": (lambda g, _: g.ask("GET", "/admin/costs", host="evil.example"), (403, 401, 401, 401, 403, 403)),
    "a page's name, for the dashboard": (lambda g, _: g.ask("GET", "/dashboard/session", host="evil.example"), (403, 403, 200, 200, 200, 200)),
    "a page's name, for the start page": (lambda g, _: g.ask("GET", "/", host="evil.example"), (403, 403, 200, 200, 200, 200)),
    "a page asks before it calls": (lambda g, _: g.ask("OPTIONS", CHAT, origin=EVIL, access_control_request_method="POST"), (403, 403, 405, 405, 405, 405)),
    "no key": (lambda g, _: posts(g), (200, 200, 401, 401, 401, 401)),
    "a wrong key in a header": (lambda g, _: posts(g, x_api_key="wrong"), (200, 200, 401, 401, 401, 401)),
    "a wrong key in the URL": (lambda g, _: g.ask("GET", "/v1beta/models?key=wrong-too"), (200, 200, 401, 401, 401, 401)),
    "guesses of client keys": (lambda g, _: guesses(g, MODELS), (200, 200, 429, 429, 429, 429)),
    "guesses of admin keys": (lambda g, _: guesses(g, "/admin/costs", **THROUGH_A_PROXY), (403, 429, 429, 429, 403, 403)),
    "metrics without a key": (lambda g, _: g.ask("GET", "/metrics"), (200, 401, 401, 401, 401, 401)),
    "admin without a key": (lambda g, _: g.ask("GET", "/admin/costs", b"", **THROUGH_A_PROXY), (403, 401, 401, 401, 403, 403)),
    "signing in with a wrong key": (lambda g, _: signs_in(g, "other"), (401, 401, 401, 401, 401, 401)),
    "a file outside of the dashboard": (lambda g, _: g.ask("GET", "/dashboard/files/1/../../../../../../etc/passwd"), (404, 404, 404, 404, 404, 404)),
    "the same, encoded": (lambda g, _: g.ask("GET", "/dashboard/files/1/..%2f..%2f..%2f..%2fetc%2fpasswd"), (404, 404, 404, 404, 404, 404)),
    "an answer outside of its place": (lambda g, _: g.ask("GET", "/v1/responses/..%2f..%2fsecret", x_api_key=g.key), (404, 404, 404, 404, 404, 404)),
    "headers of 200 KB": (lambda g, _: posts(g, x_long="x" * 200_000), (431, 431, 431, 431, 431, 431)),
    "a loop": (loops, (508, 508, 508, 508, 508, 508)),
    "images at addresses inside": (lambda g, _: fetches(g), (200, 200, 200, 200, 200, 200)),
    "a page rides on an admin's session": (lambda g, _: rides(g), (403, 403, 403, 403, 403, 403)),
    "a provider quotes its key": (quotes, (502, 502, 502, 502, 502, 502)),
}  # fmt: skip
"""Each attack, and its status for each way of deployment.

An attack with 200 gains nothing. It gets only a page that is the same for everybody, metrics and
calls of this machine alone, or a call that fetched nothing.
"""


@pytest.fixture(scope="module")
def loop() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.close()


@pytest.fixture(scope="module")
def provider(loop: Loop) -> Iterator[Upstream]:
    made = Upstream()
    loop.run(made.start())
    made.on("/", whole())
    yield made
    loop.run(made.stop())


@pytest.fixture(scope="module", params=WAYS)
def gateway(
    request: pytest.FixtureRequest, provider: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployed]:
    folder = tmp_path_factory.mktemp("deployed") / "gateway"
    folder.mkdir()
    made = Deployed(request.param, folder, provider.url)
    yield made
    made.stop()


@pytest.mark.parametrize("attack", ATTACKS)
def test_each_way_of_deployment_stands_each_attack(
    gateway: Deployed, provider: Upstream, attack: str
) -> None:
    run, expected = ATTACKS[attack]
    reply = run(gateway, provider)
    assert reply.status == expected[WAYS.index(gateway.name)], reply.body[:500]
    assert "access-control-allow-origin" not in reply.headers
    for hidden in (*HIDDEN, gateway.key):
        assert not [
            one
            for one in gateway.replies
            if hidden in f"{one.headers} {one.body.decode('latin-1')}"
        ]


def test_who_may_is_served_and_probes_are_answered(gateway: Deployed) -> None:
    """Also after all attacks: no guess locks a valid key out, and no probe needs a key."""
    assert allowed(gateway, chat()).status == 200
    for path in ("/health", "/ready"):
        for host in ("10.0.0.7:8484", "tiergate"):
            reply = gateway.ask("GET", path, host=host)
            assert reply.status == 200
            assert (b"version" in reply.body) != gateway.keyed
    keys = [ADMIN_KEY] * gateway.admin + [METRICS_KEY] * (METRICS_KEY in gateway.given)
    for key in keys:
        assert gateway.ask("GET", "/metrics", authorization=f"Bearer {key}").status == 200


def test_open_keys_listen_on_this_machine_alone(gateway: Deployed) -> None:
    """No shipped way listens with open keys beyond this machine."""
    listening = re.findall(r" on http://([\d.]+):", gateway.child.out)
    assert (listening == ["127.0.0.1"]) != gateway.keyed
