"""One connection: split answers, silence, nonsense, and a server that goes away."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.state.errors import StoreUnavailable
from gateway.state.redis.commands import encode_command
from gateway.state.redis.replies import RedisError, Reply
from gateway.state.redis.server_connection import ServerConnection

LITERAL: list[tuple[bytes, Reply]] = [
    (b":7\r\n", 7),
    (b":-1\r\n", -1),
    (b"$3\r\na\r\n\r\n", b"a\r\n"),
    (b"$0\r\n\r\n", b""),
    (b"$-1\r\n", None),
    (b"+OK\r\n", b"OK"),
    (b"*0\r\n", []),
    (b"*2\r\n*1\r\n:1\r\n$1\r\nx\r\n", [[1], b"x"]),
]
ASKED = b"*1\r\n$1\r\nx\r\n"


class RedisPeer:
    """A server's side of one connection, which writes what a test says."""

    def __init__(self) -> None:
        self.reader: asyncio.StreamReader
        self.writer: asyncio.StreamWriter
        self._taken = asyncio.Event()
        self._server: asyncio.Server | None = None

    async def connect(self, deadline: float = 10.0) -> ServerConnection:
        """Listen, and open a connection to this server."""
        self._server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        _, wire = await asyncio.get_running_loop().create_connection(
            lambda: ServerConnection(deadline), "127.0.0.1", port
        )
        await self._taken.wait()
        return wire

    async def write(self, *pieces: bytes) -> None:
        """Write pieces, each in its own iteration of the event loop."""
        for piece in pieces:
            self.writer.write(piece)
            await asyncio.sleep(0)
            await asyncio.sleep(0)

    async def close(self) -> None:
        assert self._server is not None
        self.writer.close()
        self._server.close()
        await self._server.wait_closed()

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self._taken.set()


@pytest.fixture
async def peer() -> AsyncIterator[RedisPeer]:
    new_peer = RedisPeer()
    yield new_peer
    await new_peer.close()


async def met(story: Callable[[RedisPeer, ServerConnection], Awaitable[None]]) -> None:
    """Run a test with both ends of a connection, then close it."""
    peer = RedisPeer()
    wire = await peer.connect()
    try:
        await story(peer, wire)
    finally:
        wire.close()
        await wire.wait_closed()
        await peer.close()


@pytest.mark.parametrize(("data", "reply"), LITERAL)
async def test_the_connection_reads_each_kind_of_reply(
    peer: RedisPeer, data: bytes, reply: Reply
) -> None:
    wire = await peer.connect()
    answer = wire.send(encode_command(b"x"))
    await peer.write(*(data[at : at + 1] for at in range(len(data))))
    assert await answer == reply
    wire.close()


async def test_an_error_reply_is_an_answer(peer: RedisPeer) -> None:
    wire = await peer.connect()
    answers = [wire.send(encode_command(b"x")) for _ in range(2)]
    await peer.write(b"-MOVED 5 h:1\r\n-SOME thing\r\n")
    moved, plain_error = [await answer for answer in answers]
    assert isinstance(moved, RedisError)
    assert (moved.text, moved.code) == ("MOVED 5 h:1", "MOVED")
    assert isinstance(plain_error, RedisError)
    assert (plain_error.text, plain_error.code) == ("SOME thing", "SOME")
    assert wire.is_open
    wire.close()


async def test_a_request_is_an_array_of_bulk_strings(peer: RedisPeer) -> None:
    """Requests of one iteration of the event loop are one write."""
    wire = await peer.connect()
    answers = [wire.send(encode_command(b"GET", b"", b"a\r\n")), wire.send(encode_command(b"x"))]
    expected = b"*3\r\n$3\r\nGET\r\n$0\r\n\r\n$3\r\na\r\n\r\n" + ASKED
    assert await peer.reader.readexactly(len(expected)) == expected
    await peer.write(b":1\r\n:2\r\n")
    assert [await answer for answer in answers] == [1, 2]
    wire.close()


@pytest.mark.parametrize(
    "data",
    [b"HTTP/1.1 400 Bad Request\r\n", b"\x00\xff\xfe", b":x\r\n", b"$many\r\n"],
)  # fmt: skip
async def test_an_invalid_reply_closes_the_connection(peer: RedisPeer, data: bytes) -> None:
    wire = await peer.connect()
    answer = wire.send(encode_command(b"x"))
    await peer.write(data)
    with pytest.raises(StoreUnavailable, match="does not speak the Redis protocol"):
        await answer
    assert not wire.is_open
    with pytest.raises(StoreUnavailable, match="no connection"):
        await wire.send(encode_command(b"x"))


