"""Limits hold when many calls arrive at once: a budget for three calls admits exactly three."""

import asyncio
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from gateway.limits.counters import (
    AdmissionRequest,
    Admitted,
    CounterDemand,
    CounterStore,
    DemandTemplate,
    Kind,
    MissingCounter,
    Refusal,
)
from gateway.state.redis.scripts import make_keys
from tests.contract.limits.conftest import Make

NOW = 1_900_000_000.0
ROOT = Path(__file__).parents[3]

PROGRAM = """
import asyncio, sys, time
from gateway.limits.counters import AdmissionRequest, Admitted, CounterDemand
from gateway.limits.redis import RedisCounters

async def main(url, tenant, name):
    meter = RedisCounters.from_url(url, note=print, clock=time.monotonic, deadline=10.0)
    await meter.read_counters(tenant)
    print("ready", flush=True)
    sys.stdin.readline()
    need = CounterDemand(kind="usd", name="b", field="usd|2030-03", limit=300, amount=100)
    asks = [AdmissionRequest(id=f"{name}{at}", tenant=tenant, demands=(need,), expires_at=time.time() + 60) for at in range(25)]
    told = await asyncio.gather(*(meter.admit(ask, time.time()) for ask in asks))
    print(sum(isinstance(one, Admitted) for one in told), flush=True)
    await meter.close()

asyncio.run(main(*sys.argv[1:]))
"""


def ask(tenant: str, id: str, *needs: CounterDemand, life: float = 60.0) -> AdmissionRequest:
    return AdmissionRequest(id=id, tenant=tenant, demands=needs, expires_at=NOW + life)


def usd(amount: int, limit: int = 300, field: str = "usd|2030-03") -> CounterDemand:
    return CounterDemand(kind="usd", name="b", field=field, limit=limit, amount=amount)


@pytest.mark.parametrize("kind", ["usd", "requests", "concurrency"])
async def test_a_limit_of_three_admits_three_of_fifty_concurrent_calls(
    meter: CounterStore, tenant: str, kind: Kind
) -> None:
    need = CounterDemand(kind=kind, name="b", field=f"{kind}|2030-03", limit=3, period=3600.0)
    answers = await asyncio.gather(
        *(meter.admit(ask(tenant, f"call{at}", need), NOW) for at in range(50))
    )
    assert Counter(type(answer) for answer in answers) == {Admitted: 3, Refusal: 47}


