"""A call that asks for a complete answer gets one, even if the first breaks off: real SDKs."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from hashlib import sha256

import pytest

from gateway.core.ledger_rows import AttemptRow, FinalRow
from tests.e2e.four_labs import (
    ARGUMENTS,
    ASKS,
    CHAT,
    COUNTS,
    DIALECTS,
    GEMINI,
    MESSAGES,
    RESPONSES,
    TEXT,
    ParsedAnswer,
    answer,
    canonical,
)  # fmt: skip
from tests.e2e.test_hedge import SILENT, hedged
from tests.e2e.test_keepalives import keepalives, release_after_keepalives
from tests.e2e.test_translated_calls import ERRORS
from tests.e2e.upstream import SSE, Answer, Upstream
from tests.e2e.world import Change, Config, Make, World, chat

__all__ = ["keepalives"]

REFUSED = {
    CHAT: b'data: {"error":{"message":"Too much.","type":"server_error","code":"overloaded"}}\n\n',
    RESPONSES: b'event: error\ndata: {"type":"error","code":"server_error","message":"Too much.","param":null,"sequence_number":9}\n\n',
    MESSAGES: b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Too much."}}\n\n',
    GEMINI: b'data: {"error":{"code":503,"message":"Too much.","status":"UNAVAILABLE"}}\r\n\r\n',
}  # fmt: skip

BROKEN = {GEMINI: b'data: {"candidates":[{"content":{"parts":[{"text":"o y"}]}\r\n\r\n'}
"""A broken frame that looks most like a valid one."""


def pair(client: str, second: str, how: str | None = "hold") -> Change:
    """Configure a lab of two targets: one in the client's dialect, and one in a given dialect."""

    def change(value: Config) -> None:
        base = value["providers"]["acme"]["base_url"].removesuffix("/acme")
        value["aliases"] = {}
        value["providers"] = {
            name: {
                "base_url": f"{base}/{name}",
                "dialects": {dialect: ""},
                "auth": "none",
                "timeouts": {"idle": 0.2},
            }
            for name, dialect in (("first", client), ("second", second))
        }
        targets = [{"model": f"m-{name}", "provider": name} for name in ("first", "second")]
        value["labs"] = {"lab": {"smart": targets}}
        value["models"] = {
            f"m-{name}": {"price": {"input": 1, "output": 4}} for name in ("first", "second")
        }
        value["default"] = {"lab": "lab", "tier": "smart"}
        if how is not None:
            value["routing"] = {"complete": how}

    return change


def broken_off(client: str, *, tools: bool = False) -> Answer:
    """Cut an answer after the second piece of its text or of its arguments."""
    pieces = answer(client, tools=tools, stream=True).pieces
    if client == GEMINI:
        return Answer(pieces=pieces[:2], headers=SSE, end="cut")
    at = [number for number, piece in enumerate(pieces) if piece and b"delta" in piece.lower()]
    last = {CHAT: 3 if tools else 2, MESSAGES: 1, RESPONSES: 1}[client]
    return Answer(pieces=pieces[: at[last] + 1], headers=SSE, end="cut")


type Break = Callable[[str], Answer]

BREAKS: dict[str, Break] = {
    "cut": broken_off,
    "ended": lambda client: replace(broken_off(client), end="clean"),
    "stalled": lambda client: replace(broken_off(client), end="stall"),
    "broken": lambda client: _with(broken_off(client), BROKEN.get(client, b'data: {"broken\n\n')),
    "refused": lambda client: _with(broken_off(client), REFUSED[client]),
}


def _with(broken_answer: Answer, frame: bytes) -> Answer:
    return replace(broken_answer, pieces=(*broken_answer.pieces, frame), end="clean")


def check_rows(world: World) -> None:
    """Check the final row, with the answer's own usage, and the row of the broken attempt."""
    rows = world.rows()
    (entry,) = [row for row in rows if isinstance(row, FinalRow)]
    (lost,) = [row for row in rows if isinstance(row, AttemptRow)]
    assert (entry.state, entry.status, entry.attempts) == ("settled", 200, 2)
    assert (entry.provider, entry.model) == ("second", "m-second")
    assert (entry.input, entry.output, entry.usage) == (*COUNTS, "provider")
    assert lost.provider == "first"
    assert lost.cost is not None
    assert lost.cost > 0
    assert entry.wasted == lost.cost
    assert entry.cost == lost.cost + Decimal("0.000019")


