"""Test ClickHouse against SQLite: the same rows give the same sums, whatever comes twice."""

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from itertools import combinations
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest

from gateway.core.ledger_rows import AttemptRow, FeedbackRow, FinalRow, RepriceRow, Row
from gateway.ledger.clickhouse import connection as connection_module
from gateway.ledger.clickhouse import schema
from gateway.ledger.clickhouse.connection import PASSWORD_VARIABLE
from gateway.ledger.clickhouse.store import ClickHouseStore
from gateway.ledger.errors import SinkError, StoreError
from gateway.ledger.journal import Journal
from gateway.ledger.query import GROUP_BY_NAMES
from gateway.ledger.sinks.clickhouse import ClickHouseSink
from gateway.ledger.sinks.feeder import SinkFeeder
from gateway.ledger.sinks.open_sink import open_sink
from gateway.ledger.sqlite import SqliteStore
from gateway.ledger.store import StoredRow, open_reader
from gateway.ledger.time_series import build_slots
from tests.contract.ledger.conftest import say
from tests.ledger.clickhouse import PASSWORD, ClickHouseServer, read_database
from tests.ledger.rows import attempt, entry, feedback, intent, reprice, sealed

NOVEMBER = 1_793_491_200.0  # the first of November 2026, in UTC
KOLKATA = ZoneInfo("Asia/Kolkata")
USER = "0123456789abcdef"


@pytest.fixture
def server(clickhouse: ClickHouseServer) -> ClickHouseServer:
    return clickhouse


@pytest.fixture
def url(server: ClickHouseServer) -> str:
    return server.make_database()


@pytest.fixture
def reader(url: str) -> Iterator[ClickHouseStore]:
    store = ClickHouseStore(url)
    yield store
    store.close()


@pytest.fixture
def sink(url: str) -> Iterator[ClickHouseSink]:
    sink = ClickHouseSink("warehouse", url)
    yield sink
    sink.close()


@pytest.fixture
def sqlite(tmp_path: Path) -> SqliteStore:
    return SqliteStore(f"sqlite:///{tmp_path / 'ledger.db'}")


def make_folder(tmp_path: Path, name: str) -> Path:
    folder = tmp_path / name
    folder.mkdir()
    return folder


def redeliver(sink: ClickHouseSink, folder: Path) -> None:
    """Deliver all rows of a folder, also those that the sink has."""
    (folder / "sinks" / f"{sink.name}.json").unlink(missing_ok=True)
    sink.feed(folder)


