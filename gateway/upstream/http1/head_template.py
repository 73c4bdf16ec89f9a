"""A whole answer with the head of one before it on its connection: read without a parser.

A provider answers with the same headers in the same order, of which some have another value.
Nothing but values may differ. They must be visible, none may end in a space, and none may say how
an answer ends or what comes after it, but for one length, which must be exactly what has come
behind the head. All else is for the parser.
"""

import re

MAX_HEAD_BYTES = 4_096
"""Bytes of a head."""
_STATUS_LINE = b"HTTP/1.1 200 OK\r\n"
_HEAD_END = b"\r\n\r\n"
_LENGTH_NAME = b"content-length"
_NAME_PATTERN = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+): ")
_match_value = re.compile(rb"[!-~](?:[ -~]*[!-~])?").fullmatch
_FRAMING_NAMES = frozenset({b"transfer-encoding", b"upgrade", b"connection", b"proxy-connection"})
_MAX_TEMPLATES = 64
_MAX_CHANGING = 6
"""Values that are looked for one by one; of more, all are read at once."""

type Field = tuple[bytes, bytes]


class HeadTemplate:
    """The names of an answer's headers, in their order.

    Of those that are the same in all answers the bytes between two that are not are compared at
    once; a value that is another one for the first time is from then on one that may be.
    """

    __slots__ = (
        "_changing_indices",
        "_last_fields",
        "_length_index",
        "_lower_names",
        "_match_head",
        "_names",
        "_prefix",
        "_steps",
    )

    def __init__(self, names: tuple[bytes, ...]) -> None:
        """`names` as they are written."""
        rows = b"".join(re.escape(name) + rb": ([!-~][ -~]*)\r\n" for name in names)
        self._match_head = re.compile(re.escape(_STATUS_LINE) + rows + rb"\r\n").match
        self._names = names
        self._lower_names = [name.lower() for name in names]
        self._length_index = self._lower_names.index(_LENGTH_NAME)
        """Which of them is the length."""
        self._last_fields: list[Field] = []
        """Those of the last answer that was read in full."""
        self._changing_indices = {self._length_index}
        self._prefix = b""
        """What stands before the first value that may be another one; empty where too many may."""
        self._steps: list[tuple[int, bytes, bytes]] = []
        """Each such value: which it is, its name in lower case, and what stands behind it."""

    def read(self, data: bytes) -> tuple[list[Field], bytes] | None:
        """The headers of an answer, their names in lower case, and its body.

        None where it is not whole, or has not this form.
        """
        prefix = self._prefix
        if not prefix or not data.startswith(prefix):
            return self._read_in_full(data)
        fields, position = self._last_fields.copy(), len(prefix)
        for index, name, suffix in self._steps:
            end = data.find(b"\r", position, MAX_HEAD_BYTES)
            if end < 0 or not data.startswith(suffix, end):
                return self._read_in_full(data)
            value = data[position:end]
            if _match_value(value) is None:
                return None
            fields[index] = name, value
            position = end + len(suffix)
        body = data[position:]
        if (
            position > MAX_HEAD_BYTES
            or not body
            or fields[self._length_index][1] != b"%d" % len(body)
        ):
            return None
        return fields, body

    def restore_names(self, fields: list[Field]) -> list[Field]:
        """Headers of such an answer, their names as they were written."""
        return [(name, value) for name, (_, value) in zip(self._names, fields, strict=True)]

    def _read_in_full(self, data: bytes) -> tuple[list[Field], bytes] | None:
        """The same of one in which another value than before is another one."""
        match = self._match_head(data)
        if match is None:
            return None
        values, end = match.groups(), match.end()
        body = data[end:]
        if end > MAX_HEAD_BYTES or not body or values[self._length_index] != b"%d" % len(body):
            return None
        if data.find(b" \r", 0, end) >= 0:
            return None
        fields = [*zip(self._lower_names, values, strict=True)]
        self._learn(fields)
        return fields, body

    def _learn(self, fields: list[Field]) -> None:
        """Take what an answer has that another one may not have."""
        changing_indices, last_fields = self._changing_indices, self._last_fields or fields
        if len(changing_indices) > _MAX_CHANGING:
            return
        changing_indices.update(
            [index for index, field in enumerate(fields) if field != last_fields[index]]
        )
        self._prefix, self._steps = b"", []
        if len(changing_indices) > _MAX_CHANGING:
            return
        parts = [_STATUS_LINE]
        for index, (name, (_, value)) in enumerate(zip(self._names, fields, strict=True)):
            parts[-1] += b"%b: " % name
            if index in changing_indices:
                parts.append(b"\r\n")
            else:
                parts[-1] += b"%b\r\n" % value
        parts[-1] += b"\r\n"
        self._last_fields, self._prefix = fields, parts[0]
        values_and_suffixes = zip(sorted(changing_indices), parts[1:], strict=True)
        self._steps = [
            (index, self._lower_names[index], suffix) for index, suffix in values_and_suffixes
        ]


_templates: dict[tuple[bytes, ...], HeadTemplate] = {}


def get_template(data: bytes) -> HeadTemplate | None:
    """The form of an answer that a parser has read, and which `data` is the whole of.

    None where it is not as most are.
    """
    end = data.find(_HEAD_END, 0, MAX_HEAD_BYTES)
    if end < 0 or not data.startswith(_STATUS_LINE):
        return None
    matches = [_NAME_PATTERN.match(match) for match in data[len(_STATUS_LINE) : end].split(b"\r\n")]
    names = tuple(match[1] for match in matches if match is not None)
    lower_names = [name.lower() for name in names]
    if (
        len(names) < len(matches)
        or lower_names.count(_LENGTH_NAME) != 1
        or not _FRAMING_NAMES.isdisjoint(lower_names)
    ):
        return None
    template = _templates.get(names)
    if template is None:
        if len(_templates) >= _MAX_TEMPLATES:
            _templates.clear()
        template = _templates[names] = HeadTemplate(names)
    return template
