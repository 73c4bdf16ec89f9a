"""A request in no dialect as a Gemini request."""

from gateway.core.canonical_request import CanonicalRequest, Tool, ToolChoice
from gateway.core.jsonio import Json
from gateway.core.loss import Loss
from gateway.core.target import Target
from gateway.dialects.base import EncodedRequest
from gateway.dialects.gemini import contents, effort, schema
from gateway.dialects.gemini.config import CONFIG
from gateway.dialects.gemini.content import Object

_SETTINGS = {
    "max_output": "maxOutputTokens", "temperature": "temperature", "top_p": "topP",
    "top_k": "topK", "presence_penalty": "presencePenalty",
    "frequency_penalty": "frequencyPenalty", "seed": "seed",
}  # fmt: skip
"""Members of generationConfig that say a field of CanonicalRequest as it is."""
_THINKING = ("effort", "budget", "thoughts_shown")
"""Fields of CanonicalRequest that thinkingConfig says; the first that is set gives it its name."""
_TIERS = {"default": "standard", "flex": "flex", "priority": "priority"}
_MODES = {"auto": "AUTO", "none": "NONE", "required": "ANY", "tool": "ANY"}
_FREE = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}
"""What takes the place of a custom tool: one text."""


def encode(request: CanonicalRequest, target: Target) -> EncodedRequest:
    """The body that asks the same of a target. It names the stream: the path follows from it."""
    said, losses = contents.write(request, target)
    names = {"contents": _name(request, "turns", "messages")}
    value: Object = {**said}
    names["systemInstruction"] = names["contents"]
    if request.stream:
        value["stream"] = True
    lost: set[str] = set()
    if request.tools:
        value["tools"] = [{"functionDeclarations": [_tool(it, lost) for it in request.tools]}]
        names["tools"] = _name(request, "tools")
    choice = request.tool_choice
    if choice is not None:
        value["toolConfig"] = {"functionCallingConfig": _choice(choice)}
        names["toolConfig"] = _name(request, "tool_choice")
    found = [_loss(names["tools"], word) for word in sorted(lost)]
    lost = set()
    config = _config(request, target, lost, names)
    form = _name(request, "form", "response_format")
    found += [_loss(form, word) for word in sorted(lost)]
    told = config.get(effort.MEMBER, {}).get(effort.BUDGET)
    if request.budget is not None and told != request.budget:
        why = "gemini thinks by a level here, which takes its place"
        found.append(Loss(_name(request, "budget"), "approximated", why))
    if request.effort == "max" and effort.LEVEL in config.get(effort.MEMBER, ()):
        why = "gemini has no level above xhigh"
        found.append(Loss(_name(request, "effort"), "clamped", why))
    if config:
        value[CONFIG] = config
    if request.service_tier in _TIERS:
        value["serviceTier"] = _TIERS[request.service_tier]
        names["serviceTier"] = _name(request, "service_tier")
    elif request.service_tier is not None:
        why = "gemini has no such service tier"
        found.append(Loss(_name(request, "service_tier"), "dropped", why))
    return EncodedRequest(value=value, client_names=names, losses=(*losses, *found))


def _name(request: CanonicalRequest, field: str, word: str = "") -> str:
    return request.names.get(field, word or field)


def _loss(field: str, word: str) -> Loss:
    return Loss(field, "approximated", f'gemini schemas have no "{word}"')


def _config(
    request: CanonicalRequest, target: Target, lost: set[str], names: dict[str, str]
) -> Object:
    config: Object = {}

    def put(name: str, value: Json, field: str, word: str = "") -> None:
        config[name] = value
        names[f"{CONFIG}.{name}"] = _name(request, field, word)

    for field, name in _SETTINGS.items():
        value = getattr(request, field)
        if value is not None:
            put(name, value, field)
    if request.stop:
        put("stopSequences", list(request.stop), "stop")
    if request.choices > 1:
        put("candidateCount", request.choices, "choices", "n")
    if request.logprobs:
        put("responseLogprobs", request.logprobs, "logprobs")
        if request.top_logprobs:
            put("logprobs", request.top_logprobs, "top_logprobs")
    if request.form is not None:
        put("responseMimeType", "application/json", "form", "response_format")
        if request.form.schema is not None:
            fitted = schema.fit(request.form.schema, lost)
            put("responseJsonSchema", fitted, "form", "response_format")
    thinking = _thinking(request, target)
    if thinking:
        set_one = (it for it in _THINKING if getattr(request, it) is not None)
        put(effort.MEMBER, thinking, next(set_one))
    return config


def _thinking(request: CanonicalRequest, target: Target) -> Object:
    """By a budget where the model takes nothing else, or where the client named one alone."""
    kind = effort.style(target.facts)
    level = kind is None or kind.level
    said: Object = {}
    if request.budget is not None and (request.effort is None or not level):
        said[effort.BUDGET] = request.budget
    elif request.effort is not None:
        said = effort.say(request.effort, level=level)
    if request.thoughts_shown is not None:
        said["includeThoughts"] = request.thoughts_shown
    return said


def _tool(tool: Tool, lost: set[str]) -> Object:
    said: Object = {"name": tool.name}
    if tool.description is not None:
        said["description"] = tool.description
    parameters = _FREE if tool.kind == "custom" else tool.parameters
    if parameters is not None:
        said["parametersJsonSchema"] = schema.fit(parameters, lost)
    return said


def _choice(choice: ToolChoice) -> Object:
    """AUTO takes no list of functions: what is auto among some is VALIDATED."""
    allowed = [choice.name] if choice.name is not None else list(choice.allowed)
    mode = _MODES[choice.mode]
    if not allowed:
        return {"mode": mode}
    return {"mode": "VALIDATED" if mode == "AUTO" else mode, "allowedFunctionNames": allowed}
