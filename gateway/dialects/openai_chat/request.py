"""Native requests: read once for routing, written by replacing top-level members only."""

from collections.abc import Iterator
from itertools import islice

import msgspec

from gateway.core import jsonio
from gateway.core.errors import ProblemError, invalid_request
from gateway.core.jsonio import Json
from gateway.core.prompt import Prompt
from gateway.core.target import UNKNOWN_FACTS, Target
from gateway.core.usage import parse_service_tier
from gateway.dialects import conversation_start
from gateway.dialects.base import RequestBody, WrittenBody
from gateway.dialects.body_patch import BodyPatch, write_model
from gateway.dialects.conversation_start import ConversationStart
from gateway.dialects.openai_chat import effort
from gateway.dialects.openai_chat.reasoning_state import (
    add_empty_reasoning,
    remove_foreign_reasoning,
)
from gateway.dialects.parse import is_zero, parse, suggest_endpoint
from gateway.dialects.reasoning_state import may_hold_label
from gateway.dialects.request_facts import RequestFacts, join_system, read_labels, read_number
from gateway.dialects.user_text import UserText

SAMPLING = ("temperature", "top_p", "presence_penalty", "frequency_penalty")
"""Tuning knobs that a reasoning model may refuse: dropped and named, they change no meaning."""

FORWARDED = frozenset(
    {
        b"openai-beta", b"idempotency-key", b"x-session-id", b"x-session-affinity",
        b"x-grok-conv-id", b"traceparent", b"tracestate",
    }
)  # fmt: skip
"""Client headers that mean something to OpenAI and the hosts that follow it."""

FEATURES = frozenset(
    {
        "tools", "tool_choice", "functions", "function_call", "response_format", "stop", "n",
        "logprobs", "top_logprobs", "logit_bias", "audio", "modalities", "prediction",
        "web_search_options",
    }
)  # fmt: skip
"""Members that the caller depends on: never dropped, a target that refuses one is skipped."""

_SEARCH = frozenset({"web_search_options", "search_parameters", "plugins"})
"""Members of OpenAI, xAI and OpenRouter that let the provider search."""
_SPECIAL = _SEARCH | {
    "tools", "tool_choice", "response_format", "reasoning_effort", "n", "service_tier", "store",
    "logprobs",
}  # fmt: skip
"""Members that are read, and that few requests of chat applications have."""
_CLIENT_TOOLS = (None, "function", "custom")
"""Types of tools that the client runs itself."""
_SYSTEM, _RESULTS = ("system", "developer"), ("tool", "function")
"""Roles of messages: that of those which may follow a result, and that of results."""
_EFFORT = "reasoning_effort"
_OPTIONS = "stream_options"
_WITH_USAGE = {_OPTIONS: msgspec.Raw(b'{"include_usage":true}')}
_NUMBER = (int, float)
_CAPS = ("max_completion_tokens", "max_tokens")

_MOST_KNOWN = 512
_SHORT = 1_000
"""Characters of names that are kept."""


class _Names(msgspec.Struct, frozen=True):
    """What the names of the members of a request tell, which most requests of a client share."""

    members: frozenset[str]
    special: bool
    """Some of `_SPECIAL` are there."""
    doubtful: bool
    """It may be of the Messages API."""
    capped: bool
    """It says how long the answer may be."""


_known: dict[tuple[str, ...], _Names] = {}


def _meet(names: tuple[str, ...]) -> _Names:
    """Find out what names tell, and keep it; they are the clients' own, and may be many or long."""
    members = frozenset(names)
    found = _Names(
        members,
        special=not _SPECIAL.isdisjoint(members),
        doubtful="system" in members or "tools" in members,
        capped=not members.isdisjoint(_CAPS),
    )
    if sum(map(len, names)) <= _SHORT:
        if len(_known) >= _MOST_KNOWN:
            _known.clear()
        _known[names] = found
    return found


def read(raw: bytes) -> RequestBody:
    """Read a request body. Raises ProblemError: invalid_json, or invalid_request with the field."""
    return parse(raw, _prompt, "tools")


