"""The chain of a segment: what is missing or changed is noticed, and what was never there is not."""

import os
from collections.abc import Callable
from pathlib import Path
from zlib import crc32

import pytest

from gateway.core.ledger_rows import DamagedRow, FinalRow
from gateway.ledger import chain
from gateway.ledger.chain import CLOSED_LINE, ChainReader, seal_end
from gateway.ledger.ingest import RowBatch, read_batches
from gateway.ledger.journal import Journal, encode_row, list_segments, read_rows
from gateway.ledger.recovery import recover
from tests.ledger.rows import entry, intent, reprice, sealed, with_lines

_NAME = "20261026T073320-7-abcd.sealed.jsonl"
_STARTED_AT = 1_793_000_000.0
_ROWS = [entry(f"call-{number}", at=_STARTED_AT + number, duration=2.0) for number in range(1, 7)]
_LINES = sealed(*_ROWS).splitlines(keepends=True)
_END = seal_end((6, int(_LINES[5][-11:-3], 16)), _STARTED_AT + 60.0)


def write(tmp_path: Path, *lines: bytes) -> Path:
    path = tmp_path / _NAME
    path.write_bytes(b"".join(lines))
    os.utime(path, (_STARTED_AT + 90.0,) * 2)
    return path


def read(path: Path, offset: int = 0) -> RowBatch:
    batches = [*read_batches(path, offset)]
    return RowBatch(
        end=batches[-1].end,
        entries=[row for batch in batches for row in batch.entries],
        damages=[row for batch in batches for row in batch.damages],
    )


def spans(path: Path, offset: int = 0) -> list[tuple[str, int, int]]:
    return [(row.problem, row.first, row.last) for row in read(path, offset).damages]


def flip(line: bytes, place: int) -> bytes:
    place %= len(line)
    return line[:place] + bytes([line[place] ^ 1]) + line[place + 1 :]


def test_a_sealed_line_has_its_number_and_checksums_at_its_end() -> None:
    first, second = sealed(reprice(), reprice()).splitlines()
    assert first[: first.index(b',"seq"')] + b"}\n" == encode_row(reprice())
    assert first.endswith(b',"seq":1,"prev":"00000000","sum":"%b"}' % first[-10:-2])
    assert second.endswith(b',"seq":2,"prev":"%b","sum":"%b"}' % (first[-10:-2], second[-10:-2]))


def test_an_undamaged_segment_has_no_findings(tmp_path: Path) -> None:
    batch = read(write(tmp_path, *_LINES, _END, CLOSED_LINE))
    assert (batch.entries, batch.damages) == (_ROWS, [])
    (whole,) = read_batches(tmp_path / _NAME, 0)
    assert whole.skipped == 0


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda lines: [flip(lines[0], 9), *lines[1:]], ("missing", 1, 1)),
        (lambda lines: [*lines[:2], flip(lines[2], 300), *lines[3:]], ("missing", 3, 3)),
        (lambda lines: [*lines[:2], flip(lines[2], -5), *lines[3:]], ("missing", 3, 3)),
        (lambda lines: [*lines[:2], flip(lines[2], -1), *lines[3:]], ("missing", 3, 4)),
        (lambda lines: [*lines[:2], b"\0" * 900, *lines[4:]], ("missing", 3, 5)),
        (lambda lines: [*lines[:2], *lines[4:]], ("missing", 3, 4)),
        (lambda lines: [*lines[:5], flip(lines[5], 40), *lines[6:]], ("missing", 6, 6)),
        (lambda lines: [*lines[:6], flip(lines[6], 40), lines[7]], ("missing", 7, 7)),
        (lambda lines: [*lines[:2], lines[1], *lines[2:]], ("altered", 2, 2)),
        (lambda lines: [*lines[:2], encode_row(entry()), *lines[3:]], ("missing", 3, 3)),
    ],
)
def test_damage_is_noticed_at_its_place(
    tmp_path: Path,
    damage: Callable[[list[bytes]], list[bytes]],
    expected: tuple[str, int, int],
) -> None:
    path = write(tmp_path, *damage([*_LINES, _END, CLOSED_LINE]))
    assert spans(path) == [expected]
    assert all(row in _ROWS for row in read(path).entries)


def test_a_line_of_another_segment_is_noticed(tmp_path: Path) -> None:
    other = sealed(*[entry("other")] * 3).splitlines(keepends=True)
    path = write(tmp_path, *_LINES[:2], other[2], *_LINES[3:])
    assert spans(path) == [("altered", 2, 3), ("altered", 3, 4)]


@pytest.mark.parametrize("count", [0, 1, 3, 4, 5])
def test_damage_is_found_once_by_a_reader_that_goes_on(tmp_path: Path, count: int) -> None:
    """A reader that ended before, within or after the damage finds it when the next row is there."""
    lines = [*_LINES[:2], b"x" * 20_000 + b"\n", b"\n", *_LINES[4:]]
    path = write(tmp_path, *lines)
    offset = sum(map(len, lines[:count]))
    expected = [("missing", 3, 4)] if count < 5 else []
    assert spans(path, offset) == expected


