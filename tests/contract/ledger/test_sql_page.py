"""The queries of docs/sql.md return, on each engine, the sums that the gateway's store returns."""

import math
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import duckdb
import psycopg
import pytest

from gateway.core.ledger_rows import AttemptRow, FinalRow, Row
from gateway.ledger.sql_store import SqlStore
from gateway.ledger.sqlite import SqliteStore
from tests.contract.ledger.conftest import ask, fed
from tests.docs.pages import ROOT
from tests.ledger.clickhouse import ClickHouseServer, read_database
from tests.ledger.postgres import PostgresServer
from tests.ledger.rows import attempt, entry

type Ask = Callable[[str], list[tuple[Any, ...]]]

BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
FALL = datetime(2026, 10, 24, 21, 30, tzinfo=UTC)
"""A moment two and a half hours before a 25-hour day begins in Berlin."""


def rows() -> list[Row]:
    """Make about 300 calls of all kinds, in two months, by arithmetic."""
    made_rows: list[Row] = []
    for at in range(300):
        moment = (FALL + timedelta(hours=2.5 * at)).timestamp()
        tier = ("fast", "smart", "reasoning")[at % 3]
        more: dict[str, Any] = {
            "at": moment, "tier": tier, "key": ("ann", "bob", "cat")[at * at % 7 % 3], "lab": ("acme", "other")[at % 2],
            "source": ("pin", "rule", "classifier", "seat")[at % 4], "model": f"{tier}-1", "usage": "provider",
            "cost": Decimal(at * 37 % 101) / 1000, "wasted": Decimal(0), "estimate": Decimal(0), "baseline": Decimal(at * 53 % 97 + 60) / 1000,
            "first_content": (at * 61 % 89) / 10, "duration": (at * 61 % 89) / 5,
            "team": (None, "web")[at % 2], "end_user": (None, "u1", "u2")[at % 3],
        }  # fmt: skip
        id = f"call-{at}"
        if at % 11 == 3:
            more |= {"state": "cache_hit", "cache": "hit", "cost": Decimal(0), "attempts": 0}
        elif at % 13 == 5:
            more |= {"cost": None, "estimate": None, "price": None, "baseline": None}
        elif at % 17 == 6:
            more |= {"state": "failed", "usage": None, "cost": Decimal("0.001"), "baseline": None, "first_content": None, "input": None, "output": None}  # fmt: skip
        elif at % 19 == 7:
            more |= {"attempts": 2, "wasted": Decimal("0.002"), "provider": "spare"}
            made_rows.append(attempt(id, provider="openai", model=f"{tier}-1", at=moment))
        elif at % 23 == 8:
            more |= {"state": "unknown_crash", "cost": None, "wasted": None, "estimate": None, "usage": None, "first_content": None}  # fmt: skip
        if at % 5 == 2:
            more |= {"operation": "images.generate", "units": {"image hd": Decimal(at % 4 + 1), "second": Decimal("0.5")}}  # fmt: skip
        made_rows.append(entry(id, **more))
    return made_rows


ROWS = rows()
CALLS = [row for row in ROWS if isinstance(row, FinalRow)]


@cache
def queries() -> dict[str, dict[str, str]]:
    """Read the page's queries by heading, then by kind: `sql`, `sql sqlite`, `sql postgres`."""
    by_heading: dict[str, dict[str, str]] = {}
    for part in (ROOT / "docs/sql.md").read_text("utf-8").split("\n## ")[1:]:
        heading = part.partition("\n")[0]
        blocks = re.findall(r"^```(sql[\w ]*)\n(.*?)^```$", part, re.MULTILINE | re.DOTALL)
        by_heading[heading] = dict(blocks)
    return by_heading


class Engine(NamedTuple):
    """An engine that queries of the page run on."""

    kind: str
    """The kind of its own queries, for which there is one that runs on all engines otherwise."""
    open: Callable[[pytest.FixtureRequest, Path], Ask]
    """Feeds it from a folder of journals, and returns a function that runs a query."""


def open_sqlite(request: pytest.FixtureRequest, folder: Path) -> Ask:
    store = SqliteStore(f"sqlite:///{folder}/queried.db")
    store.feed(folder)
    return partial(ask, store)


def open_postgres(request: pytest.FixtureRequest, folder: Path) -> Ask:
    from gateway.ledger.postgres import PostgresStore  # noqa: PLC0415 - needs its driver

    store = PostgresStore(request.getfixturevalue("postgres").make_schema())
    store.feed(folder)
    return partial(ask, store)


def open_duckdb(request: pytest.FixtureRequest, folder: Path) -> Ask:
    pytest.importorskip("pyarrow", reason="no pyarrow: make engines")
    from tests.ledger.sinks.test_parquet import VIEWS, EagerSink  # noqa: PLC0415 - needs pyarrow

    EagerSink("lake", f"file://{folder}/lake").feed(folder)
    connection = duckdb.connect()
    request.addfinalizer(connection.close)
    connection.execute(VIEWS.replace("'lake/", f"'{folder}/lake/"))
    return lambda sql: connection.execute(sql).fetchall()


