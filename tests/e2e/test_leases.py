"""Leases at the start and at the end of a gateway: no wait at a new Redis, nothing left charged."""

import asyncio
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
import redis

from gateway.limits.counters import Owner
from gateway.state.redis.scripts import make_keys
from tests.conftest import redis_program
from tests.e2e.budget_audit import BudgetTrialResult, cost
from tests.e2e.budget_provider import BilledRequest, read
from tests.e2e.budget_trial import GATEWAYS, OWNERS, ROOT, Bounds, Load, TrialGateway, write_config
from tests.e2e.child import Child, until
from tests.e2e.redis_port import Place

_BOUNDS = Bounds("100", "50", "50", 0)
"""Nobody uses up a budget of it, so slices are as large as what calls reserve."""
_FIELD = b"usd|all|all|total"


class LeaseStage(NamedTuple):
    """A gateway that was never started before, its new Redis, and its provider's book."""

    gateway: TrialGateway
    place: Place
    book: Path
    data: Path

    def load(self, clients: int, calls: int) -> BudgetTrialResult:
        result = BudgetTrialResult(Decimal(100))
        load = Load(
            [self.gateway] * GATEWAYS, result, "1", streamed=1.0, pause=0.1, leaving=0.0
        )  # fmt: skip
        asyncio.run(load.run(clients, calls))
        return result

    def read_bills(self) -> list[BilledRequest]:
        return read(self.book)[0]


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[LeaseStage]:
    program = redis_program()
    if program is None:
        pytest.skip("no server of the Redis protocol")
    place, book, data = Place(program, tmp_path), tmp_path / "book", tmp_path / "data"
    book.touch()
    provider = Child(
        [sys.executable, "-m", "tests.e2e.budget_provider", str(book), "1", "answer"],
        tmp_path / "provider", PYTHONPATH=str(ROOT),
    )  # fmt: skip
    gateway: TrialGateway | None = None
    try:
        place.start()
        url = until(lambda: provider.out.strip(), "its address")  # noqa: PLW0108 - read anew each time
        config = write_config(tmp_path, url, _BOUNDS, "lease")
        gateway = TrialGateway(
            tmp_path / "gateway", config, f"redis://127.0.0.1:{place.port}/0", data
        )
        gateway.start()
        yield LeaseStage(gateway, place, book, data)
    finally:
        if gateway is not None:
            gateway.close()
        provider.stop()
        place.kill()


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


@pytest.mark.parametrize("is_killed", [True, False])
def test_a_gateway_that_ends_leaves_its_leases_to_others(
    stage: LeaseStage, *, is_killed: bool
) -> None:
    """After `kill -9` the next start returns them, except for up to a sixteenth of a slice."""
    gateway = stage.gateway
    stage.load(20, 8)
    with stage.place.admin() as admin:
        bills = stage.read_bills()
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
        assert not list((stage.data / "leases").glob("*.leases"))
        if is_killed:
            gateway.kill()
            assert _count_spent(admin) - billed == over


def test_the_first_call_at_a_new_redis_need_not_wait_but_after_a_flush_it_must(
    stage: LeaseStage,
) -> None:
    """A new gateway has nobody to wait for. After a flush it cannot know of others."""
    with stage.place.admin() as admin:
        for is_flushed in (False, True):
            assert {outcome.status for outcome in stage.load(1, 1).outcomes.values()} == {200}
            for owner in OWNERS:
                has_waited: Any = admin.hexists(make_keys(owner)[5], "!seed_at")
                assert has_waited == is_flushed
            admin.flushall()
            stage.gateway.kill()
