"""Stored requests asked again: the same body on another tier, and the text of its answer."""

from gateway.core import jsonio
from gateway.core.canonical_request import Text
from gateway.core.errors import ProblemError
from gateway.core.events import Declined, Start, TextDelta, ToolDelta, ToolStart
from gateway.core.jsonio import Json
from gateway.core.prompt import Prompt
from gateway.dialects import DIALECTS, Dialect, RequestBody
from gateway.dialects.translation import decode_request, get_translation

MODEL = "auto"
"""The model that a repeated request asks for. Its tier is in the call's options."""
_STREAM_MEMBERS = ("stream", "stream_options")
_GEMINI_PATH = f"models/{MODEL}:generateContent"


def find_obstacle(prompt: Prompt) -> str:
    """Return why a stored request cannot be asked again as it was; empty if it can."""
    if not prompt.user.strip():
        return "no words of a user"
    if prompt.tool_loop:
        return "in a tool loop"
    if prompt.images or prompt.files or prompt.audio:
        return "media, which no text keeps"
    if prompt.hosted_tools or prompt.is_unsized or prompt.continuation_member:
        return "rests on what a provider keeps or looks up"
    return ""


def build_repeat(dialect: Dialect, raw: bytes, max_output: int) -> bytes:
    """Return a stored request as one for a whole answer of at most `max_output` tokens.

    All else stays: system prompt, earlier turns, tools and settings.
    """
    value: dict[str, Json] = jsonio.loads(raw)
    for member in _STREAM_MEMBERS:
        value.pop(member, None)
    match dialect.name:
        case "gemini":
            settings = value.get("generationConfig") or {}
            cap = _lower(settings.get("maxOutputTokens"), max_output)
            value["generationConfig"] = {
                **settings,
                "maxOutputTokens": cap,
                "candidateCount": 1,
            }
        case "anthropic-messages":
            value |= {"model": MODEL, "max_tokens": _lower(value.get("max_tokens"), max_output)}
        case "openai-responses":
            cap = _lower(value.get("max_output_tokens"), max_output)
            value |= {"model": MODEL, "max_output_tokens": cap, "store": False}
        case _:
            cap = _lower(value.pop("max_tokens", None), max_output)
            cap = _lower(value.get("max_completion_tokens"), cap)
            value |= {"model": MODEL, "max_completion_tokens": cap, "n": 1}
            value.pop("store", None)
    return jsonio.dumps(value)


def find_path(dialect: Dialect) -> str:
    """Return the part of a repeated request that is in its URL."""
    return _GEMINI_PATH if dialect.read_with_path is not None else ""


def read_repeat(dialect: Dialect, raw: bytes) -> RequestBody:
    """Read a repeated request. Raises ProblemError."""
    if dialect.read_with_path is None:
        return dialect.read(raw)
    return dialect.read_with_path(raw, _GEMINI_PATH)


def read_answer_text(dialect_name: str, body: bytes) -> str:
    """Return the text of a whole answer, with the names and arguments of tools that it calls."""
    parts: list[str] = []
    for event in get_translation(DIALECTS[dialect_name]).decode_response(body):
        match event:
            case TextDelta(text=text) | Declined(text=text):
                parts.append(text)
            case ToolStart(name=name):
                parts.append(f"\n[calls the tool {name}] ")
            case ToolDelta(text=text):
                parts.append(text)
            case _:
                pass
    return "".join(parts).strip()


def describe_request(dialect: Dialect, body: RequestBody) -> str:
    """Return a request as a person or a judge reads it: the texts of its turns, each with its role.

    A request of one user turn is its text alone.
    """
    try:
        turns = decode_request(dialect, body).turns
    except ProblemError:
        return body.prompt.user
    texts = [
        (turn.role, "\n".join(part.text for part in turn.parts if isinstance(part, Text)))
        for turn in turns
    ]
    described = [f"{role}: {text}" for role, text in texts if text]
    return "\n\n".join(described) if len(described) > 1 else body.prompt.user


def _lower(own: Json, cap: int) -> int:
    return min(own, cap) if isinstance(own, int) and own > 0 else cap


def read_served_model(dialect_name: str, body: bytes) -> str | None:
    """Return the model that a whole answer names; None if it names none."""
    events = get_translation(DIALECTS[dialect_name]).decode_response(body)
    return next((event.model for event in events if isinstance(event, Start)), None)
