"""Answers that break off, where a call asks for a complete one: others are asked until one is.

    hold    nothing goes out before all of it is here: whoever is asked next begins anew
    live    what comes goes out; where it breaks off, only an answer that begins in the very same
            words may go on from there (dialects.splice)

An answer has broken off where its provider cut it, was silent for too long, sent what cannot be
read, or told an error in it. What a model declines, where a limit ends it and what is wrong with
the request are answers. Each attempt is bounded by its timers, and all of them by the call's own.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable

import msgspec

from gateway.core import sse
from gateway.core.problem import Problem, ProblemError
from gateway.core.target import Account, Target
from gateway.core.usage import Usage
from gateway.dialects import splice
from gateway.upstream.job import Begun, Job
from gateway.upstream.relay import frames, shows_problem, watching
from gateway.upstream.retry import Candidate, candidates
from gateway.upstream.run import Upstream

_MOST = 64_000_000
"""Bytes of an answer that is held back, as of a whole one."""
_PIECE = 64_000
"""Bytes that go out at once of what was held back: a client takes them one after the other."""
_SHOWN = 8_000_000
"""Bytes of what was shown that are kept: what is longer is not gone on with."""
_LONG = 200_000
"""Bytes of both answers above which they are compared beside the loop: some milliseconds."""
_ROUNDS = 4
"""Answers of one call that may break off."""
_TIMES = 2
"""How often one account is asked for the same answer after it broke off."""
_ASKED_WRONG = frozenset({"upstream_rejected", "upstream_context"})
_NOBODY = frozenset({"overloaded", "no_target", "rate_limited"})
"""Kinds that say that nobody could be asked: what broke the answer off says more."""
_APART = Problem(
    kind="upstream_truncated",
    message=(
        "The answer broke off, and no other that was asked for goes on in the same words. "
        "Send the call again; `x-tiergate-complete: hold` shows an answer once it is whole."
    ),
    spent="maybe",
)


async def begin(upstream: Upstream, job: Job) -> Begun:
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


async def hold(upstream: Upstream, job: Job, begun: Begun) -> None:
    """Read a stream to its end; where it breaks off, another's from its beginning.

    `begun` becomes the answer that is whole, all of it ready to go out. Raises ProblemError with
    the last failure where none is.
    """
    broke: list[Candidate] = []
    try:
        while (problem := await _read(job, begun)) is not None:
            await _next(upstream, job, begun, problem, broke, alike=False)
    except ProblemError as error:
        # An answer had begun: no SDK asks for a stream again that broke off.
        final = msgspec.structs.replace(error.problem, retryable=False)
        raise ProblemError(final) from None


async def live(upstream: Upstream, job: Job, begun: Begun) -> AsyncGenerator[bytes]:
    """A stream as it comes; where it breaks off, the rest of another that begins as it did.

    `begun` becomes the answer that is whole. Raises ProblemError where there is none.
    """
    shown, size = list[bytes](), 0
    try:
        async with contextlib.aclosing(_sound(job, begun)) as source:
            async for data in source:
                size += len(data)
                shown.append(data)
                if size > _SHOWN:
                    shown.clear()
                yield data
        return
    except ProblemError as error:
        problem = error.problem
    if not _broken(problem) or size > _SHOWN:
        raise ProblemError(problem)
    rest = await _rest(upstream, job, begun, problem, b"".join(shown))
    if job.dialect.comments:
        yield b": x-tiergate-model: %b\n\n" % begun.target.name.encode("ascii", "replace")
    async for data in _pieces(begun, rest):
        yield data


def held(begun: Begun) -> AsyncGenerator[bytes]:
    """The answer that `hold` has read."""
    return _pieces(begun, begun.first)


async def _pieces(begun: Begun, data: bytes) -> AsyncGenerator[bytes]:
    """Whole frames, few enough at once for a slow client."""
    piece, size, every = list[bytes](), 0, sse.frames(data)
    for number, frame in enumerate(every, 1):
        piece.append(frame)
        size += len(frame)
        begun.ahead = number < len(every)
        if size >= _PIECE or not begun.ahead:
            yield b"".join(piece)
            piece, size = [], 0


async def _rest(
    upstream: Upstream, job: Job, begun: Begun, problem: Problem, shown: bytes
) -> bytes:
    """What is to follow what was shown, from an answer that is whole."""
    broke: list[Candidate] = []
    found: Problem | None = problem
    await begun.answer.close()
    while found is not None:
        await _next(upstream, job, begun, found, broke, alike=True)
        found = await _read(job, begun)
    if len(shown) + len(begun.first) > _LONG:
        rest = await asyncio.to_thread(splice.rest, job.dialect, shown, begun.first)
    else:
        rest = splice.rest(job.dialect, shown, begun.first)
    if rest is None:  # it was as long in coming, and another would hardly say the same either
        _fail(job, begun, _APART)
        raise ProblemError(_APART)
    begun.spliced = True
    return rest


async def _next(
    upstream: Upstream,
    job: Job,
    begun: Begun,
    problem: Problem,
    broke: list[Candidate],
    *,
    alike: bool,
) -> None:
    """Ask another in place of one that broke off. Raises ProblemError where that cannot help."""
    if not _broken(problem):
        raise ProblemError(problem)
    broke.append(Candidate(begun.target, begun.account, begun.door))
    _fail(job, begun, problem)
    order = others(job, broke, alike=alike)
    if not order or not upstream.grant(job, broke[-1], order[0]):
        raise ProblemError(problem)
    try:
        other = await upstream.run(msgspec.structs.replace(job, order=order, aside=None))
    except ProblemError as error:
        if error.problem.kind in _NOBODY:
            raise ProblemError(problem) from None
        raise
    for name in Begun.__struct_fields__:
        setattr(begun, name, getattr(other, name))


def others(job: Job, broke: list[Candidate], *, alike: bool) -> tuple[Candidate, ...]:
    """Who may be asked next, best first; nobody where enough has broken off.

    Another target, then another account of the same one, and at last who has broken off, once more.
    `alike`: the model first whose words were shown, which is the likeliest to say the same.
    """
    if len(broke) >= _ROUNDS:
        return ()
    times = [_name(one) for one in broke]
    first, last = broke[0].target, broke[-1].target

    def rank(one: Candidate) -> tuple[int, bool]:
        if alike:
            return times.count(_name(one)), one.target.model != first.model
        return times.count(_name(one)), one.target.name == last.name

    every = [one for one in candidates(job.plan, job.seat) if times.count(_name(one)) < _TIMES]
    return tuple(sorted(every, key=rank))


def _name(one: Candidate) -> tuple[str, str]:
    return one.target.name, one.account.name


async def _read(job: Job, begun: Begun) -> Problem | None:
    """Hold all of a stream; what broke it off, where something did."""
    parts, size = list[bytes](), 0
    try:
        async with contextlib.aclosing(_sound(job, begun)) as source:
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


async def _sound(job: Job, begun: Begun) -> AsyncGenerator[bytes]:
    """A stream up to what breaks it off: neither an error nor what cannot be read is in it.

    Raises ProblemError there.
    """
    watch = watching(begun)
    async with contextlib.aclosing(frames(begun, watch)) as source:
        async for data in source:
            if watch.problem is None:
                yield data
                continue
            every = sse.frames(data)
            if shows_problem(every[-1], job.dialect, job.body):
                every.pop()
            if every:
                yield b"".join(every)


def _fail(job: Job, begun: Begun, problem: Problem) -> None:
    """Put on record what an answer has used that nobody gets."""
    watch = watching(begun)
    usage = watch.usage or Usage()
    job.failing(msgspec.structs.replace(problem, usage=usage, heard=watch.heard, spent="maybe"))
    begun.watch = job.dialect.watch(job.body)  # of it nothing is told any more


def _broken(problem: Problem) -> bool:
    return problem.kind.startswith("upstream_") and problem.kind not in _ASKED_WRONG
