"""Rows of one iteration of the event loop are made and written together."""

import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from gateway.core.ledger_rows import FinalRow, IntentRow, Row
from gateway.ledger.journal import Journal, decode_row, encode_row
from gateway.ledger.recovery import Recovered, recover
from gateway.ledger.writer import Policy
from tests.ledger.rows import attempt, entry, intent
from tests.ledger.test_writer import Bench, asking


class BatchedBench(Bench):
    """A ledger writer whose requests and answers are sent together."""

    def __init__(
        self, folder: Path, patch: pytest.MonkeyPatch, policy: Policy = "refuse", **more: Any
    ) -> None:
        super().__init__(folder, policy, patch, **more)
        self.turns = 0
        self.alone = False
        self.record.defer_rows(self)

    def schedule_flush(self) -> bool:
        self.turns += 1
        return not self.alone


def test_final_rows_of_whole_answers_are_written_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sinks get rows at once; rows of requests, failures and streams are written immediately."""
    bench = BatchedBench(tmp_path, monkeypatch)
    at_once: list[Row] = [
        intent("a"), intent("b"), entry("c", state="failed"), entry("d", stream=True)
    ]  # fmt: skip
    late: list[Row] = [entry("a"), entry("b", state="cache_hit")]
    for row in [*late, *at_once]:
        bench.record(row)
    assert bench.stored == at_once
    assert bench.received == [*late, *at_once]
    assert bench.turns == len(late)
    calls, real = list[bytes](), os.write

    def write(descriptor: int, data: bytes) -> int:
        calls.append(data)
        return real(descriptor, data)

    monkeypatch.setattr(os, "write", write)
    bench.record.flush()
    bench.record.flush()
    assert bench.stored == [*at_once, *late]
    assert (len(calls), bench.journal.written_rows) == (1, 6)
    bench.record.close()
    bench.journal.close()
    assert recover(Journal(tmp_path)) == Recovered()


class EndedCall:
    """A call that has ended, and records what becomes of its row."""

    def __init__(self, bench: Bench, name: str, *, fails: str = "") -> None:
        self.bench = bench
        self.name = name
        self.fails = fails
        self.made = 0

    def make_final_row(self) -> FinalRow:
        self.made += 1
        if self.fails == "row":
            raise RuntimeError("it cannot be made")
        return entry(self.name)

    def on_row_taken(self, row: FinalRow) -> None:
        assert row in self.bench.stored or self.bench.record.late_row_count
        self.bench.received.append(row)
        if self.fails == "told":
            raise RuntimeError("it is not heard")

    def end(self) -> None:
        """Give the writer what makes the row and what hears of it."""
        self.bench.record.add_ended_call(self.make_final_row, self.on_row_taken)


def test_final_rows_are_made_when_they_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = BatchedBench(tmp_path, monkeypatch)
    ended = [EndedCall(bench, name) for name in "abc"]
    for call in ended:
        bench.record.add_intent(asking(intent(call.name)))
        call.end()
    bench.record(entry("z"))
    assert (bench.turns, bench.stored, sum(call.made for call in ended)) == (7, [], 0)
    assert bench.record.flush()
    assert bench.record.flush()
    rows = [entry(name) for name in "abc"]
    assert bench.stored == [*map(intent, "abc"), entry("z"), *rows]
    assert bench.received[-6:] == [
        row for row in rows for _ in range(2)
    ]  # a sink, then the call's own
    assert ([call.made for call in ended], bench.journal._open_calls) == ([1, 1, 1], {})
    bench.journal.close()


def test_rows_made_together_are_counted_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other rows are counted one by one; rows of requests that are not sent yet are not counted."""
    counted: list[list[Row]] = []

    def count(rows: Sequence[Row]) -> None:
        counted.append([*rows])
        raise KeyError(len(counted))

    bench = BatchedBench(tmp_path, monkeypatch, count_rows=count)
    bench.record.adopt("refuse", [bench.received.append])
    for row in (intent("z"), attempt("z"), entry("z")):
        bench.record(row)
    assert counted == [[attempt("z")], [entry("z")]]
    for name in "abc":
        EndedCall(bench, name, fails="row" if name == "b" else "").end()
    assert bench.record.flush()
    assert counted[2:] == [[entry("a"), entry("c")]]
    assert bench.record.flush()
    EndedCall(bench, "d", fails="row").end()
    assert bench.record.flush()
    assert len(counted) == 3
    assert bench.received[3:] == [row for name in "ac" for row in (entry(name),) * 2]
    assert [event for event, _ in bench.log] == ["sink", "bug", "bug"]
    bench.journal.close()


