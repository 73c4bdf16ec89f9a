"""Native requests: read once for routing, written with changes to top-level members only."""

from collections.abc import Iterator
from functools import partial

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
from gateway.dialects.json_values import as_number, as_whole_number
from gateway.dialects.openai_chat import effort
from gateway.dialects.openai_chat.reasoning_state import (
    add_empty_reasoning,
    remove_foreign_reasoning,
)
from gateway.dialects.parse import is_zero, parse, suggest_endpoint
from gateway.dialects.reasoning_state import may_hold_label
from gateway.dialects.request_facts import (
    RequestFacts,
    count_data_bytes,
    join_system,
    read_labels,
)
from gateway.dialects.user_text import UserText

SAMPLING_MEMBERS = ("temperature", "top_p", "presence_penalty", "frequency_penalty")
"""Sampling members that a reasoning model may refuse: the gateway drops them and says so."""

FORWARDED_HEADERS = frozenset(
    {
        b"openai-beta", b"idempotency-key", b"x-session-id", b"x-session-affinity",
        b"x-grok-conv-id", b"traceparent", b"tracestate",
    }
)  # fmt: skip
"""Client headers that OpenAI and the hosts that follow it understand."""

ESSENTIAL_MEMBERS = frozenset(
    {
        "tools", "tool_choice", "functions", "function_call", "response_format", "stop", "n",
        "logprobs", "top_logprobs", "logit_bias", "audio", "modalities", "prediction",
        "web_search_options",
    }
)  # fmt: skip
"""Members that the client depends on: the gateway skips a target that refuses one."""

_SEARCH_MEMBERS = frozenset({"web_search_options", "search_parameters", "plugins"})
"""Members of OpenAI, xAI and OpenRouter that let the provider search."""
_RARE_MEMBERS = _SEARCH_MEMBERS | {
    "tools", "tool_choice", "response_format", "reasoning_effort", "n", "service_tier", "store",
    "logprobs",
}  # fmt: skip
"""Members that the gateway reads, and that few chat requests have."""
_CLIENT_TOOLS = (None, "function", "custom")
"""Types of tools that the client runs itself."""
_SYSTEM_ROLES, _RESULT_ROLES = ("system", "developer"), ("tool", "function")
"""Roles of instructions, which may follow a tool result; and roles of tool results."""
_EFFORT = "reasoning_effort"
_STREAM_OPTIONS = "stream_options"
_WITH_USAGE = {_STREAM_OPTIONS: msgspec.Raw(b'{"include_usage":true}')}
_NUMBER = (int, float)
_CAP_MEMBERS = ("max_completion_tokens", "max_tokens")

_MOST_KNOWN = 512
_MAX_KEPT_CHARS = 1_000
"""The gateway keeps names of at most so many characters in total."""


class _MemberNames(msgspec.Struct, frozen=True):
    """Facts of the member names of a request; most requests of a client share them."""

    members: frozenset[str]
    has_rare: bool
    """True if some of `_RARE_MEMBERS` are present."""
    may_be_messages_api: bool
    """True if the request may be of the Messages API."""
    has_cap: bool
    """True if the request limits the length of the answer."""


_known: dict[tuple[str, ...], _MemberNames] = {}


def _learn_names(names: tuple[str, ...]) -> _MemberNames:
    """Return the facts of names, and keep them. Clients may send many names, and long ones."""
    members = frozenset(names)
    member_names = _MemberNames(
        members,
        has_rare=not _RARE_MEMBERS.isdisjoint(members),
        may_be_messages_api="system" in members or "tools" in members,
        has_cap=not members.isdisjoint(_CAP_MEMBERS),
    )
    if sum(map(len, names)) <= _MAX_KEPT_CHARS:
        if len(_known) >= _MOST_KNOWN:
            _known.clear()
        _known[names] = member_names
    return member_names


