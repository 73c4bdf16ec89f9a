"""The counter store in memory against a plain model, for any order of events; and its size."""

import copy
import itertools
import tracemalloc
from collections.abc import Coroutine
from fractions import Fraction
from typing import Any

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.limits.counters import (
    AdmissionRequest,
    Admitted,
    CounterDemand,
    MissingCounter,
    RateState,
    Refusal,
)
from gateway.limits.memory import MemoryCounters
from tests.limits.counter_model import Model

NOW = 1_795_000_000
REQUESTS = CounterDemand(
    kind="requests", name="r", field="requests|r|all|60s", limit=7, period=60.0
)
TOKENS = CounterDemand(
    kind="tokens", name="t", field="tokens|t|all|3600s", limit=1000, period=3600.0
)
PLACES = CounterDemand(kind="concurrency", name="c", field="concurrency|c|all", limit=3)
MONEY = CounterDemand(
    kind="usd", name="m", field="usd|m|all|total", limit=500, soft=400, needs_seed=True
)
LOOSE = CounterDemand(kind="usd", name="l", field="usd|l|all|2026-11", limit=2**53 - 1, soft=300)
SHARE = CounterDemand(
    kind="share", name="s", field="share|s|all|total", total_field="calls|s|all|total", limit=300, soft=200
)  # fmt: skip
KINDS = (REQUESTS, TOKENS, PLACES, MONEY, LOOSE, SHARE)

amounts = st.one_of(st.integers(0, 60), st.sampled_from([0, 1, 300, 500, 501, 1000, 1001, 2**70]))
spans = st.one_of(st.integers(0, 20_000), st.sampled_from([-120_000, -500, -1, 60_000, 3_600_000]))
used = st.one_of(st.none(), amounts)


