"""Test the rules in force, and replays of other rules on past calls, which change nothing."""

import asyncio
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.core.ledger_rows import ReplayRow
from gateway.ledger.errors import StoreError
from gateway.ledger.file_lock import try_lock_file
from gateway.ledger.query_params import LedgerQuery
from gateway.server.admin import replay
from tests.e2e.child import until
from tests.e2e.upstream import PATIENCE, Upstream
from tests.e2e.world import Config, Make, World, chat

RULES = """\
choices:
- name: proofs
  when: {keywords: prove}
  tier: smart
"""
ENVIRON = {"PYTHONPATH": str(Path(__file__).parents[3])}
"""Environment of the child process, like that of `program` in tests/cli."""


def rules(value: Config) -> None:
    value["guards"] = [{"name": "drafts", "when": {"tag": "draft"}, "max_tier": "fast"}]
    value["choices"] = [
        {"name": "proofs", "when": {"keywords": "prove"}, "tier": "reasoning"},
        {"name": "never", "when": {"keywords": "prove", "user_tokens": {"max": 5}}, "tier": "fast"},
    ]


@pytest.fixture
def asked(make: Make, upstream: Upstream) -> World:
    """Start a gateway that has decided three calls by rules."""
    world = make(rules)
    for text in ("Prove it.", "Prove that too.", "Hello."):
        assert world.ask({**chat(text), "model": "auto"}).status_code == 200
    return world


def ask_replay(world: World, **wanted: Any) -> httpx.Response:
    return world.client.post("/admin/replay", json=wanted)


def test_rules_are_told_in_order_with_what_they_decided(asked: World) -> None:
    told = asked.client.get("/admin/rules").json()
    assert [(one["kind"], one["name"]) for one in told["rules"]] == [
        ("guard", "drafts"), ("choice", "proofs"), ("choice", "never"),
    ]  # fmt: skip
    guard, proofs, never = told["rules"]
    assert guard["hits"] == {"calls": 0}
    assert proofs["hits"]["calls"] == 2
    assert float(proofs["hits"]["cost"]) > 0
    assert never["hits"] == {"calls": 0}
    assert proofs["line"] == 1
    assert proofs["file"].endswith("gateway.yaml")
    assert [one["source"] for one in told["others"]] == ["classifier"]
    assert told["total"]["calls"] == 3
    (finding,) = [one for one in told["findings"] if one["path"] == "choices[1]"]
    assert finding["message"] == "is never reached: 'proofs' matches first."
    assert finding["text"].endswith(
        "choices[1] (rule 'never'): is never reached: 'proofs' matches first."
    )
    assert asked.client.get("/admin/rules?since=2030-01-01").json()["total"]["calls"] == 0
    for query, said in (("since=soon", "is no time"), ("sinc=7d", "no parameter 'sinc'")):
        reply = asked.client.get(f"/admin/rules?{query}")
        assert (reply.status_code, said in reply.json()["error"]["message"]) == (400, True)


def test_calls_that_guards_applied_to_are_counted(make: Make, upstream: Upstream) -> None:
    """Guards count if a pin or a choice decided, if they bounded nothing, and if they refused."""

    def guards(value: Config) -> None:
        value["guards"] = [
            {"name": "drafts", "when": {"tag": "draft"}, "max_tier": "fast"},
            {"name": "no secrets", "when": {"keywords": "secret"}, "refuse": "Not that."},
            {"name": "idle", "when": {"images": True}, "max_tier": "smart"},
        ]
        value["choices"] = [{"name": "proofs", "when": {"keywords": "prove"}, "tier": "reasoning"}]

    world = make(guards)
    for text, model, tags, status in (
        ("Prove it.", "auto", "draft", 200), ("Hello.", "fast", "draft", 200), ("Hello.", "auto", "", 200),
        ("A secret draft.", "auto", "draft", 403), ("A secret.", "none-such", "", 404),
    ):  # fmt: skip
        reply = world.ask({**chat(text), "model": model}, x_tiergate_tags=tags)
        assert reply.status_code == status
    report = world.client.get("/admin/rules").json()
    assert {rule["name"]: rule["hits"]["calls"] for rule in report["rules"]} == {
        "drafts": 3, "no secrets": 2, "idle": 0, "proofs": 1,
    }  # fmt: skip
    assert report["rules"][1]["hits"]["failed"] == 2
    assert float(report["rules"][0]["hits"]["cost"]) > 0
    assert report["total"]["calls"] == 5
    costs = world.client.get("/admin/costs?by=guard").json()
    assert {group["guard"]: group["calls"] for group in costs["groups"]} == {
        "drafts": 3, "no secrets": 2, None: 1,
    }  # fmt: skip
    assert costs["total"]["calls"] == 5
    world.gateway.built_config.source.config.guards.pop(0)
    former = world.client.get("/admin/rules").json()["former"]
    assert [(rule["kind"], rule["name"], rule["calls"]) for rule in former] == [
        ("guard", "drafts", 3)
    ]


