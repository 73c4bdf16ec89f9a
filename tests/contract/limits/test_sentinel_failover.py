"""After Sentinel promotes a replica, the gateway counts on in it with the replicated counters."""

import asyncio
import time
from pathlib import Path

from gateway.limits.counters import AdmissionRequest, Admitted, CounterDemand
from gateway.limits.redis import RedisCounters
from gateway.state.errors import StoreUnavailable
from tests.state.redis_groups import Sentinels


async def test_the_new_primary_counts_calls_after_a_failover(
    several_program: str, tmp_path: Path
) -> None:
    """Replicated counters survive; the operator reconfigures nothing."""
    notes: list[str] = []
    need = CounterDemand(kind="usd", name="b", field="usd|total", limit=1000, amount=10)

    async def passed(id: str) -> bool:
        now = time.time()
        try:
            answer = await meter.admit(
                AdmissionRequest(id=id, tenant="acme", demands=(need,), expires_at=now + 60), now
            )
        except StoreUnavailable:
            return False
        return isinstance(answer, Admitted)

    with Sentinels(several_program, tmp_path) as sentinels:
        meter = RedisCounters.from_url(
            sentinels.url, note=notes.append, clock=time.monotonic, deadline=1.0, quiet_seconds=0.0
        )
        assert await passed("before")
        with sentinels.primary.admin() as admin:
            assert admin.wait(1, 10_000) == 1
        sentinels.primary.kill()
        async with asyncio.timeout(60):
            while not await passed("after"):  # noqa: ASYNC110 - the server sends no event
                await asyncio.sleep(0.02)
        assert await meter.read_counters("acme") == {"usd|total": 20}
        assert await meter.settle("acme", "before", None, 1)
        assert await meter.read_counters("acme") == {"usd|total": 11}
        await meter.close()
    assert [note.partition(" (")[0] for note in notes] == [
        "redis is gone: no connection", "redis is back",
    ]  # fmt: skip
