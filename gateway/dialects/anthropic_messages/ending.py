"""The end of a Messages answer: its `stop_reason`, and errors at any level."""

from gateway.core.errors import Problem
from gateway.core.jsonio import Json
from gateway.dialects.anthropic_messages import errors
from gateway.dialects.stream_commit import make_broken_problem, make_empty_problem

type Object = dict[str, Json]

_TEXTS = {"text": "text", "thinking": "thinking"}
"""Blocks that may be empty, and the member that then holds nothing."""


def finish(message: Json) -> str | None:
    """Read why a message ended, of it or of its last delta; None if the provider says nothing."""
    word = message.get("stop_reason") if isinstance(message, dict) else None
    return word if isinstance(word, str) and word else None


def problem(value: Object, data: bytes) -> Problem | None:
    """Find the error in a whole answer; of a tool of the provider's it is none of the answer's."""
    error = value.get("error")
    if error or value.get("type") == "error":
        return errors.found(error, data)
    return None


def wrong(value: Json, data: bytes) -> Problem | None:
    """Tell why a value is no whole answer: an error, or neither content nor a reason for its end.

    None if it is an answer.
    """
    if not isinstance(value, dict):
        return make_broken_problem("an answer that is not a JSON object")
    found, content = problem(value, data), value.get("content")
    if found is not None or not isinstance(content, list):
        return found or make_broken_problem("an answer without content")
    return None if finish(value) is not None or any(map(speaks, content)) else make_empty_problem()


def speaks(block: Json) -> bool:
    """True if a block holds content; all but text and thinking do once they have begun."""
    kind = block.get("type") if isinstance(block, dict) else None
    if not isinstance(kind, str):
        return False
    return kind not in _TEXTS or bool(block.get(_TEXTS[kind]))
