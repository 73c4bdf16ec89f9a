"""Gemini requests: read once for routing, written by replacing members of the body only.

The model and the method stand in the path: `models/gemini-4-argon:streamGenerateContent`. Here they
come as its variable part; a body that has no path (one that was translated) names its model and
whether it streams in members of its own, which are taken out again.
"""

import functools
import re
from urllib.parse import quote

import msgspec

from gateway.core.errors import Problem, ProblemError, invalid_request
from gateway.core.jsonio import Json, Members
from gateway.core.prompt import Prompt
from gateway.core.target import Target
from gateway.core.usage import parse_service_tier
from gateway.dialects.base import RequestBody, WrittenBody
from gateway.dialects.body_patch import BodyPatch
from gateway.dialects.gemini import content as wire
from gateway.dialects.gemini import effort
from gateway.dialects.gemini import reasoning_state as seal
from gateway.dialects.gemini.config import CONFIG, Config
from gateway.dialects.gemini.content import Object
from gateway.dialects.gemini.said import Said
from gateway.dialects.parse import is_zero, parse, suggest_endpoint

NAME = effort.NAME

GENERATE, STREAM = "generateContent", "streamGenerateContent"

FORWARDED = frozenset(
    {
        b"x-goog-api-client", b"x-server-timeout", b"x-vertex-ai-llm-request-type",
        b"x-vertex-ai-llm-shared-request-type",
    }
)  # fmt: skip
"""Client headers that mean something to Google: not those of the client's own project, and not
`x-goog-request-params`, which names the model that was asked for."""

