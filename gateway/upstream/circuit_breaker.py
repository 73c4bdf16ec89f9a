"""Decide if one target is fit to be asked, from how it has answered: a breaker without a clock.

    closed --it fails, is shaky or slow--> open --its time is up--> half-open
       ^                                    ^                          |
       |                                    +---------failed-----------+
       +------------------a probe was answered-------------------------+

A failing target is not asked while it is open. A target that is open for another cause goes behind
others, and is asked if there is no other. A late answer is better than none, a refusal costs
nothing, and a target that fails now and then still answers most requests.
"""

from collections.abc import Callable
from math import inf
from typing import Literal

import msgspec

type Cause = Literal["failing", "shaky", "slow", "credential", "model"]
type State = Literal["closed", "open", "half-open"]

CAUSE_RANK: dict[Cause, int] = {"slow": 1, "shaky": 2, "model": 3, "credential": 4, "failing": 5}
"""Ranks of the causes: of targets that are not closed, a lower rank is asked first.

A failing target is not asked at all.
"""
_FAILURES_TO_OPEN = 5
"""Failures in a row that open the breaker, if nothing was answered for `_SILENT_SECONDS`."""
_SILENT_SECONDS = 1.0
_WINDOW_SIZE = 32
"""The number of answers and failures that the breaker remembers."""
_WINDOW_MASK = (1 << _WINDOW_SIZE) - 1
_MIN_SAMPLES = 10
"""The number of remembered requests from which their shares mean something."""
_SHAKY_FAILURES = 6
"""Remembered failures from which a target goes behind others: about a fifth."""
_FORGET_SECONDS = 30.0
"""Seconds without an answer or failure after which the breaker forgets all of them."""
_PROBE_SECONDS = 10.0
"""Seconds that one probe has before another may go: the first may hang."""
_SLOW_FACTOR = 4.0
"""The multiple of the typical time from which an answer is slow."""
_MIN_SLOW_SECONDS = 1.0
"""Seconds up to which no answer is slow, however fast the target usually is."""
_MIN_LATENCY_SAMPLES = 20
"""The number of answers from which the typical time is known."""
_PROVEN_SECONDS = 60.0
"""Seconds after an answer in which one refusal does not open the breaker.

The client may be at fault, so it takes `_REFUSALS_TO_OPEN` refusals.
"""
_REFUSALS_TO_OPEN = 3

_INITIAL_OPEN_SECONDS: dict[Cause, float] = {
    "failing": 2.0, "shaky": 5.0, "slow": 5.0, "credential": 30.0, "model": 30.0,
}  # fmt: skip
"""Seconds that the breaker is open at first, by cause; each time that it reopens they double."""
_MAX_OPEN_SECONDS: dict[Cause, float] = {
    "failing": 10.0, "shaky": 10.0, "slow": 10.0, "credential": 300.0, "model": 300.0,
}  # fmt: skip


class BreakerReport(msgspec.Struct, frozen=True, kw_only=True):
    """The state of one breaker, for people. Times are seconds on the breaker's clock."""

    state: State
    cause: Cause | None
    opened_at: float | None
    """When the breaker opened."""
    retry_at: float | None
    """When the target may be tried again."""
    error_kind: str | None
    """The kind of the last failure."""
    error_at: float | None
    answered_count: int
    failed_count: int
    in_flight: int
    typical_seconds: float | None
    """Seconds until the first content that most streams stay below."""


