"""Test how admins rate calls and make golden prompts of them, and what the audit has of it."""

from pathlib import Path
from typing import Any

import pytest

from gateway.core import jsonio
from gateway.evaluation.golden import GoldenPrompt, read_prompts
from gateway.settings import yaml
from gateway.state.audit import AuditQuery
from tests.e2e.world import Config, Make, World, chat
from tests.ledger.rows import entry
from tests.server.admin.test_costs import check_error, get, write
from tests.server.admin.test_rights import browse, use_sign_in
from tests.server.test_feedback import read_feedback_rows

ENTRIES = "/admin/entries"


def keep_texts(value: Config) -> None:
    value["ledger"] = {"content": "on"}


@pytest.fixture
def keeping(make: Make) -> World:
    world: World = make(keep_texts)
    return world


def ask(world: World, body: dict[str, Any]) -> str:
    """Make a call, wait until its text is kept, and return its id."""
    id = str(world.ask(body).headers["x-request-id"])
    writer = world.gateway.ledger_runtime._transcript_writer
    if writer is not None:
        writer.flush()
    return id


def read_golden(world: World) -> list[GoldenPrompt]:
    text = (world.gateway.data / "golden.yaml").read_text("utf-8")
    return read_prompts(yaml.read(text, "golden.yaml"))


def test_the_last_rating_of_a_call_counts_and_the_audit_names_the_rater(world: World) -> None:
    id = ask(world, chat())
    assert get(world, f"{ENTRIES}/{id}").json()["feedback"] is None
    for verdict in ("good", "bad", "bad"):
        reply = world.client.post(f"{ENTRIES}/{id}/rating", json={"verdict": verdict})
        assert (reply.status_code, reply.json()) == (
            200, {"id": id, "verdict": verdict, "tier": None, "score": None},
        )  # fmt: skip
    assert [(row.key, row.verdict) for row in read_feedback_rows(world)] == [
        ("admin", "good"), ("admin", "bad"),
    ]  # fmt: skip
    feedback = get(world, f"{ENTRIES}/{id}").json()["feedback"]
    assert (feedback["verdict"], feedback["key"]) == ("bad", "admin")
    newest, *_ = world.gateway.audit.iter_rows(AuditQuery(act="call.rate"), 9)
    assert (newest.who, newest.subject, newest.before["verdict"]) == ("local", id, "bad")


def test_an_admin_may_name_the_tier_that_would_have_been_right(world: World) -> None:
    id = ask(world, chat())
    reply = world.client.post(f"{ENTRIES}/{id}/rating", json={"tier": "fast", "score": 0.2})
    assert reply.status_code == 200
    (row,) = read_feedback_rows(world)
    assert (row.verdict, row.tier, row.score) == (None, "fast", 0.2)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "Send a verdict"),
        ({"verdict": "fine"}, 'It is {"verdict": "good"}'),
        ({"id": "tg-1", "verdict": "good"}, 'It is {"verdict": "good"}'),
    ],
)
def test_a_wrong_rating_is_refused(world: World, body: object, words: str) -> None:
    write(world, entry("tg-1"))
    reply = world.client.post(f"{ENTRIES}/tg-1/rating", json=body)
    assert check_error(reply, 400).startswith(words)


def test_a_golden_prompt_is_made_of_a_call_and_read_by_the_test_command(keeping: World) -> None:
    id = ask(keeping, chat("Prove: 1 = 1\n\N{LATIN SMALL LETTER E WITH ACUTE}"))
    reply = keeping.client.post(f"{ENTRIES}/{id}/golden", json={"tier": "reasoning", "why": "math"})
    file = keeping.gateway.data / "golden.yaml"
    assert (reply.status_code, reply.json()) == (
        201, {"id": id, "file": str(file), "tier": "reasoning", "prompts": 1, "turns": 1},
    )  # fmt: skip
    assert file.stat().st_mode & 0o777 == 0o600
    (golden,) = read_golden(keeping)
    assert (golden.prompt, golden.tier) == ("Prove: 1 = 1\n\N{LATIN SMALL LETTER E WITH ACUTE}", "reasoning")  # fmt: skip
    assert (golden.why, golden.key, golden.model) == (f"math (call {id})", None, chat()["model"])
    again = keeping.client.post(f"{ENTRIES}/{id}/golden", json={"tier": "fast"})
    message = check_error(again, 409)
    assert message == f"{file}, line 2 has this prompt already, for the tier reasoning."
    (row,) = keeping.gateway.audit.iter_rows(AuditQuery(act="golden.add"), 9)
    assert (row.subject, row.after) == (id, {"file": str(file), "tier": "reasoning"})
    assert "Prove" not in jsonio.dumps(row).decode()


