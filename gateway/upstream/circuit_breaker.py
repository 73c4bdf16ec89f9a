"""Whether one target is fit to be asked, from how it has answered: a breaker without a clock.

    closed --it fails, is shaky or slow--> open --its time is up--> half-open
       ^                                    ^                          |
       |                                    +---------failed-----------+
       +------------------one that was answered------------------------+

What fails outright is not asked while it is open. What is open for another cause goes behind
others, and is asked where there is no other: a late answer is better than none, a refusal costs
nothing, and of what fails now and then most may be had by asking.
"""

from collections.abc import Callable
from math import inf
from typing import Literal

import msgspec

type Cause = Literal["failing", "shaky", "slow", "credential", "model"]
type State = Literal["closed", "open", "half-open"]

RANK: dict[Cause, int] = {"slow": 1, "shaky": 2, "model": 3, "credential": 4, "failing": 5}
"""Who is asked last for what, where there is no other; what fails is not asked at all."""
_ROW = 5
"""Failures in a row that open it, where in so many seconds nothing was answered."""
_SILENT = 1.0
_WINDOW = 32
"""Answers and failures that are remembered."""
_MASK = (1 << _WINDOW) - 1
_FEW = 10
"""Of which so many must be there before their shares mean something."""
_SHAKY = 6
"""Failures among them with which it goes behind others: about a fifth."""
_FORGET = 30.0
"""Seconds without any after which they mean nothing."""
_PROBE = 10.0
"""Seconds that one probe has before another may go: it may hang."""
_SLOW = 4.0
"""Times what is usual."""
_NEVER_SLOW = 1.0
"""Seconds that are not slow, however fast it is as a rule."""
_SAMPLES = 20
"""Answers before it is known what is usual."""
_PROVEN = 60.0
"""Seconds after an answer in which one refusal may be the client's doing: then it takes three."""
_REFUSALS = 3

_FIRST: dict[Cause, float] = {
    "failing": 2.0, "shaky": 5.0, "slow": 5.0, "credential": 30.0, "model": 30.0,
}  # fmt: skip
"""Seconds that it is open at first; each time that it fails again it is twice that."""
_LONGEST: dict[Cause, float] = {
    "failing": 10.0, "shaky": 10.0, "slow": 10.0, "credential": 300.0, "model": 300.0,
}  # fmt: skip


