"""Decoder of a client's request: a Responses body becomes a canonical request.

Consecutive items that the model made (reasoning, messages, calls) are one turn of the assistant.
Each result of a tool is a turn of the user. Source: the input items of OpenAI's API
reference.
"""

from collections.abc import Callable, Iterable, Mapping

import msgspec

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
from gateway.dialects import reasoning_state
from gateway.dialects.base import RequestBody
from gateway.dialects.json_values import as_number, as_text, as_whole_number
from gateway.dialects.openai_responses.content import (
    Object,
    list_objects,
    read_object,
)
from gateway.dialects.openai_responses.hosted_tools import (
    is_left_out,
    read_tool_work,
    separate_tool_work,
)
from gateway.dialects.openai_responses.reasoning_state import SlotContent, read_slot
from gateway.dialects.openai_responses.request import (
    LOGPROBS,
    REFERENCE,
    is_reference,
    is_tool_result,
)
from gateway.dialects.openai_responses.tools import (
    ADDITIONAL_TOOLS,
    NAMESPACE,
    find_namespace_tools,
    join_namespace,
    list_offered_tools,
    read_tool_name,
    unpack_namespace,
)

_ROLES: Mapping[str, Role] = {
    "system": "system",
    "developer": "developer",
    "assistant": "assistant",
    "user": "user",
}
_CLIENT_NAMES = {
    "turns": "input",
    "tools": "tools",
    "tool_choice": "tool_choice",
    "parallel_tools": "parallel_tool_calls",
    "form": "text.format",
    "verbosity": "text.verbosity",
    "max_output": "max_output_tokens",
    "temperature": "temperature",
    "top_p": "top_p",
    "logprobs": "include",
    "top_logprobs": "top_logprobs",
    "effort": "reasoning.effort",
    "thoughts_shown": "reasoning.summary",
    "service_tier": "service_tier",
    "metadata": "metadata",
    "cache_key": "prompt_cache_key",
    "stream": "stream",
}
_FIELD_MEMBERS = frozenset(
    {
        "model", "input", "instructions", "tools", "tool_choice", "parallel_tool_calls", "text",
        "reasoning", "max_output_tokens", "temperature", "top_p", "top_logprobs", "service_tier",
        "metadata", "prompt_cache_key", "stream", "stream_options", "include", "safety_identifier",
    }
)  # fmt: skip
_NO_WISH: dict[str, Json] = {
    "store": False,
    "background": False,
    "truncation": "disabled",
}
"""Values that ask for what every other dialect does anyway."""
_KNOWN_INCLUDES = frozenset({"reasoning.encrypted_content", LOGPROBS})
"""Words in `include` that the gateway always gives, or that a field holds."""
_KNOWN_FORMATS = ("text", "json_object", "json_schema")


def decode_request(body: RequestBody) -> CanonicalRequest:
    """Decode a request that `request.read` accepts."""
    value, prompt = body.value, body.prompt
    text, reasoning = read_object(value.get("text")), read_object(value.get("reasoning"))
    service_tier = value.get("service_tier")
    user_member = next(
        (name for name in ("safety_identifier", "user") if as_text(value.get(name))), ""
    )
    parallel = value.get("parallel_tool_calls")
    tools = _read_tools(list_offered_tools(value))
    return CanonicalRequest(
        turns=_read_turns(value.get("instructions"), value.get("input")),
        tools=tools,
        tool_choice=_read_choice(value.get("tool_choice"), tools),
        parallel_tools=parallel if isinstance(parallel, bool) else None,
        form=_read_format(text.get("format")),
        max_output=prompt.max_output,
        temperature=as_number(value.get("temperature")),
        top_p=as_number(value.get("top_p")),
        logprobs=prompt.logprobs,
        top_logprobs=as_whole_number(value.get("top_logprobs")),
        verbosity=as_text(text.get("verbosity")),
        effort=prompt.effort,
        thoughts_shown=bool(reasoning.get("summary") or reasoning.get("generate_summary")) or None,
        service_tier=as_text(service_tier) if service_tier != "auto" else None,
        user=as_text(value.get(user_member)),
        metadata=value.get("metadata") or None,
        cache_key=as_text(value.get("prompt_cache_key")),
        stream=prompt.stream,
        stream_usage=True,
        names={**_CLIENT_NAMES, "user": user_member} if user_member else _CLIENT_NAMES,
        extra_members=_read_extra_members(value),
        source=value,
    )


def _read_turns(instructions: Json, value: Json) -> tuple[CanonicalTurn, ...]:
    turns: list[CanonicalTurn] = []
    if isinstance(instructions, str) and instructions:
        turns.append(
            CanonicalTurn(role="system", parts=(Text(text=instructions),), source=instructions)
        )
    if isinstance(value, str):
        turns.append(CanonicalTurn(role="user", parts=(Text(text=value),), source=value))
    parts: list[Part] = []
    sources: list[Json] = []
    for item in list_objects(value):
        if item.get("type") == ADDITIONAL_TOOLS or is_left_out(item):
            continue
        role = _read_role(item)
        if role == "assistant":
            _add_made(parts, item)
            sources.append(item)
            continue
        _close_turn(turns, parts, sources)
        turns.append(CanonicalTurn(role=role, parts=_read_given(item), source=item))
    _close_turn(turns, parts, sources)
    return tuple(turns)


