"""A request in no dialect as a Responses request, as a client of this dialect would send it.

What a client of another dialect did not ask to be kept is not kept: `store` is false, and reasoning
comes back encrypted, for the client to keep. Source: the request body of OpenAI's API reference.
"""

from collections.abc import Mapping

from gateway.core.canonical_request import (
    CanonicalRequest,
    CanonicalTurn,
    Media,
    OutputFormat,
    Part,
    Refused,
    Text,
    Thought,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
)  # fmt: skip
from gateway.core.jsonio import Json
from gateway.core.loss import Loss
from gateway.core.target import Target
from gateway.dialects import reasoning_state, tool_ids
from gateway.dialects.base import EncodedRequest
from gateway.dialects.openai_responses import effort
from gateway.dialects.openai_responses.content import Object
from gateway.dialects.openai_responses.request import LOGPROBS

MIN_OUTPUT_CAP = 16
"""Tokens that `max_output_tokens` must be at least."""

_ENCRYPTED_REASONING = "reasoning.encrypted_content"
_SAME_MEMBERS = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_logprobs": "top_logprobs",
    "service_tier": "service_tier",
    "parallel_tools": "parallel_tool_calls",
    "user": "safety_identifier",
    "metadata": "metadata",
    "cache_key": "prompt_cache_key",
}
"""Fields that are members as they are."""
_BUDGET_EFFORTS = ((2_000, "low"), (8_000, "medium"), (24_000, "high"))
_FIELD_BY_MEMBER = {
    "input": "turns",
    "instructions": "turns",
    "tools": "tools",
    "tool_choice": "tool_choice",
    "max_output_tokens": "max_output",
    "include": "logprobs",
    "text": "form",
    "text.format": "form",
    "text.verbosity": "verbosity",
    "reasoning": "effort",
    "reasoning.effort": "effort",
    "reasoning.summary": "thoughts_shown",
    **{member: field for field, member in _SAME_MEMBERS.items()},
}
"""By member that may be written: the field that it says."""
_FOREIGN_REASON = "reasoning of another model is for that model alone"
_FILE_NAMES = {"application/pdf": "document.pdf"}
"""Names of files that have none: this API wants one."""


def encode_request(request: CanonicalRequest, target: Target) -> EncodedRequest:
    """The body, the client's names of its members, and what it could not say."""
    refused = target.facts.refused_members | target.provider.refused_members
    items = InputWriter(request, target, instructions="instructions" not in refused)
    losses = items.losses
    value: Object = {"input": items.items}
    if items.instructions:
        value["instructions"] = items.instructions
    for field, member in _SAME_MEMBERS.items():
        said = getattr(request, field)
        if said is not None:
            value[member] = said
    if request.user:
        value["safety_identifier"] = tool_ids.make_plain_id(request.user, "user_")
    _write_tools(value, request)
    _write_text_and_reasoning(value, request)
    _write_output_cap(value, request, losses)
    if "store" not in refused:
        value["store"] = False
    include = [LOGPROBS] if request.logprobs else []
    if effort.read_style(target.facts) is not None and "include" not in refused:
        include.append(_ENCRYPTED_REASONING)
    if include:
        value["include"] = include
    if request.stream:
        value["stream"] = True
    return EncodedRequest(
        value=value,
        client_names=_map_client_names(value, request),
        losses=tuple(dict.fromkeys(losses)),
    )


def _map_client_names(value: Object, request: CanonicalRequest) -> Mapping[str, str]:
    names = {}
    for member, field in _FIELD_BY_MEMBER.items():
        if field == "effort" and request.effort is None and request.budget is not None:
            field = "budget"  # noqa: PLW2901 - the effort stands for it
        if field == "form" and request.form is None:
            field = "verbosity"  # noqa: PLW2901 - the one other thing that `text` says
        top, _, inner = member.partition(".")
        if top in value and (not inner or inner in value[top]):
            default = "messages" if field == "turns" else field
            names[member] = request.names.get(field, default)
    return names


def _write_output_cap(value: Object, request: CanonicalRequest, losses: list[Loss]) -> None:
    cap = request.max_output
    if cap is None:
        return
    value["max_output_tokens"] = max(cap, MIN_OUTPUT_CAP)
    if cap < MIN_OUTPUT_CAP:
        name = request.names.get("max_output", "max_output")
        losses.append(
            Loss(name, "approximated", f"openai-responses takes at least {MIN_OUTPUT_CAP}")
        )


def _write_text_and_reasoning(value: Object, request: CanonicalRequest) -> None:
    text: Object = {}
    if request.form is not None:
        text["format"] = _write_format(request.form)
    if request.verbosity is not None:
        text["verbosity"] = request.verbosity
    if text:
        value["text"] = text
    reasoning: Object = {}
    said = request.effort or _find_budget_effort(request.budget)
    if said is not None:
        reasoning["effort"] = said
    if request.thoughts_shown:
        reasoning["summary"] = "auto"
    if reasoning:
        value["reasoning"] = reasoning


