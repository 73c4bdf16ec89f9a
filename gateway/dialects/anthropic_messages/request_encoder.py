"""A request in no dialect as a Messages request, as a client of Anthropic's would write it.

What a model or a host refuses beyond the dialect is the business of the dialect's `write`.
"""

import hashlib
from collections.abc import Iterable

from gateway.core.canonical_request import CanonicalRequest, Tool, ToolResult
from gateway.core.jsonio import Json
from gateway.core.loss import Loss
from gateway.core.target import Target
from gateway.dialects import tool_ids
from gateway.dialects.anthropic_messages import effort, media
from gateway.dialects.anthropic_messages.turns import Turns
from gateway.dialects.base import EncodedRequest
from gateway.dialects.body_patch import LossAction

type Object = dict[str, Json]

_MOST = 32_000
"""The cap where neither client nor catalogue names one: no Claude since 4 gives less."""
_LEAST_BUDGET = 1024
"""Tokens to think with, and tokens left for the answer."""
_MODES = {"auto": "auto", "required": "any", "tool": "tool", "none": "none"}
_MOST_MARKED = 4
"""Breakpoints of the prompt cache in one request."""
_UNMARKED = ("thinking", "redacted_thinking")
"""Types of blocks that take no breakpoint."""
_MOST_USER = 256
"""Characters of `metadata.user_id`."""
_JSON = (
    "Answer with one JSON object and nothing else: no text before or after it, and no code fence."
)
"""Takes the place of a JSON mode without a schema, which the API lacks: its schemas allow no member
that they do not name. It stands behind the client's own instructions and is always the same: the
cache of prompts works as without it."""
_TEXT = {
    "type": "object",
    "properties": {"input": {"type": "string"}},
    "required": ["input"],
    "additionalProperties": False,
}
"""What the function takes that stands for a custom tool."""


def encode(request: CanonicalRequest, target: Target) -> EncodedRequest:
    """The body for a target, and what it could not say."""
    return _Asking(request, target).said()