def test_of_a_file_that_has_more_than_rules_nothing_else_is_shown(asked: World) -> None:
    """The configuration of these tests is one line of JSON, with credentials in it."""
    reply = asked.client.get("/admin/rules")
    assert "never-shown" not in reply.text
    assert reply.json()["file"] == ""
    assert reply.json()["yaml"].startswith("guards:\n- name: drafts\n")


def test_former_rules_are_told_apart(asked: World) -> None:
    """Their decisions stay in the ledger."""
    asked.gateway.built_config.source.config.choices.pop(0)
    told = asked.client.get("/admin/rules").json()
    assert [(one["kind"], one["name"], one["calls"]) for one in told["former"]] == [
        ("choice", "proofs", 2)
    ]
    assert [one["name"] for one in told["rules"]] == ["drafts", "never"]


def test_a_replay_says_what_the_command_says_and_changes_nothing(asked: World) -> None:
    before = asked.client.get("/admin/config").json()
    told = ask_replay(asked, rules=RULES).json()
    assert told["ok"] is True
    report = told["report"]
    assert (report["calls"], report["changed"]) == (3, 2)
    assert report["tiers"]["smart"]["after"] - report["tiers"]["smart"]["before"] == 2
    assert report["by"]["proofs"] == {"before": 2, "after": 2}
    assert len(report["list"]) == 2
    file = asked.folder / "new.yaml"
    file.write_text(RULES)
    command = [sys.executable, "-m", "gateway", "--config", str(asked.folder / "gateway.yaml")]
    environ = {"TIERGATE_DATA": str(asked.folder / "data"), **ENVIRON}
    done = subprocess.run(
        [*command, "replay", "--rules", str(file), "--json"],
        env=environ, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(done.stdout) == report
    assert asked.client.get("/admin/config").json() == before
    assert asked.client.get("/admin/rules").json()["rules"][1]["name"] == "proofs"


def test_the_rules_in_force_replayed_change_nothing_and_count_guards(asked: World) -> None:
    assert (
        asked.ask({**chat("Draft it."), "model": "auto"}, x_tiergate_tags="draft").status_code
        == 200
    )
    told = ask_replay(asked, since="7d", limit=0).json()
    assert (told["report"]["calls"], told["report"]["changed"]) == (4, 0)
    assert told["report"]["guards"] == {"drafts": 1}
    assert [one["path"] for one in told["findings"] if one["path"].startswith("choices")] == [
        "choices[1]"
    ]
    told = ask_replay(asked, only=["tag:draft"]).json()
    assert told["report"]["calls"] == 1


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("choices:\n- name: a\n  tier: huge\n", 3, "'huge' is not allowed."),
        ("choices:\n- name: a\n  when: {keyword: x}\n  tier: fast\n", 3, "no such key. Did you mean 'keywords'?"),
        ("choices: [\n", 2, "not valid YAML"),
        ("choices: []\nproviders: {}\n", 2, "only guards and choices stand here."),
        ("hello", 1, "only guards and choices stand here."),
        ("choices:\n- {name: a, tier: fast, lab: '${HOME}'}\n", 2, "reads a variable or a file that the rules in force do not read."),
        ("choices:\n- {name: '${file:/etc/passwd}', tier: fast}\n", 2, "reads a variable or a file that the rules in force do not read."),
    ],
)  # fmt: skip
def test_wrong_rules_are_told_with_their_lines(
    asked: World, text: str, line: int, said: str
) -> None:
    reply = ask_replay(asked, rules=text)
    assert reply.status_code == 200, reply.text
    told = reply.json()
    assert told["ok"] is False
    assert "report" not in told
    first = told["findings"][0]
    assert (first["line"], first["file"]) == (line, replay.RULES_NAME)
    assert said in first["text"]
    assert "root:" not in reply.text


def test_what_is_asked_wrong_is_said(asked: World) -> None:
    for wanted, status, said in (
        ({"rules": RULES, "since": "soon"}, 400, "'soon' is no time"),
        ({"only": ["colour:red"]}, 400, "is not NAME=VALUE"),
        ({"limit": 1000}, 400, "The limit is a number from 0 to 200."),
        ({"rule": RULES}, 400, "unknown field"),
        ({"rules": "x" * 300_000}, 413, "at most 262,144 bytes"),
    ):
        reply = ask_replay(asked, **wanted)
        assert reply.status_code == status
        assert said in reply.json()["error"]["message"]
    reply = asked.client.post("/admin/replay", content=b"{")
    assert reply.status_code == 400
    assert asked.client.get("/admin/replay").status_code == 405


