"""Compiled limits and budgets: which calls need which counters, and how counters are rebuilt."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest

from gateway.core.call import OPEN_KEY, BudgetRise, Key, KeyBudget, KeyLimit
from gateway.core.ledger_rows import FinalRow
from gateway.core.target import TIERS, Tier
from gateway.limits.counters import MAX_COUNT, CounterDemand
from gateway.limits.rules import (
    BudgetLevel,
    CounterScope,
    LimitRules,
    describe_counter,
    split_user,
)
from gateway.settings.schema.limits import BudgetPart, LimitPart

BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 11, 24, 12, 30, tzinfo=UTC).timestamp()


def limits(*parts: dict[str, Any]) -> LimitRules:
    """Compile limits; parts with `every` are budgets."""
    return LimitRules(
        [LimitPart.model_validate({"name": "x", **part}) for part in parts if "every" not in part],
        [BudgetPart.model_validate({"name": "x", **part}) for part in parts if "every" in part],
        BERLIN,
    )


def needs(
    rules: LimitRules,
    *,
    key: str = "ann",
    tags: tuple[str, ...] = (),
    tier: Tier | None = "smart",
    now: float = NOW,
    micro: int | None = 70,
    expected: int | None = None,
    own: Key | None = None,
    user: str | None = "3f9a",
) -> tuple[CounterDemand, ...]:
    return rules.make_demands(
        key=key,
        tags=tags,
        tier=tier,
        now=now,
        tokens=900,
        micro_usd=micro,
        expected_micro_usd=expected,
        own_key=own,
        user=user,
    )


def fields(rules: LimitRules, **call: Any) -> list[str]:
    return [need.field for need in needs(rules, **call)]


def test_a_limit_of_three_kinds_makes_three_demands() -> None:
    rules = limits({"requests": "60/m", "tokens": "200k/h", "concurrency": 8, "per": "key"})
    assert needs(rules) == (
        CounterDemand(
            kind="requests", name="x", field="requests|x|key=ann|60s", limit=60, period=60.0, is_shown=True
        ),
        CounterDemand(
            kind="tokens", name="x", field="tokens|x|key=ann|3600s", limit=200_000, amount=900,
            period=3600.0, is_shown=True,
        ),
        CounterDemand(kind="concurrency", name="x", field="concurrency|x|key=ann", limit=8),
    )  # fmt: skip


@pytest.mark.parametrize(
    "per", ["tenant", "team", "key", "user", ["tenant", "tag"], ["tenant", "tier"]]
)
def test_a_client_sees_the_rates_of_its_own_tenant(per: object) -> None:
    """Calls at a time and money have no place in its headers."""
    parts = ({"requests": "60/m", "concurrency": 9, "per": per}, {"usd": 1, "every": "day"})
    demands = needs(limits(*parts), tags=("a",), own=Key(name="ann", team="web"))
    assert [demand.kind for demand in demands if demand.is_shown] == ["requests"]


@pytest.mark.parametrize("per", ["all", "tag", "tier"])
def test_a_client_does_not_see_the_rates_that_other_tenants_use(per: str) -> None:
    """They would tell of the traffic of others, unless the key is the only one that they count."""
    own = Key(name="ann")
    rules = limits({"requests": "60/m", "per": per})
    assert [demand.is_shown for demand in needs(rules, tags=("a",), own=own)] == [False]
    several = limits({"requests": "60/m", "per": per, "key": ["ann", "bob"]})
    assert [demand.is_shown for demand in needs(several, tags=("a",), own=own)] == [False]
    alone = limits({"requests": "60/m", "per": per, "key": "ann"})
    assert [demand.is_shown for demand in needs(alone, tags=("a",), own=own)] == [True]


def test_an_open_gateway_shows_all_rates() -> None:
    """It has one key, and no tenants."""
    rules = limits({"requests": "60/m"}, {"tokens": "1k/m", "per": "tier"})
    assert all(demand.is_shown for demand in needs(rules, key="open", own=OPEN_KEY))


def test_the_limits_of_a_key_itself_are_shown() -> None:
    own = Key(name="ann", limits=(KeyLimit(requests=(60, 60.0), tokens=(900, 60.0)),))
    assert [demand.is_shown for demand in needs(limits(), own=own)] == [True, True]


def test_a_budget_counts_micro_dollars_in_its_window() -> None:
    rules = limits({"usd": Decimal("20.000001"), "every": "day", "soft": 0.8})
    assert needs(rules) == (
        CounterDemand(
            kind="usd", name="x", field="usd|x|all|2026-11-24", limit=20_000_001, amount=70,
            needs_seed=True, soft=16_000_001, all_tenants=True,
        ),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("every", "name"),
    [
        ("minute", "2026-11-24T13:30+01:00"),
        ("hour", "2026-11-24T13+01:00"),
        ("day", "2026-11-24"),
        ("week", "2026-W48"),
        ("month", "2026-11"),
        ("quarter", "2026-Q4"),
        ("year", "2026"),
        ("total", "total"),
    ],
)
def test_windows_follow_the_configured_time_zone(every: str, name: str) -> None:
    assert fields(limits({"usd": 1, "every": every})) == [f"usd|x|all|{name}"]


def test_a_budget_may_have_a_time_zone_of_its_own() -> None:
    """It begins a new day in Tokyo, while the day of the others goes on."""
    rules = limits(
        {"usd": 1, "every": "day", "name": "a", "time_zone": "Asia/Tokyo"},
        {"usd": 1, "every": "day", "name": "b"},
    )
    now = datetime(2026, 11, 24, 15, tzinfo=UTC).timestamp()
    own = Key(name="ann", budgets=(KeyBudget(usd=Decimal(1), every="day", time_zone="Asia/Tokyo"),))
    assert fields(rules, now=now, own=own) == [
        "usd|a|all|2026-11-25", "usd|b|all|2026-11-24", "usd|key ann|own=ann|2026-11-25"
    ]  # fmt: skip
    assert fields(rules, now=now - 1)[0] == "usd|a|all|2026-11-24"
    tokyo, berlin, _ = needs(rules, now=now, own=own)
    scopes = [rules.find_scope(None, need) for need in (tokyo, berlin)]
    assert [scope.since for scope in scopes] == [now, now - 16 * 3_600]
    levels = list(rules.iter_levels(None, {"usd|a|all|2026-11-25": 3}, now))
    assert [(level.used_micro_usd, level.end) for level in levels] == [(3, now + 86_400)]


def test_a_rise_lasts_to_the_end_of_its_day_in_the_zone_of_the_budget() -> None:
    """Its demands are prepared anew when it ends; the counter stays the same."""
    rise = {"usd": 50, "until": "2026-11-24"}
    end = datetime(2026, 11, 24, 23, tzinfo=UTC).timestamp()  # midnight in Berlin
    rules = limits({"usd": 100, "every": "month", "soft": 0.8, "rise": rise})
    needed = [needs(rules, now=now)[0] for now in (end - 1, end - 0.001, end, end - 1)]
    assert [need.limit for need in needed] == [150_000_000, 150_000_000, 100_000_000, 150_000_000]
    assert [need.soft for need in needed] == [120_000_000, 120_000_000, 80_000_000, 120_000_000]
    assert {need.field for need in needed} == {"usd|x|all|2026-11"}
    tokyo = limits({"usd": 100, "every": "month", "rise": rise, "time_zone": "Asia/Tokyo"})
    early = datetime(2026, 11, 24, 15, tzinfo=UTC).timestamp()
    assert [needs(tokyo, now=now)[0].limit for now in (early - 1, early)] == [
        150_000_000,
        100_000_000,
    ]
    levels = [
        next(iter(rules.iter_levels(None, {"usd|x|all|2026-11": 3}, now))).limit_micro_usd
        for now in (end - 1, end)
    ]
    assert levels == [150_000_000, 100_000_000]


def test_a_budget_of_a_key_and_one_that_only_warns_rise_too() -> None:
    rise = BudgetRise(usd=Decimal(1), until="2026-11-24T12:31:00Z")
    own = Key(name="ann", budgets=(KeyBudget(usd=Decimal(2), every="day", rise=rise),))
    rules = limits(
        {"usd": 4, "every": "day", "hard": False, "rise": {"usd": 1, "until": "2026-11-24T13:31"}}
    )
    for now, soft, limit in ((NOW, 5_000_000, 3_000_000), (NOW + 60, 4_000_000, 2_000_000)):
        warns, key_need = needs(rules, now=now, own=own)
        assert (warns.limit, warns.soft, key_need.limit) == (MAX_COUNT, soft, limit)
    (unknown,) = needs(limits({"usd": 1, "every": "day", "rise": {"usd": 1, "until": "2026-12-01"}}), micro=None)  # fmt: skip
    assert unknown.amount == unknown.limit + 1 == 2_000_001


def test_a_new_counter_begins_exactly_at_midnight() -> None:
    rules = limits({"usd": 1, "every": "day"})
    midnight = datetime(2026, 11, 25, tzinfo=BERLIN).timestamp()
    result = [fields(rules, now=now) for now in (midnight - 0.001, midnight, midnight - 0.001)]
    assert result == [["usd|x|all|2026-11-24"], ["usd|x|all|2026-11-25"], ["usd|x|all|2026-11-24"]]


@pytest.mark.parametrize(
    ("part", "counted"),
    [
        ({}, True),
        ({"key": ["ann", "bob"]}, True),
        ({"key": "bob"}, False),
        ({"tag": ["a", "c"]}, True),
        ({"tag": "c"}, False),
        ({"tier": ["smart", "reasoning"]}, True),
        ({"tier": "fast"}, False),
        ({"key": "ann", "tag": "b", "tier": "smart"}, True),
        ({"key": "ann", "tag": "b", "tier": "fast"}, False),
    ],
)
def test_a_limit_counts_a_call_that_matches_all_its_filters(
    part: dict[str, Any], counted: bool
) -> None:
    for kind in ({"requests": "1/m"}, {"usd": 1, "every": "day"}):
        assert bool(fields(limits({**part, **kind}), tags=("a", "b"))) is counted


@pytest.mark.parametrize(
    ("part", "subjects"),
    [
        ({}, ["all"]),
        ({"per": "key"}, ["key=ann"]),
        ({"per": "tier"}, ["tier=smart"]),
        ({"per": "tag"}, ["tag=a", "tag=b"]),
        ({"per": "tag", "tag": ["b", "c"]}, ["tag=b"]),
        ({"per": "key", "tag": "a"}, ["key=ann"]),
    ],
)
def test_per_gives_each_key_tier_or_tag_its_own_counter(
    part: dict[str, Any], subjects: list[str]
) -> None:
    """A tag that a call names twice counts once."""
    result = fields(limits({**part, "concurrency": 1}), tags=("a", "b", "a"))
    assert result == [f"concurrency|x|{subject}" for subject in subjects]


def test_a_limit_on_tiers_does_not_count_embeddings() -> None:
    rules = limits(
        {"concurrency": 1, "per": "tier"}, {"name": "y", "concurrency": 1, "tier": "fast"}
    )
    assert needs(rules, tier=None) == ()
    assert fields(limits({"concurrency": 1}), tier=None) == ["concurrency|x|all"]


def test_names_are_escaped_so_that_no_two_share_a_counter() -> None:
    """Clients that choose their tags cannot forge a name either."""
    rules = limits({"name": "a|b", "per": "tag", "usd": 1, "every": "total"})
    need, other = needs(rules, tags=("c|total", "c%7Ctotal"))
    assert need.field == "usd|a%7Cb|tag=c%7Ctotal|total"
    assert other.field == "usd|a%7Cb|tag=c%257Ctotal|total"
    assert rules.find_scope(None, need).filters["tag"] == ["c|total"]
    assert rules.find_scope(None, other).filters["tag"] == ["c%7Ctotal"]


def test_a_share_counts_every_call_but_limits_only_its_tiers() -> None:
    share = {"share": 0.1, "tier": "reasoning", "every": "day", "soft": 0.5, "then": "smart"}
    rules = limits({**share, "per": "tenant"})
    field, whole = "share|x|all|2026-11-24", "calls|x|all|2026-11-24"
    (of_it,), (other,), (none,) = (needs(rules, tier=tier) for tier in ("reasoning", "fast", None))
    assert of_it == CounterDemand(
        kind="share", name="x", field=field, total_field=whole, limit=100, soft=50, then="smart"
    )
    same = CounterDemand(
        kind="share", name="x", field=field, total_field=whole, limit=100, soft=50, amount=0
    )
    assert other == none == same


def test_a_budget_that_only_warns_admits_every_call() -> None:
    """The budget warns at its amount if `soft` says nothing else."""
    (money,) = needs(limits({"usd": 20, "every": "day", "hard": False}))
    assert (money.limit, money.soft) == (MAX_COUNT, 20_000_000)
    rules = limits({"share": 0.1, "tier": "smart", "every": "day", "hard": False, "soft": 0.5})
    (share,) = needs(rules)
    assert (share.limit, share.soft) == (1000, 50)
    assert needs(limits({"usd": 20, "every": "day"}))[0].soft is None


@pytest.mark.parametrize(
    ("part", "micro", "expected", "amount"),
    [
        ({}, 70, 5, 70),
        ({"reserve": "expected"}, 70, 5, 5),
        ({"reserve": "expected"}, 70, None, 70),
        ({"reserve": "expected"}, None, 5, 5),
        ({}, None, 5, 1_000_001),
        ({"reserve": "expected"}, None, None, 1_000_001),
        ({"hard": False}, None, None, 0),
    ],
)
def test_a_call_reserves_the_most_that_it_may_cost(
    part: dict[str, Any], micro: int | None, expected: int | None, amount: int
) -> None:
    """An unknown cost fits no hard budget."""
    (need,) = needs(limits({"usd": 1, "every": "day", **part}), micro=micro, expected=expected)
    assert need.amount == amount


def test_then_is_the_cheaper_tier_that_the_budget_names() -> None:
    rules = limits({"usd": 1, "every": "day", "tier": ["smart", "reasoning"], "then": "fast"})
    assert [needs(rules, tier=tier)[0].then for tier in ("smart", "reasoning")] == ["fast", "fast"]


ANN = Key(
    name="ann",
    limits=(
        KeyLimit(requests=(60, 60.0), tokens=(1000, 1.0), concurrency=2),
        KeyLimit(concurrency=1),
    ),
    budgets=(
        KeyBudget(usd=Decimal(5), every="month", soft=Decimal("0.5"), then="fast"),
        KeyBudget(usd=Decimal(1), every="day", reserve="expected", hard=False),
    ),
)
WEB = Key(name="ann", team="web")


def test_a_keys_budget_counts_only_the_tiers_that_it_names() -> None:
    """A lost counter is rebuilt from calls of these tiers alone."""
    budget = KeyBudget(usd=Decimal(5), every="month", tier=("reasoning", "smart"), then="fast")
    key = Key(name="bob", budgets=(budget,))
    rules = limits()
    assert [bool(needs(rules, key="bob", own=key, tier=tier)) for tier in TIERS] == [
        False, True, True,
    ]  # fmt: skip
    (need,) = needs(rules, key="bob", own=key, tier="smart")
    scope = rules.find_scope("default", need)
    assert scope.filters == {"tenant": ["default"], "key": ["bob"], "tier": ["reasoning", "smart"]}


def test_a_key_has_its_own_limits_and_budgets() -> None:
    """A key's own limits follow those of the configuration, also if a name is used twice."""
    rules = limits({"name": "key ann", "per": "key", "concurrency": 9})
    result = needs(rules, own=ANN, expected=3)
    assert [(need.field, need.limit, need.amount) for need in result] == [
        ("concurrency|key ann|key=ann", 9, 1),
        ("requests|key ann|own=ann|60s", 60, 1),
        ("tokens|key ann|own=ann|1s", 1000, 900),
        ("concurrency|key ann|own=ann", 2, 1),
        ("concurrency|key ann 2|own=ann", 1, 1),
        ("usd|key ann|own=ann|2026-11", 5_000_000, 70),
        ("usd|key ann 2|own=ann|2026-11-24", MAX_COUNT, 3),
    ]
    assert [need.then for need in result[-2:]] == ["fast", None]
    assert needs(rules, own=ANN, tier="fast")[-2].then is None
    assert len({need.field for need in result}) == len(result)
    assert needs(rules, key="bob", own=Key(name="bob")) == needs(rules, key="bob")


