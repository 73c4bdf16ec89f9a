"""Turns in the words of Chat Completions: one message a turn, and one for each result of a tool.

Results stand right behind the calls that they answer, as hosts demand; what a result holds beside
text follows in a message of the user's, behind all results of that turn. Content that is text alone
is one string: not every host takes lists.
"""

import mimetypes
from collections.abc import Iterable

from gateway.core import jsonio
from gateway.core.canonical_request import (
    CanonicalTurn,
    Media,
    Part,
    Refused,
    Text,
    Thought,
    ToolResult,
    ToolUse,
)  # fmt: skip
from gateway.core.jsonio import Json
from gateway.dialects import compatibility, tool_ids

type Object = dict[str, Json]

_BLANK = "\n\n"
_FORMATS = {"audio/mpeg": "mp3", "audio/x-wav": "wav", "audio/wave": "wav"}
"""Formats that are not called as their media type."""
_FOREIGN_RULE = compatibility.FIELD_RULES["foreign_thought"][compatibility.CHAT]
_FOREIGN = f"{compatibility.CHAT} {_FOREIGN_RULE.reason}"
_SPOKEN = f"{compatibility.CHAT} takes text alone of an assistant"
_MEMBERS = ("reasoning_content", "reasoning", "reasoning_text")
"""States that are the name of the member in which a host wants its reasoning back."""


class Messages:
    """The messages of one request to one target."""

    __slots__ = ("_maker", "_out", "_results", "lost")

    def __init__(self, maker: str) -> None:
        self._maker = maker
        self._out: list[Object] = []
        self._results: dict[str, list[ToolResult]] = {}
        """Results that stand later in the request, by the id of their call."""
        self.lost: dict[str, str] = {}
        """What was left out, and why."""

    def write(self, turns: Iterable[CanonicalTurn]) -> list[Object]:
        """The messages that say the turns."""
        turns = list(turns)
        for turn in turns:
            for part in turn.parts:
                if isinstance(part, ToolResult):
                    self._results.setdefault(part.id, []).append(part)
        for turn in turns:
            if turn.role == "assistant":
                self._assistant(turn)
            elif turn.role == "user":
                self._user(turn)
            else:
                self._say("system", _content(turn.parts), turn.name)
        return self._out

    def _say(self, role: str, content: Json, name: str | None) -> None:
        message: Object = {"role": role, "content": content}
        if name is not None:
            message["name"] = name
        self._out.append(message)

    def _user(self, turn: CanonicalTurn) -> None:
        results = [part for part in turn.parts if isinstance(part, ToolResult)]
        orphans = [it for it in results if self._taken(it)]
        if orphans:
            self._tell(orphans)
        if len(results) < len(turn.parts) or not results:
            self._say("user", _content(turn.parts), turn.name)

    def _taken(self, result: ToolResult) -> bool:
        """Take a result that no call before it has asked for."""
        waiting = self._results[result.id]
        for at, it in enumerate(waiting):
            if it is result:
                del waiting[at]
                return True
        return False

    def _assistant(self, turn: CanonicalTurn) -> None:
        message: Object = {"role": "assistant", "content": None}
        refusal = [part.text for part in turn.parts if isinstance(part, Refused)]
        text = _words(turn.parts)
        thought = self._thoughts(turn.parts, message)
        if thought:
            said = [{"type": "text", "text": text}] if text else []
            message["content"] = [{"type": "thinking", "thinking": thought}, *said]
        elif text:
            message["content"] = text
        if refusal:
            message["refusal"] = "".join(refusal)
        uses = [part for part in turn.parts if isinstance(part, ToolUse)]
        if uses:
            message["tool_calls"] = [self._call(use) for use in uses]
        if turn.name is not None:
            message["name"] = turn.name
        for part in turn.parts:
            if isinstance(part, Media) and part.text is None:
                self.lost[part.kind] = _SPOKEN
        if uses or refusal or message["content"]:
            self._out.append(message)
        found = [self._results[it.id].pop(0) for it in uses if self._results.get(it.id)]
        self._tell(found)

    def _thoughts(self, parts: Iterable[Part], message: Object) -> list[Object]:
        """Write reasoning that the target itself has thought; give what belongs into content."""
        inside: list[Object] = []
        for part in parts:
            if not isinstance(part, Thought):
                continue
            state = part.state
            if state is None or part.maker != self._maker:
                self.lost["reasoning"] = _FOREIGN
            elif state in _MEMBERS:
                message[state] = message.get(state, "") + part.text
            elif state == "content":
                inside.append({"type": "text", "text": part.text})
            else:
                self._details(state, message)
        return inside

    def _details(self, state: str, message: Object) -> None:
        try:
            details = jsonio.loads(state.encode())
        except jsonio.JsonError:
            details = None
        if isinstance(details, list):
            message["reasoning_details"] = [*message.get("reasoning_details", ()), *details]
        else:
            self.lost["reasoning"] = _FOREIGN

    def _call(self, use: ToolUse) -> Object:
        arguments = use.arguments if use.arguments.strip() else "{}"
        if use.custom:
            arguments = jsonio.dumps({"input": use.arguments}).decode()
        inside = {"name": tool_ids.make_plain_id(use.name, "tool_"), "arguments": arguments}
        call: Object = {
            "id": tool_ids.make_plain_id(use.id),
            "type": "function",
            "function": inside,
        }
        if use.state is not None:
            if use.maker == self._maker:
                call["extra_content"] = {"google": {"thought_signature": use.state}}
            else:
                self.lost["reasoning"] = _FOREIGN
        return call

    def _tell(self, results: Iterable[ToolResult]) -> None:
        """Results, and behind them all what is no text in them."""
        media: list[Object] = []
        for result in results:
            held = [part for part in result.parts if isinstance(part, Media)]
            shown = [part for part in held if part.text is None]
            text = _BLANK.join(it for part in result.parts if (it := _read(part)) is not None)
            if shown:
                name = result.name or result.id
                media += [{"type": "text", "text": f"Of the result of {name}:"}]
                media += [_media(part) for part in shown]
                text = text or "It follows in the next message."
            if result.error:
                text = f"Error: {text}"
            self._out.append(
                {"role": "tool", "tool_call_id": tool_ids.make_plain_id(result.id), "content": text}
            )
        if media:
            self._say("user", media, None)


