"""One upstream request of a call, up to its commit point: an answer begun, or a Problem."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

import msgspec

from gateway.core.errors import Problem, ProblemError
from gateway.core.target import Account, Provider, Timers
from gateway.dialects import StreamInspector
from gateway.dialects.stream_commit import broken
from gateway.routing.features import tokens
from gateway.upstream import credential_masking
from gateway.upstream import prepare_request as voices
from gateway.upstream.client import ProviderClient, ProviderResponse
from gateway.upstream.health import TargetHealth
from gateway.upstream.media_fetch import MediaFetcher
from gateway.upstream.prepare_request import Adapter
from gateway.upstream.provider_quota import Place, QuotaTracker, TokenEstimate
from gateway.upstream.rate_limit_headers import DAY, REFUSED, delay
from gateway.upstream.retry import Candidate
from gateway.upstream.upstream_request import UpstreamRequest, UpstreamResponse

_MOST = 64_000_000
"""Bytes of a whole answer; ten times what the longest outputs come to."""
_MOST_ERROR = 1_000_000
_MOST_BEFORE = 1_000_000
"""Bytes of a stream before its first content: signs of life and empty events."""
_ECHOES, _MOST_ECHO = 4, 16_000_000
"""How often a stream may repeat its request before that, as Responses does, and bytes of it all."""
CUT = Problem(
    kind="upstream_truncated",
    message="The provider ended the answer before it was complete.",
    spent="maybe",
)
"""The problem of an answer that has content, and no reason why it ended."""
_BETTER = b"x-request-id"
_IDS = frozenset({_BETTER, b"request-id"})
"""Headers that have a provider's name for a request."""
EARLY = 0.05
"""Seconds by which a timer may be before its time."""


class AttemptRunner:
    """Asks one candidate at a time."""

    def __init__(
        self,
        client: ProviderClient,
        quota: QuotaTracker,
        health: TargetHealth,
        *,
        ready: Callable[[Provider], Awaitable[None]],
        media: MediaFetcher | None,
        wall: Callable[[], float],
    ) -> None:
        """Without `media` nothing is fetched that a request has by URL."""
        self._client = client
        self._quota = quota
        self._health = health
        self._ready = ready
        self._media = media
        self._wall = wall

    async def __call__(self, job: UpstreamRequest, candidate: Candidate) -> UpstreamResponse:
        """One candidate; once more without what it has refused to go on from."""
        try:
            return await self.once(job, candidate)
        except ProblemError as error:
            problem = error.problem
        return await self.less(job, candidate, problem)

    async def less(
        self, job: UpstreamRequest, candidate: Candidate, problem: Problem
    ) -> UpstreamResponse:
        """Once more without what a candidate has refused; raises that where there is no such."""
        less = voices.less(job, candidate, problem)
        if less is None:
            raise ProblemError(problem)
        job.failing(problem)
        return await self.once(less, candidate)

    async def once(self, job: UpstreamRequest, candidate: Candidate) -> UpstreamResponse:
        """One request to a candidate. Raises ProblemError."""
        target, account = candidate.target, candidate.account
        provider, stream = target.provider, job.body.prompt.stream
        limits, time = provider.timers[job.tier], asyncio.get_running_loop().time
        end = min(job.began + limits.total, job.ends)
        if time() >= end:
            raise ProblemError(Problem(kind="upstream_timeout", message="The call took too long."))
        if provider.command:
            await self._ready(provider)
        if self._media is not None and voices.shows(job):
            job = await voices.filled(self._media, job, candidate)
        door, voice, headers, written, tail, ear = voices.say(job, candidate)
        if (recorded := job.dialling(target, account)) is not None:
            await recorded
        place = where(job, candidate)
        asked, quota = time(), self._quota
        sent = self._health.begin(place, stream=stream, listed=target.listed)
        ticket = quota.take(place, load(job, candidate), self._wall()) if quota.told else None

        try:
            answer = await self._client.send(
                provider,
                account,
                door,
                written.body,
                headers,
                limits,
                end,
                tail,
                partial(_again, job, candidate),
            )
            status = answer.status
            after = quota.note(place, answer.fields, status, self._wall(), ticket)
            begun = UpstreamResponse(
                target=target,
                account=account,
                written=written,
                answer=answer,
                sent=sent,
                upstream_id=_upstream_id(answer, account),
                door=candidate.door,
                ear=ear,
            )
            if status == 200 and not stream and (body := answer.end(_MOST)) is not None:
                _heard(begun, job, voice, body)  # it has come with its head, as most do
            else:
                until = min(asked + limits.first_content, job.ends)
                await _hear(begun, job, voice, limits, (until, job.deadline(limits)), after)
        except ProblemError as error:
            if _limits(error.problem):
                quota.refused(place, error.problem.retry_after, self._wall())
            if error.problem.kind == "upstream_timeout" and time() >= job.ends - EARLY:
                sent.left()  # its client had no more patience: that says nothing of the provider
            else:
                sent.failed(error.problem)
            raise
        except BaseException:
            sent.left()
            raise
        sent.good()
        glance = begun.glance
        if glance is not None and not glance.complete and not glance.pending:
            sent.failed(CUT)
        return begun


async def _hear(
    begun: UpstreamResponse,
    job: UpstreamRequest,
    voice: Adapter,
    limits: Timers,
    times: tuple[float, float],
    after: float | None,
) -> None:
    """Read an answer up to its commit point; `times` are until its first content, and its end."""
    answer, (until, deadline) = begun.answer, times
    try:
        if answer.status != 200:
            await _refused(answer, voice, begun.account, limits, deadline, after)
        if job.body.prompt.stream:
            await _begin(begun, job, voice, (limits.idle, until, deadline))
        else:
            body = await _collect(answer, limits, deadline, _MOST)
            _heard(begun, job, voice, body)
            await answer.close()
    except BaseException:
        await answer.close()
        raise


