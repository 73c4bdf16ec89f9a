"""What goes to the client: a status, headers that say what happened, and a body."""

import functools
import http.client
import math
from collections.abc import AsyncGenerator
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

type Headers = list[tuple[bytes, bytes]]

FOLD_TYPE = b"application/json"
STREAM_TYPE = b"text/event-stream; charset=utf-8"
ESTIMATED = (b"x-tiergate-estimated", b"tokens")
"""Tells that no provider counted the tokens."""


class Reply(msgspec.Struct, kw_only=True):
    """A status, headers, and a body that is whole or still coming."""

    status: int
    headers: Headers
    body: bytes = b""
    frame: bytes = b""
    """What stands for `body` in a stream whose head was sent before."""
    stream: AsyncGenerator[bytes] | None = None


def block(reply: Reply) -> bytes:
    """The status and headers of a whole reply as they stand on the wire."""
    lines = [_status(reply.status), *[b": ".join(header) for header in reply.headers]]
    lines.append(b"content-length: %d\r\n\r\n" % len(reply.body))
    return b"\r\n".join(lines)


@functools.cache
def _status(status: int) -> bytes:
    phrase = http.client.responses.get(status, "")  # 529 has none
    return b"HTTP/1.1 %d %b" % (status, phrase.encode())


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


def head(tally: Tally, kind: bytes, entry: Entry | None = None) -> Headers:
    """The headers of an answer; one that is whole has its cost, as its `entry` does."""
    found = [(b"content-type", kind), *ids(tally.call.id), *told(tally)]
    if kind is STREAM_TYPE:
        found.append((b"cache-control", b"no-cache"))
    elif entry is not None and entry.cost is not None:
        found.append((b"x-tiergate-cost", _usd(entry.cost)))
        if entry.estimate:
            found.append((b"x-tiergate-estimated", b"cost"))
    return found


def trailer(entry: Entry) -> bytes:
    """The cost of a stream as a comment after its end, which readers of events skip."""
    cost = b"unknown" if entry.cost is None else _usd(entry.cost)
    guessed = b" (estimated)" if entry.estimate else b""
    return b": x-tiergate-cost: %s%s\n\n" % (cost, guessed)


def _usd(cost: Decimal) -> bytes:
    return format(cost, "f").encode()


def told(tally: Tally) -> Headers:
    """Headers that say what was decided, as far as it was."""
    found: Headers = []
    decision, target = tally.decision, tally.target
    if decision is not None:
        said = f"{decision.source}; {tally.call.id}".encode()
        found += ((b"x-tiergate-decision", said), *_where(decision.lab, decision.tier))
    if target is not None:
        found += _whose(target.model, target.provider.name)
    if decision is not None:
        found += (
            (b"x-tiergate-cache", b"near" if tally.near is not None else tally.cache.encode()),
            (b"x-tiergate-attempts", b"%d" % tally.attempts),
        )
    if tally.near is not None:
        found.append((b"x-tiergate-near", b"%.3f" % tally.near))
    if tally.losses:
        found.append((b"x-tiergate-dropped", _ascii(loss.names(tally.losses))))
    if tally.upstream_id is not None:
        found.append((b"x-upstream-request-id", _ascii(tally.upstream_id)))
    return found


@functools.lru_cache(256)
def _where(lab: str, tier: Tier | None) -> Headers:
    found = [(b"x-tiergate-lab", lab.encode())]
    return found if tier is None else [*found, (b"x-tiergate-tier", tier.encode())]


@functools.lru_cache(1024)
def _whose(model: str, provider: str) -> Headers:
    return [(b"x-tiergate-model", _ascii(model)), (b"x-tiergate-provider", provider.encode())]


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
