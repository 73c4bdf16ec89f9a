"""Test the Parquet sink in a folder: each row once, exact sums, erasure, and errors."""

import json
import sqlite3
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from gateway.core.ledger_rows import FinalRow, RepriceRow, Row
from gateway.ledger.errors import SinkError
from gateway.ledger.ingest import MAX_COUNT, RowBatch
from gateway.ledger.query import QueryGroup
from gateway.ledger.sinks.base import BatchOrigin
from gateway.ledger.sinks.open_sink import open_sink
from gateway.ledger.sqlite import SqliteStore
from tests.docs import pages
from tests.ledger.rows import attempt, entry, feedback, intent, reprice, sealed

pytest.importorskip("pyarrow", reason="no pyarrow: make engines")

from gateway.ledger.sinks.parquet import ParquetSink

VIEWS = "".join(block.text for block in pages.blocks() if block.kind == "sql parquet")
MIDNIGHT = 1_793_059_200.0
"""The end of 26 October 2026 (UTC)."""
MONEY = {"cost", "wasted", "estimate", "billed", "computed_cost", "reserved", "baseline", "switch_cost"}  # fmt: skip
NESTED = {"tags", "dropped", "guards", "cache_write_by", "tools", "media"}
COMPUTED = {"time", "day", "cost_usd", "baseline_usd", "saved"}


class EagerSink(ParquetSink):
    """Does not wait for more lines."""

    batch_bytes = 0


@pytest.fixture
def lake(tmp_path: Path) -> ParquetSink:
    return EagerSink("lake", f"file://{tmp_path}/lake")


def write_segment(folder: Path, name: str, rows: list[Row]) -> None:
    (folder / f"{name}.sealed.jsonl").write_bytes(sealed(*rows))


def ask(folder: Path, sql: str) -> list[dict[str, Any]]:
    """Run a query on the documented views of the lake in a folder."""
    with duckdb.connect() as connection:
        connection.execute(VIEWS.replace("'lake/", f"'{folder}/lake/"))
        result = connection.execute(sql)
        names = [column[0] for column in result.description or ()]
        return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


def ask_sqlite(folder: Path, sql: str) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(folder / "ledger.db")) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(sql)]


def sum_store(folder: Path) -> QueryGroup:
    """Feed a store from a folder, and return its sums over all calls."""
    store = SqliteStore(f"sqlite:///{folder}/ledger.db")
    store.feed(folder)
    (total,) = store.sum_costs()
    store.close()
    return total


def count_rows(folder: Path, table: str = "calls") -> int:
    """Return the number of rows in the objects of a table, as they lie."""
    with duckdb.connect() as connection:
        sql = f"SELECT count(*) FROM '{folder}/lake/{table}/*/*.parquet'"  # noqa: S608 - a folder of the test
        count: int = connection.execute(sql).fetchall()[0][0]
        return count


def plain(name: str, value: Any) -> Any:
    """Return a value of SQLite or DuckDB in one form."""
    if value is not None and name in MONEY:
        return Decimal(value)
    if name == "units":
        units = json.loads(value) if isinstance(value, str) else value
        return {unit: Decimal(quantity) for unit, quantity in units.items()}
    if isinstance(value, str) and name in NESTED:
        value = json.loads(value)
    if name in {"stream", "unknown"}:
        return bool(value)
    return value


def many_rows() -> list[Row]:
    """Return calls with all that changes a row later, around midnight."""
    rows: list[Row] = []
    for number in range(60):
        id, at = f"call-{number:02}", MIDNIGHT - 30 + number
        more: dict[str, Any] = {"at": at, "cost": Decimal(number) / Decimal(7_000_000 * 8)}
        more["cost"] = more["cost"].quantize(Decimal("1E-18"))
        match number % 6:
            case 1:
                more |= {"state": "cache_hit", "cache": "hit", "cost": None, "tools": {"web": 2}}
                more |= {"cache_write_by": {"1h": 3}, "media": {"input_image": 5}}
                more |= {"units": {"page": Decimal(1)}}
            case 2:
                more |= {"tags": ("b", "a", "b"), "tools": {"web": 2}, "guards": ("pii",)}
                more |= {"baseline": Decimal("0.3"), "end_user": "u1", "conversation": "c1"}
                more |= {"operation": "images.generate", "units": {"image hd": Decimal("1.5")}}
            case 3:
                more |= {"cost": None, "reserved": Decimal("0.5"), "attempts": 2, "asked": "a\0b"}
                rows.append(attempt(id, at=at))
            case 4:
                more |= {"input": 2**50, "output": 2**62, "attempts": 2**62}
        rows += [intent(id, at=at), entry(id, **more)]
        if number % 5 == 0:
            rows.append(reprice(id, cost=Decimal(number) / 1000, baseline=Decimal("0.7")))
        if number % 10 == 0:
            rows.append(reprice(id, at=1_793_000_800.0, cost=Decimal(9)))  # an earlier price
            rows.append(feedback(id))
    return rows


