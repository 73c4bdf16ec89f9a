"""A Gemini request as a request in no dialect."""

from gateway.core.canonical_request import CanonicalRequest, OutputFormat, Tool, ToolChoice
from gateway.core.jsonio import Json
from gateway.dialects.base import RequestBody
from gateway.dialects.gemini import content as wire
from gateway.dialects.gemini import effort, request, schema, turns
from gateway.dialects.gemini.config import CONFIG
from gateway.dialects.gemini.content import Object

_HELD = frozenset(
    {
        "contents", "systemInstruction", "tools", "toolConfig", CONFIG, "labels", "serviceTier",
        *request.ADDRESS,
    }
)  # fmt: skip
"""Top-level members that fields of CanonicalRequest hold."""
_SETTINGS = {
    "max_output": "maxOutputTokens", "stop": "stopSequences", "temperature": "temperature",
    "top_p": "topP", "top_k": "topK", "presence_penalty": "presencePenalty",
    "frequency_penalty": "frequencyPenalty", "seed": "seed", "choices": "candidateCount",
    "logprobs": "responseLogprobs", "top_logprobs": "logprobs",
}  # fmt: skip
"""Members of generationConfig by the field of CanonicalRequest that holds each."""
_THINKING = {"effort": effort.LEVEL, "budget": effort.BUDGET, "thoughts_shown": "includeThoughts"}
_JSON = "application/json"
_FORMS = ("responseJsonSchema", "responseSchema")
_TIERS = {"standard": "default", "unspecified": None, "service_tier_unspecified": None}
"""Service tiers as CanonicalRequest has them."""
_TEXT_ONLY = ["TEXT"]


def decode(body: RequestBody) -> CanonicalRequest:
    """Read what a client asks, leniently; nothing that is set is left out unseen."""
    value = body.value
    config = wire.group(value, CONFIG)
    names = _names(value, config)
    tools, choice = wire.rows(value.get("tools")), _choice(value)
    thinking = wire.group(config, effort.MEMBER)
    budget, form = wire.whole(wire.get(thinking, effort.BUDGET)), _form(config)
    shown = wire.get(thinking, "includeThoughts")
    top = wire.get(config, "logprobs")
    return CanonicalRequest(
        turns=turns.read(value),
        tools=tuple(tool for row in tools for tool in _tools(row)),
        tool_choice=choice,
        form=form,
        max_output=body.prompt.max_output,
        stop=_stop(wire.get(config, "stopSequences")),
        temperature=wire.number(wire.get(config, "temperature")),
        top_p=wire.number(wire.get(config, "topP")),
        top_k=wire.whole(wire.get(config, "topK")),
        presence_penalty=wire.number(wire.get(config, "presencePenalty")),
        frequency_penalty=wire.number(wire.get(config, "frequencyPenalty")),
        seed=wire.whole(wire.get(config, "seed")),
        choices=body.prompt.choices,
        logprobs=body.prompt.logprobs,
        top_logprobs=wire.whole(top),
        effort=body.prompt.effort,
        budget=budget if budget is not None and budget > 0 else None,
        thoughts_shown=shown if isinstance(shown, bool) else None,
        service_tier=_tier(wire.get(value, "serviceTier")),
        metadata=value.get("labels"),
        stream=body.prompt.stream,
        stream_usage=True,
        names=names,
        extra_members=_others(value, config, form),
    )


def _tier(said: Json) -> str | None:
    """A service tier as CanonicalRequest has it."""
    word = (wire.text(said) or "unspecified").lower()
    return _TIERS.get(word, word)


