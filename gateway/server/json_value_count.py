"""The number of JSON values in a body, found before anything is made of it.

Values cost more than their bytes: one of two bytes becomes an object of Python. Each value but the
first follows a comma or the opening of an object or a list. So these signs bound their number, as
far as they stand in no text, and an empty object or list counts twice.
"""

from gateway.core.errors import Problem, ProblemError

_SIGNS = b",{["


class ValueCount:
    """Counts the values of one body piece by piece, in time that is linear in its bytes."""

    __slots__ = ("_early", "_inside", "_most", "_rest", "_size", "_texts", "count", "over")

    def __init__(self, most: int) -> None:
        self.count = 1
        """Values so far, once there were `most` bytes."""
        self.over = False
        """True once there are more than `most`: nothing is counted any more."""
        self._most = most
        self._size = 0
        self._early: list[bytes] = []
        """The first pieces: fewer bytes than `most` are no more values than that."""
        self._inside = 0
        """1 where the next byte is part of a text, else 0."""
        self._texts = 0
        self._rest = b""
        """A backslash at the end of the last piece: it belongs to what follows."""

    def add(self, piece: bytes) -> None:
        """Take the next piece."""
        self._size += len(piece)
        self._early.append(piece)
        if self._size <= self._most:
            return
        early, self._early = self._early, []
        for one in early:
            if not self.over:
                self._read(one)

    def _read(self, piece: bytes) -> None:
        piece = self._rest + piece
        escapes = len(piece) - len(piece.rstrip(b"\\"))
        self._rest = piece[len(piece) - escapes % 2 :]
        piece = piece.removesuffix(self._rest)
        if b"\\" in piece:
            piece = piece.replace(b"\\\\", b"").replace(b'\\"', b"")
        parts = piece.split(b'"')
        outside = b"".join(parts[self._inside :: 2])
        self._inside = (self._inside + len(parts) - 1) % 2
        self._texts += len(parts) // 2
        self.count += len(outside) - len(outside.translate(None, _SIGNS))
        # A value has two texts at most, itself and its name: more of them are no JSON.
        self.over = self.count > self._most or self._texts > 2 * self._most

    def check(self) -> None:
        """Raise ProblemError, request_too_large, where there are too many."""
        if self.over:
            message = (
                f"The request body has more than {self._most:,} JSON values (server.max_values)."
                " Send less in one request."
            )
            raise ProblemError(Problem(kind="request_too_large", message=message))
