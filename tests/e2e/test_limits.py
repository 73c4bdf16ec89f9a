"""Limits and budgets over real sockets: calls that do not fit are not sent, reservations settle."""

import time
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import httpx
import pytest

from gateway.core.call import OPEN_KEY
from gateway.core.decision_context import ShareCut, Thresholds
from gateway.ledger.journal import Journal
from tests.e2e.four_labs import CHAT, GEMINI, MESSAGES, RESPONSES, make_request
from tests.e2e.upstream import (
    DROPPED,
    ROLE,
    Answer,
    Upstream,
    chunk,
    stream,
    whole,
)
from tests.e2e.world import Change, Config, Make, World, abort, chat, left_after
from tests.ledger.busy import WAITS, feeding
from tests.ledger.rows import entry

HEL = chunk({"content": "Hel"})
COST = 19
"""Micro-USD of an answer: 7 tokens at 1, 3 at 4 USD a million."""


def limited(*limits: Config, **more: Any) -> Change:
    def change(value: Config) -> None:
        value["limits"] = list(limits)
        value.update(more)

    return change


def budgeted(*budgets: Config, **more: Any) -> Change:
    def change(value: Config) -> None:
        value["budgets"] = list(budgets)
        value.update(more)

    return change


def used(world: World) -> dict[str, int]:
    world.loop.run(world.gateway.limiter.wait_settled())
    counters: dict[str, int] = world.loop.run(world.gateway._counter_store.read_counters(None))
    return {field.rpartition("|")[0]: value for field, value in counters.items()}


def error(reply: httpx.Response) -> dict[str, Any]:
    value: dict[str, Any] = reply.json()["error"]
    return value


def test_a_refusal_by_a_limit_says_when_to_retry(make: Make, upstream: Upstream) -> None:
    """SDKs may come back at that time: nothing was sent."""
    world = make(limited({"name": "all", "requests": "2/m"}))
    upstream.on("/acme", whole(), whole())
    replies = [world.ask(chat()) for _ in range(3)]
    assert [reply.status_code for reply in replies] == [200, 200, 429]
    assert error(replies[2])["code"] == "rate_limit_exceeded"
    assert "'all'" in error(replies[2])["message"]
    assert 1 <= int(replies[2].headers["retry-after"]) <= 31
    assert "x-should-retry" not in replies[2].headers
    assert len(upstream.requests) == 2
    assert [row.state for row in world.entries()] == ["settled", "settled", "refused"]


def test_a_concurrency_limit_refuses_one_call_more(make: Make, upstream: Upstream) -> None:
    world = make(limited({"name": "few", "concurrency": 1}))
    upstream.on("/acme", stream(ROLE, HEL, end="stall"), whole())
    with world.leaving(chat(stream=True)) as first:
        request = upstream.arrived()
        assert world.ask(chat()).status_code == 429
        left_after(request, abort(first))
    world.loop.run(world.gateway.limiter.wait_settled())
    assert world.ask(chat()).status_code == 200


def test_a_budget_for_three_calls_is_never_exceeded(make: Make, upstream: Upstream) -> None:
    """SEC-BUDGET 1, 2: of fifty first calls at once, three are sent."""
    body = chat(max_tokens=100)
    # A call may cost 2,099 micro-USD for its prompt's bytes and their frame, and 400 for its
    # answer.
    world = make(budgeted({"name": "tight", "usd": 0.0078, "every": "day"}))
    upstream.on("/acme", *[whole()] * 50)
    with ThreadPoolExecutor(50) as pool:
        replies = list(pool.map(lambda _: world.ask(body), range(50)))
    passed = [reply for reply in replies if reply.status_code == 200]
    assert len(upstream.requests) == len(passed) >= 1
    refused = next(reply for reply in replies if reply.status_code == 429)
    assert error(refused)["code"] == "budget_busy"
    assert refused.headers["retry-after"] == "1"
    assert used(world) == {"usd|tight|all": COST * len(passed)}
    assert COST * len(passed) <= 7800


def test_an_estimated_cost_leaves_its_reservation_charged(make: Make, upstream: Upstream) -> None:
    """A stream was cut, or its client left: the estimate may be less than the bill."""
    world = make(budgeted({"name": "b", "usd": 1, "every": "month"}))
    upstream.on("/acme", stream(ROLE, HEL, end="cut"), stream(ROLE, HEL, end="stall"))
    world.ask(chat(stream=True, max_tokens=10))
    held = used(world)["usd|b|all"]
    assert held > 1000
    with world.leaving(chat(stream=True, max_tokens=10)) as client:
        while HEL not in client.recv(65536):
            pass
        left_after(upstream.requests[-1], abort(client))
    assert used(world)["usd|b|all"] == 2 * held
    assert all(row.estimate for row in world.entries())


def test_each_further_attempt_needs_its_own_room_in_the_budget(
    make: Make, upstream: Upstream
) -> None:
    """The first attempt may have been billed; without room the next target is not called."""

    def change(value: Config) -> None:
        value["labs"]["acme"]["smart"].append({"model": "able-2", "provider": "spare"})
        value["models"]["able-2"] = value["models"]["able-1"]
        value["budgets"] = [{"name": "b", "usd": 0.003, "every": "month"}]

    world = make(change)
    upstream.on("/acme", DROPPED)
    upstream.on("/spare", whole())
    reply = world.ask(chat(max_tokens=10))
    assert (reply.status_code, error(reply)["code"]) == (429, "insufficient_quota")
    assert upstream.called == ["acme"]


