"""One upstream request of a call, up to its commit point: an answer begun, or a Problem."""

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

import msgspec

from gateway.core.call import Call
from gateway.core.decision import Plan
from gateway.core.problem import Problem, ProblemError
from gateway.core.target import Account, Provider, Target, Timers, timers
from gateway.dialects import Body, Dialect, Glance, Watch, Written
from gateway.upstream.client import Answer, Client
from gateway.upstream.retry import Candidate, again, candidates

_MOST = 64_000_000
"""Bytes of a whole answer; ten times what the longest outputs come to."""
_MOST_ERROR = 1_000_000


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What a call asks of upstream."""

    call: Call
    body: Body
    dialect: Dialect
    plan: Plan
    tier: str
    began: float
    """When the call began, on the running loop's clock, seconds."""
    dialling: Callable[[Target, Account], None]
    """Told before each request is sent."""
    failing: Callable[[Problem], None]
    """Told of each attempt that gave no answer."""


class Begun(msgspec.Struct, kw_only=True):
    """An answer that is past its commit point: whole, or a stream whose first content is here."""

    target: Target
    account: Account
    written: Written
    answer: Answer
    upstream_id: str | None
    whole: bytes | None = None
    glance: Glance | None = None
    watch: Watch | None = None
    first: bytes = b""
    """What a stream may send on at once."""
    rest: AsyncIterator[bytes] | None = None


class Upstream:
    """Runs calls against providers."""

    def __init__(
        self,
        client: Client,
        *,
        ready: Callable[[Provider], Awaitable[None]],
        sleep: Callable[[float], Awaitable[None]],
        jitter: Callable[[], float],
    ) -> None:
        self._client = client
        self._ready = ready
        self._sleep = sleep
        self._jitter = jitter

    async def run(self, job: Job) -> Begun:
        """The first answer that the plan gives. Raises ProblemError when none does."""
        order = candidates(job.plan.targets)
        try:
            return await self._attempt(job, order[0])
        except ProblemError as error:
            first = error.problem
            job.failing(first)

        async def attempt(candidate: Candidate) -> Begun:
            try:
                return await self._attempt(job, candidate)
            except ProblemError as error:
                job.failing(error.problem)
                raise

        return await again(attempt, order, first, sleep=self._sleep, jitter=self._jitter)

    async def _attempt(self, job: Job, candidate: Candidate) -> Begun:
        target, account = candidate.target, candidate.account
        provider = target.provider
        limits = timers(job.tier, provider.timeouts)
        deadline = job.began + limits.total
        if asyncio.get_running_loop().time() >= deadline:
            raise ProblemError(Problem(kind="upstream_timeout", message="The call took too long."))
        if provider.command:
            await self._ready(provider)
        written = job.dialect.write(job.body, target)
        job.dialling(target, account)
        answer = await self._client.send(
            provider,
            account,
            job.dialect,
            written.body,
            job.call.headers,
            limits,
            deadline,
            query=job.call.query,
        )
        try:
            begun = Begun(
                target=target,
                account=account,
                written=written,
                answer=answer,
                upstream_id=_upstream_id(answer, account),
            )
            if answer.status != 200:
                await _refused(answer, job, account, limits, deadline)
            if job.body.prompt.stream:
                await _begin(begun, job, limits, deadline)
            else:
                await _whole(begun, job, limits, deadline)
        except BaseException:
            await answer.close()
            raise
        return begun


async def _refused(
    answer: Answer, job: Job, account: Account, limits: Timers, deadline: float
) -> None:
    """Raise what a provider's error says, without the secret that it may quote."""
    body = without(account, await _collect(answer, limits, deadline, _MOST_ERROR))
    raise ProblemError(job.dialect.read_problem(answer.status, body, _retry_after(answer)))


def without(account: Account, data: bytes) -> bytes:
    """What a provider says, without the credential that it may quote."""
    secret = account.secret.encode()
    return data.replace(secret, b"***") if secret and secret in data else data


def _clean(account: Account, problem: Problem) -> ProblemError:
    """The error of a provider that answered with 200."""
    if problem.body is not None:
        problem = msgspec.structs.replace(problem, body=without(account, problem.body))
    return ProblemError(problem)


async def _whole(begun: Begun, job: Job, limits: Timers, deadline: float) -> None:
    body = await _collect(begun.answer, limits, deadline, _MOST)
    glance = job.dialect.glance(body)
    if glance.problem is not None:
        raise _clean(begun.account, glance.problem)
    begun.whole, begun.glance = without(begun.account, body), glance
    await begun.answer.close()


async def _collect(answer: Answer, limits: Timers, deadline: float, most: int) -> bytes:
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


async def _begin(begun: Begun, job: Job, limits: Timers, deadline: float) -> None:
    """Read a stream until its first content."""
    name = begun.target.provider.name
    kind = begun.answer.header(b"content-type") or ""
    watch = job.dialect.watch(job.body)
    rest = begun.answer.read(limits.idle, deadline)
    limit = asyncio.get_running_loop().time() + limits.first_content
    try:
        async with asyncio.timeout_at(limit):
            async for data in rest:
                first = watch.feed(data)
                if watch.problem is not None and not watch.committed:
                    raise _clean(begun.account, watch.problem)
                if watch.committed:
                    begun.watch, begun.first, begun.rest = watch, first, rest
                    return
    except TimeoutError:
        message = f"{name} gave no content in time."
        raise ProblemError(
            Problem(kind="upstream_timeout", message=message, spent="maybe")
        ) from None
    first = watch.end()
    if watch.problem is not None and not watch.committed:
        raise _clean(begun.account, watch.problem)
    if not watch.committed:
        what = (
            "an empty stream" if kind.startswith("text/event-stream") else f"{kind or 'no'} content"
        )
        message = f"{name} sent {what} in place of an answer."
        raise ProblemError(Problem(kind="upstream_truncated", message=message, spent="maybe"))
    begun.watch, begun.first, begun.rest = watch, first, rest


def _upstream_id(answer: Answer, account: Account) -> str | None:
    value = answer.header(b"x-request-id") or answer.header(b"request-id")
    if not value:
        return None
    return value.replace(account.secret, "***")[:200] if account.secret else value[:200]


def _retry_after(answer: Answer) -> float | None:
    headers: Mapping[bytes, float] = {b"retry-after-ms": 0.001, b"retry-after": 1.0}
    for name, unit in headers.items():
        try:
            seconds = float(answer.header(name) or "") * unit
        except ValueError:
            continue
        if 0 <= seconds < math.inf:
            return seconds
    return None
