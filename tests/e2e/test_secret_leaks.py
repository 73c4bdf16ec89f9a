"""SEC-LEAK: over all faults, no key and no prompt is anywhere but where it belongs."""

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.child import until
from tests.e2e.redis_port import Place
from tests.e2e.test_messages import event
from tests.e2e.test_messages import frames as claude_frames
from tests.e2e.test_messages import whole as claude_whole
from tests.e2e.upstream import (
    DONE,
    DROPPED,
    HTML,
    ROLE,
    SSE,
    Answer,
    Script,
    Upstream,
    chunk,
    failing,
    stream,
    whole,
)
from tests.e2e.world import Config, Loop
from tests.server.conftest import claude, google, replies
from tests.server.gate import (
    CHAT,
    CHAT_KEY,
    CLAUDE_KEY,
    CLIENT_KEY,
    COUNT,
    GENERATE,
    GOOGLE_KEY,
    KEYS,
    MESSAGES,
    OPENAI_KEY,
    RESPONSES,
    STREAM,
    TOKENS,
    Gate,
    GateReply,
    valid_body,
)
from tests.telemetry.tap import TraceReceiver

PROMPT = "canary-in-a-prompt-0123456789"
BEARER = f"Bearer {CLIENT_KEY}"
ADMIN_KEY = "admin-key-0123456789-never-shown"
COLLECTOR_KEY = "collector-key-0123456789-never-shown"
PATHS = [CHAT, MESSAGES, COUNT, RESPONSES, GENERATE]
TURNS: list[dict[str, Any]] = [{"role": "user", "content": f"Hello {PROMPT}."}]


@pytest.fixture(scope="module")
def upstream(loop: Loop) -> Iterator[Upstream]:
    provider = Upstream()
    loop.run(provider.start())
    yield provider
    loop.run(provider.stop())