@given(st.lists(st.sampled_from(LITERAL), min_size=1, max_size=6), st.data())
def test_any_split_gives_the_same_answers_in_order(
    parts: list[tuple[bytes, Reply]], data: st.DataObject
) -> None:
    whole = b"".join(part for part, _ in parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))

    async def story(peer: RedisPeer, wire: ServerConnection) -> None:
        answers = [wire.send(encode_command(b"x")) for _ in parts]
        pairs = zip([0, *cuts], [*cuts, len(whole)], strict=True)
        await peer.write(*(whole[start:end] for start, end in pairs))
        assert [await answer for answer in answers] == [reply for _, reply in parts]

    asyncio.run(met(story))


async def test_a_cancelled_request_does_not_shift_the_answers(peer: RedisPeer) -> None:
    wire = await peer.connect()
    first_answer, second_answer = wire.send(encode_command(b"1")), wire.send(encode_command(b"2"))
    first_answer.cancel()
    await peer.write(b":1\r\n:2\r\n")
    assert await second_answer == 2
    wire.close()


async def test_a_reply_without_a_request_closes_the_connection(peer: RedisPeer) -> None:
    """Otherwise the next call would get the answer of another."""
    wire = await peer.connect()
    answer = wire.send(encode_command(b"1"))
    await peer.write(b":1\r\n:2\r\n")
    assert await answer == 1
    await wire.wait_closed()
    with pytest.raises(StoreUnavailable, match="no connection"):
        await wire.send(encode_command(b"2"))


@pytest.mark.parametrize("half", [b"", b"$9\r\nabc"])
async def test_every_waiting_request_fails_when_the_server_closes_the_connection(
    peer: RedisPeer, half: bytes
) -> None:
    wire = await peer.connect()
    answers = [wire.send(encode_command(b"x")) for _ in range(3)]
    await peer.write(half)
    peer.writer.close()
    for answer in answers:
        with pytest.raises(StoreUnavailable, match="no connection"):
            await answer


async def test_a_retired_connection_answers_its_running_requests(peer: RedisPeer) -> None:
    wire = await peer.connect()
    answers = [wire.send(encode_command(b"x")) for _ in range(2)]
    wire.retire()
    with pytest.raises(StoreUnavailable, match="no connection"):
        await wire.send(encode_command(b"x"))
    await peer.write(b":1\r\n:2\r\n")
    assert [await answer for answer in answers] == [1, 2]
    await wire.wait_closed()
    assert await peer.reader.read() == ASKED * 2
    idle = RedisPeer()
    idle_wire = await idle.connect()
    idle_wire.retire()
    await idle_wire.wait_closed()
    await idle.close()


async def test_a_connection_may_be_closed_before_its_first_request() -> None:
    """The connection closes even before anything was read from it."""
    peer = RedisPeer()
    wire = await peer.connect()
    wire.close()
    await wire.wait_closed()
    assert await peer.reader.read() == b""
    await peer.close()


def usable(wire: ServerConnection) -> bool:
    return wire.is_open


@pytest.mark.jumping_clock
async def test_the_connection_closes_when_its_oldest_request_times_out(peer: RedisPeer) -> None:
    wire = await peer.connect(deadline=10.0)
    answer = wire.send(encode_command(b"x"))
    await asyncio.sleep(9.0)
    later = wire.send(encode_command(b"y"))
    await peer.write(b":1\r\n")
    assert await answer == 1
    await asyncio.sleep(9.0)
    assert usable(wire), "the first was answered: its time is not the second's"
    last = wire.send(encode_command(b"z"))
    for waiting in (later, last):
        with pytest.raises(StoreUnavailable, match="no answer in time"):
            await waiting
    assert not wire.is_open
    await wire.wait_closed()
    assert 19.0 <= asyncio.get_running_loop().time() < 19.5


@pytest.mark.jumping_clock
async def test_an_answer_that_lies_unread_does_not_count_as_late(peer: RedisPeer) -> None:
    """A process that was busy for long finds its timer due before it has read the answer."""
    wire = await peer.connect(deadline=0.0)
    answers = [wire.send(encode_command(b"x")), wire.send(encode_command(b"y"))]
    await peer.write(b":1\r\n")
    assert await answers[0] == 1
    await peer.write(b":2\r\n")
    assert await answers[1] == 2
    assert wire.is_open
    wire.close()


