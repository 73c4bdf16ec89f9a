"""How budgets stand: what each may have, what of it is used, and how long that lasts."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import tzinfo
from decimal import Decimal

import msgspec

from gateway.core.call import Key, KeyBudget
from gateway.limits import window
from gateway.limits.counters import Owner
from gateway.limits.rules import called, plain, safe, whose
from gateway.limits.window import Window
from gateway.settings.schema.limits import BudgetPart

_MICRO = 1_000_000
_LEAST = 60.0
"""Seconds of a window after which there is a rate to speak of."""


class BudgetStatus(msgspec.Struct, frozen=True):
    """A budget in its window of now, of one tenant or of all."""

    name: str
    part: BudgetPart | KeyBudget
    owner: Owner
    window: Window
    key: str = ""
    """The key whose own it is; empty where it is none's."""

    @property
    def kind(self) -> str:
        """What is counted: usd, or share of calls."""
        share = isinstance(self.part, BudgetPart) and self.part.share is not None
        return "share" if share else "usd"

    @property
    def apart(self) -> str | None:
        """What has a count of its own beside tenants: key, tag or tier."""
        return self.part.apart if isinstance(self.part, BudgetPart) else None

    def scope(self, subject: str | None) -> str:
        """Say in words whose calls a counter has: of a key, tag or tier, where it is one's."""
        return whose(self.owner, "key" if self.key else self.apart, self.key or subject)

    @property
    def limit(self) -> Decimal:
        """USD, or the part of calls."""
        part = self.part
        share = part.share if isinstance(part, BudgetPart) else None
        return share if share is not None else part.usd or Decimal(0)

    @property
    def only(self) -> dict[str, Collection[str]]:
        """The calls that it counts, as the store of the ledger is asked for them."""
        part, found = self.part, dict[str, Collection[str]]()
        if self.owner is not None:
            found["tenant"] = [self.owner]
        if isinstance(part, BudgetPart):
            found |= {n: v for n, v in (("key", part.key), ("tag", part.tag)) if v is not None}
        else:
            found["key"] = [self.key]
        if part.tier is not None:
            found["tier"] = list(part.tier)
        return found

    def counters(self, used: Mapping[str, int]) -> dict[str | None, int]:
        """Its counters among all of its owner's, by whom they count; by None where by nobody."""
        head, tail = f"{self.kind}|{safe(self.name)}|", f"|{self.window.name}"
        return {
            self._subject(field[len(head) : -len(tail)]): value
            for field, value in used.items()
            if field.startswith(head) and field.endswith(tail) and len(field) > len(head + tail)
        }

    def calls(self, subject: str | None) -> str:
        """The counter of all calls, of which a share is one."""
        whom = "all" if subject is None else f"{self.apart}={safe(subject)}"
        return f"calls|{safe(self.name)}|{whom}|{self.window.name}"

    def counts(self, subject: str | None) -> bool:
        """Whether it counts calls of this key, tag or tier."""
        if self.apart is None or not isinstance(self.part, BudgetPart):
            return True
        named = {"key": self.part.key, "tag": self.part.tag, "tier": self.part.tier}[self.apart]
        return subject is not None and (named is None or subject in named)

    def _subject(self, text: str) -> str | None:
        return None if self.apart is None else plain(text.partition("=")[2])


class BudgetUse(msgspec.Struct, frozen=True):
    """How much of a budget is used by whom it counts."""

    budget: BudgetStatus
    subject: str | None
    """The key, tag or tier that is counted apart."""
    used: Decimal
    """USD, what calls hold among them, or the part of calls."""
    counted: bool
    """By the counters; else it is what the ledger knows."""

    def rate(self, now: float) -> Decimal | None:
        """USD an hour since the window began; None where nobody can know."""
        start = self.budget.window.start
        if self.budget.kind != "usd" or start is None or now - start < _LEAST:
            return None
        return round(self.used * 3_600 / Decimal(now - start), 6)

    def runs_out(self, now: float) -> float | None:
        """When it is used up at this rate, within its window; None where it is not."""
        left, rate = self.budget.limit - self.used, self.rate(now)
        if left <= 0 or not rate:
            return None
        at = now + float(left / rate) * 3_600
        end = self.budget.window.end
        return at if end is None or at < end else None


def budgets(
    parts: Iterable[BudgetPart],
    keys: Iterable[Key],
    tenants: Iterable[str],
    zone: tzinfo,
    now: float,
) -> Iterator[BudgetStatus]:
    """Yield those of the configuration, of all tenants or of each, then those of keys alone."""
    given, every = list(parts), sorted(set(tenants))
    for part in given:
        span = window.at(part.every, now, zone)
        owners: list[Owner] = [None] if part.all_tenants else [*every]
        for owner in owners:
            yield BudgetStatus(part.name, part, owner, span)
    for key in {key.name: key for key in keys}.values():
        for number, own in enumerate(key.budgets):
            span = window.at(own.every, now, zone)
            yield BudgetStatus(called(key.name, number), own, key.tenant, span, key.name)


def standings(
    budget: BudgetStatus, used: Mapping[str, int] | None, spent: Mapping[str | None, Decimal]
) -> list[BudgetUse]:
    """How a budget stands: by its counters, and by what the ledger knows where one is not there.

    `used` are the counters of its owner, or None; `spent` is of money, by whom it is counted.
    """
    counted = budget.counters(used or {})
    found: list[BudgetUse] = []
    subjects = [*counted, *(one for one in spent if one not in counted and budget.counts(one))]
    if budget.apart is None and not subjects:
        subjects = [None]
    for subject in sorted(subjects, key=lambda one: one or ""):
        if budget.kind == "share":
            whole = (used or {}).get(budget.calls(subject), 0)
            part = Decimal(counted.get(subject, 0)) / whole if whole else Decimal(0)
            found.append(BudgetUse(budget, subject, round(part, 4), used is not None))
        elif subject in counted:
            found.append(
                BudgetUse(budget, subject, Decimal(counted[subject]) / _MICRO, counted=True)
            )
        else:
            found.append(BudgetUse(budget, subject, spent.get(subject, Decimal(0)), counted=False))
    return found
