"""A call as rules read it."""

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
"""A test that is True if a condition holds for a call."""


def describe_missing_score(error: ScoreError) -> str:
    """Return why a rule that asks for the classifier's score does not match."""
    return f"the classifier has no score, {error}"


class RuleContext:
    """A call as rules read it: features, evidence, tags, and the patterns its text has.

    It computes expensive facts once, when the first rule asks for them.
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
        """`classifier` scores the turn if a rule asks for its score."""
        self.call = call
        self.decision_context = decision_context
        self.tags: frozenset[str] = frozenset()
        """The call's own tags and the tags that guards set. `evaluate_guards` puts them here."""
        self.failed_rules: dict[str, str] = {}
        """The rules of which some part could not be tested, and why."""
        self.arms: dict[str, bool] = {}
        """By rule: True if the call is in the rule's part of the traffic, for tested rules."""
        self._patterns = patterns
        self._classifier = classifier
        self._assessment: TurnAssessment | None = None
        self._hits: Container[int] | None = None
        self._system_hits: Container[int] | None = None
        self._week_seconds: dict[str, int] = {}

    def has_pattern(self, pattern_index: int) -> bool:
        """True if the last user turn has the pattern of this number."""
        if self._hits is None:
            self._hits = () if self._patterns is None else self.call.match_patterns(self._patterns)
        return pattern_index in self._hits

    def has_system_pattern(self, pattern_index: int) -> bool:
        """True if the system prompt has the pattern of this number."""
        if self._system_hits is None:
            system = self.call.facts.system
            self._system_hits = () if self._patterns is None else self._patterns.search(system)
        return pattern_index in self._system_hits

    def assess_turn(self) -> TurnAssessment:
        """Return the score's values for the turn. Raises ScoreError without a score."""
        if self._assessment is None:
            self._assessment = assess_turn(self._classifier, self.call, self.decision_context)
        return self._assessment

    def get_week_second(self, zone: str) -> int:
        """Return the second of the week, from Monday 00:00 on, by local time in a time zone."""
        if zone not in self._week_seconds:
            local_time = datetime.fromtimestamp(self.decision_context.at, ZoneInfo(zone))
            day_start = local_time.weekday() * 86_400
            self._week_seconds[zone] = (
                day_start + local_time.hour * 3600 + local_time.minute * 60 + local_time.second
            )
        return self._week_seconds[zone]

    def list_steps(self) -> tuple[TraceStep, ...]:
        """List the trace lines of rules: the score they read, the arms, and the failed rules."""
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
