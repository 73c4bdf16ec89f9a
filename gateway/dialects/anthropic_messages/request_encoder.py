"""A canonical request as a body, as a client of Anthropic's would write it.

Neighbouring turns of one role become one message. All results of one assistant message come first
in the user message that follows. A tool call without a result gets one that says so. Later system
turns become text of the user. Sources: Anthropic's API reference, and what the API refuses: blank
text, images in results that are errors, ids that are not plain or occur twice, and a conversation
that the assistant begins. `request.write` removes what a single model or host refuses.
"""

import hashlib
from collections.abc import Iterable

from gateway.core import jsonio
from gateway.core.canonical_request import (
    CanonicalRequest,
    CanonicalTurn,
    Media,
    Part,
    Refused,
    Text,
    Thought,
    Tool,
    ToolResult,
    ToolUse,
)
from gateway.core.jsonio import Json
from gateway.core.loss import Loss
from gateway.core.target import Target
from gateway.dialects import reasoning_state, tool_ids
from gateway.dialects.anthropic_messages import effort
from gateway.dialects.anthropic_messages.content import write_cache, write_media, write_text
from gateway.dialects.base import EncodedRequest
from gateway.dialects.body_patch import LossAction

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
_JSON_INSTRUCTION = (
    "Answer with one JSON object and nothing else: no text before or after it, and no code fence."
)
"""Replaces a JSON mode without a schema, which the API lacks: its schemas allow only members that
they name. The gateway puts it behind the client's own instructions. It never changes, so that the
prompt cache works as without it."""
_CUSTOM_TOOL_SCHEMA = {
    "type": "object",
    "properties": {"input": {"type": "string"}},
    "required": ["input"],
    "additionalProperties": False,
}
"""The parameters of the function that replaces a custom tool."""
_NO_CONTENT = "(no content)"
"""Fills an empty message, which the API refuses."""
_SYSTEM_ROLES = ("system", "developer")


def encode_request(request: CanonicalRequest, target: Target) -> EncodedRequest:
    """Return the body for a target, and the losses."""
    return _BodyWriter(request, target).write()


class _MessageDraft:
    """A message in the making: neighbouring turns of one role."""

    __slots__ = ("blocks", "results", "role", "uses")

    def __init__(self, role: str) -> None:
        self.role = role
        self.blocks: list[Object] = []
        self.results: list[ToolResult] = []
        self.uses: list[tuple[str, str]] = []
        """For each tool call of an assistant: the client's id, and the id that the target gets."""


