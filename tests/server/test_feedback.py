"""Test feedback on answers: who may give it, for which calls, and where it is stored."""

from typing import Any

import pytest

from gateway.core.ledger_rows import FeedbackRow
from gateway.ledger.errors import StoreError
from gateway.ledger.journal import list_segments, read_rows
from tests.e2e.world import Make, World, chat
from tests.ledger.busy import WAITS, feeding
from tests.server.test_scopes import digest

FEEDBACK = "/v1/feedback"
FILE = {
    "ann": {"sha256": digest("ann")},
    "bob": {"sha256": digest("bob")},
    "boss": {"sha256": digest("boss"), "admin": True},
    "far": {"sha256": digest("far"), "admin": True, "tenant": "elsewhere"},
}


@pytest.fixture
def world(make: Make) -> World:
    def use_key_file(value: dict[str, Any]) -> None:
        value["keys"] = "keys.yaml"

    running: World = make(use_key_file, files={"keys.yaml": FILE})
    return running


def post(world: World, key: str, path: str, body: object) -> Any:
    return world.client.post(path, json=body, headers={"authorization": f"Bearer {key}"})


def make_call(world: World) -> str:
    """Make a call with Ann's key; return its id."""
    reply = post(world, "ann", "/v1/chat/completions", chat(model="fast"))
    assert reply.status_code == 200, reply.text
    return str(reply.headers["x-request-id"])


def read_feedback_rows(world: World) -> list[FeedbackRow]:
    """Return the feedback rows of the journal, in order."""
    rows = (
        row for path in list_segments(world.gateway.journal_folder) for row, _ in read_rows(path)
    )
    return [row for row in rows if isinstance(row, FeedbackRow)]


def test_a_call_can_be_judged_as_soon_as_it_is_answered(world: World) -> None:
    """The last feedback counts; repeating it writes no row."""
    id = make_call(world)
    for body in ({"verdict": "good"}, {"verdict": "good"}, {"tier": "smart", "score": 0.5}):
        reply = post(world, "ann", FEEDBACK, {"id": id, **body})
        assert (reply.status_code, reply.json()) == (200, {"id": id, "taken": True})
    first, last = read_feedback_rows(world)
    assert (first.id, first.key, first.verdict, first.tier) == (id, "ann", "good", None)
    assert (last.verdict, last.tier, last.score) == (None, "smart", 0.5)
    world.gateway.ledger_runtime.feed()
    assert world.gateway.store.read_feedback([id]) == {id: last}


@pytest.mark.parametrize(
    ("key", "status"), [("ann", 200), ("boss", 200), ("bob", 404), ("far", 404)]
)
def test_only_its_own_key_and_admins_of_its_tenant_may_judge_a_call(
    world: World, key: str, status: int
) -> None:
    """A key without access cannot learn if a call exists."""
    id = make_call(world)
    reply = post(world, key, FEEDBACK, {"id": id, "verdict": "bad"})
    assert reply.status_code == status, reply.text
    assert [row.key for row in read_feedback_rows(world)] == ([key] if status == 200 else [])
    if status != 200:
        unknown_call = post(world, key, FEEDBACK, {"id": "tg-none", "verdict": "bad"})
        assert unknown_call.json() == reply.json()


def test_feedback_needs_a_key(world: World) -> None:
    assert world.client.post(FEEDBACK, json={"id": "x", "verdict": "bad"}).status_code == 401
    assert read_feedback_rows(world) == []


@pytest.mark.parametrize(
    "body",
    [
        {}, [], {"id": ""}, {"id": "x"}, {"verdict": "good"}, {"id": "x", "verdict": "fine"},
        {"id": "x", "score": 1.5}, {"id": "x", "tier": "huge"}, {"id": 1, "verdict": "good"},
        {"id": "x" * 129, "verdict": "good"}, {"id": "x", "verdict": "good", "text": "more"},
    ],
)  # fmt: skip
def test_wrong_feedback_is_refused_with_the_expected_fields(world: World, body: object) -> None:
    reply = post(world, "ann", FEEDBACK, body)
    assert reply.status_code == 400
    assert "verdict" in reply.json()["error"]["message"]


def test_an_id_with_a_nul_byte_belongs_to_no_call(world: World) -> None:
    assert post(world, "ann", FEEDBACK, {"id": "a\0b", "verdict": "bad"}).status_code == 404


def test_feedback_has_a_size_limit(world: World) -> None:
    reply = post(world, "ann", FEEDBACK, {"id": "x", "verdict": "bad", "more": "x" * 5000})
    assert reply.status_code == 413


def test_a_store_error_is_a_503_without_its_details(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise StoreError("the password is hunter2")

    monkeypatch.setattr(world.gateway.store, "find_call", fail)
    reply = post(world, "ann", FEEDBACK, {"id": "x", "verdict": "bad"})
    assert reply.status_code == 503
    assert "hunter2" not in reply.text


def test_feedback_waits_for_a_process_that_feeds_the_store(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One process feeds at a time: until it is done the store does not know the call."""
    monkeypatch.setattr(world.gateway.ledger_runtime, "feed", int)
    id = make_call(world)
    with feeding(world.gateway.journal_folder) as other:
        monkeypatch.setattr(world.gateway.store, "_sleep", other.sleep)
        reply = post(world, "ann", FEEDBACK, {"id": id, "verdict": "bad"})
    assert (reply.status_code, len(other.waited)) == (200, WAITS)
