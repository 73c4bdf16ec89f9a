"""A hedge, the second target for one call: the first content wins, and both are accounted for."""

from dataclasses import replace
from decimal import Decimal

import pytest

from gateway.core.ledger_rows import AttemptRow, IntentRow
from gateway.upstream.retry_budget import RetryBudget
from tests.e2e.upstream import SSE, Answer, Upstream, stream, whole
from tests.e2e.world import Config, Make, World, chat

SILENT = Answer(status=0, end="stall")
HEAD = Answer(pieces=(stream().pieces[0],), headers=SSE, end="stall")


def hedged(value: Config) -> None:
    """Configure two targets of the tier with prices; the waits of a world take no time."""
    value["labs"]["acme"]["smart"].append({"model": "able-2", "provider": "spare"})
    value["models"]["able-2"] = value["models"]["able-1"]
    value["routing"]["hedge"] = {"smart": "800ms"}


def attempts(world: World) -> list[tuple[int, str, str]]:
    rows = [row for row in world.rows() if isinstance(row, AttemptRow)]
    return [(row.attempt, row.provider, row.problem) for row in rows]


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
def test_the_hedge_answers_when_the_first_target_is_silent(
    make: Make, upstream: Upstream, streamed: bool
) -> None:
    """The hedge answers once the first target has the request: the wait takes no time here."""
    world = make(hedged)

    def first(_: object) -> Answer:
        upstream._go.release()
        return HEAD if streamed else SILENT

    upstream.on("/acme", first)
    answer = stream() if streamed else whole()
    upstream.on("/spare", replace(answer, pieces=(None, *answer.pieces)))
    reply = world.ask(chat(stream=streamed, max_tokens=100))
    assert reply.status_code == 200
    assert reply.headers["x-tiergate-provider"] == "spare"
    assert reply.headers["x-tiergate-attempts"] == "2"
    assert 0.8 in world.waits
    assert upstream.requests[upstream.called.index("acme")].left.wait(5)
    assert attempts(world) == [(1, "acme", "hedged")]
    (lost,) = [row for row in world.rows() if isinstance(row, AttemptRow)]
    assert lost.cost is None
    assert lost.reserved is not None
    entry = world.entry()
    assert (entry.provider, entry.state, entry.attempts) == ("spare", "settled", 2)
    assert (entry.wasted, entry.reserved) == (None, lost.reserved)
    assert [row.provider for row in world.rows() if isinstance(row, IntentRow)] == ["acme", "spare"]


def test_the_first_target_can_answer_after_the_hedge_starts(make: Make, upstream: Upstream) -> None:
    """The row of the second has its own number, account and time."""
    world = make(hedged)

    def late(_: object) -> Answer:
        upstream._go.release()
        return SILENT

    upstream.on("/acme", Answer(pieces=(None, *whole().pieces), bill=(7, 3)))
    upstream.on("/spare", late)
    reply = world.ask(chat(max_tokens=100))
    assert (reply.status_code, reply.headers["x-tiergate-provider"]) == (200, "acme")
    assert attempts(world) == [(2, "spare", "hedged")]
    entry = world.entry()
    assert (entry.provider, entry.account, entry.attempts) == ("acme", "main", 2)
    assert entry.output == 3


def test_the_row_of_a_checked_answer_keeps_its_cost_if_the_second_answer_is_hedged(
    make: Make, upstream: Upstream
) -> None:
    """The first answer was not late: the tier above replaced it."""

    def checked(value: Config) -> None:
        hedged(value)
        value["routing"] |= {"escalate": "checked", "classifier": "off"}
        value["default"]["tier"] = "fast"

    def late(_: object) -> Answer:
        upstream._go.release()
        return SILENT

    world = make(checked)
    upstream.on("/acme", whole(""), late)
    upstream.on("/spare", Answer(pieces=(None, *whole().pieces), bill=(7, 3)))
    reply = world.ask(chat(model="auto", max_tokens=100))
    assert (reply.status_code, reply.headers["x-tiergate-provider"]) == (200, "spare")
    assert sorted(attempts(world)) == [(1, "acme", "escalated"), (2, "acme", "hedged")]
    first = next(row for row in world.rows() if isinstance(row, AttemptRow) and row.attempt == 1)
    assert first.cost == Decimal("0.0000019")


