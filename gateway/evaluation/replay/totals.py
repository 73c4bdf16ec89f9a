"""What a replay adds up: calls by tier, money, and what cannot be told."""

import heapq
from collections import Counter
from decimal import Decimal
from typing import NamedTuple

from gateway.core.ledger_rows import ReplayRow
from gateway.evaluation.replay.cost import EXACT, ReplayedCost

_NOTHING = Decimal(0)
REFUSED = "refused"
UNTIERED = "no tier"


class ReplayedOutcome(NamedTuple):
    """What is decided for a call; one that is refused has no target."""

    lab: str | None = None
    tier: str | None = None
    target: str | None = None
    by: str = ""
    """The rule that decided, or what else did; of a refusal, its kind."""

    @property
    def place(self) -> tuple[str | None, str | None, str | None]:
        """Where the call goes; two refusals are the same."""
        return self[:3]

    @property
    def column(self) -> str:
        """The tier, or what there is in its place."""
        if self.target is None:
            return REFUSED
        return self.tier or UNTIERED


class ChangedCall(NamedTuple):
    """A call that would have gone elsewhere."""

    id: str
    at: float
    key: str
    before: ReplayedOutcome
    after: ReplayedOutcome
    usd: Decimal | None
    """What it would have cost less what it cost; None where that is not known."""


class ReplayGroup:
    """Calls that have a name in common, added up."""

    __slots__ = (
        "after", "before", "calls", "changed", "tiers_after", "tiers_before", "undecided",
        "unknown",
    )  # fmt: skip

    def __init__(self) -> None:
        self.calls = 0
        self.changed = 0
        self.undecided = 0
        self.unknown = 0
        """Calls that cost something before or after, and nobody knows how much: in no sum."""
        self.before = _NOTHING
        """USD of the others."""
        self.after = _NOTHING
        self.tiers_before: Counter[str] = Counter()
        self.tiers_after: Counter[str] = Counter()


class ReplayTotals:
    """All of a log."""

    def __init__(self, most: int) -> None:
        self.apart = 0
        """Calls that were refused before anything was decided."""
        self.assumed = 0
        """Calls of which it was taken that a target can be asked in another dialect."""
        self.total = ReplayGroup()
        self.by_before: Counter[str] = Counter()
        """Calls that were decided again, by what had decided them."""
        self.by_after: Counter[str] = Counter()
        """The same by what does now."""
        self.guards: Counter[str] = Counter()
        """Calls by guards that apply to them now; those that were refused tell none."""
        self.keys: dict[str, ReplayGroup] = {}
        self.tags: dict[str, ReplayGroup] = {}
        self.unread: Counter[str] = Counter()
        """Calls by what was not kept of them."""
        self.lost = _NOTHING
        """USD that calls would cost more because their conversation's cache is elsewhere."""
        self.gained = _NOTHING
        """USD that they would cost less because it is not."""
        self._most = most
        self._changed: list[tuple[Decimal, int, ChangedCall]] = []
        self._taken = 0

    @property
    def changed(self) -> list[ChangedCall]:
        """Those that change most money first; of the same, in order of time."""
        return [item for *_, item in sorted(self._changed, key=lambda one: (-one[0], -one[1]))]

    def undecided(self, row: ReplayRow, what: str) -> None:
        """A call of which something is not kept."""
        self.unread[what] += 1
        for group in self._groups(row):
            group.calls += 1
            group.undecided += 1

    def take(
        self,
        row: ReplayRow,
        before: ReplayedOutcome,
        after: ReplayedOutcome,
        bill: ReplayedCost | None,
    ) -> None:
        """A call that was decided again; `bill` where it costs something else."""
        moved = before.place != after.place
        self.by_before[before.by] += 1
        self.by_after[after.by] += 1
        cost = row.cost
        then = cost if bill is None else bill.usd
        if moved and after.target is None:
            then = _NOTHING
        elif moved and before.target is None:
            then = None  # what it would have been answered
        for group in self._groups(row):
            group.calls += 1
            group.tiers_before[before.column] += 1
            group.tiers_after[after.column] += 1
            group.changed += moved
            if cost is not None and then is not None:
                if cost:
                    group.before = EXACT.add(group.before, cost)
                if then:
                    group.after = EXACT.add(group.after, then)
            else:
                group.unknown += 1
        if bill is not None and cost is not None and then is not None:
            if bill.effect > 0:
                self.lost = EXACT.add(self.lost, bill.effect)
            else:
                self.gained = EXACT.subtract(self.gained, bill.effect)
        if moved:
            self._note(row, before, after, then)

    def _note(
        self, row: ReplayRow, before: ReplayedOutcome, after: ReplayedOutcome, then: Decimal | None
    ) -> None:
        cost = row.cost
        usd = None if cost is None or then is None else EXACT.subtract(then, cost)
        self._taken -= 1  # of calls of the same money the first stand
        changed = ChangedCall(row.id, row.at, row.key, before, after, usd)
        item = abs(usd or _NOTHING), self._taken, changed
        if len(self._changed) < self._most:
            heapq.heappush(self._changed, item)
        elif self._most:
            heapq.heappushpop(self._changed, item)

    def _groups(self, row: ReplayRow) -> list[ReplayGroup]:
        groups = [self.total, _of(self.keys, row.key)]
        return groups + [_of(self.tags, tag) for tag in row.tags] if row.tags else groups


def _of(groups: dict[str, ReplayGroup], name: str) -> ReplayGroup:
    group = groups.get(name)
    if group is None:
        group = groups[name] = ReplayGroup()
    return group
