"""Samples of a dialect's answers, whole and streamed, and the events that they become."""

import json
from collections.abc import Callable
from typing import Any, NamedTuple

from gateway.core.events import AnswerMetadata, Event, Opaque
from gateway.dialects import TargetDialect
from gateway.dialects.translation import get_target_translation
from tests.dialects.request_strategies import Object


def write_sse_frame(frame: Object) -> bytes:
    """Write an event or chunk as a server-sent event."""
    return b"data: %b\n\n" % json.dumps(frame).encode()


class AnswerSamples(NamedTuple):
    """Answers of a dialect that together have every member of its list."""

    answers: tuple[Object, ...]
    streams: tuple[tuple[Object, ...], ...]
    """Streams, each with its events or chunks."""
    stream_end: bytes = b"data: [DONE]\n\n"
    """The bytes after the last of them."""
    write_frame: Callable[[Object], bytes] = write_sse_frame


class AnswerSample(NamedTuple):
    """A whole answer, or the frames of a stream."""

    name: str
    """The name of its objects in the member list: `answer`, or `event` of frames."""
    value: Any
    stream_end: bytes = b""
    write_frame: Callable[[Object], bytes] = write_sse_frame

    def decode(self, dialect: TargetDialect) -> list[Event]:
        """Return its events."""
        functions = get_target_translation(dialect)
        if self.name == "answer":
            return functions.decode_response(json.dumps(self.value).encode())
        frames = map(self.write_frame, self.value)
        decoder = functions.make_decoder()
        return decoder.feed(b"".join(frames) + self.stream_end) + decoder.end()


def list_samples(samples: AnswerSamples) -> list[AnswerSample]:
    """List the answers and streams of a dialect."""
    whole = [AnswerSample("answer", answer) for answer in samples.answers]
    return whole + [
        AnswerSample("event", [*frames], samples.stream_end, samples.write_frame)
        for frames in samples.streams
    ]


def list_names(events: list[Event]) -> list[str]:
    """List what a client does not get, by its names."""
    return [event.name for event in events if isinstance(event, AnswerMetadata | Opaque)]