def _find_budget_effort(budget: int | None) -> str | None:
    if budget is None:
        return None
    return next((word for below, word in _BUDGET_EFFORTS if budget < below), "xhigh")


def _write_format(form: OutputFormat) -> Object:
    if form.schema is None:
        return {"type": "json_object"}
    said: Object = {
        "type": "json_schema",
        "name": form.name or "answer",
        "schema": form.schema,
    }
    if form.strict is not None:
        said["strict"] = form.strict
    if form.description is not None:
        said["description"] = form.description
    return said


def _write_tools(value: Object, request: CanonicalRequest) -> None:
    if request.tools:
        value["tools"] = [_write_tool(tool) for tool in request.tools]
    if request.tool_choice is not None:
        custom = {tool.name for tool in request.tools if tool.kind == "custom"}
        value["tool_choice"] = _write_choice(request.tool_choice, custom)


def _write_tool(tool: Tool) -> Object:
    """A tool; what is not said to be strict is not, though this API takes it to be."""
    said: Object = {"type": tool.kind, "name": tool_ids.make_plain_id(tool.name, "tool_")}
    if tool.description is not None:
        said["description"] = tool.description
    if tool.kind == "custom":
        if tool.grammar is not None:
            said["format"] = _write_grammar(tool.grammar)
        return said
    empty: Json = {"type": "object", "properties": {}}
    said["parameters"] = empty if tool.parameters is None else tool.parameters
    said["strict"] = bool(tool.strict)
    return said


def _write_grammar(grammar: Json) -> Json:
    """A grammar as it stands here; Chat Completions has it one object deeper."""
    inner = grammar.get("grammar") if isinstance(grammar, dict) else None
    return {"type": "grammar", **inner} if isinstance(inner, dict) else grammar


def _write_choice(choice: ToolChoice, custom: set[str]) -> Json:
    if choice.allowed:
        tools = [_write_chosen(name, custom) for name in choice.allowed]
        mode = "auto" if choice.mode in ("auto", "none") else "required"
        return {"type": "allowed_tools", "mode": mode, "tools": tools}
    return _write_chosen(choice.name or "", custom) if choice.mode == "tool" else choice.mode


def _write_chosen(name: str, custom: set[str]) -> Object:
    kind = "custom" if name in custom else "function"
    return {"type": kind, "name": tool_ids.make_plain_id(name, "tool_")}


class InputWriter:
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
                self.items.append(_write_result(part))
            else:
                content += _write_content(part)
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
                self.items.append(_write_call(part))
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
        self.losses.append(Loss(f"{self._word}.reasoning", "dropped", _FOREIGN_REASON))


def _write_call(use: ToolUse) -> Object:
    kind = "custom_tool_call" if use.custom else "function_call"
    said = {
        "type": kind,
        "call_id": tool_ids.make_plain_id(use.id),
        "name": tool_ids.make_plain_id(use.name, "tool_"),
    }
    if use.custom:
        return {**said, "input": use.arguments}
    return {**said, "arguments": use.arguments or "{}"}


def _write_result(result: ToolResult) -> Object:
    parts = [item for part in result.parts for item in _write_content(part)]
    if result.error:
        parts.insert(0, {"type": "input_text", "text": "Error: "})
    output: Json = parts
    if all("text" in part for part in parts):
        start = "Error: " if result.error else ""
        texts = [part["text"] for part in parts[1 if start else 0 :]]
        output = start + "\n".join(texts)
    kind = "custom_tool_call_output" if result.custom else "function_call_output"
    return {"type": kind, "call_id": tool_ids.make_plain_id(result.id), "output": output}


def _write_content(part: Part) -> list[Object]:
    """A part of what the model is given; empty text is nothing."""
    if isinstance(part, Text | Refused):
        return [{"type": "input_text", "text": part.text}] if part.text else []
    if not isinstance(part, Media):
        return []
    if part.text is not None:
        head = f"{part.name}:\n" if part.name else ""
        return [{"type": "input_text", "text": head + part.text}]
    if part.kind == "image":
        return [_write_image(part)]
    return [_write_file(part)] if part.kind == "file" else []


def _write_image(image: Media) -> Object:
    url = image.url if image.data is None else _write_data_url(image, "image/png")
    said: Object = {"type": "input_image", "image_url": url}
    return {**said, "detail": image.detail} if image.detail else said


def _write_file(file: Media) -> Object:
    if file.data is None:
        said: Object = {"type": "input_file", "file_url": file.url}
        return {**said, "filename": file.name} if file.name else said
    kind = "application/pdf"
    name = file.name or _FILE_NAMES.get(file.type or kind, "document")
    return {"type": "input_file", "filename": name, "file_data": _write_data_url(file, kind)}


def _write_data_url(media: Media, kind: str) -> str:
    return f"data:{media.type or kind};base64,{media.data}"