@pytest.mark.jumping_clock
async def test_an_idle_connection_stays_open(peer: RedisPeer) -> None:
    wire = await peer.connect(deadline=1.0)
    for number in range(2):
        answer = wire.send(encode_command(b"x"))
        await peer.write(b":%d\r\n" % number)
        assert await answer == number
        await asyncio.sleep(600.0)
    assert wire.is_open
    wire.close()


@pytest.mark.parametrize(
    ("login", "commands"),
    [
        (("", "", 0), b""),
        (("", "pass", 0), b"*2\r\n$4\r\nAUTH\r\n$4\r\npass\r\n"),
        (("user", "p", 3), b"*3\r\n$4\r\nAUTH\r\n$4\r\nuser\r\n$1\r\np\r\n*2\r\n$6\r\nSELECT\r\n$1\r\n3\r\n"),
    ],
)  # fmt: skip
async def test_a_login_sends_only_what_the_url_has(
    peer: RedisPeer, login: tuple[str, str, int], commands: bytes
) -> None:
    wire = await peer.connect()
    logged_in = asyncio.create_task(wire.log_in(*login))
    for _ in range(commands.count(b"*")):
        await asyncio.sleep(0)
        await peer.write(b"+OK\r\n")
    await logged_in
    wire.retire()
    assert await peer.reader.read() == commands


@pytest.mark.parametrize(
    ("login", "answer", "text"),
    [
        (("u", "p", 0), b"-WRONGPASS secret", "it does not accept the credentials"),
        (("", "p", 0), b"-ERR AUTH secret", "it does not accept the credentials"),
        (("", "p", 0), b"-LOADING secret", "it is still loading its data"),
        (("", "", 99), b"-ERR DB index is out of range", "it has no database 99"),
        (("", "", 1), b"-NOPERM secret", "it does not accept the credentials"),
    ],
)
async def test_a_refused_login_has_its_reason(
    peer: RedisPeer, login: tuple[str, str, int], answer: bytes, text: str
) -> None:
    wire = await peer.connect()
    refused = asyncio.create_task(wire.log_in(*login))
    await asyncio.sleep(0)
    await peer.write(answer + b"\r\n")
    with pytest.raises(StoreUnavailable, match=f"^{text}$"):
        await refused
    wire.close()


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"-NOAUTH secret", "it does not accept the credentials"),
        (b"-ERR Protocol error: unauthenticated bulk length", "it does not accept the credentials"),
        (b"-ERR max number of clients reached", "no connection is left"),
        (b"-LOADING secret", "it is still loading its data"),
    ],
)
async def test_a_server_that_refuses_every_command_ends_the_connection(
    peer: RedisPeer, data: bytes, text: str
) -> None:
    wire = await peer.connect()
    answers = [wire.send(encode_command(b"x")) for _ in range(2)]
    await peer.write(data + b"\r\n")
    for answer in answers:
        with pytest.raises(StoreUnavailable, match=f"^{text}$"):
            await answer
    assert not wire.is_open


SEEDS = st.sampled_from([part for part, _ in LITERAL])
PIECES = st.lists(st.one_of(SEEDS, st.binary(max_size=9), st.sampled_from([b"*3\r\n", b"$5\r\n", b":", b"\r\n", b"-", b"*-1\r\n", b"$-2\r\n", b"%1\r\n", b"_\r\n", b"*99999999\r\n", b"-MOVED\r\n", b"-ASK 1 h\r\n"])), max_size=6)  # fmt: skip


@given(PIECES)
def test_any_bytes_of_a_server_are_an_answer_or_close_the_connection(parts: list[bytes]) -> None:
    """After the close no caller waits, and no other error is raised."""

    async def story(peer: RedisPeer, wire: ServerConnection) -> None:
        answers = [wire.send(encode_command(b"x")) for _ in range(3)]
        await peer.write(*parts)
        peer.writer.close()
        results = await asyncio.gather(*answers, return_exceptions=True)
        assert all(
            not isinstance(result, BaseException) or isinstance(result, StoreUnavailable)
            for result in results
        )

    asyncio.run(met(story))
