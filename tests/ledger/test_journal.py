"""The journal: rows are written whole and stay, and a failure never spoils the next row."""

import errno
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path

import pytest

from gateway.core.ledger_rows import FinalRow, IntentRow
from gateway.ledger.chain import CLOSED_LINE, ChainReader, Link
from gateway.ledger.errors import JournalError
from gateway.ledger.journal import (
    Journal,
    Segment,
    append,
    decode_row,
    encode_row,
    list_segments,
    read_rows,
)
from tests.ledger.conftest import Start
from tests.ledger.rows import attempt, entry, intent, reprice, sealed, with_lines


def ids(folder: Path) -> list[str]:
    return [row.id for path in list_segments(folder) for row, _ in read_rows(path) if row]


def finals(folder: Path) -> list[str]:
    rows = [row for path in list_segments(folder) for row, _ in read_rows(path)]
    return [row.id for row in rows if isinstance(row, FinalRow)]


def fake_write(*answers: int | OSError) -> Callable[[int, bytes], int]:
    """Make a write that takes some bytes or fails, as listed, and then works."""
    answers_to_come, real = list(answers), os.write

    def write(descriptor: int, data: bytes) -> int:
        if not answers_to_come:
            return real(descriptor, data)
        answer = answers_to_come.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return real(descriptor, data[:answer])

    return write


FULL = OSError(errno.ENOSPC, "No space left on device")


def test_a_row_is_one_line_of_json_and_is_read_back_unchanged() -> None:
    row = entry(cost=Decimal("0.000000000001"), tags=("support",), dropped=("top_k",))
    line = encode_row(row)
    assert line.startswith(b'{"kind":"final","id":"call-1","at":')
    assert b'"cost":"1E-12"' in line
    assert line.endswith(b"}\n")
    assert line.count(b"\n") == 1
    assert decode_row(line) == row
    for row_ in (intent(reserved=Decimal("0.5")), attempt(cost=None), reprice(cost=None)):
        assert decode_row(encode_row(row_)) == row_
    tools = entry(tools={"web_search": 2}, cache_write_by={"5m": 7, "1h": 1})
    assert decode_row(encode_row(tools)) == tools


def test_the_gateway_reads_a_row_of_version_1() -> None:
    line = (
        b'{"kind":"intent","v":1,"id":"a","at":1.5,"key":"k","tenant":"default","tags":[],"dialect":'
        b'"openai-chat","lab":"l","tier":"fast","provider":"p","model":"m","config":"c"}\n'
    )
    row = decode_row(line)
    assert isinstance(row, IntentRow)
    assert (row.v, row.attempt, row.account, row.reserved) == (1, 1, None, None)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\n",
        b'{"kind":"final","v":1,"id":"call-',  # torn
        b'{"kind":"final","v":1,"id":"call-{"kind":"intent","v":1}\n',  # torn, then another
        b"\x00\x00\x00\x00\n",  # left by a machine that lost power
        b'{"kind":"closed"}\n',
        b'{"kind":"note","id":"call-1"}\n',  # from a later version
        b'{"kind":["final"]}\n',
        b'{"kind":"final","id":"call-1","state":"paused"}\n',
        b'{"id":"call-1"}\n',
        b"[1]\n",
    ],
)
def test_an_invalid_line_is_skipped(line: bytes) -> None:
    assert decode_row(line) is None


def test_a_row_of_a_later_version_is_read_without_its_new_fields() -> None:
    line = encode_row(entry()).replace(b'{"kind"', b'{"carbon":{"g":0.2},"kind"')
    assert decode_row(line) == entry()


