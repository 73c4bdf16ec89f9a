"""What becomes of each thing a client may ask when its target speaks another dialect: as data.

    mapped        said in the other dialect's own way
    approximated  said as nearly as it can be, and named
    dropped       not said, and named
    refused       the client depends on it: the target is skipped, or the call refused

One table for the code, for `explain` and for the page in the documents. What a model or a host
refuses beyond its dialect is in the catalogue. Sources: the API references of OpenAI, Anthropic and
Google, and the types of their official SDKs.
"""

import re
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
from gateway.core.jsonio import Json
from gateway.core.loss import Loss

type Way = Literal["mapped", "approximated", "dropped", "refused"]

CHAT, RESPONSES, MESSAGES, GEMINI = (
    "openai-chat", "openai-responses", "anthropic-messages", "gemini",
)  # fmt: skip


class FieldRule(msgspec.Struct, frozen=True):
    """What becomes of a field in one dialect, and why or how."""

    way: Way
    why: str = ""


_MAPPED = FieldRule("mapped")


def _near(how: str) -> FieldRule:
    return FieldRule("approximated", how)


def _drop(why: str = "has no such control") -> FieldRule:
    return FieldRule("dropped", why)


def _no(why: str) -> FieldRule:
    return FieldRule("refused", why)


def _to(**ways: FieldRule) -> dict[str, FieldRule]:
    """Rules by dialect; what is not named is mapped."""
    words = {"chat": CHAT, "responses": RESPONSES, "messages": MESSAGES, "gemini": GEMINI}
    return {name: ways.get(word, _MAPPED) for word, name in words.items()}


def _all(rule: FieldRule) -> dict[str, FieldRule]:
    """One rule for every dialect."""
    return dict.fromkeys((CHAT, RESPONSES, MESSAGES, GEMINI), rule)


_LATER = "is said within the next user turn: a later system turn may not stand there"
_IDS = "a file that was uploaded to one provider is unknown to another"

FIELDS: Mapping[str, Mapping[str, FieldRule]] = {
    "system": _to(),
    "later_system": _to(messages=_near(_LATER), gemini=_near(_LATER)),
    "turn_name": _to(
        responses=_drop("turns have no names"),
        messages=_drop("turns have no names"),
        gemini=_drop("turns have no names"),
    ),
    "image": _to(),
    "image_url": _to(gemini=_no("takes images as data, not by URL")),
    "image_id": _all(_no(_IDS)),
    "image_detail": _to(messages=_drop(), gemini=_drop()),
    "file": _to(),
    "file_url": _to(
        chat=_no("takes files as data, not by URL"), gemini=_no("takes files as data, not by URL")
    ),
    "file_id": _all(_no(_IDS)),
    "file_name": _to(gemini=_drop("takes no names of files")),
    "media_name": _all(_drop("takes no names but of files")),
    "document_context": _all(_drop("takes no context beside a document")),
    "citations": _all(_drop("takes no citations in what it is asked")),
    "audio": _to(responses=_no("takes no audio"), messages=_no("takes no audio")),
    "audio_url": _to(
        responses=_no("takes no audio"),
        messages=_no("takes no audio"),
        gemini=_no("takes audio as data, not by URL"),
    ),
    "video_url": _to(gemini=_no("takes films as data, or from YouTube")),
    "video": _to(
        chat=_no("takes no video"),
        responses=_no("takes no video"),
        messages=_no("takes no video"),
    ),
    "prefill": _to(
        chat=_no("does not continue a begun answer"),
        responses=_no("does not continue a begun answer"),
    ),
    "foreign_part": _all(_no("has no part of this kind")),
    "cache_breakpoint": _to(
        chat=_drop("caches prompts by itself"),
        responses=_drop("caches prompts by itself"),
        gemini=_drop("caches prompts by itself"),
    ),
    "function_tool": _to(),
    "custom_tool": _to(
        chat=_near("a function with one text takes its place"),
        messages=_near("a function with one text takes its place"),
        gemini=_near("a function with one text takes its place"),
    ),
    "tool_grammar": _to(chat=_drop(), messages=_drop(), gemini=_drop()),
    "hosted_tool": _all(_no("does not have this tool of another provider: leave it out")),
    "tool_member": _all(_drop("knows no such member of a tool")),
    "strict_tool": _to(gemini=_drop("has no strict mode for one function")),
    "tool_choice_required": _to(),
    "tool_choice_tool": _to(),
    "tool_choice_allowed": _to(messages=_near("only those tools are sent")),
    "parallel_tools_off": _to(gemini=_near("may ask for several tools at once: the first is told")),
    "tool_result_media": _to(chat=_near("follows in a user turn: results are text")),
    "tool_result_error": _to(
        chat=_near("is told in the text of the result"),
        responses=_near("is told in the text of the result"),
    ),
    "json_schema": _to(),
    "schema_description": _to(
        messages=_drop("takes a schema alone"), gemini=_drop("takes a schema alone")
    ),
    "json_object": _to(messages=_near("has no JSON mode without a schema: it is asked in words")),
    "stop": _to(responses=_no("has no stop sequences")),
    "max_output": _to(),
    "temperature": _to(),
    "top_p": _to(),
    "top_k": _to(chat=_drop(), responses=_drop()),
    "presence_penalty": _to(responses=_drop(), messages=_drop()),
    "frequency_penalty": _to(responses=_drop(), messages=_drop()),
    "seed": _to(responses=_drop(), messages=_drop()),
    "choices": _to(
        responses=_no("gives one answer to a request"),
        messages=_no("gives one answer to a request"),
    ),
    "logit_bias": _to(
        responses=_no("has no logit_bias"),
        messages=_no("has no logit_bias"),
        gemini=_no("has no logit_bias"),
    ),
    "logprobs": _to(messages=_no("tells no log probabilities")),
    "top_logprobs": _to(
        messages=_no("tells no log probabilities"), gemini=_drop("tells none by this alone")
    ),
    "verbosity": _to(messages=_drop(), gemini=_drop()),
    "effort": _to(),
    "budget": _to(
        chat=_near("an effort takes its place"), responses=_near("an effort takes its place")
    ),
    "thoughts_shown": _to(chat=_near("hosts show reasoning or do not, unasked")),
    "thought": _to(),
    "foreign_thought": _all(_drop("reasoning of another model is for that model alone")),
    "service_tier": _to(messages=_drop("has service tiers of its own")),
    "standard_tier": _to(),
    "user": _to(gemini=_drop("takes no name of a user")),
    "metadata": _to(
        messages=_drop("takes no metadata"), gemini=_drop("takes no metadata")
    ),
    "cache_key": _to(messages=_near("breakpoints take its place"), gemini=_drop()),
}  # fmt: skip
"""By field and by the dialect of the target. A field of the target's own dialect is never asked."""

