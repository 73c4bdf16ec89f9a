"""Bound what JSON has before it is parsed: its values and names, and its complex text.

Values cost more than their bytes: a value of two bytes becomes a Python object. A JSON library
keeps the interpreter's lock until it is done, so no thread helps. So the gateway counts first, and
refuses what has too many.

Each value but the first follows a comma or the opening of an object or a list, and a colon follows
each name. So the gateway counts these characters outside of strings. An empty object or list counts
twice. A name counts like a value: an object with many names takes longest to parse. `bound_values`
also counts characters in strings: it is fast, and never too low.

Complex text are the strings that have an escape, or a character outside of ASCII. They take several
times as long to read and to write as plain ones, and up to 4 bytes for each character: Python takes
as many if one is above U+FFFF. Data of images is plain.
"""

import re
from collections.abc import Iterator

MAX_VALUES = 400_000
"""The most values in what no client's limit bounds: an answer of a provider, a file's line.

An event of a stream may have as many: the last one of a Responses stream has the whole answer. With
20 `top_logprobs` a token has 230 values and names.
"""
MAX_PART_VALUES = 100_000
"""The most values in a message of a session, and in JSON in a text such as a tool's arguments."""
MAX_COMPLEX_BYTES = 10_000_000
"""The most bytes of complex text: more than 2 million tokens. To write as many takes 30 ms."""
COMPLEX_TEXT_BOUND = (
    f"{MAX_COMPLEX_BYTES:,} bytes of strings with escapes or with characters outside of ASCII"
)
"""The bound as errors name it."""
LARGE_BYTES = 1_000_000
"""Bytes above which work on JSON holds the event loop for too long."""
_MANY_VALUES = 6_000
"""Values, names apart, above which it does too: so many small messages take 20 ms to translate."""
LARGE_FRAME_BYTES = 131_072
"""Bytes above which it may: fewer have no room for so many values. Most frames are shorter."""
_SLICE_BYTES = 65_536
_STRUCTURAL_BYTES = b",:{["
_VALUE_BYTES = b",{["
_WIDE_BYTES = (b"\xf0", b"\xf1", b"\xf2", b"\xf3", b"\xf4")
"""The first bytes of characters above U+FFFF in UTF-8."""
_ESCAPED_MARK = b"\xff\xff"
"""Stands for an escaped quote or backslash, since no JSON has these bytes."""
_WIDE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")
"""Half of such a character as JSON escapes it."""
_LONGEST_ESCAPE_BYTES = 12


def bound_values(data: bytes) -> int:
    """Return a number that is at least the number of values and names in JSON."""
    return 1 + _count_marks(data, _STRUCTURAL_BYTES)


def exceeds(data: bytes, max_values: int) -> bool:
    """True if JSON has more than `max_values` values and names, or too much complex text.

    Mostly its size tells.
    """
    if len(data) <= max_values:
        return False
    if len(data) <= MAX_COMPLEX_BYTES and not _may_exceed(data, max_values, _STRUCTURAL_BYTES):
        return False
    counter = ValueCount(max_values)
    counter.add(data)
    return counter.is_exceeded


def _count_marks(data: bytes, marks: bytes) -> int:
    """Count some characters at once: to count one after another takes three times as long."""
    return len(data) - len(data.translate(None, marks))


def _may_exceed(data: bytes, max_values: int, marks: bytes) -> bool:
    """True if there are more than `max_values` of some characters; the search ends where it is."""
    bound = 1
    for part in cut(data):
        bound += _count_marks(part, marks)
        if bound > max_values:
            return True
    return False


def is_large(data: bytes) -> bool:
    """True if work on JSON takes so long that it must not run on the event loop."""
    return len(data) > LARGE_FRAME_BYTES and (
        len(data) > LARGE_BYTES or _may_exceed(data, _MANY_VALUES, _VALUE_BYTES)
    )


def has_wide_text(data: bytes) -> bool:
    """True if JSON may have a character above U+FFFF, as it is or escaped."""
    return any(map(_is_wide, cut(data)))


def cut(data: bytes) -> Iterator[bytes]:
    """Yield data in slices: one call on all of it would keep the interpreter's lock for long."""
    for begin in range(0, len(data), _SLICE_BYTES):
        yield data[begin : begin + _SLICE_BYTES]


def _is_wide(data: bytes) -> bool:
    """True if a slice has wide text. Of a character that is cut in two, one part shows it."""
    if not data.isascii() and any(mark in data for mark in _WIDE_BYTES):
        return True
    return b"\\u" in data and _WIDE_ESCAPE.search(data) is not None


