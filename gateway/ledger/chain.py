"""The chain of a segment: each line has a number, a checksum, and the checksum before it.

A sealed line ends in `"seq":7,"prev":"<checksum>","sum":"<checksum>"}`. `seq` counts the lines from
1, `prev` is the `sum` of the line before, and `sum` is the CRC-32 of all bytes before its own
value, in hex. So each line can be checked alone, and a line that is missing leaves a gap between
its neighbours. A piece of a line that fills no gap is what an interrupted write left: no writer has
acknowledged it. docs/design/ledger-integrity.md says why it is so.
"""

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from zlib import crc32

from gateway.core import jsonio
from gateway.core.ledger_rows import DamagedRow, DamageKind
from gateway.ledger import personal_part

SEALED_SUFFIX = ".sealed.jsonl"
"""The end of the names of segments whose lines are sealed: no damaged line can deny it."""
CLOSED_LINE = b'{"kind":"closed"}\n'
"""The last line of a segment without open calls. It is the same in all segments, and not sealed."""
_CLOSED = CLOSED_LINE[:-1]
END_PREFIX = b'{"kind":"end",'
"""The beginning of the line that says where a segment ends."""

_CHECKSUM_CHARS = 8
_BEGINNING, _ENDING = b'{"kind":"', b'"}'
_NUMBER_NAME, _SUM_NAME = b',"seq":', b'","sum":"'
_TAIL = _CHECKSUM_CHARS + 2  # of a line: its checksum and `"}`
_SUM_PLACE = slice(-_TAIL - len(_SUM_NAME), -_TAIL)
_SEAL = b',"seq":%d,"prev":"%08x","sum":"%08x"}'
_SEAL_PATTERN = re.compile(rb',"seq":\d{1,18},"prev":"[0-9a-f]{8}","sum":"[0-9a-f]{8}"\}\Z')
_MAX_SEAL_BYTES = 64  # with a number of 18 digits
_BLOCK_BYTES = 8192  # bytes of a segment in one read: a line and more
_CALL_SECONDS = 3600.0
"""Seconds before a gap in which the call of a missing row may have begun: few take so long."""
_STAMP_PATTERN = re.compile(r"(\d{8}T\d{6})-")


type Link = tuple[int, int]
"""The number and the checksum of a line, to which the next one refers."""
NO_LINK: Link = (0, 0)
"""The link of a segment without lines."""


def seal_lines(lines: Iterable[bytes], link: Link) -> tuple[bytes, Link]:
    """Return lines of JSON objects, sealed, as one text, and the link of the last one."""
    number, checksum = link
    pieces: list[bytes] = []
    for line in lines:
        number += 1
        # Concatenated, since one format with the whole line takes a quarter longer.
        body = line[:-2] + b',"seq":%d,"prev":"%08x","sum":"' % (number, checksum)
        checksum = crc32(body)
        pieces += (body, b'%08x"}\n' % checksum)
    return b"".join(pieces), (number, checksum)


