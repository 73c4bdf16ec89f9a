"""The decision and the plan: which tier, which targets, and the full trace of why."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Literal, overload

import msgspec

from gateway.core.call import CompleteMode
from gateway.core.decision_context import DialTerms, Score, Thresholds
from gateway.core.target import Target, Tier
from gateway.core.turn_evidence import EvidenceRise

type DecisionSource = Literal["pin", "seat", "rule", "classifier", "default"]


class TraceStep(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the trace."""

    step: str
    """pin, embed, constraint, guard, budget, evidence, seat, score, arm, rule, judge, classifier,
    share, default, plan or complete."""
    matched: bool
    effect: str = ""
    reason: str = ""
    ms: float = 0.0


type LazyReason = str | Callable[[], str]
"""Words, or what makes them: most traces are never read."""
type TraceLine = tuple[float, str, bool, str, LazyReason]
"""When it was added, the step, whether it matched, its effect and why."""


class Trace(Sequence[TraceStep]):
    """Why something was decided, line by line, each with the milliseconds since the one before.

    Its lines are made into words each time that somebody reads them. `clock` counts seconds.
    """

    __slots__ = ("_clock", "_lines", "_started_at")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._started_at = clock()
        self._lines: list[TraceLine] = []

    def add(self, step: str, reason: LazyReason, effect: str = "", *, matched: bool = True) -> None:
        """One line: what was looked at, why, and what came of it."""
        self._lines.append((self._clock(), step, matched, effect, reason))

    def add_steps(self, steps: Iterable[TraceStep]) -> None:
        """Lines that are words, each as of now."""
        for step in steps:
            self._lines.append((self._clock(), step.step, step.matched, step.effect, step.reason))

    def lines_from(self, index: int) -> list[TraceLine]:
        """All but so many lines, for `add_lines`."""
        return self._lines[index:]

    def add_lines(self, lines: Iterable[TraceLine]) -> None:
        """Lines of another trace, each as of now."""
        for _, step, matched, effect, reason in lines:
            self._lines.append((self._clock(), step, matched, effect, reason))

    def __iter__(self) -> Iterator[TraceStep]:
        previous = self._started_at
        for timestamp, step, matched, effect, reason in self._lines:
            ms, previous = int((timestamp - previous) * 10_000_000) / 10_000, timestamp
            text = reason if isinstance(reason, str) else reason()
            yield TraceStep(step=step, matched=matched, effect=effect, reason=text, ms=ms)

    def __len__(self) -> int:
        return len(self._lines)

    @overload
    def __getitem__(self, index: int) -> TraceStep: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[TraceStep, ...]: ...
    def __getitem__(self, index: int | slice) -> TraceStep | tuple[TraceStep, ...]:
        return tuple(self)[index]


class SessionSwitch(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation that left its seat, or that had a reason to and stayed."""

    has_moved: bool
    lab: str
    tier: Tier
    target: str
    """Its seat. What it moved to is what was decided."""
    destination: str
    """The target that it moved to, or would have."""
    tokens: int
    """Of its prompt, in the prompt cache that the move leaves behind."""
    cost: Decimal | None
    """USD, once, of having them read anew; None where that is unknown."""
    saving: Decimal | None = None
    """USD by which each call is cheaper there, where that was weighed and is known."""
    calls: int | None = None
    """Calls that the conversation is expected to have yet, where that was weighed."""
    margin: Decimal | None = None
    """USD that all these calls save, less `cost`, where that was weighed and is known."""


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What was decided for a call."""

    lab: str
    tier: Tier | None
    """None for an embedding model, which is of no tier."""
    source: DecisionSource
    model: str | None = None
    """A model that is pinned; None leaves the choice to the tier."""
    rule: str | None = None
    """The choice that decided."""
    arm: str | None = None
    """The rules whose part of the traffic was asked for, and whether the call is in: `a:in`."""
    guards: tuple[str, ...] = ()
    """The guards that matched."""
    confidence: float | None = None
    """Probability that the tier suffices, where a classifier decided."""
    classified_tier: Tier | None = None
    """The tier that a classifier or a judge gives, before guards, targets and the conversation."""
    score: Score | None = None
    """What it said."""
    thresholds: Thresholds | None = None
    """What the score was held against."""
    dial_terms: DialTerms | None = None
    """The terms of the quality dial's choice; None where no dial chose."""
    switch: SessionSwitch | None = None
    """Whether and why the conversation left its seat; None where nothing asked it to."""
    family: str | None = None
    """The beginning of the model's name that chose the tier, as no provider of the model is on."""
    account: str | None = None
    """The account of the first target that has the conversation's prompt in its cache."""
    turns_below: int = 0
    """User turns in a row, this one included, that by themselves need less than the tier."""
    rise: EvidenceRise | None = None
    """The last evidence of the conversation, for as long as it keeps the tier."""
    tags: tuple[str, ...] = ()
    no_cache: bool = False
    """True if a guard keeps the call out of the response cache."""
    cache: bool = False
    """True if a guard turns the response cache on for the call."""
    complete: CompleteMode = "off"
    trace: Sequence[TraceStep] = ()


class SkippedTarget(msgspec.Struct, frozen=True):
    """A target that may not serve the call, and the reason."""

    target: str
    tier: Tier | None
    reason: str
    detail: str = ""
    """Steps for the operator to have it back. Clients never see them."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Targets that may serve a call, in order, and those that may not."""

    targets: tuple[Target, ...]
    dialects: tuple[str, ...]
    """The dialect in which each of them is asked: the client's own where it is spoken."""
    labs: tuple[str, ...] = ()
    """The lab of each; empty where all are of the lab that was decided."""
    skipped: tuple[SkippedTarget, ...] = ()
