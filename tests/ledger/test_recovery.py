"""Recovery: after kill -9, every call that was written has exactly one final row."""

import os
import random
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from unittest.mock import Mock

import pytest

from gateway.core.ledger_rows import FinalRow, IntentRow, Row
from gateway.ledger.chain import CLOSED_LINE
from gateway.ledger.errors import JournalError
from gateway.ledger.file_lock import try_lock_file
from gateway.ledger.journal import (
    Journal,
    Segment,
    encode_row,
    finish,
    list_segments,
    read_rows,
)
from gateway.ledger.recovery import Recovered, read_open_calls, recover
from gateway.ledger.store import open_store
from tests.ledger.conftest import Start
from tests.ledger.rows import attempt, entry, intent, reprice, sealed


def all_rows(folder: Path) -> list[Row]:
    return [row for path in list_segments(folder) for row, _ in read_rows(path) if row]


def dead(folder: Path, name: str, data: bytes) -> Path:
    """Write a segment as a dead process leaves it."""
    folder.mkdir(exist_ok=True)
    path = folder / f"20261101T000000-1-{name}.jsonl"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("seed", range(4))
def test_after_kill_9_every_acknowledged_row_is_there_and_no_call_is_open(
    tmp_path: Path, start: Start, seed: int
) -> None:
    count = random.Random(seed).randrange(1, 600)
    child = start(tmp_path, "endless")
    assert child.stdout
    acknowledged = [child.stdout.readline() for _ in range(count)]
    child.kill()
    acknowledged += child.stdout.readlines()
    kinds: dict[str, type] = {"intent": IntentRow, "final": FinalRow}
    stored = {(type(row), row.id) for row in all_rows(tmp_path)}
    assert {(kinds[line.split()[0]], line.split()[1]) for line in acknowledged} <= stored
    intents = {id for kind, id in stored if kind is IntentRow}
    open_calls = intents - {id for kind, id in stored if kind is FinalRow}

    journal = Journal(tmp_path)
    recovered = recover(journal)
    assert {row.id for row in recovered.entries} == open_calls
    assert {row.state for row in recovered.entries} == {"unknown_crash"}
    finals = [row.id for row in all_rows(tmp_path) if isinstance(row, FinalRow)]
    assert sorted(finals) == sorted(intents)
    assert recover(journal) == Recovered()
    journal.close()

    store = open_store(f"sqlite:///{tmp_path / 'ledger.db'}")
    assert store.feed(tmp_path) == len(intents)


def test_recovery_leaves_the_segments_of_running_processes_alone(
    tmp_path: Path, start: Start
) -> None:
    child = start(tmp_path, "open")
    assert child.stdout
    assert child.stdout.readline() == "open\n"
    (path,) = list_segments(tmp_path)
    before = path.read_bytes()
    journal = Journal(tmp_path)
    journal.write(intent("mine"))
    assert recover(journal) == Recovered()
    assert path.read_bytes() == before

    child.kill()
    child.wait()
    assert [row.id for row in recover(journal).entries] == ["open"]
    journal.close()


def test_recovery_writes_a_final_row_for_each_open_call(tmp_path: Path) -> None:
    path = dead(
        tmp_path,
        "a",
        encode_row(intent("done"))
        + encode_row(intent("lost", at=5.0, operation="audio.speech"))
        + encode_row(entry("done"))
        + b"torn\n"
        + encode_row(
            intent(
                "lost",
                at=6.5,
                attempt=2,
                operation="audio.speech",
                provider="groq",
                account="b",
                model="llama",
            )
        ),
    )
    journal = Journal(tmp_path)
    journal.write(entry("before"))
    (recovered,) = recover(journal).entries
    assert recovered == FinalRow(
        id="lost",
        at=5.0,
        key="alice",
        dialect="openai-chat",
        operation="audio.speech",
        state="unknown_crash",
        lab="openai",
        tier="fast",
        provider="groq",
        account="b",
        model="llama",
        attempts=2,
        cost=None,
        wasted=Decimal(0),
        reserved=None,
        config="c0ffee",
    )
    mine = [path for path in list_segments(tmp_path) if f"-{os.getpid()}-" in path.name]
    assert [row for row, _ in read_rows(mine[0])] == [entry("before"), recovered]
    assert path.read_bytes().endswith(CLOSED_LINE)
    journal.close()


CENT = Decimal("0.01")


