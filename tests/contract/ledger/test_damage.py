"""Every ledger store keeps the gaps of journals, and can be made anew from them."""

from decimal import Decimal
from pathlib import Path

import pytest

from gateway.core.ledger_rows import DamagedRow, Row
from gateway.ledger.file_lock import try_lock_file
from gateway.ledger.sql_store import SqlStore
from tests.contract.ledger.conftest import ask, say
from tests.ledger.rows import attempt, entry, feedback, intent, reprice, sealed

_AT = 1_793_000_000.5
_SEGMENT = "a.sealed"
_LINES = sealed(*(entry(name, at=_AT + place) for place, name in enumerate("abcdefgh"))).splitlines(
    keepends=True
)


@pytest.fixture
def damaged(store: SqlStore, folder: Path) -> SqlStore:
    """A store that was fed a journal without its rows 3, 4 and 7."""
    say(folder, [*_LINES[:2], *_LINES[4:6], _LINES[7]], _SEGMENT)
    store.feed(folder)
    return store


def spans(rows: list[DamagedRow]) -> list[tuple[int, int]]:
    return [(row.first, row.last) for row in rows]


def test_a_gap_becomes_one_row(damaged: SqlStore, folder: Path) -> None:
    first, second = damaged.read_damages()
    assert first == DamagedRow(
        id="a.sealed.jsonl:3-4",
        segment="a.sealed.jsonl",
        problem="missing",
        first=3,
        last=4,
        since=_AT + 1 - 3600,
        until=_AT + 4 + 0.75,
    )
    assert (second.first, second.last) == (7, 7)
    assert damaged.state().damaged == 3
    assert damaged.state().skipped == 0
    assert [row.id for row in damaged.read_entries()] == ["a", "b", "e", "f", "h"]
    assert ask(damaged, "SELECT segment, first, last FROM damages ORDER BY first") == [
        ("a.sealed.jsonl", 3, 4),
        ("a.sealed.jsonl", 7, 7),
    ]
    say(folder, [sealed(entry("i"), link=(8, int(_LINES[7][-11:-3], 16)))], _SEGMENT)
    assert damaged.feed(folder) == 1
    assert len(damaged.read_damages()) == 2


def test_damages_are_those_that_a_time_touches(damaged: SqlStore) -> None:
    until = _AT + 4 + 0.75
    assert spans(damaged.read_damages(since=until)) == [(3, 4), (7, 7)]
    assert spans(damaged.read_damages(since=until + 0.1)) == [(7, 7)]
    assert spans(damaged.read_damages(until=_AT + 1 - 3600)) == []
    assert spans(damaged.read_damages(until=_AT + 1.1 - 3600)) == [(3, 4)]
    assert spans(damaged.read_damages(since=until, until=until + 60)) == [(3, 4), (7, 7)]


def test_a_gap_without_a_beginning_touches_all_time_before(store: SqlStore, folder: Path) -> None:
    say(folder, _LINES[2:], _SEGMENT)
    store.feed(folder)
    (row,) = store.read_damages(since=0.0, until=1.0)
    assert (row.first, row.last, row.since) == (1, 2, None)


def test_damages_are_pruned_with_the_rows_of_their_time(damaged: SqlStore) -> None:
    damaged.prune(_AT + 5)
    assert spans(damaged.read_damages()) == [(7, 7)]


def test_a_rebuild_replaces_what_journals_have_and_keeps_the_rest(
    store: SqlStore, folder: Path
) -> None:
    rows: list[Row | bytes] = [
        entry("a"),
        attempt("b", cost=None),
        intent("c"),
        reprice("a"),
        feedback("a"),
    ]
    say(folder, rows)
    say(folder, [entry("gone"), reprice("gone"), attempt("gone")], "removed")
    store.feed(folder)
    whole = store.read_entries(), store.read_attempts("b"), store.read_feedback(["a"])
    (folder / "removed.jsonl").unlink()
    with store.open_writer() as base, store.transaction(base):
        base.execute("UPDATE entries SET state = 'failed', input = 7")
        base.execute("DELETE FROM failures WHERE id = 'b'")
        base.execute("UPDATE reprices SET cost = '5'")
        base.execute("UPDATE verdicts SET score = 0.5")
    assert store.rebuild(folder) == 4
    by_id = {row.id: row for row in store.read_entries()}
    assert (by_id["a"].state, by_id["a"].input, by_id["a"].cost) == ("settled", 12, Decimal("0.02"))
    assert (by_id["gone"].state, by_id["gone"].cost) == ("failed", Decimal(5))
    assert len(store.read_attempts("gone")) == 1
    assert (store.read_attempts("b"), store.read_feedback(["a"])) == whole[1:]
    assert store.feed(folder) == 0


def test_a_rebuild_keeps_the_row_whose_line_was_damaged_later(
    store: SqlStore, folder: Path
) -> None:
    say(folder, [sealed(attempt("a"), entry("a"), entry("b"))], _SEGMENT)
    store.feed(folder)
    path = folder / f"{_SEGMENT}.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"0.0000126"', b'"9.0000126"', 1))
    assert store.rebuild(folder) == 2
    assert {row.id: row.cost for row in store.read_entries()} == {
        "a": Decimal("0.0000126"),
        "b": Decimal("0.0000126"),
    }
    assert spans(store.read_damages()) == [(2, 2)]


def test_a_rebuild_of_a_restored_journal_forgets_its_gaps(damaged: SqlStore, folder: Path) -> None:
    (folder / f"{_SEGMENT}.jsonl").write_bytes(b"".join(_LINES))
    assert damaged.rebuild(folder) == 8
    assert (damaged.count(), damaged.read_damages()) == (8, [])


def test_a_rebuild_waits_for_a_feed_and_needs_a_folder(store: SqlStore, folder: Path) -> None:
    say(folder, [entry("a")])
    store.feed(folder)
    with try_lock_file(folder / "feed.lock"):
        assert store.rebuild(folder) is None
    assert store.rebuild(folder / "away") == 0
    assert store.count() == 1