_TOOL = "does not have this tool of another provider"

OTHERS: Mapping[str, FieldRule] = {
    "audio": _no("gives no audio"),
    "modalities": _no("gives text only"),
    "prediction": _no("takes no predicted output"),
    "web_search_options": _no(_TOOL),
    "previous_response_id": _no("does not know this earlier answer"),
    "conversation": _no("does not know this conversation"),
    "background": _no("does not answer in the background"),
    "prompt": _no("does not know this stored prompt"),
    "container": _no("does not know this container"),
    "thread": _no("does not know this thread"),
    "thread.create": _drop("keeps no threads: each request has all of the conversation"),
    "inference_geo": _no("cannot be told where data may go"),
    "mcp_servers": _no(_TOOL),
    "search_parameters": _no(_TOOL),
    "plugins": _no(_TOOL),
    "cachedContent": _no("does not know this cached content"),
    "continuationToken": _no("does not know this earlier answer"),
    "generationConfig.responseModalities": _no("gives text only"),
    "generationConfig.speechConfig": _no("gives no audio"),
    "generationConfig.imageConfig": _no("gives no images"),
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
            "generationConfig.responseFormat",
            "generationConfig.responseMimeType",
            "generationConfig.responseSchema",
            "generationConfig.responseJsonSchema",
            "generationConfig.stopSequences",
            "generationConfig.responseLogprobs",
        ),
        _no("cannot be told it as it is written here"),
    ),
}
"""Members of one dialect alone that the answer depends on, and such that no field could hold.

All others are dropped and named. Gemini's stand in camelCase; clients may write snake_case too.
"""


_CREATE = ("thread", {"type": "create"})


def weigh(request: CanonicalRequest, door: str) -> tuple[list[Loss], list[str]]:
    """What a request would lose in a dialect, and why it cannot be said there at all."""
    losses: dict[str, Loss] = {}
    refusals: dict[str, None] = {}
    for field, name in asked(request):
        rule = FIELDS[field][door]
        if rule.way == "refused":
            refusals[f"{name}: {door} {rule.why}{_how(request, field, name)}"] = None
        elif rule.way != "mapped":
            losses.setdefault(name, Loss(name, rule.way, f"{door} {rule.why}"))
    for name in request.others:
        known = "thread.create" if (name, request.others[name]) == _CREATE else name
        rule = OTHERS.get(known) or OTHERS.get(_camel(name)) or _drop("has no such member")
        if rule.way == "refused":
            refusals[f"{name}: {door} {rule.why}"] = None
        else:
            losses.setdefault(name, Loss(name, "dropped", f"{door} {rule.why}"))
    return list(losses.values()), list(refusals)


def _how(request: CanonicalRequest, field: str, name: str) -> str:
    """How the users of a widespread client leave a tool out that it offers by itself."""
    responses = request.names.get("turns") == "input"
    codex = responses and (field, name) == ("hosted_tool", "tools.web_search")
    return ' (Codex: web_search = "disabled")' if codex else ""


