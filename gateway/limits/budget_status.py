"""The state of budgets: their limits, what is used, and how long the rest lasts."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import tzinfo
from decimal import Decimal

import msgspec

from gateway.core.call import Key, KeyBudget
from gateway.limits import window
from gateway.limits.counters import Owner
from gateway.limits.rules import (
    describe_scope,
    escape,
    find_rise_end,
    find_zone,
    make_key_limit_name,
    unescape,
)
from gateway.limits.window import Window
from gateway.settings.schema.limits import BudgetPart

_MICRO_PER_USD = 1_000_000
_MIN_RATE_SECONDS = 60.0
"""Seconds of a window before the gateway computes a rate: earlier there is too little data."""


class BudgetStatus(msgspec.Struct, frozen=True):
    """A budget in its current window, of one tenant or of all tenants together."""

    name: str
    part: BudgetPart | KeyBudget
    owner: Owner
    window: Window
    key: str = ""
    """The key that the budget belongs to; empty for a budget of the configuration."""
    rise_end: float | None = None
    """When its rise ends, in seconds since the epoch; None if it is not raised now."""

    @property
    def kind(self) -> str:
        """Return what the budget counts: "usd", or "share" of calls."""
        share = isinstance(self.part, BudgetPart) and self.part.share is not None
        return "share" if share else "usd"

    @property
    def apart(self) -> str | None:
        """Return what has a counter of its own beside tenants: team, key, user, tag or tier."""
        return self.part.counted_by if isinstance(self.part, BudgetPart) else None

    def describe_scope(self, subject: str | None) -> str:
        """Say in words whose calls a counter counts; `subject` is what has it."""
        return describe_scope(self.owner, "key" if self.key else self.apart, self.key or subject)

    @property
    def limit(self) -> Decimal:
        """Return the limit: USD, a rise included, or the part of all calls."""
        part = self.part
        share = part.share if isinstance(part, BudgetPart) else None
        return share if share is not None else (part.usd or Decimal(0)) + self.rise

    @property
    def rise(self) -> Decimal:
        """Return the USD that the budget has more now."""
        rise = self.part.rise
        return Decimal(0) if rise is None or self.rise_end is None else rise.usd

    @property
    def filters(self) -> dict[str, Collection[str]]:
        """Return the calls that the budget counts, as filters for the ledger store."""
        part, filters = self.part, dict[str, Collection[str]]()
        if self.owner is not None:
            filters["tenant"] = [self.owner]
        if isinstance(part, BudgetPart):
            filters |= {
                name: values
                for name, values in (("key", part.key), ("team", part.team), ("tag", part.tag))
                if values is not None
            }
        else:
            filters["key"] = [self.key]
        if part.tier is not None:
            filters["tier"] = list(part.tier)
        return filters

    def select_counters(self, counters: Mapping[str, int]) -> dict[str | None, int]:
        """Return its counters among all of its owner's, by subject.

        The subject is a team, key, user, tag or tier; None if the budget counts none of them apart.
        """
        prefix, suffix = f"{self.kind}|{escape(self.name)}|", f"|{self.window.name}"
        return {
            self._parse_subject(field[len(prefix) : -len(suffix)]): value
            for field, value in counters.items()
            if field.startswith(prefix) and field.endswith(suffix)
        }

    def make_calls_field(self, subject: str | None) -> str:
        """Return the counter of all calls, of which a share is a part."""
        subject_label = "all" if subject is None else f"{self.apart}={escape(subject)}"
        return f"calls|{escape(self.name)}|{subject_label}|{self.window.name}"

    def matches(self, subject: str | None) -> bool:
        """Return True if the budget counts calls of this team, key, user, tag or tier."""
        part = self.part
        if self.apart is None or not isinstance(part, BudgetPart):
            return True
        if self.apart == "user":
            return subject is not None
        names = {"key": part.key, "team": part.team, "tag": part.tag, "tier": part.tier}[self.apart]
        return subject is not None and (names is None or subject in names)

    def _parse_subject(self, text: str) -> str | None:
        return None if self.apart is None else unescape(text.partition("=")[2])


class BudgetUse(msgspec.Struct, frozen=True):
    """The use of a budget by one subject."""

    budget: BudgetStatus
    subject: str | None
    """The team, key, user, tag or tier that is counted apart; None if nothing is."""
    used_amount: Decimal
    """USD, reservations of running calls included; for a share the used part of all calls."""
    from_counters: bool
    """True if the amount comes from the counters, False if it comes from the ledger."""

    def compute_rate(self, now: float) -> Decimal | None:
        """Return USD an hour since the window began; None if the rate is unknown."""
        start = self.budget.window.start
        if self.budget.kind != "usd" or start is None or now - start < _MIN_RATE_SECONDS:
            return None
        return round(self.used_amount * 3_600 / Decimal(now - start), 6)

    def predict_exhaustion(self, now: float) -> float | None:
        """Return when the budget is used up at this rate, in seconds since the epoch.

        None if it lasts until its window ends, if it is used up already, or if the rate is unknown.
        """
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
    """Yield the budgets of the configuration, then those of single keys.

    A budget of the configuration stands once for all tenants together, or once for each tenant.
    """
    budget_parts, tenant_names = list(parts), sorted(set(tenants))
    for part in budget_parts:
        current_window = window.find_window(part.every, now, find_zone(part.time_zone, zone))
        owners: list[Owner] = [None] if part.all_tenants else [*tenant_names]
        for owner in owners:
            yield BudgetStatus(
                part.name, part, owner, current_window, rise_end=_find_open_rise(part, zone, now)
            )
    for key in {key.name: key for key in keys}.values():
        for index, key_budget in enumerate(key.budgets):
            key_zone = find_zone(key_budget.time_zone, zone)
            current_window = window.find_window(key_budget.every, now, key_zone)
            yield BudgetStatus(
                make_key_limit_name(key.name, index),
                key_budget,
                key.tenant,
                current_window,
                key.name,
                _find_open_rise(key_budget, zone, now),
            )


def _find_open_rise(part: BudgetPart | KeyBudget, zone: tzinfo, now: float) -> float | None:
    """Return when a rise ends; None if there is none, or if it has ended."""
    end = find_rise_end(part, zone)
    return end if now < end else None


def compute_budget_uses(
    budget: BudgetStatus,
    counters: Mapping[str, int] | None,
    ledger_spent: Mapping[str | None, Decimal],
) -> list[BudgetUse]:
    """Return how much of a budget each subject uses: from its counter, else from the ledger.

    `counters` are the counters of its owner, or None; `ledger_spent` is the USD that the ledger
    has, by subject.
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
            calls = (counters or {}).get(budget.make_calls_field(subject))
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