def _read_prompt(value: dict[str, Json], members: jsonio.Members) -> Prompt:
    model = value.get("model")
    if not isinstance(model, str) or not model:
        raise invalid_request(
            '"model" is required: a model name, a tier, "auto" or "lab/tier".', "model"
        )
    messages = value.get("messages")
    if not isinstance(messages, list):
        raise invalid_request(
            f'"messages" is required and must be a list.{_suggest_endpoint(value)}', "messages"
        )
    names = tuple(value)
    member_names = _known.get(names) or _learn_names(names)
    if member_names.may_be_messages_api:
        _refuse_messages_api(value)
    stream = value.get("stream")
    if stream is not None and not isinstance(stream, bool):
        raise invalid_request('"stream" must be true or false.', "stream")
    facts = _MessageFacts()
    facts.read_all(messages)
    user_text, temperature = facts.user_text, value.get("temperature")
    prompt = Prompt(
        model,
        stream is True,
        user=user_text.text,
        user_turns=user_text.turn_count,
        chars=facts.chars,
        tool_loop=facts.tool_loop,
        injected_text=user_text.injected_text,
        images=facts.images,
        image_bytes=facts.image_bytes,
        files=facts.files,
        audio=facts.audio,
        is_unsized=facts.is_unsized,
        max_output=_read_cap(value) if member_names.has_cap else None,
        sampled=isinstance(temperature, _NUMBER) and temperature > 0,
        zero_temperature=temperature is not None and is_zero(temperature),
        members=member_names.members,
    )
    return _read_rare_members(prompt, value, members) if member_names.has_rare else prompt


read = partial(parse, read_prompt=_read_prompt, long_member="tools")
"""Read a request body. Raises ProblemError: invalid_json, or invalid_request with the field."""


def _read_rare_members(prompt: Prompt, value: dict[str, Json], members: jsonio.Members) -> Prompt:
    """Add the facts of `_RARE_MEMBERS` to a prompt."""
    tools, asked_effort = value.get("tools"), value.get("reasoning_effort")
    functions = _list_tool_names(tools) if isinstance(tools, list) else ()
    hosted_tools = _has_hosted_tools(value, tools)
    return msgspec.structs.replace(
        prompt,
        chars=prompt.chars + (len(members["tools"]) if functions else 0),
        tools=functions,
        forced_tool=_forces_tool(value.get("tool_choice")),
        json_schema=_wants_schema(value.get("response_format")),
        effort=asked_effort if isinstance(asked_effort, str) else None,
        choices=as_whole_number(value.get("n")) or 1,
        service=parse_service_tier(value.get("service_tier")),
        hosted_tools=hosted_tools,
        stored=value.get("store") is True,
        is_unsized=prompt.is_unsized or hosted_tools,
        logprobs=value.get("logprobs") is True,
    )


def _suggest_endpoint(value: dict[str, Json]) -> str:
    """Return a hint for a client that sends a request of another API."""
    for name in ("input", "prompt"):
        if name in value:
            hint = f' This endpoint does not accept "{name}". Send it as "messages".'
            return hint + suggest_endpoint(value, "openai-chat")
    return suggest_endpoint(value, "openai-chat")


def _refuse_messages_api(value: dict[str, Json]) -> None:
    """Refuse a request of the Messages API: every host would ignore its prompt."""
    tools = value.get("tools")
    first = tools[0] if isinstance(tools, list) and tools else None
    if "system" in value:
        raise _make_messages_api_error("system")
    if isinstance(first, dict) and "input_schema" in first:
        raise _make_messages_api_error("tools")


def _make_messages_api_error(name: str) -> ProblemError:
    message = f'"{name}" has the form of the Messages API. Send the request to POST /v1/messages.'
    return invalid_request(message, name)


