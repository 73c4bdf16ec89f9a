"""A ledger that cannot be written: calls follow the policy, and all is well again after it."""

import errno
import os
from collections import Counter
from collections.abc import Iterator
from functools import partial

import pytest

from gateway.core.ledger_rows import FinalRow, IntentRow
from gateway.ledger import journal
from gateway.ledger.chain import Link
from gateway.ledger.errors import JournalError
from gateway.ledger.journal import Journal, Segment, append
from tests.e2e.upstream import Upstream
from tests.e2e.world import Change, Config, Make, World, chat


class FullDisk:
    """The disk under every journal of this process."""

    full = False
    broken = False


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[FullDisk]:
    disk = FullDisk()

    def appending(segment: Segment, data: bytes, link: Link | None = None) -> None:
        if disk.full:
            raise JournalError(errno.ENOSPC, "No space left on device")
        append(segment, data, link)

    def syncing(descriptor: int) -> None:
        if disk.broken:
            raise OSError(errno.EIO, "Input/output error")
        os.fsync(descriptor)

    monkeypatch.setattr(journal, "append", appending)
    monkeypatch.setattr("gateway.pipeline.ledger_runtime.Journal", partial(Journal, sync=syncing))
    yield disk
    disk.full = disk.broken = False


def ledger_settings(**settings: str) -> Change:
    def change(value: Config) -> None:
        value["ledger"] = settings

    return change


def count_rows(world: World) -> tuple[Counter[str], int]:
    """Count final rows by state, and intents."""
    rows = world.rows()
    finals = [row for row in rows if isinstance(row, FinalRow)]
    assert len({row.id for row in finals}) == len(finals)
    return Counter(row.state for row in finals), sum(isinstance(row, IntentRow) for row in rows)


def test_durability_each_calls_a_provider_only_after_the_row_is_on_disk(
    make: Make, upstream: Upstream, disk: FullDisk
) -> None:
    world = make(ledger_settings(durability="each"))
    for streamed in (False, True):
        assert world.ask(chat(stream=streamed)).status_code == 200
        written = world.gateway.ledger_runtime.journal
        assert written.synced_rows == written.written_rows
    disk.broken = True
    assert world.ask(chat()).status_code == 503
    assert len(upstream.requests) == 2
    disk.broken = False
    assert world.ask(chat()).status_code == 200
    states, _ = count_rows(world)
    assert (states["settled"], sum(states.values())) == (3, 4)


def test_durability_each_with_serve_answers_calls_when_the_disk_fails(
    make: Make, upstream: Upstream, disk: FullDisk
) -> None:
    world = make(ledger_settings(durability="each", on_disk_full="serve"))
    disk.broken = True
    assert world.ask(chat()).status_code == 200
    disk.broken = False
    assert count_rows(world) == ({"settled": 1}, 1)
    assert len(upstream.requests) == 1
