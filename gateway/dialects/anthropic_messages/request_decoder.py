"""A client's body as a canonical request. Source: Anthropic's API reference."""

from collections.abc import Iterator, Mapping
from typing import Literal

from gateway.core import jsonio
from gateway.core.canonical_request import (
    CanonicalRequest,
    CanonicalTurn,
    Foreign,
    LostMember,
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
from gateway.dialects.anthropic_messages import effort, hosted_tools
from gateway.dialects.anthropic_messages.content import (
    read_block,
    read_cache,
)
from gateway.dialects.anthropic_messages.reasoning_state import move_tied_states, read_slot
from gateway.dialects.base import RequestBody
from gateway.dialects.json_values import read_text

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
_SHOWN_BY_DISPLAY = {"summarized": True, "omitted": False, "updates": True}
_CLEAR_AT_NEXT = "next_user_message"
_LOST_THINKING = LostMember(
    "thinking", "cannot think only between tools: gets effort none", action="approximated"
)
_LOST_DISPLAY = LostMember(
    "thinking.display", "shows a summary of its reasoning, or nothing", action="approximated"
)
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
    turns, lost_members = _read_turns(value)
    if not isinstance(stop, list) or not all(isinstance(it, str) for it in stop):
        raise invalid_request('"stop_sequences" must be a list of strings.', "stop_sequences")
    return CanonicalRequest(
        turns=turns,
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
        lost_members=(*lost_members, *_list_lost_thinking(_read_object(value, "thinking"))),
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


def _read_turns(value: Object) -> tuple[tuple[CanonicalTurn, ...], tuple[LostMember, ...]]:
    """Return the system prompt and the messages as turns, and what is lost of them."""
    reader = ContentReader()
    lead: list[CanonicalTurn] = []
    turns: list[CanonicalTurn] = []
    system, messages = value.get("system"), value["messages"]
    if system:
        parts = reader.read_parts(system, "system")
        lead.append(CanonicalTurn(role="system", parts=parts))
    users = [at for at, it in enumerate(messages) if it.get("role") == "user"]
    question = next((at for at in reversed(users) if _is_question(messages[at])), 0)
    for at, message in enumerate(messages):
        role, where = message.get("role"), f"messages[{at}]"
        if role not in ("user", "assistant", "system"):
            raise invalid_request(f'"{where}.role" must be "user" or "assistant".', f"{where}.role")
        content = message.get("content")
        if role == "system":
            content = reader.clear(message, has_user_after=bool(users) and at < users[-1])
            if not content:
                continue
        summary, content = _split_at_compaction(content)
        if summary is not None:
            reader.record_loss("compaction", "gets the summary as text", "approximated")
            turns = [CanonicalTurn(role="user", parts=(summary,))]
        reader.is_assistant, reader.is_current = role == "assistant", at >= question
        parts = reader.read_parts(content, f"{where}.content")
        turns.append(CanonicalTurn(role=role, parts=parts, source=message))
    return (*lead, *turns), tuple(reader.lost_members)


def _is_question(message: Object) -> bool:
    """True if a user's message holds more than results of tools."""
    content = message.get("content")
    return not isinstance(content, list) or not all(
        isinstance(block, dict) and block.get("type") == "tool_result" for block in content
    )


def _split_at_compaction(content: Json) -> tuple[Text | None, Json]:
    """Return the last summary in the content of a message, and the content after it.

    The provider hides from the model all that stands before a summary.
    """
    blocks = content if isinstance(content, list) else []
    for at in reversed(range(len(blocks))):
        block = blocks[at]
        if isinstance(block, dict) and block.get("type") == "compaction":
            text = hosted_tools.write_text(block)
            if text:
                return Text(text=text, cache=read_cache(block), source=block), blocks[at + 1 :]
    return None, content


class ContentReader:
    """Reads the content of each message in order, and names tool results after their calls."""

    __slots__ = ("_tool_names", "is_assistant", "is_current", "lost_members")

    def __init__(self) -> None:
        self._tool_names: dict[str, str] = {}
        self.lost_members: list[LostMember] = []
        self.is_assistant = False
        """True if the content is of an assistant's message."""
        self.is_current = False
        """True if the model answers this message, and not an earlier one alone."""

    def record_loss(
        self, kind: str, reason: str, action: Literal["dropped", "approximated"] = "dropped"
    ) -> None:
        """Record that a block of a type does not go on as it is."""
        self.lost_members.append(LostMember(f"messages.content.{kind}", reason, action=action))

    def clear(self, message: Object, *, has_user_after: bool) -> Json:
        """Return the content of a system message, without text that the model may not see now."""
        content, word = message.get("content"), message.get("clear_at")
        if word not in (None, "never", _CLEAR_AT_NEXT):
            self.lost_members.append(
                LostMember("messages.clear_at", "cannot clear a system message later")
            )
        if word != _CLEAR_AT_NEXT or not has_user_after:
            return content
        blocks = content if isinstance(content, list) else []
        return [it for it in blocks if not isinstance(it, dict) or it.get("type") != "text"]

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
                yield from self._read_plain_block(block)

    def _read_result(self, block: Object) -> Iterator[Part]:
        """Yield a tool result, then the blocks inside it that no other dialect has."""
        id, content = read_text(block.get("tool_use_id")), block.get("content")
        if isinstance(content, str):
            inner: list[Text | Media | Foreign] = [Text(text=content)]
        else:
            blocks = _read_objects(content or [], "tool_result.content")
            inner = [part for it in blocks for part in self._read_plain_block(it)]
        yield ToolResult(
            id=id,
            name=self._tool_names.get(id),
            parts=tuple(part for part in inner if not isinstance(part, Foreign)),
            error=block.get("is_error") is True,
            cache=read_cache(block),
            source=block,
        )
        yield from (part for part in inner if isinstance(part, Foreign))

    def _read_plain_block(self, block: Object) -> Iterator[Text | Media | Foreign]:
        """Yield the part of a block; text or nothing for what a target need not get."""
        part = read_block(block)
        if not isinstance(part, Foreign) or self._is_needed(part.kind):
            yield part
            return
        text = hosted_tools.write_text(block)
        if text:
            self.record_loss(part.kind, "gets it as text", "approximated")
            yield Text(text=f"\n{text}\n", cache=read_cache(block), source=block)
        else:
            self.record_loss(part.kind, "has no part of this kind")

    def _is_needed(self, kind: str) -> bool:
        """True if the client depends on a block of this type, which no other dialect has."""
        if kind in hosted_tools.TYPES:
            return kind == "container_upload" and self.is_current
        return kind in ("image", "document") or not self.is_assistant


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


def _list_lost_thinking(thinking: Object) -> Iterator[LostMember]:
    """Yield what `thinking` says that no other dialect can be told exactly."""
    if thinking.get("type") == "between_tools":
        yield _LOST_THINKING
    if thinking.get("display") not in (None, "summarized", "omitted"):
        yield _LOST_DISPLAY
