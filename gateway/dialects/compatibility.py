"""Rules for each field of a request whose target speaks another dialect: plain data.

    mapped        said in the other dialect's own way
    approximated  said as nearly as it can be, and named
    dropped       not said, and named
    refused       the client depends on it: the target is skipped, or the call refused

One table for the code, for `explain` and for the page in the documents. What a model or a host
refuses beyond its dialect is in the catalogue. Sources: the API references of OpenAI, Anthropic,
Google and AWS, and the types of their official SDKs.
"""

from collections.abc import Iterator, Mapping
from typing import Literal

import msgspec

from gateway.core.canonical_request import (
    CanonicalRequest,
    Foreign,
    Media,
    Text,
    Thought,
    ToolResult,
    ToolUse,
)
from gateway.core.loss import Loss
from gateway.dialects.member_list import to_camel_case

type Treatment = Literal["mapped", "approximated", "dropped", "refused"]

CHAT, RESPONSES, MESSAGES, GEMINI, CONVERSE = (
    "openai-chat", "openai-responses", "anthropic-messages", "gemini", "bedrock-converse",
)  # fmt: skip


class FieldRule(msgspec.Struct, frozen=True):
    """The treatment of a field in one dialect, with its reason."""

    treatment: Treatment
    reason: str = ""


_MAPPED = FieldRule("mapped")


def _approximate(reason: str) -> FieldRule:
    return FieldRule("approximated", reason)


def _drop(reason: str = "has no such control") -> FieldRule:
    return FieldRule("dropped", reason)


def _refuse(reason: str) -> FieldRule:
    return FieldRule("refused", reason)


def _by_dialect(**rules: FieldRule) -> dict[str, FieldRule]:
    """Rules by dialect; what is not named is mapped."""
    dialect_names = {
        "chat": CHAT, "responses": RESPONSES, "messages": MESSAGES, "gemini": GEMINI,
        "converse": CONVERSE,
    }  # fmt: skip
    return {name: rules.get(short_name, _MAPPED) for short_name, name in dialect_names.items()}


def _for_all_dialects(rule: FieldRule) -> dict[str, FieldRule]:
    """One rule for every dialect."""
    return dict.fromkeys((CHAT, RESPONSES, MESSAGES, GEMINI, CONVERSE), rule)


_LATER_SYSTEM_REASON = "has no later system turns: the text goes into the next user turn"
_FILE_ID_REASON = "cannot read a file of another provider: send its content"

