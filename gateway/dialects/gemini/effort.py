"""Reasoning effort in `generationConfig.thinkingConfig`, by a level or by a budget.

The catalogue names a style for each model. The client's effort wins; the gateway replaces only an
effort that the model would refuse, and names the loss. Sources: ThinkingConfig of Google's API
reference; Google's OpenAI-compatible endpoint takes the same budgets for the same words.

GenerationConfigPatch stands here because `write` needs it, and request.py needs both.
"""

from collections.abc import Mapping

import msgspec

from gateway.core.jsonio import Json
from gateway.core.target import EFFORTS, UNKNOWN_FACTS, ModelFacts, Target, find_nearest_effort
from gateway.dialects.body_patch import BodyPatch, LossAction
from gateway.dialects.gemini.content import (
    CONFIG,
    Object,
    as_integer,
    find_spelling,
    get_member,
    get_object,
)
from gateway.dialects.json_values import as_text

NAME = "gemini"
MEMBER = "thinkingConfig"
LEVEL, BUDGET = "thinkingLevel", "thinkingBudget"


class GenerationConfigPatch:
    """Changes within generationConfig, in the client's own spelling; all other bytes stay."""

    __slots__ = ("_changes", "_name", "_patch", "value")

    def __init__(self, patch: BodyPatch) -> None:
        self._patch = patch
        self._name = find_spelling(patch.body.value, CONFIG)
        self._changes: dict[str, object] = {}
        self.value: Object = get_object(patch.body.value, CONFIG)
        """The client's own generationConfig."""

    def has(self, name: str) -> bool:
        """True if the body still has a member, by its name in camelCase."""
        spelled = find_spelling(self.value, name)
        return spelled in self.value and self._changes.get(spelled, self) is not None

    def set_member(self, name: str, value: object) -> None:
        """Set a member; None takes it out."""
        self._changes[find_spelling(self.value, name)] = value

    def record_loss(self, name: str, inner: str, action: LossAction, why: str) -> None:
        """Record that the target does not get a member as the client wrote it."""
        field = f"{self._name}.{find_spelling(self.value, name)}"
        self._patch.record_loss(f"{field}.{inner}" if inner else field, action, why)

    def finish(self) -> None:
        """Write the changes into the body; removals come last, so that others keep their place."""
        for name, value in sorted(self._changes.items(), key=lambda change: change[1] is None):
            self._patch.set_inner_member(self._name, name, value)


class EffortStyle(msgspec.Struct, frozen=True):
    """The controls that a model takes; if it takes both, the gateway sends a level."""

    level: bool
    budget: bool


STYLES: Mapping[str, EffortStyle] = {
    "gemini-level": EffortStyle(level=True, budget=False),
    "gemini-level+budget": EffortStyle(level=True, budget=True),
    "gemini-budget": EffortStyle(level=False, budget=True),
}
_BUDGET_BY_EFFORT = {"none": 0, "minimal": 1024, "low": 1024, "medium": 8192}
_MAX_BUDGET = 24_576
_LEVELS = ("minimal", "low", "medium", "high", "xhigh")
_NO_THINKING = ("none", None)


def find_style(facts: ModelFacts) -> EffortStyle | None:
    """Return the style of a model on gemini; None if it has no effort setting here."""
    return STYLES.get(facts.find_effort_style(NAME) or "")


def read(config: Object) -> str | None:
    """Read the client's effort on the one scale; None if the client leaves it to the model."""
    thinking = get_object(config, MEMBER)
    level = _read_level(thinking)
    return level if level is not None else find_effort_of_budget(get_member(thinking, BUDGET))


def find_effort_of_budget(budget: Json) -> str | None:
    """Return the effort that a budget of tokens stands for; None for -1, the model's choice."""
    tokens = as_integer(budget)
    if tokens is None or tokens < 0:
        return None
    steps = ((1, "none"), (2_000, "low"), (8_000, "medium"), (24_000, "high"))
    return next((effort for below, effort in steps if tokens < below), "xhigh")


def make_members(effort: str, *, level: bool) -> Object:
    """Return the members for an effort: a level if the model takes one, else a budget."""
    if level and effort != "none":
        return {LEVEL: ("xhigh" if effort == "max" else effort).upper()}
    return {BUDGET: _BUDGET_BY_EFFORT.get(effort, _MAX_BUDGET)}


def find_effective(wanted: str | None, target: Target) -> str | None:
    """Return the effort a call runs at: the client's, else the target's, else the model's own."""
    return wanted or target.effort or target.facts.default_effort


def write(config: GenerationConfigPatch, target: Target) -> None:
    """Write effort for one target: the nearest to the client's, else the target's."""
    facts, style = target.facts, find_style(target.facts)
    thinking = get_object(config.value, MEMBER)
    level, budget = _read_level(thinking), as_integer(get_member(thinking, BUDGET))
    if level is None and budget is None:
        if style is not None and target.effort is not None and not _is_malformed(config.value):
            sent = _fit_effort(target.effort, facts, style)
            config.set_member(MEMBER, {**thinking, **make_members(sent, level=style.level)})
        return
    if style is None:
        if facts.find_effort_style(NAME) is None and facts != UNKNOWN_FACTS:
            _drop_thinking(config, target, read(config.value))
        return
    wanted = read(config.value)
    by_level = style.level if level is not None else not style.budget
    if wanted is None:  # dynamic, which is what a model does that has no budgets
        if by_level:
            _replace_effort(config, thinking, {})
        return
    sent = _fit_effort(wanted, facts, style)
    if by_level == (level is not None) and (sent == wanted or (level is None and wanted != "none")):
        return
    _replace_effort(config, thinking, make_members(sent, level=by_level))
    name = find_spelling(thinking, LEVEL if level is not None else BUDGET)
    if sent != wanted:
        config.record_loss(
            MEMBER, name, "clamped", f"{target.model} does not accept {wanted}; sent {sent}"
        )
    elif by_level or sent != "none":
        other = "a level" if by_level else "a budget"
        config.record_loss(MEMBER, name, "approximated", f"{target.model} accepts {other} instead")


def _fit_effort(effort: str, facts: ModelFacts, style: EffortStyle) -> str:
    """Return the nearest effort that a model takes, in a word of its style."""
    words = EFFORTS if style.budget else _LEVELS
    accepted = tuple(word for word in facts.efforts if word in words) or words
    return (
        effort
        if effort in accepted or effort not in EFFORTS
        else find_nearest_effort(effort, accepted)
    )


def _replace_effort(config: GenerationConfigPatch, thinking: Object, members: Object) -> None:
    """Replace the effort in thinkingConfig, and keep its other members."""
    names = {find_spelling(thinking, LEVEL), find_spelling(thinking, BUDGET)}
    kept = {name: item for name, item in thinking.items() if name not in names}
    config.set_member(MEMBER, {**kept, **members} or None)


def _drop_thinking(config: GenerationConfigPatch, target: Target, wanted: str | None) -> None:
    """Drop thinkingConfig for a model that does not think; effort `none` is no loss."""
    config.set_member(MEMBER, None)
    if wanted not in _NO_THINKING:
        config.record_loss(MEMBER, "", "dropped", f"{target.model} has no effort setting")


def _read_level(thinking: Object) -> str | None:
    level = as_text(get_member(thinking, LEVEL))
    lower_level = (level or "").lower()
    return lower_level if lower_level and not lower_level.endswith("unspecified") else None


def _is_malformed(config: Object) -> bool:
    """True if thinkingConfig is set and no object: the provider will say what is wrong."""
    return not isinstance(get_member(config, MEMBER) or {}, dict)