def test_one_replay_runs_at_a_time(asked: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "LOCK_SECONDS", 0)
    with try_lock_file(asked.gateway.data / "replay.lock") as mine:
        assert mine
        reply = ask_replay(asked, rules=RULES)
        assert reply.status_code == 409
        assert "Another replay is running" in reply.json()["error"]["message"]
    assert ask_replay(asked, rules=RULES).json()["ok"] is True


def test_a_replay_waits_for_the_end_of_a_cancelled_one(asked: World) -> None:
    """A browser may send the next replay before the gateway has seen the first one's client leave."""
    with ExitStack() as cancelled:
        assert cancelled.enter_context(try_lock_file(asked.gateway.data / "replay.lock"))

        async def end_cancelled(_: float) -> None:
            cancelled.close()

        waiting = replay.RulesReplay(asked.gateway, end_cancelled)
        told = asked.loop.run(waiting(RULES, LedgerQuery(), 0, asyncio.Event().wait))
    assert told["report"]["calls"] == 3


def test_more_calls_than_it_takes_are_said(asked: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "MAX_CALLS", 2)
    reply = ask_replay(asked, rules=RULES)
    assert reply.status_code == 400
    assert "There are 3 calls in this range, more than 2" in reply.json()["error"]["message"]


def endless(world: World, monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Make the store's rows endless; return an event that is set once a row has been read."""
    assert ask_replay(world, limit=0).status_code == 200  # now the store has all rows
    (row, *_), begun = [*world.gateway.store.read_replay_rows()], threading.Event()

    def logged(**_: object) -> Iterator[ReplayRow]:
        while True:
            yield row
            begun.set()

    monkeypatch.setattr(world.gateway.store, "read_replay_rows", logged)
    return begun


def free(world: World) -> bool:
    """Return True if a replay may begin."""
    with try_lock_file(world.gateway.data / "replay.lock") as mine:
        return mine


def test_a_replay_that_takes_too_long_is_ended(
    asked: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "MAX_SECONDS", 0.2)
    endless(asked, monkeypatch)
    reply = ask_replay(asked, rules=RULES)
    assert reply.status_code == 504
    assert "The replay took too long" in reply.json()["error"]["message"]
    assert free(asked)


def test_calls_are_answered_while_a_replay_runs(
    asked: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "MAX_SECONDS", 2)
    begun = endless(asked, monkeypatch)
    with ThreadPoolExecutor() as pool:
        running = pool.submit(ask_replay, asked, rules=RULES)
        assert begun.wait(PATIENCE)
        for _ in range(10):
            assert asked.ask(chat("hi")).status_code == 200
        assert not running.done()
        assert running.result().status_code == 504


def test_a_browser_replays_only_for_a_page_of_ours(make: Make) -> None:
    """Any web page can make a browser send a cookie."""
    world = make(rules, TIERGATE_ADMIN_KEY="admin-0123456789-never-shown")
    begun = world.client.post("/dashboard/session", json={"key": "admin-0123456789-never-shown"})
    assert begun.status_code == 200
    own = {"x-tiergate-csrf": begun.json()["token"]}
    for headers, status in (
        ({}, 403), ({"x-tiergate-csrf": "x"}, 403), ({**own, "sec-fetch-site": "cross-site"}, 403),
        ({**own, "sec-fetch-site": "same-site"}, 403), ({**own, "origin": "http://evil.example"}, 403),
        ({**own, "sec-fetch-site": "same-origin"}, 200), (own, 200),
    ):  # fmt: skip
        reply = world.client.post("/admin/replay", json={"rules": RULES}, headers=headers)
        assert reply.status_code == status, (headers, reply.text)
    for path in ("/admin/rules", "/admin/entries?order=newest"):
        assert world.client.get(path).status_code == 200
        assert world.client.get(path, headers={"sec-fetch-site": "cross-site"}).status_code == 403
    world.client.cookies.clear()
    assert world.client.post("/admin/replay", json={"rules": RULES}, headers=own).status_code == 401


def test_a_client_that_leaves_ends_its_replay(
    asked: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next replay may begin."""
    begun = endless(asked, monkeypatch)
    with socket.create_connection(("127.0.0.1", asked.port), PATIENCE) as connection:
        head = "POST /admin/replay HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 2\r\n\r\n{}"
        connection.sendall(head.encode())
        assert begun.wait(PATIENCE)
        assert not free(asked)
    until(lambda: free(asked), "ended")


def test_an_open_ledger_that_cannot_be_read_is_said(
    asked: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def count(**_: object) -> int:
        raise StoreError("no luck")

    monkeypatch.setattr(asked.gateway.store, "count", count)
    reply = ask_replay(asked, rules=RULES)
    assert reply.status_code == 503
    assert "The gateway cannot read the ledger: no luck." in reply.json()["error"]["message"]