def open_clickhouse(request: pytest.FixtureRequest, folder: Path) -> Ask:
    from gateway.ledger.sinks.clickhouse import ClickHouseSink  # noqa: PLC0415 - needs its client

    server: ClickHouseServer = request.getfixturevalue("clickhouse")
    url = server.make_database()
    sink = ClickHouseSink("warehouse", url)
    request.addfinalizer(sink.close)
    sink.feed(folder)
    return lambda sql: server.ask(sql, read_database(url))


ENGINES = {
    "sqlite": Engine("sql sqlite", open_sqlite),
    "postgres": Engine("sql postgres", open_postgres),
    "duckdb": Engine("sql duckdb", open_duckdb),
    "clickhouse": Engine("sql clickhouse", open_clickhouse),
}


class FullLedger(NamedTuple):
    """An engine with all rows, and a store to compare it with."""

    kind: str
    ask: Ask
    store: SqlStore

    def answer(self, heading: str) -> list[tuple[Any, ...]]:
        """Run a query of the page at the moment NOW, and return its rows with money as numbers."""
        blocks = queries()[heading]
        # DuckDB reads nearly all that PostgreSQL does.
        like_postgres = blocks.get("sql postgres") if self.kind == "sql duckdb" else None
        text = blocks.get(self.kind) or like_postgres or blocks["sql"]
        moment = f"'{NOW:%Y-%m-%d %H:%M:%S}'"
        now = (
            f"toDateTime({moment}, 'UTC')" if "clickhouse" in self.kind else f"timestamptz '{NOW}'"
        )
        text = text.replace("'now'", moment).replace("now()", now)
        return [tuple(_plain(value) for value in row) for row in self.ask(text)]


@pytest.fixture(params=ENGINES)
def full(
    request: pytest.FixtureRequest, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FullLedger]:
    """Make an engine with all rows, and set TZ to Europe/Berlin."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Europe/Berlin")
        time.tzset()
        store = fed(SqliteStore(f"sqlite:///{folder}/ledger.db"), folder, ROWS)
        engine = ENGINES[request.param]
        yield FullLedger(engine.kind, engine.open(request, folder), store)
    time.tzset()


def _plain(value: object) -> object:
    if isinstance(value, Decimal):
        return float(value)
    return value if value is None or isinstance(value, int | float) else str(value)


def number(value: Decimal | None) -> float | None:
    return None if value is None else float(value)


def near(actual: list[tuple[Any, ...]], expected: list[tuple[Any, ...]]) -> None:
    """Assert that both have the same rows, in any order, with numbers to nine places."""
    assert len(actual) == len(expected) > 0
    key = repr
    for actual_row, expected_row in zip(sorted(_round(actual), key=key), sorted(_round(expected), key=key), strict=True):  # fmt: skip
        assert actual_row == expected_row


def _round(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return [tuple(round(float(v), 9) if isinstance(v, int | float) else v for v in row) for row in rows]  # fmt: skip


def test_every_heading_of_the_page_has_a_test() -> None:
    assert list(queries()) == [
        "Connecting", "Each tier by day, in a time zone", "Savings", "Who spends most", "Who spends most within a team",
        "What the cache saves",
        "How long people wait", "Who served in place of another", "Whose price is missing",
        "What is billed by unit", "What the month comes to", "What goes above fast",
    ]  # fmt: skip


def test_the_query_of_tiers_by_day_returns_the_sums_in_the_time_zone(full: FullLedger) -> None:
    """Days are Berlin's, also the day of 25 hours, as in `tiergate costs --by day,tier --zone`."""
    results = full.answer("Each tier by day, in a time zone")
    expected = full.store.sum_costs(("day", "tier"), zone=BERLIN)
    near(
        results,
        [(*group.names, group.calls, number(group.cost), group.unknown) for group in expected],
    )
    assert full.store.sum_costs(("day", "tier")) != expected, "the zone matters"


def test_the_query_of_savings_returns_the_stores_savings(full: FullLedger) -> None:
    expected = [
        (
            *group.names,
            number(group.baseline),
            number(group.saved),
            100 * float(group.saved / group.baseline),
        )
        for group in full.store.sum_costs(("lab", "tier"))
        if group.baseline and group.saved is not None
    ]
    near(full.answer("Savings"), expected)


def test_the_query_of_spenders_returns_the_cost_of_each_key(full: FullLedger) -> None:
    (total,) = full.store.sum_costs()
    assert total.cost
    near(
        full.answer("Who spends most"),
        [
            (*group.names, group.calls, number(group.cost), 100 * float(group.cost / total.cost), group.unknown)
            for group in full.store.sum_costs(("key",))
            if group.cost is not None
        ],
    )  # fmt: skip


def test_the_query_of_teams_returns_the_cost_of_each_user(full: FullLedger) -> None:
    near(
        full.answer("Who spends most within a team"),
        [
            (*group.names, group.calls, number(group.cost))
            for group in full.store.sum_costs(("tenant", "team", "key", "user"))
        ],
    )


