"""A budget with `reserve: fit`: the provider gets a lower cap, the client its name, nobody a deficit."""

from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest

from tests.e2e.test_limits import error, used
from tests.e2e.upstream import Answer, Request, Upstream, failing, frames, stream, whole
from tests.e2e.world import Change, Config, Make, chat

HI: list[Any] = [{"role": "user", "content": "Hi"}]
FIT = {"name": "b", "usd": 0.01, "every": "day", "reserve": "fit", "least_output": 100}


def fitted(*, choices: int = 1, **more: Any) -> Change:
    def change(value: Config) -> None:
        value["budgets"] = [{**FIT, **more}]
        value["models"]["able-1"]["max_output"] = 50_000

    return change


def cap_of(request: Request) -> int:
    value = request.json
    cap: int = value["max_completion_tokens" if "max_completion_tokens" in value else "max_tokens"]
    return cap


def using_all(request: Request) -> Answer:
    """Answer with as many tokens as the cap allows, and bill them and every byte of the prompt."""
    cap = cap_of(request) * request.json.get("n", 1)
    if request.json.get("stream"):
        return stream(*frames(counts=(23, cap), finish="length"), bill=(23, cap))
    return whole(counts=(23, cap), finish="length")


BODIES = [
    ("/v1/chat/completions", {"model": "smart", "messages": HI}, "max_tokens"),
    ("/v1/chat/completions", {"model": "smart", "messages": HI, "max_tokens": 9_000}, "max_tokens"),
    (
        "/v1/responses",
        {"model": "smart", "input": "Hi", "max_output_tokens": 9_000},
        "max_output_tokens",
    ),
    ("/v1/messages", {"model": "smart", "messages": HI, "max_tokens": 9_000}, "max_tokens"),
    (
        "/v1beta/models/smart:generateContent",
        {"contents": [{"parts": [{"text": "Hi"}]}], "generationConfig": {"maxOutputTokens": 9_000}},
        "generationConfig.maxOutputTokens",
    ),
]


@pytest.mark.parametrize(("path", "body", "member"), BODIES)
def test_the_provider_gets_the_cap_that_is_left_and_the_client_its_name(
    make: Make, upstream: Upstream, path: str, body: Config, member: str
) -> None:
    world = make(fitted())
    upstream.on("/acme", using_all)
    reply = world.client.post(path, json=body)
    assert reply.status_code == 200, reply.text
    cap = cap_of(upstream.requests[0])
    assert 1_800 < cap < (10_000 - 2_000) // 4
    assert reply.headers["x-tiergate-dropped"].split(", ")[0] == member
    assert used(world)["usd|b|all"] <= 10_000
    row = world.entry()
    assert row.dropped[0] == member
    assert row.cost is not None
    assert Decimal("0.007") < row.cost <= Decimal("0.01")


def test_a_stream_is_capped_too(make: Make, upstream: Upstream) -> None:
    world = make(fitted())
    upstream.on("/acme", using_all)
    reply = world.ask(chat(stream=True, max_tokens=9_000))
    assert reply.headers["x-tiergate-dropped"] == "max_tokens"
    assert '"length"' in reply.text
    assert used(world)["usd|b|all"] <= 10_000


def test_a_dearer_target_that_takes_over_stays_within_the_budget(
    make: Make, upstream: Upstream
) -> None:
    """The cap is that of the dearest target; the further attempt reserves what is left."""

    def change(value: Config) -> None:
        fitted(usd=0.05)(value)
        value["models"]["able-2"] = {
            "price": {"input": 3, "output": 30, "as_of": "2026-11-24"}, "max_output": 50_000,
        }  # fmt: skip
        value["labs"]["acme"]["smart"].append({"model": "able-2", "provider": "spare"})

    world = make(change)
    upstream.on("/acme", failing(500))
    upstream.on("/spare", using_all)
    reply = world.ask(chat(max_tokens=40_000))
    assert reply.status_code == 200, reply.text
    caps = [cap_of(request) for request in upstream.requests]
    assert len(set(caps)) == 1
    assert caps[0] <= (50_000 - 3 * 2_000) // 30
    assert reply.headers["x-tiergate-dropped"] == "max_tokens"
    assert used(world)["usd|b|all"] <= 50_000


def test_a_client_that_wants_no_losses_is_refused_and_pays_nothing(
    make: Make, upstream: Upstream
) -> None:
    world = make(fitted())
    reply = world.ask(chat(max_tokens=9_000), **{"x-tiergate-on-loss": "refuse"})
    assert reply.status_code == 400
    assert "the budget 'b' has no more left than for" in error(reply)["message"]
    assert not upstream.requests
    assert used(world) == {"usd|b|all": 0}


def test_an_answer_with_a_lowered_cap_is_not_cached(make: Make, upstream: Upstream) -> None:
    """A client with the whole cap must not get it."""

    def change(value: Config) -> None:
        fitted(usd=0.03)(value)
        value["cache"] = {"ttl": "1h", "default": "on"}

    world = make(change)
    upstream.on("/acme", whole(counts=(23, 5_000)), whole(counts=(23, 5)))
    replies = [world.ask(chat(max_tokens=9_000, temperature=0)) for _ in range(2)]
    assert [reply.headers.get("x-tiergate-dropped") for reply in replies] == ["max_tokens"] * 2
    assert len(upstream.requests) == 2


@pytest.mark.parametrize("streamed", [False, True])
def test_calls_at_once_spend_no_more_than_the_budget(
    make: Make, upstream: Upstream, *, streamed: bool
) -> None:
    """Sixty calls in eight threads, each with any cap and an answer that uses all of it."""
    world = make(fitted(usd=0.06))
    upstream.on("/acme", using_all)

    def ask(number: int) -> tuple[int, str | None]:
        cap = (9_000, 2_000, 300, 50_000)[number % 4]
        reply = world.ask(chat(max_tokens=cap, stream=streamed, n=1 + number % 3))
        return reply.status_code, reply.headers.get("x-tiergate-dropped")

    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(ask, range(60)))
    codes = [status for status, _ in replies]
    assert set(codes) <= {200, 429}
    assert (200, "max_tokens") in replies
    billed = sum(prompt + 4 * output for prompt, output in upstream.bills)
    assert billed <= 60_000
    assert len(upstream.bills) == codes.count(200)
    assert used(world)["usd|b|all"] == billed
