"""After a failure: which target the gateway asks next, when, and what the client gets."""

from dataclasses import replace

import pytest

from gateway.core import jsonio
from gateway.upstream import attempt
from tests.e2e.upstream import (
    DROPPED,
    ROLE,
    Upstream,
    chunk,
    failing,
    frames,
    stream,
    whole,
)
from tests.e2e.world import SECRET, Change, Config, Make, World, chat, spared


def body(code: str, message: str = "No.") -> bytes:
    return jsonio.dumps({"error": {"message": message, "type": "made_up", "code": code}})


def windows(small: int | None, large: int | None) -> Change:
    """Set the context windows of the two smart targets."""

    def change(value: Config) -> None:
        for model, window in (("able-1", small), ("able-2", large)):
            value["models"].setdefault(model, {})["context"] = window

    return change


def test_a_refusal_without_json_becomes_an_error_of_the_dialect(
    world: World, upstream: Upstream
) -> None:
    upstream.on("/acme", failing(400, b"<html>no</html>"))
    error = world.ask(chat()).json()["error"]
    assert (error["type"], error["code"]) == ("invalid_request_error", "upstream_rejected")


TOO_LONG = failing(400, body("context_length_exceeded", "maximum context length is 8 tokens"))


@pytest.mark.parametrize(
    ("small", "large", "paths"),
    [
        (100_000, 200_000, ["acme", "spare"]),
        (200_000, 100_000, ["acme"]),
        (200_000, None, ["acme", "spare"]),
        (None, None, ["acme", "spare"]),
    ],
)
def test_a_prompt_that_is_too_long_goes_to_a_larger_or_unknown_window(
    make: Make, upstream: Upstream, small: int | None, large: int | None, paths: list[str]
) -> None:
    world = make(spared, windows(small, large))
    upstream.on("/acme", TOO_LONG)
    reply = world.ask(chat())
    assert upstream.called == paths
    assert reply.status_code == (200 if len(paths) > 1 else 400)
    if len(paths) == 1:
        assert reply.json()["error"]["code"] == "context_length_exceeded"


def accounts(value: Config) -> None:
    value["providers"]["acme"]["accounts"] = {"main": SECRET, "second": "sk-second"}


@pytest.mark.parametrize("status", [401, 403, 429, 500])
def test_another_account_takes_over(make: Make, upstream: Upstream, status: int) -> None:
    world = make(accounts)
    upstream.on("/acme", failing(status), whole())
    assert world.ask(chat()).status_code == 200
    assert [request.header("authorization") for request in upstream.requests] == [
        f"Bearer {SECRET}",
        "Bearer sk-second",
    ]
    assert world.entry().account == "second"


def test_the_gateway_does_not_retry_a_request_that_may_be_billed(
    make: Make, upstream: Upstream
) -> None:
    """The gateway retries neither there nor with another account of the same host."""
    world = make(accounts)
    upstream.on("/acme", DROPPED)
    assert world.ask(chat()).status_code == 502
    assert len(upstream.requests) == 1
    entry = world.entry()
    assert (entry.cost, entry.problem) == (None, "upstream_unreachable")


def test_a_call_is_answered_after_its_provider_recovers(world: World, upstream: Upstream) -> None:
    asks = world.gateway.engine._upstream
    asks._wall = asks._attempt_runner._wall = lambda: 1_795_000_000.0 + sum(world.waits)
    upstream.on("/acme", failing(429, retry_after="2"), failing(503), whole())
    assert world.ask(chat()).headers["x-tiergate-attempts"] == "3"
    assert world.waits == [3.0, 2.0]


