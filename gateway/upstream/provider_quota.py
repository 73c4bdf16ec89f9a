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

type Place = tuple[str, str, str]
"""Provider, account, model."""

LONGEST = 600.0
"""Seconds that anything is believed: a limit of a day is tried again after that."""
_MOST = 4096
"""Shelves; the one that was told of longest ago goes first."""
_REST = 1.0
"""Seconds that an account rests which was refused and not told for how long."""
_DEMOTED = 10.0
"""Seconds that one goes last which answers, but says that more was asked than was agreed."""
_QUIET = 0.02
"""Seconds for which answers are not asked again where half of every limit is left: what is sent is
counted here meanwhile."""
_CROSSING = 2.0
"""Seconds in which what was sent after a request may be missing in what its answer says is left."""


class TokenEstimate(msgspec.Struct, frozen=True, gc=False):
    """What a call takes of a limit on tokens, estimated."""

    prompt: int = 0
    cap: int = 0
    """Tokens of output that it allows; 0 where it says none."""


class Headroom(NamedTuple):
    """Whether a call has room, and when it will."""

    until: float = 0.0
    """Seconds since the epoch; 0 where there is room now."""
    parked: bool = False
    """The provider has refused, and has said until when."""

    @property
    def free(self) -> bool:
        """Whether there is room now."""
        return self.until == 0.0


FREE = Headroom()


class _Taken(msgspec.Struct, frozen=True, gc=False):
    """What was sent so far, and when the last of it was."""

    at: float
    requests: int
    prompt: int
    cap: int


_NOTHING = _Taken(0.0, 0, 0, 0)
type Ticket = _Taken | None
"""What `take` gives for `note`: what had been sent when a call was."""


class _Level:
    """What was last told of one limit."""

    __slots__ = ("left", "limit", "line", "reset", "since", "told", "until")

    def __init__(self, said: StatedLimit, since: _Taken, told: float) -> None:
        self.line: LimitHeaders = said.line
        self.left = said.left
        self.limit = said.limit
        self.reset = said.reset
        self.since = since
        self.told = told
        self.until: float | None = None
        """When it is whole again; read when it is first needed."""

    def headroom(self, taken: _Taken) -> int:
        return self.left - _spent(self.line, taken, self.since)

    def wait(self, load: TokenEstimate, taken: _Taken, date: bytes | None, now: float) -> float:
        """When a call has room, in seconds since the epoch; 0: now."""
        need = _need(self.line, load)
        if self.limit is not None:
            need = min(need, self.limit)  # one that never fits is for the provider to refuse
        short = need - self.headroom(taken)
        if short <= 0:
            return 0.0
        if self.until is None:
            there = rate_limit_headers.clock(date, self.told)
            span = rate_limit_headers.seconds(self.reset, there)
            self.until = self.told + min(self.line.period if span is None else span, LONGEST)
            if span is None:
                self.line = self.line._replace(steady=False)
        until = self.until
        if self.line.steady and self.left > 0 and self.limit is not None and self.limit > self.left:
            a_token = (until - self.told) / (self.limit - self.left)
            until = min(until, self.told + short * a_token)
        # A clock that was set back must not make it longer.
        return until if now < until <= now + LONGEST else 0.0


def _need(line: LimitHeaders, load: TokenEstimate) -> int:
    match line.takes:
        case "requests":
            return 1
        case "prompt":
            return load.prompt
        case "prompt and cap":
            return load.prompt + load.cap
        case "nothing":
            return 1  # some of it must be left


def _spent(line: LimitHeaders, taken: _Taken, since: _Taken) -> int:
    match line.takes:
        case "requests":
            return taken.requests - since.requests
        case "prompt":
            return taken.prompt - since.prompt
        case "prompt and cap":
            return taken.prompt + taken.cap - since.prompt - since.cap
        case "nothing":
            return 0


class _Shelf:
    """What is known of one provider, account and model."""

    __slots__ = ("date", "demoted", "levels", "parked", "quiet", "seen", "taken")

    def __init__(self) -> None:
        self.levels: dict[str, _Level] = {}
        self.parked = self.demoted = self.seen = self.quiet = 0.0
        self.taken = _NOTHING
        self.date: bytes | None = None


class QuotaLevel(msgspec.Struct, frozen=True, kw_only=True):
    """One limit, for people."""

    name: str
    left: int
    """What the provider said, less what was sent since."""
    limit: int | None


