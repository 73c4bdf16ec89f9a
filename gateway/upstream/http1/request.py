"""A request as bytes: its head, checked, and its body as it can be sent."""

import re
from typing import NamedTuple

import httpx

from gateway.upstream.http1.connection import ProviderConnection

AT_ONCE = 65_536
"""Bytes of a body that go out together with its head."""
type Fields = list[tuple[bytes, bytes]]

_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_PLAIN, _LENGTH, _CODING, _HOST = range(4)
_MEANING = {b"content-length": _LENGTH, b"transfer-encoding": _CODING, b"host": _HOST}
_MOST_KNOWN = 1000
_known: dict[bytes, int] = {}
"""Names that were found valid, with their meaning: the same few come with each request."""


class OutgoingRequest(NamedTuple):
    """A request, ready to be sent."""

    first: bytes
    """Its head, and a small body with it."""
    rest: httpx.AsyncByteStream | None = None
    """The body that follows."""
    length: int | None = None
    chunked: bool = False


def write(request: httpx.Request, proxy: bytes | None = None) -> OutgoingRequest:
    """A request as it is sent; through a proxy with `proxy`'s header line and the whole address.

    Raises httpx.LocalProtocolError where what a client gave would change the message's bounds.
    """
    raw = request.headers.raw
    length, chunked = _bounds(raw)
    head = _start(request, proxy) + _join(raw) + b"\r\n\r\n"
    stream = request.stream
    if not chunked and isinstance(stream, httpx.ByteStream):
        data = b"".join(stream)
        if len(data) != (length or 0):
            raise httpx.LocalProtocolError("the body has not the length that the head says")
        if len(data) <= AT_ONCE:
            return OutgoingRequest(head + data)
    elif not isinstance(stream, httpx.AsyncByteStream):
        raise httpx.LocalProtocolError("the body must be bytes or an async stream")
    return OutgoingRequest(head, stream, length, chunked)


def prepare(url: httpx.URL, fields: Fields, proxy: bytes | None = None) -> bytes:
    """The head of a POST request with these headers, up to the length of its body."""
    empty = httpx.Request(
        "POST", url, headers=[*fields, (b"content-length", b"0")], stream=httpx.ByteStream(b"")
    )
    return write(empty, proxy).first.removesuffix(b"0\r\n\r\n")


def lines(fields: Fields) -> bytes:
    """Further headers as the lines that follow others, none of which may say a length or a host.

    Raises httpx.LocalProtocolError as `write` does.
    """
    for name, _ in fields:
        if _known.get(name, _HOST) != _PLAIN and _learn(name) != _PLAIN:
            raise httpx.LocalProtocolError("the request's length or host is given twice")
    return b"\r\n" + _join(fields)


async def upload(
    connection: ProviderConnection,
    message: OutgoingRequest,
    rest: httpx.AsyncByteStream,
    patience: float,
) -> None:
    """Send the body that follows, unless the provider refuses it. Raises httpx errors."""
    sent = 0
    async for data in rest:
        if data:
            sent += len(data)
            if not message.chunked and sent > (message.length or 0):
                break
            connection.write(b"%x\r\n%b\r\n" % (len(data), data) if message.chunked else data)
            if not await connection.drained(patience):
                return
    if message.chunked:
        connection.write(b"0\r\n\r\n")
    elif sent != (message.length or 0):
        raise httpx.LocalProtocolError("the body has not the length that the head says")
    connection.written()


def _join(fields: Fields) -> bytes:
    joined = b"\r\n".join([b": ".join(field) for field in fields])
    # One line end between two headers: a value that holds one would make another header of it.
    ends = len(fields) - 1
    if joined.count(b"\n") != ends or joined.count(b"\r") != ends or b"\0" in joined:
        raise httpx.LocalProtocolError("a header holds a character that no header may hold")
    return joined


def _bounds(raw: Fields) -> tuple[int | None, bool]:
    """The length that the headers give, and whether they say chunked; every name is checked."""
    length: int | None = None
    chunked, hosts = False, 0
    for name, value in raw:
        meaning = _known.get(name)
        if meaning is None:
            meaning = _learn(name)
        if meaning == _PLAIN:
            continue
        if meaning == _HOST:
            hosts += 1
        elif length is not None or chunked:
            raise httpx.LocalProtocolError("the request's length is given twice")
        elif meaning == _LENGTH and value.isdigit():
            length = int(value)
        elif meaning == _CODING and value.lower() == b"chunked":
            chunked = True
        else:
            raise httpx.LocalProtocolError("the request's length cannot be read")
    if hosts != 1:
        raise httpx.LocalProtocolError("a request has one host")
    return length, chunked


def _start(request: httpx.Request, proxy: bytes | None) -> bytes:
    try:
        method = request.method.encode("ascii")
    except UnicodeEncodeError:
        method = b""
    if method not in _known:
        _learn(method)
    target = request.url.raw_path
    if b" " in target or b"\n" in target or b"\r" in target:
        raise httpx.LocalProtocolError("the address is not valid")
    if proxy is None:
        return method + b" " + target + b" HTTP/1.1\r\n"
    return b"%b http://%b%b HTTP/1.1\r\n%b" % (method, request.url.netloc, target, proxy)


def _learn(name: bytes) -> int:
    """The meaning of a header's name. Raises httpx.LocalProtocolError where it is none."""
    if not _TOKEN.fullmatch(name):
        raise httpx.LocalProtocolError("a header's name or the method is not valid")
    meaning = _MEANING.get(name.lower(), _PLAIN)
    if len(_known) < _MOST_KNOWN:
        _known[name] = meaning
    return meaning
