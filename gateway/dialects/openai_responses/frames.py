"""Events of a Responses stream as frames, numbered in their order, and items as they begin."""

from gateway.core import jsonio
from gateway.core.jsonio import Json

type Object = dict[str, Json]


class Numbered:
    """Writes one stream's frames."""

    __slots__ = ("_next",)

    def __init__(self) -> None:
        self._next = 0

    def frame(self, kind: str, **members: Json) -> bytes:
        """One event under its name, with the next number."""
        value = {"type": kind, "sequence_number": self._next, **members}
        self._next += 1
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), jsonio.dumps(value))

    def piece(self, head: bytes, text: str, rest: bytes) -> bytes:
        """One event of the many: what stands before its text, its text, what stands after it."""
        number = self._next
        self._next = number + 1
        return b"%b%b%b%d}\n\n" % (head, jsonio.dumps(text), rest, number)


NUMBER = b',"sequence_number":'


def head(kind: str, **members: Json) -> bytes:
    """What stands before the text of events of a kind; see Numbered.piece."""
    said = jsonio.dumps({"type": kind, **members})
    return b"event: %b\ndata: %b" % (kind.encode(), said[:-1]) + b',"delta":'
