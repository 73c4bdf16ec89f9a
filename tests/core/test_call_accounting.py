"""The account of a call adds up to one final row, which holds only known values."""

from collections.abc import Callable
from decimal import Decimal

import msgspec
import pytest

from gateway.core.call import Call, Key
from gateway.core.call_accounting import CallAccount
from gateway.core.conversation import ConversationTurn
from gateway.core.decision import Decision, DecisionSource, SessionSwitch
from gateway.core.decision_record import DecisionRecord
from gateway.core.errors import Problem
from gateway.core.ledger_rows import AttemptRow, CallState, FinalRow, IntentRow
from gateway.core.loss import Loss
from gateway.core.price import LaterPrice, Price
from gateway.core.prompt import Prompt
from gateway.core.rates import Rates
from gateway.core.target import Account, ModelFacts, Provider, Target, Tier
from gateway.core.usage import Usage

CALL = Call(
    id="tg-1",
    dialect="openai-chat",
    operation="generate",
    body=b"{}",
    key=Key(name="k", tenant="t", team="w"),
    received_at=1000.0,
    started_at=50.0,
)
PRICE = Price(rates=Rates(input=Decimal(1), output=Decimal(2)), version="v1")
TARGET = Target(provider=Provider(name="p", urls={}), model="m", effort="low", price=PRICE)
DECISION = Decision(
    lab="l",
    tier="fast",
    source="rule",
    rule="r",
    arm="r:in",
    guards=("g",),
    confidence=0.5,
    tags=("a",),
)
SWITCH = SessionSwitch(
    has_moved=True, lab="l", tier="smart", target="p/n", destination="p/m", tokens=7, cost=Decimal("0.5")
)  # fmt: skip

OTHER = Target(provider=Provider(name="q", urls={}), model="n", price=PRICE)
COUNT = msgspec.structs.replace(CALL, operation="count_tokens")
PROMPT = Prompt(model="auto", stream=True, max_output=100)
NOT_BILLED = Problem(kind="upstream_overloaded", message="m", upstream_status=529)
MAYBE_BILLED = Problem(kind="upstream_timeout", message="m", spent="maybe")
FAILED_WITH_USAGE = msgspec.structs.replace(MAYBE_BILLED, usage=Usage(input=500, output=1))


def open_account(
    call: Call = CALL, target: Target = TARGET, decision: Decision = DECISION
) -> CallAccount:
    """Open an account with one request sent: about 400 prompt tokens, at most 100 of output."""
    tally = CallAccount(call, "c1")
    tally.record_prompt(PROMPT, 400, 400)
    tally.decision = decision
    tally.start_attempt(target, Account("main", "s"), 1000.5, 50.5)
    return tally


def start_request(
    tally: CallAccount, target: Target, account: Account, timestamp: float, now: float
) -> IntentRow:
    """Start one more request and return its intent row."""
    return tally.make_intent_row(tally.start_attempt(target, account, timestamp, now))


def fail_request(
    tally: CallAccount, problem: Problem, timestamp: float, now: float
) -> AttemptRow | None:
    """Fail the last request and return its row."""
    return tally.fail_attempt(tally.attempts[-1], problem, timestamp, now)


def close_account(
    tally: CallAccount, state: CallState, status: int, now: float, **more: str | None
) -> FinalRow:
    """Close the account and return its final row."""
    return tally.make_final_row(tally.close(), state, status, now, **more)


def open_answered_account() -> CallAccount:
    tally = open_account()
    tally.cache, tally.served_model = "miss", "m-2026"
    tally.losses = (Loss("top_p", "dropped", "w"), Loss("top_p", "dropped", "w"))
    tally.usage = Usage(input=1_000_000, cache_write={"5m": 1, "1h": 2}, output=10)
    tally.content_bytes, tally.is_complete = 40, True
    tally.upstream_id, tally.first_content = "req-1", 0.25
    return tally


def test_the_final_row_holds_all_that_is_known_of_an_answered_call() -> None:
    entry = close_account(open_answered_account(), "settled", 200, 51.0000004)
    assert entry == FinalRow(
        id="tg-1", at=1000.0, key="k", tenant="t", team="w", tags=("a",), dialect="openai-chat", asked="auto", stream=True,
        state="settled", status=200, lab="l", tier="fast", source="rule", rule="r", arm="r:in", guards=("g",), confidence=0.5, provider="p",
        account="main", model="m", effort="low", served="m-2026", attempts=1, cache="miss", dropped=("top_p",),
        usage="provider", input=1_000_000, cache_write=3, cache_write_by={"5m": 1, "1h": 2}, output=10,
        cost=Decimal("1.000023"), wasted=Decimal(0), estimate=Decimal(0), price="v1", first_content=0.25, duration=1.0,
        upstream_id="req-1", config="c1",
    )  # fmt: skip


def test_the_row_of_a_call_refused_before_a_decision_names_the_guards_that_matched() -> None:
    account = CallAccount(CALL, "c1")
    account.refused_guards = ("no images",)
    row = close_account(account, "refused", 403, 51.0, problem="not_allowed")
    assert (row.guards, row.tags, row.tier) == (("no images",), (), None)