def test_the_limits_of_a_changed_key_take_effect() -> None:
    rules, more = limits(), Key(name="ann", limits=(KeyLimit(concurrency=7),))
    assert needs(rules, own=ANN)[2].limit == 2
    assert [need.limit for need in needs(rules, own=more)] == [7]


DAY = (
    datetime(2026, 11, 24, tzinfo=BERLIN).timestamp(),
    datetime(2026, 11, 25, tzinfo=BERLIN).timestamp(),
)


@pytest.mark.parametrize(
    ("part", "only"),
    [
        ({}, {}),
        ({"per": "tenant"}, {}),
        ({"key": ["bob", "ann"]}, {"key": ["ann", "bob"]}),
        ({"key": ["bob", "ann"], "per": "key"}, {"key": ["ann"]}),
        ({"team": ["web", "data"]}, {"team": ["data", "web"]}),
        ({"team": ["web", "data"], "per": "team"}, {"team": ["web"]}),
        ({"team": "web", "per": "key"}, {"team": ["web"], "key": ["ann"]}),
        ({"per": "user"}, {"key": ["ann"], "user": ["3f9a"]}),
        ({"per": "user", "key": ["ann", "bob"]}, {"key": ["ann"], "user": ["3f9a"]}),
        ({"tag": ["b", "a"], "tier": "smart"}, {"tag": ["a", "b"], "tier": ["smart"]}),
        ({"tag": ["b", "a"], "per": "tag"}, {"tag": ["a"]}),
        ({"tag": ["b", "a"], "per": ["tenant", "tag"]}, {"tag": ["a"]}),
        ({"per": "tier", "key": "ann"}, {"key": ["ann"], "tier": ["smart"]}),
    ],
)
def test_a_lost_counters_scope_has_its_filters_and_window(
    part: dict[str, Any], only: dict[str, list[str]]
) -> None:
    """The ledger query has the counter's filters, subject, tenant and window.

    A counter of all tenants is rebuilt from the calls of every tenant.
    """
    rules = limits({"usd": 1, "every": "day", **part})
    need = needs(rules, tags=("a",), own=WEB)[0]
    owner = need.owner("acme")
    result = rules.find_scope(owner, need)
    assert result.filters == {**({} if owner is None else {"tenant": ["acme"]}), **only}
    assert (result.since, result.until) == DAY