class MessageBuilder:
    """The system prompt and messages that one target gets, built from the turns of a request."""

    __slots__ = ("_drafts", "_losses", "_maker", "_sent_ids", "_turns_name", "messages", "system")

    def __init__(self, request: CanonicalRequest, target: Target) -> None:
        self._turns_name = request.names.get("turns", "messages")
        self._maker = reasoning_state.hash_maker(target, "anthropic-messages")
        self._losses: dict[Loss, None] = {}
        self._drafts: list[_MessageDraft] = []
        self._sent_ids: set[str] = set()
        turns = request.turns
        lead = next((at for at, it in enumerate(turns) if it.role not in _SYSTEM_ROLES), len(turns))
        alone = 0 < lead == len(turns)
        if alone:
            lead -= 1
            self._record_loss("", "approximated", "needs a user turn: the system turn becomes one")
        self.system = [block for turn in turns[:lead] for block in self._write_parts(turn.parts)]
        for turn in turns[lead:]:
            if turn.role == "assistant":
                self._add_assistant_turn(turn)
            else:
                self._add_user_turn(turn, later=turn.role in _SYSTEM_ROLES and not alone)
        self.messages = self._join_drafts()

    @property
    def losses(self) -> tuple[Loss, ...]:
        """Losses beyond the rules of dialects.compatibility."""
        return tuple(self._losses)

    def _record_loss(self, member: str, action: LossAction, why: str) -> None:
        field = f"{self._turns_name}.{member}" if member else self._turns_name
        self._losses[Loss(field, action, f"anthropic-messages {why}")] = None

    def _take_draft(self, role: str) -> _MessageDraft:
        if not self._drafts or self._drafts[-1].role != role:
            self._drafts.append(_MessageDraft(role))
        return self._drafts[-1]

    def _add_user_turn(self, turn: CanonicalTurn, *, later: bool) -> None:
        """Add a user turn, or a later system turn, which the API allows as user text only."""
        draft = self._take_draft("user")
        draft.results += [part for part in turn.parts if isinstance(part, ToolResult)]
        blocks = self._write_parts(part for part in turn.parts if not isinstance(part, ToolResult))
        for block in blocks if later else ():
            if block["type"] == "text":
                block["text"] = f"<system>\n{block['text']}\n</system>"
        draft.blocks += blocks

    def _add_assistant_turn(self, turn: CanonicalTurn) -> None:
        for part in turn.parts:
            match part:
                case Text() | Refused():
                    cached = part.cache if isinstance(part, Text) else None
                    block = write_text(Text(text=part.text, cache=cached))
                case ToolUse():
                    block = self._write_tool_use(part)
                case Thought():
                    block = self._write_thought(part)
                case _:
                    self._record_dropped_part(part)
                    block = None
            if block is not None:
                self._take_draft("assistant").blocks.append(block)

    def _write_tool_use(self, part: ToolUse) -> Object:
        sent = tool_ids.make_plain_id(part.id, "toolu_")
        if sent in self._sent_ids:  # a client that counts anew in each turn
            sent = tool_ids.make_plain_id(f"{sent} {len(self._sent_ids)}", "toolu_")
        self._sent_ids.add(sent)
        self._take_draft("assistant").uses.append((part.id, sent))
        if part.state is not None:
            self._record_foreign_reasoning()
        name = tool_ids.make_plain_id(part.name, "tool_")
        return {"type": "tool_use", "id": sent, "name": name, "input": self._write_input(part)}

    def _write_input(self, part: ToolUse) -> Json:
        """Return the input of a tool call as an object; text that is no object goes into `_raw`."""
        if part.custom:
            return {"input": part.arguments}
        if part.arguments.strip() in ("", "null"):  # some hosts write null where there are none
            return {}
        try:
            value = jsonio.loads(part.arguments.encode())
        except jsonio.JsonError:
            value = None
        if isinstance(value, dict):
            return value
        self._record_loss(
            "arguments",
            "approximated",
            "needs an object as input: the gateway puts the text in _raw",
        )
        return {"_raw": part.arguments}

    def _write_thought(self, part: Thought) -> Object | None:
        """Return a thinking block; None for reasoning that another model made."""
        if part.state is None or part.maker != self._maker:
            self._record_foreign_reasoning()
            return None
        if part.redacted:
            return {"type": "redacted_thinking", "data": part.state}
        return {"type": "thinking", "thinking": part.text, "signature": part.state}

    def _record_foreign_reasoning(self) -> None:
        why = "gets no reasoning of another model"
        self._record_loss("reasoning", "dropped", why)

    def _record_dropped_part(self, part: Part) -> None:
        kind = part.kind if isinstance(part, Media) else type(part).__name__
        self._record_loss(kind.lower(), "dropped", "has no such part in this place")

    def _write_parts(self, parts: Iterable[Part]) -> list[Object]:
        """Return text, images and documents as blocks, without blank text."""
        blocks: list[Object | None] = []
        for part in parts:
            block = write_media(part) if isinstance(part, Media) else None
            if isinstance(part, Text):
                blocks.append(write_text(part))
            elif block is not None:
                blocks.append(block)
            else:
                self._record_dropped_part(part)
        return [block for block in blocks if block is not None]

    def _join_drafts(self) -> list[Object]:
        """Return the messages; each tool call has its result in the next message."""
        messages: list[Object] = []
        uses: list[tuple[str, str]] = []
        drafts = self._drafts
        if drafts and drafts[0].role == "assistant":
            drafts = [_MessageDraft("user"), *drafts]
        if drafts and drafts[-1].uses:
            drafts = [*drafts, _MessageDraft("user")]
        for draft in drafts:
            content = draft.blocks
            if draft.role == "user":
                content = [*self._write_results(uses, draft.results), *draft.blocks]
            messages.append({"role": draft.role, "content": content or [_make_text(_NO_CONTENT)]})
            uses = draft.uses
        if messages and drafts[-1].role == "assistant":
            self._trim_prefill(messages[-1]["content"][-1])
        return messages

    def _trim_prefill(self, block: Object) -> None:
        """Remove space from the end of a begun answer: the API refuses it there."""
        if block["type"] == "text" and block["text"] != block["text"].rstrip():
            block["text"] = block["text"].rstrip()
            self._record_loss(
                "", "approximated", "does not continue an answer that ends in a space"
            )

    def _write_results(
        self, uses: list[tuple[str, str]], results: list[ToolResult]
    ) -> list[Object]:
        """Return one result for each tool call, then the blocks that a result may not hold."""
        open_, written, behind = list(uses), list[Object](), list[Object]()
        for result in results:
            use = next((it for it in open_ if it[0] == result.id), None)
            blocks = self._write_parts(result.parts)
            if use is None:
                self._record_loss(
                    "tool_result", "approximated", "gets a result without its call as text"
                )
                behind += blocks
                continue
            open_.remove(use)
            block: Object = {"type": "tool_result", "tool_use_id": use[1]}
            if result.error:
                behind += [it for it in blocks if it["type"] != "text"]
                blocks = [it for it in blocks if it["type"] == "text"] or [_make_text("Error")]
                block["is_error"] = True
            if blocks:
                block["content"] = blocks
            written.append({**block, **write_cache(result.cache)})
        for _, sent in open_:
            none = [_make_text("No result provided")]
            written.append(
                {"type": "tool_result", "tool_use_id": sent, "is_error": True, "content": none}
            )
        return written + behind


class _BodyWriter:
    """Writes the body of one request for one target."""

    def __init__(self, request: CanonicalRequest, target: Target) -> None:
        self._request, self._target = request, target
        self._body: Object = {}
        self._names: dict[str, str] = {}
        self._losses: list[Loss] = []

    def write(self) -> EncodedRequest:
        """Write all members, in the order in which the provider caches a prompt."""
        request, target = self._request, self._target
        turns = MessageBuilder(request, target)
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
            turns.system.append({"type": "text", "text": _JSON_INSTRUCTION})
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
        return EncodedRequest(
            value=self._body,
            client_names=self._names,
            losses=tuple(dict.fromkeys([*turns.losses, *self._losses])),
        )

    def _client_name(self, field: str) -> str:
        return self._request.names.get(field, field)

    def _set(self, member: str, value: Json, field: str) -> None:
        """Set a member from a field of the request, unless the value is None."""
        if value is not None:
            self._body[member] = value
            self._names[member] = self._client_name(field)

    def _record_loss(self, field: str, action: LossAction, why: str) -> None:
        self._losses.append(Loss(self._client_name(field), action, f"anthropic-messages {why}"))

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
            choice["name"] = tool_ids.make_plain_id(wanted.name or "", "tool_")
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
    written: Object = {"name": tool_ids.make_plain_id(tool.name, "tool_")}
    if tool.description is not None:
        written["description"] = tool.description
    written["input_schema"] = _CUSTOM_TOOL_SCHEMA if tool.kind == "custom" else plain
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
