"""Test figures over time as admins read them: sums, latencies, and the state of budgets."""

import time
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from gateway.state.errors import StoreUnavailable
from tests.e2e.upstream import Upstream
from tests.e2e.world import Config, Make, World, chat
from tests.ledger.rows import entry
from tests.server.admin.test_costs import write

SERIES, LATENCY, BUDGETS = "/admin/series", "/admin/latency", "/admin/budgets"


def read(world: World, path: str, **query: Any) -> Any:
    reply = world.client.get(path, params=query)
    assert reply.status_code == 200, reply.text
    return reply.json()


def test_a_series_adds_up_to_the_sums_of_costs(world: World) -> None:
    for model in ("fast", "smart", "smart"):
        assert world.ask(chat(model=model)).status_code == 200
    series = read(world, SERIES, by="tier", since="24h", zone="Europe/Berlin")
    assert (series["every"], series["zone"], series["by"]) == ("hour", "Europe/Berlin", ["tier"])
    assert len(series["slots"]) == len(series["starts"]) in (24, 25)
    assert series["since"] == series["starts"][0] <= time.time() - 86_400
    costs = read(world, "/admin/costs", by="tier", since="25h")
    assert series["total"] == costs["total"]
    assert sorted(series["totals"], key=str) == sorted(costs["groups"], key=str)
    last = len(series["slots"]) - 1
    assert {(g["tier"], g["calls"]) for g in series["groups"]} == {("fast", 1), ("smart", 2)}
    assert {g["slot"] for g in series["groups"]} <= {last - 1, last}
    assert {type(g["cost"]) for g in series["groups"]} == {str}, "money is exact"


def test_a_series_by_tag_counts_a_call_once_in_the_total(world: World) -> None:
    """A call counts once for each of its tags, and once in the total."""
    world.ask(chat(), x_tiergate_tags="a,b")
    series = read(world, SERIES, by="tag", every="minute", since="1h")
    assert [group["calls"] for group in series["totals"]] == [1, 1]
    assert series["total"]["calls"] == 1
    assert read(world, SERIES, by="guard", since="1h")["total"]["calls"] == 1
    series = read(world, SERIES, by="", every="day", since="7d")
    assert series["totals"] == []
    assert (series["total"]["calls"], series["groups"][0]["calls"]) == (1, 1)


def test_without_calls_sums_are_unknown_and_not_zero(world: World) -> None:
    series = read(world, SERIES)
    assert series["groups"] == series["totals"] == []
    assert series["total"]["calls"] == 0
    assert series["total"]["cost"] is None
    series = read(world, LATENCY)
    assert series["groups"] == series["totals"] == []
    assert series["total"] == {"duration": None, "first_content": None}


def test_latency_is_reported_by_group_and_slot(world: World, upstream: Upstream) -> None:
    for _ in range(3):
        world.ask(chat(model="fast"))
    world.ask(chat(model="fast", stream=True))
    latency = read(world, LATENCY, by="model", since="1h")
    assert latency["every"] == "minute"
    (whole,) = latency["totals"]
    assert whole["model"] == "swift-1"
    assert whole["duration"] == latency["total"]["duration"]
    assert whole["duration"]["count"] == 4
    assert 0 < whole["duration"]["p50"] <= whole["duration"]["p95"] <= whole["duration"]["p99"]
    assert sum(group["duration"]["count"] for group in latency["groups"]) == 4
    assert latency["whole"] == [
        {name: group[name] for name in ("slot", "duration", "first_content")}
        for group in latency["groups"]
    ]
    assert all(0 <= group["slot"] < len(latency["slots"]) for group in latency["groups"])


@pytest.mark.parametrize("path", [SERIES, LATENCY])
@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"by": "colour"}, "'colour' is none of tier,"),
        ({"by": "day"}, "The gateway cannot group a series by day: ask with every=day."),
        ({"every": "week"}, "`every` must be minute, hour or day."),
        ({"every": "minute", "since": "30d"}, "A series has at most 5000 slots"),
        ({"since": "1h", "until": "2h"}, "`until` is not after `since`."),
        ({"since": "2020-01-01", "until": "2019-01-01"}, "`until` is not after `since`."),
        ({"step": "1m"}, "There is no parameter 'step' here."),
        ({"zone": "Mars/Olympus"}, "There is no time zone 'Mars/Olympus'."),
        ({"since": "0001-01-01"}, "`until` is not after `since`."),
    ],
)
def test_a_wrong_query_for_a_series_gets_an_error_that_names_the_mistake(
    world: World, path: str, query: Mapping[str, str], message: str
) -> None:
    reply = world.client.get(path, params=query)
    assert reply.status_code == 400
    assert reply.json()["error"]["message"].startswith(message)


