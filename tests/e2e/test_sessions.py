"""A conversation stays with the target that answers it, from call to call.

Gateways of one Redis share their sessions. Most tests use `sticky`, which stays longest;
tests/e2e/test_conversations.py has the default strategy.
"""

import threading
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from gateway.core.ledger_rows import FinalRow
from tests.e2e.redis_port import Place
from tests.e2e.upstream import Answer, Request, Upstream, failing, whole
from tests.e2e.world import Body, Config, Make, World

EASY, HARD = "Hi!", "Prove rigorously that there are infinitely many primes, and derive a bound."
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
USED = {"id": "t1", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def make_conversation(*turns: str, **more: Any) -> Body:
    """Return a conversation in which every turn but the last was answered."""
    messages = [{"role": "user", "content": turns[0]}]
    for turn in turns[1:]:
        messages += [{"role": "assistant", "content": "Yes."}, {"role": "user", "content": turn}]
    return {"model": "auto", "messages": messages, "max_tokens": 9, **more}


def in_loop(body: Body) -> Body:
    """Return the conversation after the model has used a tool."""
    tool_call = {"role": "assistant", "content": None, "tool_calls": [USED]}
    result = {"role": "tool", "tool_call_id": "t1", "content": "rain"}
    return {**body, "tools": [TOOL], "messages": [*body["messages"], tool_call, result]}


def read_decision(reply: Any) -> tuple[str, str, str]:
    """Return the source of the decision, the tier and the model."""
    assert reply.status_code == 200, reply.text
    source = reply.headers["x-tiergate-decision"].partition(";")[0]
    return source, reply.headers["x-tiergate-tier"], reply.headers["x-tiergate-model"]


def with_strategy(strategy: str) -> Callable[[Config], None]:
    def change(value: Config) -> None:
        value["routing"]["conversation"] = strategy

    return change


def answer_anything(_: Request) -> Answer:
    return whole()


@pytest.fixture
def answers(upstream: Upstream) -> Upstream:
    for path in ("/acme", "/spare", "/other"):
        upstream.on(path, answer_anything)
    return upstream


def send_turns(
    world: World, *turns: str, name: str = "one", loop: bool = False, **more: Any
) -> Any:
    body = make_conversation(*turns, **more)
    return world.ask(in_loop(body) if loop else body, x_tiergate_conversation=name)


@pytest.mark.usefixtures("answers")
def test_a_sticky_conversation_stays_with_its_first_target(make: Make) -> None:
    """The conversation stays for harder and easier turns, in a loop and outside; others do not."""
    world = make(with_strategy("sticky"))
    assert read_decision(send_turns(world, EASY)) == ("classifier", "fast", "swift-1")
    assert read_decision(send_turns(world, EASY, HARD)) == ("seat", "fast", "swift-1")
    assert read_decision(send_turns(world, EASY, HARD, loop=True)) == ("seat", "fast", "swift-1")
    assert read_decision(send_turns(world, EASY, HARD, name="two")) == (
        "classifier",
        "reasoning",
        "deep-1",
    )
    assert read_decision(send_turns(world, EASY, HARD, EASY, name="two")) == (
        "seat",
        "reasoning",
        "deep-1",
    )
    assert read_decision(send_turns(world, EASY, HARD, EASY)) == ("seat", "fast", "swift-1")


@pytest.mark.usefixtures("answers")
def test_a_tool_loop_is_decided_once(make: Make) -> None:
    """The loop stays whole even where the gateway decides each user turn anew."""
    world = make(with_strategy("turn"))
    assert read_decision(send_turns(world, HARD)) == ("classifier", "reasoning", "deep-1")
    assert read_decision(send_turns(world, HARD, loop=True)) == ("seat", "reasoning", "deep-1")
    assert read_decision(send_turns(world, HARD, EASY)) == ("classifier", "fast", "swift-1")
    assert read_decision(send_turns(world, HARD, EASY, loop=True)) == ("seat", "fast", "swift-1")


def test_the_row_has_the_cost_of_a_switch(make: Make, upstream: Upstream) -> None:
    """The row has the cost in USD, exactly, and says which calls are one conversation."""
    upstream.on("/acme", whole(counts=(9_000, 3)), whole(), whole())
    world = make(with_strategy("turn"))
    send_turns(world, EASY)
    send_turns(world, EASY, HARD)
    send_turns(world, EASY, name="two")
    first, second, other = world.entries()
    assert (first.switch_cost, other.switch_cost) == (None, None)
    assert second.switch_cost == 9_000 * (Decimal(5) - Decimal("0.5")) / 1_000_000
    assert first.conversation == second.conversation != other.conversation
    assert second.basis is not None
    assert second.basis.evidence is not None
    assert second.basis.evidence.seat is not None
    assert (second.basis.evidence.seat.tokens, second.basis.evidence.seat.tier) == (9_000, "fast")


def test_a_conversation_stays_with_the_target_that_took_over(
    make: Make, upstream: Upstream
) -> None:
    """The new target has its prompt cache and its reasoning, with the target's own account."""

    def change(value: Config) -> None:
        value["labs"]["acme"]["fast"].append({"model": "swift-2", "provider": "other"})

    upstream.on("/acme", failing(500), failing(500))
    upstream.on("/other", whole(), whole())
    world = make(change)
    assert read_decision(send_turns(world, EASY))[2] == "swift-2"
    upstream.on("/acme", whole())
    assert read_decision(send_turns(world, EASY, EASY)) == ("seat", "fast", "swift-2")
    row = world.entries()[-1]
    assert (row.source, row.provider, row.attempts) == ("seat", "other", 1)


def test_a_conversation_stays_with_its_account(make: Make, upstream: Upstream) -> None:
    def change(value: Config) -> None:
        value["providers"]["acme"]["accounts"] = {"main": "one-secret", "second": "two-secret"}

    upstream.on("/acme", failing(429), whole(), whole())
    world = make(change)
    for turns in ((EASY,), (EASY, EASY)):
        send_turns(world, *turns)
    assert [row.account for row in world.entries()] == ["second", "second"]


def test_a_conversation_with_a_named_model_stays_with_its_account(
    make: Make, upstream: Upstream
) -> None:
    """The account stays from the first call on, in a tool loop and after it.

    Another target has its own account.
    """

    def change(value: Config) -> None:
        value["providers"]["acme"]["accounts"] = {"main": "one-secret", "second": "two-secret"}

    upstream.on("/acme", failing(429), *[whole()] * 4)
    world = make(change)
    for model, turns, loop in (
        ("smart", (EASY,), False),
        ("smart", (EASY,), True),
        ("able-1", (EASY, EASY), False),
        ("fast", (EASY, EASY), False),
    ):
        send_turns(world, *turns, model=model, loop=loop)
    assert [row.account for row in world.entries()] == ["second", "second", "second", "main"]


@pytest.mark.usefixtures("answers")
def test_a_conversation_that_begins_with_a_cache_hit_has_a_session(make: Make) -> None:
    """A conversation that begins with a hit has a session; a later hit changes none."""

    def change(value: Config) -> None:
        with_strategy("sticky")(value)
        value["cache"] = {"default": "on", "ttl": "1h"}

    world = make(change)
    send_turns(world, EASY, name="first")
    hit = send_turns(world, EASY, name="second")
    assert hit.headers["x-tiergate-cache"] == "hit"
    assert read_decision(send_turns(world, EASY, HARD, name="second")) == (
        "seat",
        "fast",
        "swift-1",
    )
    again = send_turns(world, EASY, HARD, name="first")
    assert (again.headers["x-tiergate-cache"], read_decision(again)[0]) == ("hit", "seat")


@pytest.mark.usefixtures("answers")
def test_the_route_endpoint_decides_by_the_session_and_moves_nothing(make: Make) -> None:
    """The endpoint asks no provider, and moves no conversation."""
    world = make(with_strategy("ratchet-up"))
    send_turns(world, EASY)
    headers = {"x-tiergate-conversation": "one"}
    up = world.client.post("/v1/route", json=make_conversation(EASY, HARD), headers=headers).json()
    assert (up["source"], up["tier"]) == ("classifier", "reasoning")
    assert up["switch"]["moved"]
    assert Decimal(up["switch"]["cost"]) == 0  # no cache holds a prompt of seven tokens
    stays = world.client.post(
        "/v1/route", json=make_conversation(EASY, EASY), headers=headers
    ).json()
    assert (stays["source"], stays["tier"], stays["switch"]) == ("seat", "fast", None)
    assert read_decision(send_turns(world, EASY, HARD)) == ("classifier", "reasoning", "deep-1")


@pytest.mark.usefixtures("answers")
def test_gateways_share_sessions_through_one_redis(make: Make, place: Place) -> None:
    """Without Redis the gateways go on, and decide each conversation anew."""
    url = {"REDIS_URL": f"redis://127.0.0.1:{place.port}/0", "TIERGATE_SECRET": "shared"}
    first, second = make(with_strategy("sticky"), **url), make(with_strategy("sticky"), **url)
    send_turns(first, EASY)
    first.loop.run(first.gateway.engine.drain())
    assert read_decision(send_turns(second, EASY, HARD)) == ("seat", "fast", "swift-1")
    assert read_decision(send_turns(second, EASY, HARD, model="smart")) == (
        "pin",
        "smart",
        "able-1",
    )
    second.loop.run(second.gateway.engine.drain())
    assert read_decision(send_turns(first, EASY, HARD, EASY, loop=True)) == (
        "seat",
        "smart",
        "able-1",
    )
    place.kill()
    assert read_decision(send_turns(first, EASY, HARD, HARD)) == (
        "classifier",
        "reasoning",
        "deep-1",
    )


def test_of_two_concurrent_calls_the_last_to_end_sets_the_session(
    make: Make, upstream: Upstream
) -> None:
    slow, quick = whole(), whole()
    held = Answer(pieces=(None, *slow.pieces), length=slow.length, bill=slow.bill)
    upstream.on("/acme", held, quick, whole())
    world = make()
    first = threading.Thread(target=send_turns, args=(world, EASY))
    first.start()
    upstream.arrived()
    assert read_decision(send_turns(world, EASY, model="smart"))[1] == "smart"
    world.release()
    first.join()
    assert read_decision(send_turns(world, EASY, EASY)) == ("seat", "fast", "swift-1")
    rows = [row for row in world.rows() if isinstance(row, FinalRow)]
    assert len(rows) == 3


def _chat(turns: tuple[str, ...], *, loop: bool) -> tuple[str, Body]:
    body = make_conversation(*turns)
    return "/v1/chat/completions", in_loop(body) if loop else {**body, "tools": [TOOL]}


def _responses(turns: tuple[str, ...], *, loop: bool) -> tuple[str, Body]:
    items: list[Body] = [{"role": "user", "content": turns[0]}]
    for turn in turns[1:]:
        items += [{"role": "assistant", "content": "Yes."}, {"role": "user", "content": turn}]
    if loop:
        called = {"type": "function_call", "call_id": "t1", "name": "f", "arguments": "{}"}
        items += [called, {"type": "function_call_output", "call_id": "t1", "output": "rain"}]
    tool = {"type": "function", "name": "f", "parameters": {"type": "object"}}
    return "/v1/responses", {"model": "auto", "input": items, "tools": [tool], "store": False}


def _messages(turns: tuple[str, ...], *, loop: bool) -> tuple[str, Body]:
    messages: list[Body] = [{"role": "user", "content": turns[0]}]
    for turn in turns[1:]:
        messages += [{"role": "assistant", "content": "Yes."}, {"role": "user", "content": turn}]
    if loop:
        used = {"type": "tool_use", "id": "t1", "name": "f", "input": {}}
        result = {"type": "tool_result", "tool_use_id": "t1", "content": "rain"}
        messages += [
            {"role": "assistant", "content": [used]},
            {"role": "user", "content": [result]},
        ]
    tool = {"name": "f", "input_schema": {"type": "object"}}
    body = {"model": "claude-auto", "max_tokens": 9, "messages": messages, "tools": [tool]}
    return "/v1/messages", body


def _gemini(turns: tuple[str, ...], *, loop: bool) -> tuple[str, Body]:
    contents: list[Body] = [{"role": "user", "parts": [{"text": turns[0]}]}]
    for turn in turns[1:]:
        contents += [
            {"role": "model", "parts": [{"text": "Yes."}]},
            {"role": "user", "parts": [{"text": turn}]},
        ]
    if loop:
        used = {"functionCall": {"name": "f", "args": {}}}
        result = {"functionResponse": {"name": "f", "response": {"said": "rain"}}}
        contents += [{"role": "model", "parts": [used]}, {"role": "user", "parts": [result]}]
    tool = {"functionDeclarations": [{"name": "f", "parameters": {"type": "object"}}]}
    return "/v1beta/models/auto:generateContent", {"contents": contents, "tools": [tool]}


@pytest.mark.usefixtures("answers")
@pytest.mark.parametrize("write", [_chat, _responses, _messages, _gemini])
def test_a_conversation_of_each_dialect_can_move_between_gateways(
    make: Make, place: Place, write: Any
) -> None:
    """The gateways know the conversation by its beginning, without a header.

    Each call goes to the other gateway.
    """
    url = {"REDIS_URL": f"redis://127.0.0.1:{place.port}/0", "TIERGATE_SECRET": "shared"}
    both = [make(with_strategy("sticky"), **url), make(with_strategy("sticky"), **url)]

    def ask(*turns: str, loop: bool = False) -> tuple[str, str, str]:
        both.reverse()
        path, body = write(turns, loop=loop)
        decision = read_decision(both[0].client.post(path, json=body))
        both[0].loop.run(both[0].gateway.engine.drain())
        return decision

    assert ask(EASY) == ("classifier", "fast", "swift-1")
    assert ask(EASY, loop=True) == ("seat", "fast", "swift-1")
    assert ask(EASY, HARD) == ("seat", "fast", "swift-1")
    assert ask(EASY, HARD, loop=True) == ("seat", "fast", "swift-1")
    assert ask(HARD) == ("classifier", "reasoning", "deep-1")
    assert ask(HARD, EASY) == ("seat", "reasoning", "deep-1")
