"""A ledger that cannot be written: calls follow the policy, and all is well again after it."""

import errno
import os
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from gateway.core.ledger_rows import FinalRow, IntentRow
from gateway.ledger import journal
from gateway.ledger.chain import Link
from gateway.ledger.errors import JournalError
from gateway.ledger.journal import Journal, Segment, append
from tests.e2e.upstream import Upstream, frames, stream
from tests.e2e.world import Change, Config, Make, World, chat


class Disk:
    """The disk under every journal of this process."""

    full = False
    broken = False


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    disk = Disk()

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


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
def test_serve_answers_calls_on_a_full_disk_and_writes_their_rows_later(
    make: Make, upstream: Upstream, disk: Disk, streamed: bool
) -> None:
    world = make(ledger_settings(on_disk_full="serve"))
    disk.full = True
    for _ in range(3):
        assert world.ask(chat(stream=streamed)).status_code == 200
    record = world.gateway.ledger_runtime.writer
    assert (record.late_row_count, record.lost_rows) == (6, 0)
    assert [row["event"] for row in world.log].count("ledger") == 1
    disk.full = False
    assert world.ask(chat(stream=streamed)).status_code == 200
    assert count_rows(world) == ({"settled": 4}, 4)
    assert len(upstream.requests) == 4


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
def test_refuse_calls_no_provider_on_a_full_disk(
    make: Make, upstream: Upstream, disk: Disk, streamed: bool
) -> None:
    world = make(ledger_settings(on_disk_full="refuse"))
    assert world.ask(chat(stream=streamed)).status_code == 200
    disk.full = True
    reply = world.ask(chat(stream=streamed))
    assert (reply.status_code, reply.headers["retry-after"]) == (503, "5")
    assert reply.json()["error"]["code"] == "ledger_unavailable"
    assert len(upstream.requests) == 1
    disk.full = False
    assert world.ask(chat(stream=streamed)).status_code == 200
    states, intents = count_rows(world)
    assert (states, intents) == ({"settled": 2, "refused": 1}, 2)


def test_a_running_call_is_answered_and_recorded_when_the_disk_fills(
    make: Make, upstream: Upstream, disk: Disk
) -> None:
    world = make(ledger_settings(on_disk_full="refuse"))
    first, *rest = frames()
    upstream.on("/acme", stream(first, None, *rest, bill=(7, 3)))
    with world.leaving(chat(stream=True)) as connection:
        upstream.arrived()
        disk.full = True
        world.release()
        received = b""
        while not received.endswith(b"0\r\n\r\n"):
            received += connection.recv(65536)
    assert b"[DONE]" in received
    disk.full = False
    assert count_rows(world) == ({"settled": 1}, 1)


def test_durability_each_calls_a_provider_only_after_the_row_is_on_disk(
    make: Make, upstream: Upstream, disk: Disk
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
    make: Make, upstream: Upstream, disk: Disk
) -> None:
    world = make(ledger_settings(durability="each", on_disk_full="serve"))
    disk.broken = True
    assert world.ask(chat()).status_code == 200
    disk.broken = False
    assert count_rows(world) == ({"settled": 1}, 1)
    assert len(upstream.requests) == 1


def test_the_gateway_makes_a_removed_journal_folder_anew(
    make: Make, upstream: Upstream, tmp_path: Path
) -> None:
    """The folder is removed while the gateway runs: later calls are recorded."""
    world = make()
    assert world.ask(chat()).status_code == 200
    folder = world.folder / "data" / "ledger"
    folder.rename(tmp_path / "gone")
    with pytest.raises(JournalError):
        world.gateway.ledger_runtime.journal.sync()
    assert world.ask(chat()).status_code == 200
    assert count_rows(world) == ({"settled": 1}, 1)
    assert len(upstream.requests) == 2
