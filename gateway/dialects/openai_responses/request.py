"""Responses requests: read once for routing, written by replacing top-level members only.

`Prompt.stored` holds where an answer depends on what the provider keeps (`previous_response_id`,
`conversation`, `prompt`, item references), or is asked to be kept (`store: true`) or made later
(`background`). A request that leaves `store` out is none of these: OpenAI keeps its answer for a
while, and an equal request may be given that same answer, whose id OpenAI still knows.
"""

from collections.abc import Iterator
from itertools import islice

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
from gateway.dialects.openai_responses import effort, reasoning_state
from gateway.dialects.openai_responses.tools import (
    ADDITIONAL_TOOLS,
    is_hosted,
    list_offered_tools,
    read_tool_name,
)
from gateway.dialects.parse import is_zero, parse, suggest_endpoint
from gateway.dialects.reasoning_state import may_hold_label
from gateway.dialects.request_facts import RequestFacts, join_system, read_labels, read_number
from gateway.dialects.user_text import UserText

NAME = "openai-responses"

SAMPLING = ("temperature", "top_p")
"""Tuning knobs that a reasoning model refuses: dropped and named, they change no meaning."""

FORWARDED_HEADERS = frozenset(
    {
        b"openai-beta", b"idempotency-key", b"session_id", b"conversation_id", b"x-session-id",
        b"x-session-affinity", b"x-grok-conv-id", b"traceparent", b"tracestate",
    }
)  # fmt: skip
"""Client headers that mean something to OpenAI (Codex's session among them) and to other hosts."""

ESSENTIAL_MEMBERS = frozenset(
    {
        "instructions", "tools", "tool_choice", "text", "previous_response_id", "conversation",
        "background", "prompt", "top_logprobs",
    }
)  # fmt: skip
"""Members that the caller depends on: never dropped, a target that refuses one is skipped."""

LOGPROBS = "message.output_text.logprobs"
"""What `include` asks log probabilities with."""

_STORED_MEMBERS = ("previous_response_id", "conversation", "prompt")
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
"""Items that answer the model beside those named `..._call_output`."""
REFERENCE = "item_reference"
"""The type of such an item, which may be left out."""
_SYSTEM_ROLES = ("system", "developer")
_TEXT_MEMBERS = ("arguments", "input", "output", "code")
"""Members of items that are text for the model."""
_MESSAGE_TYPES = (None, "message")
_CODEX_SESSION = ("thread_id", "session_id")


class InputSummary:
    """Reads one item after the other."""

    __slots__ = ("chars", "files", "images", "offered", "referred", "tool_loop", "typed")

    def __init__(self, instructions: Json) -> None:
        self.typed = UserText()
        self.images = self.files = 0
        self.chars = len(instructions) if isinstance(instructions, str) else 0
        self.tool_loop = False
        self.referred = False
        """An item is named that only the provider has."""
        self.offered = False
        """An item offers tools."""

    def text(self, text: str) -> None:
        """Take input that is one string: a user's."""
        self.chars += len(text)
        self.typed.add_text(text)

    def item(self, item: dict[str, Json]) -> None:
        """Take the next item."""
        kind = item.get("type")
        if kind == "message" or (kind is None and not is_reference(item)):
            self._message(item)
            return
        self.tool_loop = is_tool_result(kind)
        self.typed.add_answer()
        if is_reference(item):
            self.referred = True
        elif kind == ADDITIONAL_TOOLS:
            self.offered = True
            self.chars += len(jsonio.dumps(item.get("tools")).decode())
        else:
            self._other(item)

    def _message(self, item: dict[str, Json]) -> None:
        """Count a message; agents put some of their own between a result and its answer."""
        content, role = item.get("content"), item.get("role")
        texts = self._content(content)
        if role == "user":
            spoken = (
                self.typed.add_text(content)
                if isinstance(content, str)
                else self.typed.add_turn(texts)
            )
            self.tool_loop = not spoken and self.tool_loop
        elif role not in _SYSTEM_ROLES:
            self.tool_loop = False
            self.typed.add_answer()

    def _other(self, item: dict[str, Json]) -> None:
        """Count an item that is no message."""
        for name in _TEXT_MEMBERS:
            said = item.get(name)
            if isinstance(said, str):
                self.chars += len(said)
            elif isinstance(said, list):
                self._content(said)
        for name in ("summary", "content"):
            self._content(item.get(name))
        if isinstance(item.get("action"), dict):
            self.chars += len(jsonio.dumps(item["action"]).decode())

    def _content(self, content: Json) -> list[str]:
        """Count a string or a list of parts; gives its texts."""
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
            elif kind == "input_file":
                self.files += 1
        return texts


