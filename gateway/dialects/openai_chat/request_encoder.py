"""A CanonicalRequest as a Chat Completions body.

The encoder does not look at what a model or a host refuses: `request.write` fits the body to its
target, with names of members, efforts and caps. Each turn is one message, and so is each tool
result. Results follow directly after their calls, as hosts demand. Media of results follow in a
user message after all results of that turn.
"""

from collections.abc import Iterable

from gateway.core import jsonio
from gateway.core.canonical_request import (
    CanonicalRequest,
    CanonicalTurn,
    Media,
    OutputFormat,
    Part,
    Refused,
    Thought,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
)  # fmt: skip
from gateway.core.jsonio import Json
from gateway.core.loss import Loss
from gateway.core.target import Target
from gateway.dialects import compatibility, reasoning_state, tool_ids
from gateway.dialects.base import EncodedRequest
from gateway.dialects.openai_chat import effort
from gateway.dialects.openai_chat.content import (
    BLANK_LINE,
    join_text,
    read_plain_text,
    write_content,
    write_media,
)
from gateway.dialects.openai_chat.reasoning_state import REASONING_MEMBERS

type Object = dict[str, Json]

_SETTING_MEMBERS = {
    "max_output": "max_completion_tokens",
    "temperature": "temperature",
    "top_p": "top_p",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "seed": "seed",
    "logit_bias": "logit_bias",
    "top_logprobs": "top_logprobs",
    "verbosity": "verbosity",
    "effort": "reasoning_effort",
    "service_tier": "service_tier",
    "user": "user",
    "metadata": "metadata",
    "cache_key": "prompt_cache_key",
    "parallel_tools": "parallel_tool_calls",
}
"""The member for each field whose value needs no change."""
_FIELDS_BY_MEMBER = {
    **{member: field for field, member in _SETTING_MEMBERS.items()},
    "messages": "turns",
    "tools": "tools",
    "tool_choice": "tool_choice",
    "response_format": "form",
    "stop": "stop",
    "n": "choices",
    "logprobs": "logprobs",
    "stream": "stream",
}
"""The field that each member comes from."""
_DEFAULT_CLIENT_NAMES = {"turns": "messages", "form": "response_format", "choices": "n"}
"""Clients' names of fields that they have not set by a name of their own."""

_CUSTOM_TOOL_SCHEMA = {
    "type": "object",
    "properties": {"input": {"type": "string"}},
    "required": ["input"],
}
"""Parameters of a function in place of a custom tool: its one text."""
_FOREIGN_RULE = compatibility.FIELD_RULES["foreign_thought"][compatibility.CHAT]
_FOREIGN_REASON = f"{compatibility.CHAT} {_FOREIGN_RULE.reason}"
_TEXT_ONLY_REASON = f"{compatibility.CHAT} accepts only text from an assistant"


def encode_request(request: CanonicalRequest, target: Target) -> EncodedRequest:
    """Write the body of a request."""
    messages = MessageEncoder(reasoning_state.hash_maker(target, "openai-chat"))
    value: Object = {"messages": messages.encode(request.turns)}
    tools = [_encode_tool(tool) for tool in request.tools if tool.kind != "hosted"]
    if tools:
        value["tools"] = tools
    if request.tool_choice is not None:
        value["tool_choice"] = _encode_tool_choice(request.tool_choice)
    if request.form is not None:
        value["response_format"] = _encode_format(request.form)
    for field, member in _SETTING_MEMBERS.items():
        field_value = getattr(request, field)
        if field_value is not None:
            value[member] = field_value
    if request.user:
        value["user"] = tool_ids.make_plain_id(request.user, "user_")
    if request.stop:
        value["stop"] = list(request.stop)
    if request.choices > 1:
        value["n"] = request.choices
    if request.logprobs:
        value["logprobs"] = True
    if request.stream:
        value["stream"] = True
    fields_by_member = {member: _FIELDS_BY_MEMBER[member] for member in value}
    if request.effort is None and request.budget is not None:
        value["reasoning_effort"] = effort.from_budget(request.budget)
        fields_by_member["reasoning_effort"] = "budget"
    names = {
        it: request.names.get(field, _DEFAULT_CLIENT_NAMES.get(field, field))
        for it, field in fields_by_member.items()
    }
    messages_name = names["messages"]
    losses = [
        Loss(f"{messages_name}.{name}", "dropped", why)
        for name, why in messages.loss_reasons.items()
    ]
    return EncodedRequest(value=value, client_names=names, losses=tuple(losses))


def _encode_tool(tool: Tool) -> Object:
    """Write a tool as a function; few hosts have custom tools, so that theirs takes one text."""
    function: Object = {"name": tool_ids.make_plain_id(tool.name, "tool_")}
    if tool.description is not None:
        function["description"] = tool.description
    parameters = _CUSTOM_TOOL_SCHEMA if tool.kind == "custom" else tool.parameters
    if parameters is not None:
        function["parameters"] = parameters
    if tool.strict is not None:
        function["strict"] = tool.strict
    return {"type": "function", "function": function}


def _encode_tool_choice(choice: ToolChoice) -> Json:
    if choice.mode == "tool":
        return _encode_tool_name(choice.name or "")
    if choice.allowed and choice.mode != "none":
        allowed = {
            "mode": choice.mode,
            "tools": [_encode_tool_name(name) for name in choice.allowed],
        }
        return {"type": "allowed_tools", "allowed_tools": allowed}
    return choice.mode


def _encode_tool_name(name: str) -> Object:
    return {"type": "function", "function": {"name": tool_ids.make_plain_id(name, "tool_")}}


