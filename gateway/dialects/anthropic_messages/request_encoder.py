"""A canonical request as a body, as a client of Anthropic's would write it.

See dialects.message_builder for the order of messages. Sources: Anthropic's API reference, and what
the API refuses: blank text, images in results that are errors, ids that are not plain or occur
twice, and a conversation that the assistant begins. `request.write` removes what a single model or
host refuses.
"""

import hashlib
from collections.abc import Iterable

from gateway.core.canonical_request import (
    CanonicalRequest,
    Media,
    Text,
    Thought,
    Tool,
    ToolResult,
)
from gateway.core.jsonio import Json
from gateway.core.loss import Loss
from gateway.core.target import Target
from gateway.dialects import tool_ids
from gateway.dialects.anthropic_messages import effort
from gateway.dialects.anthropic_messages.content import write_cache, write_media, write_text
from gateway.dialects.base import EncodedRequest
from gateway.dialects.body_writer import BodyWriter
from gateway.dialects.message_builder import (
    CUSTOM_TOOL_SCHEMA,
    JSON_INSTRUCTION,
    NO_RESULT,
    TOOL_PREFIX,
    MessageBuilder,
)

type Object = dict[str, Json]

_DEFAULT_MAX_TOKENS = 32_000
"""`max_tokens` if neither client nor catalogue sets it: every Claude since 4 allows as many."""
_MIN_BUDGET = 1024
"""The least number of tokens to think with, and to leave for the answer."""
_TOOL_CHOICE_TYPES = {"auto": "auto", "required": "any", "tool": "tool", "none": "none"}
_MAX_BREAKPOINTS = 4
"""The most breakpoints of the prompt cache in one request."""
_UNMARKED_TYPES = ("thinking", "redacted_thinking")
"""Types of blocks that take no breakpoint."""
_MAX_USER_LENGTH = 256
"""The most characters of `metadata.user_id`."""


def encode_request(request: CanonicalRequest, target: Target) -> EncodedRequest:
    """Return the body for a target, and the losses."""
    return _BodyWriter(request, target).write()


class _MessageWriter(MessageBuilder):
    """The system prompt and messages of one request."""

    __slots__ = ()

    def __init__(self, request: CanonicalRequest, target: Target) -> None:
        super().__init__(request, target, dialect_name="anthropic-messages", call_prefix="toolu_")

    def _write_text(self, part: Text) -> list[Object]:
        block = write_text(part)
        return [] if block is None else [block]

    def _write_media(self, part: Media) -> list[Object]:
        block = write_media(part)
        return [] if block is None else [block]

    def _write_call(self, id: str, name: str, arguments: Object) -> Object:
        return {"type": "tool_use", "id": id, "name": name, "input": arguments}

    def _write_own_thought(self, state: str, part: Thought) -> Object:
        if part.redacted:
            return {"type": "redacted_thinking", "data": state}
        return {"type": "thinking", "thinking": part.text, "signature": state}

    def _write_result(
        self, id: str, result: ToolResult | None, blocks: list[Object]
    ) -> tuple[list[Object], list[Object]]:
        block: Object = {"type": "tool_result", "tool_use_id": id}
        if result is None:
            return [{**block, "is_error": True, "content": [_make_text(NO_RESULT)]}], []
        behind: list[Object] = []
        if result.error:
            behind = [it for it in blocks if it["type"] != "text"]
            blocks = [it for it in blocks if it["type"] == "text"] or [_make_text("Error")]
            block["is_error"] = True
        if blocks:
            block["content"] = blocks
        return [{**block, **write_cache(result.cache)}], behind

    def _write_messages(
        self, role: str, results: list[Object], blocks: list[Object]
    ) -> list[Object]:
        return [{"role": role, "content": [*results, *blocks]}]

    def _trim_prefill(self, message: Object) -> None:
        """Remove space from the end of a begun answer: the API refuses it there."""
        block = message["content"][-1]
        if block["type"] == "text" and block["text"] != block["text"].rstrip():
            block["text"] = block["text"].rstrip()
            self._record_loss(
                "", "approximated", "does not continue an answer that ends in a space"
            )