class _Asking:
    """One request on its way to one target."""

    def __init__(self, request: CanonicalRequest, target: Target) -> None:
        self._request, self._target = request, target
        self._value: Object = {}
        self._names: dict[str, str] = {}
        self._losses: list[Loss] = []

    def said(self) -> EncodedRequest:
        """All of it; in the order in which prompts are cached."""
        request, target = self._request, self._target
        turns = Turns(request, target)
        cap = next(
            it
            for it in (request.max_output, target.max_output, target.facts.max_output, _MOST)
            if it is not None
        )
        self._put("max_tokens", cap, "max_output")
        tools = [_tool(tool) for tool in self._tools()]
        if tools:
            self._put("tools", tools, "tools")
            self._put("tool_choice", self._choice(), "tool_choice")
        form = request.form
        if form is not None and form.schema is None:
            turns.system.append({"type": "text", "text": _JSON})
        self._put("system", turns.system or None, "turns")
        self._put("messages", turns.messages, "turns")
        self._sampling()
        self._think(cap)
        if form is not None and form.schema is not None:
            wanted = {"type": "json_schema", "schema": form.schema}
            config = self._value.get("output_config", {})
            self._put("output_config", {**config, "format": wanted}, "form")
            self._names["output_config.format"] = self._name("form")
        if request.user is not None:
            self._put("metadata", {"user_id": _user(request.user)}, "user")
        if request.service_tier == "default":
            self._put("service_tier", "standard_only", "service_tier")
        self._put("stream", request.stream or None, "stream")
        self._mark(tools, turns)
        self._unmark([*tools, *turns.system, *turns.messages])
        return EncodedRequest(
            value=self._value,
            client_names=self._names,
            losses=tuple(dict.fromkeys([*turns.losses, *self._losses])),
        )

    def _name(self, field: str) -> str:
        return self._request.names.get(field, field)

    def _put(self, member: str, value: Json, field: str) -> None:
        """Set a member that says a field of the request; None is not said."""
        if value is not None:
            self._value[member] = value
            self._names[member] = self._name(field)

    def _lose(self, field: str, action: LossAction, why: str) -> None:
        self._losses.append(Loss(self._name(field), action, f"anthropic-messages {why}"))

    def _tools(self) -> list[Tool]:
        """The tools that may be used; hosted ones of others never come here."""
        choice = self._request.tool_choice
        allowed = choice.allowed if choice is not None else ()
        return [
            tool
            for tool in self._request.tools
            if tool.kind != "hosted" and (not allowed or tool.name in allowed)
        ]

    def _choice(self) -> Object | None:
        asked, single = self._request.tool_choice, self._request.parallel_tools is False
        if asked is None and not single:
            return None
        choice: Object = {"type": _MODES[asked.mode] if asked is not None else "auto"}
        if asked is not None and asked.mode == "tool":
            choice["name"] = tool_ids.make_plain_id(asked.name or "", "tool_")
        if single and choice["type"] != "none":
            choice["disable_parallel_tool_use"] = True
        return choice

    def _sampling(self) -> None:
        request = self._request
        heat, top_p = request.temperature, request.top_p
        if heat is not None and heat > 1:
            heat = 1
            self._lose("temperature", "clamped", "takes a temperature of at most 1")
        if heat is not None and top_p is not None:
            if top_p != 1:
                self._lose("top_p", "dropped", "models take no top_p beside temperature")
            top_p = None
        self._put("temperature", heat, "temperature")
        self._put("top_p", top_p, "top_p")
        self._put("top_k", request.top_k, "top_k")
        stop = [it for it in request.stop if it.strip()]
        if len(stop) < len(request.stop):
            self._lose("stop", "dropped", "has no blank stop sequences")
        self._put("stop_sequences", stop or None, "stop")

    def _think(self, cap: int) -> None:
        """Effort, budget and what is shown; `write` fits them to the model."""
        request, target = self._request, self._target
        named = target.facts.find_effort_style("anthropic-messages")
        style = effort.STYLES.get(named or "")
        asked, budget, field = request.effort, request.budget, "effort"
        thinking: Object | None = None
        if budget == 0 or (budget is None and asked == "none"):
            thinking, asked = {"type": "disabled"}, None
        elif budget is not None and budget > 0:
            thinking, asked, field = self._budget(budget, cap, style), None, "budget"
        elif asked is not None or budget is not None:
            thinking = {"type": "adaptive"}
        elif request.thoughts_shown and style is not None and "adaptive" in style.thinking:
            asked, field = target.effort, "thoughts_shown"
            if (asked or target.facts.default_effort or "none") != "none":
                thinking = {"type": "adaptive"}
        if thinking is None:
            return
        if request.thoughts_shown is not None and thinking["type"] != "disabled":
            shown = "summarized" if request.thoughts_shown else "omitted"
            thinking["display"] = shown
            self._names["thinking.display"] = self._name("thoughts_shown")
        self._put("thinking", thinking, field)
        if asked is not None:
            if asked == "minimal" and field == "effort":
                self._lose("effort", "approximated", "has no effort minimal; sent low")
            asked = "low" if asked == "minimal" else asked
            self._put("output_config", {"effort": asked}, field)
            self._names["output_config.effort"] = self._name(field)

    def _budget(self, budget: int, cap: int, style: effort.Style | None) -> Object | None:
        """A budget that the API takes; a model that takes none gets an effort of it by `write`."""
        if style is not None and "enabled" not in style.thinking:
            return {"type": "enabled", "budget_tokens": budget}
        fit = min(max(budget, _LEAST_BUDGET), cap - _LEAST_BUDGET)
        if fit < _LEAST_BUDGET:
            self._lose("budget", "dropped", f"cannot think within {cap} tokens")
            return None
        if fit != budget:
            self._lose("budget", "clamped", f"thinks with {_LEAST_BUDGET} tokens or more, "
                       f"and leaves as many for the answer; sent {fit}")  # fmt: skip
        return {"type": "enabled", "budget_tokens": fit}

    def _mark(self, tools: list[Object], turns: Turns) -> None:
        """Have a prompt kept whose client asks for that by a key of the cache, or need not ask.

        Where its own API keeps prompts by itself it marks nothing, and an agent in its tool loop
        sends the same again with each result. Instructions are kept, for all conversations that
        begin so, and all up to the end, for the next request of this one.
        """
        if self._request.cache_key is None and not (tools and self._used()):
            return
        if any(True for _ in _marked([*tools, *turns.system, *turns.messages])):
            return
        ends = turns.messages[-1]["content"] if turns.messages else []
        last = [block for block in ends if block["type"] not in _UNMARKED]
        for block in (*(turns.system or tools)[-1:], *last[-1:]):
            block.update(media.cache(""))

    def _used(self) -> bool:
        """Whether a tool has given its result."""
        turns = self._request.turns
        return any(isinstance(part, ToolResult) for turn in turns for part in turn.parts)

    def _unmark(self, objects: Iterable[Object]) -> None:
        """Keep the last breakpoints of the prompt cache, as many as the API takes."""
        marked = list(_marked(objects))
        for block in marked[:-_MOST_MARKED]:
            del block["cache_control"]
        if len(marked) > _MOST_MARKED:
            why = f"takes {_MOST_MARKED} breakpoints at most"
            self._losses.append(Loss("cache_control", "dropped", f"anthropic-messages {why}"))


def _marked(objects: Iterable[Object]) -> Iterable[Object]:
    for it in objects:
        if "cache_control" in it:
            yield it
        content = it.get("content")
        if isinstance(content, list):
            yield from _marked(content)


def _tool(tool: Tool) -> Object:
    """A function; one with a text takes the place of a custom tool."""
    given = tool.parameters if isinstance(tool.parameters, dict) else {}
    plain = {"type": "object", **(given or {"properties": {}})}
    said: Object = {"name": tool_ids.make_plain_id(tool.name, "tool_")}
    if tool.description is not None:
        said["description"] = tool.description
    said["input_schema"] = _TEXT if tool.kind == "custom" else plain
    if tool.strict and tool.kind == "function":
        said["strict"] = True
    return {**said, **media.cache(tool.cache)}


def _user(user: str) -> str:
    """Who the user is to the provider: never an address, which it asks not to be sent."""
    if "@" in user or len(user) > _MOST_USER:
        return hashlib.blake2b(user.encode("utf-8", "replace"), digest_size=16).hexdigest()
    return user
