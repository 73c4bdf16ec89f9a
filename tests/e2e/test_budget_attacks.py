"""Attacks on a budget by a key that is valid: numbers, bills, dropped streams, retries, decoys."""

import itertools
import os
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest

from gateway.core import jsonio
from tests.e2e.test_limits import budgeted, used
from tests.e2e.upstream import (
    DROPPED,
    ROLE,
    Answer,
    Request,
    Upstream,
    chunk,
    failing,
    frames,
    stream,
    whole,
)
from tests.e2e.world import Body, Config, Make, World, abort, chat, left_after

_TIMES = 1000 if "TIERGATE_CHAOS" in os.environ else 60
"""Requests that the attack sends; it drops every third."""
BUDGET = {"name": "b", "usd": 1, "every": "month"}
NUMBERS = ["-1", "0", "1", "2147483647", "2147483648", "9007199254740993", "9223372036854775808",
           "1e308", "1e400", "NaN", '"5"', "true", "null", "1.5"]  # fmt: skip
_TEXT = {"messages": [{"role": "user", "content": "Hi"}]}
PLACES: dict[str, tuple[str, Callable[[str], str]]] = {
    "n": ("/v1/chat/completions", lambda n: _with("n", n)),
    "max_tokens": ("/v1/chat/completions", lambda n: _with("max_tokens", n)),
    "max_completion_tokens": ("/v1/chat/completions", lambda n: _with("max_completion_tokens", n)),
    "max_output_tokens": (
        "/v1/responses",
        lambda n: f'{{"model":"smart","input":"Hi","max_output_tokens":{n}}}',
    ),
    "budget_tokens": (
        "/v1/messages",
        lambda n: _with("thinking", f'{{"type":"enabled","budget_tokens":{n}}}', '"max_tokens":9'),
    ),
    "maxOutputTokens": ("/v1beta/models/smart:generateContent", lambda n: _gemini(f'"maxOutputTokens":{n}')),
    "candidateCount": ("/v1beta/models/smart:generateContent", lambda n: _gemini(f'"candidateCount":{n}')),
    "thinkingBudget": (
        "/v1beta/models/smart:generateContent",
        lambda n: _gemini(f'"thinkingConfig":{{"thinkingBudget":{n}}}'),
    ),
}  # fmt: skip


def _with(name: str, number: str, *more: str) -> str:
    parts = ['"model":"smart"', f'"messages":{jsonio.dumps(_TEXT["messages"]).decode()}']
    return "{" + ",".join([*parts, *more, f'"{name}":{number}']) + "}"


def _gemini(config: str) -> str:
    return f'{{"contents":[{{"parts":[{{"text":"Hi"}}]}}],"generationConfig":{{{config}}}}}'


@pytest.mark.parametrize("place", PLACES)
def test_no_number_in_a_request_lowers_the_spending(
    make: Make, upstream: Upstream, place: str
) -> None:
    """SEC-BUDGET 4: the gateway refuses a number, or takes it at its word.

    Spending only grows, and never exceeds the budget.
    """
    world = make(budgeted(BUDGET))
    upstream.on("/acme", lambda _: whole())
    path, body = PLACES[place]
    before = 0
    for number in NUMBERS:
        kind = {"content-type": "application/json"}
        reply = world.client.post(path, content=body(number).encode(), headers=kind)
        assert reply.status_code in (200, 400, 402, 429), (number, reply.text)
        spent = used(world).get("usd|b|all", 0)
        assert before <= spent <= 1_000_000, number
        before = spent
    rows = world.entries()
    assert all(row.cost is None or row.cost >= 0 for row in rows)
    assert len(rows) == len(NUMBERS)


BILLS: list[dict[str, Any]] = [
    {"prompt_tokens": -7, "completion_tokens": -3, "total_tokens": -10},
    {"prompt_tokens": 7},
    {"prompt_tokens": "7", "completion_tokens": "3"},
    {"prompt_tokens": 10**15, "completion_tokens": 10**15},
    {"prompt_tokens": 10**30, "completion_tokens": 3},
    {"prompt_tokens": 7, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 9}},
    {"prompt_tokens": 7, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": -9}},
    {"prompt_tokens": 1.5, "completion_tokens": True},
    {},
]


@pytest.mark.parametrize("bill", BILLS, ids=repr)
@pytest.mark.parametrize("streamed", [False, True])
def test_no_bill_of_a_provider_lowers_the_spending(
    make: Make, upstream: Upstream, bill: dict[str, Any], *, streamed: bool
) -> None:
    """SEC-BUDGET 5: spent money stays spent, and what nobody can count stays reserved."""
    world = make(budgeted(BUDGET))
    upstream.on("/acme", whole())
    world.ask(chat(max_tokens=10))
    before = used(world)["usd|b|all"]
    upstream.on("/acme", _billed(bill, streamed=streamed))
    world.ask(chat("again", max_tokens=10, stream=streamed))
    after = used(world)["usd|b|all"]
    assert after >= before
    reply = world.ask(chat("more", max_tokens=10))
    assert (reply.status_code == 429) is (after > 1_000_000 - 2_200)
    for row in world.entries():
        assert row.cost is None or row.cost >= Decimal(0)


def _billed(bill: dict[str, Any], *, streamed: bool) -> Answer:
    if not streamed:
        value = jsonio.loads(whole(counts=None).pieces[0] or b"")
        body = (
            jsonio.dumps({**value, "usage": bill}) if 10**30 not in bill.values() else _huge(value)
        )
        return Answer(pieces=(body,), length=len(body))
    last = {"id": "up-1", "object": "chat.completion.chunk", "created": 1, "model": "served-1"}
    usage_frame = jsonio.dumps({**last, "choices": [], "usage": None})
    billed_frame = usage_frame.replace(b'"usage":null', b'"usage":' + _usage(bill))
    return stream(
        *frames(counts=None, done=False), b"data: " + billed_frame + b"\n\n", b"data: [DONE]\n\n"
    )