FEATURES = frozenset(
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

SAMPLING = ("temperature", "topP", "topK", "presencePenalty", "frequencyPenalty")
"""Tuning knobs that a thinking model may refuse: dropped and named, they change no meaning."""

ADDRESS = ("model", "stream")
"""Members that a body without a path has in its place."""

_READ = FEATURES | {
    CONFIG, "safetySettings",
    *(f"{CONFIG}.{name}" for name in ("maxOutputTokens", "thinkingConfig", *SAMPLING)),
}  # fmt: skip
"""Members that mean something here."""

_MODEL = re.compile(r"(?:.*?/)??models/(.*)")


def read(raw: bytes, path: str = "") -> RequestBody:
    """Read a request body. Raises ProblemError: invalid_json, or invalid_request with the field."""
    model, method = address(path)
    if method not in (GENERATE, STREAM, ""):
        raise ProblemError(unknown(method))
    facts = functools.partial(prompt, model=model, stream=method == STREAM if path else None)
    return parse(raw, facts)


def address(path: str) -> tuple[str, str]:
    """The model and the method of a path's variable part, without what a model stands under."""
    name, _, method = path.rpartition(":")
    return bare(name), method


def bare(name: str) -> str:
    """A model's name without "models/", or "publishers/google/models/"."""
    found = _MODEL.fullmatch(name)
    return found.group(1) if found else name


def unknown(method: str) -> Problem:
    """A method that is not served here."""
    message = f'There is no method "{method}" of a model here; ask {GENERATE} or {STREAM}.'
    return Problem(kind="not_found", message=message)


def prompt(value: Object, members: Members, *, model: str, stream: bool | None) -> Prompt:
    """The facts of a request. `stream` is None where the body itself says model and stream."""
    if stream is None:
        model, stream = bare(wire.text(value.get("model")) or ""), value.get("stream") is True
    if not model:
        raise invalid_request(
            "A model must be named in the path: models/<name>:generateContent.", "model"
        )
    config = wire.get(value, CONFIG)
    if config is not None and not isinstance(config, dict):
        raise invalid_request(f'"{CONFIG}" must be an object.', CONFIG)
    config, said = config or {}, _said(value)
    tools = wire.rows(value.get("tools"))
    temperature = config.get("temperature")
    return Prompt(
        model=model,
        stream=stream,
        user=said.typed.text,
        user_turns=said.typed.turn_count,
        chars=said.chars + (len(bytes(memoryview(members["tools"]))) if tools else 0),
        tool_loop=said.tool_loop,
        injected_text=said.typed.injected_text,
        tools=tuple(map(_name, declarations(tools))),
        forced_tool=mode(value) == "ANY",
        images=said.images,
        files=said.files,
        audio=said.audio,
        json_schema=any(wire.get(config, it) for it in ("responseSchema", "responseJsonSchema")),
        effort=effort.read(config),
        max_output=wire.whole(wire.get(config, "maxOutputTokens")),
        choices=wire.whole(wire.get(config, "candidateCount")) or 1,
        service=parse_service_tier(wire.get(value, "serviceTier")),
        hosted_tools=any(map(hosted, tools)),
        stored=value.get("store") is True or wire.get(value, "cachedContent") is not None,
        sampled=isinstance(temperature, int | float) and temperature > 0,
        zero_temperature=is_zero(temperature),
        logprobs=wire.get(config, "responseLogprobs") is True,
        members=_members(value, config),
    )


def _members(value: Object, config: Object) -> frozenset[str]:
    names = [wire.camel(name) for name in value if name not in ADDRESS]
    names += [f"{CONFIG}.{wire.camel(name)}" for name in config]
    members = frozenset(names)
    if len(members) < len(names):
        for field in sorted(_READ & members):
            top, _, inner = field.rpartition(".")
            other, holder = wire.snake(inner), config if top else value
            if other != inner and other in holder and inner in holder:
                # What is read here must not be another than what the provider reads.
                raise invalid_request(f'"{field}" came twice, also as "{other}": send one.', field)
    return members


def _said(value: Object) -> Said:
    contents = value.get("contents")
    if isinstance(contents, dict):
        contents = [contents]
    if not isinstance(contents, list):
        message = f'"contents" is required and must be a list.{suggest_endpoint(value, NAME)}'
        raise invalid_request(message, "contents")
    said = Said(wire.get(value, "systemInstruction"))
    for at, content in enumerate(contents):
        if not isinstance(content, dict):
            raise invalid_request(f'"contents[{at}]" must be an object.', f"contents[{at}]")
        said.content(content)
    said.typed.close()
    return said


def declarations(tools: list[Object]) -> list[Object]:
    """The functions of all tools."""
    return [row for tool in tools for row in wire.rows(wire.get(tool, "functionDeclarations"))]


def hosted(tool: Object) -> bool:
    """Whether a tool runs at the provider."""
    return any(wire.camel(name) != "functionDeclarations" for name in tool)


def mode(value: Object) -> str:
    """The mode of function calling, in upper case; empty where none is set."""
    calling = wire.group(wire.group(value, "toolConfig"), "functionCallingConfig")
    return (wire.text(calling.get("mode")) or "").upper()


def _name(declaration: Object) -> str:
    return wire.text(declaration.get("name")) or ""


def write(body: RequestBody, target: Target) -> WrittenBody:
    """The body for one target: the client's bytes, with only those members changed that must be."""
    edit = seal.edit(body, target)
    body = edit.body
    for name in ADDRESS:
        if edit.has(name):
            edit.remove(name)
    config = Config(edit)
    effort.write(config, target)
    _write_cap(config, body.prompt.max_output, target)
    _drop_sampling(config, body.prompt, target)
    refused = target.facts.refused_members | target.provider.refused_members
    for name in sorted(refused & body.prompt.members):
        _drop(edit, config, name, f"{target.name} refuses it")
    config.done()
    method = f"{STREAM}?alt=sse" if body.prompt.stream else GENERATE
    return msgspec.structs.replace(edit.finish(), url_suffix=tail(target.model, method))


def tail(model: str, method: str) -> str:
    """What is added to a provider's door."""
    under = "" if model.startswith(("models/", "tunedModels/")) else "models/"
    return f"/{under}{quote(model, safe='/@')}:{method}"


def _write_cap(config: Config, asked: int | None, target: Target) -> None:
    name, most = "maxOutputTokens", target.facts.max_output
    if not config.has(name):
        if target.max_output is not None:
            config.put(name, target.max_output)
    elif asked is not None and most is not None and asked > most:
        config.put(name, most)
        config.lose(name, "", "clamped", f"{target.model} gives at most {most}")


def _drop_sampling(config: Config, prompt: Prompt, target: Target) -> None:
    sampling = target.facts.sampling
    if sampling == "always":
        return
    if sampling == "never" or effort.effective(prompt.effort, target) != "none":
        for name in SAMPLING:
            if config.has(name):
                config.put(name, None)
                config.lose(name, "", "dropped", f"{target.model} takes no sampling parameters")


def _drop(edit: BodyPatch, config: Config, name: str, why: str) -> None:
    top, _, inner = name.partition(".")
    if not inner:
        edit.drop_member(wire.spelled(edit.body.value, top), why)
    elif config.has(inner):
        config.put(inner, None)
        config.lose(inner, "", "dropped", why)


def asks_usage(body: RequestBody) -> bool:  # noqa: ARG001 - this dialect always tells it
    """Whether the client wants usage told in a stream."""
    return True


def system(value: Object) -> Json:
    """The system instruction, however it is spelled."""
    return wire.get(value, "systemInstruction")
