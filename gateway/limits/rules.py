"""Limits and budgets made ready: what a call needs of each, and what a lost counter had counted."""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import tzinfo
from decimal import Decimal

import msgspec

from gateway.core.call import Key, KeyBudget, KeyLimit
from gateway.core.target import TIERS, Tier
from gateway.limits import window
from gateway.limits.counters import CounterDemand, DemandTemplate, Kind, Owner
from gateway.limits.window import Window, WindowKind
from gateway.settings.schema.limits import BudgetPart, LimitPart

MAX_COUNT = 2**53 - 1
"""The limit of what is only counted: a script in Redis knows no larger number exactly."""
_MAX_PREPARED = 4096
"""Kinds of calls of which it is kept what they need."""
_THOUSANDTHS = 1_000
_MICRO_PER_USD = 1_000_000


class LimitRule(msgspec.Struct, frozen=True, kw_only=True):
    """One limit or budget of one kind."""

    kind: Kind
    name: str
    limit: int
    period: float = 0.0
    window_kind: WindowKind | None = None
    keys: frozenset[str] | None = None
    """Calls of these keys; None is any. So it is of tags and tiers."""
    tags: frozenset[str] | None = None
    tiers: frozenset[str] | None = None
    """Of a share: what may have no more, of calls of every tier."""
    apart: str | None = None
    """What has a count of its own beside tenants: key, tag or tier."""
    all_tenants: bool = False
    """True if one count has the calls of all tenants."""
    soft: int | None = None
    hard: bool = True
    then: Tier | None = None
    reserves_expected: bool = False
    """A call is taken to cost what is usual, not the most that it can."""
    micro_usd: int = 0
    """Micro-USD of a budget, also of one that only warns."""


class CounterScope(msgspec.Struct, frozen=True):
    """Which calls a counter counts, as the store of the ledger is asked for them."""

    filters: Mapping[str, Collection[str]]
    since: float | None
    """Seconds since the epoch, included; None from the first call on."""
    until: float | None
    """Not included."""


class BudgetLevel(msgspec.Struct, frozen=True):
    """How full a budget of money is in its window of now."""

    budget: str
    """Its name; that of a key alone has none."""
    key: str
    """Of whose calls alone it is; empty where it is not one key's."""
    tenant: str
    """Of whose calls it is; empty where it counts those of all tenants."""
    limit_micro_usd: int
    """Micro-USD."""
    used_micro_usd: int
    """Micro-USD, what calls hold among them."""
    end: float | None
    """Of the window, seconds since the epoch."""

    @property
    def used_ratio(self) -> float:
        """The part of it that is used."""
        return self.used_micro_usd / self.limit_micro_usd if self.limit_micro_usd else 1.0


class PreparedDemand(DemandTemplate):
    """What calls of one kind need: it holds from one moment to another."""

    __slots__ = (
        "_rules",
        "_token_flags",
        "counts_expected",
        "counts_money",
        "own_key",
        "reserves_expected",
        "reserves_maximum",
        "valid_from",
        "valid_until",
    )

    def __init__(
        self,
        demands: tuple[CounterDemand, ...],
        rules: Mapping[int, LimitRule],
        own_key: Key | None,
        valid_from: float,
        valid_until: float,
    ) -> None:
        """`rules`: how much a call takes, by place in `demands`; `valid_until` is not included."""
        super().__init__(demands, tuple(rules))
        self._rules = tuple(rules.values())
        self._token_flags = tuple([rule.kind == "tokens" for rule in self._rules])
        self.own_key = own_key
        self.valid_from = valid_from
        self.valid_until = valid_until
        self.counts_money = any(rule.kind == "usd" for rule in self._rules)
        """Whether some of it is money."""
        self.counts_expected = any(rule.reserves_expected for rule in self._rules)
        """Whether some of it is what is usual."""
        self.reserves_maximum = any(
            rule.kind == "usd" and rule.hard and not rule.reserves_expected for rule in self._rules
        )
        """True if a hard budget reserves the most that a call can cost."""
        self.reserves_expected = any(rule.hard and rule.reserves_expected for rule in self._rules)
        """True if a hard budget reserves what is usual."""

    def compute_amounts(
        self, tokens: int, micro_usd: int | None, expected_micro_usd: int | None
    ) -> tuple[int, ...]:
        """How much a call takes of those that vary, as of `LimitRules.needs`."""
        if micro_usd is not None and expected_micro_usd is None:  # as nearly always
            return tuple([tokens if is_tokens else micro_usd for is_tokens in self._token_flags])
        return tuple(
            [_compute_amount(rule, tokens, micro_usd, expected_micro_usd) for rule in self._rules]
        )


