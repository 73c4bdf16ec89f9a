"""Millions of JSON values in few bytes, from clients and from providers: counted, never parsed."""

from typing import Any

import orjson
import pytest

from bench.loop_shapes import VALUES
from gateway.core import json_size, jsonio
from tests.e2e.upstream import SSE, Answer, Upstream, chunk
from tests.e2e.world import Make, World, chat

_WHOLE = b'{"id":"r","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"x":%b}'
_EVENT = b'data: {"id":"r","choices":[{"index":0,"delta":{"content":"hi"}}],"usage":%b}\n\n'


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Record the values of all that the gateway parses."""
    counts: list[int] = []

    class Recorder:
        JSONDecodeError = orjson.JSONDecodeError

        @staticmethod
        def loads(data: Any) -> Any:
            counts.append(json_size.bound_values(bytes(data)))
            return orjson.loads(data)

    monkeypatch.setattr(jsonio, "orjson", Recorder)
    return counts


@pytest.fixture
def world(make: Make) -> World:
    return make()


@pytest.mark.parametrize("shape", VALUES)
def test_no_request_with_a_million_values_is_parsed(
    world: World, upstream: Upstream, parsed: list[int], shape: str
) -> None:
    body = b'{"model":"smart","messages":[],"x":%b}' % VALUES[shape](1_000_000)
    reply = world.ask(body)
    assert reply.status_code == 413
    assert "server.max_values" in reply.json()["error"]["message"]
    assert not parsed
    assert not upstream.requests


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("shape", VALUES)
def test_no_answer_with_millions_of_values_is_parsed(
    world: World, upstream: Upstream, parsed: list[int], shape: str, *, stream: bool
) -> None:
    """The client gets an error that says why, and nothing of the answer or the event."""
    values = VALUES[shape](1_000_000)
    if stream:
        upstream.on(
            "/acme", Answer(pieces=(chunk({"content": "hi"}), _EVENT % values), headers=SSE)
        )
    else:
        upstream.on("/acme", Answer(pieces=(_WHOLE % values,)))
    reply = world.ask(chat(stream=stream))
    assert reply.status_code == (200 if stream else 502)
    assert "JSON values" in reply.text
    assert len(reply.content) < 10_000
    assert max(parsed, default=0) < 1_000
