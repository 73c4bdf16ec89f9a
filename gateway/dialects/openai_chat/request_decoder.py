"""A Chat Completions request read whole, for a target that speaks another dialect.

Read leniently: what a host would accept becomes a field of CanonicalRequest where it has one, and
any other member, or a value of another type than a field's, stays in `others`. The hosts' own
switches of reasoning are read where they say plainly how much: `thinking` (DeepSeek, Moonshot,
Z.ai), `enable_thinking` and `thinking_budget` (DashScope), `reasoning` (OpenRouter, Together).
"""

from collections.abc import Callable

from gateway.core.canonical_request import CanonicalRequest, OutputFormat, Tool, ToolChoice
from gateway.core.jsonio import Json
from gateway.core.target import EFFORTS
from gateway.dialects.base import RequestBody
from gateway.dialects.openai_chat.turns import cache, turns

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


def decode(body: RequestBody) -> CanonicalRequest:
    """The request that a body is."""
    ask = _Ask(body.value)
    _limits(ask)
    _tools(ask)
    _thinking(ask)
    _options(ask)
    return CanonicalRequest(
        turns=turns(body.value["messages"]),
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
        return Tool(name=str(kind), kind="hosted", cache=cache(tool), source=tool)
    if kind == "custom":
        form = inside.get("format")
        plain = not isinstance(form, dict) or form.get("type") == "text"
        return Tool(
            name=_text(inside.get("name")) or "",
            kind="custom",
            description=_text(inside.get("description")),
            grammar=None if plain else form,
            cache=cache(tool),
            source=tool,
        )
    return _function(inside, tool)


def _function(inside: Object, source: Object) -> Tool:
    return Tool(
        name=_text(inside.get("name")) or "",
        description=_text(inside.get("description")),
        parameters=_object(inside.get("parameters")),
        strict=_flag(inside.get("strict")),
        cache=cache(source),
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
