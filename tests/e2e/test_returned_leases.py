"""Leases of a gateway that has ended: what it has not spent is left for others."""

import asyncio
import sys
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis

from gateway.limits.counters import Owner
from gateway.limits.redis import QUIET_SECONDS
from gateway.state.redis.scripts import make_keys
from tests.conftest import redis_program
from tests.e2e.budget_audit import BudgetTrialResult, cost
from tests.e2e.budget_provider import read
from tests.e2e.budget_trial import GATEWAYS, OWNERS, ROOT, Bounds, Gateway, Load, write_config
from tests.e2e.child import Child, until
from tests.e2e.redis_port import Place

_BOUNDS = Bounds("100", "50", "50", 0)
"""Nobody uses up a budget of it, so slices are as large as what calls reserve."""
_FIELD = b"usd|all|all|total"


def _list_leases(admin: redis.Redis, owner: Owner) -> list[tuple[int, int]]:
    """Return what is left of each lease of an owner, and the size of its slice, in micro-USD."""
    holds: Any = admin.hgetall(make_keys(owner)[3])
    entries = [
        msgspec.msgpack.decode(hold)[1][0] for id, hold in holds.items() if id.startswith(b"lease ")
    ]
    return [(rest, amount) for _, _, rest, amount in entries]


def _count_spent(admin: redis.Redis) -> int:
    spent: Any = admin.hget(make_keys(None)[0], _FIELD)
    return int(spent)


@pytest.mark.skipif(redis_program() is None, reason="no server of the Redis protocol")
@pytest.mark.parametrize("is_killed", [True, False])
def test_a_gateway_that_ends_leaves_its_leases_to_others(
    tmp_path: Path, *, is_killed: bool
) -> None:
    """After `kill -9` the next start returns them, except for up to a sixteenth of a slice."""
    program = redis_program()
    assert program is not None
    place, book = Place(program, tmp_path), tmp_path / "book"
    book.touch()
    provider = Child(
        [sys.executable, "-m", "tests.e2e.budget_provider", str(book), "1", "answer"],
        tmp_path / "provider", PYTHONPATH=str(ROOT),
    )  # fmt: skip
    gateway: Gateway | None = None
    try:
        place.start()
        url = until(lambda: provider.out.strip(), "its address")  # noqa: PLW0108 - read anew each time
        config = write_config(tmp_path, url, _BOUNDS, "lease")
        gateway = Gateway(
            tmp_path / "gateway", config, f"redis://127.0.0.1:{place.port}/0", tmp_path / "data"
        )
        gateway.start()
        time.sleep(QUIET_SECONDS)  # no counter begins before
        load = Load(
            [gateway] * GATEWAYS, BudgetTrialResult(Decimal(100)), "1",
            streamed=1.0, pause=0.1, leaving=0.0,
        )  # fmt: skip
        asyncio.run(load.run(20, 8))
        with place.admin() as admin:
            bills = read(book)[0]
            billed = sum(map(cost, bills), Decimal(0))
            [(rest, amount)] = _list_leases(admin, None)
            assert rest > amount / 8
            assert _count_spent(admin) >= billed + rest
            if is_killed:
                gateway.kill()
            else:
                assert gateway.stop()
            assert not any(_list_leases(admin, owner) for owner in OWNERS)
            over = _count_spent(admin) - billed
            assert 0 <= over <= len(bills) + (amount / 16 if is_killed else 0)  # calls round up
            assert not list((tmp_path / "data/leases").glob("*"))
            if is_killed:
                gateway.kill()
                assert _count_spent(admin) - billed == over
    finally:
        if gateway is not None:
            gateway.close()
        provider.stop()
        place.kill()
