"""A client's Chat Completions request as a CanonicalRequest, for a target of another dialect.

The decoder is lenient: a member that a host would accept becomes a field of CanonicalRequest. A
member without a field, or with a value of another type, stays in `extra_members`. The decoder reads
the hosts' own members for reasoning if they name an amount: `thinking` (DeepSeek, Moonshot, Z.ai),
`enable_thinking` and `thinking_budget` (DashScope), `reasoning` (OpenRouter, Together). Messages
become turns: results of tools are parts of a user's turn.
"""

from collections.abc import Callable, Iterable
from typing import cast

from gateway.core import jsonio
from gateway.core.canonical_request import (
    CanonicalRequest,
    CanonicalTurn,
    Foreign,
    Media,
    OutputFormat,
    Part,
    Refused,
    Role,
    Text,
    Thought,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
)  # fmt: skip
from gateway.core.jsonio import Json
from gateway.core.target import EFFORTS
from gateway.dialects import reasoning_state
from gateway.dialects.base import RequestBody
from gateway.dialects.json_values import as_number, as_text, as_whole_number
from gateway.dialects.openai_chat.content import read_cache_mark, read_parts
from gateway.dialects.openai_chat.reasoning_state import (
    REASONING_MEMBERS,
    has_sealed_state,
    read_reasoning_text,
)
from gateway.dialects.openai_chat.tools import make_call_id, read_signature

type Object = dict[str, Json]

_READ_ELSEWHERE = frozenset({"model", "messages", "stream"})
"""Members that `decode_request` reads without a _FieldReader."""
_DEFAULTS: tuple[tuple[str, Json], ...] = (
    ("response_format", {"type": "text"}),
    ("modalities", ["text"]),
    ("store", False),
    ("tools", []),
    ("functions", []),
    ("service_tier", "auto"),
)
"""Members whose value is the default, so that they ask for nothing."""


def decode_request(body: RequestBody) -> CanonicalRequest:
    """Return the request of a body."""
    reader = _FieldReader(body.value)
    _read_limits(reader)
    _read_tools(reader)
    _read_reasoning(reader)
    _read_options(reader)
    return CanonicalRequest(
        turns=decode_turns(body.value["messages"]),
        stream=body.prompt.stream,
        names=reader.names,
        extra_members={
            name: value
            for name, value in body.value.items()
            if value is not None and name not in reader.read_members and name not in _READ_ELSEWHERE
        }
        | reader.extra_members,
        **reader.fields,
    )


class _FieldReader:
    """Reads members of a request into fields."""

    __slots__ = ("extra_members", "fields", "names", "read_members", "value")

    def __init__(self, value: Object) -> None:
        self.value = value
        self.fields: Object = {}
        self.names: dict[str, str] = {}
        self.extra_members: Object = {}
        """Members inside the members it has read, for which there is no field."""
        self.read_members: set[str] = set()
        """Members whose whole meaning is in the fields."""

    def set(self, field: str, member: str, value: Json) -> None:
        """Set a field to the value of a member; the first of several members counts."""
        if value is None:
            return
        if field in self.fields:
            if self.fields[field] == value:
                self.read_members.add(member)
            return
        self.fields[field] = value
        self.names[field] = member
        self.read_members.add(member)

    def keep_rest(self, member: str, *known_names: str) -> None:
        """Keep the unknown members of an object that it has read."""
        for name, value in self.value[member].items() if member in self.read_members else ():
            if name not in known_names and value is not None:
                self.extra_members[f"{member}.{name}"] = value

    def take(self, field: str, member: str, read: Callable[[Json], Json]) -> None:
        """Read a member into a field; `read` returns None if the value does not fit the field."""
        if self.value.get(member) is not None:
            self.set(field, member, read(self.value[member]))


def _read_limits(reader: _FieldReader) -> None:
    for member in ("max_completion_tokens", "max_tokens"):
        reader.take("max_output", member, as_whole_number)
    reader.take("stop", "stop", _as_stop)
    for member in ("temperature", "top_p", "presence_penalty", "frequency_penalty"):
        reader.take(member, member, as_number)
    for member in ("top_k", "seed", "top_logprobs"):
        reader.take(member, member, as_whole_number)
    reader.take("seed", "random_seed", as_whole_number)  # Mistral's name
    reader.take("choices", "n", as_whole_number)
    reader.take("logprobs", "logprobs", _as_flag)
    reader.take("logit_bias", "logit_bias", _as_object)


