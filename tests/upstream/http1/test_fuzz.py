"""Test reading: bytes cut anywhere have one outcome, which is an answer or an httpx error."""

import asyncio
from collections.abc import Iterable
from itertools import pairwise

import httpx
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.upstream.http1.connection import ProviderConnection
from gateway.upstream.http1.response import IncomingResponse
from tests.upstream.http1.line import ProviderLine, run_limited

_HEADERS = st.lists(
    st.sampled_from(
        [b"x-a: 1", b"Set-Cookie: a=b", b"x-empty:", b"x-long: " + b"a" * 300, b"connection: close",
         b"connection: keep-alive", b"upgrade: h2c", b"trailer: x-t", b"transfer-encoding: gzip",
         b"content-length: 3"]  # beside another length: an invalid one
    ),
    max_size=4,
)  # fmt: skip
_STATUS = st.sampled_from(
    [b"1.1 200 OK", b"1.1 201", b"1.1 500 Oh", b"1.0 200 OK", b"1.1 404 caf\xe9"]
)
_BODY = st.binary(max_size=60)


@st.composite
def _framed(draw: st.DrawFn) -> bytes:
    """Make a response with its body in one of the possible framings."""
    head = b"HTTP/%b\r\n" % draw(_STATUS)
    head += b"".join(line + b"\r\n" for line in draw(_HEADERS))
    body = draw(_BODY)
    match draw(st.sampled_from(["length", "chunks", "end", "none"])):
        case "length":
            return head + b"content-length: %d\r\n\r\n" % len(body) + body
        case "chunks":
            parts = draw(st.lists(st.binary(min_size=1, max_size=20), max_size=4))
            lines = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
            trailer = draw(st.sampled_from([b"", b"x-t: 1\r\n"]))
            return (
                head + b"transfer-encoding: chunked\r\n\r\n" + lines + b"0\r\n" + trailer + b"\r\n"
            )
        case "none":
            return b"HTTP/1.1 204 No Content\r\n\r\n"
        case _:
            return head + b"\r\n" + body


_INTERIM = st.sampled_from(
    [b"", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early\r\nlink: <x>\r\n\r\n"]
)
_ANSWER = st.builds(bytes.__add__, _INTERIM, _framed())


@st.composite
def _mutated(draw: st.DrawFn) -> bytes:
    """Make a response with some bytes replaced, removed, doubled or inserted."""
    data = bytearray(draw(_ANSWER))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        end = min(len(data), at + draw(st.integers(0, 8)))
        match draw(st.sampled_from(["replace", "remove", "double", "cut"])):
            case "replace":
                data[at:end] = draw(
                    st.binary(max_size=8)
                    | st.sampled_from([b"\r\n", b"\r\n\r\n", b"\0", b": ", b"ffffffffffffffff"])
                )
            case "remove":
                del data[at:end]
            case "double":
                data[at:at] = data[at:end]
            case _:
                del data[at:]
    return bytes(data)


type Outcome = tuple[int, list[tuple[bytes, bytes]], bytes, str]


def _pieces(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:end] for start, end in pairwise(places)]


async def _read(connection: ProviderConnection) -> Outcome:
    """Read the answer as a caller sees it: status, headers, body, and the kind of the error."""
    status, headers, body = 0, list[tuple[bytes, bytes]](), b""
    try:
        reading = await connection.wait_for_head()
        status, headers = reading.status, reading.fields
        while data := await connection.read_chunk():
            body += data
    except httpx.TransportError as error:
        return status, headers, body, type(error).__name__
    return status, headers, body, ""


def _open_connection() -> ProviderConnection:
    connection = ProviderConnection(asyncio.get_running_loop())
    connection.connection_made(ProviderLine())
    return connection


async def _exchange(pieces: Iterable[bytes], *, bodiless: bool = False) -> tuple[Outcome, bool]:
    """Return one answer that ends with the connection, and True if it could be kept before that."""
    connection, wire = ProviderConnection(asyncio.get_running_loop()), ProviderLine()
    connection.connection_made(wire)
    connection.begin(b"GET", bodiless=bodiless, silence_timeout=0)
    reading = connection._response
    assert reading is not None
    for piece in pieces:
        if not wire.closed:
            connection.data_received(piece)
    can_be_kept = reading.complete and reading.can_keep_alive and not wire.closed
    connection.connection_lost(None)
    return await _read(connection), can_be_kept


@given(_mutated(), st.lists(st.integers(0, 500), max_size=6), st.booleans())
@settings(max_examples=300)
def test_the_result_does_not_depend_on_how_the_bytes_are_cut(
    data: bytes, cuts: list[int], bodiless: bool
) -> None:
    async def both() -> tuple[Outcome, Outcome, Outcome]:
        whole, _ = await _exchange([data], bodiless=bodiless)
        cut, _ = await _exchange(_pieces(data, cuts), bodiless=bodiless)
        single, _ = await _exchange([bytes([byte]) for byte in data], bodiless=bodiless)
        return whole, cut, single

    whole, cut, single = run_limited(both)
    assert whole == cut == single


@given(_ANSWER, _ANSWER, st.lists(st.integers(0, 500), max_size=6))
@settings(max_examples=200)
def test_a_second_answer_is_never_part_of_the_first(
    first: bytes, second: bytes, cuts: list[int]
) -> None:
    """The first answer marks its own end; the connection is not kept."""

    async def run() -> tuple[Outcome, bool, Outcome, bool]:
        return *(await _exchange([first])), *(await _exchange(_pieces(first + second, cuts)))

    alone, could_be_kept, followed, followed_is_kept = run_limited(run)
    if could_be_kept:
        assert followed == alone
        assert not followed_is_kept


@given(st.lists(st.tuples(_HEADERS, _BODY), min_size=2, max_size=4))
def test_answers_on_a_kept_connection_are_read_as_on_a_new_one(
    answers: list[tuple[list[bytes], bytes]],
) -> None:
    """An answer takes no header or byte of the one before, even if their heads look alike."""
    messages = [
        b"HTTP/1.1 200 OK\r\n"
        + b"".join(line + b"\r\n" for line in lines)
        + b"content-length: %d\r\n\r\n" % len(body)
        + body
        for lines, body in answers
    ]

    async def run() -> None:
        connection = _open_connection()
        for message in messages:
            alone, could_be_kept = await _exchange([message])
            connection.begin(b"GET")
            connection.data_received(message)
            assert await _read(connection) == alone
            is_kept = connection.finish_exchange()
            assert is_kept == could_be_kept
            if not is_kept:
                connection = _open_connection()

    run_limited(run)


@given(st.binary(max_size=200))
def test_any_bytes_are_an_answer_or_an_error(data: bytes) -> None:
    outcome, _ = run_limited(lambda: _exchange([data]))
    assert outcome[0] >= 200 or outcome[3] == "RemoteProtocolError"


@given(_BODY, st.lists(st.integers(0, 200), max_size=8))
def test_the_body_that_is_read_equals_the_body_that_was_sent(body: bytes, cuts: list[int]) -> None:
    parts = [part for part in _pieces(body, cuts) if part]
    lines = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
    chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + lines + b"0\r\n\r\n"
    for answer in (chunked, b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body):
        reading = IncomingResponse()
        for piece in _pieces(answer, cuts):
            reading.feed(piece)
        assert (reading.complete, reading.can_keep_alive) == (True, True)
        assert (reading.take_body() if reading.chunks else b"") == body
