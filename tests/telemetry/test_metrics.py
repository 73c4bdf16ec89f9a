"""Metrics: each row is counted once, under words of the configuration only."""

import math
import os
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from gateway.core.decision_record import DecisionRecord
from gateway.core.ledger_rows import CallState, FinalRow, RepriceRow, Row
from gateway.telemetry.metrics import (
    CALL_SECONDS_BOUNDS,
    FIRST_CONTENT_BOUNDS,
    CounterMetric,
    GaugeMetric,
    LabelledGauges,
    Metrics,
)
from gateway.telemetry.shared_metrics import SharedMemory
from tests.telemetry.rows import AT, CANARY, ID, attempt, entry, hit, intent, refused

type Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]

TARGET = {"lab": "acme", "tier": "smart", "provider": "acme", "model": "able-1"}
TIMED = {"lab": "acme", "tier": "smart", "model": "able-1", "cache": "miss"}
NOBODY = {"lab": "", "tier": "", "provider": "", "model": ""}


def scrape(metrics: Metrics) -> Samples:
    """Return the samples of a scrape."""
    text = metrics.render()[0].decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def count(*rows: Row, **more: Any) -> Samples:
    metrics = Metrics(**more)
    for row in rows:
        metrics.count_row(row)
    return scrape(metrics)


def value(samples: Samples, name: str, labels: Mapping[str, str] = {}, **more: str) -> float | None:
    return samples.get((f"tiergate_{name}", frozenset({**labels, **more}.items())))


def total(samples: Samples, name: str) -> float:
    return sum(
        value for (sample_name, _), value in samples.items() if sample_name == f"tiergate_{name}"
    )


def test_calls_are_counted_by_their_final_state() -> None:
    samples = count(entry(), entry(), hit(), refused(), entry(state="failed", stream=False))
    calls = "calls_total"
    assert value(samples, calls, TARGET, cache="miss", state="settled", stream="true") == 2
    assert value(samples, calls, TARGET, cache="hit", state="cache_hit", stream="true") == 1
    assert value(samples, calls, NOBODY, cache="off", state="refused", stream="true") == 1
    assert value(samples, calls, TARGET, cache="miss", state="failed", stream="false") == 1
    assert total(samples, calls) == 5


def test_semantic_cache_hits_are_counted_apart() -> None:
    """All cache metrics separate them from equal ones; only hits can be near."""
    samples = count(hit(), hit(near=0.7))
    calls = "calls_total"
    assert value(samples, calls, TARGET, cache="hit", state="cache_hit", stream="true") == 1
    assert value(samples, calls, TARGET, cache="near", state="cache_hit", stream="true") == 1
    assert total(samples, "tokens_total") == 0


def test_money_adds_up_and_calls_of_unknown_cost_are_counted() -> None:
    """Unknown is not 0: such a call adds nothing and is counted separately."""
    samples = count(
        entry(),
        entry(cost=Decimal("0.3"), wasted=Decimal("0.1"), estimate=Decimal("0.2"), baseline=None),
        entry(cost=None, wasted=None, estimate=None),
        entry(cost=Decimal("0.5"), wasted=None, baseline=None),
    )
    assert value(samples, "cost_usd_total", TARGET) == pytest.approx(0.0012 + 0.3 + 0.5)
    assert value(samples, "wasted_usd_total", TARGET) == pytest.approx(0.1)
    assert value(samples, "estimated_usd_total", TARGET) == pytest.approx(0.2)
    assert value(samples, "calls_unknown_cost_total", TARGET) == 2
    assert value(samples, "baseline_usd_total", TARGET) == pytest.approx(0.02)


def test_calls_without_a_price_are_counted_apart() -> None:
    """Calls of unknown cost after a crash or a possibly billed attempt are not among them."""
    samples = count(
        entry(),
        entry(cost=None, estimate=None, price=None),
        entry(cost=None, wasted=None, estimate=None),
        entry(state="unknown_crash", cost=None, usage=None, price=None),
    )
    assert value(samples, "calls_unknown_cost_total", TARGET) == 3
    assert value(samples, "calls_unpriced_total", TARGET) == 1


