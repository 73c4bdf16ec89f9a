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
from gateway.limits.window import Every, Window
from gateway.settings.schema.limits import BudgetPart, LimitPart

MOST = 2**53 - 1
"""The limit of what is only counted: a script in Redis knows no larger number exactly."""
_MOST = 4096
"""Kinds of calls of which it is kept what they need."""
_THOUSANDTHS = 1_000
_MICRO = 1_000_000


class LimitRule(msgspec.Struct, frozen=True, kw_only=True):
    """One limit or budget of one kind."""

    kind: Kind
    name: str
    limit: int
    period: float = 0.0
    every: Every | None = None
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
    expected: bool = False
    """A call is taken to cost what is usual, not the most that it can."""
    usd: int = 0
    """Micro-USD of a budget, also of one that only warns."""


class CounterScope(msgspec.Struct, frozen=True):
    """Which calls a counter counts, as the store of the ledger is asked for them."""

    only: Mapping[str, Collection[str]]
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
    limit: int
    """Micro-USD."""
    used: int
    """Micro-USD, what calls hold among them."""
    end: float | None
    """Of the window, seconds since the epoch."""

    @property
    def part(self) -> float:
        """The part of it that is used."""
        return self.used / self.limit if self.limit else 1.0


class PreparedDemand(DemandTemplate):
    """What calls of one kind need: it holds from one moment to another."""

    __slots__ = (
        "_of_tokens",
        "_rules",
        "caps",
        "expects",
        "guesses",
        "own",
        "since",
        "spends",
        "until",
    )

    def __init__(
        self,
        needs: tuple[CounterDemand, ...],
        rules: Mapping[int, LimitRule],
        own: Key | None,
        since: float,
        until: float,
    ) -> None:
        """`rules` say how much a call takes, by place in `needs`; `until` is not included."""
        super().__init__(needs, tuple(rules))
        self._rules = tuple(rules.values())
        self._of_tokens = tuple([rule.kind == "tokens" for rule in self._rules])
        self.own = own
        self.since = since
        self.until = until
        self.spends = any(rule.kind == "usd" for rule in self._rules)
        """Whether some of it is money."""
        self.expects = any(rule.expected for rule in self._rules)
        """Whether some of it is what is usual."""
        self.caps = any(
            rule.kind == "usd" and rule.hard and not rule.expected for rule in self._rules
        )
        """True if a hard budget reserves the most that a call can cost."""
        self.guesses = any(rule.hard and rule.expected for rule in self._rules)
        """True if a hard budget reserves what is usual."""

    def amounts(self, tokens: int, micro: int | None, expected: int | None) -> tuple[int, ...]:
        """How much a call takes of those that vary, as of `LimitRules.needs`."""
        if micro is not None and expected is None:  # as nearly always
            return tuple([tokens if one else micro for one in self._of_tokens])
        return tuple([_amount(rule, tokens, micro, expected) for rule in self._rules])


