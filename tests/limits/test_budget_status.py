"""Budget status: whose calls count, whether counters or the ledger count, how long budgets last."""

from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from gateway.core.call import BudgetRise, Key, KeyBudget
from gateway.limits.budget_status import BudgetStatus, compute_budget_uses, iter_budgets
from gateway.settings.schema.limits import BudgetPart

ZONE = ZoneInfo("Europe/Berlin")
NOW = 1_793_000_000.0
"""2026-10-26 08:33:20 in Berlin: the Monday after clocks went back."""
DAY = "2026-10-26"


def part(**values: object) -> BudgetPart:
    return BudgetPart.model_validate({"name": "b", "every": "day", **values})


def budget_status(**values: object) -> BudgetStatus:
    (status,) = iter_budgets([part(**values)], [], ["default"], ZONE, NOW)
    return status


def test_each_tenant_and_each_key_has_its_own_budgets() -> None:
    own = KeyBudget(usd=Decimal(3), every="hour", tier=("smart",))
    ann = Key(name="ann", tenant="acme", budgets=(own, own))
    status = list(iter_budgets([part(usd=1, per="tenant")], [ann, ann], ["b", "a", "a"], ZONE, NOW))
    assert [(b.name, b.owner, b.key) for b in status] == [("b", "a", ""), ("b", "b", ""), ("key ann", "acme", "ann"), ("key ann 2", "acme", "ann")]  # fmt: skip
    assert status[2].filters == {"tenant": ["acme"], "key": ["ann"], "tier": ["smart"]}
    assert (status[2].apart, status[2].kind, status[2].limit) == (None, "usd", Decimal(3))
    assert status[2].matches(None)
    used = {"usd|key ann|own=ann|2026-10-26T08+01:00": 1_500_000}
    (standing,) = compute_budget_uses(status[2], used, {})
    assert (standing.used_amount, standing.from_counters) == (Decimal("1.5"), True)


def test_a_budget_stands_in_the_time_zone_of_its_own() -> None:
    zone = "America/New_York"
    own = KeyBudget(usd=Decimal(3), every="day", time_zone=zone)
    parts = [part(usd=1, time_zone=zone), part(usd=1)]
    budgets = list(
        iter_budgets(parts, [Key(name="ann", budgets=(own,))], ["a"], ZONE, NOW - 14_400)
    )
    assert [budget.window.name for budget in budgets] == ["2026-10-25", DAY, "2026-10-25"]


def test_a_raised_budget_has_its_rise_until_that_ends() -> None:
    own = KeyBudget(
        usd=Decimal(3), every="day", rise=BudgetRise(usd=Decimal(2), until="2026-10-25")
    )
    raised = part(usd=1, rise={"usd": 4, "until": "2026-10-26"})
    budgets = list(iter_budgets([raised], [Key(name="ann", budgets=(own,))], ["a"], ZONE, NOW))
    assert [(one.limit, one.rise) for one in budgets] == [(Decimal(5), Decimal(4)), (Decimal(3), 0)]
    assert [one.rise_end for one in budgets] == [1_793_055_600.0, None]


def test_a_rise_ends_with_its_day_in_the_time_zone_of_the_ledger() -> None:
    rise = BudgetRise(usd=Decimal(2), until="2026-10-26")
    ann = Key(name="ann", budgets=(KeyBudget(usd=Decimal(3), every="total", rise=rise),))
    raised = part(usd=0, every="total", rise={"usd": 4, "until": "2026-10-26"})
    end = 1_793_055_600.0
    for now, rise_end, limits in ((end - 1, end, [4, 5]), (end, None, [0, 3])):
        budgets = list(iter_budgets([raised], [ann], ["a"], ZONE, now))
        assert [one.rise_end for one in budgets] == [rise_end, rise_end]
        assert [one.limit for one in budgets] == limits


