"""A provider's stream of chunks as events.

StreamDecoder reads a stream. ChoiceDecoder reads one choice, of a stream or of a whole answer. The
events of the end come last, not at the chunk that names a finish reason: some hosts send content
after that, and finish again.

Hosts put reasoning in several members; the first one of a piece counts. The state of reasoning
brings it back to its maker. It is the list `reasoning_details` if that holds a sealed block
(OpenRouter), else the name of the member: DeepSeek, Moonshot and Mistral want reasoning back there.
"""

from collections.abc import Mapping

from gateway.core import jsonio, log_probs
from gateway.core.events import (
    Citation,
    Declined,
    End,
    Event,
    Finish,
    FinishReason,
    GeneratedMedia,
    LogProbs,
    Opaque,
    ReasoningDelta,
    ReasoningEnd,
    Start,
    TextDelta,
    UsageUpdate,
)  # fmt: skip
from gateway.core.jsonio import Json
from gateway.core.usage import Usage
from gateway.dialects.openai_chat.content import (
    list_choices,
    read_index,
    read_thinking_text,
    split_data_url,
)
from gateway.dialects.openai_chat.reasoning_state import (
    REASONING_MEMBERS,
    has_sealed_state,
    join_details,
    read_reasoning_text,
)
from gateway.dialects.openai_chat.schema import ANSWER
from gateway.dialects.openai_chat.stream import ChatStreamFacts, read_frame
from gateway.dialects.openai_chat.tools import ToolCallAssembler
from gateway.dialects.stream_frames import Frame, SseDecoder

type Object = dict[str, Json]

_PREFIX = "message"
"""Starts the names of parts that no other dialect has; a stream calls it `delta`."""
_SOURCE_LISTS = ("search_results", "citations")
"""Members beside the choices that list sources (Perplexity); the first has titles too."""

_FINISH_REASONS: Mapping[str, FinishReason] = {
    **dict.fromkeys(("length", "max_tokens", "max_output_tokens", "model_length"), "length"),
    **dict.fromkeys(("model_context_window_exceeded", "context_length_exceeded"), "length"),
    **dict.fromkeys(("content_filter", "sensitive", "safety", "refusal"), "filter"),
    "pause_turn": "pause",
    **dict.fromkeys(
        ("stop", "stop_sequence", "end", "end_turn", "eos", "eos_token", "complete"), "stop"
    ),
    **dict.fromkeys(("tool_calls", "tool_call", "tool_use", "function_call"), "stop"),
}
"""Words of OpenAI and of other hosts: Mistral, Z.ai, Anthropic, DeepSeek, Together, vLLM."""


class StreamDecoder(SseDecoder):
    """One stream of chunks; see Decoder in gateway.dialects.base."""

    __slots__ = ("_choices", "_facts", "_is_started", "_sources", "_start", "_told_usage")
    log_probs_members = log_probs.MEMBERS["openai-chat"]

    def __init__(self) -> None:
        super().__init__(read_frame, ANSWER)
        self._facts = ChatStreamFacts()
        self._start = Start()
        self._is_started = False
        """True if the decoder has made the Start event."""
        self._told_usage: Usage | None = None
        """The usage that the events have told so far."""
        self._choices: dict[int, ChoiceDecoder] = {}
        self._sources: Object = {}

    def _decode(self, frame: Frame, out: list[Event]) -> None:
        if not frame.is_done:
            self._read_chunk(frame.value, out)
            return
        self._is_over = True
        if self._facts.finish is not None or any(it.has_content for it in self._choices.values()):
            self._end_answer(out)

    def _decode_error(self, frame: Frame, out: list[Event]) -> None:
        """Tell what the provider has served and counts, which it bills beside an error too."""
        self._facts.take(frame.value)
        if self._facts.has_any:
            self._begin(out)
            self._tell_usage(out)

    def _close(self, out: list[Event], *, is_cut: bool) -> None:  # noqa: ARG002 - hosts cut the end
        if self._facts.has_ended:
            self._end_answer(out)

    def _read_chunk(self, chunk: Object, out: list[Event]) -> None:
        has_usage = self._facts.take(chunk)
        if not self._is_started:
            self._start = make_start(self._facts)
            if chunk.get("choices") or has_usage:  # Azure's first chunk has no id or choice
                self._begin(out)
        for choice in list_choices(chunk):
            index = read_index(choice, 0)
            self._facts.take_choice(choice, index)
            decoder = self._choices.get(index)
            if decoder is None:
                decoder = self._choices[index] = ChoiceDecoder(index, self._start)
            decoder.add_piece(choice, choice.get("delta"), out)
        for name in _SOURCE_LISTS:
            if name in chunk:
                self._sources[name] = chunk[name] or self._sources.get(name)
        if self._is_started:
            self._tell_usage(out)

    def _begin(self, out: list[Event]) -> None:
        """Make the Start event, unless it has been made."""
        if not self._is_started:
            self._is_started = True
            self._start = make_start(self._facts)
            self._told_usage = self._start.usage
            out.append(self._start)

    def _tell_usage(self, out: list[Event]) -> None:
        if self._facts.usage is not self._told_usage:
            out += list_usage(self._facts, self._told_usage)
            self._told_usage = self._facts.usage

    def _end_answer(self, out: list[Event]) -> None:
        for at, index in enumerate(sorted(self._choices)):
            if self._sources and not at:
                self._choices[index].add_sources(self._sources, out)
            self._choices[index].close(self._facts.finish_words[index], out)
        out.append(End())


