"""Counters handle time: old reservations, clocks set back, and the server's own clock."""

import time

from gateway.limits.counters import AdmissionRequest, Admitted, CounterDemand, CounterStore, Refusal
from gateway.limits.redis import RedisCounters
from tests.contract.limits.conftest import Make

NOW = 1_900_000_000.0
_DAY = 86_400.0
RATE = CounterDemand(kind="requests", name="r", field="rate|60s", limit=60, period=60.0)
MONEY = CounterDemand(kind="usd", name="b", field="usd|2030-03", limit=100, amount=60)


def ask(tenant: str, id: str, *needs: CounterDemand, expires: float = NOW + 10) -> AdmissionRequest:
    return AdmissionRequest(id=id, tenant=tenant, demands=needs, expires_at=expires)


async def passed(meter: CounterStore, tenant: str, number: int, now: float) -> int:
    """Return how many of `number` requests pass at a moment."""
    asks = [ask(tenant, f"{now}-{at}", RATE, expires=now + 1) for at in range(number)]
    return sum([isinstance(await meter.admit(request, now), Admitted) for request in asks])


async def test_a_reservation_that_ended_days_ago_is_forgotten_and_stays_charged(
    meter: CounterStore, tenant: str
) -> None:
    """No settlement can correct such an old reservation."""
    assert await meter.admit(ask(tenant, "dead", MONEY), NOW) == Admitted()
    for now in (NOW + 11, NOW + 11 + 3 * _DAY):
        assert await passed(meter, tenant, 1, now) == 1
    assert not await meter.settle(tenant, "dead", None, 1)
    assert await meter.read_counters(tenant) == {MONEY.field: 60}


async def test_a_clock_that_is_set_back_far_blocks_no_requests(
    meter: CounterStore, tenant: str
) -> None:
    """Otherwise no request would pass until the clock is back where it was."""
    assert await passed(meter, tenant, 70, NOW) == 60
    assert await passed(meter, tenant, 1, NOW - 3_600) == 0
    assert await passed(meter, tenant, 9, NOW - 3_599) == 1


async def test_a_sweep_removes_rates_that_have_refilled(make: Make, tenant: str) -> None:
    meter = make()
    assert await passed(meter, tenant, 3, NOW) == 3
    sizes: list[int] = []
    for now in (NOW + 1, NOW + 61):
        await meter.sweep(tenant, now)
        size = await meter._scripts.run_command(tenant, b"HLEN", b"rate")
        assert isinstance(size, int)
        sizes.append(size)
    assert sizes == [1, 0]


async def test_rates_use_the_clock_of_the_redis_server(shared_url: str, tenant: str) -> None:
    """Machines whose clocks are years apart share one token bucket."""
    notes: list[str] = []
    meter = RedisCounters.from_url(
        shared_url, note=notes.append, clock=time.monotonic, deadline=10.0, quiet_seconds=0.0
    )
    once = CounterDemand(kind="requests", name="o", field="once|86400s", limit=1, period=_DAY)
    assert await meter.admit(ask(tenant, "a", once, expires=60.0), 0.0) == Admitted()
    answer = await meter.admit(ask(tenant, "b", once, expires=4e9 + 60), 4e9)
    assert isinstance(answer, Refusal)
    assert answer.retry_after is not None
    assert 0 < answer.retry_after <= _DAY
    await meter.sweep(tenant, 4e9)
    assert isinstance(await meter.admit(ask(tenant, "c", once, expires=60.0), 0.0), Refusal)
    await meter.close()
    assert notes == []
