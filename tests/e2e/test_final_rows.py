"""One call, one final row: for every ending, whole and streamed, read back from the disk."""

from dataclasses import dataclass
from decimal import Decimal

import pytest

from gateway.core.ledger_rows import AttemptRow, CallState, FinalRow, UsageSource
from tests.e2e.child import until
from tests.e2e.upstream import (
    DONE,
    DROPPED,
    HTML,
    PATIENCE,
    ROLE,
    SILENT,
    WORDS,
    Answer,
    Script,
    Upstream,
    answering,
    chunk,
    failing,
    frames,
    stream,
    whole,
)
from tests.e2e.world import Body, Change, Config, Make, World, abort, chat, left_after

HEL, LO, YOU = (chunk({"content": word}) for word in WORDS)
HALF = Answer(pieces=(b'{"choices":[{"ind',), end="cut", length=99)
HALF_STALLED = Answer(pieces=(b'{"choices":[{"ind',), end="stall", length=99)
SOON = 0.15
"""Seconds of the timer under test: long for a loopback, short for a test."""


@dataclass(frozen=True)
class EndingCase:
    """A provider's behaviour, and the row that it must lead to."""

    name: str
    script: Script
    status: int
    """The status of the reply."""
    state: CallState
    problem: str | None = None
    by: str | None = None
    attempts: int = 1
    cost: Decimal | None = None
    """None is unknown: the provider may bill a request without an answer."""
    usage: UsageSource | None = None
    """The source of the token counts; None without an answer."""
    timer: str | None = None
    """The timer that must strike."""
    streamed: bool = False

    @property
    def id(self) -> str:
        return f"{'stream' if self.streamed else 'whole'}: {self.name}"


FREE = Decimal(0)
PAID = Decimal("0.000019")  # 7 tokens at 1, 3 at 4 USD a million
GUESSED = Decimal("0.000018")  # 6 and 3, by the length of the prompt and of "Hello you."
PARTLY = Decimal("0.00001")  # 6 and 1, of "Hel"
MOST = {False: Decimal("0.002514"), True: Decimal("0.002513")}
"""By `stream`: 2,000 and the bytes of the request, and the 100 that the client allows."""

WHOLE = [
    EndingCase("ok", whole(), 200, "settled", cost=PAID, usage="provider"),
    EndingCase(
        "ok, usage not told", whole(counts=None), 200, "estimated", cost=GUESSED, usage="estimate"
    ),
    EndingCase("4xx", failing(400), 400, "failed", "upstream_rejected", cost=FREE),
    EndingCase("5xx", failing(500), 502, "failed", "upstream_error", attempts=3, cost=FREE),
    EndingCase("401", failing(401), 502, "failed", "upstream_auth", cost=FREE),
    EndingCase("429", failing(429), 429, "failed", "upstream_rate_limited", attempts=2, cost=FREE),
    EndingCase("closed unanswered", DROPPED, 502, "failed", "upstream_unreachable"),
    EndingCase("cut in its body", HALF, 502, "failed", "upstream_truncated"),
    EndingCase("200 with HTML", HTML, 502, "failed", "upstream_error"),
    EndingCase("200 with an error", failing(200), 502, "failed", "upstream_error"),
    EndingCase("200 with nothing", Answer(length=0), 502, "failed", "upstream_error"),
    EndingCase("no head in time", SILENT, 504, "failed", "upstream_timeout", timer="headers"),
    EndingCase(
        "the whole time is up", HALF_STALLED, 504, "failed", "upstream_timeout", timer="total"
    ),
    EndingCase(
        "the whole time is up, no head", SILENT, 504, "failed", "upstream_timeout", timer="total"
    ),
    EndingCase(
        "stalled in its body", HALF_STALLED, 504, "failed", "upstream_timeout", timer="idle"
    ),
]
STREAMED = [
    EndingCase("ok", stream(), 200, "settled", cost=PAID, usage="provider"),
    EndingCase("ok, usage not told", stream(*frames(counts=None)), 200, "estimated", cost=GUESSED, usage="estimate"),
    EndingCase("ok, no marker", stream(*frames(done=False)), 200, "settled", cost=PAID, usage="provider"),
    EndingCase("4xx", failing(400), 400, "failed", "upstream_rejected", cost=FREE),
    EndingCase("5xx", failing(503), 503, "failed", "upstream_overloaded", attempts=3, cost=FREE),
    EndingCase("closed unanswered", DROPPED, 502, "failed", "upstream_unreachable", attempts=2),
    EndingCase("cut before content", stream(ROLE, end="cut"), 502, "failed", "upstream_truncated", attempts=2),
    EndingCase("ended before content", stream(ROLE), 502, "failed", "upstream_truncated", attempts=2),
    EndingCase("error before content", stream(ROLE, b'data: {"error":{"message":"no"}}\n\n'), 502, "failed", "upstream_error"),
    EndingCase("200 with HTML", HTML, 502, "failed", "upstream_truncated"),
    EndingCase("cut after content", stream(ROLE, HEL, end="cut"), 200, "aborted", "upstream_truncated", "upstream", cost=PARTLY, usage="estimate"),
    EndingCase("ended after content", stream(ROLE, HEL), 200, "aborted", "upstream_truncated", "upstream", cost=PARTLY, usage="estimate"),
    EndingCase("cut inside a frame", stream(ROLE, HEL, LO[:30], end="cut"), 200, "aborted", "upstream_truncated", "upstream", cost=PARTLY, usage="estimate"),
    EndingCase("ended inside a frame", stream(ROLE, HEL, LO[:30]), 200, "aborted", "upstream_truncated", "upstream", cost=PARTLY, usage="estimate"),
    EndingCase("broken frame", stream(HEL, b'data: {"finish_reason":"stop\n\n', DONE), 200, "aborted", "upstream_error", "upstream", cost=PARTLY, usage="estimate"),
    EndingCase("error after content", stream(HEL, b'data: {"error":{"message":"no"}}\n\n'), 200, "aborted", "upstream_error", "upstream", cost=PARTLY, usage="estimate"),
    EndingCase("no head in time", SILENT, 504, "failed", "upstream_timeout", timer="headers"),
    EndingCase("no content in time", stream(ROLE, end="stall"), 504, "failed", "upstream_timeout", timer="first_content"),
    EndingCase("the whole time is up", stream(HEL, end="stall"), 200, "aborted", "upstream_timeout", "timeout", timer="total", cost=PARTLY, usage="estimate"),
    EndingCase("nothing more in time", stream(HEL, end="stall"), 200, "aborted", "upstream_timeout", "timeout", timer="idle", cost=PARTLY, usage="estimate"),
]  # fmt: skip
CASES = [
    *(EndingCase(**{**vars(case), "streamed": streamed}) for cases, streamed in ((WHOLE, False), (STREAMED, True)) for case in cases)
]  # fmt: skip