def _is_complex(text: bytes) -> bool:
    return b"\\" in text or not text.isascii()


class ValueCount:
    """Counts values, names and complex text piece by piece, in time linear in the bytes."""

    __slots__ = (
        "_buffered_chunks",
        "_in_text",
        "_open_text_bytes",
        "_open_text_is_complex",
        "_received_bytes",
        "_text_count",
        "_trailing_backslash",
        "_uncounted_bytes",
        "complex_bytes",
        "count",
        "has_wide_text",
        "is_exceeded",
        "max_values",
    )

    def __init__(self, max_values: int) -> None:
        self.count = 1
        """The number of values and names so far; counting starts after `max_values` bytes."""
        self.complex_bytes = 0
        """The bytes of complex text so far; counting starts after LARGE_BYTES at the latest."""
        self.has_wide_text = False
        """True if a character of these may be above U+FFFF."""
        self.is_exceeded = False
        """True once there are too many values, or too much complex text; counting then stops."""
        self.max_values = max_values
        self._uncounted_bytes = min(max_values, LARGE_BYTES)
        self._received_bytes = 0
        self._buffered_chunks: list[bytes] = []
        """The first pieces: so few bytes cannot have too much."""
        self._in_text = 0
        """1 if the next byte is part of a string, else 0."""
        self._text_count = 0
        self._open_text_bytes = 0
        """The bytes so far of a string that goes on with the next byte."""
        self._open_text_is_complex = False
        self._trailing_backslash = b""
        """A backslash at the end of the last piece: it belongs to the next piece."""

    @property
    def bound(self) -> int:
        """A number that is at least the number of values and names so far."""
        return max(self.count, sum(map(bound_values, self._buffered_chunks)))

    def add(self, chunk: bytes) -> None:
        """Take the next piece."""
        self._received_bytes += len(chunk)
        self._buffered_chunks.append(chunk)
        if self._received_bytes <= self._uncounted_bytes:
            return
        buffered_chunks, self._buffered_chunks = self._buffered_chunks, []
        for buffered_chunk in buffered_chunks:
            for part in cut(buffered_chunk):
                if self.is_exceeded:
                    return
                self._count_slice(part)

    def _count_slice(self, chunk: bytes) -> None:
        """Count a slice: its parts between quotes need memory, so no slice is long."""
        chunk = self._trailing_backslash + chunk
        backslashes = len(chunk) - len(chunk.rstrip(b"\\"))
        self._trailing_backslash = chunk[len(chunk) - backslashes % 2 :]
        chunk = chunk.removesuffix(self._trailing_backslash)
        has_escapes = b"\\" in chunk
        if has_escapes:
            chunk = chunk.replace(b"\\\\", _ESCAPED_MARK).replace(b'\\"', _ESCAPED_MARK)
        parts = chunk.split(b'"')
        self._count_complex_text(chunk, parts, is_complex=has_escapes or not chunk.isascii())
        unquoted_bytes = b"".join(parts[self._in_text :: 2])
        self._in_text = (self._in_text + len(parts) - 1) % 2
        self._text_count += len(parts) // 2
        self.count += _count_marks(unquoted_bytes, _STRUCTURAL_BYTES)
        # A value has at most two strings, itself and its name: more of them are not JSON.
        self.is_exceeded = (
            self.count > self.max_values
            or self._text_count > 2 * self.max_values
            or self.complex_bytes > MAX_COMPLEX_BYTES
        )

    def _count_complex_text(self, chunk: bytes, parts: list[bytes], *, is_complex: bool) -> None:
        """Count the complex text of a slice, whose parts are between quotes.

        All strings that begin and end in the slice count if one may be complex: they are short.
        """
        if is_complex:
            # An escape that is cut twice leaves a slice that is shorter than it.
            is_cut = len(chunk) < _LONGEST_ESCAPE_BYTES
            self.has_wide_text = self.has_wide_text or is_cut or _is_wide(chunk)
        head, tail = parts[0], parts[-1]
        if self._in_text:
            self._open_text_bytes += len(head)
            self._open_text_is_complex |= is_complex and _is_complex(head)
        if len(parts) == 1:
            return
        if self._open_text_is_complex:
            self.complex_bytes += self._open_text_bytes
        if is_complex:
            self.complex_bytes += len(chunk) - len(head) - len(tail)
        self._open_text_bytes = 0
        self._open_text_is_complex = False
        if (self._in_text + len(parts)) % 2 == 0:  # a string begins with the last quote
            self._open_text_bytes = len(tail)
            self._open_text_is_complex = is_complex and _is_complex(tail)