def test_bills_that_differ_from_the_own_sum_are_counted() -> None:
    """Providers round: a bill within 1%, a millionth of a dollar or half a digit agrees."""

    def bill(billed: str, computed_cost: str | None) -> FinalRow:
        computed = None if computed_cost is None else Decimal(computed_cost)
        return entry(
            cost=Decimal(billed), billed=Decimal(billed), computed_cost=computed, baseline=None
        )

    samples = count(
        entry(),
        bill("0.5", "0.4"),
        bill("0.3", "0.6"),
        bill("0.101", "0.1"),
        bill("0.000001", "0.0000002"),
        bill("0.006", "0.0064"),
        bill("0.7", None),
    )
    assert value(samples, "bill_divergences_total", TARGET) == 2
    assert value(samples, "billed_more_usd_total", TARGET) == pytest.approx(0.1)
    assert value(samples, "billed_less_usd_total", TARGET) == pytest.approx(0.3)


def test_decisions_are_counted_by_source_and_tier() -> None:
    """Calls that are refused before a decision do not count."""
    samples = count(
        entry(), entry(source="classifier"), hit(source="classifier"), refused(),
        entry(source="pin", tier="fast", key="batch"),
    )  # fmt: skip
    tier_labels = {"lab": "acme", "tier": "smart"}
    assert value(samples, "decisions_total", tier_labels, source="rule") == 1
    assert value(samples, "decisions_total", tier_labels, source="classifier") == 2
    assert value(samples, "decisions_total", lab="acme", tier="fast", source="pin") == 1
    assert total(samples, "decisions_total") == 4
    with_keys = count(entry(), keys=True)
    assert value(with_keys, "decisions_total", tier_labels, source="rule", key="website") == 1


def test_problems_are_counted_by_kind() -> None:
    """Problems of refusals count too; an answer has none."""
    samples = count(entry(), refused(), entry(state="failed", problem="upstream_error"))
    nobody = {"lab": "", "tier": ""}
    assert value(samples, "problems_total", nobody, problem="model_not_found") == 1
    tier_labels = {"lab": "acme", "tier": "smart"}
    assert value(samples, "problems_total", tier_labels, problem="upstream_error") == 1
    assert total(samples, "problems_total") == 2


def test_an_answer_of_another_target_than_the_first_is_a_fallback() -> None:
    """A further request to the same target does not count, nor does a failure or a hit."""
    first, other = DecisionRecord(target="acme/able-1"), DecisionRecord(target="spare/able-2")
    samples = count(
        entry(basis=first), entry(basis=first, attempts=3), entry(), hit(basis=other),
        entry(basis=other, attempts=2), entry(basis=other, attempts=1, state="aborted"),
        entry(basis=other, state="failed"),
    )  # fmt: skip
    assert value(samples, "fallbacks_total", TARGET) == 2
    assert total(samples, "fallbacks_total") == 2


def test_savings_count_only_calls_with_a_cost_and_a_baseline() -> None:
    """A call without a baseline or a known cost counts on neither side."""
    samples = count(
        entry(), entry(cost=Decimal(7), baseline=None), entry(cost=None), hit(baseline=Decimal(1))
    )
    assert value(samples, "baseline_usd_total", TARGET) == pytest.approx(1.02)
    assert value(samples, "compared_usd_total", TARGET) == pytest.approx(0.0012)


def test_a_negative_cost_does_not_lower_a_counter() -> None:
    """A price below zero is a mistake, and a counter that falls would look like a restart."""
    assert value(count(entry(cost=Decimal(-1))), "cost_usd_total", TARGET) == 0


def test_tokens_are_counted_by_class_and_cached_answers_are_not() -> None:
    samples = count(entry(), entry(input=None, cache_read=None, cache_write=None), hit())
    tokens = {
        kind: value(samples, "tokens_total", TARGET, **{"class": kind})
        for kind in ("input", "cache_read", "cache_write", "output", "reasoning")
    }
    assert tokens == {
        "input": 100, "cache_read": 40, "cache_write": 10, "output": 40, "reasoning": 14,
    }  # fmt: skip


