"""A Responses request as a request in no dialect.

Items that the model made (reasoning, messages, calls) and that follow one another are one turn of
the assistant; each result of a tool is a user's turn. Source: the input items of OpenAI's API
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
from gateway.dialects.openai_responses import slot
from gateway.dialects.openai_responses import tools as space
from gateway.dialects.openai_responses.frames import Object
from gateway.dialects.openai_responses.others import others
from gateway.dialects.openai_responses.request import tool_name
from gateway.dialects.openai_responses.said import REFERENCE, answers, refers

_ROLES: Mapping[str, Role] = {
    "system": "system",
    "developer": "developer",
    "assistant": "assistant",
    "user": "user",
}
_NAMES = {
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


def decode(body: RequestBody) -> CanonicalRequest:
    """Read a request that `read` has let pass."""
    value, prompt = body.value, body.prompt
    text, reasoning = _dict(value.get("text")), _dict(value.get("reasoning"))
    tier = value.get("service_tier")
    user = next((name for name in ("safety_identifier", "user") if _string(value.get(name))), "")
    parallel = value.get("parallel_tool_calls")
    tools = _tools(space.offered(value))
    return CanonicalRequest(
        turns=_turns(value.get("instructions"), value.get("input")),
        tools=tools,
        tool_choice=_choice(value.get("tool_choice"), tools),
        parallel_tools=parallel if isinstance(parallel, bool) else None,
        form=_form(text.get("format")),
        max_output=prompt.max_output,
        temperature=_number(value.get("temperature")),
        top_p=_number(value.get("top_p")),
        logprobs=prompt.logprobs,
        top_logprobs=_whole(value.get("top_logprobs")),
        verbosity=_string(text.get("verbosity")),
        effort=prompt.effort,
        thoughts_shown=bool(reasoning.get("summary") or reasoning.get("generate_summary")) or None,
        service_tier=_string(tier) if tier != "auto" else None,
        user=_string(value.get(user)),
        metadata=value.get("metadata") or None,
        cache_key=_string(value.get("prompt_cache_key")),
        stream=prompt.stream,
        stream_usage=True,
        names={**_NAMES, "user": user} if user else _NAMES,
        extra_members=others(value),
        source=value,
    )


def _turns(instructions: Json, given: Json) -> tuple[CanonicalTurn, ...]:
    turns: list[CanonicalTurn] = []
    if isinstance(instructions, str) and instructions:
        turns.append(
            CanonicalTurn(role="system", parts=(Text(text=instructions),), source=instructions)
        )
    if isinstance(given, str):
        turns.append(CanonicalTurn(role="user", parts=(Text(text=given),), source=given))
    made: list[Part] = []
    sources: list[Json] = []
    for item in _list(given):
        if item.get("type") == space.MORE:
            continue
        role = _role(item)
        if role == "assistant":
            _make(made, item)
            sources.append(item)
            continue
        _close(turns, made, sources)
        turns.append(CanonicalTurn(role=role, parts=_given(item), source=item))
    _close(turns, made, sources)
    return tuple(turns)


def _close(turns: list[CanonicalTurn], made: list[Part], sources: list[Json]) -> None:
    if made:
        turns.append(CanonicalTurn(role="assistant", parts=tuple(made), source=[*sources]))
    made.clear()
    sources.clear()


def _role(item: Object) -> Role:
    """Whose turn an item is of: what is no message and answers no tool is of the model."""
    kind, role = item.get("type"), item.get("role")
    if kind in (None, "message"):
        return _ROLES.get(role, "user") if isinstance(role, str) else "user"
    return "user" if answers(kind) else "assistant"


def _given(item: Object) -> tuple[Part, ...]:
    """A message, or what a tool gave."""
    kind = item.get("type")
    if refers(item):
        return (Foreign(kind=REFERENCE, source=item),)
    if kind in (None, "message"):
        return _content(item.get("content"))
    if kind not in ("function_call_output", "custom_tool_call_output"):
        return (Foreign(kind=str(kind), source=item),)
    output = _content(item.get("output"))
    inner = tuple(part for part in output if isinstance(part, Text | Media))
    result = ToolResult(
        id=_string(item.get("call_id")) or "",
        name=_string(item.get("name")),
        parts=inner,
        custom=kind == "custom_tool_call_output",
        source=item,
    )
    return (result, *(part for part in output if isinstance(part, Foreign)))


def _make(made: list[Part], item: Object) -> None:
    """Add an item of the model to its turn."""
    kind = item.get("type")
    if kind in (None, "message"):
        made += _content(item.get("content"))
    elif kind == "reasoning":
        thought, call = _thought(item)
        for at, part in enumerate(made if call is not None else ()):
            if isinstance(part, ToolUse) and part.id == call:
                own = msgspec.structs.replace(part, state=thought.state, maker=thought.maker)
                made[at] = own
                return
        made.append(thought)
    elif kind in ("function_call", "custom_tool_call"):
        custom = kind == "custom_tool_call"
        use = ToolUse(
            id=_string(item.get("call_id")) or "",
            name=space.flat(item.get(space.KIND), _string(item.get("name")) or ""),
            arguments=_string(item.get("input" if custom else "arguments")) or "",
            custom=custom,
            source=item,
        )
        made.append(use)
    else:
        made.append(Foreign(kind=str(kind), source=item))


def _thought(item: Object) -> tuple[Thought, str | None]:
    """A thought, and the call that its state hangs on, where there is one."""
    parts = _list(item.get("summary")) or _list(item.get("content"))
    texts = [part["text"] for part in parts if isinstance(part.get("text"), str)]
    name, state = reasoning_state.split_label(_string(item.get("encrypted_content")) or "")
    kept = slot.read(state) if name is not None else slot.Kept(state)
    thought = Thought(
        text="\n\n".join(texts),
        state=kept.state or None,
        redacted=kept.redacted,
        maker=name,
        source=item,
    )
    return thought, kept.call


def _content(content: Json) -> tuple[Part, ...]:
    if isinstance(content, str):
        return (Text(text=content, source=content),)
    return tuple(_part(part) for part in _list(content))


def _part(part: Object) -> Part:
    kind = part.get("type")
    known = _PARTS.get(kind) if isinstance(kind, str) else None
    return known(part) if known is not None else Foreign(kind=str(kind), source=part)


def _text(part: Object) -> Part:
    return Text(text=_string(part.get("text")) or "", cache=_cache(part), source=part)


def _refused(part: Object) -> Part:
    return Refused(text=_string(part.get("refusal")) or "", source=part)


def _image(part: Object) -> Part:
    kind, data, url = _data(part.get("image_url"))
    return Media(
        kind="image",
        type=kind,
        data=data,
        url=url,
        id=_string(part.get("file_id")),
        detail=_detail(part),
        cache=_cache(part),
        source=part,
    )


def _file(part: Object) -> Part:
    given = part.get("file_data")
    kind, data, rest = _data(given)
    return Media(
        kind="file",
        type=kind or ("application/pdf" if given else None),
        data=data or rest,
        url=_string(part.get("file_url")),
        id=_string(part.get("file_id")),
        name=_string(part.get("filename")),
        detail=_detail(part),
        cache=_cache(part),
        source=part,
    )


def _audio(part: Object) -> Part:
    said = _dict(part.get("input_audio"))
    form = _string(said.get("format"))
    return Media(
        kind="audio",
        type=f"audio/{form}" if form else None,
        data=_string(said.get("data")),
        source=part,
    )


_PARTS: Mapping[str, Callable[[Object], Part]] = {
    "input_text": _text,
    "output_text": _text,
    "text": _text,
    "refusal": _refused,
    "input_image": _image,
    "input_file": _file,
    "input_audio": _audio,
}


def _data(url: Json) -> tuple[str | None, str | None, str | None]:
    """Of a data URL its type and data; of anything else itself."""
    text = _string(url)
    if text is None or not text.startswith("data:"):
        return None, None, text
    head, _, data = text.removeprefix("data:").partition(",")
    return head.partition(";")[0] or None, data, None


def _detail(part: Object) -> str | None:
    """How closely it is looked at; `auto`, which clients must write, asks nothing."""
    detail = part.get("detail")
    return _string(detail) if detail != "auto" else None


def _cache(part: Object) -> str | None:
    mark = part.get("prompt_cache_breakpoint")
    return (_string(mark.get("ttl")) or "") if isinstance(mark, dict) else None


def _tools(tools: Json) -> tuple[Tool, ...]:
    return tuple(_tool(one) for tool in _list(tools) for one in space.within(tool))


def _tool(tool: Object) -> Tool:
    kind, form, strict = tool.get("type"), tool.get("format"), tool.get("strict")
    name, told = _name(tool), _string(tool.get("description"))
    if kind == "custom":
        grammar = form if isinstance(form, dict) and form.get("type") != "text" else None
        return Tool(name=name, kind="custom", description=told, grammar=grammar, source=tool)
    if kind != "function":
        return Tool(name=name, kind="hosted", source=tool)
    return Tool(
        name=name,
        description=told,
        parameters=tool.get("parameters"),
        strict=strict if isinstance(strict, bool) else None,
        source=tool,
    )


def _choice(choice: Json, tools: Iterable[Tool]) -> ToolChoice | None:
    if choice == "auto":
        return ToolChoice(mode="auto")
    if choice == "none":
        return ToolChoice(mode="none")
    if choice == "required":
        return ToolChoice(mode="required")
    if not isinstance(choice, dict):
        return None
    if choice.get("type") == "allowed_tools":
        names = tuple(name for it in _list(choice.get("tools")) for name in _names(it, tools))
        mode = choice.get("mode")
        return ToolChoice(mode="required" if mode == "required" else "auto", allowed=names)
    return ToolChoice(mode="tool", name=_name(choice))


def _names(chosen: Object, tools: Iterable[Tool]) -> list[str]:
    """The tools that a choice means: one, or all of a namespace."""
    inner = space.members(chosen, tools)
    return [tool.name for tool in inner] or [_name(chosen)]


def _name(tool: Object) -> str:
    return space.flat(tool.get(space.KIND), tool_name(tool))


def _form(form: Json) -> OutputFormat | None:
    said = _dict(form)
    if said.get("type") == "json_object":
        return OutputFormat()
    if said.get("type") != "json_schema":
        return None
    strict = said.get("strict")
    return OutputFormat(
        schema=said.get("schema"),
        name=_string(said.get("name")),
        description=_string(said.get("description")),
        strict=strict if isinstance(strict, bool) else None,
    )


def _string(value: Json) -> str | None:
    return value if isinstance(value, str) else None


def _number(value: Json) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _whole(value: Json) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _dict(value: Json) -> Object:
    return value if isinstance(value, dict) else {}


def _list(value: Json) -> list[Object]:
    return [it for it in value if isinstance(it, dict)] if isinstance(value, list) else []
