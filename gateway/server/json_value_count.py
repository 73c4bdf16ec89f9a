"""Count the JSON values in a body before it is parsed.

Values cost more than their bytes: a value of two bytes becomes a Python object. Each value but the
first follows a comma or the opening of an object or a list. So the number of these characters
outside of strings bounds the number of values. An empty object or list counts twice.
"""

from gateway.core.errors import Problem, ProblemError

_STRUCTURAL_BYTES = b",{["


class ValueCount:
    """Counts the values of one body piece by piece, in time linear in its bytes."""

    __slots__ = (
        "_buffered_chunks",
        "_in_text",
        "_max_values",
        "_received_bytes",
        "_text_count",
        "_trailing_backslash",
        "count",
        "is_exceeded",
    )

    def __init__(self, max_values: int) -> None:
        self.count = 1
        """The number of values so far; counting starts after `max_values` bytes."""
        self.is_exceeded = False
        """True once there are more than `max_values` values; counting then stops."""
        self._max_values = max_values
        self._received_bytes = 0
        self._buffered_chunks: list[bytes] = []
        """The first pieces: up to `max_values` bytes they cannot have more values than that."""
        self._in_text = 0
        """1 if the next byte is part of a string, else 0."""
        self._text_count = 0
        self._trailing_backslash = b""
        """A backslash at the end of the last piece: it belongs to the next piece."""

    def add(self, chunk: bytes) -> None:
        """Take the next piece."""
        self._received_bytes += len(chunk)
        self._buffered_chunks.append(chunk)
        if self._received_bytes <= self._max_values:
            return
        buffered_chunks, self._buffered_chunks = self._buffered_chunks, []
        for buffered_chunk in buffered_chunks:
            if not self.is_exceeded:
                self._count_chunk(buffered_chunk)

    def _count_chunk(self, chunk: bytes) -> None:
        chunk = self._trailing_backslash + chunk
        backslashes = len(chunk) - len(chunk.rstrip(b"\\"))
        self._trailing_backslash = chunk[len(chunk) - backslashes % 2 :]
        chunk = chunk.removesuffix(self._trailing_backslash)
        if b"\\" in chunk:
            chunk = chunk.replace(b"\\\\", b"").replace(b'\\"', b"")
        parts = chunk.split(b'"')
        unquoted_bytes = b"".join(parts[self._in_text :: 2])
        self._in_text = (self._in_text + len(parts) - 1) % 2
        self._text_count += len(parts) // 2
        self.count += len(unquoted_bytes) - len(unquoted_bytes.translate(None, _STRUCTURAL_BYTES))
        # A value has at most two strings, itself and its name: more of them are not JSON.
        self.is_exceeded = self.count > self._max_values or self._text_count > 2 * self._max_values

    def check(self) -> None:
        """Raise ProblemError, request_too_large, if there are too many values."""
        if self.is_exceeded:
            message = (
                f"The request body has more than {self._max_values:,} JSON values"
                " (server.max_values). Send less in one request."
            )
            raise ProblemError(Problem(kind="request_too_large", message=message))