def test_the_query_of_the_cache_returns_the_savings_of_each_key(full: FullLedger) -> None:
    hits = {
        group.names: group.saved
        for group in full.store.sum_costs(("key",), only={"state": ["cache_hit"]})
    }
    near(
        full.answer("What the cache saves"),
        [
            (*group.names, group.calls, group.cached, number(hits[group.names]))
            for group in full.store.sum_costs(("key",))
        ],
    )


def test_the_query_of_waits_returns_the_95th_percentile_of_each_tier(full: FullLedger) -> None:
    times: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for group in CALLS:
        if (
            group.state == "settled"
            and group.first_content is not None
            and group.duration is not None
        ):
            times[str(group.tier)].append((group.first_content, group.duration))
    expected = []
    for tier, some in times.items():
        place = math.ceil(0.95 * len(some)) - 1
        first, whole = (sorted(pair[at] for pair in some)[place] for at in (0, 1))
        expected.append((tier, len(some), first, whole))
    near(full.answer("How long people wait"), expected)


def test_the_query_of_failovers_counts_the_calls_that_another_target_served(
    full: FullLedger,
) -> None:
    failed = {row.id: row for row in ROWS if isinstance(row, AttemptRow)}
    counted: dict[tuple[Any, ...], list[float]] = defaultdict(list)
    for group in CALLS:
        if (tried := failed.get(group.id)) is not None and group.wasted is not None:
            place = (tried.provider, tried.model, tried.problem, group.provider, group.model)
            counted[place].append(float(group.wasted))
    near(
        full.answer("Who served in place of another"),
        [(*place, len(wasted), sum(wasted)) for place, wasted in counted.items()],
    )


def test_the_query_of_missing_prices_counts_the_calls_without_a_price(full: FullLedger) -> None:
    """Calls whose cost was lost in a crash are left out."""
    results = full.answer("Whose price is missing")
    lost = [group for group in CALLS if group.cost is None and group.wasted is not None]
    assert sum(row[3] for row in results) == len(lost) > 0
    (total,) = full.store.sum_costs()
    crashed = sum(group.state == "unknown_crash" for group in CALLS)
    assert total.unknown == len(lost) + crashed > len(lost)


def test_the_query_of_units_adds_up_each_unit_of_each_endpoint(full: FullLedger) -> None:
    counted: dict[tuple[Any, ...], list[float]] = defaultdict(list)
    for group in CALLS:
        for unit, quantity in group.units.items():
            if group.cache != "hit":
                counted[group.operation, group.model, unit].append(float(quantity))
    near(
        full.answer("What is billed by unit"),
        [(*names, len(some), sum(some)) for names, some in counted.items()],
    )


def test_the_query_of_the_month_predicts_its_cost(full: FullLedger) -> None:
    ((spent, month),) = full.answer("What the month comes to")
    now = NOW.timestamp()
    start = datetime(2026, 11, 1, tzinfo=BERLIN).timestamp()
    end = datetime(2026, 12, 1, tzinfo=BERLIN).timestamp()
    (so_far,) = full.store.sum_costs(since=start, until=now + 1)
    (week,) = full.store.sum_costs(since=now - 7 * 86_400, until=now + 1)
    assert so_far.cost
    assert week.cost
    assert spent == pytest.approx(float(so_far.cost))
    assert month == pytest.approx(float(so_far.cost) + float(week.cost) / 7 / 86_400 * (end - now))


def test_the_query_of_higher_tiers_returns_the_share_above_fast(full: FullLedger) -> None:
    decided: dict[tuple[str, str], list[bool]] = defaultdict(list)
    for group in CALLS:
        if group.source in ("rule", "classifier"):
            day = f"{datetime.fromtimestamp(group.at, UTC):%Y-%m-%d}"
            decided[day, group.key].append(group.tier != "fast")
    near(
        full.answer("What goes above fast"),
        [(*at, len(some), 100 * sum(some) / len(some)) for at, some in decided.items()],
    )


def test_a_reader_role_reads_the_views_and_nothing_else(
    postgres: PostgresServer, folder: Path
) -> None:
    from gateway.ledger.postgres import PostgresStore  # noqa: PLC0415 - needs its driver

    url = postgres.make_schema()
    fed(PostgresStore(url), folder, ROWS)
    name = re.findall(r"search_path[=%]\w*?(run\d+)", url)[0]
    with psycopg.connect(url, autocommit=True) as owner:
        for statement in queries()["Connecting"]["sql postgres"].split(";")[:2]:
            owner.execute(statement.encode())
        owner.execute(f"GRANT USAGE ON SCHEMA {name} TO reader".encode())
        try:
            owner.execute("SET ROLE reader")
            counted = owner.execute("SELECT count(*) FROM costs").fetchone()
            assert counted == (len(CALLS),)
            for refused in ("SELECT count(*) FROM entries", "DELETE FROM entries"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    owner.execute(refused.encode())
        finally:
            owner.execute("RESET ROLE")
            owner.execute("DROP OWNED BY reader")
            owner.execute("DROP ROLE reader")