def _prompt(value: dict[str, Json], members: jsonio.Members) -> Prompt:
    model = value.get("model")
    if not isinstance(model, str) or not model:
        raise invalid_request(
            '"model" is required: a model name, a tier, "auto" or "lab/tier".', "model"
        )
    messages = value.get("messages")
    if not isinstance(messages, list):
        raise invalid_request(
            f'"messages" is required and must be a list.{_hint(value)}', "messages"
        )
    names = tuple(value)
    known = _known.get(names) or _meet(names)
    if known.doubtful:
        _at_home(value)
    stream = value.get("stream")
    if stream is not None and not isinstance(stream, bool):
        raise invalid_request('"stream" must be true or false.', "stream")
    said = _Said()
    said.all(messages)
    typed, temperature = said.typed, value.get("temperature")
    prompt = Prompt(
        model=model,
        stream=stream is True,
        user=typed.text,
        user_turns=typed.turn_count,
        chars=said.chars,
        tool_loop=said.tool_loop,
        injected_text=typed.injected_text,
        images=said.images,
        files=said.files,
        audio=said.audio,
        max_output=_cap(value) if known.capped else None,
        sampled=temperature is not None and isinstance(temperature, _NUMBER) and temperature > 0,
        zero_temperature=is_zero(temperature),
        members=known.members,
    )
    return _special(prompt, value, members) if known.special else prompt


def _special(prompt: Prompt, value: dict[str, Json], members: jsonio.Members) -> Prompt:
    """What the members of `_SPECIAL` say too."""
    tools, asked = value.get("tools"), value.get("reasoning_effort")
    functions = _tools(tools) if isinstance(tools, list) else ()
    return msgspec.structs.replace(
        prompt,
        chars=prompt.chars + (len(members["tools"]) if functions else 0),
        tools=functions,
        forced_tool=_forced(value.get("tool_choice")),
        json_schema=_schema(value.get("response_format")),
        effort=asked if isinstance(asked, str) else None,
        choices=_whole(value.get("n")) or 1,
        service=parse_service_tier(value.get("service_tier")),
        hosted_tools=_hosted(value, tools),
        stored=value.get("store") is True,
        logprobs=value.get("logprobs") is True,
    )


def _hint(value: dict[str, Json]) -> str:
    """What to do with the request of another API."""
    for name in ("input", "prompt"):
        if name in value:
            own = f' This door takes no "{name}": write it as messages.'
            return own + suggest_endpoint(value, "openai-chat")
    return suggest_endpoint(value, "openai-chat")


def _at_home(value: dict[str, Json]) -> None:
    """Refuse what no host takes here: a request of the Messages API, whose prompt would be lost."""
    tools = value.get("tools")
    first = tools[0] if isinstance(tools, list) and tools else None
    if "system" in value:
        raise _messages("system")
    if isinstance(first, dict) and "input_schema" in first:
        raise _messages("tools")


def _messages(name: str) -> ProblemError:
    message = f'"{name}" is written as in the Messages API: send it to POST /v1/messages.'
    return invalid_request(message, name)


class _Said:
    """What the messages of a request add up to."""

    __slots__ = ("audio", "chars", "files", "images", "tool_loop", "typed")

    def __init__(self) -> None:
        self.typed = UserText()
        self.tool_loop = False
        self.chars = self.images = self.files = self.audio = 0

    def all(self, messages: list[Json]) -> None:
        """Take them. Raises ProblemError where one is none."""
        typed, chars = self.typed, 0
        for message in messages:
            if not isinstance(message, dict):
                at = messages.index(message)
                raise invalid_request(f'"messages[{at}]" must be an object.', f"messages[{at}]")
            try:
                text, role = message["content"], message["role"]
            except KeyError:
                text = role = None
            if not isinstance(text, str) or "tool_calls" in message:
                self.message(message)
                continue
            chars += len(text)  # as `message` does, without a call for each of many
            if role == "user":
                self.tool_loop = not typed.add_text(text) and self.tool_loop
            elif role not in _SYSTEM:
                self.tool_loop = role in _RESULTS
                typed.injected_text = ""
        self.chars += chars
        typed.close()

    def message(self, message: dict[str, Json]) -> None:
        role = message.get("role")
        content = message.get("content")
        texts = [content] if isinstance(content, str) else self._parts(content)
        self.chars += sum(map(len, texts)) + max(len(texts) - 1, 0)
        if role == "user":
            self.tool_loop = not self.typed.add_turn(texts) and self.tool_loop
        elif role not in _SYSTEM:
            self.tool_loop = role in _RESULTS
            self.typed.add_answer()
        calls = message.get("tool_calls")
        if not calls:
            return
        for call in calls if isinstance(calls, list) else ():
            function = call.get("function") if isinstance(call, dict) else None
            arguments = function.get("arguments") if isinstance(function, dict) else None
            self.chars += len(arguments) if isinstance(arguments, str) else 0

    def _parts(self, content: Json) -> list[str]:
        texts = []
        for part in content if isinstance(content, list) else ():
            if not isinstance(part, dict):
                continue
            kind = part.get("type")
            text = part.get("text")
            if kind == "text" and isinstance(text, str):
                texts.append(text)
            elif kind == "image_url":
                self.images += 1
            elif kind == "file":
                self.files += 1
            elif kind == "input_audio":
                self.audio += 1
        return texts