def test_two_concurrent_processes_share_one_budget(shared_url: str, tenant: str) -> None:
    """SEC-BUDGET 1, 2: two processes share money for three of 50 calls, on a key new to both."""
    command = [sys.executable, "-c", PROGRAM, shared_url, tenant]
    processes = [
        subprocess.Popen(
            [*command, name], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for name in ("one", "two")
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        answers = [process.communicate("go\n", timeout=60)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert sum(int(answer) for answer in answers) == 3


async def test_a_call_reserves_from_all_counters_or_from_none(
    meter: CounterStore, tenant: str
) -> None:
    """If the last counter refuses a call, the earlier ones give back what they reserved."""
    running = CounterDemand(kind="concurrency", name="c", field="running", limit=1)
    for at in range(3):
        answers = await meter.admit(ask(tenant, f"over{at}", running, usd(301)), NOW)
        assert answers == Refusal(usd(301), left=300)
    assert await meter.admit(ask(tenant, "fits", running, usd(300)), NOW) == Admitted()
    assert await meter.read_counters(tenant) == {"usd|2030-03": 300}


async def test_a_repeated_admission_reserves_nothing_twice(
    meter: CounterStore, tenant: str
) -> None:
    """The first answer may have been lost. Only the same call gets its warning again."""
    soft = CounterDemand(kind="usd", name="b", field="usd|2030-03", limit=300, amount=100, soft=100)
    first = ask(tenant, "first", soft)
    assert await meter.admit(first, NOW) == Admitted((soft,))
    assert await meter.admit(ask(tenant, "second", soft), NOW) == Admitted()
    assert await meter.admit(first, NOW) == Admitted((soft,))
    assert await meter.read_counters(tenant) == {"usd|2030-03": 200}
    assert await meter.settle(tenant, "first", 10, 30)
    assert not await meter.settle(tenant, "first", 10, 30)
    assert await meter.read_counters(tenant) == {"usd|2030-03": 130}


async def test_an_unsettled_reservation_stays_charged_and_can_be_corrected(
    meter: CounterStore, tenant: str
) -> None:
    """SEC-BUDGET 3: an expired reservation is charged, and its concurrency slot is free."""
    running = CounterDemand(kind="concurrency", name="c", field="running", limit=1)
    assert await meter.admit(ask(tenant, "lost", running, usd(200), life=10.0), NOW) == Admitted()
    assert await meter.admit(ask(tenant, "next", running), NOW + 9.9) == Refusal(running)
    assert await meter.admit(ask(tenant, "next", running), NOW + 10.1) == Admitted()
    assert await meter.read_counters(tenant) == {"usd|2030-03": 200}
    assert await meter.settle(tenant, "lost", None, 50)
    assert await meter.read_counters(tenant) == {"usd|2030-03": 50}
    assert await meter.admit(ask(tenant, "third", running), NOW + 10.2) == Refusal(running)


async def test_a_call_of_unknown_cost_stays_charged_with_its_reservation(
    meter: CounterStore, tenant: str
) -> None:
    await meter.admit(ask(tenant, "call", usd(200)), NOW)
    assert await meter.settle(tenant, "call", None, None)
    assert await meter.read_counters(tenant) == {"usd|2030-03": 200}


async def test_a_further_attempt_reserves_more_and_is_settled_with_the_call(
    meter: CounterStore, tenant: str
) -> None:
    first = ask(tenant, "call", usd(200))
    await meter.admit(first, NOW)
    assert await meter.extend(ask(tenant, "call", usd(101)), NOW) == Refusal(usd(101), left=100)
    assert await meter.extend(ask(tenant, "call", usd(100)), NOW) == Admitted()
    assert await meter.read_counters(tenant) == {"usd|2030-03": 300}
    assert await meter.settle(tenant, "call", None, 120)
    assert await meter.read_counters(tenant) == {"usd|2030-03": 120}


async def test_a_missing_counter_is_reported_and_seeded_once(
    meter: CounterStore, tenant: str
) -> None:
    need = CounterDemand(
        kind="usd", name="b", field="usd|2030-03", limit=300, amount=100, needs_seed=True
    )
    assert await meter.admit(ask(tenant, "call", need), NOW) == MissingCounter(need)
    await meter.seed(tenant, need.field, 250)
    await meter.seed(tenant, need.field, 0)
    assert await meter.admit(ask(tenant, "call", need), NOW) == Refusal(need, left=50)
    assert await meter.read_counters(tenant) == {"usd|2030-03": 250}


async def test_tenants_share_no_counter(meter: CounterStore, tenant: str) -> None:
    for answer in (tenant, f"{tenant}}}:x", f"{{{tenant}", ""):
        await meter.admit(ask(answer, "call", usd(300)), NOW)
        assert await meter.read_counters(answer) == {"usd|2030-03": 300}
        assert await meter.settle(answer, "call", None, 1)


@pytest.mark.parametrize("amount", [10**15, 2**53, 2**63, 10**30])
async def test_large_amounts_are_exact_and_never_overflow(
    meter: CounterStore, tenant: str, amount: int
) -> None:
    fits = amount <= 2**53
    answers = await meter.admit(ask(tenant, "call", usd(amount, 2**53)), NOW)
    assert isinstance(answers, Admitted) is fits
    if fits:
        assert await meter.read_counters(tenant) == {"usd|2030-03": amount}
        assert await meter.settle(tenant, "call", None, amount - 1)
        assert await meter.read_counters(tenant) == {"usd|2030-03": amount - 1}


async def test_a_late_settlement_does_not_restart_a_swept_window(make: Make, tenant: str) -> None:
    meter = make()
    await meter.admit(ask(tenant, "old", usd(100, field="usd|2030-03-01")), NOW)
    await meter.admit(ask(tenant, "new", usd(100, field="usd|2030-03")), NOW)
    rate = CounterDemand(kind="requests", name="r", field="rate", limit=60, period=60.0)
    await meter.admit(ask(tenant, "rate", rate), NOW)
    await meter.sweep(tenant, NOW)
    assert await meter.read_counters(tenant) == {"usd|2030-03": 100}
    assert await meter.settle(tenant, "old", None, 7)
    assert await meter.read_counters(tenant) == {"usd|2030-03": 100}


async def test_the_store_sends_its_scripts_again_if_the_server_lost_them(
    make: Make, tenant: str
) -> None:
    """A restarted server, or a new primary, has no scripts."""
    meter = make()
    await meter.admit(ask(tenant, "first", usd(100)), NOW)
    name = make_keys(tenant)[0]
    reply = await meter._scripts.execute(name, b"SCRIPT", b"FLUSH")
    assert reply == b"OK"
    assert await meter.admit(ask(tenant, "second", usd(100)), NOW) == Admitted()
    await meter._scripts.execute(name, b"SCRIPT", b"FLUSH")
    form = DemandTemplate((usd(1),), (0,))
    for id in ("third", "3", "third"):
        assert await meter.admit_single(form, (50,), id, tenant, 60.0, NOW) == Admitted()
    assert await meter.read_counters(tenant) == {"usd|2030-03": 300}
    assert (
        await meter.admit_single(form, (50,), "third", f"{tenant}-other", 60.0, NOW) == Admitted()
    )
    assert await meter.read_counters(f"{tenant}-other") == {"usd|2030-03": 50}
