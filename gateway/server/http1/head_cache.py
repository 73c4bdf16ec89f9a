"""A head that came before: clients send the same one with each request of a connection.

What a parser and the edge have made of it once is what they would make of it again. Nothing but the
number of its Content-Length may differ, and that must say exactly what has come behind it.
"""

from typing import Self

from gateway.server.http1.exchange import HttpExchange, HttpRoute
from gateway.server.request_headers import RequestHeaders

MOST = 4_096
"""Bytes of a head that is kept."""
_END = b"\r\n\r\n"
_ZERO = 0x30
_DIGITS = 5
"""Of the length of a body that may come in a moment."""
_NAME = b"\r\ncontent-length"


class RepeatedHead:
    """One head, of a request that a parser has read and that had all it needs."""

    __slots__ = ("_after", "_before", "door", "head")

    def __init__(self, before: bytes, after: bytes, door: HttpRoute, head: RequestHeaders) -> None:
        self._before = before
        """Up to the number of its Content-Length."""
        self._after = after
        self.door = door
        self.head = head

    @classmethod
    def of(cls, data: bytes, exchange: HttpExchange) -> Self | None:
        """That of a request which `data` is the whole of; None where it is not as most are."""
        size, head = len(exchange.data), exchange.head
        end = len(data) - size
        if head is None or head.length != size or end > MOST or data.find(_END) != end - 4:
            return None
        number = b": %d\r\n" % size
        at = data.find(number, 0, end)
        while at >= 0 and data[max(0, at - len(_NAME)) : at].lower() != _NAME:
            at = data.find(number, at + 1, end)
        if at < 0:
            return None
        at += 2
        return cls(data[:at], data[at + len(number) - 4 : end], exchange.door, head)

    def body(self, data: bytes) -> bytes | None:
        """The body of a request that has this head and is whole; None of any other."""
        before, after = self._before, self._after
        if not data.startswith(before):
            return None
        at = len(before)
        end = data.find(b"\r", at, at + 10)
        if end < 0 or not data.startswith(after, end):
            return None
        begin = end + len(after)
        return data[begin:] if data[at:end] == b"%d" % (len(data) - begin) else None

    def awaits(self, data: bytes) -> int:
        """The bytes of the body, where this head has come and nothing behind it; else 0."""
        before, after = self._before, self._after
        begin, end = len(before), len(data) - len(after)
        if not begin < end <= begin + _DIGITS or not data.startswith(before):
            return 0
        number = data[begin:end]
        if not number.isdigit() or number[0] == _ZERO or not data.endswith(after):
            return 0
        return int(number)