def asked(request: CanonicalRequest) -> Iterator[tuple[str, str]]:
    """Fields of FIELDS that a request sets, each with the client's own name of it."""
    name = request.names.get
    for field in _SETTINGS:
        value = getattr(request, field)
        if field == "service_tier" and value == "default":
            yield "standard_tier", name(field, field)
        elif value not in (None, (), False) or (value is False and field == "thoughts_shown"):
            yield field, name(field, field)
    if request.choices > 1:
        yield "choices", name("choices", "n")
    if request.form is not None:
        field = "json_object" if request.form.schema is None else "json_schema"
        yield field, name("form", "response_format")
        if request.form.description is not None:
            yield "schema_description", f"{name('form', 'response_format')}.description"
    if request.top_logprobs and not request.logprobs:
        yield "top_logprobs", name("top_logprobs", "top_logprobs")
    if request.parallel_tools is False:
        yield "parallel_tools_off", name("parallel_tools", "parallel_tool_calls")
    yield from _tools(request)
    yield from _turns(request)


_SETTINGS = (
    "max_output", "stop", "temperature", "top_p", "top_k", "presence_penalty",
    "frequency_penalty", "seed", "logit_bias", "logprobs", "verbosity", "effort", "budget",
    "thoughts_shown", "service_tier", "user", "metadata", "cache_key",
)  # fmt: skip
"""Fields of the same name in CanonicalRequest."""


def _tools(request: CanonicalRequest) -> Iterator[tuple[str, str]]:
    word = request.names.get("tools", "tools")
    for tool in request.tools:
        yield f"{tool.kind}_tool", f"{word}.{tool.name}" if tool.kind == "hosted" else word
        if tool.grammar is not None:
            yield "tool_grammar", f"{word}.format"
        if tool.strict:
            yield "strict_tool", f"{word}.strict"
        for member in _more(tool.source) if tool.kind != "hosted" else ():
            yield "tool_member", f"{word}.{member}"
        if tool.cache is not None:
            yield "cache_breakpoint", "cache_control"
    choice = request.tool_choice
    if choice is not None:
        word = request.names.get("tool_choice", "tool_choice")
        if choice.mode in ("required", "tool"):
            yield f"tool_choice_{choice.mode}", word
        if choice.allowed:
            yield "tool_choice_allowed", word


_TOOL_MEMBERS = frozenset(
    {
        "type", "function", "custom", "name", "description", "parameters", "parametersJsonSchema",
        "parameters_json_schema", "input_schema", "strict", "format", "cache_control",
        "prompt_cache_breakpoint", "namespace",
    }
)  # fmt: skip
"""Members of a tool, in any dialect, that a field of Tool holds."""


def _more(source: Json) -> Iterator[str]:
    """Members of a tool that no field holds and that say anything."""
    for name, value in source.items() if isinstance(source, dict) else ():
        if name not in _TOOL_MEMBERS and value not in (None, False):
            yield name


def _turns(request: CanonicalRequest) -> Iterator[tuple[str, str]]:
    word = request.names.get("turns", "messages")
    begun = False
    for turn in request.turns:
        if turn.role in ("system", "developer"):
            yield ("later_system" if begun else "system"), word
        else:
            begun = True
        if turn.name is not None:
            yield "turn_name", f"{word}.name"
        for part in turn.parts:
            yield from _part(part, word)
    if request.turns and request.turns[-1].role == "assistant":
        last = request.turns[-1].parts
        if any(isinstance(part, Text) for part in last) and not any(
            isinstance(part, ToolUse) for part in last
        ):
            yield "prefill", word


def _part(part: object, word: str) -> Iterator[tuple[str, str]]:
    if getattr(part, "cache", None) is not None:
        yield "cache_breakpoint", "cache_control"
    match part:
        case Text():
            if _has(part.source, "citations"):
                yield "citations", f"{word}.citations"
        case Media():
            yield from _media(part, word)
        case Foreign():
            yield "foreign_part", f"{word}.{part.kind}"
        case Thought():
            yield "thought", word
        case ToolResult():
            if part.error:
                yield "tool_result_error", f"{word}.is_error"
            for inner in part.parts:
                if isinstance(inner, Media):
                    yield "tool_result_media", f"{word}.{inner.kind}"
                yield from _part(inner, word)
        case _:
            return


def _media(part: Media, word: str) -> Iterator[tuple[str, str]]:
    yield part.kind, word
    name = f"{word}.{part.kind}"
    if part.id is not None:
        yield "image_id" if part.kind == "image" else "file_id", name
    elif part.url is not None and not (part.kind == "video" and YOUTUBE in part.url):
        yield f"{part.kind}_url", name
    if part.name is not None:
        yield "file_name" if part.kind == "file" else "media_name", f"{name}.name"
    if part.detail is not None:
        yield "image_detail", f"{word}.detail"
    if _has(part.source, "context"):
        yield "document_context", f"{word}.context"
    if _has(part.source, "citations"):
        yield "citations", f"{word}.citations"


YOUTUBE = "youtu"
"""In addresses of films that Google opens itself."""


def _has(source: Json, member: str) -> bool:
    """Whether the object that a part was read from says something that no field holds."""
    said = source.get(member) if isinstance(source, dict) else None
    return bool(said) and said != {"enabled": False}


def _camel(name: str) -> str:
    """A name as Google writes it; dots within it stay."""
    return _UNDERSCORE.sub(lambda found: found.group(1).upper(), name)


_UNDERSCORE = re.compile("_([a-z])")