def test_a_counter_counts_and_where_there_is_none_the_ledger_does() -> None:
    budget = budget_status(usd=2)
    assert [(s.used_amount, s.from_counters) for s in compute_budget_uses(budget, {f"usd|b|all|{DAY}": 250_000}, {})] == [(Decimal("0.25"), True)]  # fmt: skip
    for used in ({}, None, {"usd|b|all|2026-10-25": 9, "usd|other|all|2026-10-26": 9, "calls|b|all|2026-10-26": 9}):  # fmt: skip
        (status,) = compute_budget_uses(budget, used, {None: Decimal("0.1")})
        assert (status.used_amount, status.from_counters) == (Decimal("0.1"), False)
    (status,) = compute_budget_uses(budget, None, {})
    assert (status.budget, status.subject, status.used_amount) == (budget, None, Decimal(0))
    (status,) = compute_budget_uses(budget, {f"usd|b|all|{DAY}": 250_000}, {})
    assert (status.budget, status.subject) == (budget, None)


def test_what_is_counted_apart_stands_apart() -> None:
    budget = budget_status(usd=2, per="tag", tag=["a|b", "c"])
    used = {f"usd|b|tag=a%7Cb|{DAY}": 1_000_000}
    spent = {"a|b": Decimal(9), "c": Decimal(1), "other": Decimal(7), None: Decimal(7)}
    status = compute_budget_uses(budget, used, spent)
    assert [(s.subject, s.used_amount, s.from_counters) for s in status] == [("a|b", Decimal(1), True), ("c", Decimal(1), False)]  # fmt: skip
    assert budget.filters == {"tag": ["a|b", "c"]}
    own = budget_status(usd=2, per=["tenant", "tag"], tag="c")
    assert own.filters == {"tenant": ["default"], "tag": ["c"]}
    assert compute_budget_uses(budget_status(usd=2, per="key"), {}, {}) == []
    spent_by_user = {"ann/3f9a": Decimal(1), None: Decimal(1)}
    status = compute_budget_uses(budget_status(usd=2, per="user"), {}, spent_by_user)
    assert [s.subject for s in status] == ["ann/3f9a"]
    team = budget_status(usd=2, per="team", team=["web"])
    assert team.filters == {"tenant": ["default"], "team": ["web"]}
    status = compute_budget_uses(
        team, {}, {"web": Decimal(1), "data": Decimal(1), None: Decimal(1)}
    )
    assert [s.subject for s in status] == ["web"]


@pytest.mark.parametrize("apart", ["key", "team", "tag", "tier"])
def test_only_the_subjects_that_a_budget_names_are_counted_apart(apart: str) -> None:
    budget = budget_status(usd=2, per=apart, **{apart: ["smart"]})
    spent = {"smart": Decimal(1), "fast": Decimal(1), None: Decimal(1)}
    assert [use.subject for use in compute_budget_uses(budget, {}, spent)] == ["smart"]
    assert budget.filters[apart] == ["smart"]


def test_subjects_are_in_order_wherever_their_amounts_come_from() -> None:
    """A name may have an equals sign."""
    budget = budget_status(usd=2, per="tag")
    counters = {f"usd|b|tag=c=1|{DAY}": 1, f"usd|b|tag=a|{DAY}": 1}
    spent: dict[str | None, Decimal] = {"d": Decimal(1), "b": Decimal(1)}
    uses = compute_budget_uses(budget, counters, spent)
    assert [use.subject for use in uses] == ["a", "b", "c=1", "d"]


def test_a_share_is_of_all_calls_of_the_same() -> None:
    budget = budget_status(share="0.1", tier=["reasoning"], per="key")
    used = {f"share|b|key=ann|{DAY}": 1, f"calls|b|key=ann|{DAY}": 3, f"share|b|key=bob|{DAY}": 1}
    status = compute_budget_uses(budget, used, {})
    assert [(s.subject, s.used_amount) for s in status] == [
        ("ann", Decimal("0.3333")),
        ("bob", Decimal(0)),
    ]
    assert status[0].compute_rate(NOW) is None
    assert status[0].predict_exhaustion(NOW) is None
    shared = budget_status(share="0.1", tier=["reasoning"])
    (whole,) = compute_budget_uses(shared, None, {})
    assert (whole.used_amount, whole.from_counters) == (Decimal(0), False)
    assert shared.limit == Decimal("0.1")
    for share_calls, used_share in ({}, "0"), ({f"share|b|all|{DAY}": 2}, "0.5"):
        (whole,) = compute_budget_uses(shared, {f"calls|b|all|{DAY}": 4, **share_calls}, {})
        assert whole.used_amount == Decimal(used_share)


