"""Prepared limits and budgets: the demands of a call, and the calls that a counter counts."""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, tzinfo
from decimal import Decimal
from zoneinfo import ZoneInfo

import msgspec

from gateway.core.call import OPEN_KEY, Key, KeyBudget, KeyLimit, WindowKind
from gateway.core.ledger_rows import FinalRow
from gateway.core.target import TIERS, Tier
from gateway.limits import window
from gateway.limits.counters import MAX_COUNT, CounterDemand, DemandTemplate, Kind, Owner
from gateway.limits.window import Window
from gateway.settings.schema.base import parse_end
from gateway.settings.schema.limits import BudgetPart, LimitPart

_MAX_PREPARED = 4096
"""The most kinds of calls whose demands are cached."""
DEFAULT_MAX_USERS = 100_000
"""The most end users of a key with counters of their own in a window, unless configured."""
_THOUSANDTHS = 1_000
_MICRO_PER_USD = 1_000_000


class LimitRule(msgspec.Struct, frozen=True, kw_only=True):
    """One limit or budget of one kind."""

    kind: Kind
    name: str
    limit: int
    period: float = 0.0
    window_kind: WindowKind | None = None
    time_zone: str = ""
    """The time zone of its windows; empty is that of the ledger."""
    keys: frozenset[str] | None = None
    """The keys whose calls count; None is any key. The same holds for teams, tags and tiers."""
    teams: frozenset[str] | None = None
    tags: frozenset[str] | None = None
    tiers: frozenset[str] | None = None
    """For a share: the tiers that it bounds, as a part of the calls of every tier."""
    apart: str | None = None
    """The subject with a counter of its own beside tenants: team, key, user, tag or tier."""
    all_tenants: bool = False
    """True if one counter counts the calls of all tenants."""
    soft: int | None = None
    hard: bool = True
    then: Tier | None = None
    reserves_expected: bool = False
    """True if a call reserves its usual cost, not the most that it can cost."""
    least_output: int | None = None
    """The least cap to which the gateway lowers the output of a call; None never lowers it."""
    micro_usd: int = 0
    """The amount of a budget in micro-USD, also of one that only warns."""
    raised: "LimitRule | None" = None
    """The rule of a budget that is higher for a time."""
    rise_end: float = -math.inf
    """The end of that time in seconds since the epoch, not included."""

    def get_at(self, now: float) -> "LimitRule":
        """Return the rule that holds now."""
        return self.raised if self.raised is not None and now < self.rise_end else self


class CounterScope(msgspec.Struct, frozen=True):
    """The calls that a counter counts, as filters for the ledger store."""

    filters: Mapping[str, Collection[str]]
    since: float | None
    """Seconds since the epoch, included; None is from the first call on."""
    until: float | None
    """Seconds since the epoch, not included; None is without an end."""

    def includes(self, row: FinalRow) -> bool:
        """Return True if the counter counts a call."""
        values: dict[str, Collection[str | None]] = {
            "tenant": (row.tenant,), "key": (row.key,), "team": (row.team,), "tag": row.tags,
            "tier": (row.tier,), "user": (row.end_user,),
        }  # fmt: skip
        return (
            (self.since is None or row.at >= self.since)
            and (self.until is None or row.at < self.until)
            and all(
                any(value in allowed for value in values[name])
                for name, allowed in self.filters.items()
            )
        )


class BudgetLevel(msgspec.Struct, frozen=True):
    """The use of a budget of money in its current window."""

    budget: str
    """The name of the budget; empty for a budget of one key."""
    key: str
    """The key, if the budget belongs to one key or counts each key apart; else empty."""
    tenant: str
    """The tenant whose calls count; empty if those of all tenants do."""
    limit_micro_usd: int
    """Micro-USD."""
    used_micro_usd: int
    """Micro-USD, reservations of running calls included."""
    end: float | None
    """The end of the window in seconds since the epoch; None if it never ends."""
    start: float | None = None
    """The beginning of the window in seconds since the epoch; None if it has none."""
    team: str = ""
    """The team, if the budget counts each team apart; else empty."""

    @property
    def used_ratio(self) -> float:
        """Return the used part of the budget."""
        return self.used_micro_usd / self.limit_micro_usd if self.limit_micro_usd else 1.0


