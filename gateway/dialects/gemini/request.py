"""Native Gemini requests: read once for routing, and patched for a target.

The model and the method stand in the path: `models/gemini-4-argon:streamGenerateContent`. Readers
get its variable part. A translated body has no path: its members `model` and `stream` say the same,
and the gateway takes them out again.

Also what rules and affinity read of a request: how its conversation begins, and a few facts.
"""

import functools
import re
from collections.abc import Iterator
from urllib.parse import quote

import msgspec

from gateway.core.errors import Problem, ProblemError, invalid_request
from gateway.core.jsonio import Json, Members
from gateway.core.prompt import Prompt
from gateway.core.target import Target
from gateway.core.usage import parse_service_tier
from gateway.dialects import conversation_start
from gateway.dialects.base import RequestBody, WrittenBody
from gateway.dialects.body_patch import BodyPatch
from gateway.dialects.conversation_start import ConversationStart
from gateway.dialects.gemini import effort, reasoning_state
from gateway.dialects.gemini.content import (
    CONFIG,
    ContentTotals,
    Object,
    as_integer,
    find_spelling,
    get_member,
    get_object,
    list_objects,
    list_texts,
    to_camel_case,
    to_snake_case,
)
from gateway.dialects.gemini.effort import GenerationConfigPatch
from gateway.dialects.json_values import as_number, as_text
from gateway.dialects.parse import is_zero, parse, suggest_endpoint
from gateway.dialects.request_facts import (
    RequestFacts,
    join_system,
    read_labels,
)

NAME = effort.NAME

GENERATE, STREAM = "generateContent", "streamGenerateContent"

FORWARDED_HEADERS = frozenset(
    {
        b"x-goog-api-client", b"x-server-timeout", b"x-vertex-ai-llm-request-type",
        b"x-vertex-ai-llm-shared-request-type",
    }
)  # fmt: skip
"""Client headers that mean something to Google: not those of the client's own project, and not
`x-goog-request-params`, which names the model that was asked for."""

ESSENTIAL_MEMBERS = frozenset(
    {
        "systemInstruction", "tools", "toolConfig", "cachedContent", "continuationToken",
        "generationConfig.stopSequences", "generationConfig.candidateCount",
        "generationConfig.responseMimeType", "generationConfig.responseSchema",
        "generationConfig.responseJsonSchema", "generationConfig.responseFormat",
        "generationConfig.responseLogprobs", "generationConfig.logprobs",
        "generationConfig.responseModalities", "generationConfig.speechConfig",
        "generationConfig.imageConfig",
    }
)  # fmt: skip
"""Members that the caller depends on: never dropped, a target that refuses one is skipped."""

SAMPLING_MEMBERS = ("temperature", "topP", "topK", "presencePenalty", "frequencyPenalty")
"""Tuning knobs that a thinking model may refuse: dropped and named, they change no meaning."""

ADDRESS_MEMBERS = ("model", "stream")
"""Members that say in a body without a path what the path says."""

_MEANINGFUL_MEMBERS = ESSENTIAL_MEMBERS | {
    CONFIG, "safetySettings",
    *(f"{CONFIG}.{name}" for name in ("maxOutputTokens", "thinkingConfig", *SAMPLING_MEMBERS)),
}  # fmt: skip
"""Members that the gateway reads or changes."""

_MODEL = re.compile(r"(?:.*?/)??models/(.*)")


def read(raw: bytes, path: str = "") -> RequestBody:
    """Read a request body. Raises ProblemError: invalid_json, or invalid_request with the field."""
    model, method = parse_path(path)
    if method not in (GENERATE, STREAM, ""):
        raise ProblemError(make_unknown_method_problem(method))
    facts = functools.partial(make_prompt, model=model, stream=method == STREAM if path else None)
    return parse(raw, facts)


def parse_path(path: str) -> tuple[str, str]:
    """Return the model and the method of a path's variable part; the model without a prefix."""
    name, _, method = path.rpartition(":")
    return strip_model_name(name), method


def strip_model_name(name: str) -> str:
    """Return a model's name without "models/" or "publishers/google/models/" before it."""
    match = _MODEL.fullmatch(name)
    return match.group(1) if match else name