@pytest.mark.parametrize(
    ("rows", "attempts", "wasted", "reserved"),
    [
        ([intent("a", reserved=CENT)], 1, Decimal(0), CENT),
        ([intent("a", v=1), intent("a", v=1, at=9.0)], 2, Decimal(0), None),
        (
            [intent("a", reserved=CENT), attempt("a"), intent("a", attempt=2, reserved=2 * CENT)],
            2, Decimal(0), 2 * CENT,
        ),
        (
            [intent("a", reserved=CENT), attempt("a", cost=CENT), intent("a", attempt=2)],
            2, CENT, None,
        ),
        # The cost of a failed attempt may be unknown too.
        (
            [intent("a", reserved=CENT), attempt("a", cost=None, reserved=CENT),
             intent("a", attempt=2, reserved=2 * CENT)],
            2, None, 3 * CENT,
        ),
        ([intent("a", reserved=CENT), attempt("a")], 1, Decimal(0), Decimal(0)),
    ],
    ids=["one", "version 1", "one failed free", "one failed and cost", "one may have cost", "all failed"],
)  # fmt: skip
def test_a_recovered_row_bounds_what_the_crash_may_have_cost(
    tmp_path: Path,
    rows: list[Row],
    attempts: int,
    wasted: Decimal | None,
    reserved: Decimal | None,
) -> None:
    """`reserved` bounds the open attempt, and failed attempts of unknown cost."""
    dead(tmp_path, "a", b"".join(map(encode_row, [*rows, reprice("a"), attempt("nobody")])))
    dead(tmp_path, "b", b"".join(map(encode_row, rows)))
    journal = Journal(tmp_path)
    (row,) = recover(journal).entries
    assert (row.cost, row.attempts) == (None, attempts)
    assert (row.wasted, row.reserved) == (wasted, reserved)
    journal.close()


def test_a_torn_line_is_dropped_and_the_file_stays(tmp_path: Path) -> None:
    whole, torn = encode_row(intent("a")), encode_row(entry("a"))[:100]
    path = dead(tmp_path, "a", whole + torn)
    journal = Journal(tmp_path)
    recovered = recover(journal)
    assert [row.id for row in recovered.entries] == ["a"]
    assert (recovered.segments, recovered.torn_segments) == (1, 1)
    assert path.read_bytes() == whole + torn + b"\n" + CLOSED_LINE
    assert [row for row, _ in read_rows(path)] == [intent("a"), None, None]
    assert recover(journal) == Recovered()
    journal.close()


def test_a_call_that_ends_in_another_segment_is_not_open(tmp_path: Path) -> None:
    dead(tmp_path, "b", encode_row(intent("a")))
    dead(tmp_path, "a", encode_row(intent("a")) + encode_row(entry("a")))
    journal = Journal(tmp_path)
    recovered = recover(journal)
    assert (recovered.entries, recovered.segments, recovered.torn_segments) == ((), 2, 0)
    assert [row.id for row in recovered.ended_rows] == ["a"], (
        "what followed its last row may be undone"
    )
    journal.close()


def test_open_calls_are_those_of_running_and_dead_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading them closes nothing, so recovery still finds those of dead ones."""
    dead(tmp_path, "b", encode_row(intent("dead")) + encode_row(intent("a")))
    dead(tmp_path, "a", encode_row(intent("finished")) + CLOSED_LINE)
    journal = Journal(tmp_path)
    assert [row.id for row in read_open_calls(tmp_path)] == ["dead", "a"]
    for row in (intent("runs"), intent("done"), entry("done"), entry("a")):
        journal.write(row)
    assert [row.id for row in read_open_calls(tmp_path)] == ["dead", "runs"]
    gone = tmp_path / "gone.jsonl"
    monkeypatch.setattr("gateway.ledger.recovery.list_segments", lambda _: [gone])
    assert read_open_calls(tmp_path) == []


def test_open_calls_are_found_without_keeping_the_rows_of_those_that_have_ended(
    tmp_path: Path,
) -> None:
    """After each loss of Redis a gateway looks for open calls, in segments of many thousands."""
    names = [f"call-{number}" for number in range(3_000)]
    rows = [row for name in names for row in (intent(name), attempt(name), entry(name))]
    dead(tmp_path, "a", sealed(*rows, intent("open"), entry("early"), intent("early")))
    read_open_calls(tmp_path)
    tracemalloc.start()
    try:
        open_rows = read_open_calls(tmp_path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [row.id for row in open_rows] == ["open"]
    assert peak < 250 * len(names)  # bytes; with the rows of all calls 1,860


def test_an_attempt_that_was_copied_to_the_next_segment_counts_once(tmp_path: Path) -> None:
    second_attempt = intent("a", attempt=2, model="other")
    dead(tmp_path, "a", encode_row(intent("a")) + encode_row(second_attempt))
    dead(tmp_path, "b", encode_row(intent("a")) + encode_row(second_attempt))
    journal = Journal(tmp_path)
    (row,) = recover(journal).entries
    assert (row.attempts, row.model) == (2, "other")
    journal.close()


def test_finished_and_empty_segments_are_not_read(tmp_path: Path) -> None:
    dead(tmp_path, "a", encode_row(intent("a")) + CLOSED_LINE)
    dead(tmp_path, "b", b"")
    journal = Journal(tmp_path)
    assert recover(journal) == Recovered()
    journal.close()


def test_recovery_ignores_a_segment_that_its_owner_removes_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that stops removes its empty segment, even if a reader has just listed it."""
    journal, removed = Journal(tmp_path), tmp_path / "20261101T000000-1-gone.jsonl"
    journal.write(entry("a"))
    for room in ("recovery", "sql_store"):
        listed = Mock(side_effect=lambda folder: [removed, *list_segments(folder)])
        monkeypatch.setattr(f"gateway.ledger.{room}.list_segments", listed)
    assert recover(journal) == Recovered()
    assert open_store(f"sqlite:///{tmp_path / 'ledger.db'}").feed(tmp_path) == 1
    journal.close()