def test_without_a_batch_a_final_row_is_made_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path, "refuse", monkeypatch)
    EndedCall(bench, "a").end()
    assert bench.stored == [entry("a")]
    assert bench.received == [entry("a"), entry("a")]
    bench.journal.close()


@pytest.mark.parametrize("fails", ["row", "told"])
def test_a_call_whose_row_fails_harms_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    bench = BatchedBench(tmp_path, monkeypatch)
    for call in (EndedCall(bench, "a"), EndedCall(bench, "b", fails=fails), EndedCall(bench, "c")):
        call.end()
    assert bench.record.flush()
    rows = [entry(name) for name in ("ac" if fails == "row" else "abc")]
    assert bench.stored == rows
    assert bench.received == [row for row in rows for _ in range(2)]
    assert [event for event, _ in bench.log] == ["bug"]
    bench.journal.close()


@pytest.mark.parametrize("how", ["close", "settled", "full"])
async def test_pending_final_rows_are_written_before_the_writer_closes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    bench = BatchedBench(tmp_path, monkeypatch)
    bench.full = how == "full"
    EndedCall(bench, "a").end()
    if how == "settled":
        await bench.record.wait_until_synced()
        assert bench.journal.synced_rows == 1
    elif how == "full":
        assert bench.record.flush()
        assert (bench.stored, bench.record.late_row_count) == ([], 1)
        bench.full = False
        bench.record.catch_up()
    else:
        bench.record.close()
    assert bench.stored == [entry("a")]
    assert bench.received == [entry("a"), entry("a")]
    bench.journal.close()


def test_intent_rows_are_written_together_before_any_request_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = BatchedBench(tmp_path, monkeypatch)
    bench.record.add_intent(asking(intent("a")))
    bench.record(entry("z"))
    bench.record.add_intent(asking(intent("b")))
    assert (bench.stored, bench.turns) == ([], 3)
    assert bench.received == [entry("z")]
    assert bench.record.flush()
    assert bench.received == [entry("z"), intent("a"), intent("b")]
    assert bench.stored == [intent("a"), intent("b"), entry("z")]
    assert (bench.journal.written_rows, set(bench.journal._open_calls)) == (3, {"a", "b"})
    bench.record.add_intent(asking(intent("a", attempt=2)))
    assert bench.record.flush()
    assert bench.journal._open_calls["a"] == encode_row(intent("a")) + encode_row(
        intent("a", attempt=2)
    )
    bench.alone = True
    bench.record.add_intent(asking(intent("c")))
    assert bench.stored[-1] == intent("c")  # the rows of a lone call wait for nothing
    EndedCall(bench, "c").end()
    assert bench.stored[-1:] == [entry("c")]
    bench.record(entry("d"))
    assert bench.stored[-1:] == [entry("d")]
    bench.journal.close()


def test_the_outcome_of_a_request_is_written_after_its_intent_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = BatchedBench(tmp_path, monkeypatch)
    for row in (attempt("a"), entry("a", state="failed"), intent("b")):
        bench.record.add_intent(asking(intent("a")))
        bench.record(row)
        assert bench.stored[-2:] == [intent("a"), row]
    bench.journal.close()


@pytest.mark.parametrize("between", ["nothing", "row", "settled"])
async def test_requests_whose_rows_cannot_be_stored_are_not_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, between: str
) -> None:
    bench = BatchedBench(tmp_path, monkeypatch)
    bench.record.add_intent(asking(intent("a")))
    bench.record.add_intent(asking(intent("b")))
    bench.record(entry("z"))
    bench.full = True
    if between == "row":
        bench.record(entry("y", state="failed"))
    if between == "settled":
        await bench.record.wait_until_synced()
    assert not bench.record.flush()
    assert bench.record.flush()  # the writer reports it once
    bench.full = False
    bench.record.add_intent(asking(intent("c")))
    assert bench.record.flush()
    ends = [entry("y", state="failed")] if between == "row" else []
    assert bench.stored == [*ends, entry("z"), intent("c")]
    assert set(bench.journal._open_calls) == {"c"}
    bench.journal.close()


