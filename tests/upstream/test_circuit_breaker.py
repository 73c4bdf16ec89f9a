"""Test the circuit breaker, row by row and against a plain model of its rules."""

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.upstream.circuit_breaker import CAUSE_RANK, CircuitBreaker

NOW = 1000.0


class Target:
    """A target with its own clock; a `jitter` of 0.5 has no effect."""

    def __init__(self, jitter: float = 0.5) -> None:
        self.breaker = CircuitBreaker(lambda: jitter)
        self.now = NOW

    def call(self, *, fails: bool = False, seconds: float = 0.1, stream: bool = True) -> None:
        """Make a call that begins now and ends after some seconds."""
        self.breaker.claim_probe(self.now)
        number = self.breaker.begin(self.now, stream=stream)
        self.now += seconds
        if fails:
            self.breaker.record_failure(number, self.now, "upstream_error")
        else:
            self.breaker.record_success(number, self.now, seconds, stream=stream)

    @property
    def state(self) -> str:
        return self.breaker.state(self.now)

    @property
    def fit(self) -> bool:
        return self.breaker.allows(self.now)


def test_five_failures_in_a_row_open_the_breaker() -> None:
    """A success in between restarts the count."""
    target = Target()
    for fails in (True, True, True, True, False, True, True, True, True):
        target.call(fails=fails, seconds=0.3)
    assert (target.state, target.fit) == ("closed", True)
    target.call(fails=True, seconds=0.3)
    assert (target.state, target.fit, target.breaker.is_failing) == ("open", False, True)
    assert target.breaker.cause == "failing"


def test_five_failures_in_a_row_do_not_open_a_busy_breaker() -> None:
    """At fifty calls a second and 30 % failures that happens every few seconds."""
    target = Target()
    target.call()
    causes = []
    for _ in range(11):
        target.call(fails=True)
        causes.append(target.breaker.cause)
    assert causes == [None] * 8 + ["shaky", "failing", "failing"]


def test_a_target_that_fails_often_goes_behind_others() -> None:
    """The gateway still asks it if there is no other."""
    target = Target()
    for at in range(32):
        target.call(fails=at % 4 == 0)
    assert (target.breaker.cause, target.breaker.is_failing, target.fit) == ("shaky", False, False)


def test_occasional_failures_do_not_open_the_breaker() -> None:
    target = Target()
    for at in range(300):
        target.call(fails=at % 10 == 0)
    assert target.state == "closed"


def test_old_failures_do_not_count() -> None:
    target = Target()
    for _ in range(12):
        target.call()
        target.call(fails=True)
        target.call()
        target.now += 31
    assert target.state == "closed"


def test_a_brownout_opens_the_breaker_within_five_seconds() -> None:
    """At twenty times the usual time it opens before a single slow call is answered."""
    target = Target()
    for _ in range(100):
        target.call(seconds=0.2)
    began = target.now
    while target.state == "closed" and target.now - began < 60:
        target.breaker.begin(target.now, stream=True)
        target.now += 0.1
    assert target.breaker.cause == "slow"
    assert target.now - began <= 5
    assert not target.breaker.is_failing


def test_a_target_that_is_always_slow_does_not_open_the_breaker() -> None:
    target = Target()
    for _ in range(200):
        target.call(seconds=30)
    assert target.state == "closed"


def test_streams_and_whole_answers_have_their_own_typical_times() -> None:
    target = Target()
    for _ in range(100):
        target.call(seconds=0.2, stream=True)
        target.call(seconds=20, stream=False)
    assert target.state == "closed"
    assert target.breaker.report(target.now).typical_seconds == pytest.approx(0.2, rel=0.1)


def test_a_half_open_breaker_allows_one_probe_at_a_time() -> None:
    target = Target()
    for _ in range(5):
        target.call(fails=True)
    target.now += 1.9
    assert not target.fit
    target.now += 0.2
    assert (target.state, target.fit) == ("half-open", True)
    target.breaker.claim_probe(target.now)
    assert not target.fit
    number = target.breaker.begin(target.now, stream=True)
    target.breaker.record_success(number, target.now, 0.1, stream=True)
    assert (target.state, target.fit) == ("closed", True)


def test_a_probe_that_hangs_does_not_block_the_next_one() -> None:
    target = Target()
    for _ in range(5):
        target.call(fails=True)
    target.now += 5.1
    target.breaker.claim_probe(target.now)
    hanging = target.breaker.begin(target.now, stream=True)
    target.now += 10
    assert target.fit
    target.call()
    assert target.state == "closed"
    target.breaker.record_failure(hanging, target.now, "upstream_timeout")
    for _ in range(4):
        target.call(fails=True)
    assert target.state == "closed"


def test_an_abandoned_probe_allows_another() -> None:
    target = Target()
    for _ in range(5):
        target.call(fails=True)
    target.now += 5.1
    target.breaker.claim_probe(target.now)
    number = target.breaker.begin(target.now, stream=True)
    assert not target.fit
    target.breaker.record_unknown(number, target.now)
    assert target.fit


def test_calls_from_before_the_opening_do_not_change_the_breaker() -> None:
    target = Target()
    old = [target.breaker.begin(target.now, stream=True) for _ in range(20)]
    for _ in range(5):
        target.call(fails=True)
    target.now += 6
    for number in old[:10]:
        target.breaker.record_success(number, target.now, 6, stream=True)
    assert target.state == "half-open"
    target.call()
    for number in old[10:]:
        target.breaker.record_failure(number, target.now, "upstream_timeout")
    assert target.state == "closed"


