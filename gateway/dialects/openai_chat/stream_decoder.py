"""A provider's stream of chunks as events, and the events of one choice.

Hosts differ in where reasoning stands and how calls are cut in pieces: ChoiceDecoder reads one
choice, of a stream or of a whole answer. What ends an answer is told at its end, not where a chunk
names a finish: hosts send content after that, and finish again.

Reasoning is told once, from the first place of a piece that has it. Its state, which brings it back
to its maker, is the list `reasoning_details` where that holds anything sealed (OpenRouter), else
the name of the member that it stood in: hosts that want it back (DeepSeek, Moonshot, Mistral) want
it there.
"""

from collections.abc import Mapping

import msgspec

from gateway.core import jsonio, sse
from gateway.core.errors import Problem
from gateway.core.events import (
    Citation,
    Declined,
    End,
    Event,
    Failed,
    Finish,
    FinishReason,
    LogProbs,
    Opaque,
    ReasoningDelta,
    ReasoningEnd,
    Start,
    TextDelta,
    UsageUpdate,
)  # fmt: skip
from gateway.core.jsonio import Json
from gateway.core.usage import Usage, merge_usage, parse_service_tier
from gateway.dialects.openai_chat import usage
from gateway.dialects.openai_chat.content import (
    list_choices,
    read_finish_reason,
    read_thinking_text,
)
from gateway.dialects.openai_chat.errors import find_problem
from gateway.dialects.openai_chat.reasoning_state import (
    REASONING_MEMBERS,
    has_sealed_state,
    join_details,
    read_reasoning_text,
)
from gateway.dialects.openai_chat.tools import ToolCallAssembler
from gateway.dialects.stream_commit import DONE_PAYLOAD, MAX_FRAME_BYTES, make_broken_problem

type Object = dict[str, Json]

_NOTHING = "a stream without an answer"
_OPAQUE = ("audio", "images")
"""Members of a message that hold what is no text."""

_REASONS: Mapping[str, FinishReason] = {
    **dict.fromkeys(("length", "max_tokens", "max_output_tokens", "model_length"), "length"),
    **dict.fromkeys(("model_context_window_exceeded", "context_length_exceeded"), "length"),
    **dict.fromkeys(("content_filter", "sensitive", "safety", "refusal"), "filter"),
    "pause_turn": "pause",
}
"""Words of OpenAI and of hosts (Mistral, Z.ai, Anthropic's and DeepSeek's doors, vLLM)."""


class StreamDecoder:
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
        self._voices: dict[int, ChoiceDecoder] = {}

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
        over = _is_frame(rest) and self._frame(rest, out)
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
        choices = list_choices(chunk)
        problem = find_problem(chunk, choices, payload)
        if problem is not None:
            return self._fail(problem, out)
        self._chunk(chunk, choices, out)
        return False

    def _chunk(self, chunk: Object, choices: list[Object], out: list[Event]) -> None:
        if not self._said:
            self._begin(chunk, out)
        for choice in choices:
            index = read_index(choice, 0)
            voice = self._voices.get(index)
            if voice is None:
                voice = self._voices[index] = ChoiceDecoder(index, self._start)
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
        known, new = self._start, make_start(chunk)
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


