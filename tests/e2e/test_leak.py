"""SEC-LEAK: over all faults, no key and no prompt is anywhere but where it belongs."""

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

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
from tests.e2e.world import Loop
from tests.http.gate import (
    CHAT,
    CHAT_KEY,
    CLAUDE_KEY,
    CLIENT_KEY,
    COUNT,
    KEYS,
    MESSAGES,
    Gate,
    Told,
    chat,
    messages,
)

PROMPT = "canary-in-a-prompt-0123456789"
BEARER = {"authorization": f"Bearer {CLIENT_KEY}"}
SAID: list[dict[str, Any]] = [{"role": "user", "content": f"Hello {PROMPT}."}]


@pytest.fixture(scope="module")
def upstream(loop: Loop) -> Iterator[Upstream]:
    made = Upstream()
    loop.run(made.start())
    yield made
    loop.run(made.stop())


@pytest.fixture(scope="module")
def gate(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    made = Gate(tmp_path_factory.mktemp("leak") / "gateway", upstream.url, TIERGATE_KEYS=KEYS)
    yield made
    made.stop()


def ask(gate: Gate, path: str, *, streamed: bool = False, **more: Any) -> Told:
    body = chat(messages=SAID, **more) if path == CHAT else messages(messages=SAID, **more)
    if streamed:
        body = body[:-1] + b',"stream":true}'
    return gate.ask(path, body, **BEARER)


def key_of(path: str) -> str:
    return CHAT_KEY if path == CHAT else CLAUDE_KEY


def quoting(path: str) -> list[Script]:
    """Errors of a provider that quotes the credential, as real ones do."""
    key = key_of(path)
    error = {
        "type": "error",
        "error": {"message": f"Incorrect API key provided: {key}.", "type": "x", "code": key},
    }
    body = json.dumps(error).encode()
    said = b"data: " + body + b"\n\n"
    first = ROLE + chunk({"content": "Hi"}) if path == CHAT else b"".join(claude_frames()[:4])
    cut = len(said) // 2
    errors: list[Script] = [
        failing(status, body)
        for status in (400, 401, 402, 403, 404, 409, 413, 422, 429, 500, 503, 529)
    ]
    return [
        *errors,
        failing(400, f"<html>{key}</html>".encode()),
        failing(400, json.dumps([error]).encode()),
        replace(failing(200, body)),
        Answer(pieces=(said,), headers=SSE),
        Answer(pieces=(first, said), headers=SSE),
        Answer(pieces=(first, said[:cut], said[cut:]), headers=SSE),
        Answer(pieces=(first, *(bytes([one]) for one in said)), headers=SSE),
        Answer(pieces=(first, b"event: error\n" + said), headers=SSE),
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


@pytest.mark.parametrize("path", [CHAT, MESSAGES, COUNT])
@pytest.mark.parametrize("streamed", [False, True])
def test_sec_leak_2_a_providers_error_that_quotes_its_key(
    gate: Gate, upstream: Upstream, path: str, streamed: bool
) -> None:
    """SEC-LEAK 2: the key is masked, in whole errors and in streams, however the network cuts them."""
    for at, script in enumerate(quoting(path)):
        upstream.on("/", script)
        told = ask(gate, path, streamed=streamed and path != COUNT)
        assert key_of(path) not in told.body.decode(), (at, told.body)
        assert key_of(path) not in str(told.headers), (at, told.headers)
        assert told.status != 401, at


@pytest.mark.parametrize("path", [CHAT, MESSAGES, COUNT])
@pytest.mark.parametrize("status", [401, 402, 403])
def test_sec_leak_2_our_credential_is_not_the_clients(
    gate: Gate, upstream: Upstream, path: str, status: int
) -> None:
    """SEC-LEAK 2: 502, told not to retry: the client's own key is right."""
    upstream.on("/", failing(status))
    told = ask(gate, path)
    assert (told.status, told.headers["x-should-retry"]) == (502, "false")
    assert "credential" in told.json["error"]["message"]


def test_sec_leak_1_canaries_over_all_faults(gate: Gate, upstream: Upstream) -> None:
    """SEC-LEAK 1, 4, 6: nowhere in output, log, ledger, store, command line, errors or open doors."""
    errors = []
    for path in (CHAT, MESSAGES, COUNT):
        for script in (*FAULTS, *quoting(path)):
            for streamed in (False, True)[: 1 if path == COUNT else 2]:
                upstream.on("/", script)
                told = ask(gate, path, streamed=streamed)
                errors.append(told.body + str(told.headers).encode())
        for body in (
            b'{"model":"%b","messages":[]}' % PROMPT.encode() * 2,
            json.dumps({"messages": SAID}).encode(),
            json.dumps({"model": "auto", "max_tokens": 9, "messages": [PROMPT]}).encode(),
            json.dumps(
                {"model": "auto", "max_tokens": 9, "messages": SAID, "stream": PROMPT}
            ).encode(),
            f'{{"model":"auto","messages":"{PROMPT}'.encode(),
            PROMPT.encode(),
        ):
            told = gate.ask(path, body, **BEARER)
            assert 400 <= told.status < 500
            errors.append(told.body)
        errors.append(gate.ask(path, b"{}", authorization=f"Bearer x{CLIENT_KEY}").body)
        errors.append(gate.ask(f"{path}/{CLIENT_KEY[:0]}x", b"{}", x_api_key=CLIENT_KEY).body)
    doors = [
        gate.ask(p, method="GET").body
        for p in ("/health", "/ready", "/openapi.json", "/docs", "/metrics", "/config")
    ]
    places = {
        "out": gate.child.out.encode(),
        "err": gate.child.err.encode(),
        "errors": b"".join(errors),
        "doors": b"".join(doors),
        "files": gate.files(),
        "store": _store(gate.folder / "data" / "ledger.db"),
        "command": Path(f"/proc/{gate.child.pid}/cmdline").read_bytes(),
    }
    assert gate.journal().count(b'"kind":"final"') > 100
    for name, data in places.items():
        for canary in (CHAT_KEY, CLAUDE_KEY, CLIENT_KEY, PROMPT):
            assert canary.encode() not in data, (name, canary)
    assert b"Traceback" not in places["err"] + places["errors"]
    assert b".py" not in places["errors"]


def _store(path: Path) -> bytes:
    """All that the store's tables say."""
    if not path.exists():
        return b""
    connection = sqlite3.connect(path)
    found = "\n".join(connection.iterdump())
    connection.close()
    return found.encode()