class Traffic:
    """Random rows of calls, also repriced, judged, and closed by recovery in another folder."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.rows: tuple[list[Row], list[Row]] = ([], [])
        for number in range(150):
            self._add_call(number)
        for rows in self.rows:
            self._random.shuffle(rows)

    def _add_call(self, number: int) -> None:
        choose, chance = self._random.choice, self._random.random
        at = NOVEMBER + self._random.uniform(-5, 5) * choose((1, 100_000))
        id = f"tg-{int(at * 1000):011x}{number:012x}"
        folder = self._random.randrange(2)
        call = self._make_call(id, at)
        if chance() < 0.9:
            self.rows[folder].append(call)
        if chance() < 0.2:  # a gateway was taken for dead
            crash = entry(
                id, at=at + chance() * 3, state="unknown_crash", status=None, cost=None,
                attempts=1, reserved=self._make_amount(), end_user=call.end_user,
            )  # fmt: skip
            self.rows[1 - folder].append(crash)
        for attempt_number in range(1, call.attempts):
            changes = {"attempt": attempt_number, "at": at, "cost": self._make_amount()}
            self.rows[folder].append(attempt(id, **changes))
        for _ in range(choose((0, 0, 1, 2))):
            repriced = reprice(
                id, at=at + 100 * chance(), cost=self._make_amount(),
                baseline=self._make_amount(), computed_cost=self._make_amount(),
            )  # fmt: skip
            self.rows[self._random.randrange(2)].append(repriced)
        if chance() < 0.2:
            tenant = choose(("default", "other"))
            self.rows[folder].append(feedback(id, at=at + chance(), tenant=tenant))

    def _make_call(self, id: str, at: float) -> FinalRow:
        choose, chance = self._random.choice, self._random.random
        return entry(
            id,
            at=at,
            state=choose(("settled", "estimated", "aborted", "failed", "refused", "cache_hit")),
            cache=choose(("off", "miss", "hit")),
            tier=choose(("fast", "smart", None)),
            key=choose(("alice", "bob's", 'a"\\b\n', "\N{SNOWMAN}")),
            team=choose(("blue", None)),
            end_user=choose((USER, "fedcba9876543210", None)),
            conversation=choose(("c1", None)),
            tags=tuple(self._random.sample(("x", "y", "z%s"), self._random.randrange(3))),
            guards=tuple(self._random.sample(("g", "h"), self._random.randrange(3))),
            status=choose((200, 499, None)),
            problem=choose(("timeout", None)),
            attempts=self._random.randrange(4),
            input=choose((None, self._random.randrange(10_000))),
            cache_write=choose((None, 7)),
            cache_write_by=choose(({}, {"5m": 7}, {"": 3, "1h": 4})),
            media={"input_audio": 5},
            operation=choose(("images.generate", None)),
            units=choose(({}, {"second": Decimal("8.5"), "image 1024x1792 hd": Decimal(2)})),
            reasoning=choose((None, 2**50, 11)),  # the second is no real count
            cost=self._make_amount(),
            wasted=self._make_amount(),
            estimate=self._make_amount(),
            billed=self._make_amount(),
            reserved=self._make_amount(),
            baseline=self._make_amount(),
            duration=choose((None, chance(), chance() * 10)),
            first_content=choose((None, chance())),
            confidence=choose((None, chance())),
            rule="a\0b",
        )

    def _make_amount(self) -> Decimal | None:
        digits = self._random.randrange(10 ** self._random.choice((0, 1, 9, 20, 37)) + 1)
        amount = Decimal(digits).scaleb(-self._random.choice((0, 15, 37, 38)))
        return self._random.choice((None, Decimal(0), amount))


def compare(reader: ClickHouseStore, sqlite: SqliteStore) -> None:
    """Assert that both stores answer each question alike."""
    days = build_slots("hour", NOVEMBER - 86_400, NOVEMBER + 86_400, KOLKATA)
    some_at = sqlite.read_entries(limit=40)[-1].at
    groupings = [
        (),
        *((name,) for name in GROUP_BY_NAMES),
        *combinations(("tag", "day", "guard"), 2),
    ]
    for by in groupings:
        assert reader.sum_costs(by, zone=KOLKATA) == sqlite.sum_costs(by, zone=KOLKATA), by
    selections: tuple[dict[str, Any], ...] = (
        {"since": some_at},
        {"until": some_at},
        {"only": {"tag": ["x", "z%s"], "key": ["bob's", 'a"\\b\n']}},
        {"only": {"status": ["200"], "user": [USER], "guard": ["g"]}},
        {"only": {"day": ["2026-11-01", "no day"]}},
        {"only": {"day": ["no day"]}},
        {"only": {"id": []}},
    )
    for selection in selections:
        for by in ((), ("tier", "state"), ("day",)):
            assert reader.sum_costs(by, **selection) == sqlite.sum_costs(by, **selection), selection
    for by in ((), ("tier",), ("tag",)):
        assert reader.measure_latency(by) == sqlite.measure_latency(by)
        between: dict[str, Any] = {
            "since": NOVEMBER - 86_400,
            "until": NOVEMBER + 86_400,
            "slots": days,
        }
        assert reader.measure_latency(by, **between) == sqlite.measure_latency(by, **between)
        assert reader.sum_costs(by, **between) == sqlite.sum_costs(by, **between)
    assert read_rows(reader) == read_rows(sqlite)
    for row in sqlite.read_entries(limit=20):
        assert reader.read_attempts(row.id) == sqlite.read_attempts(row.id)
    ids = [*read_rows(sqlite)]
    assert reader.read_feedback(ids) == sqlite.read_feedback(ids)


def read_rows(store: ClickHouseStore | SqliteStore) -> dict[str, StoredRow]:
    return {
        row.id: msgspec.structs.replace(row, cursor="") for row in store.read_entries(limit=10_000)
    }


@pytest.mark.parametrize("seed", range(2))
def test_sums_equal_those_of_sqlite_whatever_order_and_however_often_rows_come(
    seed: int, tmp_path: Path, url: str, reader: ClickHouseStore, sqlite: SqliteStore
) -> None:
    """Two gateways write to one database, and rows come again in random pieces."""
    order = random.Random(seed)
    traffic = Traffic(seed)
    folders = [make_folder(tmp_path, "one"), make_folder(tmp_path, "two")]
    sinks = [ClickHouseSink("warehouse", url), ClickHouseSink("warehouse", url)]
    for start in range(0, 400, 50):
        pairs = list(zip(folders, traffic.rows, sinks, strict=True))
        order.shuffle(pairs)
        for folder, rows, sink in pairs:
            say(folder, rows[start : start + 50])
            if order.random() < 0.4:
                redeliver(sink, folder)
            else:
                sink.feed(folder)
    for folder in folders:
        sqlite.feed(folder)
    compare(reader, sqlite)

    for folder, sink in zip(folders, sinks, strict=True):
        sqlite.erase_user(USER)
        sink.erase_user(folder, USER)
        sink.close()
    compare(reader, sqlite)
    assert reader.sum_costs(only={"user": [USER]})[0].calls == 0


def test_the_last_price_and_feedback_count_in_the_public_views(
    tmp_path: Path, url: str, server: ClickHouseServer, sink: ClickHouseSink
) -> None:
    rows: list[FinalRow | AttemptRow | RepriceRow | FeedbackRow] = [
        reprice("a", at=3.0, cost=Decimal(3)), reprice("a", at=2.0, cost=Decimal(2)),
        feedback("a", at=3.0, verdict="good"), feedback("a", at=2.0), entry("a"), attempt("a"),
        feedback("a", at=9.0, tenant="other"),
    ]  # fmt: skip
    folder = make_folder(tmp_path, "one")
    say(folder, rows[:-1])
    sink.feed(folder)
    database = read_database(url)
    assert server.ask("SELECT cost_usd, repriced FROM costs", database) == [(3.0, 3.0)]
    assert server.ask("SELECT verdict, given FROM feedback", database) == [("good", "fast")]
    assert server.ask("SELECT id, attempt, cost_usd FROM attempts", database) == [("a", 1, 0.0)]
    assert server.ask("SELECT calls, cost FROM days", database) == [(1, 3.0)]
    assert server.ask("SELECT * FROM damages", database) == []


def test_a_gap_in_a_journal_is_told_in_its_time(
    tmp_path: Path, reader: ClickHouseStore, sink: ClickHouseSink, sqlite: SqliteStore
) -> None:
    folder = make_folder(tmp_path, "one")
    lines = sealed(*(intent(str(number), at=NOVEMBER) for number in range(5))).splitlines(True)
    (folder / "1.sealed.jsonl").write_bytes(b"".join([*lines[:2], *lines[3:]]))
    sink.feed(folder)
    redeliver(sink, folder)
    sqlite.feed(folder)
    damages = sqlite.read_damages()
    assert [(row.first, row.last) for row in damages] == [(3, 3)]
    assert reader.read_damages() == damages
    assert reader.read_damages(since=damages[0].until + 1) == []
    assert reader.read_damages(until=0.0) == sqlite.read_damages(until=0.0)


def test_an_amount_with_too_many_digits_is_kept_as_text_and_told_as_unknown(
    tmp_path: Path,
    url: str,
    server: ClickHouseServer,
    sink: ClickHouseSink,
    reader: ClickHouseStore,
) -> None:
    folder = make_folder(tmp_path, "one")
    long_amounts = {"cost": Decimal("1e-39"), "baseline": Decimal("1e38"), "billed": Decimal(1)}
    units = {"second": Decimal("1e-39"), "page": Decimal("1E-7")}
    say(folder, [entry("a", **long_amounts, units=units)])
    sink.feed(folder)
    (group,) = reader.sum_costs()
    assert reader.read_entries()[0].units == {"page": Decimal("1E-7")}
    assert (group.cost, group.unknown) == (None, 1)
    database = read_database(url)
    ((kept,),) = server.ask("SELECT long_amounts FROM entries", database)
    assert {name: Decimal(text) for name, text in kept.items()} == {
        "cost": Decimal("1e-39"), "baseline": Decimal("1e38"), "units second": Decimal("1e-39"),
    }  # fmt: skip


def test_an_engine_that_is_away_for_an_hour_misses_no_row_and_delays_none(
    tmp_path: Path,
    url: str,
    server: ClickHouseServer,
    reader: ClickHouseStore,
    sqlite: SqliteStore,
) -> None:
    """The gateway goes on to write rows, and asks the engine once a minute."""
    now, waits, events = NOVEMBER, list[float](), list[dict[str, object]]()
    folder = make_folder(tmp_path, "one")
    journal = Journal(folder, clock=lambda: now)
    sink = ClickHouseSink("warehouse", url, clock=lambda: now)

    def log(event: str, **fields: object) -> None:
        events.append({"event": event, **fields})

    feeder = SinkFeeder("warehouse", sink, folder, log, lambda: now)
    journal.write(entry("before", at=now))
    feeder.feed()
    server.stop()
    try:
        while now < NOVEMBER + 3_600:
            journal.write(entry(f"away-{len(waits)}", at=now, cost=Decimal(len(waits))))
            feeder.feed()
            waits.append(feeder.wait_seconds)
            now += feeder.wait_seconds
    finally:
        server.start()
    assert (waits[:4], waits[-1]) == ([4.0, 8.0, 16.0, 32.0], 60.0)
    assert feeder.failures == len(waits)
    assert feeder.measure_lag() == now - NOVEMBER
    assert feeder.count_pending_bytes() > 0
    assert "Connection refused" in str(events[0])
    assert PASSWORD not in str(events)

    feeder.feed()
    assert (feeder.measure_lag(), feeder.count_pending_bytes()) == (0.0, 0)
    assert reader.sum_costs()[0].calls == len(waits) + 1
    redeliver(sink, folder)
    sink.close()
    journal.close()
    sqlite.feed(folder)
    compare(reader, sqlite)


def test_gateways_that_start_at_once_make_the_tables_once(
    url: str, server: ClickHouseServer
) -> None:
    sinks = [open_sink("warehouse", url) for _ in range(4)]
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda sink: sink.check(), sinks))
    for sink in sinks:
        sink.check()
        sink.close()
    database = read_database(url)
    versions = [(number,) for number in range(1, len(schema.CLICKHOUSE_MIGRATIONS) + 1)]
    assert server.ask("SELECT DISTINCT version FROM ledger ORDER BY 1", database) == versions
    assert server.ask("SELECT count(*) FROM costs", database) == [(0,)]


def test_a_database_of_the_first_version_gets_operations_and_units(
    tmp_path: Path,
    url: str,
    reader: ClickHouseStore,
    sink: ClickHouseSink,
    server: ClickHouseServer,
) -> None:
    folder = make_folder(tmp_path, "one")
    say(folder, [entry("a")])
    sink.feed(folder)
    sink.close()
    database = read_database(url)
    for statement in (
        "ALTER TABLE entries DROP COLUMN operation, DROP COLUMN units",
        "ALTER TABLE ledger DELETE WHERE version > 1 SETTINGS mutations_sync = 2",
    ):
        server.ask(statement, database)
    with pytest.raises(StoreError, match="an older version of tiergate made the ledger"):
        reader.sum_costs()
    say(folder, [entry("b", operation="audio.speech", units={"character": Decimal(12)})])
    sink.feed(folder)
    rows = {row.id: (row.operation, row.units) for row in reader.read_entries()}
    assert rows == {"a": (None, {}), "b": ("audio.speech", {"character": Decimal(12)})}


def test_a_database_without_this_versions_tables_is_refused(
    tmp_path: Path,
    reader: ClickHouseStore,
    sink: ClickHouseSink,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(StoreError, match=r"has no ledger yet: a gateway .* makes it"):
        reader.sum_costs()
    folder = make_folder(tmp_path, "one")
    say(folder, [entry("a")])
    sink.feed(folder)
    added = ("ALTER TABLE entries ADD COLUMN IF NOT EXISTS mood String",)
    longer = (*schema.CLICKHOUSE_MIGRATIONS, added)
    monkeypatch.setattr(connection_module, "CLICKHOUSE_MIGRATIONS", longer)
    with pytest.raises(StoreError, match="an older version of tiergate made the ledger"):
        reader.sum_costs()
    sink.close()
    sink.check()
    assert reader.sum_costs()[0].calls == 1
    monkeypatch.undo()
    reader.close()
    with pytest.raises(StoreError, match=r"a newer version .* \(schema 4\): update this one"):
        reader.sum_costs()
    sink.close()
    with pytest.raises(SinkError, match="a newer version"):
        sink.check()


def test_errors_say_what_is_wrong_without_the_password(
    url: str, server: ClickHouseServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = ClickHouseStore(server.url("default", "wr0ng"))
    with pytest.raises(
        StoreError, match=r"^ClickHouse at 127\.0\.0\.1:\d+: tiergate: Auth"
    ) as told:
        wrong.sum_costs()
    assert "wr0ng" not in str(told.value)
    with pytest.raises(StoreError, match="Database nowhere does not exist"):
        ClickHouseStore(server.url("nowhere")).sum_costs()
    bare_url = url.replace(":pa55%2Fword@", "@")
    monkeypatch.setenv(PASSWORD_VARIABLE, PASSWORD)
    open_sink("warehouse", bare_url).check()
    assert open_reader(bare_url).sum_costs()[0].calls == 0


def test_questions_that_clickhouse_cannot_answer_are_refused(reader: ClickHouseStore) -> None:
    with pytest.raises(ValueError, match="no cursors"):
        reader.read_entries(after_cursor="x.1")
    with pytest.raises(ValueError, match="cannot group by day"):
        reader.measure_latency(("day",))
    reader.close()  # nothing is open yet