def test_each_value_of_a_call_stands_in_its_own_column_of_the_final_row() -> None:
    account = open_answered_account()
    record = DecisionRecord(turn=ConversationTurn(conversation="c0"))
    account.make_decision_record = lambda: record
    account.decision = msgspec.structs.replace(DECISION, switch=SWITCH)
    account.effort, account.cache_similarity, account.response_id = "high", 0.9, "gen-1"
    account.finish = "max_tokens"
    account.usage = Usage(
        input=1, cache_read=2, output=3, reasoning=4, tools={"web_search": 5}, media={"input_image": 6},
        service="priority", billed=Decimal(7),
    )  # fmt: skip
    row = close_account(
        account, "aborted", 499, 51.0, problem="upstream_timeout", aborted_by="timeout"
    )
    assert (row.problem, row.aborted_by) == ("upstream_timeout", "timeout")
    assert (row.conversation, row.switch_cost, row.basis) == ("c0", Decimal("0.5"), record)
    assert (row.effort, row.service, row.near) == ("high", "priority", 0.9)
    assert (row.input, row.cache_read, row.output, row.reasoning) == (1, 2, 3, 4)
    assert (row.cache_write, row.cache_write_by) == (None, {})
    assert (row.tools, row.media) == ({"web_search": 5}, {"input_image": 6})
    assert (row.billed, row.price) == (Decimal(7), "provider")
    assert (row.upstream_id, row.response_id, row.finish) == ("req-1", "gen-1", "max_tokens")


def test_rows_name_the_end_user_by_its_hash() -> None:
    account = open_answered_account()
    account.end_user = "3f9a0c1d2e4b5a67"
    assert account.make_intent_row(account.attempts[0]).end_user == "3f9a0c1d2e4b5a67"
    assert close_account(account, "settled", 200, 51.0).end_user == "3f9a0c1d2e4b5a67"


def test_a_conversation_that_stays_at_its_target_has_no_switch_cost() -> None:
    account = open_answered_account()
    account.make_decision_record = lambda: DecisionRecord(turn=ConversationTurn(client="codex"))
    stayed = msgspec.structs.replace(SWITCH, has_moved=False)
    account.decision = msgspec.structs.replace(DECISION, switch=stayed)
    row = close_account(account, "settled", 200, 51.0)
    assert (row.conversation, row.switch_cost) == (None, None)


def test_each_value_of_a_request_stands_in_its_own_column_of_the_intent_row() -> None:
    account = CallAccount(CALL, "c1")
    account.record_prompt(PROMPT, 400, 1_600)
    account.decision = DECISION
    row = start_request(account, TARGET, Account("main", "s"), 1000.5, 50.5)
    assert row == IntentRow(
        id="tg-1", at=1000.5, attempt=1, key="k", tenant="t", team="w", tags=("a",), dialect="openai-chat", stream=True, lab="l",
        tier="fast", provider="p", account="main", model="m", input=400, most=100, reserved=Decimal("0.0018"),
        price="v1", config="c1",
    )  # fmt: skip
    account.decision = msgspec.structs.replace(DECISION, tier=None)
    row = start_request(account, TARGET, Account("main", "s"), 1000.5, 50.5)
    assert (row.attempt, row.lab, row.tier) == (2, "l", "")
    account.decision = None
    row = start_request(account, TARGET, Account("main", "s"), 1000.5, 50.5)
    assert (row.attempt, row.tags, row.lab, row.tier) == (3, (), "", "")


@pytest.mark.parametrize("tenant", ["default", "t"])
@pytest.mark.parametrize("tags", [(), ("a",)])
@pytest.mark.parametrize("stream", [False, True])
def test_the_intent_row_names_the_tenant_tags_and_stream_mode(
    tenant: str, tags: tuple[str, ...], stream: bool
) -> None:
    tally = CallAccount(msgspec.structs.replace(CALL, key=Key(name="k", tenant=tenant)), "c1")
    tally.record_prompt(msgspec.structs.replace(PROMPT, stream=stream), 400, 400)
    tally.decision = msgspec.structs.replace(DECISION, tags=tags)
    row = start_request(tally, TARGET, Account("main", "s"), 1000.5, 50.5)
    assert (row.tenant, row.tags, row.stream) == (tenant, tags, stream)


@pytest.mark.parametrize(
    "change",
    [
        lambda tally: tally.fail_attempt(tally.attempts[0], MAYBE_BILLED, 1002.5, 52.5),
        lambda tally: tally.cancel_attempt(tally.attempts[0]),
        lambda tally: tally.start_attempt(OTHER, Account("two", "s"), 1001.5, 51.5),
        lambda tally: tally.start_attempt(
            OTHER, Account("two", "s"), 1001.5, 51.5, is_parallel=True
        ),
        lambda tally: close_account(tally, "aborted", 499, 53.0),
    ],
    ids=["failed", "unsent", "again", "hedged", "closed"],
)
@pytest.mark.parametrize("operation", ["generate", "embeddings", "count_tokens"])
def test_the_intent_row_is_the_same_whenever_it_is_made(
    change: Callable[[CallAccount], object], operation: str
) -> None:
    """The row does not depend on what happened to the request or its call in between."""
    tally = CallAccount(msgspec.structs.replace(CALL, operation=operation), "c1")
    tally.record_prompt(PROMPT, 400, 400)
    tally.decision = DECISION
    attempt = tally.start_attempt(TARGET, Account("main", "s"), 1000.5, 50.5)
    row = tally.make_intent_row(attempt)
    change(tally)
    assert tally.make_intent_row(attempt) == row


@pytest.mark.parametrize(
    ("client", "target", "model", "most"),
    [
        (100, 50, 200, 100), (100, 50, 70, 70), (None, 50, 70, 50), (100, None, None, 100),
        (None, None, 70, 70), (None, None, None, None), (-1, 50, 70, 70), (-1, 50, None, None),
    ],
)  # fmt: skip
def test_the_output_bound_is_the_smallest_of_client_target_and_model(
    client: int | None, target: int | None, model: int | None, most: int | None
) -> None:
    """The tier's cap counts if the client sets none. Some hosts take less than 1 as no bound."""
    tally = CallAccount(CALL, "c1")
    tally.record_prompt(Prompt(model="auto", max_output=client), 400, 400)
    facts = ModelFacts(max_output=model)
    limited = msgspec.structs.replace(TARGET, max_output=target, facts=facts)
    row = start_request(tally, limited, Account("main", "s"), 1000.5, 50.5)
    assert (row.most, row.reserved is None) == (most, most is None)