def test_the_scope_of_a_lost_counter_of_one_key_is_that_key() -> None:
    rules = limits()
    month, day = needs(rules, own=ANN)[-2:]
    assert rules.find_scope("acme", day).filters == {"tenant": ["acme"], "key": ["ann"]}
    assert (rules.find_scope("acme", day).since, rules.find_scope("acme", day).until) == DAY
    assert rules.find_scope("acme", month).since == datetime(2026, 11, 1, tzinfo=BERLIN).timestamp()


def test_a_total_has_no_beginning_and_no_end() -> None:
    rules = limits({"usd": 1, "every": "total"})
    (need,) = needs(rules)
    assert (rules.find_scope(None, need).since, rules.find_scope(None, need).until) == (None, None)


@pytest.mark.parametrize(
    ("scope", "is_included"),
    [
        (CounterScope({}, None, None), True),
        (CounterScope({"tenant": ["acme"], "key": ["ann"], "tier": ["smart"]}, 5.0, 6.0), True),
        (CounterScope({"tag": ["b", "c"], "team": ["red"], "user": ["u"]}, None, None), True),
        (CounterScope({"tag": ["c"]}, None, None), False),
        (CounterScope({"tenant": ["default"]}, None, None), False),
        (CounterScope({}, 5.1, None), False),
        (CounterScope({}, None, 5.0), False),
    ],
)
def test_a_scope_includes_the_calls_that_its_counter_counts(
    scope: CounterScope, *, is_included: bool
) -> None:
    row = FinalRow(
        id="c", at=5.0, key="ann", tenant="acme", team="red", end_user="u", tags=("a", "b"),
        dialect="openai-chat", state="unknown_crash", tier="smart", config="c",
    )  # fmt: skip
    assert scope.includes(row) == is_included


