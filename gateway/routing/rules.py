"""Rules as functions: guards bound every decision, the first choice that matches decides.

Conditions are compiled once. All patterns of all rules are one RE2 set: a call's text is searched
once, when the first rule asks for it, in time linear in the text whatever the patterns are.
"""

from collections.abc import Sequence

import msgspec

from gateway.core.call import Complete
from gateway.core.evidence import NOTHING, Evidence
from gateway.core.target import Tier
from gateway.routing import meaning
from gateway.routing.condition import compiled
from gateway.routing.features import Features
from gateway.routing.pattern import Patterns
from gateway.routing.search import Pool
from gateway.routing.view import Test, View
from gateway.settings.rule import ChoicePart, GuardPart


class Guard(msgspec.Struct, frozen=True):
    """A compiled guard."""

    name: str
    test: Test
    part: GuardPart
    hash: str
    """Of its conditions alone: what an outcome is known by."""


class Choice(msgspec.Struct, frozen=True):
    """A compiled choice."""

    name: str
    test: Test
    tier: Tier | None
    lab: str | None
    model: str | None
    complete: Complete | None
    hash: str
    """Of its conditions alone: what an outcome is known by."""


class Rules(msgspec.Struct, frozen=True):
    """All rules of a configuration, in the order they are written."""

    guards: tuple[Guard, ...] = ()
    choices: tuple[Choice, ...] = ()
    patterns: Patterns | None = None

    def view(self, call: Features, evidence: Evidence = NOTHING) -> View:
        """A call as these rules look at it."""
        return View(call, self.patterns, evidence)


def compile_rules(guards: Sequence[GuardPart], choices: Sequence[ChoicePart]) -> Rules:
    """Compile rules. Raises RuleError with all patterns and expressions that are none."""
    patterns = Pool()
    bounds = tuple(
        Guard(
            part.name,
            compiled(part.when, ("guards", at, "when"), patterns, part.name),
            part,
            meaning.digest(part.when),
        )
        for at, part in enumerate(guards)
    )
    decided = tuple(
        Choice(
            part.name,
            compiled(part.when, ("choices", at, "when"), patterns, part.name),
            part.tier,
            part.lab,
            part.model,
            part.complete,
            meaning.digest(part.when),
        )
        for at, part in enumerate(choices)
    )
    return Rules(bounds, decided, patterns.compiled())
