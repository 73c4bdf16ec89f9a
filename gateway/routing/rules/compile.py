"""Rules as functions: guards bound every decision, the first choice that matches decides.

Conditions are compiled once. All patterns of all rules are one RE2 set: a call's text is searched
once, when the first rule asks for it, in time linear in the text whatever the patterns are.
"""

from collections.abc import Sequence

import msgspec

from gateway.core.call import Complete
from gateway.core.decision_context import NOTHING, DecisionContext
from gateway.core.target import Tier
from gateway.routing.features import Features
from gateway.routing.rules import rule_hash
from gateway.routing.rules.conditions import compiled
from gateway.routing.rules.context import RuleContext, Test
from gateway.routing.rules.patterns import Path, PatternPool, Patterns
from gateway.settings.schema.rules import ChoicePart, GuardPart, WhenPart


class CompiledGuard(msgspec.Struct, frozen=True):
    """A compiled guard."""

    name: str
    test: Test
    part: GuardPart
    hash: str
    """Of its conditions alone: what an outcome is known by."""


class CompiledChoice(msgspec.Struct, frozen=True):
    """A compiled choice."""

    name: str
    test: Test
    tier: Tier | None
    lab: str | None
    model: str | None
    complete: Complete | None
    hash: str
    """Of its conditions alone: what an outcome is known by."""


class RuleSet(msgspec.Struct, frozen=True):
    """All rules of a configuration, in the order they are written."""

    guards: tuple[CompiledGuard, ...] = ()
    choices: tuple[CompiledChoice, ...] = ()
    patterns: Patterns | None = None
    textual: tuple[CompiledGuard | CompiledChoice, ...] = ()
    """Those of both that read the text itself: rows keep their outcomes."""

    def view(self, call: Features, evidence: DecisionContext = NOTHING) -> RuleContext:
        """A call as these rules look at it."""
        return RuleContext(call, self.patterns, evidence)


def compile_rules(guards: Sequence[GuardPart], choices: Sequence[ChoicePart]) -> RuleSet:
    """Compile rules. Raises RuleError with all patterns and expressions that are none."""
    patterns = PatternPool()
    bounds = tuple(
        CompiledGuard(
            part.name,
            _test(part, ("guards", at, "when"), patterns),
            part,
            rule_hash.digest(part.when),
        )
        for at, part in enumerate(guards)
    )
    decided = tuple(
        CompiledChoice(
            part.name,
            _test(part, ("choices", at, "when"), patterns),
            part.tier,
            part.lab,
            part.model,
            part.complete,
            rule_hash.digest(part.when),
        )
        for at, part in enumerate(choices)
    )
    whens = [*(part.when for part in guards), *(part.when for part in choices)]
    every: list[CompiledGuard | CompiledChoice] = [*bounds, *decided]
    textual = tuple(rule for rule, when in zip(every, whens, strict=True) if _reads(when))
    return RuleSet(bounds, decided, patterns.compiled(), textual)


def _test(part: GuardPart | ChoicePart, path: Path, patterns: PatternPool) -> Test:
    """The test of a rule; the outcome of one that reads the text is noted by its hash."""
    test = compiled(part.when, path, patterns, part.name)
    if not _reads(part.when):
        return test
    name = rule_hash.digest(part.when)

    def noted(view: RuleContext) -> bool:
        known = view.call.outcome(name)
        if known is None:
            known = view.call.outcomes[name] = test(view)
        return known

    return noted


def _reads(when: WhenPart) -> bool:
    """Whether a condition reads the text itself: an expression may."""
    inner = [*(when.any or ()), *(when.all or ()), *([when.not_] if when.not_ else [])]
    return (when.cel is not None and "text" in when.cel) or any(map(_reads, inner))
