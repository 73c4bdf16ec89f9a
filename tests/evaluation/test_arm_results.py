"""Results of arms: what counts, and how often their intervals contain the truth."""

import math
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from functools import cache
from random import Random
from statistics import NormalDist
from typing import Any, NamedTuple

import msgspec
import pytest

from gateway.core.ledger_rows import ArmRow
from gateway.evaluation.arm_results import ArmSample, describe_results, sample_arms
from gateway.evaluation.metrics.figure import Figure, subtract


def row(conversation: str | None = "a", arm: str = "canary:in", **changes: Any) -> ArmRow:
    plain: dict[str, Any] = {
        "tenant": "default", "key": "alice", "state": "settled", "aborted_by": None,
        "cost": Decimal("0.5"), "has_unknown_cost": False, "first_content": 0.25, "duration": 2.0,
        "is_good": None,
    }  # fmt: skip
    return ArmRow(arm=arm, conversation=conversation, **{**plain, **changes})


def described(*rows: ArmRow, rule: str = "") -> list[Any]:
    results: Any = describe_results(
        sample_arms(rows, rule), since=None, until=9.0, zone="UTC", damaged_rows=2
    )
    assert [results[name] for name in ("since", "until", "zone", "damaged_rows")] == [None, 9.0, "UTC", 2]  # fmt: skip
    assert results["confidence"] == 0.95
    rules: list[Any] = results["rules"]
    return rules


def test_results_count_calls_conversations_and_exact_money() -> None:
    (result,) = described(
        row("a", cost=Decimal("0.1"), is_good=True),
        row("a", cost=Decimal("1E-21"), is_good=False),
        row("b", cost=Decimal("0.2"), state="failed", first_content=None),
        row("c", "canary:out", cost=Decimal(3), is_good=True),
    )
    assert result["rule"] == "canary"
    inside, outside = ({key: value for key, value in result[name].items() if key != "figures"} for name in ("in", "out"))  # fmt: skip
    assert inside == {
        "conversations": 2, "calls": 3, "cost": "0.300000000000000000001", "unknown": 0,
        "failed": 1, "rated": 2, "good": 1,
    }  # fmt: skip
    assert outside == {
        "conversations": 1, "calls": 1, "cost": "3", "unknown": 0, "failed": 0, "rated": 1,
        "good": 1,
    }  # fmt: skip
    values = {name: figure["value"] for name, figure in result["in"]["figures"].items()}
    assert values == {
        "calls_per_conversation": 1.5, "cost_per_call": "0.1", "cost_per_conversation": "0.15",
        "first_content_p50": 0.25, "first_content_p95": 0.25, "duration_p50": 2.0,
        "duration_p95": 2.0, "failed": 0.333333, "good": 0.5,
    }  # fmt: skip
    assert result["differences"]["cost_per_call"] == {"value": "-2.9", "low": None, "high": None}
    assert set(result["findings"].values()) == {None}


def test_an_unknown_cost_is_in_no_mean_and_makes_its_conversation_unknown() -> None:
    (result,) = described(
        row("a", cost=None, has_unknown_cost=True),
        row("a", cost=Decimal(1)),
        row("b", cost=Decimal(2), has_unknown_cost=True),
        row("c", cost=Decimal(3)),
        row("d", "canary:out", cost=None, has_unknown_cost=True),
    )
    inside, outside = result["in"], result["out"]
    assert (inside["cost"], inside["unknown"]) == ("6", 2)
    assert inside["figures"]["cost_per_call"]["value"] == "2"
    assert inside["figures"]["cost_per_conversation"]["value"] == "3"
    assert (outside["cost"], outside["unknown"]) == (None, 1)
    assert outside["figures"]["cost_per_call"] is result["differences"]["cost_per_call"] is None


def test_only_answers_of_providers_have_a_latency() -> None:
    (result,) = described(
        row("a", state="cache_hit", duration=0.001, first_content=0.001),
        row("b", state="failed", duration=30.0, first_content=None),
        row("c", state="aborted", aborted_by="client", duration=60.0),
        row("d", state="estimated", duration=4.0, first_content=None),
    )
    figures = result["in"]["figures"]
    assert figures["duration_p95"]["value"] == 4.0
    assert figures["first_content_p50"] is None