def test_durations_are_those_of_answers_only() -> None:
    """The time until a call is refused, fails or is left by its client does not count."""
    samples = count(
        entry(), entry(duration=1.5000001), entry(duration=2.5), entry(duration=99_999.0),
        entry(state="failed", first_content=None), refused(),
        entry(state="aborted", first_content=0.4), hit(),
    )  # fmt: skip
    seconds, first = "call_duration_seconds", "first_content_seconds"
    assert value(samples, f"{seconds}_count", TIMED) == 4
    assert value(samples, f"{seconds}_sum", TIMED) == pytest.approx(1.5 + 1.5 + 2.5 + 99_999)
    assert value(samples, f"{seconds}_bucket", TIMED, le="1.0") == 0
    assert value(samples, f"{seconds}_bucket", TIMED, le="2.5") == 3
    assert value(samples, f"{seconds}_bucket", TIMED, le="1800.0") == 3
    assert value(samples, f"{seconds}_bucket", TIMED, le="+Inf") == 4
    assert value(samples, f"{first}_count", TIMED) == 5
    assert value(samples, f"{first}_bucket", TIMED, le="0.3") == 0
    assert value(samples, f"{first}_bucket", TIMED, le="0.5") == 5
    assert value(samples, f"{first}_count", {**TIMED, "cache": "hit"}) == 1
    assert value(samples, f"{seconds}_count", {**TIMED, "lab": "", "tier": "", "model": ""}) is None


def test_the_buckets_cover_the_longest_timeouts() -> None:
    assert list(CALL_SECONDS_BOUNDS) == sorted(set(CALL_SECONDS_BOUNDS))
    assert list(FIRST_CONTENT_BOUNDS) == sorted(set(FIRST_CONTENT_BOUNDS))
    assert CALL_SECONDS_BOUNDS[-1] >= 1800
    assert FIRST_CONTENT_BOUNDS[-1] >= 600


def test_attempts_are_counted_by_their_problem() -> None:
    samples = count(
        intent(), attempt(), attempt(problem="upstream_timeout"), entry(attempts=3),
        entry(state="aborted", aborted_by="upstream", problem="upstream_truncated"),
        entry(state="aborted", aborted_by="client", status=499),
        entry(state="failed", attempts=1, problem="upstream_overloaded"),
        hit(), hit(attempts=1), refused(),
    )  # fmt: skip
    target_labels = {"provider": "acme", "model": "able-1"}
    assert value(samples, "attempts_total", target_labels, problem="") == 2
    assert value(samples, "attempts_total", target_labels, problem="upstream_overloaded") == 1
    assert value(samples, "attempts_total", target_labels, problem="upstream_timeout") == 1
    assert value(samples, "attempts_total", target_labels, problem="upstream_truncated") == 1
    assert total(samples, "attempts_total") == 5


def test_counters_of_configured_targets_are_shown_as_0_before_the_first_call() -> None:
    """Else Prometheus would miss the first increase. Keys that are labels are not known yet."""
    for keys, shown in ((False, 0), (True, None)):
        metrics = Metrics(keys=keys)
        metrics.expect([("acme", "smart", "acme", "able-1")])
        samples = scrape(metrics)
        assert value(samples, "cost_usd_total", TARGET) == shown
        assert value(samples, "tokens_total", {**TARGET, "class": "output"}) == shown
        target_labels = {"provider": "acme", "model": "able-1", "problem": ""}
        assert value(samples, "attempts_total", target_labels) == shown
    metrics = Metrics()
    metrics.expect([("acme", "smart", "acme", "able-1")])
    metrics.count_row(entry())
    assert value(scrape(metrics), "cost_usd_total", TARGET) == pytest.approx(0.0012)


def test_models_that_no_lab_lists_share_one_label() -> None:
    """Clients choose its name, so it is counted under one label, and is no fallback of itself."""
    metrics = Metrics()
    metrics.expect([("acme", "smart", "acme", "able-1"), ("acme", "", "acme", "vec-1")])
    for number in range(3):
        basis = DecisionRecord(target=f"acme/{CANARY}-{number}")
        metrics.count_row(entry(model=f"{CANARY}-{number}", tier=None, basis=basis))
        metrics.count_row(attempt(model=f"{CANARY}-{number}"))
    metrics.count_row(entry(model="vec-1", tier=None))
    metrics.count_row(entry())
    assert CANARY not in metrics.render()[0].decode()
    samples = scrape(metrics)
    unlisted = {**TARGET, "tier": "", "model": "other"}
    assert (
        value(samples, "calls_total", unlisted, cache="miss", state="settled", stream="true") == 3
    )
    assert value(samples, "cost_usd_total", unlisted) == pytest.approx(0.0036)
    assert value(samples, "cost_usd_total", {**unlisted, "model": "vec-1"}) == pytest.approx(0.0012)
    assert value(samples, "cost_usd_total", TARGET) == pytest.approx(0.0012)
    assert total(samples, "fallbacks_total") == 0
    assert len(metrics._offsets_by_kind) == 3, "what is kept does not grow with names"