def _read_options(reader: _FieldReader) -> None:
    reader.take("verbosity", "verbosity", as_text)
    if reader.value.get("service_tier") != "auto":
        reader.take("service_tier", "service_tier", as_text)
    for member in ("safety_identifier", "user"):
        reader.take("user", member, as_text)
    reader.take("metadata", "metadata", _as_object)
    reader.take("cache_key", "prompt_cache_key", as_text)
    reader.take("form", "response_format", _decode_format)
    for member, default in _DEFAULTS:
        if reader.value.get(member) == default:
            reader.read_members.add(member)
    options = reader.value.get("stream_options")
    if isinstance(options, dict) and isinstance(options.get("include_usage"), bool):
        reader.fields["stream_usage"] = options["include_usage"]
        if len(options) == 1:
            reader.read_members.add("stream_options")


def _read_tools(reader: _FieldReader) -> None:
    reader.take("tools", "tools", _decode_tools)
    reader.take("tools", "functions", _decode_functions)
    reader.take("tool_choice", "tool_choice", _decode_tool_choice)
    reader.take("tool_choice", "function_call", _decode_function_call)
    reader.take("parallel_tools", "parallel_tool_calls", _as_flag)


def _read_reasoning(reader: _FieldReader) -> None:
    reader.take("effort", "reasoning_effort", _as_effort)
    value = reader.value
    reasoning = value.get("reasoning")
    if isinstance(reasoning, dict):
        reader.set("effort", "reasoning", _as_effort(reasoning.get("effort")))
        reader.set("budget", "reasoning", as_whole_number(reasoning.get("max_tokens")))
        if reasoning.get("enabled") is False:
            reader.set("effort", "reasoning", "none")
        if isinstance(reasoning.get("exclude"), bool):
            reader.set("thoughts_shown", "reasoning", not reasoning["exclude"])
        reader.keep_rest("reasoning", "effort", "max_tokens", "enabled", "exclude")
    thinking = value.get("thinking")
    if isinstance(thinking, dict):
        if thinking.get("type") == "disabled":
            reader.set("effort", "thinking", "none")
        else:
            reader.set("budget", "thinking", as_whole_number(thinking.get("budget_tokens")))
        reader.keep_rest("thinking", "type", "budget_tokens")
    reader.take("budget", "thinking_budget", as_whole_number)
    if value.get("enable_thinking") is False:
        reader.set("effort", "enable_thinking", "none")
    elif value.get("enable_thinking") is True and "budget" in reader.fields:
        reader.read_members.add("enable_thinking")
    if value.get("chat_template_kwargs") == {"enable_thinking": False}:
        reader.set("effort", "chat_template_kwargs", "none")
    reader.take("thoughts_shown", "include_reasoning", _as_flag)


def _decode_tools(tools: Json) -> tuple[Tool, ...] | None:
    if not isinstance(tools, list) or not tools:
        return None
    return tuple([_decode_tool(tool) for tool in tools])


def _decode_tool(tool: Json) -> Tool:
    if not isinstance(tool, dict):
        return Tool(name=str(tool), kind="hosted", source=tool)
    kind = tool.get("type", "function")
    inside = tool.get(kind) if kind in ("function", "custom") else None
    if not isinstance(inside, dict):
        return Tool(name=str(kind), kind="hosted", cache=read_cache_mark(tool), source=tool)
    if kind == "custom":
        custom_format = inside.get("format")
        is_plain = not isinstance(custom_format, dict) or custom_format.get("type") == "text"
        return Tool(
            name=as_text(inside.get("name")) or "",
            kind="custom",
            description=as_text(inside.get("description")),
            grammar=None if is_plain else custom_format,
            cache=read_cache_mark(tool),
            source=tool,
        )
    return _decode_function(inside, tool)


def _decode_function(inside: Object, source: Object) -> Tool:
    return Tool(
        name=as_text(inside.get("name")) or "",
        description=as_text(inside.get("description")),
        parameters=_as_object(inside.get("parameters")),
        strict=_as_flag(inside.get("strict")),
        cache=read_cache_mark(source),
        source=source,
    )


def _decode_functions(functions: Json) -> tuple[Tool, ...] | None:
    """Decode `functions`, the older form of `tools`."""
    if not isinstance(functions, list) or not functions:
        return None
    return tuple([_decode_function(it, it) for it in functions if isinstance(it, dict)])


