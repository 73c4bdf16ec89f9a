"""Test that each ledger query of the endpoints runs in a real query process, as in a thread."""

import socket
import sqlite3
import threading
from contextlib import closing
from typing import Any

import httpx
import pytest

from gateway.runtime.query_process import ChildProcess
from tests.e2e.child import until
from tests.e2e.upstream import PATIENCE
from tests.e2e.world import Config, Make, World, chat
from tests.ledger.rows import entry
from tests.query_thread import QueryThread
from tests.server.admin.test_costs import write

RULES = "choices:\n  - name: drafts\n    when: {tag: draft}\n    tier: fast\n"
_SINCE = "since=2026-10-26&until=2026-10-27"
_PATHS = (
    f"/admin/costs?by=lab,day&{_SINCE}",
    f"/admin/costs?format=csv&{_SINCE}",
    f"/admin/entries?{_SINCE}",
    f"/admin/entries?format=csv&{_SINCE}",
    f"/admin/entries?format=json&order=newest&limit=1&{_SINCE}",
    "/admin/entries?after=wrong",
    "/admin/entries?order=newest&before=wrong",
    f"/admin/series?by=user&every=hour&zone=Asia/Kolkata&{_SINCE}",
    f"/admin/latency?by=user,tag&{_SINCE}",
    f"/admin/rules?{_SINCE}",
    "/admin/budgets",
    f"/v1/usage?{_SINCE}",
    "/admin/entries?sort=-cost&search=tg&since=2026-10-26&until=2026-10-26",
    f"/admin/conversations?{_SINCE}",
    f"/admin/arms?rule=canary&{_SINCE}",
    "/admin/month",
    "/admin/dial",
)
_LATENCY = 8
"""The index of a path with times."""


def budgets(value: Config) -> None:
    value["budgets"] = [
        {"name": "month", "usd": 100, "every": "month", "hard": False},
        {"name": "tiers", "usd": 1, "every": "day", "per": "tier", "hard": False},
    ]


def ask_all(world: World) -> list[tuple[int, str, Any]]:
    """Return the status, the cursors and the body of the answers of all endpoints."""
    replies = [world.client.get(path) for path in _PATHS]
    replies.append(world.client.post("/admin/replay", json={"rules": RULES}))
    replies.append(world.client.post("/admin/replay", json={"rules": "choices: 1"}))
    id = world.client.get("/admin/entries?order=newest&limit=1&format=json").json()["entries"][0]["id"]  # fmt: skip
    replies.append(world.client.post(f"/admin/entries/{id}/golden", json={"tier": "fast"}))
    return [
        (reply.status_code, reply.headers.get("x-tiergate-cursor", ""), strip_time(reply))
        for reply in replies
    ]


def strip_time(reply: httpx.Response) -> Any:
    """Return an answer's body without what depends on when it was asked for."""
    if "json" not in reply.headers["content-type"] or "ndjson" in reply.headers["content-type"]:
        return reply.text
    body = reply.json()
    return {
        name: value for name, value in body.items() if name not in ("at", "budgets", "version")
    } | {"budgets": [row["name"] for row in body.get("budgets", ())]}


def has_sums(world: World) -> bool:
    """True if the store has made its sums, which round times: it makes them in the background."""
    return bool(world.client.get(_PATHS[_LATENCY]).json()["relative_error"])


def count_queries(world: World) -> int:
    lines = world.client.get("/metrics").text.splitlines()
    (count,) = (line for line in lines if line.startswith("tiergate_ledger_queries_total "))
    return int(float(count.split()[1]))


def test_all_queries_run_in_a_process_and_answer_as_in_this_one(make: Make) -> None:
    world = make(budgets, query_processes=True)
    write(
        world,
        *(
            entry(f"tg-{n}", end_user=f"u{n}", tags=("eu",), key="open", arm="canary:in")
            for n in range(3)
        ),
    )
    assert world.ask(chat("hi")).status_code == 200
    (world.folder / "golden.yaml").write_text("prompts:\n- {prompt: Hi, tier: fast}\n")
    pool = world.gateway.query_pool
    until(lambda: has_sums(world), "answers come from the sums of days")
    before = count_queries(world)
    from_process = ask_all(world)
    assert [type(process) for process in pool._processes] == [ChildProcess]

    async def start_thread() -> QueryThread:
        return QueryThread(lambda: world.gateway.store)

    pool._idle.clear()
    pool._start_process = start_thread
    assert from_process == ask_all(world)
    assert [status for status, _, _ in from_process] == [200] * 5 + [400] * 2 + [200] * 12 + [404]
    assert count_queries(world) - before == 41


def test_a_client_that_leaves_ends_its_query(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    has_started, may_end = threading.Event(), threading.Event()

    def hang(*args: object, **options: object) -> None:
        del args, options
        has_started.set()
        may_end.wait(PATIENCE)

    monkeypatch.setattr(world.gateway.store, "sum_costs", hang)
    with socket.create_connection(("127.0.0.1", world.port), PATIENCE) as connection:
        connection.sendall(b"GET /admin/costs HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
        assert has_started.wait(PATIENCE)
        assert world.gateway.query_pool._processes
    until(lambda: not world.gateway.query_pool._processes, "ended")
    may_end.set()
    assert not [line for line in world.log if line["event"] == "bug"]


def test_damage_that_a_query_process_meets_is_repaired_by_the_gateway(make: Make) -> None:
    """Only a query needs the view that is gone, and only the serving process may replace a file."""
    world = make(query_processes=True)
    write(world, entry("tg-1"))
    assert world.client.get("/admin/costs").json()["total"]["calls"] == 1
    with closing(sqlite3.connect(world.folder / "data" / "ledger.db")) as connection:
        connection.execute("DROP VIEW damages")
    reply = world.client.get("/admin/costs")
    assert (reply.status_code, reply.headers["retry-after"]) == (503, "10")
    until(lambda: world.client.get("/admin/costs").status_code == 200, "rebuilt")
    assert world.client.get("/admin/costs").json()["total"]["calls"] == 1
    assert [line["text"] for line in world.log if line["event"] == "store"] == [
        "is being rebuilt",
        "rebuilt from the journals",
    ]
