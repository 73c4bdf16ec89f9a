"""Retention: a segment is removed once it is finished, old and in the store, and not before."""

import os
from pathlib import Path

import pytest

from gateway.ledger.file_lock import try_lock_file
from gateway.ledger.journal import CLOSED_LINE, Journal, encode_row, list_segments
from gateway.ledger.recovery import sweep
from gateway.ledger.store import open_store
from tests.ledger.conftest import Start
from tests.ledger.rows import entry, intent

NOW = 1_793_000_000.0
DONE = encode_row(intent("a")) + encode_row(entry("a")) + CLOSED_LINE


def made(folder: Path, name: str, data: bytes, age: float) -> Path:
    path = folder / f"{name}.jsonl"
    path.write_bytes(data)
    os.utime(path, (NOW - age, NOW - age))
    return path


def yes(_: Path) -> bool:
    return True


def test_only_what_is_over_and_old_and_fed_goes(tmp_path: Path) -> None:
    made(tmp_path, "old", DONE, 100)
    stay = [
        made(tmp_path, "young", DONE, 10),
        made(tmp_path, "open", encode_row(intent("b")), 100),
        made(tmp_path, "empty", b"", 100),
        made(tmp_path, "unfed", DONE, 100),
    ]
    gone = sweep(tmp_path, NOW - 50, lambda path: path.stem != "unfed")
    assert (gone, sorted(list_segments(tmp_path))) == (1, sorted(stay))
    assert sweep(tmp_path / "nowhere", NOW, yes) == 0


def test_a_segment_that_a_process_writes_stays(tmp_path: Path, start: Start) -> None:
    child = start(tmp_path, "open")
    assert child.stdout
    assert child.stdout.readline() == "open\n"
    (path,) = list_segments(tmp_path)
    with path.open("ab") as file:  # as it looks for a moment before its owner goes on
        file.write(CLOSED_LINE)
    later = path.stat().st_mtime + 1
    assert sweep(tmp_path, later, yes) == 0
    child.kill()
    child.wait()
    assert sweep(tmp_path, later, yes) == 1


def test_while_a_store_is_fed_or_another_sweeps_nothing_goes(tmp_path: Path) -> None:
    made(tmp_path, "old", DONE, 100)
    with try_lock_file(tmp_path / "feed.lock") as mine:
        assert mine
        assert sweep(tmp_path, NOW, yes) == 0
    assert sweep(tmp_path, NOW, yes) == 1


def test_what_its_owner_has_taken_away_meanwhile_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone.jsonl"
    monkeypatch.setattr("gateway.ledger.recovery.list_segments", lambda _: [gone])
    assert sweep(tmp_path, NOW, yes) == 0


def test_what_the_store_has_is_still_there_when_the_journal_is_not(tmp_path: Path) -> None:
    """By the store's own offsets, a segment is removed only after its last row was stored."""
    folder, store = tmp_path / "ledger", open_store(f"sqlite:///{tmp_path / 'ledger.db'}")
    journal = Journal(folder)
    journal.write(intent("a"))
    journal.write(entry("a"))
    journal.close()

    def fed(path: Path) -> bool:
        return store.read_offsets(folder).get(path.name) == path.stat().st_size

    (path,) = list_segments(folder)
    later = path.stat().st_mtime + 1
    assert sweep(folder, later, fed) == 0
    assert store.feed(folder) == 1
    assert sweep(folder, later, fed) == 1
    assert list_segments(folder) == []
    assert store.feed(folder) == 0
    assert [row.id for row in store.read_entries()] == ["a"]
    store.close()
