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

CAUSE_RANK: dict[Cause, int] = {"slow": 1, "shaky": 2, "model": 3, "credential": 4, "failing": 5}
"""Who is asked last for what, where there is no other; what fails is not asked at all."""
_FAILURES_TO_OPEN = 5
"""Failures in a row that open it, where in so many seconds nothing was answered."""
_SILENT_SECONDS = 1.0
_WINDOW_SIZE = 32
"""Answers and failures that are remembered."""
_WINDOW_MASK = (1 << _WINDOW_SIZE) - 1
_MIN_SAMPLES = 10
"""Of which so many must be there before their shares mean something."""
_SHAKY_FAILURES = 6
"""Failures among them with which it goes behind others: about a fifth."""
_FORGET_SECONDS = 30.0
"""Seconds without any after which they mean nothing."""
_PROBE_SECONDS = 10.0
"""Seconds that one probe has before another may go: it may hang."""
_SLOW_FACTOR = 4.0
"""Times what is usual."""
_MIN_SLOW_SECONDS = 1.0
"""Seconds that are not slow, however fast it is as a rule."""
_MIN_LATENCY_SAMPLES = 20
"""Answers before it is known what is usual."""
_PROVEN_SECONDS = 60.0
"""Seconds after an answer in which one refusal may be the client's doing: then it takes three."""
_REFUSALS_TO_OPEN = 3

_INITIAL_OPEN_SECONDS: dict[Cause, float] = {
    "failing": 2.0, "shaky": 5.0, "slow": 5.0, "credential": 30.0, "model": 30.0,
}  # fmt: skip
"""Seconds that it is open at first; each time that it fails again it is twice that."""
_MAX_OPEN_SECONDS: dict[Cause, float] = {
    "failing": 10.0, "shaky": 10.0, "slow": 10.0, "credential": 300.0, "model": 300.0,
}  # fmt: skip


