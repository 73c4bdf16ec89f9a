"""Rules as functions: guards bound every decision, the first choice that matches decides.

The gateway compiles conditions once. All patterns of all rules are one RE2 set. The gateway
searches a call's text once, when the first rule needs it. The search is linear in the text,
whatever the patterns are.
"""

import re
from collections.abc import Sequence

import msgspec

from gateway.core.call import CompleteMode, EscalateMode
from gateway.core.target import Tier
from gateway.routing.rules import rule_hash, traffic
from gateway.routing.rules.conditions import compile_condition
from gateway.routing.rules.context import RuleContext, Test
from gateway.routing.rules.patterns import Path, PatternPool, Patterns
from gateway.settings.schema.rules import ChoicePart, GuardPart, WhenPart

_UNKEPT_CONDITIONS = ("system_keywords", "system_matches", "temperature", "metadata", "user")
"""Conditions on fields that no row keeps, because they may identify a person."""
_UNKEPT_FIELDS = re.compile(r"text|\bcall\s*\.\s*(?:system|temperature|metadata|user)\b")
"""The pattern of the fields in an expression that no row keeps."""
_EVIDENCE_FIELD = re.compile(r"\bcall\s*\.\s*evidence\b")


class CompiledGuard(msgspec.Struct, frozen=True):
    """A compiled guard."""

    name: str
    test: Test
    definition: GuardPart
    hash: str
    """The hash of its conditions alone, by which rows keep its outcome."""


class CompiledChoice(msgspec.Struct, frozen=True):
    """A compiled choice."""

    name: str
    test: Test
    tier: Tier | None
    lab: str | None
    model: str | None
    complete: CompleteMode | None
    escalate: EscalateMode | None
    hash: str
    """The hash of its conditions alone, by which rows keep its outcome."""


class RuleSet(msgspec.Struct, frozen=True):
    """All rules of a configuration, in the order of the configuration."""

    guards: tuple[CompiledGuard, ...] = ()
    choices: tuple[CompiledChoice, ...] = ()
    patterns: Patterns | None = None
    text_rules: tuple[CompiledGuard | CompiledChoice, ...] = ()
    """The guards and choices that read what no row keeps: rows keep their outcomes."""
    reads_evidence: bool = False
    """True if some rule asks for evidence against the last answer."""


def compile_rules(guards: Sequence[GuardPart], choices: Sequence[ChoicePart]) -> RuleSet:
    """Compile rules. Raises RuleError with all invalid patterns and expressions."""
    patterns = PatternPool()
    compiled_guards = tuple(
        CompiledGuard(
            definition.name,
            _compile_test(definition, ("guards", index, "when"), patterns),
            definition,
            rule_hash.hash_condition(definition.when),
        )
        for index, definition in enumerate(guards)
    )
    compiled_choices = tuple(
        CompiledChoice(
            definition.name,
            _compile_test(definition, ("choices", index, "when"), patterns),
            definition.tier,
            definition.lab,
            definition.model,
            definition.complete,
            definition.escalate,
            rule_hash.hash_condition(definition.when),
        )
        for index, definition in enumerate(choices)
    )
    conditions = [
        *(definition.when for definition in guards),
        *(definition.when for definition in choices),
    ]
    compiled_rules: list[CompiledGuard | CompiledChoice] = [*compiled_guards, *compiled_choices]
    textual = tuple(
        rule
        for rule, condition in zip(compiled_rules, conditions, strict=True)
        if _reads_unkept(condition)
    )
    reads_evidence = any(map(_reads_evidence, conditions))
    return RuleSet(
        compiled_guards, compiled_choices, patterns.compile_set(), textual, reads_evidence
    )


def _compile_test(definition: GuardPart | ChoicePart, path: Path, patterns: PatternPool) -> Test:
    """Return the test of a rule; it tests `traffic` last, for calls that match otherwise."""
    test = _compile_conditions(definition, path, patterns)
    if definition.when.traffic is None:
        return test
    is_in_part = traffic.compile_traffic(definition.when.traffic, definition.name)
    return lambda context: test(context) and is_in_part(context)


def _compile_conditions(
    definition: GuardPart | ChoicePart, path: Path, patterns: PatternPool
) -> Test:
    """Return the test of a rule; it records the outcome if the rule reads what no row keeps."""
    test = compile_condition(definition.when, path, patterns, definition.name)
    if not _reads_unkept(definition.when):
        return test
    condition_hash = rule_hash.hash_condition(definition.when)

    def run_recorded(context: RuleContext) -> bool:
        outcome = context.call.find_outcome(condition_hash)
        if outcome is None:
            outcome = context.call.outcomes[condition_hash] = test(context)
        return outcome

    return run_recorded


def _reads_unkept(condition: WhenPart) -> bool:
    """True if a condition reads what no row keeps: texts, user, metadata and the like."""
    return (
        (condition.cel is not None and _UNKEPT_FIELDS.search(condition.cel) is not None)
        or any(getattr(condition, name) is not None for name in _UNKEPT_CONDITIONS)
        or any(map(_reads_unkept, _list_children(condition)))
    )


def _reads_evidence(condition: WhenPart) -> bool:
    """True if a condition asks for evidence."""
    return (
        condition.evidence is not None
        or (condition.cel is not None and _EVIDENCE_FIELD.search(condition.cel) is not None)
        or any(map(_reads_evidence, _list_children(condition)))
    )


def _list_children(condition: WhenPart) -> list[WhenPart]:
    return [
        *(condition.any or ()),
        *(condition.all or ()),
        *([condition.not_] if condition.not_ else []),
    ]