def make_unknown_method_problem(method: str) -> Problem:
    """Return the problem of a method that the gateway does not serve."""
    message = f'The gateway has no model method "{method}". Use {GENERATE} or {STREAM}.'
    return Problem(kind="not_found", message=message)


def make_prompt(value: Object, members: Members, *, model: str, stream: bool | None) -> Prompt:
    """Summarize a request. `stream` is None if the body itself names model and stream."""
    if stream is None:
        model, stream = (
            strip_model_name(as_text(value.get("model")) or ""),
            value.get("stream") is True,
        )
    if not model:
        raise invalid_request("The path must name a model: models/<name>:generateContent.", "model")
    config = get_member(value, CONFIG)
    if config is not None and not isinstance(config, dict):
        raise invalid_request(f'"{CONFIG}" must be an object.', CONFIG)
    config, totals = config or {}, _count_contents(value)
    tools = list_objects(value.get("tools"))
    hosted_tools = any(map(_is_hosted, tools))
    has_cached_content = get_member(value, "cachedContent") is not None
    temperature = config.get("temperature")
    return Prompt(
        model=model,
        stream=stream,
        user=totals.user_text.text,
        user_turns=totals.user_text.turn_count,
        chars=totals.chars + (len(bytes(memoryview(members["tools"]))) if tools else 0),
        tool_loop=totals.tool_loop,
        injected_text=totals.user_text.injected_text,
        tools=tuple(map(_read_name, _list_declarations(tools))),
        forced_tool=read_calling_mode(value) == "ANY",
        images=totals.images,
        image_bytes=totals.image_bytes,
        files=totals.files,
        audio=totals.audio,
        json_schema=any(get_member(config, it) for it in ("responseSchema", "responseJsonSchema")),
        effort=effort.read(config),
        max_output=as_integer(get_member(config, "maxOutputTokens")),
        choices=as_integer(get_member(config, "candidateCount")) or 1,
        service=parse_service_tier(get_member(value, "serviceTier")),
        hosted_tools=hosted_tools,
        stored=value.get("store") is True or has_cached_content,
        is_unsized=totals.is_unsized or hosted_tools or has_cached_content,
        sampled=isinstance(temperature, int | float) and temperature > 0,
        zero_temperature=is_zero(temperature),
        logprobs=get_member(config, "responseLogprobs") is True,
        members=_list_members(value, config),
    )


def _list_members(value: Object, config: Object) -> frozenset[str]:
    names = [to_camel_case(name) for name in value if name not in ADDRESS_MEMBERS]
    names += [f"{CONFIG}.{to_camel_case(name)}" for name in config]
    members = frozenset(names)
    if len(members) < len(names):
        for field in sorted(_MEANINGFUL_MEMBERS & members):
            top, _, inner = field.rpartition(".")
            other, holder = to_snake_case(inner), config if top else value
            if other != inner and other in holder and inner in holder:
                # What is read here must not be another than what the provider reads.
                raise invalid_request(
                    f'The request has "{field}" twice, also as "{other}". Send one.', field
                )
    return members


def _count_contents(value: Object) -> ContentTotals:
    contents = value.get("contents")
    if isinstance(contents, dict):
        contents = [contents]
    if not isinstance(contents, list):
        message = f'"contents" is required and must be a list.{suggest_endpoint(value, NAME)}'
        raise invalid_request(message, "contents")
    totals = ContentTotals(get_member(value, "systemInstruction"))
    for at, content in enumerate(contents):
        if not isinstance(content, dict):
            raise invalid_request(f'"contents[{at}]" must be an object.', f"contents[{at}]")
        totals.add_content(content)
    totals.user_text.close()
    return totals


def _list_declarations(tools: list[Object]) -> list[Object]:
    """List the functions of all tools."""
    return [row for tool in tools for row in list_objects(get_member(tool, "functionDeclarations"))]


def _is_hosted(tool: Object) -> bool:
    """True if a tool runs at the provider."""
    return any(to_camel_case(name) != "functionDeclarations" for name in tool)