def test_a_line_without_its_end_is_read_later(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    whole, half = encode_row(entry("a")), encode_row(entry("b"))
    path.write_bytes(whole + half[:-40])
    ((row, offset),) = read_rows(path)
    assert (row, offset) == (entry("a"), len(whole))
    assert list(read_rows(path, offset)) == []
    path.write_bytes(whole + half + b"torn" + b"\n" + whole)
    rows = list(read_rows(path, offset))
    assert [row and row.id for row, _ in rows] == ["b", None, "a"]
    assert rows[-1][1] == path.stat().st_size


def test_a_row_over_4_kb_is_shortened_but_keeps_its_id(tmp_path: Path) -> None:
    row = entry("i" * 200, asked="\x01" * 9_000, tags=tuple("t" * 900 for _ in range(900)))
    line = encode_row(row)
    assert len(line) <= 4096
    cut = decode_row(line)
    assert isinstance(cut, FinalRow)
    assert (cut.id, cut.cost, cut.state, cut.model) == (row.id, row.cost, row.state, row.model)
    assert cut.asked == "\x01" * 127 + "…"
    assert cut.tags == ("t" * 127 + "…",) * 16


def test_a_row_with_only_long_fields_is_still_written() -> None:
    names = ["asked", "rule", "provider", "account", "model", "served", "price", "upstream_id"]
    row = entry("i" * 5_000, **dict.fromkeys(names, "\x01" * 5_000))
    cut = decode_row(encode_row(row))
    assert isinstance(cut, FinalRow)
    assert cut.id == row.id


def test_a_value_that_json_cannot_hold_loses_no_row() -> None:
    cut = decode_row(encode_row(entry(asked="a\ud800b", output=2**70, input=5)))
    assert isinstance(cut, FinalRow)
    assert (cut.asked, cut.output, cut.input) == ("a?b", None, 5)


def test_maps_of_a_row_that_is_too_long_are_shortened_and_stay_maps() -> None:
    tools = {"\x01" * 900: 1, "beyond": 2**70, **{f"tool-{at}": at for at in range(900)}}
    cut = decode_row(encode_row(entry(tools=tools)))
    assert isinstance(cut, FinalRow)
    assert list(cut.tools.items())[:2] == [("\x01" * 127 + "…", 1), ("tool-0", 0)]
    assert len(cut.tools) == 16
    assert cut.cost == entry().cost


def test_a_segment_has_the_time_and_process_in_its_name_and_is_private(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "deep/er", clock=lambda: 1_793_000_000.0, token=lambda: "abcd")
    (path,) = list_segments(journal.folder)
    assert path.name == f"20261026T073320-{os.getpid()}-abcd.sealed.jsonl"
    assert path.stat().st_mode & 0o777 == 0o600
    assert journal.folder.stat().st_mode & 0o777 == 0o700
    journal.close()


def test_write_has_given_the_row_to_the_kernel_when_it_returns(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.write(intent("a"))
    assert ids(tmp_path) == ["a"]
    journal.write(entry("a"))
    assert ids(tmp_path) == ["a", "a"]
    journal.close()
    (path,) = list_segments(tmp_path)
    assert path.read_bytes().endswith(b"\n" + CLOSED_LINE)


def test_a_journal_without_rows_leaves_no_file(tmp_path: Path) -> None:
    Journal(tmp_path).close()
    assert list_segments(tmp_path) == []


def test_a_segment_with_open_calls_gets_no_closing_line(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.write(intent("a"))
    journal.close()
    (path,) = list_segments(tmp_path)
    assert path.read_bytes() == sealed(intent("a"))


def test_a_new_segment_starts_with_the_open_calls(
    tmp_path: Path,
) -> None:
    limit = len(sealed(intent("a"), entry("b"), entry("c")))
    tokens = iter(["1", "2"])
    journal = Journal(tmp_path, limit=limit, clock=lambda: 0.0, token=lambda: next(tokens))
    for row in (intent("a"), entry("b"), entry("c"), entry("d")):
        journal.write(row)
    first_segment, second_segment = list_segments(tmp_path)
    assert [row and row.id for row, _ in read_rows(first_segment)] == ["a", "b", "c"]
    journal.sync()
    assert first_segment.read_bytes().endswith(CLOSED_LINE)
    assert [row and row.id for row, _ in read_rows(second_segment)] == ["a", "d"]
    journal.write(entry("a"))
    journal.close()
    assert second_segment.read_bytes().endswith(CLOSED_LINE)


def test_a_segment_is_closed_only_after_the_next_one_is_on_disk(tmp_path: Path) -> None:
    """Otherwise a machine that fails in between would forget the calls that are open."""
    syncs: list[tuple[int, list[bool]]] = []

    def sync(descriptor: int) -> None:
        ends = [path.read_bytes().endswith(CLOSED_LINE) for path in list_segments(tmp_path)]
        syncs.append((os.fstat(descriptor).st_ino, ends))

    names = iter("12")
    journal = Journal(
        tmp_path,
        sync=sync,
        limit=len(sealed(intent("a"))),
        clock=lambda: 0.0,
        token=names.__next__,
    )
    journal.write(intent("a"))
    journal.write(attempt("a"))
    first_segment, second_segment = list_segments(tmp_path)
    journal.sync()
    assert syncs == [
        (second_segment.stat().st_ino, [False, False]),
        (first_segment.stat().st_ino, [True, False]),
    ]
    journal.close()


def test_a_new_segment_also_has_the_failed_attempts_of_open_calls(tmp_path: Path) -> None:
    """Repricings, and attempts of calls that are not open, stay in the old segment."""
    journal = Journal(tmp_path, limit=1_900)
    journal.write(reprice("x"))
    journal.write(attempt("x"))
    journal.write(intent("a"))
    journal.write(attempt("a"))
    journal.write(reprice("a"))
    journal.write(intent("a", attempt=2))
    first_segment, *_ = list_segments(tmp_path)
    while len(list_segments(tmp_path)) == 1:
        journal.write(reprice("b"))
    (second_segment,) = set(list_segments(tmp_path)) - {first_segment}
    carried = [intent("a"), attempt("a"), intent("a", attempt=2), reprice("b")]
    assert [row for row, _ in read_rows(second_segment)] == carried
    journal.write(entry("a"))
    journal.close()
    assert second_segment.read_bytes().endswith(CLOSED_LINE)


def test_each_day_has_its_own_segment(tmp_path: Path) -> None:
    now = [86_400.0 * 20_000 + 86_399]
    journal = Journal(tmp_path, clock=lambda: now[0])
    journal.write(entry("a"))
    journal.write(entry("b"))
    now[0] += 1
    journal.write(entry("c"))
    journal.write(entry("d"))
    journal.close()
    first_segment, second_segment = list_segments(tmp_path)
    assert [row and row.id for row, _ in read_rows(first_segment)] == ["a", "b", None]
    assert [row and row.id for row, _ in read_rows(second_segment)] == ["c", "d", None]
    assert second_segment.name.startswith("20241005T000000-")


@pytest.mark.parametrize("written", [0, 1, 40])
def test_a_row_that_a_full_disk_cuts_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    journal = Journal(tmp_path)
    journal.write(entry("a"))
    monkeypatch.setattr(os, "write", fake_write(*([written] if written else []), FULL))
    with pytest.raises(JournalError, match=r"No space left on device: '.*\.jsonl'") as caught:
        journal.write(entry("b"))
    assert caught.value.errno == errno.ENOSPC
    assert list_segments(tmp_path)[0].read_bytes() == sealed(entry("a"))
    journal.write(entry("c"))
    assert list_segments(tmp_path)[0].read_bytes() == sealed(entry("a"), entry("c"))
    journal.close()


def test_a_row_that_the_disk_takes_in_parts_is_written_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path)
    monkeypatch.setattr(os, "write", fake_write(10, 20))
    journal.write(entry("a"))
    assert list_segments(tmp_path)[0].read_bytes() == sealed(entry("a"))
    journal.close()


def test_a_torn_row_that_cannot_be_removed_does_not_spoil_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    journal = Journal(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", fake_write(40, FULL, FULL))
        patch.setattr(os, "ftruncate", refuse)
        for _ in range(2):
            with pytest.raises(JournalError):
                journal.write(entry("a"))
    journal.write(entry("b"))
    journal.write(entry("c"))
    torn = sealed(entry("a"))[:40] + b"\n"
    assert list_segments(tmp_path)[0].read_bytes() == torn + sealed(entry("b"), entry("c"))
    assert ids(tmp_path) == ["b", "c"]
    journal.close()


def test_whole_lines_of_a_write_that_fails_and_stays_keep_their_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caller writes all rows again, and a reader sees no gap and no damage."""

    def refuse(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    journal = Journal(tmp_path)
    (path,) = list_segments(tmp_path)
    rows = [entry(name) for name in "abc"]
    lines = sealed(*rows).splitlines(keepends=True)
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", fake_write(len(lines[0]) + len(lines[1]) + 9, FULL))
        patch.setattr(os, "ftruncate", refuse)
        with pytest.raises(JournalError):
            journal.append_together(with_lines(*rows))
    with monkeypatch.context() as patch:  # what is torn stays so if the next write fails, too
        patch.setattr(os, "write", fake_write(5, FULL))
        with pytest.raises(JournalError):
            journal.write(rows[0])
    for row in rows:
        journal.write(row)
    journal.close()
    reader = ChainReader(path)
    read = [row and row.id for row, _ in read_rows(path, chain_reader=reader)]
    assert read == ["a", "b", None, "a", "b", "c", None]
    assert (reader.damages, reader.debris) == ([], 1)


def test_the_journal_writes_again_once_a_full_disk_has_room(tmp_path: Path, start: Start) -> None:
    """The partial writes are real: the kernel takes what fits below the limit of the file size."""
    out, _ = start(tmp_path, "full").communicate(timeout=60)
    *before, error, after = out.split("\n")[:-1]
    assert len(before) == 2_000 // len(sealed(entry("before-0")))
    assert (error, after) == (f"error {errno.EFBIG}", "after")
    assert ids(tmp_path) == [*before, "after"]
    assert [row for row, _ in read_rows(list_segments(tmp_path)[0]) if row is None] == []


def test_a_folder_that_cannot_be_created_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(JournalError, match="file"):
        Journal(tmp_path / "file")


def test_if_no_new_segment_can_be_created_the_old_one_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    journal = Journal(tmp_path, limit=1_000)
    journal.write(entry("a"))
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        journal.write(entry("b"))
    assert [row and row.id for row, _ in read_rows(list_segments(tmp_path)[0])] == ["a", "b"]
    journal.write(entry("c"))
    assert len(list_segments(tmp_path)) == 2
    journal.close()
    assert sorted(ids(tmp_path)) == ["a", "b", "c"]


def test_a_new_segment_without_room_for_the_open_calls_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path, limit=2_000)
    journal.write(intent("a"))
    journal.write(entry("b"))
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", fake_write(FULL))
        with pytest.raises(JournalError):
            journal.write(entry("c"))
    assert len(list_segments(tmp_path)) == 1
    journal.write(entry("c"))
    assert [path.stat().st_size > 0 for path in list_segments(tmp_path)] == [True, True]
    assert sorted(finals(tmp_path)) == ["b", "c"]
    journal.close()


def test_sync_writes_rows_to_the_disk_and_counts_them(tmp_path: Path) -> None:
    synced: list[int] = []
    journal = Journal(tmp_path, sync=synced.append, limit=1_000)
    for name in "abc":
        journal.write(entry(name))
    assert (journal.written_rows, journal.synced_rows, synced) == (3, 0, [])
    journal.sync()
    assert (journal.written_rows, journal.synced_rows) == (3, 3)
    assert len(set(synced)) == len(synced) == len(list_segments(tmp_path)) == 3
    journal.close()


def test_a_disk_that_refuses_to_sync_is_an_error(tmp_path: Path) -> None:
    broken = [True]

    def sync(_: int) -> None:
        if broken[0]:
            raise OSError(errno.EIO, "Input/output error")

    journal = Journal(tmp_path, sync=sync)
    journal.write(entry("a"))
    with pytest.raises(JournalError, match="Input/output error"):
        journal.sync()
    assert journal.synced_rows == 0
    broken[0] = False
    journal.close()
    assert journal.synced_rows == 1


@pytest.mark.parametrize("by", ["removal", "renaming", "another file"])
def test_a_removed_segment_is_replaced_by_a_new_one(tmp_path: Path, by: str) -> None:
    journal = Journal(tmp_path)
    journal.write(intent("a"))
    (path,) = list_segments(tmp_path)
    if by == "removal":
        path.unlink()
    else:
        path.rename(tmp_path / "old")
    if by == "another file":
        path.touch()
    with pytest.raises(JournalError) as caught:
        journal.sync()
    assert caught.value.errno == errno.ENOENT
    journal.write(entry("b"))
    assert ids(tmp_path) == ["a", "b"]
    journal.sync()
    journal.close()


def test_the_journal_refuses_rows_while_its_folder_cannot_be_created(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    journal = Journal(folder)
    journal.write(entry("a"))
    folder.rename(tmp_path / "gone")
    folder.touch()
    with pytest.raises(JournalError):
        journal.sync()
    folder.unlink()
    with pytest.raises(JournalError):
        journal.sync()
    folder.touch()
    with pytest.raises(JournalError):
        journal.write(entry("b"))
    folder.unlink()
    journal.write(entry("c"))
    assert ids(folder) == ["c"]
    journal.close()


def test_a_sync_during_a_change_of_segments_counts_only_synced_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sync must not see the new segment alone while its first lines are written."""
    synced: list[int] = []
    journal = Journal(tmp_path, sync=synced.append, limit=1000)
    journal.write(entry("a"))
    old = journal._segment.descriptor

    def appending(segment: Segment, data: bytes, link: Link) -> None:
        append(segment, data, link)
        with ThreadPoolExecutor(1) as pool:
            pool.submit(journal.sync).result(30)
        assert (journal.synced_rows, synced) == (1, [old])
        monkeypatch.undo()

    monkeypatch.setattr("gateway.ledger.journal.append", appending)
    journal.write(entry("b"))
    journal.sync()
    assert (journal.synced_rows, synced) == (2, [old, journal._segment.descriptor, old])
    journal.close()
