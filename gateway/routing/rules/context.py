"""A call as rules read it."""

from collections.abc import Callable, Container
from datetime import datetime
from functools import cached_property, lru_cache
from zoneinfo import ZoneInfo

import msgspec

from gateway.core.decision import TraceStep
from gateway.core.decision_context import EMPTY_CONTEXT, DecisionContext
from gateway.routing.classifier.heuristic import Classifier
from gateway.routing.classify import TurnAssessment, assess_turn
from gateway.routing.errors import ScoreError
from gateway.routing.features import Features
from gateway.routing.rules.patterns import Patterns

type Test = Callable[[RuleContext], bool]
"""A test that is True if a condition holds for a call."""


def describe_missing_score(error: ScoreError) -> str:
    """Return why a rule that asks for the classifier's score does not match."""
    return f"the classifier has no score, {error}"


@lru_cache(64)
def find_week_second(timestamp: float, zone: str) -> int:
    """Return the second of the week, from Monday 00:00 on, by local time in a time zone."""
    local_time = datetime.fromtimestamp(timestamp, ZoneInfo(zone))
    day_start = local_time.weekday() * 86_400
    return day_start + local_time.hour * 3600 + local_time.minute * 60 + local_time.second


class RuleContext(msgspec.Struct, dict=True):
    """A call as rules read it: features, evidence, tags, and the patterns its text has.

    It computes expensive facts once, when the first rule asks for them.
    """

    call: Features
    patterns: Patterns | None = None
    decision_context: DecisionContext = EMPTY_CONTEXT
    classifier: Classifier | None = None
    """The classifier that scores the turn if a rule asks for its score."""
    tags: frozenset[str] = frozenset()
    """The call's own tags and the tags that guards set. `evaluate_guards` puts them here."""
    failed_rules: dict[str, str] = {}
    """The rules of which some part could not be tested, and why."""
    arms: dict[str, bool] = {}
    """By rule: True if the call is in the rule's part of the traffic, for tested rules."""
    assessment: TurnAssessment | None = None
    """The values of the turn's score; None if no rule asked for them."""

    @cached_property
    def hits(self) -> Container[int]:
        """The numbers of the patterns that the last user turn has."""
        return () if self.patterns is None else self.call.match_patterns(self.patterns)

    @cached_property
    def system_hits(self) -> Container[int]:
        """The numbers of the patterns that the system prompt has."""
        system = self.call.facts.system
        return () if self.patterns is None else self.patterns.search(system)

    def assess_turn(self) -> TurnAssessment:
        """Return the score's values for the turn. Raises ScoreError without a score."""
        if self.assessment is None:
            self.assessment = assess_turn(self.classifier, self.call, self.decision_context)
        return self.assessment

    def list_steps(self) -> tuple[TraceStep, ...]:
        """List the trace lines of rules: the score they read, the arms, and the failed rules."""
        if self.assessment is None and not self.arms and not self.failed_rules:  # the usual case
            return ()
        steps: list[TraceStep] = []
        if self.assessment is not None:
            assessment = self.assessment
            effect = f"need {assessment.need:.2f}, confidence {assessment.confidence:.2f}"
            steps.append(
                TraceStep(step="score", matched=True, effect=effect, reason="a rule asked for it")
            )
        for name, is_in in self.arms.items():
            effect = "in" if is_in else "out"
            steps.append(TraceStep(step="arm", matched=is_in, effect=effect, reason=name))
        for name, reason in self.failed_rules.items():
            steps.append(TraceStep(step="rule", matched=False, reason=f"{name}: {reason}"))
        return tuple(steps)
