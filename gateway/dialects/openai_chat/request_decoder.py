"""A client's Chat Completions request as a CanonicalRequest, for a target of another dialect.

Read leniently: what a host would accept becomes a field of CanonicalRequest where it has one, and
any other member, or a value of another type than a field's, stays in `extra_members`. The
hosts' own switches of reasoning are read where they say plainly how much: `thinking` (DeepSeek,
Moonshot, Z.ai), `enable_thinking` and `thinking_budget` (DashScope), `reasoning` (OpenRouter,
Together).
Messages become turns: results of tools are parts of a user's turn.
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
from gateway.dialects.openai_chat.content import read_cache_mark, read_parts
from gateway.dialects.openai_chat.reasoning_state import (
    REASONING_MEMBERS,
    has_sealed_state,
    read_reasoning_text,
)
from gateway.dialects.openai_chat.tools import make_call_id, read_signature

type Object = dict[str, Json]

_SAME = frozenset({"model", "messages", "stream"})
"""Read elsewhere."""
_NOTHING: tuple[tuple[str, Json], ...] = (
    ("response_format", {"type": "text"}),
    ("modalities", ["text"]),
    ("store", False),
    ("tools", []),
    ("functions", []),
    ("service_tier", "auto"),
)
"""Members that ask for nothing but what is so without them."""


def decode_request(body: RequestBody) -> CanonicalRequest:
    """The request that a body is."""
    ask = _Ask(body.value)
    _limits(ask)
    _tools(ask)
    _thinking(ask)
    _options(ask)
    return CanonicalRequest(
        turns=decode_turns(body.value["messages"]),
        stream=body.prompt.stream,
        names=ask.names,
        extra_members={
            name: value
            for name, value in body.value.items()
            if value is not None and name not in ask.read and name not in _SAME
        }
        | ask.more,
        **ask.fields,
    )


class _Ask:
    """Members on their way to fields."""

    __slots__ = ("fields", "more", "names", "read", "value")

    def __init__(self, value: Object) -> None:
        self.value = value
        self.fields: Object = {}
        self.names: dict[str, str] = {}
        self.more: Object = {}
        """Members within members that are read, which no field holds."""
        self.read: set[str] = set()
        """Members that are told in full by the fields."""

    def set(self, field: str, member: str, value: Json) -> None:
        """Let a field say what a member says; the first of several members counts."""
        if value is None:
            return
        if field in self.fields:
            if self.fields[field] == value:
                self.read.add(member)
            return
        self.fields[field] = value
        self.names[field] = member
        self.read.add(member)

    def rest(self, member: str, *known: str) -> None:
        """Keep what is in an object that was read beside what is known of it."""
        for name, value in self.value[member].items() if member in self.read else ():
            if name not in known and value is not None:
                self.more[f"{member}.{name}"] = value

    def take(self, field: str, member: str, read: Callable[[Json], Json]) -> None:
        """Read a member into a field; `read` gives None where it is none of the field's."""
        if self.value.get(member) is not None:
            self.set(field, member, read(self.value[member]))


def _limits(ask: _Ask) -> None:
    for member in ("max_completion_tokens", "max_tokens"):
        ask.take("max_output", member, _whole)
    ask.take("stop", "stop", _stop)
    for member in ("temperature", "top_p", "presence_penalty", "frequency_penalty"):
        ask.take(member, member, _number)
    for member in ("top_k", "seed", "top_logprobs"):
        ask.take(member, member, _whole)
    ask.take("seed", "random_seed", _whole)  # Mistral's name
    ask.take("choices", "n", _whole)
    ask.take("logprobs", "logprobs", _flag)
    ask.take("logit_bias", "logit_bias", _object)


