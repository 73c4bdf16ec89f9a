"""Budgets of three tenants over real sockets: one for all of them, and one for each."""

import hashlib
import time
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
import redis

from gateway.ledger.journal import Journal
from gateway.state.redis.scripts import make_key, make_keys, make_tag
from tests.e2e.test_limits import budgeted, error
from tests.e2e.upstream import Upstream, whole
from tests.e2e.world import Change, Config, Make, World, chat
from tests.ledger.rows import entry

TENANTS = ("north", "south", "west")
KEYS = {
    tenant: {"sha256": hashlib.sha256(tenant.encode()).hexdigest(), "tenant": tenant, "team": "web"}
    for tenant in TENANTS
}
COST = 19
"""Micro-USD that an answer costs; a call reserves 1,087."""


def make_with_tenants(make: Make, *changes: Change, **environ: str) -> World:
    def keyed(value: Config) -> None:
        value["keys"] = "keys.yaml"

    return make(keyed, *changes, files={"keys.yaml": KEYS}, **environ)


def ask(world: World, tenant: str, **more: Any) -> Any:
    body = chat(max_tokens=10, **more)
    return world.ask(body, authorization=f"Bearer {tenant}")


def used(world: World, owner: str | None) -> dict[str, int]:
    world.loop.run(world.gateway.limiter.wait_settled())
    counters: dict[str, int] = world.loop.run(world.gateway._counter_store.read_counters(owner))
    return {field.rpartition("|")[0]: value for field, value in counters.items()}


@pytest.mark.parametrize(("per", "passed"), [({}, 5), ({"per": "all"}, 5), ({"per": "tenant"}, 15)])
def test_three_tenants_spend_only_what_the_budget_allows(
    make: Make, upstream: Upstream, per: dict[str, str], passed: int
) -> None:
    """Five calls fit into the budget: of all tenants together, or of each."""
    budget = {"name": "b", "usd": "0.002245", "every": "day", **per}
    world = make_with_tenants(make, budgeted(budget))
    upstream.on("/acme", whole())
    replies = [ask(world, tenant) for _ in range(6) for tenant in TENANTS]
    assert sum(reply.status_code == 200 for reply in replies) == passed == len(upstream.requests)
    refused = next(reply for reply in replies if reply.status_code != 200)
    assert error(refused)["code"] == "insufficient_quota"
    assert "'b' is spent" in error(refused)["message"]
    spent = [used(world, owner) for owner in (None, *TENANTS)]
    assert sum(counters.get("usd|b|all", 0) for counters in spent) == passed * COST
    assert sum(map(bool, spent)) == (3 if per.get("per") == "tenant" else 1)


@pytest.mark.parametrize(
    ("per", "counters"),
    [
        ("tag", {None: {"usd|b|tag=web": 3 * COST}}),
        ("tier", {None: {"usd|b|tier=smart": 3 * COST}}),
        ("key", {tenant: {f"usd|b|key={tenant}": COST} for tenant in TENANTS}),
        ("team", {tenant: {"usd|b|team=web": COST} for tenant in TENANTS}),
        (["tenant", "tag"], {tenant: {"usd|b|tag=web": COST} for tenant in TENANTS}),
        (["tenant", "tier"], {tenant: {"usd|b|tier=smart": COST} for tenant in TENANTS}),
    ],
)
def test_a_budget_has_one_counter_for_each_of_its_subjects(
    make: Make, upstream: Upstream, per: str | list[str], counters: dict[str | None, dict[str, int]]
) -> None:
    world = make_with_tenants(make, budgeted({"name": "b", "usd": 1, "every": "day", "per": per}))
    upstream.on("/acme", whole())
    for tenant in TENANTS:
        reply = world.ask(
            chat(max_tokens=10), authorization=f"Bearer {tenant}", x_tiergate_tags="web"
        )
        assert reply.status_code == 200
    assert {owner: some for owner in (None, *TENANTS) if (some := used(world, owner))} == counters