@pytest.mark.parametrize("policy", ["refuse", "serve"])
@pytest.mark.parametrize("between", [False, True])
def test_a_request_whose_row_fails_is_not_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy: Policy, *, between: bool
) -> None:
    def fail() -> IntentRow:
        raise RuntimeError("it cannot be made")

    bench = BatchedBench(tmp_path, monkeypatch, policy)
    for opening in (asking(intent("a")), fail, asking(intent("b"))):
        bench.record.add_intent(opening)
    EndedCall(bench, "z").end()
    expected: list[Row] = [intent("a"), intent("b")]
    if between:
        bench.record(attempt("a"))
        expected.append(attempt("a"))
    assert not bench.record.flush()
    assert bench.record.flush()
    assert bench.stored == [*expected, entry("z")]
    assert bench.received == [*expected, entry("z"), entry("z")]
    assert [event for event, _ in bench.log] == ["bug"]
    bench.journal.close()


def test_no_sink_gets_rows_that_were_not_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = BatchedBench(tmp_path, monkeypatch)
    bench.record.add_intent(asking(intent("a")))
    bench.full = True
    assert not bench.record.flush()
    assert bench.received == []
    bench.full = False
    bench.journal.close()


def test_policy_serve_sends_requests_and_writes_their_rows_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = BatchedBench(tmp_path, monkeypatch, "serve")
    bench.full = True
    bench.record.add_intent(asking(intent("a")))
    bench.record(entry("z"))
    assert bench.record.flush()
    bench.record.add_intent(asking(intent("b")))
    assert bench.record.flush()
    bench.full = False
    bench.record.add_intent(asking(intent("c")))
    assert bench.record.flush()
    assert bench.stored == [intent("a"), entry("z"), intent("b"), intent("c")]
    bench.journal.close()


@pytest.mark.parametrize("how", ["close", "settled"])
async def test_waiting_rows_are_written_before_a_close_or_a_sync(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    bench = BatchedBench(tmp_path, monkeypatch)
    bench.record(entry("a"))
    assert bench.stored == []
    if how == "close":
        bench.record.close()
    else:
        await bench.record.wait_until_synced()
        assert bench.journal.synced_rows == 1
    assert bench.stored == [entry("a")]
    bench.journal.close()


def test_rows_that_cannot_be_written_together_are_tried_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = BatchedBench(tmp_path, monkeypatch)
    real, room = os.write, 2000

    def write(descriptor: int, data: bytes) -> int:
        nonlocal room
        if room <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = real(descriptor, data[:room])
        room -= written
        return written

    names = [entry(name) for name in "abc"]
    for row in names:
        bench.record(row)
    monkeypatch.setattr(os, "write", write)
    bench.record.flush()
    stored_count = len(bench.stored)
    assert stored_count + bench.record.late_row_count == 3
    assert bench.record.late_row_count > 0
    room = 1_000_000
    bench.record(entry("d"))
    bench.record.flush()
    assert bench.stored == [*names, entry("d")]
    assert [row for row in bench.stored if row is None] == []
    bench.journal.close()


def long(signs: int) -> FinalRow:
    """Make a row whose line has so many bytes without its line end."""
    bare = len(encode_row(entry(asked=""))) - 1
    return entry(asked="x" * (signs - bare))


def test_a_row_is_shortened_if_its_line_is_too_long() -> None:
    assert len(encode_row(long(4095))) == 4096
    assert decode_row(encode_row(long(4095))) == long(4095)
    assert decode_row(encode_row(long(4096))) != long(4096)


@pytest.mark.parametrize("odd", ["a\ud800b", "x" * 9_000])
def test_a_shortened_row_is_written_among_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, odd: str
) -> None:
    bench = BatchedBench(tmp_path, monkeypatch)
    for name in "abc":
        bench.record.add_intent(asking(intent(name, model=odd if name == "b" else "m")))
        bench.record(entry(name, asked=odd if name == "b" else "m"))
    assert bench.record.flush()
    cut = [
        decode_row(encode_row(intent("b", model=odd))),
        decode_row(encode_row(entry("b", asked=odd))),
    ]
    expected = [intent("a", model="m"), cut[0], intent("c", model="m")]
    assert bench.stored == [*expected, entry("a", asked="m"), cut[1], entry("c", asked="m")]
    bench.journal.close()


def test_a_request_whose_row_cannot_be_encoded_is_not_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows of other requests are written, each by itself."""
    bench = BatchedBench(tmp_path, monkeypatch)
    bench.record.add_intent(asking(intent("a")))
    bench.record.add_intent(asking(intent("b", input=object())))
    bench.record.add_intent(asking(intent("c")))
    assert not bench.record.flush()
    assert bench.record.flush()
    assert bench.stored == [intent("a"), intent("c")]
    assert [event for event, _ in bench.log] == ["bug"]
    bench.journal.close()
