"""What is left of providers' own limits, learnt from their answers and respected before they bite.

One shelf for each provider, account and model. Between two answers, what was sent since is taken
off; where an account was refused it is parked until the provider takes it again. It is a guess of
this process, and only says who is asked first: nobody is dropped for it.
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
"""Seconds that anything is believed: a limit of a day is tried again after that."""
_MAX_ENTRIES = 4096
"""Shelves; the one that was told of longest ago goes first."""
_DEFAULT_COOLDOWN = 1.0
"""Seconds that an account rests which was refused and not told for how long."""
_DEMOTION_SECONDS = 10.0
"""Seconds that one goes last which answers, but says that more was asked than was agreed."""
_QUIET_SECONDS = 0.02
"""Seconds for which answers are not asked again where half of every limit is left: what is sent is
counted here meanwhile."""
_CROSSING_SECONDS = 2.0
"""Seconds in which what was sent after a request may be missing in what its answer says is left."""


class TokenEstimate(msgspec.Struct, frozen=True, gc=False):
    """What a call takes of a limit on tokens, estimated."""

    prompt: int = 0
    cap: int = 0
    """Tokens of output that it allows; 0 where it says none."""


class Headroom(NamedTuple):
    """Whether a call has room, and when it will."""

    available_at: float = 0.0
    """Seconds since the epoch; 0 where there is room now."""
    is_parked: bool = False
    """The provider has refused, and has said until when."""

    @property
    def is_free(self) -> bool:
        """Whether there is room now."""
        return self.available_at == 0.0


FREE_HEADROOM = Headroom()


class _SentUsage(msgspec.Struct, frozen=True, gc=False):
    """What was sent so far, and when the last of it was."""

    sent_at: float
    requests: int
    prompt: int
    cap: int


_NO_USAGE = _SentUsage(0.0, 0, 0, 0)
type UsageSnapshot = _SentUsage | None
"""What `record_request` gives for `record_response`: what had been sent when a call was."""


class _LimitLevel:
    """What was last told of one limit."""

    __slots__ = (
        "limit",
        "limit_headers",
        "raw_reset",
        "remaining",
        "reported_at",
        "resets_at",
        "snapshot",
    )

    def __init__(self, stated_limit: StatedLimit, snapshot: _SentUsage, reported_at: float) -> None:
        self.limit_headers: LimitHeaders = stated_limit.limit_headers
        self.remaining = stated_limit.remaining
        self.limit = stated_limit.limit
        self.raw_reset = stated_limit.raw_reset
        self.snapshot = snapshot
        self.reported_at = reported_at
        self.resets_at: float | None = None
        """When it is whole again; read when it is first needed."""

    def compute_remaining(self, usage: _SentUsage) -> int:
        return self.remaining - _compute_spent(self.limit_headers, usage, self.snapshot)

    def compute_available_at(
        self, estimate: TokenEstimate, usage: _SentUsage, date: bytes | None, now: float
    ) -> float:
        """When a call has room, in seconds since the epoch; 0: now."""
        demand = _compute_demand(self.limit_headers, estimate)
        if self.limit is not None:
            demand = min(demand, self.limit)  # one that never fits is for the provider to refuse
        shortage = demand - self.compute_remaining(usage)
        if shortage <= 0:
            return 0.0
        if self.resets_at is None:
            provider_time = rate_limit_headers.read_provider_time(date, self.reported_at)
            reset_seconds = rate_limit_headers.parse_seconds(self.raw_reset, provider_time)
            self.resets_at = self.reported_at + min(
                self.limit_headers.period if reset_seconds is None else reset_seconds,
                MAX_TRUST_SECONDS,
            )
            if reset_seconds is None:
                self.limit_headers = self.limit_headers._replace(steady=False)
        resets_at = self.resets_at
        if (
            self.limit_headers.steady
            and self.remaining > 0
            and self.limit is not None
            and self.limit > self.remaining
        ):
            seconds_per_unit = (resets_at - self.reported_at) / (self.limit - self.remaining)
            resets_at = min(resets_at, self.reported_at + shortage * seconds_per_unit)
        # A clock that was set back must not make it longer.
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


def _compute_spent(limit_headers: LimitHeaders, usage: _SentUsage, snapshot: _SentUsage) -> int:
    match limit_headers.unit:
        case "requests":
            return usage.requests - snapshot.requests
        case "prompt":
            return usage.prompt - snapshot.prompt
        case "prompt and cap":
            return usage.prompt + usage.cap - snapshot.prompt - snapshot.cap
        case "nothing":
            return 0


class _QuotaEntry:
    """What is known of one provider, account and model."""

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
    """What the provider said, less what was sent since."""
    limit: int | None


class QuotaState(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one provider, account and model, for people."""

    provider: str
    account: str
    model: str
    parked_seconds: float
    """Seconds until the provider takes more, as it has said; 0: now."""
    demoted_seconds: float
    """Seconds for which it goes behind others; 0: it does not."""
    levels: tuple[QuotaLevel, ...]