class _MessageFacts(msgspec.Struct):
    """Facts of all messages of a request."""

    user_text: UserText = msgspec.field(default_factory=UserText)
    tool_loop: bool = False
    is_unsized: bool = False
    chars: int = 0
    images: int = 0
    image_bytes: int = 0
    files: int = 0
    audio: int = 0

    def read_all(self, messages: list[Json]) -> None:
        """Read the messages. Raises ProblemError if one is no object."""
        user_text, chars = self.user_text, 0
        for message in messages:
            if not isinstance(message, dict):
                at = messages.index(message)
                raise invalid_request(f'"messages[{at}]" must be an object.', f"messages[{at}]")
            try:
                text, role = message["content"], message["role"]
            except KeyError:
                text = role = None
            if not isinstance(text, str) or "tool_calls" in message:
                self.read_message(message)
                continue
            chars += len(text)  # as `read_message` does, without a call for each message
            if role == "user":
                self.tool_loop = not user_text.add_text(text) and self.tool_loop
            elif role not in _SYSTEM_ROLES:
                self.tool_loop = role in _RESULT_ROLES
                user_text.injected_text = ""
        self.chars += chars
        user_text.close()

    def read_message(self, message: dict[str, Json]) -> None:
        role = message.get("role")
        content = message.get("content")
        texts = [content] if isinstance(content, str) else self._read_parts(content)
        self.chars += sum(map(len, texts)) + max(len(texts) - 1, 0)
        if role == "user":
            self.tool_loop = not self.user_text.add_turn(texts) and self.tool_loop
        elif role not in _SYSTEM_ROLES:
            self.tool_loop = role in _RESULT_ROLES
            self.user_text.add_answer()
        calls = message.get("tool_calls")
        if not calls:
            return
        for call in calls if isinstance(calls, list) else ():
            function = call.get("function") if isinstance(call, dict) else None
            arguments = function.get("arguments") if isinstance(function, dict) else None
            self.chars += len(arguments) if isinstance(arguments, str) else 0

    def _read_parts(self, content: Json) -> list[str]:
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
                image = part.get("image_url")
                self.image_bytes += count_data_bytes(
                    image.get("url") if isinstance(image, dict) else image
                )
            elif kind == "file":
                self.files += 1
                self.is_unsized = True
            elif kind == "input_audio":
                self.audio += 1
            elif isinstance(kind, str) and kind.endswith("_url"):  # a video, or a document
                self.is_unsized = True
        return texts


def _list_tool_names(tools: list[Json]) -> tuple[str, ...]:
    names = []
    for tool in tools:
        kind = tool.get("type", "function") if isinstance(tool, dict) else None
        function = tool.get(kind) if isinstance(kind, str) else None
        name = function.get("name") if isinstance(function, dict) else None
        names.append(name if isinstance(name, str) else "")
    return tuple(names)


def _has_hosted_tools(value: dict[str, Json], tools: Json) -> bool:
    """True if the provider runs a tool itself while it answers, as a search."""
    if not _SEARCH_MEMBERS.isdisjoint(value):
        return True
    if not tools or not isinstance(tools, list):
        return False
    return any(isinstance(tool, dict) and tool.get("type") not in _CLIENT_TOOLS for tool in tools)


def _forces_tool(choice: Json) -> bool:
    return choice == "required" or (
        isinstance(choice, dict) and choice.get("type") in ("function", "custom")
    )


def _wants_schema(form: Json) -> bool:
    return isinstance(form, dict) and form.get("type") == "json_schema"


def _read_cap(value: dict[str, Json]) -> int | None:
    for name in _CAP_MEMBERS:
        if name in value and (cap := as_whole_number(value[name])) is not None:
            return cap
    return None


def write(body: RequestBody, target: Target) -> WrittenBody:
    """Write the body for one target: the client's bytes with only the necessary members changed."""
    if _as_it_is(body.prompt, target) and not may_hold_label(body):
        if not (body.prompt.stream and target.provider.stream_usage == "ask") or asks_usage(body):
            return WrittenBody(write_model(body, target.model))
        if _STREAM_OPTIONS not in body.members:
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
    """True if a target takes the request unchanged.

    It may still need its own model name, and a request for usage of a stream.
    """
    facts, provider, cap = target.facts, target.provider, prompt.max_output
    if cap is None:
        fits = target.max_output is None and target.lowered_output is None
    else:
        most = target.output_limit
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
    facts, wanted, style = target.facts, prompt.effort, effort.find_style(target.facts)
    if wanted is None:
        if target.effort is not None and not effort.MEMBERS & prompt.members:
            for name, value in effort.write(style, target.effort).items():
                edit.set_member(name, value)
        return
    accepted = effort.accepted(facts)
    sent = wanted
    if wanted in effort.EFFORTS and accepted and wanted not in accepted:
        sent = effort.find_nearest_effort(wanted, accepted)
        why = f"{target.model} accepts {', '.join(accepted)}; sent {sent}"
        edit.record_loss(_EFFORT, "clamped", why)
    if facts == UNKNOWN_FACTS or sent not in effort.EFFORTS:
        return
    if style is None:
        edit.drop_member(_EFFORT, f"{target.model} has no effort setting")
        return
    members = effort.write(style, sent)
    if style in effort.ON_OFF and sent != "none":
        why = f"{target.model} turns thinking on or off; sent as thinking"
        edit.record_loss(_EFFORT, "approximated", why)
    if _EFFORT not in members:
        edit.remove(_EFFORT)
    for name, value in members.items():
        if value != wanted if name == _EFFORT else name not in prompt.members:
            edit.set_member(name, value)


