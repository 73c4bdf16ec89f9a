"""A call as rules look at it."""

from collections.abc import Callable, Container
from datetime import datetime
from zoneinfo import ZoneInfo

from gateway.core.decision import TraceStep
from gateway.core.decision_context import NOTHING, DecisionContext
from gateway.routing.features import Features
from gateway.routing.rules.patterns import Patterns

type Test = Callable[[RuleContext], bool]
"""Whether a condition holds for a call."""


class RuleContext:
    """A call as rules look at it: features, evidence, tags, and the patterns its text has.

    What costs something to find out is found out once, when the first rule asks for it.
    """

    __slots__ = ("_hits", "_patterns", "_times", "call", "evidence", "failed", "tags")

    def __init__(
        self, call: Features, patterns: Patterns | None = None, evidence: DecisionContext = NOTHING
    ) -> None:
        self.call = call
        self.evidence = evidence
        self.tags: frozenset[str] = frozenset()
        """Its own and those that guards gave it; `bound` puts them here."""
        self.failed: dict[str, str] = {}
        """Rules whose expression failed, and why."""
        self._patterns = patterns
        self._hits: Container[int] | None = None
        self._times: dict[str, int] = {}

    def has(self, pattern: int) -> bool:
        """Whether the last user turn has the pattern of this number."""
        if self._hits is None:
            self._hits = () if self._patterns is None else self.call.hits(self._patterns)
        return pattern in self._hits

    def time(self, zone: str) -> int:
        """The second of the week, from Monday on, that a clock on a wall there shows."""
        if zone not in self._times:
            there = datetime.fromtimestamp(self.evidence.at, ZoneInfo(zone))
            day = there.weekday() * 86_400
            self._times[zone] = day + there.hour * 3600 + there.minute * 60 + there.second
        return self._times[zone]

    def failures(self) -> tuple[TraceStep, ...]:
        """A line of the trace for each rule whose expression failed."""
        if not self.failed:
            return ()
        return tuple(
            TraceStep(step="rule", matched=False, why=f"{name}: its expression failed, {why}")
            for name, why in self.failed.items()
        )
