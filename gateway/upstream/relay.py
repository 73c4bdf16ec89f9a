"""A begun stream as what may go on to its clients, in the provider's own bytes."""

from collections.abc import AsyncGenerator, Callable
from typing import NoReturn, Protocol

from gateway.core import sse
from gateway.core.errors import Problem, ProblemError
from gateway.core.target import Account
from gateway.dialects import Dialect, RequestBody, StreamInspector
from gateway.upstream import credential_masking
from gateway.upstream.attempt import CUT
from gateway.upstream.client import ResponseChunks
from gateway.upstream.upstream_request import UpstreamResponse


class ClientSink(Protocol):
    """Where a client is written to."""

    def write(self, data: bytes, chunk: bytes | None) -> bool:
        """Write it; False where nothing may be written now.

        `chunk` is the same in the chunked coding, where it has come in that.
        """
        ...


class DirectRelay:
    """A stream past all who wait for it: where the loop tells of bytes they are written at once.

    Nothing does that before `pass_to`, nor after `stop`. What is more than bytes that go on, an
    error above all, goes the long way, as does all that comes while nothing may be written: by
    `feed`.
    """

    __slots__ = ("_bug", "_fed", "_keep", "_out", "_ready", "_watch", "waits")

    def __init__(self, watch: StreamInspector, keep: Callable[[bytes], None] | None = None) -> None:
        """`keep` takes each piece that was written."""
        self._watch = watch
        self._keep = keep
        self._ready = b""
        self._fed = 0
        """Bytes that were looked at in here, but not passed on."""
        self._bug: Exception | None = None
        self._out: ClientSink | None = None
        self.waits = True
        """True until there is a client to write to, or never will be."""

    def pass_to(self, out: ClientSink | None) -> None:
        """Write to a client from now on, if it may be written to."""
        self._out, self.waits = out, out is None

    def stop(self) -> None:
        """Write nothing more: all that comes goes the long way."""
        self._out, self.waits = None, False

    def take(self, data: bytes, chunk: bytes | None) -> bool:
        """As `http1.Direct` has it."""
        out, watch = self._out, self._watch
        if out is None:
            return False
        try:
            ready = watch.feed(data)
        except Exception as error:  # noqa: BLE001 - told by who waits, as any
            self._bug, self._fed = error, len(data)
            return False
        if watch.problem is None and (
            not ready or out.write(ready, chunk if ready is data else None)
        ):
            if ready and self._keep is not None:
                self._keep(ready)
            return True
        self._ready, self._fed = ready, len(data)
        return False

    def feed(self, data: bytes) -> bytes:
        """What may go on of bytes that came the long way."""
        fed, self._fed = self._fed, 0
        if not fed:
            return self._watch.feed(data)
        if self._bug is not None:
            raise self._bug
        ready, self._ready = self._ready, b""
        return ready + self._watch.feed(data[fed:]) if fed < len(data) else ready


async def frames(
    begun: UpstreamResponse, watch: StreamInspector, direct: DirectRelay | None = None
) -> AsyncGenerator[bytes]:
    """One item for each read of the provider's stream, but for what goes on directly.

    Raises ProblemError where the answer breaks off, also at what looks like an end and is none.
    """
    account, first, rest = begun.account, begun.first, begun.rest
    feed = watch.feed
    if direct is not None and isinstance(rest, ResponseChunks):
        rest.pass_to(direct)
        feed = direct.feed
    try:
        if watch.problem is not None:
            rest = None
        if first:
            yield first if watch.problem is None else _masked(account, first)
        if rest is not None:
            async for data in rest:
                ready = feed(data)
                if ready:
                    yield ready if watch.problem is None else _masked(account, ready)
                if watch.problem is not None:
                    break
            last = watch.end()
            if last and watch.complete:  # else it is the half of a frame
                yield last
        if watch.problem is not None:
            _fail(credential_masking.problem(account, watch.problem))
        if not watch.complete:
            _fail(CUT)
    except ProblemError as error:
        begun.sent.failed(error.problem)
        raise


def _masked(account: Account, data: bytes) -> bytes:
    """Mask the last of some frames: the provider's error."""
    *content, error = sse.frames(data)
    return b"".join([*content, credential_masking.body(account, error)])


def _fail(problem: Problem) -> NoReturn:
    raise ProblemError(problem)


def shows_problem(data: bytes, dialect: Dialect, body: RequestBody) -> bool:
    """Whether what a client was sent last holds the provider's own error."""
    watch = dialect.watch(body)
    watch.feed(data)
    return watch.problem is not None


def watching(begun: UpstreamResponse) -> StreamInspector:
    """What follows the stream of an answer. Raises RuntimeError where the answer is whole."""
    if begun.watch is None:
        raise RuntimeError("a whole answer has no stream")
    return begun.watch
