"""Fixtures: HTTP tests use real sockets, the worlds of the end-to-end tests and real processes."""

from collections.abc import Iterator

import pytest

from gateway.core import jsonio
from tests.e2e.conftest import loop, make, upstream, world
from tests.e2e.test_messages import event, frames, whole
from tests.e2e.upstream import SSE, Answer, Request, Upstream
from tests.e2e.world import Config, Loop
from tests.server.gate import KEYS, Gate

__all__ = ["gate", "gate_with_keys", "loop", "make", "provider", "strict_gate", "upstream", "world"]


def claude(request: Request) -> Answer:
    if request.path.endswith("/count_tokens"):
        return Answer(pieces=(b'{"input_tokens":12}',), length=19)
    if request.json.get("stream") is True:
        return Answer(pieces=tuple(frames()), headers=SSE)
    return whole()


def _whole(value: Config) -> Answer:
    body = jsonio.dumps(value)
    return Answer(pieces=(body,), length=len(body))


def replies(request: Request) -> Answer:
    """Answer like a host of the Responses API."""
    if request.path.endswith("/input_tokens"):
        return _whole({"object": "response.input_tokens", "input_tokens": 12})
    part = {"type": "output_text", "text": "Hello you.", "annotations": []}
    item = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [part]}  # fmt: skip
    value = {
        "id": "resp_1", "object": "response", "created_at": 1, "status": "completed", "model": "reply-served",
        "output": [item], "usage": {"input_tokens": 7, "output_tokens": 3, "total_tokens": 10},
    }  # fmt: skip
    if request.json.get("stream") is not True:
        return _whole(value)
    delta = {"item_id": "msg_1", "output_index": 0, "content_index": 0, "delta": "Hello you."}
    return Answer(
        pieces=(
            event("response.created", response={**value, "status": "in_progress", "output": []}),
            event("response.output_text.delta", **delta),
            event("response.completed", response=value),
        ),
        headers=SSE,
    )


def google(request: Request) -> Answer:
    """Answer like a host of Gemini."""
    if request.path.endswith(":countTokens"):
        return _whole({"totalTokens": 12})
    content = {"role": "model", "parts": [{"text": "Hello you."}]}
    value = {
        "candidates": [{"content": content, "finishReason": "STOP", "index": 0}],
        "usageMetadata": {"promptTokenCount": 7, "candidatesTokenCount": 3, "totalTokenCount": 10},
        "modelVersion": "gem-served", "responseId": "g-1",
    }  # fmt: skip
    if ":stream" in request.path:
        return Answer(pieces=(b"data: " + jsonio.dumps(value) + b"\r\n\r\n",), headers=SSE)
    return _whole(value)


@pytest.fixture(scope="session")
def _provider(loop: Loop) -> Iterator[Upstream]:
    upstream = Upstream()
    loop.run(upstream.start())
    yield upstream
    loop.run(upstream.stop())


@pytest.fixture(scope="session")
def _gate(_provider: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    gateway = Gate(tmp_path_factory.mktemp("gate") / "gateway", _provider.url)
    yield gateway
    gateway.stop()


@pytest.fixture(scope="session")
def gate_with_keys(_provider: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    """A gateway that requires keys, also for admins."""
    folder = tmp_path_factory.mktemp("gate_with_keys") / "gateway"
    gateway = Gate(
        folder, _provider.url, TIERGATE_KEYS=KEYS, TIERGATE_ADMIN_KEY="of-an-admin-and-no-client"
    )
    yield gateway
    gateway.stop()


@pytest.fixture(scope="session")
def strict_gate(_provider: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    """A gateway with short timeouts and a body limit of 2 kB."""

    def limit_body(value: Config) -> None:
        value["server"] = {"max_body": "2KB"}

    folder = tmp_path_factory.mktemp("strict_gate") / "gateway"
    gateway = Gate(folder, _provider.url, limit_body, within=(0.15, 0.15))
    yield gateway
    gateway.stop()


@pytest.fixture
def provider(_provider: Upstream) -> Upstream:
    """The provider of the gateways that run as processes, reset for each test."""
    _provider.renew()
    _provider.on("/claude", claude)
    _provider.on("/reply", replies)
    _provider.on("/google", google)
    return _provider


@pytest.fixture
def gate(_gate: Gate, provider: Upstream) -> Iterator[Gate]:
    """A gateway that lives for the whole session; no test may leave a bug in its log."""
    yield _gate
    assert not [row for row in _gate.rows() if row["event"] in ("bug", "library")]
