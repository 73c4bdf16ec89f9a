"""The decision and the plan: the tier, the targets, and the full trace of the reasons."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Literal, overload

import msgspec

from gateway.core.call import CompleteMode, EscalateMode
from gateway.core.decision_context import DialTerms, Score, Thresholds
from gateway.core.target import Target, Tier
from gateway.core.turn_evidence import EvidenceRise

type DecisionSource = Literal["pin", "seat", "rule", "classifier", "default"]


class TraceStep(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the trace."""

    step: str
    """The step: pin, embed, constraint, guard, budget, evidence, seat, score, arm, rule, judge,
    classifier, share, default, plan, balance, complete or escalate."""
    matched: bool
    effect: str = ""
    reason: str = ""
    ms: float = 0.0


type LazyReason = str | Callable[[], str]
"""Text, or a function that makes it: nobody reads most traces."""
type TraceLine = tuple[float, str, bool, str, LazyReason]
"""The time of the line, the step, True if the step matched, its effect and its reason."""


class Trace(Sequence[TraceStep]):
    """The reasons of a decision, line by line, each with the milliseconds since the line before.

    The trace makes the text of its lines each time that somebody reads them. `clock` returns
    seconds.
    """

    __slots__ = ("_clock", "_lines", "_started_at")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._started_at = clock()
        self._lines: list[TraceLine] = []

    def add(self, step: str, reason: LazyReason, effect: str = "", *, matched: bool = True) -> None:
        """Add a line: the step, the reason, the effect, and True if the step matched."""
        self._lines.append((self._clock(), step, matched, effect, reason))

    def add_steps(self, steps: Iterable[TraceStep]) -> None:
        """Add finished steps, each with the time of now."""
        for step in steps:
            self._lines.append((self._clock(), step.step, step.matched, step.effect, step.reason))

    def lines_from(self, index: int) -> list[TraceLine]:
        """Return the lines from an index on, for `add_lines`."""
        return self._lines[index:]

    def add_lines(self, lines: Iterable[TraceLine]) -> None:
        """Add lines of another trace, each with the time of now."""
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
    """A conversation that left its session's target, or had a reason to leave and stayed."""

    has_moved: bool
    lab: str
    tier: Tier
    target: str
    """The target that its session had."""
    destination: str
    """The target that it moved to, or would have moved to."""
    tokens: int
    """Tokens of its prompt in the prompt cache that the move leaves behind."""
    cost: Decimal | None
    """USD, paid once, for the new provider to read those tokens; None if unknown."""
    saving: Decimal | None = None
    """USD that each call saves at the destination; None if not weighed or unknown."""
    calls: int | None = None
    """The number of further calls that the gateway expects; None if not weighed."""
    margin: Decimal | None = None
    """USD that all these calls save, minus `cost`; None if not weighed or unknown."""


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """The decision for a call."""

    lab: str
    tier: Tier | None
    """The tier; None for an embedding model, which has no tier."""
    source: DecisionSource
    model: str | None = None
    """The model that the client names; None leaves the choice to the tier."""
    rule: str | None = None
    """The name of the choice (rule) that decided."""
    arm: str | None = None
    """The rules whose `traffic` condition was evaluated, each with the call's side: `a:in`."""
    guards: tuple[str, ...] = ()
    """The names of the guards that matched."""
    confidence: float | None = None
    """The probability that the tier suffices; None if no classifier decided."""
    classified_tier: Tier | None = None
    """The tier by a classifier or a judge, before guards, targets and the conversation."""
    score: Score | None = None
    """The score by the classifier or the judge."""
    thresholds: Thresholds | None = None
    """The thresholds that the gateway compared the score with."""
    dial_terms: DialTerms | None = None
    """The terms of the quality dial's choice; None if the dial did not choose."""
    switch: SessionSwitch | None = None
    """The move of the conversation, made or refused; None if nothing asked for one."""
    family: str | None = None
    """The prefix of the model's name that chose the tier, as no provider of the model is on."""
    account: str | None = None
    """The account, at the first target, whose prompt cache has the conversation's prompt."""
    turns_below: int = 0
    """The user turns in a row, with this one, that alone need less than the tier."""
    rise: EvidenceRise | None = None
    """The rise by the conversation's last evidence, for as long as it keeps the tier."""
    tags: tuple[str, ...] = ()
    no_cache: bool = False
    """True if a guard keeps the call out of the response cache."""
    cache: bool = False
    """True if a guard turns the response cache on for the call."""
    no_judge: bool = False
    """True if a guard keeps the text from models that help to decide."""
    complete: CompleteMode = "off"
    escalate: EscalateMode = "off"
    """The mode for faults of the answer; `off` too if the answer is not checked."""
    trace: Sequence[TraceStep] = ()


class SkippedTarget(msgspec.Struct, frozen=True):
    """A target that may not serve the call, with the reason."""

    target: str
    tier: Tier | None
    reason: str
    detail: str = ""
    """Steps for the operator to enable the target. Clients never see them."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The targets that may serve a call, in order, and the targets that may not."""

    targets: tuple[Target, ...]
    dialects: tuple[str, ...]
    """The dialect for each target: the client's own if the target speaks it."""
    labs: tuple[str, ...] = ()
    """The lab of each target; empty if all belong to the lab of the decision."""
    skipped: tuple[SkippedTarget, ...] = ()
