"""One choice of an answer as events, whatever its host: text, reasoning, calls, its end.

Reasoning is told once, from the first place of a piece that has it. Its state, which brings it back
to its maker, is the list `reasoning_details` where that holds anything sealed (OpenRouter), else
the name of the member that it stood in: hosts that want it back (DeepSeek, Moonshot, Mistral) want
it there.
"""

from collections.abc import Mapping

from gateway.core import jsonio
from gateway.core.events import (
    Citation,
    Declined,
    Event,
    Finish,
    FinishReason,
    LogProbs,
    Opaque,
    ReasoningDelta,
    ReasoningEnd,
    Start,
    TextDelta,
)  # fmt: skip
from gateway.core.jsonio import Json
from gateway.dialects.openai_chat import ending
from gateway.dialects.openai_chat.reasoning import inner, joined, sealed, shown
from gateway.dialects.openai_chat.tools import Calls

type Object = dict[str, Json]

REASONING = ("reasoning_content", "reasoning", "reasoning_text")
"""Where hosts put reasoning; some of them say it in two places at once."""
_OPAQUE = ("audio", "images")
"""Members of a message that hold what is no text."""

_REASONS: Mapping[str, FinishReason] = {
    **dict.fromkeys(("length", "max_tokens", "max_output_tokens", "model_length"), "length"),
    **dict.fromkeys(("model_context_window_exceeded", "context_length_exceeded"), "length"),
    **dict.fromkeys(("content_filter", "sensitive", "safety", "refusal"), "filter"),
    "pause_turn": "pause",
}
"""Words of OpenAI and of hosts (Mistral, Z.ai, Anthropic's and DeepSeek's doors, vLLM)."""


class Voice:
    """What one choice has said so far."""

    __slots__ = ("_calls", "_details", "_index", "_member", "_word", "finished", "spoke")

    def __init__(self, index: int, start: Start) -> None:
        self._index = index
        self._calls = Calls(index, start)
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
        word = ending.finish(choice)
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
        for member in REASONING:
            found = said.get(member)
            if found and isinstance(found, str):
                text = found
                break
        details = said.get("reasoning_details")
        if isinstance(details, list) and details:
            member, text = "reasoning", text or shown(details)
            self._details = joined(self._details, details)
            self.spoke = True
        if text:
            self._think(member, text, out)

    def _think(self, member: str, text: str, out: list[Event]) -> None:
        self._member = self._member or member
        self.spoke = True
        out.append(ReasoningDelta(text, choice=self._index))

    def _think_no_more(self, out: list[Event]) -> None:
        """Close what reasoning is open; a seal may come late, without any text."""
        if sealed(self._details):
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
                thought = inner(part.get("thinking"))
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