def with_timer(timer: str | None) -> Change:
    """Configure a provider whose one timer strikes soon."""

    def change(value: Config) -> None:
        if timer is not None:
            value["providers"]["acme"]["timeouts"] = {timer: SOON}

    return change


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_an_answered_or_failed_call_has_its_final_row(
    make: Make, upstream: Upstream, case: EndingCase
) -> None:
    """The final row and the rows of failed attempts are right, and so is the money in both."""
    world = make(with_timer(case.timer))
    upstream.on("/acme", case.script)
    reply = world.ask(chat(stream=case.streamed, max_tokens=100), x_tiergate_tags="a, b")
    entry = world.entry()
    assert (reply.status_code, entry.status) == (case.status, case.status)
    assert (entry.state, entry.problem, entry.aborted_by) == (case.state, case.problem, case.by)
    assert (entry.attempts, entry.cost, entry.usage) == (case.attempts, case.cost, case.usage)
    assert len(upstream.requests) == case.attempts
    assert entry.id == reply.headers["x-request-id"]
    assert (entry.asked, entry.stream, entry.tags) == ("smart", case.streamed, ("a", "b"))
    assert (entry.lab, entry.tier, entry.provider, entry.model) == (
        "acme",
        "smart",
        "acme",
        "able-1",
    )
    paid(entry, [row for row in world.rows() if isinstance(row, AttemptRow)], case)
    assert not [row for row in world.log if row["event"] == "bug"]


def paid(entry: FinalRow, failed: list[AttemptRow], case: EndingCase) -> None:
    """Check wasted, estimated and unknown money; the final row is the sum of the call's rows."""
    answered = entry.state != "failed"
    assert [row.attempt for row in failed] == [*range(1, case.attempts + (not answered))]
    assert {(row.id, row.provider, row.model) for row in failed} <= {(entry.id, "acme", "able-1")}
    if not answered:
        assert {row.problem for row in failed} == {case.problem}
        assert entry.cost == (None if None in {row.cost for row in failed} else FREE)
    unknown = case.cost is None
    assert entry.wasted == (None if unknown else FREE)
    most = MOST[case.streamed]
    left = most - (entry.cost or FREE) if entry.usage not in (None, "provider") else None
    assert entry.reserved == (case.attempts * most if unknown else left)
    assert {row.reserved for row in failed} <= {most if unknown else None}
    guessed = {"provider": FREE, "estimate": entry.cost}
    assert entry.estimate == guessed.get(entry.usage or "", None if unknown else FREE)


REFUSED: list[tuple[str, Body | bytes, int, str]] = [
    ("bad JSON", b"{", 400, "invalid_json"),
    ("no model", {"messages": []}, 400, "invalid_request"),
    ("unknown model", chat(model="swfit-1"), 404, "model_not_found"),
    ("unknown model, streamed", chat(model="swfit-1", stream=True), 404, "model_not_found"),
]


