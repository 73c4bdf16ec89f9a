"""Test what the owner of a key sees of its spending and budgets, at `/v1/usage` and on its page."""

import base64
import hashlib
import re
from decimal import ROUND_CEILING, Decimal
from typing import Any

import pytest

from tests.e2e.world import Make, World, chat
from tests.server.test_scopes import digest

FILE = {
    "ann": {
        "sha256": digest("ann"),
        "budgets": {"usd": 5, "every": "day", "tier": ["fast"]},
    },
    "bob": {"sha256": digest("bob"), "tags": ["batch"], "allowed_tags": [], "team": "search"},
    "far": {"sha256": digest("far"), "tenant": "elsewhere"},
}
BUDGETS = [
    {"name": "everyone", "usd": 100, "every": "month"},
    {"name": "each key", "usd": 10, "every": "month", "per": "key"},
    {"name": "ann alone", "usd": 7, "every": "total", "key": ["ann"]},
    {"name": "ann by tier", "usd": 6, "every": "day", "key": ["ann"], "per": "tenant,tier"},
    {"name": "bob alone", "usd": 8, "every": "day", "key": ["bob"]},
    {"name": "search", "usd": 8, "every": "week", "team": ["search"]},
    {"name": "batches", "usd": 9, "every": "day", "tag": ["batch"]},
    {"name": "reasoning", "share": 0.5, "every": "day", "tier": ["reasoning"]},
]  # fmt: skip


@pytest.fixture
def world(make: Make) -> World:
    def set_budgets(value: dict[str, Any]) -> None:
        value["keys"] = "keys.yaml"
        value["budgets"] = BUDGETS

    running: World = make(set_budgets, files={"keys.yaml": FILE})
    return running


def call(world: World, key: str, model: str = "fast") -> Decimal:
    """Make a call and return its cost."""
    headers = {"authorization": f"Bearer {key}"}
    reply = world.client.post(
        "/v1/chat/completions", json=chat(model=model, max_tokens=100), headers=headers
    )
    assert reply.status_code == 200, reply.text
    return Decimal(reply.headers["x-tiergate-cost"])


def count(cost: Decimal) -> Decimal:
    """Return the USD that a counter takes for a cost: whole micro-USD, rounded up."""
    return cost.quantize(Decimal("0.000001"), ROUND_CEILING)


def read_usage(world: World, key: str, **query: str) -> dict[str, Any]:
    reply = world.client.get("/v1/usage", params=query, headers={"authorization": f"Bearer {key}"})
    assert reply.status_code == 200, reply.text
    assert reply.headers["cache-control"] == "no-store"
    answer: dict[str, Any] = reply.json()
    return answer


def test_a_key_sees_what_it_has_spent_and_nothing_of_other_keys(world: World) -> None:
    spent = call(world, "ann") + call(world, "ann") + call(world, "ann", "smart")
    call(world, "bob")
    usage = read_usage(world, "ann")
    assert (usage["key"], usage["total"]["calls"], usage["total"]["unknown"]) == ("ann", 3, 0)
    assert Decimal(usage["total"]["cost"]) == spent
    assert sum(Decimal(row["cost"]) for row in usage["days"]) == spent
    assert sorted(row["calls"] for row in usage["days"]) == [1, 2]
    assert {len(row["day"]) for row in usage["days"]} == {len("2026-11-30")}
    assert read_usage(world, "far")["total"]["calls"] == 0
    assert read_usage(world, "far")["days"] == []


def test_a_key_sees_its_own_budgets_and_that_others_are_shared(world: World) -> None:
    fast = count(call(world, "ann")) + count(call(world, "ann"))
    spent = fast + count(call(world, "ann", "smart"))
    call(world, "bob")
    rows = read_usage(world, "ann")["budgets"]
    amounts = {(row["name"], row["subject"]): (row["used"], row["left"]) for row in rows}
    assert amounts == {
        ("everyone", None): (None, None),
        ("each key", None): (str(spent), str(10 - spent)),
        ("ann alone", None): (str(spent), str(7 - spent)),
        ("ann by tier", "fast"): (str(fast), str(6 - fast)),
        ("ann by tier", "smart"): (str(spent - fast), str(6 - spent + fast)),
        ("batches", None): (None, None),
        ("key ann", None): (str(fast), str(5 - fast)),
    }
    by_name = {row["name"]: row for row in rows}
    assert by_name["everyone"]["shared"]
    assert not by_name["key ann"]["shared"]
    assert by_name["key ann"]["tiers"] == ["fast"]
    assert by_name["ann alone"]["resets_at"] is None
    assert by_name["each key"]["since"] < by_name["each key"]["resets_at"]


def test_a_budget_of_tags_is_shown_to_keys_that_may_have_one(world: World) -> None:
    assert "batches" in {row["name"] for row in read_usage(world, "bob")["budgets"]}
    assert "bob alone" in {row["name"] for row in read_usage(world, "bob")["budgets"]}
    assert "search" in {row["name"] for row in read_usage(world, "bob")["budgets"]}
    names = {row["name"] for row in read_usage(world, "far")["budgets"]}
    assert names == {"everyone", "each key", "batches"}


def test_usage_of_a_time_leaves_other_calls_out(world: World) -> None:
    call(world, "ann")
    assert read_usage(world, "ann", until="2020-01-01", since="2019-12-01")["total"]["calls"] == 0
    usage = read_usage(world, "ann", since="1h", zone="Asia/Kathmandu")
    assert (usage["total"]["calls"], usage["zone"]) == (1, "Asia/Kathmandu")


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"since": "400d"}, "at most 366 days"),
        ({"since": "soon"}, "'soon' is no time"),
        ({"zone": "Mars/Base"}, "no time zone 'Mars/Base'"),
        ({"key": "bob"}, "no parameter 'key'"),
    ],
)
def test_a_wrong_parameter_of_usage_is_refused(
    world: World, query: dict[str, str], words: str
) -> None:
    reply = world.client.get("/v1/usage", params=query, headers={"x-api-key": "ann"})
    assert reply.status_code == 400
    assert words in reply.json()["error"]["message"]


def test_usage_needs_a_key(world: World) -> None:
    assert world.client.get("/v1/usage").status_code == 401
    assert world.client.get("/v1/usage", headers={"x-api-key": "no"}).status_code == 401


def test_without_keys_usage_is_that_of_all_calls(make: Make) -> None:
    world: World = make()
    spent = Decimal(world.ask(chat(model="fast")).headers["x-tiergate-cost"])
    usage = world.client.get("/v1/usage").json()
    assert (usage["key"], Decimal(usage["total"]["cost"])) == ("open", spent)
    assert usage["budgets"] == []


def test_the_usage_page_runs_only_its_own_script_and_style(world: World) -> None:
    reply = world.client.get("/usage")
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    policy = reply.headers["content-security-policy"]
    for kind in ("script", "style"):
        (text,) = re.findall(rf"<{kind}>(.*?)</{kind}>", reply.text, re.DOTALL)
        digest_of_text = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest_of_text}';" in policy
    assert not re.findall(r'(?:src|action)="', reply.text)