FIELD_RULES: Mapping[str, Mapping[str, FieldRule]] = {
    "system": _by_dialect(),
    "later_system": _by_dialect(
        messages=_approximate(_LATER_SYSTEM_REASON),
        gemini=_approximate(_LATER_SYSTEM_REASON),
        converse=_approximate(_LATER_SYSTEM_REASON),
    ),
    "system_media": _by_dialect(
        messages=_refuse("accepts only text in a system prompt"),
        gemini=_refuse("accepts only text in a system prompt"),
        converse=_refuse("accepts only text in a system prompt"),
    ),
    "turn_name": _by_dialect(
        responses=_drop("has no names for turns"),
        messages=_drop("has no names for turns"),
        gemini=_drop("has no names for turns"),
        converse=_drop("has no names for turns"),
    ),
    "image": _by_dialect(),
    "image_url": _by_dialect(
        gemini=_refuse("accepts images as data, not as a URL"),
        converse=_refuse("accepts images as data, not as a URL"),
    ),
    "image_id": _for_all_dialects(_refuse(_FILE_ID_REASON)),
    "image_detail": _by_dialect(messages=_drop(), gemini=_drop(), converse=_drop()),
    "media_detail": _for_all_dialects(_drop("has a detail for images only")),
    "file": _by_dialect(),
    "file_url": _by_dialect(
        chat=_refuse("accepts files as data, not as a URL"),
        gemini=_refuse("accepts files as data, not as a URL"),
        converse=_refuse("accepts files as data, not as a URL"),
    ),
    "file_id": _for_all_dialects(_refuse(_FILE_ID_REASON)),
    "file_name": _by_dialect(gemini=_drop("has no file names")),
    "media_name": _for_all_dialects(_drop("has names for files only")),
    "audio": _by_dialect(
        responses=_refuse("does not accept audio"),
        messages=_refuse("does not accept audio"),
        converse=_refuse("does not accept audio"),
    ),
    "audio_url": _by_dialect(
        responses=_refuse("does not accept audio"),
        messages=_refuse("does not accept audio"),
        gemini=_refuse("accepts audio as data, not as a URL"),
        converse=_refuse("does not accept audio"),
    ),
    "video_url": _by_dialect(
        gemini=_refuse("accepts videos as data or from YouTube"),
        converse=_refuse("does not accept video"),
    ),
    "video": _by_dialect(
        chat=_refuse("does not accept video"),
        responses=_refuse("does not accept video"),
        messages=_refuse("does not accept video"),
        converse=_refuse("does not accept video"),
    ),
    "prefill": _by_dialect(
        chat=_refuse("does not continue an answer that the client began"),
        responses=_refuse("does not continue an answer that the client began"),
    ),
    "foreign_part": _for_all_dialects(_refuse("has no part of this kind")),
    "cache_breakpoint": _by_dialect(
        chat=_drop("caches prompts by itself"),
        responses=_drop("caches prompts by itself"),
        gemini=_drop("caches prompts by itself"),
    ),
    "cache_lifetime": _by_dialect(
        chat=_drop("caches prompts by itself"),
        responses=_drop("caches prompts by itself"),
        messages=_approximate("caches for 5 minutes or 1 hour: the gateway asks for 1 hour"),
        gemini=_drop("caches prompts by itself"),
        converse=_approximate("caches for 5 minutes"),
    ),
    "function_tool": _by_dialect(),
    "custom_tool": _by_dialect(
        chat=_approximate("gets a function with one text in its place"),
        messages=_approximate("gets a function with one text in its place"),
        gemini=_approximate("gets a function with one text in its place"),
        converse=_approximate("gets a function with one text in its place"),
    ),
    "tool_grammar": _by_dialect(
        chat=_drop(), messages=_drop(), gemini=_drop(), converse=_drop()
    ),
    "hosted_tool": _for_all_dialects(
        _refuse("does not have this tool of another provider: leave it out")
    ),
    "strict_tool": _by_dialect(
        gemini=_drop("has no strict mode for one function"),
        converse=_drop("has a strict mode for a few models: the gateway asks none for it"),
    ),
    "tool_choice_required": _by_dialect(),
    "tool_choice_tool": _by_dialect(),
    "tool_choice_allowed": _by_dialect(
        messages=_approximate("gets only the allowed tools"),
        converse=_approximate("gets only the allowed tools"),
    ),
    "parallel_tools_off": _by_dialect(
        gemini=_approximate("may call several tools at once: the client gets the first call"),
        converse=_approximate("may call several tools at once: the client gets the first call"),
    ),
    "tool_result_media": _by_dialect(
        chat=_approximate("has text results only: the rest follows in a user turn")
    ),
    "tool_result_error": _by_dialect(
        chat=_approximate("gets the error in the text of the result"),
        responses=_approximate("gets the error in the text of the result"),
    ),
    "json_schema": _by_dialect(),
    "schema_description": _by_dialect(
        messages=_drop("accepts the schema without it"),
        gemini=_drop("accepts the schema without it"),
    ),
    "json_object": _by_dialect(
        messages=_approximate("has no JSON mode without a schema: the gateway asks in words"),
        converse=_approximate("has no JSON mode without a schema: the gateway asks in words"),
    ),
    "stop": _by_dialect(responses=_refuse("has no stop sequences")),
    "max_output": _by_dialect(),
    "temperature": _by_dialect(),
    "top_p": _by_dialect(),
    "top_k": _by_dialect(chat=_drop(), responses=_drop()),
    "presence_penalty": _by_dialect(responses=_drop(), messages=_drop(), converse=_drop()),
    "frequency_penalty": _by_dialect(responses=_drop(), messages=_drop(), converse=_drop()),
    "seed": _by_dialect(responses=_drop(), messages=_drop(), converse=_drop()),
    "choices": _by_dialect(
        responses=_refuse("gives only one answer to a request"),
        messages=_refuse("gives only one answer to a request"),
        converse=_refuse("gives only one answer to a request"),
    ),
    "logit_bias": _by_dialect(
        responses=_refuse("has no logit_bias"),
        messages=_refuse("has no logit_bias"),
        gemini=_refuse("has no logit_bias"),
        converse=_refuse("has no logit_bias"),
    ),
    "logprobs": _by_dialect(
        messages=_refuse("sends no log probabilities"),
        converse=_refuse("sends no log probabilities"),
    ),
    "top_logprobs": _by_dialect(
        messages=_refuse("sends no log probabilities"),
        gemini=_drop("sends none unless log probabilities are on"),
        converse=_refuse("sends no log probabilities"),
    ),
    "verbosity": _by_dialect(messages=_drop(), gemini=_drop(), converse=_drop()),
    "effort": _by_dialect(),
    "budget": _by_dialect(
        chat=_approximate("gets an effort in its place"),
        responses=_approximate("gets an effort in its place"),
        converse=_approximate("gets an effort in its place"),
    ),
    "thoughts_shown": _by_dialect(
        chat=_approximate("has no such control: each host shows reasoning or not"),
        converse=_approximate("has no such control: each model shows reasoning or not"),
    ),
    "thought": _by_dialect(),
    "foreign_thought": _for_all_dialects(
        _drop("gets no reasoning of another model")
    ),
    "service_tier": _by_dialect(messages=_drop("has other service tiers")),
    "standard_tier": _by_dialect(),
    "user": _by_dialect(
        gemini=_drop("does not accept the name of a user"),
        converse=_drop("does not accept the name of a user"),
    ),
    "metadata": _by_dialect(
        messages=_drop("does not accept metadata"),
        gemini=_drop("does not accept metadata"),
        converse=_drop("gets none: there it goes into the logs of the account"),
    ),
    "cache_key": _by_dialect(
        messages=_approximate("gets breakpoints in its place"), gemini=_drop(), converse=_drop()
    ),
}  # fmt: skip
"""By field and by the dialect of the target. A field of the target's own dialect is never asked."""