def test_answers_that_broke_off_have_failed_too() -> None:
    rows = [row("a"), row("b", state="aborted", aborted_by="upstream"), row("c", state="refused")]
    rows.append(row("d", state="aborted", aborted_by="client"))
    assert described(*rows)[0]["in"]["failed"] == 2


def test_calls_without_a_conversation_are_one_for_each_key() -> None:
    rows = [
        row(None, key="a"), row(None, key="a"), row(None, key="b"),
        row(None, key="b", tenant="acme"), row("x", key="a"), row("x", key="b"),
    ]  # fmt: skip
    inside = described(*rows)[0]["in"]
    assert (inside["conversations"], inside["calls"]) == (4, 6)


def test_a_call_counts_for_each_rule_that_drew_it() -> None:
    rows = [row("a", "cap:in, canary:out"), row("b", "canary:in"), row("c", "a, b: c:out")]
    results = described(*rows)
    counts = [(result["rule"], result["in"]["calls"], result["out"]["calls"]) for result in results]
    assert counts == [("a, b: c", 0, 1), ("canary", 1, 1), ("cap", 1, 0)]
    (canary,) = described(*rows, rule="canary")
    assert canary == results[1]
    assert described(*rows, rule="can") == []


def test_a_conversation_with_calls_in_both_arms_is_counted() -> None:
    rows = [row("a", "canary:out"), row("a", "canary:in"), row("b", "canary:in")]
    (result,) = described(*rows)
    assert result["in_both"] == 1
    assert (result["in"]["conversations"], result["out"]["conversations"]) == (2, 1)


# Simulated experiments. A conversation has a level of cost and time that its calls share, and a
# rate of failures and of good answers of its own. All true figures are known in closed form.
_RUNS = 200
_BETWEEN, _WITHIN = 0.7, 0.4
"""Standard deviations of the logarithm of cost and time, between and within conversations."""
_LOG_DEVIATION = math.hypot(_BETWEEN, _WITHIN)
_CALLS = (1, 1, 2, 3, 5, 8)
"""The numbers of calls of conversations, equally likely."""
_RATED_SHARE = 0.4


class Arm(NamedTuple):
    """The true figures of an arm."""

    usd: float
    """The median cost of a call."""
    seconds: float
    """The median time of a call; of its first content a fifth."""
    failed: float
    good: float

    @property
    def truth(self) -> Mapping[str, float]:
        """The figures that results estimate."""
        calls = sum(_CALLS) / len(_CALLS)
        cost = self.usd * math.exp(_LOG_DEVIATION**2 / 2)
        late = self.seconds * math.exp(NormalDist().inv_cdf(0.95) * _LOG_DEVIATION)
        return {
            "calls_per_conversation": calls, "cost_per_call": cost,
            "cost_per_conversation": cost * calls, "failed": self.failed, "good": self.good,
            "first_content_p50": self.seconds / 5, "first_content_p95": late / 5,
            "duration_p50": self.seconds, "duration_p95": late,
        }  # fmt: skip

    def draw_conversation(self, name: str, arm: str, rng: Random) -> Iterator[ArmRow]:
        """Yield the calls of a random conversation."""
        level = math.exp(rng.gauss(0, _BETWEEN))
        failure_rate = rng.betavariate(0.5, 0.5 / self.failed - 0.5)
        good_rate = rng.betavariate(2 * self.good, 2 - 2 * self.good)
        for _ in range(rng.choice(_CALLS)):
            seconds = self.seconds * level * math.exp(rng.gauss(0, _WITHIN))
            yield ArmRow(
                arm=arm, conversation=name, tenant="default", key="a", aborted_by=None,
                # The state says nothing of the time, so that the true times are known.
                state="aborted" if rng.random() < failure_rate else "settled",
                cost=Decimal(f"{self.usd * level * math.exp(rng.gauss(0, _WITHIN)):.12f}"),
                has_unknown_cost=False, first_content=seconds / 5, duration=seconds,
                is_good=rng.random() < good_rate if rng.random() < _RATED_SHARE else None,
            )  # fmt: skip