def test_the_reservation_covers_a_dearer_service_tier() -> None:
    """An unpriced tier has no bound; the standard tier may serve instead of a cheaper one."""
    double = Price(rates=Rates(input=Decimal(2), output=Decimal(4)), version="v1, priority")
    half = Price(rates=Rates(input=Decimal("0.5"), output=Decimal(1)), version="v1, flex")
    price = msgspec.structs.replace(PRICE, services={"priority": double, "flex": half})
    target = msgspec.structs.replace(TARGET, price=price)
    reservations = {}
    for word in ("priority", "flex", "ultra", None):
        tally = CallAccount(CALL, "c1")
        tally.record_prompt(msgspec.structs.replace(PROMPT, service=word), 400, 400)
        reservations[word] = start_request(
            tally, target, Account("main", "s"), 1000.5, 50.5
        ).reserved
    plain = Decimal("0.0006")
    assert reservations == {"priority": 2 * plain, "flex": plain, "ultra": None, None: plain}


@pytest.mark.parametrize(
    ("client", "choices", "most"), [(100, 3, 210), (50, 3, 150), (None, 3, 210), (50, -3, 50)]
)
def test_the_output_bound_grows_with_the_number_of_choices(
    client: int | None, choices: int, most: int
) -> None:
    """Each answer may be as long as the model allows."""
    tally = CallAccount(CALL, "c1")
    tally.record_prompt(Prompt(model="auto", max_output=client, choices=choices), 400, 400)
    target = msgspec.structs.replace(TARGET, facts=ModelFacts(max_output=70))
    assert start_request(tally, target, Account("main", "s"), 1000.5, 50.5).most == most


def test_embeddings_reserve_no_output_and_token_counts_reserve_nothing() -> None:
    tally = open_account(msgspec.structs.replace(CALL, operation="embeddings"))
    assert tally.attempts[-1].reservation == Decimal("0.0004")
    assert open_account(COUNT).attempts[-1].reservation == 0


def test_the_row_names_the_clients_effort_before_the_tiers() -> None:
    tally = open_answered_account()
    tally.effort = "high"
    assert close_account(tally, "settled", 200, 51.0).effort == "high"


def test_the_row_of_a_call_refused_before_any_request_costs_zero() -> None:
    """The gateway refused the call before it sent anything: the cost is known to be zero."""
    entry = close_account(CallAccount(CALL, "c1"), "refused", 400, 50.5, problem="invalid_json")
    expected = FinalRow(
        id="tg-1", at=1000.0, key="k", tenant="t", team="w", dialect="openai-chat", state="refused", status=400,
        problem="invalid_json", cost=Decimal(0), wasted=Decimal(0), estimate=Decimal(0), duration=0.5, config="c1",
    )  # fmt: skip
    assert entry == expected


def test_the_row_estimates_usage_that_the_provider_did_not_report() -> None:
    """The estimate uses the length of the prompt and of the answer; the row says so."""
    tally = open_answered_account()
    tally.usage = None
    entry = close_account(tally, "settled", 200, 51.0)
    assert (entry.state, entry.usage, entry.input) == ("estimated", "estimate", 400)
    assert entry.output is not None
    assert entry.output > 0
    assert entry.cost == entry.estimate == (400 + 2 * Decimal(entry.output)) / 1_000_000


def test_usage_reported_before_a_stream_was_cut_counts_and_the_rest_is_estimated() -> None:
    """The input is exact, the output a lower bound; only the rest is estimated."""
    tally = open_answered_account()
    tally.usage, tally.is_complete = Usage(input=500, output=1), False
    entry = close_account(tally, "aborted", 200, 51.0, aborted_by="upstream")
    assert (entry.state, entry.usage, entry.input) == ("aborted", "partial", 500)
    assert entry.output is not None
    assert entry.cost == (500 + 2 * Decimal(entry.output)) / 1_000_000
    assert entry.estimate == (entry.output - 1) * 2 / Decimal(1_000_000)


def test_a_call_that_the_client_leaves_before_an_answer_has_an_unknown_cost() -> None:
    """The client left before a whole answer came: it was billed, but the amount is unknown."""
    tally = open_account()
    entry = close_account(tally, "aborted", 499, 51.0, aborted_by="client")
    assert (entry.cost, entry.estimate, entry.output) == (None, None, None)
    assert entry.reserved == Decimal("0.0006")


def test_a_failed_request_gets_an_attempt_row() -> None:
    assert fail_request(open_account(), NOT_BILLED, 1002.5, 52.5) == AttemptRow(
        id="tg-1", attempt=1, at=1000.5, provider="p", account="main", model="m", status=529,
        problem="upstream_overloaded", duration=2.0, cost=Decimal(0), estimate=Decimal(0),
    )  # fmt: skip


def test_a_failed_request_costs_the_usage_that_its_provider_reported() -> None:
    row = fail_request(open_account(), FAILED_WITH_USAGE, 1002.5, 52.5)
    assert row is not None
    assert (row.input, row.output) == (500, 1)
    assert (row.cost, row.estimate) == (Decimal("0.000502"), Decimal(0))


def test_a_failed_request_without_a_price_costs_what_the_provider_billed() -> None:
    usage = (
        msgspec.structs.replace(FAILED_WITH_USAGE.usage, billed=Decimal("0.25"))
        if FAILED_WITH_USAGE.usage
        else None
    )
    free = Target(provider=Provider(name="p", urls={}), model="m")
    tally = open_account(target=free)
    row = fail_request(tally, msgspec.structs.replace(MAYBE_BILLED, usage=usage), 1002.5, 52.5)
    assert row is not None
    assert (row.cost, row.estimate, row.reserved) == (Decimal("0.25"), Decimal(0), None)
    entry = close_account(tally, "failed", 503, 53.0)
    assert (entry.cost, entry.wasted, entry.reserved) == (Decimal("0.25"), Decimal("0.25"), None)


