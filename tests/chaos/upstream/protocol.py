"""U-22, U-24, U-25: HTTP that is old, odd or broken."""

from collections.abc import Callable

from tests.chaos.environment import ChaosEnvironment, add_lab
from tests.chaos.provider import Fault, FaultRequest, Wire, body, frames, honest
from tests.chaos.row import Cell, Expected, FaultRow, Seen
from tests.chaos.upstream.fault import fault, play_call
from tests.e2e.world import Config

GOOD = Expected(200, "answer", 1, "settled", "hit")
BAD = Expected(502, "error", (1, 2), None, "none")
_BAD_STREAM = Expected(
    (200, 502), ("error", "0 + cut", "silence", "200, error"), (1, 2), None, "none"
)


def _data(request: FaultRequest) -> bytes:
    return b"".join(frames(request.dialect)) if request.stream else body(request.dialect)


def _raw(make: Callable[[bytes], bytes], *, close: bool = False) -> Fault:
    """Write the bytes that `make` makes of the usual body."""

    async def fault(wire: Wire, request: FaultRequest) -> None:
        await wire.write(make(_data(request)))
        if close:
            wire.close()

    return fault


def _chunked(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data)


def _plain(
    *lines: bytes, first: bytes = b"HTTP/1.1 200 OK", end: bytes = b"\r\n"
) -> Callable[[bytes], bytes]:
    """Return an answer with these lines in its headers, beside its length."""
    return lambda data: (
        end.join([first, *lines, b"content-length: %d" % len(data), b"", b""]) + data
    )


def _interim(*before: bytes) -> Fault:
    """Send interim responses before a good one."""

    async def fault(wire: Wire, request: FaultRequest) -> None:
        for head in before:
            await wire.write(head + b"\r\n\r\n")
        await honest(wire, request)

    return fault


_OLD: dict[str, Fault] = {
    "HTTP/1.0 until it closes": _raw(lambda data: b"HTTP/1.0 200 OK\r\n\r\n" + data, close=True),
    "HTTP/1.1 until it closes": _raw(lambda data: b"HTTP/1.1 200 OK\r\n\r\n" + data, close=True),
    "connection: close": _raw(_plain(b"connection: close"), close=True),
}
_INTERIM: dict[str, Fault] = {
    "100": _interim(b"HTTP/1.1 100 Continue"),
    "50 times 102": _interim(*[b"HTTP/1.1 102 Processing"] * 50),
    "103 with links": _interim(b"HTTP/1.1 103 Early Hints\r\nlink: </x>"),
}
_SWITCH = _interim(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\nconnection: upgrade")


async def _storm(wire: Wire, request: FaultRequest) -> None:
    """Send interim responses without end."""
    for _ in range(100_000):
        await wire.write(b"HTTP/1.1 102 Processing\r\n\r\n" * 100)


_TAKEN_APART = 40_000_000
"""Bytes: the gateway parses headers of 10,000 lines before it refuses them.

The allocator keeps what that took: 13 MB, once for each kind of call.
"""
_BROKEN: dict[str, Fault] = {
    "chunked and a length": _raw(
        lambda data: b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n" + _chunked(data)
    ),
    "two lengths": _raw(_plain(b"content-length: 3")),
    "the same length twice": _raw(lambda data: _plain(b"content-length: %d" % len(data))(data)),
    "a negative length": _raw(lambda data: b"HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\n" + data),
    "200 kB in a header": _raw(_plain(b"x: " + b"a" * 200_000)),
    "10,000 headers": _raw(_plain(*(b"x-%d: y" % at for at in range(10_000)))),
    "a folded header": _raw(_plain(b"x: a\r\n b")),
    "a header without a colon": _raw(_plain(b"x")),
    "NUL in a header": _raw(_plain(b"x: a\0b")),
    "a space before a colon": _raw(_plain(b"x : y")),
    "bare CR": _raw(_plain(b"x: y\rz: a")),
    "a chunk size that is none": _raw(
        lambda data: b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n" + data, close=True
    ),
    "another coding": _raw(
        lambda data: b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n" + _chunked(data)
    ),
    "a chunk that is longer than it says": _raw(
        lambda data: b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n" + data + b"\r\n0\r\n\r\n"
    ),
}  # fmt: skip
_LENIENT: dict[str, Fault] = {
    "bare LF": _raw(_plain(b"x: y", end=b"\n")),
    "a second answer behind it": _raw(lambda data: _plain()(data) + _plain()(b'{"smuggled":true}')),
}


def _stale() -> FaultRow:
    """The provider closes a kept connection as the next request comes.

    The gateway sends the request once more, at no cost.
    """

    def prepare(value: Config, environment: ChaosEnvironment, cell: Cell) -> None:
        add_lab(value, environment, cell)

    def play(environment: ChaosEnvironment, cell: Cell) -> Seen:
        first = environment.gateway.ask(
            cell.dialect, f"{cell.name}/smart", stream=cell.stream, prompt="Hello, first."
        )

        async def close(wire: Wire, request: FaultRequest) -> None:
            wire.close()

        environment.provider.play(cell.name, close, honest)
        seen = play_call(environment, cell, again=lambda: None)
        wrong = () if first.status == 200 else (f"the first call: {first.status}",)
        return Seen(
            seen.status,
            seen.client,
            seen.attempts,
            seen.ledger,
            seen.cache,
            wrong=(*seen.wrong, *wrong),
        )

    return FaultRow("U-22", "a kept connection that closes under the next request", "upstream", play,
               # If the close came late the provider may have read it: then it is not sent again.
               Expected((200, 502), ("answer", "error"), (1, 2),
                        ("settled", "failed upstream_unreachable unknown"), ("hit", "none")), prepare=prepare)  # fmt: skip


ROWS: tuple[FaultRow, ...] = (
    *(fault("U-22", name, does, GOOD) for name, does in _OLD.items()),
    _stale(),
    *(fault("U-24", name, does, GOOD) for name, does in _INTERIM.items()),
    fault("U-24", "101", _SWITCH, BAD),
    fault("U-24", "102 without end", _storm, BAD),
    *(fault("U-25", name, does, BAD, ci=name == "chunked and a length", growth=_TAKEN_APART) for name, does in _BROKEN.items()),
    *(fault("U-25", name, does, Expected((200, 502), ("answer", "error"), (1, 2))) for name, does in _LENIENT.items()),
)  # fmt: skip
