"""Rules that nearly matched a call: only one of their conditions did not hold.

The code compiles each condition once more by itself, so that it gets an outcome whatever the others
give. That costs more than a decision, and only `tiergate explain` asks for it.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo

from gateway.core.decision import Decision
from gateway.core.decision_context import DecisionContext
from gateway.core.jsonio import Json
from gateway.routing.classifier.heuristic import Classifier
from gateway.routing.errors import ScoreError
from gateway.routing.features import Features
from gateway.routing.rules.conditions import compile_condition
from gateway.routing.rules.context import RuleContext, Test
from gateway.routing.rules.patterns import PatternPool
from gateway.settings import yaml
from gateway.settings.schema.rules import ChoicePart, GuardPart, RangePart, WhenPart

_NEAR_FACTOR = 2
"""The factor within which a value is near a range: at least half of it, or at most twice."""


class NearMiss(NamedTuple):
    """A rule that would have matched but for one condition."""

    kind: str
    """`guard` or `choice`."""
    rule: str
    condition: str
    """The condition as in a configuration: `maths: {min: 0.5}`."""
    value: str
    """The call's value for the condition; empty if it has no short form."""


class _Leaf(NamedTuple):
    """One condition, compiled by itself."""

    name: str
    condition: WhenPart
    test: Test


class _Alternatives(NamedTuple):
    """The branches of `any`: each is a list of parts that must hold together."""

    parts: list[list["_Part"]]


type _Part = _Leaf | _Alternatives


class _Outcome(NamedTuple):
    """The number of a rule's conditions that hold, and the conditions that do not."""

    held: int
    failed: list[_Leaf]


def find_near_misses(
    guards: Sequence[GuardPart],
    choices: Sequence[ChoicePart],
    call: Features,
    decision: Decision,
    decision_context: DecisionContext,
    classifier: Classifier | None = None,
) -> list[NearMiss]:
    """Return the tested rules that nearly matched, in the order of the configuration.

    `classifier` scores the turn if a rule asks for the score.
    """
    pool = PatternPool()
    rules = [("guard", guard.name, _split_condition(guard.when, pool)) for guard in guards]
    rules += [
        ("choice", choice.name, _split_condition(choice.when, pool))
        for choice in _list_tried_choices(choices, decision)
    ]
    context = RuleContext(call, pool.compile_set(), decision_context, classifier)
    context.tags = frozenset(decision.tags)
    misses: list[NearMiss] = []
    for kind, name, parts in rules:
        held, failed = _run_parts(parts, context)
        if len(failed) == 1 and (held or _is_close(failed[0], context)):
            (leaf,) = failed
            misses.append(NearMiss(kind, name, _format_leaf(leaf), _read_value(leaf, context)))
    return misses


def describe_near_misses(misses: Sequence[NearMiss]) -> list[Json]:
    """Return near misses as JSON."""
    return [
        {"kind": kind, "rule": rule, "condition": condition, "value": value}
        for kind, rule, condition, value in misses
    ]


def _list_tried_choices(choices: Sequence[ChoicePart], decision: Decision) -> Sequence[ChoicePart]:
    """Return the choices before the one that decided; none if no choice was tested."""
    if decision.source not in ("rule", "classifier", "default"):
        return ()
    names = [choice.name for choice in choices]
    return choices[: names.index(decision.rule)] if decision.rule in names else choices


def _split_condition(condition: WhenPart, pool: PatternPool) -> list[_Part]:
    """Return the conditions that must hold together; split groups of `all`."""
    parts: list[_Part] = []
    for name, value in condition:
        if value is None:
            continue
        if name == "all":
            for child in value:
                parts += _split_condition(child, pool)
        elif name == "any":
            parts.append(_Alternatives([_split_condition(child, pool) for child in value]))
        else:
            alone = WhenPart().model_copy(update={name: value})
            parts.append(_Leaf(name, alone, compile_condition(alone, (), pool, "")))
    return parts