class ChainReader:
    """Follows the chain of one segment, and finds the rows that are missing from it.

    `path` is the segment. Lines of a segment that is not sealed count as intact.
    """

    def __init__(self, path: Path) -> None:
        self.is_sealed = is_sealed(path)
        """True if every line of the segment must be sealed."""
        self.link = NO_LINK
        """The link of the last intact line."""
        self.loose_lines = 0
        """The number of damaged lines after the last intact one."""
        self.debris = 0
        """The number of lines that are not intact and fill no gap."""
        self.damages: list[DamagedRow] = []
        """The gaps so far, in order; the caller may take them out."""
        self._path = path
        self._last_line = b""
        self._pieces = 0  # after the last intact line

    def resume(self, offset: int) -> None:
        """Take up the chain at an offset of the segment: read the last intact line before it."""
        if not self.is_sealed:
            return
        start, data = offset, b""
        with self._path.open("rb", buffering=0) as file:
            while start:
                size = min(_BLOCK_BYTES, start)
                start -= size
                file.seek(start)
                data = file.read(size) + data
                lines = data.split(b"\n")
                for line in reversed(lines if start == 0 else lines[1:]):
                    if is_intact(line):
                        self.link, self._last_line = read_link(line), line
                        return

    def select_intact(self, lines: Iterable[bytes]) -> list[bytes]:
        """Return those of the next lines, each without its end, that are as they were written."""
        if not self.is_sealed:
            return [*lines]
        intact_lines = []
        (number, checksum), last_line = self.link, self._last_line
        is_in_order = not (self.loose_lines or self._pieces)
        for line in lines:
            # The next line of the chain, as almost all are: one comparison for its whole seal.
            next_checksum = crc32(line[:-_TAIL])
            if is_in_order and line.endswith(_SEAL % (number + 1, checksum, next_checksum)):
                number, checksum, last_line = number + 1, next_checksum, line
                intact_lines.append(line)
                continue
            self.link, self._last_line = (number, checksum), last_line
            if self._take_line(line):
                intact_lines.append(line)
            (number, checksum), last_line = self.link, self._last_line
            is_in_order = not (self.loose_lines or self._pieces)
        self.link, self._last_line = (number, checksum), last_line
        return intact_lines

    def _take_line(self, line: bytes) -> bool:
        """Take a line that may not be the next one of the chain. Return True if it is intact."""
        if is_intact(line):
            link = number, checksum = read_link(line)
            if line.endswith(_SEAL % (self.link[0] + 1, self.link[1], checksum)):
                self.debris += self.loose_lines + self._pieces
            else:
                self._note_gap(line, number)
            self.link, self._last_line = link, line
            self.loose_lines = self._pieces = 0
            return True
        if line == _CLOSED:
            self.end()
            return True
        is_piece = _is_piece(line)
        self._pieces += is_piece
        self.loose_lines += not is_piece
        return False

    def end(self, rest: bytes = b"") -> None:
        """Note that nobody writes the segment any more; `rest` is what has no end of a line.

        The beginning of a line is no damage: a writer acknowledges a row only with its end. But a
        line with another byte as its end has lost it later.
        """
        if self.is_sealed and (is_intact(rest) or rest == _CLOSED):  # only its end is not there
            self.select_intact([rest])
        elif self.is_sealed and (not _is_piece(rest) or is_intact(rest[:-1])):
            self.loose_lines += 1
        self.debris += self._pieces
        self._pieces = 0
        if self.loose_lines:
            first = self.link[0] + 1
            until = self._path.stat().st_mtime
            self._add_damage("missing", first, self.link[0] + self.loose_lines, until)
            self.link = self.link[0] + self.loose_lines, self.link[1]
            self.loose_lines = 0

    def make_last_lines(self, at: float) -> list[bytes]:
        """Return the lines that end the segment. `at` is in seconds since the epoch."""
        return [seal_end(self.link, at), CLOSED_LINE] if self.is_sealed else [CLOSED_LINE]

    def _note_gap(self, line: bytes, number: int) -> None:
        """Note what lies between the last intact line and this one."""
        until = max(_read_end(line), _read_end(self._last_line))
        last_number = self.link[0]
        if number > last_number + 1:
            self._add_damage("missing", last_number + 1, number - 1, until)
        else:  # a line of another segment, or one that was there already
            first, last = min(number, last_number), max(number, last_number)
            self._add_damage("altered", first, last, until)

    def _add_damage(self, problem: DamageKind, first: int, last: int, until: float) -> None:
        segment = self._path.name
        started_at, before = _read_start(segment), _read_at(self._last_line)
        before = started_at if before is None else before
        row = DamagedRow(
            id=f"{segment}:{first}-{last}",
            segment=segment,
            problem=problem,
            first=first,
            last=last,
            since=None if before is None else min(before, until) - _CALL_SECONDS,
            until=max(until, before or 0.0, started_at or 0.0),
        )
        self.damages.append(row)


def seal_end(link: Link, at: float) -> bytes:
    """Return the sealed line that says where a segment ends."""
    return seal_lines([b'%b"at":%.3f}\n' % (END_PREFIX, at)], link)[0]


def is_sealed(path: Path) -> bool:
    """True if each line of a segment must be sealed."""
    return path.name.endswith(SEALED_SUFFIX)


def is_intact(line: bytes) -> bool:
    """True if a line, without its end, is sealed and as its writer wrote it, or erased."""
    if line[_SUM_PLACE] != _SUM_NAME or not _has_seal(line):
        return False
    return line[-_TAIL:] == b'%08x"}' % crc32(line[:-_TAIL]) or personal_part.is_erased(line)


def _has_seal(line: bytes) -> bool:
    """True if a line ends in a whole seal: a right checksum alone may be that of damaged bytes."""
    return _SEAL_PATTERN.search(line, max(0, len(line) - _MAX_SEAL_BYTES)) is not None


def _is_piece(line: bytes) -> bool:
    """True if a line that is not intact may be what an interrupted write left: a beginning."""
    return (
        (line.startswith(_BEGINNING) or _BEGINNING.startswith(line))
        and not line.endswith(_ENDING)
        and b"\0" not in line
        and not is_intact(line[: -len(_ENDING)] + _ENDING)
    )


def read_link(line: bytes) -> Link:
    """Return the link of an intact line."""
    seal = line[line.rindex(_NUMBER_NAME) + len(_NUMBER_NAME) :]
    return int(seal[: seal.index(b",")]), int(line[-_TAIL:-2], 16)


def _read_start(segment: str) -> float | None:
    """Return when a segment began, by its name; None if another program named it."""
    match = _STAMP_PATTERN.match(segment)
    if match is None:
        return None
    try:
        return datetime.strptime(match[1], "%Y%m%dT%H%M%S").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None


def _read_number(line: bytes, name: str) -> float | None:
    """Return a number of an intact line's row; None without a line, or without that number.

    A line whose checksum is right is a row, unless somebody has made both: then it has no time.
    """
    try:
        row = jsonio.loads(line) if line else None
    except jsonio.JsonError:
        return None
    number = row.get(name) if isinstance(row, dict) else None
    return number if isinstance(number, float) else None


def _read_at(line: bytes) -> float | None:
    """Return the time of an intact line's row; None without a line or a time."""
    return _read_number(line, "at")


def _read_end(line: bytes) -> float:
    """Return when an intact line was written, by its row; 0 if nobody knows."""
    return (_read_at(line) or 0.0) + (_read_number(line, "duration") or 0.0)
