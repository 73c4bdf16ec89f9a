"""A begun stream as what may go on to its clients, in the provider's own bytes."""

from collections.abc import AsyncGenerator, Callable
from typing import NoReturn, Protocol

from gateway.core import sse
from gateway.core.errors import Problem, ProblemError
from gateway.core.target import Account
from gateway.dialects import Dialect, RequestBody, StreamInspector
from gateway.upstream import credential_masking
from gateway.upstream.attempt import TRUNCATED_PROBLEM
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

    __slots__ = (
        "_inspected_bytes",
        "_inspection_error",
        "_inspector",
        "_on_written",
        "_ready_data",
        "_sink",
        "awaits_client",
    )

    def __init__(
        self, inspector: StreamInspector, on_written: Callable[[bytes], None] | None = None
    ) -> None:
        """`on_written` takes each piece that was written."""
        self._inspector = inspector
        self._on_written = on_written
        self._ready_data = b""
        self._inspected_bytes = 0
        """Bytes that were looked at in here, but not passed on."""
        self._inspection_error: Exception | None = None
        self._sink: ClientSink | None = None
        self.awaits_client = True
        """True until there is a client to write to, or never will be."""

    def pass_to(self, sink: ClientSink | None) -> None:
        """Write to a client from now on, if it may be written to."""
        self._sink, self.awaits_client = sink, sink is None

    def stop(self) -> None:
        """Write nothing more: all that comes goes the long way."""
        self._sink, self.awaits_client = None, False

    def accept(self, data: bytes, chunk: bytes | None) -> bool:
        """As `http1.Direct` has it."""
        sink, inspector = self._sink, self._inspector
        if sink is None:
            return False
        try:
            ready_data = inspector.feed(data)
        except Exception as error:  # noqa: BLE001 - told by who waits, as any
            self._inspection_error, self._inspected_bytes = error, len(data)
            return False
        if inspector.problem is None and (
            not ready_data or sink.write(ready_data, chunk if ready_data is data else None)
        ):
            if ready_data and self._on_written is not None:
                self._on_written(ready_data)
            return True
        self._ready_data, self._inspected_bytes = ready_data, len(data)
        return False

    def feed(self, data: bytes) -> bytes:
        """What may go on of bytes that came the long way."""
        inspected_bytes, self._inspected_bytes = self._inspected_bytes, 0
        if not inspected_bytes:
            return self._inspector.feed(data)
        if self._inspection_error is not None:
            raise self._inspection_error
        ready_data, self._ready_data = self._ready_data, b""
        return (
            ready_data + self._inspector.feed(data[inspected_bytes:])
            if inspected_bytes < len(data)
            else ready_data
        )


async def iterate_frames(
    response: UpstreamResponse, inspector: StreamInspector, direct_relay: DirectRelay | None = None
) -> AsyncGenerator[bytes]:
    """One item for each read of the provider's stream, but for what goes on directly.

    Raises ProblemError where the answer breaks off, also at what looks like an end and is none.
    """
    account = response.account
    first_bytes = response.first_bytes
    remaining_chunks = response.remaining_chunks
    feed = inspector.feed
    if direct_relay is not None and isinstance(remaining_chunks, ResponseChunks):
        remaining_chunks.pass_to(direct_relay)
        feed = direct_relay.feed
    try:
        if inspector.problem is not None:
            remaining_chunks = None
        if first_bytes:
            yield first_bytes if inspector.problem is None else _mask_error(account, first_bytes)
        if remaining_chunks is not None:
            async for data in remaining_chunks:
                ready_data = feed(data)
                if ready_data:
                    yield (
                        ready_data
                        if inspector.problem is None
                        else _mask_error(account, ready_data)
                    )
                if inspector.problem is not None:
                    break
            last_frame = inspector.end()
            if last_frame and inspector.complete:  # else it is the half of a frame
                yield last_frame
        if inspector.problem is not None:
            _raise_problem(credential_masking.mask_problem(account, inspector.problem))
        if not inspector.complete:
            _raise_problem(TRUNCATED_PROBLEM)
    except ProblemError as error:
        response.attempt.fail(error.problem)
        raise


def _mask_error(account: Account, data: bytes) -> bytes:
    """Mask the last of some frames: the provider's error."""
    *content, error = sse.split_frames(data)
    return b"".join([*content, credential_masking.mask_body(account, error)])


def _raise_problem(problem: Problem) -> NoReturn:
    raise ProblemError(problem)


def shows_problem(data: bytes, dialect: Dialect, body: RequestBody) -> bool:
    """Whether what a client was sent last holds the provider's own error."""
    inspector = dialect.inspect_stream(body)
    inspector.feed(data)
    return inspector.problem is not None


def get_inspector(response: UpstreamResponse) -> StreamInspector:
    """What follows the stream of an answer. Raises RuntimeError where the answer is whole."""
    if response.inspector is None:
        raise RuntimeError("a whole answer has no stream")
    return response.inspector
