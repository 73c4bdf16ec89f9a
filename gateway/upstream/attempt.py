"""One upstream request of a call, up to its commit point: a begun answer, or a Problem."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, NoReturn

import msgspec

from gateway.core import json_size, log_probs, loss
from gateway.core.errors import Problem, ProblemError
from gateway.core.target import Provider, Timers
from gateway.dialects import ResponseSummary, StreamInspector, TargetDialect
from gateway.dialects.embeddings import OPERATION as EMBEDDINGS
from gateway.dialects.stream_frames import make_broken_problem
from gateway.routing.features import estimate_tokens
from gateway.upstream import credential_masking, prepare_request
from gateway.upstream.balance.member_load import MemberLoads
from gateway.upstream.client import ProviderClient, ProviderResponse
from gateway.upstream.health import TargetHealth
from gateway.upstream.large_work import LargeWork
from gateway.upstream.media_fetch import MediaFetcher
from gateway.upstream.prepare_request import Adapter
from gateway.upstream.provider_quota import QuotaTracker, TokenEstimate
from gateway.upstream.rate_limit_headers import DAY_SECONDS, REFUSAL_STATUSES, read_retry_delay
from gateway.upstream.retry import Candidate
from gateway.upstream.upstream_request import (
    UpstreamRequest,
    UpstreamResponse,
    compute_head_seconds,
)

_MAX_RESPONSE_BYTES = 40_000_000
"""Bytes of a whole answer: to read as many takes 42 ms, even if they are one string."""
_MAX_ERROR_BYTES = 1_000_000
_MAX_PREAMBLE_BYTES = 1_000_000
"""Bytes of a stream before its first content: keep-alives and empty events."""
_MAX_ECHOES, _MAX_ECHO_BYTES = 4, 16_000_000
"""The repeats of a request in a stream before that, as Responses sends them, and their bytes."""
TRUNCATED_PROBLEM = Problem(
    kind="upstream_truncated",
    message="The provider ended the answer before it was complete. If it never gives a reason for "
    "the end of its answers, the operator can set `finish: optional` for it.",
    spent="maybe",
)
"""The problem of an answer that has content, and no reason why it ended."""
_PREFERRED_ID_HEADER = b"x-request-id"
_REQUEST_ID_HEADERS = frozenset({_PREFERRED_ID_HEADER, b"request-id", b"x-amzn-requestid"})
"""Headers that have a provider's id of a request."""
_STREAM_TYPES = ("text/event-stream", "application/vnd.amazon.eventstream")
"""The content types of streams: server-sent events, and Amazon's own framing."""
TIMER_TOLERANCE = 0.05
"""Seconds by which a timer may fire early."""
_LAST_MOMENT = 0.005
"""Seconds before the end of a call's time in which no provider can answer any more."""