class PreparedDemand(DemandTemplate):
    """The demands of calls of one kind, valid from one moment to another."""

    __slots__ = (
        "_rules",
        "_token_flags",
        "counts_expected",
        "counts_money",
        "least_outputs",
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
        """Take the rule of each demand whose amount differs by call; `rules` has them by position.

        `valid_until` is not included.
        """
        super().__init__(demands, tuple(rules))
        self._rules = tuple(rules.values())
        self._token_flags = tuple([rule.kind == "tokens" for rule in self._rules])
        self.own_key = own_key
        self.valid_from = valid_from
        self.valid_until = valid_until
        self.least_outputs = {
            demands[index].field: rule.least_output
            for index, rule in rules.items()
            if rule.least_output is not None
        }
        """The least cap on the output of a call, by the counter of a budget that lowers it."""
        self.counts_money = any(rule.kind == "usd" for rule in self._rules)
        """True if some demands are for money."""
        self.counts_expected = any(rule.reserves_expected for rule in self._rules)
        """True if a budget reserves the usual cost."""
        self.reserves_maximum = any(
            rule.kind == "usd" and rule.hard and not rule.reserves_expected for rule in self._rules
        )
        """True if a hard budget reserves the most that a call can cost."""
        self.reserves_expected = any(rule.hard and rule.reserves_expected for rule in self._rules)
        """True if a hard budget reserves the usual cost."""

    def compute_amounts(
        self, tokens: int, micro_usd: int | None, expected_micro_usd: int | None
    ) -> tuple[int, ...]:
        """Return the amounts of the variable demands; the arguments are as in `make_demands`."""
        if micro_usd is not None and expected_micro_usd is None:  # most calls
            return tuple([tokens if is_tokens else micro_usd for is_tokens in self._token_flags])
        return tuple(
            [_compute_amount(rule, tokens, micro_usd, expected_micro_usd) for rule in self._rules]
        )


class LimitRules:
    """All limits and budgets of a configuration; their windows follow a time zone."""

    def __init__(
        self,
        limits: Sequence[LimitPart],
        budgets: Sequence[BudgetPart],
        zone: tzinfo,
        max_users: int = DEFAULT_MAX_USERS,
    ) -> None:
        """Take the most end users of a key with counters of their own in a window."""
        self.rules: tuple[LimitRule, ...] = (
            *(rule for part in limits for rule in _make_limit_rules(part, part.name)),
            *(_make_budget_rule(part, part.name, zone) for part in budgets),
        )
        self.max_users = max_users
        self.counts_users = any(rule.apart == "user" for rule in self.rules)
        """True if some limits or budgets count each end user apart."""
        self._counts_tags = any(rule.apart == "tag" or rule.tags is not None for rule in self.rules)
        """True if some limits or budgets depend on a call's tags."""
        self._user_windows: tuple[Window, ...] = ()
        self._zone = zone
        self._rules_by_name = {(rule.kind, escape(rule.name)): rule for rule in self.rules}
        self._key_rules: dict[tuple[str, str], LimitRule] = {}
        """The rules of single keys, by name and subject."""
        self._windows: dict[tuple[WindowKind, str], Window] = {}
        self._prepared: dict[
            tuple[str, tuple[str, ...], Tier | None, str | None], PreparedDemand
        ] = {}

    def make_demands(  # noqa: PLR0913 - one argument for each fact of a call
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
        user: str | None = None,
    ) -> tuple[CounterDemand, ...]:
        """Return the demands of a call: the configuration's in order, then those of `own_key`.

        `tokens` and `micro_usd` are the most that the call may use. `expected_micro_usd`, also in
        micro-USD, is the usual cost, for budgets that reserve that. If `micro_usd` is unknown, the
        call passes no hard budget: its demand exceeds the limit. `user` is the name under which
        the end user is counted.
        """
        prepared = self.prepare(key, tuple(tags), tier, now, own_key, user)
        return prepared.fill(prepared.compute_amounts(tokens, micro_usd, expected_micro_usd))

    def prepare(
        self,
        key: str,
        tags: tuple[str, ...],
        tier: Tier | None,
        now: float,
        own_key: Key | None,
        user: str | None = None,
    ) -> PreparedDemand:
        """Return the demands of a call without its amounts; equal calls share one object."""
        # Clients may give each call a tag or a user of its own.
        if not self.counts_users:
            user = None
        if not self._counts_tags:
            tags = ()
        cache_key = (key, tags, tier, user)
        prepared = self._prepared.get(cache_key)
        if (
            prepared is None
            or prepared.own_key is not own_key
            or not prepared.valid_from <= now < prepared.valid_until
        ):
            if len(self._prepared) >= _MAX_PREPARED:
                self._prepared.clear()
            prepared = self._prepared[cache_key] = self._build(key, tags, tier, now, own_key, user)
        return prepared

    def find_user_windows(self, now: float) -> tuple[Window, ...]:
        """Return the current windows in which end users are counted apart; a rate has a day."""
        if not self._user_windows or not all(item.contains(now) for item in self._user_windows):
            windows: dict[tuple[WindowKind, str], Window] = {}
            for rule in self.rules:
                if rule.apart == "user":
                    self._make_demand(rule, "all", 0, None, now, windows)
            day = window.find_window("day", now, UTC)
            self._user_windows = tuple(windows.values()) or (day,)
        return self._user_windows

    def _build(
        self,
        key: str,
        tags: Sequence[str],
        tier: Tier | None,
        now: float,
        own_key: Key | None,
        user: str | None,
    ) -> PreparedDemand:
        pairs: list[tuple[CounterDemand, LimitRule]] = []
        windows: dict[tuple[WindowKind, str], Window] = {}
        team = own_key.team if own_key is not None else None
        rise_ends: list[float] = []
        for base_rule in self.rules:
            rule = base_rule.get_at(now)
            applies = rule.tiers is None or tier in rule.tiers
            if (
                (not applies and rule.kind != "share")
                or (rule.keys is not None and key not in rule.keys)
                or (rule.teams is not None and team not in rule.teams)
                or (rule.tags is not None and rule.tags.isdisjoint(tags))
            ):
                continue
            pairs += [
                (self._make_demand(rule, subject, int(applies), tier, now, windows), rule)
                for subject in _find_subjects(rule, key, team, user, tags, tier)
            ]
            rise_ends.append(base_rule.rise_end)
        for base_rule in _make_key_rules(own_key, self._zone) if own_key is not None else ():
            subject, rule = f"own={escape(key)}", base_rule.get_at(now)
            self._key_rules[escape(rule.name), subject] = base_rule
            rise_ends.append(base_rule.rise_end)
            if rule.tiers is None or tier in rule.tiers:
                pairs.append((self._make_demand(rule, subject, 1, tier, now, windows), rule))
        pairs = [
            (msgspec.structs.replace(demand, is_shown=True), rule)
            if _shows_rate(rule, key, own_key)
            else (demand, rule)
            for demand, rule in pairs
        ]
        pairs.sort(key=lambda item: not item[0].all_tenants)  # in the order of asking
        starts = [item.start for item in windows.values() if item.start is not None]
        starts += [end for end in rise_ends if end <= now]
        ends = [item.end for item in windows.values() if item.end is not None]
        ends += [end for end in rise_ends if end > now]
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
        """Return which calls an owner's counter of money has counted, to ask the ledger for them.

        Raises ValueError for a demand that belongs to none of these limits.
        """
        kind, name, subject, window_name = demand.field.split("|")
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
        budget_window = window.parse_window(window_name, find_zone(rule.time_zone, self._zone))
        for filter_name, values in (
            ("key", rule.keys),
            ("team", rule.teams),
            ("tag", rule.tags),
            ("tier", rule.tiers),
        ):
            if values is not None:
                filters[filter_name] = sorted(values)
        if label == "user":
            filters["key"], filters["user"] = ([part] for part in split_user(unescape(value)))
        elif value:
            filters["key" if is_own else label] = [unescape(value)]
        return CounterScope(filters, budget_window.start, budget_window.end)

    def iter_shared_demands(self, fields: Iterable[str], now: float) -> Iterator[CounterDemand]:
        """Yield the demands of fields that count money of all tenants in a current window."""
        for name, _, window_name, field in _iter_money_fields(fields):
            rule = self._rules_by_name.get(("usd", name))
            if rule is None or rule.window_kind is None or not rule.all_tenants:
                continue
            if self._current_window(rule.window_kind, rule.time_zone, now).name == window_name:
                yield CounterDemand(
                    kind="usd", name=rule.name, field=field, limit=rule.limit, all_tenants=True
                )

    def iter_levels(
        self, owner: Owner, counters: Mapping[str, int], now: float
    ) -> Iterator[BudgetLevel]:
        """Yield the use of each budget that an owner's counters of money belong to.

        Counters of other windows or of unknown budgets are left out.
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
            current_window = self._current_window(rule.window_kind, rule.time_zone, now)
            if current_window.name == window_name:
                yield BudgetLevel(
                    budget="" if is_own else rule.name,
                    key=unescape(value) if label in ("own", "key") else "",
                    team=unescape(value) if label == "team" else "",
                    tenant=owner or "",
                    limit_micro_usd=rule.get_at(now).micro_usd,
                    used_micro_usd=counters[field],
                    end=current_window.end,
                    start=current_window.start,
                )

    def _make_demand(
        self,
        rule: LimitRule,
        subject: str,
        amount: int,
        tier: Tier | None,
        now: float,
        windows: dict[tuple[WindowKind, str], Window],
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
        current_window = self._current_window(rule.window_kind, rule.time_zone, now)
        windows[rule.window_kind, rule.time_zone] = current_window
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

    def _current_window(self, kind: WindowKind, time_zone: str, now: float) -> Window:
        current = self._windows.get((kind, time_zone))
        if current is None or not current.contains(now):
            zone = find_zone(time_zone, self._zone)
            current = self._windows[kind, time_zone] = window.find_window(kind, now, zone)
        return current


def _make_key_rules(key: Key, zone: tzinfo) -> Iterator[LimitRule]:
    """Yield the rules for the limits and budgets that belong to one key."""
    for index, part in enumerate(key.limits):
        yield from _make_limit_rules(part, make_key_limit_name(key.name, index))
    for index, budget in enumerate(key.budgets):
        yield _make_budget_rule(budget, make_key_limit_name(key.name, index), zone)


def make_key_limit_name(key: str, index: int) -> str:
    """Return the name of a limit or budget of one key; from the second on it has a number."""
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


def _make_budget_rule(part: BudgetPart | KeyBudget, name: str, zone: tzinfo) -> LimitRule:
    rule = _make_plain_budget_rule(part, name, part.usd or Decimal(0))
    if part.rise is None:
        return rule
    raised = _make_plain_budget_rule(part, name, (part.usd or Decimal(0)) + part.rise.usd)
    return msgspec.structs.replace(rule, raised=raised, rise_end=find_rise_end(part, zone))


def find_rise_end(part: BudgetPart | KeyBudget, ledger_zone: tzinfo) -> float:
    """Return when a budget is no longer raised, in seconds since the epoch; -inf without a rise."""
    if part.rise is None:
        return -math.inf
    return parse_end(part.rise.until, find_zone(part.time_zone, ledger_zone))


def _make_plain_budget_rule(part: BudgetPart | KeyBudget, name: str, usd: Decimal) -> LimitRule:
    share = part.share if isinstance(part, BudgetPart) else None
    limit = int(share * _THOUSANDTHS) if share is not None else int(usd * _MICRO_PER_USD)
    soft_share = part.soft if part.soft is not None or part.hard else Decimal(1)
    maximum = MAX_COUNT if share is None else _THOUSANDTHS
    rule = LimitRule(
        kind="usd" if share is None else "share",
        name=name,
        limit=limit if part.hard else maximum,
        window_kind=part.every,
        time_zone=part.time_zone,
        soft=None if soft_share is None else math.ceil(limit * soft_share),
        hard=part.hard,
        then=part.then,
        reserves_expected=part.reserve == "expected",
        least_output=part.least_output if part.reserve == "fit" else None,
        micro_usd=0 if share is not None else limit,
    )
    return _restrict(rule, part)


def _restrict(rule: LimitRule, part: LimitPart | BudgetPart | KeyLimit | KeyBudget) -> LimitRule:
    """Return the rule for the calls that a part names; a key's own part restricts only its tier."""
    if isinstance(part, KeyLimit):
        return rule
    if isinstance(part, KeyBudget):
        return msgspec.structs.replace(rule, tiers=_to_frozenset(part.tier))
    return msgspec.structs.replace(
        rule,
        keys=_to_frozenset(part.key),
        teams=_to_frozenset(part.team),
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
    """Return the amount that a call takes of a rule.

    If the amount for a hard budget is unknown, it exceeds the limit.
    """
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


def _shows_rate(rule: LimitRule, key: str, own_key: Key | None) -> bool:
    """Return True if a client may see the rest of a rule's rate.

    It may see rates of its own tenant. Other rates would tell of other tenants' calls.
    """
    return rule.kind in ("requests", "tokens") and (
        not rule.all_tenants or rule.keys == frozenset((key,)) or own_key is OPEN_KEY
    )


def _is_below(then: Tier | None, tier: Tier | None) -> bool:
    """Return True if a call can move to tier `then`, which must be cheaper."""
    return then is not None and tier is not None and TIERS.index(then) < TIERS.index(tier)


def _find_subjects(
    rule: LimitRule,
    key: str,
    team: str | None,
    user: str | None,
    tags: Sequence[str],
    tier: str | None,
) -> Sequence[str]:
    """Return the subjects that a rule counts a call for; none if the call lacks such a subject."""
    if rule.apart is None:
        return ("all",)
    if rule.apart == "key":
        return (f"key={escape(key)}",)
    if rule.apart == "team":
        return () if team is None else (f"team={escape(team)}",)
    if rule.apart == "user":
        return () if user is None else (f"user={escape(key)}/{user}",)
    if rule.apart == "tier":
        return () if tier is None else (f"tier={tier}",)
    counted_tags = [tag for tag in tags if rule.tags is None or tag in rule.tags]
    return [f"tag={escape(tag)}" for tag in dict.fromkeys(counted_tags)]


def find_zone(time_zone: str, ledger_zone: tzinfo) -> tzinfo:
    """Return the time zone of a budget: its own, or that of the ledger."""
    return ZoneInfo(time_zone) if time_zone else ledger_zone


def split_user(subject: str) -> tuple[str, str]:
    """Return the key of an end user, and the name under which the user is counted."""
    key, _, user = subject.rpartition("/")
    return key, user


def escape(text: str) -> str:
    """Escape a name, so that it can stand between two bars."""
    if "|" not in text and "%" not in text:
        return text
    return text.replace("%", "%25").replace("|", "%7C")


def unescape(text: str) -> str:
    """Return the name that `escape` was given."""
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
    """Say in words whose calls a counter counts."""
    label, _, value = demand.field.split("|")[2].partition("=")
    subject_kind = {"all": None, "own": "key"}.get(label, label)
    return describe_scope(owner, subject_kind, unescape(value))


def describe_scope(owner: Owner, apart: str | None, subject: str | None) -> str:
    """Say in words whose calls count, as "all tenants", "tenant acme" or "key ann"."""
    if apart == "key":
        return f"key {subject}"
    if apart == "user" and subject is not None:
        key, user = split_user(subject)
        return f"user {user} of key {key}"
    tenants = "all tenants" if owner is None else f"tenant {owner}"
    return tenants if apart is None else f"{apart} {subject or 'none'} of {tenants}"