def test_a_spent_budget_sends_calls_to_a_cheaper_tier(make: Make, upstream: Upstream) -> None:
    """The budget names the tier; the trace and the row tell of it."""
    budget = {"name": "deep", "tier": ["reasoning"], "usd": 0, "every": "day", "then": "fast"}
    world = make(budgeted(budget))
    upstream.on("/acme", whole())
    reply = world.ask(chat(model="reasoning", max_tokens=10))
    assert (reply.status_code, reply.headers["x-tiergate-tier"]) == (200, "fast")
    assert upstream.requests[0].json["model"] == "swift-1"
    assert world.entry().tier == "fast"


def test_a_call_that_a_bound_on_shares_moves_is_reported(make: Make, upstream: Upstream) -> None:
    """The trace, the log, the webhook and the metrics tell it, once for many calls of a key."""

    def change(value: Config) -> None:
        value["routing"]["max_share"] = {"reasoning": 0.1}
        value["alerts"] = {"webhook": f"{upstream.url}/alert"}

    upstream.on("/acme", whole(), whole())
    upstream.on("/alert", *[Answer(status=204, length=0)] * 2)
    world = make(change)
    traffic = world.gateway._turn_counter
    thresholds = Thresholds(0.53, 0.63, "key-1", ShareCut(reasoning=0.0, smart=2.0), (0.1, 1.0))
    traffic.find_thresholds(OPEN_KEY)
    traffic._key_scopes[OPEN_KEY.tenant, OPEN_KEY.name].thresholds = thresholds
    hard = "Prove rigorously that there are infinitely many primes, and derive a bound."
    body = {"model": "auto", "messages": [{"role": "user", "content": hard}]}
    replies = [world.ask(body) for _ in range(2)]
    assert [reply.headers["x-tiergate-tier"] for reply in replies] == ["smart"] * 2
    paths = [upstream.arrived() for _ in range(3)]
    (alert,) = [request.json for request in paths if request.path == "/alert"]
    id = replies[0].headers["x-request-id"]
    row = {"tenant": "default", "key": "open", "call": id, "wanted": "reasoning", "tier": "smart", "turns": 1}  # fmt: skip
    assert alert == {"event": "share", **row}
    (logged,) = [line for line in world.log if line["event"] == "share"]
    assert {name: logged[name] for name in row} == row
    decision = world.client.get(f"/admin/entries/{id}/decision").json()
    (step,) = [line for line in decision["trace"] if line["step"] == "share"]
    assert step["effect"] == "smart"
    assert "max_share" in step["why"]
    assert "tiergate_turns_lowered_total 2" in world.client.get("/metrics").text


@pytest.mark.parametrize(
    ("client", "status", "word"),
    [
        (CHAT, 429, "insufficient_quota"),
        (RESPONSES, 429, "insufficient_quota"),
        (MESSAGES, 402, "billing_error"),
        (GEMINI, 429, "RESOURCE_EXHAUSTED"),
    ],
)
def test_each_dialect_has_its_error_for_a_spent_budget(
    make: Make, client: str, status: int, word: str
) -> None:
    world = make(budgeted({"name": "none", "usd": 0, "every": "total"}))
    path, body = make_request(client, "smart")
    reply = world.client.post(path, json=body)
    assert reply.status_code == status
    assert word in reply.text
    assert reply.headers["x-should-retry"] == "false"


def test_token_counts_and_cache_hits_use_no_budget(make: Make, upstream: Upstream) -> None:
    def change(value: Config) -> None:
        value["budgets"] = [{"name": "b", "usd": 1, "every": "day"}]
        value["cache"] = {"default": "on", "ttl": "1h"}

    world = make(change)
    upstream.on("/acme", whole())
    for _ in range(2):
        assert world.ask(chat(max_tokens=10)).status_code == 200
        world.loop.run(world.gateway.engine.drain())
    body = {"model": "smart", "messages": [{"role": "user", "content": "Hi"}]}
    assert world.client.post("/v1/messages/count_tokens", json=body).status_code == 200
    assert used(world) == {"usd|b|all": COST}


def test_a_restarted_gateway_counts_earlier_spending(make: Make, upstream: Upstream) -> None:
    """A counter in memory is lost with its process; the ledger is not."""
    budget = {"name": "b", "usd": 1, "every": "month"}
    data: dict[str, str] = {}
    first = make(budgeted(budget))
    upstream.on("/acme", whole(), whole())
    first.ask(chat(max_tokens=10))
    first.close()
    data["TIERGATE_DATA"] = str(first.folder / "data")
    second = make(budgeted(budget), **data)
    second.ask(chat(max_tokens=10))
    assert used(second) == {"usd|b|all": 2 * COST}


def test_a_new_counter_includes_rows_that_another_process_feeds(
    make: Make, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new counter begins with all rows there are: it waits until they are fed."""
    world = make(budgeted({"name": "b", "usd": 1, "every": "month"}))
    gateway = world.gateway
    monkeypatch.setattr(gateway.ledger_runtime, "feed", int)
    upstream.on("/acme", whole())
    journal = Journal(gateway.journal_folder)
    journal.write(entry("of-another", at=time.time(), cost=Decimal("0.5")))
    journal.close()
    with feeding(gateway.journal_folder) as other:
        monkeypatch.setattr(gateway.store, "feed", other.feed(gateway.store))
        world.ask(chat(max_tokens=10))
    assert used(world) == {"usd|b|all": 500_000 + COST}
    assert len(other.waited) == WAITS
