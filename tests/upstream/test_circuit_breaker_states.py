"""Whatever requests overlap, a breaker lets its target recover, and nothing old moves it: a state machine.

Many requests are in flight at once; they are answered, refused, fail and break off, in any order, and
time passes between them. A request that left before the last change of the breaker changes nothing.
"""

from collections.abc import Callable

import hypothesis.strategies as st
import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from gateway.upstream.circuit_breaker import Cause, CircuitBreaker

_MOST_OPEN_SECONDS = {"failing": 12.0, "shaky": 12.0, "slow": 12.0, "credential": 360.0, "model": 360.0}  # fmt: skip
"""Seconds until a probe may go, at the most: the longest time of each cause, and its jitter."""
_PROBE_SECONDS = 10.0
_CHOICES = st.integers(0, 30)


class BreakerStates(RuleBasedStateMachine):
    """See the module."""

    def __init__(self) -> None:
        super().__init__()
        self.jitter = 0.5
        self.breaker = CircuitBreaker(lambda: self.jitter)
        self.now = 1000.0
        self.in_flight: dict[int, tuple[float, bool, int]] = {}
        """When each request left, if it streams, and how often the breaker had changed by then."""
        self.changes = 0
        """How often the breaker has opened, opened again or closed."""
        self.answered = self.failed = 0
        self.probed_at: float | None = None
        """When the probe left that still may come back; None without one."""

    @rule(seconds=st.sampled_from([0.01, 0.3, 1.1, 5.0, 13.0, 31.0, 400.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(jitter=st.sampled_from([0.0, 0.5, 1.0]))
    def choose_jitter(self, jitter: float) -> None:
        self.jitter = jitter

    @rule(stream=st.booleans(), count=st.integers(1, 12))
    def send(self, count: int, *, stream: bool) -> None:
        """Send requests, as failover does: those that the breaker allows, a probe one at a time."""
        breaker = self.breaker
        for _ in range(count):
            state = breaker.state(self.now)
            if not breaker.allows(self.now):
                assert state != "closed"
                if breaker.is_failing:
                    return
            elif state == "half-open":
                is_alone = self.probed_at is None or self.now - self.probed_at >= _PROBE_SECONDS
                assert is_alone, "a second probe leaves while the first may come back"
                self.probed_at = self.now
            breaker.claim_probe(self.now)
            cause = breaker.cause
            number = breaker.begin(self.now, stream=stream)
            assert number not in self.in_flight
            self.in_flight[number] = self.now, stream, self.changes
            if breaker.cause is not cause:  # too many requests in flight are late
                self.changes += 1
                self.probed_at = None

    def choose(self, choice: int) -> tuple[int, float, bool, bool]:
        """Take a request out of flight: its number, when it left, its form, and True if it is old."""
        number = [*self.in_flight][choice % len(self.in_flight)]
        left_at, stream, changes = self.in_flight.pop(number)
        return number, left_at, stream, changes < self.changes

    def note(self, before: tuple[Cause | None, float], *, is_old: bool, changed: bool) -> None:
        after = self.breaker.cause, self.breaker.retry_at
        assert changed or after == before, "the breaker has changed, and does not say so"
        assert not (is_old and changed), "a request from before the last change changes the breaker"
        if changed:
            self.changes += 1
            self.probed_at = None

    @precondition(lambda self: self.in_flight)
    @rule(choice=_CHOICES, count=st.integers(1, 12))
    def answer(self, choice: int, count: int) -> None:
        for _ in range(min(count, len(self.in_flight))):
            number, left_at, stream, is_old = self.choose(choice)
            before = self.breaker.cause, self.breaker.retry_at
            was_half_open = self.breaker.state(self.now) == "half-open"
            changed = self.breaker.record_success(
                number, self.now, self.now - left_at, stream=stream
            )
            self.answered += 1
            if was_half_open and not is_old:
                assert changed, "an answer to a probe changes nothing"
            self.note(before, is_old=is_old, changed=changed)

    @precondition(lambda self: self.in_flight)
    @rule(choice=_CHOICES, count=st.integers(1, 12), breaks_off=st.booleans())
    def fail(self, choice: int, count: int, *, breaks_off: bool) -> None:
        for _ in range(min(count, len(self.in_flight))):
            number, _, stream, is_old = self.choose(choice)
            before = self.breaker.cause, self.breaker.retry_at
            if breaks_off:
                changed = self.breaker.record_success(number, self.now, 0.0, stream=stream)
                self.note(before, is_old=is_old, changed=changed)
                is_old = is_old or changed
                self.answered += 1
                before = self.breaker.cause, self.breaker.retry_at
                changed = self.breaker.record_broken_answer(number, self.now, "upstream_error")
            else:
                changed = self.breaker.record_failure(number, self.now, "upstream_error")
            self.failed += 1
            self.note(before, is_old=is_old, changed=changed)

    @precondition(lambda self: self.in_flight)
    @rule(choice=_CHOICES, cause=st.sampled_from(["credential", "model"]), is_certain=st.booleans())
    def refuse(self, choice: int, cause: Cause, *, is_certain: bool) -> None:
        number, _, _, is_old = self.choose(choice)
        before = self.breaker.cause, self.breaker.retry_at
        changed = self.breaker.record_refusal(
            number, self.now, "upstream_auth", cause, is_certain=is_certain
        )
        self.failed += 1
        if is_certain and not is_old:
            assert self.breaker.cause == cause
        self.note(before, is_old=is_old, changed=changed)

    @precondition(lambda self: self.in_flight)
    @rule(choice=_CHOICES, is_answer=st.booleans())
    def leave(self, choice: int, *, is_answer: bool) -> None:
        """Let a client leave, or let the target refuse what a request says, which is an answer."""
        number, _, _, is_old = self.choose(choice)
        before = self.breaker.cause, self.breaker.retry_at
        record = self.breaker.record_rejection if is_answer else self.breaker.record_unknown
        changed = record(number, self.now)
        if not is_answer and not is_old:
            self.probed_at = None  # another probe may leave at once
        self.note(before, is_old=is_old, changed=changed)

    @invariant()
    def its_report_is_right(self) -> None:
        report = self.breaker.report(self.now)
        assert report.in_flight == len(self.in_flight)
        assert (report.answered_count, report.failed_count) == (self.answered, self.failed)
        assert (report.cause is None) == (report.state == "closed")

    @invariant()
    def a_target_gets_its_chance(self) -> None:
        """A breaker is never open for longer than its cause allows; with a probe that hangs too."""
        cause = self.breaker.cause
        if cause is not None:
            longest = _MOST_OPEN_SECONDS[cause]
            assert self.breaker.retry_at <= self.now + longest
            assert self.breaker.allows(self.now + longest + _PROBE_SECONDS + 0.1)
        else:
            assert self.breaker.allows(self.now)

    def teardown(self) -> None:
        """A target that answers from now on is closed after one answer that is quick."""
        self.now += 400.0
        if self.breaker.cause is not None:
            assert self.breaker.allows(self.now)
            number = self.breaker.begin(self.now, stream=False)
            self.breaker.record_success(number, self.now + 0.01, 0.01, stream=False)
            assert self.breaker.cause is None, "a target that answers stays open"


_SETTINGS = settings(max_examples=80, stateful_step_count=40, deadline=None)


def test_no_order_of_results_keeps_a_target_away_or_lets_old_ones_count() -> None:
    run_state_machine_as_test(BreakerStates, settings=_SETTINGS)


def _forget_epochs(patch: pytest.MonkeyPatch) -> None:
    """Requests that left before the breaker opened count like others."""
    start = CircuitBreaker._start_epoch

    def start_without(self: CircuitBreaker) -> None:
        start(self)
        self._epoch = 0

    patch.setattr(CircuitBreaker, "_start_epoch", start_without)


def _probe_at_will(patch: pytest.MonkeyPatch) -> None:
    """Each request may probe a half-open target."""
    patch.setattr(CircuitBreaker, "claim_probe", lambda *_: None)


def _never_close(patch: pytest.MonkeyPatch) -> None:
    """A probe that is answered leaves the breaker half-open."""
    patch.setattr(CircuitBreaker, "_close", lambda *_: False)


@pytest.mark.parametrize("plant", [_forget_epochs, _probe_at_will, _never_close])
def test_the_machine_notices_a_planted_bug(
    plant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    with pytest.raises(AssertionError):
        run_state_machine_as_test(
            BreakerStates, settings=settings(_SETTINGS, derandomize=True, phases=(Phase.generate,))
        )