class LimitRules:
    """All limits and budgets of a configuration; windows are those of a time zone."""

    def __init__(
        self, limits: Sequence[LimitPart], budgets: Sequence[BudgetPart], zone: tzinfo
    ) -> None:
        self.rules: tuple[LimitRule, ...] = (
            *(rule for part in limits for rule in _make_limit_rules(part, part.name)),
            *(_make_budget_rule(part, part.name) for part in budgets),
        )
        self._zone = zone
        self._rules_by_name = {(rule.kind, escape(rule.name)): rule for rule in self.rules}
        self._key_rules: dict[tuple[str, str], LimitRule] = {}
        """Of keys alone, by name and subject."""
        self._windows: dict[WindowKind, Window] = {}
        self._prepared: dict[tuple[str, tuple[str, ...], Tier | None], PreparedDemand] = {}

    def make_demands(
        self,
        *,
        key: str,
        tags: Sequence[str],
        tier: Tier | None,
        now: float,
        tokens: int,
        micro_usd: int | None,
        expected_micro_usd: int | None = None,
        own_key: Key | None = None,
    ) -> tuple[CounterDemand, ...]:
        """What a call must pass: the configuration's in order, then those of its key `own_key`.

        `tokens` and `micro_usd` are what it may use at most; `expected_micro_usd`, in micro-USD
        too, is what is usual, for budgets that reserve that. Where `micro_usd` is unknown no hard
        budget is passed: its need is for more than there is.
        """
        prepared = self.prepare(key, tuple(tags), tier, now, own_key)
        return prepared.fill(prepared.compute_amounts(tokens, micro_usd, expected_micro_usd))

    def prepare(
        self, key: str, tags: tuple[str, ...], tier: Tier | None, now: float, own_key: Key | None
    ) -> PreparedDemand:
        """The same, but for how much: equal calls have one and the same."""
        cache_key = (key, tags, tier)
        prepared = self._prepared.get(cache_key)
        if (
            prepared is None
            or prepared.own_key is not own_key
            or not prepared.valid_from <= now < prepared.valid_until
        ):
            if len(self._prepared) >= _MAX_PREPARED:
                self._prepared.clear()
            prepared = self._prepared[cache_key] = self._build(key, tags, tier, now, own_key)
        return prepared

    def _build(
        self, key: str, tags: Sequence[str], tier: Tier | None, now: float, own_key: Key | None
    ) -> PreparedDemand:
        pairs: list[tuple[CounterDemand, LimitRule]] = []
        windows: dict[WindowKind, Window] = {}
        for rule in self.rules:
            applies = rule.tiers is None or tier in rule.tiers
            if (
                (not applies and rule.kind != "share")
                or (rule.keys is not None and key not in rule.keys)
                or (rule.tags is not None and rule.tags.isdisjoint(tags))
            ):
                continue
            pairs += [
                (self._make_demand(rule, subject, int(applies), tier, now, windows), rule)
                for subject in _find_subjects(rule, key, tags, tier)
            ]
        for rule in _make_key_rules(own_key) if own_key is not None else ():
            subject = f"own={escape(key)}"
            self._key_rules[escape(rule.name), subject] = rule
            if rule.tiers is None or tier in rule.tiers:
                pairs.append((self._make_demand(rule, subject, 1, tier, now, windows), rule))
        pairs.sort(key=lambda item: not item[0].all_tenants)  # as they are asked for
        starts = [item.start for item in windows.values() if item.start is not None]
        ends = [item.end for item in windows.values() if item.end is not None]
        variable_rules = {
            index: rule for index, (_, rule) in enumerate(pairs) if rule.kind in ("tokens", "usd")
        }
        return PreparedDemand(
            tuple([demand for demand, _ in pairs]),
            variable_rules,
            own_key,
            max(starts, default=-math.inf),
            min(ends, default=math.inf),
        )

    def find_scope(self, owner: Owner, demand: CounterDemand) -> CounterScope:
        """Say what to ask the ledger for, to know what an owner's counter of money had counted.

        Raises ValueError for a need that is none of these limits'.
        """
        kind, name, subject, window_name = demand.field.split("|")
        budget_window = window.parse_window(window_name, self._zone)
        filters: dict[str, Collection[str]] = {} if owner is None else {"tenant": [owner]}
        label, _, value = subject.partition("=")
        is_own = label == "own"
        rule = (
            self._key_rules.get((name, subject))
            if is_own
            else self._rules_by_name.get((demand.kind, name))
        )
        if rule is None or kind != demand.kind or rule.all_tenants is not demand.all_tenants:
            raise ValueError(f"no {demand.kind} is counted by {demand.field!r}")
        for filter_name, values in (("key", rule.keys), ("tag", rule.tags), ("tier", rule.tiers)):
            if values is not None:
                filters[filter_name] = sorted(values)
        if value:
            filters["key" if is_own else label] = [unescape(value)]
        return CounterScope(filters, budget_window.start, budget_window.end)

    def iter_shared_demands(self, fields: Iterable[str], now: float) -> Iterator[CounterDemand]:
        """Say which fields name counters of money of all tenants, in their windows of now."""
        for name, _, window_name, field in _iter_money_fields(fields):
            rule = self._rules_by_name.get(("usd", name))
            if rule is None or rule.window_kind is None or not rule.all_tenants:
                continue
            if self._current_window(rule.window_kind, now).name == window_name:
                yield CounterDemand(
                    kind="usd", name=rule.name, field=field, limit=rule.limit, all_tenants=True
                )

    def iter_levels(
        self, owner: Owner, counters: Mapping[str, int], now: float
    ) -> Iterator[BudgetLevel]:
        """Say what an owner's counters of money mean.

        Those of other windows, or of other limits, are left out.
        """
        for name, subject, window_name, field in _iter_money_fields(counters):
            label, _, value = subject.partition("=")
            is_own = label == "own"
            rule = (
                self._key_rules.get((name, subject))
                if is_own
                else self._rules_by_name.get(("usd", name))
            )
            if rule is None or rule.window_kind is None or rule.all_tenants is not (owner is None):
                continue
            current_window = self._current_window(rule.window_kind, now)
            if current_window.name == window_name:
                key = unescape(value) if label in ("own", "key") else ""
                budget = "" if is_own else rule.name
                yield BudgetLevel(
                    budget, key, owner or "", rule.micro_usd, counters[field], current_window.end
                )

    def _make_demand(
        self,
        rule: LimitRule,
        subject: str,
        amount: int,
        tier: Tier | None,
        now: float,
        windows: dict[WindowKind, Window],
    ) -> CounterDemand:
        kind, name = rule.kind, escape(rule.name)
        if rule.window_kind is None:
            suffix = f"|{rule.period:g}s" if rule.period else ""
            return CounterDemand(
                kind=kind,
                name=rule.name,
                field=f"{kind}|{name}|{subject}{suffix}",
                limit=rule.limit,
                amount=amount,
                period=rule.period,
                all_tenants=rule.all_tenants,
            )
        windows[rule.window_kind] = current_window = self._current_window(rule.window_kind, now)
        window_name = current_window.name
        return CounterDemand(
            kind=kind,
            name=rule.name,
            field=f"{kind}|{name}|{subject}|{window_name}",
            limit=rule.limit,
            amount=amount,
            total_field=f"calls|{name}|{subject}|{window_name}" if kind == "share" else "",
            needs_seed=kind == "usd",
            soft=rule.soft,
            then=rule.then if _is_below(rule.then, tier) else None,
            all_tenants=rule.all_tenants,
        )

    def _current_window(self, kind: WindowKind, now: float) -> Window:
        current = self._windows.get(kind)
        if current is None or not current.contains(now):
            current = self._windows[kind] = window.find_window(kind, now, self._zone)
        return current


