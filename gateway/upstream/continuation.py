"""Ask other candidates if an answer breaks off, for calls that want a complete one.

Nothing goes out before the whole answer is here: the next candidate begins anew.

An answer has broken off if its provider cut it, was silent for too long, sent something unreadable,
or reported an error in it. If a model declines, a limit ends the answer or the request is at fault,
that is an answer. Each attempt is bounded by its timers, and all of them by the call's own.
"""

import contextlib
from collections.abc import AsyncGenerator

import msgspec

from gateway.core import sse
from gateway.core.errors import Problem, ProblemError
from gateway.core.usage import Usage
from gateway.upstream.failover import Upstream
from gateway.upstream.relay import get_inspector, iterate_frames
from gateway.upstream.retry import Candidate
from gateway.upstream.upstream_request import UpstreamRequest, UpstreamResponse

_MAX_BUFFERED_BYTES = 64_000_000
"""Bytes of an answer that the gateway holds back at most, the same as for a whole one."""
_WRITE_BYTES = 64_000
"""Bytes of a held answer that go out at once: a client takes them one after the other."""
_MAX_BROKEN_ANSWERS = 4
"""The number of broken answers after which a call gives up."""
_MAX_ACCOUNT_ATTEMPTS = 2
"""The number of times that one account may be asked for the same answer."""
_REQUEST_FAULT_KINDS = frozenset({"upstream_rejected", "upstream_context"})
_UNAVAILABLE_KINDS = frozenset({"overloaded", "no_target", "rate_limited"})
"""Kinds that say that nobody could be asked: the reason for the break says more."""


async def start_response(upstream: Upstream, request: UpstreamRequest) -> UpstreamResponse:
    """Get an answer that is past its commit point, as `Upstream.run` does.

    If all candidates fail before that, ask accounts once more, those first that were not asked yet.
    A whole answer without a reason for its end has failed too. Raises ProblemError.
    """
    request = msgspec.structs.replace(request, requires_complete=True)
    try:
        return await upstream.run(request)
    except ProblemError as error:
        if not is_broken_off(error.problem) or error.problem.spent == "no":
            raise
        asked_accounts = [
            (attempt.target.name, attempt.account.name) for attempt in request.call_account.attempts
        ]
        open_candidates = [
            candidate
            for candidate in upstream.list_candidates(request)
            if asked_accounts.count(_get_account_key(candidate)) < _MAX_ACCOUNT_ATTEMPTS
        ]
        if not open_candidates:
            raise
    ordered_candidates = tuple(
        sorted(
            open_candidates, key=lambda candidate: asked_accounts.count(_get_account_key(candidate))
        )
    )
    return await upstream.run(msgspec.structs.replace(request, candidates=ordered_candidates))


async def complete_response(
    upstream: Upstream, request: UpstreamRequest, response: UpstreamResponse
) -> None:
    """Read a stream to its end; if it breaks off, read another's from its beginning.

    `response` becomes the answer that is whole, all of it ready to go out. Raises ProblemError with
    the last failure if no answer is whole.
    """
    broken_candidates: list[Candidate] = []
    try:
        while (problem := await _read_stream(response)) is not None:
            await _replace_response(upstream, request, response, problem, broken_candidates)
    except ProblemError as error:
        # An answer had begun, and no SDK retries a stream that broke off.
        final_problem = msgspec.structs.replace(error.problem, retryable=False)
        raise ProblemError(final_problem) from None


async def iterate_buffered(response: UpstreamResponse) -> AsyncGenerator[bytes]:
    """Yield what `complete_response` has read, a few whole frames at once: a client may be slow."""
    batch: list[bytes] = []
    size, all_frames = 0, sse.split_frames(response.first_bytes)
    for frame_count, frame in enumerate(all_frames, 1):
        batch.append(frame)
        size += len(frame)
        response.has_buffered_frames = frame_count < len(all_frames)
        if size >= _WRITE_BYTES or not response.has_buffered_frames:
            yield b"".join(batch)
            batch, size = [], 0


async def _replace_response(
    upstream: Upstream,
    request: UpstreamRequest,
    response: UpstreamResponse,
    problem: Problem,
    broken_candidates: list[Candidate],
) -> None:
    """Ask another candidate in place of a broken answer.

    Raises ProblemError if that cannot help.
    """
    if not is_broken_off(problem):
        raise ProblemError(problem)
    broken_candidates.append(Candidate(response.target, response.account, response.dialect_name))
    _record_failure(request, response, problem)
    candidates = _list_replacements(upstream.list_candidates(request), broken_candidates)
    if not candidates or not upstream.grant_retry(request, broken_candidates[-1], candidates[0]):
        raise ProblemError(problem)
    try:
        next_response = await upstream.run(msgspec.structs.replace(request, candidates=candidates))
    except ProblemError as error:
        if error.problem.kind in _UNAVAILABLE_KINDS:
            raise ProblemError(problem) from None
        raise
    for name in UpstreamResponse.__struct_fields__:
        setattr(response, name, getattr(next_response, name))


def _list_replacements(
    candidates: list[Candidate], broken_candidates: list[Candidate]
) -> tuple[Candidate, ...]:
    """Return the candidates to ask next, best first; none after too many broken answers.

    First comes another target or replica, then another account of the same one, and last a
    candidate whose answer broke off.
    """
    if len(broken_candidates) >= _MAX_BROKEN_ANSWERS:
        return ()
    broken_accounts = [_get_account_key(candidate) for candidate in broken_candidates]
    last_candidate = broken_candidates[-1]

    def rank(candidate: Candidate) -> tuple[int, bool]:
        count = broken_accounts.count(_get_account_key(candidate))
        return count, candidate.is_same_place(last_candidate)

    open_candidates = [
        candidate
        for candidate in candidates
        if broken_accounts.count(_get_account_key(candidate)) < _MAX_ACCOUNT_ATTEMPTS
    ]
    return tuple(sorted(open_candidates, key=rank))


def _get_account_key(candidate: Candidate) -> tuple[str, str]:
    return candidate.target.name, candidate.account.name


async def _read_stream(response: UpstreamResponse) -> Problem | None:
    """Hold all of a stream; return the problem that broke it off, or None."""
    parts: list[bytes] = []
    size = 0
    try:
        async with contextlib.aclosing(iterate_frames(response, get_inspector(response))) as source:
            async for data in source:
                parts.append(data)
                size += len(data)
                if size > _MAX_BUFFERED_BYTES:
                    message = (
                        f"The answer is larger than {_MAX_BUFFERED_BYTES:,} bytes,"
                        " too large to hold back."
                    )
                    return Problem(kind="upstream_error", message=message, spent="maybe")
    except ProblemError as error:
        return error.problem
    finally:
        await response.provider_response.close()
    response.first_bytes, response.remaining_chunks = b"".join(parts), None
    return None


def _record_failure(request: UpstreamRequest, response: UpstreamResponse, problem: Problem) -> None:
    """Record the usage of an answer that nobody gets."""
    inspector = get_inspector(response)
    usage = inspector.usage or Usage()
    request.call_account.attempt_failed(
        response.attempt_account,
        msgspec.structs.replace(
            problem, usage=usage, content_bytes=inspector.content_bytes, spent="maybe"
        ),
    )
    response.inspector = request.dialect.inspect_stream(
        request.body
    )  # a new one: the usage of the old one is on record


def is_broken_off(problem: Problem) -> bool:
    """Return True if a problem broke an answer off, and another candidate may give it whole."""
    return problem.kind.startswith("upstream_") and problem.kind not in _REQUEST_FAULT_KINDS
