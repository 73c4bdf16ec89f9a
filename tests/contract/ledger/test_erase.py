"""A person can be erased from journals and every store, and sums stay as they were."""

import os
from decimal import Decimal
from pathlib import Path

import pytest

from gateway.core.ledger_rows import FinalRow, Row
from gateway.ledger import transcripts
from gateway.ledger.erase import ErasedRows, erase_user
from gateway.ledger.journal import Journal, encode_row, list_segments, read_rows
from gateway.ledger.sql_store import SqlStore
from gateway.ledger.transcripts import TranscriptWriter
from gateway.ledger.verify import verify
from tests.contract.ledger.conftest import say
from tests.ledger.rows import entry, intent
from tests.ledger.test_personal_part import BASIS, SECRETS, USER

OTHER = "0123456789abcdef"
PERSONAL = {
    "conversation": "c" * 16,
    "upstream_id": "req-1",
    "response_id": 'r"x\\',
    "basis": BASIS,
}


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """Kept texts of the calls that `fill` writes."""
    folder = tmp_path / "content"
    writer = TranscriptWriter(folder, on_error=print)
    for name in ("old", "new", "other"):
        writer.keep(name, 1_793_000_000.0, b'{"prompt":"%b"}' % name.encode(), b"{}")
    writer.close()
    return folder


def fill(folder: Path) -> list[Path]:
    """Write calls of two users, also to a file without checksums; return the files."""
    say(folder, [intent("old", end_user=USER), entry("old", end_user=USER, **PERSONAL)])
    os.utime(folder / "a.jsonl", (1.0, 1.0))
    journal = Journal(folder)
    rows: list[Row] = [
        intent("new", end_user=USER),
        entry("new", end_user=USER, **PERSONAL),
        entry("other", end_user=OTHER, conversation="d" * 16),
        entry("nobody", conversation="e" * 16),
    ]
    for row in rows:
        journal.write(row)
    journal.close()
    return list_segments(folder)


def test_erasure_leaves_nothing_that_leads_to_the_person(
    store: SqlStore, folder: Path, texts: Path
) -> None:
    paths = fill(folder)
    store.feed(folder)
    sizes, totals = [path.stat().st_size for path in paths], store.sum_costs()
    cursor = store.read_ordered().cursor
    assert erase_user(folder, texts, store, USER) == ErasedRows(calls=2, lines=4, texts=2)
    data = b"".join(path.read_bytes() for path in paths)
    assert not any(secret in data for secret in SECRETS)
    assert [path.stat().st_size for path in paths] == sizes
    assert (folder / "a.jsonl").stat().st_mtime == 1.0
    assert [report.damages for report in verify(folder)] == [[], []]
    rows = {row.id: row for row in store.read_entries()}
    for name in ("old", "new"):
        row = rows[name]
        ids = (row.end_user, row.conversation, row.upstream_id, row.response_id)
        assert ids == (None,) * 4
        assert row.cost == Decimal("0.0000126")
        assert row.basis is not None
        assert row.basis.turn is not None
        assert (row.basis.turn.conversation, row.basis.turn.first) == ("", "")
    assert (rows["other"].end_user, rows["other"].conversation) == (OTHER, "d" * 16)
    assert store.sum_costs() == totals
    assert {row.id for row in store.read_entries(after_cursor=cursor)} == {"old", "new"}
    assert [text.id for text in transcripts.read_all(texts)] == ["other"]
    assert transcripts.find(texts, "old") is None
    assert erase_user(folder, texts, store, USER) == ErasedRows(0, 0, 0)
    assert store.feed(folder) == 0
    store.rebuild(folder)
    assert {row.id: row.end_user for row in store.read_entries()} == {
        "old": None, "new": None, "other": OTHER, "nobody": None,
    }  # fmt: skip


def test_calls_that_only_the_store_or_only_a_journal_has_are_erased(
    store: SqlStore, folder: Path, texts: Path
) -> None:
    new, old = fill(folder)
    lines = new.read_bytes()
    new.unlink()
    store.feed(folder)
    old.unlink()
    new.write_bytes(lines)
    assert erase_user(folder, texts, store, USER) == ErasedRows(calls=2, lines=2, texts=2)
    store.feed(folder)
    assert {row.end_user for row in store.read_entries()} == {None, OTHER}


def test_a_file_that_a_process_writes_is_erased_up_to_its_end(
    store: SqlStore, folder: Path, texts: Path
) -> None:
    journal = Journal(folder)
    journal.write(entry("a", end_user=USER))
    assert erase_user(folder, texts, store, USER).calls == 1
    journal.write(entry("b", end_user=USER))
    journal.close()
    (path,) = list_segments(folder)
    rows = [row for row, _ in read_rows(path) if isinstance(row, FinalRow)]
    assert [(row.id, row.end_user) for row in rows] == [("a", None), ("b", USER)]
    assert [report.damages for report in verify(folder)] == [[]]


def test_many_rows_and_torn_or_damaged_lines(store: SqlStore, folder: Path, texts: Path) -> None:
    rows = [entry(str(number), end_user=USER) for number in range(1_001)]
    say(folder, [*rows, encode_row(entry("torn", end_user=USER))[:-20]])
    say(folder, [encode_row(entry("damaged", end_user=USER))], "b.sealed")
    store.feed(folder)
    assert erase_user(folder, texts, store, USER) == ErasedRows(1_001, 1_001, 0)
    assert {row.end_user for row in store.read_entries(limit=2_000)} == {None}
    assert store.count() == 1_001
