"""C-07 to C-12, C-14, C-16, C-18: hundreds of odd requests, and of bytes that are no request."""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tests.chaos.all_clients import Form, shared_row
from tests.chaos.environment import ChaosEnvironment
from tests.chaos.row import Expected, Row, Seen
from tests.e2e.four_labs import CHAT, DIALECTS, GEMINI, MESSAGES, RESPONSES
from tests.e2e.upstream import Upstream
from tests.hostile import trial
from tests.hostile.__main__ import serving
from tests.server import gate as doors
from tests.server.conftest import claude, google, replies
from tests.server.gate import Gate, answers, check_refusal, request
from tests.server.http1.test_protocol import INVALID_REQUESTS as NO_HTTP
from tests.server.test_wrong_bodies import NOT_JSON
from tests.server.test_wrong_bodies import ROWS as NO_REQUESTS

_PATHS = {
    CHAT: doors.CHAT, MESSAGES: doors.MESSAGES, RESPONSES: doors.RESPONSES, GEMINI: doors.GENERATE,
}  # fmt: skip
_MOST_HEADERS = 100
_SOON = 1.0
"""Seconds within which a busy machine sends a refusal."""

type Outcomes = Iterator[str]
type Play = Callable[[Gate, Upstream, str], Outcomes]
"""Empty if the gateway treated a piece of input correctly, else the mistake."""


def hostile(id: str, name: str, play: Play, **more: Any) -> Row:
    """Send hostile input to the endpoint of each dialect; the gateway survives and logs no bug."""

    def go(environment: ChaosEnvironment) -> Mapping[Form, Seen]:
        upstream = Upstream()
        environment.loop.run(upstream.start())
        environment.at_close.append(lambda: environment.loop.run(upstream.stop()))
        seen = {}
        with serving(environment.folder / "gate", upstream, _caching) as gate:
            for dialect in more.get("dialects", DIALECTS):
                path = _PATHS[dialect]
                upstream.requests.clear()
                upstream.scripts.clear()
                for prefix, script in (
                    ("/claude", claude),
                    ("/reply", replies),
                    ("/google", google),
                ):
                    upstream.on(prefix, script)
                results = list(play(gate, upstream, path))
                wrong = [result[:600] for result in results if result]
                if gate.ask("/health", method="GET").status != 200:
                    wrong.append("/health does not answer")
                summary = f"{len(results) - len(wrong)} pieces as they should be"
                seen[dialect, "whole"] = Seen(more=summary, wrong=tuple(wrong[:3]))
        return seen

    expected = Expected(more=r"\d+ pieces as they should be")
    return shared_row(id, name, "client", go, expected, modes=("whole",), **more)


def _caching(value: Any) -> None:
    value["cache"] = {"default": "on", "ttl": "1h"}


def _no_json(gate: Gate, upstream: Upstream, path: str) -> Outcomes:
    """Bodies that are deep, long, wrongly encoded or have invalid numbers get 400 at once."""
    for name, body in NOT_JSON:
        since = time.monotonic()
        reply = gate.ask(path, body)
        wrong = trial.refused(reply, path, 400, "The request body is not valid JSON: ", name)
        yield wrong or ("" if time.monotonic() - since < _SOON else f"{name}: too late")
    yield "" if not upstream.requests else "one was sent on"


def _malformed(gate: Gate, upstream: Upstream, path: str) -> Outcomes:
    return trial.unreadable(gate, upstream, path, 300)


def _twice(gate: Gate, upstream: Upstream, path: str) -> Outcomes:
    """If a member stands twice, the last one counts and is the only one sent on."""
    body = doors.valid_body(path, x_own=1)
    twice = body[:-1] + b',"x_own":2}'
    reply = gate.ask(path, twice)
    sent = upstream.requests[-1].body if upstream.requests else b""
    right = reply.status == 200 and sent.count(b'"x_own"') == 1 and b'"x_own":2' in sent
    yield "" if right else f"{reply.status}: {sent!r}"
    nested = body[:-1] + b',"x_nest":{"a":1,"a":2}}'
    gate.ask(path, nested)
    yield "" if b'{"a":1,"a":2}' in upstream.requests[-1].body else "a nested one was changed"


