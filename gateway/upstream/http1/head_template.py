"""A whole answer with the head of one before it on its connection: read without a parser.

A provider answers with the same headers in the same order, of which some have another value.
Nothing but values may differ. They must be visible, none may end in a space, and none may say how
an answer ends or what comes after it, but for one length, which must be exactly what has come
behind the head. All else is for the parser.
"""

import re

MOST = 4_096
"""Bytes of a head."""
_STATUS = b"HTTP/1.1 200 OK\r\n"
_END = b"\r\n\r\n"
_LENGTH = b"content-length"
_NAME = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+): ")
_VALUE = re.compile(rb"[!-~](?:[ -~]*[!-~])?").fullmatch
_TELLING = frozenset({b"transfer-encoding", b"upgrade", b"connection", b"proxy-connection"})
_MOST_FORMS = 64
_MOST_CHANGING = 6
"""Values that are looked for one by one; of more, all are read at once."""

type Field = tuple[bytes, bytes]


class HeadTemplate:
    """The names of an answer's headers, in their order.

    Of those that are the same in all answers the bytes between two that are not are compared at
    once; a value that is another one for the first time is from then on one that may be.
    """

    __slots__ = ("_at", "_begin", "_changing", "_fields", "_head", "_low", "_names", "_steps")

    def __init__(self, names: tuple[bytes, ...]) -> None:
        """`names` as they are written."""
        rows = b"".join(re.escape(name) + rb": ([!-~][ -~]*)\r\n" for name in names)
        self._head = re.compile(re.escape(_STATUS) + rows + rb"\r\n").match
        self._names = names
        self._low = [name.lower() for name in names]
        self._at = self._low.index(_LENGTH)
        """Which of them is the length."""
        self._fields: list[Field] = []
        """Those of the last answer that was read in full."""
        self._changing = {self._at}
        self._begin = b""
        """What stands before the first value that may be another one; empty where too many may."""
        self._steps: list[tuple[int, bytes, bytes]] = []
        """Each such value: which it is, its name in lower case, and what stands behind it."""

    def read(self, data: bytes) -> tuple[list[Field], bytes] | None:
        """The headers of an answer, their names in lower case, and its body.

        None where it is not whole, or has not this form.
        """
        begin = self._begin
        if not begin or not data.startswith(begin):
            return self._read(data)
        fields, at = self._fields.copy(), len(begin)
        for place, name, behind in self._steps:
            end = data.find(b"\r", at, MOST)
            if end < 0 or not data.startswith(behind, end):
                return self._read(data)
            value = data[at:end]
            if _VALUE(value) is None:
                return None
            fields[place] = name, value
            at = end + len(behind)
        body = data[at:]
        if at > MOST or not body or fields[self._at][1] != b"%d" % len(body):
            return None
        return fields, body

    def written(self, fields: list[Field]) -> list[Field]:
        """Headers of such an answer, their names as they were written."""
        return [(name, value) for name, (_, value) in zip(self._names, fields, strict=True)]

    def _read(self, data: bytes) -> tuple[list[Field], bytes] | None:
        """The same of one in which another value than before is another one."""
        found = self._head(data)
        if found is None:
            return None
        values, end = found.groups(), found.end()
        body = data[end:]
        if end > MOST or not body or values[self._at] != b"%d" % len(body):
            return None
        if data.find(b" \r", 0, end) >= 0:
            return None
        fields = [*zip(self._low, values, strict=True)]
        self._learn(fields)
        return fields, body

    def _learn(self, fields: list[Field]) -> None:
        """Take what an answer has that another one may not have."""
        changing, before = self._changing, self._fields or fields
        if len(changing) > _MOST_CHANGING:
            return
        changing.update([at for at, one in enumerate(fields) if one != before[at]])
        self._begin, self._steps = b"", []
        if len(changing) > _MOST_CHANGING:
            return
        parts = [_STATUS]
        for at, (name, (_, value)) in enumerate(zip(self._names, fields, strict=True)):
            parts[-1] += b"%b: " % name
            if at in changing:
                parts.append(b"\r\n")
            else:
                parts[-1] += b"%b\r\n" % value
        parts[-1] += b"\r\n"
        self._fields, self._begin = fields, parts[0]
        every = zip(sorted(changing), parts[1:], strict=True)
        self._steps = [(at, self._low[at], behind) for at, behind in every]


_forms: dict[tuple[bytes, ...], HeadTemplate] = {}


def form(data: bytes) -> HeadTemplate | None:
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
        if len(_forms) >= _MOST_FORMS:
            _forms.clear()
        known = _forms[names] = HeadTemplate(names)
    return known
