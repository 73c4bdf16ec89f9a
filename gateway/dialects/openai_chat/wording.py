"""A request of another dialect in the words of Chat Completions.

What a model or a host refuses is not looked at: the dialect's `write` fits the body to its target,
names of members, efforts and caps included.
"""

from gateway.core.canonical_request import CanonicalRequest, OutputFormat, Tool, ToolChoice
from gateway.core.jsonio import Json
from gateway.core.loss import Loss
from gateway.core.target import Target
from gateway.dialects import reasoning_state, tool_ids
from gateway.dialects.base import EncodedRequest
from gateway.dialects.openai_chat.request_encoder import Messages

type Object = dict[str, Json]

_SETTINGS = {
    "max_output": "max_completion_tokens",
    "temperature": "temperature",
    "top_p": "top_p",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "seed": "seed",
    "logit_bias": "logit_bias",
    "top_logprobs": "top_logprobs",
    "verbosity": "verbosity",
    "effort": "reasoning_effort",
    "service_tier": "service_tier",
    "user": "user",
    "metadata": "metadata",
    "cache_key": "prompt_cache_key",
    "parallel_tools": "parallel_tool_calls",
}
"""Fields that are members, value for value."""
_NAMES = {
    **{member: field for field, member in _SETTINGS.items()},
    "messages": "turns",
    "tools": "tools",
    "tool_choice": "tool_choice",
    "response_format": "form",
    "stop": "stop",
    "n": "choices",
    "logprobs": "logprobs",
    "stream": "stream",
}
"""The field that a member says."""
_OWN = {"turns": "messages", "form": "response_format", "choices": "n"}
"""What clients call fields where they have not set them by a name of their own."""

_TEXT = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}
"""What a custom tool's one text is given in."""
_K = 1024
_BUDGETS = ((0, "none"), (2 * _K - 1, "low"), (8 * _K - 1, "medium"), (24 * _K - 1, "high"))
"""Up to so many tokens to think with are such an effort."""
_MOST = "xhigh"


def encode(request: CanonicalRequest, target: Target) -> EncodedRequest:
    """The body that says a request."""
    messages = Messages(reasoning_state.hash_maker(target, "openai-chat"))
    value: Object = {"messages": messages.write(request.turns)}
    tools = [_tool(tool) for tool in request.tools if tool.kind != "hosted"]
    if tools:
        value["tools"] = tools
    if request.tool_choice is not None:
        value["tool_choice"] = _choice(request.tool_choice)
    if request.form is not None:
        value["response_format"] = _form(request.form)
    for field, member in _SETTINGS.items():
        said = getattr(request, field)
        if said is not None:
            value[member] = said
    if request.user:
        value["user"] = tool_ids.make_plain_id(request.user, "user_")
    if request.stop:
        value["stop"] = list(request.stop)
    if request.choices > 1:
        value["n"] = request.choices
    if request.logprobs:
        value["logprobs"] = True
    if request.stream:
        value["stream"] = True
    spoken = {member: _NAMES[member] for member in value}
    if request.effort is None and request.budget is not None:
        value["reasoning_effort"] = effort(request.budget)
        spoken["reasoning_effort"] = "budget"
    names = {it: request.names.get(field, _OWN.get(field, field)) for it, field in spoken.items()}
    word = names["messages"]
    lost = [Loss(f"{word}.{name}", "dropped", why) for name, why in messages.lost.items()]
    return EncodedRequest(value=value, client_names=names, losses=tuple(lost))


def effort(budget: int) -> str:
    """The effort that a budget of tokens to think with comes to."""
    return next((word for most, word in _BUDGETS if budget <= most), _MOST)


def _tool(tool: Tool) -> Object:
    """A function; one with a text takes the place of a custom tool, which few hosts have."""
    inside: Object = {"name": tool_ids.make_plain_id(tool.name, "tool_")}
    if tool.description is not None:
        inside["description"] = tool.description
    parameters = _TEXT if tool.kind == "custom" else tool.parameters
    if parameters is not None:
        inside["parameters"] = parameters
    if tool.strict is not None:
        inside["strict"] = tool.strict
    return {"type": "function", "function": inside}


def _choice(choice: ToolChoice) -> Json:
    if choice.mode == "tool":
        return _named(choice.name or "")
    if choice.allowed and choice.mode != "none":
        allowed = {"mode": choice.mode, "tools": [_named(name) for name in choice.allowed]}
        return {"type": "allowed_tools", "allowed_tools": allowed}
    return choice.mode


def _named(name: str) -> Object:
    return {"type": "function", "function": {"name": tool_ids.make_plain_id(name, "tool_")}}


def _form(form: OutputFormat) -> Object:
    if form.schema is None:
        return {"type": "json_object"}
    inside: Object = {"name": form.name or "answer", "schema": form.schema}
    if form.description is not None:
        inside["description"] = form.description
    if form.strict is not None:
        inside["strict"] = form.strict
    return {"type": "json_schema", "json_schema": inside}
