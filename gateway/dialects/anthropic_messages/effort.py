"""Reasoning effort on anthropic-messages: `thinking` and `output_config.effort`.

The catalogue names one style for each model: the types of `thinking` it takes, and whether it
takes an effort. What the client set wins. The gateway replaces only what the model would refuse,
and names the loss. Sources: the thinking and effort types of Anthropic's API reference. Budgets are
the ones of client libraries for the same words.
"""

from collections.abc import Mapping

import msgspec

from gateway.core.jsonio import Json
from gateway.core.target import EFFORTS, UNKNOWN_FACTS, Target, find_nearest_effort
from gateway.dialects.base import RequestBody
from gateway.dialects.body_patch import BodyPatch, LossAction


class ThinkingStyle(msgspec.Struct, frozen=True):
    """The members by which a model takes effort."""

    thinking: frozenset[str]
    """Types of `thinking` that it takes."""
    effort: bool = True
    """True if it takes `output_config.effort`."""


STYLES: Mapping[str, ThinkingStyle] = {
    "anthropic": ThinkingStyle(frozenset({"adaptive", "disabled"})),
    "anthropic-between-tools": ThinkingStyle(frozenset({"adaptive", "between_tools"})),
    "anthropic-always": ThinkingStyle(frozenset({"adaptive"})),
    "anthropic-mixed": ThinkingStyle(frozenset({"adaptive", "enabled", "disabled"})),
    "anthropic-budget+effort": ThinkingStyle(frozenset({"enabled", "disabled"})),
    "anthropic-budget": ThinkingStyle(frozenset({"enabled", "disabled"}), effort=False),
}

MEMBERS = frozenset({"thinking", "output_config"})
"""Members that set effort. If the client sets none, the target's effort applies."""
_OFF_TYPES = ("disabled", "between_tools")
_THINKING_TYPES = ("adaptive", "enabled", *_OFF_TYPES)
_BUDGETS = {"minimal": 1024, "low": 2048, "medium": 10_000, "high": 16_384}
_MAX_BUDGET = 32_768
_MIN_BUDGET = 1024
_EFFORT_MEMBER = "output_config.effort"
_ADAPTIVE_DEFAULT = "high"


def read(value: dict[str, Json]) -> str | None:
    """Return the effort that the client set, on the common scale; None if it set none."""
    kind, word = _read_type(value), _read_word(value)
    if kind in _OFF_TYPES:
        return "none"
    if word is not None:
        return word
    return _find_effort(value["thinking"].get("budget_tokens")) if kind == "enabled" else None


def write(edit: BodyPatch, target: Target, cap: int) -> bool:
    """Write effort for one target: the client's as far as possible, else the target's.

    `cap` is the `max_tokens` that the target gets: a budget must leave some of it for the answer.
    Returns True if the written request asks for thinking.
    """
    facts, value = target.facts, edit.body.outline
    named = facts.find_effort_style("anthropic-messages")
    style = STYLES.get(named or "")
    kind, word = _read_type(value), _read_word(value)
    if value.get("thinking") is None and word is None:
        if style is None or target.effort is None:
            return False
        return _write_target_effort(edit, style, target.effort, cap)
    if style is not None and (kind is not None or value.get("thinking") is None):
        kind, effort = _fit_thinking(edit, style, target.model, cap)
        _fit_effort(edit, style, target, effort, kind)
    elif named is None and facts != UNKNOWN_FACTS:
        _drop_effort(edit, target.model)
        return False
    return kind not in (None, "disabled")


def _drop_effort(edit: BodyPatch, model: str) -> None:
    """Leave out what a model without control of effort refuses; `thinking` off is no loss."""
    value, why = edit.body.outline, f"{model} has no effort setting"
    if value.get("thinking") is not None and _read_type(value) not in _OFF_TYPES:
        _drop_thinking(edit, why)
    if _read_word(value) is not None:
        edit.set_inner_member("output_config", "effort", None)
        edit.record_loss(_EFFORT_MEMBER, "dropped", why)


def _drop_thinking(edit: BodyPatch, why: str) -> None:
    """Leave out `thinking`, and the context edits that the API refuses without it."""
    edit.drop_member("thinking", why)
    context = edit.body.outline.get("context_management")
    edits = context.get("edits") if isinstance(context, dict) else None
    if not isinstance(edits, list):
        return
    kept = [it for it in edits if not _clears_thinking(it)]
    if len(kept) < len(edits):
        edit.set_inner_member("context_management", "edits", kept or None)
        edit.record_loss(
            "context_management.edits", "dropped", "has no thinking to clear: thinking is off"
        )


def _clears_thinking(edit: Json) -> bool:
    """True if a context edit needs `thinking`; Claude Code sends one with each request."""
    kind = edit.get("type") if isinstance(edit, dict) else None
    return isinstance(kind, str) and kind.startswith("clear_thinking_")


def _write_target_effort(edit: BodyPatch, style: ThinkingStyle, effort: str, cap: int) -> bool:
    """Write the target's effort, as the client set none; keep the client's other settings."""
    if not isinstance(edit.body.outline.get("output_config") or {}, dict):
        return False  # the provider explains what is wrong with it
    off = next((kind for kind in _OFF_TYPES if kind in style.thinking), None)
    if effort == "none" and off is not None:
        edit.set_member("thinking", {"type": off})
        return off != "disabled"
    if "adaptive" in style.thinking:
        edit.set_member("thinking", {"type": "adaptive"})
    else:
        budget = _choose_budget(edit.body, effort, cap)
        if budget is None:
            return False
        edit.set_member("thinking", {"type": "enabled", "budget_tokens": budget})
    if style.effort:
        edit.set_inner_member(
            "output_config", "effort", "low" if effort in ("none", "minimal") else effort
        )
    return True