def test_a_failed_request_that_may_be_billed_has_an_unknown_cost_and_a_bound() -> None:
    row = fail_request(open_account(), MAYBE_BILLED, 1002.5, 52.5)
    assert row is not None
    assert (row.cost, row.estimate, row.reserved) == (None, None, Decimal("0.0006"))


def test_a_request_that_was_never_sent_does_not_count_as_an_attempt() -> None:
    """If the row of a request could not be written, only the requests before it count."""
    tally = open_account()
    (attempt,) = tally.attempts
    tally.cancel_attempt(attempt)
    assert attempt.is_open is False
    assert tally.fail_attempt(attempt, NOT_BILLED, 1001.0, 51.0) is None
    entry = close_account(tally, "refused", 503, 51.0)
    assert (entry.attempts, entry.provider, entry.model, entry.account) == (0, None, None, None)
    assert (entry.cost, entry.reserved) == (Decimal(0), None)
    tally = open_account()
    assert fail_request(tally, NOT_BILLED, 1001.0, 51.0) is not None
    tally.cancel_attempt(tally.start_attempt(TARGET, Account("spare", "s"), 1001.5, 51.5))
    entry = close_account(tally, "failed", 503, 52.0)
    assert (entry.attempts, entry.provider, entry.cost) == (1, "p", Decimal(0))


@pytest.mark.parametrize("won", [1, 2])
def test_two_parallel_requests_each_get_their_own_row(won: int) -> None:
    """The row of the other request has its own number, target and time, whichever one answers."""
    tally = open_account()
    (first,) = tally.attempts
    second = tally.start_attempt(OTHER, Account("two", "s"), 1001.0, 51.0, is_parallel=True)
    assert tally.make_intent_row(second).attempt == 2
    assert (first.is_parallel, second.is_parallel) == (False, True)
    named = msgspec.structs.replace(MAYBE_BILLED, name="hedged")
    row = tally.fail_attempt(first if won == 2 else second, named, 1002.0, 52.0)
    assert row is not None
    assert (row.problem, row.attempt, row.provider) == ("hedged", 3 - won, "pq"[2 - won])
    assert (row.at, row.duration) == ((1001.0, 1.0) if won == 1 else (1000.5, 1.5))
    tally.attempt_finished(first if won == 1 else second)
    tally.usage, tally.is_complete = Usage(input=1_000_000, output=0), True
    entry = close_account(tally, "settled", 200, 53.0)
    assert (entry.provider, entry.account, entry.attempts) == (
        ("p", "main", 2) if won == 1 else ("q", "two", 2)
    )
    assert (entry.cost, entry.wasted, entry.reserved) == (Decimal(1), None, Decimal("0.0006"))


@pytest.mark.parametrize("failures", [0, 1, 2])
def test_a_call_without_an_answer_names_its_first_attempt_and_not_the_parallel_one(
    failures: int,
) -> None:
    """The first attempt stays open if the client leaves; the row names it also if both failed."""
    tally = open_account()
    tally.start_attempt(OTHER, Account("two", "s"), 1001.0, 51.0, is_parallel=True)
    for attempt in tally.attempts[::-1][:failures]:
        tally.fail_attempt(attempt, MAYBE_BILLED, 1002.0, 52.0)
    entry = close_account(tally, "aborted", 499, 53.0)
    assert (entry.provider, entry.account, entry.attempts) == ("p", "main", 2)
    assert (entry.cost, entry.reserved) == (
        None,
        (Decimal("0.0006"), Decimal("0.0012"), Decimal("0.0012"))[failures],
    )


def test_the_account_shows_if_a_failed_request_may_be_billed() -> None:
    for problem, is_wasted in (
        (NOT_BILLED, False),
        (FAILED_WITH_USAGE, True),
        (MAYBE_BILLED, True),
    ):
        tally = open_account()
        fail_request(tally, problem, 1002.5, 52.5)
        assert tally.has_wasted_cost is is_wasted
    assert open_account().has_wasted_cost is False


def test_an_answer_that_waits_for_a_better_one_may_be_billed() -> None:
    """Another attempt needs a reservation of its own."""
    tally = open_account()
    assert not tally.has_wasted_cost
    tally.attempts[0].ended_at = 52.5
    assert tally.has_wasted_cost


def test_the_time_of_the_first_content_counts_from_the_start_of_the_call() -> None:
    tally = open_account()
    tally.record_first_content(50.2500004)
    assert close_account(tally, "settled", 200, 51.0).first_content == 0.25


def test_an_attempt_fails_only_once() -> None:
    tally = open_account()
    fail_request(tally, NOT_BILLED, 1002.5, 52.5)
    assert tally.attempts[0].is_open is False
    assert fail_request(tally, MAYBE_BILLED, 1002.5, 52.5) is None


def test_the_duration_of_a_failed_request_is_in_whole_microseconds() -> None:
    row = fail_request(open_account(), NOT_BILLED, 1002.5, 52.5000004)
    assert row is not None
    assert row.duration == 2.0