class ChoiceDecoder:
    """One choice of an answer, read piece by piece."""

    __slots__ = (
        "_audio_id",
        "_calls",
        "_details",
        "_has_citations",
        "_index",
        "_open_member",
        "has_content",
    )

    def __init__(self, index: int, start: Start) -> None:
        self._index = index
        self._calls = ToolCallAssembler(index, start)
        self._details: list[Object] = []
        self._open_member = ""
        """The member of the reasoning that has not ended; empty if there is none."""
        self._audio_id: str | None = None
        self._has_citations = False
        self.has_content = False
        """True if a piece had content."""

    def add_piece(self, choice: Object, message: Json, out: list[Event]) -> None:
        """Read one piece of the choice: its delta, or the message of a whole answer."""
        if isinstance(message, dict):
            content = message.get("content")
            is_text_alone = content and len(message) == 1
            if not is_text_alone:
                self._read_reasoning(message, out)
            if content:
                self._read_content(content, out)
            if not is_text_alone:
                self._read_rest(message, out)
        logprobs = choice.get("logprobs")
        if isinstance(logprobs, dict):
            for name in ("content", "refusal"):
                tokens = logprobs.get(name)
                if isinstance(tokens, list) and tokens:
                    out.append(LogProbs(tokens, self._index, declined=name == "refusal"))

    def add_sources(self, holder: Object, out: list[Event]) -> None:
        """Add the sources that a search found, unless the message has its own."""
        lists = [name for name in _SOURCE_LISTS if _list_rows(holder.get(name))]
        if lists and not self._has_citations:
            self._end_reasoning(out)
            out += [
                _read_source(row, lists[0], self._index) for row in _list_rows(holder[lists[0]])
            ]

    def close(self, finish_word: str | None, out: list[Event]) -> None:
        """End reasoning, calls and the choice, which ended with this word."""
        self._end_reasoning(out)
        self._calls.close(out)
        out.append(Finish(self._find_finish_reason(finish_word), finish_word, choice=self._index))

    def _find_finish_reason(self, finish_word: str | None) -> FinishReason:
        """Return the finish reason. After an unknown word the answer may lack its end."""
        if finish_word is None:
            return "cut"
        reason = _FINISH_REASONS.get(finish_word.lower(), "length")
        return "tools" if reason == "stop" and self._calls else reason

    def _read_reasoning(self, message: Object, out: list[Event]) -> None:
        """Read the reasoning of a piece, which comes before all other content."""
        text = ""
        for member in REASONING_MEMBERS:
            value = message.get(member)
            if value and isinstance(value, str):
                text = value
                break
        details = message.get("reasoning_details")
        if isinstance(details, list) and details:
            member, text = "reasoning", text or read_reasoning_text(details)
            self._details = join_details(self._details, details)
            self.has_content = True
        if text:
            self._add_reasoning(member, text, out)

    def _add_reasoning(self, member: str, text: str, out: list[Event]) -> None:
        self._open_member = self._open_member or member
        self.has_content = True
        out.append(ReasoningDelta(text, choice=self._index))

    def _end_reasoning(self, out: list[Event]) -> None:
        """End the open reasoning. A sealed state may come late, without any text."""
        if has_sealed_state(self._details):
            state, redacted = jsonio.dumps(self._details).decode(), not self._open_member
            out.append(ReasoningEnd(state, redacted, choice=self._index))
        elif self._open_member:
            out.append(ReasoningEnd(self._open_member, choice=self._index))
        self._details, self._open_member = [], ""

    def _add_text(self, text: str, out: list[Event]) -> None:
        if self._open_member or self._details:
            self._end_reasoning(out)
        self.has_content = True
        out.append(TextDelta(text, self._index))

    def _read_content(self, content: Json, out: list[Event]) -> None:
        if isinstance(content, str):
            self._add_text(content, out)
            return
        if isinstance(content, dict):  # Cloudflare's JSON mode sends the object itself
            self._add_text(jsonio.dumps(content).decode(), out)
            return
        for part in content if isinstance(content, list) else ():
            if not isinstance(part, dict):
                continue
            kind, text = part.get("type"), part.get("text")
            if kind == "text":
                if text and isinstance(text, str):
                    self._add_text(text, out)
            elif kind == "thinking":
                thought = read_thinking_text(part.get("thinking"))
                if thought:
                    self._add_reasoning("content", thought, out)
            else:
                self._add_other_part(str(kind), part, out)

    def _read_rest(self, message: Object, out: list[Event]) -> None:
        """Read refusal, calls, citations and media of a message."""
        refusal = message.get("refusal")
        if refusal and isinstance(refusal, str):
            self._end_reasoning(out)
            self.has_content = True
            out.append(Declined(refusal, self._index))
        calls = message.get("tool_calls")
        if isinstance(calls, list) and calls:
            self._add_calls(calls, out)
        call = message.get("function_call")
        if isinstance(call, dict) and any(call.values()):
            self._add_calls([{"index": 0, "function": call}], out)
        annotations = message.get("annotations")
        if isinstance(annotations, list) and annotations:
            self._has_citations = True
            out += [
                _read_citation(note, self._index) for note in annotations if isinstance(note, dict)
            ]
        audio, images = message.get("audio"), message.get("images")
        if isinstance(audio, dict) and any(audio.values()):
            self._add_audio(audio, out)
        for image in images if isinstance(images, list) else ():
            self._add_image(image, f"{_PREFIX}.images", out)

    def _add_calls(self, pieces: list[Json], out: list[Event]) -> None:
        self._end_reasoning(out)
        self.has_content = True
        self._calls.add_pieces(pieces, out)

    def _add_audio(self, audio: Object, out: list[Event]) -> None:
        """Add a piece of speech; the first piece of a stream may have nothing but the id."""
        self._end_reasoning(out)
        self.has_content = True
        id, data, words = (audio.get(name) for name in ("id", "data", "transcript"))
        self._audio_id = id if isinstance(id, str) and id else self._audio_id
        data, words = (value if isinstance(value, str) else "" for value in (data, words))
        if data or words:
            out.append(
                GeneratedMedia(
                    "audio",
                    data,
                    f"{_PREFIX}.audio",
                    transcript=words,
                    id=self._audio_id,
                    choice=self._index,
                )
            )

    def _add_other_part(self, kind: str, part: Object, out: list[Event]) -> None:
        name = f"{_PREFIX}.content.{kind}"
        if kind == "image_url":
            self._add_image(part, name, out)
        else:
            self._add_opaque(name, part, out)

    def _add_image(self, image: Json, name: str, out: list[Event]) -> None:
        """Add a picture, which stands in a data URL or at a URL."""
        link = image.get("image_url") if isinstance(image, dict) else None
        url = link.get("url") if isinstance(link, dict) else link
        if not isinstance(url, str) or not url:
            self._add_opaque(name, None, out)
            return
        self._end_reasoning(out)
        self.has_content = True
        media_type, data = split_data_url(url)
        out.append(
            GeneratedMedia(
                "image",
                data or "",
                name,
                media_type=media_type,
                url=url if data is None else None,
                choice=self._index,
            )
        )

    def _add_opaque(self, name: str, source: Json, out: list[Event]) -> None:
        self._end_reasoning(out)
        self.has_content = True
        out.append(Opaque(name, source, self._index))