def _make_key_rules(key: Key) -> Iterator[LimitRule]:
    """The limits and budgets that a key has for itself alone."""
    for index, part in enumerate(key.limits):
        yield from _make_limit_rules(part, make_key_limit_name(key.name, index))
    for index, budget in enumerate(key.budgets):
        yield _make_budget_rule(budget, make_key_limit_name(key.name, index))


def make_key_limit_name(key: str, index: int) -> str:
    """What a budget or limit of a key alone is called: the first, second, ... of its own."""
    return f"key {key} {index + 1}" if index else f"key {key}"


def _make_limit_rules(part: LimitPart | KeyLimit, name: str) -> Iterator[LimitRule]:
    if part.requests is not None:
        yield _restrict(_make_rate_rule("requests", name, part.requests), part)
    if part.tokens is not None:
        yield _restrict(_make_rate_rule("tokens", name, part.tokens), part)
    if part.concurrency is not None:
        yield _restrict(LimitRule(kind="concurrency", name=name, limit=part.concurrency), part)


def _make_rate_rule(kind: Kind, name: str, rate: tuple[int, float]) -> LimitRule:
    return LimitRule(kind=kind, name=name, limit=rate[0], period=rate[1])


def _make_budget_rule(part: BudgetPart | KeyBudget, name: str) -> LimitRule:
    share = part.share if isinstance(part, BudgetPart) else None
    limit = (
        int(share * _THOUSANDTHS) if share is not None else int((part.usd or 0) * _MICRO_PER_USD)
    )
    soft_share = part.soft if part.soft is not None or part.hard else Decimal(1)
    maximum = MAX_COUNT if share is None else _THOUSANDTHS
    rule = LimitRule(
        kind="usd" if share is None else "share",
        name=name,
        limit=limit if part.hard else maximum,
        window_kind=part.every,
        soft=None if soft_share is None else math.ceil(limit * soft_share),
        hard=part.hard,
        then=part.then,
        reserves_expected=part.reserve == "expected",
        micro_usd=0 if share is not None else limit,
    )
    return _restrict(rule, part)