def test_calls_recovered_after_a_crash_are_counted() -> None:
    samples = count(entry(state="unknown_crash", status=None, duration=None, cost=None))
    assert value(samples, "calls_recovered_total") == 1
    assert value(count(entry()), "calls_recovered_total") == 0


def test_a_repriced_row_changes_no_metric() -> None:
    """A counter only grows; the ledger has later repairs."""
    assert count(entry(), RepriceRow(id=ID, at=AT, cost=Decimal(9), price="x")) == count(entry())


def test_no_text_of_a_client_is_a_label() -> None:
    """A key's name is a label only if the operator asks for it: anybody may read the metrics."""
    row = entry(served=CANARY, upstream_id=CANARY, tags=(CANARY,), rule=CANARY, key=CANARY)
    metrics = Metrics()
    metrics.count_row(row)
    assert CANARY not in metrics.render()[0].decode()


def test_keys_are_labels_if_the_operator_asks_for_them() -> None:
    """Calls, money and tokens have the label; on times there would be too many series."""
    samples = count(entry(), entry(key="batch"), entry(key="batch"), keys=True)
    call = {**TARGET, "cache": "miss", "state": "settled", "stream": "true"}
    assert value(samples, "calls_total", call, key="batch") == 2
    assert value(samples, "cost_usd_total", TARGET, key="website") == pytest.approx(0.0012)
    assert value(samples, "tokens_total", {**TARGET, "class": "input"}, key="batch") == 200
    assert value(samples, "first_content_seconds_count", TIMED) == 3


def test_tenants_are_labels_if_the_operator_asks_for_them() -> None:
    """The label works with or without keys; then nothing is shown before the first call."""
    rows = (entry(tenant="acme"), entry(tenant="acme"), entry(tenant="other", key="batch"))
    samples = count(*rows, tenants=True)
    call = {**TARGET, "cache": "miss", "state": "settled", "stream": "true"}
    assert value(samples, "calls_total", call, tenant="acme") == 2
    assert value(samples, "cost_usd_total", TARGET, tenant="other") == pytest.approx(0.0012)
    both_labels = count(*rows, tenants=True, keys=True)
    assert value(both_labels, "calls_total", call, tenant="other", key="batch") == 1
    spent = {**TARGET, "tenant": "acme", "key": "website"}
    assert value(both_labels, "cost_usd_total", spent) == pytest.approx(0.0024)
    metrics = Metrics(tenants=True)
    metrics.expect([("acme", "smart", "acme", "able-1")])
    assert value(scrape(metrics), "cost_usd_total", TARGET) is None


def test_teams_are_labels_if_the_operator_asks_for_them() -> None:
    """A key without a team has an empty label."""
    rows = (entry(team="web"), entry(team="web"), entry(key="batch"))
    call = {**TARGET, "cache": "miss", "state": "settled", "stream": "true"}
    samples = count(*rows, teams=True)
    assert value(samples, "calls_total", call, team="web") == 2
    assert value(samples, "cost_usd_total", TARGET, team="") == pytest.approx(0.0012)
    assert value(count(*rows), "calls_total", call) == 3


def test_refusals_and_ledger_failures_are_counted() -> None:
    """Ledger failures are 0 before the first one, so that an alert sees the increase."""
    metrics = Metrics(info={"version": "1.2", "config": "c0ffee"})
    metrics.count_refusal("overloaded")
    metrics.count_refusal("overloaded")
    metrics.count_ledger_failure("sync")
    samples = scrape(metrics)
    assert value(samples, "refused_total", kind="overloaded") == 2
    assert value(samples, "ledger_failures_total", what="sync") == 1
    assert value(samples, "ledger_failures_total", what="write") == 0
    assert value(samples, "build_info", version="1.2", config="c0ffee") == 1


def test_gauges_and_counters_are_read_at_each_scrape() -> None:
    current: dict[str, float | None] = {"calls_in_flight": 2, "redis_up": None, "rows": 0}
    metrics = Metrics(
        gauges=[
            GaugeMetric("calls_in_flight", "Now.", lambda: current["calls_in_flight"]),
            GaugeMetric("redis_up", "Whether.", lambda: current["redis_up"], "min"),
        ],
        counters=[CounterMetric("ledger_rows", "Written.", lambda: current["rows"] or 0.0)],
    )
    samples = scrape(metrics)
    assert value(samples, "calls_in_flight") == 2
    assert value(samples, "redis_up") is None
    current |= {"calls_in_flight": 0, "redis_up": 1, "rows": 17}
    samples = scrape(metrics)
    assert value(samples, "calls_in_flight") == 0
    assert value(samples, "redis_up") == 1
    assert value(samples, "ledger_rows_total") == 17