UNREADABLE_VALUE_RULES: Mapping[str, FieldRule] = {
    "thread": _refuse("does not know this thread"),
    "thread.create": _drop("has no threads: each request contains the whole conversation"),
    "modalities": _refuse("gives text only"),
    "generationConfig.responseModalities": _refuse("gives text only"),
    **dict.fromkeys(
        (
            "functions",
            "function_call",
            "logit_bias",
            "logprobs",
            "n",
            "response_format",
            "stop",
            "tool_choice",
            "tools",
            "top_logprobs",
            "output_config.format",
            "output_format",
            "text.format",
            "generationConfig.responseMimeType",
            "generationConfig.responseSchema",
            "generationConfig.responseJsonSchema",
            "generationConfig.stopSequences",
            "generationConfig.responseLogprobs",
        ),
        _refuse("cannot express this value: correct it or leave it out"),
    ),
}
"""Members that a decoder reads, with a value that no field holds.

All others are dropped and named. Gemini's stand in camelCase; clients may write snake_case too.
"""

_CREATE_THREAD = ("thread", {"type": "create"})


def check_request(request: CanonicalRequest, dialect_name: str) -> tuple[list[Loss], list[str]]:
    """Return the losses of a request in a dialect, and why the dialect cannot take it at all."""
    losses: dict[str, Loss] = {}
    refusals: dict[str, None] = {}
    for field, name in list_set_fields(request):
        rule = FIELD_RULES[field][dialect_name]
        if rule.treatment == "refused":
            refusals[
                f"{name}: {dialect_name} {rule.reason}{_describe_opt_out(request, field, name)}"
            ] = None
        elif rule.treatment != "mapped":
            losses.setdefault(name, Loss(name, rule.treatment, f"{dialect_name} {rule.reason}"))
    listed = {lost.path for lost in request.lost_members}
    for name in [name for name in request.extra_members if name not in listed]:
        member = "thread.create" if (name, request.extra_members[name]) == _CREATE_THREAD else name
        rule = (
            UNREADABLE_VALUE_RULES.get(member)
            or UNREADABLE_VALUE_RULES.get(to_camel_case(name))
            or _drop("has no such member")
        )
        if rule.treatment == "refused":
            refusals[f"{name}: {dialect_name} {rule.reason}"] = None
        else:
            losses.setdefault(name, Loss(name, "dropped", f"{dialect_name} {rule.reason}"))
    for lost in request.lost_members:
        reason = f"{dialect_name} {lost.reason}"
        if lost.is_essential:
            refusals[f"{lost.path}: {reason}"] = None
        else:
            losses.setdefault(lost.path, Loss(lost.path, lost.action, reason))
    return list(losses.values()), list(refusals)


def _describe_opt_out(request: CanonicalRequest, field: str, name: str) -> str:
    """Return a hint for users of Codex, which offers a search tool by itself."""
    is_responses = request.names.get("turns") == "input"
    is_codex_search = is_responses and (field, name) == ("hosted_tool", "tools.web_search")
    return ' (Codex: web_search = "disabled")' if is_codex_search else ""


def list_set_fields(request: CanonicalRequest) -> Iterator[tuple[str, str]]:
    """Fields of FIELDS that a request sets, each with the client's own name of it."""
    get_client_name = request.names.get
    for field in _SETTING_FIELDS:
        value = getattr(request, field)
        if field == "service_tier" and value == "default":
            yield "standard_tier", get_client_name(field, field)
        elif value not in (None, (), False) or (value is False and field == "thoughts_shown"):
            yield field, get_client_name(field, field)
    if request.choices > 1:
        yield "choices", get_client_name("choices", "n")
    if request.form is not None:
        field = "json_object" if request.form.schema is None else "json_schema"
        yield field, get_client_name("form", "response_format")
        if request.form.description is not None:
            yield "schema_description", f"{get_client_name('form', 'response_format')}.description"
    if request.top_logprobs and not request.logprobs:
        yield "top_logprobs", get_client_name("top_logprobs", "top_logprobs")
    if request.parallel_tools is False:
        yield "parallel_tools_off", get_client_name("parallel_tools", "parallel_tool_calls")
    yield from _list_tool_fields(request)
    yield from _list_turn_fields(request)