def _words(parts: Iterable[Part]) -> str:
    """All text, in one string: neighbours are one text, what stood apart stays apart."""
    said = ""
    beside = True
    for part in parts:
        text = _read(part)
        if text is None:
            beside = False
        else:
            apart = said and text and not (beside and isinstance(part, Text))
            said += f"{_BLANK}{text}" if apart else text
            beside = isinstance(part, Text)
    return said


def _content(parts: Iterable[Part]) -> Json:
    """Content of a user's or a system message: a string where it is text alone."""
    said: list[Object] = []
    for part in parts:
        text = _read(part)
        if text is not None:
            said.append({"type": "text", "text": text})
        elif isinstance(part, Media):
            said.append(_media(part))
    if all(part["type"] == "text" for part in said):
        return _BLANK.join([part["text"] for part in said])
    return said


def _read(part: Part) -> str | None:
    """The text of a part; a document of plain text under its name."""
    if isinstance(part, Text):
        return part.text
    if not isinstance(part, Media) or part.text is None:
        return None
    return part.text if part.name is None else f"{part.name}:{_BLANK}{part.text}"


def _media(part: Media) -> Object:
    url = part.url if part.data is None else f"data:{_type(part)};base64,{part.data}"
    match part.kind:
        case "image":
            held: Object = {"url": url}
            if part.detail is not None:
                held["detail"] = part.detail
            return {"type": "image_url", "image_url": held}
        case "audio":
            form = _FORMATS.get(_type(part), _type(part).removeprefix("audio/"))
            data = part.url if part.data is None else part.data  # Mistral takes URLs there
            return {"type": "input_audio", "input_audio": {"data": data, "format": form}}
        case "video":
            return {"type": "video_url", "video_url": {"url": url}}
        case _:
            name = part.name or f"document{mimetypes.guess_extension(_type(part)) or ''}"
            return {"type": "file", "file": {"filename": name, "file_data": url}}


def _type(part: Media) -> str:
    kinds = {"image": "image/png", "audio": "audio/wav", "video": "video/mp4"}
    return part.type or kinds.get(part.kind, "application/pdf")