def _close_turn(turns: list[CanonicalTurn], parts: list[Part], sources: list[Json]) -> None:
    if parts:
        turns.append(
            CanonicalTurn(role="assistant", parts=separate_tool_work(parts), source=[*sources])
        )
    parts.clear()
    sources.clear()


def _read_role(item: Object) -> Role:
    """Return whose turn an item is of; items beside messages and tool results are the model's."""
    kind, role = item.get("type"), item.get("role")
    if kind in (None, "message"):
        return _ROLES.get(role, "user") if isinstance(role, str) else "user"
    return "user" if is_tool_result(kind) else "assistant"


def _read_given(item: Object) -> tuple[Part, ...]:
    """Read a message, or the result of a tool."""
    kind = item.get("type")
    if is_reference(item):
        return (Foreign(kind=REFERENCE, source=item),)
    if kind in (None, "message"):
        return _read_content(item.get("content"))
    if kind not in ("function_call_output", "custom_tool_call_output"):
        return (read_tool_work(item) or Foreign(kind=str(kind), source=item),)
    output = _read_content(item.get("output"))
    result_parts = tuple(part for part in output if isinstance(part, Text | Media))
    result = ToolResult(
        id=as_text(item.get("call_id")) or "",
        name=as_text(item.get("name")),
        parts=result_parts,
        custom=kind == "custom_tool_call_output",
        source=item,
    )
    others = (part.source for part in output if not isinstance(part, Text | Media))
    return (result, *map(_read_foreign, others))


def _add_made(parts: list[Part], item: Object) -> None:
    """Add an item that the model made to its turn."""
    kind = item.get("type")
    if kind in (None, "message"):
        parts += _read_content(item.get("content"))
    elif kind == "reasoning":
        thought, call_id = _read_thought(item)
        for index, part in enumerate(parts if call_id is not None else ()):
            if isinstance(part, ToolUse) and part.id == call_id:
                with_state = msgspec.structs.replace(part, state=thought.state, maker=thought.maker)
                parts[index] = with_state
                return
        parts.append(thought)
    elif kind in ("function_call", "custom_tool_call"):
        custom = kind == "custom_tool_call"
        use = ToolUse(
            id=as_text(item.get("call_id")) or "",
            name=join_namespace(item.get(NAMESPACE), as_text(item.get("name")) or ""),
            arguments=as_text(item.get("input" if custom else "arguments")) or "",
            custom=custom,
            source=item,
        )
        parts.append(use)
    else:
        parts.append(read_tool_work(item) or Foreign(kind=str(kind), source=item))


def _read_thought(item: Object) -> tuple[Thought, str | None]:
    """Read a thought, and the id of the tool call that its state belongs to, if any."""
    parts = list_objects(item.get("summary")) or list_objects(item.get("content"))
    texts = [part["text"] for part in parts if isinstance(part.get("text"), str)]
    maker, state = reasoning_state.split_label(as_text(item.get("encrypted_content")) or "")
    slot = read_slot(state) if maker is not None else SlotContent(state)
    thought = Thought(
        text="\n\n".join(texts),
        state=slot.state or None,
        redacted=slot.redacted,
        maker=maker,
        source=item,
    )
    return thought, slot.call


def _read_content(content: Json) -> tuple[Part, ...]:
    if isinstance(content, str):
        return (Text(text=content, source=content),)
    return tuple(_read_part(part) for part in list_objects(content))


def _read_part(part: Object) -> Part:
    kind = part.get("type")
    reader = _PART_READERS.get(kind) if isinstance(kind, str) else None
    return reader(part) if reader is not None else _read_foreign(part)


def _read_foreign(part: Object) -> Foreign:
    return Foreign(kind=str(part.get("type")), source=part)


def _read_text(part: Object) -> Part:
    return Text(text=as_text(part.get("text")) or "", cache=_read_cache(part), source=part)


def _read_refusal(part: Object) -> Part:
    return Refused(text=as_text(part.get("refusal")) or "", source=part)


def _read_image(part: Object) -> Part:
    media_type, data, url = _split_data_url(part.get("image_url"))
    return Media(
        kind="image",
        type=media_type,
        data=data,
        url=url,
        id=as_text(part.get("file_id")),
        detail=_read_detail(part),
        cache=_read_cache(part),
        source=part,
    )


def _read_file(part: Object) -> Part:
    file_data = part.get("file_data")
    media_type, data, plain = _split_data_url(file_data)
    return Media(
        kind="file",
        type=media_type or ("application/pdf" if file_data else None),
        data=data or plain,
        url=as_text(part.get("file_url")),
        id=as_text(part.get("file_id")),
        name=as_text(part.get("filename")),
        detail=_read_detail(part),
        cache=_read_cache(part),
        source=part,
    )


