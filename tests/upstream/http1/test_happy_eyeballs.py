"""Test the race of a host's addresses, with attempts that the test controls."""

import asyncio
import socket

import pytest

from gateway.upstream.http1.happy_eyeballs import Address, connect, interleave_families, race

_A: Address = (socket.AF_INET6, ("::1", 80, 0, 0))
_B: Address = (socket.AF_INET, ("127.0.0.1", 80))
_C: Address = (socket.AF_INET, ("127.0.0.2", 80))

type Loop = asyncio.AbstractEventLoop


class _Attempts:
    """Attempts that end when the test says."""

    def __init__(self) -> None:
        self.begun: list[Address] = []
        self.results: dict[Address, asyncio.Future[socket.socket]] = {}
        self.next = asyncio.Event()

    async def __call__(self, loop: Loop, address: Address) -> socket.socket:
        self.begun.append(address)
        self.next.set()
        return await self.results.setdefault(address, loop.create_future())

    def ready(self, address: Address) -> asyncio.Future[socket.socket]:
        return self.results.setdefault(address, asyncio.get_running_loop().create_future())


@pytest.fixture
async def attempts() -> _Attempts:
    return _Attempts()


def test_address_families_alternate() -> None:
    d: Address = (socket.AF_INET6, ("::2", 80, 0, 0))
    assert interleave_families([_A, d, _B, _C]) == [_A, _B, d, _C]
    assert interleave_families([_B, _C, _A]) == [_B, _A, _C]
    assert interleave_families([]) == []


async def test_an_address_that_hangs_does_not_delay_the_next(attempts: _Attempts) -> None:
    loop = asyncio.get_running_loop()
    with socket.socket() as sock:
        attempts.ready(_B).set_result(sock)
        winner = await race(loop, [_A, _B], attempt=attempts, head_start=0.001)
        assert winner is sock
    assert attempts.begun == [_A, _B]
    await asyncio.sleep(0)
    assert attempts.results[_A].cancelled()


async def test_a_refused_connection_starts_the_next_attempt_at_once(attempts: _Attempts) -> None:
    loop = asyncio.get_running_loop()
    attempts.ready(_A).set_exception(ConnectionRefusedError())
    with socket.socket() as sock:
        attempts.ready(_B).set_result(sock)
        assert await race(loop, [_A, _B, _C], attempt=attempts, head_start=3600) is sock
    assert attempts.begun == [_A, _B]


async def test_the_race_raises_the_last_error(attempts: _Attempts) -> None:
    loop = asyncio.get_running_loop()
    attempts.ready(_A).set_exception(TimeoutError("first"))
    attempts.ready(_B).set_exception(ConnectionRefusedError("second"))
    with pytest.raises(ConnectionRefusedError, match="second"):
        await race(loop, [_A, _B], attempt=attempts, head_start=3600)


async def test_of_two_simultaneous_connections_one_is_closed(attempts: _Attempts) -> None:
    loop = asyncio.get_running_loop()
    first_socket, second_socket = socket.socket(), socket.socket()
    task = asyncio.create_task(race(loop, [_A, _B], attempt=attempts, head_start=0.001))
    while len(attempts.begun) < 2:
        attempts.next.clear()
        await attempts.next.wait()
    attempts.ready(_A).set_result(first_socket)
    attempts.ready(_B).set_result(second_socket)
    winner = await task
    await asyncio.sleep(0)
    assert {first_socket.fileno(), second_socket.fileno()} == {winner.fileno(), -1}
    winner.close()


async def test_a_cancelled_race_leaves_no_socket(attempts: _Attempts) -> None:
    loop = asyncio.get_running_loop()
    sock = socket.socket()
    task = asyncio.create_task(race(loop, [_A, _B], attempt=attempts, head_start=3600))
    await attempts.next.wait()
    attempts.ready(_A).set_result(sock)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0)
    assert sock.fileno() == -1
    assert attempts.begun == [_A]


async def test_the_address_that_answers_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of two addresses listens."""
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        places = [(socket.AF_INET, ("127.0.0.2", 1)), (socket.AF_INET, ("127.0.0.1", port))]

        async def resolve(*_: object, **__: object) -> list[tuple[object, ...]]:
            return [(family, socket.SOCK_STREAM, 0, "", place) for family, place in places]

        monkeypatch.setattr(loop, "getaddrinfo", resolve)
        with await connect(loop, "provider.example", port) as sock:
            assert sock.getpeername() == ("127.0.0.1", port)
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_concurrent_connections_share_one_lookup_of_a_host(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Later callers wait for the same lookup, even if the first one has left."""
    loop = asyncio.get_running_loop()
    answers: list[asyncio.Future[list[tuple[object, ...]]]] = []

    async def resolve(*_: object, **__: object) -> list[tuple[object, ...]]:
        answers.append(loop.create_future())
        return await answers[-1]

    monkeypatch.setattr(loop, "getaddrinfo", resolve)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        first, second = (
            asyncio.create_task(connect(loop, "provider.example", port)) for _ in range(2)
        )
        for _ in range(3):
            await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        answers[0].set_result([(socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", port))])
        (await second).close()
        assert len(answers) == 1
        third = asyncio.create_task(connect(loop, "provider.example", port))
        for _ in range(3):
            await asyncio.sleep(0)
        assert len(answers) == 2, "an answer is not kept"
        answers[1].set_exception(socket.gaierror(-2, "not known"))
        with pytest.raises(socket.gaierror):
            await third
