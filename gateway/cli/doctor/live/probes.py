"""The probes: fixed questions that show, one by one, what a provider does with a kind of call."""

from typing import Literal

import msgspec

from gateway.core import jsonio
from gateway.core.events import FinishReason
from gateway.core.jsonio import Json
from gateway.core.target import EFFORTS, MIN_OUTPUT_CAP, Target
from gateway.dialects import OPENAI_CHAT, OPERATIONS, Dialect, RequestBody, embeddings
from gateway.dialects.translation import get_translation

type ProbeName = Literal["whole", "stream", "tools", "result", "cut", "effort", "leave", "embed"]

EMBEDDINGS = embeddings.OPERATION
TOOL_NAME, TOOL_ARGUMENT = "get_weather", "city"
_MAX_OUTPUT = 64
_MAX_OUTPUT_WITH_REASONING = 512
"""Tokens for a model that reasons even at its lowest effort: its reasoning counts too."""
_MAX_OUTPUT_AT_EFFORT = 1024
_GEMINI = "gemini"
_TOOL: Json = {
    "type": "function",
    "function": {
        "name": TOOL_NAME,
        "description": "Get the weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {TOOL_ARGUMENT: {"type": "string", "description": "Name of the city."}},
            "required": [TOOL_ARGUMENT],
        },
    },
}
_CALL: Json = {
    "id": "call_1",
    "type": "function",
    "function": {"name": TOOL_NAME, "arguments": '{"city":"Paris"}'},
}
_OK: Json = [{"role": "user", "content": "Say OK."}]
_WEATHER: Json = [{"role": "user", "content": f"What is the weather in Paris? Call {TOOL_NAME}."}]
_RESULT: Json = [
    *_WEATHER,
    {"role": "assistant", "content": None, "tool_calls": [_CALL]},
    {"role": "tool", "tool_call_id": "call_1", "content": "Sunny, 20 degrees."},
]
_COUNT: Json = [{"role": "user", "content": "Count from 1 to 500 in digits."}]


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """One question to a provider, as a client of Chat Completions asks it."""

    name: ProbeName
    messages: Json
    operation: str = "generate"
    finish: FinishReason = "stop"
    """The reason for which the answer should end."""
    is_stream: bool = False
    has_tool: bool = False
    is_capped: bool = False
    """True if the answer may have as few tokens as every dialect accepts."""
    is_left: bool = False
    """True if the gateway closes the stream after its first content, as a client that leaves."""

    keeps_effort: bool = False
    """True if the target keeps the effort that its tier gives it."""

    def find_max_output(self, target: Target) -> int:
        """Return the most tokens of the answer."""
        if self.is_capped:
            return MIN_OUTPUT_CAP
        if self.keeps_effort:
            return _MAX_OUTPUT_AT_EFFORT
        reasons = target.effort not in (None, "none") and not self.is_left
        return _MAX_OUTPUT_WITH_REASONING if reasons else _MAX_OUTPUT


PROBES = (
    Probe(name="whole", messages=_OK),
    Probe(name="embed", messages=_OK, operation=EMBEDDINGS),
    Probe(name="stream", messages=_OK, is_stream=True),
    Probe(name="tools", messages=_WEATHER, finish="tools", is_stream=True, has_tool=True),
    Probe(name="result", messages=_RESULT, has_tool=True),
    Probe(name="cut", messages=_COUNT, finish="length", is_capped=True),
    Probe(name="effort", messages=_OK, keeps_effort=True),
    Probe(name="leave", messages=_COUNT, is_stream=True, is_left=True),
)
"""The probes in the order in which they are sent: the first tells if a target answers at all."""


def strip_target(target: Target) -> Target:
    """Return a target at the effort of its tier, without all other settings of it.

    They may ask for more than a budget bounds, such as a search.
    """
    return msgspec.structs.replace(target, max_output=None, params={})


def lower_effort(target: Target) -> Target:
    """Return a target at the lowest effort that its model accepts."""
    efforts = target.facts.efforts
    effort = min(efforts, key=EFFORTS.index) if efforts else None
    return msgspec.structs.replace(target, effort=effort)


def build_request(probe: Probe, dialect: Dialect, target: Target) -> RequestBody:
    """Return the request that a client of a dialect would send."""
    chat_dialect = OPERATIONS[OPENAI_CHAT.name, probe.operation]
    value = _build_chat_value(probe, target)
    if dialect is not chat_dialect:
        body = chat_dialect.read(jsonio.dumps(value))
        request = get_translation(chat_dialect).decode_request(body)
        encoded = get_translation(dialect).encode_request(request, target)
        value = {**encoded.value, "model": target.model}
    if probe.operation == EMBEDDINGS:
        return dialect.read(jsonio.dumps(value))
    if dialect.name == _GEMINI:
        del value["model"]
    elif probe.is_stream:
        value["stream"] = True
    raw = jsonio.dumps(value)
    if dialect.read_with_path is None:
        return dialect.read(raw)
    return dialect.read_with_path(raw, f"models/{target.model}:{name_gemini_method(probe)}")


def _build_chat_value(probe: Probe, target: Target) -> dict[str, Json]:
    """Return the request as a client of OpenAI's older API writes it."""
    if probe.operation == EMBEDDINGS:
        return {"model": target.model, "input": [probe.messages[0]["content"]]}
    value: dict[str, Json] = {
        "model": target.model,
        "max_tokens": probe.find_max_output(target),
        "messages": probe.messages,
    }
    if probe.has_tool:
        value["tools"] = [_TOOL]
    return value


def name_gemini_method(probe: Probe) -> str:
    """Return the method in the path of Gemini's API."""
    if probe.operation == EMBEDDINGS:
        return "embedContent"
    return "streamGenerateContent" if probe.is_stream else "generateContent"
