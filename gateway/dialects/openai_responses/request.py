"""Native Responses requests: read once for routing, written by replacing top-level members only.

`Prompt.stored` is true if the answer depends on what the provider keeps (`previous_response_id`,
`conversation`, `prompt`, item references). It is also true if the client asks the provider to keep
the answer (`store: true`) or to make it later (`background`). A request without `store` is not
stored: OpenAI keeps its answer for a while, so an equal request may get that same answer.
"""

from collections.abc import Iterator
from functools import partial

import msgspec

from gateway.core import jsonio
from gateway.core.errors import invalid_request
from gateway.core.jsonio import Json
from gateway.core.prompt import Prompt
from gateway.core.target import Target
from gateway.core.usage import parse_service_tier
from gateway.dialects import conversation_start
from gateway.dialects.base import RequestBody, WrittenBody
from gateway.dialects.body_patch import BodyPatch, write_model
from gateway.dialects.conversation_start import ConversationStart
from gateway.dialects.json_values import as_number
from gateway.dialects.openai_responses import effort, reasoning_state
from gateway.dialects.openai_responses.tools import (
    ADDITIONAL_TOOLS,
    is_hosted,
    list_offered_tools,
    read_tool_name,
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

NAME = "openai-responses"

SAMPLING = ("temperature", "top_p")
"""Members that a reasoning model refuses. The gateway drops them and records a loss."""

FORWARDED_HEADERS = frozenset(
    {
        b"openai-beta", b"idempotency-key", b"session_id", b"conversation_id", b"x-session-id",
        b"x-session-affinity", b"x-grok-conv-id", b"traceparent", b"tracestate",
    }
)  # fmt: skip
"""Client headers that OpenAI (Codex's session among them) and other hosts read."""

ESSENTIAL_MEMBERS = frozenset(
    {
        "instructions", "tools", "tool_choice", "text", "previous_response_id", "conversation",
        "background", "prompt", "top_logprobs",
    }
)  # fmt: skip
"""Members that the caller depends on: never dropped, a target that refuses one is skipped."""

LOGPROBS = "message.output_text.logprobs"
"""The word in `include` that asks for log probabilities."""

PREVIOUS_RESPONSE = "previous_response_id"
"""The member that names an earlier answer, from which the request goes on."""
_STORED_MEMBERS = (PREVIOUS_RESPONSE, "conversation", "prompt")
_RARE_MEMBERS = frozenset(
    {
        *_STORED_MEMBERS, "tools", "tool_choice", "text", "reasoning", "service_tier", "store",
        "background", "include", "top_logprobs",
    }
)  # fmt: skip
"""Members that are read, and that few requests of chat applications have."""
_OUTPUT_CAP = "max_output_tokens"
_TEXT_TYPES = frozenset({"input_text", "output_text", "text", "summary_text", "reasoning_text"})
_OTHER_RESULTS = frozenset({"mcp_approval_response", "tool_search_output", "program_output"})
"""Items that answer the model, beside those named `..._call_output`."""
REFERENCE = "item_reference"
"""The type of an item that refers to another; it may be left out."""
_SYSTEM_ROLES = ("system", "developer")
_TEXT_MEMBERS = ("arguments", "input", "output", "code")
"""Members of items that are text for the model."""
_MESSAGE_TYPES = (None, "message")
_CODEX_SESSION = ("thread_id", "session_id")


class InputSummary:
    """Adds up the instructions and the input of a request, item after item."""

    __slots__ = (
        "chars",
        "files",
        "has_references",
        "has_tools",
        "image_bytes",
        "images",
        "tool_loop",
        "user_text",
    )

    def __init__(self, instructions: Json) -> None:
        self.user_text = UserText()
        self.images = self.image_bytes = self.files = 0
        self.chars = len(instructions) if isinstance(instructions, str) else 0
        self.tool_loop = False
        self.has_references = False
        """True if an item refers to one that only the provider has."""
        self.has_tools = False
        """True if an item offers tools."""

    def add_text(self, text: str) -> None:
        """Add an input that is one string, from the user."""
        self.chars += len(text)
        self.user_text.add_text(text)

    def add_item(self, item: dict[str, Json]) -> None:
        """Add the next item."""
        kind = item.get("type")
        if kind == "message" or (kind is None and not is_reference(item)):
            self._add_message(item)
            return
        self.tool_loop = is_tool_result(kind)
        self.user_text.add_answer()
        if is_reference(item):
            self.has_references = True
        elif kind == ADDITIONAL_TOOLS:
            self.has_tools = True
            self.chars += len(jsonio.dumps(item.get("tools")).decode())
        else:
            self._add_other_item(item)

    def _add_message(self, item: dict[str, Json]) -> None:
        """Add a message. Agents put messages of their own between a tool result and its answer."""
        content, role = item.get("content"), item.get("role")
        texts = self._add_content(content)
        if role == "user":
            has_user_text = (
                self.user_text.add_text(content)
                if isinstance(content, str)
                else self.user_text.add_turn(texts)
            )
            self.tool_loop = not has_user_text and self.tool_loop
        elif role not in _SYSTEM_ROLES:
            self.tool_loop = False
            self.user_text.add_answer()

    def _add_other_item(self, item: dict[str, Json]) -> None:
        """Add an item that is no message."""
        for name in _TEXT_MEMBERS:
            member_value = item.get(name)
            if isinstance(member_value, str):
                self.chars += len(member_value)
            elif isinstance(member_value, list):
                self._add_content(member_value)
        for name in ("summary", "content"):
            self._add_content(item.get(name))
        if isinstance(item.get("action"), dict):
            self.chars += len(jsonio.dumps(item["action"]).decode())

    def _add_content(self, content: Json) -> list[str]:
        """Add a string or a list of parts; return its texts."""
        if isinstance(content, str):
            self.chars += len(content)
            return [content]
        texts = []
        for part in content if isinstance(content, list) else ():
            if not isinstance(part, dict):
                continue
            kind, text = part.get("type"), part.get("text")
            if isinstance(kind, str) and kind in _TEXT_TYPES and isinstance(text, str):
                texts.append(text)
                self.chars += len(text)
            elif kind == "input_image":
                self.images += 1
                self.image_bytes += count_data_bytes(part.get("image_url"))
            elif kind == "input_file":
                self.files += 1
        return texts


def is_tool_result(kind: Json) -> bool:
    """True if items of a type hold the result of a tool."""
    return isinstance(kind, str) and (kind.endswith("_call_output") or kind in _OTHER_RESULTS)


def is_reference(item: dict[str, Json]) -> bool:
    """True if an item only refers to one that the provider, or the gateway, has stored."""
    kind = item.get("type")
    return kind == REFERENCE or (kind is None and "id" in item and {*item} <= {"id", "type"})


def _read_prompt(value: dict[str, Json], members: jsonio.Members) -> Prompt:
    model, summary = _read_required(value)
    user_text, temperature, output_cap = (
        summary.user_text,
        value.get("temperature"),
        value.get(_OUTPUT_CAP),
    )
    prompt = Prompt(
        model=model,
        stream=value.get("stream") is True,
        user=user_text.text,
        user_turns=user_text.turn_count,
        chars=summary.chars,
        tool_loop=summary.tool_loop,
        injected_text=user_text.injected_text,
        images=summary.images,
        image_bytes=summary.image_bytes,
        files=summary.files,
        max_output=output_cap
        if isinstance(output_cap, int) and not isinstance(output_cap, bool)
        else None,
        stored=summary.has_references,
        is_unsized=bool(summary.files) or summary.has_references,
        sampled=isinstance(temperature, int | float) and temperature > 0,
        zero_temperature=is_zero(temperature),
        members=frozenset(value),
    )
    if summary.has_tools:
        return _add_rare_members(
            prompt, value, members, list_offered_tools(_with_tools(value, members))
        )
    if _RARE_MEMBERS.isdisjoint(value):
        return prompt
    tools = value.get("tools")
    return _add_rare_members(prompt, value, members, tools if isinstance(tools, list) else [])


read = partial(parse, read_prompt=_read_prompt, long_member="tools")
"""Read a request body. Raises ProblemError: invalid_json, or invalid_request with the field."""


def _with_tools(value: dict[str, Json], members: jsonio.Members) -> dict[str, Json]:
    """Return a request with all of its tools, which those of the input are compared with."""
    tools = members.get("tools")
    return value if tools is None else {**value, "tools": jsonio.loads(memoryview(tools))}


def _add_rare_members(
    prompt: Prompt, value: dict[str, Json], members: jsonio.Members, tools: list[Json]
) -> Prompt:
    """Add to a prompt what `_RARE_MEMBERS` say, and all tools that are offered."""
    has_list = isinstance(value.get("tools"), list)
    include, top_logprobs = value.get("include"), value.get("top_logprobs")
    hosted_tools, continues_stored = any(map(is_hosted, tools)), _continues_stored(value)
    return msgspec.structs.replace(
        prompt,
        chars=prompt.chars + (len(members["tools"]) if has_list else 0),
        tools=tuple(map(read_tool_name, tools)),
        forced_tool=_forces_tool(value.get("tool_choice")),
        json_schema=_wants_schema(value.get("text")),
        effort=effort.read(value),
        service=parse_service_tier(value.get("service_tier")),
        hosted_tools=hosted_tools,
        stored=prompt.stored or continues_stored or _is_kept(value),
        is_unsized=prompt.is_unsized or hosted_tools or continues_stored,
        continuation_member="" if value.get(PREVIOUS_RESPONSE) is None else PREVIOUS_RESPONSE,
        logprobs=(isinstance(include, list) and LOGPROBS in include) or bool(top_logprobs),
    )


def _read_required(value: dict[str, Json]) -> tuple[str, InputSummary]:
    model = value.get("model")
    if not isinstance(model, str) or not model:
        raise invalid_request(
            '"model" is required: a model name, a tier, "auto" or "lab/tier".', "model"
        )
    if "messages" in value:
        raise invalid_request(
            f'This endpoint does not accept "messages".{suggest_endpoint(value, NAME)}', "messages"
        )
    stream, items = value.get("stream"), value.get("input")
    if stream is not None and not isinstance(stream, bool):
        raise invalid_request('"stream" must be true or false.', "stream")
    summary = InputSummary(value.get("instructions"))
    if isinstance(items, str):
        summary.add_text(items)
    elif isinstance(items, list):
        for index, item in enumerate(items):
            if not isinstance(item, dict):
                raise invalid_request(f'"input[{index}]" must be an object.', f"input[{index}]")
            summary.add_item(item)
    elif items is not None or not any(value.get(name) for name in _STORED_MEMBERS):
        message = '"input" is required and must be a string or a list of items.'
        raise invalid_request(message + suggest_endpoint(value, NAME), "input")
    summary.user_text.close()
    return model, summary


def _forces_tool(choice: Json) -> bool:
    if isinstance(choice, dict):
        return choice.get("type") != "allowed_tools" or choice.get("mode") == "required"
    return bool(choice == "required")


def _wants_schema(text: Json) -> bool:
    text_format = text.get("format") if isinstance(text, dict) else None
    return isinstance(text_format, dict) and text_format.get("type") == "json_schema"


def _is_kept(value: dict[str, Json]) -> bool:
    """True if the provider keeps the answer."""
    return value.get("store") is True or value.get("background") is True


def _continues_stored(value: dict[str, Json]) -> bool:
    """True if the model reads what only the provider has."""
    return any(value.get(name) is not None for name in _STORED_MEMBERS)


def write(body: RequestBody, target: Target) -> WrittenBody:
    """Write the body for one target: the client's bytes, with only necessary members changed."""
    if _as_it_is(body.prompt, target) and not may_hold_label(body):
        return WrittenBody(write_model(body, target.model))
    patch = reasoning_state.edit(body, target)
    body = patch.body
    if body.prompt.model != target.model:
        patch.set_member("model", target.model)
    effort.write(patch, target)
    _write_cap(patch, target)
    if effort.may_reason(body.prompt, target):
        for name in SAMPLING:
            if name in body.prompt.members:
                patch.drop_member(name, f"{target.model} does not accept sampling parameters")
    patch.drop_refused(target)
    return patch.finish()


def _as_it_is(prompt: Prompt, target: Target) -> bool:
    """True if a target takes the request as it is, except for the name of the model."""
    facts, output_cap = target.facts, prompt.max_output
    if output_cap is None:
        fits = target.max_output is None and target.lowered_output is None
    else:
        limit = target.output_limit
        fits = limit is None or output_cap <= limit
    return (
        fits
        and facts.sampling == "always"
        and (target.effort is None or effort.read_style(facts) is None)
        and "reasoning" not in prompt.members
        and not (facts.refused_members or target.provider.refused_members)
    )


def _write_cap(patch: BodyPatch, target: Target) -> None:
    output_cap, limit = patch.body.prompt.max_output, target.output_limit
    if limit is not None and (
        target.lowered_output is not None if output_cap is None else output_cap > limit
    ):
        patch.set_member(_OUTPUT_CAP, limit)
        patch.record_loss(_OUTPUT_CAP, "clamped", target.explain_output_limit())
    elif target.max_output is not None and patch.body.outline.get(_OUTPUT_CAP) is None:
        patch.set_member(_OUTPUT_CAP, target.max_output)


def asks_usage(body: RequestBody) -> bool:  # noqa: ARG001 - this dialect always sends it
    """True if the client wants usage in its stream."""
    return True


def read_start(body: RequestBody) -> ConversationStart:
    """Read how a conversation starts; members of an unexpected type are skipped.

    `client_metadata` is Codex's: it repeats the session of its headers.
    """
    value = body.outline
    return ConversationStart(
        system=conversation_start.cut_system(_list_system(value)),
        first_text=conversation_start.find_first_text(_list_user_texts(value)),
        name_and_member=_find_codex_session(value.get("client_metadata"))
        or conversation_start.find_cache_key(value)
        or conversation_start.find_name(
            value, "conversation", "session_id", "previous_response_id"
        ),
        user=conversation_start.find_end_user(value),
    )


def read_facts(body: RequestBody) -> RequestFacts:
    """Read facts that few rules ask for; members of an unexpected type are skipped."""
    value = body.outline
    return RequestFacts(
        system=join_system(_list_system(value)),
        user=conversation_start.find_end_user(value),
        metadata=read_labels(value.get("metadata")),
        temperature=as_number(value.get("temperature")),
    )


def _find_codex_session(metadata: Json) -> tuple[str, str] | None:
    return (
        conversation_start.find_name(metadata, *_CODEX_SESSION)
        if isinstance(metadata, dict)
        else None
    )


def _list_messages(items: Json) -> Iterator[tuple[Json, str | list[str]]]:
    """List the role and the texts of each message of an input."""
    for item in items or ():
        if item.get("type") in _MESSAGE_TYPES:
            yield (
                item.get("role"),
                conversation_start.read_content(item.get("content"), "input_text", "text"),
            )


def _list_system(value: dict[str, Json]) -> Iterator[str]:
    """List the blocks of instructions before the conversation."""
    instructions, items = value.get("instructions"), value.get("input")
    if isinstance(instructions, str):
        yield instructions
    for role, content in () if isinstance(items, str) else _list_messages(items):
        if role not in _SYSTEM_ROLES:
            break
        yield from [content] if isinstance(content, str) else content


def _list_user_texts(value: dict[str, Json]) -> Iterator[str | list[str]]:
    items = value.get("input")
    if isinstance(items, str):
        yield items
    else:
        for role, content in _list_messages(items):
            if role == "user":
                yield content