@pytest.mark.parametrize(
    ("problems", "cost", "wasted", "reserved"),
    [
        ((NOT_BILLED,), "0", "0", None),
        ((NOT_BILLED, FAILED_WITH_USAGE), "0.000502", "0.000502", "0.000098"),
        ((FAILED_WITH_USAGE, FAILED_WITH_USAGE), "0.001004", "0.001004", "0.000196"),
        ((MAYBE_BILLED,), None, None, "0.0006"),
        ((MAYBE_BILLED, FAILED_WITH_USAGE, MAYBE_BILLED), None, None, "0.0018"),
    ],
)
def test_a_failed_call_costs_the_sum_of_its_failed_requests(
    problems: tuple[Problem, ...], cost: str | None, wasted: str | None, reserved: str | None
) -> None:
    """The cost is zero if providers bill no failures, and unknown if one may have billed some."""
    tally = CallAccount(CALL, "c1")
    tally.record_prompt(PROMPT, 400, 400)
    tally.decision = DECISION
    for problem in problems:
        tally.start_attempt(TARGET, Account("main", "s"), 1000.5, 50.5)
        fail_request(tally, problem, 1002.5, 52.5)
    entry = close_account(tally, "failed", 503, 53.0)
    assert (entry.cost, entry.wasted, entry.reserved) == tuple(
        None if text is None else Decimal(text) for text in (cost, wasted, reserved)
    )


@pytest.mark.parametrize(
    ("problem", "cost", "wasted", "reserved"),
    [
        (NOT_BILLED, "1.000023", "0", None),
        (FAILED_WITH_USAGE, "1.000525", "0.000502", "0.000098"),
        (MAYBE_BILLED, "1.000023", None, "0.0006"),
    ],
)
def test_an_answered_call_costs_its_answer_and_the_failed_requests_before_it(
    problem: Problem, cost: str, wasted: str | None, reserved: str | None
) -> None:
    """If the waste is unknown, the answer's own cost stands."""
    tally = open_account()
    fail_request(tally, problem, 1002.5, 52.5)
    tally.start_attempt(TARGET, Account("main", "s"), 1002.5, 52.5)
    tally.usage, tally.is_complete = open_answered_account().usage, True
    entry = close_account(tally, "settled", 200, 53.0)
    assert (entry.cost, entry.attempts) == (Decimal(cost), 2)
    assert entry.wasted == (None if wasted is None else Decimal(wasted))
    assert entry.reserved == (None if reserved is None else Decimal(reserved))


def test_the_estimate_of_a_call_includes_its_failed_requests() -> None:
    """The provider counted the prompt of both requests; the gateway estimated 10 output tokens."""
    cut = msgspec.structs.replace(
        MAYBE_BILLED, usage=Usage(input=500), content_bytes=38, has_ended=False
    )
    tally = open_account()
    for _ in range(2):
        row = fail_request(tally, cut, 1002.5, 52.5)
        assert row is not None
        assert (row.output, row.cost, row.estimate) == (10, Decimal("0.00052"), Decimal("0.00002"))
        tally.start_attempt(TARGET, Account("main", "s"), 1002.5, 52.5)
    tally.usage, tally.content_bytes = Usage(input=500), 38
    entry = close_account(tally, "aborted", 200, 53.0)
    assert (entry.cost, entry.wasted) == (Decimal("0.00156"), Decimal("0.00104"))
    assert entry.estimate == Decimal("0.00006")


def test_a_failed_attempt_without_a_price_leaves_the_reservation_unknown() -> None:
    tally = open_account(target=Target(provider=Provider(name="p", urls={}), model="m"))
    fail_request(tally, MAYBE_BILLED, 1002.5, 52.5)
    tally.start_attempt(TARGET, Account("main", "s"), 1002.5, 52.5)
    entry = close_account(tally, "aborted", 499, 53.0)
    assert (entry.cost, entry.reserved) == (None, None)


def test_a_cache_hit_costs_nothing_and_has_no_price() -> None:
    tally = open_answered_account()
    tally.cache, tally.finish = "hit", "stop"
    entry = close_account(tally, "cache_hit", 200, 50.001)
    assert (entry.cost, entry.price, entry.input) == (Decimal(0), None, 1_000_000)
    assert entry.finish is None
    assert (entry.usage, entry.billed) == ("recording", None)
    tally = open_answered_account()
    tally.cache, tally.usage = "hit", None
    assert close_account(tally, "cache_hit", 200, 50.001).usage is None


def test_a_target_without_a_price_leaves_cost_and_price_unknown() -> None:
    tally = open_account(target=Target(provider=Provider(name="p", urls={}), model="m"))
    tally.usage, tally.is_complete = Usage(input=1, output=1), True
    assert tally.explain_missing_price() == "no price"
    entry = close_account(tally, "settled", 200, 51.0)
    assert (entry.cost, entry.price, entry.reserved) == (None, None, None)


def test_the_bill_that_a_provider_states_is_the_cost() -> None:
    """The gateway's own sum stands beside it."""
    usage = Usage(input=500, output=101, billed=Decimal("0.0042"))
    tally = open_account(target=Target(provider=Provider(name="p", urls={}), model="m"))
    tally.usage, tally.is_complete = usage, True
    assert tally.explain_missing_price() is None
    entry = close_account(tally, "settled", 200, 51.0)
    assert entry.cost == entry.billed == usage.billed
    assert (entry.estimate, entry.price) == (Decimal(0), "provider")
    assert entry.computed_cost is None
    tally = open_account()
    tally.usage, tally.is_complete = usage, True
    entry = close_account(tally, "settled", 200, 51.0)
    assert (entry.cost, entry.billed, entry.price) == (usage.billed, usage.billed, "provider")
    assert (entry.estimate, entry.computed_cost) == (Decimal(0), Decimal("0.000702"))
    tally = open_account()
    tally.usage, tally.is_complete = msgspec.structs.replace(usage, output=None), True
    tally.content_bytes = 38
    entry = close_account(tally, "settled", 200, 51.0)
    assert (entry.state, entry.cost, entry.estimate) == ("estimated", usage.billed, Decimal(0))