def read_calling_mode(value: Object) -> str:
    """Return the mode of function calling, in upper case; empty if none is set."""
    calling = get_object(get_object(value, "toolConfig"), "functionCallingConfig")
    return (as_text(calling.get("mode")) or "").upper()


def _read_name(declaration: Object) -> str:
    return as_text(declaration.get("name")) or ""


def write(body: RequestBody, target: Target) -> WrittenBody:
    """Write the body for one target: the client's bytes, with the fewest members changed."""
    patch = reasoning_state.remove_foreign_reasoning(body, target)
    body = patch.body
    for name in ADDRESS_MEMBERS:
        if patch.has(name):
            patch.remove(name)
    config = GenerationConfigPatch(patch)
    effort.write(config, target)
    _write_output_cap(config, body.prompt.max_output, target)
    _drop_sampling(config, body.prompt, target)
    refused = target.facts.refused_members | target.provider.refused_members
    for name in sorted(refused & body.prompt.members):
        _drop_member(patch, config, name, f"{target.name} refuses it")
    config.finish()
    method = f"{STREAM}?alt=sse" if body.prompt.stream else GENERATE
    return msgspec.structs.replace(patch.finish(), url_suffix=make_url_suffix(target.model, method))


def make_url_suffix(model: str, method: str) -> str:
    """Return what follows the provider's URL: the model and the method."""
    under = "" if model.startswith(("models/", "tunedModels/")) else "models/"
    return f"/{under}{quote(model, safe='/@')}:{method}"


def _write_output_cap(config: GenerationConfigPatch, wanted: int | None, target: Target) -> None:
    name, limit = "maxOutputTokens", target.output_limit
    if limit is not None and (
        target.lowered_output is not None if wanted is None else wanted > limit
    ):
        config.set_member(name, limit)
        config.record_loss(name, "", "clamped", target.explain_output_limit())
    elif target.max_output is not None and not config.has(name):
        config.set_member(name, target.max_output)


def _drop_sampling(config: GenerationConfigPatch, prompt: Prompt, target: Target) -> None:
    sampling = target.facts.sampling
    if sampling == "always":
        return
    if sampling == "never" or effort.find_effective(prompt.effort, target) != "none":
        for name in SAMPLING_MEMBERS:
            if config.has(name):
                config.set_member(name, None)
                config.record_loss(
                    name, "", "dropped", f"{target.model} does not accept sampling parameters"
                )


def _drop_member(patch: BodyPatch, config: GenerationConfigPatch, name: str, why: str) -> None:
    top, _, inner = name.partition(".")
    if not inner:
        patch.drop_member(find_spelling(patch.body.value, top), why)
    elif config.has(inner):
        config.set_member(inner, None)
        config.record_loss(inner, "", "dropped", why)


def asks_usage(body: RequestBody) -> bool:  # noqa: ARG001 - this dialect always sends it
    """True if the client wants usage in a stream: always, in this dialect."""
    return True


def get_system(value: Object) -> Json:
    """Return the system instruction, in whichever spelling it came."""
    return get_member(value, "systemInstruction")


def read_start(body: RequestBody) -> ConversationStart:
    """Read how a conversation begins; malformed members count as missing. It has no name here."""
    system = get_member(body.value, "systemInstruction")
    texts = [system] if isinstance(system, str) else list_texts(system)
    return ConversationStart(
        system=conversation_start.cut_system(texts),
        first_text=conversation_start.find_first_text(_list_user_texts(body.value)),
    )


def read_facts(body: RequestBody) -> RequestFacts:
    """Read what few rules ask; malformed members count as missing. A user has no name here."""
    value = body.value
    system = get_member(value, "systemInstruction")
    texts = [system] if isinstance(system, str) else list_texts(system)
    return RequestFacts(
        system=join_system(texts),
        metadata=read_labels(value.get("labels")),
        temperature=as_number(get_object(value, "generationConfig").get("temperature")),
    )


def _list_user_texts(value: dict[str, Json]) -> Iterator[str | list[str]]:
    for content in list_objects(value.get("contents")):
        if content.get("role") in ("user", None):
            yield list_texts(content)
