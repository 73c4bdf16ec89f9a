"""A remembered request head: clients send the same one with each request of a connection.

A parser would give the same result again, so the gateway parses the head once. Only the number in
Content-Length may differ, and it must be exactly the size of the body that follows.
"""

from typing import Self

from gateway.server.http1.exchange import EndpointExchange, HttpRoute
from gateway.server.request_headers import RequestHeaders

MAX_HEAD_BYTES = 4_096
"""The maximum number of bytes of a remembered head."""
_HEAD_END = b"\r\n\r\n"
_ZERO_DIGIT = 0x30
_MAX_LENGTH_DIGITS = 5
"""The maximum number of digits of the length of a body that the gateway waits for."""
_LENGTH_HEADER = b"\r\ncontent-length"


class RepeatedHead:
    """The head of a request that a parser has read and that had all it needs."""

    __slots__ = ("_prefix", "_suffix", "endpoint", "request_headers")

    def __init__(
        self, prefix: bytes, suffix: bytes, endpoint: HttpRoute, request_headers: RequestHeaders
    ) -> None:
        self._prefix = prefix
        """The bytes up to the number of Content-Length."""
        self._suffix = suffix
        self.endpoint = endpoint
        self.request_headers = request_headers

    @classmethod
    def from_request(cls, data: bytes, exchange: EndpointExchange) -> Self | None:
        """Build a head from `data`, which is one whole request; None if the request is unusual."""
        size, request_headers = len(exchange.data), exchange.request_headers
        end = len(data) - size
        if (
            request_headers is None
            or request_headers.length != size
            or end > MAX_HEAD_BYTES
            or data.find(_HEAD_END) != end - 4
        ):
            return None
        length_line = b": %d\r\n" % size
        offset = data.find(length_line, 0, end)
        while (
            offset >= 0
            and data[max(0, offset - len(_LENGTH_HEADER)) : offset].lower() != _LENGTH_HEADER
        ):
            offset = data.find(length_line, offset + 1, end)
        if offset < 0:
            return None
        offset += 2
        return cls(
            data[:offset],
            data[offset + len(length_line) - 4 : end],
            exchange.endpoint,
            request_headers,
        )

    def match_body(self, data: bytes) -> bytes | None:
        """Return the body of a whole request with this head; None for any other data."""
        prefix, suffix = self._prefix, self._suffix
        if not data.startswith(prefix):
            return None
        offset = len(prefix)
        end = data.find(b"\r", offset, offset + 10)
        if end < 0 or not data.startswith(suffix, end):
            return None
        body_start = end + len(suffix)
        return data[body_start:] if data[offset:end] == b"%d" % (len(data) - body_start) else None

    def parse_awaited_size(self, data: bytes) -> int:
        """Return the size of the body in bytes if `data` is this head alone; else 0."""
        prefix, suffix = self._prefix, self._suffix
        start, end = len(prefix), len(data) - len(suffix)
        if not start < end <= start + _MAX_LENGTH_DIGITS or not data.startswith(prefix):
            return 0
        digits = data[start:end]
        if not digits.isdigit() or digits[0] == _ZERO_DIGIT or not data.endswith(suffix):
            return 0
        return int(digits)