@pytest.mark.parametrize(
    ("counts", "media"),
    [
        ({}, ()),
        ({"images": 2}, ("image",)),
        ({"audio": 1, "files": 1}, ("audio", "file")),
    ],
)
def test_the_reservation_of_a_prompt_with_media_is_at_their_rates(
    counts: dict[str, int], media: tuple[str, ...]
) -> None:
    prompt = msgspec.structs.replace(PROMPT, **counts)
    assert prompt.media == media
    plain = open_account()
    target = plain.target
    assert target is not None
    assert target.price is not None
    rates = target.price.rates
    assert rates.input is not None
    dear = msgspec.structs.replace(
        rates, media={"audio": msgspec.structs.replace(rates, input=10 * rates.input)}
    )
    price = msgspec.structs.replace(target.price, rates=dear)
    account = CallAccount(CALL, "c1")
    account.record_prompt(prompt, 400, 400)
    attempt = account.start_attempt(
        msgspec.structs.replace(target, price=price), Account("main", ""), 1.0, 1.0
    )
    assert plain.attempt is not None
    assert plain.attempt.reservation is not None
    assert attempt.reservation is not None
    assert (attempt.reservation > plain.attempt.reservation) == ("audio" in media)


def test_a_recorded_bill_is_no_cost_of_a_cache_hit() -> None:
    tally = open_answered_account()
    tally.cache = "hit"
    tally.usage = Usage(input=500, output=101, billed=Decimal("0.0042"))
    entry = close_account(tally, "cache_hit", 200, 50.001)
    assert (entry.cost, entry.billed, entry.computed_cost) == (Decimal(0), None, None)


def test_a_bill_is_the_baseline_of_the_target_that_sent_it() -> None:
    """A call that named its model takes no credit for another price than its own."""
    usage = Usage(input=500, output=101, billed=Decimal("0.0042"))
    for decision in (DECISION, msgspec.structs.replace(DECISION, source="pin")):
        tally = open_account()
        tally.decision, tally.compares_baseline = decision, True
        tally.baseline = tally.target
        tally.usage, tally.is_complete = usage, True
        entry = close_account(tally, "settled", 200, 51.0)
        assert (entry.cost, entry.baseline) == (usage.billed, usage.billed)


def test_no_price_is_missing_for_priced_cached_unsent_and_counting_calls() -> None:
    unpriced = msgspec.structs.replace(TARGET, price=None)
    usage = Usage(input=500, output=101)
    hit, count, left = open_account(target=unpriced), open_account(COUNT, unpriced), open_account()
    hit.cache, hit.usage, count.usage = "hit", usage, usage
    left.usage, left.target = usage, unpriced
    left.fail_attempt(left.attempts[0], MAYBE_BILLED, 1001.0, 51.0)
    for tally in (open_answered_account(), hit, count, left, CallAccount(CALL, "c1")):
        assert tally.explain_missing_price() is None


def test_counting_tokens_costs_nothing() -> None:
    """The count is also free if it failed, or if the client left before it came."""
    tally = open_account(COUNT)
    assert close_account(tally, "aborted", 499, 51.0).cost == 0
    tally = open_account(COUNT)
    tally.usage = Usage(input=0, output=0)
    entry = close_account(tally, "settled", 200, 51.0)
    assert (entry.state, entry.usage) == ("settled", "provider")
    assert entry.cost == 0
    tally = open_account(COUNT)
    fail_request(tally, MAYBE_BILLED, 1002.5, 52.5)
    assert close_account(tally, "failed", 504, 51.0).cost == 0


SPEECH = msgspec.structs.replace(
    TARGET,
    price=Price(rates=Rates(), version="v1", units={"character": Decimal("0.00002")}),
)


def open_pass_through(units: dict[str, Decimal | None] | None = None) -> CallAccount:
    """Open the account of a pass-through call with one request sent."""
    account = CallAccount(CALL, "c1")
    account.operation = "audio.speech"
    account.unit_bounds = {"character": Decimal(1000)} if units is None else units
    account.start_attempt(SPEECH, Account("main", "s"), 1000.5, 50.5)
    return account


def test_a_pass_through_call_costs_its_units_and_its_rows_name_the_endpoint() -> None:
    account = open_pass_through()
    row = account.make_intent_row(account.attempts[0])
    assert (row.operation, row.reserved) == ("audio.speech", Decimal("0.02"))
    account.usage, account.is_complete = Usage(units={"character": Decimal(500)}), True
    entry = close_account(account, "settled", 200, 51.0)
    assert (entry.operation, entry.units) == ("audio.speech", {"character": Decimal(500)})
    assert (entry.state, entry.usage, entry.input, entry.output) == (
        "settled",
        "provider",
        None,
        None,
    )
    assert (entry.cost, entry.estimate) == (Decimal("0.01"), Decimal(0))
    assert entry.reserved is None


def test_a_pass_through_call_has_no_prompt_and_one_answer() -> None:
    account = CallAccount(CALL, "c1")
    account.operation = "audio.speech"
    bounded = msgspec.structs.replace(TARGET, facts=ModelFacts(max_input=400, max_output=100))
    row = start_request(account, bounded, Account("main", "s"), 1000.5, 50.5)
    assert (row.input, row.most, row.reserved) == (0, 100, Decimal("0.0006"))


def test_a_pass_through_call_that_reports_no_usage_has_an_unknown_cost_and_a_bound() -> None:
    account = open_pass_through()
    account.is_complete, account.content_bytes = True, 4_000
    entry = close_account(account, "settled", 200, 51.0)
    assert (entry.state, entry.usage, entry.input) == ("estimated", None, None)
    assert (entry.cost, entry.reserved) == (None, Decimal("0.02"))


def test_a_cut_pass_through_call_stays_charged_at_its_bound() -> None:
    account = open_pass_through()
    account.usage = Usage(units={"character": Decimal(500)})
    entry = close_account(account, "aborted", 499, 51.0)
    assert (entry.usage, entry.cost, entry.estimate) == (
        "partial",
        Decimal("0.01"),
        Decimal("0.01"),
    )
    assert entry.reserved == Decimal("0.01")