def _tools(tools: list[Json]) -> tuple[str, ...]:
    names = []
    for tool in tools:
        kind = tool.get("type", "function") if isinstance(tool, dict) else None
        function = tool.get(kind) if isinstance(kind, str) else None
        name = function.get("name") if isinstance(function, dict) else None
        names.append(name if isinstance(name, str) else "")
    return tuple(names)


def _hosted(value: dict[str, Json], tools: Json) -> bool:
    """Whether the provider itself looks at the world while it answers."""
    if not _SEARCH.isdisjoint(value):
        return True
    if not tools or not isinstance(tools, list):
        return False
    return any(isinstance(tool, dict) and tool.get("type") not in _CLIENT_TOOLS for tool in tools)


def _forced(choice: Json) -> bool:
    return choice == "required" or (
        isinstance(choice, dict) and choice.get("type") in ("function", "custom")
    )


def _schema(form: Json) -> bool:
    return isinstance(form, dict) and form.get("type") == "json_schema"


def _cap(value: dict[str, Json]) -> int | None:
    for name in _CAPS:
        if name in value and (cap := _whole(value[name])) is not None:
            return cap
    return None


def _whole(number: Json) -> int | None:
    return number if isinstance(number, int) and not isinstance(number, bool) else None


def write(body: RequestBody, target: Target) -> WrittenBody:
    """The body for one target: the client's bytes, with only those members changed that must be."""
    if _as_it_is(body.prompt, target) and not may_hold_label(body):
        if not (body.prompt.stream and target.provider.stream_usage == "ask") or asks_usage(body):
            return WrittenBody(write_model(body, target.model))
        if _OPTIONS not in body.members:
            return WrittenBody(write_model(body, target.model, _WITH_USAGE), asks_usage=True)
    edit = remove_foreign_reasoning(body, target)
    add_empty_reasoning(edit, target)
    body = edit.body
    if body.prompt.model != target.model:
        edit.set_member("model", target.model)
    _write_effort(edit, body.prompt, target)
    _write_cap(edit, body.prompt, target)
    _drop_sampling(edit, body.prompt, target)
    edit.drop_refused(target)
    asks = _may_ask_usage(body, target)
    if asks:
        _ask_usage(edit, body)
    for name, value in target.params.items():
        edit.set_default(name, value)
    written = edit.finish()
    return msgspec.structs.replace(written, asks_usage=True) if asks else written


def _as_it_is(prompt: Prompt, target: Target) -> bool:
    """Whether a target takes what was asked as it was asked.

    But for its own name of the model, and for the usage of a stream, which it may have to be asked.
    """
    facts, provider, cap = target.facts, target.provider, prompt.max_output
    if cap is None:
        fits = target.max_output is None
    else:
        most = facts.max_output
        fits = provider.max_tokens == "either" and (most is None or cap <= most)
    return (
        fits
        and prompt.effort is None
        and target.effort is None
        and facts.sampling == "always"
        and not (
            facts.refused_members
            or provider.refused_members
            or facts.replays_reasoning
            or target.params
        )
    )


def _write_effort(edit: BodyPatch, prompt: Prompt, target: Target) -> None:
    facts, asked, style = target.facts, prompt.effort, effort.style(target.facts)
    if asked is None:
        if target.effort is not None and not effort.MEMBERS & prompt.members:
            for name, value in effort.write(style, target.effort).items():
                edit.set_member(name, value)
        return
    accepted = effort.accepted(facts)
    sent = asked
    if asked in effort.EFFORTS and accepted and asked not in accepted:
        sent = effort.find_nearest_effort(asked, accepted)
        why = f"{target.model} accepts {', '.join(accepted)}; sent {sent}"
        edit.record_loss(_EFFORT, "clamped", why)
    if facts == UNKNOWN_FACTS or sent not in effort.EFFORTS:
        return
    if style is None:
        edit.drop_member(_EFFORT, f"{target.model} has no control of effort")
        return
    said = effort.write(style, sent)
    if style in effort.ON_OFF and sent != "none":
        why = f"{target.model} thinks or does not; sent as thinking"
        edit.record_loss(_EFFORT, "approximated", why)
    if _EFFORT not in said:
        edit.remove(_EFFORT)
    for name, value in said.items():
        if value != asked if name == _EFFORT else name not in prompt.members:
            edit.set_member(name, value)