class CircuitBreaker:
    """The breaker of one target; it hears of every request to it.

    `jitter` returns numbers from 0 to 1. Times are seconds on one clock that never goes back.
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
        """The reason why the breaker is not closed."""
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
        """When each request in flight becomes slow, the oldest first."""
        self._untimed_attempts: set[int] = set()
        """Requests in flight without such a time: the typical time was not known yet."""
        self._typical_seconds = [0.0, 0.0]
        """Typical seconds of whole answers, and of the first content of streams."""
        self._tail_seconds = [0.0, 0.0]
        """Seconds that 95 % stay below: of whole answers, and of the first content of streams."""

    def state(self, now: float) -> State:
        """Return the state at a time."""
        if self.cause is None:
            return "closed"
        return "open" if now < self.retry_at else "half-open"

    @property
    def is_healthy(self) -> bool:
        """True if the breaker is closed and has no recent failure."""
        return self.cause is None and not self._failure_bits

    @property
    def is_failing(self) -> bool:
        """True if the target must not be asked while the breaker is open."""
        return self.cause == "failing"

    def allows(self, now: float) -> bool:
        """Return True if the target may be asked in its turn: it is closed, or a probe is due."""
        return self.cause is None or (now >= self.retry_at and now >= self._next_probe_at)

    def claim_probe(self, now: float) -> None:
        """Claim the probe if the breaker is half-open: nobody else may probe for a while."""
        if self.cause is not None and now >= self.retry_at:
            self._next_probe_at = now + _PROBE_SECONDS

    def begin(self, now: float, *, stream: bool) -> int:
        """Note that a request is sent, and return a number for its result.

        If the oldest request in flight is late, count it as slow.
        """
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
        """Return when a request that has ended became slow.

        Return infinity if that was never known. Return None if the request was already counted as
        slow, or left before the last change of state.
        """
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
        """Record an answer that took so many seconds. Return True if the breaker has changed."""
        slow_deadline = self._finish_attempt(attempt_number)
        is_slow = slow_deadline is None or slow_deadline < now
        self.answered_count += 1
        self.answered_at = now
        # Moves towards what 19 of 20 answers stay below: steps up and down are in balance there.
        tail_seconds = self._tail_seconds[stream]
        self._tail_seconds[stream] = (
            tail_seconds * (1.1 if seconds > tail_seconds else 0.995) if tail_seconds else seconds
        )
        typical_seconds = self._typical_seconds[stream]
        # Moves towards what five of six answers stay below. A slow answer hardly moves it, so that
        # slow stays slow.
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
        ):  # as `_add_sample` does, if there is nothing to count
            self._sample_count = 0
        self._last_sample_at = now
        if self._sample_count < _WINDOW_SIZE:
            self._sample_count += 1
        return False

    def get_tail_seconds(self, *, stream: bool) -> float | None:
        """Return the seconds that 95 % of whole answers, or of first contents, stay below.

        Return None if that is not known yet.
        """
        return (
            self._tail_seconds[stream] or None
            if self.answered_count >= _MIN_LATENCY_SAMPLES
            else None
        )

    def record_rejection(self, attempt_number: int, now: float) -> bool:
        """Record that the target refused a request for its content: that is an answer too.

        Return True if the breaker has changed.
        """
        self._finish_attempt(attempt_number)
        if attempt_number <= self._epoch:
            return False
        self._failures_in_a_row = 0
        if self.cause is not None and now >= self.retry_at:
            return self._close(now)
        return self._add_sample(now)

    def record_unknown(self, attempt_number: int, now: float) -> bool:
        """Record a request without a result: its client left, or the gateway could not send it.

        Return True if the breaker has changed.
        """
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
        """Record a failure. Return True if the breaker has changed."""
        self._finish_attempt(attempt_number)
        return self.record_broken_answer(attempt_number, now, kind)

    def record_broken_answer(self, attempt_number: int, now: float, kind: str) -> bool:
        """Record that an answer broke off after it had begun.

        Return True if the breaker has changed.
        """
        self._count_failure(now, kind)
        if attempt_number <= self._epoch:
            return False  # the request left before the breaker opened, or before it closed
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
        """Record that the target does not know the model or credential.

        Without `is_certain`, what the client named may be at fault. Return True if the breaker has
        changed.
        """
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
        """Return the state for people."""
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
        """Remember one result. Return True if the shares have opened the breaker."""
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
        """Open the breaker, longer each time.

        Jitter keeps the breakers on one clock from retrying together.
        """
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
        """Forget all results; requests in flight belong to the past and no longer count."""
        self._epoch = self._started_count
        self._slow_deadlines.clear()
        self._untimed_attempts.clear()
        self._next_probe_at = 0.0
        self._failure_bits = self._slow_bits = self._sample_count = self._refusal_count = 0
