"""The forecast of a budget: none from too little, right for steady spending, and 80% of the time."""

import math
import random
from collections.abc import Callable
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from gateway.core.call import WindowKind
from gateway.limits.budget_forecast import (
    BudgetForecast,
    SpendingSteps,
    _choose_block,
    choose_steps,
    compute_forecast,
)
from gateway.limits.window import TOTAL, Window, find_window

HOURS, DAYS = SpendingSteps(3_600, 24, 840), SpendingSteps(86_400, 7, 182)


@pytest.mark.parametrize(
    ("every", "seconds", "season"),
    [("hour", 60, 60), ("day", 3_600, 24), ("week", 3_600, 24), ("month", 86_400, 7), ("quarter", 86_400, 7), ("year", 86_400, 7)],
)  # fmt: skip
def test_steps_suit_the_window(every: WindowKind, seconds: int, season: int) -> None:
    steps = choose_steps(find_window(every, 1_793_000_000, ZoneInfo("Europe/Berlin")))
    assert steps is not None
    assert (steps.seconds, steps.season) == (seconds, season)
    starts = steps.list_starts(1_793_000_000.0)
    assert len(starts) == steps.count + 1
    assert starts[-1] == 1_793_000_000.0
    assert starts[-1] - starts[-2] == seconds


def test_a_minute_and_a_window_without_an_end_have_no_forecast() -> None:
    minute = find_window("minute", 1_793_000_000, ZoneInfo("Europe/Berlin"))
    assert choose_steps(minute) is None
    assert choose_steps(TOTAL) is None
    assert choose_steps(Window("begins", 9.0, None)) is None
    assert choose_steps(Window("ends", None, 9.0)) is None


@pytest.mark.parametrize(
    ("length", "steps"),
    [
        (60, None),
        (61, SpendingSteps(60, 60, 1_440)),
        (3_600, SpendingSteps(60, 60, 1_440)),
        (3_601, SpendingSteps(3_600, 24, 840)),
        (8 * 86_400, SpendingSteps(3_600, 24, 840)),
        (8 * 86_400 + 1, SpendingSteps(86_400, 7, 182)),
    ],
)
def test_longer_windows_have_longer_steps(length: int, steps: SpendingSteps | None) -> None:
    assert choose_steps(Window("w", 1e9, 1e9 + length)) == steps


@pytest.mark.parametrize(
    ("horizon", "history", "block"),
    [
        (10, 840, (10, 24)),
        (210, 840, (210, 24)),
        (211, 840, (192, 24)),  # a quarter of what is known, in whole days
        (24, 200, (24, 24)),
        (30, 200, (24, 24)),  # eight of them begin a day apart
        (10, 191, (10, 1)),
        (47, 191, (47, 1)),
        (48, 191, (24, 1)),
        (1, 8, (1, 1)),
        (2, 8, None),
        (1, 7, None),
    ],
)
def test_blocks_are_as_long_as_the_rest_if_enough_of_them_are_known(
    horizon: int, history: int, block: tuple[int, int] | None
) -> None:
    assert _choose_block(horizon, history, 24) == block


def dollars(*amounts: float) -> list[Decimal]:
    return [Decimal(str(amount)) for amount in amounts]


def test_too_little_is_no_forecast_and_not_zero() -> None:
    """Before the first spending the gateway may not have run: that time says nothing."""
    for length in (0, 3, 39, 40):
        amounts = dollars(*[0] * (840 - length), *[1] * length)
        forecast = compute_forecast(Decimal(5), 10 * 3_600, HOURS, amounts)
        assert (forecast is None) is (length < 40)
    assert compute_forecast(Decimal(5), 3_600, HOURS, dollars(*[1] * 7)) is None
    assert compute_forecast(Decimal(5), 3_600, HOURS, dollars(*[1] * 8)) is not None
    assert compute_forecast(Decimal(5), 3_600, HOURS, []) is None
    assert compute_forecast(Decimal(5), 20 * 86_400, DAYS, dollars(*[1] * 27)) is None
    assert compute_forecast(Decimal(5), 20 * 86_400, DAYS, dollars(*[1] * 28)) is not None
    assert compute_forecast(Decimal(5), 30 * 3_600, HOURS, dollars(*[1] * 95)) is None