def test_an_unknown_counter_has_no_scope() -> None:
    need = needs(limits({"usd": 1, "every": "day"}))[0]
    with pytest.raises(ValueError, match=r"no usd is counted by 'usd\|x\|all\|2026-11-24'"):
        limits().find_scope(None, need)
    tenant = msgspec.structs.replace(need, all_tenants=False)
    with pytest.raises(ValueError, match="no usd is counted"):
        limits({"usd": 1, "every": "day"}).find_scope("acme", tenant)


def test_budget_levels_count_the_current_windows_of_budgets_in_usd() -> None:
    """Levels include only current windows of budgets in USD that still exist."""
    rules = limits(
        {"name": "team", "usd": 4, "every": "day", "soft": 0.5, "hard": False, "per": "tenant"},
        {"name": "every", "usd": 4, "every": "day"},
        {"name": "each|one", "usd": 0, "every": "total", "per": "key"},
        {"name": "each team", "usd": 1, "every": "total", "per": "team"},
        {"name": "most", "share": 0.5, "tier": "reasoning", "every": "day"},
    )
    needs(rules, own=ANN)
    used = {
        "usd|team|all|2026-11-24": 1_000_000,
        "usd|team|all|2026-11-23": 3_000_000,
        "usd|each%7Cone|key=b%7Cb|total": 5,
        "usd|each team|team=web|total": 250_000,
        "usd|key ann|own=ann|2026-11": 2_500_000,
        "usd|gone|all|2026-11-24": 1,
        "usd|key bob|own=bob|2026-11": 1,
        "share|most|all|2026-11-24": 7,
        "calls|most|all|2026-11-24": 9,
        "usd|every|all|2026-11-24": 3_000_000,
        "usd|team|2026-11-24": 1,  # written by a gateway of another version
        "usd|team|all|2026-11-24|more": 1,
        "written by another program": 1,
    }
    result = list(rules.iter_levels("acme", used, NOW))
    month = [datetime(2026, at, 1, tzinfo=BERLIN).timestamp() for at in (11, 12)]
    assert result == [
        BudgetLevel("team", "", "acme", 4_000_000, 1_000_000, DAY[1], DAY[0]),
        BudgetLevel("each|one", "b|b", "acme", 0, 5, None),
        BudgetLevel("each team", "", "acme", 1_000_000, 250_000, None, team="web"),
        BudgetLevel("", "ann", "acme", 5_000_000, 2_500_000, month[1], month[0]),
    ]
    assert [level.used_ratio for level in result] == [0.25, 1.0, 0.25, 0.5]
    result = list(rules.iter_levels(None, used, NOW))
    assert result == [BudgetLevel("every", "", "", 4_000_000, 3_000_000, DAY[1], DAY[0])]


