"""Test the rules in force, and replays of other rules on past calls, which change nothing."""

import asyncio
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
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
from gateway.server.queries import replay as replay_query
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
def world_with_calls(make: Make, upstream: Upstream) -> World:
    """Start a gateway that has decided three calls by rules."""
    world = make(rules)
    for text in ("Prove it.", "Prove that too.", "Hello."):
        assert world.ask({**chat(text), "model": "auto"}).status_code == 200
    return world


def ask_replay(world: World, **options: Any) -> httpx.Response:
    return world.client.post("/admin/replay", json=options)


def test_rules_are_listed_in_order_with_the_calls_that_they_decided(
    world_with_calls: World,
) -> None:
    report = world_with_calls.client.get("/admin/rules").json()
    assert [(rule["kind"], rule["name"]) for rule in report["rules"]] == [
        ("guard", "drafts"), ("choice", "proofs"), ("choice", "never"),
    ]  # fmt: skip
    guard, proofs, never = report["rules"]
    assert guard["hits"] == {"calls": 0}
    assert proofs["hits"]["calls"] == 2
    assert float(proofs["hits"]["cost"]) > 0
    assert never["hits"] == {"calls": 0}
    assert proofs["line"] == 1
    assert proofs["file"].endswith("gateway.yaml")
    assert [rule["source"] for rule in report["others"]] == ["classifier"]
    assert report["total"]["calls"] == 3
    (finding,) = [rule for rule in report["findings"] if rule["path"] == "choices[1]"]
    assert finding["message"] == "is never reached: 'proofs' matches first."
    assert finding["text"].endswith(
        "choices[1] (rule 'never'): is never reached: 'proofs' matches first."
    )
    assert (
        world_with_calls.client.get("/admin/rules?since=2030-01-01").json()["total"]["calls"] == 0
    )
    for query, problem in (("since=soon", "is no time"), ("sinc=7d", "no parameter 'sinc'")):
        reply = world_with_calls.client.get(f"/admin/rules?{query}")
        assert (reply.status_code, problem in reply.json()["error"]["message"]) == (400, True)


def test_calls_that_guards_applied_to_are_counted(make: Make, upstream: Upstream) -> None:
    """Guards count if a pin or a choice decided, if they bounded nothing, and if they refused."""

    def set_guards(value: Config) -> None:
        value["guards"] = [
            {"name": "drafts", "when": {"tag": "draft"}, "max_tier": "fast"},
            {"name": "no secrets", "when": {"keywords": "secret"}, "refuse": "Not that."},
            {"name": "idle", "when": {"images": True}, "max_tier": "smart"},
        ]
        value["choices"] = [{"name": "proofs", "when": {"keywords": "prove"}, "tier": "reasoning"}]

    world = make(set_guards)
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


def test_only_the_rules_of_the_configuration_file_are_shown(world_with_calls: World) -> None:
    """The configuration of these tests is one line of JSON, with credentials in it."""
    reply = world_with_calls.client.get("/admin/rules")
    assert "never-shown" not in reply.text
    assert reply.json()["file"] == ""
    assert reply.json()["yaml"].startswith("guards:\n- name: drafts\n")


def test_former_rules_are_listed_apart(world_with_calls: World) -> None:
    """Their decisions stay in the ledger."""
    world_with_calls.gateway.built_config.source.config.choices.pop(0)
    report = world_with_calls.client.get("/admin/rules").json()
    assert [(rule["kind"], rule["name"], rule["calls"]) for rule in report["former"]] == [
        ("choice", "proofs", 2)
    ]
    assert [rule["name"] for rule in report["rules"]] == ["drafts", "never"]