class BreakerReport(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one target, for people. Times are seconds on the breaker's clock."""

    state: State
    cause: Cause | None
    opened_at: float | None
    """When it opened."""
    retry_at: float | None
    """When it may be tried again."""
    error_kind: str | None
    """Kind of the last failure."""
    error_at: float | None
    answered_count: int
    failed_count: int
    in_flight: int
    typical_seconds: float | None
    """Seconds until a stream's first content that most stay below."""


class CircuitBreaker:
    """Told of every request to one target; `jitter` gives numbers from 0 to 1.

    Times are seconds on one clock that never goes back.
    """

    __slots__ = (
        "_ended_count",
        "_epoch",
        "_failure_bits",
        "_failures_in_a_row",
        "_jitter",
        "_last_sample_at",
        "_next_probe_at",
        "_refusal_count",
        "_reopen_count",
        "_sample_count",
        "_slow_bits",
        "_slow_deadlines",
        "_started_count",
        "_tail_seconds",
        "_typical_seconds",
        "_untimed_attempts",
        "answered_at",
        "answered_count",
        "cause",
        "error_at",
        "error_kind",
        "failed_count",
        "opened_at",
        "retry_at",
    )  # fmt: skip

    def __init__(self, jitter: Callable[[], float]) -> None:
        self._jitter = jitter
        self.cause: Cause | None = None
        """Why it is not closed."""
        self.opened_at = 0.0
        self.retry_at = -inf
        self.error_kind: str | None = None
        self.error_at = 0.0
        self.answered_count = self.failed_count = 0
        self.answered_at = -inf
        self._failures_in_a_row = self._refusal_count = self._reopen_count = 0
        self._failure_bits = self._slow_bits = self._sample_count = 0
        self._last_sample_at = self._next_probe_at = 0.0
        self._started_count = self._ended_count = self._epoch = 0
        self._slow_deadlines: dict[int, float] = {}
        """When each request that is under way will be slow, the oldest first."""
        self._untimed_attempts: set[int] = set()
        """Those of which it is not known: nothing is usual yet."""
        self._typical_seconds = [0.0, 0.0]
        """Seconds of whole answers, and of the first content of streams."""
        self._tail_seconds = [0.0, 0.0]
        """The same, of the slowest in twenty."""

    def state(self, now: float) -> State:
        """Where it is."""
        if self.cause is None:
            return "closed"
        return "open" if now < self.retry_at else "half-open"

    @property
    def is_healthy(self) -> bool:
        """Whether it is closed and has not failed of late."""
        return self.cause is None and not self._failure_bits

    @property
    def is_failing(self) -> bool:
        """Whether it must not be asked while it is open."""
        return self.cause == "failing"

    def allows(self, now: float) -> bool:
        """Whether it may be asked in its turn: it is closed, or a probe is due."""
        return self.cause is None or (now >= self.retry_at and now >= self._next_probe_at)

    def claim_probe(self, now: float) -> None:
        """It is asked: where it is half-open that is the probe, and nobody else's for a while."""
        if self.cause is not None and now >= self.retry_at:
            self._next_probe_at = now + _PROBE_SECONDS

    def begin(self, now: float, *, stream: bool) -> int:
        """A request is sent; gives a number for what comes of it. Those that are late are slow."""
        self._started_count = attempt_number = self._started_count + 1
        slow_deadlines = self._slow_deadlines
        typical_seconds = self._typical_seconds[stream]
        if typical_seconds and self.answered_count >= _MIN_LATENCY_SAMPLES:
            slow_deadlines[attempt_number] = now + max(
                _MIN_SLOW_SECONDS, _SLOW_FACTOR * typical_seconds
            )
        else:
            self._untimed_attempts.add(attempt_number)
        if slow_deadlines:
            oldest_number = next(iter(slow_deadlines))
            if slow_deadlines[oldest_number] < now:
                del slow_deadlines[oldest_number]
                self._add_sample(now, is_slow=True)
        return attempt_number

    def _finish_attempt(self, attempt_number: int) -> float | None:
        """When a request that has ended was slow; None where it was counted as that."""
        self._ended_count += 1
        slow_deadline = self._slow_deadlines.pop(attempt_number, None)
        if (
            slow_deadline is None
            and self._untimed_attempts
            and attempt_number in self._untimed_attempts
        ):
            self._untimed_attempts.discard(attempt_number)
            return inf
        return slow_deadline

    def record_success(
        self, attempt_number: int, now: float, seconds: float, *, stream: bool
    ) -> bool:
        """It was answered after so many seconds; tells whether that has changed anything."""
        slow_deadline = self._finish_attempt(attempt_number)
        is_slow = slow_deadline is None or slow_deadline < now
        self.answered_count += 1
        self.answered_at = now
        # Moves to what 19 of 20 stay below: ups and downs are in balance there.
        tail_seconds = self._tail_seconds[stream]
        self._tail_seconds[stream] = (
            tail_seconds * (1.1 if seconds > tail_seconds else 0.995) if tail_seconds else seconds
        )
        typical_seconds = self._typical_seconds[stream]
        # Moves to what five of six stay below; what is slow moves it hardly, so that it stays slow.
        if not typical_seconds:
            self._typical_seconds[stream] = seconds
        elif is_slow:
            self._typical_seconds[stream] = typical_seconds * 1.002
        else:
            self._typical_seconds[stream] = typical_seconds * (
                1.05 if seconds > typical_seconds else 0.99
            )
        if attempt_number <= self._epoch:
            return False
        self._failures_in_a_row = self._refusal_count = 0
        if self.cause is not None and now >= self.retry_at:
            return self._open(now, self.cause) if is_slow else self._close(now)
        if slow_deadline is None:
            return False
        if is_slow or self._failure_bits or self._slow_bits:
            return self._add_sample(now, is_slow=is_slow)
        if (
            now - self._last_sample_at > _FORGET_SECONDS
        ):  # as `_add_sample` does, where there is nothing to count
            self._sample_count = 0
        self._last_sample_at = now
        if self._sample_count < _WINDOW_SIZE:
            self._sample_count += 1
        return False

    def get_tail_seconds(self, *, stream: bool) -> float | None:
        """Seconds that 95 % of answers take at most, or of first content; None: not known yet."""
        return (
            self._tail_seconds[stream] or None
            if self.answered_count >= _MIN_LATENCY_SAMPLES
            else None
        )

    def record_rejection(self, attempt_number: int, now: float) -> bool:
        """It has refused a request for its content: that is an answer too."""
        self._finish_attempt(attempt_number)
        if attempt_number <= self._epoch:
            return False
        self._failures_in_a_row = 0
        if self.cause is not None and now >= self.retry_at:
            return self._close(now)
        return self._add_sample(now)

    def record_unknown(self, attempt_number: int, now: float) -> bool:
        """Nothing is known of a request: its client left, or the gateway could not send it."""
        slow_deadline = self._finish_attempt(attempt_number)
        if attempt_number <= self._epoch:
            return False
        self._next_probe_at = 0.0
        return (
            slow_deadline is not None
            and slow_deadline < now
            and self._add_sample(now, is_slow=True)
        )

    def record_failure(self, attempt_number: int, now: float, kind: str) -> bool:
        """It has failed; tells whether that has changed anything."""
        self._finish_attempt(attempt_number)
        return self.record_broken_answer(attempt_number, now, kind)

    def record_broken_answer(self, attempt_number: int, now: float, kind: str) -> bool:
        """An answer that had begun has broken off; else as `record_failure`."""
        self._count_failure(now, kind)
        if attempt_number <= self._epoch:
            return False  # it was asked before it opened, or before it healed
        self._failures_in_a_row += 1
        if (
            self._failures_in_a_row >= _FAILURES_TO_OPEN
            and now - self.answered_at >= _SILENT_SECONDS
            and not self.is_failing
        ):
            return self._open(now, "failing")
        if self.cause is not None and now >= self.retry_at:
            return self._open(now, self.cause)
        return self._add_sample(now, is_failure=True)

    def record_refusal(
        self, attempt_number: int, now: float, kind: str, cause: Cause, *, is_certain: bool
    ) -> bool:
        """It does not know the model or credential; not `is_certain`: or what a client named."""
        self._finish_attempt(attempt_number)
        self._count_failure(now, kind)
        if attempt_number <= self._epoch:
            return False
        self._refusal_count += 1
        is_proven = now - self.answered_at < _PROVEN_SECONDS
        if is_certain or not is_proven or self._refusal_count >= _REFUSALS_TO_OPEN:
            return self._open(now, cause)
        return False

    def report(self, now: float) -> BreakerReport:
        """What is known of it."""
        is_open = self.cause is not None
        return BreakerReport(
            state=self.state(now),
            cause=self.cause,
            opened_at=self.opened_at if is_open else None,
            retry_at=self.retry_at if is_open else None,
            error_kind=self.error_kind,
            error_at=self.error_at if self.error_kind is not None else None,
            answered_count=self.answered_count,
            failed_count=self.failed_count,
            in_flight=self._started_count - self._ended_count,
            typical_seconds=self._typical_seconds[True] or None,
        )

    def _count_failure(self, now: float, kind: str) -> None:
        self.failed_count += 1
        self.error_kind, self.error_at = kind, now

    def _add_sample(self, now: float, *, is_failure: bool = False, is_slow: bool = False) -> bool:
        """Remember one; tells whether the shares have changed anything."""
        if now - self._last_sample_at > _FORGET_SECONDS:
            self._failure_bits = self._slow_bits = self._sample_count = 0
        self._last_sample_at = now
        self._failure_bits = (self._failure_bits << 1 | is_failure) & _WINDOW_MASK
        self._slow_bits = (self._slow_bits << 1 | is_slow) & _WINDOW_MASK
        if self._sample_count < _WINDOW_SIZE:
            self._sample_count += 1
        if (
            not (self._failure_bits or self._slow_bits)
            or self._sample_count < _MIN_SAMPLES
            or self.cause is not None
        ):
            return False
        if self._slow_bits.bit_count() * 2 >= self._sample_count:
            return self._open(now, "slow")
        return self._failure_bits.bit_count() >= _SHAKY_FAILURES and self._open(now, "shaky")

    def _open(self, now: float, cause: Cause) -> bool:
        """Open it, longer each time; none of those who share a clock come back together."""
        is_repeated = self.cause == cause or (
            self.cause is None and now - self.retry_at < _FORGET_SECONDS
        )
        self._reopen_count = self._reopen_count + 1 if is_repeated else 0
        duration = min(
            _INITIAL_OPEN_SECONDS[cause] * 2.0 ** min(self._reopen_count, 10),
            _MAX_OPEN_SECONDS[cause],
        )
        if self.cause is None:
            self.opened_at = now
        self.cause = cause
        self.retry_at = now + duration * (0.8 + 0.4 * self._jitter())
        self._start_epoch()
        return True

    def _close(self, now: float) -> bool:
        self.cause = None
        self.retry_at = now
        self._failures_in_a_row = 0
        self._start_epoch()
        return True

    def _start_epoch(self) -> None:
        """What was before says nothing of what is to come, and what is under way belongs to it."""
        self._epoch = self._started_count
        self._slow_deadlines.clear()
        self._untimed_attempts.clear()
        self._next_probe_at = 0.0
        self._failure_bits = self._slow_bits = self._sample_count = self._refusal_count = 0