@pytest.mark.parametrize(("body", "status", "problem"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])  # fmt: skip
def test_a_refused_call_has_its_final_row(world: World, upstream: Upstream, body: Body | bytes, status: int, problem: str) -> None:  # fmt: skip
    """A refused request is a call too; it costs nothing and no provider is called."""
    reply = world.ask(body)
    entry = world.entry()
    assert (reply.status_code, entry.status, entry.state) == (status, status, "refused")
    assert (entry.problem, entry.attempts, entry.cost) == (problem, 0, FREE)
    assert not upstream.requests


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
def test_a_cache_hit_has_its_final_row(make: Make, upstream: Upstream, streamed: bool) -> None:
    world = make(cached)
    for _ in range(2):
        world.ask(chat(stream=streamed))
        world.loop.run(world.gateway.engine.drain())
    paid, hit = world.entries()
    assert (paid.state, paid.cache, paid.attempts) == ("settled", "miss", 1)
    assert (hit.state, hit.cache, hit.attempts, hit.cost) == ("cache_hit", "hit", 0, FREE)
    assert (hit.status, hit.aborted_by, hit.problem) == (200, None, None)
    assert (hit.input, hit.output) == (paid.input, paid.output) == (5, 5)
    assert len(upstream.requests) == 1


def cached(value: Config) -> None:
    value["cache"] = {"default": "on", "ttl": "1h"}


LEAVING: list[tuple[str, Answer, bool, int]] = [
    ("whole: before the head", SILENT, False, 0),
    ("whole: in the body", HALF_STALLED, False, 0),
    ("stream: before the head", SILENT, True, 0),
    ("stream: before content", stream(ROLE, end="stall"), True, 0),
    ("stream: after content", stream(ROLE, HEL, end="stall"), True, 1),
]


@pytest.mark.parametrize(("script", "streamed", "reads"), [row[1:] for row in LEAVING], ids=[row[0] for row in LEAVING])  # fmt: skip
def test_a_call_whose_client_leaves_has_its_final_row(
    make: Make, upstream: Upstream, script: Answer, streamed: bool, reads: int
) -> None:
    """The provider sees it within 250 ms (the best of three: the machine may be busy)."""
    upstream.on("/acme", script)
    took = []
    for _ in range(3):
        world = make()
        with world.leaving(chat(stream=streamed, max_tokens=100)) as connection:
            request = upstream.arrived()
            for _ in range(reads):
                assert connection.recv(65536).startswith(b"HTTP/1.1 200")
            took.append(left_after(request, abort(connection)))
        entry = world.entry()
        assert (entry.state, entry.status, entry.aborted_by) == ("aborted", 499, "client")
        assert (entry.attempts, entry.wasted) == (1, FREE)
        if reads:  # the usage by then
            assert (entry.cost, entry.output) == (PARTLY, 1)
            assert entry.reserved == MOST[streamed] - PARTLY
        else:
            assert (entry.cost, entry.output, entry.reserved) == (None, None, MOST[streamed])
        assert not [row for row in world.log if row["event"] == "bug"]
        if took[-1] < 0.25:
            break
    assert min(took) < 0.25


def test_a_call_is_settled_if_its_client_leaves_after_the_end_marker(
    world: World, upstream: Upstream
) -> None:
    """The SDKs close at `[DONE]`, while some providers keep the connection open a little longer."""
    upstream.on("/acme", stream(*frames(), None, bill=(7, 3)))
    with world.leaving(chat(stream=True)) as connection:
        request = upstream.arrived()
        received = b""
        while DONE not in received:
            received += connection.recv(65536)
        left_after(request, abort(connection))
    entry = world.entry()
    assert (entry.state, entry.status, entry.aborted_by) == ("settled", 200, None)
    assert entry.cost == PAID


def test_the_ledger_agrees_with_the_bills_of_many_calls(make: Make, upstream: Upstream) -> None:
    """The provider's own bills and the ledger agree to the last token."""
    world = make(cached)
    upstream.on("/acme", answering)
    for at in range(12):
        world.ask(chat(" ".join(["word"] * (at % 5 + 1)), stream=at % 2 == 0))
        world.loop.run(world.gateway.engine.drain())
    entries = world.entries()
    assert len(entries) == len({entry.id for entry in entries}) == 12
    paid = [entry for entry in entries if entry.state == "settled"]
    assert [(entry.input, entry.output) for entry in paid] == upstream.bills
    assert sum(entry.cost or 0 for entry in entries) == sum(
        Decimal(tokens) + Decimal(output) * 4 for tokens, output in upstream.bills
    ) / Decimal(1_000_000)
    assert len(paid) == 5


def test_clients_that_leave_leave_no_upstream_connection(world: World, upstream: Upstream) -> None:
    """Clients that leave at any point leave no task and no upstream connection."""
    scripts = (SILENT, stream(ROLE, end="stall"), stream(ROLE, HEL, end="stall"), stream(HEL, None))
    for script in scripts * 3:
        upstream.on("/acme", script)
        with world.leaving(chat(stream=True)) as connection:
            request = upstream.arrived()
            abort(connection)
            assert request.left.wait(PATIENCE)
    entries = world.entries()
    assert len(entries) == 12
    assert {(entry.state, entry.aborted_by) for entry in entries} == {("aborted", "client")}
    until(lambda: upstream.open == 0, "no connection to the provider is open")