def _run_parts(parts: Sequence[_Part], context: RuleContext) -> _Outcome:
    held, failed = 0, list[_Leaf]()
    for part in parts:
        if isinstance(part, _Leaf):
            outcome = _Outcome(1, []) if part.test(context) else _Outcome(0, [part])
        else:
            outcomes = [_run_parts(alternative, context) for alternative in part.parts]
            outcome = min(outcomes, key=lambda item: (len(item.failed), -item.held))
        held += outcome.held
        failed += outcome.failed
    return _Outcome(held, failed)


def _is_close(leaf: _Leaf, context: RuleContext) -> bool:
    """True if the condition is a range of numbers and the call's value is near it."""
    limits = getattr(leaf.condition, leaf.name)
    read = _NUMBER_READERS.get(leaf.name)
    if not isinstance(limits, RangePart) or read is None:
        return False
    value = read(context)
    is_high_enough = limits.min is None or value * _NEAR_FACTOR >= limits.min
    is_low_enough = limits.max is None or value <= limits.max * _NEAR_FACTOR
    return value > 0 and is_high_enough and is_low_enough


def _format_leaf(leaf: _Leaf) -> str:
    written = leaf.condition.model_dump(exclude_unset=True, by_alias=True)
    return yaml.dump_flow(_shorten_numbers(written))[1:-1]


def _shorten_numbers(value: object) -> object:
    """Return a value with 40 in place of 40.0, as people write it."""
    if isinstance(value, dict):
        return {key: _shorten_numbers(item) for key, item in value.items()}
    return int(value) if isinstance(value, float) and value.is_integer() else value


_NUMBER_READERS: Mapping[str, Callable[[RuleContext], float]] = {
    "user_tokens": attrgetter("call.user_tokens"),
    "prompt_tokens": attrgetter("call.prompt_tokens"),
    "turns": attrgetter("call.prompt.user_turns"),
    "tools": attrgetter("call.tools"),
    "images": attrgetter("call.prompt.images"),
    "files": attrgetter("call.prompt.files"),
    "audio": attrgetter("call.prompt.audio"),
    "code": attrgetter("call.signals.total_code"),
    "maths": attrgetter("call.signals.maths"),
}
_TEXT_READERS: Mapping[str, Callable[[RuleContext], str]] = {
    "language": attrgetter("call.language"),
    "dialect": attrgetter("call.dialect"),
    "kind": attrgetter("call.turn.kind"),
    "task": attrgetter("call.turn.task"),
    "client": attrgetter("call.turn.client"),
    "key": attrgetter("call.key.name"),
    "asked": attrgetter("call.prompt.model"),
    "evidence": lambda context: ", ".join(sorted(context.call.evidence_names)),
    "tag": lambda context: ", ".join(sorted(context.tags)),
    "tool_names": lambda context: ", ".join(context.call.prompt.tools),
    "need": lambda context: _read_score(context, "need"),
    "confidence": lambda context: _read_score(context, "confidence"),
    "effort": lambda context: context.call.prompt.effort or "",
    "max_tokens": lambda context: _format_optional(context.call.prompt.max_output),
    "temperature": lambda context: _format_optional(context.call.facts.temperature),
}
_FAILURES = {
    "keywords": "none of these words",
    "matches": "no such text",
    "system_keywords": "none of these words",
    "system_matches": "no such text",
    "traffic": "the call is not in this part of the traffic",
    "cel": "the condition is false",
}
"""The value to show for conditions on texts, which the gateway never quotes."""


def _read_score(context: RuleContext, name: Literal["need", "confidence"]) -> str:
    try:
        return f"{getattr(context.assess_turn(), name):.2f}"
    except ScoreError:
        return "no score"


def _format_optional(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


def _read_value(leaf: _Leaf, context: RuleContext) -> str:
    """Return the call's value for a condition that does not hold."""
    name = leaf.name
    if name in _NUMBER_READERS:
        return f"{round(_NUMBER_READERS[name](context), 2)}"
    if name in _TEXT_READERS:
        return _TEXT_READERS[name](context) or "none"
    if leaf.condition.time is not None:
        zone = ZoneInfo(leaf.condition.time.zone)
        return f"{datetime.fromtimestamp(context.decision_context.at, zone):%a %H:%M}"
    return "the condition is true" if name == "not_" else _FAILURES.get(name, "no")
