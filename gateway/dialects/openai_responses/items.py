"""The turns of a request in no dialect as input items, with instructions before them."""

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
)  # fmt: skip
from gateway.core.jsonio import Json
from gateway.core.loss import Loss
from gateway.core.target import Target
from gateway.dialects import reasoning_state, tool_ids
from gateway.dialects.openai_responses.frames import Object

_FOREIGN = "reasoning of another model is for that model alone"
_NAMES = {"application/pdf": "document.pdf"}
"""Names of files that have none: this API wants one."""


class Items:
    """What one request's turns become."""

    def __init__(self, request: CanonicalRequest, target: Target, *, instructions: bool) -> None:
        """`instructions`: whether the host takes system turns in that member."""
        self.items: list[Object] = []
        self.losses: list[Loss] = []
        self.instructions = ""
        self._word = request.names.get("turns", "messages")
        self._maker = reasoning_state.hash_maker(target, "openai-responses")
        turns = list(request.turns)
        if instructions:
            self._lead(turns)
        for turn in turns:
            self._turn(turn)

    def _lead(self, turns: list[CanonicalTurn]) -> None:
        """Take the system turns that stand before all others out, as instructions."""
        texts = []
        while turns and turns[0].role in ("system", "developer"):
            texts += [part.text for part in turns.pop(0).parts if isinstance(part, Text)]
        self.instructions = "\n\n".join(text for text in texts if text)

    def _turn(self, turn: CanonicalTurn) -> None:
        content: list[Object] = []
        for part in turn.parts:
            if turn.role == "assistant":
                self._made(part)
            elif isinstance(part, ToolResult):
                self._say(turn.role, content)
                self.items.append(_result(part))
            else:
                content += _content(part)
        self._say(turn.role, content)

    def _say(self, role: str, content: list[Object]) -> None:
        """Add a message of what has gathered: one text as a string, which every host takes."""
        if not content:
            return
        alone = content[0]["text"] if len(content) == 1 and "text" in content[0] else None
        said: Json = [*content] if alone is None else alone
        self.items.append({"role": role, "content": said})
        content.clear()

    def _made(self, part: Part) -> None:
        """Add what a model made."""
        match part:
            case Text() | Refused():
                if part.text:
                    self.items.append({"role": "assistant", "content": part.text})
            case Thought():
                self._thought(part)
            case ToolUse():
                self.items.append(_call(part))
                if part.state is not None:
                    self._lose()
            case _:
                return

    def _thought(self, thought: Thought) -> None:
        if thought.state is None or thought.maker != self._maker:
            self._lose()
            return
        summary = [{"type": "summary_text", "text": thought.text}] if thought.text else []
        said = {"type": "reasoning", "summary": summary, "encrypted_content": thought.state}
        self.items.append(said)

    def _lose(self) -> None:
        self.losses.append(Loss(f"{self._word}.reasoning", "dropped", _FOREIGN))


def _call(use: ToolUse) -> Object:
    kind = "custom_tool_call" if use.custom else "function_call"
    said = {
        "type": kind,
        "call_id": tool_ids.make_plain_id(use.id),
        "name": tool_ids.make_plain_id(use.name, "tool_"),
    }
    if use.custom:
        return {**said, "input": use.arguments}
    return {**said, "arguments": use.arguments or "{}"}


def _result(result: ToolResult) -> Object:
    parts = [item for part in result.parts for item in _content(part)]
    if result.error:
        parts.insert(0, {"type": "input_text", "text": "Error: "})
    output: Json = parts
    if all("text" in part for part in parts):
        start = "Error: " if result.error else ""
        texts = [part["text"] for part in parts[1 if start else 0 :]]
        output = start + "\n".join(texts)
    kind = "custom_tool_call_output" if result.custom else "function_call_output"
    return {"type": kind, "call_id": tool_ids.make_plain_id(result.id), "output": output}


def _content(part: Part) -> list[Object]:
    """A part of what the model is given; empty text is nothing."""
    if isinstance(part, Text | Refused):
        return [{"type": "input_text", "text": part.text}] if part.text else []
    if not isinstance(part, Media):
        return []
    if part.text is not None:
        head = f"{part.name}:\n" if part.name else ""
        return [{"type": "input_text", "text": head + part.text}]
    if part.kind == "image":
        return [_image(part)]
    return [_file(part)] if part.kind == "file" else []


def _image(image: Media) -> Object:
    url = image.url if image.data is None else _data(image, "image/png")
    said: Object = {"type": "input_image", "image_url": url}
    return {**said, "detail": image.detail} if image.detail else said


def _file(file: Media) -> Object:
    if file.data is None:
        said: Object = {"type": "input_file", "file_url": file.url}
        return {**said, "filename": file.name} if file.name else said
    kind = "application/pdf"
    name = file.name or _NAMES.get(file.type or kind, "document")
    return {"type": "input_file", "filename": name, "file_data": _data(file, kind)}


def _data(media: Media, kind: str) -> str:
    return f"data:{media.type or kind};base64,{media.data}"