@pytest.mark.parametrize("client", DIALECTS)
@pytest.mark.parametrize("broke", BREAKS)
def test_another_target_finishes_an_answer_that_breaks_off(
    make: Make, upstream: Upstream, client: str, broke: str
) -> None:
    """The SDK gets one answer after a cut, a silent end, a stall, a broken frame and an error."""
    world = make(pair(client, client))
    upstream.on("/first", BREAKS[broke](client))
    upstream.on("/second", answer(client, stream=True))
    assert ASKS[client](world, "smart", False, True) == ParsedAnswer(text=TEXT, counts=COUNTS)
    assert [request.path.split("/")[1][:6] for request in upstream.requests] == ["first", "second"]
    check_rows(world)


@pytest.mark.parametrize("tools", [False, True], ids=["text", "tools"])
@pytest.mark.parametrize(
    ("client", "second"),
    [(first, other) for first in DIALECTS for other in DIALECTS if first != other],
)
def test_a_target_of_another_dialect_finishes_an_answer(
    make: Make, upstream: Upstream, client: str, second: str, tools: bool
) -> None:
    """The second target finishes text, and tool arguments that broke off in the middle."""
    world = make(pair(client, second))
    upstream.on("/first", broken_off(client, tools=tools and client != GEMINI))
    upstream.on("/second", answer(second, tools=tools, stream=True))
    expected = (
        ParsedAnswer(calls=(("weather", canonical(ARGUMENTS)),), finish="tools", counts=COUNTS)
        if tools
        else ParsedAnswer(text=TEXT, counts=COUNTS)
    )
    assert ASKS[client](world, "smart", tools, True) == expected
    check_rows(world)


@pytest.mark.parametrize("client", DIALECTS)
def test_the_sdk_raises_where_no_target_finishes_the_answer(
    make: Make, upstream: Upstream, client: str
) -> None:
    """In `hold` mode an error has its own status: nothing was sent before."""
    world = make(pair(client, client))
    for path in ("/first", "/second"):
        upstream.on(path, broken_off(client))
    with pytest.raises(ERRORS):
        ASKS[client](world, "smart", False, True)
    entry = world.entry()
    assert (entry.state, entry.status, entry.attempts) == ("failed", 502, 4)
    assert len(upstream.requests) == 4


@pytest.mark.parametrize("client", DIALECTS)
def test_the_client_gets_keepalives_until_the_answer_is_complete(
    make: Make, upstream: Upstream, keepalives: list[bytes], client: str
) -> None:
    """Keep-alives go out before the break and in the next attempt; the SDK ignores them."""
    world = make(pair(client, client), without_timeouts)
    first, second = broken_off(client), answer(client, stream=True)
    upstream.on("/first", replace(first, pieces=(*first.pieces, None)))
    upstream.on("/second", replace(second, pieces=(None, *second.pieces[:1], None, *second.pieces[1:])))  # fmt: skip
    thread = release_after_keepalives(world, keepalives, 3)
    assert ASKS[client](world, "smart", False, True).text == TEXT
    thread.join()
    assert len(keepalives) >= 6
    assert world.entry().state == "settled"


def without_timeouts(value: Config) -> None:
    for provider in value["providers"].values():
        del provider["timeouts"]


