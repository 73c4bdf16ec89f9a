"""Conversations by the default strategy, over real sockets: each user turn is decided anew."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from gateway.core.ledger_rows import FinalRow
from gateway.evaluation.replay.replay import LedgerReplay
from tests.e2e.test_chat_judge import judged, says
from tests.e2e.test_sessions import (
    EASY,
    HARD,
    TOOL,
    answer_anything,
    in_loop,
    make_conversation,
    read_decision,
    send_turns,
)
from tests.e2e.upstream import Answer, Request, Upstream, whole
from tests.e2e.world import Config, Make, World
from tests.evaluation.replay.traffic import logged

PROVE = "Prove that 2 is prime."


def reasoning_for_proofs(value: Config) -> None:
    value["choices"] = [{"name": "proofs", "when": {"keywords": ["prove"]}, "tier": "reasoning"}]


def cached(*, tokens: int) -> Callable[[Request], Answer]:
    """Script a provider that has that many prompt tokens in its cache."""
    return lambda _: whole(counts=(tokens, 3))


@pytest.fixture
def answers(upstream: Upstream) -> Upstream:
    upstream.on("/acme", answer_anything)
    return upstream


def route(world: World, *turns: str) -> dict[str, Any]:
    headers = {"x-tiergate-conversation": "one"}
    reply: dict[str, Any] = world.client.post(
        "/v1/route", json=make_conversation(*turns), headers=headers
    ).json()
    return reply


@pytest.mark.usefixtures("answers")
def test_each_turn_of_a_conversation_is_decided_anew(make: Make) -> None:
    """Rules run at each turn; a raised tier is lowered again if nothing is cached."""
    world = make(reasoning_for_proofs)
    assert read_decision(send_turns(world, EASY)) == ("classifier", "fast", "swift-1")
    assert read_decision(send_turns(world, EASY, PROVE)) == ("rule", "reasoning", "deep-1")
    assert read_decision(send_turns(world, EASY, PROVE, loop=True)) == (
        "seat",
        "reasoning",
        "deep-1",
    )
    assert read_decision(send_turns(world, EASY, PROVE, EASY)) == ("classifier", "fast", "swift-1")


@pytest.mark.usefixtures("answers")
def test_a_conversation_without_an_id_header_is_decided_anew_too(make: Make) -> None:
    """The gateway recognizes it by its beginning."""
    world, tools = make(reasoning_for_proofs), [TOOL]
    assert read_decision(world.ask(make_conversation(EASY, tools=tools))) == (
        "classifier",
        "fast",
        "swift-1",
    )
    assert read_decision(world.ask(make_conversation(EASY, PROVE, tools=tools))) == (
        "rule",
        "reasoning",
        "deep-1",
    )
    assert read_decision(world.ask(in_loop(make_conversation(EASY, PROVE)))) == (
        "seat",
        "reasoning",
        "deep-1",
    )


@pytest.mark.usefixtures("answers")
def test_the_classifier_raises_a_conversation_tier_by_tier(make: Make) -> None:
    world = make()
    assert read_decision(send_turns(world, EASY)) == ("classifier", "fast", "swift-1")
    assert read_decision(send_turns(world, EASY, HARD)) == ("classifier", "smart", "able-1")
    assert read_decision(send_turns(world, EASY, HARD, HARD)) == (
        "classifier",
        "reasoning",
        "deep-1",
    )
    assert read_decision(send_turns(world, EASY, HARD, HARD, HARD)) == (
        "seat",
        "reasoning",
        "deep-1",
    )


def test_a_prompt_cache_keeps_the_tier_until_lowering_it_pays(
    make: Make, upstream: Upstream
) -> None:
    """The route endpoint shows the sum; the row has the decision's evidence, and replays the same.

    The cheaper tier has no prompt cache: it would read all tokens anew, for more than it saves.
    """

    def change(value: Config) -> None:
        reasoning_for_proofs(value)
        dear = {"input": 6, "cache_read": 6, "output": 21, "as_of": "2026-11-24"}
        value["models"]["swift-1"]["price"] = dear

    upstream.on("/acme", cached(tokens=9_000))
    world = make(change)
    turns = [PROVE]
    assert read_decision(send_turns(world, *turns))[1] == "reasoning"
    for below in range(1, 9):
        turns.append(EASY)
        route_reply = route(world, *turns)
        assert read_decision(send_turns(world, *turns)) == ("seat", "reasoning", "deep-1")
        assert (route_reply["source"], route_reply["tier"]) == ("seat", "reasoning")
        switch = route_reply["switch"]
        assert (switch["moved"], switch["tokens"], switch["calls"]) == (False, 9_000, below)
        saved = Decimal(switch["saving"]) * below
        assert Decimal(switch["margin"]) == saved - Decimal(switch["cost"]) < 0
    turns.append(EASY)
    assert read_decision(send_turns(world, *turns)) == ("classifier", "fast", "swift-1")
    rows = [row for row in world.rows() if isinstance(row, FinalRow)]
    sessions = [row.basis.evidence.seat for row in rows[1:] if row.basis and row.basis.evidence]
    assert [session.turns_below for session in sessions if session] == [*range(9)]
    walk = LedgerReplay(world.gateway.engine.router)
    for row in rows:
        walk.replay_row(logged(row))
    assert (walk.totals.total.changed, walk.totals.total.undecided) == (0, 0)


def test_side_calls_and_subagents_are_decided_apart(make: Make, upstream: Upstream) -> None:
    """The gateway decides them apart; they raise no tier, and no rise applies to them."""
    upstream.on("/acme", cached(tokens=9_000))
    world = make(reasoning_for_proofs)
    send_turns(world, EASY)
    beside = {"x_claude_code_request_class": "auxiliary"}
    agent = {"x_claude_code_agent_id": "a1"}

    def ask(*turns: str, **headers: str) -> tuple[str, str, str]:
        return read_decision(
            world.ask(make_conversation(*turns), x_tiergate_conversation="one", **headers)
        )

    assert ask(PROVE, **beside)[1] == "reasoning"
    assert ask(PROVE, **agent)[1] == "reasoning"
    assert ask(EASY, EASY) == ("seat", "fast", "swift-1")
    assert ask(EASY, EASY, PROVE)[1] == "reasoning"
    assert ask(EASY, **beside)[1] == "fast"
    assert ask(EASY, x_claude_code_agent_id="a2")[1] == "fast"
    assert ask(EASY, EASY, PROVE, PROVE) == ("rule", "reasoning", "deep-1")


def test_the_gateway_calls_the_judge_at_each_turn(make: Make, upstream: Upstream) -> None:
    """The judge runs even if the classifier would leave the conversation where it is."""
    world = make(judged())
    upstream.on("/other", says("fast"), says("smart"))
    upstream.on("/acme", answer_anything)
    assert read_decision(send_turns(world, EASY))[1] == "fast"
    assert read_decision(send_turns(world, EASY, "Hello again"))[1] == "smart"
    assert upstream.called == ["other", "acme", "other", "acme"]


def failing(*turns: str, times: int) -> dict[str, Any]:
    """Build an agent's request whose tool failed that often, with the same arguments."""
    body = make_conversation(*turns, tools=[TOOL])
    for number in range(times):
        function = {"name": "weather", "arguments": '{"city": "Rome"}'}
        call = {"id": f"c{number}", "type": "function", "function": function}
        body["messages"] += [
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": call["id"], "content": "Error: no such city"},
        ]
    return body


