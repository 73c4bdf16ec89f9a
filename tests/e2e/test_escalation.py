"""A whole answer with a fault: the gateway asks the tier above once, before the client has it."""

import asyncio
import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from gateway.core import jsonio
from gateway.core.ledger_rows import AttemptRow, IntentRow
from gateway.evaluation.replay.replay import LedgerReplay
from tests.e2e.four_labs import (
    CHAT,
    COUNTS,
    DIALECTS,
    GEMINI,
    MESSAGES,
    RESPONSES,
    answer,
    make_request,
)
from tests.e2e.four_labs import whole as encode
from tests.e2e.test_limits import budgeted, used
from tests.e2e.upstream import Answer, Upstream, failing, frames, stream, whole
from tests.e2e.world import Change, Config, Make, World, abort, chat
from tests.evaluation.replay.traffic import logged

type Json = dict[str, Any]

REFUSAL = "I'm sorry, but I can't help with that."
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
CHAT_FORM: Json = {
    "response_format": {"type": "json_schema", "json_schema": {"name": "place", "schema": SCHEMA}}
}
BAD_JSON, GOOD_JSON = '{"town": "Rome"}', '{"city": "Rome"}'
FAST_COST, SMART_COST, REASONING_COST = (
    Decimal("0.0000019"), Decimal("0.000019"), Decimal("0.000095"),
)  # fmt: skip
"""The cost of 7 tokens of input and 3 of output at each tier."""
FAULTS: dict[str, tuple[Answer, Json]] = {
    "empty": (whole(""), {}),
    "refused": (whole(REFUSAL), {}),
    "schema": (whole(BAD_JSON), CHAT_FORM),
}


def checked(value: Config) -> None:
    """Turn the check on, for calls that begin at the fast tier."""
    value["routing"] |= {"escalate": "checked", "classifier": "off"}
    value["default"]["tier"] = "fast"


def auto(text: str = "Say hello to me please.", **more: Any) -> Json:
    """Build a request that leaves the tier open."""
    return chat(text, model="auto", **more)


def get_unserved(world: World) -> list[AttemptRow]:
    return [row for row in world.rows() if isinstance(row, AttemptRow)]


@pytest.mark.parametrize("fault", FAULTS)
def test_the_tier_above_answers_in_place_of_a_fault(
    make: Make, upstream: Upstream, fault: str
) -> None:
    """Both answers are billed, and the rows have both exactly."""
    world = make(checked)
    bad, form = FAULTS[fault]
    good = whole(GOOD_JSON if form else "Hello you.")
    upstream.on("/acme", bad, good)
    response = world.ask(auto(**form))
    assert response.content == good.pieces[0]
    assert response.headers["x-tiergate-tier"] == "smart"
    assert response.headers["x-tiergate-model"] == "able-1"
    assert response.headers["x-tiergate-attempts"] == "2"
    figures = world.client.get("/metrics").text
    assert f'tiergate_escalations_total{{fault="{fault}",served="second"}} 1' in figures
    assert "tiergate_fallbacks_total{" not in figures
    row = world.entry()
    assert (row.checked, row.escalated, row.tier, row.model) == (fault, "fast", "smart", "able-1")
    assert (row.state, row.attempts, row.input, row.output) == ("settled", 2, *COUNTS)
    assert (row.cost, row.wasted, row.reserved) == (FAST_COST + SMART_COST, FAST_COST, None)
    assert Decimal(response.headers["x-tiergate-cost"]) == row.cost
    (lost,) = get_unserved(world)
    assert (lost.problem, lost.status, lost.model, lost.attempt) == ("escalated", 200, "swift-1", 1)
    assert (lost.cost, lost.reserved, lost.input, lost.output) == (FAST_COST, None, *COUNTS)
    intents = [entry for entry in world.rows() if isinstance(entry, IntentRow)]
    assert [(intent.tier, intent.model) for intent in intents] == [
        ("fast", "swift-1"), ("smart", "able-1"),
    ]  # fmt: skip


def test_a_good_answer_goes_on_byte_for_byte(make: Make, upstream: Upstream) -> None:
    world = make(checked)
    upstream.on("/acme", whole(GOOD_JSON))
    response = world.ask(auto(**CHAT_FORM))
    assert response.content == whole(GOOD_JSON).pieces[0]
    assert len(upstream.requests) == 1
    row = world.entry()
    assert (row.checked, row.escalated, row.tier, row.cost) == ("passed", None, "fast", FAST_COST)