def test_steady_spending_goes_on() -> None:
    """A part of a step counts as that part."""
    forecast = compute_forecast(Decimal(5), 10.5 * 3_600, HOURS, dollars(*[2] * 400))
    assert forecast == BudgetForecast(Decimal(26), Decimal(26), Decimal(26))
    weeks = compute_forecast(Decimal(1), 17 * 86_400, DAYS, dollars(*[2] * 40))
    assert weeks == BudgetForecast(Decimal(35), Decimal(35), Decimal(35))


@pytest.mark.parametrize(
    ("hours", "low", "expected", "high"),
    [
        (0.5, "7.102163", "9.25", "11.397837"),
        (1, "7.204326", "11.5", "15.795674"),
        (2.5, "10.913741", "18.25", "25.586259"),
    ],
)
def test_uneven_spending_has_an_interval(hours: float, low: str, expected: str, high: str) -> None:
    """Hours of 1 to 8 USD: a mean of 4.5, deciles of 0.9 and 8.1, and 8 blocks of an hour."""
    forecast = compute_forecast(
        Decimal(7), hours * 3_600, SpendingSteps(3_600, 1, 8), dollars(*range(1, 9))
    )
    assert forecast == BudgetForecast(Decimal(low), Decimal(expected), Decimal(high))


def test_a_single_dear_hour_widens_the_interval_to_one_side() -> None:
    """Spending is never below what is used. The mean may be above the highest decile."""
    forecast = compute_forecast(Decimal(7), 3_600, HOURS, dollars(1_000, *[1] * 19))
    assert forecast == BudgetForecast(Decimal(7), Decimal("57.95"), Decimal("57.95"))


def test_the_hours_of_earlier_days_count_for_the_same_hours() -> None:
    """Nobody calls at night: at six in the evening six quiet hours are left."""
    day = [0.0] * 8 + [3.0] * 10 + [0.5] * 6
    amounts = dollars(*(day * 30)[: 29 * 24 + 18])
    forecast = compute_forecast(Decimal(30), 6 * 3_600, HOURS, amounts)
    assert forecast == BudgetForecast(Decimal(33), Decimal(33), Decimal(33))


type Shape = Callable[[int], float]


def office(hour: int) -> float:
    """Spend in office hours, and little at the weekend."""
    weekend = (hour // 24) % 7 >= 5
    return (0.2 if weekend else 1.0) * (5.0 if 8 <= hour % 24 < 18 else 0.5)


def coverage(steps: SpendingSteps, shape: Shape, length: int, horizon: int, *, seed: str) -> float:
    """Return how often the spending of the rest is in the interval, over 300 made-up pasts."""
    chance, hits = random.Random(seed), 0
    for run in range(300):
        phase = chance.randrange(10_000)
        drift = 1.0
        spent = []
        for step in range(length + horizon):
            # Busy and quiet spells last for some steps; single calls are few and dear.
            drift = math.exp(0.7 * math.log(drift) + chance.gauss(0, 0.25))
            spent.append(shape(phase + step) * drift * chance.gammavariate(2, 0.5))
        used = Decimal(run)
        forecast = compute_forecast(
            used, horizon * steps.seconds, steps, [Decimal(amount) for amount in spent[:length]]
        )
        assert forecast is not None
        total = used + Decimal(math.fsum(spent[length:]))
        hits += forecast.low <= total <= forecast.high
    return hits / 300


def weekly(day: int) -> float:
    return 20.0 if day % 7 < 5 else 4.0


def flat(_: int) -> float:
    return 1.0


@pytest.mark.parametrize(
    ("steps", "shape", "length", "horizon"),
    [
        (HOURS, flat, 840, 12), (HOURS, office, 840, 10), (HOURS, office, 840, 96), (HOURS, flat, 120, 20),
        (DAYS, weekly, 182, 27), (DAYS, weekly, 182, 100), (DAYS, weekly, 60, 20), (DAYS, flat, 35, 25),
    ],
)  # fmt: skip
def test_the_interval_holds_about_four_times_of_five(
    steps: SpendingSteps, shape: Shape, length: int, horizon: int
) -> None:
    share = coverage(steps, shape, length, horizon, seed=f"{length} {horizon} {shape.__name__}")
    assert 0.68 <= share <= 0.92, share
