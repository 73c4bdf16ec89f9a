"""Judge what was played: hit rates, decisions and bills."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from decimal import Decimal
from typing import Self

from gateway.core.target import TIERS
from tests.agents.run import Called

DECIDED = frozenset({"classifier", "rule", "default"})


@dataclass
class StrategySum:
    """The sum of all conversations through one `Door`."""

    read: int = 0
    prompt: int = 0
    usd: Decimal = Decimal(0)
    calls: int = 0
    turns: int = 0
    decided: int = 0
    moves: int = 0
    titles: Decimal = Decimal(0)
    tiers: Counter[str] = field(default_factory=Counter)
    """User turns by the tier that served them."""
    under: int = 0
    """User turns served below the tier that they get when each turn is decided alone."""
    wrong: list[str] = field(default_factory=list)

    @property
    def hits(self) -> float:
        """Return the share of prompt tokens that the provider read from its cache."""
        return self.read / self.prompt

    def __iadd__(self, other: "StrategySum") -> Self:
        """Add the conversations of another sum."""
        for member in fields(self):
            setattr(self, member.name, getattr(self, member.name) + getattr(other, member.name))
        return self

    def add(self, calls: Sequence[Called], alone: Sequence[Called]) -> None:
        """Add a conversation's calls; in `alone`, each turn of the same conversation is decided by itself."""
        for call, own in zip(calls, alone, strict=True):
            if call.kind == "title":
                self.titles += call.bill.usd()
                continue
            self.read += call.bill.read
            self.prompt += call.bill.prompt
            self.usd += call.bill.usd()
            self.calls += 1
            if call.kind == "user":
                self.turns += 1
                self.tiers[call.tier] += 1
                self.under += bool(own.tier and call.tier) and (
                    TIERS.index(call.tier) < TIERS.index(own.tier)
                )
            self.decided += call.source in DECIDED
            self.moves += call.moved


def judge(
    number: int, through: list[Called], direct: list[Called] | None = None, *, moves: bool = True
) -> list[str]:
    """List what is wrong with a conversation; `moves` is true if it may move at each turn.

    `direct` is the same conversation sent straight to the provider. Without it, only the decisions
    are judged.
    """
    wrong = []
    threads: dict[str, list[tuple[Called, Called]]] = defaultdict(list)
    for call, other in zip(through, through if direct is None else direct, strict=True):
        assert (call.thread[1:], call.kind) == (other.thread[1:], other.kind)
        threads[call.thread].append((call, other))
        if call.bill.prompt != other.bill.prompt:
            wrong.append(
                f"{number}: {call.bill.prompt} tokens were asked, {other.bill.prompt} alone"
            )
        if call.kind == "title" and call.source not in DECIDED:
            wrong.append(f"{number}: a title is decided by {call.source}")
    threads.pop("", None)
    for name, calls in threads.items():
        wrong += [f"{name}: {what}" for what in _decisions([call for call, _ in calls])]
        if not moves:
            wrong += [f"{name}: {what}" for what in _bill(calls)]
    return wrong


def _decisions(calls: list[Called]) -> list[str]:
    """Check for at most one decision a user turn, and none in a loop or in a side call."""
    wrong, seat = [], None
    for at, call in enumerate(calls):
        if call.kind != "user" and call.source != "seat":
            wrong.append(f"call {at} ({call.kind}) is decided by {call.source}")
        if (
            seat is not None
            and (call.kind != "user" or not call.moved)
            and call.bill.model != seat.bill.model
        ):
            wrong.append(
                f"call {at} ({call.kind}) goes from {seat.bill.model} to {call.bill.model} untold"
            )
        seat = call
    return wrong


def _bill(calls: list[tuple[Called, Called]]) -> list[str]:
    """Check that the bill exceeds that of one of its models by no more than the traced move costs."""
    paid = sum((call.bill.usd() for call, _ in calls), Decimal(0))
    models = {call.bill.model for call, _ in calls}
    most = max(sum((other.bill.usd(model) for _, other in calls), Decimal(0)) for model in models)
    move_costs = [call.cost for call, _ in calls if call.moved]
    if None in move_costs:
        return ["a move whose cost is not known, where all prices are"]
    allowed = most + sum((cost for cost in move_costs if cost is not None), Decimal(0))
    return (
        [f"billed {paid}, {most} on one model, {allowed} by the traces"] if paid > allowed else []
    )