@pytest.mark.usefixtures("answers")
def test_evidence_raises_a_conversation_and_the_row_replays_the_same(make: Make) -> None:
    """Evidence raises it by one tier a call, in the tool loop too; the route endpoint says why."""
    world = make()
    assert read_decision(send_turns(world, EASY)) == ("classifier", "fast", "swift-1")
    for times, expected in ((1, ("seat", "fast", "swift-1")), (2, ("seat", "smart", "able-1"))):
        assert (
            read_decision(world.ask(failing(EASY, times=times), x_tiergate_conversation="one"))
            == expected
        )
    assert read_decision(send_turns(world, EASY, "Thanks, and now?")) == ("seat", "smart", "able-1")
    steps = [line["step"] for line in route(world, EASY, "a", "That's wrong.")["trace"]]
    assert "evidence" in steps
    assert read_decision(send_turns(world, EASY, "a", "That's wrong.")) == (
        "classifier",
        "reasoning",
        "deep-1",
    )
    assert read_decision(send_turns(world, EASY, "a", "That's wrong.")) == (
        "seat",
        "reasoning",
        "deep-1",
    )
    rows = [row for row in world.rows() if isinstance(row, FinalRow)]
    assert [item.reason for row in rows if row.basis for item in row.basis.history or ()] == [
        "the same tool call failed 2 times",
        *["the user says that the answer was bad"] * 2,
    ]
    walk = LedgerReplay(world.gateway.engine.router)
    for row in rows:
        walk.replay_row(logged(row))
    assert (walk.totals.total.changed, walk.totals.total.undecided) == (0, 0)