def test_a_restarted_gateway_counts_the_spending_of_all_tenants(
    make: Make, upstream: Upstream
) -> None:
    """The gateway also knows what each tenant and each team has spent of its own budget."""
    budgets = [
        {"name": "all", "usd": 1, "every": "month"},
        {"name": "own", "usd": 1, "every": "month", "per": "tenant"},
        {"name": "team", "usd": 1, "every": "month", "per": "team"},
    ]
    first = make_with_tenants(make, budgeted(*budgets))
    upstream.on("/acme", whole())
    for tenant in TENANTS:
        ask(first, tenant)
    first.close()
    second = make_with_tenants(make, budgeted(*budgets), TIERGATE_DATA=str(first.folder / "data"))
    ask(second, "north")
    assert used(second, None) == {"usd|all|all": 4 * COST}
    assert used(second, "north") == {"usd|own|all": 2 * COST, "usd|team|team=web": 2 * COST}
    assert used(second, "south") == {}


def test_an_upgrade_within_a_window_keeps_the_spending_of_old_counters(
    make: Make, upstream: Upstream, redis_url: str
) -> None:
    """Earlier versions had a counter for each tenant, which may hold more than the ledger knows."""
    today = datetime.now(UTC).date().isoformat()
    fields = {f"usd|b|all|{today}": 400_000, "usd|b|all|2020-01-01": 7, f"usd|gone|all|{today}": 9}
    with redis.Redis.from_url(redis_url) as admin:
        admin.delete(*make_keys(None), *(name for tenant in TENANTS for name in make_keys(tenant)))
        for tenant in ("north", "south"):
            admin.hset(make_key(make_tag(tenant), b"spent"), mapping=fields)
    budget = budgeted({"name": "b", "usd": 1, "every": "day"})
    world = make_with_tenants(make, budget, REDIS_URL=redis_url)
    upstream.on("/acme", whole())
    assert used(world, None) == {"usd|b|all": 800_000}
    assert ask(world, "west").status_code == 200
    assert used(world, None) == {"usd|b|all": 800_000 + COST}
    again = make_with_tenants(make, budget, REDIS_URL=redis_url)
    assert used(again, None) == {"usd|b|all": 800_000 + COST}
    with redis.Redis.from_url(redis_url) as admin:
        admin.delete(*make_keys(None), *(name for tenant in TENANTS for name in make_keys(tenant)))


def test_an_upgrade_takes_the_spending_of_the_ledger_where_it_is_more(
    make: Make, upstream: Upstream, redis_url: str
) -> None:
    """Redis may have been restored from an old copy."""
    today = datetime.now(UTC).date().isoformat()
    with redis.Redis.from_url(redis_url) as admin:
        admin.delete(*make_keys(None), *(name for tenant in TENANTS for name in make_keys(tenant)))
        admin.hset(make_key(make_tag("north"), b"spent"), f"usd|b|all|{today}", 5)
    first = make_with_tenants(make)
    journal = Journal(first.gateway.journal_folder)
    for number, tenant in enumerate(TENANTS):
        row = entry(f"before-{number}", at=time.time(), cost=Decimal("0.1"), tenant=tenant)
        journal.write(row)
    journal.close()
    first.close()
    budget = budgeted({"name": "b", "usd": 1, "every": "day"})
    data = str(first.folder / "data")
    world = make_with_tenants(make, budget, REDIS_URL=redis_url, TIERGATE_DATA=data)
    assert used(world, None) == {"usd|b|all": 300_000}
    with redis.Redis.from_url(redis_url) as admin:
        admin.delete(*make_keys(None), *(name for tenant in TENANTS for name in make_keys(tenant)))


def test_a_tenant_learns_nothing_about_another(make: Make, upstream: Upstream) -> None:
    """Neither a refusal by a budget for all tenants nor its headers show anything."""
    world = make_with_tenants(make, budgeted({"name": "b", "usd": "0.002165", "every": "day"}))
    upstream.on("/acme", whole())
    assert ask(world, "north").status_code == 200
    reply = ask(world, "south")
    assert reply.status_code == 429
    shown = reply.text + repr(reply.headers)
    assert not any(word in shown for word in ("north", "west", "tenant", "0.002165", "0.000019"))
