"""A call that asks for a complete answer gets one, whatever becomes of the first: real SDKs."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import pytest

from gateway.core.entry import Attempt, Entry
from tests.e2e.abroad import (
    ARGUMENTS,
    ASKS,
    CHAT,
    COUNTS,
    DIALECTS,
    GEMINI,
    MESSAGES,
    RESPONSES,
    TEXT,
    Heard,
    answer,
    canonical,
)  # fmt: skip
from tests.e2e.test_abroad import ERRORS
from tests.e2e.upstream import SSE, Answer, Upstream
from tests.e2e.world import Change, Config, Make, World

MODES = ("hold", "live")
REFUSED = {
    CHAT: b'data: {"error":{"message":"Too much.","type":"server_error","code":"overloaded"}}\n\n',
    RESPONSES: b'event: error\ndata: {"type":"error","code":"server_error","message":"Too much.","param":null,"sequence_number":9}\n\n',
    MESSAGES: b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Too much."}}\n\n',
    GEMINI: b'data: {"error":{"code":503,"message":"Too much.","status":"UNAVAILABLE"}}\r\n\r\n',
}  # fmt: skip


def pair(client: str, second: str, how: str | None) -> Change:
    """A lab of two targets: one in the client's dialect, and one that may speak another."""

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


def begun(client: str, *, tools: bool = False) -> Answer:
    """The frames of an answer up to the second piece of its text or of its arguments, then a cut."""
    pieces = answer(client, tools=tools, stream=True).pieces
    if client == GEMINI:
        return Answer(pieces=pieces[:2], headers=SSE, end="cut")
    at = [number for number, piece in enumerate(pieces) if piece and b"delta" in piece.lower()]
    last = {CHAT: 3 if tools else 2, MESSAGES: 1, RESPONSES: 1}[client]
    return Answer(pieces=pieces[: at[last] + 1], headers=SSE, end="cut")


type Break = Callable[[str], Answer]

BREAKS: dict[str, Break] = {
    "cut": begun,
    "ended": lambda client: replace(begun(client), end="clean"),
    "stalled": lambda client: replace(begun(client), end="stall"),
    "broken": lambda client: _with(begun(client), b'data: {"broken\n\n'),
    "refused": lambda client: _with(begun(client), REFUSED[client]),
}


def _with(said: Answer, frame: bytes) -> Answer:
    return replace(said, pieces=(*said.pieces, frame), end="clean")


def audit(world: World) -> None:
    """One final entry with the answer's own usage, one row of the attempt that broke off."""
    rows = world.rows()
    (entry,) = [row for row in rows if isinstance(row, Entry)]
    (lost,) = [row for row in rows if isinstance(row, Attempt)]
    assert (entry.state, entry.status, entry.attempts) == ("settled", 200, 2)
    assert (entry.provider, entry.model) == ("second", "m-second")
    assert (entry.input, entry.output, entry.usage) == (*COUNTS, "provider")
    assert lost.provider == "first"
    assert lost.cost is not None
    assert lost.cost > 0
    assert entry.wasted == lost.cost
    assert entry.cost == lost.cost + Decimal("0.000019")


@pytest.mark.parametrize("how", MODES)
@pytest.mark.parametrize("client", DIALECTS)
@pytest.mark.parametrize("broke", BREAKS)
def test_an_answer_that_breaks_off_is_finished_by_another(
    make: Make, upstream: Upstream, client: str, broke: str, how: str
) -> None:
    """After a cut, a silent end, a stall, a broken frame and an error: the SDK hears one answer."""
    world = make(pair(client, client, how))
    upstream.on("/first", BREAKS[broke](client))
    upstream.on("/second", answer(client, stream=True))
    assert ASKS[client](world, "smart", False, True) == Heard(text=TEXT, counts=COUNTS)
    assert [request.path.split("/")[1][:6] for request in upstream.requests] == ["first", "second"]
    audit(world)


@pytest.mark.parametrize("how", MODES)
@pytest.mark.parametrize("tools", [False, True], ids=["text", "tools"])
@pytest.mark.parametrize(
    ("client", "second"), [(one, other) for one in DIALECTS for other in DIALECTS if one != other]
)
def test_a_target_that_speaks_another_dialect_finishes_it(
    make: Make, upstream: Upstream, client: str, second: str, tools: bool, how: str
) -> None:
    """Text, and the arguments of a call that were shown in part."""
    world = make(pair(client, second, how))
    upstream.on("/first", begun(client, tools=tools and client != GEMINI))
    upstream.on("/second", answer(second, tools=tools, stream=True))
    if tools and client == GEMINI and how == "live":
        with pytest.raises(ERRORS):  # text was shown, and then it was a call
            ASKS[client](world, "smart", tools, True)
        return
    expected = (
        Heard(calls=(("weather", canonical(ARGUMENTS)),), finish="tools", counts=COUNTS)
        if tools
        else Heard(text=TEXT, counts=COUNTS)
    )
    assert ASKS[client](world, "smart", tools, True) == expected
    audit(world)