class _BodyWriter(BodyWriter):
    """Writes the body of one request for one target."""

    def __init__(self, request: CanonicalRequest, target: Target) -> None:
        super().__init__(request, target, dialect_name="anthropic-messages")

    def write(self) -> EncodedRequest:
        """Write all members, in the order in which the provider caches a prompt."""
        request, target = self._request, self._target
        turns = _MessageWriter(request, target)
        cap = next(
            it
            for it in (
                request.max_output,
                target.lowered_output,
                target.max_output,
                target.facts.max_output,
                _DEFAULT_MAX_TOKENS,
            )
            if it is not None
        )
        self._set("max_tokens", cap, "max_output")
        if request.max_output is None and target.lowered_output is not None:
            self._losses.append(Loss("max_tokens", "clamped", target.explain_output_limit()))
        tools = [_write_tool(tool) for tool in self._list_tools()]
        if tools:
            self._set("tools", tools, "tools")
            self._set("tool_choice", self._write_tool_choice(), "tool_choice")
        form = request.form
        if form is not None and form.schema is None:
            turns.system.append({"type": "text", "text": JSON_INSTRUCTION})
        self._set("system", turns.system or None, "turns")
        self._set("messages", turns.messages, "turns")
        self._write_sampling()
        self._write_thinking(cap)
        if form is not None and form.schema is not None:
            wanted = {"type": "json_schema", "schema": form.schema}
            config = self._body.get("output_config", {})
            self._set("output_config", {**config, "format": wanted}, "form")
            self._names["output_config.format"] = self._client_name("form")
        if request.user is not None:
            self._set("metadata", {"user_id": _hide_person(request.user)}, "user")
        if request.service_tier == "default":
            self._set("service_tier", "standard_only", "service_tier")
        self._set("stream", request.stream or None, "stream")
        self._add_breakpoints(tools, turns)
        self._limit_breakpoints([*tools, *turns.system, *turns.messages])
        return self._finish(turns)

    def _list_tools(self) -> list[Tool]:
        """Return the tools that the model may call, without hosted ones."""
        choice = self._request.tool_choice
        allowed = choice.allowed if choice is not None else ()
        return [
            tool
            for tool in self._request.tools
            if tool.kind != "hosted" and (not allowed or tool.name in allowed)
        ]

    def _write_tool_choice(self) -> Object | None:
        wanted, single = self._request.tool_choice, self._request.parallel_tools is False
        if wanted is None and not single:
            return None
        choice: Object = {"type": _TOOL_CHOICE_TYPES[wanted.mode] if wanted is not None else "auto"}
        if wanted is not None and wanted.mode == "tool":
            choice["name"] = tool_ids.make_plain_id(wanted.name or "", TOOL_PREFIX)
        if single and choice["type"] != "none":
            choice["disable_parallel_tool_use"] = True
        return choice

    def _write_sampling(self) -> None:
        request = self._request
        temperature, top_p = request.temperature, request.top_p
        if temperature is not None and temperature > 1:
            temperature = 1
            self._record_loss("temperature", "clamped", "accepts a temperature of at most 1")
        if temperature is not None and top_p is not None:
            if top_p != 1:
                self._record_loss("top_p", "dropped", "accepts top_p or temperature, not both")
            top_p = None
        self._set("temperature", temperature, "temperature")
        self._set("top_p", top_p, "top_p")
        self._set("top_k", request.top_k, "top_k")
        stop = [it for it in request.stop if it.strip()]
        if len(stop) < len(request.stop):
            self._record_loss("stop", "dropped", "does not accept blank stop sequences")
        self._set("stop_sequences", stop or None, "stop")

    def _write_thinking(self, cap: int) -> None:
        """Write effort, budget and display; `request.write` fits them to the model."""
        request, target = self._request, self._target
        named = target.facts.find_effort_style("anthropic-messages")
        style = effort.STYLES.get(named or "")
        word, budget, field = request.effort, request.budget, "effort"
        thinking: Object | None = None
        if budget == 0 or (budget is None and word == "none"):
            thinking, word = {"type": "disabled"}, None
        elif budget is not None and budget > 0:
            thinking, word, field = self._fit_budget(budget, cap, style), None, "budget"
        elif word is not None or budget is not None:
            thinking = {"type": "adaptive"}
        elif request.thoughts_shown and style is not None and "adaptive" in style.thinking:
            word, field = target.effort, "thoughts_shown"
            if (word or target.facts.default_effort or "none") != "none":
                thinking = {"type": "adaptive"}
        if thinking is None:
            return
        if request.thoughts_shown is not None and thinking["type"] != "disabled":
            shown = "summarized" if request.thoughts_shown else "omitted"
            thinking["display"] = shown
            self._names["thinking.display"] = self._client_name("thoughts_shown")
        self._set("thinking", thinking, field)
        if word is not None:
            if word == "minimal" and field == "effort":
                self._record_loss("effort", "approximated", "has no effort minimal; sent low")
            word = "low" if word == "minimal" else word
            self._set("output_config", {"effort": word}, field)
            self._names["output_config.effort"] = self._client_name(field)

    def _fit_budget(
        self, budget: int, cap: int, style: effort.ThinkingStyle | None
    ) -> Object | None:
        """Return a budget that the API takes; `request.write` turns it into effort if need be."""
        if style is not None and "enabled" not in style.thinking:
            return {"type": "enabled", "budget_tokens": budget}
        fit = min(max(budget, _MIN_BUDGET), cap - _MIN_BUDGET)
        if fit < _MIN_BUDGET:
            self._record_loss("budget", "dropped", f"cannot think within {cap} tokens")
            return None
        if fit != budget:
            self._record_loss("budget", "clamped", f"needs {_MIN_BUDGET} tokens or more to think, "
                       f"and leaves as many for the answer; sent {fit}")  # fmt: skip
        return {"type": "enabled", "budget_tokens": fit}

    def _add_breakpoints(self, tools: list[Object], turns: MessageBuilder) -> None:
        """Mark the prompt for the cache if the client set a cache key or runs a tool loop.

        Clients of APIs that cache by themselves mark nothing, and an agent in a tool loop sends
        the same prompt again with each result. One mark follows the instructions, for all
        conversations that share them. One follows the last block, for the next request.
        """
        if self._request.cache_key is None and not (tools and self._has_tool_result()):
            return
        if any(True for _ in _list_marked([*tools, *turns.system, *turns.messages])):
            return
        ends = turns.messages[-1]["content"] if turns.messages else []
        last = [block for block in ends if block["type"] not in _UNMARKED_TYPES]
        for block in (*(turns.system or tools)[-1:], *last[-1:]):
            block.update(write_cache(""))

    def _has_tool_result(self) -> bool:
        """True if the conversation holds a tool result."""
        turns = self._request.turns
        return any(isinstance(part, ToolResult) for turn in turns for part in turn.parts)

    def _limit_breakpoints(self, objects: Iterable[Object]) -> None:
        """Keep the last breakpoints of the prompt cache, as many as the API takes."""
        marked = list(_list_marked(objects))
        for block in marked[:-_MAX_BREAKPOINTS]:
            del block["cache_control"]
        if len(marked) > _MAX_BREAKPOINTS:
            why = f"accepts at most {_MAX_BREAKPOINTS} breakpoints"
            self._losses.append(Loss("cache_control", "dropped", f"anthropic-messages {why}"))


