"""The end of a Chat Completions answer: a reason for each choice, and errors at any level."""

from gateway.core.errors import Problem
from gateway.core.jsonio import Json
from gateway.dialects.openai_chat import errors as problems
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


def problem(value: Object, every: list[Object], data: bytes) -> Problem | None:
    """Find the error in a whole answer or a chunk: at the top, or in one of its choices."""
    error = value.get("error")
    if error or value.get("object") == "error":
        return problems.found(error or value, data)
    for choice in every:
        if error := choice.get("error"):
            return problems.found(error, data)
        word = choice.get("finish_reason")
        if isinstance(word, str) and word.lower() in _FAILED:
            return make_broken_problem(f"an answer that broke off ({word})")
    return None


def judge(value: Json, data: bytes) -> tuple[Problem | None, list[str | None]]:
    """Tell what is wrong with a whole answer, None if nothing is; and why each choice ended.

    Wrong is an error, or an answer with neither content nor a reason for its end.
    """
    if not isinstance(value, dict):
        return make_broken_problem("an answer that is not a JSON object"), []
    every = choices(value)
    reasons = [finish(choice) for choice in every]
    found = problem(value, every, data)
    if found is None and not any(reasons) and not any(speaks(it.get("message")) for it in every):
        found = make_empty_problem() if every else make_broken_problem("an answer without choices")
    return found, reasons


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