def test_counters_of_all_tenants_are_recognised_by_their_fields() -> None:
    """Only current windows of budgets in USD count, whatever else is in the store."""
    rules = limits(
        {"name": "a", "usd": 4, "every": "day"},
        {"name": "b", "usd": 4, "every": "day", "per": "tenant"},
        {"name": "c", "usd": 4, "every": "day", "per": "tag"},
        {"name": "d", "share": 0.5, "tier": "reasoning", "every": "day"},
    )
    fields = [
        "usd|a|all|2026-11-24", "usd|a|all|2026-11-23", "usd|b|all|2026-11-24",
        "usd|c|tag=x|2026-11-24", "share|d|all|2026-11-24", "usd|gone|all|2026-11-24",
        "usd|key ann|own=ann|2026-11", "usd|a|2026-11-24", "written by another program",
    ]  # fmt: skip
    result = list(rules.iter_shared_demands(fields, NOW))
    assert [need.field for need in result] == [fields[0], fields[3]]
    assert all(need.all_tenants for need in result)


@pytest.mark.parametrize(
    ("team", "counters"),
    [
        ("web", ["requests|a|all|60s", "requests|b|team=web|60s", "requests|c|team=web|60s"]),
        ("a|b", ["requests|c|team=a%7Cb|60s"]),
        (None, []),
    ],
)
def test_a_limit_of_teams_counts_only_keys_of_teams(team: str | None, counters: list[str]) -> None:
    """`team` names whose calls count; with `per: team` each team has a counter."""
    rules = limits(
        {"name": "a", "requests": "9/m", "team": "web"},
        {"name": "b", "requests": "9/m", "team": ["web", "data"], "per": "team"},
        {"name": "c", "requests": "9/m", "per": "team"},
    )
    assert fields(rules, own=Key(name="ann", team=team)) == counters


