"""A begun stream as what may go on to its clients, in the provider's own bytes."""

from collections.abc import AsyncGenerator
from typing import NoReturn

from gateway.core.problem import Problem, ProblemError
from gateway.dialects import Body, Dialect, Watch
from gateway.upstream.attempt import without
from gateway.upstream.job import Begun


async def frames(begun: Begun, watch: Watch) -> AsyncGenerator[bytes]:
    """One item for each read of the provider's stream.

    Raises ProblemError where the answer breaks off, also at what looks like an end and is none.
    """
    account, first, rest = begun.account, begun.first, begun.rest
    try:
        if watch.problem is not None:
            rest = None
        if first:
            yield without(account, first)
        if rest is not None:
            async for data in rest:
                ready = watch.feed(data)
                if ready:
                    yield without(account, ready)
                if watch.problem is not None:
                    _fail(watch.problem)
            last = watch.end()
            if last and watch.complete:  # else it is the half of a frame
                yield last
        if watch.problem is not None:
            _fail(watch.problem)
        if not watch.complete:
            message = "The provider ended the stream before the answer was complete."
            _fail(Problem(kind="upstream_truncated", message=message, spent="maybe"))
    except ProblemError as error:
        begun.sent.failed(error.problem)
        raise


def _fail(problem: Problem) -> NoReturn:
    raise ProblemError(problem)


def shows_problem(data: bytes, dialect: Dialect, body: Body) -> bool:
    """Whether what a client was sent last holds the provider's own error."""
    watch = dialect.watch(body)
    watch.feed(data)
    return watch.problem is not None


def watching(begun: Begun) -> Watch:
    """What follows the stream of an answer; it is another's once that finishes it."""
    if begun.watch is None:
        raise RuntimeError("a whole answer has no stream")
    return begun.watch