class AttemptRunner:
    """A runner that asks one candidate at a time."""

    def __init__(
        self,
        client: ProviderClient,
        quota: QuotaTracker,
        health: TargetHealth,
        loads: MemberLoads,
        *,
        wait_until_ready: Callable[[Provider], Awaitable[None]],
        media_fetcher: MediaFetcher | None,
        wall: Callable[[], float],
    ) -> None:
        """Without `media_fetcher`, the gateway fetches no media that a request gives by URL."""
        self._client = client
        self._quota = quota
        self._health = health
        self._loads = loads
        self._wait_until_ready = wait_until_ready
        self._media_fetcher = media_fetcher
        self._wall = wall
        self._large_work = LargeWork()

    async def __call__(self, request: UpstreamRequest, candidate: Candidate) -> UpstreamResponse:
        """Ask one candidate; ask again without the state that it refuses. Raises ProblemError."""
        try:
            return await self.send_once(request, candidate)
        except ProblemError as error:
            problem = error.problem
        return await self.retry_reduced(request, candidate, problem)

    async def retry_reduced(
        self, request: UpstreamRequest, candidate: Candidate, problem: Problem
    ) -> UpstreamResponse:
        """Ask once more without what a candidate has refused.

        Raises ProblemError with `problem` if there is no such part.
        """
        reduced_request = prepare_request.reduce_request(request, candidate, problem)
        if reduced_request is None:
            raise ProblemError(problem)
        return await self.send_once(reduced_request, candidate)

    def send_once(
        self, request: UpstreamRequest, candidate: Candidate
    ) -> Coroutine[Any, Any, UpstreamResponse]:
        """Send one request to a candidate. Raises ProblemError."""
        send = self._send_balanced if candidate.is_balanced else self._send
        return send(request, candidate)

    async def _send_balanced(
        self, request: UpstreamRequest, candidate: Candidate
    ) -> UpstreamResponse:
        """Send one request, which is a load of its candidate until the answer has ended."""
        attempt = self._loads.begin(candidate, stream=request.body.prompt.stream)
        try:
            response = await self._send(request, candidate)
        except BaseException:
            attempt.end()
            raise
        attempt.succeed()
        if response.inspector is None:
            attempt.end()
        else:
            response.provider_response = attempt.track(response.provider_response)
        return response

    async def _send(self, request: UpstreamRequest, candidate: Candidate) -> UpstreamResponse:
        target, account = candidate.target, candidate.account
        provider, stream = target.provider, request.body.prompt.stream
        timers, clock = provider.timers[request.tier], asyncio.get_running_loop().time
        deadline = min(request.started_at + timers.total, request.client_deadline)
        client_seconds = request.client_deadline - request.started_at
        head_seconds = compute_head_seconds(timers, client_seconds, stream=stream)
        if clock() + _LAST_MOMENT >= deadline:
            message = "The call reached its time limit. Send a smaller request, or try again."
            raise ProblemError(Problem(kind="upstream_timeout", message=message))
        if provider.command:
            await self._wait_until_ready(provider)
        if self._media_fetcher is not None and prepare_request.has_media(request):
            request = await prepare_request.fill_media(self._media_fetcher, request, candidate)
        prepared = await self._large_work.run(
            partial(prepare_request.prepare, request, candidate), is_large=request.is_large
        )
        call_account, is_parallel = request.call_account, request.is_parallel
        attempt_account = await call_account.attempt_started(
            target, account, is_parallel=is_parallel
        )

        async def record_resend(problem: Problem) -> None:
            nonlocal attempt_account
            call_account.attempt_failed(attempt_account, problem)
            attempt_account = await call_account.attempt_started(
                target, account, is_parallel=is_parallel
            )

        key, sent_at, quota = candidate.key, clock(), self._quota
        attempt = self._health.begin(key, stream=stream, is_listed=target.is_listed)
        snapshot = (
            quota.record_request(key, estimate_request(request, candidate), self._wall())
            if key in quota.reported_keys
            else None
        )

        try:
            provider_response = await self._client.send(
                provider,
                account,
                prepared.target_dialect,
                prepared.written_body.body,
                prepared.headers,
                timers,
                min(deadline, sent_at + head_seconds),
                prepared.url_suffix,
                record_resend,
            )
            status = provider_response.status
            retry_after = quota.record_response(
                key, provider_response.fields, status, self._wall(), snapshot
            )
            response = UpstreamResponse(
                target=target,
                account=account,
                written_body=prepared.written_body,
                provider_response=provider_response,
                attempt=attempt,
                attempt_account=attempt_account,
                upstream_id=read_upstream_id(provider_response),
                dialect_name=candidate.dialect_name,
                reasoning_recorder=prepared.recorder,
                dropped_names=prepared.dropped_names,
                large_work=self._large_work,
            )
            if (
                status == 200
                and not stream
                and (body := provider_response.take_whole(_MAX_RESPONSE_BYTES)) is not None
            ):
                # It has come with its head, as most do.
                await self._accept_body(response, request, prepared.adapter, body)
            else:
                first_content_deadline = min(
                    sent_at + timers.first_content, request.client_deadline
                )
                await self._read_response(
                    response,
                    request,
                    prepared.target_dialect,
                    prepared.adapter,
                    timers,
                    (first_content_deadline, request.compute_deadline(timers)),
                    retry_after,
                )
        except ProblemError as error:
            if _is_rate_limited(error.problem):
                quota.record_refusal(key, error.problem.retry_after, self._wall())
            if (
                error.problem.kind == "upstream_timeout"
                and clock() >= request.client_deadline - TIMER_TOLERANCE
            ):
                # Its client had no more patience: that says nothing about the provider.
                attempt.abandon()
            else:
                attempt.fail(error.problem)
            call_account.attempt_failed(attempt_account, error.problem)
            raise
        except BaseException:
            attempt.abandon()
            raise
        attempt.succeed()
        if response.is_unfinished:
            self._keep_unfinished(response, request)
        return response

    def _keep_unfinished(self, response: UpstreamResponse, request: UpstreamRequest) -> NoReturn:
        """Keep a whole answer without a reason for its end until other targets were asked.

        Raises ProblemError, so that the call goes on with another target if it has one.
        """
        response.attempt.fail(TRUNCATED_PROBLEM)  # as for a stream that breaks off
        request.call_account.mark_ended(response.attempt_account)
        request.unfinished_responses.append(response)
        raise ProblemError(make_unfinished_problem(response))

    async def _read_response(
        self,
        response: UpstreamResponse,
        request: UpstreamRequest,
        target_dialect: TargetDialect,
        adapter: Adapter,
        timers: Timers,
        deadlines: tuple[float, float],
        retry_after: float | None,
    ) -> None:
        """Read an answer up to its commit point. Raises ProblemError.

        `deadlines` are those of its first content and of its end.
        """
        provider_response, (first_content_deadline, deadline) = (
            response.provider_response,
            deadlines,
        )
        try:
            if provider_response.status != 200:
                body = await collect_body(provider_response, timers, deadline, _MAX_ERROR_BYTES)
                body = target_dialect.complete_error(body, provider_response.get_header)
                _raise_refusal(provider_response, body, adapter, retry_after)
            if request.body.prompt.stream:
                await _read_until_commit(
                    response, request, adapter, (timers.idle, first_content_deadline, deadline)
                )
            else:
                body = await collect_body(provider_response, timers, deadline, _MAX_RESPONSE_BYTES)
                await self._accept_body(response, request, adapter, body)
                await provider_response.close()
        except BaseException:
            await provider_response.close()
            raise

    async def _accept_body(
        self, response: UpstreamResponse, request: UpstreamRequest, adapter: Adapter, body: bytes
    ) -> None:
        """Take a whole answer.

        Raises ProblemError if it has failed, or has too many values to be read.
        """

        def read() -> tuple[bytes, ResponseSummary]:
            readable_body = _make_readable(response, request, body)
            return readable_body, adapter.summarize(readable_body)

        readable_body, summary = await self._large_work.run(read, is_large=json_size.is_large(body))
        if summary.problem is not None:
            masked_problem = credential_masking.mask_problem(
                response.provider_response.secret, summary.problem
            )
            raise ProblemError(
                msgspec.structs.replace(
                    masked_problem, usage=summary.usage, content_bytes=summary.content_bytes
                )
            )
        response.body = body if summary.body is None else summary.body
        response.summary = summary
        if summary.body is not None and readable_body is not body:
            response.dropped_names = {**response.dropped_names, loss.LOG_PROBS: None}


