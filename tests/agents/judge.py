"""Judge what was played: hit rates, decisions and bills."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from decimal import Decimal
from typing import Self

from gateway.core.target import TIERS
from tests.agents.host import HostBill
from tests.agents.run import Called

DECIDED = frozenset({"classifier", "rule", "default"})
ESTIMATE_ERROR = 128
"""Tokens by which the gateway may estimate too low what is cached of a prompt that begins anew.

It estimates from the length of the text before the user's. This provider also counts the JSON of up
to four messages, 20 tokens each, and a user may repeat 25 tokens. The smallest prompt that it
caches has 512, so this hides no lost cache.
"""


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
            wrong += [f"{name}: {what}" for what in (*_moves(calls), *_bill(calls))]
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


def _moves(calls: list[tuple[Called, Called]]) -> list[str]:
    """Check that no move loses more of the cache than its trace says."""
    wrong = []
    for at, (call, other) in enumerate(calls):
        lost = max(0, other.bill.read - call.bill.read)
        loss = _price(call, write=lost) - _price(call, read=lost)
        if call.moved and call.cost is not None and loss > call.cost + _estimate_error(calls, at):
            wrong.append(f"call {at} loses {loss} of the cache, {call.cost} by the trace")
    return wrong


def _bill(calls: list[tuple[Called, Called]]) -> list[str]:
    """Check that the bill exceeds that of one of its models by no more than the traced move costs.

    The provider has told the gateway how many tokens it has cached, so the bound is exact. It has
    not for a prompt that begins anew: each move of such a prompt may cost `ESTIMATE_ERROR` more.
    """
    paid = sum((call.bill.usd() for call, _ in calls), Decimal(0))
    models = {call.bill.model for call, _ in calls}
    most = max(sum((other.bill.usd(model) for _, other in calls), Decimal(0)) for model in models)
    moves = [at for at, (call, _) in enumerate(calls) if call.moved]
    move_costs = [calls[at][0].cost for at in moves]
    if None in move_costs:
        return ["a move whose cost is not known, where all prices are"]
    allowed = most + sum((cost for cost in move_costs if cost is not None), Decimal(0))
    error = sum((_estimate_error(calls, at) for at in moves), Decimal(0))
    return (
        [f"billed {paid}, {most} on one model, {allowed} by the traces"]
        if paid > allowed + error
        else []
    )


def _estimate_error(calls: list[tuple[Called, Called]], at: int) -> Decimal:
    """Return the USD by which the traced cost of a call's move may be too low.

    A prompt that is shorter than the one before it begins anew, as after a compaction.
    """
    call = calls[at][0]
    if at == 0 or call.bill.prompt >= calls[at - 1][0].bill.prompt:
        return Decimal(0)
    return _price(call, write=ESTIMATE_ERROR)


def _price(call: Called, *, read: int = 0, write: int = 0) -> Decimal:
    """Return the USD of tokens that a call's model reads from its cache, or writes to it."""
    return HostBill(call.bill.ref, call.bill.model, read, write, fresh=0, output=0).usd()