class QuotaState(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one provider, account and model, for people."""

    provider: str
    account: str
    model: str
    parked: float
    """Seconds until the provider takes more, as it has said; 0: now."""
    demoted: float
    """Seconds for which it goes behind others; 0: it does not."""
    levels: tuple[QuotaLevel, ...]


class QuotaTracker:
    """All that is known, in bounded memory. Times are seconds since the epoch."""

    def __init__(self) -> None:
        self._shelves: OrderedDict[Place, _Shelf] = OrderedDict()
        self.told: Collection[Place] = self._shelves.keys()
        """Those of whom anything is known."""

    def forget(self, providers: Collection[str]) -> None:
        """Nothing is known of some providers any more."""
        for place in [one for one in self._shelves if one[0] in providers]:
            del self._shelves[place]

    def room(self, place: Place, load: TokenEstimate, now: float) -> Headroom:
        """Whether a call has room, by the limit of which least is left."""
        shelf = self._shelves.get(place)
        if shelf is None:
            return FREE
        if now < shelf.parked <= now + LONGEST:
            return Headroom(shelf.parked, parked=True)
        until = shelf.demoted if now < shelf.demoted <= now + LONGEST else 0.0
        for level in shelf.levels.values():
            until = max(until, level.wait(load, shelf.taken, shelf.date, now))
        return Headroom(until) if until else FREE

    def parked(self, place: Place, now: float) -> Headroom:
        """Whether a provider has refused, and until when; of who is asked whatever is left."""
        shelf = self._shelves.get(place)
        if shelf is None or not now < shelf.parked <= now + LONGEST:
            return FREE
        return Headroom(shelf.parked, parked=True)

    def take(self, place: Place, load: TokenEstimate, now: float) -> Ticket:
        """A call is sent: until an answer tells more, it is taken off what is left."""
        shelf = self._shelves.get(place)
        if shelf is None:
            return None
        was = shelf.taken
        shelf.taken = _Taken(now, was.requests + 1, was.prompt + load.prompt, was.cap + load.cap)
        return shelf.taken

    def note(
        self, place: Place, headers: Fields, status: int, now: float, ticket: Ticket = None
    ) -> float | None:
        """Learn from the head of an answer to the call of a ticket.

        Gives the seconds after which a refused call may come again, where the head says so.
        """
        known = self._shelves.get(place)
        if known is not None and status == 200 and now < known.quiet <= now + _QUIET:
            return None
        report = rate_limit_headers.read(headers)
        if report.said or report.over:
            shelf = self._shelf(place, now)
            if report.over:
                shelf.demoted = now + _DEMOTED
            shelf.date = report.date
            _learn(shelf, report.said, ticket, now)
            shelf.quiet = 0.0 if report.over or not _ample(shelf) else now + _QUIET
        if status == 200:
            return None
        return rate_limit_headers.retry_after(headers, status, now)

    def refused(self, place: Place, after: float | None, now: float) -> None:
        """A provider limits the rate of an account: it is parked for as long as it has said."""
        shelf = self._shelf(place, now)
        shelf.quiet = 0.0
        if after is None:
            shelf.demoted = max(shelf.demoted, now + _REST)
        else:
            shelf.parked = now + min(max(after, 0.0), LONGEST)

    def state(self, now: float) -> list[QuotaState]:
        """All that is known and still holds, in no order that matters."""
        return [
            QuotaState(
                provider=provider,
                account=account,
                model=model,
                parked=max(0.0, shelf.parked - now),
                demoted=max(0.0, shelf.demoted - now),
                levels=tuple(_levels(shelf.levels.values(), shelf.taken)),
            )
            for (provider, account, model), shelf in self._shelves.items()
            if shelf.seen + LONGEST >= now
        ]

    def _shelf(self, place: Place, now: float) -> _Shelf:
        """The shelf that is told of now, as the newest; those that tell nothing any more go."""
        shelves = self._shelves
        shelf = shelves.get(place)
        if shelf is None:
            shelf = shelves[place] = _Shelf()
        else:
            shelves.move_to_end(place)
        shelf.seen = now
        oldest = next(iter(shelves))
        if len(shelves) > _MOST or shelves[oldest].seen + LONGEST < now:
            del shelves[oldest]
        return shelf


def _learn(shelf: _Shelf, said: Iterable[StatedLimit], ticket: Ticket, now: float) -> None:
    """Take what an answer says is left, less what was sent after its request was.

    What was sent long after is counted by the provider: else long answers would be a shortage.
    """
    since = shelf.taken
    if ticket is not None and now - _CROSSING <= ticket.at <= now:
        since = ticket if ticket.requests <= since.requests else since  # the shelf may be newer
    for one in said:
        level, old = _Level(one, since, now), shelf.levels.get(one.line.name)
        late = old is not None and since.requests < old.since.requests
        # Answers overtake each other: of two that are as new, who tells of less is right.
        if old is not None and late and old.headroom(shelf.taken) <= level.headroom(shelf.taken):
            continue
        shelf.levels[one.line.name] = level


def _ample(shelf: _Shelf) -> bool:
    """Whether half of each limit is left."""
    taken = shelf.taken
    return all(
        level.limit is not None and level.headroom(taken) * 2 >= level.limit
        for level in shelf.levels.values()
    )


def _levels(levels: Iterable[_Level], taken: _Taken) -> Iterable[QuotaLevel]:
    for level in levels:
        left = max(0, level.headroom(taken))
        yield QuotaLevel(name=level.line.name, left=left, limit=level.limit)