@pytest.mark.parametrize(
    ("used", "rate", "hours"),
    [
        (0, Decimal(0), None),
        (2, Decimal("0.233766"), None),  # lasts longer than the day
        (8, Decimal("0.935065"), 2.139),
        (10, Decimal("1.168831"), None),  # used up
        (12, Decimal("1.402597"), None),
    ],
)
def test_a_budget_lasts_as_long_as_its_rate_says(
    used: int, rate: Decimal, hours: float | None
) -> None:
    """At this moment, 8 h 33 min of the day have passed."""
    (status,) = compute_budget_uses(
        budget_status(usd=10), {f"usd|b|all|{DAY}": used * 1_000_000}, {}
    )
    assert status.compute_rate(NOW) == pytest.approx(rate, abs=Decimal("0.001"))
    at = status.predict_exhaustion(NOW)
    assert (at is None) == (hours is None)
    if at is not None and hours is not None:
        assert (at - NOW) / 3_600 == pytest.approx(hours, abs=0.01)


@pytest.mark.parametrize(
    ("hours", "used", "rate", "lasts"),
    [
        (7, 1, "0.142857", None),
        (2, 11, "5.5", 2 + 1 / 5.5),  # a dollar is left
        (6, 4, "0.666667", 18),
        (12, 6, "0.5", None),  # it is used up as the day ends
    ],
)
def test_the_rate_of_a_budget_has_six_digits_and_says_when_it_is_used_up(
    hours: int, used: int, rate: str, lasts: float | None
) -> None:
    budget = budget_status(usd=12)
    assert budget.window.start is not None
    now = budget.window.start + hours * 3_600
    (use,) = compute_budget_uses(budget, {f"usd|b|all|{DAY}": used * 1_000_000}, {})
    assert use.compute_rate(now) == Decimal(rate)
    exhausted_at = use.predict_exhaustion(now)
    if lasts is None:
        assert exhausted_at is None
    else:
        assert exhausted_at == pytest.approx(budget.window.start + lasts * 3_600, abs=1)


def test_a_window_that_has_just_begun_or_never_ends_has_no_end_that_is_known() -> None:
    (fresh,) = iter_budgets([part(usd=10)], [], ["default"], ZONE, NOW)
    start = fresh.window.start or 0.0
    (status,) = compute_budget_uses(fresh, {f"usd|b|all|{DAY}": 1}, {})
    assert status.compute_rate(start + 59) is None
    assert status.compute_rate(start + 60) is not None
    (ever,) = compute_budget_uses(budget_status(usd=10, every="total"), {"usd|b|all|total": 1}, {})
    assert (ever.compute_rate(NOW), ever.predict_exhaustion(NOW)) == (None, None)


def test_a_budget_says_whose_calls_it_counts() -> None:
    (own,) = iter_budgets(
        [], [Key(name="ann", budgets=(KeyBudget(usd=Decimal(1), every="day"),))], [], ZONE, NOW
    )
    assert own.describe_scope(None) == "key ann"
    assert budget_status(usd=2).describe_scope(None) == "all tenants"
    assert budget_status(usd=2, per="tenant").describe_scope(None) == "tenant default"
    assert budget_status(usd=2, per="tag").describe_scope("web") == "tag web of all tenants"
    assert (
        budget_status(usd=2, per=["tenant", "tag"]).describe_scope("web")
        == "tag web of tenant default"
    )
    assert budget_status(usd=2, per="key").describe_scope("ann") == "key ann"
    team = budget_status(usd=2, per="team").describe_scope("web")
    assert team == "team web of tenant default"
    user = budget_status(usd=2, per="user")
    assert user.describe_scope("ann/3f9a") == "user 3f9a of key ann"
    assert user.describe_scope(None) == "user none of tenant default"
