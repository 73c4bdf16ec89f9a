"""C-06, C-13: clients that are slow, or lie about lengths."""

import select
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from tests.chaos.all_clients import Form, new_prompt, shared_row
from tests.chaos.caller.leaving_clients import dial
from tests.chaos.client import endpoint_path, make_body
from tests.chaos.environment import ChaosEnvironment, make_config
from tests.chaos.gateway import CLIENT_KEY, Gateway
from tests.chaos.row import Expected, Row, Seen
from tests.e2e.four_labs import DIALECTS
from tests.hostile.trial import refused
from tests.server.gate import answers, drain

_HEAD, _BODY, _READ = 0.5, 1.0, 1.0
"""Seconds in which a client must send its headers, send its body, and read some of an answer."""
_LARGE = 1_000_000
"""Bytes of the largest body."""
_CONNECTIONS = 200
_SHED = (503, 529)
"""Statuses of a call that the gateway refuses at admission."""


def _started(environment: ChaosEnvironment) -> Gateway:
    value = make_config(environment)
    value["server"] = {
        "max_body": _LARGE,
        "connections": _CONNECTIONS,
        "timeouts": {"head": f"{_HEAD}s", "body": f"{_BODY}s", "read": f"{_READ}s"},
    }
    return environment.start(value, promised=0.3)


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


ROWS: tuple[Row, ...] = (
    pieces("C-06", "bodies that are not as long as they say", _lengths),
    pieces("C-13", "heads and bodies that trickle", _trickling),
)  # fmt: skip