def _restrict(rule: LimitRule, part: LimitPart | BudgetPart | KeyLimit | KeyBudget) -> LimitRule:
    """A rule for the calls that its part names; one of a key alone is for that key's."""
    if isinstance(part, KeyLimit):
        return rule
    if isinstance(part, KeyBudget):
        return msgspec.structs.replace(rule, tiers=_to_frozenset(part.tier))
    return msgspec.structs.replace(
        rule,
        keys=_to_frozenset(part.key),
        tags=_to_frozenset(part.tag),
        tiers=_to_frozenset(part.tier),
        apart=part.counted_by,
        all_tenants=part.all_tenants,
    )


def _to_frozenset(names: Sequence[str] | None) -> frozenset[str] | None:
    return None if names is None else frozenset(names)


def _compute_amount(
    rule: LimitRule, tokens: int, micro_usd: int | None, expected_micro_usd: int | None
) -> int:
    """What a call takes of it; more than there is where what a hard budget must hold is unknown."""
    if rule.kind == "tokens":
        return tokens
    reserved = (
        expected_micro_usd
        if rule.reserves_expected and expected_micro_usd is not None
        else micro_usd
    )
    if reserved is None:
        return rule.limit + 1 if rule.hard else 0
    return reserved


def _is_below(then: Tier | None, tier: Tier | None) -> bool:
    """Whether a call can go there instead: only ever to a cheaper tier."""
    return then is not None and tier is not None and TIERS.index(then) < TIERS.index(tier)


def _find_subjects(
    rule: LimitRule, key: str, tags: Sequence[str], tier: str | None
) -> Sequence[str]:
    """Whom a call is counted for; nobody where it has none of what is counted apart."""
    if rule.apart is None:
        return ("all",)
    if rule.apart == "key":
        return (f"key={escape(key)}",)
    if rule.apart == "tier":
        return () if tier is None else (f"tier={tier}",)
    counted_tags = [tag for tag in tags if rule.tags is None or tag in rule.tags]
    return [f"tag={escape(tag)}" for tag in dict.fromkeys(counted_tags)]


def escape(text: str) -> str:
    """A name as it stands between two bars."""
    if "|" not in text and "%" not in text:
        return text
    return text.replace("%", "%25").replace("|", "%7C")


def unescape(text: str) -> str:
    """The name that `escape` was given."""
    return text.replace("%7C", "|").replace("%25", "%")


def _iter_money_fields(fields: Iterable[str]) -> Iterator[tuple[str, str, str, str]]:
    """Yield name, subject and window of each counter of money, and its whole field.

    Gateways of other versions write to the same Redis: fields of another form are left out.
    """
    for field in fields:
        parts = field.split("|")
        if len(parts) == 4 and parts[0] == "usd":
            yield parts[1], parts[2], parts[3], field


def describe_counter(owner: Owner, demand: CounterDemand) -> str:
    """Say in words whose calls a counter has."""
    label, _, value = demand.field.split("|")[2].partition("=")
    subject_kind = {"all": None, "own": "key"}.get(label, label)
    return describe_scope(owner, subject_kind, unescape(value))


def describe_scope(owner: Owner, apart: str | None, subject: str | None) -> str:
    """Say in words whose calls are counted, as "all tenants", "tenant acme" or "key ann"."""
    if apart == "key":
        return f"key {subject}"
    tenants = "all tenants" if owner is None else f"tenant {owner}"
    return tenants if apart is None else f"{apart} {subject or 'none'} of {tenants}"