def _write_cap(edit: BodyPatch, prompt: Prompt, target: Target) -> None:
    cap_member = target.provider.max_tokens
    present = [name for name in _CAP_MEMBERS if name in prompt.members]
    outline = edit.body.outline
    lowered = target.lowered_output
    # A provider may read a cap that is no whole number, and a lowered one must hold.
    is_unset = all(outline[name] is None for name in present) or (
        lowered is not None and prompt.max_output is None
    )
    wanted_max = (lowered or target.max_output) if is_unset else prompt.max_output
    if wanted_max is None:
        return
    cap, limit = wanted_max, target.output_limit
    name = (present[0] if present else "max_tokens") if cap_member == "either" else cap_member
    if limit is not None and (lowered is not None if is_unset else cap > limit):
        client_name = present[0] if present else name
        edit.record_loss(client_name, "clamped", target.explain_output_limit())
        cap = limit
    if is_unset or cap != wanted_max or (cap_member != "either" and present != [cap_member]):
        edit.set_member(name, cap)
        for other in present:
            if other != name:
                edit.remove(other)


def _drop_sampling(edit: BodyPatch, prompt: Prompt, target: Target) -> None:
    sampling = target.facts.sampling
    if sampling == "always":
        return
    if sampling == "never" or effort.find_effective(prompt, target) != "none":
        for name in SAMPLING_MEMBERS:
            if name in prompt.members:
                edit.drop_member(name, f"{target.model} does not accept sampling parameters")


def asks_usage(body: RequestBody) -> bool:
    """True if the client wants a usage chunk at the end of its stream."""
    options = body.outline.get(_STREAM_OPTIONS)
    return isinstance(options, dict) and options.get("include_usage") is True


def _may_ask_usage(body: RequestBody, target: Target) -> bool:
    """True if the gateway must ask for usage, because the host sends none otherwise."""
    if not body.prompt.stream or target.provider.stream_usage != "ask" or asks_usage(body):
        return False
    return _STREAM_OPTIONS not in target.facts.refused_members | target.provider.refused_members


def _ask_usage(edit: BodyPatch, body: RequestBody) -> None:
    options = body.outline.get(_STREAM_OPTIONS)
    options_object = options if isinstance(options, dict) else {}
    edit.set_member(_STREAM_OPTIONS, {**options_object, "include_usage": True})


def read_start(body: RequestBody) -> ConversationStart:
    """Read how the conversation starts; ignore malformed members."""
    value = body.outline
    messages = value["messages"]
    first = ""
    for message in messages:
        if message.get("role") == "user":
            first = conversation_start.read_user_text(message.get("content"))
            break
    named = "session_id" in value or "prompt_cache_key" in value
    return ConversationStart(
        system=conversation_start.cut_system(_list_system(messages)),
        first_text=first or conversation_start.find_first_text(_list_user_turns(messages)),
        name_and_member=_find_name(value) if named else None,
        user=conversation_start.find_end_user(value),
    )


def read_facts(body: RequestBody) -> RequestFacts:
    """Read the facts that few rules need; ignore malformed members."""
    value = body.outline
    return RequestFacts(
        system=join_system(_list_system(value["messages"])),
        user=conversation_start.find_end_user(value),
        metadata=read_labels(value.get("metadata")),
        temperature=as_number(value.get("temperature")),
    )


def _find_name(value: dict[str, Json]) -> tuple[str, str] | None:
    """Return the name of the conversation, and its member; OpenRouter's is session_id."""
    return conversation_start.find_name(value, "session_id") or conversation_start.find_cache_key(
        value
    )


def _list_system(messages: list[dict[str, Json]]) -> Iterator[str]:
    """List the blocks of instructions that stand before the conversation."""
    for message in messages:
        if message.get("role") not in _SYSTEM_ROLES:
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