def test_a_header_a_key_or_a_guard_turns_complete_answers_on_or_off(
    make: Make, upstream: Upstream
) -> None:
    """Header, key and guard turn it on or off; the route endpoint says which holds, and why."""
    secrets = {name: sha256(name.encode()).hexdigest() for name in ("plain", "held")}
    keys = {"plain": {"sha256": secrets["plain"]}, "held": {"sha256": secrets["held"], "complete": True}}  # fmt: skip

    def change(value: Config) -> None:
        pair(CHAT, CHAT, None)(value)
        value["keys"] = "keys.yaml"
        value["guards"] = [{"name": "never here", "when": {"tag": "cheap"}, "complete": False}]

    world = make(change, files={"keys.yaml": keys})
    body = {"model": "smart", "messages": [{"role": "user", "content": "Hi."}], "stream": True}

    def count_requests_and_route(key: str, **headers: str) -> tuple[int, str]:
        """Return the number of requests sent, and the answer of the route endpoint."""
        upstream.on("/first", broken_off(CHAT))
        upstream.on("/second", answer(CHAT, stream=True))
        before = len(upstream.requests)
        headers = {"authorization": f"Bearer {key}", **headers}
        world.client.post("/v1/chat/completions", json=body, headers=headers)
        route = world.client.post("/v1/route", json=body, headers=headers).json()
        steps = [step for step in route["trace"] if step["step"] == "complete"]
        whose = f" by {steps[0]['why']}" if steps else ""
        return len(upstream.requests) - before, route["complete"] + whose

    assert count_requests_and_route("plain") == (1, "off")
    assert count_requests_and_route("plain", **{"x-tiergate-complete": "on"}) == (
        2,
        "hold by x-tiergate-complete",
    )
    refused = world.client.post("/v1/chat/completions", json=body, headers={"authorization": "Bearer plain", "x-tiergate-complete": "live"})  # fmt: skip
    assert refused.status_code == 400
    assert "`live` is no longer served: send hold" in refused.json()["error"]["message"]
    assert count_requests_and_route("held") == (2, "hold by key held")
    assert count_requests_and_route("held", **{"x-tiergate-complete": "off"}) == (1, "off")
    assert count_requests_and_route("held", **{"x-tiergate-tags": "cheap"}) == (1, "off")
    assert [row.attempts for row in world.entries()] == [1, 2, 2, 1, 1]


def test_the_gateway_reserves_the_budget_again_for_each_attempt(
    make: Make, upstream: Upstream
) -> None:
    """The first attempt may have cost all that it reserved: the rest does not cover another."""
    world = make(pair(CHAT, CHAT), budget_for_one_attempt)
    upstream.on("/first", broken_off(CHAT))
    upstream.on("/second", answer(CHAT, stream=True))
    body = {
        "model": "smart", "stream": True, "max_tokens": 100,
        "messages": [{"role": "user", "content": "Hi."}],
    }  # fmt: skip
    reply = world.client.post("/v1/chat/completions", json=body)
    assert reply.status_code == 429
    assert "insufficient_quota" in reply.text
    assert len(upstream.requests) == 1
    world.loop.run(world.gateway.limiter.wait_settled())
    spent = world.loop.run(world.gateway._counter_store.read_counters(None))
    rows = world.rows()
    (entry,) = [row for row in rows if isinstance(row, FinalRow)]
    assert entry.cost is not None
    assert entry.wasted == entry.cost > 0
    (held,) = spent.values()  # an estimate is a floor: the reservation stays charged
    assert held == 2493


def budget_for_one_attempt(value: Config) -> None:
    """Set a budget for one attempt of at most 100 tokens, 2493 millionths; not for two."""
    value["budgets"] = [{"name": "b", "usd": 0.003, "every": "month"}]


def test_the_first_target_finishes_the_answer_of_a_hedge_that_breaks_off(
    make: Make, upstream: Upstream
) -> None:
    """A hedge wins and breaks off; then the first target finishes the answer."""
    world = make(hedged, lambda value: value["routing"].update(complete="hold"))
    first = answer(CHAT, stream=True)
    upstream.on("/acme", SILENT, first)
    upstream.on("/spare", broken_off(CHAT))
    reply = world.ask(chat(stream=True, max_tokens=100, stream_options={"include_usage": True}))
    assert reply.status_code == 200
    assert reply.text.count("Hell") == 1
    assert reply.text.endswith("data: [DONE]\n\n")
    rows = world.rows()
    lost = [row for row in rows if isinstance(row, AttemptRow)]
    assert [(row.attempt, row.provider, row.problem) for row in lost] == [
        (1, "acme", "hedged"), (2, "spare", "upstream_truncated"),
    ]  # fmt: skip
    entry = world.entry()
    assert (entry.state, entry.provider, entry.attempts) == ("settled", "acme", 3)
    assert (entry.input, entry.output) == COUNTS
    assert entry.wasted is None  # the bill of the first is unknown
    assert None not in (lost[0].reserved, lost[1].reserved)
    assert entry.reserved == sum(row.reserved or 0 for row in lost)
