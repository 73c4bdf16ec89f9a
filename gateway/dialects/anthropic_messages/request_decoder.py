"""A client's body as a canonical request. Source: Anthropic's API reference."""

from collections.abc import Iterator, Mapping
from typing import Literal

from gateway.core import jsonio
from gateway.core.canonical_request import (
    CanonicalRequest,
    CanonicalTurn,
    Foreign,
    Media,
    OutputFormat,
    Part,
    Text,
    Thought,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
)
from gateway.core.errors import invalid_request
from gateway.core.jsonio import Json
from gateway.core.target import EFFORTS
from gateway.dialects.anthropic_messages import effort
from gateway.dialects.anthropic_messages.content import read_block, read_cache, read_text
from gateway.dialects.anthropic_messages.reasoning_state import move_tied_states, read_slot
from gateway.dialects.base import RequestBody

type Object = dict[str, Json]

_CLIENT_NAMES = {
    "turns": "messages",
    "tools": "tools",
    "tool_choice": "tool_choice",
    "parallel_tools": "tool_choice.disable_parallel_tool_use",
    "form": "output_config.format",
    "max_output": "max_tokens",
    "stop": "stop_sequences",
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "effort": "thinking",
    "budget": "thinking.budget_tokens",
    "thoughts_shown": "thinking.display",
    "service_tier": "service_tier",
    "user": "metadata.user_id",
    "metadata": "metadata",
}
"""The client's name of each field of a CanonicalRequest."""
_READ_MEMBERS = frozenset(
    {
        "model", "max_tokens", "messages", "system", "tools", "tool_choice", "thinking",
        "output_config", "output_format", "metadata", "service_tier", "stop_sequences",
        "temperature", "top_p", "top_k", "stream",
    }
)  # fmt: skip
"""Top-level members that the fields of a CanonicalRequest hold."""
_THINKING_TYPES = ("adaptive", "enabled", "disabled", "between_tools")
_THINKING_MEMBERS = ("budget_tokens", "display")
"""Members of `thinking` beside its type."""
_SHOWN_BY_DISPLAY = {"summarized": True, "omitted": False}
_SERVICE_TIERS = {"standard_only": "default", "auto": None}
"""Service tiers, and their names in a CanonicalRequest."""
_TOOL_CHOICE_MODES: Mapping[str, Literal["auto", "none", "required", "tool"]] = {
    "auto": "auto",
    "any": "required",
    "tool": "tool",
    "none": "none",
}


def decode_request(body: RequestBody) -> CanonicalRequest:
    """Return the client's request. Raises ProblemError, invalid_request with the field."""
    value = body.value
    names = dict(_CLIENT_NAMES)
    others = {
        name: it for name, it in value.items() if name not in _READ_MEMBERS and it is not None
    }
    tier, metadata = value.get("service_tier"), dict(_read_object(value, "metadata"))
    user = metadata.pop("user_id", None)
    choice, parallel = _read_tool_choice(_read_object(value, "tool_choice"))
    stop = value.get("stop_sequences") or []
    if not isinstance(stop, list) or not all(isinstance(it, str) for it in stop):
        raise invalid_request('"stop_sequences" must be a list of strings.', "stop_sequences")
    return CanonicalRequest(
        turns=_read_turns(value),
        tools=tuple(_read_tool(tool) for tool in _read_objects(value.get("tools") or [], "tools")),
        tool_choice=choice,
        parallel_tools=parallel,
        form=_read_output_format(value, names, others),
        max_output=value.get("max_tokens"),
        stop=tuple(stop),
        temperature=_read_number(value, "temperature"),
        top_p=_read_number(value, "top_p"),
        top_k=_read_number(value, "top_k"),
        service_tier=_SERVICE_TIERS.get(tier, tier) if isinstance(tier, str) else None,
        user=user if isinstance(user, str) else None,
        metadata=metadata or None,
        stream=value.get("stream") is True,
        stream_usage=True,
        names=names,
        extra_members=others,
        **_read_effort(value, names, others),
    )


def _read_object(value: Object, name: str) -> Object:
    """Return a member that must be an object; empty if it is absent."""
    member = value.get(name)
    if member is None:
        return {}
    if not isinstance(member, dict):
        raise invalid_request(f'"{name}" must be an object.', name)
    return member


def _read_number(value: Object, name: str) -> Json:
    """Return a member that must be a number; None if it is absent."""
    member = value.get(name)
    if member is not None and (isinstance(member, bool) or not isinstance(member, int | float)):
        raise invalid_request(f'"{name}" must be a number.', name)
    return member


def _read_turns(value: Object) -> tuple[CanonicalTurn, ...]:
    """Return the system prompt and the messages as turns."""
    reader, turns = ContentReader(), list[CanonicalTurn]()
    system = value.get("system")
    if system:
        turns.append(CanonicalTurn(role="system", parts=reader.read_parts(system, "system")))
    for at, message in enumerate(value["messages"]):
        role, where = message.get("role"), f"messages[{at}]"
        if role not in ("user", "assistant", "system"):
            raise invalid_request(f'"{where}.role" must be "user" or "assistant".', f"{where}.role")
        parts = reader.read_parts(message.get("content"), f"{where}.content")
        turns.append(CanonicalTurn(role=role, parts=parts, source=message))
    return tuple(turns)


