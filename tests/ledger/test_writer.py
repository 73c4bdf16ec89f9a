"""The ledger writer: rows go to the journal first; the policy says what a full disk costs."""

import asyncio
import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.core.ledger_rows import FinalRow, IntentRow, Row
from gateway.ledger.errors import JournalError
from gateway.ledger.journal import Journal, list_segments, read_rows
from gateway.ledger.recovery import Recovered, recover
from gateway.ledger.writer import LedgerWriter, Policy
from tests.ledger.conftest import Start
from tests.ledger.rows import attempt, entry, intent, reprice


class Bench:
    """A ledger writer on a disk that can be full, with a clock, a log and a sink."""

    def __init__(
        self, folder: Path, policy: Policy, patch: pytest.MonkeyPatch, **more: Any
    ) -> None:
        self.folder = folder
        self.full = False
        self.broken = False
        self.now = 0.0
        self.log: list[tuple[str, dict[str, object]]] = []
        self.seen: list[Row] = []
        self.journal = Journal(folder, sync=self._sync)
        real = os.write

        def write(descriptor: int, data: bytes) -> int:
            if self.full:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(descriptor, data)

        patch.setattr(os, "write", write)
        self.record = LedgerWriter(
            self.journal, policy, [self.seen.append], self._log, clock=lambda: self.now, **more
        )

    def _sync(self, _: int) -> None:
        if self.broken:
            raise OSError(errno.EIO, "Input/output error")

    def _log(self, event: str, **fields: object) -> None:
        self.log.append((event, fields))

    @property
    def kept(self) -> list[Row | None]:
        return [row for path in list_segments(self.folder) for row, _ in read_rows(path)]


CALL: list[Row] = [intent("a"), attempt("a"), intent("a", attempt=2), entry("a"), reprice("a")]


def asking(row: IntentRow) -> Callable[[], IntentRow]:
    """Return a function that makes a row."""
    return lambda: row


@pytest.mark.parametrize("policy", ["refuse", "serve"])
def test_rows_go_to_the_journal_and_then_to_the_sinks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy: Policy
) -> None:
    bench = Bench(tmp_path, policy, monkeypatch)
    for row in CALL:
        bench.record(row)
        assert bench.kept[-1] == bench.seen[-1] == row
    assert bench.log == []
    bench.journal.close()


def test_refuse_refuses_what_is_to_be_sent_and_keeps_what_has_happened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path, "refuse", monkeypatch)
    bench.record(intent("in flight"))
    bench.full = True
    with pytest.raises(JournalError, match="No space left"):
        bench.record(intent("new"))
    bench.record(entry("new", state="refused"))
    bench.record(entry("in flight"))
    with pytest.raises(JournalError):
        bench.record(intent("newer"))
    assert bench.kept == [intent("in flight")]
    assert bench.seen == [intent("in flight"), entry("new", state="refused"), entry("in flight")]
    assert (bench.record.late_row_count, bench.record.lost_rows) == (2, 0)
    bench.full = False
    bench.record(intent("after"))
    finals = [entry("new", state="refused"), entry("in flight")]
    assert bench.kept == [intent("in flight"), *finals, intent("after")]
    assert bench.record.late_row_count == 0
    bench.journal.close()


def test_serve_goes_on_and_writes_rows_late_in_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path, "serve", monkeypatch)
    bench.full = True
    for row in CALL:
        bench.record(row)
    assert (bench.kept, bench.seen, bench.record.late_row_count) == ([], CALL, 5)
    bench.full = False
    bench.record(entry("b"))
    assert bench.kept == [*CALL, entry("b")]
    bench.journal.close()
    assert bench.kept[-1] is None  # CLOSED: no call is open


def test_what_does_not_fit_is_counted_and_the_ends_of_calls_come_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path, "serve", monkeypatch, max_late_rows=4)
    bench.full = True
    for number in range(3):
        bench.record(intent(str(number)))
    assert (bench.record.late_row_count, bench.record.lost_rows) == (2, 1)
    for number in range(3):
        bench.record(entry(str(number)))
    assert (bench.record.late_row_count, bench.record.lost_rows) == (4, 2)
    bench.full = False
    bench.record.catch_up()
    assert bench.kept == [intent("0"), intent("1"), entry("0"), entry("1")]
    assert bench.log[-1] == ("ledger", {"text": "writable again", "rows": 4, "lost": 2})
    bench.journal.close()