def _write_cap(edit: BodyPatch, prompt: Prompt, target: Target) -> None:
    theirs = target.provider.max_tokens
    present = [name for name in _CAPS if name in prompt.members]
    said = edit.body.outline
    unset = all(said[name] is None for name in present)
    asked = target.max_output if unset else prompt.max_output
    if asked is None:
        return
    cap, most = asked, target.facts.max_output
    if not unset and most is not None and cap > most:
        edit.record_loss(present[0], "clamped", f"{target.model} gives at most {most}")
        cap = most
    name = (present[0] if present else "max_tokens") if theirs == "either" else theirs
    if unset or cap != asked or (theirs != "either" and present != [theirs]):
        edit.set_member(name, cap)
        for other in present:
            if other != name:
                edit.remove(other)


def _drop_sampling(edit: BodyPatch, prompt: Prompt, target: Target) -> None:
    sampling = target.facts.sampling
    if sampling == "always":
        return
    if sampling == "never" or effort.effective(prompt, target) != "none":
        for name in SAMPLING:
            if name in prompt.members:
                edit.drop_member(name, f"{target.model} takes no sampling parameters")


def asks_usage(body: RequestBody) -> bool:
    """Whether the client wants a usage chunk at the end of its stream."""
    options = body.outline.get(_OPTIONS)
    return isinstance(options, dict) and options.get("include_usage") is True


def _may_ask_usage(body: RequestBody, target: Target) -> bool:
    """True if the gateway is to ask for usage, which the host tells only if it is asked."""
    if not body.prompt.stream or target.provider.stream_usage != "ask" or asks_usage(body):
        return False
    return _OPTIONS not in target.facts.refused_members | target.provider.refused_members


def _ask_usage(edit: BodyPatch, body: RequestBody) -> None:
    options = body.outline.get(_OPTIONS)
    known = options if isinstance(options, dict) else {}
    edit.set_member(_OPTIONS, {**known, "include_usage": True})


def read_start(body: RequestBody) -> ConversationStart:
    """Read it; odd members say nothing."""
    value = body.outline
    messages = value["messages"]
    first = ""
    for message in messages:
        if message.get("role") == "user":
            first = conversation_start.read_user_text(message.get("content"))
            break
    named = "session_id" in value or "prompt_cache_key" in value
    return ConversationStart(
        system=_read_system(messages),
        first_text=first or conversation_start.find_first_text(_list_user_turns(messages)),
        name_and_member=_find_name(value) if named else None,
        user=conversation_start.find_end_user(value),
    )


def read_facts(body: RequestBody) -> RequestFacts:
    """Read what few rules ask; odd members say nothing."""
    value = body.outline
    return RequestFacts(
        system=join_system(_list_system(value["messages"])),
        user=conversation_start.find_end_user(value),
        metadata=read_labels(value.get("metadata")),
        temperature=read_number(value.get("temperature")),
    )


def _find_name(value: dict[str, Json]) -> tuple[str, str] | None:
    """Its name; OpenRouter's own word for that is session_id."""
    return conversation_start.find_name(value, "session_id") or conversation_start.find_cache_key(
        value
    )


def _read_system(messages: list[dict[str, Json]]) -> tuple[str, ...]:
    return conversation_start.cut_system(
        list(islice(_list_system(messages), conversation_start.MAX_BLOCKS))
    )


def _list_system(messages: list[dict[str, Json]]) -> Iterator[str]:
    """List the blocks of instructions that stand before the conversation."""
    for message in messages:
        if message.get("role") not in _SYSTEM:
            break
        content = message.get("content")
        if isinstance(content, str):
            yield content
        else:
            yield from conversation_start.list_texts(content, "text")


def _list_user_turns(messages: list[dict[str, Json]]) -> Iterator[str | list[str]]:
    for message in messages:
        if message.get("role") == "user":
            yield conversation_start.read_content(message.get("content"), "text")