def test_the_turn_of_a_conversation_is_named(keeping: World) -> None:
    messages = [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi"},
        {"role": "user", "content": "And now?"},
    ]
    id = ask(keeping, {**chat(), "messages": messages})
    reply = keeping.client.post(f"{ENTRIES}/{id}/golden", json={"tier": "fast"})
    assert (reply.status_code, reply.json()["turns"]) == (201, 2)
    (golden,) = read_golden(keeping)
    assert (golden.prompt, golden.why) == ("And now?", f"(call {id}, turn 2 of its conversation)")


def test_without_its_text_a_call_makes_no_golden_prompt(world: World, keeping: World) -> None:
    def add(world: World, id: str, status: int, body: object = {"tier": "fast"}) -> str:
        return check_error(world.client.post(f"{ENTRIES}/{id}/golden", json=body), status)

    id = ask(world, chat())
    assert add(world, id, 404).endswith("the text of this call: ledger.content is off.")
    assert add(world, "tg-none", 404).startswith("The ledger has no row of this call.")
    assert add(world, id, 400, {"tier": "best"}).startswith('It is {"tier": "smart"}, one of fast')
    assert add(world, id, 413, {"tier": "fast", "why": "x" * 5_000}).startswith("The body has")
    id = ask(keeping, chat(" "))
    assert "no words of a user" in add(keeping, id, 409)
    refused = ask(keeping, {**chat(), "model": "nope"})
    assert add(keeping, refused, 404).endswith("or another machine keeps it.")
    long_id = ask(keeping, chat("many words " * 30_000))
    assert "kept a part of this text" in add(keeping, long_id, 409)
    assert not (keeping.gateway.data / "golden.yaml").exists()


def test_a_golden_file_that_takes_no_prompt_is_left_alone(
    keeping: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    file: Path = keeping.gateway.data / "golden.yaml"
    id = ask(keeping, chat())

    def add() -> str:
        reply = keeping.client.post(f"{ENTRIES}/{id}/golden", json={"tier": "fast"})
        return check_error(reply, 409)

    file.touch(0o600)
    file.write_text("prompts: none\n")
    assert add().startswith(f"The golden file takes no prompt: {file}:1: error")
    file.write_bytes(b"\xff")
    assert add() == f"{file} cannot be read or written: it is not UTF-8."
    file.unlink()
    file.mkdir()
    assert add() == f"{file} cannot be read or written: Is a directory."
    monkeypatch.setattr("gateway.server.queries.golden.MAX_FILE_BYTES", 1)
    file.rmdir()
    file.touch(0o600)
    file.write_text("prompts:\n")
    assert add().startswith(f"{file} is full:")


def test_a_rating_needs_the_role_the_team_and_the_token(make: Make) -> None:
    world = make(use_sign_in)
    write(world, entry("tg-search", team="search"), entry("tg-ads", team="ads"))
    body = {"verdict": "good"}
    with browse(world, "viewer") as browser:
        reply = browser.post(f"{ENTRIES}/tg-ads/rating", json=body)
        assert "needs the role operator" in check_error(reply, 403)
    with browse(world, "operator", "search") as browser:
        assert browser.post(f"{ENTRIES}/tg-search/rating", json=body).status_code == 200
        for end in ("rating", "golden"):
            reply = browser.post(f"{ENTRIES}/tg-ads/{end}", json={"tier": "fast"})
            assert check_error(reply, 404).startswith("The ledger has no row")
        headers = {"x-tiergate-csrf": "of another page"}
        reply = browser.post(f"{ENTRIES}/tg-search/rating", json=body, headers=headers)
        assert "Send the session's token" in check_error(reply, 403)
    (row,) = world.gateway.audit.iter_rows(AuditQuery(act="call.rate"), 9)
    assert (row.who, row.via) == ("ann@example.com", "dashboard")