class LimitRules:
    """All limits and budgets of a configuration; windows are those of a time zone."""

    def __init__(
        self, limits: Sequence[LimitPart], budgets: Sequence[BudgetPart], zone: tzinfo
    ) -> None:
        self.rules: tuple[LimitRule, ...] = (
            *(rule for part in limits for rule in _limits(part, part.name)),
            *(_budget(part, part.name) for part in budgets),
        )
        self._zone = zone
        self._named = {(rule.kind, safe(rule.name)): rule for rule in self.rules}
        self._owned: dict[tuple[str, str], LimitRule] = {}
        """Of keys alone, by name and subject."""
        self._windows: dict[Every, Window] = {}
        self._ready: dict[tuple[str, tuple[str, ...], Tier | None], PreparedDemand] = {}

    def needs(
        self,
        *,
        key: str,
        tags: Sequence[str],
        tier: Tier | None,
        now: float,
        tokens: int,
        micro: int | None,
        expected: int | None = None,
        own: Key | None = None,
    ) -> tuple[CounterDemand, ...]:
        """What a call must pass: the configuration's in order, then those of its key `own`.

        `tokens` and `micro` are what it may use at most; `expected`, in micro-USD too, is what is
        usual, for budgets that reserve that. Where `micro` is unknown no hard budget is passed: its
        need is for more than there is.
        """
        ready = self.ready(key, tuple(tags), tier, now, own)
        return ready.of(ready.amounts(tokens, micro, expected))

    def ready(
        self, key: str, tags: tuple[str, ...], tier: Tier | None, now: float, own: Key | None
    ) -> PreparedDemand:
        """The same, but for how much: equal calls have one and the same."""
        named = (key, tags, tier)
        ready = self._ready.get(named)
        if ready is None or ready.own is not own or not ready.since <= now < ready.until:
            if len(self._ready) >= _MOST:
                self._ready.clear()
            ready = self._ready[named] = self._made(key, tags, tier, now, own)
        return ready

    def _made(
        self, key: str, tags: Sequence[str], tier: Tier | None, now: float, own: Key | None
    ) -> PreparedDemand:
        found: list[tuple[CounterDemand, LimitRule]] = []
        windows: dict[Every, Window] = {}
        for rule in self.rules:
            counts = rule.tiers is None or tier in rule.tiers
            if (
                (not counts and rule.kind != "share")
                or (rule.keys is not None and key not in rule.keys)
                or (rule.tags is not None and rule.tags.isdisjoint(tags))
            ):
                continue
            found += [
                (self._need(rule, subject, int(counts), tier, now, windows), rule)
                for subject in _subjects(rule, key, tags, tier)
            ]
        for rule in _own(own) if own is not None else ():
            subject = f"own={safe(key)}"
            self._owned[safe(rule.name), subject] = rule
            if rule.tiers is None or tier in rule.tiers:
                found.append((self._need(rule, subject, 1, tier, now, windows), rule))
        found.sort(key=lambda one: not one[0].all_tenants)  # as they are asked for
        starts = [one.start for one in windows.values() if one.start is not None]
        ends = [one.end for one in windows.values() if one.end is not None]
        varies = {at: rule for at, (_, rule) in enumerate(found) if rule.kind in ("tokens", "usd")}
        return PreparedDemand(
            tuple([need for need, _ in found]),
            varies,
            own,
            max(starts, default=-math.inf),
            min(ends, default=math.inf),
        )

    def scope(self, owner: Owner, need: CounterDemand) -> CounterScope:
        """Say what to ask the ledger for, to know what an owner's counter of money had counted.

        Raises ValueError for a need that is none of these limits'.
        """
        kind, name, subject, when = need.field.split("|")
        span = window.read(when, self._zone)
        only: dict[str, Collection[str]] = {} if owner is None else {"tenant": [owner]}
        what, _, value = subject.partition("=")
        own = what == "own"
        rule = self._owned.get((name, subject)) if own else self._named.get((need.kind, name))
        if rule is None or kind != need.kind or rule.all_tenants is not need.all_tenants:
            raise ValueError(f"no {need.kind} is counted by {need.field!r}")
        for word, values in (("key", rule.keys), ("tag", rule.tags), ("tier", rule.tiers)):
            if values is not None:
                only[word] = sorted(values)
        if value:
            only["key" if own else what] = [plain(value)]
        return CounterScope(only, span.start, span.end)

    def shared(self, fields: Iterable[str], now: float) -> Iterator[CounterDemand]:
        """Say which fields name counters of money of all tenants, in their windows of now."""
        for name, _, when, field in _money(fields):
            rule = self._named.get(("usd", name))
            if rule is None or rule.every is None or not rule.all_tenants:
                continue
            if self._window(rule.every, now).name == when:
                yield CounterDemand(
                    kind="usd", name=rule.name, field=field, limit=rule.limit, all_tenants=True
                )

    def levels(self, owner: Owner, used: Mapping[str, int], now: float) -> Iterator[BudgetLevel]:
        """Say what an owner's counters of money mean.

        Those of other windows, or of other limits, are left out.
        """
        for name, subject, when, field in _money(used):
            what, _, value = subject.partition("=")
            own = what == "own"
            rule = self._owned.get((name, subject)) if own else self._named.get(("usd", name))
            if rule is None or rule.every is None or rule.all_tenants is not (owner is None):
                continue
            span = self._window(rule.every, now)
            if span.name == when:
                key = plain(value) if what in ("own", "key") else ""
                budget = "" if own else rule.name
                yield BudgetLevel(budget, key, owner or "", rule.usd, used[field], span.end)

    def _need(
        self,
        rule: LimitRule,
        subject: str,
        amount: int,
        tier: Tier | None,
        now: float,
        windows: dict[Every, Window],
    ) -> CounterDemand:
        kind, name = rule.kind, safe(rule.name)
        if rule.every is None:
            end = f"|{rule.period:g}s" if rule.period else ""
            return CounterDemand(
                kind=kind,
                name=rule.name,
                field=f"{kind}|{name}|{subject}{end}",
                limit=rule.limit,
                amount=amount,
                period=rule.period,
                all_tenants=rule.all_tenants,
            )
        windows[rule.every] = span = self._window(rule.every, now)
        when = span.name
        return CounterDemand(
            kind=kind,
            name=rule.name,
            field=f"{kind}|{name}|{subject}|{when}",
            limit=rule.limit,
            amount=amount,
            whole=f"calls|{name}|{subject}|{when}" if kind == "share" else "",
            seeded=kind == "usd",
            soft=rule.soft,
            then=rule.then if _below(rule.then, tier) else None,
            all_tenants=rule.all_tenants,
        )

    def _window(self, every: Every, now: float) -> Window:
        found = self._windows.get(every)
        if found is None or not found.has(now):
            found = self._windows[every] = window.at(every, now, self._zone)
        return found