def test_a_second_recovery_waits_for_the_first(tmp_path: Path, start: Start) -> None:
    child = start(tmp_path, "open")
    assert child.stdout
    assert child.stdout.readline() == "open\n"
    journal = Journal(tmp_path)
    with ThreadPoolExecutor(1) as pool:
        with try_lock_file(tmp_path / "recover.lock") as mine:
            assert mine
            waiting = pool.submit(recover, journal)
            with pytest.raises(TimeoutError):
                waiting.result(0.1)
            child.kill()
            child.wait()
        assert [row.id for row in waiting.result(20).entries] == ["open"]
    journal.close()


def test_a_segment_without_its_closing_line_stays_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The calls go on in the next segment: another process must not close them in a recovery."""
    mine, other_journal = Journal(tmp_path, limit=500), Journal(tmp_path)
    mine.write(intent("live"))
    full = JournalError(28, "No space left on device")
    with monkeypatch.context() as patch:
        patch.setattr("gateway.ledger.journal.finish", Mock(side_effect=full))
        mine.write(intent("next"))
        with pytest.raises(JournalError):
            mine.sync()
        assert len(list_segments(tmp_path)) == 3
        assert recover(other_journal) == Recovered()
    mine.sync()
    assert recover(other_journal) == Recovered()
    mine.write(entry("live"))
    mine.close()
    assert [row.id for row in recover(other_journal).entries] == ["next"]
    other_journal.close()


def test_recovery_reads_segments_without_a_closing_line_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call that began in one segment and ended in the other is not open."""
    mine, other_journal = Journal(tmp_path, limit=500), Journal(tmp_path)
    mine.write(intent("live"))
    (first_segment,) = (path for path in list_segments(tmp_path) if path.stat().st_size)

    def full(segment: Segment, last_lines: list[bytes]) -> None:
        if segment.path == first_segment:
            raise JournalError(28, "No space left on device")
        finish(segment, last_lines)

    with monkeypatch.context() as patch:
        patch.setattr("gateway.ledger.journal.finish", full)
        mine.write(entry("live"))
        with pytest.raises(JournalError):
            mine.close()
    for segment in mine._retired_segments:
        os.close(segment.descriptor)
    recovered = recover(other_journal)
    assert (recovered.entries, recovered.segments, recovered.torn_segments) == ((), 2, 0)
    other_journal.close()


def test_an_interrupted_recovery_is_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = dead(tmp_path, "a", encode_row(intent("a")) + encode_row(intent("b")))
    journal = Journal(tmp_path)
    real, count = journal.write, [0]

    def fail_once(row: IntentRow | FinalRow) -> None:
        count[0] += 1
        if count[0] == 2:
            raise JournalError(28, "No space left on device")
        real(row)

    monkeypatch.setattr(journal, "write", fail_once)
    with pytest.raises(JournalError):
        recover(journal)
    assert not path.read_bytes().endswith(CLOSED_LINE)
    assert [row.id for row in recover(journal).entries] == ["a", "b"]
    journal.close()
    store = open_store(f"sqlite:///{tmp_path / 'ledger.db'}")
    assert store.feed(tmp_path) == 2


def test_a_power_cut_after_two_recoveries_leaves_one_final_row(tmp_path: Path) -> None:
    """The second recovery's mark is on the disk, and what the first left unsynced is not."""
    synced_bytes: dict[int, int] = {}

    def sync(descriptor: int) -> None:
        status = os.fstat(descriptor)
        synced_bytes[status.st_ino] = status.st_size

    def die(journal: Journal) -> Path:
        os.close(journal._segment.descriptor)
        return journal._segment.path

    first = Journal(tmp_path, sync=sync, clock=lambda: 1.0)
    first.write(intent("c1"))
    first.sync()
    first_path = die(first)
    second = Journal(tmp_path, sync=sync, clock=lambda: 2.0)
    recover(second)
    second_path = die(second)
    third = Journal(tmp_path, sync=sync, clock=lambda: 3.0)
    recover(third)
    die(third)
    os.truncate(first_path, synced_bytes[first_path.stat().st_ino])
    assert second_path.read_bytes().endswith(CLOSED_LINE)
    recover(Journal(tmp_path, clock=lambda: 4.0))
    assert [row.id for row in all_rows(tmp_path) if isinstance(row, FinalRow)] == ["c1"]