def _encode_format(form: OutputFormat) -> Object:
    if form.schema is None:
        return {"type": "json_object"}
    json_schema: Object = {"name": form.name or "answer", "schema": form.schema}
    if form.description is not None:
        json_schema["description"] = form.description
    if form.strict is not None:
        json_schema["strict"] = form.strict
    return {"type": "json_schema", "json_schema": json_schema}


class MessageEncoder:
    """Writes the messages of one request to one target."""

    __slots__ = ("_maker", "_messages", "_results", "loss_reasons")

    def __init__(self, maker: str) -> None:
        self._maker = maker
        self._messages: list[Object] = []
        self._results: dict[str, list[ToolResult]] = {}
        """Results that the encoder has not written yet, by the id of their call."""
        self.loss_reasons: dict[str, str] = {}
        """Why parts were left out, by the name of the part."""

    def encode(self, turns: Iterable[CanonicalTurn]) -> list[Object]:
        """Write the messages of the turns."""
        turns = list(turns)
        for turn in turns:
            for part in turn.parts:
                if isinstance(part, ToolResult):
                    self._results.setdefault(part.id, []).append(part)
        for turn in turns:
            if turn.role == "assistant":
                self._encode_assistant(turn)
            elif turn.role == "user":
                self._encode_user(turn)
            else:
                self._add_message("system", write_content(turn.parts), turn.name)
        return self._messages

    def _add_message(self, role: str, content: Json, name: str | None) -> None:
        message: Object = {"role": role, "content": content}
        if name is not None:
            message["name"] = name
        self._messages.append(message)

    def _encode_user(self, turn: CanonicalTurn) -> None:
        results = [part for part in turn.parts if isinstance(part, ToolResult)]
        orphans = [it for it in results if self._take_orphan(it)]
        if orphans:
            self._add_results(orphans)
        if len(results) < len(turn.parts) or not results:
            self._add_message("user", write_content(turn.parts), turn.name)

    def _take_orphan(self, result: ToolResult) -> bool:
        """True if no call before a result asked for it; takes the result."""
        waiting = self._results[result.id]
        for at, it in enumerate(waiting):
            if it is result:
                del waiting[at]
                return True
        return False

    def _encode_assistant(self, turn: CanonicalTurn) -> None:
        message: Object = {"role": "assistant", "content": None}
        refusal = [part.text for part in turn.parts if isinstance(part, Refused)]
        text = join_text(turn.parts)
        thinking = self._encode_reasoning(turn.parts, message)
        if thinking:
            text_parts = [{"type": "text", "text": text}] if text else []
            message["content"] = [{"type": "thinking", "thinking": thinking}, *text_parts]
        elif text:
            message["content"] = text
        if refusal:
            message["refusal"] = "".join(refusal)
        uses = [part for part in turn.parts if isinstance(part, ToolUse)]
        if uses:
            message["tool_calls"] = [self._encode_call(use) for use in uses]
        if turn.name is not None:
            message["name"] = turn.name
        for part in turn.parts:
            if isinstance(part, Media) and part.text is None:
                self.loss_reasons[part.kind] = _TEXT_ONLY_REASON
        if uses or refusal or message["content"]:
            self._messages.append(message)
        results = [self._results[it.id].pop(0) for it in uses if self._results.get(it.id)]
        self._add_results(results)

    def _encode_reasoning(self, parts: Iterable[Part], message: Object) -> list[Object]:
        """Write reasoning of the target itself; return the parts that belong into content."""
        thinking_parts: list[Object] = []
        for part in parts:
            if not isinstance(part, Thought):
                continue
            state = part.state
            if state is None or part.maker != self._maker:
                self.loss_reasons["reasoning"] = _FOREIGN_REASON
            elif state in REASONING_MEMBERS:
                message[state] = message.get(state, "") + part.text
            elif state == "content":
                thinking_parts.append({"type": "text", "text": part.text})
            else:
                self._add_details(state, message)
        return thinking_parts

    def _add_details(self, state: str, message: Object) -> None:
        try:
            details = jsonio.loads_text(state)
        except jsonio.JsonError:
            details = None
        if isinstance(details, list):
            message["reasoning_details"] = [*message.get("reasoning_details", ()), *details]
        else:
            self.loss_reasons["reasoning"] = _FOREIGN_REASON

    def _encode_call(self, use: ToolUse) -> Object:
        arguments = use.arguments if use.arguments.strip() else "{}"
        if use.custom:
            arguments = jsonio.dumps({"input": use.arguments}).decode()
        function = {"name": tool_ids.make_plain_id(use.name, "tool_"), "arguments": arguments}
        call: Object = {
            "id": tool_ids.make_plain_id(use.id),
            "type": "function",
            "function": function,
        }
        if use.state is not None:
            if use.maker == self._maker:
                call["extra_content"] = {"google": {"thought_signature": use.state}}
            else:
                self.loss_reasons["reasoning"] = _FOREIGN_REASON
        return call

    def _add_results(self, results: Iterable[ToolResult]) -> None:
        """Write results, and after them all their media."""
        media: list[Object] = []
        for result in results:
            media_parts = [part for part in result.parts if isinstance(part, Media)]
            attached = [part for part in media_parts if part.text is None]
            text = BLANK_LINE.join(
                it for part in result.parts if (it := read_plain_text(part)) is not None
            )
            if attached:
                name = result.name or result.id
                media += [{"type": "text", "text": f"Of the result of {name}:"}]
                media += [write_media(part) for part in attached]
                text = text or "It follows in the next message."
            if result.error:
                text = f"Error: {text}"
            self._messages.append(
                {"role": "tool", "tool_call_id": tool_ids.make_plain_id(result.id), "content": text}
            )
        if media:
            self._add_message("user", media, None)
