"""Retention: a segment is removed once it is finished, old and in the store, and not before."""

import os
from pathlib import Path

import pytest

from gateway.ledger.chain import CLOSED_LINE
from gateway.ledger.file_lock import try_lock_file
from gateway.ledger.journal import Journal, encode_row, list_segments
from gateway.ledger.recovery import sweep
from gateway.ledger.store import open_store
from tests.ledger.conftest import Start
from tests.ledger.rows import entry, intent

NOW = 1_793_000_000.0
DONE = encode_row(intent("a")) + encode_row(entry("a")) + CLOSED_LINE


def make_segment(folder: Path, name: str, data: bytes, age: float) -> Path:
    path = folder / f"{name}.jsonl"
    path.write_bytes(data)
    os.utime(path, (NOW - age, NOW - age))
    return path


def always_fed(_: Path) -> bool:
    return True


def test_only_finished_old_and_fed_segments_are_removed(tmp_path: Path) -> None:
    make_segment(tmp_path, "old", DONE, 100)
    remaining = [
        make_segment(tmp_path, "young", DONE, 10),
        make_segment(tmp_path, "open", encode_row(intent("b")), 100),
        make_segment(tmp_path, "empty", b"", 100),
        make_segment(tmp_path, "unfed", DONE, 100),
    ]
    removed = sweep(tmp_path, NOW - 50, lambda path: path.stem != "unfed")
    assert (removed, sorted(list_segments(tmp_path))) == (1, sorted(remaining))
    assert sweep(tmp_path / "nowhere", NOW, always_fed) == 0


def test_the_segment_of_a_running_process_stays(tmp_path: Path, start: Start) -> None:
    child = start(tmp_path, "open")
    assert child.stdout
    assert child.stdout.readline() == "open\n"
    (path,) = list_segments(tmp_path)
    with path.open("ab") as file:  # as it looks for a moment before its owner goes on
        file.write(CLOSED_LINE)
    later = path.stat().st_mtime + 1
    assert sweep(tmp_path, later, always_fed) == 0
    child.kill()
    child.wait()
    assert sweep(tmp_path, later, always_fed) == 1


def test_no_segment_is_removed_during_a_feed(tmp_path: Path) -> None:
    make_segment(tmp_path, "old", DONE, 100)
    with try_lock_file(tmp_path / "feed.lock") as mine:
        assert mine
        assert sweep(tmp_path, NOW, always_fed) == 0
    assert sweep(tmp_path, NOW, always_fed) == 1


def test_a_segment_that_its_owner_removes_meanwhile_is_ignored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    removed = tmp_path / "gone.jsonl"
    monkeypatch.setattr("gateway.ledger.recovery.list_segments", lambda _: [removed])
    assert sweep(tmp_path, NOW, always_fed) == 0


def test_a_segment_is_removed_only_once_the_store_has_its_rows(tmp_path: Path) -> None:
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
