"""How budgets stand: what each may have, what of it is used, and how long that lasts."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import tzinfo
from decimal import Decimal

import msgspec

from gateway.core.call import Key, KeyBudget
from gateway.limits import window
from gateway.limits.counters import Owner
from gateway.limits.rules import describe_scope, escape, make_key_limit_name, unescape
from gateway.limits.window import Window
from gateway.settings.schema.limits import BudgetPart

_MICRO_PER_USD = 1_000_000
_MIN_RATE_SECONDS = 60.0
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
        return self.part.counted_by if isinstance(self.part, BudgetPart) else None

    def describe_scope(self, subject: str | None) -> str:
        """Say in words whose calls a counter has: of a key, tag or tier, where it is one's."""
        return describe_scope(self.owner, "key" if self.key else self.apart, self.key or subject)

    @property
    def limit(self) -> Decimal:
        """USD, or the part of calls."""
        part = self.part
        share = part.share if isinstance(part, BudgetPart) else None
        return share if share is not None else part.usd or Decimal(0)

    @property
    def filters(self) -> dict[str, Collection[str]]:
        """The calls that it counts, as the store of the ledger is asked for them."""
        part, filters = self.part, dict[str, Collection[str]]()
        if self.owner is not None:
            filters["tenant"] = [self.owner]
        if isinstance(part, BudgetPart):
            filters |= {
                name: values
                for name, values in (("key", part.key), ("tag", part.tag))
                if values is not None
            }
        else:
            filters["key"] = [self.key]
        if part.tier is not None:
            filters["tier"] = list(part.tier)
        return filters

    def select_counters(self, counters: Mapping[str, int]) -> dict[str | None, int]:
        """Its counters among all of its owner's, by whom they count; by None where by nobody."""
        prefix, suffix = f"{self.kind}|{escape(self.name)}|", f"|{self.window.name}"
        return {
            self._parse_subject(field[len(prefix) : -len(suffix)]): value
            for field, value in counters.items()
            if field.startswith(prefix)
            and field.endswith(suffix)
            and len(field) > len(prefix + suffix)
        }

    def make_calls_field(self, subject: str | None) -> str:
        """The counter of all calls, of which a share is one."""
        subject_label = "all" if subject is None else f"{self.apart}={escape(subject)}"
        return f"calls|{escape(self.name)}|{subject_label}|{self.window.name}"

    def matches(self, subject: str | None) -> bool:
        """Whether it counts calls of this key, tag or tier."""
        if self.apart is None or not isinstance(self.part, BudgetPart):
            return True
        names = {"key": self.part.key, "tag": self.part.tag, "tier": self.part.tier}[self.apart]
        return subject is not None and (names is None or subject in names)

    def _parse_subject(self, text: str) -> str | None:
        return None if self.apart is None else unescape(text.partition("=")[2])


class BudgetUse(msgspec.Struct, frozen=True):
    """How much of a budget is used by whom it counts."""

    budget: BudgetStatus
    subject: str | None
    """The key, tag or tier that is counted apart."""
    used_amount: Decimal
    """USD, what calls hold among them, or the part of calls."""
    from_counters: bool
    """By the counters; else it is what the ledger knows."""

    def compute_rate(self, now: float) -> Decimal | None:
        """USD an hour since the window began; None where nobody can know."""
        start = self.budget.window.start
        if self.budget.kind != "usd" or start is None or now - start < _MIN_RATE_SECONDS:
            return None
        return round(self.used_amount * 3_600 / Decimal(now - start), 6)

    def predict_exhaustion(self, now: float) -> float | None:
        """When it is used up at this rate, within its window; None where it is not."""
        remaining, rate = self.budget.limit - self.used_amount, self.compute_rate(now)
        if remaining <= 0 or not rate:
            return None
        timestamp = now + float(remaining / rate) * 3_600
        end = self.budget.window.end
        return timestamp if end is None or timestamp < end else None


def iter_budgets(
    parts: Iterable[BudgetPart],
    keys: Iterable[Key],
    tenants: Iterable[str],
    zone: tzinfo,
    now: float,
) -> Iterator[BudgetStatus]:
    """Yield those of the configuration, of all tenants or of each, then those of keys alone."""
    budget_parts, tenant_names = list(parts), sorted(set(tenants))
    for part in budget_parts:
        current_window = window.find_window(part.every, now, zone)
        owners: list[Owner] = [None] if part.all_tenants else [*tenant_names]
        for owner in owners:
            yield BudgetStatus(part.name, part, owner, current_window)
    for key in {key.name: key for key in keys}.values():
        for index, key_budget in enumerate(key.budgets):
            current_window = window.find_window(key_budget.every, now, zone)
            yield BudgetStatus(
                make_key_limit_name(key.name, index),
                key_budget,
                key.tenant,
                current_window,
                key.name,
            )


def compute_budget_uses(
    budget: BudgetStatus,
    counters: Mapping[str, int] | None,
    ledger_spent: Mapping[str | None, Decimal],
) -> list[BudgetUse]:
    """How a budget stands: by its counters, and by what the ledger knows where one is not there.

    `counters` are the counters of its owner, or None; `ledger_spent` is of money, by whom it is
    counted.
    """
    own_counters = budget.select_counters(counters or {})
    uses: list[BudgetUse] = []
    subjects = [
        *own_counters,
        *(name for name in ledger_spent if name not in own_counters and budget.matches(name)),
    ]
    if budget.apart is None and not subjects:
        subjects = [None]
    for subject in sorted(subjects, key=lambda name: name or ""):
        if budget.kind == "share":
            calls = (counters or {}).get(budget.make_calls_field(subject), 0)
            share = Decimal(own_counters.get(subject, 0)) / calls if calls else Decimal(0)
            uses.append(BudgetUse(budget, subject, round(share, 4), counters is not None))
        elif subject in own_counters:
            uses.append(
                BudgetUse(
                    budget,
                    subject,
                    Decimal(own_counters[subject]) / _MICRO_PER_USD,
                    from_counters=True,
                )
            )
        else:
            uses.append(
                BudgetUse(
                    budget, subject, ledger_spent.get(subject, Decimal(0)), from_counters=False
                )
            )
    return uses
