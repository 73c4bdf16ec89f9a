"""Reasoning effort in `additionalModelRequestFields.reasoningConfig`, as Amazon Nova 2 takes it.

Converse has no member for effort that all models share. Source: "Extended thinking" of AWS's user
guide of Amazon Nova 2: `{"type": "enabled", "maxReasoningEffort": "low" | "medium" | "high"}`, off
by default; at high the model takes no maxTokens, temperature or topP.
"""

from typing import Literal

import msgspec

from gateway.core.jsonio import Json
from gateway.core.target import EFFORTS, UNKNOWN_FACTS, Target, find_nearest_effort
from gateway.dialects.openai_chat.effort import from_budget

NAME = "bedrock-converse"
MEMBER = "reasoningConfig"
STYLES = frozenset({"nova"})
"""The styles of effort on this dialect; there is one."""
_WORDS = ("none", "low", "medium", "high")
FREE_EFFORT = "high"
"""The effort at which the model decides itself how much it writes."""
_CAPPED_EFFORT = "medium"


class SentEffort(msgspec.Struct, frozen=True):
    """The effort that a target gets, and what differs from the client's wish."""

    word: str | None = None
    """None if the target gets no effort."""
    action: Literal["", "dropped", "clamped"] = ""
    reason: str = ""


def fit(wanted: str | None, target: Target, *, is_capped: bool) -> SentEffort:
    """Return the effort for a target: the client's as far as the model takes it, else the target's.

    `is_capped`: the request bounds the output, which the model does not take at every effort. The
    bound stands, since budgets reserve for it.
    """
    takes_effort = target.facts.find_effort_style(NAME) in STYLES
    if wanted is None:
        word = target.effort if takes_effort else None
        return SentEffort(_CAPPED_EFFORT if is_capped and word == FREE_EFFORT else word)
    if not takes_effort:
        if wanted == "none" and target.facts != UNKNOWN_FACTS:
            return SentEffort()  # it does not think
        return SentEffort(None, "dropped", f"{target.model} has no effort setting that is known")
    accepted = tuple(word for word in target.facts.efforts if word in _WORDS) or _WORDS
    word = wanted if wanted in accepted else find_nearest_effort(wanted, accepted)
    reason = f"{target.model} does not accept {wanted}; sent {word}"
    if is_capped and word == FREE_EFFORT:
        word = _CAPPED_EFFORT
        reason = f"{target.model} takes no cap on its output at effort high; sent {word}"
    return SentEffort(word) if word == wanted else SentEffort(word, "clamped", reason)


def find_wanted(effort: str | None, budget: int | None) -> str | None:
    """Return the effort that a client asks for, in words or in tokens; None if it does not."""
    if effort is None and budget is not None:
        return from_budget(budget)
    return effort if effort in EFFORTS else None


def write(effort: str) -> dict[str, Json]:
    """Return the value of the member for an effort."""
    if effort == "none":
        return {"type": "disabled"}
    return {"type": "enabled", "maxReasoningEffort": effort}
