"""When a Cluster moves slots between nodes, the gateway follows each redirection."""

import time
from typing import Any

from redis.crc import key_slot

from gateway.limits.counters import AdmissionRequest, Admitted, CounterDemand
from gateway.limits.redis import RedisCounters
from gateway.state.redis.scripts import make_keys
from tests.state.redis_groups import Nodes

NOW = 1_900_000_000.0
NEED = CounterDemand(kind="usd", name="b", field="usd|2030-03", limit=1000, amount=10)


async def test_counters_follow_a_slot_that_moves_to_another_node(nodes: Nodes, tenant: str) -> None:
    """Single-key commands follow ASK during the move and MOVED after it; nothing is lost."""
    notes: list[str] = []
    meter = RedisCounters.from_url(
        nodes.url, note=notes.append, clock=time.monotonic, deadline=10.0, quiet_seconds=0.0
    )
    other_store = RedisCounters.from_url(
        nodes.url, note=notes.append, clock=time.monotonic, deadline=10.0, quiet_seconds=0.0
    )
    ask = AdmissionRequest(id="one", tenant=tenant, demands=(NEED,), expires_at=NOW + 60)
    assert await meter.admit(ask, NOW) == Admitted()
    assert await other_store.read_counters(tenant) == {NEED.field: 10}

    names, slot = make_keys(tenant), key_slot(make_keys(tenant)[0])
    source = nodes.primary(names[0].decode())
    target = next(place for place in nodes.places[:3] if place is not source)
    with source.admin() as old, target.admin() as new:
        assert old.execute_command("CLUSTER", "KEYSLOT", names[0]) == slot
        ids: list[Any] = [server.execute_command("CLUSTER", "MYID") for server in (old, new)]
        new.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[0])
        old.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[1])
        destination = ["127.0.0.1", target.port, "", 0, 5000, "KEYS", *names]
        old.execute_command("MIGRATE", *destination)
        assert await meter.read_counters(tenant) == {NEED.field: 10}  # -ASK
        for server in (new, old):
            server.execute_command("CLUSTER", "SETSLOT", slot, "NODE", ids[1])
    assert await meter.settle(tenant, "one", None, 4)  # -MOVED
    assert await other_store.read_counters(tenant) == {NEED.field: 4}
    assert meter._scripts._servers._hosts[slot] == ("127.0.0.1", target.port)
    assert notes == []
    await meter.close()
    await other_store.close()
