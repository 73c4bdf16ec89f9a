"""Estimate what is left of providers' own limits, so that the gateway respects them in time.

The tracker learns from answers, with one entry for each provider, account and model. Between two
answers, it subtracts what was sent since. An account that was refused is parked until the provider
takes it again. The estimate is that of this process, and only decides who is asked first: no
candidate is dropped for it.
"""

from collections import OrderedDict
from collections.abc import Collection, Iterable
from typing import NamedTuple

import msgspec

from gateway.upstream import rate_limit_headers
from gateway.upstream.rate_limit_headers import Fields, LimitHeaders, StatedLimit

type AccountModelKey = tuple[str, str, str]
"""Provider, account, model."""

MAX_TRUST_SECONDS = 600.0
"""Seconds for which a statement is believed: a limit of a day is tried again after that."""
_MAX_ENTRIES = 4096
"""The number of entries; the one with the oldest statement goes first."""
_DEFAULT_COOLDOWN = 1.0
"""Seconds for which an account goes last if it was refused and not told for how long."""
_DEMOTION_SECONDS = 10.0
"""Seconds for which an account goes last if it answers, but says that a call exceeds its quota."""
_QUIET_SECONDS = 0.02
"""Seconds for which answers are not read again if half of every limit is left.

Meanwhile the tracker counts what is sent.
"""
_CROSSING_SECONDS = 2.0
"""Seconds in which requests that were sent after another may be missing in its answer's numbers."""


class TokenEstimate(msgspec.Struct, frozen=True, gc=False):
    """The estimated tokens that a call takes of a limit."""

    prompt: int = 0
    cap: int = 0
    """Tokens of output that the call allows; 0 if it names no cap."""


class Headroom(NamedTuple):
    """The time from which a call has room."""

    available_at: float = 0.0
    """Seconds since the epoch; 0 if there is room now."""
    is_parked: bool = False
    """True if the provider has refused, and has said until when."""

    @property
    def is_free(self) -> bool:
        """True if there is room now."""
        return self.available_at == 0.0


FREE_HEADROOM = Headroom()


class _SentUsage(msgspec.Struct, frozen=True, gc=False):
    """The usage that was sent so far, and when the last of it was sent."""

    sent_at: float
    requests: int
    prompt: int
    cap: int


_NO_USAGE = _SentUsage(0.0, 0, 0, 0)
type UsageSnapshot = _SentUsage | None
"""The usage when a call was sent: `record_request` returns it for `record_response`."""


class _LimitLevel(msgspec.Struct, gc=False):
    """The last statement on one limit."""

    stated: StatedLimit
    snapshot: _SentUsage
    """The usage up to the request whose answer makes the statement."""
    reported_at: float
    resets_at: float | None = None
    """When the limit is whole again, in seconds since the epoch; set when first needed."""
    has_known_reset: bool = True
    """False if the provider does not say when; set with `resets_at`."""

    def compute_remaining(self, usage: _SentUsage) -> int:
        """Return what is left, less what was sent since."""
        remaining, snapshot = self.stated.remaining, self.snapshot
        match self.stated.limit_headers.unit:
            case "requests":
                return remaining - usage.requests + snapshot.requests
            case "prompt":
                return remaining - usage.prompt + snapshot.prompt
            case "prompt and cap":
                return remaining - usage.prompt - usage.cap + snapshot.prompt + snapshot.cap
            case "nothing":
                return remaining

    def compute_available_at(
        self, estimate: TokenEstimate, usage: _SentUsage, date: bytes | None, now: float
    ) -> float:
        """Return when a call has room, in seconds since the epoch; 0 means now."""
        stated, limit_headers = self.stated, self.stated.limit_headers
        demand = _compute_demand(limit_headers, estimate)
        if stated.limit is not None:
            demand = min(
                demand, stated.limit
            )  # a call that never fits is for the provider to refuse
        shortage = demand - self.compute_remaining(usage)
        if shortage <= 0:
            return 0.0
        if self.resets_at is None:
            provider_time = rate_limit_headers.read_provider_time(date, self.reported_at)
            reset_seconds = rate_limit_headers.parse_seconds(stated.raw_reset, provider_time)
            self.resets_at = self.reported_at + min(
                limit_headers.period if reset_seconds is None else reset_seconds,
                MAX_TRUST_SECONDS,
            )
            self.has_known_reset = reset_seconds is not None
        resets_at = self.resets_at
        if (
            limit_headers.steady
            and self.has_known_reset
            and stated.remaining > 0
            and stated.limit is not None
            and stated.limit > stated.remaining
        ):
            seconds_per_unit = (resets_at - self.reported_at) / (stated.limit - stated.remaining)
            resets_at = min(resets_at, self.reported_at + shortage * seconds_per_unit)
        # A clock that was set back must not make the wait longer.
        return resets_at if now < resets_at <= now + MAX_TRUST_SECONDS else 0.0


