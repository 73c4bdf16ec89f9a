"""Test direct relay: it gives the same bytes, end and errors as reading does."""

import asyncio
import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.upstream.http1.connection import ProviderConnection
from gateway.upstream.http1.transport import ResponseBody
from tests.upstream.http1.line import ProviderLine, run_limited

HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


class RecordingSink:
    """A sink that takes or refuses data as set."""

    def __init__(self, takes: Iterable[bool] = ()) -> None:
        self.takes = iter(takes)
        self.data: list[bytes] = []
        self.chunks: list[bytes | None] = []

    def accept(self, data: bytes, chunk: bytes | None) -> bool:
        if not next(self.takes, True):
            return False
        self.data.append(data)
        self.chunks.append(chunk)
        assert chunk is None or chunk == b"%x\r\n%b\r\n" % (len(data), data)
        return True


async def read(
    reads: Sequence[bytes], direct: RecordingSink | None
) -> tuple[bytes, str, bool, bool, list[bytes]]:
    """Read a response; return its bytes in order, the kind of error, if it ended, and if it may be
    kept.
    """
    loop = asyncio.get_running_loop()
    connection, wire = ProviderConnection(loop), ProviderLine()
    connection.connection_made(wire)
    connection.begin(b"GET")
    reading = connection._response
    assert reading is not None
    connection.data_received(HEAD)
    await connection.wait_for_head()
    connection.direct_sink = direct
    body: list[bytes] = []
    long: list[bytes] = []

    async def wait() -> str:
        taken_count = 0
        try:
            while True:
                data = await connection.read_chunk()
                if direct is not None:  # the sink took this before
                    body.extend(direct.data[taken_count:])
                    taken_count = len(direct.data)
                if not data:
                    return ""
                body.append(data)
                long.append(data)
        except httpx.TransportError as error:
            if direct is not None:
                body.extend(direct.data[taken_count:])
            return type(error).__name__

    task = asyncio.ensure_future(wait())
    for at, piece in enumerate(reads):
        if at % 3:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        if not wire.closed:
            connection.data_received(piece)
    await asyncio.sleep(0)
    if not task.done():
        connection.connection_lost(None)
    error = await task
    return b"".join(body), error, reading.complete, reading.can_keep_alive, long


def written(data: bytes, how: int) -> bytes:
    """Write a chunk in one of its possible forms."""
    size = [b"%x", b"%x", b"%x", b"0%x", b"%X", b"%x;a=b"][how] % len(data)
    return size + b"\r\n" + data + b"\r\n"


PARTS = st.lists(
    st.tuples(
        st.one_of(st.binary(min_size=1, max_size=40), st.sampled_from([b"5\r\nabcde\r\n", b"\r\n", b"1\r\na\r\n1\r\nb\r\n", b"0\r\n\r\n"])),
        st.integers(0, 5),
    ),
    max_size=8,
)  # fmt: skip
ENDS = st.sampled_from([b"0\r\n\r\n", b"0\r\nx: y\r\n\r\n", b"", b"zz\r\n", b"1\r\nab", b"0\r\n\r\nHTTP"])  # fmt: skip


@settings(max_examples=300)
@given(PARTS, ENDS, st.lists(st.integers(0, 400), max_size=4), st.booleans(), st.lists(st.booleans(), max_size=12))  # fmt: skip
def test_direct_relay_gives_the_same_result_as_reading(
    parts: list[tuple[bytes, int]], end: bytes, cuts: list[int], apart: bool, takes: list[bool]
) -> None:
    """Chunks may have any form, be cut anywhere, and be taken or refused."""
    every = [*(written(data, how) for data, how in parts), *([end] if end else [])]
    if not apart:
        whole = b"".join(every)
        places = sorted({0, len(whole), *(cut % (len(whole) + 1) for cut in cuts)})
        every = [whole[start:stop] for start, stop in pairwise(places)]
    plain = run_limited(lambda: read(every, None))
    passed = run_limited(lambda: read(every, RecordingSink(takes)))
    assert passed[:4] == plain[:4]


def test_chunks_are_passed_on_unchanged_without_waking_the_reader() -> None:
    direct = RecordingSink()
    parts = [b"abc", b"de\r\n", b"f" * 300]
    reads = [written(part, 0) for part in parts] + [b"0\r\n\r\n"]
    body, error, complete, keep, long = run_limited(lambda: read([b"", *reads][1:], direct))
    assert (body, error, complete, keep) == (b"".join(parts), "", True, True)
    assert long == [b"abc"]  # it came before the reader waited
    assert direct.chunks == [None, reads[2]]