_INSIDE = Arm(usd=0.008, seconds=2.2, failed=0.04, good=0.85)
_OUTSIDE = Arm(usd=0.010, seconds=2.0, failed=0.02, good=0.80)


def draw_experiment(seed: int, inside: Arm, outside: Arm, sizes: Sequence[int]) -> list[ArmRow]:
    """Return the calls of an experiment, with these numbers of conversations in and out."""
    rng = Random(seed)
    return [
        call
        for arm, name, size in zip((inside, outside), ("in", "out"), sizes, strict=True)
        for number in range(size)
        for call in arm.draw_conversation(f"{name} {number}", f"canary:{name}", rng)
    ]


@cache
def simulate(sizes: tuple[int, int]) -> list[tuple[Mapping[str, Figure | None], ...]]:
    """Return the figures in and out of experiments with fixed seeds."""
    results: list[tuple[Mapping[str, Figure | None], ...]] = []
    for seed in range(_RUNS):
        sample = sample_arms(draw_experiment(seed, _INSIDE, _OUTSIDE, sizes))["canary"]
        results.append(tuple(arm.estimate_figures() for arm in sample.arms.values()))
    return results


def is_covered(figure: Figure | None, truth: float) -> bool:
    assert figure is not None
    assert figure.low is not None
    assert figure.high is not None
    return figure.low <= truth <= figure.high


@pytest.mark.parametrize("name", _INSIDE.truth)
def test_intervals_and_those_of_differences_contain_the_truth(name: str) -> None:
    """At least 90% of 200 experiments do, for a nominal 95%: in, out and their difference."""
    truths = _INSIDE.truth[name], _OUTSIDE.truth[name]
    covered = [0, 0, 0]
    for inside, outside in simulate((150, 450)):
        left, right = inside[name], outside[name]
        assert left is not None
        assert right is not None
        covered[0] += is_covered(left, truths[0])
        covered[1] += is_covered(right, truths[1])
        covered[2] += is_covered(subtract(left, right), truths[0] - truths[1])
    assert min(covered) >= 0.9 * _RUNS, covered


def test_intervals_by_call_would_be_too_narrow() -> None:
    """If each call stood for a conversation, far fewer experiments would contain the truth."""
    names = ("cost_per_call", "duration_p50")
    covered = dict.fromkeys(names, 0)
    for seed in range(60):
        rows = draw_experiment(seed, _INSIDE, _OUTSIDE, (150, 0))
        single = [
            msgspec.structs.replace(call, conversation=str(number))
            for number, call in enumerate(rows)
        ]
        figures = sample_arms(single)["canary"].arms["in"].estimate_figures()
        for name in names:
            covered[name] += is_covered(figures[name], _INSIDE.truth[name])
    assert max(covered.values()) < 0.85 * 60, covered


def test_equal_arms_rarely_differ_and_unequal_arms_do() -> None:
    false_claims = true_claims = 0
    for seed in range(_RUNS):
        sample = sample_arms(draw_experiment(seed, _OUTSIDE, _OUTSIDE, (100, 300)))["canary"]
        inside, outside = (arm.estimate_figures()["cost_per_call"] for arm in sample.arms.values())
        assert inside is not None
        assert outside is not None
        difference = subtract(inside, outside)
        false_claims += difference.finding != "no difference can be claimed"
        half = Figure(*(value / 2 for value in inside if value is not None))
        true_claims += subtract(half, outside).finding == "lower"
    assert false_claims <= 0.1 * _RUNS, false_claims
    assert true_claims >= 0.95 * _RUNS, true_claims


def test_a_sample_without_calls_has_no_figure() -> None:
    sample = ArmSample()
    assert set(sample.estimate_figures().values()) == {None}
    assert sample.cost is None
