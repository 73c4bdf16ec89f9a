"""The end of a Chat Completions answer: a reason for each choice, and errors at any level."""

from gateway.core.errors import Problem
from gateway.core.jsonio import Json
from gateway.dialects.openai_chat import problems
from gateway.dialects.stream_commit import make_broken_problem, make_empty_problem

type Object = dict[str, Json]

_FAILED = frozenset({"error", "network_error", "insufficient_system_resource", "abort"})
"""Reasons that say that the provider broke off (OpenRouter, Z.ai, DeepSeek, vLLM)."""
CONTENT = (
    "content", "reasoning_content", "reasoning", "reasoning_text", "refusal", "tool_calls",
    "function_call", "audio", "images", "reasoning_details",
)  # fmt: skip
"""Members of a message that hold content."""


def finish(choice: Object) -> str | None:
    """Read why a choice ended; None if the provider gives no reason."""
    word = choice.get("finish_reason")
    return word if isinstance(word, str) and word else None


def problem(value: Object, data: bytes) -> Problem | None:
    """Find the error in a whole answer or a chunk: at the top, or in one of its choices."""
    error = value.get("error")
    if error or value.get("object") == "error":
        return problems.found(error or value, data)
    for choice in choices(value):
        if error := choice.get("error"):
            return problems.found(error, data)
        if (word := finish(choice)) is not None and word.lower() in _FAILED:
            return make_broken_problem(f"an answer that broke off ({word})")
    return None


def wrong(value: Json, data: bytes) -> Problem | None:
    """Tell why a value is no whole answer: an error, or neither content nor a reason for its end.

    None if it is an answer.
    """
    if not isinstance(value, dict):
        return make_broken_problem("an answer that is not a JSON object")
    found = problem(value, data)
    every = choices(value)
    if found is not None or any(finish(it) or speaks(it.get("message")) for it in every):
        return found
    return make_empty_problem() if every else make_broken_problem("an answer without choices")


def choices(value: Object) -> list[Object]:
    """List the choices that are objects."""
    found = value.get("choices")
    return [it for it in found if isinstance(it, dict)] if isinstance(found, list) else []


def speaks(message: Json) -> bool:
    """True if a message, or a piece of one, holds content."""
    if not isinstance(message, dict):
        return False
    return any(map(_full, map(message.get, CONTENT)))


def _full(value: Json) -> bool:
    """True if a member holds something: some hosts write an object whose members are empty."""
    return any(value.values()) if isinstance(value, dict) else bool(value)