def _names(value: Object, config: Object) -> dict[str, str]:
    """The client's words for what it set, as paths from the top of its body."""
    top = wire.spelled(value, CONFIG)
    names = {"turns": "contents", "tools": "tools"}
    calling = "functionCallingConfig"
    group = wire.spelled(value, "toolConfig")
    names["tool_choice"] = f"{group}.{wire.spelled(wire.group(value, 'toolConfig'), calling)}"
    for field, name in _SETTINGS.items():
        names[field] = f"{top}.{wire.spelled(config, name)}"
    under = wire.spelled(config, effort.MEMBER)
    thinking = wire.group(config, effort.MEMBER)
    for field, name in _THINKING.items():
        names[field] = f"{top}.{under}.{wire.spelled(thinking, name)}"
    if wire.get(thinking, effort.LEVEL) is None:  # a budget is what the effort was read from
        names["effort"] = names["budget"]
    form = next((name for name in _FORMS if wire.get(config, name) is not None), "responseMimeType")
    names["form"] = f"{top}.{wire.spelled(config, form)}"
    names["service_tier"] = wire.spelled(value, "serviceTier")
    names["metadata"] = "labels"
    return names


def _tools(tool: Object) -> list[Tool]:
    """The functions of one entry of `tools`, and each hosted tool in it."""
    found = []
    for name, value in tool.items():
        kind = wire.camel(name)
        if kind == "functionDeclarations":
            found += [_function(row) for row in wire.rows(value)]
        else:
            found.append(Tool(name=kind, kind="hosted", source={name: value}))
    return found


def _function(row: Object) -> Tool:
    parameters = wire.get(row, "parametersJsonSchema")
    if parameters is None:
        parameters = schema.plain(row.get("parameters"))
    return Tool(
        name=wire.text(row.get("name")) or "",
        description=wire.text(row.get("description")),
        parameters=parameters,
        source=row,
    )


def _calling(value: Object) -> Object:
    """The settings of function calls."""
    return wire.group(wire.group(value, "toolConfig"), "functionCallingConfig")


def _choice(value: Object) -> ToolChoice | None:
    calling = _calling(value)
    named = wire.get(calling, "allowedFunctionNames")
    listed = named if isinstance(named, list) else []
    allowed = tuple(name for name in listed if isinstance(name, str))
    mode = request.mode(value)
    if mode == "ANY" and len(allowed) == 1:
        return ToolChoice(mode="tool", name=allowed[0])
    if mode == "ANY":
        return ToolChoice(mode="required", allowed=allowed)
    if mode == "NONE":
        return ToolChoice(mode="none")
    if mode in ("AUTO", "VALIDATED") or allowed:
        return ToolChoice(mode="auto", allowed=allowed)
    return None


def _form(config: Object) -> OutputFormat | None:
    kind = wire.get(config, "responseMimeType")
    given = wire.get(config, "responseJsonSchema")
    if given is None:
        given = schema.plain(wire.get(config, "responseSchema"))
    if kind == _JSON or (kind is None and given is not None):
        return OutputFormat(schema=given)
    return None


def _stop(value: Json) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    return tuple(word for word in value if isinstance(word, str)) if isinstance(value, list) else ()


def _others(value: Object, config: Object, form: OutputFormat | None) -> dict[str, Json]:
    """What no field holds, by paths in the client's own spelling."""
    found: dict[str, Json] = {
        name: item
        for name, item in value.items()
        if wire.camel(name) not in _HELD and item is not None
    }
    top = wire.spelled(value, CONFIG)
    held = {*_SETTINGS.values(), effort.MEMBER}
    held |= {"responseMimeType", *_FORMS} if form is not None else set()
    for name, item in config.items():
        kind = wire.camel(name)
        plain = (kind == "responseModalities" and item == _TEXT_ONLY) or (
            kind == "responseMimeType" and item == "text/plain"
        )
        if kind not in held and not plain and item is not None:
            found[f"{top}.{name}"] = item
    group = wire.spelled(value, "toolConfig")
    for name, item in wire.group(value, "toolConfig").items():
        if wire.camel(name) != "functionCallingConfig":
            found[f"{group}.{name}"] = item
    calling = f"{group}.functionCallingConfig"
    if request.mode(value) == "VALIDATED":
        found[f"{calling}.mode"] = "VALIDATED"
    pieces = wire.get(_calling(value), "streamFunctionCallArguments")
    if pieces is not None:
        found[f"{calling}.{wire.spelled(_calling(value), 'streamFunctionCallArguments')}"] = pieces
    return found