def make_unfinished_problem(response: UpstreamResponse) -> Problem:
    """Return why a whole answer that has no reason for its end may not be one, with its usage."""
    summary = response.summary
    if summary is None:
        return TRUNCATED_PROBLEM
    return msgspec.structs.replace(
        TRUNCATED_PROBLEM, usage=summary.usage, content_bytes=summary.content_bytes
    )


def _make_readable(response: UpstreamResponse, request: UpstreamRequest, body: bytes) -> bytes:
    """Return an answer that has few enough values to be read. Raises ProblemError.

    Without its log probabilities, most answers with too many have. Vectors pass unread to a client
    of the same dialect, however many they are.
    """
    if request.dialect.operation == EMBEDDINGS and response.dialect_name == request.dialect.name:
        return body
    members = log_probs.MEMBERS.get(response.dialect_name, ())
    readable_body = log_probs.make_readable(body, members)
    if readable_body is None:
        message = (
            f"The answer of {response.target.provider.name} has more than"
            f" {json_size.MAX_VALUES:,} JSON values beside log probabilities, or more than"
            f" {json_size.COMPLEX_TEXT_BOUND}. Ask for less in one request, or for a stream."
        )
        raise ProblemError(Problem(kind="upstream_error", message=message, spent="maybe"))
    return readable_body


def estimate_request(request: UpstreamRequest, candidate: Candidate) -> TokenEstimate:
    """Estimate the tokens that a call may take of a limit."""
    prompt = request.body.prompt
    return TokenEstimate(
        estimate_tokens(prompt), prompt.max_output or candidate.target.max_output or 0
    )


def _is_rate_limited(problem: Problem) -> bool:
    """Return True if a provider limits an account's rate, or is overloaded and says until when."""
    limited, busy = "upstream_rate_limited", "upstream_overloaded"
    has_retry_after = problem.retry_after is not None
    return problem.kind == limited or (problem.kind == busy and has_retry_after)