def _read_audio(part: Object) -> Part:
    audio = read_object(part.get("input_audio"))
    audio_format = as_text(audio.get("format"))
    return Media(
        kind="audio",
        type=f"audio/{audio_format}" if audio_format else None,
        data=as_text(audio.get("data")),
        source=part,
    )


_PART_READERS: Mapping[str, Callable[[Object], Part]] = {
    "input_text": _read_text,
    "output_text": _read_text,
    "text": _read_text,
    "refusal": _read_refusal,
    "input_image": _read_image,
    "input_file": _read_file,
    "input_audio": _read_audio,
}


def _split_data_url(url: Json) -> tuple[str | None, str | None, str | None]:
    """Split a data URL into type and data; return any other text as the third value."""
    text = as_text(url)
    if text is None or not text.startswith("data:"):
        return None, None, text
    head, _, data = text.removeprefix("data:").partition(",")
    return head.partition(";")[0] or None, data, None


def _read_detail(part: Object) -> str | None:
    """Read the detail of an image; `auto`, which clients must write, means none."""
    detail = part.get("detail")
    return as_text(detail) if detail != "auto" else None


def _read_cache(part: Object) -> str | None:
    marker = part.get("prompt_cache_breakpoint")
    return (as_text(marker.get("ttl")) or "") if isinstance(marker, dict) else None


def _read_tools(tools: Json) -> tuple[Tool, ...]:
    return tuple(
        _read_tool(inner_tool)
        for tool in list_objects(tools)
        for inner_tool in unpack_namespace(tool)
    )


def _read_tool(tool: Object) -> Tool:
    kind, tool_format, strict = tool.get("type"), tool.get("format"), tool.get("strict")
    name, description = _read_full_name(tool), as_text(tool.get("description"))
    if kind == "custom":
        grammar = (
            tool_format
            if isinstance(tool_format, dict) and tool_format.get("type") != "text"
            else None
        )
        return Tool(name=name, kind="custom", description=description, grammar=grammar, source=tool)
    if kind != "function":
        return Tool(name=name, kind="hosted", source=tool)
    return Tool(
        name=name,
        description=description,
        parameters=tool.get("parameters"),
        strict=strict if isinstance(strict, bool) else None,
        source=tool,
    )


def _read_choice(choice: Json, tools: Iterable[Tool]) -> ToolChoice | None:
    if choice == "auto":
        return ToolChoice(mode="auto")
    if choice == "none":
        return ToolChoice(mode="none")
    if choice == "required":
        return ToolChoice(mode="required")
    if not isinstance(choice, dict):
        return None
    if choice.get("type") == "allowed_tools":
        names = tuple(
            name
            for chosen in list_objects(choice.get("tools"))
            for name in _list_chosen(chosen, tools)
        )
        mode = choice.get("mode")
        return ToolChoice(mode="required" if mode == "required" else "auto", allowed=names)
    return ToolChoice(mode="tool", name=_read_full_name(choice))


def _list_chosen(chosen: Object, tools: Iterable[Tool]) -> list[str]:
    """List the tools that a choice names: one, or all of a namespace."""
    namespace_tools = find_namespace_tools(chosen, tools)
    return [tool.name for tool in namespace_tools] or [_read_full_name(chosen)]


def _read_full_name(tool: Object) -> str:
    return join_namespace(tool.get(NAMESPACE), read_tool_name(tool))


def _read_format(value: Json) -> OutputFormat | None:
    members = read_object(value)
    if members.get("type") == "json_object":
        return OutputFormat()
    if members.get("type") != "json_schema":
        return None
    strict = members.get("strict")
    return OutputFormat(
        schema=members.get("schema"),
        name=as_text(members.get("name")),
        description=as_text(members.get("description")),
        strict=strict if isinstance(strict, bool) else None,
    )


def _read_extra_members(value: Object) -> Object:
    """Read the members that no field holds, by name; a format of an unknown type with a dot."""
    extra = {
        name: member_value
        for name, member_value in value.items()
        if name not in _FIELD_MEMBERS
        and member_value is not None
        and member_value != _NO_WISH.get(name)
    }
    if not isinstance(value.get("safety_identifier"), str):
        extra.pop("user", None)  # else it is one more name of the user
    include = value.get("include")
    includes = (
        [it for it in include if not (isinstance(it, str) and it in _KNOWN_INCLUDES)]
        if isinstance(include, list)
        else []
    )
    if includes:
        extra["include"] = includes
    text = value.get("text")
    text_format = text.get("format") if isinstance(text, dict) else None
    if text_format is not None and not (
        isinstance(text_format, dict) and text_format.get("type") in _KNOWN_FORMATS
    ):
        extra["text.format"] = text_format
    return extra