def budgets(value: Config) -> None:
    value["budgets"] = [
        {"name": "all", "usd": 10, "every": "day", "soft": 0.8},
        {"name": "each", "usd": 0.5, "every": "month", "per": "tier", "hard": False},
        {"name": "few", "share": 0.5, "tier": ["smart", "reasoning"], "every": "day"},
        {"name": "ever", "usd": 100, "every": "total", "key": "nobody"},
        {
            "name": "afar",
            "usd": 9,
            "every": "quarter",
            "time_zone": "Asia/Tokyo",
            "rise": {"usd": 2.5, "until": "2999-12-31"},
        },
    ]


def test_budgets_show_what_is_used_and_what_is_left(make: Make) -> None:
    world = make(budgets)
    for model in ("fast", "fast", "smart"):
        reply = world.ask(chat(model=model, max_tokens=9))
        assert reply.status_code == 200, reply.text
    spent = read(world, "/admin/costs", by="tier")
    report = read(world, BUDGETS)
    rows = {(row["name"], row["subject"]): row for row in report["budgets"]}
    assert set(rows) == {("all", None), ("each", "fast"), ("each", "smart"), ("few", None), ("ever", None), ("afar", None)}  # fmt: skip
    daily = rows["all", None]
    assert float(daily["used"]) == pytest.approx(float(spent["total"]["cost"]), abs=1e-5)
    assert daily["counted"] is True
    assert (daily["limit"], daily["soft"], daily["hard"], daily["every"]) == ("10", "0.8", True, "day")  # fmt: skip
    assert daily["since"] <= report["at"] < daily["until"]
    assert (rows["few", None]["used"], rows["few", None]["kind"]) == ("0.3333", "share")
    ever = rows["ever", None]
    assert (float(ever["used"]), ever["rate"], ever["runs_out"], ever["since"]) == (0, None, None, None)  # fmt: skip
    afar = rows["afar", None]
    assert (afar["every"], afar["zone"], daily["zone"]) == ("quarter", "Asia/Tokyo", "UTC")
    assert (afar["limit"], afar["rise"], daily["rise"], daily["rise_until"]) == ("11.5", "2.5", None, None)  # fmt: skip
    assert afar["rise_until"] == 32_503_647_600 == datetime(3000, 1, 1, tzinfo=ZoneInfo("Asia/Tokyo")).timestamp()  # fmt: skip
    assert afar["since"] % 86_400 == 15 * 3_600
    assert rows["each", "smart"]["only"] == ["tier=smart"]
    assert ever["only"] == ["key=nobody"]


def test_while_counters_are_unavailable_budgets_come_from_the_ledger(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make(budgets)
    assert world.ask(chat(model="fast", max_tokens=9)).status_code == 200

    async def fail(_: str) -> dict[str, int]:
        raise StoreUnavailable

    monkeypatch.setattr(world.gateway.limit_runtime._counter_store, "read_counters", fail)
    rows = {(row["name"], row["subject"]): row for row in read(world, BUDGETS)["budgets"]}
    spent = read(world, "/admin/costs")["total"]["cost"]
    assert (rows["all", None]["used"], rows["all", None]["counted"]) == (spent, False)
    assert rows["few", None]["counted"] is False


def test_a_budget_has_a_forecast_once_enough_was_spent(make: Make) -> None:
    """A dollar was spent in each hour of ten days, by tier; a new budget knows nothing, and no zero."""

    def change(value: Config) -> None:
        value["budgets"] = [
            {"name": "each", "usd": 100, "every": "day", "per": "tier"},
            {"name": "idle", "usd": 100, "every": "day", "key": "nobody"},
            {"name": "ever", "usd": 100, "every": "total"},
            {"name": "few", "share": 0.5, "tier": "smart", "every": "day"},
        ]

    world = make(change)
    now = time.time()
    ages = [3_600 * hour + 1 for hour in range(240)]
    write(
        world,
        *(
            entry(f"tg-{age}-{tier}", at=now - age, tier=tier, cost=Decimal(cost))
            for age in ages
            for tier, cost in (("fast", "0.25"), ("smart", "0.75"))
        ),
    )
    rows = {(row["name"], row["subject"]): row for row in read(world, BUDGETS)["budgets"]}
    for budget in ("idle", "ever", "few"):
        assert rows[budget, None]["forecast"] is None, budget
    for tier, cost in (("fast", 0.25), ("smart", 0.75)):
        row = rows["each", tier]
        left = (row["until"] - now) / 3_600
        expected = float(row["used"]) + left * cost
        for name in ("low", "expected", "high"):
            assert float(row["forecast"][name]) == pytest.approx(expected, abs=cost / 10), name
    world.ask(chat(max_tokens=5))
    again = {(row["name"], row["subject"]): row for row in read(world, BUDGETS)["budgets"]}
    assert again["each", "fast"]["forecast"]["expected"]


def test_without_budgets_the_list_is_empty(world: World) -> None:
    assert read(world, BUDGETS)["budgets"] == []
    assert world.client.get(f"{BUDGETS}?by=key").status_code == 400
