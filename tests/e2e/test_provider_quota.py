"""Providers' own limits: the gateway asks an empty account last, and a parked one not at all."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from tests.e2e.four_labs import ENDPOINTS, RESPONSES, answer
from tests.e2e.test_next_target import accounts
from tests.e2e.test_stored_responses import FIRST, ID, SECOND, ask, stored
from tests.e2e.upstream import Answer, Request, Script, Upstream, failing, stream, whole
from tests.e2e.world import PROMPT, SECRET, Make, World, chat, spared

type Headers = Mapping[str, str]

EMPTY = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "30s"}


class QuotaClock:
    """The time of day as the gateway sees it."""

    def __init__(self, world: World) -> None:
        self.now = 1_795_500_000.0
        upstream = world.gateway.engine._upstream
        upstream._wall = upstream._attempt_runner._wall = lambda: self.now


def with_headers(script: Answer, headers: Headers) -> Answer:
    return replace(script, headers=(*script.headers, *headers.items()))


def by_account(main: Script, second: Script) -> Script:
    """Answer the main account with one script, and the second with another."""

    def script(request: Request) -> Answer:
        chosen = main if request.header("authorization") == f"Bearer {SECRET}" else second
        return chosen if isinstance(chosen, Answer) else chosen(request)

    return script


def called_accounts(upstream: Upstream) -> list[str]:
    """Return the accounts that the gateway asked; "spare" is another host."""
    names = {f"Bearer {SECRET}": "main", "Bearer sk-second": "second", None: "spare"}
    return [names[request.header("authorization")] for request in upstream.requests]


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
def test_an_account_without_quota_is_used_again_after_the_reset(
    make: Make, upstream: Upstream, streamed: bool
) -> None:
    world = make(accounts)
    clock = QuotaClock(world)
    good = stream() if streamed else whole()
    upstream.on("/acme", by_account(with_headers(good, EMPTY), good))
    for seconds in (0.0, 10.0, 19.0, 1.0):
        clock.now += seconds
        reply = world.ask(chat(stream=streamed))
        assert (reply.status_code, reply.headers["x-tiergate-attempts"]) == (200, "1")
        assert not [name for name in reply.headers if "ratelimit" in name]
    assert called_accounts(upstream) == ["main", "second", "second", "main"]


def test_the_gateway_calls_no_provider_while_all_are_parked_for_long(
    make: Make, upstream: Upstream
) -> None:
    """The gateway tells the client, in its own words, when the first account is back."""
    world = make(spared)
    clock = QuotaClock(world)
    upstream.on("/acme", failing(429, retry_after="50"))
    upstream.on("/spare", failing(429, retry_after="40"))
    assert world.ask(chat()).json()["error"]["code"] == "upstream_rate_limited"
    clock.now += 10
    reply = world.ask(chat())
    assert (reply.status_code, reply.headers["retry-after"]) == (429, "30")
    assert reply.json()["error"]["code"] == "rate_limit_exceeded"
    assert "x-should-retry" not in reply.headers
    assert reply.headers["x-tiergate-attempts"] == "0"
    assert len(upstream.requests) == 2
    assert [entry.state for entry in world.entries()] == ["failed", "refused"]


def test_the_gateway_waits_for_an_account_that_is_back_soon(make: Make, upstream: Upstream) -> None:
    """The gateway waits a moment longer, so that not all calls come back at once."""
    world = make()
    clock = QuotaClock(world)
    upstream.on("/acme", failing(429, retry_after="25"), whole())
    world.ask(chat())
    clock.now += 10
    assert world.ask(chat()).status_code == 200
    assert world.waits == [16.0]
    assert len(upstream.requests) == 2


def test_a_503_parks_the_account_only_with_a_retry_after(make: Make, upstream: Upstream) -> None:
    world = make(accounts)
    QuotaClock(world)
    upstream.on("/acme", by_account(failing(503), whole()))
    for _ in range(2):
        world.ask(chat())
    upstream.on("/acme", by_account(failing(503, retry_after="9"), whole()))
    for _ in range(2):
        world.ask(chat())
    assert called_accounts(upstream) == [
        "main",
        "second",
        "main",
        "second",
        "main",
        "second",
        "second",
    ]


@pytest.mark.parametrize(
    ("headers", "key"), [(EMPTY, "key-1"), (None, "key-2")], ids=["shortage", "parked"]
)
def test_a_conversation_leaves_the_account_with_its_answer_only_if_parked(
    make: Make, upstream: Upstream, headers: Headers | None, key: str
) -> None:
    """A shortage does not move a conversation from the account that has its earlier answer."""
    world = make(stored)
    clock = QuotaClock(world)
    first = answer(RESPONSES)
    upstream.on(ENDPOINTS[RESPONSES], with_headers(first, headers or {}), answer(RESPONSES))
    ask(world, RESPONSES, FIRST)
    if headers is None:
        [target] = world.gateway.built_config.built_catalogue.catalogue.labs[RESPONSES].tiers[
            "smart"
        ]
        book = world.gateway.engine._upstream.quota
        book.record_refusal((target.provider.name, "main", target.model), 30.0, clock.now)
    ask(world, RESPONSES, SECOND, previous_response_id=ID)
    assert upstream.requests[1].header("authorization") == f"Bearer {key}"
    assert PROMPT not in repr(world.gateway.engine._upstream.quota.list_states(0.0))