def test_damage_has_the_time_in_which_its_calls_may_lie(tmp_path: Path) -> None:
    path = write(tmp_path, *_LINES[:2], *_LINES[4:])
    (row,) = read(path).damages
    assert row == DamagedRow(
        id=f"{_NAME}:3-4",
        segment=_NAME,
        problem="missing",
        first=3,
        last=4,
        since=_STARTED_AT + 2 - 3600,
        until=_STARTED_AT + 5 + 2,
    )
    path = write(tmp_path, *_LINES[1:])
    (row,) = read(path).damages
    assert (row.since, row.until) == (_STARTED_AT - 3600, _STARTED_AT + 4)
    path = write(tmp_path, *_LINES[:4], b"damaged\n", CLOSED_LINE)
    (row,) = read(path).damages
    assert (row.since, row.until) == (_STARTED_AT + 4 - 3600, _STARTED_AT + 90)


@pytest.mark.parametrize("name", ["other", "99999999T999999-7-abcd"])
def test_the_time_of_a_segment_with_another_name_may_be_unknown(tmp_path: Path, name: str) -> None:
    path = tmp_path / f"{name}.sealed.jsonl"
    path.write_bytes(_LINES[1])
    (row,) = read(path).damages
    assert (row.since, row.until) == (None, _STARTED_AT + 4)


def test_a_segment_of_an_earlier_version_has_no_chain(tmp_path: Path) -> None:
    path = tmp_path / "20261026T073320-7-abcd.jsonl"
    path.write_bytes(encode_row(entry("a")) + b"torn\n" + encode_row(entry("b")) + CLOSED_LINE)
    batch = read(path)
    assert ([row.id for row in batch.entries], batch.damages) == (["a", "b"], [])


def test_a_row_without_a_time_is_read(tmp_path: Path) -> None:
    """A later version may have such kinds."""
    note, link = chain.seal_lines([b'{"kind":"note"}\n'], chain.NO_LINK)
    path = tmp_path / "other.sealed.jsonl"
    path.write_bytes(note + sealed(entry("a"), link=(link[0] + 1, link[1])))
    (row,) = read(path).damages
    assert (row.first, row.last, row.since) == (2, 2, None)


@pytest.mark.parametrize(
    ("rest", "lost"),
    [
        (b"", 0),
        (_LINES[4][:-1], 0),
        (_LINES[4][:40], 0),  # torn: nobody has acknowledged it
        (_LINES[4][:40] + b"\n" + _LINES[4][:5], 0),  # torn twice
        (_LINES[4][:40] + b"\n\n", 0),
        (CLOSED_LINE[:-1], 0),
        (_LINES[4][:-1] + b"\x0b", 1),  # a whole line, whose end has changed
        (_LINES[4][:40] + b"\0" * 472, 1),  # a sector of zeros
        (flip(_LINES[4], 40), 1),
        (flip(_LINES[4], -2), 1),
        (flip(_LINES[4], -3), 1),
        (b"something else", 1),
    ],
)
def test_recovery_keeps_the_places_of_rows_that_were_lost(
    tmp_path: Path, rest: bytes, lost: int
) -> None:
    path = write(tmp_path, *_LINES[:4], rest)
    journal = Journal(tmp_path)
    recover(journal)
    journal.close()
    assert path.read_bytes().endswith(b"\n" + CLOSED_LINE)
    assert spans(path) == ([("missing", 5, 5)] if lost else [])
    journal = Journal(tmp_path)
    assert recover(journal).segments == 0
    journal.close()


def test_a_call_whose_final_row_is_damaged_is_closed_by_recovery(tmp_path: Path) -> None:
    path = write(tmp_path, sealed(intent("a"), entry("a")).replace(b'"settled"', b'"settlee"'))
    journal = Journal(tmp_path)
    (row,) = recover(journal).entries
    journal.close()
    assert (row.id, row.state) == ("a", "unknown_crash")
    assert spans(path) == [("missing", 2, 2)]


def test_a_journal_of_many_segments_and_writes_is_intact(tmp_path: Path) -> None:
    journal = Journal(tmp_path, limit=4_000)
    for number in range(20):
        journal.write(intent(f"{number}"))
        journal.append_together(with_lines(entry(f"{number}"), entry(f"{number}-b")))
    journal.write(intent("open"))
    journal.close()
    paths = list_segments(tmp_path)
    assert len(paths) > 5
    readers = [ChainReader(path) for path in paths]
    rows = [
        row
        for path, reader in zip(paths, readers, strict=True)
        for row, _ in read_rows(path, chain_reader=reader)
    ]
    assert len([row for row in rows if isinstance(row, FinalRow)]) == 40
    assert [(reader.damages, reader.debris) for reader in readers] == [([], 0)] * len(paths)


@pytest.mark.parametrize("seal", [b"", b',"seq":,"prev":"00000000', b',"seq":x,"prev":"00000000'])
def test_a_line_without_a_number_is_damaged_though_its_checksum_is_right(seal: bytes) -> None:
    body = b'{"kind":"intent"' + (seal or b',"model":"m') + b'","sum":"'
    assert not chain.is_intact(body + b'%08x"}' % crc32(body))
