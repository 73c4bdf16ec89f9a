"""Encoder of a translated request: a canonical request becomes a Responses body.

A client of another dialect did not ask the provider to keep anything: `store` is false, and
reasoning comes back encrypted, for the client to keep. Source: the request body of OpenAI's API
reference.
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
from gateway.core.target import MIN_OUTPUT_CAP, Target
from gateway.dialects import reasoning_state, tool_ids
from gateway.dialects.base import EncodedRequest
from gateway.dialects.openai_responses import effort
from gateway.dialects.openai_responses.content import Object
from gateway.dialects.openai_responses.request import LOGPROBS

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
"""Fields whose values are written unchanged, and their members."""
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
"""By member that may be written: the field that it comes from."""
_FOREIGN_REASON = "only the model that wrote reasoning can read it"
_TEXT_ONLY_REASON = "openai-responses accepts only text from an assistant"
_FILE_NAMES = {"application/pdf": "document.pdf"}
"""Names for files without one: this API requires a name."""


def encode_request(request: CanonicalRequest, target: Target) -> EncodedRequest:
    """Encode a request: the body, the client's names of its members, and the losses."""
    refused = target.facts.refused_members | target.provider.refused_members
    writer = InputWriter(request, target, instructions="instructions" not in refused)
    losses = writer.losses
    value: Object = {"input": writer.items}
    if writer.instructions:
        value["instructions"] = writer.instructions
    for field, member in _SAME_MEMBERS.items():
        field_value = getattr(request, field)
        if field_value is not None:
            value[member] = field_value
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
            field = "verbosity"  # noqa: PLW2901 - `text` holds nothing else
        top, _, inner = member.partition(".")
        if top in value and (not inner or inner in value[top]):
            default = "messages" if field == "turns" else field
            names[member] = request.names.get(field, default)
    return names