def is_tool_result(kind: Json) -> bool:
    """Whether items of a type tell the model what its tool gave."""
    return isinstance(kind, str) and (kind.endswith("_call_output") or kind in _OTHER_RESULTS)


def is_reference(item: dict[str, Json]) -> bool:
    """Whether an item only names one that whoever is asked already has."""
    kind = item.get("type")
    return kind == REFERENCE or (kind is None and "id" in item and {*item} <= {"id", "type"})


def read(raw: bytes) -> RequestBody:
    """Read a request body. Raises ProblemError: invalid_json, or invalid_request with the field."""
    return parse(raw, _read_prompt, "tools")


def _read_prompt(value: dict[str, Json], members: jsonio.Members) -> Prompt:
    model, said = _read_required(value)
    typed, temperature, cap = said.typed, value.get("temperature"), value.get(_OUTPUT_CAP)
    prompt = Prompt(
        model=model,
        stream=value.get("stream") is True,
        user=typed.text,
        user_turns=typed.turn_count,
        chars=said.chars,
        tool_loop=said.tool_loop,
        injected_text=typed.injected_text,
        images=said.images,
        files=said.files,
        max_output=cap if isinstance(cap, int) and not isinstance(cap, bool) else None,
        stored=said.referred,
        sampled=isinstance(temperature, int | float) and temperature > 0,
        zero_temperature=is_zero(temperature),
        members=frozenset(value),
    )
    if said.offered:
        return _add_rare_members(
            prompt, value, members, list_offered_tools(_with_tools(value, members))
        )
    if _RARE_MEMBERS.isdisjoint(value):
        return prompt
    tools = value.get("tools")
    return _add_rare_members(prompt, value, members, tools if isinstance(tools, list) else [])


def _with_tools(value: dict[str, Json], members: jsonio.Members) -> dict[str, Json]:
    """A request with all of its tools: those of the input are compared with them."""
    tools = members.get("tools")
    return value if tools is None else {**value, "tools": jsonio.loads(memoryview(tools))}


def _add_rare_members(
    prompt: Prompt, value: dict[str, Json], members: jsonio.Members, tools: list[Json]
) -> Prompt:
    """What the members of `_RARE_MEMBERS` say too, and all tools that are offered."""
    listed = isinstance(value.get("tools"), list)
    include, most = value.get("include"), value.get("top_logprobs")
    return msgspec.structs.replace(
        prompt,
        chars=prompt.chars + (len(members["tools"]) if listed else 0),
        tools=tuple(map(read_tool_name, tools)),
        forced_tool=_forces_tool(value.get("tool_choice")),
        json_schema=_wants_schema(value.get("text")),
        effort=effort.read(value),
        service=parse_service_tier(value.get("service_tier")),
        hosted_tools=any(map(is_hosted, tools)),
        stored=prompt.stored or _depends_on_store(value),
        logprobs=(isinstance(include, list) and LOGPROBS in include) or bool(most),
    )


def _read_required(value: dict[str, Json]) -> tuple[str, InputSummary]:
    model = value.get("model")
    if not isinstance(model, str) or not model:
        raise invalid_request(
            '"model" is required: a model name, a tier, "auto" or "lab/tier".', "model"
        )
    if "messages" in value:
        raise invalid_request(
            f'This door takes no "messages".{suggest_endpoint(value, NAME)}', "messages"
        )
    stream, given = value.get("stream"), value.get("input")
    if stream is not None and not isinstance(stream, bool):
        raise invalid_request('"stream" must be true or false.', "stream")
    said = InputSummary(value.get("instructions"))
    if isinstance(given, str):
        said.text(given)
    elif isinstance(given, list):
        for at, item in enumerate(given):
            if not isinstance(item, dict):
                raise invalid_request(f'"input[{at}]" must be an object.', f"input[{at}]")
            said.item(item)
    elif given is not None or not any(value.get(name) for name in _STORED_MEMBERS):
        message = '"input" is required and must be a string or a list of items.'
        raise invalid_request(message + suggest_endpoint(value, NAME), "input")
    said.typed.close()
    return model, said


def _forces_tool(choice: Json) -> bool:
    if isinstance(choice, dict):
        return choice.get("type") != "allowed_tools" or choice.get("mode") == "required"
    return bool(choice == "required")


