"""Answers that break off, where a call asks for a complete one: others are asked until one is.

Nothing goes out before all of the answer is here: whoever is asked next begins anew.

An answer has broken off where its provider cut it, was silent for too long, sent what cannot be
read, or told an error in it. What a model declines, where a limit ends it and what is wrong with
the request are answers. Each attempt is bounded by its timers, and all of them by the call's own.
"""

import contextlib
from collections.abc import AsyncGenerator, Awaitable

import msgspec

from gateway.core import sse
from gateway.core.errors import Problem, ProblemError
from gateway.core.target import Account, Target
from gateway.core.usage import Usage
from gateway.upstream.failover import Upstream
from gateway.upstream.relay import frames, watching
from gateway.upstream.retry import Candidate, candidates
from gateway.upstream.upstream_request import UpstreamRequest, UpstreamResponse

_MOST = 64_000_000
"""Bytes of an answer that is held back, as of a whole one."""
_PIECE = 64_000
"""Bytes that go out at once of what was held back: a client takes them one after the other."""
_ROUNDS = 4
"""Answers of one call that may break off."""
_TIMES = 2
"""How often one account is asked for the same answer after it broke off."""
_ASKED_WRONG = frozenset({"upstream_rejected", "upstream_context"})
_NOBODY = frozenset({"overloaded", "no_target", "rate_limited"})
"""Kinds that say that nobody could be asked: what broke the answer off says more."""


async def begin(upstream: Upstream, job: UpstreamRequest) -> UpstreamResponse:
    """Get an answer that is past its commit point, as `Upstream.run` does.

    If all fail before that, accounts are asked once more, those first that were not asked yet. A
    whole answer that has no reason why it ended has failed too. Raises ProblemError.
    """
    asked: list[tuple[str, str]] = []
    job = msgspec.structs.replace(job, strict=True)

    def dialling(target: Target, account: Account) -> Awaitable[None] | None:
        asked.append((target.name, account.name))
        return job.dialling(target, account)

    try:
        return await upstream.run(msgspec.structs.replace(job, dialling=dialling))
    except ProblemError as error:
        if not _broken(error.problem) or error.problem.spent == "no":
            raise
        every = [one for one in candidates(job.plan, job.seat) if asked.count(_name(one)) < _TIMES]
        if not every:
            raise
    order = tuple(sorted(every, key=lambda one: asked.count(_name(one))))
    return await upstream.run(msgspec.structs.replace(job, order=order, aside=None))


async def hold(upstream: Upstream, job: UpstreamRequest, begun: UpstreamResponse) -> None:
    """Read a stream to its end; where it breaks off, another's from its beginning.

    `begun` becomes the answer that is whole, all of it ready to go out. Raises ProblemError with
    the last failure where none is.
    """
    broke: list[Candidate] = []
    try:
        while (problem := await _read(begun)) is not None:
            await _next(upstream, job, begun, problem, broke)
    except ProblemError as error:
        # An answer had begun: no SDK asks for a stream again that broke off.
        final = msgspec.structs.replace(error.problem, retryable=False)
        raise ProblemError(final) from None


async def held(begun: UpstreamResponse) -> AsyncGenerator[bytes]:
    """Yield the answer that `hold` has read, a few whole frames at once: a client may be slow."""
    piece, size, every = list[bytes](), 0, sse.frames(begun.first)
    for number, frame in enumerate(every, 1):
        piece.append(frame)
        size += len(frame)
        begun.ahead = number < len(every)
        if size >= _PIECE or not begun.ahead:
            yield b"".join(piece)
            piece, size = [], 0


async def _next(
    upstream: Upstream,
    job: UpstreamRequest,
    begun: UpstreamResponse,
    problem: Problem,
    broke: list[Candidate],
) -> None:
    """Ask another in place of one that broke off. Raises ProblemError where that cannot help."""
    if not _broken(problem):
        raise ProblemError(problem)
    broke.append(Candidate(begun.target, begun.account, begun.door))
    _fail(job, begun, problem)
    order = _others(job, broke)
    if not order or not upstream.grant(job, broke[-1], order[0]):
        raise ProblemError(problem)
    try:
        other = await upstream.run(msgspec.structs.replace(job, order=order, aside=None))
    except ProblemError as error:
        if error.problem.kind in _NOBODY:
            raise ProblemError(problem) from None
        raise
    for name in UpstreamResponse.__struct_fields__:
        setattr(begun, name, getattr(other, name))


def _others(job: UpstreamRequest, broke: list[Candidate]) -> tuple[Candidate, ...]:
    """Who may be asked next, best first; nobody where enough has broken off.

    Another target, then another account of the same one, and at last who has broken off, once more.
    """
    if len(broke) >= _ROUNDS:
        return ()
    times = [_name(one) for one in broke]
    last = broke[-1].target

    def rank(one: Candidate) -> tuple[int, bool]:
        return times.count(_name(one)), one.target.name == last.name

    every = [one for one in candidates(job.plan, job.seat) if times.count(_name(one)) < _TIMES]
    return tuple(sorted(every, key=rank))


def _name(one: Candidate) -> tuple[str, str]:
    return one.target.name, one.account.name


async def _read(begun: UpstreamResponse) -> Problem | None:
    """Hold all of a stream; what broke it off, where something did."""
    parts, size = list[bytes](), 0
    try:
        async with contextlib.aclosing(frames(begun, watching(begun))) as source:
            async for data in source:
                parts.append(data)
                size += len(data)
                if size > _MOST:
                    message = f"The answer is larger than {_MOST:,} bytes, too large to hold back."
                    return Problem(kind="upstream_error", message=message, spent="maybe")
    except ProblemError as error:
        return error.problem
    finally:
        await begun.answer.close()
    begun.first, begun.rest = b"".join(parts), None
    return None


def _fail(job: UpstreamRequest, begun: UpstreamResponse, problem: Problem) -> None:
    """Put on record what an answer has used that nobody gets."""
    watch = watching(begun)
    usage = watch.usage or Usage()
    job.failing(msgspec.structs.replace(problem, usage=usage, heard=watch.heard, spent="maybe"))
    begun.watch = job.dialect.watch(job.body)  # of it nothing is told any more


def _broken(problem: Problem) -> bool:
    return problem.kind.startswith("upstream_") and problem.kind not in _ASKED_WRONG
