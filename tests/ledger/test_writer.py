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
from gateway.ledger.recovery import Recovered, read_open_calls, recover
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
        self.received: list[Row] = []
        self.journal = Journal(folder, sync=self._sync)
        real = os.write

        def write(descriptor: int, data: bytes) -> int:
            if self.full:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(descriptor, data)

        patch.setattr(os, "write", write)
        self.record = LedgerWriter(
            self.journal, policy, [self.received.append], self._log, clock=lambda: self.now, **more
        )

    def _sync(self, _: int) -> None:
        if self.broken:
            raise OSError(errno.EIO, "Input/output error")

    def _log(self, event: str, **fields: object) -> None:
        self.log.append((event, fields))

    @property
    def stored(self) -> list[Row | None]:
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
        assert bench.stored[-1] == bench.received[-1] == row
    assert bench.log == []
    bench.journal.close()


def test_policy_refuse_refuses_new_requests_and_keeps_outcomes(
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
    assert bench.stored == [intent("in flight")]
    assert bench.received == [
        intent("in flight"),
        entry("new", state="refused"),
        entry("in flight"),
    ]
    assert (bench.record.late_row_count, bench.record.lost_rows) == (2, 0)
    bench.full = False
    bench.record(intent("after"))
    finals = [entry("new", state="refused"), entry("in flight")]
    assert bench.stored == [intent("in flight"), *finals, intent("after")]
    assert bench.record.late_row_count == 0
    bench.journal.close()


def test_policy_serve_continues_and_writes_rows_late_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path, "serve", monkeypatch)
    bench.full = True
    for row in CALL:
        bench.record(row)
    assert (bench.stored, bench.received, bench.record.late_row_count) == ([], CALL, 5)
    # The price of `serve`: after a kill the next process would not even find the call.
    assert read_open_calls(bench.journal.folder) == []
    bench.full = False
    bench.record(entry("b"))
    assert bench.stored == [*CALL, entry("b")]
    bench.journal.close()
    assert bench.stored[-1] is None  # CLOSED: no call is open


def test_late_rows_beyond_the_limit_are_lost_and_counted(
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
    assert bench.stored == [intent("0"), intent("1"), entry("0"), entry("1")]
    assert bench.log[-1] == ("ledger", {"text": "writable again", "rows": 4, "lost": 2})
    bench.journal.close()


def test_a_full_disk_is_logged_from_time_to_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path, "serve", monkeypatch)
    bench.full = True
    for _ in range(100):
        bench.record(entry("a"))
        bench.now += 0.15
    expected = {"error": "No space left on device", "lost": 0}
    assert bench.log == [("ledger", {**expected, "late": 1}), ("ledger", {**expected, "late": 68})]
    bench.full = False
    bench.record(entry("b"))
    bench.full = True
    bench.record(entry("c"))
    assert [fields.get("late") for _, fields in bench.log[2:]] == [None, 1]
    bench.record.close()
    assert bench.log[-1] == ("ledger", {"text": "rows were lost", "lost": 1})


def test_a_failing_sink_harms_neither_the_call_nor_other_sinks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path, "serve", monkeypatch)

    def fail(_: Row) -> None:
        raise KeyError("sk-secret")

    received: list[Row] = []
    record = LedgerWriter(
        bench.journal, "refuse", [fail, received.append], bench._log, clock=lambda: 0.0
    )
    for row in CALL:
        record(row)
    assert received == bench.stored == CALL
    ((event, fields),) = bench.log
    assert event == "sink"
    assert str(fields["error"]).startswith("KeyError at test_writer.py:")
    bench.journal.close()


async def test_an_outcome_sink_gets_no_intent_rows(
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


async def test_a_failed_sync_is_an_error_under_refuse_but_not_under_serve(
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


async def test_late_rows_are_retried_without_new_calls(
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
    assert bench.stored == [entry("a")]
    bench.record.close()
    bench.journal.close()


def test_a_real_full_disk_gets_every_row_once_it_has_room(tmp_path: Path, start: Start) -> None:
    """The partial writes are real: torn rows are removed, and in the end each row is there once."""
    out, _ = start(tmp_path, "serving").communicate(timeout=60)
    assert out.split("\n")[:-1] == ["log ledger", "late 37", "log ledger", "late 0"]
    rows = [row for path in list_segments(tmp_path) for row, _ in read_rows(path)]
    names = [*map(str, range(20)), "after"]
    assert sorted(row.id for row in rows if isinstance(row, FinalRow)) == sorted(names)
    assert {row.id for row in rows if isinstance(row, IntentRow)} == set(names)
    assert rows.count(None) == len(list_segments(tmp_path))  # CLOSED, and no torn row
    journal = Journal(tmp_path)
    assert recover(journal) == Recovered()
    journal.close()
