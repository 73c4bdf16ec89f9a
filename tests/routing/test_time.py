"""Rules read the local wall-clock time at which the call came."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from gateway.core.decision_context import DecisionContext
from gateway.dialects import OPENAI_CHAT
from gateway.routing.router import decide
from gateway.routing.rules.context import RuleContext
from tests.routing import world
from tests.routing.world import Json

BERLIN = ZoneInfo("Europe/Berlin")


def matches(time: Json, at: datetime) -> bool:
    rules = world.rules(choices=[{"when": {"time": time}, "tier": "fast"}])
    return rules.choices[0].test(
        RuleContext(world.call(), rules.patterns, DecisionContext(at=at.timestamp()))
    )


OFFICE: Json = {"hours": "08:00-18:00", "days": ["mon-fri"], "zone": "Europe/Berlin"}


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        # 2026-11-26 is a Thursday
        (datetime(2026, 11, 26, 8, 0, tzinfo=BERLIN), True),
        (datetime(2026, 11, 26, 7, 59, 59, tzinfo=BERLIN), False),
        (datetime(2026, 11, 26, 17, 59, 59, tzinfo=BERLIN), True),
        (datetime(2026, 11, 26, 18, 0, tzinfo=BERLIN), False),
        (datetime(2026, 11, 28, 12, 0, tzinfo=BERLIN), False),
        (datetime(2026, 11, 29, 12, 0, tzinfo=BERLIN), False),
        (datetime(2026, 11, 30, 8, 0, tzinfo=BERLIN), True),
        # summer time: the same local hour is another hour of UTC
        (datetime(2026, 7, 1, 6, 0, tzinfo=UTC), True),
        (datetime(2026, 7, 1, 5, 59, tzinfo=UTC), False),
        (datetime(2026, 12, 1, 6, 0, tzinfo=UTC), False),
        (datetime(2026, 12, 1, 7, 0, tzinfo=UTC), True),
    ],
)
def test_office_hours_follow_local_time_and_summer_time(at: datetime, expected: bool) -> None:
    assert matches(OFFICE, at) is expected


def test_a_skipped_hour_never_matches_and_a_repeated_hour_matches_twice() -> None:
    early: Json = {"hours": "02:00-03:00", "days": "sun", "zone": "Europe/Berlin"}

    def minutes(day: datetime) -> int:
        start = int(day.timestamp())
        return sum(
            matches(early, datetime.fromtimestamp(start + 60 * m, UTC)) for m in range(0, 360, 5)
        )

    assert minutes(datetime(2026, 3, 29, tzinfo=BERLIN)) == 0
    assert minutes(datetime(2026, 10, 25, tzinfo=BERLIN)) == 24
    assert minutes(datetime(2026, 11, 1, tzinfo=BERLIN)) == 12


@pytest.mark.parametrize(
    ("time", "hour", "expected"),
    [
        ({}, 3, True),
        ({"hours": ["22:00-24:00", "00:00-06:00"]}, 23, True),
        ({"hours": ["22:00-24:00", "00:00-06:00"]}, 5, True),
        ({"hours": ["22:00-24:00", "00:00-06:00"]}, 6, False),
        ({"days": "thu"}, 0, True),
        ({"days": ["fri-wed"]}, 0, False),
        ({"days": "sat-thu"}, 12, True),
        ({"days": "thu", "zone": "Asia/Tokyo"}, 16, False),  # it is Friday there
        ({"days": "fri", "zone": "Asia/Tokyo"}, 16, True),
        ({"days": "thu", "hours": "20:30-20:31", "zone": "Asia/Kolkata"}, 15, True),
    ],
)
def test_days_and_hours_match_as_they_are_written(time: Json, hour: int, expected: bool) -> None:
    assert matches(time, datetime(2026, 11, 26, hour, tzinfo=UTC)) is expected


def test_a_decision_takes_the_time_only_from_its_context() -> None:
    router = world.router(
        [{"when": {"time": {"hours": "00:00-06:00"}}, "max_tier": "fast"}],
        [{"when": {"time": {"hours": "12:00-13:00"}}, "tier": "reasoning"}],
    )
    for hour, tier in ((3, "fast"), (12, "reasoning"), (15, "smart")):
        at = datetime(2026, 11, 26, hour, tzinfo=UTC).timestamp()
        decision, _ = decide(router, world.call(), OPENAI_CHAT, DecisionContext(at=at))
        assert decision.tier == tier