def test_labelled_gauges_appear_and_disappear_with_their_labels() -> None:
    """A label that is gone is not shown, even if another worker takes the area over."""
    current: dict[tuple[str, ...], float] = {("team",): 0.5, ("night",): 0.25}
    memory = SharedMemory(1)
    gauges = LabelledGauges("budget_used_ratio", "Spent.", ("budget",), lambda: current)
    metrics = Metrics(memory=memory)
    metrics.watch(labelled_gauges=[gauges])
    samples = scrape(metrics)
    assert value(samples, "budget_used_ratio", budget="team") == 0.5
    assert value(samples, "budget_used_ratio", budget="night") == 0.25
    del current["night",]
    samples = scrape(metrics)
    assert value(samples, "budget_used_ratio", budget="team") == 0.5
    assert value(samples, "budget_used_ratio", budget="night") is None
    memory._owned_by_pid = (0, frozenset())  # it has ended
    after = Metrics(memory=memory)
    after.watch(labelled_gauges=[gauges._replace(read=dict)])
    assert value(scrape(after), "budget_used_ratio", budget="team") is None


def test_the_highest_value_of_all_workers_is_shown_for_a_labelled_gauge() -> None:
    memory = SharedMemory(2)
    workers = [Metrics(memory=memory), Metrics(memory=memory)]
    for metrics, ratio in zip(workers, (0.25, 0.75), strict=True):
        levels: dict[tuple[str, ...], float] = {("team",): ratio}
        metrics.watch(
            labelled_gauges=[LabelledGauges("budget_used_ratio", "", ("budget",), levels.copy)]
        )
        metrics.refresh()
    assert value(scrape(workers[0]), "budget_used_ratio", budget="team") == 0.75


def test_a_metric_that_cannot_be_read_hides_no_other() -> None:
    """If a store is gone, its gauge is left out, and counters keep their last value."""
    rows = iter([5.0, 6.0])

    def fail() -> float:
        raise OSError

    metrics = Metrics(
        gauges=[GaugeMetric("lag", "", fail)],
        counters=[CounterMetric("rows", "", lambda: next(rows))],
    )
    metrics.count_row(entry())
    assert [value(scrape(metrics), "rows_total") for _ in range(3)] == [5, 6, 6]
    assert value(scrape(metrics), "lag") is None
    assert total(scrape(metrics), "calls_total") == 1


def test_each_worker_shows_the_figures_of_all() -> None:
    """Counters are added, and each gauge is combined in its own way, as of the last refresh."""
    memory = SharedMemory(2)

    def worker(flight: float, fed: float | None) -> Metrics:
        return Metrics(
            memory=memory,
            gauges=[
                GaugeMetric("flight", "", lambda: flight),
                GaugeMetric("fed", "", lambda: fed, "max"),
                GaugeMetric("up", "", lambda: flight, "min"),
            ],
            counters=[CounterMetric("rows", "", lambda: flight)],
        )

    first, second, idle = worker(2, 50), worker(3, None), worker(9, 9)
    first.count_row(entry())
    second.count_row(entry())
    second.count_row(hit())
    second.refresh()
    samples = scrape(first)
    assert scrape(second) == samples
    assert value(samples, "calls_total", TARGET, cache="miss", state="settled", stream="true") == 2
    assert value(samples, "call_duration_seconds_count", TIMED) == 2
    assert value(samples, "flight") == 5, "the third has never been refreshed"
    assert value(samples, "fed") == 50
    assert value(samples, "up") == 2
    assert value(samples, "rows_total") == 5
    idle.refresh()
    assert value(scrape(first), "flight") == 14


def test_gauges_of_a_dead_worker_disappear_and_its_counters_stay() -> None:
    """The counters of the dead process stay."""
    memory = SharedMemory(2)
    dead = Metrics(memory=memory, gauges=[GaugeMetric("flight", "", lambda: 7)])
    living = Metrics(memory=memory, gauges=[GaugeMetric("flight", "", lambda: 2)])
    dead.count_row(entry())
    dead.refresh()
    assert value(scrape(living), "flight") == 9
    memory._owned_by_pid = (
        os.getpid(),
        memory._owned_by_pid[1] - {0},
    )  # a process does not see its own lock
    samples = scrape(living)
    assert value(samples, "flight") == 2
    assert total(samples, "calls_total") == 1


