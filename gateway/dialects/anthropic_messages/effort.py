"""How effort is said on anthropic-messages: `thinking` and `output_config.effort`.

Styles are named in the catalogue, one for each model: which types of `thinking` it takes, and
whether it takes an effort. What the client set wins; only what the model would refuse is replaced,
and named. Sources: the thinking and effort types of Anthropic's API reference; budgets are those
that client libraries use for the same words.
"""

from collections.abc import Mapping

import msgspec

from gateway.core.jsonio import Json
from gateway.core.target import EFFORTS, UNKNOWN_FACTS, Target, find_nearest_effort
from gateway.dialects.base import RequestBody
from gateway.dialects.body_patch import BodyPatch, LossAction


class Style(msgspec.Struct, frozen=True):
    """What a model takes."""

    thinking: frozenset[str]
    """Types of `thinking`."""
    effort: bool = True
    """Whether it takes `output_config.effort`."""


STYLES: Mapping[str, Style] = {
    "anthropic": Style(frozenset({"adaptive", "disabled"})),
    "anthropic-between-tools": Style(frozenset({"adaptive", "between_tools"})),
    "anthropic-always": Style(frozenset({"adaptive"})),
    "anthropic-mixed": Style(frozenset({"adaptive", "enabled", "disabled"})),
    "anthropic-budget+effort": Style(frozenset({"enabled", "disabled"})),
    "anthropic-budget": Style(frozenset({"enabled", "disabled"}), effort=False),
}

MEMBERS = frozenset({"thinking", "output_config"})
"""Where none of these is set, the client has left its effort to the target."""
_OFF = ("disabled", "between_tools")
_TYPES = ("adaptive", "enabled", *_OFF)
_BUDGETS = {"minimal": 1024, "low": 2048, "medium": 10_000, "high": 16_384}
_MOST_BUDGET = 32_768
_LEAST_BUDGET = 1024
_EFFORT = "output_config.effort"
_ADAPTIVE_DEFAULT = "high"


def read(value: dict[str, Json]) -> str | None:
    """The effort that a client set, on the one scale; None where it left it to the model."""
    kind, said = _kind(value), _said(value)
    if kind in _OFF:
        return "none"
    if said is not None:
        return said
    return _by_budget(value["thinking"].get("budget_tokens")) if kind == "enabled" else None


def write(edit: BodyPatch, target: Target, cap: int) -> bool:
    """Say effort to one target, the client's as far as it can be, else the target's.

    `cap` is `max_tokens` as it is sent: a budget has to leave some of it for the answer. Tells
    whether the request as written asks for thinking.
    """
    facts, value = target.facts, edit.body.outline
    named = facts.find_effort_style("anthropic-messages")
    style = STYLES.get(named or "")
    kind, said = _kind(value), _said(value)
    if value.get("thinking") is None and said is None:
        if style is None or target.effort is None:
            return False
        return _fill(edit, style, target.effort, cap)
    if style is not None and (kind is not None or value.get("thinking") is None):
        kind, effort = _fit_thinking(edit, style, target.model, cap)
        _fit_effort(edit, style, target, effort, kind)
    elif named is None and facts != UNKNOWN_FACTS:
        _drop(edit, target.model)
        return False
    return kind not in (None, "disabled")


def _drop(edit: BodyPatch, model: str) -> None:
    """Leave out what a model without control of effort would refuse; to think not is no loss."""
    value, why = edit.body.outline, f"{model} has no control of effort"
    if value.get("thinking") is not None and _kind(value) not in _OFF:
        _drop_thinking(edit, why)
    if _said(value) is not None:
        edit.set_inner_member("output_config", "effort", None)
        edit.record_loss(_EFFORT, "dropped", why)


def _drop_thinking(edit: BodyPatch, why: str) -> None:
    """Leave `thinking` out, and the edits of the context that are refused without it."""
    edit.drop_member("thinking", why)
    context = edit.body.outline.get("context_management")
    edits = context.get("edits") if isinstance(context, dict) else None
    if not isinstance(edits, list):
        return
    kept = [it for it in edits if not _clears_thinking(it)]
    if len(kept) < len(edits):
        edit.set_inner_member("context_management", "edits", kept or None)
        edit.record_loss(
            "context_management.edits", "dropped", "without thinking none is to be cleared"
        )


def _clears_thinking(edit: Json) -> bool:
    """Whether an edit is of those that need `thinking`; Claude Code sends one with each request."""
    kind = edit.get("type") if isinstance(edit, dict) else None
    return isinstance(kind, str) and kind.startswith("clear_thinking_")


def _fill(edit: BodyPatch, style: Style, effort: str, cap: int) -> bool:
    """Say the target's effort where the client said nothing; what it did say stays as it is."""
    if not isinstance(edit.body.outline.get("output_config") or {}, dict):
        return False  # the provider will say what is wrong with it
    off = next((kind for kind in _OFF if kind in style.thinking), None)
    if effort == "none" and off is not None:
        edit.set_member("thinking", {"type": off})
        return off != "disabled"
    if "adaptive" in style.thinking:
        edit.set_member("thinking", {"type": "adaptive"})
    else:
        budget = _budget(edit.body, effort, cap)
        if budget is None:
            return False
        edit.set_member("thinking", {"type": "enabled", "budget_tokens": budget})
    if style.effort:
        edit.set_inner_member(
            "output_config", "effort", "low" if effort in ("none", "minimal") else effort
        )
    return True


