"""Limits and budgets as the operator writes them: their values, and each mistake with its line."""

from decimal import Decimal
from pathlib import Path

import pytest

from gateway.settings.schema.limits import AlertsPart, BudgetPart, LimitPart, Rate, parse_rate
from tests.settings import world


@pytest.mark.parametrize(
    ("written", "amount", "seconds"),
    [
        ("60/m", 60, 60.0),
        ("10/s", 10, 1.0),
        ("1000/h", 1000, 3_600.0),
        ("5000/d", 5000, 86_400.0),
        ("200k/m", 200_000, 60.0),
        ("1.5M/d", 1_500_000, 86_400.0),
        (" 60 / m ", 60, 60.0),
        ("0/m", 0, 60.0),
        ("1000000M/d", 10**12, 86_400.0),
    ],
)
def test_a_rate_is_an_amount_within_a_number_of_seconds(
    written: str, amount: int, seconds: float
) -> None:
    assert parse_rate(written) == Rate(amount, seconds)
    part = LimitPart.model_validate({"name": "a", "requests": written, "tokens": written})
    assert part.requests == part.tokens == Rate(amount, seconds)


SOUND = [
    "limits: [{name: a, requests: 60/m}, {name: b, tokens: 200k/m, concurrency: 8, per: key}]",
    "limits: [{name: a, key: ann, tag: [x, y], tier: reasoning, per: tag, concurrency: 0}]",
    "budgets: [{name: a, usd: 20, every: day}, {name: b, usd: 0, every: total, hard: false}]",
    "budgets: [{name: a, tier: [smart, reasoning], usd: 0.000001, every: month, soft: 0.8, then: fast}]",
    "budgets: [{name: a, tier: reasoning, share: 0.1, every: hour, then: smart, per: key}]",
    "limits: [{name: a, concurrency: 1}]\nbudgets: [{name: a, usd: 1, every: day, reserve: expected}]",
    "alerts: {webhook: 'https://hooks.example/x'}\non_redis_loss: closed",
]


@pytest.mark.parametrize("text", SOUND)
def test_sound_limits_and_budgets_are_accepted(tmp_path: Path, text: str) -> None:
    assert world.mistakes(tmp_path, world.BASE + text) == []


