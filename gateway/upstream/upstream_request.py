"""What a call asks of upstream, and what it gets: an answer that is past its commit point."""

import asyncio
import math
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Protocol

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

_KEEPALIVE_SECONDS = 15.0
"""Seconds; see http/beat."""


class UpstreamAccount(Protocol):
    """The account of a call, which upstream tells what becomes of each attempt."""

    @property
    def attempts(self) -> Sequence[AttemptAccount]:
        """The attempts so far."""
        ...

    async def attempt_started(
        self, target: Target, account: Account, *, is_parallel: bool
    ) -> AttemptAccount:
        """Add an attempt before its request is sent; `is_parallel` if another one is open.

        Raises ProblemError if the request must not be sent.
        """
        ...

    def attempt_failed(self, attempt: AttemptAccount, problem: Problem) -> None:
        """Note that an attempt gave no answer."""
        ...

    def attempt_finished(self, attempt: AttemptAccount) -> None:
        """Note that the call has the answer of an attempt."""
        ...


class UpstreamRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a call asks of upstream."""

    call: Call
    body: RequestBody
    translatable: TranslatableRequest
    dialect: Dialect
    plan: Plan
    tier: str
    lab: str
    """Whose retries it takes."""
    started_at: float
    """When the call began, on the running loop's clock, seconds."""
    client_deadline: float = math.inf
    """When its client will have left if it has not been told anything, on that clock."""
    excluded_targets: frozenset[str] = frozenset()
    """Names of targets that are not asked."""
    candidates: tuple[Candidate, ...] = ()
    """Who may be asked, in this order; empty is all of the plan."""
    call_account: UpstreamAccount
    is_parallel: bool = False
    """True if the request runs beside another one of the call."""
    pinned_body: RequestBody | None = None
    """What the provider of `pinned_account` is told, which has the earlier answer that it names."""
    pinned_account: PinnedAccount | None = None
    """Who has what the call goes on from."""
    reasoning_notes: Mapping[str, ReasoningNote] = {}
    """Reasoning that did not come back with the request, by the first call of its turn."""
    records_reasoning: bool = False
    """Whether reasoning of the answer is to be noted."""
    compared_question: object | None = None
    """What near questions are compared with, where its answer may serve them."""
    requires_complete: bool = False
    """True if a whole answer must be complete: an incomplete one is asked for again."""
    omits_reasoning: bool = False
    """No reasoning state is sent: its maker did not take it."""
    fetched_media: dict[str, FetchedMedia] = {}
    """Media that were fetched for the call, by URL; all its attempts share them."""

    def compute_deadline(self, timers: Timers) -> float:
        """When an answer must have ended, on that clock."""
        total_deadline = self.started_at + timers.total
        return (
            total_deadline if self.body.prompt.stream else min(total_deadline, self.client_deadline)
        )

    def compute_wait_deadline(self, timers: Timers) -> float:
        """Return when a wait for a provider must be over, on that clock.

        A client that retries by itself cannot do so once its stream has shown a sign of life.
        """
        deadline = min(self.compute_deadline(timers), self.client_deadline)
        client_retries = self.call.client_timeout is not None and self.body.prompt.stream
        return (
            min(deadline, self.started_at + _KEEPALIVE_SECONDS - 1.0)
            if client_retries
            else deadline
        )


def compute_call_times(call: Call, now: float, *, stream: bool) -> tuple[float, float]:
    """When a call began, and when its client will have left if it is told nothing, a little before.

    On the running loop's clock; `now` is on that of `call.started`: what came before counts too,
    reading it and waiting for its turn. A stream shows a sign of life every 15 s, so that a client
    who waits longer than that waits on.
    """
    started_at = asyncio.get_running_loop().time() - (now - call.started_at)
    client_timeout = call.client_timeout
    if client_timeout is None or (stream and client_timeout > _KEEPALIVE_SECONDS):
        return started_at, math.inf
    return started_at, started_at + client_timeout - min(1.0, client_timeout / 10)


class UpstreamResponse(msgspec.Struct, kw_only=True):
    """An answer that is past its commit point: whole, or a stream whose first content is here."""

    target: Target
    account: Account
    written_body: WrittenBody
    provider_response: ProviderResponse
    attempt: InFlightAttempt
    """Told where a stream breaks off."""
    attempt_account: AttemptAccount
    upstream_id: str | None
    dialect_name: str = ""
    """The dialect in which it was asked."""
    reasoning_recorder: ReasoningRecorder | None = None
    """What listened to the answer."""
    dropped_names: Mapping[str, None] = {}
    """Parts of the answer that the client does not get, by the provider's names, so far."""
    body: bytes | None = None
    summary: ResponseSummary | None = None
    inspector: StreamInspector | None = None
    first_bytes: bytes = b""
    """What a stream may send on at once."""
    remaining_chunks: AsyncIterator[bytes] | None = None
    has_buffered_frames: bool = False
    """More of it has come than was given."""