def test_a_full_disk_is_logged_once_in_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path, "serve", monkeypatch)
    bench.full = True
    for _ in range(100):
        bench.record(entry("a"))
        bench.now += 0.15
    said = {"error": "No space left on device", "lost": 0}
    assert bench.log == [("ledger", {**said, "late": 1}), ("ledger", {**said, "late": 68})]
    bench.full = False
    bench.record(entry("b"))
    bench.full = True
    bench.record(entry("c"))
    assert [fields.get("late") for _, fields in bench.log[2:]] == [None, 1]
    bench.record.close()
    assert bench.log[-1] == ("ledger", {"text": "rows were lost", "lost": 1})


def test_a_sink_that_fails_harms_neither_the_call_nor_the_next_sink(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path, "serve", monkeypatch)

    def fail(_: Row) -> None:
        raise KeyError("sk-secret")

    seen: list[Row] = []
    record = LedgerWriter(
        bench.journal, "refuse", [fail, seen.append], bench._log, clock=lambda: 0.0
    )
    for row in CALL:
        record(row)
    assert seen == bench.kept == CALL
    ((event, fields),) = bench.log
    assert event == "sink"
    assert str(fields["error"]).startswith("KeyError at test_writer.py:")
    bench.journal.close()


async def test_who_asks_for_what_became_of_requests_is_not_told_of_requests_to_be_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path, "serve", monkeypatch)
    every: list[Row] = []
    after: list[Row] = []
    record = LedgerWriter(
        bench.journal, "refuse", [every.append], bench._log, outcome_sinks=[after.append]
    )
    for row in CALL:
        record.add_intent(asking(row)) if isinstance(row, IntentRow) else record(row)
    assert every == CALL
    assert after == [row for row in CALL if not isinstance(row, IntentRow)]
    record.adopt("refuse", [], [every.append])
    record(intent("b"))
    record(entry("b"))
    assert every[len(CALL) :] == [entry("b")]
    assert len(after) == 3
    bench.journal.close()


async def test_settled_is_the_disks_word_under_refuse_and_no_reason_to_stop_under_serve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path, "refuse", monkeypatch)
    bench.record(intent("a"))
    await bench.record.wait_until_synced()
    assert bench.journal.synced_rows == 1
    bench.broken = True
    bench.record(entry("a"))
    with pytest.raises(JournalError, match="Input/output error"):
        await bench.record.wait_until_synced()
    serving = LedgerWriter(bench.journal, "serve", [], bench._log, clock=lambda: 0.0)
    await serving.wait_until_synced()
    assert [event for event, _ in bench.log] == ["ledger", "ledger"]
    bench.broken = False
    bench.journal.close()


async def test_keep_writes_what_is_late_where_no_call_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path, "serve", monkeypatch)
    bench.full = True
    bench.record(entry("a"))
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            bench.full = False
        if len(slept) == 4:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await bench.record.retry_late_rows(sleep, 0.5)
    assert slept == [0.5] * 4
    assert bench.kept == [entry("a")]
    bench.record.close()
    bench.journal.close()


def test_a_real_disk_that_is_full_takes_every_row_once_there_is_room(
    tmp_path: Path, start: Start
) -> None:
    """The partial writes are real: torn rows are removed, and in the end each row is there once."""
    out, _ = start(tmp_path, "serving").communicate(timeout=60)
    assert out.split("\n")[:-1] == ["log ledger", "late 37", "log ledger", "late 0"]
    found = [row for path in list_segments(tmp_path) for row, _ in read_rows(path)]
    names = [*map(str, range(20)), "after"]
    assert sorted(row.id for row in found if isinstance(row, FinalRow)) == sorted(names)
    assert {row.id for row in found if isinstance(row, IntentRow)} == set(names)
    assert found.count(None) == len(list_segments(tmp_path))  # CLOSED, and no torn row
    journal = Journal(tmp_path)
    assert recover(journal) == Recovered()
    journal.close()