def test_the_gateway_retries_nothing_after_the_first_content(
    make: Make, upstream: Upstream
) -> None:
    """The gateway asks no other target and repeats no text: the stream ends with an error."""
    world = make(spared)
    upstream.on("/acme", stream(ROLE, chunk({"content": "Hel"}), end="cut"))
    reply = world.ask(chat(stream=True))
    assert len(upstream.requests) == 1
    *_, last = reply.content.removesuffix(b"\n\n").split(b"\n\n")
    error = jsonio.loads(last.removeprefix(b"data: "))["error"]
    assert (error["type"], error["code"]) == ("server_error", "upstream_truncated")
    assert b"[DONE]" not in reply.content


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
def test_the_gateway_never_masks_the_content_of_an_answer(
    world: World, upstream: Upstream, streamed: bool
) -> None:
    """The content is the model's own; the gateway masks only a header that quotes the key."""
    text = f"You are {SECRET}."
    answer = stream(*frames([text]), bill=(7, 3)) if streamed else whole(text)
    upstream.on("/acme", replace(answer, headers=(*answer.headers, ("x-request-id", SECRET))))
    reply = world.ask(chat(stream=streamed))
    assert text.encode() in reply.content
    assert reply.headers["x-upstream-request-id"] == "***"
    assert world.entry().upstream_id == "***"


def test_a_connection_that_closed_while_idle_costs_no_call(
    world: World, upstream: Upstream
) -> None:
    """The provider reads the next call once; an attempt that the close crossed costs nothing."""
    upstream.on("/acme", replace(whole(), end="cut"))
    attempts = [int(world.ask(chat()).headers["x-tiergate-attempts"]) for _ in range(3)]
    assert set(attempts) <= {1, 2}
    assert len(upstream.requests) == upstream.connections == 3
    assert [row.attempts for row in world.entries()] == attempts
    assert {row.wasted for row in world.entries()} == {0}


def test_an_answer_beyond_the_size_limit_is_an_error(
    world: World, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempt, "_MAX_RESPONSE_BYTES", 1000)
    monkeypatch.setattr(attempt, "_MAX_ERROR_BYTES", 100)
    upstream.on("/acme", whole("x" * 1000), failing(400, b"x" * 101))
    for _ in range(2):
        reply = world.ask(chat())
        assert (reply.status_code, reply.json()["error"]["code"]) == (502, "upstream_error")
        assert "larger than" in reply.json()["error"]["message"]


FLOODS = {
    "blank lines": b"\n\n" * 600_000,
    "comments": b": still here\n\n" * 90_000,
    "empty events": b"event: ping\ndata:\n\n" * 70_000,
    "empty chunks": b'data: {"choices":[]}\n\n' * 60_000,
    "a line without an end": b": " + b"x" * 1_200_000,
}


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
def test_the_next_target_takes_over_from_a_flood_before_content(
    make: Make, upstream: Upstream, path: str, flood: bytes
) -> None:
    """Native and translated, the gateway asks the next target and counts the provider as failed."""
    world = make(spared)
    upstream.on("/acme", stream(flood, *frames()))
    upstream.on("/spare", stream())
    request_body = {
        "model": "smart",
        "max_tokens": 9,
        "messages": [{"role": "user", "content": "Hi."}],
    }
    reply = world.client.post(path, json={**request_body, "stream": True})
    assert b"Hel" in reply.content
    assert len(reply.content) < 10_000
    assert reply.headers["x-tiergate-provider"] == "spare"
    assert not world.gateway.engine._upstream.health.is_healthy(("acme", "main", "able-1"))
    assert (world.entry().state, world.entry().attempts) == ("settled", 2)


def test_frames_that_repeat_a_large_request_are_no_flood(make: Make, upstream: Upstream) -> None:
    """The lifecycle events of a Responses answer repeat instructions and tools."""

    def speaks(value: Config) -> None:
        value["providers"]["acme"]["dialects"] = {"openai-responses": "/responses"}

    world = make(speaks)
    long = "x" * 600_000
    begun = {"id": "resp_1", "object": "response", "model": "m", "output": [], "instructions": long}
    done = {**begun, "status": "completed", "output": [{"type": "message", "content": []}]}
    text = {"type": "response.output_text.delta", "output_index": 0, "delta": "Hi"}
    events = [
        {"type": "response.created", "response": {**begun, "status": "in_progress"}},
        {"type": "response.in_progress", "response": {**begun, "status": "in_progress"}},
        text, {"type": "response.completed", "response": done},
    ]  # fmt: skip
    data = b"".join(b"data: " + jsonio.dumps(event) + b"\n\n" for event in events)
    upstream.on("/acme", stream(data))
    request_body = {"model": "smart", "input": "Hi.", "instructions": long, "stream": True}
    reply = world.client.post("/v1/responses", json=request_body)
    assert reply.content == data
    assert world.entry().attempts == 1