@pytest.mark.parametrize("has_room", [True, False])
def test_the_next_target_after_an_answer_without_a_reason_needs_room_in_the_budget(
    make: Make, upstream: Upstream, *, has_room: bool
) -> None:
    """Both answers may be billed. Without room for two the client gets the first one."""

    def bounded(value: Config) -> None:
        hedged(value)
        del value["routing"]["hedge"]
        value["budgets"] = [{"name": "b", "usd": 1 if has_room else 0.003, "every": "month"}]

    world = make(bounded)
    upstream.on("/acme", whole(finish=""))
    upstream.on("/spare", whole())
    reply = world.ask(chat(max_tokens=10))
    assert reply.status_code == 200
    row = world.entry()
    if has_room:
        assert reply.headers["x-tiergate-provider"] == "spare"
        assert (row.state, row.attempts) == ("settled", 2)
        assert attempts(world) == [(1, "acme", "upstream_truncated")]
    else:
        assert reply.content == whole(finish="").pieces[0]
        assert reply.headers["x-tiergate-finish"] == "unknown"
        assert (row.state, row.problem, row.attempts) == ("aborted", "upstream_truncated", 1)
        assert upstream.called == ["acme"]


def test_no_hedge_starts_without_a_second_target_or_in_another_tier(
    make: Make, upstream: Upstream
) -> None:
    world = make(hedged)
    assert world.ask(chat(model="fast")).headers["x-tiergate-attempts"] == "1"
    health = world.gateway.upstream.health
    health.record_auth_failure(("spare", "main", "able-2"), "upstream_auth", health.clock())
    assert world.ask(chat()).headers["x-tiergate-attempts"] == "1"
    assert upstream.called == ["acme", "acme"]
    assert world.gateway.upstream.provider_state.hedge_count == 0


def test_the_delay_of_a_hedge_can_be_the_usual_time_of_the_target(
    make: Make, upstream: Upstream
) -> None:
    """The usual time applies once twenty answers are known; before that there is no hedge."""

    def usual(value: Config) -> None:
        hedged(value)
        value["routing"]["hedge"] = {"smart": "p95"}

    world = make(usual)
    for _ in range(20):
        assert world.ask(chat()).headers["x-tiergate-attempts"] == "1"
    assert upstream.called == ["acme"] * 20
    breaker = world.gateway.upstream.health.target_breakers["acme", "main", "able-1"]
    breaker._tail_seconds[False] = 0.25
    upstream.on("/acme", SILENT)
    upstream.on("/spare", whole())
    assert world.ask(chat()).headers["x-tiergate-provider"] == "spare"
    assert world.waits == [0.25]


def test_a_hedge_needs_room_in_the_budget_and_a_retry_of_the_lab(
    make: Make, upstream: Upstream
) -> None:
    """A hedge that does not fit a budget is not sent, and the first goes on alone."""

    def bounded(value: Config) -> None:
        hedged(value)
        value["budgets"] = [{"name": "b", "usd": 0.003, "every": "month"}]

    world = make(bounded)
    upstream.on("/acme", whole())
    assert world.ask(chat(max_tokens=10)).status_code == 200
    assert upstream.called == ["acme"]
    free = make(hedged)
    free.gateway.upstream.retry_budgets["acme"] = spent = RetryBudget()
    spent.balance = 0.0
    assert free.ask(chat()).headers["x-tiergate-attempts"] == "1"
    assert (
        spent.denied_count,
        spent.granted_count,
        free.gateway.upstream.provider_state.hedge_count,
    ) == (1, 0, 0)