def _fit_thinking(
    edit: BodyPatch, style: ThinkingStyle, model: str, cap: int
) -> tuple[str | None, str | None]:
    """Write `thinking` in a type that the model takes; return the type, and the effort to write."""
    value = edit.body.outline
    kind, word = _read_type(value), _read_word(value)
    if kind in style.thinking or (kind is None and style.effort):
        if kind == "enabled":
            _fit_budget(edit, model, cap)
        return kind, word
    thinking = value.get("thinking") or {}
    shown = {"display": thinking["display"]} if "display" in thinking else {}
    if kind == "enabled":
        effort = word or _find_effort(thinking.get("budget_tokens"))
        edit.set_member("thinking", {"type": "adaptive", **shown})
        edit.record_loss(
            "thinking.budget_tokens", "approximated", f"{model} accepts an effort instead"
        )
        return "adaptive", effort
    if kind in _OFF_TYPES:
        other = next((it for it in _OFF_TYPES if it in style.thinking), None)
        edit.set_member("thinking", {"type": other or "adaptive"})
        action: LossAction = "approximated" if other else "clamped"
        edit.record_loss("thinking", action, f"{model} always thinks; sent {other or 'low effort'}")
        return other or "adaptive", word or (None if other else "low")
    budget = _choose_budget(edit.body, word or _ADAPTIVE_DEFAULT, cap)
    if budget is None:
        if kind is not None:
            why = f"{model} cannot think here: max_tokens is too small, or tool results are open"
            _drop_thinking(edit, why)
        return None, word
    edit.set_member("thinking", {"type": "enabled", "budget_tokens": budget, **shown})
    if kind is not None:
        edit.record_loss(
            "thinking", "approximated", f"{model} accepts a budget; sent {budget} tokens"
        )
    return "enabled", word


def _fit_budget(edit: BodyPatch, model: str, cap: int) -> None:
    """Keep a budget below a clamped cap, unless the client's own cap was below it too."""
    client_budget = edit.body.outline["thinking"].get("budget_tokens")
    if isinstance(client_budget, int) and cap <= client_budget < (edit.body.prompt.max_output or 0):
        if cap <= _MIN_BUDGET:
            _drop_thinking(edit, f"{model} cannot think within {cap} tokens")
            return
        budget = max(cap - _MIN_BUDGET, _MIN_BUDGET)
        edit.set_inner_member("thinking", "budget_tokens", budget)
        edit.record_loss("thinking.budget_tokens", "clamped", f"{model} allows at most {cap}")


def _fit_effort(
    edit: BodyPatch, style: ThinkingStyle, target: Target, effort: str | None, kind: str | None
) -> None:
    """Write the effort in a word that the model takes with `thinking` of type `kind`."""
    client_word = _read_word(edit.body.outline)
    if not style.effort:
        if client_word is not None:
            edit.set_inner_member("output_config", "effort", None)
            action: LossAction = "approximated" if kind == "enabled" else "dropped"
            edit.record_loss(_EFFORT_MEMBER, action, f"{target.model} accepts a budget instead")
        return
    if effort not in EFFORTS:
        return
    accepted = tuple(word for word in target.facts.efforts if word != "none")
    sent = find_nearest_effort(effort, accepted) if accepted and effort not in accepted else effort
    if kind in _OFF_TYPES and sent in ("xhigh", "max"):
        sent = "high"
    if sent != client_word:
        edit.set_inner_member("output_config", "effort", sent)
        if client_word is not None:
            edit.record_loss(
                _EFFORT_MEMBER,
                "clamped",
                f"{target.model} does not accept {client_word}; sent {sent}",
            )


def _choose_budget(body: RequestBody, effort: str, cap: int) -> int | None:
    """Return a budget that fits below the cap; None if the model cannot think in this request."""
    prompt = body.prompt
    last = body.outline["messages"][-1:]
    prefilled = bool(last) and last[0].get("role") == "assistant"
    if prompt.forced_tool or prefilled or (prompt.tool_loop and not _turn_has_thinking(body)):
        return None
    budget = min(_BUDGETS.get(effort, _MAX_BUDGET), cap - _MIN_BUDGET)
    return budget if effort != "none" and budget >= _MIN_BUDGET else None


def _turn_has_thinking(body: RequestBody) -> bool:
    """True if the turn that a tool result continues began with thinking."""
    turns = [it for it in body.outline["messages"] if it.get("role") == "assistant"]
    content = turns[-1].get("content") if turns else None
    blocks = content if isinstance(content, list) else []
    return any(
        isinstance(block, dict) and block.get("type") in ("thinking", "redacted_thinking")
        for block in blocks
    )


def _read_type(value: dict[str, Json]) -> str | None:
    """Return the type of the client's `thinking`; None if it is unknown."""
    thinking = value.get("thinking")
    kind = thinking.get("type") if isinstance(thinking, dict) else None
    return kind if kind in _THINKING_TYPES else None


def _read_word(value: dict[str, Json]) -> str | None:
    """Return the client's `output_config.effort`; None if it set none."""
    config = value.get("output_config")
    word = config.get("effort") if isinstance(config, dict) else None
    return word if isinstance(word, str) else None


def _find_effort(budget: Json) -> str | None:
    """Return the effort that a budget stands for."""
    if not isinstance(budget, int):
        return None
    steps = ((2_000, "low"), (8_000, "medium"), (24_000, "high"))
    return next((effort for below, effort in steps if budget < below), "xhigh")