def _options(ask: _Ask) -> None:
    ask.take("verbosity", "verbosity", _text)
    if ask.value.get("service_tier") != "auto":
        ask.take("service_tier", "service_tier", _text)
    for member in ("safety_identifier", "user"):
        ask.take("user", member, _text)
    ask.take("metadata", "metadata", _object)
    ask.take("cache_key", "prompt_cache_key", _text)
    ask.take("form", "response_format", _form)
    for member, nothing in _NOTHING:
        if ask.value.get(member) == nothing:
            ask.read.add(member)
    options = ask.value.get("stream_options")
    if isinstance(options, dict) and isinstance(options.get("include_usage"), bool):
        ask.fields["stream_usage"] = options["include_usage"]
        if len(options) == 1:
            ask.read.add("stream_options")


def _tools(ask: _Ask) -> None:
    ask.take("tools", "tools", _listed)
    ask.take("tools", "functions", _functions)
    ask.take("tool_choice", "tool_choice", _choice)
    ask.take("tool_choice", "function_call", _old_choice)
    ask.take("parallel_tools", "parallel_tool_calls", _flag)


def _thinking(ask: _Ask) -> None:
    ask.take("effort", "reasoning_effort", _effort)
    value = ask.value
    reasoning = value.get("reasoning")
    if isinstance(reasoning, dict):
        ask.set("effort", "reasoning", _effort(reasoning.get("effort")))
        ask.set("budget", "reasoning", _whole(reasoning.get("max_tokens")))
        if reasoning.get("enabled") is False:
            ask.set("effort", "reasoning", "none")
        if isinstance(reasoning.get("exclude"), bool):
            ask.set("thoughts_shown", "reasoning", not reasoning["exclude"])
        ask.rest("reasoning", "effort", "max_tokens", "enabled", "exclude")
    thinking = value.get("thinking")
    if isinstance(thinking, dict):
        if thinking.get("type") == "disabled":
            ask.set("effort", "thinking", "none")
        else:
            ask.set("budget", "thinking", _whole(thinking.get("budget_tokens")))
        ask.rest("thinking", "type", "budget_tokens")
    ask.take("budget", "thinking_budget", _whole)
    if value.get("enable_thinking") is False:
        ask.set("effort", "enable_thinking", "none")
    elif value.get("enable_thinking") is True and "budget" in ask.fields:
        ask.read.add("enable_thinking")
    if value.get("chat_template_kwargs") == {"enable_thinking": False}:
        ask.set("effort", "chat_template_kwargs", "none")
    ask.take("thoughts_shown", "include_reasoning", _flag)


def _listed(tools: Json) -> tuple[Tool, ...] | None:
    if not isinstance(tools, list) or not tools:
        return None
    return tuple([_tool(tool) for tool in tools])


def _tool(tool: Json) -> Tool:
    if not isinstance(tool, dict):
        return Tool(name=str(tool), kind="hosted", source=tool)
    kind = tool.get("type", "function")
    inside = tool.get(kind) if kind in ("function", "custom") else None
    if not isinstance(inside, dict):
        return Tool(name=str(kind), kind="hosted", cache=read_cache_mark(tool), source=tool)
    if kind == "custom":
        form = inside.get("format")
        plain = not isinstance(form, dict) or form.get("type") == "text"
        return Tool(
            name=_text(inside.get("name")) or "",
            kind="custom",
            description=_text(inside.get("description")),
            grammar=None if plain else form,
            cache=read_cache_mark(tool),
            source=tool,
        )
    return _function(inside, tool)


def _function(inside: Object, source: Object) -> Tool:
    return Tool(
        name=_text(inside.get("name")) or "",
        description=_text(inside.get("description")),
        parameters=_object(inside.get("parameters")),
        strict=_flag(inside.get("strict")),
        cache=read_cache_mark(source),
        source=source,
    )


def _functions(functions: Json) -> tuple[Tool, ...] | None:
    """The tools of the years before tools."""
    if not isinstance(functions, list) or not functions:
        return None
    return tuple([_function(it, it) for it in functions if isinstance(it, dict)])