class ChoiceDecoder:
    """What one choice has said so far."""

    __slots__ = ("_calls", "_details", "_index", "_member", "_word", "finished", "spoke")

    def __init__(self, index: int, start: Start) -> None:
        self._index = index
        self._calls = ToolCallAssembler(index, start)
        self._details: list[Object] = []
        self._member = ""
        """Where the reasoning that is open stands; empty where none is."""
        self._word: str | None = None
        self.finished = False
        """A finish has been named."""
        self.spoke = False
        """It had content."""

    def hear(self, choice: Object, said: Json, out: list[Event]) -> None:
        """Take one piece of the choice: its delta, or the message of a whole answer."""
        if isinstance(said, dict):
            content = said.get("content")
            alone = content and len(said) == 1
            if not alone:
                self._reasoning(said, out)
            if content:
                self._content(content, out)
            if not alone:
                self._more(said, out)
        logprobs = choice.get("logprobs")
        if isinstance(logprobs, dict):
            for name in ("content", "refusal"):
                tokens = logprobs.get(name)
                if isinstance(tokens, list) and tokens:
                    out.append(LogProbs(tokens, self._index, declined=name == "refusal"))
        word = read_finish_reason(choice)
        if word is not None:
            self._word = word
            self.finished = True

    def close(self, out: list[Event]) -> None:
        """Tell the end: of reasoning, of calls and of the choice."""
        self._think_no_more(out)
        self._calls.close(out)
        out.append(Finish(self._reason(), self._word, choice=self._index))

    def _reason(self) -> FinishReason:
        """Give the reason for the end. A word that is not known ends a choice as well as any."""
        if self._word is None:
            return "cut"
        known = _REASONS.get(self._word.lower())
        if known is not None:
            return known
        return "tools" if self._calls else "stop"

    def _reasoning(self, said: Object, out: list[Event]) -> None:
        """Reasoning, which comes before all else."""
        text = ""
        for member in REASONING_MEMBERS:
            found = said.get(member)
            if found and isinstance(found, str):
                text = found
                break
        details = said.get("reasoning_details")
        if isinstance(details, list) and details:
            member, text = "reasoning", text or read_reasoning_text(details)
            self._details = join_details(self._details, details)
            self.spoke = True
        if text:
            self._think(member, text, out)

    def _think(self, member: str, text: str, out: list[Event]) -> None:
        self._member = self._member or member
        self.spoke = True
        out.append(ReasoningDelta(text, choice=self._index))

    def _think_no_more(self, out: list[Event]) -> None:
        """Close what reasoning is open; a seal may come late, without any text."""
        if has_sealed_state(self._details):
            state, redacted = jsonio.dumps(self._details).decode(), not self._member
            out.append(ReasoningEnd(state, redacted, choice=self._index))
        elif self._member:
            out.append(ReasoningEnd(self._member, choice=self._index))
        self._details, self._member = [], ""

    def _say(self, text: str, out: list[Event]) -> None:
        if self._member or self._details:
            self._think_no_more(out)
        self.spoke = True
        out.append(TextDelta(text, self._index))

    def _content(self, content: Json, out: list[Event]) -> None:
        if isinstance(content, str):
            self._say(content, out)
            return
        if isinstance(content, dict):  # Cloudflare's JSON mode gives the object itself
            self._say(jsonio.dumps(content).decode(), out)
            return
        for part in content if isinstance(content, list) else ():
            if not isinstance(part, dict):
                continue
            kind, text = part.get("type"), part.get("text")
            if kind == "text":
                if text and isinstance(text, str):
                    self._say(text, out)
            elif kind == "thinking":
                thought = read_thinking_text(part.get("thinking"))
                if thought:
                    self._think("content", thought, out)
            else:
                self._opaque(str(kind), part, out)

    def _more(self, said: Object, out: list[Event]) -> None:
        """What a message has beside its text."""
        refusal = said.get("refusal")
        if refusal and isinstance(refusal, str):
            self._think_no_more(out)
            self.spoke = True
            out.append(Declined(refusal, self._index))
        calls = said.get("tool_calls")
        if isinstance(calls, list) and calls:
            self._call(calls, out)
        call = said.get("function_call")
        if isinstance(call, dict) and any(call.values()):
            self._call([{"index": 0, "function": call}], out)
        cited = said.get("annotations")
        if isinstance(cited, list):
            out += [_cited(note, self._index) for note in cited if isinstance(note, dict)]
        for member in _OPAQUE:
            held = said.get(member)
            if any(held.values()) if isinstance(held, dict) else held:
                self._opaque(member, held, out)

    def _call(self, pieces: list[Json], out: list[Event]) -> None:
        self._think_no_more(out)
        self.spoke = True
        self._calls.hear(pieces, out)

    def _opaque(self, kind: str, source: Json, out: list[Event]) -> None:
        self._think_no_more(out)
        self.spoke = True
        out.append(Opaque(kind, source, self._index))


def _cited(note: Object, choice: int) -> Citation:
    inside = note.get("url_citation")
    url = inside if isinstance(inside, dict) else {}
    address, title = url.get("url"), url.get("title")
    start, end = url.get("start_index"), url.get("end_index")
    return Citation(
        url=address if isinstance(address, str) else None,
        title=title if isinstance(title, str) else None,
        start=start if isinstance(start, int) else None,
        end=end if isinstance(end, int) else None,
        source=note,
        choice=choice,
    )


def make_start(value: Object) -> Start:
    """Return the Start event of a chunk or a whole answer."""
    id, model, created = value.get("id"), value.get("model"), value.get("created")
    word = parse_service_tier(value.get("service_tier"))
    return Start(
        id=id if isinstance(id, str) and id else None,
        model=model if isinstance(model, str) and model else None,
        created=int(created) if isinstance(created, int | float) and created > 0 else None,
        usage=Usage(service=word) if word is not None else None,
    )


def read_index(choice: Object, otherwise: int) -> int:
    """Return the index of a choice; `otherwise` if the host gives none."""
    index = choice.get("index")
    return index if isinstance(index, int) else otherwise


def _is_frame(rest: bytes) -> bool:
    """Whether what stands at the end of a stream is a frame: half a frame is none."""
    payload = sse.read_data(rest)
    if not payload or payload.startswith(DONE_PAYLOAD):
        return bool(payload)
    try:
        return isinstance(jsonio.loads(payload), dict)
    except jsonio.JsonError:
        return False
