"""The request that a call makes upstream, and its response: an answer past its commit point."""

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
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
from gateway.upstream.large_work import LargeWork
from gateway.upstream.retry import Candidate, PinnedAccount

_KEEPALIVE_SECONDS = 15.0
"""Seconds between two keep-alives to a waiting client; see server/keepalive.py."""


class UpstreamAccount(Protocol):
    """The account of a call, to which the upstream package reports each attempt."""

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
        """Record that an attempt gave no answer."""
        ...

    def mark_ended(self, attempt: AttemptAccount) -> None:
        """Note that the answer of an attempt is there, while the gateway waits for another."""
        ...

    def attempt_finished(self, attempt: AttemptAccount) -> None:
        """Record that the call has the answer of an attempt."""
        ...


class UpstreamRequest(msgspec.Struct, frozen=True):
    """The request that a call makes upstream."""

    call: Call
    call_account: UpstreamAccount
    body: RequestBody
    translatable: TranslatableRequest
    dialect: Dialect
    plan: Plan
    tier: str
    lab: str
    """The lab whose retry budget pays for the call's retries."""
    started_at: float
    """When the call began, in seconds on the running loop's clock."""
    client_deadline: float = math.inf
    """When the client leaves if it has received nothing, in seconds on that clock."""
    excluded_targets: frozenset[str] = frozenset()
    """Names of targets that must not be asked."""
    candidates: tuple[Candidate, ...] = ()
    """The candidates that may be asked, in this order; if empty, all of the plan."""
    is_parallel: bool = False
    """True if the request runs beside another one of the call."""
    get_conversation: Callable[[], str] = str
    """Returns a hash that all calls of the conversation share; empty if nothing identifies it."""
    pinned_body: RequestBody | None = None
    """The body for `pinned_account`, which has the earlier answer that this body names."""
    pinned_account: PinnedAccount | None = None
    """The account that has what the call continues: a model's reasoning, or an earlier answer."""
    reasoning_notes: Mapping[str, ReasoningNote] = {}
    """Reasoning that the client did not send back, by the first tool call of its answer."""
    makes_objects: bool = False
    """True if the provider may make objects while it answers, such as a container for code."""
    records_reasoning: bool = False
    """True if the gateway notes the reasoning of the answer."""
    compared_question: object | None = None
    """The question that the semantic cache compares, if this answer may serve similar questions."""
    is_large: bool = False
    """True if work on the body takes long: it runs in a thread."""
    omits_reasoning: bool = False
    """True if no reasoning state is sent, since its maker refused it."""
    fetched_media: dict[str, FetchedMedia] = {}
    """Media that the gateway fetched for the call, by URL; all its attempts share them."""
    requires_complete: bool = False
    """True if the client gets an error rather than an answer without a reason for its end."""
    unfinished_responses: list["UpstreamResponse"] = []
    """Whole answers without a reason for their end, in the order in which they came."""

    def compute_deadline(self, timers: Timers) -> float:
        """Return when an answer must have ended, in seconds on the running loop's clock."""
        total_deadline = self.started_at + timers.total
        return (
            total_deadline if self.body.prompt.stream else min(total_deadline, self.client_deadline)
        )

    def compute_wait_deadline(self, timers: Timers) -> float:
        """Return when a wait for a provider must be over, on that clock.

        A client that retries by itself cannot do so once its stream has shown a keep-alive.
        """
        deadline = min(self.compute_deadline(timers), self.client_deadline)
        client_retries = self.call.client_timeout is not None and self.body.prompt.stream
        return (
            min(deadline, self.started_at + _KEEPALIVE_SECONDS - 1.0)
            if client_retries
            else deadline
        )


def compute_head_seconds(timers: Timers, client_seconds: float, *, stream: bool) -> float:
    """Return the seconds that a provider has for the head of its answer.

    A provider writes a whole answer before it sends the head, so that one has longer. But it has at
    most half of `client_seconds`, the time that the client waits: another target has the rest.
    """
    if stream or timers.whole_headers is None:
        return timers.headers
    return min(timers.whole_headers, max(timers.headers, client_seconds / 2))


def compute_call_times(call: Call, now: float, *, stream: bool) -> tuple[float, float]:
    """Return when a call began and when its client leaves, in seconds on the running loop's clock.

    `now` is on the clock of `call.started_at`: the time to read the call and to admit it counts
    too. The second time is a little before the client's timeout. It is infinite if the client names
    no timeout, or for a stream a timeout above 15 s: a stream gets a keep-alive every 15 s, so that
    its client waits on.
    """
    started_at = asyncio.get_running_loop().time() - (now - call.started_at)
    client_timeout = call.client_timeout
    if client_timeout is None or (stream and client_timeout > _KEEPALIVE_SECONDS):
        return started_at, math.inf
    return started_at, started_at + client_timeout - min(1.0, client_timeout / 10)


class UpstreamResponse(msgspec.Struct, kw_only=True):
    """An answer that is past its commit point: whole, or a stream whose first content has come."""

    target: Target
    account: Account
    written_body: WrittenBody
    provider_response: ProviderResponse
    attempt: InFlightAttempt
    """The attempt to which a break in the stream is reported."""
    attempt_account: AttemptAccount
    upstream_id: str | None
    dialect_name: str = ""
    """The dialect of the request to the provider."""
    reasoning_recorder: ReasoningRecorder | None = None
    """The recorder that read the answer's reasoning, if any."""
    dropped_names: Mapping[str, None] = {}
    """The provider's names of answer parts that the client does not get, so far."""
    body: bytes | None = None
    summary: ResponseSummary | None = None
    inspector: StreamInspector | None = None
    first_bytes: bytes = b""
    """Bytes of a stream that may be sent on at once."""
    remaining_chunks: AsyncIterator[bytes] | None = None
    large_work: LargeWork = msgspec.field(default_factory=LargeWork)
    """Reads frames of a stream that are too large for the event loop."""
    has_buffered_frames: bool = False
    """True if more of the answer is buffered than its reader has received."""

    @property
    def is_unfinished(self) -> bool:
        """True if it is whole, and its provider gives no reason for its end."""
        summary = self.summary
        return summary is not None and not (summary.complete or summary.is_pending)
