"""Every ledger store stores each row once, whichever process feeds it and whenever."""

from decimal import Decimal
from itertools import permutations
from pathlib import Path

import pytest

from gateway.core.decision_context import DecisionContext, Score, Session
from gateway.core.decision_record import DecisionRecord, RecordedScope
from gateway.core.ledger_rows import AttemptRow, FeedbackRow, FinalRow, RepriceRow, Row
from gateway.ledger.chain import CLOSED_LINE
from gateway.ledger.file_lock import try_lock_file
from gateway.ledger.ingest import read_folder_id
from gateway.ledger.journal import encode_row
from gateway.ledger.schema import ATTEMPT_COLUMNS, ENTRY_COLUMNS, FEEDBACK_COLUMNS, REPRICE_COLUMNS
from gateway.ledger.sql_store import SqlStore
from gateway.ledger.store import IngestState, StoredRow
from tests.contract.ledger.conftest import Make, ask, say
from tests.ledger.busy import WAITS, feeding
from tests.ledger.rows import attempt, entry, feedback, intent, reprice

BASIS = DecisionRecord(
    user_tokens=12,
    tools=("read", "write"),
    scope=RecordedScope(tiers=("fast",), labs=()),
    signals={"words": 9, "code": 1 / 6, "maths": 1.0, "lookup": True},
    patterns="abcdef",
    score=Score(0.25, 0.75),
    doors={"gemini google/lite": ""},
    evidence=DecisionContext(
        ceiling="smart", seat=Session(lab="a", tier="fast", target="a/b", at=0.1)
    ),
    target="openai/gpt-5-nano",
)


def test_the_store_returns_every_field_of_a_row_and_exact_money(
    store: SqlStore, folder: Path
) -> None:
    row = entry(
        asked="auto",
        stream=True,
        tags=("b", "a"),
        team="web",
        end_user="3f9a0c1d2e4b5a67",
        problem="overloaded",
        aborted_by="client",
        source="rule",
        rule="null",
        arm="canary:in",
        guards=("no images", "{cheap}"),
        confidence=0.25,
        account="main",
        effort="high",
        service="priority",
        served="gpt-5-nano-2026",
        dropped=("top_k",),
        usage="provider",
        cache_read=7,
        cache_write=12,
        cache_write_by={"5m": 8, "1h": 4},
        reasoning=2**40,
        tools={"web_search": 2},
        cost=Decimal("12345678901234.123456789012"),
        wasted=Decimal("0.0000001"),
        estimate=Decimal(0),
        billed=Decimal("12345678901234.1234567890"),
        reserved=Decimal(1),
        baseline=Decimal("99.5"),
        price="catalogue 2026-11-24",
        first_content=0.5,
        upstream_id="req_1",
        response_id="chatcmpl-1",
        media={"input_audio": 5},
        operation="audio.transcriptions",
        units={
            "second": Decimal("8.470"),
            "image 1024x1792 hd": Decimal(2),
            "page": Decimal("1E-7"),
        },
        basis=BASIS,
    )
    say(folder, [intent(), row, CLOSED_LINE])
    assert store.feed(folder) == 1
    (stored,) = store.read_entries()
    assert {name: getattr(stored, name) for name in row.__struct_fields__} == {
        name: getattr(row, name) for name in row.__struct_fields__
    }
    assert str(stored.units["second"]) == "8.470"
    assert str(stored.cost) == "12345678901234.123456789012"
    assert str(stored.billed) == "12345678901234.1234567890"
    assert isinstance(stored, StoredRow)
    assert stored.repriced is None


def test_each_field_of_a_row_has_a_column() -> None:
    """A new field needs a migration."""
    assert set(ENTRY_COLUMNS) == set(FinalRow.__struct_fields__)
    assert set(ATTEMPT_COLUMNS) == set(AttemptRow.__struct_fields__)
    assert set(REPRICE_COLUMNS) == set(RepriceRow.__struct_fields__)
    assert set(FEEDBACK_COLUMNS) == set(FeedbackRow.__struct_fields__)


