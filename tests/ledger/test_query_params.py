"""Queries as people write them: names, periods and zones, on a command line or in a URL."""

import math
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from gateway.ledger.call_order import NEWEST_FIRST, CallOrder
from gateway.ledger.errors import LedgerQueryError
from gateway.ledger.query_params import (
    limit_search,
    parse_audit_query,
    parse_moment,
    parse_order,
    parse_query,
)

BERLIN = ZoneInfo("Europe/Berlin")
NOW = 1_793_000_000.0


@pytest.mark.parametrize(
    ("text", "end", "expected"),
    [
        ("90s", False, NOW - 90),
        ("90m", False, NOW - 5_400),
        ("24h", False, NOW - 86_400),
        ("7d", True, NOW - 604_800),
        ("2w", False, NOW - 1_209_600),
        ("2026-03-29", False, datetime(2026, 3, 28, 23, tzinfo=UTC).timestamp()),
        ("2026-03-29", True, datetime(2026, 3, 29, 22, tzinfo=UTC).timestamp()),
        ("2026-10-25", True, datetime(2026, 10, 25, 23, tzinfo=UTC).timestamp()),
        ("2026-11-01T09:30", True, datetime(2026, 11, 1, 8, 30, tzinfo=UTC).timestamp()),
        ("2026-11-01T09:30+00:00", True, datetime(2026, 11, 1, 9, 30, tzinfo=UTC).timestamp()),
        ("2026-11-01 09:30Z", False, datetime(2026, 11, 1, 9, 30, tzinfo=UTC).timestamp()),
        ("1793000000", False, NOW),
        ("1793000000.25", True, NOW + 0.25),
    ],
)
def test_parse_moment_reads_dates_periods_and_timestamps(
    text: str, end: bool, expected: float
) -> None:
    assert parse_moment(text, NOW, BERLIN, end=end) == expected


@pytest.mark.parametrize("text", ["", "7", "7y", "-7d", "9999-12-31", "2026-11", "1" * 400 + "d"])
def test_parse_moment_refuses_any_other_text(text: str) -> None:
    with pytest.raises(LedgerQueryError) as caught:
        parse_moment(text, NOW, BERLIN, end=True, parameter="until")
    assert caught.value.parameter == "until"
    assert len(str(caught.value)) < 200


def test_parse_query_reads_names_periods_and_filters() -> None:
    """Names may stand behind commas or apart, and count once; a value may hold its separator."""
    query = parse_query(
        ["tier,lab", " tier ", "day"], since="1d", until="2026-10-25", zone="Europe/Berlin", now=NOW,
        only=["model:llama3:8b", "model=a=b", "tag:x=y", "id=tg-1"],
    )  # fmt: skip
    assert query.by == ("tier", "lab", "day")
    assert query.time_zone == BERLIN
    assert query.selection == {
        "since": NOW - 86_400,
        "until": datetime(2026, 10, 25, 23, tzinfo=UTC).timestamp(),
        "only": {"model": ["llama3:8b", "a=b"], "tag": ["x=y"], "id": ["tg-1"]},
    }
    assert parse_query(now=NOW).selection == {"since": None, "until": None, "only": {}}


@pytest.mark.parametrize(
    ("params", "part", "message"),
    [
        ({"by": ["colour"]}, "by", "'colour' is none of tier, lab"),
        ({"by": ["id"]}, "by", "'id' is none of tier, lab"),
        ({"only": ["tier"]}, "only", "'tier' is not NAME=VALUE"),
        ({"only": ["tier="]}, "only", "'tier=' is not NAME=VALUE"),
        ({"only": ["=x"]}, "only", "'=x' is not NAME=VALUE"),
        ({"only": ["colour:red"]}, "only", "'colour:red' is not NAME=VALUE"),
        ({"only": ["tag:a\0"]}, "only", r"'tag:a\x00' has a character that no value has"),
        ({"only": ["tag:\udcff"]}, "only", r"'tag:\udcff' has a character that no value has"),
        ({"zone": "Mars/Olympus"}, "zone", "there is no time zone 'Mars/Olympus'"),
        ({"zone": "../../etc/passwd"}, "zone", "there is no time zone"),
        ({"zone": "/etc/passwd"}, "zone", "there is no time zone"),
        ({"zone": "\0"}, "zone", "there is no time zone"),
        ({"zone": "x" * 5000}, "zone", "there is no time zone"),
        ({"since": "yesterday"}, "since", "'yesterday' is no time"),
        ({"until": "x" * 5000}, "until", "is no time"),
    ],
)
def test_parse_query_names_the_wrong_parameter(
    params: dict[str, list[str]], part: str, message: str
) -> None:
    with pytest.raises(LedgerQueryError) as caught:
        parse_query(**{**params, "now": NOW})  # type: ignore[arg-type]  # a table row has what it needs
    assert caught.value.parameter == part
    assert message in str(caught.value)
    assert len(str(caught.value)) < 300


def test_a_search_covers_at_most_a_day_by_default_the_last_one() -> None:
    def limit(**times: str) -> tuple[float | None, float | None]:
        query = limit_search(parse_query(now=NOW, **times), NOW)
        return query.since, query.until

    assert limit() == (NOW - 86_400, None)
    assert limit(since="1h") == (NOW - 3_600, None)
    assert limit(since="25h") == (NOW - 90_000, None)
    assert limit(until="48h") == (NOW - 3 * 86_400, NOW - 2 * 86_400)
    assert limit(since="24h", until="2099-01-01")[0] == NOW - 86_400, "the future has no calls"
    with pytest.raises(LedgerQueryError, match="covers at most a day") as caught:
        limit(since="26h")
    assert caught.value.parameter == "since"


def test_a_query_for_the_audit_has_no_bounds_unless_it_names_them() -> None:
    names = {"who": "ann", "act": "key", "subject": "web", "zone": "UTC", "now": NOW}
    query = parse_audit_query(since="", until="", **names)  # type: ignore[arg-type]  # as named
    assert (query.since, query.until) == (-math.inf, math.inf)
    assert (query.who, query.act, query.subject) == ("ann", "key", "web")
    query = parse_audit_query(since="1h", until="2026-10-25", **names)  # type: ignore[arg-type]  # as named
    assert (query.since, query.until) == (NOW - 3_600, datetime(2026, 10, 26, tzinfo=UTC).timestamp())  # fmt: skip


def test_an_order_is_a_name_with_a_minus_for_the_highest_first() -> None:
    assert parse_order("") == parse_order("-received") == NEWEST_FIRST
    assert parse_order("cost") == CallOrder("cost", descending=False)
    for text in ("price", "--cost", "-"):
        with pytest.raises(LedgerQueryError, match="is none of received, cost, duration"):
            parse_order(text)