def _own(key: Key) -> Iterator[LimitRule]:
    """The limits and budgets that a key has for itself alone."""
    for number, part in enumerate(key.limits):
        yield from _limits(part, called(key.name, number))
    for number, budget in enumerate(key.budgets):
        yield _budget(budget, called(key.name, number))


def called(key: str, number: int) -> str:
    """What a budget or limit of a key alone is called: the first, second, ... of its own."""
    return f"key {key} {number + 1}" if number else f"key {key}"


def _limits(part: LimitPart | KeyLimit, name: str) -> Iterator[LimitRule]:
    if part.requests is not None:
        yield _bounded(_paced("requests", name, part.requests), part)
    if part.tokens is not None:
        yield _bounded(_paced("tokens", name, part.tokens), part)
    if part.concurrency is not None:
        yield _bounded(LimitRule(kind="concurrency", name=name, limit=part.concurrency), part)


def _paced(kind: Kind, name: str, pace: tuple[int, float]) -> LimitRule:
    return LimitRule(kind=kind, name=name, limit=pace[0], period=pace[1])


def _budget(part: BudgetPart | KeyBudget, name: str) -> LimitRule:
    share = part.share if isinstance(part, BudgetPart) else None
    limit = int(share * _THOUSANDTHS) if share is not None else int((part.usd or 0) * _MICRO)
    warned = part.soft if part.soft is not None or part.hard else Decimal(1)
    most = MOST if share is None else _THOUSANDTHS
    made = LimitRule(
        kind="usd" if share is None else "share",
        name=name,
        limit=limit if part.hard else most,
        every=part.every,
        soft=None if warned is None else math.ceil(limit * warned),
        hard=part.hard,
        then=part.then,
        expected=part.reserve == "expected",
        usd=0 if share is not None else limit,
    )
    return _bounded(made, part)


def _bounded(rule: LimitRule, part: LimitPart | BudgetPart | KeyLimit | KeyBudget) -> LimitRule:
    """A rule for the calls that its part names; one of a key alone is for that key's."""
    if isinstance(part, KeyLimit):
        return rule
    if isinstance(part, KeyBudget):
        return msgspec.structs.replace(rule, tiers=_set(part.tier))
    return msgspec.structs.replace(
        rule,
        keys=_set(part.key),
        tags=_set(part.tag),
        tiers=_set(part.tier),
        apart=part.apart,
        all_tenants=part.all_tenants,
    )


def _set(names: Sequence[str] | None) -> frozenset[str] | None:
    return None if names is None else frozenset(names)


def _amount(rule: LimitRule, tokens: int, micro: int | None, expected: int | None) -> int:
    """What a call takes of it; more than there is where what a hard budget must hold is unknown."""
    if rule.kind == "tokens":
        return tokens
    held = expected if rule.expected and expected is not None else micro
    if held is None:
        return rule.limit + 1 if rule.hard else 0
    return held


def _below(then: Tier | None, tier: Tier | None) -> bool:
    """Whether a call can go there instead: only ever to a cheaper tier."""
    return then is not None and tier is not None and TIERS.index(then) < TIERS.index(tier)


def _subjects(rule: LimitRule, key: str, tags: Sequence[str], tier: str | None) -> Sequence[str]:
    """Whom a call is counted for; nobody where it has none of what is counted apart."""
    if rule.apart is None:
        return ("all",)
    if rule.apart == "key":
        return (f"key={safe(key)}",)
    if rule.apart == "tier":
        return () if tier is None else (f"tier={tier}",)
    counted = [tag for tag in tags if rule.tags is None or tag in rule.tags]
    return [f"tag={safe(tag)}" for tag in dict.fromkeys(counted)]


def safe(text: str) -> str:
    """A name as it stands between two bars."""
    if "|" not in text and "%" not in text:
        return text
    return text.replace("%", "%25").replace("|", "%7C")


def plain(text: str) -> str:
    """The name that `safe` was given."""
    return text.replace("%7C", "|").replace("%25", "%")


def _money(fields: Iterable[str]) -> Iterator[tuple[str, str, str, str]]:
    """Yield name, subject and window of each counter of money, and its whole field.

    Gateways of other versions write to the same Redis: fields of another form are left out.
    """
    for field in fields:
        parts = field.split("|")
        if len(parts) == 4 and parts[0] == "usd":
            yield parts[1], parts[2], parts[3], field


def counted(owner: Owner, need: CounterDemand) -> str:
    """Say in words whose calls a counter has."""
    what, _, value = need.field.split("|")[2].partition("=")
    apart = {"all": None, "own": "key"}.get(what, what)
    return whose(owner, apart, plain(value))


def whose(owner: Owner, apart: str | None, subject: str | None) -> str:
    """Say in words whose calls are counted, as "all tenants", "tenant acme" or "key ann"."""
    if apart == "key":
        return f"key {subject}"
    tenants = "all tenants" if owner is None else f"tenant {owner}"
    return tenants if apart is None else f"{apart} {subject or 'none'} of {tenants}"
