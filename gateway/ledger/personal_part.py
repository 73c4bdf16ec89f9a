"""The personal part of a row. It can be erased, and the chain of the file stays whole.

It is what leads from a row to its end user: hashes of the user and the conversation, and the ids by
which a provider knows the answer. A line of such a row has a salt too. The erasure removes it, so
that the checksum does not reveal the erased values. Erased values become null or empty, with spaces
up to their former length. In place of the salt stands `kept`, the CRC-32 of the line so far
without the values. So the line stays where it is, and its number and checksum stay in the chain;
`kept` shows that nothing else has changed. Lines that earlier versions wrote have `kept` at once.
"""

import os
import re
from typing import Final
from zlib import crc32

from gateway.core import jsonio
from gateway.core.decision_record import DecisionRecord

_MARK = b'"end_user":"'
PERSONAL_COLUMNS: Final = ("end_user", "conversation", "upstream_id", "response_id")
"""The personal members of a row, in their order there."""
_BASIS_MARK = b'"basis":{'
_TURN_NAME = b'"turn":{"conversation":'
_FIRST_NAME = b'"first":'
"""The one name that may stand several times in a line."""
_SALT_NAME = b'"salt":'
_ROW_NAMES = tuple(b'"%b":' % name.encode() for name in PERSONAL_COLUMNS)
_LINE_NAMES = (*_ROW_NAMES, _SALT_NAME)
"""The personal members as they stand in a line. No text has one in it: JSON escapes its quotation
marks."""
_NAMES = (*_ROW_NAMES, _TURN_NAME, _FIRST_NAME, _SALT_NAME)
"""The personal members of a line with a basis, which begins before the turn."""
_MEMBER_PATTERN = re.compile(rb'"(?:turn":\{")?\w+":((?:"[^"\\]*(?:\\.[^"\\]*)*"|null) *)')
"""A personal member with its value, which is a text or null."""
_ERASED_PATTERN = re.compile(
    rb'(.*),"kept":"([0-9a-f]{8})","seq":\d+,"prev":"[0-9a-f]{8}","sum":"[0-9a-f]{8}"\}'
)
_SALT_PATTERN = re.compile(rb',"salt":"[0-9a-f]{16}"(?=,"seq":)')
_KEPT_BYTES = len(b',"kept":"01234567"')
_MAX_TAIL_BYTES = 128
"""More bytes than a line has from its salt on."""
_EMPTY_VALUES = frozenset({b"null", b'""'})


def belongs_to(line: bytes, end_user: str) -> bool:
    """True if the row of a line has this end user (a hash)."""
    return b'%b%b"' % (_MARK, end_user.encode()) in line


def add_salt(row: bytes) -> bytes:
    """Return a row, a JSON object, with a salt."""
    return b'%b,"salt":"%b"}' % (row[:-1], os.urandom(8).hex().encode())


def is_erased(line: bytes) -> bool:
    """True if the personal part of a sealed line was erased, and all else is as it was written."""
    match = _ERASED_PATTERN.fullmatch(line)
    if match is None:
        return False
    body, spans = match[1], _find_values(match[1])
    return _sum_kept(body, spans) == int(match[2], 16) and all(
        body[start:end].rstrip() in _EMPTY_VALUES for start, end in spans
    )


def erase_line(line: bytes) -> bytes:
    """Return a line of the same length without its personal part."""
    erased = _blank_values(line)
    salt = _SALT_PATTERN.search(line, max(0, len(line) - _MAX_TAIL_BYTES))
    if salt is None:  # the line has `kept` already, or is not sealed
        return erased
    start, end = salt.span()
    body = erased[:start] + b" " * (end - start - _KEPT_BYTES)
    return b'%b,"kept":"%08x"%b' % (body, _sum_kept(body, _find_values(body)), line[end:])


def _blank_values(line: bytes) -> bytes:
    """Return a line with null or an empty text, and spaces, in place of its personal values."""
    basis_start = line.find(_BASIS_MARK)
    blank = bytearray(line)
    for start, end in _find_values(line):
        is_nested = 0 <= basis_start < start and not line.endswith(_SALT_NAME, 0, start)
        value = b'""' if is_nested or end - start < len(b"null") else b"null"
        blank[start:end] = value.ljust(end - start)
    return bytes(blank)


def _find_values(line: bytes) -> list[tuple[int, int]]:
    """Return where the values of the personal part begin and end, in order."""
    spans: list[tuple[int, int]] = []
    position, line_end, basis_start = 0, len(line), line.find(_BASIS_MARK)
    names, end = (_LINE_NAMES, line_end) if basis_start < 0 else (_NAMES, basis_start)
    for name in names:
        if name is _TURN_NAME:
            position, end = basis_start, line_end
        while (start := line.find(name, position, end)) >= 0:
            match = _MEMBER_PATTERN.match(line, start)
            if match is None:  # a name that a client has chosen, of a number
                position = start + len(name)
            else:
                spans.append(match.span(1))
                position = match.end()
            if name is not _FIRST_NAME:
                break
    return spans


def _sum_kept(line: bytes, spans: list[tuple[int, int]]) -> int:
    """Return the checksum of a line without its personal part."""
    checksum = position = 0
    for start, end in spans:
        checksum = crc32(line[position:start], checksum)
        position = end
    return crc32(line[position:], checksum)


def erase_basis(basis: DecisionRecord | None) -> DecisionRecord | None:
    """Return what a decision rests on without what identifies the conversation."""
    if basis is None:
        return None
    name = _BASIS_MARK[:-1]
    erased: DecisionRecord = _parse_basis(erase_line(name + jsonio.dumps(basis))[len(name) :])
    return erased


_parse_basis = jsonio.make_reader(DecisionRecord)
