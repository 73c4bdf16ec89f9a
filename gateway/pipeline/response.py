"""What goes to the client: a status, headers that say what happened, and a body."""

import functools
import http.client
import math
from collections.abc import AsyncGenerator, Iterator
from typing import Protocol

import msgspec

from gateway.core import loss
from gateway.core.call_accounting import CallAccount, CallTotals
from gateway.core.errors import Problem
from gateway.core.ledger_rows import FinalRow
from gateway.core.target import Tier
from gateway.dialects import Dialect
from gateway.upstream.relay import DirectRelay


class KeepaliveClient(Protocol):
    """A client that is told that its answer is still to come."""

    @property
    def begun(self) -> bool:
        """Whether it has been told anything."""
        ...

    def arm(self) -> None:
        """It is to be told from now on."""
        ...


class _Nobody:
    begun = False

    def arm(self) -> None: ...


NOBODY = _Nobody()
"""A client that is told nothing before its answer."""

type Header = tuple[bytes, bytes]
type Headers = list[Header]

FOLD_TYPE = b"application/json"
STREAM_TYPE = b"text/event-stream; charset=utf-8"
_BREAKS = frozenset("\r\n\0")
ESTIMATED = (b"x-tiergate-estimated", b"tokens")
"""Tells that no provider counted the tokens."""


class HeaderLines:
    """Headers as they stand on the wire, and pairs where those are asked for."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        """Each of them is one line, and ends it."""
        self.text = text

    def __iter__(self) -> Iterator[Header]:
        for line in self.text.encode().splitlines():
            name, _, value = line.partition(b": ")
            yield name, value


class Response(msgspec.Struct, kw_only=True):
    """A status, headers, and a body that is whole or still coming."""

    status: int
    headers: Headers | HeaderLines
    body: bytes = b""
    frame: bytes = b""
    """What stands for `body` in a stream whose head was sent before."""
    stream: AsyncGenerator[bytes] | None = None
    direct: DirectRelay | None = None
    """Where the stream may pass who waits for it, once its client is written to."""

    def close(self) -> None:
        """Its connection ends behind it."""
        self.headers = [*self.headers, (b"connection", b"close")]


def written(reply: Response) -> bytes | None:
    """A whole reply as it stands on the wire; None where a header could be read as two."""
    headers, body = reply.headers, reply.body
    if isinstance(headers, HeaderLines):
        start = _OK if reply.status == 200 else _status(reply.status)
        return f"{start}{headers.text}content-length: {len(body)}\r\n\r\n".encode() + body
    lines = b"".join([b"%b: %b\r\n" % header for header in headers])
    if not lines.count(b"\r") == lines.count(b"\n") == len(headers) or b"\0" in lines:
        return None
    status = _status(reply.status).encode()
    return b"%b%bcontent-length: %d\r\n\r\n%b" % (status, lines, len(body), body)


@functools.cache
def _status(status: int) -> str:
    phrase = http.client.responses.get(status, "")  # 529 has none
    return f"HTTP/1.1 {status} {phrase}\r\n"


_OK = _status(200)
_TYPES = {kind: f"content-type: {kind.decode()}\r\n" for kind in (FOLD_TYPE, STREAM_TYPE)}


def refusal(problem: Problem, dialect: Dialect, call: str, told: Headers) -> Response:
    """A problem as the reply that a client of this dialect understands."""
    head = [(b"content-type", FOLD_TYPE), *ids(call), *told]
    if problem.should_retry is False:
        head.append((b"x-should-retry", b"false"))
    if problem.retry_after is not None:
        seconds = max(1, math.ceil(problem.retry_after))
        head.append((b"retry-after", b"%d" % seconds))
    return Response(
        status=dialect.status(problem),
        headers=head,
        body=dialect.problem(problem),
        frame=dialect.problem_frame(problem),
    )


def ids(call: str) -> Headers:
    """The id of a call, in both headers that the official SDKs read."""
    value = call.encode()
    return [(b"x-request-id", value), (b"request-id", value)]


def head(tally: CallAccount, kind: bytes, paid: FinalRow | CallTotals | None = None) -> HeaderLines:
    """The headers of an answer; one that is whole has its cost, as its entry and its sums do."""
    call, last = tally.call.id, ""
    if kind is STREAM_TYPE:
        last = "cache-control: no-cache\r\n"
    elif paid is not None and (cost := paid.cost) is not None:
        last = f"x-tiergate-cost: {cost:f}\r\n"
        if paid.estimate:
            last += "x-tiergate-estimated: cost\r\n"
    ids = f"x-request-id: {call}\r\nrequest-id: {call}\r\n"
    return HeaderLines(f"{_TYPES[kind]}{ids}{_told(tally)}{last}")


def trailer(entry: FinalRow) -> bytes:
    """The cost of a stream as a comment after its end, which readers of events skip."""
    cost = b"unknown" if entry.cost is None else f"{entry.cost:f}".encode()
    guessed = b" (estimated)" if entry.estimate else b""
    return b": x-tiergate-cost: %s%s\n\n" % (cost, guessed)


def told(tally: CallAccount) -> Headers:
    """Headers that say what was decided, as far as it was."""
    return [*HeaderLines(_told(tally))]


def _told(tally: CallAccount) -> str:
    """The same as they are written."""
    decision, target, near = tally.decision, tally.target, tally.near
    model, provider = (None, "") if target is None else (target.model, target.provider.name)
    cache = tally.cache if near is None else "near"
    if decision is None:
        said = _common(None, None, model, provider, cache, tally.attempts)
    else:
        said = _common(decision.lab, decision.tier, model, provider, cache, tally.attempts)
        said = f"x-tiergate-decision: {decision.source}; {tally.call.id}\r\n{said}"
        if decision.family is not None:
            said += f"x-tiergate-family: {_ascii(decision.family)}\r\n"
    if near is not None:
        said += f"x-tiergate-near: {near:.3f}\r\n"
    if tally.losses:
        said += f"x-tiergate-dropped: {_ascii(loss.names(tally.losses))}\r\n"
    if (told := tally.upstream_id) is not None:
        said += f"x-upstream-request-id: {_ascii(told)}\r\n"
    return said


@functools.lru_cache(1024)
def _common(
    lab: str | None, tier: Tier | None, model: str | None, provider: str, cache: str, attempts: int
) -> str:
    """What was decided, who was asked, and what became of it: many calls are told the same.

    Raises ValueError: a word of the configuration is more than a line.
    """
    found: list[tuple[str, str]] = []
    if lab is not None:
        found.append(("x-tiergate-lab", lab))
    if tier is not None:
        found.append(("x-tiergate-tier", tier))
    if model is not None:
        found += (("x-tiergate-model", _ascii(model)), ("x-tiergate-provider", provider))
    if lab is not None:
        found += (("x-tiergate-cache", cache), ("x-tiergate-attempts", f"{attempts}"))
    if not all(_BREAKS.isdisjoint(value) for _, value in found):
        raise ValueError("a header is more than a line")
    return "".join(f"{name}: {value}\r\n" for name, value in found)


def _ascii(text: str) -> str:
    """A header value: what is not printable ASCII becomes a question mark."""
    if text.isascii() and text.isprintable():
        return text
    data = bytes(c if 32 <= c < 127 else 63 for c in text.encode("ascii", "replace"))
    return data.decode()


def uncounted(problem: Problem, dialect: Dialect, tally: CallAccount) -> bool:
    """Whether nobody can be asked for a count, or no one abroad has given it; at home it fails."""
    if tally.decision is None:
        return problem.kind == "no_target"
    target = tally.target
    return target is not None and dialect.name not in target.provider.doors
