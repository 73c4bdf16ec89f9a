"""Write one response to a client: its head, its body, and their framing by RFC 9112."""

import asyncio
import re
from collections.abc import Iterable, Sequence

import msgspec

from gateway.pipeline.response import Header, format_status_line
from gateway.server.http1.client_transport import ClientTransport

_INVALID_NAME = re.compile(rb'[\x00-\x1f\x7f()<>@,;:\[\]={} \t\\"]')
_INVALID_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_STATUSES_WITHOUT_BODY = (204, 304)
_LAST_CHUNK = b"0\r\n\r\n"


class ResponseWriter(msgspec.Struct, eq=False):
    """Writes the response to one request; every response passes through one."""

    transport: ClientTransport
    keep_alive: bool
    """False if the connection closes after this response."""
    omits_body: bool = False
    """True if the response has no body: to HEAD, or by its status."""
    default_headers: Sequence[Header] = ()
    is_started: bool = False
    is_complete: bool = False
    last_piece_at: float = 0.0
    """The loop's time when `write` last wrote a piece."""
    _head: bytes = b""
    """The encoded head. It waits for the first piece of the body: one system call for both."""
    _is_chunked: bool = False
    _remaining_bytes: int = 0
    """The number of body bytes that Content-Length promises and that are still to come."""

    def write_continue(self) -> None:
        """Ask the client for the body of the request."""
        self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def start(self, status: int, headers: Iterable[Header]) -> None:
        """Begin the response. Raises RuntimeError if a header is invalid."""
        self.is_started = True
        lines = [format_status_line(status).encode()]
        length, has_close = None, False
        for name, value in (*self.default_headers, *headers):
            if _INVALID_NAME.search(name) or _INVALID_VALUE.search(value):
                raise RuntimeError("Invalid HTTP header.")
            lower_name = name.lower()
            if lower_name == b"content-length" and not self._is_chunked:
                length = int(value)
            elif lower_name == b"transfer-encoding" and value.lower() == b"chunked":
                self._is_chunked = True
            elif lower_name == b"connection" and b"close" in _split_tokens(value):
                self.keep_alive, has_close = False, True
            lines.append(b"%b: %b\r\n" % (lower_name, value))
        if not self.keep_alive and not has_close:
            lines.append(b"connection: close\r\n")
        if status in _STATUSES_WITHOUT_BODY:
            self.omits_body = True
        if not self.omits_body and not self._is_chunked:
            if length is None:
                self._is_chunked = True
                lines.append(b"transfer-encoding: chunked\r\n")
            else:
                self._remaining_bytes = length
        lines.append(b"\r\n")
        self._head = b"".join(lines)

    def write_body(self, data: bytes, *, more_body: bool) -> None:
        """Write a piece of the body; the last piece completes the response.

        Raises RuntimeError if the body does not have the length in Content-Length.
        """
        if self.omits_body:
            data = b""
        elif self._is_chunked:
            data = _encode_chunk(data) if more_body else _encode_chunk(data) + _LAST_CHUNK
        else:
            self._remaining_bytes -= len(data)
            if self._remaining_bytes < 0:
                raise RuntimeError("Response content longer than Content-Length")
        if self._head:
            data, self._head = self._head + data, b""
        self.transport.write(data)
        if not more_body:
            if self._remaining_bytes:
                raise RuntimeError("Response content shorter than Content-Length")
            self.is_complete = True

    def write_whole(self, data: bytes) -> None:
        """Write a whole response, head and body, at the end of this iteration of the event loop."""
        self.is_started = self.is_complete = True
        self.transport.write_in_batch(data)

    def write(self, data: bytes, chunk: bytes | None) -> bool:
        """Write a piece of a running stream. Return False if it cannot be written directly now.

        `chunk` is the same piece in chunked coding, if the provider sent it so.
        """
        transport = self.transport
        if (
            not self._is_chunked
            or self._head
            or self.is_complete
            or transport.is_write_paused
            or transport.is_closing()
        ):
            return False
        transport.write(_encode_chunk(data) if chunk is None else chunk)
        self.last_piece_at = asyncio.get_running_loop().time()
        return True

    def flush_head(self) -> None:
        """Send a head that no body follows."""
        if self._head:
            data, self._head = self._head, b""
            self.transport.write(data)


def _split_tokens(value: bytes) -> list[bytes]:
    return [token.strip().lower() for token in value.split(b",")]


def _encode_chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""