class ContentReader:
    """Reads the content of each message in order, and names tool results after their calls."""

    __slots__ = ("_tool_names",)

    def __init__(self) -> None:
        self._tool_names: dict[str, str] = {}

    def read_parts(self, content: Json, where: str) -> tuple[Part, ...]:
        """Return the parts of the content at `where`. Raises ProblemError if it is malformed."""
        if isinstance(content, str):
            return (Text(text=content),)
        parts = [
            part for block in _read_objects(content, where) for part in self._read_block(block)
        ]
        return move_tied_states(parts)

    def _read_block(self, block: Object) -> Iterator[Part]:
        match block.get("type"):
            case "thinking":
                maker, state = read_slot(block.get("signature"))
                text = read_text(block.get("thinking"))
                yield Thought(text=text, state=state, maker=maker, source=block)
            case "redacted_thinking":
                maker, state = read_slot(block.get("data"))
                yield Thought(state=state, redacted=True, maker=maker, source=block)
            case "tool_use":
                name, id = read_text(block.get("name")), read_text(block.get("id"))
                self._tool_names[id] = name
                arguments = jsonio.dumps(block.get("input") or {}).decode()
                yield ToolUse(id=id, name=name, arguments=arguments, source=block)
            case "tool_result":
                yield from self._read_result(block)
            case _:
                yield read_block(block)

    def _read_result(self, block: Object) -> Iterator[Part]:
        """Yield a tool result, then the blocks inside it that no other dialect has."""
        id, content = read_text(block.get("tool_use_id")), block.get("content")
        if isinstance(content, str):
            inner: list[Text | Media | Foreign] = [Text(text=content)]
        else:
            inner = [read_block(it) for it in _read_objects(content or [], "tool_result.content")]
        yield ToolResult(
            id=id,
            name=self._tool_names.get(id),
            parts=tuple(part for part in inner if not isinstance(part, Foreign)),
            error=block.get("is_error") is True,
            cache=read_cache(block),
            source=block,
        )
        yield from (part for part in inner if isinstance(part, Foreign))


def _read_objects(value: Json, where: str) -> list[Object]:
    """Return a list of objects. Raises ProblemError, invalid_request, for anything else."""
    if not isinstance(value, list):
        raise invalid_request(f'"{where}" must be a list of objects.', where)
    for at, item in enumerate(value):
        if not isinstance(item, dict):
            raise invalid_request(f'"{where}[{at}]" must be an object.', f"{where}[{at}]")
    return value


def _read_tool(tool: Object) -> Tool:
    """Return a tool; one with a dated type is hosted, and known to Claude models alone."""
    kind = read_text(tool.get("type")) or "custom"
    if kind != "custom":
        name = read_text(tool.get("name")) or read_text(tool.get("mcp_server_name")) or kind
        return Tool(name=name, kind="hosted", cache=read_cache(tool), source=tool)
    strict = tool.get("strict")
    return Tool(
        name=read_text(tool.get("name")),
        description=tool.get("description"),
        parameters=tool.get("input_schema"),
        strict=strict if isinstance(strict, bool) else None,
        cache=read_cache(tool),
        source=tool,
    )


def _read_tool_choice(choice: Object) -> tuple[ToolChoice | None, bool | None]:
    """Return which tools the model must call, and True if it may call several at once."""
    if not choice:
        return None, None
    mode = _TOOL_CHOICE_MODES.get(read_text(choice.get("type")))
    if mode is None:
        raise invalid_request(
            '"tool_choice.type" must be auto, any, tool or none.', "tool_choice.type"
        )
    single = choice.get("disable_parallel_tool_use")
    name = read_text(choice.get("name")) if mode == "tool" else None
    parallel = not single if isinstance(single, bool) else None
    return ToolChoice(mode=mode, name=name), parallel


def _read_output_format(
    value: Object, names: dict[str, str], others: Object
) -> OutputFormat | None:
    """Return the schema of the answer; `output_format` is the older, beta name."""
    form = _read_object(value, "output_config").get("format")
    if form is None:
        form, names["form"] = value.get("output_format"), "output_format"
    if form is None:
        names["form"] = _CLIENT_NAMES["form"]
        return None
    if isinstance(form, dict) and form.get("type") == "json_schema":
        return OutputFormat(schema=form.get("schema") or {})
    others[names["form"]] = form
    return None


def _read_effort(value: Object, names: dict[str, str], others: Object) -> dict[str, Json]:
    """Return effort, budget and display of thoughts as fields of a CanonicalRequest."""
    thinking, config = _read_object(value, "thinking"), _read_object(value, "output_config")
    kind, display = thinking.get("type"), read_text(thinking.get("display"))
    if thinking and kind not in _THINKING_TYPES:
        others["thinking"] = thinking
    others |= {
        f"thinking.{k}": v for k, v in thinking.items() if k not in ("type", *_THINKING_MEMBERS)
    }
    others |= {f"output_config.{k}": v for k, v in config.items() if k not in ("effort", "format")}
    word = effort.read(value)
    if config.get("effort") is not None and kind in ("disabled", "between_tools"):
        others["output_config.effort"] = config["effort"]
    if config.get("effort") is not None and kind not in ("disabled", "between_tools"):
        names["effort"] = "output_config.effort"
    if word is not None and word not in EFFORTS:
        others["output_config.effort"], word = word, None
    budget = thinking.get("budget_tokens") if kind == "enabled" else None
    return {
        "effort": word,
        "budget": budget if isinstance(budget, int) else None,
        "thoughts_shown": _SHOWN_BY_DISPLAY.get(display, True if kind == "enabled" else None),
    }