def _read_citation(note: Object, choice: int) -> Citation:
    value = note.get("url_citation")
    citation = value if isinstance(value, dict) else {}
    url, title = citation.get("url"), citation.get("title")
    start, end = citation.get("start_index"), citation.get("end_index")
    return Citation(
        url=url if isinstance(url, str) else None,
        title=title if isinstance(title, str) else None,
        start=start if isinstance(start, int) else None,
        end=end if isinstance(end, int) else None,
        source=note,
        choice=choice,
        name=f"{_PREFIX}.annotations",
    )


def _list_rows(value: Json) -> list[Json]:
    return value if isinstance(value, list) else []


def _read_source(row: Json, name: str, choice: int) -> Citation:
    """Read a source of a search: an object, or its URL alone."""
    members = row if isinstance(row, dict) else {"url": row}
    url, title = members.get("url"), members.get("title")
    return Citation(
        url=url if isinstance(url, str) else None,
        title=title if isinstance(title, str) else None,
        source=row,
        choice=choice,
        name=name,
    )


def make_start(facts: ChatStreamFacts) -> Start:
    """Return the Start event of an answer, by the facts so far."""
    return Start(
        id=facts.response_id,
        model=facts.served_model,
        created=facts.created,
        usage=facts.tier_usage,
    )


def list_usage(facts: ChatStreamFacts, reported: Usage | None) -> list[Event]:
    """List the usage so far as an event, unless the events have told it."""
    counts = facts.usage
    return [] if counts is None or counts == reported else [UsageUpdate(counts)]
