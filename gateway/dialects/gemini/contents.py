"""Turns in no dialect as contents: roles in turn, every call with its result, state for its maker.

Neighbours of one role are one content, so that the results of one set of calls stand together, as
Gemini wants them, and before anything else that the user says.
"""

from gateway.core import jsonio
from gateway.core.canonical_request import (
    CanonicalRequest,
    CanonicalTurn,
    Media,
    Part,
    Refused,
    Text,
    Thought,
    ToolResult,
    ToolUse,
)
from gateway.core.loss import Loss
from gateway.core.target import Target
from gateway.dialects import reasoning_state, tool_ids
from gateway.dialects.gemini import effort
from gateway.dialects.gemini.content import Object
from gateway.dialects.gemini.signature import SKIP, SLOT

_WHY = "reasoning of another model is for that model alone"
RAW = "_raw"
"""Holds arguments that are no object."""
_NO_OBJECT = f"arguments must be an object: they are in {RAW}"
_NO_RESULT = {"error": "No result was given."}
_TYPES = {
    "image": "image/png",
    "file": "application/pdf",
    "audio": "audio/wav",
    "video": "video/mp4",
}
"""What data is taken for whose type is unsaid."""


def write(request: CanonicalRequest, target: Target) -> tuple[Object, tuple[Loss, ...]]:
    """`contents` and `systemInstruction`, and what they could not say."""
    writer = _Writer(request, target)
    for turn in request.turns:
        writer.turn(turn)
    return writer.done(), tuple(dict.fromkeys(writer.losses))


class _Writer:
    """The contents of one request, turn by turn."""

    def __init__(self, request: CanonicalRequest, target: Target) -> None:
        self.losses: list[Loss] = []
        self._word = request.names.get("turns", "messages")
        self._maker = reasoning_state.hash_maker(target, effort.NAME)
        kind = effort.style(target.facts)
        self._signs = kind is None or kind.level
        """Models that take a level want signatures, and take media within results."""
        self._system: list[Object] = []
        self._contents: list[Object] = []
        self._called: dict[str, str] = {}
        """Names of calls by id."""

    def turn(self, turn: CanonicalTurn) -> None:
        """Take the next turn."""
        if turn.role in ("system", "developer"):
            texts = [part.text for part in turn.parts if isinstance(part, Text) and part.text]
            if self._contents:
                wrapped = [{"text": f"<system>\n{text}\n</system>"} for text in texts]
                self._add("user", wrapped)
            else:
                self._system += [{"text": text} for text in texts]
            return
        role = "model" if turn.role == "assistant" else "user"
        self._add(role, [said for part in turn.parts for said in self._part(part)])

    def done(self) -> Object:
        """The members; a system prompt with nothing after it is what the user says."""
        if self._system and not self._contents:
            self.losses.append(Loss(self._word, "approximated", "gemini wants a turn of the user"))
            return {"contents": [{"role": "user", "parts": self._system}]}
        for content, after in zip(self._contents, self._contents[1:], strict=False):
            _answer(content["parts"], after["parts"])
        if self._signs:
            for content in self._contents:
                _sign(content["parts"])
        said: Object = {"contents": self._contents}
        if self._system:
            said["systemInstruction"] = {"parts": self._system}
        return said

    def _add(self, role: str, parts: list[Object]) -> None:
        if not parts:
            return
        if self._contents and self._contents[-1]["role"] == role:
            self._contents[-1]["parts"] += parts
        else:
            self._contents.append({"role": role, "parts": parts})

    def _part(self, part: Part) -> list[Object]:
        """What a part becomes; a part of no other dialect never comes here."""
        match part:
            case Text() | Refused():
                return [{"text": part.text}] if part.text else []
            case Media():
                return [_media(part)]
            case Thought():
                return self._thought(part)
            case ToolUse():
                return [self._use(part)]
            case ToolResult():
                return self._result(part)
            case _:
                return []

    def _own(self, part: Thought | ToolUse) -> bool:
        """Whether a state is of this very target; another's stays here, and is named."""
        if part.state is not None and part.maker == self._maker:
            return True
        if part.state is not None or isinstance(part, Thought):
            self.losses.append(Loss(f"{self._word}.reasoning", "dropped", _WHY))
        return False

    def _thought(self, part: Thought) -> list[Object]:
        if not self._own(part):
            return []
        said: Object = {"text": part.text, SLOT: part.state}
        return [{**said, "thought": True} if part.text else said]

    def _use(self, part: ToolUse) -> Object:
        self._called[part.id] = part.name
        args = {"input": part.arguments} if part.custom else arguments(part.arguments)
        if RAW in args:
            self.losses.append(Loss(f"{self._word}.arguments", "approximated", _NO_OBJECT))
        said: Object = {
            "functionCall": {"id": tool_ids.make_plain_id(part.id), "name": part.name, "args": args}
        }
        if self._own(part):
            said[SLOT] = part.state
        return said

    def _result(self, part: ToolResult) -> list[Object]:
        text = "\n".join(it.text for it in part.parts if isinstance(it, Text))
        said: Object = {
            "id": tool_ids.make_plain_id(part.id),
            "name": part.name or self._called.get(part.id, "unknown"),
            "response": {"error" if part.error else "output": text},
        }
        media = [_media(it) for it in part.parts if isinstance(it, Media)]
        if media and self._signs:
            return [{"functionResponse": {**said, "parts": media}}]
        if media:
            why = "follows the result: the model takes none within it"
            self.losses.append(Loss(self._word, "approximated", why))
        return [{"functionResponse": said}, *media]


def arguments(text: str) -> Object:
    """A call's arguments as an object; what is none stands in one."""
    try:
        value = jsonio.loads(text.encode("utf-8", "replace")) if text.strip() else None
    except jsonio.JsonError:
        value = text
    if value is None:  # some hosts write null where there are none
        return {}
    return value if isinstance(value, dict) else {RAW: text}


def _media(part: Media) -> Object:
    if part.text is not None:
        return {"text": part.text}
    if part.data is None:
        link: Object = {"fileUri": part.url or part.id}
        return {"fileData": link if part.type is None else {**link, "mimeType": part.type}}
    return {"inlineData": {"mimeType": part.type or _TYPES[part.kind], "data": part.data}}


def _answer(calls: list[Object], after: list[Object]) -> None:
    """Put results before all else, and one where a call has none: Gemini wants as many as calls."""
    given = {part["functionResponse"]["id"] for part in after if "functionResponse" in part}
    for part in calls:
        call = part.get("functionCall")
        if call is not None and call["id"] not in given:
            result = {"id": call["id"], "name": call["name"], "response": _NO_RESULT}
            after.append({"functionResponse": result})
    after.sort(key=lambda part: "functionResponse" not in part)


def _sign(parts: list[Object]) -> None:
    """Sign the first call of a turn where nobody has."""
    first = next((part for part in parts if "functionCall" in part), None)
    if first is not None and SLOT not in first:
        first[SLOT] = SKIP