def closed(id: str, at: float) -> FinalRow:
    """Return the row of recovery for a call."""
    return entry(id, at=at, state="unknown_crash", status=None, cost=None, duration=None)


def test_the_documented_views_are_those_of_the_store(tmp_path: Path, lake: ParquetSink) -> None:
    rows = many_rows()
    late = [entry("late", at=MIDNIGHT - 1, cost=Decimal("0.25")), entry("dead", at=MIDNIGHT)]
    write_segment(tmp_path, "1", rows)
    # Recovery closed two calls whose process was slow; one began on another day. One has no row.
    crashes = [closed("late", MIDNIGHT + 1), closed("dead", MIDNIGHT), closed("gone", MIDNIGHT)]
    write_segment(tmp_path, "2", [*crashes, attempt("call-03", at=MIDNIGHT - 27)])
    write_segment(tmp_path, "3", [*late, rows[1]])  # and a row that was written twice
    lake.feed(tmp_path)
    sum_store(tmp_path)
    for view in ("costs", "attempts", "feedback"):
        expected = ask_sqlite(tmp_path, f"SELECT * FROM {view} ORDER BY id")  # noqa: S608
        actual = ask(tmp_path, f"SELECT * FROM {view} ORDER BY id")  # noqa: S608
        assert len(actual) == len(expected) > 0
        for actual_row, expected_row in zip(actual, expected, strict=True):
            assert actual_row.keys() - {"inexact"} == expected_row.keys()
            for name in expected_row.keys() - COMPUTED:
                assert plain(name, actual_row[name]) == plain(name, expected_row[name]), name
            assert str(actual_row["day"]) == expected_row["day"]
            assert f"{actual_row['time']:%Y-%m-%d %H:%M:%S}" == expected_row["time"]


@pytest.mark.parametrize("cuts", [(1.0,), (0.4, 1.0), (0.2, 0.5, 0.9, 1.0)])
@pytest.mark.parametrize("replay_cuts", [(1.0,), (0.4, 1.0), (0.3, 1.0)])
def test_sums_are_exact_after_replays_in_other_batches(
    tmp_path: Path, cuts: tuple[float, ...], replay_cuts: tuple[float, ...]
) -> None:
    rows = many_rows()
    for shares in (cuts, replay_cuts):
        sink = EagerSink("lake", f"file://{tmp_path}/lake")
        (tmp_path / "sinks" / "lake.json").unlink(missing_ok=True)
        for share in shares:
            write_segment(tmp_path, "1", rows[: int(share * len(rows))])
            sink.feed(tmp_path)
    total = sum_store(tmp_path)
    assert ask(tmp_path, "SELECT count(*) AS calls, sum(cost) AS usd FROM costs") == [
        {"calls": total.calls, "usd": total.cost}
    ]
    for table, kind in (("calls", FinalRow), ("reprices", RepriceRow)):
        assert count_rows(tmp_path, table) == sum(isinstance(row, kind) for row in rows)


def test_each_table_can_be_read_before_it_has_rows(tmp_path: Path, lake: ParquetSink) -> None:
    lake.check()
    for view in ("costs", "attempts", "feedback", "damages", "days"):
        assert ask(tmp_path, f"FROM {view}") == []
    assert (tmp_path / "lake").stat().st_mode & 0o077 == 0


def test_rows_lie_in_the_folder_of_their_day(tmp_path: Path, lake: ParquetSink) -> None:
    write_segment(tmp_path, "1", [entry("a", at=MIDNIGHT - 1), entry("b", at=MIDNIGHT)])
    lake.feed(tmp_path)
    paths = (tmp_path / "lake" / "calls").rglob("*-*-*.parquet")
    assert sorted(path.parent.name for path in paths) == ["day=2026-10-26", "day=2026-10-27"]


def test_an_object_has_the_rows_of_many_batches(tmp_path: Path, lake: ParquetSink) -> None:
    write_segment(tmp_path, "1", [entry(f"call-{number}") for number in range(1500)])
    lake.feed(tmp_path)
    assert count_rows(tmp_path) == 1500
    assert len([*(tmp_path / "lake" / "calls").rglob("*-*-*.parquet")]) == 1


def test_a_count_that_no_call_has_is_stored_as_in_the_store(
    tmp_path: Path, lake: ParquetSink
) -> None:
    write_segment(tmp_path, "1", [entry("a", input=2**70, attempts=2**70)])
    lake.feed(tmp_path)
    assert ask(tmp_path, "SELECT input, attempts FROM costs") == [
        {"input": None, "attempts": MAX_COUNT}
    ]


def test_a_damaged_journal_is_told(tmp_path: Path, lake: ParquetSink) -> None:
    write_segment(tmp_path, "1", [entry("a"), entry("b")])
    path = tmp_path / "1.sealed.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"id":"a"', b'"id":"x"'))
    lake.feed(tmp_path)
    (gap,) = ask(tmp_path, "FROM damages")
    assert (gap["segment"], gap["first"], gap["last"]) == ("1.sealed.jsonl", 1, 1)