def test_a_failed_pass_through_call_costs_the_units_that_its_provider_reported() -> None:
    account = open_pass_through()
    failure = msgspec.structs.replace(
        MAYBE_BILLED, usage=Usage(units={"character": Decimal(100)}), content_bytes=50
    )
    row = fail_request(account, failure, 1002.5, 52.5)
    assert row is not None
    assert (row.cost, row.input, row.output) == (Decimal("0.002"), None, None)
    assert row.estimate == Decimal("0.002")
    whole = msgspec.structs.replace(failure, has_ended=True)
    row = fail_request(open_pass_through(), whole, 1002.5, 52.5)
    assert row is not None
    assert (row.cost, row.estimate) == (Decimal("0.002"), Decimal(0))


def test_a_pass_through_call_that_no_provider_bills_costs_nothing_without_usage() -> None:
    account = open_pass_through({})
    account.is_unbilled = account.is_complete = True
    entry = close_account(account, "settled", 200, 51.0)
    assert (entry.state, entry.cost, entry.reserved) == ("settled", Decimal(0), None)
    assert entry.usage is None


@pytest.mark.parametrize(
    ("start", "cost", "version"), [(1000.0, "2.000046", "v2"), (1000.5, "1.000023", "v1")]
)
def test_a_call_costs_the_price_in_force_when_it_was_received(
    start: float, cost: str, version: str
) -> None:
    """A price step during the call does not count."""
    dear = Price(rates=Rates(input=Decimal(2), output=Decimal(4)), version="v2")
    price = msgspec.structs.replace(PRICE, later=(LaterPrice(start, dear),))
    tally = open_answered_account()
    tally.target = msgspec.structs.replace(TARGET, price=price)
    entry = close_account(tally, "settled", 200, 51.0)
    assert (entry.cost, entry.price) == (Decimal(cost), version)


@pytest.mark.parametrize(("start", "factor", "version"), [(1000.0, 2, "v2"), (1000.5, 1, "v1")])
def test_reservation_waste_and_baseline_are_at_the_price_in_force_when_the_call_was_received(
    start: float, factor: int, version: str
) -> None:
    double = Price(rates=Rates(input=Decimal(2), output=Decimal(4)), version="v2")
    price = msgspec.structs.replace(PRICE, later=(LaterPrice(start, double),))
    target = msgspec.structs.replace(TARGET, price=price)
    tally = open_account(target=target)
    row = tally.make_intent_row(tally.attempts[0])
    assert (row.reserved, row.price) == (factor * Decimal("0.0006"), version)
    failed_row = fail_request(tally, FAILED_WITH_USAGE, 1002.5, 52.5)
    assert failed_row is not None
    assert failed_row.cost == factor * Decimal("0.000502")
    tally.start_attempt(TARGET, Account("main", "s"), 1000.5, 50.5)
    tally.compares_baseline, tally.baseline = True, target
    tally.usage, tally.is_complete = Usage(input=500, output=101), True
    entry = close_account(tally, "settled", 200, 51.0)
    assert entry.baseline == factor * Decimal("0.000702")


def test_the_row_names_the_price_of_the_service_tier_that_served() -> None:
    double = Price(rates=Rates(input=Decimal(2), output=Decimal(4)), version="v1, priority")
    price = msgspec.structs.replace(PRICE, services={"priority": double})
    tally = open_account(target=msgspec.structs.replace(TARGET, price=price))
    tally.usage = Usage(input=500, output=101, service="priority")
    tally.is_complete = True
    entry = close_account(tally, "settled", 200, 51.0)
    assert (entry.cost, entry.price) == (Decimal("0.001404"), "v1, priority")
    refused = CallAccount(CALL, "c1")
    refused.target = tally.target
    assert close_account(refused, "refused", 429, 51.0).price == "v1"


DEAR = msgspec.structs.replace(
    TARGET, price=Price(rates=Rates(input=Decimal(10), output=Decimal(20)), version="v9")
)


@pytest.mark.parametrize(
    ("source", "tier", "model", "baseline"),
    [
        ("rule", "fast", None, "0.00702"),
        ("rule", "fast", "m", "0.00702"),
        ("pin", "fast", None, "0.000702"),
        ("pin", "fast", "m", "0.000702"),
        ("rule", None, None, "0.000702"),
    ],
)
def test_the_baseline_prices_the_same_tokens_at_the_baseline_target(
    source: DecisionSource, tier: Tier | None, model: str | None, baseline: str
) -> None:
    """If the client chose model or tier, or the call has no tier, the call is its own baseline."""
    tally = open_account(decision=Decision(lab="l", tier=tier, source=source, model=model))
    tally.compares_baseline, tally.baseline = True, DEAR
    tally.usage, tally.is_complete = Usage(input=500, output=101), True
    entry = close_account(tally, "settled", 200, 51.0)
    assert (entry.cost, entry.baseline) == (Decimal("0.000702"), Decimal(baseline))


def test_a_cache_hit_saves_the_whole_baseline_and_a_failure_saves_nothing() -> None:
    tally = open_answered_account()
    tally.compares_baseline, tally.baseline, tally.cache = True, DEAR, "hit"
    assert close_account(tally, "cache_hit", 200, 51.0).baseline == Decimal("10.00023")
    tally = CallAccount(CALL, "c1")
    tally.decision, tally.usage = DECISION, Usage(input=500, output=101)
    tally.compares_baseline, tally.baseline, tally.cache = True, DEAR, "hit"
    assert close_account(tally, "cache_hit", 200, 51.0).baseline == Decimal("0.00702")
    tally = open_account()
    tally.compares_baseline, tally.baseline = True, DEAR
    fail_request(tally, FAILED_WITH_USAGE, 1002.5, 52.5)
    assert close_account(tally, "failed", 503, 51.0).baseline == 0


