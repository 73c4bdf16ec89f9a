"""Chat Completions answers as events: whole ones and streams of chunks.

Hosts differ in where reasoning stands and how calls are cut in pieces: `voice` reads one choice.
What ends an answer is told at its end, not where a chunk names a finish: hosts send content after
that, and finish again.
"""

import msgspec

from gateway.core import jsonio, sse
from gateway.core.errors import Problem
from gateway.core.events import End, Event, Failed, Start, UsageUpdate
from gateway.core.jsonio import Json
from gateway.core.usage import Usage, merge_usage, parse_service_tier
from gateway.dialects.openai_chat import ending, usage
from gateway.dialects.openai_chat.stream_decoder import Voice
from gateway.dialects.stream_commit import DONE_PAYLOAD, MAX_FRAME_BYTES, make_broken_problem

type Object = dict[str, Json]

_NOTHING = "a stream without an answer"


def events(body: bytes) -> list[Event]:
    """A whole answer. A 200 with an error, HTML or nothing in it is a Failed."""
    try:
        value = jsonio.loads(body)
    except jsonio.JsonError:
        return [Failed(make_broken_problem("an answer that is not JSON"))]
    problem, _ = ending.judge(value, body)
    if problem is not None:
        return [Failed(problem)]
    start = _start(value)
    out: list[Event] = [start]
    for at, choice in enumerate(value["choices"]):
        if isinstance(choice, dict):
            voice = Voice(_index(choice, at), start)
            voice.hear(choice, _message(choice), out)
            voice.close(out)
    told = usage.find(value)
    if told is not None:
        out.append(UsageUpdate(told))
    out.append(End())
    return out


class Stream:
    """One stream of chunks; see Decoder."""

    __slots__ = ("_over", "_said", "_start", "_usage", "_voices", "_whole", "_word")

    def __init__(self) -> None:
        self._whole = sse.FrameSplitter()
        self._over = False
        """Nothing is read any more: it has ended, or failed."""
        self._start = Start()
        self._said = False
        """Start has been told."""
        self._usage: Usage | None = None
        self._word: Json = None
        """What the provider calls the service tier that served."""
        self._voices: dict[int, Voice] = {}

    def feed(self, data: bytes) -> list[Event]:
        """Take what was read. After a Failed nothing more comes."""
        out: list[Event] = []
        if self._over:
            return out
        data = self._whole.feed(data)
        for frame in sse.split_data_frames(data):
            if self._frame(frame, out):
                return out
        if self._whole.size > MAX_FRAME_BYTES:
            self._fail(make_broken_problem("a frame without an end"), out)
        return out

    def end(self) -> list[Event]:
        """Take the end of the stream: some hosts send no `[DONE]`, or no blank line after it."""
        out: list[Event] = []
        rest = self._whole.take_pending()
        if self._over:
            return out
        over = _whole(rest) and self._frame(rest, out)
        if not over and self._voices and all(it.finished for it in self._voices.values()):
            self._close(out)
        self._over = True
        return out

    def _frame(self, frame: bytes, out: list[Event]) -> bool:
        """Read one frame; tell whether it was the last."""
        payload = frame.strip()
        if payload.startswith(b"data:") and b"\n" not in payload:
            payload = payload[5:].lstrip()
        else:
            payload = sse.read_data(frame)
        if not payload:
            return False
        if payload.startswith(DONE_PAYLOAD):
            return self._ended(out)
        try:
            chunk = jsonio.loads(payload)
        except jsonio.JsonError:
            chunk = None
        if not isinstance(chunk, dict):
            return self._fail(make_broken_problem(), out)
        choices = ending.choices(chunk)
        problem = ending.problem(chunk, choices, payload)
        if problem is not None:
            return self._fail(problem, out)
        self._chunk(chunk, choices, out)
        return False

    def _chunk(self, chunk: Object, choices: list[Object], out: list[Event]) -> None:
        if not self._said:
            self._begin(chunk, out)
        for choice in choices:
            index = _index(choice, 0)
            voice = self._voices.get(index)
            if voice is None:
                voice = self._voices[index] = Voice(index, self._start)
            voice.hear(choice, choice.get("delta"), out)
        self._word = chunk.get("service_tier") or self._word
        told = usage.find(chunk, self._word)
        if told is not None:
            told = msgspec.structs.replace(merge_usage(self._usage, told), service=told.service)
            if told != self._usage:
                self._usage = told
                out.append(UsageUpdate(told))

    def _begin(self, chunk: Object, out: list[Event]) -> None:
        """Tell the start when a chunk has a choice: Azure's first has no id, model or choice."""
        known, new = self._start, _start(chunk)
        self._start = Start(
            id=known.id or new.id,
            model=known.model or new.model,
            created=known.created or new.created,
            usage=known.usage or new.usage,
        )
        if chunk.get("choices") or usage.find(chunk) is not None:
            self._said = True
            out.append(self._start)

    def _ended(self, out: list[Event]) -> bool:
        if any(it.finished or it.spoke for it in self._voices.values()):
            return self._close(out)
        return self._fail(make_broken_problem(_NOTHING), out)

    def _close(self, out: list[Event]) -> bool:
        for index in sorted(self._voices):
            self._voices[index].close(out)
        out.append(End())
        self._over = True
        return True

    def _fail(self, problem: Problem, out: list[Event]) -> bool:
        out.append(Failed(problem))
        self._over = True
        return True


def decoder() -> Stream:
    """The state of one stream."""
    return Stream()


def _start(value: Object) -> Start:
    id, model, created = value.get("id"), value.get("model"), value.get("created")
    word = parse_service_tier(value.get("service_tier"))
    return Start(
        id=id if isinstance(id, str) and id else None,
        model=model if isinstance(model, str) and model else None,
        created=int(created) if isinstance(created, int | float) and created > 0 else None,
        usage=Usage(service=word) if word is not None else None,
    )


def _index(choice: Object, otherwise: int) -> int:
    index = choice.get("index")
    return index if isinstance(index, int) else otherwise


def _whole(rest: bytes) -> bool:
    """Whether what stands at the end of a stream is a frame: half a frame is none."""
    payload = sse.read_data(rest)
    if not payload or payload.startswith(DONE_PAYLOAD):
        return bool(payload)
    try:
        return isinstance(jsonio.loads(payload), dict)
    except jsonio.JsonError:
        return False


def _message(choice: Object) -> Json:
    """The message of a choice, its calls numbered: each is one of its own."""
    message = choice.get("message")
    if not isinstance(message, dict) or not isinstance(message.get("tool_calls"), list):
        return message
    calls = message["tool_calls"]
    numbered = [{**it, "index": at} for at, it in enumerate(calls) if isinstance(it, dict)]
    return {**message, "tool_calls": numbered}
