"""A call as rules look at it."""

from collections.abc import Callable, Container
from datetime import datetime
from zoneinfo import ZoneInfo

from gateway.core.decision import TraceStep
from gateway.core.decision_context import EMPTY_CONTEXT, DecisionContext
from gateway.routing.classifier.heuristic import Classifier
from gateway.routing.classify import TurnAssessment, assess_turn
from gateway.routing.errors import ScoreError
from gateway.routing.features import Features
from gateway.routing.rules.patterns import Patterns

type Test = Callable[[RuleContext], bool]
"""Whether a condition holds for a call."""


def describe_missing_score(error: ScoreError) -> str:
    """Say why a rule that asks for the classifier's score does not match."""
    return f"the classifier has no score, {error}"


class RuleContext:
    """A call as rules look at it: features, evidence, tags, and the patterns its text has.

    What costs something to find out is found out once, when the first rule asks for it.
    """

    __slots__ = (
        "_assessment",
        "_classifier",
        "_hits",
        "_patterns",
        "_system_hits",
        "_week_seconds",
        "arms",
        "call",
        "decision_context",
        "failed_rules",
        "tags",
    )

    def __init__(
        self,
        call: Features,
        patterns: Patterns | None = None,
        decision_context: DecisionContext = EMPTY_CONTEXT,
        classifier: Classifier | None = None,
    ) -> None:
        """`classifier` scores the turn where a rule asks for its score."""
        self.call = call
        self.decision_context = decision_context
        self.tags: frozenset[str] = frozenset()
        """Its own and those that guards gave it; `bound` puts them here."""
        self.failed_rules: dict[str, str] = {}
        """Rules of which something could not be asked, and why."""
        self.arms: dict[str, bool] = {}
        """By rule: True if the call is in its part of the traffic, as far as that was asked."""
        self._patterns = patterns
        self._classifier = classifier
        self._assessment: TurnAssessment | None = None
        self._hits: Container[int] | None = None
        self._system_hits: Container[int] | None = None
        self._week_seconds: dict[str, int] = {}

    def has_pattern(self, pattern_index: int) -> bool:
        """Whether the last user turn has the pattern of this number."""
        if self._hits is None:
            self._hits = () if self._patterns is None else self.call.match_patterns(self._patterns)
        return pattern_index in self._hits

    def has_system_pattern(self, pattern_index: int) -> bool:
        """Whether the system prompt has the pattern of this number."""
        if self._system_hits is None:
            system = self.call.facts.system
            self._system_hits = () if self._patterns is None else self._patterns.search(system)
        return pattern_index in self._system_hits

    def assess_turn(self) -> TurnAssessment:
        """Return what the classifier's score says of the turn. Raises ScoreError without one."""
        if self._assessment is None:
            self._assessment = assess_turn(self._classifier, self.call, self.decision_context)
        return self._assessment

    def get_week_second(self, zone: str) -> int:
        """The second of the week, from Monday on, that a clock on a wall there shows."""
        if zone not in self._week_seconds:
            local_time = datetime.fromtimestamp(self.decision_context.at, ZoneInfo(zone))
            day_start = local_time.weekday() * 86_400
            self._week_seconds[zone] = (
                day_start + local_time.hour * 3600 + local_time.minute * 60 + local_time.second
            )
        return self._week_seconds[zone]

    def list_steps(self) -> tuple[TraceStep, ...]:
        """List what the trace says of rules: the score they read, arms, and those that failed."""
        steps: list[TraceStep] = []
        if self._assessment is not None:
            need, confidence = self._assessment
            effect = f"need {need:.2f}, confidence {confidence:.2f}"
            steps.append(
                TraceStep(step="score", matched=True, effect=effect, reason="a rule asked for it")
            )
        for name, is_in in self.arms.items():
            effect = "in" if is_in else "out"
            steps.append(TraceStep(step="arm", matched=is_in, effect=effect, reason=name))
        for name, reason in self.failed_rules.items():
            steps.append(TraceStep(step="rule", matched=False, reason=f"{name}: {reason}"))
        return tuple(steps)
