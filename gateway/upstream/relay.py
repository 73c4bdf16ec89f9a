"""Turn a begun stream into what may go on to its clients, in the provider's own bytes."""

from collections.abc import AsyncGenerator, Callable
from functools import partial
from typing import NoReturn, Protocol

from gateway.core import json_size, sse
from gateway.core.errors import Problem, ProblemError
from gateway.dialects import Dialect, RequestBody, StreamInspector
from gateway.upstream import credential_masking
from gateway.upstream.attempt import TRUNCATED_PROBLEM
from gateway.upstream.client import ResponseChunks
from gateway.upstream.upstream_request import UpstreamResponse


class ClientSink(Protocol):
    """A connection to a client, to write to."""

    def write(self, data: bytes, chunk: bytes | None) -> bool:
        """Write bytes; return False if nothing may be written now.

        `chunk` is the same bytes in the chunked coding, if they came in that.
        """
        ...


class DirectRelay:
    """A shortcut for a stream: as soon as bytes arrive, the relay writes them to the client.

    It works only between `pass_to` and `stop`. Everything else takes the normal path through
    `feed`: an error above all, and all that comes while nothing may be written.
    """

    __slots__ = (
        "_held_bytes",
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
        """Call `on_written` with each piece that was written."""
        self._inspector = inspector
        self._on_written = on_written
        self._ready_data = b""
        self._held_bytes = 0
        """Bytes of a frame that is not whole yet, or of frames before the first content."""
        self._inspected_bytes = 0
        """Bytes that the relay inspected but did not pass on."""
        self._inspection_error: Exception | None = None
        self._sink: ClientSink | None = None
        self.awaits_client = True
        """True while the relay waits for a client to write to."""

    def pass_to(self, sink: ClientSink | None) -> None:
        """Write to a client from now on, if it may be written to; None waits for one."""
        self._sink, self.awaits_client = sink, sink is None

    def stop(self) -> None:
        """Write nothing more: all bytes take the normal path."""
        self._sink, self.awaits_client = None, False

    def accept(self, data: bytes, chunk: bytes | None) -> bool:
        """Take bytes of a body; see `DirectSink` in http1/connection.py."""
        sink, inspector = self._sink, self._inspector
        if sink is None or self.is_large(data):
            return False
        try:
            ready_data = self._inspect(data)
        except Exception as error:  # noqa: BLE001 - `feed` raises it for the caller that waits
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
        """Return what may go on of bytes that took the normal path."""
        inspected_bytes, self._inspected_bytes = self._inspected_bytes, 0
        if not inspected_bytes:
            return self._inspect(data)
        if self._inspection_error is not None:
            raise self._inspection_error
        ready_data, self._ready_data = self._ready_data, b""
        return (
            ready_data + self._inspect(data[inspected_bytes:])
            if inspected_bytes < len(data)
            else ready_data
        )

    def is_large(self, data: bytes) -> bool:
        """True if these bytes may end a frame that takes too long to read on the event loop."""
        return self._held_bytes + len(data) > json_size.LARGE_FRAME_BYTES

    def _inspect(self, data: bytes) -> bytes:
        ready_data = self._inspector.feed(data)
        self._held_bytes = 0 if ready_data else self._held_bytes + len(data)
        return ready_data


async def iterate_frames(
    response: UpstreamResponse, inspector: StreamInspector, direct_relay: DirectRelay | None = None
) -> AsyncGenerator[bytes]:
    """Yield an item for each read of the provider's stream, except for what goes on directly.

    Raises ProblemError if the answer breaks off, even where it only looks like the end.
    """
    secret = response.provider_response.secret
    first_bytes = response.first_bytes
    remaining_chunks = response.remaining_chunks
    relay = direct_relay or DirectRelay(inspector)
    if direct_relay is not None and isinstance(remaining_chunks, ResponseChunks):
        remaining_chunks.pass_to(direct_relay)
    try:
        if inspector.problem is not None:
            remaining_chunks = None
        if first_bytes:
            yield first_bytes if inspector.problem is None else _mask_error(secret, first_bytes)
        if remaining_chunks is not None:
            async for data in remaining_chunks:
                ready_data = (
                    await response.large_work.run(partial(relay.feed, data), is_large=True)
                    if relay.is_large(data)
                    else relay.feed(data)
                )
                if ready_data:
                    yield (
                        ready_data if inspector.problem is None else _mask_error(secret, ready_data)
                    )
                if inspector.problem is not None:
                    break
            last_frame = inspector.end()
            if last_frame and inspector.complete:  # else it is half a frame
                yield last_frame
        if inspector.problem is not None:
            _raise_problem(credential_masking.mask_problem(secret, inspector.problem))
        if not inspector.complete:
            _raise_problem(TRUNCATED_PROBLEM)
    except ProblemError as error:
        response.attempt.fail(error.problem)
        raise


def _mask_error(secret: str, data: bytes) -> bytes:
    """Mask the last of some frames: the provider's error."""
    *content, error = sse.split_frames(data)
    return b"".join([*content, credential_masking.mask_body(secret, error)])


def _raise_problem(problem: Problem) -> NoReturn:
    raise ProblemError(problem)


def shows_problem(data: bytes, dialect: Dialect, body: RequestBody) -> bool:
    """Return True if the last bytes for a client contain the provider's own error."""
    inspector = dialect.inspect_stream(body)
    inspector.feed(data)
    return inspector.problem is not None


def get_inspector(response: UpstreamResponse) -> StreamInspector:
    """Return the inspector of a stream. Raises RuntimeError if the answer is whole."""
    if response.inspector is None:
        raise RuntimeError("a whole answer has no stream")
    return response.inspector
