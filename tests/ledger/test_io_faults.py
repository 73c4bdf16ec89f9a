"""Disks that fail, fill up, tear and reorder: no row is lost that a writer has acknowledged."""

import errno
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.core.jsonio import dumps
from gateway.core.ledger_rows import Row
from gateway.ledger.errors import JournalError
from gateway.ledger.journal import Journal, list_segments, read_rows
from gateway.ledger.recovery import recover
from gateway.ledger.verify import SegmentReport, verify
from tests.ledger.rows import attempt, entry, intent, with_lines

USER = "3f9a0c1d2e4b5a67"

_SECTOR = 512
_SEEDS = range(40)


class FaultyDisk:
    """Fails writes, truncations and syncs at random, and remembers what it has synced."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.synced_sizes: dict[int, int] = {}
        """The size of each file at its last sync, by inode."""
        self._is_failing = False  # faults come together
        self._write, self._truncate = os.write, os.ftruncate

    def write(self, descriptor: int, data: bytes) -> int:
        self._is_failing = self.chance.random() < (0.7 if self._is_failing else 0.1)
        if not self._is_failing:
            return self._write(descriptor, data)
        if self.chance.random() < 0.5:
            raise self._make_error()
        return self._write(descriptor, data[: self.chance.randint(0, len(data))])

    def ftruncate(self, descriptor: int, size: int) -> None:
        if self.chance.random() < 0.5:
            raise self._make_error()
        self._truncate(descriptor, size)

    def sync(self, descriptor: int) -> None:
        if self.chance.random() < 0.3:
            raise self._make_error()
        status = os.fstat(descriptor)
        self.synced_sizes[status.st_ino] = status.st_size

    def lose_power(self, folder: Path) -> None:
        """Keep what was synced, and of all else some sectors: others are zeros, or cut off."""
        for path in list_segments(folder):
            data, synced_size = path.read_bytes(), self.synced_sizes.get(path.stat().st_ino, 0)
            rest = data[synced_size : synced_size + self.chance.randrange(len(data) + 1)]
            kept = [data[:synced_size]]
            for start in range(0, len(rest), _SECTOR):
                sector = rest[start : start + _SECTOR]
                kept.append(sector if self.chance.random() < 0.5 else bytes(len(sector)))
            path.write_bytes(b"".join(kept))

    def _make_error(self) -> OSError:
        number = self.chance.choice([errno.EIO, errno.ENOSPC])
        return OSError(number, os.strerror(number))


@pytest.fixture(params=_SEEDS)
def disk(request: pytest.FixtureRequest) -> FaultyDisk:
    return FaultyDisk(request.param)


def write_rows(
    disk: FaultyDisk, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[list[Row], int]:
    """Write until the process dies. Return the rows that the journal took, and how many it synced."""
    with monkeypatch.context() as patch:
        journal = Journal(folder, sync=disk.sync, limit=12_000)
        patch.setattr(os, "write", disk.write)
        patch.setattr(os, "ftruncate", disk.ftruncate)
        taken: list[Row] = []
        for number in range(disk.chance.randrange(5, 40)):
            name = f"call-{number}"
            finals = [entry(name, end_user=USER), entry(f"{name}-other")]
            tries: list[tuple[list[Row], Callable[[], None]]] = [
                ([row := intent(name, end_user=USER)], lambda row=row: journal.write(row)),  # type: ignore[misc]
                ([failed := attempt(name)], lambda row=failed: journal.write(row)),  # type: ignore[misc]
                ([*finals], lambda rows=finals: journal.append_together(with_lines(*rows))),  # type: ignore[misc]
            ]
            for rows, work in tries:
                try:
                    work()
                except JournalError:
                    continue
                taken += rows
            if disk.chance.random() < 0.2:
                try:
                    journal.sync()
                except JournalError:
                    continue
    for segment in [journal._segment, *journal._retired_segments]:
        os.close(segment.descriptor)
    assert journal.written_rows == len(taken)
    return taken, journal.synced_rows


def read_back(folder: Path) -> tuple[set[bytes], list[SegmentReport]]:
    """Recover as the next start does. Return the rows of journals, and what `verify` reports."""
    with_recovery = Journal(folder)
    recover(with_recovery)
    with_recovery.close()
    rows = {dumps(row) for path in list_segments(folder) for row, _ in read_rows(path) if row}
    return rows, list(verify(folder))


def test_a_process_that_dies_loses_no_row_that_its_journal_took(
    disk: FaultyDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What failed writes have left is no damage."""
    taken, _ = write_rows(disk, tmp_path, monkeypatch)
    rows, reports = read_back(tmp_path)
    assert set(map(dumps, taken)) <= rows
    assert [report.damages for report in reports] == [[]] * len(reports)


def test_a_machine_that_loses_power_loses_no_row_that_was_synced(
    disk: FaultyDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that were not synced are whole, or missing; none is changed."""
    taken, synced = write_rows(disk, tmp_path, monkeypatch)
    disk.lose_power(tmp_path)
    rows, _ = read_back(tmp_path)
    assert set(map(dumps, taken[:synced])) <= rows
    tried = {
        dumps(row)
        for number in range(40)
        for name in [f"call-{number}"]
        for row in (
            intent(name, end_user=USER),
            attempt(name),
            entry(name, end_user=USER),
            entry(f"{name}-other"),
        )
    }
    assert {row for row in rows if b'"unknown_crash"' not in row} <= tried