class BreakerReport(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one target, for people. Times are seconds on the breaker's clock."""

    state: State
    cause: Cause | None
    since: float | None
    """When it opened."""
    until: float | None
    """When it may be tried again."""
    error: str | None
    """Kind of the last failure."""
    error_at: float | None
    answered: int
    failed: int
    in_flight: int
    usual: float | None
    """Seconds until a stream's first content that most stay below."""


class CircuitBreaker:
    """Told of every request to one target; `jitter` gives numbers from 0 to 1.

    Times are seconds on one clock that never goes back.
    """

    __slots__ = (
        "_bad", "_ended", "_epoch", "_flights", "_jitter", "_last", "_number", "_probe",
        "_refusals", "_row", "_seen", "_slow", "_tail", "_times", "_unknown", "_usual", "answered",
        "answered_at", "cause", "error", "error_at", "failed", "since", "until",
    )  # fmt: skip

    def __init__(self, jitter: Callable[[], float]) -> None:
        self._jitter = jitter
        self.cause: Cause | None = None
        """Why it is not closed."""
        self.since = 0.0
        self.until = -inf
        self.error: str | None = None
        self.error_at = 0.0
        self.answered = self.failed = 0
        self.answered_at = -inf
        self._row = self._refusals = self._times = 0
        self._bad = self._slow = self._seen = 0
        self._last = self._probe = 0.0
        self._number = self._ended = self._epoch = 0
        self._flights: dict[int, float] = {}
        """When each request that is under way will be slow, the oldest first."""
        self._unknown: set[int] = set()
        """Those of which it is not known: nothing is usual yet."""
        self._usual = [0.0, 0.0]
        """Seconds of whole answers, and of the first content of streams."""
        self._tail = [0.0, 0.0]
        """The same, of the slowest in twenty."""

    def state(self, now: float) -> State:
        """Where it is."""
        if self.cause is None:
            return "closed"
        return "open" if now < self.until else "half-open"

    @property
    def clean(self) -> bool:
        """Whether it is closed and has not failed of late."""
        return self.cause is None and not self._bad

    @property
    def hard(self) -> bool:
        """Whether it must not be asked while it is open."""
        return self.cause == "failing"

    def fit(self, now: float) -> bool:
        """Whether it may be asked in its turn: it is closed, or a probe is due."""
        return self.cause is None or (now >= self.until and now >= self._probe)

    def claim(self, now: float) -> None:
        """It is asked: where it is half-open that is the probe, and nobody else's for a while."""
        if self.cause is not None and now >= self.until:
            self._probe = now + _PROBE

    def begin(self, now: float, *, stream: bool) -> int:
        """A request is sent; gives a number for what comes of it. Those that are late are slow."""
        self._number = number = self._number + 1
        flights = self._flights
        usual = self._usual[stream]
        if usual and self.answered >= _SAMPLES:
            flights[number] = now + max(_NEVER_SLOW, _SLOW * usual)
        else:
            self._unknown.add(number)
        if flights:
            oldest = next(iter(flights))
            if flights[oldest] < now:
                del flights[oldest]
                self._note(now, slow=True)
        return number

    def _end(self, number: int) -> float | None:
        """When a request that has ended was slow; None where it was counted as that."""
        self._ended += 1
        late = self._flights.pop(number, None)
        if late is None and self._unknown and number in self._unknown:
            self._unknown.discard(number)
            return inf
        return late

    def good(self, number: int, now: float, seconds: float, *, stream: bool) -> bool:
        """It was answered after so many seconds; tells whether that has changed anything."""
        late = self._end(number)
        slow = late is None or late < now
        self.answered += 1
        self.answered_at = now
        # Moves to what 19 of 20 stay below: ups and downs are in balance there.
        tail = self._tail[stream]
        self._tail[stream] = tail * (1.1 if seconds > tail else 0.995) if tail else seconds
        usual = self._usual[stream]
        # Moves to what five of six stay below; what is slow moves it hardly, so that it stays slow.
        if not usual:
            self._usual[stream] = seconds
        elif slow:
            self._usual[stream] = usual * 1.002
        else:
            self._usual[stream] = usual * (1.05 if seconds > usual else 0.99)
        if number <= self._epoch:
            return False
        self._row = self._refusals = 0
        if self.cause is not None and now >= self.until:
            return self._open(now, self.cause) if slow else self._heal(now)
        if late is None:
            return False
        if slow or self._bad or self._slow:
            return self._note(now, slow=slow)
        if now - self._last > _FORGET:  # as `_note` does, where there is nothing to count
            self._seen = 0
        self._last = now
        if self._seen < _WINDOW:
            self._seen += 1
        return False

    def tail(self, *, stream: bool) -> float | None:
        """Seconds that 95 % of answers take at most, or of first content; None: not known yet."""
        return self._tail[stream] or None if self.answered >= _SAMPLES else None

    def alive(self, number: int, now: float) -> bool:
        """It has refused a request for its content: that is an answer too."""
        self._end(number)
        if number <= self._epoch:
            return False
        self._row = 0
        if self.cause is not None and now >= self.until:
            return self._heal(now)
        return self._note(now)

    def none(self, number: int, now: float) -> bool:
        """Nothing is known of a request: its client left, or the gateway could not send it."""
        late = self._end(number)
        if number <= self._epoch:
            return False
        self._probe = 0.0
        return late is not None and late < now and self._note(now, slow=True)

    def bad(self, number: int, now: float, kind: str) -> bool:
        """It has failed; tells whether that has changed anything."""
        self._end(number)
        return self.broke(number, now, kind)

    def broke(self, number: int, now: float, kind: str) -> bool:
        """An answer that had begun has broken off; else as `bad`."""
        self._fail(now, kind)
        if number <= self._epoch:
            return False  # it was asked before it opened, or before it healed
        self._row += 1
        if self._row >= _ROW and now - self.answered_at >= _SILENT and not self.hard:
            return self._open(now, "failing")
        if self.cause is not None and now >= self.until:
            return self._open(now, self.cause)
        return self._note(now, bad=True)

    def refused(self, number: int, now: float, kind: str, cause: Cause, *, sure: bool) -> bool:
        """It does not know the model, or the credential; not `sure`: or what a client named."""
        self._end(number)
        self._fail(now, kind)
        if number <= self._epoch:
            return False
        self._refusals += 1
        proven = now - self.answered_at < _PROVEN
        if sure or not proven or self._refusals >= _REFUSALS:
            return self._open(now, cause)
        return False

    def report(self, now: float) -> BreakerReport:
        """What is known of it."""
        out = self.cause is not None
        return BreakerReport(
            state=self.state(now),
            cause=self.cause,
            since=self.since if out else None,
            until=self.until if out else None,
            error=self.error,
            error_at=self.error_at if self.error is not None else None,
            answered=self.answered,
            failed=self.failed,
            in_flight=self._number - self._ended,
            usual=self._usual[True] or None,
        )

    def _fail(self, now: float, kind: str) -> None:
        self.failed += 1
        self.error, self.error_at = kind, now

    def _note(self, now: float, *, bad: bool = False, slow: bool = False) -> bool:
        """Remember one; tells whether the shares have changed anything."""
        if now - self._last > _FORGET:
            self._bad = self._slow = self._seen = 0
        self._last = now
        self._bad = (self._bad << 1 | bad) & _MASK
        self._slow = (self._slow << 1 | slow) & _MASK
        if self._seen < _WINDOW:
            self._seen += 1
        if not (self._bad or self._slow) or self._seen < _FEW or self.cause is not None:
            return False
        if self._slow.bit_count() * 2 >= self._seen:
            return self._open(now, "slow")
        return self._bad.bit_count() >= _SHAKY and self._open(now, "shaky")

    def _open(self, now: float, cause: Cause) -> bool:
        """Open it, longer each time; none of those who share a clock come back together."""
        again = self.cause == cause or (self.cause is None and now - self.until < _FORGET)
        self._times = self._times + 1 if again else 0
        span = min(_FIRST[cause] * 2.0 ** min(self._times, 10), _LONGEST[cause])
        if self.cause is None:
            self.since = now
        self.cause = cause
        self.until = now + span * (0.8 + 0.4 * self._jitter())
        self._turn()
        return True

    def _heal(self, now: float) -> bool:
        self.cause = None
        self.until = now
        self._row = 0
        self._turn()
        return True

    def _turn(self) -> None:
        """What was before says nothing of what is to come, and what is under way belongs to it."""
        self._epoch = self._number
        self._flights.clear()
        self._unknown.clear()
        self._probe = 0.0
        self._bad = self._slow = self._seen = self._refusals = 0
