"""Test the month to date that admins read over HTTP, with its forecast."""

import time
from datetime import datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from gateway.server.admin import month
from tests.e2e.world import Config, Make, World
from tests.ledger.rows import entry
from tests.server.admin.test_costs import check_error, get, write

PATH = "/admin/month"
DAY = 86_400


def budget(value: Config) -> None:
    value["budgets"] = [{"name": "all", "usd": 100, "every": "month"}]


def test_the_month_has_the_forecast_of_a_budget_of_all_calls(make: Make) -> None:
    """A dollar was spent on each of 100 days by one tier, and two by another."""
    world, now = make(budget), time.time()
    write(
        world,
        *(
            entry(f"tg-{day}-{tier}", at=now - DAY * day - 1_000, tier=tier, cost=Decimal(cost))
            for day in range(100)
            for tier, cost in (("fast", 1), ("smart", 2))
        ),
    )
    report = get(world, PATH).json()
    assert report["since"] <= report["at"] < report["until"]
    sums = get(world, f"/admin/costs?since={report['since']}").json()
    assert report["total"] == sums["total"]
    (whole,) = get(world, "/admin/budgets").json()["budgets"]
    assert (report["since"], report["until"]) == (whole["since"], whole["until"])
    assert report["total"]["cost"] == whole["used"]
    left = (report["until"] - now) / DAY
    expected = float(report["total"]["cost"]) + 3 * left
    for name in ("low", "expected", "high"):
        assert float(report["forecast"][name]) == pytest.approx(expected, abs=0.1)
        assert float(report["forecast"][name]) == pytest.approx(float(whole["forecast"][name]), abs=0.01)  # fmt: skip
    fast = get(world, f"{PATH}?only=tier:fast").json()
    expected = float(fast["total"]["cost"]) + left
    assert float(fast["forecast"]["expected"]) == pytest.approx(expected, abs=0.1)
    # The history is kept for a few minutes; the sums are new.
    write(world, entry("tg-new", tier="fast", cost=Decimal(5), at=now - 1))
    later = get(world, f"{PATH}?only=tier:fast").json()
    assert float(later["total"]["cost"]) == float(fast["total"]["cost"]) + 5
    assert float(later["forecast"]["expected"]) == pytest.approx(expected + 5, abs=0.1)


def test_from_too_little_there_is_no_forecast(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(month, "_MAX_HISTORIES", 1)
    zone = ZoneInfo("Asia/Tokyo")
    for _ in range(2):
        report = get(world, f"{PATH}?zone=Asia/Tokyo").json()
        assert (report["forecast"], report["total"]["cost"], report["damaged_rows"]) == (None, None, 0)  # fmt: skip
        assert datetime.fromtimestamp(report["since"], zone).strftime("%d %H") == "01 00"
        assert get(world, PATH).json()["zone"] == "UTC"
    assert check_error(get(world, f"{PATH}?since=7d"), 400).startswith("There is no parameter")