def test_a_replay_reports_like_the_command_and_changes_nothing(world_with_calls: World) -> None:
    before = world_with_calls.client.get("/admin/config").json()
    reply = ask_replay(world_with_calls, rules=RULES).json()
    assert reply["ok"] is True
    report = reply["report"]
    assert (report["calls"], report["changed"]) == (3, 2)
    assert report["tiers"]["smart"]["after"] - report["tiers"]["smart"]["before"] == 2
    assert report["by"]["proofs"] == {"before": 2, "after": 2}
    assert len(report["list"]) == 2
    file = world_with_calls.folder / "new.yaml"
    file.write_text(RULES)
    command = [
        sys.executable,
        "-m",
        "gateway",
        "--config",
        str(world_with_calls.folder / "gateway.yaml"),
    ]
    environ = {"TIERGATE_DATA": str(world_with_calls.folder / "data"), **ENVIRON}
    process = subprocess.run(
        [*command, "replay", "--rules", str(file), "--json"],
        env=environ, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(process.stdout) == report
    assert world_with_calls.client.get("/admin/config").json() == before
    assert world_with_calls.client.get("/admin/rules").json()["rules"][1]["name"] == "proofs"


def test_a_replay_of_the_current_rules_changes_nothing_and_counts_guards(
    world_with_calls: World,
) -> None:
    assert (
        world_with_calls.ask(
            {**chat("Draft it."), "model": "auto"}, x_tiergate_tags="draft"
        ).status_code
        == 200
    )
    reply = ask_replay(world_with_calls, since="7d", limit=0).json()
    assert (reply["report"]["calls"], reply["report"]["changed"]) == (4, 0)
    assert reply["report"]["guards"] == {"drafts": 1}
    assert [
        finding["path"] for finding in reply["findings"] if finding["path"].startswith("choices")
    ] == ["choices[1]"]
    reply = ask_replay(world_with_calls, only=["tag:draft"]).json()
    assert reply["report"]["calls"] == 1


@pytest.mark.parametrize(
    ("text", "line", "problem"),
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
def test_wrong_rules_are_reported_with_their_lines(
    world_with_calls: World, text: str, line: int, problem: str
) -> None:
    reply = ask_replay(world_with_calls, rules=text)
    assert reply.status_code == 200, reply.text
    report = reply.json()
    assert report["ok"] is False
    assert "report" not in report
    first = report["findings"][0]
    assert (first["line"], first["file"]) == (line, replay_query.RULES_NAME)
    assert problem in first["text"]
    assert "root:" not in reply.text


def test_a_wrong_replay_request_gets_an_error_that_names_the_mistake(
    world_with_calls: World,
) -> None:
    for options, status, problem in (
        ({"rules": RULES, "since": "soon"}, 400, "'soon' is no time"),
        ({"only": ["colour:red"]}, 400, "is not NAME=VALUE"),
        ({"limit": 1000}, 400, "The limit is a number from 0 to 200."),
        ({"rule": RULES}, 400, "unknown field"),
        ({"rules": "x" * 300_000}, 413, "at most 262,144 bytes"),
    ):
        reply = ask_replay(world_with_calls, **options)
        assert reply.status_code == status
        assert problem in reply.json()["error"]["message"]
    reply = world_with_calls.client.post("/admin/replay", content=b"{")
    assert reply.status_code == 400
    assert world_with_calls.client.get("/admin/replay").status_code == 405


def test_only_one_replay_runs_at_a_time(
    world_with_calls: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "LOCK_SECONDS", 0)
    with try_lock_file(world_with_calls.gateway.data / "replay.lock") as is_locked:
        assert is_locked
        reply = ask_replay(world_with_calls, rules=RULES)
        assert reply.status_code == 409
        assert "Another replay is running" in reply.json()["error"]["message"]
    assert ask_replay(world_with_calls, rules=RULES).json()["ok"] is True


def test_a_replay_waits_for_the_end_of_a_cancelled_one(world_with_calls: World) -> None:
    """A browser may send the next replay before the gateway has seen the first one's client leave."""
    with ExitStack() as cancelled:
        assert cancelled.enter_context(try_lock_file(world_with_calls.gateway.data / "replay.lock"))

        async def end_cancelled(_: float) -> None:
            cancelled.close()

        run_replay = replay.RulesReplay(world_with_calls.gateway, end_cancelled)
        reply = world_with_calls.loop.run(run_replay(RULES, LedgerQuery(), 0, asyncio.Event().wait))
    assert reply["report"]["calls"] == 3


def test_a_replay_of_too_many_calls_is_refused(
    world_with_calls: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay_query, "MAX_CALLS", 2)
    reply = ask_replay(world_with_calls, rules=RULES)
    assert reply.status_code == 400
    assert "There are 3 calls in this range, more than 2" in reply.json()["error"]["message"]


@pytest.fixture
def has_read_a_row(
    world_with_calls: World, monkeypatch: pytest.MonkeyPatch
) -> Iterator[threading.Event]:
    """Make the store's rows endless; the event is set once a row has been read."""
    world = world_with_calls
    assert ask_replay(world, limit=0).status_code == 200  # now the store has all rows
    (row, *_), has_read = [*world.gateway.store.read_replay_rows()], threading.Event()
    has_ended = threading.Event()

    def read_forever(**_: object) -> Iterator[ReplayRow]:
        while not has_ended.is_set():
            yield row
            has_read.set()

    monkeypatch.setattr(world.gateway.store, "read_replay_rows", read_forever)
    yield has_read
    has_ended.set()


def can_start_replay(world: World) -> bool:
    """Return True if a replay may begin."""
    with try_lock_file(world.gateway.data / "replay.lock") as is_locked:
        return is_locked


@pytest.mark.usefixtures("has_read_a_row")
def test_a_replay_that_takes_too_long_is_ended(
    world_with_calls: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "MAX_SECONDS", 0.2)
    reply = ask_replay(world_with_calls, rules=RULES)
    assert reply.status_code == 504
    assert "longer than 0.2 s" in reply.json()["error"]["message"]
    assert can_start_replay(world_with_calls)


def test_a_browser_session_can_replay_only_from_a_page_of_the_gateway(make: Make) -> None:
    """Any web page can make a browser send a cookie."""
    world = make(rules, TIERGATE_ADMIN_KEY="admin-0123456789-never-shown")
    session = world.client.post("/dashboard/session", json={"key": "admin-0123456789-never-shown"})
    assert session.status_code == 200
    own_page = {"x-tiergate-csrf": session.json()["token"]}
    for headers, status in (
        ({}, 403), ({"x-tiergate-csrf": "x"}, 403), ({**own_page, "sec-fetch-site": "cross-site"}, 403),
        ({**own_page, "sec-fetch-site": "same-site"}, 403), ({**own_page, "origin": "http://evil.example"}, 403),
        ({**own_page, "sec-fetch-site": "same-origin"}, 200), (own_page, 200),
    ):  # fmt: skip
        reply = world.client.post("/admin/replay", json={"rules": RULES}, headers=headers)
        assert reply.status_code == status, (headers, reply.text)
    for path in ("/admin/rules", "/admin/entries?order=newest"):
        assert world.client.get(path).status_code == 200
        assert world.client.get(path, headers={"sec-fetch-site": "cross-site"}).status_code == 403
    world.client.cookies.clear()
    assert (
        world.client.post("/admin/replay", json={"rules": RULES}, headers=own_page).status_code
        == 401
    )


def test_a_client_that_leaves_ends_its_replay(
    world_with_calls: World, has_read_a_row: threading.Event
) -> None:
    """The next replay may begin."""
    with socket.create_connection(("127.0.0.1", world_with_calls.port), PATIENCE) as connection:
        head = "POST /admin/replay HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 2\r\n\r\n{}"
        connection.sendall(head.encode())
        assert has_read_a_row.wait(PATIENCE)
        assert not can_start_replay(world_with_calls)
    until(lambda: can_start_replay(world_with_calls), "ended")


def test_a_ledger_that_cannot_be_read_is_a_503(
    world_with_calls: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def count(**_: object) -> int:
        raise StoreError("no luck")

    monkeypatch.setattr(world_with_calls.gateway.store, "count", count)
    reply = ask_replay(world_with_calls, rules=RULES)
    assert reply.status_code == 503
    assert "The gateway cannot read the ledger: no luck." in reply.json()["error"]["message"]
