"""Test the list of conversations that admins read over HTTP."""

import time
from decimal import Decimal

from tests.e2e.world import World
from tests.ledger.rows import entry
from tests.server.admin.test_costs import check_error, get, lines, write

PATH = "/admin/conversations"


def test_conversations_are_listed_in_pages(world: World) -> None:
    now = time.time()
    write(
        world,
        entry("tg-1", at=now - 90, conversation="c1", cost=Decimal("0.1")),
        entry("tg-2", at=now - 60, conversation="c1", cost=None, key="bob"),
        entry("tg-3", at=now - 30, conversation="c2", tier="smart"),
        entry("tg-old", at=now - 90_000, conversation="c3"),
    )
    first = get(world, f"{PATH}?limit=1").json()
    assert [item["conversation"] for item in first["conversations"]] == ["c2"]
    second = get(world, f"{PATH}?limit=1&before={first['next']}").json()
    (found,) = second["conversations"]
    assert (found["conversation"], found["calls"], found["cost"], found["unknown"]) == ("c1", 2, "0.1", 1)  # fmt: skip
    assert (found["keys"], found["last_call"]["id"]) == (["alice", "bob"], "tg-2")
    assert (second["next"], second["damaged_rows"]) == (None, 0)
    week = get(world, f"{PATH}?since=7d&only=tier:fast").json()
    assert [item["conversation"] for item in week["conversations"]] == ["c1", "c3"]
    thread = get(world, f"/admin/entries?only=conversation:c1&sort=received&since={found['first']}")
    assert [row["id"] for row in lines(thread)] == ["tg-1", "tg-2"]


def test_a_wrong_question_for_conversations_is_explained(world: World) -> None:
    for query, problem in (
        ("before=x", "before is the `next` of an answer."),
        ("limit=201", "The limit is a number from 1 to 200."),
        ("only=colour:red", "'colour:red' is not NAME=VALUE"),
        ("sort=cost", "There is no parameter 'sort' here."),
    ):
        assert check_error(get(world, f"{PATH}?{query}"), 400).startswith(problem)