def _decode_tool_choice(choice: Json) -> ToolChoice | None:
    if isinstance(choice, str):
        return _decode_mode(choice)
    if not isinstance(choice, dict):
        return None
    kind = choice.get("type", "function")
    inside = choice if kind == "tool" else choice.get(kind) if isinstance(kind, str) else None
    if not isinstance(inside, dict):
        return None
    if kind == "allowed_tools":
        return _decode_allowed_tools(inside)
    name = as_text(inside.get("name"))
    return None if name is None else ToolChoice(mode="tool", name=name)


def _decode_allowed_tools(inside: Object) -> ToolChoice | None:
    tools, mode = inside.get("tools"), _decode_mode(inside.get("mode", "auto"))
    names = [_read_tool_name(tool) for tool in tools] if isinstance(tools, list) else [None]
    allowed = tuple([name for name in names if name is not None])
    if mode is None or len(allowed) != len(names):
        return None
    return ToolChoice(mode=mode.mode, allowed=allowed)


def _read_tool_name(tool: Json) -> str | None:
    """Return the name in `{"type": kind, kind: {"name"}}`."""
    kind = tool.get("type") if isinstance(tool, dict) else None
    inside = tool.get(kind) if isinstance(kind, str) else None
    return as_text(inside.get("name")) if isinstance(inside, dict) else None


def _decode_mode(word: Json) -> ToolChoice | None:
    match word:
        case "auto" | "none" | "required":
            return ToolChoice(mode=word)
        case "any":  # Mistral's word
            return ToolChoice(mode="required")
        case _:
            return None


def _decode_function_call(choice: Json) -> ToolChoice | None:
    name = as_text(choice.get("name")) if isinstance(choice, dict) else None
    return _decode_mode(choice) if name is None else ToolChoice(mode="tool", name=name)


def _decode_format(form: Json) -> OutputFormat | None:
    kind = form.get("type") if isinstance(form, dict) else None
    if kind == "json_object":
        return OutputFormat()
    if kind != "json_schema":
        return None
    inside = form.get("json_schema", form)  # Perplexity and Together take it without that member
    if not isinstance(inside, dict):
        return None
    schema = inside.get("schema")
    return OutputFormat(
        schema={} if schema is None else schema,
        name=as_text(inside.get("name")),
        description=as_text(inside.get("description")),
        strict=_as_flag(inside.get("strict")),
    )


def _as_effort(word: Json) -> str | None:
    return word if isinstance(word, str) and word in EFFORTS else None


def _as_stop(stop: Json) -> tuple[str, ...] | None:
    words = [stop] if isinstance(stop, str) else stop
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        return None
    return tuple(words)


def _as_flag(value: Json) -> bool | None:
    return value if isinstance(value, bool) else None


def _as_object(value: Json) -> Object | None:
    return value if isinstance(value, dict) else None


def decode_turns(messages: Iterable[Object]) -> tuple[CanonicalTurn, ...]:
    """Return one turn for each message, in their order."""
    decoder = _TurnDecoder()
    return tuple([decoder.decode(message) for message in messages])


