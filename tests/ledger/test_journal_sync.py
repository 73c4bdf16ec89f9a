"""Rows reach the disk after an interval, and at once if a caller waits for it."""

import asyncio
import errno
import threading
from collections.abc import Callable
from pathlib import Path

from gateway.ledger.errors import JournalError
from gateway.ledger.journal import Journal
from tests.ledger.rows import entry


def never(error: JournalError) -> None:
    raise error


class Naps:
    """A sleep that a test ends."""

    def __init__(self) -> None:
        self.waits: list[float] = []
        self.gate = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        await self.gate.wait()


async def turns(until: Callable[[], bool]) -> None:
    """Let other tasks run until a condition holds; one may be a thread."""
    async with asyncio.timeout(30):
        while not until():
            await asyncio.to_thread(int)


async def test_the_journal_syncs_an_interval_after_a_row_and_rests_without_rows(
    tmp_path: Path,
) -> None:
    journal, naps = Journal(tmp_path), Naps()
    keep = asyncio.create_task(journal.sync_periodically(naps.sleep, never, 0.1))
    await asyncio.sleep(0)
    assert naps.waits == []
    journal.write(entry("a"))
    await turns(lambda: naps.waits == [0.1])
    assert journal.synced_rows == 0
    naps.gate.set()
    await turns(lambda: journal.synced_rows == 1)
    keep.cancel()
    await asyncio.wait([keep])
    journal.close()


async def test_the_journal_syncs_at_once_when_1024_rows_wait(tmp_path: Path) -> None:
    journal, naps = Journal(tmp_path), Naps()
    keep = asyncio.create_task(journal.sync_periodically(naps.sleep, never))
    for number in range(1023):
        journal.write(entry(str(number)))
    await turns(lambda: naps.waits == [0.1])
    assert journal.synced_rows == 0
    journal.write(entry("1023"))
    await turns(lambda: journal.synced_rows == 1024)
    keep.cancel()
    await asyncio.wait([keep])
    journal.close()


async def test_the_journal_reports_a_failed_sync_and_continues(tmp_path: Path) -> None:
    broken, noted, naps = [True], list[JournalError](), Naps()

    def sync(_: int) -> None:
        if broken[0]:
            raise OSError(errno.EIO, "Input/output error")

    journal = Journal(tmp_path, sync=sync)
    naps.gate.set()
    keep = asyncio.create_task(journal.sync_periodically(naps.sleep, noted.append))
    journal.write(entry("a"))
    await turns(lambda: bool(noted))
    broken[0] = False
    journal.write(entry("b"))
    await turns(lambda: journal.synced_rows == 2)
    assert [error.errno for error in noted] == [errno.EIO]
    keep.cancel()
    await asyncio.wait([keep])
    journal.close()


class SlowDisk:
    """A disk whose sync waits for a gate, and counts."""

    def __init__(self) -> None:
        self.synced = 0
        self.began = threading.Event()
        self.gate = threading.Event()
        self.broken = False

    def sync(self, _: int) -> None:
        self.began.set()
        assert self.gate.wait(30)
        self.synced += 1
        if self.broken:
            raise OSError(errno.EIO, "Input/output error")


async def test_wait_until_synced_returns_once_all_rows_are_on_the_disk(tmp_path: Path) -> None:
    disk = SlowDisk()
    journal = Journal(tmp_path, sync=disk.sync)
    await journal.wait_until_synced()
    assert disk.synced == 0
    journal.write(entry("a"))
    waiting = asyncio.ensure_future(journal.wait_until_synced())
    await turns(disk.began.is_set)
    assert not waiting.done()
    disk.gate.set()
    await waiting
    assert (journal.synced_rows, disk.synced) == (1, 1)
    await journal.wait_until_synced()
    assert disk.synced == 1
    journal.close()


async def test_waiting_callers_share_one_sync(tmp_path: Path) -> None:
    disk = SlowDisk()
    journal = Journal(tmp_path, sync=disk.sync)

    async def call(number: int) -> None:
        journal.write(entry(str(number)))
        await journal.wait_until_synced()
        assert journal.synced_rows > number

    first = asyncio.create_task(call(0))
    await turns(disk.began.is_set)
    others = [asyncio.create_task(call(number)) for number in range(1, 64)]
    await turns(lambda: journal.written_rows == 64)
    disk.gate.set()
    await asyncio.gather(first, *others)
    assert (disk.synced, journal.synced_rows) == (2, 64)
    journal.close()


async def test_waiting_callers_get_the_error_of_a_failed_sync(
    tmp_path: Path,
) -> None:
    disk = SlowDisk()
    disk.gate.set()
    disk.broken = True
    journal = Journal(tmp_path, sync=disk.sync)
    journal.write(entry("a"))
    waiting = [asyncio.create_task(journal.wait_until_synced()) for _ in range(3)]
    errors = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(error) for error in errors] == [JournalError] * 3
    assert (disk.synced, journal.synced_rows) == (1, 0)
    disk.broken = False
    await journal.wait_until_synced()
    assert journal.synced_rows == 1
    journal.close()


async def test_a_cancelled_caller_does_not_disturb_the_others(tmp_path: Path) -> None:
    """A sync that fails when nobody waits any more leaves no error behind."""
    disk = SlowDisk()
    journal = Journal(tmp_path, sync=disk.sync)
    journal.write(entry("a"))
    cancelled, stays = (asyncio.create_task(journal.wait_until_synced()) for _ in range(2))
    await turns(disk.began.is_set)
    cancelled.cancel()
    await asyncio.wait([cancelled])
    disk.gate.set()
    await stays
    disk.began.clear()
    disk.gate.clear()
    disk.broken = True
    journal.write(entry("b"))
    alone = asyncio.create_task(journal.wait_until_synced())
    await turns(disk.began.is_set)
    alone.cancel()
    await asyncio.wait([alone])
    disk.gate.set()
    await turns(lambda: journal._sync_task is None)
    disk.broken = False
    journal.close()


async def test_the_journal_does_not_sync_rows_again_that_a_caller_waited_for(
    tmp_path: Path,
) -> None:
    disk, naps = SlowDisk(), Naps()
    disk.gate.set()
    journal = Journal(tmp_path, sync=disk.sync)
    keep = asyncio.create_task(journal.sync_periodically(naps.sleep, never))
    journal.write(entry("a"))
    await turns(lambda: naps.waits == [0.1])
    await journal.wait_until_synced()
    naps.gate.set()
    await turns(lambda: not journal._rows_waiting.is_set())
    journal.write(entry("b"))
    await turns(lambda: journal.synced_rows == 2)
    assert disk.synced == 2
    keep.cancel()
    await asyncio.wait([keep])
    journal.close()
