"""How effort is said on gemini: `generationConfig.thinkingConfig`, by a level or by a budget.

Styles are named in the catalogue, one for each model. What the client set wins; only what the model
would refuse is replaced, and named. Sources: ThinkingConfig of Google's API reference; the budgets
are those that Google's OpenAI-compatible door takes for the same words.
"""

from collections.abc import Mapping

import msgspec

from gateway.core.jsonio import Json
from gateway.core.target import EFFORTS, UNKNOWN_FACTS, ModelFacts, Target, find_nearest_effort
from gateway.dialects.gemini import content as wire
from gateway.dialects.gemini.config import Config
from gateway.dialects.gemini.content import Object

NAME = "gemini"
MEMBER = "thinkingConfig"
LEVEL, BUDGET = "thinkingLevel", "thinkingBudget"


class Style(msgspec.Struct, frozen=True):
    """What a model takes; one that takes both is told a level."""

    level: bool
    budget: bool


STYLES: Mapping[str, Style] = {
    "gemini-level": Style(level=True, budget=False),
    "gemini-level+budget": Style(level=True, budget=True),
    "gemini-budget": Style(level=False, budget=True),
}
_BUDGETS = {"none": 0, "minimal": 1024, "low": 1024, "medium": 8192}
_MOST_BUDGET = 24_576
_LEVELS = ("minimal", "low", "medium", "high", "xhigh")
_NOT_THOUGHT = ("none", None)


def style(facts: ModelFacts) -> Style | None:
    """The style of a model on gemini; None where it has no such control, or none of here."""
    return STYLES.get(facts.find_effort_style(NAME) or "")


def read(config: Object) -> str | None:
    """The effort that a client set, on the one scale; None where it left it to the model."""
    thinking = wire.group(config, MEMBER)
    level = _level(thinking)
    return level if level is not None else by_budget(wire.get(thinking, BUDGET))


def by_budget(budget: Json) -> str | None:
    """The effort that a budget of tokens stands for; -1 leaves it to the model."""
    tokens = wire.whole(budget)
    if tokens is None or tokens < 0:
        return None
    steps = ((1, "none"), (2_000, "low"), (8_000, "medium"), (24_000, "high"))
    return next((effort for below, effort in steps if tokens < below), "xhigh")


def say(effort: str, *, level: bool) -> Object:
    """The members that say an effort: as a level where there is one, else as a budget."""
    if level and effort != "none":
        return {LEVEL: ("xhigh" if effort == "max" else effort).upper()}
    return {BUDGET: _BUDGETS.get(effort, _MOST_BUDGET)}


def effective(asked: str | None, target: Target) -> str | None:
    """The effort a call runs at: the client's, else the target's, else the model's own."""
    return asked or target.effort or target.facts.default_effort


def write(config: Config, target: Target) -> None:
    """Say effort to one target, the client's as far as it can be, else the target's."""
    facts, kind = target.facts, style(target.facts)
    thinking = wire.group(config.value, MEMBER)
    level, budget = _level(thinking), wire.whole(wire.get(thinking, BUDGET))
    if level is None and budget is None:
        if kind is not None and target.effort is not None and not _strange(config.value):
            sent = _fit(target.effort, facts, kind)
            config.put(MEMBER, {**thinking, **say(sent, level=kind.level)})
        return
    if kind is None:
        if facts.find_effort_style(NAME) is None and facts != UNKNOWN_FACTS:
            _drop(config, target, read(config.value))
        return
    asked = read(config.value)
    by_level = kind.level if level is not None else not kind.budget
    if asked is None:  # dynamic, which is what a model does that has no budgets
        if by_level:
            _put(config, thinking, {})
        return
    sent = _fit(asked, facts, kind)
    if by_level == (level is not None) and (sent == asked or (level is None and asked != "none")):
        return
    _put(config, thinking, say(sent, level=by_level))
    name = wire.spelled(thinking, LEVEL if level is not None else BUDGET)
    if sent != asked:
        config.lose(MEMBER, name, "clamped", f"{target.model} does not take {asked}; sent {sent}")
    elif by_level or sent != "none":
        other = "a level" if by_level else "a budget"
        config.lose(MEMBER, name, "approximated", f"{target.model} takes {other} instead")


def _fit(effort: str, facts: ModelFacts, kind: Style) -> str:
    """The nearest effort that a model takes, in a word of its style."""
    words = EFFORTS if kind.budget else _LEVELS
    accepted = tuple(word for word in facts.efforts if word in words) or words
    return (
        effort
        if effort in accepted or effort not in EFFORTS
        else find_nearest_effort(effort, accepted)
    )


def _put(config: Config, thinking: Object, said: Object) -> None:
    """A thinkingConfig with another effort, and all else that the client has in it."""
    names = {wire.spelled(thinking, LEVEL), wire.spelled(thinking, BUDGET)}
    kept = {name: item for name, item in thinking.items() if name not in names}
    config.put(MEMBER, {**kept, **said} or None)


def _drop(config: Config, target: Target, asked: str | None) -> None:
    """Leave out what a model that does not think would refuse; to think not is no loss."""
    config.put(MEMBER, None)
    if asked not in _NOT_THOUGHT:
        config.lose(MEMBER, "", "dropped", f"{target.model} has no control of effort")


def _level(thinking: Object) -> str | None:
    level = wire.text(wire.get(thinking, LEVEL))
    known = (level or "").lower()
    return known if known and not known.endswith("unspecified") else None


def _strange(config: Object) -> bool:
    """Whether thinkingConfig is there and no object: the provider will say what is wrong."""
    return not isinstance(wire.get(config, MEMBER) or {}, dict)
