"""A request in no dialect as a Responses request, as a client of this dialect would send it.

What a client of another dialect did not ask to be kept is not kept: `store` is false, and reasoning
comes back encrypted, for the client to keep. Source: the request body of OpenAI's API reference.
"""

from collections.abc import Mapping

from gateway.core.canonical_request import CanonicalRequest, OutputFormat, Tool, ToolChoice
from gateway.core.jsonio import Json
from gateway.core.loss import Loss
from gateway.core.target import Target
from gateway.dialects import tool_ids
from gateway.dialects.base import EncodedRequest
from gateway.dialects.openai_responses import effort
from gateway.dialects.openai_responses.frames import Object
from gateway.dialects.openai_responses.items import Items
from gateway.dialects.openai_responses.request import LOGPROBS

LEAST = 16
"""Tokens that `max_output_tokens` must be at least."""

_ENCRYPTED = "reasoning.encrypted_content"
_SAME = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_logprobs": "top_logprobs",
    "service_tier": "service_tier",
    "parallel_tools": "parallel_tool_calls",
    "user": "safety_identifier",
    "metadata": "metadata",
    "cache_key": "prompt_cache_key",
}
"""Fields that are members as they are."""
_BUDGETS = ((2_000, "low"), (8_000, "medium"), (24_000, "high"))
_MEMBERS = {
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
    **{member: field for field, member in _SAME.items()},
}
"""By member that may be written: the field that it says."""


def encode(request: CanonicalRequest, target: Target) -> EncodedRequest:
    """The body, the client's names of its members, and what it could not say."""
    refused = target.facts.refused_members | target.provider.refused_members
    items = Items(request, target, instructions="instructions" not in refused)
    losses = items.losses
    value: Object = {"input": items.items}
    if items.instructions:
        value["instructions"] = items.instructions
    for field, member in _SAME.items():
        said = getattr(request, field)
        if said is not None:
            value[member] = said
    if request.user:
        value["safety_identifier"] = tool_ids.make_plain_id(request.user, "user_")
    _tools(value, request)
    _settings(value, request)
    _cap(value, request, losses)
    if "store" not in refused:
        value["store"] = False
    include = [LOGPROBS] if request.logprobs else []
    if effort.style(target.facts) is not None and "include" not in refused:
        include.append(_ENCRYPTED)
    if include:
        value["include"] = include
    if request.stream:
        value["stream"] = True
    return EncodedRequest(
        value=value, client_names=_names(value, request), losses=tuple(dict.fromkeys(losses))
    )


def _names(value: Object, request: CanonicalRequest) -> Mapping[str, str]:
    names = {}
    for member, field in _MEMBERS.items():
        if field == "effort" and request.effort is None and request.budget is not None:
            field = "budget"  # noqa: PLW2901 - the effort stands for it
        if field == "form" and request.form is None:
            field = "verbosity"  # noqa: PLW2901 - the one other thing that `text` says
        top, _, inner = member.partition(".")
        if top in value and (not inner or inner in value[top]):
            default = "messages" if field == "turns" else field
            names[member] = request.names.get(field, default)
    return names


def _cap(value: Object, request: CanonicalRequest, losses: list[Loss]) -> None:
    cap = request.max_output
    if cap is None:
        return
    value["max_output_tokens"] = max(cap, LEAST)
    if cap < LEAST:
        name = request.names.get("max_output", "max_output")
        losses.append(Loss(name, "approximated", f"openai-responses takes at least {LEAST}"))


def _settings(value: Object, request: CanonicalRequest) -> None:
    text: Object = {}
    if request.form is not None:
        text["format"] = _format(request.form)
    if request.verbosity is not None:
        text["verbosity"] = request.verbosity
    if text:
        value["text"] = text
    reasoning: Object = {}
    said = request.effort or _by_budget(request.budget)
    if said is not None:
        reasoning["effort"] = said
    if request.thoughts_shown:
        reasoning["summary"] = "auto"
    if reasoning:
        value["reasoning"] = reasoning


def _by_budget(budget: int | None) -> str | None:
    if budget is None:
        return None
    return next((word for below, word in _BUDGETS if budget < below), "xhigh")


def _format(form: OutputFormat) -> Object:
    if form.schema is None:
        return {"type": "json_object"}
    said: Object = {
        "type": "json_schema",
        "name": form.name or "answer",
        "schema": form.schema,
    }
    if form.strict is not None:
        said["strict"] = form.strict
    if form.description is not None:
        said["description"] = form.description
    return said


def _tools(value: Object, request: CanonicalRequest) -> None:
    if request.tools:
        value["tools"] = [_tool(tool) for tool in request.tools]
    if request.tool_choice is not None:
        custom = {tool.name for tool in request.tools if tool.kind == "custom"}
        value["tool_choice"] = _choice(request.tool_choice, custom)


def _tool(tool: Tool) -> Object:
    """A tool; what is not said to be strict is not, though this API takes it to be."""
    said: Object = {"type": tool.kind, "name": tool_ids.make_plain_id(tool.name, "tool_")}
    if tool.description is not None:
        said["description"] = tool.description
    if tool.kind == "custom":
        if tool.grammar is not None:
            said["format"] = _grammar(tool.grammar)
        return said
    empty: Json = {"type": "object", "properties": {}}
    said["parameters"] = empty if tool.parameters is None else tool.parameters
    said["strict"] = bool(tool.strict)
    return said


def _grammar(grammar: Json) -> Json:
    """A grammar as it stands here; Chat Completions has it one object deeper."""
    inner = grammar.get("grammar") if isinstance(grammar, dict) else None
    return {"type": "grammar", **inner} if isinstance(inner, dict) else grammar


def _choice(choice: ToolChoice, custom: set[str]) -> Json:
    if choice.allowed:
        tools = [_named(name, custom) for name in choice.allowed]
        mode = "auto" if choice.mode in ("auto", "none") else "required"
        return {"type": "allowed_tools", "mode": mode, "tools": tools}
    return _named(choice.name or "", custom) if choice.mode == "tool" else choice.mode


def _named(name: str, custom: set[str]) -> Object:
    kind = "custom" if name in custom else "function"
    return {"type": kind, "name": tool_ids.make_plain_id(name, "tool_")}