def test_a_new_worker_takes_over_the_counters_of_a_dead_one_but_not_its_gauges() -> None:
    """The successor has the counters, and goes on from there."""
    memory = SharedMemory(1)
    before = Metrics(memory=memory, gauges=[GaugeMetric("flight", "", lambda: 7)])
    before.watch(counters=[CounterMetric("rows", "", lambda: 40)])
    before.count_row(entry())
    before.refresh()
    memory._owned_by_pid = (0, frozenset())  # it has ended
    after = Metrics(memory=memory, gauges=[GaugeMetric("flight", "", lambda: None)])
    after.watch(counters=[CounterMetric("rows", "", lambda: 2)])
    after.count_row(entry())
    samples = scrape(after)
    assert value(samples, "flight") is None
    assert value(samples, "rows_total") == 42
    assert value(samples, "calls_total", TARGET, cache="miss", state="settled", stream="true") == 2


def test_the_plain_and_the_openmetrics_text_have_the_same_samples() -> None:
    metrics = Metrics(keys=True)
    for row in (entry(), hit(), attempt()):
        metrics.count_row(row)
    plain, strict = metrics.render()[0], metrics.render(openmetrics=True)[0]
    lines = [
        [line for line in text.decode().splitlines() if not line.startswith("#")]
        for text in (plain, strict)
    ]
    assert lines[0] == lines[1]
    assert not any(math.isnan(float(line.rpartition(" ")[2])) for line in lines[0])


def test_every_final_state_can_be_counted() -> None:
    """No state raises, even if nothing else is known of the call."""
    states: tuple[CallState, ...] = get_args(CallState.__value__)
    bare = [
        FinalRow(id=ID, at=AT, key="k", dialect="gemini", state=state, config="c")
        for state in states
    ]
    assert total(count(*bare), "calls_total") == len(states) == 7


_USD = st.none() | st.sampled_from([Decimal(0), Decimal("0.25"), Decimal("-0.5"), Decimal(3)])
_COUNTED = st.none() | st.integers(0, 5000)
_SECONDS = st.none() | st.sampled_from([0.0, 0.0078125, 0.0625, 0.25, 3.0, 4096.0])
_ROWS = st.one_of(
    st.just(intent()),
    st.builds(attempt, problem=st.sampled_from(["upstream_timeout", "upstream_overloaded"])),
    st.fixed_dictionaries({
        "state": st.sampled_from(get_args(CallState.__value__)),
        "cache": st.sampled_from(["off", "miss", "hit"]),
        "near": st.sampled_from([None, 0.9]),
        "tier": st.sampled_from([None, "fast", "smart"]),
        "key": st.sampled_from(["website", "app"]),
        "problem": st.sampled_from([None, "upstream_timeout"]),
        "aborted_by": st.sampled_from([None, "client", "timeout"]),
        "attempts": st.integers(0, 2),
        "basis": st.sampled_from([None, DecisionRecord(target="acme/able-1"), DecisionRecord(target="acme/other")]),
        **dict.fromkeys(("cost", "wasted", "estimate", "baseline"), _USD),
        **dict.fromkeys(("input", "cache_read", "cache_write", "output", "reasoning"), _COUNTED),
        **dict.fromkeys(("first_content", "duration"), _SECONDS),
    }).map(lambda told: entry(**told)),
)  # fmt: skip
"""Rows with values whose sums are exact in any order."""
_USUAL = entry(
    cost=Decimal("0.25"), baseline=None, first_content=0.5, cache_write=None, reasoning=0
)


@given(st.lists(st.one_of(_ROWS, st.just(_USUAL)), max_size=12), st.booleans())
def test_counting_rows_together_equals_counting_them_one_by_one(
    rows: list[Row], keys: bool
) -> None:
    batched = Metrics(keys=keys)
    batched.count_rows(rows)
    batched.count_rows(rows)
    assert scrape(batched) == count(*rows, *rows, keys=keys)


def test_counting_many_rows_together_loses_none() -> None:
    """Rounded sums are equal too, except for their last digit."""
    rows = [entry(cost=Decimal(n) / 7000, duration=n / 70, first_content=n / 90) for n in range(99)]
    rows = [
        row for n, row_of_call in enumerate(rows) for row in (row_of_call, hit(duration=n / 900))
    ]
    batched = Metrics()
    batched.count_rows(rows)
    assert scrape(batched) == pytest.approx(count(*rows), rel=1e-14)
