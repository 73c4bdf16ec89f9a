"""A gateway with a damaged store: calls go on, budgets hold, and all rows come back."""

import time
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path

import pytest

from gateway.ledger.file_lock import try_lock_file
from gateway.ledger.journal import Journal
from gateway.pipeline import ledger_runtime
from tests.e2e.child import until
from tests.e2e.test_limits import COST, budgeted, used
from tests.e2e.upstream import Upstream, whole
from tests.e2e.world import Make, World, chat
from tests.ledger.rows import entry

MONTH = {"name": "b", "usd": 1, "every": "month"}
ALWAYS = {"name": "all", "usd": 1, "every": "total"}


def damage_store(world: World) -> Path:
    """Damage the store's file, and return its path."""
    path = world.folder / "data" / "ledger.db"
    path.write_bytes(b"no database" * 1000)
    return path


def store_events(world: World) -> list[dict[str, object]]:
    return [line for line in world.log if line["event"] == "store"]


def test_a_gateway_with_a_damaged_store_starts_with_its_earlier_budgets(
    make: Make, upstream: Upstream
) -> None:
    first = make(budgeted(MONTH, ALWAYS))
    upstream.on("/acme", whole(), whole())
    first.ask(chat(max_tokens=10))
    first.close()
    damage_store(first)
    second = make(budgeted(MONTH, ALWAYS), TIERGATE_DATA=str(first.folder / "data"))
    assert second.ask(chat(max_tokens=10)).status_code == 200
    assert used(second) == {"usd|b|all": 2 * COST, "usd|all|all": 2 * COST}
    begun, done = store_events(second)
    assert (begun["text"], done["text"]) == ("is being rebuilt", "rebuilt from the journals")
    assert begun["error"] == "file is not a database"
    assert str(begun["file"]).startswith("ledger.db.damaged-")
    assert begun["missing_until"] is done["missing_until"] is None
    metrics = second.client.get("/metrics").text
    assert "tiergate_ledger_damaged_total 1.0\n" in metrics
    assert "tiergate_ledger_rebuilding 0.0\n" in metrics


def test_while_the_store_is_rebuilt_budgeted_calls_and_queries_are_refused(
    make: Make, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A counter that began without the missing rows would let too many calls pass."""
    monkeypatch.setattr(ledger_runtime, "FEED_WAIT_SECONDS", 0.0)
    first = make(budgeted(MONTH))
    first.close()
    journal = Journal(first.folder / "data" / "ledger")
    journal.write(entry("before", at=time.time(), cost=Decimal("0.5")))
    journal.close()
    damage_store(first)
    upstream.on("/acme", whole())
    with ExitStack() as lock:
        lock.enter_context(try_lock_file(journal.folder / "feed.lock"))
        world = make(budgeted(MONTH), TIERGATE_DATA=str(first.folder / "data"))
        refused = world.ask(chat(max_tokens=10))
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "overloaded")
        ready = world.client.get("/ready")
        assert (ready.status_code, ready.json()["ledger"]) == (200, "rebuilding")
        costs = world.client.get("/admin/costs")
        assert (costs.status_code, costs.headers["retry-after"]) == (503, "10")
        assert "rebuilding its store from the journals (0 rows so far)" in costs.text
        assert "tiergate_ledger_rebuilding 1.0\n" in world.client.get("/metrics").text
    until(lambda: world.ask(chat(max_tokens=10)).status_code == 200, "a counter")
    assert used(world) == {"usd|b|all": 500_000 + COST}
    assert "ledger" not in world.client.get("/ready").json()
    assert world.client.get("/admin/costs").status_code == 200


def test_a_budget_with_missing_rows_refuses_calls(make: Make, upstream: Upstream) -> None:
    """A budget whose window began after the missing rows is counted."""
    first = make(budgeted(MONTH))
    first.close()
    note = first.folder / "data" / "ledger" / "removed-until"
    note.write_text("5000.0\n")
    note.chmod(0o600)
    damage_store(first)
    data = str(first.folder / "data")
    upstream.on("/acme", whole(), whole())
    world = make(budgeted(ALWAYS), TIERGATE_DATA=data)
    assert world.ask(chat(max_tokens=10)).status_code == 503
    assert store_events(world)[-1]["missing_until"] == "1970-01-01T01:23:20+00:00"
    world.close()
    world = make(budgeted(MONTH), TIERGATE_DATA=data)
    assert world.ask(chat(max_tokens=10)).status_code == 200
    assert used(world) == {"usd|b|all": COST}


def test_a_running_gateway_rebuilds_a_damaged_store(make: Make, upstream: Upstream) -> None:
    world = make()
    upstream.on("/acme", whole(), whole())
    assert world.ask(chat()).status_code == 200
    world.loop.run(world.gateway.ledger_runtime.catch_up())
    damage_store(world)
    assert world.ask(chat("again")).status_code == 200
    until(lambda: world.client.get("/admin/costs").status_code == 200, "costs")
    assert world.client.get("/admin/costs").json()["total"]["calls"] == 2
    assert [line["text"] for line in store_events(world)] == [
        "is being rebuilt",
        "rebuilt from the journals",
    ]