def test_several_chunks_are_passed_on_together() -> None:
    direct = RecordingSink()
    reads = [b"", written(b"ab", 0) + written(b"cd", 4), written(b"e", 0), b"0\r\n\r\n"][1:]
    run_limited(lambda: read([b"1\r\nx\r\n", *reads], direct))
    assert direct.data == [b"abcd", b"e"]
    assert direct.chunks == [None, None]


async def _waiting() -> tuple[ProviderConnection, ResponseBody, RecordingSink]:
    connection, direct = ProviderConnection(asyncio.get_running_loop()), RecordingSink()
    connection.connection_made(ProviderLine())
    connection.begin(b"GET")
    connection.data_received(HEAD)
    await connection.wait_for_head()
    pool: Any = None
    body = ResponseBody(connection, pool)
    body.pass_to(direct)
    return connection, body, direct


@pytest.mark.parametrize("whole", [True, False])
async def test_each_chunk_passed_on_restarts_the_idle_timeout(whole: bool) -> None:
    """Each chunk restarts the wait; if none follows, the wait times out."""
    loop = asyncio.get_running_loop()
    connection, body, direct = await _waiting()
    task = asyncio.ensure_future(body.read_chunk(0.5, loop.time() + 9))
    await asyncio.sleep(0)
    began = loop.time()
    piece = b"1\r\na\r\n" * (1 if whole else 2)
    for _ in range(4):
        await asyncio.sleep(0.15)
        connection.data_received(piece)
    with pytest.raises(httpx.ReadTimeout):
        await task
    assert loop.time() - began >= 1.0
    assert not body.is_past_deadline()
    assert b"".join(direct.data) == b"a" * 4 * (1 if whole else 2)


async def test_direct_relay_keeps_the_deadline_of_the_whole_answer() -> None:
    loop = asyncio.get_running_loop()
    connection, body, _ = await _waiting()
    task = asyncio.ensure_future(body.read_chunk(9, loop.time() + 0.05))
    await asyncio.sleep(0)
    for _ in range(3):
        connection.data_received(b"1\r\na\r\n")
    with pytest.raises(httpx.ReadTimeout):
        await task
    assert body.is_past_deadline()


async def test_nothing_is_passed_on_after_the_reader_is_cancelled() -> None:
    """After the reader is cancelled, nothing is written to its sink."""
    connection, body, direct = await _waiting()
    task = asyncio.ensure_future(body.read_chunk(9, math.inf))
    await asyncio.sleep(0)
    task.cancel()
    connection.data_received(b"1\r\na\r\n")
    with pytest.raises(asyncio.CancelledError):
        await task
    connection.data_received(b"1\r\nb\r\n")
    assert direct.data == []
    assert await body.read_chunk(9, math.inf) == b"ab"


async def test_a_finished_exchange_passes_nothing_on() -> None:
    connection, body, _ = await _waiting()
    connection.data_received(b"0\r\n\r\n")
    assert await body.read_chunk() == b""
    assert connection.finish_exchange()
    assert connection.direct_sink is None
    assert connection.idle_timeout == math.inf


async def test_a_closed_body_passes_nothing_on() -> None:
    connection, body, direct = await _waiting()
    pool: Any = type("Pool", (), {"release": lambda _, one: one.finish_exchange()})()
    body._pool = pool
    body.release()
    assert connection.direct_sink is None
    body.pass_to(direct)
    assert not body.is_past_deadline()
    assert connection.direct_sink is None


@pytest.mark.parametrize("waits", [True, False])
async def test_data_that_looks_like_a_chunk_inside_a_chunk_is_data(waits: bool) -> None:
    """The outer chunk's size came on its own, with or without a waiting reader."""
    connection, body, direct = await _waiting()
    task = asyncio.ensure_future(body.read_chunk(9, math.inf))
    await asyncio.sleep(0)
    for piece in (b"x", b"y"):
        connection.data_received(written(piece, 0))
    if not waits:
        connection.direct_sink = None
        connection.data_received(b"1\r\nz\r\n")
        assert await task == b"z"
    connection.data_received(b"6\r\n")
    if not waits:
        connection.direct_sink = direct
        task = asyncio.ensure_future(body.read_chunk(9, math.inf))
        await asyncio.sleep(0)
    connection.data_received(b"1\r\na\r\n")
    connection.data_received(b"\r\n")
    connection.data_received(b"0\r\n\r\n")
    assert await task == b""
    assert direct.data == [b"x", b"y", b"1\r\na\r\n"]