def _raise_refusal(
    provider_response: ProviderResponse, body: bytes, adapter: Adapter, retry_after: float | None
) -> NoReturn:
    """Raise the problem in a provider's error, without the credential that it may quote."""
    body, status = (
        credential_masking.mask_body(provider_response.secret, body),
        provider_response.status,
    )
    if retry_after is None and status in REFUSAL_STATUSES:
        retry_after = read_retry_delay(body)
    problem = adapter.read_problem(status, body, retry_after)
    if retry_after is not None and retry_after >= DAY_SECONDS:
        problem = msgspec.structs.replace(problem, is_permanent=True)  # nobody waits for that
    raise ProblemError(problem)


def _build_stream_error(
    response: UpstreamResponse, problem: Problem, inspector: StreamInspector
) -> ProblemError:
    """Return the error of a stream without content, with its usage as far as it has stated that."""
    masked_problem = credential_masking.mask_problem(response.provider_response.secret, problem)
    return ProblemError(msgspec.structs.replace(masked_problem, usage=inspector.usage))


async def collect_body(
    provider_response: ProviderResponse, timers: Timers, deadline: float, max_bytes: int
) -> bytes:
    """Read a whole body. Raises ProblemError if it breaks off or has more than `max_bytes`."""
    buffered_body = provider_response.take_buffered()
    if buffered_body is not None and len(buffered_body) <= max_bytes:
        return buffered_body
    parts, size = [buffered_body or b""], len(buffered_body or b"")
    async for data in provider_response.read(timers.idle, deadline):
        parts.append(data)
        size += len(data)
        if size > max_bytes:
            break
    if size > max_bytes:
        message = f"The answer of {provider_response.provider} is larger than {max_bytes:,} bytes."
        raise ProblemError(Problem(kind="upstream_error", message=message, spent="maybe"))
    return b"".join(parts)


async def _read_until_commit(
    response: UpstreamResponse,
    request: UpstreamRequest,
    adapter: Adapter,
    bounds: tuple[float, float, float],
) -> None:
    """Read a stream until its first content. Raises ProblemError.

    `bounds` are the seconds of silence, the deadline of the first content, and that of the answer.
    """
    idle, first_content_deadline, deadline = bounds
    name = response.target.provider.name
    content_type = response.provider_response.get_header(b"content-type") or ""
    inspector = adapter.inspect_stream(request.body, response.written_body)
    chunks = response.provider_response.read(idle, deadline)
    size = 0
    max_bytes = _MAX_PREAMBLE_BYTES + min(
        _MAX_ECHOES * len(response.written_body.body), _MAX_ECHO_BYTES
    )
    try:
        async with asyncio.timeout_at(first_content_deadline):
            async for data in chunks:
                size += len(data)
                first_bytes = await response.large_work.run(
                    partial(inspector.feed, data), is_large=size > json_size.LARGE_FRAME_BYTES
                )
                if inspector.problem is not None and not inspector.committed:
                    raise _build_stream_error(response, inspector.problem, inspector)
                if inspector.committed:
                    response.inspector = inspector
                    response.first_bytes = first_bytes
                    response.remaining_chunks = chunks
                    return
                if size > max_bytes:
                    description = f"more than {max_bytes:,} bytes without any content"
                    raise _build_stream_error(response, make_broken_problem(description), inspector)
    except TimeoutError:
        message = f"{name} gave no content in time."
        timeout_problem = Problem(kind="upstream_timeout", message=message, spent="maybe")
        raise _build_stream_error(response, timeout_problem, inspector) from None
    first_bytes = inspector.end()
    if inspector.problem is not None and not inspector.committed:
        raise _build_stream_error(response, inspector.problem, inspector)
    if not inspector.committed:
        is_event_stream = content_type.startswith(_STREAM_TYPES)
        description = "an empty stream" if is_event_stream else f"{content_type or 'no'} content"
        message = f"{name} sent {description} in place of an answer."
        truncated_problem = Problem(
            kind="upstream_truncated",
            message=message,
            spent="maybe",
            is_permanent=not is_event_stream,
        )
        raise _build_stream_error(response, truncated_problem, inspector)
    response.inspector = inspector
    response.first_bytes = first_bytes
    response.remaining_chunks = chunks


def read_upstream_id(provider_response: ProviderResponse) -> str | None:
    """Return the provider's id of a request, from the headers of its answer."""
    request_id = b""
    for name, value in provider_response.fields:
        if name in _REQUEST_ID_HEADERS and value:
            if name == _PREFERRED_ID_HEADER:
                request_id = value
                break
            request_id = request_id or value
    if not request_id:
        return None
    return credential_masking.mask_text(provider_response.secret, request_id.decode("latin-1"))[
        :200
    ]