def _list_marked(objects: Iterable[Object]) -> Iterable[Object]:
    """Yield the objects that have a breakpoint, and those inside them."""
    for it in objects:
        if "cache_control" in it:
            yield it
        content = it.get("content")
        if isinstance(content, list):
            yield from _list_marked(content)


def _write_tool(tool: Tool) -> Object:
    """Return a tool as a function; a custom tool becomes one that takes a text."""
    given = tool.parameters if isinstance(tool.parameters, dict) else {}
    plain = {"type": "object", **(given or {"properties": {}})}
    written: Object = {"name": tool_ids.make_plain_id(tool.name, TOOL_PREFIX)}
    if tool.description is not None:
        written["description"] = tool.description
    written["input_schema"] = CUSTOM_TOOL_SCHEMA if tool.kind == "custom" else plain
    if tool.strict and tool.kind == "function":
        written["strict"] = True
    return {**written, **write_cache(tool.cache)}


def _hide_person(user: str) -> str:
    """Return the user's name for the provider; it asks clients not to send e-mail addresses."""
    if "@" in user or len(user) > _MAX_USER_LENGTH:
        return hashlib.blake2b(user.encode("utf-8", "replace"), digest_size=16).hexdigest()
    return user


def _make_text(text: str) -> Object:
    return {"type": "text", "text": text}