@pytest.fixture(scope="module")
def place(redis_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Run a Redis that notes every command."""
    server = Place(redis_server, tmp_path_factory.mktemp("redis"))
    server.start("--slowlog-log-slower-than", "0", "--slowlog-max-len", "10000")
    yield server
    server.kill()


@pytest.fixture(scope="module")
def tap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TraceReceiver]:
    """Run a receiver of traces."""
    receiver = TraceReceiver(tmp_path_factory.mktemp("tap"))
    yield receiver
    receiver.child.stop()


@pytest.fixture(scope="module")
def gate(
    upstream: Upstream, place: Place, tap: TraceReceiver, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gate]:
    """Run a gateway that logs and keeps all that it may, but for content."""

    def keep_everything(value: Config) -> None:
        value["cache"] = {"default": "on", "ttl": "1h"}
        value["responses"] = {"ttl": "0s"}  # it would keep conversations for follow-up calls
        value["log"] = {"calls": "all"}
        value["traces"] = {"endpoint": tap.url, "headers": {"x-collector-key": COLLECTOR_KEY}}
        value["metrics"] = {"keys": True}

    gateway = Gate(
        tmp_path_factory.mktemp("leak") / "gateway", upstream.url, keep_everything, TIERGATE_KEYS=KEYS,
        TIERGATE_ADMIN_KEY=ADMIN_KEY, REDIS_URL=f"redis://127.0.0.1:{place.port}/0",
    )  # fmt: skip
    yield gateway
    gateway.stop()


def ask(gate: Gate, path: str, *, streamed: bool = False, cache: str = "refresh") -> GateReply:
    members: dict[str, dict[str, Any]] = {
        RESPONSES: {"input": TURNS},
        GENERATE: {"contents": [{"role": "user", "parts": [{"text": f"Hello {PROMPT}."}]}]},
    }
    body = valid_body(path, **members.get(path, {"messages": TURNS}))
    if streamed and path == GENERATE:
        path = STREAM
    elif streamed:
        body = body[:-1] + b',"stream":true}'
    steer = {"x_tiergate_cache": cache} if cache else {}
    return gate.ask(path, body, "POST", authorization=BEARER, **steer)


def key_of(path: str) -> str:
    return {CHAT: CHAT_KEY, RESPONSES: OPENAI_KEY, GENERATE: GOOGLE_KEY}.get(path, CLAUDE_KEY)


def quoting(path: str) -> list[Script]:
    """Return errors of a provider that quotes the credential, as real ones do."""
    key = key_of(path)
    error = {
        "type": "error",
        "error": {"message": f"Incorrect API key provided: {key}.", "type": "x", "code": key},
    }
    body = json.dumps(error).encode()
    event_frame = b"data: " + body + b"\n\n"
    first = ROLE + chunk({"content": "Hi"}) if path == CHAT else b"".join(claude_frames()[:4])
    cut = len(event_frame) // 2
    errors: list[Script] = [
        failing(status, body)
        for status in (400, 401, 402, 403, 404, 409, 413, 422, 429, 500, 503, 529)
    ]
    return [
        *errors,
        failing(400, f"<html>{key}</html>".encode()),
        failing(400, json.dumps([error]).encode()),
        replace(failing(200, body)),
        Answer(pieces=(event_frame,), headers=SSE),
        Answer(pieces=(first, event_frame), headers=SSE),
        Answer(pieces=(first, event_frame[:cut], event_frame[cut:]), headers=SSE),
        Answer(pieces=(first, *(bytes([byte]) for byte in event_frame)), headers=SSE),
        Answer(pieces=(first, b"event: error\n" + event_frame), headers=SSE),
        replace(
            failing(400, body), headers=(("x-request-id", f"req {key}"), ("www-authenticate", key))
        ),
    ]


FAULTS: list[Script] = [
    whole(), stream(), DROPPED, HTML, Answer(pieces=(b"{",)), Answer(), Answer(status=204), failing(500, b""),
    stream(ROLE, chunk({"content": "Hi"}), end="cut"), stream(ROLE, chunk({"content": "Hi"})), stream(DONE), stream(b"data: {\n\n"),
    claude_whole(), Answer(pieces=tuple(claude_frames()), headers=SSE), Answer(pieces=tuple(claude_frames()[:5]), headers=SSE, end="cut"),
    Answer(pieces=(event("error", error={"type": "overloaded_error", "message": "x"}),), headers=SSE),
    Answer(pieces=(b"x",), headers=(("content-type", "\xff"),)), Answer(pieces=(b"x" * 9,), length=99, end="cut"),
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("streamed", [False, True])
def test_sec_leak_2_the_client_never_sees_a_key_that_a_providers_error_quotes(
    gate: Gate, upstream: Upstream, path: str, streamed: bool
) -> None:
    """SEC-LEAK 2: the key is masked in whole errors and streams, however the network cuts them."""
    for at, script in enumerate(quoting(path)):
        upstream.on("/", script)
        reply = ask(gate, path, streamed=streamed and path != COUNT)
        assert key_of(path) not in reply.body.decode(), (at, reply.body)
        assert key_of(path) not in str(reply.headers), (at, reply.headers)
        assert reply.status != 401, at


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("status", [401, 402, 403])
def test_sec_leak_2_a_refused_gateway_credential_is_not_the_clients_error(
    gate: Gate, upstream: Upstream, path: str, status: int
) -> None:
    """SEC-LEAK 2: the client gets 502 and must not retry: its own key is right."""
    upstream.on("/", failing(status))
    reply = ask(gate, path)
    assert (reply.status, reply.headers["x-should-retry"]) == (502, "false")
    assert "credential" in reply.json["error"]["message"]


def test_sec_leak_1_no_fault_shows_a_key_or_a_prompt(
    gate: Gate, upstream: Upstream, place: Place, tap: TraceReceiver
) -> None:
    """SEC-LEAK 1: nowhere in output, log, ledger, store, Redis, traces, command line or errors."""
    errors = []
    for path in PATHS:
        for script in (*FAULTS, *quoting(path)):
            for streamed in (False, True)[: 1 if path == COUNT else 2]:
                upstream.on("/", script)
                reply = ask(gate, path, streamed=streamed)
                errors.append(reply.body + str(reply.headers).encode())
        for body in (
            b'{"model":"%b","messages":[]}' % PROMPT.encode() * 2,
            json.dumps({"messages": TURNS}).encode(),
            json.dumps({"model": "auto", "max_tokens": 9, "messages": [PROMPT]}).encode(),
            json.dumps(
                {"model": "auto", "max_tokens": 9, "messages": TURNS, "stream": PROMPT}
            ).encode(),
            f'{{"model":"auto","messages":"{PROMPT}'.encode(),
            PROMPT.encode(),
        ):
            reply = gate.ask(path, body, authorization=BEARER)
            assert 400 <= reply.status < 500
            errors.append(reply.body)
        errors.append(gate.ask(path, b"{}", authorization=f"Bearer x{CLIENT_KEY}").body)
        errors.append(gate.ask(f"{path}x", b"{}", x_api_key=CLIENT_KEY).body)
    calls = _cached(gate, upstream)
    admin = f"Bearer {ADMIN_KEY}"
    endpoint_bodies = [
        gate.ask(path, method="GET", authorization=admin).body
        for path in (*OPEN, "/admin/costs?by=key", "/admin/entries?limit=1000", "/v1/models")
    ]
    with place.admin() as redis:
        redis_values = _dump(redis)
        shown = [each["command"] for each in redis.slowlog_get(10_000)]
    spans = tap.spans(calls)  # at least those: spans of the faults come too
    places = {
        "out": gate.child.out.encode(),
        "err": gate.child.err.encode(),
        "errors": b"".join(errors),
        "endpoints": b"".join(endpoint_bodies),
        "files": gate.files(),
        "store": _store(gate.folder / "data" / "ledger.db"),
        "redis": b"\n".join(redis_values + shown),
        "traces": tap.child.out.encode() + tap.child.err.encode(),
        "command": Path(f"/proc/{gate.child.pid}/cmdline").read_bytes(),
    }
    assert gate.journal().count(b'"kind":"final"') > 200
    assert len(redis_values) >= 4
    assert spans
    assert len(shown) > 10
    for name, data in places.items():
        for canary in (*SECRETS, PROMPT):
            assert canary.encode() not in data, (name, canary)
    assert b"Traceback" not in places["err"] + places["errors"]
    assert b".py" not in places["errors"]


SECRETS = (CHAT_KEY, CLAUDE_KEY, OPENAI_KEY, GOOGLE_KEY, CLIENT_KEY, ADMIN_KEY, COLLECTOR_KEY)
OPEN = (
    "/health",
    "/ready",
    "/openapi.json",
    "/docs",
    "/redoc",
    "/metrics",
    "/config",
    "/debug",
    "/.env",
)


def _cached(gate: Gate, upstream: Upstream) -> int:
    """Cache an answer of each dialect in Redis, and read it back; return the number of calls."""
    upstream.scripts.clear()
    for prefix, script in (("/claude", claude), ("/reply", replies), ("/google", google)):
        upstream.on(prefix, script)
    for path in (CHAT, MESSAGES, RESPONSES, GENERATE):
        assert ask(gate, path).headers["x-tiergate-cache"] == "miss"
        until(partial(_hit, gate, path), f"a hit at {path}")
    return 8


def _hit(gate: Gate, path: str) -> bool:
    return ask(gate, path, cache="").headers["x-tiergate-cache"] == "hit"


def _dump(redis: Any) -> list[bytes]:
    """Return all names and values of a Redis, unpacked, which a dump file would not have."""
    lines = []
    for name in redis.scan_iter():
        kind = redis.type(name)
        value = redis.get(name) if kind == b"string" else redis.hgetall(name)
        lines.append(name + b" " + (value if isinstance(value, bytes) else repr(value).encode()))
    return lines


def test_sec_leak_6_open_endpoints_show_no_key_tenant_or_configuration(gate: Gate) -> None:
    """SEC-LEAK 6: without a key, no endpoint shows a key, a tenant or the configuration."""
    for path in OPEN:
        reply = gate.ask(path, method="GET")
        assert reply.status in (200, 401, 404), path
        text = reply.body.decode()
        for canary in (*SECRETS, PROMPT, "alice", "default-tenant", "acme", str(gate.folder)):
            assert canary not in text, (path, canary)


def test_sec_leak_3_geminis_key_is_in_no_url(gate: Gate, upstream: Upstream) -> None:
    """SEC-LEAK 3: the key is only in its header, whole and streamed, to count and to generate."""
    upstream.scripts.clear()
    upstream.on("/google", google)
    upstream.requests.clear()
    for path in (GENERATE, STREAM, TOKENS):
        body = valid_body(path)
        assert gate.ask(path, body, authorization=BEARER, x_tiergate_cache="off").status == 200
    assert len(upstream.requests) == 3
    for request in upstream.requests:
        assert GOOGLE_KEY not in request.path
        assert "key=" not in request.path
        assert request.header("x-goog-api-key") == GOOGLE_KEY


def _store(path: Path) -> bytes:
    """Return the contents of all tables of the store."""
    if not path.exists():
        return b""
    connection = sqlite3.connect(path)
    text = "\n".join(connection.iterdump())
    connection.close()
    return text.encode()
