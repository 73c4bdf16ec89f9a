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
_NAMES = {
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
_HELD = frozenset(
    {
        "model", "max_tokens", "messages", "system", "tools", "tool_choice", "thinking",
        "output_config", "output_format", "metadata", "service_tier", "stop_sequences",
        "temperature", "top_p", "top_k", "stream",
    }
)  # fmt: skip
"""Top-level members that fields of a CanonicalRequest hold."""
_THINKING = ("adaptive", "enabled", "disabled", "between_tools")
_BESIDE = ("budget_tokens", "display")
"""Members of `thinking` beside its type."""
_SHOWN = {"summarized": True, "omitted": False}
_TIERS = {"standard_only": "default", "auto": None}
"""Service tiers as CanonicalRequest has them."""
_MODES: Mapping[str, Literal["auto", "none", "required", "tool"]] = {
    "auto": "auto",
    "any": "required",
    "tool": "tool",
    "none": "none",
}


def decode_request(body: RequestBody) -> CanonicalRequest:
    """What a client asks. Raises ProblemError, invalid_request with the field."""
    value = body.value
    names = dict(_NAMES)
    others = {name: it for name, it in value.items() if name not in _HELD and it is not None}
    tier, metadata = value.get("service_tier"), dict(_object(value, "metadata"))
    user = metadata.pop("user_id", None)
    choice, parallel = _choice(_object(value, "tool_choice"))
    stop = value.get("stop_sequences") or []
    if not isinstance(stop, list) or not all(isinstance(it, str) for it in stop):
        raise invalid_request('"stop_sequences" must be a list of strings.', "stop_sequences")
    return CanonicalRequest(
        turns=_turns(value),
        tools=tuple(_tool(tool) for tool in objects(value.get("tools") or [], "tools")),
        tool_choice=choice,
        parallel_tools=parallel,
        form=_form(value, names, others),
        max_output=value.get("max_tokens"),
        stop=tuple(stop),
        temperature=_number(value, "temperature"),
        top_p=_number(value, "top_p"),
        top_k=_number(value, "top_k"),
        service_tier=_TIERS.get(tier, tier) if isinstance(tier, str) else None,
        user=user if isinstance(user, str) else None,
        metadata=metadata or None,
        stream=value.get("stream") is True,
        stream_usage=True,
        names=names,
        extra_members=others,
        **_effort(value, names, others),
    )


def _object(value: Object, name: str) -> Object:
    """A member that is an object, empty where it is left out."""
    found = value.get(name)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise invalid_request(f'"{name}" must be an object.', name)
    return found


def _number(value: Object, name: str) -> Json:
    found = value.get(name)
    if found is not None and (isinstance(found, bool) or not isinstance(found, int | float)):
        raise invalid_request(f'"{name}" must be a number.', name)
    return found


def _turns(value: Object) -> tuple[CanonicalTurn, ...]:
    blocks, turns = Blocks(), list[CanonicalTurn]()
    system = value.get("system")
    if system:
        turns.append(CanonicalTurn(role="system", parts=blocks.parts(system, "system")))
    for at, message in enumerate(value["messages"]):
        role, where = message.get("role"), f"messages[{at}]"
        if role not in ("user", "assistant", "system"):
            raise invalid_request(f'"{where}.role" must be "user" or "assistant".', f"{where}.role")
        parts = blocks.parts(message.get("content"), f"{where}.content")
        turns.append(CanonicalTurn(role=role, parts=parts, source=message))
    return tuple(turns)


class Blocks:
    """Reads the content of one message after another; results are named after their uses."""

    __slots__ = ("_tools",)

    def __init__(self) -> None:
        self._tools: dict[str, str] = {}

    def parts(self, content: Json, where: str) -> tuple[Part, ...]:
        """Content that stands at `where`. Raises ProblemError where it is none."""
        if isinstance(content, str):
            return (Text(text=content),)
        found = [part for block in objects(content, where) for part in self._read(block)]
        return move_tied_states(found)

    def _read(self, block: Object) -> Iterator[Part]:
        match block.get("type"):
            case "thinking":
                made, state = read_slot(block.get("signature"))
                text = read_text(block.get("thinking"))
                yield Thought(text=text, state=state, maker=made, source=block)
            case "redacted_thinking":
                made, state = read_slot(block.get("data"))
                yield Thought(state=state, redacted=True, maker=made, source=block)
            case "tool_use":
                name, id = read_text(block.get("name")), read_text(block.get("id"))
                self._tools[id] = name
                given = jsonio.dumps(block.get("input") or {}).decode()
                yield ToolUse(id=id, name=name, arguments=given, source=block)
            case "tool_result":
                yield from self._result(block)
            case _:
                yield read_block(block)

    def _result(self, block: Object) -> Iterator[Part]:
        """A result, and behind it what stands in it and no other dialect has."""
        id, content = read_text(block.get("tool_use_id")), block.get("content")
        if isinstance(content, str):
            inner: list[Text | Media | Foreign] = [Text(text=content)]
        else:
            inner = [read_block(it) for it in objects(content or [], "tool_result.content")]
        yield ToolResult(
            id=id,
            name=self._tools.get(id),
            parts=tuple(part for part in inner if not isinstance(part, Foreign)),
            error=block.get("is_error") is True,
            cache=read_cache(block),
            source=block,
        )
        yield from (part for part in inner if isinstance(part, Foreign))


def objects(value: Json, where: str) -> list[Object]:
    """A list of objects. Raises ProblemError, invalid_request, for anything else."""
    if not isinstance(value, list):
        raise invalid_request(f'"{where}" must be a list of objects.', where)
    for at, item in enumerate(value):
        if not isinstance(item, dict):
            raise invalid_request(f'"{where}[{at}]" must be an object.', f"{where}[{at}]")
    return value


def _tool(tool: Object) -> Tool:
    """A plain tool is a function; one with a dated type is known to Anthropic's models alone."""
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


def _choice(choice: Object) -> tuple[ToolChoice | None, bool | None]:
    """Which tools must be used, and whether several at once."""
    if not choice:
        return None, None
    mode = _MODES.get(read_text(choice.get("type")))
    if mode is None:
        raise invalid_request(
            '"tool_choice.type" must be auto, any, tool or none.', "tool_choice.type"
        )
    single = choice.get("disable_parallel_tool_use")
    name = read_text(choice.get("name")) if mode == "tool" else None
    parallel = not single if isinstance(single, bool) else None
    return ToolChoice(mode=mode, name=name), parallel


def _form(value: Object, names: dict[str, str], others: Object) -> OutputFormat | None:
    """The schema that the answer follows; `output_format` is the older, beta name."""
    form = _object(value, "output_config").get("format")
    if form is None:
        form, names["form"] = value.get("output_format"), "output_format"
    if form is None:
        names["form"] = _NAMES["form"]
        return None
    if isinstance(form, dict) and form.get("type") == "json_schema":
        return OutputFormat(schema=form.get("schema") or {})
    others[names["form"]] = form
    return None


def _effort(value: Object, names: dict[str, str], others: Object) -> dict[str, Json]:
    """Effort, budget and whether thoughts are shown, as fields of a CanonicalRequest."""
    thinking, config = _object(value, "thinking"), _object(value, "output_config")
    kind, display = thinking.get("type"), read_text(thinking.get("display"))
    if thinking and kind not in _THINKING:
        others["thinking"] = thinking
    others |= {f"thinking.{k}": v for k, v in thinking.items() if k not in ("type", *_BESIDE)}
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
        "thoughts_shown": _SHOWN.get(display, True if kind == "enabled" else None),
    }
