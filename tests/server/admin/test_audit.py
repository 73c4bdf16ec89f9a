"""Test the audit: every act of an admin leaves a row, and no row has a secret."""

import os
from typing import Any

import pytest

from tests.e2e.world import Make, World
from tests.server.admin.test_keys import KEYS, ask, create, reaches, use_database
from tests.server.test_scopes import digest


@pytest.fixture
def world(make: Make) -> World:
    running: World = make(use_database)
    return running


def rows(world: World, query: str = "", **headers: str) -> list[dict[str, Any]]:
    reply = ask(world, "GET", f"/admin/audit{query}", **headers)
    assert reply.status_code == 200, reply.text
    audit_rows: list[dict[str, Any]] = reply.json()["rows"]
    return audit_rows


def test_every_change_of_a_key_leaves_a_row(world: World) -> None:
    secret = create(world, "web", tags=["a"])
    ask(world, "PATCH", f"{KEYS}/web", {"tags": ["b"]})
    rotated = ask(world, "POST", f"{KEYS}/web/rotate", {}).json()["secret"]
    ask(world, "DELETE", f"{KEYS}/web")
    ask(world, "DELETE", f"{KEYS}/web")
    ask(world, "PATCH", f"{KEYS}/nobody", {"tags": ["b"]})
    revoked, turned, changed, created = rows(world)
    assert [row["act"] for row in (created, changed, turned, revoked)] == [
        "key.create",
        "key.change",
        "key.rotate",
        "key.revoke",
    ]
    assert (changed["before"], changed["after"]) == ({"tags": ["a"]}, {"tags": ["b"]})
    assert (created["who"], created["via"], created["subject"]) == ("local", "api", "web")
    assert not world.gateway.audit.file.exists(), "the rows are beside the keys"
    text = repr(revoked) + repr(turned) + repr(changed) + repr(created)
    for one in (secret, rotated, digest(secret), digest(rotated)):
        assert one not in text
    logged = [row for row in world.log if row["event"] == "audit"]
    assert [row["act"] for row in logged] == ["key.create", "key.change", "key.rotate", "key.revoke"]  # fmt: skip


def test_acts_on_the_configuration_and_on_sessions_leave_rows(world: World) -> None:
    boss = create(world, "boss", admin=True)
    reaches(world, boss, 200)
    headers = {"authorization": f"Bearer {boss}"}
    world.client.post("/dashboard/session", json={"key": boss})
    ask(world, "POST", "/admin/reload?dry_run=true", **headers)
    ask(world, "POST", "/admin/reload", **headers)
    ask(world, "DELETE", "/admin/sessions", **headers)
    acts = [(row["act"], row["who"], row["via"]) for row in rows(world, "?who=boss", **headers)]
    assert acts == [("session.end_all", "boss", "api"), ("session.begin", "boss", "dashboard")]


REFUSED = [
    ("?limit=0", "from 1 to 1000"),
    ("?limit=many", "from 1 to 1000"),
    ("?before=x", "is the `next` of an answer"),
    ("?since=soon", "is no time: write 24h"),
    ("?whom=ann", "no parameter 'whom' here. Did you mean 'who'?"),
]


def test_rows_are_read_in_pages(world: World) -> None:
    for name in ("a", "b", "c"):
        create(world, name)
    first = ask(world, "GET", "/admin/audit?limit=2&since=1h&act=key").json()
    assert [row["subject"] for row in first["rows"]] == ["c", "b"]
    second = ask(world, "GET", f"/admin/audit?limit=2&before={first['next']}").json()
    assert ([row["subject"] for row in second["rows"]], second["next"]) == (["a"], None)
    assert rows(world, "?until=1h") == []
    for query, words in REFUSED:
        reply = ask(world, "GET", f"/admin/audit{query}")
        assert (reply.status_code, words in reply.text) == (400, True), reply.text


def test_without_its_row_nothing_changes(world: World) -> None:
    world.gateway.audit.file.unlink(missing_ok=True)
    world.gateway.audit.file.mkdir()
    reply = ask(world, "POST", "/admin/reload")
    assert (reply.status_code, "so it changes nothing: Is a directory" in reply.text) == (503, True)
    reply = ask(world, "GET", "/admin/audit")
    assert (reply.status_code, "cannot read its audit" in reply.text) == (503, True)
    assert ask(world, "DELETE", "/admin/sessions").status_code == 200
    assert {"event": "audit", "act": "session.end_all", "who": "local", "error": os.strerror(21)} in world.log  # fmt: skip