def at_once[T](coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never waits and return its result; a wait fails."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]  # typeshed has it as Any
    raise AssertionError("it waits")


class Story(RuleBasedStateMachine):
    """Calls start, reserve more, end, die and are corrected, while the clock moves at will."""

    def __init__(self) -> None:
        super().__init__()
        self.meter, self.model = MemoryCounters(), Model()
        self.ms = 0
        self.ids: list[str] = []
        self.passed: list[int] = []
        """Milliseconds at which requests passed."""
        self.back = False
        self.reserved: dict[str, int] = {}
        self.actual: dict[str, int] = {}
        self.seeded = 0

    @property
    def now(self) -> Fraction:
        return Fraction(NOW) + Fraction(self.ms, 1000)

    @rule(span=spans)
    def wait(self, span: int) -> None:
        self.ms += span
        self.back |= span < 0

    @precondition(lambda self: MONEY.field not in self.model.spent)
    @rule(value=st.integers(0, 100))
    def seed(self, value: int) -> None:
        at_once(self.meter.seed("t", MONEY.field, value))
        at_once(self.meter.seed("t", MONEY.field, 10**9))
        self.model.spent[MONEY.field] = self.seeded = value

    @rule(which=st.sets(st.sampled_from(KINDS)), amount=amounts, life=st.integers(0, 90_000))
    def come(self, which: set[CounterDemand], amount: int, life: int) -> None:
        self.ids.append(f"call-{len(self.ids)}")
        self._ask(self.ids[-1], which, amount, life, more=False)

    @precondition(lambda self: self.ids)
    @rule(data=st.data(), which=st.sets(st.sampled_from(KINDS)), amount=amounts, more=st.booleans())
    def again(
        self, data: st.DataObject, which: set[CounterDemand], amount: int, more: bool
    ) -> None:
        self._ask(data.draw(st.sampled_from(self.ids[-9:])), which, amount, 5_000, more=more)

    def _ask(
        self, id: str, which: set[CounterDemand], amount: int, life: int, *, more: bool
    ) -> None:
        needs = tuple(
            CounterDemand(**{**need_fields(need), "amount": amount if need in (TOKENS, MONEY, LOOSE) else min(amount, 1)})
            for need in KINDS
            if need in which
        )  # fmt: skip
        if not needs:
            return
        expires = self.now + Fraction(life, 1000)
        ask = AdmissionRequest(id=id, tenant="t", demands=needs, expires_at=float(expires))
        ask_of = self.meter.extend if more else self.meter.admit
        is_repeated = id in self.model.holds and not more
        answer = at_once(ask_of(ask, float(self.now)))
        expected = self.model.admit(ask, expires, self.now, more=more)
        if isinstance(answer, Refusal):
            assert isinstance(expected, Refusal | MissingCounter)
            assert not self.model.fits(answer.demand, self.now)
            assert self.model.busy(id, answer.demand) is answer.busy
            if not answer.busy:
                self._wait_is_right(self.meter, ask, answer, more=more)
            return
        assert answer == expected
        if isinstance(answer, Admitted) and not is_repeated:
            self.passed += [self.ms for need in needs if need.kind == "requests" and need.amount]
            money = sum(need.amount for need in needs if need.name == "m")
            self.reserved[id] = self.reserved.get(id, 0) + money

    def _wait_is_right(
        self, meter: MemoryCounters, ask: AdmissionRequest, over: Refusal, *, more: bool
    ) -> None:
        """A request passes after its wait, and not before unless a reservation ends meanwhile.

        No time is known where a budget is busy beside the limit that the refusal names: its
        running calls may cost all that they have reserved.
        """
        if over.retry_after is None or over.retry_after > 10**6:
            return  # a float is no longer exact to 0.1 ms
        if not all(self.model.fits(need, self.now) for need in ask.demands if need.kind == "usd"):
            return
        then = float(self.now) + over.retry_after
        for moment, passes in ((then, True), (then - 0.0001, False)):
            store = copy.deepcopy(meter)
            answer = at_once((store.extend if more else store.admit)(ask, moment))
            ending = any(self.now <= hold.expires <= then for hold in self.model.holds.values())
            if passes or (over.retry_after > 0.0001 and not ending):
                assert isinstance(answer, Admitted) is passes

    @precondition(lambda self: self.ids)
    @rule(data=st.data(), tokens=used, micro=used)
    def end(self, data: st.DataObject, tokens: int | None, micro: int | None) -> None:
        id = data.draw(st.sampled_from(self.ids[-9:]))
        is_reserved = self.model.settle(id, tokens, micro)
        assert at_once(self.meter.settle("t", id, tokens, micro)) is is_reserved
        if is_reserved and id in self.reserved and micro is not None:
            self.actual[id] = micro

    @invariant()
    def money_is_that_of_the_model(self) -> None:
        assert at_once(self.meter.read_counters("t")) == self.model.spent

    @invariant()
    def no_more_is_spent_than_the_budget_and_what_was_held_too_low(self) -> None:
        """Spend <= budget + the sum over calls of max(0, actual - reserved)."""
        spent = self.seeded + sum({**self.reserved, **self.actual}.values())
        beyond = sum(max(0, self.actual[id] - self.reserved[id]) for id in self.actual)
        assert spent <= MONEY.limit + beyond

    @invariant()
    def no_more_run_than_may(self) -> None:
        assert self.model.reserved_amount("concurrency", PLACES.field) <= PLACES.limit

    @invariant()
    def no_more_pass_than_a_rate_allows(self) -> None:
        """In any span of time, no more pass than the limit plus what came back in that span."""
        if self.back:
            return
        for index, start in enumerate(self.passed):
            for count, end in enumerate(self.passed[index:], 1):
                assert count <= REQUESTS.limit + Fraction(end - start, 60_000) * REQUESTS.limit

    def teardown(self) -> None:
        """Every reservation is settled or charged in the end: nothing stays reserved."""
        for id in self.ids:
            at_once(self.meter.settle("t", id, 0, None))
            self.model.settle(id, 0, None)
        assert not self.meter._reservations
        book = self.meter._counters_by_owner["t"]
        assert not book.running
        assert not book.reserved
        assert all((rate.reserved, rate.holder_count) == (0, 0) for rate in book.rates.values())
        assert book.spent == self.model.spent


def need_fields(need: CounterDemand) -> dict[str, Any]:
    return {name: getattr(need, name) for name in need.__struct_fields__}


_STORIES = settings().max_examples * 3 // 2
Story.TestCase.settings = settings(max_examples=_STORIES, stateful_step_count=40)
TestStory = Story.TestCase


def admission(number: int, *needs: CounterDemand, expires: float = NOW + 600) -> AdmissionRequest:
    return AdmissionRequest(id=f"tg-{number}", tenant="t", demands=needs, expires_at=expires)


def of(need: CounterDemand, subject: object) -> CounterDemand:
    field = need.field.replace("all", f"key={subject}")
    return CounterDemand(**{**need_fields(need), "field": field, "needs_seed": False})


def count_counters(meter: MemoryCounters) -> int:
    book = meter._counters_by_owner["t"]
    return len(book.spent) + len(book.rates) + len(book.running)


def test_the_store_removes_counters_of_idle_keys() -> None:
    """If keys are seen once each, the counters of idle keys are removed as other keys come."""
    meter = MemoryCounters()
    tracemalloc.start()
    for number in range(1_000):
        at_once(meter.admit(admission(number, of(REQUESTS, number), of(PLACES, number)), NOW))
        at_once(meter.settle("t", f"tg-{number}", None, None))
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count_counters(meter) == 1_000
    assert size < 400 * 1_000
    for number in range(1_000, 2_000):
        at_once(meter.admit(admission(number, of(REQUESTS, number)), NOW + 3600 + number))
        at_once(meter.settle("t", f"tg-{number}", None, None))
    assert count_counters(meter) < 100


def test_the_store_removes_counters_of_ended_windows_but_not_totals() -> None:
    """Counters are removed two days after their window. A warning is forgotten with its window."""
    meter = MemoryCounters()
    total, hour = MONEY.field, "usd|h|all|{}"
    at_once(meter.seed("t", total, 5))
    for number in range(200):
        field = hour.format(f"2026-11-{number // 24 + 1:02}T{number % 24:02}+00:00")
        need = CounterDemand(kind="usd", name="h", field=field, limit=10, soft=1)
        now = 1_793_491_200 + number * 3600
        assert at_once(meter.admit(admission(number, need), now)) == Admitted((need,))
        assert at_once(meter.settle("t", f"tg-{number}", 0, 1))
    counters = at_once(meter.read_counters("t"))
    assert total in counters
    assert 49 <= len(counters) <= 100
    assert len(meter._counters_by_owner["t"].warned_limits) == len(counters) - 1


def test_settled_calls_leave_nothing_in_the_store() -> None:
    meter = MemoryCounters()
    for number in range(1_000):
        at_once(meter.admit(admission(number, PLACES, LOOSE), NOW))
        at_once(meter.settle("t", f"tg-{number}", 0, 0))
    assert (len(meter._reservations), len(meter._counters_by_owner["t"].running)) == (0, 0)
    assert len(meter._expiry_heap) < 100
    assert count_counters(meter) == 1


def test_the_store_forgets_an_unsettled_reservation_after_an_hour() -> None:
    """The reservation stays charged."""
    meter = MemoryCounters()
    money = CounterDemand(kind="usd", name="l", field=LOOSE.field, limit=10, amount=4)
    at_once(meter.admit(admission(1, money, expires=NOW + 10), NOW))
    at_once(meter.admit(admission(2, PLACES), NOW + 10 + 3599))
    assert at_once(copy.deepcopy(meter).settle("t", "tg-1", None, 0))
    at_once(meter.admit(admission(3, PLACES), NOW + 10 + 3600))
    assert not at_once(meter.settle("t", "tg-1", None, 0))
    assert at_once(meter.read_counters("t")) == {LOOSE.field: 4}


def test_a_refusal_names_the_limit_with_the_longest_wait() -> None:
    """The refusal names the longest wait: after a shorter one, another limit would still refuse."""
    meter = MemoryCounters()
    slow = CounterDemand(
        kind="requests", name="slow", field="requests|slow|all|3600s", limit=2, period=3600.0
    )
    fast = CounterDemand(
        kind="requests", name="fast", field="requests|fast|all|60s", limit=2, period=60.0
    )
    for number in range(2):
        at_once(meter.admit(admission(number, fast, slow), NOW))
    for needs in itertools.permutations((fast, slow)):
        answer = at_once(meter.admit(admission(9, *needs), NOW))
        assert isinstance(answer, Refusal)
        assert answer.demand == slow
        assert answer.retry_after == pytest.approx(1800, abs=0.01)
    broke = CounterDemand(kind="usd", name="m", field="usd|m|all|total", limit=0)
    assert at_once(meter.admit(admission(9, fast, broke, slow), NOW)) == Refusal(broke, left=0)


@pytest.mark.parametrize(
    ("limit", "period", "remaining"), [(20, 60.0, 10), (10, 30.0, 0), (0, 60.0, 0)]
)
def test_a_changed_limit_takes_effect_at_once(limit: int, period: float, remaining: int) -> None:
    """All ten requests that were used stay used."""
    meter = MemoryCounters()
    was = CounterDemand(
        kind="requests", name="r", field="requests|r|all|60s", limit=10, period=60.0
    )
    now = CounterDemand(
        kind="requests", name="r", field="requests|r|all|60s", limit=limit, period=period
    )
    for number in range(10):
        assert at_once(meter.admit(admission(number, was), NOW)) == Admitted()
    passed = [at_once(meter.admit(admission(20 + n, now), NOW)) == Admitted() for n in range(30)]
    assert sum(passed) == remaining


def test_a_jump_of_the_wall_clock_frees_no_place() -> None:
    """A place stays taken for the seconds that its call has, by a clock that never jumps."""
    elapsed = 1_000.0
    meter = MemoryCounters(lambda: elapsed)
    place = CounterDemand(**{**need_fields(PLACES), "limit": 1})
    assert at_once(meter.admit(admission(1, place, expires=NOW + 60), NOW)) == Admitted()
    for jump in (86_400, -86_400):
        assert isinstance(at_once(meter.admit(admission(2, place), NOW + jump)), Refusal)
    elapsed += 59.9
    assert isinstance(at_once(meter.admit(admission(2, place), NOW)), Refusal)
    elapsed += 0.1
    assert at_once(meter.admit(admission(2, place), NOW)) == Admitted()


def test_a_clock_that_was_far_ahead_refuses_no_later_calls() -> None:
    """The clock was an hour ahead and is right again: one call a second passes, and no more."""
    meter = MemoryCounters()
    demand = CounterDemand(
        kind="requests", name="r", field="requests|r|all|60s", limit=60, period=60.0
    )
    for number in range(60):
        assert at_once(meter.admit(admission(number, demand), NOW + 3600)) == Admitted()
    answer = at_once(meter.admit(admission(99, demand), NOW))
    assert isinstance(answer, Refusal)
    assert answer.retry_after == pytest.approx(1, abs=0.001)
    assert at_once(meter.admit(admission(99, demand), NOW + 1.001)) == Admitted()


def test_an_unknown_owner_has_no_counters() -> None:
    assert not at_once(MemoryCounters().settle("nobody", "tg-1", 1, 1))
    assert at_once(MemoryCounters().read_counters("nobody")) == {}


def test_a_clock_that_is_a_little_behind_makes_calls_wait_longer() -> None:
    """The clock is 0.5 s behind the last call: the wait is 0.5 s longer."""
    meter = MemoryCounters()
    demand = CounterDemand(
        kind="requests", name="r", field="requests|r|all|60s", limit=60, period=60.0
    )
    for number in range(60):
        at_once(meter.admit(admission(number, demand), NOW + 0.5))
    answer = at_once(meter.admit(admission(99, demand), NOW))
    assert isinstance(answer, Refusal)
    assert answer.retry_after == pytest.approx(1.5, abs=0.001)
    assert isinstance(at_once(meter.admit(admission(99, demand), NOW + 1.49)), Refusal)
    assert at_once(meter.admit(admission(99, demand), NOW + 1.5 + 0.001)) == Admitted()


def test_a_call_that_reserves_nothing_leaves_nothing_in_the_store() -> None:
    meter = MemoryCounters()
    nothing = (CounterDemand(**{**need_fields(need), "amount": 0}) for need in (PLACES, TOKENS))
    assert at_once(meter.admit(admission(1, *nothing, expires=NOW + 1), NOW)) == Admitted()
    assert at_once(meter.admit(admission(2, REQUESTS), NOW + 1)) == Admitted()
    assert at_once(meter.settle("t", "tg-1", 0, 0))
    assert meter._counters_by_owner["t"].running == {}
    assert TOKENS.field not in meter._counters_by_owner["t"].rates


RATE = CounterDemand(
    kind="requests", name="v", field="requests|v|all|60s", limit=60, period=60.0, is_shown=True
)


_NUMBERS = itertools.count(1_000)


def fill(meter: MemoryCounters, demand: CounterDemand, now: float) -> None:
    """Use up a rate."""
    full = msgspec.structs.replace(demand, amount=demand.limit)
    assert isinstance(at_once(meter.admit(admission(next(_NUMBERS), full), now)), Admitted)


def refuse(meter: MemoryCounters, now: float, *demands: CounterDemand) -> Refusal:
    answer = at_once(meter.admit(admission(99, *demands), now))
    assert isinstance(answer, Refusal)
    return answer


def test_a_clock_may_go_back_by_a_minute_before_its_earlier_time_counts() -> None:
    meter = MemoryCounters()
    fill(meter, RATE, NOW + 60)
    assert refuse(meter, NOW, RATE).retry_after == 61.000001
    assert refuse(meter, NOW - 0.001, RATE).retry_after == 1.000001


def test_a_rate_gives_back_at_the_speed_of_its_new_period() -> None:
    """The numbers of the rate stay whole, so that they are exact."""
    meter = MemoryCounters()
    fill(meter, RATE, NOW)
    faster = msgspec.structs.replace(RATE, period=7.0)
    assert refuse(meter, NOW, faster).retry_after == 0.116668
    assert isinstance(at_once(meter.admit(admission(1, faster), NOW + 0.117)), Admitted)
    bucket = meter._counters_by_owner["t"].rates[RATE.field]
    assert type(bucket.level) is int


def test_waits_and_resets_are_whole_microseconds() -> None:
    """A seventh of a minute is 8.571428 s and a little more."""
    meter, seventh = MemoryCounters(), msgspec.structs.replace(RATE, limit=7)
    answer = at_once(meter.admit(admission(1, seventh), NOW))
    assert isinstance(answer, Admitted)
    assert answer.rates == (RateState(seventh, 6, 8.571429),)
    at_once(meter.admit(admission(2, msgspec.structs.replace(seventh, amount=6)), NOW))
    assert refuse(meter, NOW, seventh).retry_after == 8.57143


def test_a_refusal_says_what_rates_have_left_that_it_did_not_reach() -> None:
    """One rate has nothing left, one that no call has used has all left, and one refills."""
    meter = MemoryCounters()
    none, unused, refilled = (
        msgspec.structs.replace(RATE, field=f"requests|{name}|all|60s") for name in "abc"
    )
    blocked = CounterDemand(kind="concurrency", name="c", field="concurrency|c|all", limit=0)
    fill(meter, none, NOW + 6)
    fill(meter, refilled, NOW)
    rates = refuse(meter, NOW + 6, blocked, none, unused, refilled).rates
    assert rates == (
        RateState(none, 0, 60.0),
        RateState(unused, 60, 0.0),
        RateState(refilled, 6, 54.0),
    )
    halved = msgspec.structs.replace(refilled, period=29.0)
    (state,) = refuse(meter, NOW + 6.000001, blocked, halved).rates
    assert (f"{state.left}", state.reset_seconds) == ("6", 26.1)


def test_of_two_limits_with_the_same_wait_the_refusal_names_the_first() -> None:
    meter = MemoryCounters()
    first, second = (
        msgspec.structs.replace(RATE, field=f"requests|{name}|all|60s") for name in "ab"
    )
    for demand in (first, second):
        fill(meter, demand, NOW)
    for demands in ((first, second), (second, first)):
        assert refuse(meter, NOW, *demands).demand == demands[0]


@pytest.mark.parametrize("all_tenants", [False, True])
def test_a_further_attempt_does_not_wait_for_what_its_own_call_has_reserved(
    *, all_tenants: bool
) -> None:
    """The provider may bill that too, so it does not come back."""
    meter = MemoryCounters()
    money = CounterDemand(
        kind="usd", name="m", field="usd|m|all|total", limit=100, amount=60, all_tenants=all_tenants
    )
    at_once(meter.admit(admission(1, money), NOW))
    assert at_once(meter.extend(admission(1, money), NOW)) == Refusal(money, left=40)


def test_a_share_warns_at_its_soft_limit_and_not_before() -> None:
    meter = MemoryCounters()
    at_once(meter.seed("t", SHARE.total_field, 999))
    at_once(meter.seed("t", SHARE.field, 198))
    assert at_once(meter.admit(admission(1, SHARE), NOW)) == Admitted()  # 199 of 1,000
    assert at_once(meter.admit(admission(2, SHARE), NOW)) == Admitted()  # 200 of 1,001
    assert at_once(meter.admit(admission(3, SHARE), NOW)) == Admitted((SHARE,))  # 201 of 1,002


def visit(meter: MemoryCounters, now: float) -> set[str]:
    """Let a new key come, which checks the counters of others; return the rates that stay."""
    at_once(meter.admit(admission(9, of(REQUESTS, f"{now}")), now))
    at_once(meter.settle("t", "tg-9", None, None))
    return {field for field in meter._counters_by_owner["t"].rates if str(now) not in field}


@pytest.mark.parametrize(("used", "seconds"), [(1, 60), (7, 60), (21, 180)])
def test_a_rate_stays_for_a_period_and_until_it_has_given_all_back(used: int, seconds: int) -> None:
    """A call may use more tokens than it reserved, even more than the limit."""
    meter = MemoryCounters()
    tokens = CounterDemand(
        kind="tokens", name="t", field="tokens|t|all|60s", limit=7, period=60.0, amount=1
    )
    at_once(meter.admit(admission(1, tokens), NOW))
    at_once(meter.settle("t", "tg-1", used, None))
    assert tokens.field in visit(copy.deepcopy(meter), NOW + seconds - 0.001)
    assert tokens.field not in visit(copy.deepcopy(meter), NOW + seconds)


def test_a_rate_stays_while_a_call_has_reserved_some_of_it() -> None:
    """However often it reserves more, and whatever else it has reserved first."""
    meter, end = MemoryCounters(), NOW + 86_400
    at_once(meter.admit(admission(1, TOKENS, expires=end), NOW))
    at_once(meter.admit(admission(2, PLACES, expires=end), NOW))
    for number in (1, 2, 2):
        at_once(meter.extend(admission(number, TOKENS, expires=end), NOW))
    for number in (2, 1):
        assert TOKENS.field in visit(meter, NOW + 9_999 + number)
        at_once(meter.settle("t", f"tg-{number}", 0, None))
    assert TOKENS.field not in visit(meter, NOW + 20_000)


@pytest.mark.parametrize("kind", ["rates", "shares"])
@pytest.mark.parametrize("all_tenants", [False, True])
def test_a_new_counter_removes_at_least_two_old_ones(kind: str, *, all_tenants: bool) -> None:
    """Counters of ended windows and idle keys never fill the memory."""
    meter, old = MemoryCounters(), 400
    owner = None if all_tenants else "t"

    def come(number: int, day: str, now: float) -> None:
        demands = [
            CounterDemand(
                kind="share", name="s", field=f"share|s|key={number}{name}|{day}", limit=1000,
                total_field=f"calls|s|key={number}{name}|{day}", all_tenants=all_tenants,
            ) if kind == "shares"
            else CounterDemand(
                kind="requests", name="r", field=f"requests|r|key={number}{name}|60s", limit=9,
                period=60.0, all_tenants=all_tenants,
            )
            for name in "ab"
        ]  # fmt: skip
        at_once(meter.admit(admission(number, *demands), now))
        at_once(meter.settle("t", f"tg-{number}", None, None))

    size = 4 if kind == "shares" else 2
    for number in range(old // size):
        come(number, "2026-11-18", NOW)
    book = meter._counters_by_owner[owner]
    assert len(book.sweep_queue) == old
    late = NOW + 365 * 86_400
    for number in range(old, old + old // 2 // size):
        come(number, "2030-11-01", late)
    assert len(book.sweep_queue) == old // 2
    assert len(book.spent) + len(book.rates) == old // 2


def test_ended_windows_leave_nothing_of_an_end_user_or_a_call_that_never_ended() -> None:
    meter = MemoryCounters()
    for subject in ("all", "user=ann/3f9a"):
        demand = CounterDemand(kind="usd", name="m", field=f"usd|m|{subject}|2026-11-18", limit=9)
        at_once(meter.admit(admission(len(subject), demand, expires=NOW + 10**9), NOW))
    at_once(meter.admit(admission(1, of(REQUESTS, "new")), NOW + 365 * 86_400))
    book = meter._counters_by_owner["t"]
    assert (book.spent, book.reserved, book.listed_fields) == ({}, {}, {})