def _wants_schema(text: Json) -> bool:
    form = text.get("format") if isinstance(text, dict) else None
    return isinstance(form, dict) and form.get("type") == "json_schema"


def _depends_on_store(value: dict[str, Json]) -> bool:
    asked = value.get("store") is True or value.get("background") is True
    return asked or any(value.get(name) is not None for name in _STORED_MEMBERS)


def write(body: RequestBody, target: Target) -> WrittenBody:
    """The body for one target: the client's bytes, with only those members changed that must be."""
    if _as_it_is(body.prompt, target) and not may_hold_label(body):
        return WrittenBody(write_model(body, target.model))
    edit = reasoning_state.edit(body, target)
    body = edit.body
    if body.prompt.model != target.model:
        edit.set_member("model", target.model)
    effort.write(edit, target)
    _write_cap(edit, target)
    if effort.may_reason(body.prompt, target):
        for name in SAMPLING:
            if name in body.prompt.members:
                edit.drop_member(name, f"{target.model} takes no sampling parameters")
    edit.drop_refused(target)
    return edit.finish()


def _as_it_is(prompt: Prompt, target: Target) -> bool:
    """Whether a target takes what was asked as it was asked, but for its own name of the model."""
    facts, cap = target.facts, prompt.max_output
    if cap is None:
        fits = target.max_output is None
    else:
        fits = facts.max_output is None or cap <= facts.max_output
    return (
        fits
        and facts.sampling == "always"
        and (target.effort is None or effort.read_style(facts) is None)
        and "reasoning" not in prompt.members
        and not (facts.refused_members or target.provider.refused_members)
    )


def _write_cap(edit: BodyPatch, target: Target) -> None:
    asked, most = edit.body.prompt.max_output, target.facts.max_output
    if edit.body.outline.get(_OUTPUT_CAP) is None:
        if target.max_output is not None:
            edit.set_member(_OUTPUT_CAP, target.max_output)
    elif asked is not None and most is not None and asked > most:
        edit.set_member(_OUTPUT_CAP, most)
        edit.record_loss(_OUTPUT_CAP, "clamped", f"{target.model} gives at most {most}")


def asks_usage(body: RequestBody) -> bool:  # noqa: ARG001 - this dialect always tells it
    """Whether the client wants usage told in a stream."""
    return True


def read_start(body: RequestBody) -> ConversationStart:
    """Read it; odd members say nothing.

    `client_metadata` is Codex's: it has there what stands in its headers too.
    """
    value = body.outline
    return ConversationStart(
        system=conversation_start.cut_system(
            list(islice(_list_system(value), conversation_start.MAX_BLOCKS))
        ),
        first_text=conversation_start.find_first_text(_list_user_texts(value)),
        name_and_member=_find_codex_session(value.get("client_metadata"))
        or conversation_start.find_cache_key(value)
        or conversation_start.find_name(
            value, "conversation", "session_id", "previous_response_id"
        ),
        user=conversation_start.find_end_user(value),
    )


def read_facts(body: RequestBody) -> RequestFacts:
    """Read what few rules ask; odd members say nothing."""
    value = body.outline
    return RequestFacts(
        system=join_system(_list_system(value)),
        user=conversation_start.find_end_user(value),
        metadata=read_labels(value.get("metadata")),
        temperature=read_number(value.get("temperature")),
    )


def _find_codex_session(metadata: Json) -> tuple[str, str] | None:
    return (
        conversation_start.find_name(metadata, *_CODEX_SESSION)
        if isinstance(metadata, dict)
        else None
    )


def _list_messages(given: Json) -> Iterator[tuple[Json, str | list[str]]]:
    """The messages of an input: who says what."""
    for item in given or ():
        if item.get("type") in _MESSAGE_TYPES:
            yield (
                item.get("role"),
                conversation_start.read_content(item.get("content"), "input_text", "text"),
            )


def _list_system(value: dict[str, Json]) -> Iterator[str]:
    """List the blocks of instructions that stand before the conversation."""
    instructions, given = value.get("instructions"), value.get("input")
    if isinstance(instructions, str):
        yield instructions
    for role, said in () if isinstance(given, str) else _list_messages(given):
        if role not in _SYSTEM_ROLES:
            break
        yield from [said] if isinstance(said, str) else said


def _list_user_texts(value: dict[str, Json]) -> Iterator[str | list[str]]:
    given = value.get("input")
    if isinstance(given, str):
        yield given
    else:
        for role, said in _list_messages(given):
            if role == "user":
                yield said