def _compute_demand(limit_headers: LimitHeaders, estimate: TokenEstimate) -> int:
    match limit_headers.unit:
        case "requests":
            return 1
        case "prompt":
            return estimate.prompt
        case "prompt and cap":
            return estimate.prompt + estimate.cap
        case "nothing":
            return 1  # some of it must be left


class _QuotaEntry:
    """The state of one provider, account and model."""

    __slots__ = (
        "demoted_until",
        "levels",
        "parked_until",
        "provider_date",
        "quiet_until",
        "updated_at",
        "usage",
    )

    def __init__(self) -> None:
        self.levels: dict[str, _LimitLevel] = {}
        self.parked_until = self.demoted_until = self.updated_at = self.quiet_until = 0.0
        self.usage = _NO_USAGE
        self.provider_date: bytes | None = None


class QuotaLevel(msgspec.Struct, frozen=True, kw_only=True):
    """One limit, for people."""

    name: str
    remaining: int
    """The amount that the provider stated, less what was sent since."""
    limit: int | None


class QuotaState(msgspec.Struct, frozen=True, kw_only=True):
    """The state of one provider, account and model, for people."""

    provider: str
    account: str
    model: str
    parked_seconds: float
    """Seconds until the provider takes more, as it has said; 0 means now."""
    demoted_seconds: float
    """Seconds for which the account goes behind others; 0 means that it does not."""
    levels: tuple[QuotaLevel, ...]