class QuotaTracker:
    """All that is known, in bounded memory. Times are seconds since the epoch."""

    def __init__(self) -> None:
        self._entries: OrderedDict[AccountModelKey, _QuotaEntry] = OrderedDict()
        self.reported_keys: Collection[AccountModelKey] = self._entries.keys()
        """Those of whom anything is known."""

    def forget(self, providers: Collection[str]) -> None:
        """Nothing is known of some providers any more."""
        for entry_key in [key for key in self._entries if key[0] in providers]:
            del self._entries[entry_key]

    def get_headroom(self, key: AccountModelKey, estimate: TokenEstimate, now: float) -> Headroom:
        """Whether a call has room, by the limit of which least is left."""
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
        """Whether a provider has refused, and until when; of who is asked whatever is left."""
        entry = self._entries.get(key)
        if entry is None or not now < entry.parked_until <= now + MAX_TRUST_SECONDS:
            return FREE_HEADROOM
        return Headroom(entry.parked_until, is_parked=True)

    def record_request(
        self, key: AccountModelKey, estimate: TokenEstimate, now: float
    ) -> UsageSnapshot:
        """A call is sent: until an answer tells more, it is taken off what is left."""
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
        """Learn from the head of an answer to the call of a ticket.

        Gives the seconds after which a refused call may come again, where the head says so.
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
        """A provider limits the rate of an account: it is parked for as long as it has said."""
        entry = self._touch_entry(key, now)
        entry.quiet_until = 0.0
        if retry_after is None:
            entry.demoted_until = max(entry.demoted_until, now + _DEFAULT_COOLDOWN)
        else:
            entry.parked_until = now + min(max(retry_after, 0.0), MAX_TRUST_SECONDS)

    def list_states(self, now: float) -> list[QuotaState]:
        """All that is known and still holds, in no order that matters."""
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
        """The shelf that is told of now, as the newest; those that tell nothing any more go."""
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
    """Take what an answer says is left, less what was sent after its request was.

    What was sent long after is counted by the provider: else long answers would be a shortage.
    """
    snapshot = entry.usage
    if request_snapshot is not None and now - _CROSSING_SECONDS <= request_snapshot.sent_at <= now:
        snapshot = (
            request_snapshot if request_snapshot.requests <= snapshot.requests else snapshot
        )  # the shelf may be newer
    for stated_limit in stated_limits:
        level = _LimitLevel(stated_limit, snapshot, now)
        previous_level = entry.levels.get(stated_limit.limit_headers.name)
        is_late = (
            previous_level is not None and snapshot.requests < previous_level.snapshot.requests
        )
        # Answers overtake each other: of two that are as new, who tells of less is right.
        if (
            previous_level is not None
            and is_late
            and previous_level.compute_remaining(entry.usage)
            <= level.compute_remaining(entry.usage)
        ):
            continue
        entry.levels[stated_limit.limit_headers.name] = level


def _has_ample_room(entry: _QuotaEntry) -> bool:
    """Whether half of each limit is left."""
    usage = entry.usage
    return all(
        level.limit is not None and level.compute_remaining(usage) * 2 >= level.limit
        for level in entry.levels.values()
    )


def _build_levels(levels: Iterable[_LimitLevel], usage: _SentUsage) -> Iterable[QuotaLevel]:
    for level in levels:
        remaining = max(0, level.compute_remaining(usage))
        yield QuotaLevel(name=level.limit_headers.name, remaining=remaining, limit=level.limit)
