"""What goes to the client: a status, headers that say what happened, and a body."""

import functools
import http.client
import math
from collections.abc import AsyncGenerator, Iterator
from decimal import Decimal
from typing import Protocol

import msgspec

from gateway.core import loss
from gateway.core.entry import Entry
from gateway.core.problem import Problem
from gateway.core.tally import Tally
from gateway.core.target import Tier
from gateway.dialects import Dialect


class Waiting(Protocol):
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
_BREAKS = frozenset(b"\r\n\0")
ESTIMATED = (b"x-tiergate-estimated", b"tokens")
"""Tells that no provider counted the tokens."""


class Lines:
    """Headers as they stand on the wire, and pairs where those are asked for."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        """Each of them is one line, and ends it."""
        self.data = data

    def __iter__(self) -> Iterator[Header]:
        for line in self.data.splitlines():
            name, _, value = line.partition(b": ")
            yield name, value


class Reply(msgspec.Struct, kw_only=True):
    """A status, headers, and a body that is whole or still coming."""

    status: int
    headers: Headers | Lines
    body: bytes = b""
    frame: bytes = b""
    """What stands for `body` in a stream whose head was sent before."""
    stream: AsyncGenerator[bytes] | None = None

    def close(self) -> None:
        """Its connection ends behind it."""
        self.headers = [*self.headers, (b"connection", b"close")]


def written(reply: Reply) -> bytes | None:
    """A whole reply as it stands on the wire; None where a header could be read as two."""
    headers, body = reply.headers, reply.body
    if isinstance(headers, Lines):
        lines = headers.data
    else:
        lines = _lines(headers)
        if not lines.count(b"\r") == lines.count(b"\n") == len(headers) or b"\0" in lines:
            return None
    return b"%b%bcontent-length: %d\r\n\r\n%b" % (_status(reply.status), lines, len(body), body)


def _lines(headers: Headers) -> bytes:
    return b"".join([b"%b: %b\r\n" % header for header in headers])


@functools.cache
def _status(status: int) -> bytes:
    phrase = http.client.responses.get(status, "")  # 529 has none
    return b"HTTP/1.1 %d %b\r\n" % (status, phrase.encode())


def refusal(problem: Problem, dialect: Dialect, call: str, told: Headers) -> Reply:
    """A problem as the reply that a client of this dialect understands."""
    head = [(b"content-type", FOLD_TYPE), *ids(call), *told]
    if problem.should_retry is False:
        head.append((b"x-should-retry", b"false"))
    if problem.retry_after is not None:
        seconds = min(max(1, math.ceil(problem.retry_after)), 60)
        head.append((b"retry-after", b"%d" % seconds))
    return Reply(
        status=dialect.status(problem),
        headers=head,
        body=dialect.problem(problem),
        frame=dialect.problem_frame(problem),
    )


def ids(call: str) -> Headers:
    """The id of a call, in both headers that the official SDKs read."""
    value = call.encode()
    return [(b"x-request-id", value), (b"request-id", value)]


def head(tally: Tally, kind: bytes, entry: Entry | None = None) -> Lines:
    """The headers of an answer; one that is whole has its cost, as its `entry` does."""
    call = tally.call.id.encode()
    lines = b"content-type: %b\r\nx-request-id: %b\r\nrequest-id: %b\r\n" % (kind, call, call)
    if (decision := tally.decision) is not None:
        lines += b"x-tiergate-decision: %b; %b\r\n" % (decision.source.encode(), call)
    lines += _shared(tally)[1]
    for header in _own(tally):
        lines += b"%b: %b\r\n" % header
    if kind is STREAM_TYPE:
        lines += b"cache-control: no-cache\r\n"
    elif entry is not None and entry.cost is not None:
        lines += b"x-tiergate-cost: %b\r\n" % _usd(entry.cost)
        if entry.estimate:
            lines += b"x-tiergate-estimated: cost\r\n"
    return Lines(lines)


def trailer(entry: Entry) -> bytes:
    """The cost of a stream as a comment after its end, which readers of events skip."""
    cost = b"unknown" if entry.cost is None else _usd(entry.cost)
    guessed = b" (estimated)" if entry.estimate else b""
    return b": x-tiergate-cost: %s%s\n\n" % (cost, guessed)


def _usd(cost: Decimal) -> bytes:
    return format(cost, "f").encode()


def told(tally: Tally) -> Headers:
    """Headers that say what was decided, as far as it was."""
    found = [*_shared(tally)[0], *_own(tally)]
    if (decision := tally.decision) is not None:
        found.insert(0, (b"x-tiergate-decision", f"{decision.source}; {tally.call.id}".encode()))
    return found


def _shared(tally: Tally) -> tuple[Headers, bytes]:
    """What many calls are told in the same words."""
    decision, target = tally.decision, tally.target
    cache = tally.cache if tally.near is None else "near"
    if decision is None:
        lab = tier = None
    else:
        lab, tier = decision.lab, decision.tier
    if target is None:
        return _common(lab, tier, None, "", cache, tally.attempts)
    return _common(lab, tier, target.model, target.provider.name, cache, tally.attempts)


@functools.lru_cache(1024)
def _common(
    lab: str | None, tier: Tier | None, model: str | None, provider: str, cache: str, attempts: int
) -> tuple[Headers, bytes]:
    """Those of a lab and tier, of a target, and of what came of both; and as they are written.

    Raises ValueError: one could be read as two.
    """
    found: Headers = []
    if lab is not None:
        found.append((b"x-tiergate-lab", lab.encode()))
    if tier is not None:
        found.append((b"x-tiergate-tier", tier.encode()))
    if model is not None:
        found.append((b"x-tiergate-model", _ascii(model)))
        found.append((b"x-tiergate-provider", provider.encode()))
    if lab is not None:
        found.append((b"x-tiergate-cache", cache.encode()))
        found.append((b"x-tiergate-attempts", b"%d" % attempts))
    if not all(_BREAKS.isdisjoint(value) for _, value in found):
        raise ValueError("a header is more than a line")
    return found, _lines(found)


def _own(tally: Tally) -> Headers:
    """What few are told, or each in words of its own."""
    found: Headers = []
    if tally.near is not None:
        found.append((b"x-tiergate-near", b"%.3f" % tally.near))
    if tally.losses:
        found.append((b"x-tiergate-dropped", _ascii(loss.names(tally.losses))))
    if tally.upstream_id is not None:
        found.append((b"x-upstream-request-id", _ascii(tally.upstream_id)))
    return found


def _ascii(text: str) -> bytes:
    """A header value: what is not printable ASCII becomes a question mark."""
    if text.isascii() and text.isprintable():
        return text.encode()
    return bytes(c if 32 <= c < 127 else 63 for c in text.encode("ascii", "replace"))


def uncounted(problem: Problem, dialect: Dialect, tally: Tally) -> bool:
    """Whether nobody can be asked for a count, or no one abroad has given it; at home it fails."""
    if tally.decision is None:
        return problem.kind == "no_target"
    target = tally.target
    return target is not None and dialect.name not in target.provider.doors