def test_a_count_of_each_user_needs_a_user() -> None:
    """A key's name may have a slash; a call that names no user is not counted."""
    rules = limits({"requests": "9/m", "per": "user"})
    assert fields(rules, key="a/b|c") == ["requests|x|user=a/b%7Cc/3f9a|60s"]
    assert fields(rules, user="others") == ["requests|x|user=ann/others|60s"]
    assert fields(rules, user=None) == []
    assert split_user("a/b|c/3f9a") == ("a/b|c", "3f9a")


def test_calls_of_different_users_share_their_demands_unless_users_are_counted() -> None:
    rules = limits({"requests": "9/m"})
    assert not rules.counts_users
    assert rules.prepare("ann", (), "smart", NOW, None, "a") is rules.prepare(
        "ann", (), "smart", NOW, None, "b"
    )
    rules = limits({"requests": "9/m", "per": "user"})
    assert rules.counts_users
    first = rules.prepare("ann", (), "smart", NOW, None, "a")
    assert first is rules.prepare("ann", (), "smart", NOW, None, "a")
    assert first is not rules.prepare("ann", (), "smart", NOW, None, "b")


@pytest.mark.parametrize(
    ("limit", "share"), [({}, True), ({"tag": "x"}, False), ({"per": "tag"}, False)]
)
def test_calls_of_different_tags_share_their_demands_unless_a_limit_reads_tags(
    limit: dict[str, object], *, share: bool
) -> None:
    rules = limits({"requests": "9/m", **limit})
    first = rules.prepare("ann", ("x",), "smart", NOW, None)
    assert first is rules.prepare("ann", ("x",), "smart", NOW, None)
    assert (first is rules.prepare("ann", ("y",), "smart", NOW, None)) == share