def test_the_store_still_feeds_rows_of_version_1(store: SqlStore, folder: Path) -> None:
    """An older gateway wrote this line before attempts and baselines were rows."""
    line = (
        b'{"kind":"final","v":1,"id":"0198","at":1793000000.5,"key":"open","tenant":"default",'
        b'"tags":[],"dialect":"openai-chat","asked":"auto","stream":false,"state":"settled",'
        b'"status":200,"problem":null,"aborted_by":null,"lab":"openai","tier":"fast",'
        b'"source":"default","rule":null,"confidence":null,"provider":"openai","account":"main",'
        b'"model":"gpt-5-nano","effort":null,"served":null,"attempts":2,"cache":"off","dropped":[],'
        b'"input":12,"cache_read":null,"cache_write":3,"output":30,"reasoning":null,'
        b'"cost":"0.0000126","price":"p1","first_content":null,"duration":0.75,'
        b'"upstream_id":null,"config":"c0ffee"}\n'
    )
    say(folder, [line])
    assert store.feed(folder) == 1
    (row,) = store.read_entries()
    assert (row.v, row.cost, row.wasted, row.cache_write_by) == (1, Decimal("0.0000126"), None, {})
    assert (row.operation, row.units) == (None, {})
    assert (row.media, row.response_id, row.guards, row.team, row.end_user) == (
        {},
        None,
        (),
        None,
        None,
    )
    # Version 1 did not record the cost of a first attempt.
    assert store.sum_costs()[0].unknown == 0


_NUL = (
    b'{"kind":"final","id":"n\\u0000l","at":1,"key":"k","dialect":"d","state":"settled",'
    b'"status":9223372036854775807,"attempts":9223372036854775807,"cost":"NaN",'
    b'"wasted":"1E+999999","estimate":"1E-999999","tools":{"\\u0000":9223372036854775807},'
    b'"config":"c"}\n'
)
_LATE = (
    b'{"kind":"final","id":"late","at":1e300,"key":"k","dialect":"d","state":"settled",'
    b'"config":"c"}\n'
)


def test_no_text_or_number_of_a_client_stops_the_feed(store: SqlStore, folder: Path) -> None:
    """PostgreSQL has no NUL and only 64 bits; the feed would retry a refused row for ever."""
    rows: list[Row | bytes] = [
        entry("nul", asked="a\0b", tags=("x\0", "y"), input=2**40 + 1, output=2**40),
        entry("odd", asked="'; DROP TABLE entries; -- %s %(x)s {}", tags=("{a,b}", 'c"', "\\")),
        _NUL,
        _LATE,
    ]
    say(folder, rows)
    assert store.feed(folder) == 3
    assert store.state().skipped == 1
    first, second, third = store.read_entries()
    assert (first.asked, first.tags) == ("a\ufffdb", ("x\ufffd", "y"))
    assert (first.input, first.output) == (None, 2**40)
    assert (second.asked, second.tags) == (
        "'; DROP TABLE entries; -- %s %(x)s {}",
        ("{a,b}", 'c"', "\\"),
    )
    assert (third.id, third.cost, third.wasted, third.estimate) == ("n\ufffdl", None, None, None)
    assert store.sum_costs(["tag", "day"])


def test_feeding_the_same_rows_again_changes_nothing(store: SqlStore, folder: Path) -> None:
    rows: list[Row] = [entry("a"), attempt("a"), reprice("a"), entry("b")]
    size = say(folder, rows)
    assert store.feed(folder) == 4
    assert store.feed(folder) == 0
    before = store.read_entries()
    # The same calls, in another segment and in this one after its offset is lost.
    say(folder, [*rows, entry("c")], "b")
    assert store.feed(folder) == 1
    with store.open_writer() as base:
        base.execute("DELETE FROM segments")
    store._fed_folders.clear()
    assert store.feed(folder) == 0
    assert store.read_entries()[:2] == before
    assert store.read_offsets(folder) == {
        "a.jsonl": size,
        "b.jsonl": size + len(encode_row(entry("c"))),
    }


def test_the_feed_continues_after_the_last_whole_line_of_a_segment(
    store: SqlStore, folder: Path
) -> None:
    line = encode_row(entry("b"))
    say(folder, [entry("a"), line[:50]])
    assert store.feed(folder) == 1
    assert store.feed(folder) == 0
    size = say(folder, [line[50:], b"torn\n", b'{"kind":"later","id":"x"}\n', CLOSED_LINE])
    assert store.feed(folder) == 1
    assert store.read_offsets(folder) == {"a.jsonl": size}
    assert ask(store, "SELECT skipped FROM segments") == [(2,)]
    assert store.state().skipped == 2


def test_the_feed_reads_a_segment_that_became_shorter_from_its_start(
    store: SqlStore, folder: Path
) -> None:
    say(folder, [entry("a"), entry("b")])
    store.feed(folder)
    (folder / "a.jsonl").unlink()
    size = say(folder, [entry("c")])
    assert store.feed(folder) == 1
    assert store.read_offsets(folder) == {"a.jsonl": size}
    assert store.sum_costs()[0].calls == 3


