"""A whole answer with the head of one before it on its connection: read without a parser.

A provider answers with the same headers in the same order, of which some have another value.
Nothing but values may differ. They must be visible, none may end in a space, and none may say how
an answer ends or what comes after it, but for one length, which must be exactly what has come
behind the head. All else is for the parser.
"""

import re
from typing import NamedTuple

MOST = 4_096
"""Bytes of a head."""
_STATUS = b"HTTP/1.1 200 OK\r\n"
_END = b"\r\n\r\n"
_LENGTH = b"content-length"
_NAME = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+): ")
_TELLING = frozenset({b"transfer-encoding", b"upgrade", b"connection", b"proxy-connection"})
_MOST_FORMS = 64

type Field = tuple[bytes, bytes]


class Form(NamedTuple):
    """The names of an answer's headers, in their order."""

    head: re.Pattern[bytes]
    """A head, with its values."""
    names: list[bytes]
    low: list[bytes]
    """The same in lower case."""
    at: int
    """Which of them is the length."""

    def read(self, data: bytes) -> tuple[list[Field], bytes] | None:
        """The headers of an answer, their names in lower case, and its body.

        None where it is not whole, or has not this form.
        """
        found = self.head.match(data)
        if found is None:
            return None
        values, end = found.groups(), found.end()
        body = data[end:]
        if end > MOST or not body or values[self.at] != b"%d" % len(body):
            return None
        if data.find(b" \r", 0, end) >= 0:
            return None
        return [*zip(self.low, values, strict=True)], body

    def written(self, fields: list[Field]) -> list[Field]:
        """Headers of such an answer, their names as they were written."""
        return [(name, value) for name, (_, value) in zip(self.names, fields, strict=True)]


_forms: dict[tuple[bytes, ...], Form] = {}


def form(data: bytes) -> Form | None:
    """The form of an answer that a parser has read, and which `data` is the whole of.

    None where it is not as most are.
    """
    end = data.find(_END, 0, MOST)
    if end < 0 or not data.startswith(_STATUS):
        return None
    lines = [_NAME.match(line) for line in data[len(_STATUS) : end].split(b"\r\n")]
    names = tuple(line[1] for line in lines if line is not None)
    low = [name.lower() for name in names]
    if len(names) < len(lines) or low.count(_LENGTH) != 1 or not _TELLING.isdisjoint(low):
        return None
    known = _forms.get(names)
    if known is None:
        rows = b"".join(re.escape(name) + rb": ([!-~][ -~]*)\r\n" for name in names)
        head = re.compile(re.escape(_STATUS) + rows + rb"\r\n")
        if len(_forms) >= _MOST_FORMS:
            _forms.clear()
        known = _forms[names] = Form(head, [*names], low, low.index(_LENGTH))
    return known
