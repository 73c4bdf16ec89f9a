"""What a call asks of upstream, and what it gets: an answer that is past its commit point."""

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

import msgspec

from gateway.core.call import Call
from gateway.core.call_accounting import AttemptAccount
from gateway.core.decision import Plan
from gateway.core.errors import Problem
from gateway.core.target import Account, Target, Timers
from gateway.dialects import (
    Dialect,
    FetchedMedia,
    RequestBody,
    ResponseSummary,
    StreamInspector,
    TranslatableRequest,
    WrittenBody,
)
from gateway.dialects.tool_reasoning import ReasoningNote, ReasoningRecorder
from gateway.upstream.client import ProviderResponse
from gateway.upstream.health import InFlightAttempt
from gateway.upstream.retry import Candidate, PinnedAccount

_SIGN = 15.0
"""Seconds; see http/beat."""


class UpstreamRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a call asks of upstream."""

    call: Call
    body: RequestBody
    asked: TranslatableRequest
    dialect: Dialect
    plan: Plan
    tier: str
    lab: str
    """Whose retries it takes."""
    began: float
    """When the call began, on the running loop's clock, seconds."""
    ends: float = math.inf
    """When its client will have left if it has not been told anything, on that clock."""
    avoid: frozenset[str] = frozenset()
    """Names of targets that are not asked."""
    order: tuple[Candidate, ...] = ()
    """Who may be asked, in this order; empty is all of the plan."""
    dialling: Callable[[Target, Account], Awaitable[None] | None]
    """Told before each request is sent, which waits for what it returns."""
    failing: Callable[[Problem], None]
    """Told of each attempt that gave no answer."""
    extending: Callable[[Target], Awaitable[None]] | None = None
    """Told, and waited for, before a request that runs beside another. Raises ProblemError."""
    aside: Callable[[AttemptAccount | None], AttemptAccount] | None = None
    """Keeps what is written down of two requests apart; None where there is one at a time."""
    own: RequestBody | None = None
    """What is said to the provider in `seat`, which has the earlier answer that it names."""
    seat: PinnedAccount | None = None
    """Who has what the call goes on from."""
    notes: Mapping[str, ReasoningNote] = {}
    """Reasoning that did not come back with the request, by the first call of its turn."""
    listens: bool = False
    """Whether reasoning of the answer is to be noted."""
    question: object | None = None
    """What near questions are compared with, where its answer may serve them."""
    strict: bool = False
    """True if a whole answer must be complete: an incomplete one is asked for again."""
    bare: bool = False
    """No reasoning state is sent: its maker did not take it."""
    fetched: dict[str, FetchedMedia] = {}
    """Media that were fetched for the call, by URL; all its attempts share them."""

    def deadline(self, limits: Timers) -> float:
        """When an answer must have ended, on that clock."""
        total = self.began + limits.total
        return total if self.body.prompt.stream else min(total, self.ends)

    def waits_until(self, limits: Timers) -> float:
        """Return when a wait for a provider must be over, on that clock.

        A client that retries by itself cannot do so once its stream has shown a sign of life.
        """
        end = min(self.deadline(limits), self.ends)
        retries = self.call.patience is not None and self.body.prompt.stream
        return min(end, self.began + _SIGN - 1.0) if retries else end


def span(call: Call, now: float, *, stream: bool) -> tuple[float, float]:
    """When a call began, and when its client will have left if it is told nothing, a little before.

    On the running loop's clock; `now` is on that of `call.started`: what came before counts too,
    reading it and waiting for its turn. A stream shows a sign of life every 15 s, so that a client
    who waits longer than that waits on.
    """
    began = asyncio.get_running_loop().time() - (now - call.started)
    patience = call.patience
    if patience is None or (stream and patience > _SIGN):
        return began, math.inf
    return began, began + patience - min(1.0, patience / 10)


class UpstreamResponse(msgspec.Struct, kw_only=True):
    """An answer that is past its commit point: whole, or a stream whose first content is here."""

    target: Target
    account: Account
    written: WrittenBody
    answer: ProviderResponse
    sent: InFlightAttempt
    """Told where a stream breaks off."""
    upstream_id: str | None
    door: str = ""
    """The dialect in which it was asked."""
    ear: ReasoningRecorder | None = None
    """What listened to the answer."""
    whole: bytes | None = None
    glance: ResponseSummary | None = None
    watch: StreamInspector | None = None
    first: bytes = b""
    """What a stream may send on at once."""
    rest: AsyncIterator[bytes] | None = None
    ahead: bool = False
    """More of it has come than was given."""
