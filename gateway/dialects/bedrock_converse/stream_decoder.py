"""A provider's stream of Converse as events: Amazon's event stream in place of server-sent events.

Models that stream nothing to a request with tools give a whole answer in place of a stream: the
decoder tells them apart by their first byte.
"""

from contextlib import suppress

from gateway.core import jsonio
from gateway.core.events import Event
from gateway.dialects.bedrock_converse import errors, response
from gateway.dialects.bedrock_converse.answer_decoder import AnswerDecoder
from gateway.dialects.bedrock_converse.event_stream import (
    EventMessage,
    EventStreamError,
    EventStreamReader,
)
from gateway.dialects.bedrock_converse.schema import ANSWER
from gateway.dialects.stream_frames import (
    MAX_FRAME_BYTES,
    Frame,
    FrameDecoder,
    make_broken_frame,
    make_broken_problem,
    parse_payload,
)

_EVENT_TYPE = ":event-type"


def read_frame(message: EventMessage) -> Frame:
    """Read one message of a stream."""
    headers = message.headers
    match headers.get(":message-type"):
        case "event":
            value = parse_payload(message.payload)
            if not isinstance(value, dict):
                return make_broken_frame()
            return Frame(value, kind=headers.get(_EVENT_TYPE, ""))
        case "exception":
            type = headers.get(":exception-type", "")
            return Frame(problem=errors.read_exception(type, message.payload))
        case _:  # an error without a shape; its facts stand in headers
            body = jsonio.dumps({"message": headers.get(":error-message", "")})
            return Frame(problem=errors.read_exception(headers.get(":error-code", ""), body))


def list_events(stream: bytes) -> list[tuple[str, bytes]]:
    """List the type and the payload of each event of a recorded stream, up to a broken one."""
    events: list[tuple[str, bytes]] = []
    with suppress(EventStreamError):
        events.extend(
            (message.headers.get(_EVENT_TYPE, ""), message.payload)
            for message in EventStreamReader().feed(stream)
        )
    return events


class Decoder(FrameDecoder):
    """The state of one stream; see gateway.dialects.base.Decoder."""

    __slots__ = ("_answer", "_body", "_reader")

    def __init__(self) -> None:
        super().__init__(ANSWER)
        self._reader = EventStreamReader()
        self._answer = AnswerDecoder()
        self._body: bytearray | None = None
        """A whole answer so far; None while the answer is a stream, or has not begun."""

    def feed(self, data: bytes) -> list[Event]:
        """Return the events in the next bytes. After a Failed no more events come."""
        out: list[Event] = []
        if self._is_over:
            return out
        if data.startswith(b"{") and not self._answer.has_begun and not self._reader.has_pending:
            # No message of a stream begins so: it would be two gigabytes long.
            self._body = self._body or bytearray()
        if self._body is not None:
            self._body += data
            if len(self._body) > MAX_FRAME_BYTES:
                self._fail(make_broken_problem("an answer that is too long"), out)
            return out
        try:
            for message in self._reader.feed(data):
                if self._take(read_frame(message), out):
                    return out
        except EventStreamError as error:
            self._fail(make_broken_problem(f"a broken stream: {error}"), out)
        return out

    def end(self) -> list[Event]:
        """Return the last events; half a message is none."""
        out: list[Event] = []
        if self._is_over:
            return out
        self._is_over = True
        if self._body is not None:
            return response.decode_response(bytes(self._body))
        self._close(out, is_cut=self._reader.has_pending)
        return out

    def _decode(self, frame: Frame, out: list[Event]) -> None:
        self._answer.take_event(frame.kind, frame.value, out)
        self._is_over = self._answer.has_ended

    def _decode_error(self, frame: Frame, out: list[Event]) -> None:
        """An exception tells nothing beside it."""

    def _close(self, out: list[Event], *, is_cut: bool) -> None:
        """Add nothing: a stream that lacks its last events was cut."""