def test_a_call_without_a_decision_has_no_baseline() -> None:
    account = CallAccount(CALL, "c1")
    account.compares_baseline, account.baseline = True, DEAR
    assert close_account(account, "refused", 400, 51.0).baseline is None


def test_the_baseline_is_unknown_without_a_baseline_target_or_without_usage() -> None:
    tally = open_answered_account()
    tally.compares_baseline = True
    assert close_account(tally, "settled", 200, 51.0).baseline is None
    account = open_pass_through()
    account.compares_baseline, account.decision = (
        True,
        msgspec.structs.replace(DECISION, source="pin"),
    )
    account.is_complete = True
    assert close_account(account, "settled", 200, 51.0).baseline is None


def test_the_row_cuts_long_model_names() -> None:
    """A client's model name may be a megabyte long; a row may not."""
    tally = open_answered_account()
    tally.requested_model, tally.served_model = "a" * 1000, "s" * 1000
    entry = close_account(tally, "settled", 200, 51.0)
    assert (entry.asked, entry.served) == ("a" * 200, "s" * 200)


def test_a_new_account_is_open_and_has_recorded_no_loss() -> None:
    account = CallAccount(CALL, "c1")
    assert (account.is_closed, account.is_complete) == (False, False)
    assert account.losses == ()


def test_closing_an_account_twice_raises_an_error() -> None:
    tally = open_answered_account()
    close_account(tally, "settled", 200, 51.0)
    with pytest.raises(RuntimeError, match=r"^a call has one final entry$"):
        close_account(tally, "failed", 500, 52.0)


def test_an_answer_with_audio_has_an_unknown_cost_and_stays_charged_at_its_bound() -> None:
    """The rate of text would be 2 to 16 times too low."""
    tally = open_account()
    tally.usage, tally.is_complete = Usage(input=500, output=90, media={"output_audio": 80}), True
    assert tally.explain_missing_price() == "no price of output audio tokens"
    entry = close_account(tally, "settled", 200, 51.0)
    assert (entry.cost, entry.estimate, entry.usage) == (None, None, "provider")
    assert (entry.reserved, entry.media) == (Decimal("0.0006"), {"output_audio": 80})


def test_an_answer_with_audio_costs_what_the_provider_billed() -> None:
    tally = open_account()
    billed = Usage(input=500, output=90, media={"output_audio": 80}, billed=Decimal("0.0042"))
    tally.usage, tally.is_complete = billed, True
    assert tally.explain_missing_price() is None
    entry = close_account(tally, "settled", 200, 51.0)
    assert (entry.cost, entry.price, entry.reserved) == (Decimal("0.0042"), "provider", None)


def test_a_chat_answer_about_a_picture_costs_the_usage_that_its_provider_reported() -> None:
    tally = CallAccount(CALL, "c1")
    tally.record_prompt(msgspec.structs.replace(PROMPT, images=1), 400, 400)
    tally.start_attempt(TARGET, Account("main", "s"), 1000.5, 50.5)
    tally.usage, tally.is_complete = Usage(input=500, output=101), True
    entry = close_account(tally, "settled", 200, 51.0)
    assert (entry.cost, entry.usage, entry.media) == (Decimal("0.000702"), "provider", {})


@pytest.mark.parametrize("usage", [Usage(input=500, output=0), None])
def test_embeddings_of_pictures_counted_as_text_have_an_unknown_cost(
    usage: Usage | None,
) -> None:
    """One count holds text and pictures, and pictures cost 2 to 60 times as much."""
    tally = CallAccount(msgspec.structs.replace(CALL, operation="embeddings"), "c1")
    tally.record_prompt(msgspec.structs.replace(PROMPT, stream=False, files=1), 400, 400)
    tally.start_attempt(TARGET, Account("main", "s"), 1000.5, 50.5)
    tally.usage, tally.content_bytes, tally.is_complete = usage, 0, True
    entry = close_account(tally, "settled", 200, 51.0)
    tokens = 400 if usage is None else 500
    assert (entry.cost, entry.media) == (None, {"input_other": tokens})


def test_embeddings_of_pictures_without_a_token_have_none_that_may_be_of_pictures() -> None:
    tally = CallAccount(msgspec.structs.replace(CALL, operation="embeddings"), "c1")
    tally.record_prompt(msgspec.structs.replace(PROMPT, images=1), 400, 400)
    tally.start_attempt(TARGET, Account("main", "s"), 1000.5, 50.5)
    tally.usage, tally.is_complete = Usage(input=0, output=0), True
    entry = close_account(tally, "settled", 200, 51.0)
    assert (entry.cost, entry.media) == (Decimal(0), {"input_other": 0})


def test_the_row_cuts_the_response_id_and_hides_the_credential_in_it() -> None:
    tally = open_answered_account()
    tally.account = Account("main", "sk-secret")
    tally.response_id = "gen-sk-secret-" + "x" * 300
    response_id = close_account(tally, "settled", 200, 51.0).response_id
    assert response_id is not None
    assert (response_id[:8], len(response_id)) == ("gen-***-", 200)
    tally = open_answered_account()
    tally.response_id, tally.account = "gen-1", None
    assert close_account(tally, "settled", 200, 51.0).response_id == "gen-1"


def test_a_call_that_begins_a_job_reserves_what_the_job_may_cost() -> None:
    account = CallAccount(CALL, "c")
    account.operation, account.reserved_for_job = "batches.create", Decimal("1.5")
    attempt = account.start_attempt(TARGET, Account("main", "s"), 0.0, 0.0)
    assert attempt.reservation == Decimal("1.5")
    row = account.make_final_row(account.close(), "settled", 200, 1.0)
    assert (row.cost, row.reserved, row.state) == (None, Decimal("1.5"), "estimated")