def _write_output_cap(value: Object, request: CanonicalRequest, losses: list[Loss]) -> None:
    output_cap = request.max_output
    if output_cap is None:
        return
    value["max_output_tokens"] = max(output_cap, MIN_OUTPUT_CAP)
    if output_cap < MIN_OUTPUT_CAP:
        name = request.names.get("max_output", "max_output")
        losses.append(
            Loss(name, "approximated", f"openai-responses accepts at least {MIN_OUTPUT_CAP}")
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
    effort_word = request.effort or _find_budget_effort(request.budget)
    if effort_word is not None:
        reasoning["effort"] = effort_word
    if request.thoughts_shown:
        reasoning["summary"] = "auto"
    if reasoning:
        value["reasoning"] = reasoning


def _find_budget_effort(budget: int | None) -> str | None:
    if budget is None:
        return None
    return next((word for limit, word in _BUDGET_EFFORTS if budget < limit), "xhigh")


def _write_format(output_format: OutputFormat) -> Object:
    if output_format.schema is None:
        return {"type": "json_object"}
    members: Object = {
        "type": "json_schema",
        "name": output_format.name or "answer",
        "schema": output_format.schema,
    }
    if output_format.strict is not None:
        members["strict"] = output_format.strict
    if output_format.description is not None:
        members["description"] = output_format.description
    return members


def _write_tools(value: Object, request: CanonicalRequest) -> None:
    if request.tools:
        value["tools"] = [_write_tool(tool) for tool in request.tools]
    if request.tool_choice is not None:
        custom_names = {tool.name for tool in request.tools if tool.kind == "custom"}
        value["tool_choice"] = _write_choice(request.tool_choice, custom_names)


def _write_tool(tool: Tool) -> Object:
    """Write a tool; `strict` is false if unset, though the default of this API is true."""
    members: Object = {"type": tool.kind, "name": tool_ids.make_plain_id(tool.name, "tool_")}
    if tool.description is not None:
        members["description"] = tool.description
    if tool.kind == "custom":
        if tool.grammar is not None:
            members["format"] = _write_grammar(tool.grammar)
        return members
    empty: Json = {"type": "object", "properties": {}}
    members["parameters"] = empty if tool.parameters is None else tool.parameters
    members["strict"] = bool(tool.strict)
    return members


def _write_grammar(grammar: Json) -> Json:
    """Write a grammar; Chat Completions nests it one object deeper."""
    inner = grammar.get("grammar") if isinstance(grammar, dict) else None
    return {"type": "grammar", **inner} if isinstance(inner, dict) else grammar


def _write_choice(choice: ToolChoice, custom_names: set[str]) -> Json:
    if choice.allowed:
        tools = [_write_chosen(name, custom_names) for name in choice.allowed]
        mode = "auto" if choice.mode in ("auto", "none") else "required"
        return {"type": "allowed_tools", "mode": mode, "tools": tools}
    return _write_chosen(choice.name or "", custom_names) if choice.mode == "tool" else choice.mode


def _write_chosen(name: str, custom_names: set[str]) -> Object:
    kind = "custom" if name in custom_names else "function"
    return {"type": kind, "name": tool_ids.make_plain_id(name, "tool_")}


class InputWriter:
    """Writes the turns of one request as input items and instructions."""

    def __init__(self, request: CanonicalRequest, target: Target, *, instructions: bool) -> None:
        """`instructions`: True if the host takes system turns in that member."""
        self.items: list[Object] = []
        self.losses: list[Loss] = []
        self.instructions = ""
        self._client_name = request.names.get("turns", "messages")
        self._maker = reasoning_state.hash_maker(target, "openai-responses")
        turns = list(request.turns)
        if instructions:
            self._take_instructions(turns)
        for turn in turns:
            self._write_turn(turn)

    def _take_instructions(self, turns: list[CanonicalTurn]) -> None:
        """Move the system turns before all others into the instructions, which are text."""
        texts = []
        while turns and turns[0].role in ("system", "developer"):
            if any(isinstance(part, Media) for part in turns[0].parts):
                break
            texts += [part.text for part in turns.pop(0).parts if isinstance(part, Text)]
        self.instructions = "\n\n".join(text for text in texts if text)

    def _write_turn(self, turn: CanonicalTurn) -> None:
        content: list[Object] = []
        for part in turn.parts:
            if turn.role == "assistant":
                self._write_made_part(part)
            elif isinstance(part, ToolResult):
                self._add_message(turn.role, content)
                self.items.append(_write_result(part))
            else:
                content += _write_content(part)
        self._add_message(turn.role, content)

    def _add_message(self, role: str, content: list[Object]) -> None:
        """Add the content as a message; a single text as a string, which every host takes."""
        if not content:
            return
        single_text = content[0]["text"] if len(content) == 1 and "text" in content[0] else None
        message_content: Json = [*content] if single_text is None else single_text
        self.items.append({"role": role, "content": message_content})
        content.clear()

    def _write_made_part(self, part: Part) -> None:
        """Add a part that a model made."""
        match part:
            case Text() | Refused():
                if part.text:
                    self.items.append({"role": "assistant", "content": part.text})
            case Thought():
                self._write_thought(part)
            case ToolUse():
                self.items.append(_write_call(part))
                if part.state is not None:
                    self._record_loss()
            case Media():
                field = f"{self._client_name}.{part.kind}"
                self.losses.append(Loss(field, "dropped", _TEXT_ONLY_REASON))
            case _:
                return

    def _write_thought(self, thought: Thought) -> None:
        if thought.state is None or thought.maker != self._maker:
            self._record_loss()
            return
        summary = [{"type": "summary_text", "text": thought.text}] if thought.text else []
        item = {"type": "reasoning", "summary": summary, "encrypted_content": thought.state}
        self.items.append(item)

    def _record_loss(self) -> None:
        self.losses.append(Loss(f"{self._client_name}.reasoning", "dropped", _FOREIGN_REASON))


def _write_call(use: ToolUse) -> Object:
    kind = "custom_tool_call" if use.custom else "function_call"
    item = {
        "type": kind,
        "call_id": tool_ids.make_plain_id(use.id),
        "name": tool_ids.make_plain_id(use.name, "tool_"),
    }
    if use.custom:
        return {**item, "input": use.arguments}
    return {**item, "arguments": use.arguments or "{}"}


def _write_result(result: ToolResult) -> Object:
    parts = [item for part in result.parts for item in _write_content(part)]
    if result.error:
        parts.insert(0, {"type": "input_text", "text": "Error: "})
    output: Json = parts
    if all("text" in part for part in parts):
        prefix = "Error: " if result.error else ""
        texts = [part["text"] for part in parts[1 if prefix else 0 :]]
        output = prefix + "\n".join(texts)
    kind = "custom_tool_call_output" if result.custom else "function_call_output"
    return {"type": kind, "call_id": tool_ids.make_plain_id(result.id), "output": output}


def _write_content(part: Part) -> list[Object]:
    """Write a part of the model's input; empty text gives no item."""
    if isinstance(part, Text | Refused):
        return [{"type": "input_text", "text": part.text}] if part.text else []
    if not isinstance(part, Media):
        return []
    if part.text is not None:
        title = f"{part.name}:\n" if part.name else ""
        return [{"type": "input_text", "text": title + part.text}]
    if part.kind == "image":
        return [_write_image(part)]
    return [_write_file(part)] if part.kind == "file" else []


def _write_image(image: Media) -> Object:
    url = image.url if image.data is None else _write_data_url(image, "image/png")
    item: Object = {"type": "input_image", "image_url": url}
    return {**item, "detail": image.detail} if image.detail else item


def _write_file(file: Media) -> Object:
    if file.data is None:
        item: Object = {"type": "input_file", "file_url": file.url}
        return {**item, "filename": file.name} if file.name else item
    default_type = "application/pdf"
    name = file.name or _FILE_NAMES.get(file.type or default_type, "document")
    return {
        "type": "input_file",
        "filename": name,
        "file_data": _write_data_url(file, default_type),
    }


def _write_data_url(media: Media, default_type: str) -> str:
    return f"data:{media.type or default_type};base64,{media.data}"