class QuotaTracker:
    """The state of all providers' limits, in bounded memory. Times are seconds since the epoch."""

    def __init__(self) -> None:
        self._entries: OrderedDict[AccountModelKey, _QuotaEntry] = OrderedDict()
        self.reported_keys: Collection[AccountModelKey] = self._entries.keys()
        """The keys of all entries."""

    def forget(self, providers: Collection[str]) -> None:
        """Forget the state of some providers."""
        for entry_key in [key for key in self._entries if key[0] in providers]:
            del self._entries[entry_key]

    def get_headroom(self, key: AccountModelKey, estimate: TokenEstimate, now: float) -> Headroom:
        """Return the headroom of a call, by the limit that has room last."""
        entry = self._entries.get(key)
        if entry is None:
            return FREE_HEADROOM
        if now < entry.parked_until <= now + MAX_TRUST_SECONDS:
            return Headroom(entry.parked_until, is_parked=True)
        available_at = (
            entry.demoted_until if now < entry.demoted_until <= now + MAX_TRUST_SECONDS else 0.0
        )
        for level in entry.levels.values():
            available_at = max(
                available_at,
                level.compute_available_at(estimate, entry.usage, entry.provider_date, now),
            )
        return Headroom(available_at) if available_at else FREE_HEADROOM

    def get_parked_headroom(self, key: AccountModelKey, now: float) -> Headroom:
        """Return until when a provider has parked an account; free headroom if it has not."""
        entry = self._entries.get(key)
        if entry is None or not now < entry.parked_until <= now + MAX_TRUST_SECONDS:
            return FREE_HEADROOM
        return Headroom(entry.parked_until, is_parked=True)

    def record_request(
        self, key: AccountModelKey, estimate: TokenEstimate, now: float
    ) -> UsageSnapshot:
        """Note that a call is sent: until an answer says more, it counts against what is left.

        Return the usage so far, or None if there is no entry.
        """
        entry = self._entries.get(key)
        if entry is None:
            return None
        previous_usage = entry.usage
        entry.usage = _SentUsage(
            now,
            previous_usage.requests + 1,
            previous_usage.prompt + estimate.prompt,
            previous_usage.cap + estimate.cap,
        )
        return entry.usage

    def record_response(
        self,
        key: AccountModelKey,
        headers: Fields,
        status: int,
        now: float,
        snapshot: UsageSnapshot = None,
    ) -> float | None:
        """Learn from the head of the answer to the call that `snapshot` belongs to.

        Return the seconds after which a refused call may come again, if the head says so.
        """
        known_entry = self._entries.get(key)
        if (
            known_entry is not None
            and status == 200
            and now < known_entry.quiet_until <= now + _QUIET_SECONDS
        ):
            return None
        stated_limits = rate_limit_headers.read(headers)
        if stated_limits.limits or stated_limits.is_over_limit:
            entry = self._touch_entry(key, now)
            if stated_limits.is_over_limit:
                entry.demoted_until = now + _DEMOTION_SECONDS
            entry.provider_date = stated_limits.date
            _update_levels(entry, stated_limits.limits, snapshot, now)
            entry.quiet_until = (
                0.0
                if stated_limits.is_over_limit or not _has_ample_room(entry)
                else now + _QUIET_SECONDS
            )
        if status == 200:
            return None
        return rate_limit_headers.read_retry_after(headers, status, now)

    def record_refusal(self, key: AccountModelKey, retry_after: float | None, now: float) -> None:
        """Record that a provider limits an account: park it for as long as the provider has said.

        If the provider has not said how long, the account goes last for a second.
        """
        entry = self._touch_entry(key, now)
        entry.quiet_until = 0.0
        if retry_after is None:
            entry.demoted_until = max(entry.demoted_until, now + _DEFAULT_COOLDOWN)
        else:
            entry.parked_until = now + min(max(retry_after, 0.0), MAX_TRUST_SECONDS)

    def list_states(self, now: float) -> list[QuotaState]:
        """Return all states that still hold, in no particular order."""
        return [
            QuotaState(
                provider=provider,
                account=account,
                model=model,
                parked_seconds=max(0.0, entry.parked_until - now),
                demoted_seconds=max(0.0, entry.demoted_until - now),
                levels=tuple(_build_levels(entry.levels.values(), entry.usage)),
            )
            for (provider, account, model), entry in self._entries.items()
            if entry.updated_at + MAX_TRUST_SECONDS >= now
        ]

    def _touch_entry(self, key: AccountModelKey, now: float) -> _QuotaEntry:
        """Return the entry of a key, as the newest; drop the oldest if stale or one too many."""
        entries = self._entries
        entry = entries.get(key)
        if entry is None:
            entry = entries[key] = _QuotaEntry()
        else:
            entries.move_to_end(key)
        entry.updated_at = now
        oldest_key = next(iter(entries))
        if len(entries) > _MAX_ENTRIES or entries[oldest_key].updated_at + MAX_TRUST_SECONDS < now:
            del entries[oldest_key]
        return entry


def _update_levels(
    entry: _QuotaEntry,
    stated_limits: Iterable[StatedLimit],
    request_snapshot: UsageSnapshot,
    now: float,
) -> None:
    """Take what an answer says is left, less what was sent after the answered request.

    If that was long ago, the provider has counted what was sent since: otherwise a long answer
    would look like a shortage.
    """
    snapshot = entry.usage
    if request_snapshot is not None and now - _CROSSING_SECONDS <= request_snapshot.sent_at <= now:
        snapshot = (
            request_snapshot if request_snapshot.requests <= snapshot.requests else snapshot
        )  # the entry may be newer
    for stated_limit in stated_limits:
        level = _LimitLevel(stated_limit, snapshot, now)
        previous_level = entry.levels.get(stated_limit.limit_headers.name)
        is_late = (
            previous_level is not None and snapshot.requests < previous_level.snapshot.requests
        )
        # Answers overtake each other: of two equally new ones, the one that states less is right.
        if (
            previous_level is not None
            and is_late
            and previous_level.compute_remaining(entry.usage)
            <= level.compute_remaining(entry.usage)
        ):
            continue
        entry.levels[stated_limit.limit_headers.name] = level


def _has_ample_room(entry: _QuotaEntry) -> bool:
    """Return True if half of each limit is left."""
    usage = entry.usage
    return all(
        (limit := level.stated.limit) is not None and level.compute_remaining(usage) * 2 >= limit
        for level in entry.levels.values()
    )


def _build_levels(levels: Iterable[_LimitLevel], usage: _SentUsage) -> Iterable[QuotaLevel]:
    for level in levels:
        remaining = max(0, level.compute_remaining(usage))
        stated = level.stated
        yield QuotaLevel(name=stated.limit_headers.name, remaining=remaining, limit=stated.limit)
