"""A canonical request as a body, as a client of Anthropic's would write it.

Neighbours of one role are one message. All results of one assistant's message stand first in the
user's message that follows; a use without a result gets one that says so. Later system turns are
text of the user. Sources: Anthropic's API reference, and what the API refuses: blank text, images
in results that are errors, ids that are not plain or stand twice, a first message of the assistant.
What a model or a host refuses beyond the dialect is the business of the dialect's `write`.
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
_NOTHING = "(no content)"
"""Stands where a user said nothing and the API wants something."""
_SYSTEM = ("system", "developer")


def encode_request(request: CanonicalRequest, target: Target) -> EncodedRequest:
    """The body for a target, and what it could not say."""
    return _Asking(request, target).said()


class _Run:
    """One message: neighbouring turns of one role."""

    __slots__ = ("blocks", "results", "role", "uses")

    def __init__(self, role: str) -> None:
        self.role = role
        self.blocks: list[Object] = []
        self.results: list[ToolResult] = []
        self.uses: list[tuple[str, str]] = []
        """Of an assistant: the client's id of each use of a tool, and the one that is sent."""


class Turns:
    """The turns of one request as one target gets them."""

    __slots__ = ("_losses", "_maker", "_runs", "_sent", "_word", "messages", "system")

    def __init__(self, request: CanonicalRequest, target: Target) -> None:
        self._word = request.names.get("turns", "messages")
        self._maker = reasoning_state.hash_maker(target, "anthropic-messages")
        self._losses: dict[Loss, None] = {}
        self._runs: list[_Run] = []
        self._sent: set[str] = set()
        turns = request.turns
        lead = next((at for at, it in enumerate(turns) if it.role not in _SYSTEM), len(turns))
        alone = 0 < lead == len(turns)
        if alone:
            lead -= 1
            self._lose("", "approximated", "a system turn alone is said by the user")
        self.system = [block for turn in turns[:lead] for block in self._plain(turn.parts)]
        for turn in turns[lead:]:
            if turn.role == "assistant":
                self._assistant(turn)
            else:
                self._user(turn, later=turn.role in _SYSTEM and not alone)
        self.messages = self._joined()

    @property
    def losses(self) -> tuple[Loss, ...]:
        """What could not be said, beyond the rules of dialects.compatibility."""
        return tuple(self._losses)

    def _lose(self, member: str, action: LossAction, why: str) -> None:
        field = f"{self._word}.{member}" if member else self._word
        self._losses[Loss(field, action, why)] = None

    def _run(self, role: str) -> _Run:
        if not self._runs or self._runs[-1].role != role:
            self._runs.append(_Run(role))
        return self._runs[-1]

    def _user(self, turn: CanonicalTurn, *, later: bool) -> None:
        """A user's turn, or a later one of the system, which may not stand where it stood."""
        run = self._run("user")
        run.results += [part for part in turn.parts if isinstance(part, ToolResult)]
        blocks = self._plain(part for part in turn.parts if not isinstance(part, ToolResult))
        for block in blocks if later else ():
            if block["type"] == "text":
                block["text"] = f"<system>\n{block['text']}\n</system>"
        run.blocks += blocks

    def _assistant(self, turn: CanonicalTurn) -> None:
        for part in turn.parts:
            match part:
                case Text() | Refused():
                    cached = part.cache if isinstance(part, Text) else None
                    block = write_text(Text(text=part.text, cache=cached))
                case ToolUse():
                    block = self._use(part)
                case Thought():
                    block = self._thought(part)
                case _:
                    self._none(part)
                    block = None
            if block is not None:
                self._run("assistant").blocks.append(block)

    def _use(self, part: ToolUse) -> Object:
        sent = tool_ids.make_plain_id(part.id, "toolu_")
        if sent in self._sent:  # a client that counts anew in each turn
            sent = tool_ids.make_plain_id(f"{sent} {len(self._sent)}", "toolu_")
        self._sent.add(sent)
        self._run("assistant").uses.append((part.id, sent))
        if part.state is not None:
            self._other_model()
        name = tool_ids.make_plain_id(part.name, "tool_")
        return {"type": "tool_use", "id": sent, "name": name, "input": self._input(part)}

    def _input(self, part: ToolUse) -> Json:
        """The input as an object, what the model wrote else where it is one."""
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
        self._lose("arguments", "approximated", "an input must be an object: it is in _raw")
        return {"_raw": part.arguments}

    def _thought(self, part: Thought) -> Object | None:
        """Reasoning goes to the model that made it, and to no other."""
        if part.state is None or part.maker != self._maker:
            self._other_model()
            return None
        if part.redacted:
            return {"type": "redacted_thinking", "data": part.state}
        return {"type": "thinking", "thinking": part.text, "signature": part.state}

    def _other_model(self) -> None:
        why = "reasoning of another model is for that model alone"
        self._lose("reasoning", "dropped", why)

    def _none(self, part: Part) -> None:
        kind = part.kind if isinstance(part, Media) else type(part).__name__
        self._lose(kind.lower(), "dropped", "anthropic-messages has no such part there")

    def _plain(self, parts: Iterable[Part]) -> list[Object]:
        """Text, images and documents; blank text is left out."""
        blocks: list[Object | None] = []
        for part in parts:
            block = write_media(part) if isinstance(part, Media) else None
            if isinstance(part, Text):
                blocks.append(write_text(part))
            elif block is not None:
                blocks.append(block)
            else:
                self._none(part)
        return [block for block in blocks if block is not None]

    def _joined(self) -> list[Object]:
        """The messages, every use of a tool with its result in the next."""
        messages: list[Object] = []
        uses: list[tuple[str, str]] = []
        runs = self._runs
        if runs and runs[0].role == "assistant":
            runs = [_Run("user"), *runs]
        if runs and runs[-1].uses:
            runs = [*runs, _Run("user")]
        for run in runs:
            content = run.blocks
            if run.role == "user":
                content = [*self._answered(uses, run.results), *run.blocks]
            messages.append({"role": run.role, "content": content or [_text(_NOTHING)]})
            uses = run.uses
        if messages and runs[-1].role == "assistant":
            self._prefill(messages[-1]["content"][-1])
        return messages

    def _prefill(self, block: Object) -> None:
        """The end of an answer that was begun: the API refuses a space there."""
        if block["type"] == "text" and block["text"] != block["text"].rstrip():
            block["text"] = block["text"].rstrip()
            self._lose("", "approximated", "a begun answer may not end in a space")

    def _answered(self, uses: list[tuple[str, str]], results: list[ToolResult]) -> list[Object]:
        """The results of uses, then what may not stand in them; none for a use is one too."""
        open_, said, behind = list(uses), list[Object](), list[Object]()
        for result in results:
            use = next((it for it in open_ if it[0] == result.id), None)
            blocks = self._plain(result.parts)
            if use is None:
                self._lose("tool_result", "approximated", "a result of no use is said as text")
                behind += blocks
                continue
            open_.remove(use)
            block: Object = {"type": "tool_result", "tool_use_id": use[1]}
            if result.error:
                behind += [it for it in blocks if it["type"] != "text"]
                blocks = [it for it in blocks if it["type"] == "text"] or [_text("Error")]
                block["is_error"] = True
            if blocks:
                block["content"] = blocks
            said.append({**block, **write_cache(result.cache)})
        for _, sent in open_:
            none = [_text("No result provided")]
            said.append(
                {"type": "tool_result", "tool_use_id": sent, "is_error": True, "content": none}
            )
        return said + behind


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
            block.update(write_cache(""))

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
    return {**said, **write_cache(tool.cache)}


def _user(user: str) -> str:
    """Who the user is to the provider: never an address, which it asks not to be sent."""
    if "@" in user or len(user) > _MOST_USER:
        return hashlib.blake2b(user.encode("utf-8", "replace"), digest_size=16).hexdigest()
    return user


def _text(text: str) -> Object:
    return {"type": "text", "text": text}