_SETTING_FIELDS = (
    "max_output", "stop", "temperature", "top_p", "top_k", "presence_penalty",
    "frequency_penalty", "seed", "logit_bias", "logprobs", "verbosity", "effort", "budget",
    "thoughts_shown", "service_tier", "user", "metadata", "cache_key",
)  # fmt: skip
"""Fields of the same name in CanonicalRequest."""


def _list_tool_fields(request: CanonicalRequest) -> Iterator[tuple[str, str]]:
    client_name = request.names.get("tools", "tools")
    for tool in request.tools:
        yield (
            f"{tool.kind}_tool",
            f"{client_name}.{tool.name}" if tool.kind == "hosted" else client_name,
        )
        if tool.grammar is not None:
            yield "tool_grammar", f"{client_name}.format"
        if tool.strict:
            yield "strict_tool", f"{client_name}.strict"
        yield from _list_cache_fields(tool.cache)
    choice = request.tool_choice
    if choice is not None:
        client_name = request.names.get("tool_choice", "tool_choice")
        if choice.mode in ("required", "tool"):
            yield f"tool_choice_{choice.mode}", client_name
        if choice.allowed:
            yield "tool_choice_allowed", client_name


def _list_turn_fields(request: CanonicalRequest) -> Iterator[tuple[str, str]]:
    client_name = request.names.get("turns", "messages")
    has_begun = False
    for turn in request.turns:
        if turn.role in ("system", "developer"):
            yield ("later_system" if has_begun else "system"), client_name
            if not has_begun and any(isinstance(part, Media) for part in turn.parts):
                yield "system_media", client_name
        else:
            has_begun = True
        if turn.name is not None:
            yield "turn_name", f"{client_name}.name"
        for part in turn.parts:
            for field, name in _list_part_fields(part, client_name):
                if turn.role != "assistant" or field not in _MEDIA_KINDS:
                    yield field, name
    if request.turns and request.turns[-1].role == "assistant":
        last_parts = request.turns[-1].parts
        if any(isinstance(part, Text) for part in last_parts) and not any(
            isinstance(part, ToolUse) for part in last_parts
        ):
            yield "prefill", client_name


_MEDIA_KINDS = frozenset({"image", "file", "audio", "video"})
"""Kinds of media. In turns of the assistant an encoder may leave them out, and names them then."""


def _list_cache_fields(lifetime: str | None) -> Iterator[tuple[str, str]]:
    if lifetime is not None:
        yield "cache_breakpoint", "cache_control"
        if lifetime not in _CACHE_LIFETIMES:
            yield "cache_lifetime", "cache_control.ttl"


_CACHE_LIFETIMES = ("", "5m", "1h")
"""Lifetimes of a cached prompt that Anthropic's API knows; without one it is 5 minutes."""


def _list_part_fields(part: object, client_name: str) -> Iterator[tuple[str, str]]:
    yield from _list_cache_fields(getattr(part, "cache", None))
    match part:
        case Media():
            yield from _list_media_fields(part, client_name)
        case Foreign():
            yield "foreign_part", f"{client_name}.{part.kind}"
        case Thought():
            yield "thought", client_name
        case ToolResult():
            if part.error:
                yield "tool_result_error", f"{client_name}.is_error"
            for inner_part in part.parts:
                if isinstance(inner_part, Media):
                    yield "tool_result_media", f"{client_name}.{inner_part.kind}"
                yield from _list_part_fields(inner_part, client_name)
        case _:
            return


def _list_media_fields(part: Media, client_name: str) -> Iterator[tuple[str, str]]:
    yield part.kind, client_name
    name = f"{client_name}.{part.kind}"
    if part.id is not None:
        yield "image_id" if part.kind == "image" else "file_id", name
    elif part.url is not None and not (part.kind == "video" and YOUTUBE_URL_PART in part.url):
        yield f"{part.kind}_url", name
    if part.name is not None:
        yield "file_name" if part.kind == "file" else "media_name", f"{name}.name"
    if part.detail is not None:
        detail_field = "image_detail" if part.kind == "image" else "media_detail"
        yield detail_field, f"{client_name}.detail"


YOUTUBE_URL_PART = "youtu"
"""In addresses of films that Google opens itself."""
