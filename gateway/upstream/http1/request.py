"""A request as bytes: its head, checked, and its body in a form that can be sent."""

import asyncio
import re
from typing import NamedTuple

import httpx

from gateway.upstream.http1.connection import ProviderConnection

MAX_SINGLE_WRITE_BYTES = 65_536
"""Bytes of the largest body that goes out together with its head."""
_UNREAD_TURNS = 3
"""Iterations of the event loop in which it reads a refusal that has arrived, at most."""
type Fields = list[tuple[bytes, bytes]]

_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_PLAIN, _LENGTH, _CODING, _HOST = range(4)
_MEANINGS = {b"content-length": _LENGTH, b"transfer-encoding": _CODING, b"host": _HOST}
_MAX_KNOWN_NAMES = 1000
_known_meanings: dict[bytes, int] = {}
"""Header names that were found valid, with their meaning: the same few come with each request."""


class OutgoingRequest(NamedTuple):
    """A request that is ready to be sent."""

    first_bytes: bytes
    """The head, with a small body."""
    body_stream: httpx.AsyncByteStream | None = None
    """The body that follows, if it is large or streamed."""
    length: int | None = None
    chunked: bool = False


def encode_request(request: httpx.Request, proxy_line: bytes | None = None) -> OutgoingRequest:
    """Return a request as it is sent.

    For a proxy, it has the whole URL and the header line `proxy_line`. Raises
    httpx.LocalProtocolError if a client's input would change the bounds of the message.
    """
    raw = request.headers.raw
    length, chunked = _read_framing(raw)
    head = _encode_request_line(request, proxy_line) + _join_fields(raw) + b"\r\n\r\n"
    stream = request.stream
    if not chunked and isinstance(stream, httpx.ByteStream):
        data = b"".join(stream)
        if len(data) != (length or 0):
            raise httpx.LocalProtocolError("the body has not the length that the head says")
        if len(data) <= MAX_SINGLE_WRITE_BYTES:
            return OutgoingRequest(head + data)
    elif not isinstance(stream, httpx.AsyncByteStream):
        raise httpx.LocalProtocolError("the body must be bytes or an async stream")
    return OutgoingRequest(head, stream, length, chunked)


def encode_post_head(url: httpx.URL, fields: Fields, proxy_line: bytes | None = None) -> bytes:
    """Return the head of a POST request with these headers, up to the length of its body."""
    empty_request = httpx.Request(
        "POST", url, headers=[*fields, (b"content-length", b"0")], stream=httpx.ByteStream(b"")
    )
    return encode_request(empty_request, proxy_line).first_bytes.removesuffix(b"0\r\n\r\n")


def encode_header_lines(fields: Fields) -> bytes:
    """Return further header lines, which follow others; none may name a length or a host.

    Raises httpx.LocalProtocolError as `encode_request` does.
    """
    for name, _ in fields:
        if _known_meanings.get(name, _HOST) != _PLAIN and _classify_name(name) != _PLAIN:
            raise httpx.LocalProtocolError("the request's length or host is given twice")
    return b"\r\n" + _join_fields(fields)


async def upload_body(
    connection: ProviderConnection,
    message: OutgoingRequest,
    body_stream: httpx.AsyncByteStream,
    write_timeout: float,
) -> None:
    """Send the body that follows, unless the provider refuses it. Raises httpx errors.

    A refusal also ends the wait for a client that sends its body slowly.
    """
    sent_bytes = 0
    scope = connection.upload_scope = asyncio.timeout(None)
    try:
        async with scope:
            async for data in body_stream:
                if data:
                    sent_bytes += len(data)
                    if not message.chunked and sent_bytes > (message.length or 0):
                        break
                    if not await _send_piece(connection, data, message, write_timeout):
                        return
    except TimeoutError:
        if scope.expired():
            return
        raise
    finally:
        connection.upload_scope = None
    if message.chunked:
        connection.write(b"0\r\n\r\n")
    elif sent_bytes != (message.length or 0):
        raise httpx.LocalProtocolError("the body has not the length that the head says")
    connection.finish_request()


async def _send_piece(
    connection: ProviderConnection, data: bytes, message: OutgoingRequest, write_timeout: float
) -> bool:
    """Send a piece of a body; return True if the provider wants more."""
    for _ in range(_UNREAD_TURNS):
        if not connection.has_unread_bytes():
            break
        # A write after the provider has closed loses its answer, which the loop has not read yet.
        await asyncio.sleep(0)
    if not connection.wants_more():
        return False
    connection.write(b"%x\r\n%b\r\n" % (len(data), data) if message.chunked else data)
    return await connection.wait_until_drained(write_timeout)


def _join_fields(fields: Fields) -> bytes:
    text = b"\r\n".join([b": ".join(field) for field in fields])
    # One line end stands between two headers: a value with a line end would begin another header.
    line_ends = len(fields) - 1
    if text.count(b"\n") != line_ends or text.count(b"\r") != line_ends or b"\0" in text:
        raise httpx.LocalProtocolError("a header holds a character that no header may hold")
    return text


def _read_framing(raw: Fields) -> tuple[int | None, bool]:
    """Return the length in the headers, and True if they say chunked; check every name.

    Raises httpx.LocalProtocolError.
    """
    length: int | None = None
    chunked, host_count = False, 0
    for name, value in raw:
        meaning = _known_meanings.get(name)
        if meaning is None:
            meaning = _classify_name(name)
        if meaning == _PLAIN:
            continue
        if meaning == _HOST:
            host_count += 1
        elif length is not None or chunked:
            raise httpx.LocalProtocolError("the request's length is given twice")
        elif meaning == _LENGTH and value.isdigit():
            length = int(value)
        elif meaning == _CODING and value.lower() == b"chunked":
            chunked = True
        else:
            raise httpx.LocalProtocolError("the request's length cannot be read")
    if host_count != 1:
        raise httpx.LocalProtocolError("a request has one host")
    return length, chunked


def _encode_request_line(request: httpx.Request, proxy_line: bytes | None) -> bytes:
    try:
        method = request.method.encode("ascii")
    except UnicodeEncodeError:
        method = b""
    if method not in _known_meanings:
        _classify_name(method)
    target = request.url.raw_path
    if b" " in target or b"\n" in target or b"\r" in target:
        raise httpx.LocalProtocolError("the address is not valid")
    if proxy_line is None:
        return method + b" " + target + b" HTTP/1.1\r\n"
    return b"%b http://%b%b HTTP/1.1\r\n%b" % (method, request.url.netloc, target, proxy_line)


def _classify_name(name: bytes) -> int:
    """Return the meaning of a header's name. Raises httpx.LocalProtocolError if it is not valid."""
    if not _TOKEN.fullmatch(name):
        raise httpx.LocalProtocolError("a header's name or the method is not valid")
    meaning = _MEANINGS.get(name.lower(), _PLAIN)
    if len(_known_meanings) < _MAX_KNOWN_NAMES:
        _known_meanings[name] = meaning
    return meaning