class _TurnDecoder:
    """Decodes messages to turns; remembers calls, so that results find theirs."""

    __slots__ = ("_calls", "_count", "_last_ids")

    def __init__(self) -> None:
        self._calls: dict[str, ToolUse] = {}
        self._count = 0
        self._last_ids: dict[str, str] = {}
        """The made-up id of the last call of each function, for calls without ids."""

    def decode(self, message: Object) -> CanonicalTurn:
        role = message.get("role")
        name = message.get("name")
        match role:
            case "system" | "developer" | "user":
                parts = tuple(read_parts(message.get("content")))
            case "assistant":
                parts = tuple(self._decode_assistant(message))
            case "tool" | "function":
                return CanonicalTurn(
                    role="user", parts=(self._decode_result(message),), source=message
                )
            case _:
                return CanonicalTurn(role="user", parts=(Foreign(kind=str(role), source=message),))
        return CanonicalTurn(
            role=cast("Role", role),
            parts=parts,
            name=name if isinstance(name, str) and name else None,
            source=message,
        )

    def _decode_assistant(self, message: Object) -> list[Part]:
        thoughts, states = _decode_reasoning(message)
        parts: list[Part] = [*thoughts, *read_parts(message.get("content"))]
        refusal = message.get("refusal")
        if isinstance(refusal, str) and refusal:
            parts.append(Refused(text=refusal, source=refusal))
        calls = message.get("tool_calls")
        if isinstance(calls, list):
            parts += [self._decode_call(call, states) for call in calls if isinstance(call, dict)]
        call = message.get("function_call")
        if isinstance(call, dict):
            parts.append(self._decode_call({"function": call}, {}))
        if message.get("audio"):
            parts.append(Foreign(kind="audio", source=message["audio"]))
        return parts

    def _decode_call(self, call: Object, states: dict[str, str]) -> ToolUse:
        custom = call.get("type") == "custom"
        value = call.get("custom" if custom else "function")
        inside: Object = value if isinstance(value, dict) else {}
        name = inside.get("name")
        name = name if isinstance(name, str) else ""
        arguments = inside.get("input" if custom else "arguments")
        id = call.get("id")
        if not isinstance(id, str) or not id:
            self._count += 1
            id = self._last_ids[name] = make_call_id(f"{self._count}/{name}")
        state = states.get(id) or read_signature(call)
        maker, state = reasoning_state.split_label(state) if state is not None else (None, None)
        use = ToolUse(
            id=id,
            name=name,
            arguments=arguments if isinstance(arguments, str) else _write_json(arguments),
            custom=custom,
            state=state,
            maker=maker,
            source=call,
        )
        self._calls[id] = use
        return use

    def _decode_result(self, message: Object) -> ToolResult:
        id, name = message.get("tool_call_id"), message.get("name")
        name = name if isinstance(name, str) and name else None
        if not isinstance(id, str) or not id:
            id = self._last_ids.get(name or "") or make_call_id(f"result/{name}")
        call = self._calls.get(id)
        parts = read_parts(message.get("content"))
        text_and_media = [part for part in parts if isinstance(part, Text | Media)]
        others = [_write_as_text(part) for part in parts if not isinstance(part, Text | Media)]
        return ToolResult(
            id=id,
            name=name if call is None else call.name,
            parts=(*text_and_media, *others),
            custom=call is not None and call.custom,
            source=message,
        )


def _write_as_text(part: Part) -> Text:
    """Write a part that a tool result cannot hold as its JSON, so that the model still reads it."""
    source = getattr(part, "source", None)
    return Text(text=_write_json(source), source=source)


def _decode_reasoning(message: Object) -> tuple[list[Thought], dict[str, str]]:
    """Return the reasoning of an assistant's message, and the states of its calls by their ids.

    Each state that the gateway labelled is a block of its own, for a number of characters of the
    text. All other blocks together are one state of the host.
    """
    text = next(
        (it for name in REASONING_MEMBERS if isinstance(it := message.get(name), str) and it), ""
    )
    details = message.get("reasoning_details")
    blocks = [it for it in details if isinstance(it, dict)] if isinstance(details, list) else []
    labelled = [it for it in blocks if _is_labelled(it)]
    unlabelled = [it for it in blocks if not _is_labelled(it)]
    states = {it["id"]: it["data"] for it in labelled if isinstance(it.get("id"), str)}
    pieces, at = [], 0
    reasoning_blocks = [it for it in labelled if it.get("id") not in states]
    for block in reasoning_blocks:
        maker, state = reasoning_state.split_label(block["data"])
        chars = block.get("chars")
        end = at + chars if isinstance(chars, int) else at
        end = len(text) if block is reasoning_blocks[-1] and not block.get("redacted") else end
        part = "" if block.get("redacted") else text[at:end]
        at = max(at, end)
        pieces.append(
            Thought(
                text=part,
                state=state,
                redacted=block.get("redacted") is True,
                maker=maker,
                source=block,
            )
        )
    rest, native = (
        text[at:] or read_reasoning_text(unlabelled),
        _write_json(unlabelled) if has_sealed_state(unlabelled) else None,
    )
    if rest or native:
        pieces.append(Thought(text=rest, state=native, redacted=not rest, source=details or text))
    return pieces, states


def _is_labelled(block: Object) -> bool:
    data = block.get("data")
    return isinstance(data, str) and data.startswith(reasoning_state.LABEL_PREFIX)


def _write_json(value: Json) -> str:
    return "" if value is None else jsonio.dumps(value).decode()