def _fit_thinking(
    edit: BodyPatch, style: Style, model: str, cap: int
) -> tuple[str | None, str | None]:
    """The client's `thinking` in a type that the model takes; gives that and the effort to say."""
    value = edit.body.outline
    kind, said = _kind(value), _said(value)
    if kind in style.thinking or (kind is None and style.effort):
        if kind == "enabled":
            _fit_budget(edit, model, cap)
        return kind, said
    thinking = value.get("thinking") or {}
    shown = {"display": thinking["display"]} if "display" in thinking else {}
    if kind == "enabled":
        effort = said or _by_budget(thinking.get("budget_tokens"))
        edit.set_member("thinking", {"type": "adaptive", **shown})
        edit.record_loss(
            "thinking.budget_tokens", "approximated", f"{model} takes an effort instead"
        )
        return "adaptive", effort
    if kind in _OFF:
        other = next((it for it in _OFF if it in style.thinking), None)
        edit.set_member("thinking", {"type": other or "adaptive"})
        action: LossAction = "approximated" if other else "clamped"
        edit.record_loss(
            "thinking", action, f"{model} cannot but think; sent {other or 'low effort'}"
        )
        return other or "adaptive", said or (None if other else "low")
    budget = _budget(edit.body, said or _ADAPTIVE_DEFAULT, cap)
    if budget is None:
        if kind is not None:
            why = f"{model} cannot think here: no room in max_tokens, or mid-turn"
            _drop_thinking(edit, why)
        return None, said
    edit.set_member("thinking", {"type": "enabled", "budget_tokens": budget, **shown})
    if kind is not None:
        edit.record_loss(
            "thinking", "approximated", f"{model} takes a budget; sent {budget} tokens"
        )
    return "enabled", said


def _fit_budget(edit: BodyPatch, model: str, cap: int) -> None:
    """Keep a budget below a cap that was clamped; one that never was below it is the client's."""
    asked = edit.body.outline["thinking"].get("budget_tokens")
    if isinstance(asked, int) and cap <= asked < (edit.body.prompt.max_output or 0):
        budget = max(cap - _LEAST_BUDGET, _LEAST_BUDGET)
        edit.set_inner_member("thinking", "budget_tokens", budget)
        edit.record_loss("thinking.budget_tokens", "clamped", f"{model} gives at most {cap}")


def _fit_effort(
    edit: BodyPatch, style: Style, target: Target, effort: str | None, kind: str | None
) -> None:
    """The client's effort in a word that the model takes beside `thinking` of a type."""
    said = _said(edit.body.outline)
    if not style.effort:
        if said is not None:
            edit.set_inner_member("output_config", "effort", None)
            action: LossAction = "approximated" if kind == "enabled" else "dropped"
            edit.record_loss(_EFFORT, action, f"{target.model} takes a budget instead")
        return
    if effort not in EFFORTS:
        return
    accepted = tuple(word for word in target.facts.efforts if word != "none")
    sent = find_nearest_effort(effort, accepted) if accepted and effort not in accepted else effort
    if kind in _OFF and sent in ("xhigh", "max"):
        sent = "high"
    if sent != said:
        edit.set_inner_member("output_config", "effort", sent)
        if said is not None:
            edit.record_loss(
                _EFFORT, "clamped", f"{target.model} does not take {said}; sent {sent}"
            )


def _budget(body: RequestBody, effort: str, cap: int) -> int | None:
    """Tokens to think with, as many as fit; None where these models cannot be told to think."""
    prompt = body.prompt
    last = body.outline["messages"][-1:]
    prefilled = bool(last) and last[0].get("role") == "assistant"
    if prompt.forced_tool or prefilled or (prompt.tool_loop and not _thought(body)):
        return None
    budget = min(_BUDGETS.get(effort, _MOST_BUDGET), cap - _LEAST_BUDGET)
    return budget if effort != "none" and budget >= _LEAST_BUDGET else None


def _thought(body: RequestBody) -> bool:
    """Whether the turn that a tool's result continues began with thinking."""
    turns = [it for it in body.outline["messages"] if it.get("role") == "assistant"]
    content = turns[-1].get("content") if turns else None
    blocks = content if isinstance(content, list) else []
    return any(
        isinstance(block, dict) and block.get("type") in ("thinking", "redacted_thinking")
        for block in blocks
    )


def _kind(value: dict[str, Json]) -> str | None:
    """The type of a client's `thinking`, where it is one of those known."""
    thinking = value.get("thinking")
    kind = thinking.get("type") if isinstance(thinking, dict) else None
    return kind if kind in _TYPES else None


def _said(value: dict[str, Json]) -> str | None:
    config = value.get("output_config")
    said = config.get("effort") if isinstance(config, dict) else None
    return said if isinstance(said, str) else None


def _by_budget(budget: Json) -> str | None:
    if not isinstance(budget, int):
        return None
    steps = ((2_000, "low"), (8_000, "medium"), (24_000, "high"))
    return next((effort for below, effort in steps if budget < below), "xhigh")
