"""Limits hold when many calls arrive at once: a budget for three calls admits exactly three."""

import subprocess
import sys
from pathlib import Path

import pytest

from gateway.limits.counters import (
    AdmissionRequest,
    Admitted,
    CounterDemand,
    CounterStore,
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
    meter = RedisCounters.from_url(url, note=print, clock=time.monotonic, deadline=10.0, quiet_seconds=0.0)
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


def ask(tenant: str, id: str, *needs: CounterDemand) -> AdmissionRequest:
    return AdmissionRequest(id=id, tenant=tenant, demands=needs, expires_at=NOW + 60)


def usd(amount: int, limit: int = 300, field: str = "usd|2030-03") -> CounterDemand:
    return CounterDemand(kind="usd", name="b", field=field, limit=limit, amount=amount)


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
    for id in ("third", "3", "third"):
        assert await meter.admit(ask(tenant, id, usd(50)), NOW) == Admitted()
    assert await meter.read_counters(tenant) == {"usd|2030-03": 300}
    assert await meter.admit(ask(f"{tenant}-other", "third", usd(50)), NOW) == Admitted()
    assert await meter.read_counters(f"{tenant}-other") == {"usd|2030-03": 50}
