"""C-03, C-06, C-13, C-15: clients that are slow, lie about lengths, or come in crowds."""

import select
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, field

from tests.chaos import provider
from tests.chaos.all_clients import Form, ask, judge_reply, new_prompt, shared_row
from tests.chaos.caller.leaving_clients import dial, request, tag
from tests.chaos.client import endpoint_path, make_body
from tests.chaos.environment import ChaosEnvironment, make_config
from tests.chaos.gateway import CLIENT_KEY, Gateway
from tests.chaos.provider import Request, Wire
from tests.chaos.row import Cell, Expected, Row, Seen
from tests.chaos.upstream.fault import ledger
from tests.e2e.child import until
from tests.e2e.four_labs import DIALECTS, TEXT
from tests.hostile.trial import refused
from tests.server.gate import answers, drain

_HEAD, _BODY, _READ = 0.5, 1.0, 1.0
"""Seconds in which a client must send its headers, send its body, and read some of an answer."""
_MUCH = 200_000_000
"""Bytes that the provider would send."""
_TAKEN = 16_000_000
"""Bytes that the gateway may read of it for clients that do not read: sockets and buffers."""
_EACH = 8_000_000
"""Bytes of memory for each stream."""
_LARGE = 1_000_000
"""Bytes of the largest body."""
_PATIENCE = 20.0
_CONNECTIONS = 200
_SHED = (503, 529)
"""Statuses of a call that the gateway refuses at admission."""

type Read = Callable[[socket.socket], object]


def _started(environment: ChaosEnvironment) -> Gateway:
    value = make_config(environment)
    value["server"] = {
        "max_body": _LARGE,
        "connections": _CONNECTIONS,
        "timeouts": {"head": f"{_HEAD}s", "body": f"{_BODY}s", "read": f"{_READ}s"},
    }
    return environment.start(value, promised=0.3)


@dataclass
class _Flood:
    """A provider that sends far more than any client reads."""

    sent: dict[str, int] = field(default_factory=dict)

    async def fault(self, wire: Wire, request: Request) -> None:
        """Send one answer: a stream of words, or one long text."""
        frames = provider.frames(request.dialect)
        first = next(at for at, frame in enumerate(frames) if TEXT[:4].encode() in frame)
        await wire.sse()
        await wire.chunk(*frames[:first])
        many = frames[first] * 200
        while self.sent.setdefault(request.dialect, 0) < _MUCH:
            await wire.chunk(many)
            self.sent[request.dialect] += len(many)
        await wire.forever()


def _nothing(_: socket.socket) -> None:
    """Read nothing at all."""


def _slowly(connection: socket.socket) -> None:
    """Read a byte each 20 ms."""
    end = time.monotonic() + _PATIENCE
    with suppress(OSError):
        while time.monotonic() < end and connection.recv(1):
            time.sleep(0.02)  # the client is slow


def reading(read: Read) -> Callable[[ChaosEnvironment], Mapping[Form, Seen]]:
    """The gateway buffers little for a client that reads an endless stream slowly, and cuts it."""

    def flood_dialect(
        environment: ChaosEnvironment, gateway: Gateway, dialect: str, flood: _Flood
    ) -> Seen:
        environment.provider.play(dialect, flood.fault)
        cell = Cell(ROWS[0], dialect, "stream")
        mark = tag()
        with closing(socket.socket()) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect(("127.0.0.1", gateway.port))
            connection.sendall(request(cell, f"{dialect}/smart", mark, new_prompt()))
            with ThreadPoolExecutor(1) as pool:
                reader = pool.submit(read, connection)
                entry = gateway.tagged(mark)
                reader.result()
        took = entry.duration or 0.0
        sent = flood.sent[dialect]
        wrong = [f"{sent / 1e6:.0f} MB were taken of the provider"] if sent > _TAKEN else []
        late = took > 4 * _READ if environment.strict else took > _PATIENCE
        more = f"cut off {'late' if late else 'in time'}: {took:.1f} s, {sent / 1e6:.1f} MB taken"
        return Seen(ledger=ledger(entry), more=more, wrong=tuple(wrong))

    def go(environment: ChaosEnvironment) -> Mapping[Form, Seen]:
        gateway, flood = _started(environment), _Flood()
        with ThreadPoolExecutor(len(DIALECTS)) as pool:
            seen = pool.map(
                lambda dialect: flood_dialect(environment, gateway, dialect, flood), DIALECTS
            )
            return {(dialect, "stream"): it for dialect, it in zip(DIALECTS, seen, strict=True)}

    return go


type Outcomes = Iterator[str]


def pieces(
    id: str, name: str, play: Callable[[Gateway, str], Outcomes], *, ci: bool = False
) -> Row:
    """Return a row with clients that do something odd at the endpoint of each dialect."""

    def go(environment: ChaosEnvironment) -> Mapping[Form, Seen]:
        gateway = _started(environment)

        def play_dialect(dialect: str) -> Seen:
            results = list(play(gateway, dialect))
            wrong = [it[:600] for it in results if it]
            return Seen(
                more=f"{len(results) - len(wrong)} pieces as they should be", wrong=tuple(wrong)
            )

        with ThreadPoolExecutor(len(DIALECTS)) as pool:
            seen = dict(zip(DIALECTS, pool.map(play_dialect, DIALECTS), strict=True))
        rows = set(gateway.all())
        gateway.unreported_calls |= rows  # clients that write raw bytes do not read their call ids
        gateway.forget({it.id for it in gateway.replies if it.status in _SHED} - rows)
        return {(dialect, "whole"): it for dialect, it in seen.items()}

    expected = Expected(more=r"\d+ pieces as they should be")
    return shared_row(id, name, "client", go, expected, modes=("whole",), ci=ci)