def test_nothing_is_checked_by_default(
    make: Make, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the setting the check does not even run."""

    def fail(*_: object) -> None:
        raise AssertionError("the check ran")

    monkeypatch.setattr("gateway.pipeline.escalation.check_response", fail)
    world = make(checked, lambda value: value["routing"].pop("escalate"))
    upstream.on("/acme", whole(""))
    assert world.ask(auto()).content == whole("").pieces[0]
    row = world.entry()
    assert (row.checked, row.escalated, row.attempts) == (None, None, 1)


def test_watch_only_notes_the_fault(make: Make, upstream: Upstream) -> None:
    world = make(checked, lambda value: value["routing"].update(escalate="watch"))
    upstream.on("/acme", whole(REFUSAL))
    assert world.ask(auto()).content == whole(REFUSAL).pieces[0]
    row = world.entry()
    assert (row.checked, row.escalated, row.attempts) == ("refused", None, 1)


# Which answer is served.


@pytest.mark.parametrize(
    ("first", "second", "is_second", "form"),
    [
        (whole(BAD_JSON), whole('{"town": "Oslo"}'), True, CHAT_FORM),
        (whole(BAD_JSON), whole(REFUSAL), False, CHAT_FORM),
        (whole(REFUSAL), whole(""), False, {}),
        (whole(""), whole(REFUSAL), True, {}),
        (whole(""), whole("Hel", finish="length"), True, {}),
        (whole(BAD_JSON), whole('{"city', finish="length"), False, CHAT_FORM),
    ],
    ids=["as bad", "worse", "empty", "better", "cut", "cut JSON"],
)
def test_the_second_answer_is_served_unless_it_is_worse(
    make: Make, upstream: Upstream, first: Answer, second: Answer, is_second: bool, form: Json
) -> None:
    world = make(checked)
    upstream.on("/acme", first, second)
    response = world.ask(auto(**form))
    assert response.content == (second if is_second else first).pieces[0]
    served = "second" if is_second else "first"
    assert f'served="{served}"}} 1' in world.client.get("/metrics").text
    row = world.entry()
    assert (row.tier, row.escalated) == ("smart" if is_second else "fast", "fast")
    assert (
        row.model == response.headers["x-tiergate-model"] == ("able-1" if is_second else "swift-1")
    )
    assert row.cost == FAST_COST + SMART_COST
    assert row.wasted == (FAST_COST if is_second else SMART_COST)
    (lost,) = get_unserved(world)
    assert (lost.attempt, lost.problem) == ((1 if is_second else 2), "escalated")


@pytest.mark.parametrize(
    "failure",
    [
        failing(500),
        failing(400),
        failing(429),
        Answer(status=0, end="cut"),
        whole("half", finish=""),
    ],
    ids=["500", "400", "429", "cut off", "no reason"],
)
def test_the_first_answer_is_served_if_the_second_fails(
    make: Make, upstream: Upstream, failure: Answer
) -> None:
    """A failed escalation is never an error."""
    world = make(checked)
    upstream.on("/acme", whole(REFUSAL), failure)
    response = world.ask(auto())
    assert (response.status_code, response.content) == (200, whole(REFUSAL).pieces[0])
    assert response.headers["x-tiergate-tier"] == "fast"
    assert response.headers["x-tiergate-model"] == "swift-1"
    row = world.entry()
    assert (row.state, row.checked, row.escalated, row.tier) == (
        "settled",
        "refused",
        "fast",
        "fast",
    )
    assert (row.model, row.output, row.response_id) == ("swift-1", 3, "up-1")
    assert row.attempts == len(upstream.requests) >= 2


def test_a_bug_in_the_second_attempt_is_logged_and_the_first_answer_served(
    make: Make, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make(checked)
    runner, run = world.gateway.engine._upstream, world.gateway.engine._upstream.run

    async def run_once(request: Any) -> Any:
        if request.tier == "smart":
            raise ValueError("a bug")
        return await run(request)

    monkeypatch.setattr(runner, "run", run_once)
    upstream.on("/acme", whole(""))
    assert world.ask(auto()).status_code == 200
    assert "bug" in [line["event"] for line in world.log]
    row = world.entry()
    assert (row.state, row.checked, row.escalated, row.cost) == (
        "settled",
        "empty",
        None,
        FAST_COST,
    )


def test_a_bug_after_the_second_request_keeps_what_it_may_cost(
    make: Make, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The provider may have billed it, so its cost is unknown and bounded."""
    world = make(checked)
    runner, run = world.gateway.engine._upstream, world.gateway.engine._upstream.run

    async def break_second(request: Any) -> Any:
        response = await run(request)
        if request.tier == "smart":
            raise ValueError("a bug")
        return response

    monkeypatch.setattr(runner, "run", break_second)
    upstream.on("/acme", whole(""), whole("Yes."))
    assert world.ask(auto(max_tokens=50)).content == whole("").pieces[0]
    row = world.entry()
    assert (row.state, row.tier, row.escalated, row.attempts) == ("settled", "fast", "fast", 2)
    assert (row.cost, row.wasted) == (FAST_COST, None)
    assert row.reserved is not None


def test_the_second_request_has_no_idempotency_key(make: Make, upstream: Upstream) -> None:
    """A provider answers a repeated key with its former answer."""
    world = make(checked)
    upstream.on("/acme", whole(""), whole("Yes."))
    headers = {"idempotency-key": "once"}
    world.client.post("/v1/chat/completions", json=auto(), headers=headers)
    keys = [request.header("idempotency-key") for request in upstream.requests]
    assert keys[0] is not None
    assert keys[1:] == [None]


# Dialects.


def two_tiers(client: str, second: str) -> Change:
    """Configure a fast tier in the client's dialect, and a smart one in a given dialect."""

    def change(value: Config) -> None:
        base = value["providers"]["acme"]["base_url"].removesuffix("/acme")
        value["aliases"] = {}
        value["providers"] = {
            name: {"base_url": f"{base}/{name}", "dialects": {dialect: ""}, "auth": "none"}
            for name, dialect in (("first", client), ("second", second))
        }
        value["labs"] = {
            "lab": {
                "fast": [{"model": "m-first", "provider": "first"}],
                "smart": [{"model": "m-second", "provider": "second"}],
            }
        }
        price = {"price": {"input": 1, "output": 4}}
        value["models"] = {"m-first": price, "m-second": price}
        value["default"] = {"lab": "lab", "tier": "fast"}
        value["routing"] = {"escalate": "checked", "classifier": "off"}

    return change


def with_text(dialect: str, text: str) -> Answer:
    """Return the dialect's answer with another text."""
    (body,) = answer(dialect).pieces
    assert body is not None
    return encode(jsonio.loads(body.replace(b'"Hello you."', jsonio.dumps(text))))


FORMS: dict[str, Json] = {
    CHAT: CHAT_FORM,
    RESPONSES: {"text": {"format": {"type": "json_schema", "name": "place", "schema": SCHEMA}}},
    MESSAGES: {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
    GEMINI: {
        "generationConfig": {"responseMimeType": "application/json", "responseJsonSchema": SCHEMA}
    },
}


@pytest.mark.parametrize("fault", ["empty", "refused", "schema"])
@pytest.mark.parametrize("second", DIALECTS)
@pytest.mark.parametrize("client", DIALECTS)
def test_every_dialect_is_checked_native_and_translated(
    make: Make, upstream: Upstream, client: str, second: str, fault: str
) -> None:
    world = make(two_tiers(client, second))
    bad = {"empty": " ", "refused": REFUSAL, "schema": BAD_JSON}[fault]
    good = GOOD_JSON if fault == "schema" else "Hello you."
    upstream.on("/first", with_text(client, bad))
    upstream.on("/second", with_text(second, good))
    path, body = make_request(client, "auto")
    body |= FORMS[client] if fault == "schema" else {}
    response = world.client.post(path, json=body)
    assert response.status_code == 200, response.text
    assert jsonio.dumps(good)[1:-1] in response.content
    row = world.entry()
    assert (row.checked, row.escalated, row.tier, row.provider) == (
        fault,
        "fast",
        "smart",
        "second",
    )
    assert (row.input, row.output, row.cost) == (*COUNTS, 2 * SMART_COST)


MARKED: dict[str, Json] = {
    CHAT: {
        "choices": [{
            "index": 0, "finish_reason": "stop",
            "message": {"role": "assistant", "content": None, "refusal": "No."},
        }],
    },
    RESPONSES: {
        "output": [{
            "type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
            "content": [{"type": "refusal", "refusal": "No."}],
        }],
    },
    MESSAGES: {"stop_reason": "refusal"},
    GEMINI: {
        "candidates": [{
            "content": {"role": "model", "parts": [{"text": "No"}]}, "finishReason": "SAFETY", "index": 0,
        }],
    },
}  # fmt: skip


@pytest.mark.parametrize("client", DIALECTS)
def test_a_providers_own_mark_of_a_refusal_counts(
    make: Make, upstream: Upstream, client: str
) -> None:
    world = make(two_tiers(client, client))
    (body,) = answer(client).pieces
    assert body is not None
    upstream.on("/first", encode({**jsonio.loads(body), **MARKED[client]}))
    upstream.on("/second", answer(client))
    path, request = make_request(client, "auto")
    assert b"Hello you." in world.client.post(path, json=request).content
    assert world.entry().checked == "refused"


# Calls whose answer is not checked.


def guarded(**effect: object) -> Change:
    return lambda value: value.update(guards=[{"name": "bound", **effect}])


LOOP = [
    {"role": "user", "content": "Look."},
    {"role": "assistant", "content": None, "tool_calls": [
        {"id": "c", "type": "function", "function": {"name": "look", "arguments": "{}"}},
    ]},
    {"role": "tool", "tool_call_id": "c", "content": "seen"},
]  # fmt: skip
TOOL: Json = {"tools": [{"type": "function", "function": {"name": "look", "parameters": {}}}]}


@pytest.mark.parametrize(
    ("body", "change"),
    [
        (chat(model="fast"), checked),
        (chat(model="swift-1"), checked),
        (auto(n=2), checked),
        ({"model": "auto", "messages": LOOP, **TOOL}, checked),
        (auto(), guarded(max_tier="fast")),
        (auto(), guarded(escalate="off")),
        (auto(), lambda value: value["default"].update(tier="reasoning")),
    ],
    ids=["a tier", "a model", "several", "a tool loop", "max_tier", "a guard", "reasoning"],
)
def test_the_tier_above_is_not_asked(
    make: Make, upstream: Upstream, body: Json, change: Change
) -> None:
    world = make(checked, change)
    upstream.on("/acme", whole(""))
    assert world.ask(body).status_code == 200
    row = world.entry()
    assert (row.checked, row.escalated, row.attempts) == (None, None, 1)


def test_a_stream_is_not_checked(make: Make, upstream: Upstream) -> None:
    world = make(checked, lambda value: value["routing"].update(complete="hold"))
    upstream.on("/acme", stream(*frames([REFUSAL])))
    assert REFUSAL in world.ask(auto(stream=True)).text
    row = world.entry()
    assert (row.checked, row.attempts) == (None, 1)


@pytest.mark.parametrize(
    "answered",
    [whole("", finish="length"), replace(answer(CHAT, tools=True))],
    ids=["cut by a limit", "a tool call"],
)
def test_an_answer_that_is_cut_or_calls_a_tool_has_no_fault(
    make: Make, upstream: Upstream, answered: Answer
) -> None:
    world = make(checked)
    upstream.on("/acme", answered)
    assert world.ask(auto(**TOOL)).content == answered.pieces[0]
    row = world.entry()
    assert (row.escalated, row.attempts) == (None, 1)


@pytest.mark.parametrize(
    ("where", "header", "attempts"),
    [
        ("key", None, 2), ("choice", None, 2), ("guard", "off", 2),
        ("key", "off", 1), ("off", "on", 2), ("off", "watch", 1), ("off", None, 1),
    ],
)  # fmt: skip
def test_guard_header_choice_key_and_routing_come_in_this_order(
    make: Make,
    upstream: Upstream,
    tmp_path: Path,
    where: str,
    header: str | None,
    attempts: int,
) -> None:
    def change(value: Config) -> None:
        value["routing"]["escalate"] = "off"
        if where == "guard":
            value["guards"] = [{"name": "on", "escalate": "on"}]
        if where == "choice":
            value["choices"] = [{"name": "on", "tier": "fast", "escalate": "checked"}]
        if where == "key":
            value["keys"] = str(tmp_path / "keys.yaml")
            digest = hashlib.sha256(b"a").hexdigest()
            table = {"app": {"sha256": digest, "escalate": "checked"}}
            (tmp_path / "keys.yaml").write_bytes(jsonio.dumps(table))

    world = make(checked, change)
    upstream.on("/acme", whole(""), whole("Yes."))
    headers = {} if header is None else {"x_tiergate_escalate": header}
    if where == "key":
        headers["authorization"] = "Bearer a"
    assert world.ask(auto(), **headers).status_code == 200
    assert world.entry().attempts == attempts


def test_a_wrong_header_is_refused(make: Make) -> None:
    response = make(checked).ask(auto(), x_tiergate_escalate="maybe")
    assert response.status_code == 400
    assert "x-tiergate-escalate must be" in response.text


def test_a_target_above_that_would_lose_something_is_not_asked(
    make: Make, upstream: Upstream
) -> None:
    """A client that wants no loss gets the first answer."""
    world = make(two_tiers(CHAT, MESSAGES))
    upstream.on("/first", whole(""))
    body = auto(seed=1)
    assert world.ask(body, x_tiergate_on_loss="refuse").status_code == 200
    row = world.entry()
    assert (row.checked, row.escalated, row.attempts) == ("empty", None, 1)


# Money.


def test_a_refused_reservation_means_no_escalation(make: Make, upstream: Upstream) -> None:
    """The budget has room for the fast answer, and not for the smart one beside it."""
    budget = {"name": "tight", "usd": 0.0005, "every": "day"}
    world = make(checked, budgeted(budget))
    upstream.on("/acme", whole(""))
    response = world.ask(auto(max_tokens=50))
    assert (response.status_code, response.headers["x-tiergate-tier"]) == (200, "fast")
    row = world.entry()
    assert (row.checked, row.escalated, row.attempts, row.cost) == ("empty", None, 1, FAST_COST)


def test_a_budget_of_the_tier_above_counts_the_second_answer(
    make: Make, upstream: Upstream
) -> None:
    """A budget of the smart tier has no room, though the call began at fast."""
    world = make(
        checked, budgeted({"name": "smart", "usd": 0.0005, "every": "day", "tier": "smart"})
    )
    upstream.on("/acme", whole(""))
    assert world.ask(auto(max_tokens=50)).headers["x-tiergate-tier"] == "fast"
    row = world.entry()
    assert (row.checked, row.escalated, row.attempts) == ("empty", None, 1)


def test_a_budget_settles_both_answers(make: Make, upstream: Upstream) -> None:
    world = make(checked, budgeted({"name": "wide", "usd": 1, "every": "day"}))
    upstream.on("/acme", whole(""), whole("Yes."))
    assert world.ask(auto(max_tokens=50)).headers["x-tiergate-tier"] == "smart"
    assert [*used(world).values()] == [21]  # micro-USD of $0.0000209, rounded up
    assert world.entry().cost == FAST_COST + SMART_COST


@pytest.mark.parametrize("has_usage", [True, False])
def test_a_client_that_leaves_before_the_second_answer_pays_for_what_was_asked(
    make: Make, upstream: Upstream, has_usage: bool
) -> None:
    world = make(checked)
    waits = Answer(pieces=(None, *whole().pieces), length=whole().length)
    first = whole("", counts=COUNTS if has_usage else None)
    upstream.on("/acme", first, waits)
    with world.leaving(auto()) as client:
        upstream.arrived()
        second = upstream.arrived()
        abort(client)
        assert second.left.wait(5)
    row = world.entry()
    assert (row.state, row.aborted_by, row.attempts) == ("aborted", "client", 2)
    assert (row.checked, row.escalated, row.tier) == ("empty", "fast", "smart")
    (lost,) = get_unserved(world)
    assert (lost.attempt, lost.problem) == (1, "escalated")
    assert row.wasted == lost.cost
    if has_usage:
        assert lost.cost == FAST_COST


def test_a_client_that_leaves_before_the_second_request_pays_for_the_first(
    make: Make, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make(checked)
    runner, run = world.gateway.engine._upstream, world.gateway.engine._upstream.run

    async def halt(request: Any) -> Any:
        if request.tier != "smart":
            return await run(request)
        came.set()
        return await asyncio.Event().wait()

    came = threading.Event()
    monkeypatch.setattr(runner, "run", halt)
    upstream.on("/acme", whole(""))
    with world.leaving(auto()) as client:
        assert came.wait(5)
        abort(client)
    row = world.entry()
    assert (row.state, row.attempts, row.escalated, row.tier) == ("aborted", 1, None, "fast")
    assert (row.cost, row.output) == (FAST_COST, 3)


# What else follows the answer that was served.


def test_an_equal_call_gets_the_served_answer_from_the_cache(
    make: Make, upstream: Upstream
) -> None:
    world = make(checked, lambda value: value.update(cache={"ttl": "1h"}))
    upstream.on("/acme", whole(""), whole("Yes."))
    first = world.ask(auto(), x_tiergate_cache="on")
    world.loop.run(world.gateway.engine.drain())
    second = world.ask(auto(), x_tiergate_cache="on")
    assert (second.headers["x-tiergate-cache"], second.content) == ("hit", first.content)
    assert second.headers["x-tiergate-model"] == "able-1"
    assert len(upstream.requests) == 2
    made, hit = world.entries()
    assert (made.escalated, hit.escalated, hit.checked) == ("fast", None, None)
    assert hit.cost == Decimal(0)


def test_equal_calls_at_once_share_the_served_answer(make: Make, upstream: Upstream) -> None:
    world = make(checked, lambda value: value.update(cache={"ttl": "1h"}))
    waits = Answer(pieces=(None, *whole("Yes.").pieces), length=whole("Yes.").length)
    upstream.on("/acme", whole(""), waits)
    with ThreadPoolExecutor(2) as pool:
        asking = [pool.submit(world.ask, auto(), x_tiergate_cache="on") for _ in range(2)]
        upstream.arrived()
        upstream.arrived()
        while len(world.gateway.engine._recorder._open_accounts) < 2:
            pass
        world.release()
        answers = [call.result().content for call in asking]
    assert answers == [whole("Yes.").pieces[0]] * 2
    assert len(upstream.requests) == 2
    assert sorted(row.attempts for row in world.entries()) == [0, 2]


def test_the_conversation_stays_at_the_tier_that_served(make: Make, upstream: Upstream) -> None:
    world = make(checked, lambda value: value["routing"].update(conversation="sticky"))
    upstream.on("/acme", whole(""), whole("Yes."))
    assert world.ask(auto("Hi!"), x_tiergate_conversation="c").headers["x-tiergate-tier"] == "smart"
    world.loop.run(world.gateway.engine.drain())
    messages = [
        {"role": "user", "content": "Hi!"},
        {"role": "assistant", "content": "Yes."},
        {"role": "user", "content": "Go on with it."},
    ]
    body = {"model": "auto", "messages": messages}
    response = world.ask(body, x_tiergate_conversation="c")
    assert response.headers["x-tiergate-decision"].startswith("seat")
    assert response.headers["x-tiergate-tier"] == "smart"


def test_failover_and_complete_go_on_for_the_second_answer(make: Make, upstream: Upstream) -> None:
    def change(value: Config) -> None:
        value["labs"]["acme"]["smart"].append({"model": "able-2", "provider": "spare"})
        value["models"]["able-2"] = value["models"]["able-1"]
        value["routing"]["complete"] = "hold"

    world = make(checked, change)
    upstream.on("/acme", whole(""), whole("half", finish=""))
    upstream.on("/spare", whole("Yes."))
    response = world.ask(auto())
    assert response.headers["x-tiergate-model"] == "able-2"
    row = world.entry()
    assert (row.tier, row.escalated, row.attempts) == ("smart", "fast", 3)
    assert [lost.problem for lost in get_unserved(world)] == ["upstream_truncated", "escalated"]


def test_explain_tells_what_the_check_found(make: Make, upstream: Upstream) -> None:
    world = make(checked)
    upstream.on("/acme", whole(""), whole("Yes."))
    call_id = world.ask(auto()).headers["x-request-id"]
    explained = world.client.get(f"/admin/entries/{call_id}/decision").text
    assert "the answer was empty, so smart was asked after fast" in explained


def test_a_replay_of_the_same_configuration_changes_nothing(make: Make, upstream: Upstream) -> None:
    """Rows of escalated calls decide as before, whichever answer was served."""
    world = make(checked)
    router = world.gateway.built_config.router
    upstream.on("/acme", whole(""), whole("Yes."), whole(REFUSAL), whole(""), whole("Fine."))
    for text in ("one", "two", "three"):
        assert world.ask(auto(text)).status_code == 200
    replay = LedgerReplay(router)
    rows = world.entries()
    for row in rows:
        replay.replay_row(logged(row))
    total, escalations = replay.totals.total, replay.totals.escalations
    assert (total.calls, total.changed, total.undecided) == (3, 0, 0)
    assert total.usd_before == total.usd_after == sum([row.cost or 0 for row in rows])
    assert (escalations.answers, escalations.escalated, escalations.already) == (3, 2, 2)
    assert (escalations.unknown, escalations.added_usd) == (0, Decimal(0))