def test_a_segment_that_disappears_during_the_feed_is_no_error(
    store: SqlStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The owner removes an empty segment when it stops, and retention removes an old one."""
    say(folder, [entry("a")])
    say(folder, [entry("b")], "b")
    store.feed(folder)
    say(folder, [entry("c")], "b")
    segments = [folder / name for name in ("a.jsonl", "b.jsonl", "never.jsonl")]
    segments[0].unlink()
    monkeypatch.setattr("gateway.ledger.sql_store.list_segments", lambda _: segments)
    assert store.feed(folder) == 1
    assert [row.id for row in store.read_entries()] == ["a", "b", "c"]


def test_the_rows_of_a_removed_segment_stay_in_the_store(store: SqlStore, folder: Path) -> None:
    say(folder, [entry("a")])
    size = say(folder, [entry("b")], "b")
    store.feed(folder)
    (folder / "a.jsonl").unlink()
    assert store.feed(folder) == 0
    assert store.read_offsets(folder) == {"b.jsonl": size}
    assert store.sum_costs()[0].calls == 2


def test_rows_of_a_call_may_come_in_any_order(store: SqlStore, folder: Path) -> None:
    """A call's own row stays; a recovery's row gives way. A price or attempt waits for its call."""

    def row(kind: str, id: str) -> Row:
        match kind:
            case "real":
                return entry(id, key="bob")
            case "crash":
                return entry(id, state="unknown_crash", cost=None, input=None)
            case "price":
                return reprice(id, cost=Decimal(3), baseline=Decimal(4), price="p2")
        return attempt(id)

    orders = ["-".join(order) for order in permutations(["real", "crash", "price", "try"])]
    for step in [0, 1, 2, 3, 0, 1, 2, 3]:
        say(folder, [row(order.split("-")[step], order) for order in orders], f"{step}")
        store.feed(folder)
    assert sorted(row.id for row in store.read_entries()) == sorted(orders)
    for stored in store.read_entries():
        assert (stored.state, stored.key, stored.input) == ("settled", "bob", 12), stored.id
        assert (stored.cost, stored.baseline, stored.price) == (Decimal(3), Decimal(4), "p2"), (
            stored.id
        )
        assert stored.repriced == reprice().at
        assert store.read_attempts(stored.id) == [attempt(stored.id)]


def test_the_latest_of_several_prices_counts(store: SqlStore, folder: Path) -> None:
    orders = ["123", "132", "213", "231", "312", "321"]
    say(folder, [entry(order) for order in orders], "entry")
    for step in range(3):
        rows = [reprice(o, at=float(o[step]), cost=Decimal(o[step])) for o in orders]
        say(folder, rows, f"{step}")
        store.feed(folder)
    assert {(row.cost, row.repriced) for row in store.read_entries()} == {(Decimal(3), 3.0)}


def test_one_process_feeds_from_a_folder_at_a_time(store: SqlStore, folder: Path) -> None:
    say(folder, [entry()])
    with try_lock_file(folder / "feed.lock") as mine:
        assert mine
        assert store.feed(folder) is None
    assert store.state().fed_until is None
    assert store.feed(folder) == 1


def test_find_call_waits_until_another_process_has_fed_it(store: SqlStore, folder: Path) -> None:
    """The store may lack the call until then. If it is missing afterwards, it does not exist."""
    say(folder, [entry("a")])
    with feeding(folder) as other:
        store._sleep = other.sleep
        stored = store.find_call(folder, "a")
        assert stored is not None
        assert (stored.id, len(other.waited)) == ("a", WAITS)
    assert store.find_call(folder, "b") is None
    assert len(other.waited) == WAITS


def test_find_call_does_not_wait_for_a_stored_call(store: SqlStore, folder: Path) -> None:
    say(folder, [entry("a")])
    store.feed(folder)
    with feeding(folder) as other:
        store._sleep = other.sleep
        assert store.find_call(folder, "a") is not None
    assert other.waited == []


def test_find_call_waits_for_another_process_a_few_seconds_at_most(
    store: SqlStore, folder: Path
) -> None:
    waited: list[float] = []
    store._sleep = waited.append
    say(folder, [entry("a")])
    with feeding(folder):
        assert store.find_call(folder, "a") is None
    assert 1 <= sum(waited) <= 5


def test_catch_up_waits_until_another_process_has_fed(store: SqlStore, folder: Path) -> None:
    """The store has all rows of the journals, whichever process feeds.

    It waits a few seconds at most.
    """
    say(folder, [entry("a")])
    with feeding(folder) as other:
        store._sleep = other.sleep
        store.catch_up(folder)
    assert (store.count(), len(other.waited)) == (1, WAITS)
    store.catch_up(folder)
    assert len(other.waited) == WAITS
    say(folder, [entry("b")], "again")
    waited: list[float] = []
    store._sleep = waited.append
    with feeding(folder):
        store.catch_up(folder)
    assert 1 <= sum(waited) <= 5
    assert store.count() == 1


def test_without_a_journal_there_is_nothing_to_feed(store: SqlStore, folder: Path) -> None:
    folder.rmdir()
    assert store.feed(folder) == 0
    assert store.read_offsets(folder) == {}
    assert not folder.exists()
    folder.mkdir()
    assert store.feed(folder) == 0


def test_two_folders_may_have_segments_of_the_same_name(store: SqlStore, tmp_path: Path) -> None:
    """Two machines feed one store, and both write below /var/lib/tiergate."""
    one, two = tmp_path / "one", tmp_path / "two"
    for place in (one, two):
        place.mkdir()
    first = say(one, [entry("a"), entry("b")])
    second = say(two, [entry("c")])
    assert (store.feed(one), store.feed(two)) == (2, 1)
    assert (store.read_offsets(one), store.read_offsets(two)) == (
        {"a.jsonl": first},
        {"a.jsonl": second},
    )
    assert read_folder_id(one) == read_folder_id(one) != read_folder_id(two)
    assert (one / "id").stat().st_mode & 0o777 == 0o600


def test_the_state_of_the_feed_needs_no_query(make: Make, folder: Path) -> None:
    store = make()
    store._clock = iter([10.0, 20.0, 30.0]).__next__
    assert store.state() == IngestState(rows=0, skipped=0, fed_until=None)
    say(folder, [entry("a"), attempt("a"), b"torn\n"])
    store.feed(folder)
    assert store.state() == IngestState(rows=2, skipped=1, fed_until=10.0)
    store.feed(folder)  # nothing new: no query to the database
    assert store.state() == IngestState(rows=2, skipped=1, fed_until=20.0)
    say(folder, [entry("b")])
    store.feed(folder)
    assert store.state() == IngestState(rows=3, skipped=1, fed_until=30.0)


def test_a_failed_feed_has_stored_whole_batches_with_their_offset(
    store: SqlStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.ledger.ingest._BATCH_LINES", 2)
    lines = [encode_row(entry(str(number))) for number in range(5)]
    say(folder, lines)
    put, count = type(store).put, iter(range(9))

    def failing(self: SqlStore, base: object, batch: object) -> int:
        stored = put(self, base, batch)  # type: ignore[arg-type]  # it is the same method
        if next(count) == 1:
            raise OSError("the machine is on fire")
        return stored

    monkeypatch.setattr(type(store), "put", failing)
    with pytest.raises(OSError, match="fire"):
        store.feed(folder)
    assert [row.id for row in store.read_entries()] == ["0", "1"]
    assert store.read_offsets(folder) == {"a.jsonl": len(lines[0]) * 2}
    assert store.state() == IngestState(rows=2, skipped=0, fed_until=None)
    assert store.feed(folder) == 3
    assert [row.id for row in store.read_entries()] == ["0", "1", "2", "3", "4"]


def test_a_reader_cannot_write(store: SqlStore, folder: Path) -> None:
    say(folder, [entry()])
    store.feed(folder)
    error = "readonly|read-only"
    with pytest.raises(Exception, match=error), store.open_reader() as base:
        base.execute("DELETE FROM entries")
    assert store.sum_costs()[0].calls == 1


def test_prune_removes_old_calls_with_all_their_rows(
    store: SqlStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.ledger.sql_store._PRUNE_BATCH_CALLS", 3)
    ids = [str(number) for number in range(10)]
    rows: list[Row] = [entry(id, at=float(id)) for id in ids]
    rows += [attempt(id) for id in ids]
    rows += [reprice(id) for id in ids]
    rows += [feedback(id) for id in ids]
    size = say(folder, rows)
    orphans: list[Row] = [attempt("gone", at=1.0), reprice("gone", at=1.0), attempt("new", at=9.0)]
    orphans += [feedback("gone", at=1.0)]
    say(folder, orphans, "b")
    store.feed(folder)
    assert store.prune(7.0) == 7
    assert [row.id for row in store.read_entries()] == ["7", "8", "9"]
    assert ask(store, "SELECT id FROM failures ORDER BY id") == [("7",), ("8",), ("9",), ("new",)]
    assert ask(store, "SELECT id FROM reprices ORDER BY id") == [("7",), ("8",), ("9",)]
    assert ask(store, "SELECT id FROM verdicts ORDER BY id") == [("7",), ("8",), ("9",)]
    assert store.prune(7.0) == 0
    # The feed does not read them again.
    assert store.feed(folder) == 0
    assert store.read_offsets(folder)["a.jsonl"] == size
    store.close()