def _choice(choice: Json) -> ToolChoice | None:
    if isinstance(choice, str):
        return _mode(choice)
    if not isinstance(choice, dict):
        return None
    kind = choice.get("type", "function")
    inside = choice if kind == "tool" else choice.get(kind) if isinstance(kind, str) else None
    if not isinstance(inside, dict):
        return None
    if kind == "allowed_tools":
        return _allowed(inside)
    name = _text(inside.get("name"))
    return None if name is None else ToolChoice(mode="tool", name=name)


def _allowed(inside: Object) -> ToolChoice | None:
    listed, mode = inside.get("tools"), _mode(inside.get("mode", "auto"))
    names = [_named(tool) for tool in listed] if isinstance(listed, list) else [None]
    allowed = tuple([name for name in names if name is not None])
    if mode is None or len(allowed) != len(names):
        return None
    return ToolChoice(mode=mode.mode, allowed=allowed)


def _named(tool: Json) -> str | None:
    """The name in `{"type": kind, kind: {"name"}}`."""
    kind = tool.get("type") if isinstance(tool, dict) else None
    inside = tool.get(kind) if isinstance(kind, str) else None
    return _text(inside.get("name")) if isinstance(inside, dict) else None


def _mode(word: Json) -> ToolChoice | None:
    match word:
        case "auto" | "none" | "required":
            return ToolChoice(mode=word)
        case "any":  # Mistral's word
            return ToolChoice(mode="required")
        case _:
            return None


def _old_choice(choice: Json) -> ToolChoice | None:
    name = _text(choice.get("name")) if isinstance(choice, dict) else None
    return _mode(choice) if name is None else ToolChoice(mode="tool", name=name)


def _form(form: Json) -> OutputFormat | None:
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
        name=_text(inside.get("name")),
        description=_text(inside.get("description")),
        strict=_flag(inside.get("strict")),
    )


def _effort(word: Json) -> str | None:
    return word if isinstance(word, str) and word in EFFORTS else None


def _stop(stop: Json) -> tuple[str, ...] | None:
    words = [stop] if isinstance(stop, str) else stop
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        return None
    return tuple(words)


def _whole(number: Json) -> int | None:
    return number if isinstance(number, int) and not isinstance(number, bool) else None


def _number(number: Json) -> float | None:
    return number if isinstance(number, int | float) and not isinstance(number, bool) else None


def _flag(value: Json) -> bool | None:
    return value if isinstance(value, bool) else None


def _text(value: Json) -> str | None:
    return value if isinstance(value, str) else None


def _object(value: Json) -> Object | None:
    return value if isinstance(value, dict) else None


def decode_turns(messages: Iterable[Object]) -> tuple[CanonicalTurn, ...]:
    """One turn a message, in their order."""
    reader = _Reader()
    return tuple([reader.turn(message) for message in messages])