@pytest.mark.parametrize("jitter", [0.0, 0.5, 1.0])
def test_the_breaker_closes_within_twenty_seconds_of_the_recovery(jitter: float) -> None:
    """The length of the outage and the moment of recovery do not matter."""
    for outage in range(1, 120):
        target = Target(jitter)
        healed = NOW + outage
        while target.now < healed or target.state != "closed":
            assert target.now < healed + 20
            if target.fit:
                target.call(fails=target.now < healed)
            target.now += 0.1


def test_several_breakers_probe_at_different_times() -> None:
    untils = []
    for jitter in (0.0, 0.25, 1.0):
        target = Target(jitter)
        for _ in range(5):
            target.call(fails=True)
        untils.append(round(target.breaker.retry_at - target.now, 6))
    assert untils == [1.6, 1.8, 2.4]


def test_a_missing_model_opens_the_breaker() -> None:
    target = Target()
    number = target.breaker.begin(target.now, stream=True)
    assert target.breaker.record_refusal(
        number, target.now, "upstream_model", "model", is_certain=False
    )
    assert (target.breaker.cause, target.breaker.is_failing, target.fit) == ("model", False, False)
    assert target.breaker.retry_at == target.now + 30


def test_one_clients_refusals_do_not_open_a_working_breaker() -> None:
    """The client's request may name something missing; three in a row are the target's fault."""
    target = Target()
    target.call()
    for changed in (False, False, True):
        number = target.breaker.begin(target.now, stream=True)
        assert target.breaker.record_refusal(number, target.now, "upstream_model", "model", is_certain=False) is changed  # fmt: skip
    sure = Target()
    sure.call()
    number = sure.breaker.begin(sure.now, stream=True)
    assert sure.breaker.record_refusal(
        number, sure.now, "upstream_auth", "credential", is_certain=True
    )


def test_a_rejected_request_counts_as_an_answer() -> None:
    target = Target()
    for _ in range(4):
        target.call(fails=True)
    target.breaker.record_rejection(target.breaker.begin(target.now, stream=True), target.now)
    target.call(fails=True)
    assert target.state == "closed"
    target.call()
    for _ in range(5):
        target.call(fails=True, seconds=0.3)
    target.now += 6
    assert target.breaker.record_rejection(
        target.breaker.begin(target.now, stream=True), target.now
    )
    assert target.state == "closed"


def test_a_slow_probe_does_not_close_the_breaker() -> None:
    target = Target()
    for _ in range(100):
        target.call(seconds=0.2)
    while target.state == "closed":
        target.call(seconds=4)
    target.now = target.breaker.retry_at
    target.call(seconds=4)
    assert target.state == "open"
    target.now = target.breaker.retry_at
    target.call(seconds=0.2)
    assert target.state == "closed"


def test_the_tail_time_is_the_95th_percentile() -> None:
    """The answers take 0.1 to 1.1 s, in an order that repeats."""
    target = Target()
    assert target.breaker.get_tail_seconds(stream=True) is None
    for at in range(4000):
        target.call(seconds=0.1 + (at * 37 % 100) / 100)
    assert target.breaker.get_tail_seconds(stream=True) == pytest.approx(1.05, abs=0.1)
    assert target.breaker.get_tail_seconds(stream=False) is None


class BreakerModel:
    """A plain model of the same rules, without regard to speed."""

    def __init__(self) -> None:
        self.cause: str | None = None
        self.until = -inf
        self.history: list[bool] = []
        self.row = 0
        self.times = 0
        self.last = 0.0
        self.answered = -inf

    def open(self, now: float, cause: str) -> None:
        again = self.cause == cause or (self.cause is None and now - self.until < 30)
        self.times = self.times + 1 if again else 0
        self.cause, self.until = (
            cause,
            now + min((2.0 if cause == "failing" else 5.0) * 2**self.times, 10.0),
        )
        self.history = []

    def call(self, now: float, *, fails: bool) -> None:
        if self.cause is not None and now >= self.until:
            self.row += fails
            if fails and self.row >= 5 and now - self.answered >= 1 and self.cause != "failing":
                self.open(now, "failing")
            elif fails:
                self.open(now, self.cause)
            else:
                self.cause, self.until, self.history, self.row = None, now, [], 0
                self.answered = now
            return
        self.row = self.row + 1 if fails else 0
        self.answered = self.answered if fails else now
        if self.row >= 5 and now - self.answered >= 1 and self.cause != "failing":
            self.open(now, "failing")
            return
        if now - self.last > 30:
            self.history = []
        self.last = now
        self.history = [*self.history, fails][-32:]
        bad = sum(self.history)
        if len(self.history) >= 10 and self.cause is None and bad >= 6:
            self.open(now, "shaky")


@given(
    st.lists(st.tuples(st.booleans(), st.sampled_from([0.0, 0.5, 3.0, 6.0, 31.0])), max_size=150)
)
def test_the_breaker_behaves_like_a_plain_model(calls: list[tuple[bool, float]]) -> None:
    """Whatever fails and whenever, both have the same state, cause and time."""
    breaker, model, now = CircuitBreaker(lambda: 0.5), BreakerModel(), NOW
    for fails, wait in calls:
        now += wait
        number = breaker.begin(now, stream=False)
        if fails:
            breaker.record_failure(number, now, "upstream_error")
        else:
            breaker.record_success(number, now, 0.0, stream=False)
        model.call(now, fails=fails)
        assert breaker.cause == model.cause
        assert breaker.retry_at == pytest.approx(model.until)


def test_every_cause_has_its_own_rank() -> None:
    assert max(CAUSE_RANK, key=CAUSE_RANK.__getitem__) == "failing"
    assert len(set(CAUSE_RANK.values())) == len(CAUSE_RANK)
