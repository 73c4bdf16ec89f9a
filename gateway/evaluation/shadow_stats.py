"""What a candidate would have decided, against what was: small counts, and the last differences."""

from collections import Counter, deque
from collections.abc import Mapping
from decimal import Decimal

import msgspec

from gateway.core.decision import Decision, Plan
from gateway.core.jsonio import Json
from gateway.core.price import compared
from gateway.core.target import Target
from gateway.core.usage import Usage

EXAMPLES = 50
"""Differences that are told with the id of their call."""
_MOST = 1_000
"""Names of one kind that are counted apart; further ones are one."""
_OTHERS = "(others)"
_TOLD = 100
"""Names of one kind that a report has, those with most differences first."""


class Side(msgspec.Struct, frozen=True):
    """What one of the two has decided."""

    lab: str
    tier: str
    """`refused` where nothing may serve the call."""
    target: str
    """The name of the first of its plan."""
    by: str
    """What decided: the source, or the rule by its name."""


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """One call, decided by both."""

    id: str
    at: float
    key: str
    tags: tuple[str, ...] = ()
    own: Side
    other: Side
    costs: tuple[Decimal, Decimal] | None = None
    """USD at the first target of each, by what the answer used; None where one is unknown."""

    @property
    def same(self) -> bool:
        """Whether both send it to the same target of the same lab and tier."""
        one, other = self.own, self.other
        return (one.lab, one.tier, one.target) == (other.lab, other.tier, other.target)


def side(decision: Decision, plan: Plan) -> Side:
    """A decision as one of the two."""
    by = f"rule {decision.rule}" if decision.rule is not None else decision.source
    return Side(decision.lab, decision.tier or "", plan.targets[0].name, by)


def refused(kind: str) -> Side:
    """A refusal as one of the two."""
    return Side("", "refused", "", kind)


def costs(
    usage: Usage | None, own: Target | None, other: Target | None, at: float
) -> tuple[Decimal, Decimal] | None:
    """USD of what an answer used at the prices of two targets then; None where one is unknown.

    The tokens are those that were used: another model would have used others.
    """
    if own is None or other is None or own.price is None or other.price is None:
        return None
    prices = own.price.on(at), other.price.on(at)
    one, two = (compared(usage, price, prices[0]) for price in prices)
    return None if one is None or two is None else (one, two)


class Shadowed:
    """All that was decided by both since one of them has changed."""

    def __init__(self) -> None:
        self.calls = 0
        self.same = 0
        self.examples: deque[Seen] = deque(maxlen=EXAMPLES)
        self._own: Counter[str] = Counter()
        self._other: Counter[str] = Counter()
        self._moves: Counter[tuple[str, str]] = Counter()
        self._rules: Counter[tuple[str, str]] = Counter()
        self._named: dict[str, dict[str, list[int]]] = {"keys": {}, "tags": {}}
        self._priced = 0
        self._cost = Decimal(0)
        self._candidate = Decimal(0)

    def add(self, seen: Seen) -> None:
        """One more call."""
        self.calls += 1
        self._own[seen.own.tier] += 1
        self._other[seen.other.tier] += 1
        same = seen.same
        for kind, names in (("keys", (seen.key,)), ("tags", seen.tags)):
            for name in names:
                self._note(self._named[kind], name, same=same)
        if seen.costs is not None:
            self._priced += 1
            self._cost += seen.costs[0]
            self._candidate += seen.costs[1]
        if same:
            self.same += 1
            return
        self.examples.append(seen)
        if seen.own.tier != seen.other.tier:
            self._moves[seen.own.tier, seen.other.tier] += 1
        self._rules[seen.own.by, seen.other.by] += 1

    def view(self) -> dict[str, Json]:
        """All of it as plain values; what nobody knows is null."""
        known = self._priced > 0
        return {
            "calls": self.calls,
            "agree": self.same,
            "agreement": round(self.same / self.calls, 4) if self.calls else None,
            "tiers": {"own": _most(self._own), "candidate": _most(self._other)},
            "moves": [
                {"own": own, "candidate": other, "calls": count}
                for (own, other), count in _order(self._moves)
            ],
            "rules": [
                {"own": own, "candidate": other, "calls": count}
                for (own, other), count in _order(self._rules)
            ],
            "keys": _differing(self._named["keys"]),
            "tags": _differing(self._named["tags"]),
            "cost": {
                "calls": self._priced,
                "unknown": self.calls - self._priced,
                "own": f"{self._cost:f}" if known else None,
                "candidate": f"{self._candidate:f}" if known else None,
                "difference": f"{self._candidate - self._cost:f}" if known else None,
            },
            "examples": [_example(one) for one in reversed(self.examples)],
        }

    def _note(self, named: dict[str, list[int]], name: str, *, same: bool) -> None:
        found = named.get(name)
        if found is None:
            name = name if len(named) < _MOST else _OTHERS
            found = named.setdefault(name, [0, 0])
        found[0] += 1
        found[1] += not same


def _order(counted: Counter[tuple[str, str]]) -> list[tuple[tuple[str, str], int]]:
    return sorted(counted.items(), key=lambda item: (-item[1], item[0]))[:_TOLD]


def _most(counted: Mapping[str, int]) -> dict[str, Json]:
    return dict(sorted(counted.items()))


def _differing(named: Mapping[str, list[int]]) -> list[Json]:
    order = sorted(named.items(), key=lambda item: (-item[1][1], -item[1][0], item[0]))
    return [
        {"name": name, "calls": calls, "differ": differ} for name, (calls, differ) in order[:_TOLD]
    ]


def _example(seen: Seen) -> dict[str, Json]:
    return {
        "id": seen.id,
        "at": seen.at,
        "key": seen.key,
        "own": _told(seen.own),
        "candidate": _told(seen.other),
    }


def _told(one: Side) -> dict[str, Json]:
    return {"lab": one.lab, "tier": one.tier, "target": one.target, "by": one.by}