def test_only_so_many_prepared_demands_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.limits.rules._MAX_PREPARED", 2)
    rules = limits({"requests": "9/m"})
    first = rules.prepare("ann", (), "smart", NOW, None)
    rules.prepare("bob", (), "smart", NOW, None)
    assert rules.prepare("ann", (), "smart", NOW, None) is first
    rules.prepare("cid", (), "smart", NOW, None)
    assert rules.prepare("ann", (), "smart", NOW, None) is not first


def test_users_are_counted_in_the_windows_of_their_budgets_or_else_by_day() -> None:
    rules = limits(
        {"name": "a", "usd": 1, "every": "day", "per": "user"},
        {"name": "b", "usd": 1, "every": "month", "per": "user"},
        {"name": "c", "usd": 1, "every": "hour"},
    )
    assert [one.name for one in rules.find_user_windows(NOW)] == ["2026-11-24", "2026-11"]
    assert rules.find_user_windows(NOW) is rules.find_user_windows(NOW + 1)
    later = rules.find_user_windows(NOW + 86_400)
    assert [one.name for one in later] == ["2026-11-25", "2026-11"]
    rates = limits({"requests": "9/m", "per": "user"})
    assert [one.name for one in rates.find_user_windows(NOW)] == ["2026-11-24"]


@pytest.mark.parametrize(
    ("part", "description"),
    [
        ({}, "all tenants"),
        ({"per": "tenant"}, "tenant acme"),
        ({"per": "key"}, "key ann"),
        ({"per": "team"}, "team web of tenant acme"),
        ({"per": "user"}, "user 3f9a of key ann"),
        ({"per": "tag"}, "tag a|b of all tenants"),
        ({"per": ["tenant", "tag"]}, "tag a|b of tenant acme"),
        ({"per": "tier"}, "tier smart of all tenants"),
    ],
)
def test_a_counters_description_names_whose_calls_it_counts(
    part: dict[str, Any], description: str
) -> None:
    (need,) = needs(limits({"usd": 1, "every": "day", **part}), tags=("a|b",), own=WEB)
    assert describe_counter(need.owner("acme"), need) == description


def test_the_description_of_a_keys_own_counter_names_the_key() -> None:
    need = needs(limits(), own=ANN)[-1]
    assert describe_counter(need.owner("acme"), need) == "key ann"


def test_a_limit_that_is_not_a_budget_has_no_level() -> None:
    """No other value in the store under its name makes it full."""
    rules = limits({"requests": "60/m"})
    needs(rules, own=msgspec.structs.replace(ANN, budgets=()))
    assert list(rules.iter_levels("acme", {"usd|key ann|own=ann|60s": 1}, NOW)) == []