def _head(path: str, *lines: str) -> bytes:
    first = [f"POST {path} HTTP/1.1", "host: localhost", f"authorization: Bearer {CLIENT_KEY}"]
    return "\r\n".join([*first, *lines, "", ""]).encode()


def _path(dialect: str) -> str:
    return endpoint_path(dialect, f"m-{dialect}", stream=False)


def _body(dialect: str) -> bytes:
    return make_body(dialect, f"m-{dialect}", stream=False, prompt=new_prompt())


def _exchange(gateway: Gateway, *data: bytes, pause: float = 0.0) -> bytes:
    """Write pieces, and read until the gateway closes the connection."""
    with dial(gateway) as connection:
        with suppress(ConnectionError):
            for piece in data:
                connection.sendall(piece)
                if pause and select.select([connection], [], [], pause)[0]:
                    break
        return drain(connection)


def _answer(data: bytes, path: str, status: int, start: str, what: str) -> str:
    try:
        reply = answers(data)[0]
    except (AssertionError, IndexError, ValueError) as error:
        return f"{what}: {data[:200]!r}: {error!r}"
    return refused(reply, path, status, start, what)


def _lengths(gateway: Gateway, dialect: str) -> Outcomes:
    """Send bodies that are too long, endless, or not as long as announced, and one with Expect."""
    path, body = _path(dialect), _body(dialect)
    large = f"content-length: {_LARGE + 1}"
    yield _answer(_exchange(gateway, _head(path, large)), path, 413, "", "too long")
    waited = _exchange(gateway, _head(path, large, "expect: 100-continue"))
    yield (
        "a body too long was asked for"
        if b" 100 " in waited[:20]
        else _answer(waited, path, 413, "", "expect")
    )
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    endless = _exchange(gateway, _head(path, "transfer-encoding: chunked"), *[chunk] * 64)
    yield _answer(endless, path, 413, "", "endless")
    longer = _head(path, f"content-length: {len(body) + 10}") + body
    began = time.monotonic()
    yield _answer(_exchange(gateway, longer), path, 408, "", "never whole")
    yield "" if time.monotonic() - began < 10 * _BODY else "a body that never comes is waited for"
    with dial(gateway) as connection:  # shorter than the body: the rest is no request
        connection.sendall(_head(path, f"content-length: {len(body) - 5}") + body)
        replies = answers(drain(connection))
        right = [it.status for it in replies] == [400, 400] or [it.status for it in replies] == [
            400
        ]
        yield "" if right else f"shorter: {[it.status for it in replies]}"
    with dial(gateway) as connection:
        connection.sendall(_head(path, f"content-length: {len(body)}", "expect: 100-continue"))
        asked_for = connection.recv(1000)
        yield "" if b" 100 " in asked_for else f"no 100: {asked_for!r}"


def _trickling(gateway: Gateway, dialect: str) -> Outcomes:
    """Send headers and a body one byte at a time, and open connections that stay silent."""
    path, body = _path(dialect), _body(dialect)
    head = _head(path, f"content-length: {len(body)}")
    for name, data in (("head", [head[at : at + 1] for at in range(60)]),
                       ("body", [head, *(body[at : at + 1] for at in range(60))])):  # fmt: skip
        began = time.monotonic()
        reply = _exchange(gateway, *data, pause=0.1)
        yield _answer(reply, path if name == "body" else "/v1/chat/completions", 408, "", name)
        yield "" if time.monotonic() - began < 10.0 else f"{name}: waited for too long"
    with dial(gateway) as connection:
        began = time.monotonic()
        left = drain(connection)
        late = time.monotonic() - began > 20 * _HEAD
        yield f"a silent connection: {left!r}, late: {late}" if late or b"200" in left[:20] else ""


_OF_A_STORM = ("answer", "error overloaded", "error overloaded_error", "error UNAVAILABLE", "cut")


def _storm(gateway: Gateway, dialect: str) -> Outcomes:
    """While hundreds of connections are silent, the gateway still answers other clients."""
    form = (dialect, "whole")
    with ThreadPoolExecutor(4) as pool:
        held: list[socket.socket] = []
        try:
            running = [pool.submit(ask, gateway, form) for _ in range(20)]
            for _ in range(_CONNECTIONS):
                with suppress(OSError):
                    held.append(dial(gateway))
            verdicts = [judge_reply(form, it.result()) for it in running]
        finally:
            for it in held:
                it.close()
    yield from ("" if it in _OF_A_STORM else it for it in verdicts)
    yield "" if "answer" in verdicts else "nobody is answered in a storm"
    for _ in range(200):  # connections that come and go
        with suppress(OSError), dial(gateway) as connection:
            connection.sendall(b"GET")
    until(
        lambda: judge_reply(form, ask(gateway, form)) == "answer",
        "it is well after the storm",
        _PATIENCE,
    )


ROWS: tuple[Row, ...] = (
    shared_row("C-03", "reads nothing of a stream", "client", reading(_nothing),
        Expected(ledger="aborted by client_slow", more="cut off in time.*"), modes=("stream",), growth=_EACH * len(DIALECTS)),
    shared_row("C-03", "reads a byte now and then", "client", reading(_slowly),
        Expected(ledger="aborted by client_slow", more="cut off in time.*"), modes=("stream",), growth=_EACH * len(DIALECTS)),
    pieces("C-06", "bodies that are not as long as they say", _lengths),
    pieces("C-13", "heads and bodies that trickle", _trickling),
    pieces("C-15", "a storm of connections", _storm),
)  # fmt: skip