RATE = "must be a rate, as 10/s, 60/m, 200k/h or 1M/d."
MISTAKES = [
    ("limits: [{name: a, requests: 60}]", f"16: error: limits[0].requests: {RATE}"),
    ("limits: [{name: a, requests: -1/m}]", f"16: error: limits[0].requests: {RATE}"),
    ("limits: [{name: a, tokens: 1.5/s}]", f"16: error: limits[0].tokens: {RATE}"),
    ("limits: [{name: a, tokens: 1/w}]", f"16: error: limits[0].tokens: {RATE}"),
    ("limits: [{name: a, tokens: 1000001M/m}]",
     "16: error: limits[0].tokens: must be at most 1000000M."),
    ("limits:\n- {name: a}",
     "17: error: limits[0]: limits nothing: give it `requests`, `tokens` or `concurrency`."),
    ("limits:\n- {name: a, concurrency: 1}\n- {name: a, concurrency: 2}",
     "18: error: limits[1].name: 'a' is given twice."),
    ("budgets:\n- {name: a, usd: 1, every: day}\n- {name: a, usd: 1, every: day}",
     "18: error: budgets[1].name: 'a' is given twice."),
    ("limits: [{name: '', concurrency: 1}]", "16: error: limits[0].name: must not be empty."),
    ("limits: [{name: a, tier: smrt, concurrency: 1}]",
     "16: error: limits[0].tier[0]: 'smrt' is not allowed. Did you mean 'smart'?"),
    ("limits: [{name: a, tier: [], concurrency: 1}]",
     "16: error: limits[0].tier: must not be empty."),
    ("limits: [{name: a, per: lab, concurrency: 1}]",
     "16: error: limits[0].per: must be all, tenant, team, key, user, tag, tier, [tenant, tag] or [tenant, tier]."),
    ("limits: [{name: a, per: [tag, tier], concurrency: 1}]",
     "16: error: limits[0].per: must be all, tenant, team, key, user, tag, tier, [tenant, tag] or [tenant, tier]."),
    ("limits: [{name: a, per: [1], concurrency: 1}]",
     "16: error: limits[0].per: must be all, tenant, team, key, user, tag, tier, [tenant, tag] or [tenant, tier]."),
    ("limits: [{name: a, concurrency: -1}]",
     "16: error: limits[0].concurrency: must be at least 0."),
    ("limits: [{name: a, request: 1/s}]",
     "16: error: limits[0].request: no such key. Did you mean 'requests'?"),
    ("budgets: [{name: a, usd: 1}]", "16: error: budgets[0]: the key 'every' is missing."),
    ("budgets: [{name: a, usd: 1, every: decade}]",
     "16: error: budgets[0].every: 'decade' is not allowed. Known: day, hour, minute, month, quarter, total, week, year."),
    ("budgets: [{name: a, usd: 1, every: week, time_zone: Mars}]",
     "16: error: budgets[0].time_zone: no time zone 'Mars': write it as Europe/Berlin."),
    ("budgets: [{name: a, every: day}]",
     "16: error: budgets[0]: must have one of `usd` and `share`."),
    ("budgets: [{name: a, usd: 1, share: 0.1, every: day}]",
     "16: error: budgets[0]: must have one of `usd` and `share`."),
    ("budgets: [{name: a, usd: -1, every: day}]", "16: error: budgets[0].usd: must be at least 0."),
    ("budgets: [{name: a, usd: 0.0000001, every: day}]",
     "16: error: budgets[0].usd: has too many digits."),
    ("budgets: [{name: a, usd: 1, every: day, soft: 0}]",
     "16: error: budgets[0].soft: must be above 0."),
    ("budgets: [{name: a, share: 0.1, every: day}]",
     "16: error: budgets[0]: a `share` is of tiers: give it `tier`, as `tier: [reasoning]`."),
    ("budgets: [{name: a, share: 1.1, tier: smart, every: day}]",
     "16: error: budgets[0].share: must be at most 1."),
    ("budgets: [{name: a, share: 0.0001, tier: smart, every: day}]",
     "16: error: budgets[0].share: has too many digits."),
    ("budgets: [{name: a, share: 0.1, tier: smart, per: tier, every: day}]",
     "16: error: budgets[0]: a `share` counts its tiers together: `per` may not be `tier`."),
    ("budgets: [{name: a, usd: 1, every: day, hard: false, reserve: fit}]",
     "16: error: budgets[0]: `reserve: fit` lowers calls, and `hard: false` lets all in."),
    ("budgets: [{name: a, usd: 1, every: day, rise: {usd: 1, until: soon}}]",
     "16: error: budgets[0].rise.until: must be a date or a moment, as 2027-01-31 or 2027-01-31T18:00:00Z."),
    ("budgets: [{name: a, usd: 1, every: day, rise: {usd: 0, until: 2027-01-31}}]",
     "16: error: budgets[0].rise.usd: must be above 0."),
    ("budgets: [{name: a, usd: 1, every: day, rise: {usd: 1}}]",
     "16: error: budgets[0].rise: the key 'until' is missing."),
    ("budgets: [{name: a, share: 0.1, tier: smart, every: day, rise: {usd: 1, until: 2027-01-31}}]",
     "16: error: budgets[0]: `rise` is for `usd`: a `share` counts calls."),
    ("budgets: [{name: a, usd: 1, every: day, least_output: 300}]",
     "16: error: budgets[0]: `least_output` is for `reserve: fit`."),
    ("budgets: [{name: a, usd: 1, every: day, reserve: fit, least_output: 8}]",
     "16: error: budgets[0].least_output: must be at least 16."),
    ("budgets: [{name: a, share: 0.1, tier: smart, reserve: cap, every: day}]",
     "16: error: budgets[0]: `reserve` is for `usd`: a `share` counts calls."),
    ("budgets: [{name: a, usd: 1, every: day, then: fast}]",
     "16: error: budgets[0]: `then: fast` must be below all that it counts, as `tier: [smart, reasoning]`."),
    ("budgets: [{name: a, usd: 1, every: day, tier: [smart, reasoning], then: smart}]",
     "16: error: budgets[0]: `then: smart` must be below all that it counts, as `tier: [reasoning]`."),
    ("budgets: [{name: a, usd: 1, every: day, tier: reasoning, then: reasoning}]",
     "16: error: budgets[0]: `then: reasoning` is the highest tier: nothing is above it."),
    ("budgets: [{name: a, usd: 1, every: day, tier: reasoning, then: smart, hard: false}]",
     "16: error: budgets[0]: `then` is for calls that do not fit, and `hard: false` lets all in."),
    ("alerts: {webhook: 'ftp://x'}",
     "16: error: alerts.webhook: must start with http:// or https://."),
    ("on_redis_loss: open", "16: error: on_redis_loss: 'open' is not allowed. Known: closed, lease."),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), MISTAKES, ids=[text for text, _ in MISTAKES])
def test_a_mistake_is_reported_with_its_line_and_what_to_write(
    tmp_path: Path, text: str, expected: str
) -> None:
    assert world.mistakes(tmp_path, world.BASE + text) == [f"c.yaml:{expected}"]


def test_limits_of_several_files_add_up(tmp_path: Path) -> None:
    world.write(tmp_path, "limits: [{name: a, concurrency: 1}]", "more.yaml")
    text = f"{world.BASE}include: [more.yaml]\nlimits:\n- {{name: b, concurrency: 2}}"
    limits = world.loaded(tmp_path, text).config.limits
    assert [(part.name, part.concurrency) for part in limits] == [("a", 1), ("b", 2)]
    text = text.replace("name: b", "name: a")
    assert world.mistakes(tmp_path, text) == [
        "c.yaml:18: error: limits[1].name: 'a' is given twice."
    ]


@pytest.mark.parametrize(
    ("per", "apart", "all_tenants"),
    [
        (None, None, True),
        ("all", None, True),
        ("tenant", None, False),
        ("team", "team", False),
        ("key", "key", False),
        ("user", "user", False),
        ("tag", "tag", True),
        ("tier", "tier", True),
        (["tenant", "tag"], "tag", False),
        (["tier", "tenant"], "tier", False),
    ],
)
def test_a_count_covers_all_tenants_unless_per_says_otherwise(
    per: object, apart: str | None, *, all_tenants: bool
) -> None:
    """A key belongs to one tenant, and so do a team and an end user."""
    counted = {} if per is None else {"per": per}
    part = BudgetPart.model_validate({"name": "a", "usd": 1, "every": "day", **counted})
    assert (part.counted_by, part.all_tenants) == (apart, all_tenants)


def test_money_is_exact() -> None:
    part = BudgetPart.model_validate({"name": "a", "usd": 0.1, "every": "day", "soft": 0.8})
    assert (part.usd, part.soft) == (Decimal("0.1"), Decimal("0.8"))


def test_the_repr_hides_the_webhook_of_alerts() -> None:
    """The URL of a webhook is a secret."""
    part = AlertsPart(webhook="https://hooks.example/services/SECRET")
    assert "SECRET" not in repr(part)