def _again(job: UpstreamRequest, candidate: Candidate, problem: Problem) -> Awaitable[None] | None:
    """A request is sent once more, and there is a row of each."""
    job.failing(problem)
    return job.dialling(candidate.target, candidate.account)


def where(job: UpstreamRequest, candidate: Candidate) -> Place:
    """Whose limits a candidate is under: provider, account, and model; counting has its own."""
    operation = job.dialect.operation
    if operation != "count_tokens":
        return candidate.place
    provider, account, model = candidate.place
    return provider, account, f"{model} {operation}"


def load(job: UpstreamRequest, candidate: Candidate) -> TokenEstimate:
    """What a call may take of a limit on tokens."""
    prompt = job.body.prompt
    return TokenEstimate(tokens(prompt), prompt.max_output or candidate.target.max_output or 0)


def _limits(problem: Problem) -> bool:
    """Whether a provider has said that an account asks too much, or when to come back."""
    limited, busy = "upstream_rate_limited", "upstream_overloaded"
    told = problem.retry_after is not None
    return problem.kind == limited or (problem.kind == busy and told)


async def _refused(
    answer: ProviderResponse,
    voice: Adapter,
    account: Account,
    limits: Timers,
    deadline: float,
    after: float | None,
) -> None:
    """Raise what a provider's error says, without the credential that it may quote."""
    body = credential_masking.body(account, await _collect(answer, limits, deadline, _MOST_ERROR))
    if after is None and answer.status in REFUSED:
        after = delay(body)
    problem = voice.read_problem(answer.status, body, after)
    if after is not None and after >= DAY:
        problem = msgspec.structs.replace(problem, lasting=True)  # nobody waits for that
    raise ProblemError(problem)


def _failed(account: Account, problem: Problem, watch: StreamInspector) -> ProblemError:
    """A stream that has told no content, with what it used as far as it has told that."""
    told = credential_masking.problem(account, problem)
    return ProblemError(msgspec.structs.replace(told, usage=watch.usage))


def _heard(begun: UpstreamResponse, job: UpstreamRequest, voice: Adapter, body: bytes) -> None:
    """Take a whole answer. Raises ProblemError if it is none, or incomplete for a strict call."""
    glance = voice.glance(body)
    problem = glance.problem
    if problem is None and job.strict and not glance.complete and not glance.pending:
        problem = CUT
    if problem is not None:
        told = credential_masking.problem(begun.account, problem)
        raise ProblemError(msgspec.structs.replace(told, usage=glance.usage, heard=glance.heard))
    begun.whole = body if glance.body is None else glance.body
    begun.glance = glance


async def _collect(answer: ProviderResponse, limits: Timers, deadline: float, most: int) -> bytes:
    whole = answer.rest()
    if whole is not None and len(whole) <= most:
        return whole
    parts, size = [whole or b""], len(whole or b"")
    async for data in answer.read(limits.idle, deadline):
        parts.append(data)
        size += len(data)
        if size > most:
            break
    if size > most:
        message = f"The answer of {answer.provider} is larger than {most:,} bytes."
        raise ProblemError(Problem(kind="upstream_error", message=message, spent="maybe"))
    return b"".join(parts)


async def _begin(
    begun: UpstreamResponse, job: UpstreamRequest, voice: Adapter, times: tuple[float, float, float]
) -> None:
    """Read a stream until its first content, of which `times` says the silence and the limits."""
    idle, limit, deadline = times
    name = begun.target.provider.name
    kind = begun.answer.header(b"content-type") or ""
    watch = voice.watch(job.body, begun.written)
    rest = begun.answer.read(idle, deadline)
    size, most = 0, _MOST_BEFORE + min(_ECHOES * len(begun.written.body), _MOST_ECHO)
    try:
        async with asyncio.timeout_at(limit):
            async for data in rest:
                size += len(data)
                first = watch.feed(data)
                if watch.problem is not None and not watch.committed:
                    raise _failed(begun.account, watch.problem, watch)
                if watch.committed:
                    begun.watch, begun.first, begun.rest = watch, first, rest
                    return
                if size > most:
                    what = f"more than {most:,} bytes without any content"
                    raise _failed(begun.account, broken(what), watch)
    except TimeoutError:
        message = f"{name} gave no content in time."
        late = Problem(kind="upstream_timeout", message=message, spent="maybe")
        raise _failed(begun.account, late, watch) from None
    first = watch.end()
    if watch.problem is not None and not watch.committed:
        raise _failed(begun.account, watch.problem, watch)
    if not watch.committed:
        events = kind.startswith("text/event-stream")
        what = "an empty stream" if events else f"{kind or 'no'} content"
        message = f"{name} sent {what} in place of an answer."
        cut = Problem(kind="upstream_truncated", message=message, spent="maybe", lasting=not events)
        raise _failed(begun.account, cut, watch)
    begun.watch, begun.first, begun.rest = watch, first, rest


def _upstream_id(answer: ProviderResponse, account: Account) -> str | None:
    found = b""
    for name, told in answer.fields:
        if name in _IDS and told:
            if name == _BETTER:
                found = told
                break
            found = found or told
    if not found:
        return None
    return credential_masking.text(account, found.decode("latin-1"))[:200]