def _headers(gate: Gate, upstream: Upstream, path: str) -> Outcomes:
    """More than a hundred headers, or 16 kB of them, get 431 before the body is read."""
    body = doors.valid_body(path)
    for name, lines in (
        ("101 headers", [b"x-%d: 1" % at for at in range(_MOST_HEADERS)]),
        ("1,000 headers", [b"x-%d: 1" % at for at in range(1000)]),
        ("17 kB", [b"x-long: " + b"a" * 17_000]),
        ("100 kB", [b"x-long: " + b"a" * 100_000]),
        ("a name of 20 kB", [b"x" * 20_000 + b": 1"]),
    ):
        replies = answers(gate.exchange(request(path, body, *lines)))
        yield trial.refused(replies[0], path, 431, "The headers are more than", name)
    fine = gate.exchange(
        request(path, body, b"connection: close", *[b"x-%d: 1" % at for at in range(80)])
    )
    yield "" if answers(fine)[0].status == 200 else "80 headers are too many"
    yield "" if len(upstream.requests) == 1 else f"{len(upstream.requests)} were sent on"


def _no_http(gate: Gate, upstream: Upstream, path: str) -> Outcomes:
    """HTTP/0.9, HTTP/2, TLS, CONNECT and noise get one 400, and the connection is closed."""
    for name, data in NO_HTTP:
        replies = answers(gate.exchange(data))
        try:
            at = doors.MESSAGES if b"/v1/messages" in data else doors.CHAT
            check_refusal(replies[0], at, 400)
        except (AssertionError, IndexError) as error:
            yield f"{name}: {error}"
        else:
            yield "" if len(replies) == 1 else f"{name}: {len(replies)} answers"
    for method in ("TRACE", "OPTIONS", "PUT", "DELETE", "PATCH", "GET"):
        replies = answers(gate.exchange(request(path, b"", b"connection: close", method=method)))
        yield "" if replies[0].status in (404, 405) else f"{method}: {replies[0].status}"


def _pipelined(gate: Gate, upstream: Upstream, path: str) -> Outcomes:
    """A hundred calls in one write are each answered once, in order."""
    body, last = doors.valid_body(path), request(path, doors.valid_body(path), b"connection: close")
    replies = answers(gate.exchange(request(path, body) * 99 + last))
    yield (
        ""
        if [it.status for it in replies] == [200] * 100
        else f"{[it.status for it in replies][:9]}"
    )
    yield "" if len({it.headers["x-request-id"] for it in replies}) == 100 else "an id came twice"


def _smuggled(gate: Gate, upstream: Upstream, path: str) -> Outcomes:
    """Smuggled requests are refused at every endpoint, whatever `path` is."""
    return trial.smuggled(gate, 1500)


def _no_call(gate: Gate, upstream: Upstream, path: str) -> Outcomes:
    """Bodies of another dialect or with members of a wrong type get 400, which names the member."""
    for at, (name, body, _) in NO_REQUESTS:
        if at == path:
            yield trial.refused(gate.ask(path, body), path, 400, "", name)
    others = [doors.valid_body(other) for other in _PATHS.values() if other != path]
    for body in others:
        reply = gate.ask(path, body)
        yield "" if reply.status < 500 else f"{body!r}: {reply.status}"


ROWS: tuple[Row, ...] = (
    hostile("C-07", "no JSON: deep, long, strange (C-08, C-10 too)", _no_json, ci=True),
    hostile("C-08", "nearly JSON", _malformed),
    hostile("C-09", "members that stand twice", _twice),
    hostile("C-11", "too many headers, or too long", _headers),
    hostile("C-12", "requests in two readings", _smuggled, dialects=(CHAT,)),
    hostile("C-14", "no HTTP/1.1, and other methods", _no_http),
    hostile("C-14", "a hundred calls in one write", _pipelined),
    hostile("C-16", "bodies of another dialect", _no_call),
    hostile("C-18", "500 naughty texts in every field", trial.naughty),
    hostile("C-18", "500 naughty texts, cached apart", trial.cached),
)  # fmt: skip