def test_an_amount_with_more_digits_than_the_column_is_told(
    tmp_path: Path, lake: ParquetSink
) -> None:
    many_digits, huge = Decimal("0.1234567890123456789"), Decimal("123456789012345678901.5")
    rows: list[Row] = [
        entry("exact", cost=Decimal("99999999999999999999.999999999999999999")),
        entry("long", cost=many_digits, wasted=None, units={"second": many_digits, "page": huge}),
        entry("huge", cost=huge),
        entry("mad", cost=Decimal("1E-50")),
        reprice("exact", cost=Decimal("1E-19")),
    ]
    write_segment(tmp_path, "1", rows)
    lake.feed(tmp_path)
    amounts = {row["id"]: (row["cost"], row["inexact"]) for row in ask(tmp_path, "FROM call_rows")}
    assert amounts == {
        "exact": (Decimal("99999999999999999999.999999999999999999"), None),
        "long": (
            Decimal("0.123456789012345679"),
            {
                "cost": "0.1234567890123456789",
                "units second": "0.1234567890123456789",
                "units page": "123456789012345678901.5",
            },
        ),
        "huge": (None, {"cost": "123456789012345678901.5"}),
        "mad": (None, None),  # no store keeps more than 40 digits
    }
    (later,) = ask(tmp_path, "FROM reprice_rows")
    assert (later["cost"], later["inexact"]) == (0, {"cost": "0.0000000000000000001"})


def test_an_erased_user_is_in_no_object(tmp_path: Path, lake: ParquetSink) -> None:
    personal = {"end_user": "u" * 32, "conversation": "c" * 32, "upstream_id": "r" * 32, "response_id": "a" * 32}  # fmt: skip
    rows: list[Row] = [
        entry("a", **personal),
        entry("b", at=MIDNIGHT, **personal),
        *[entry(f"c{number}", end_user="v" * 32, conversation="d" * 32) for number in range(4)],
        entry("d"),
    ]
    write_segment(tmp_path, "1", rows)
    lake.feed(tmp_path)
    before = ask(tmp_path, "SELECT * FROM costs ORDER BY id")
    paths = sorted((tmp_path / "lake").rglob("*.parquet"))
    contents = [path.read_bytes() for path in paths]
    lake.erase_user(tmp_path, "u" * 32)
    assert sorted((tmp_path / "lake").rglob("*.parquet")) == paths
    changed = [path for path, old in zip(paths, contents, strict=True) if path.read_bytes() != old]
    assert len(changed) == 2
    assert ask(tmp_path, "SELECT * FROM costs ORDER BY id") == [
        row | dict.fromkeys(personal) if row["id"] in "ab" else row for row in before
    ]
    for path in paths:
        assert not any(value.encode() in path.read_bytes() for value in personal.values())


@pytest.mark.parametrize(
    "url",
    [
        "s3://",
        "s3:///prefix",
        "s3://key:secret@bucket",
        "s3://bucket?endpiont=x",
        "file://host/lake",
        "file:///",
        "file:///lake?region=x",
    ],
)
def test_a_wrong_url_is_refused(url: str) -> None:
    with pytest.raises(SinkError, match="the sink lake must have a URL as s3://BUCKET") as raised:
        open_sink("lake", url)
    assert "secret" not in str(raised.value)


def test_a_folder_that_cannot_be_written_is_an_error_of_the_sink(tmp_path: Path) -> None:
    (tmp_path / "lake").write_text("a file")
    sink = open_sink("lake", f"file://{tmp_path}/lake")
    with pytest.raises(SinkError, match=r"lake: .*File exists"):
        sink.check()


def test_a_row_of_no_real_time_has_a_day(tmp_path: Path, lake: ParquetSink) -> None:
    batch = RowBatch(reprices=[reprice("a", at=-1.0), reprice("b", at=1e300)], end=9)
    lake.write(batch, BatchOrigin("f0", "1.sealed.jsonl", 0, 9))
    lake.flush()
    paths = (tmp_path / "lake" / "reprices").rglob("*-*-*.parquet")
    assert sorted(path.parent.name for path in paths) == ["day=1970-01-01", "day=9999-12-31"]


def test_a_process_looks_again_into_folders_that_it_has_not_used_for_long(
    tmp_path: Path, lake: ParquetSink
) -> None:
    def deliver(end: int, at: float) -> None:
        batch = RowBatch(entries=[entry("a", at=at)], end=end)
        lake.write(batch, BatchOrigin("f0", "1.sealed.jsonl", 0, end))
        lake.flush()

    for day in range(40):
        deliver(9, day * 86_400.0)
    deliver(5, 0.0)
    assert count_rows(tmp_path) == 40
    lake.flush()  # nothing is left
    assert count_rows(tmp_path) == 40