def _huge(value: dict[str, Any]) -> bytes:
    huge_usage = b'"usage":{"prompt_tokens":%d,"completion_tokens":3}' % 10**30
    return jsonio.dumps({**value, "usage": None}).replace(b'"usage":null', huge_usage)


def _usage(bill: dict[str, Any]) -> bytes:
    huge = {name: value for name, value in bill.items() if value == 10**30}
    data = jsonio.dumps({name: 0 if name in huge else value for name, value in bill.items()})
    for name in huge:
        data = data.replace(b'"%b":0' % name.encode(), b'"%b":%d' % (name.encode(), 10**30))
    return data


class Attack:
    """One key with a hard budget against a provider that bills all that it may."""

    def __init__(self, make: Make, upstream: Upstream, alerted: list[Any]) -> None:
        def change(value: Config) -> None:
            value["budgets"] = [{"name": "purse", "usd": 0.2, "every": "day", "soft": 0.5}]
            value["alerts"] = {"webhook": f"{upstream.url}/alert"}
            for model in value["models"].values():
                model["max_output"] = 1000
            spare = {"model": "deep-1", "provider": "spare"}
            value["labs"]["acme"]["reasoning"].append(spare)

        def alert(request: Request) -> Answer:
            alerted.append(request.json)
            return Answer(status=204, length=0)

        self.billed = 0
        """Micro-USD, on the provider's own count."""
        self._seen = set[int]()
        upstream.on("/alert", alert)
        upstream.on("/acme", self._serve)
        upstream.on("/spare", self._serve)
        self.world: World = make(change)
        self.turn = itertools.count()
        self.ends: Iterator[str] = itertools.cycle(["whole", "drop", "refuse", "cut"])

    def _serve(self, request: Request) -> Answer:
        body = request.json
        prices = {"swift-1": (0.1, 0.4), "able-1": (1, 4), "deep-1": (5, 20)}
        low, high = prices[body["model"]]
        each = min(1000, body.get("max_tokens") or body.get("max_completion_tokens") or 1000)
        output = each * (body.get("n") or 1)
        prompt = len(request.body)
        end, reused = next(self.ends), request.connection in self._seen
        self._seen.add(request.connection)
        if end == "refuse":
            return failing(503)
        if end == "drop" and reused:
            return DROPPED  # a kept connection that is closed at once: nobody bills that
        self.billed += round(prompt * low + output * high)
        if end == "drop":
            return DROPPED
        if end == "cut":
            return stream(ROLE, chunk({"content": "half"}), end="cut")
        if body.get("stream"):
            return stream(*frames(["x"] * 3, counts=(prompt, output)))
        return whole(counts=(prompt, output))


def make_attack(turn: int) -> Body:
    """Return the most expensive request that there can be, of each shape in turn."""
    text = f"{turn} " + "prove every lemma of this decoy step by step. " * (20 * (turn % 5))
    shapes: list[Body] = [
        {"model": "reasoning", "n": 128, "max_tokens": 10**9},
        {"model": "reasoning", "stream": True},
        {"model": "reasoning", "max_tokens": 1000, "n": 2},
        {"model": "auto", "reasoning_effort": "high"},
    ]
    return {**chat(text), **shapes[turn % 4]}


def test_an_attacker_with_one_key_never_exceeds_its_budget(make: Make, upstream: Upstream) -> None:
    """SEC-WALLET: the provider bills no more than the budget, whatever one key sends.

    The ledger shows it, and the webhook gets its alert.
    """
    alerted: list[Any] = []
    attack = Attack(make, upstream, alerted)
    refused = 0
    for turn in range(_TIMES):
        body = make_attack(turn)
        if turn % 3 == 2:
            request_count = len(upstream.requests)
            with attack.world.leaving({**body, "stream": True}) as client:
                client.recv(1024)
                abort(client)
            refused += len(upstream.requests) == request_count
            continue
        refused += attack.world.ask(body).status_code == 429
    counted = used(attack.world)["usd|purse|all"]
    assert attack.billed <= counted <= 200_000
    assert refused > _TIMES / 2
    attack.world.loop.run(wait_for_alerts(attack.world))
    rows = attack.world.entries()
    known_cost = sum((row.cost for row in rows if row.cost is not None), Decimal(0))
    held = sum((row.reserved for row in rows if row.reserved is not None), Decimal(0))
    assert 0 < known_cost + held <= Decimal("0.2")
    assert {alert["event"] for alert in alerted} == {"budget"}
    assert {alert["name"] for alert in alerted} == {"purse"}


async def wait_for_alerts(world: World) -> None:
    while world.gateway.limit_runtime._alert_tasks:
        for task in list(world.gateway.limit_runtime._alert_tasks):
            await task
        world.gateway.limit_runtime._alert_tasks -= {
            task for task in world.gateway.limit_runtime._alert_tasks if task.done()
        }


def test_a_dropped_stream_ends_the_providers_call(make: Make, upstream: Upstream) -> None:
    """SEC-WALLET: a client that leaves stops the spending, and pays its reservation only once."""
    world = make(budgeted(BUDGET))
    for _ in range(3):
        upstream.on("/acme", stream(ROLE, chunk({"content": "a"}), end="stall"))
        with world.leaving(chat(stream=True, max_tokens=10)) as client:
            request = upstream.arrived()
            client.recv(1024)
            left_after(request, abort(client))
    held = used(world)["usd|b|all"]
    assert 0 < held <= 3 * 2_200