class _Reader:
    """What a result needs to know of the calls before it."""

    __slots__ = ("_calls", "_count", "_last")

    def __init__(self) -> None:
        self._calls: dict[str, ToolUse] = {}
        self._count = 0
        self._last: dict[str, str] = {}
        """The id of the last call of a function, where calls have none."""

    def turn(self, message: Object) -> CanonicalTurn:
        role = message.get("role")
        name = message.get("name")
        match role:
            case "system" | "developer" | "user":
                found = tuple(read_parts(message.get("content")))
            case "assistant":
                found = tuple(self._assistant(message))
            case "tool" | "function":
                return CanonicalTurn(role="user", parts=(self._result(message),), source=message)
            case _:
                return CanonicalTurn(role="user", parts=(Foreign(kind=str(role), source=message),))
        return CanonicalTurn(
            role=cast("Role", role),
            parts=found,
            name=name if isinstance(name, str) and name else None,
            source=message,
        )

    def _assistant(self, message: Object) -> list[Part]:
        thoughts, states = _thoughts(message)
        found: list[Part] = [*thoughts, *read_parts(message.get("content"))]
        refusal = message.get("refusal")
        if isinstance(refusal, str) and refusal:
            found.append(Refused(text=refusal, source=refusal))
        calls = message.get("tool_calls")
        if isinstance(calls, list):
            found += [self._call(call, states) for call in calls if isinstance(call, dict)]
        call = message.get("function_call")
        if isinstance(call, dict):
            found.append(self._call({"function": call}, {}))
        if message.get("audio"):
            found.append(Foreign(kind="audio", source=message["audio"]))
        return found

    def _call(self, call: Object, states: dict[str, str]) -> ToolUse:
        custom = call.get("type") == "custom"
        said = call.get("custom" if custom else "function")
        inside: Object = said if isinstance(said, dict) else {}
        name = inside.get("name")
        name = name if isinstance(name, str) else ""
        given = inside.get("input" if custom else "arguments")
        id = call.get("id")
        if not isinstance(id, str) or not id:
            self._count += 1
            id = self._last[name] = make_call_id(f"{self._count}/{name}")
        state = states.get(id) or read_signature(call)
        whose, state = reasoning_state.split_label(state) if state is not None else (None, None)
        use = ToolUse(
            id=id,
            name=name,
            arguments=given if isinstance(given, str) else _json(given),
            custom=custom,
            state=state,
            maker=whose,
            source=call,
        )
        self._calls[id] = use
        return use

    def _result(self, message: Object) -> ToolResult:
        id, name = message.get("tool_call_id"), message.get("name")
        name = name if isinstance(name, str) and name else None
        if not isinstance(id, str) or not id:
            id = self._last.get(name or "") or make_call_id(f"result/{name}")
        call = self._calls.get(id)
        found = read_parts(message.get("content"))
        said = [part for part in found if isinstance(part, Text | Media)]
        lost = [_make_text(part) for part in found if not isinstance(part, Text | Media)]
        return ToolResult(
            id=id,
            name=name if call is None else call.name,
            parts=(*said, *lost),
            custom=call is not None and call.custom,
            source=message,
        )


def _make_text(part: Part) -> Text:
    """A part that a result cannot hold, as the JSON that it is: the model reads it all the same."""
    source = getattr(part, "source", None)
    return Text(text=_json(source), source=source)


def _thoughts(message: Object) -> tuple[list[Thought], dict[str, str]]:
    """Reasoning of an assistant's message, and states of its calls by their ids.

    States that the gateway labelled are blocks of their own, each of so many characters of the
    text; other blocks are the state of a host, as they are.
    """
    text = next(
        (it for name in REASONING_MEMBERS if isinstance(it := message.get(name), str) and it), ""
    )
    listed = message.get("reasoning_details")
    blocks = [it for it in listed if isinstance(it, dict)] if isinstance(listed, list) else []
    ours = [it for it in blocks if _labelled(it)]
    theirs = [it for it in blocks if not _labelled(it)]
    states = {it["id"]: it["data"] for it in ours if isinstance(it.get("id"), str)}
    found, at = [], 0
    mine = [it for it in ours if it.get("id") not in states]
    for block in mine:
        whose, state = reasoning_state.split_label(block["data"])
        chars = block.get("chars")
        end = at + chars if isinstance(chars, int) else at
        end = len(text) if block is mine[-1] and not block.get("redacted") else end
        part = "" if block.get("redacted") else text[at:end]
        at = max(at, end)
        found.append(
            Thought(
                text=part,
                state=state,
                redacted=block.get("redacted") is True,
                maker=whose,
                source=block,
            )
        )
    rest, native = (
        text[at:] or read_reasoning_text(theirs),
        _json(theirs) if has_sealed_state(theirs) else None,
    )
    if rest or native:
        found.append(Thought(text=rest, state=native, redacted=not rest, source=listed or text))
    return found, states


def _labelled(block: Object) -> bool:
    data = block.get("data")
    return isinstance(data, str) and data.startswith(reasoning_state.LABEL_PREFIX)


def _json(value: Json) -> str:
    return "" if value is None else jsonio.dumps(value).decode()
