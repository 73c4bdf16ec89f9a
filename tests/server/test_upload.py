"""Test uploads: pieces in order, their limits of size and speed, and what is read ahead."""

import asyncio

import pytest

from gateway.core.errors import ClientGone, Problem, ProblemError
from gateway.limits.load_shedding import LoadSample, LoadShedder, MemoryReservation
from gateway.server.request_headers import Message, Receive
from gateway.server.upload import UploadInspector, UploadReader
from gateway.settings.schema.server import ServerPart, WaitPart
from tests.server.test_body import client_sending


def make_memory(free_bytes: int = 10**9) -> MemoryReservation:
    sample = LoadSample(memory=10**8)
    return MemoryReservation(LoadShedder(lambda: sample, max_memory=10**8 + free_bytes))


def make_reader(
    receive: Receive,
    length: int | None = None,
    *,
    server: ServerPart | None = None,
    memory: MemoryReservation | None = None,
    inspector: UploadInspector | None = None,
) -> UploadReader:
    return UploadReader(receive, length, server or ServerPart(), memory or make_memory(), inspector)


async def collect(reader: UploadReader) -> list[bytes]:
    return [piece async for piece in reader]


class Inspector:
    """Notes what it sees, and refuses one piece or the end."""

    def __init__(self, refused: bytes | None = b"bad") -> None:
        self.refused = refused
        self.pieces: list[bytes] = []

    is_slow = False

    def feed(self, data: bytes) -> None:
        if data == self.refused:
            raise ProblemError(Problem(kind="invalid_request", message="No."))
        self.pieces.append(data)

    def finish(self) -> None:
        if self.refused is None:
            raise ProblemError(Problem(kind="invalid_request", message="No end."))


async def test_an_upload_arrives_in_pieces_none_of_which_is_empty() -> None:
    inspector = Inspector()
    reader = make_reader(client_sending(b"a", b"", b"b", b""), 2, inspector=inspector)
    assert (await anext(reader), reader.is_complete, reader.received_bytes) == (b"a", False, 1)
    assert await collect(reader) == [b"b"]
    assert (reader.is_complete, reader.received_bytes) == (True, 2)
    assert await collect(reader) == []
    assert b"".join(inspector.pieces) == b"ab"


async def test_an_inspector_ends_an_upload_before_the_consumer_gets_the_piece() -> None:
    reader = make_reader(client_sending(b"a", b"bad", b"c"), inspector=Inspector())
    assert await anext(reader) == b"a"
    with pytest.raises(ProblemError, match="No"):
        await anext(reader)
    assert not reader.is_complete


async def test_an_inspector_ends_an_upload_before_its_last_piece() -> None:
    reader = make_reader(client_sending(b"a", b"b"), inspector=Inspector(None))
    assert await anext(reader) == b"a"
    with pytest.raises(ProblemError, match="No end"):
        await anext(reader)


async def test_a_client_that_leaves_ends_its_upload() -> None:
    async def receive() -> Message:
        return {"type": "http.disconnect"}

    with pytest.raises(ClientGone):
        await anext(make_reader(receive))


@pytest.mark.parametrize("length", [None, 101])
async def test_an_upload_above_the_limit_is_refused(length: int | None) -> None:
    server = ServerPart(max_upload=100)
    with pytest.raises(ProblemError, match=r"larger than 100 bytes \(server.max_upload") as caught:
        await collect(make_reader(client_sending(b"x" * 60, b"x" * 60), length, server=server))
    assert caught.value.problem.kind == "request_too_large"
    assert await collect(make_reader(client_sending(b"x" * 100), 100, server=server))


async def test_an_upload_needs_a_minimum_speed() -> None:
    server = ServerPart(timeouts=WaitPart(body=0.02, body_rate=10_000))
    reader = make_reader(client_sending(b"x" * 500, end=False), server=server)
    started_at = asyncio.get_running_loop().time()
    with pytest.raises(ProblemError, match="a second for each 10,000 bytes") as caught:
        await collect(reader)
    assert caught.value.problem.kind == "request_timeout"
    assert asyncio.get_running_loop().time() - started_at >= 0.065


async def test_the_time_of_the_consumer_does_not_count() -> None:
    server = ServerPart(timeouts=WaitPart(body=0.05, body_rate=10**9))
    pieces = client_sending(b"a", b"b", b"c")

    async def receive() -> Message:
        await asyncio.sleep(0.005)
        return await pieces()

    reader = make_reader(receive, server=server)
    async for _ in reader:
        await asyncio.sleep(0.06)
    assert reader.is_complete


async def test_a_piece_whose_wait_is_cancelled_is_not_lost() -> None:
    """The wait for a client ends when its provider refuses the rest."""
    messages: asyncio.Queue[Message] = asyncio.Queue()
    reader = make_reader(messages.get)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await anext(reader)
    messages.put_nowait({"type": "http.request", "body": b"a", "more_body": False})
    assert await collect(reader) == [b"a"]


async def test_other_calls_have_their_turn_while_a_piece_is_inspected() -> None:
    """A call that is cancelled meanwhile loses nothing, and inspects nothing twice."""
    piece = b"abcdefgh" * 20_000
    inspector = Inspector()
    reader = make_reader(client_sending(piece), inspector=inspector)
    task = asyncio.ensure_future(anext(reader))
    await asyncio.sleep(0)
    assert [len(item) for item in inspector.pieces] == [65_536]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not reader.is_complete
    assert await collect(reader) == [piece]
    assert b"".join(inspector.pieces) == piece


async def test_an_upload_reserves_the_memory_of_its_pieces_alone() -> None:
    memory = make_memory(20_000_000)
    make_reader(client_sending(b""), 10**9, memory=memory)
    with pytest.raises(ProblemError, match="more memory than the gateway has"):
        make_reader(client_sending(b""), 10**9, memory=make_memory(500_000))


async def test_what_is_read_ahead_comes_first() -> None:
    reader = make_reader(client_sending(b"a", b"", b"b", b"c"))
    await reader.read_ahead(2)
    assert (reader.received_bytes, reader.take_whole()) == (2, None)
    assert await collect(reader) == [b"a", b"b", b"c"]
    assert reader.take_whole() is None


async def test_reading_ahead_may_go_on_to_the_end() -> None:
    reader = make_reader(client_sending(b"a", b"b", b"c"), inspector=Inspector())
    await reader.read_ahead(2)
    assert reader.received_bytes == 2
    await reader.read_ahead(100)
    assert reader.take_whole() == b"abc"
    assert await collect(reader) == []


async def test_what_is_read_ahead_needs_memory() -> None:
    piece = b"x" * 5_000_000
    reader = make_reader(client_sending(*[piece] * 9), memory=make_memory(10**8))
    with pytest.raises(ProblemError, match="more memory than the gateway has"):
        await reader.read_ahead(10**8)
    assert reader.received_bytes == 20_000_000


async def test_bytes_that_were_read_ahead_may_be_replaced() -> None:
    """The length changes with them, if the client has told one."""
    for length, changed in ((9, 7), (None, None)):
        reader = make_reader(client_sending(b"abc", b"def", b"ghi"), length)
        await reader.read_ahead(6)
        reader.replace_ahead(2, 3, b"x")
        assert reader.length == changed
        assert b"".join(await collect(reader)) == b"abxfghi"
