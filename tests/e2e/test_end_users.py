"""End users over real sockets: a hash of each in the rows, and its name nowhere."""

import time
from typing import Any

import pytest
import redis

from gateway.core import jsonio
from gateway.state.redis.scripts import make_key, make_keys, make_tag
from tests.e2e.test_limits import COST, budgeted, error
from tests.e2e.upstream import Upstream, whole
from tests.e2e.world import Config, Make, World, chat

ANN, BOB = "ann-4711@example.com", "bob-0815@example.com"


def files(world: World) -> bytes:
    """Return all that the stopped gateway has left: files, log and metrics."""
    figures, _ = world.gateway.ledger_runtime.metrics.render()
    world.close()
    paths = (path for path in (world.folder / "data").rglob("*") if path.is_file())
    return b"".join([*(path.read_bytes() for path in paths), repr(world.log).encode(), figures])


def test_rows_have_a_hash_of_the_end_user_and_nothing_has_its_name(
    make: Make, upstream: Upstream
) -> None:
    """The header wins over the body; the provider gets the client's bytes."""

    def counting(value: Config) -> None:
        value["metrics"] = {"keys": True, "teams": True}
        value["traces"] = {"endpoint": upstream.url}
        value["budgets"] = [{**EACH_USER, "usd": 1}]
        value["limits"] = [{"name": "pace", "per": "user", "requests": "1000/m"}]

    world = make(counting, TIERGATE_ADMIN_KEY="admin-key-0123456789")
    upstream.on("/acme", whole())
    body = jsonio.dumps(chat(user=ANN, max_tokens=10)).replace(b'"smart"', b'"able-1"')
    assert world.ask(body).status_code == 200
    assert upstream.requests[-1].body == body
    world.ask(chat(safety_identifier=ANN))
    world.ask(chat(user=BOB))
    world.ask(chat(user=BOB), x_tiergate_user=ANN)
    world.ask(chat())
    assert world.ask(b'{"messages": 1}', x_tiergate_user=ANN).status_code == 400
    figures, _ = world.gateway.ledger_runtime.metrics.render()
    left = files(world)
    assert ANN.encode() not in left
    assert BOB.encode() not in left
    ann, same, bob, header, nobody, _ = (row.end_user for row in world.entries())
    assert ann == same == header
    assert len({ann, bob, nobody}) == 3
    assert nobody is None
    assert not any(str(user).encode() in figures for user in (ann, bob)), "a user is no label"


@pytest.mark.parametrize("restarts", [False, True])
def test_the_hash_outlives_the_process_and_costs_are_grouped_by_it(
    make: Make, upstream: Upstream, *, restarts: bool
) -> None:
    world = make(TIERGATE_ADMIN_KEY="admin-key-0123456789")
    upstream.on("/acme", whole())
    world.ask(chat(user=ANN))
    if restarts:
        world.close()
        world = make(
            TIERGATE_ADMIN_KEY="admin-key-0123456789", TIERGATE_DATA=str(world.folder / "data")
        )
    world.ask(chat(user=ANN))
    world.ask(chat())
    headers = {"authorization": "Bearer admin-key-0123456789"}
    answer: Any = world.client.get("/admin/costs", params={"by": "user"}, headers=headers).json()
    groups = {group["user"]: group["calls"] for group in answer["groups"]}
    (ann,) = groups.keys() - {None}
    assert groups == {ann: 2, None: 1}
    answer = world.client.get(
        "/admin/series", params={"by": "user", "only": f"user={ann}"}, headers=headers
    ).json()
    assert [(total["user"], total["calls"]) for total in answer["totals"]] == [(ann, 2)]


EACH_USER = {"name": "each user", "per": "user", "usd": "0.002255", "every": "day"}
"""A budget that five calls fit into: each costs 19 micro-USD, and reserves 1,087."""


@pytest.mark.parametrize("shared", [False, True])
def test_each_user_spends_only_what_the_budget_allows(
    make: Make, upstream: Upstream, request: pytest.FixtureRequest, *, shared: bool
) -> None:
    """A user of Claude Code keeps its budget in a new session; others have their own."""
    environ = {"TIERGATE_ADMIN_KEY": "admin-key-0123456789"}
    if shared:
        environ["REDIS_URL"] = request.getfixturevalue("redis_url")
        forget(environ["REDIS_URL"])
    world = make(budgeted(EACH_USER), **environ)
    upstream.on("/acme", whole())
    account = "user_d_account_nobody_session_"
    for number in range(5):
        assert (
            world.ask(chat(max_tokens=10), x_tiergate_user=f"{account}{number}").status_code == 200
        )
        world.loop.run(world.gateway.limiter.wait_settled())
    refused = world.ask(chat(max_tokens=10, user=f"{account}6"))
    assert error(refused)["code"] == "insufficient_quota"
    assert error(refused)["message"].startswith("The budget 'each user' is spent for ")
    assert world.ask(chat(max_tokens=10, user="someone else")).status_code == 200
    assert world.ask(chat(max_tokens=10)).status_code == 200
    headers = {"authorization": "Bearer admin-key-0123456789"}
    answer = world.client.get("/admin/budgets", headers=headers).json()
    budgets = sorted(answer["budgets"], key=lambda budget: budget["used"], reverse=True)
    assert [budget["used"] for budget in budgets] == ["0.000095", "0.000019"]
    assert {budget["name"] for budget in budgets} == {"each user"}
    scopes = [budget["scope"] for budget in budgets]
    assert all(scope.startswith("user ") and scope.endswith(" of key open") for scope in scopes)
    (key, user) = (one for one in budgets[0]["only"])
    assert key == "key=open"
    assert scopes[0].split()[1] == user.removeprefix("user=")
    world.loop.run(world.gateway.limit_runtime.refresh_levels())
    figures = world.client.get("/metrics", headers=headers).text
    assert "tiergate_budget_used_ratio{" not in figures
    assert scopes[0].split()[1] not in figures
    assert "account_nobody" not in files(world).decode("utf-8", "replace")


def test_a_restarted_gateway_knows_what_each_user_has_spent(make: Make, upstream: Upstream) -> None:
    world = make(budgeted(EACH_USER))
    upstream.on("/acme", whole())
    for _ in range(5):
        world.ask(chat(max_tokens=10, user=ANN))
        world.loop.run(world.gateway.limiter.wait_settled())
    world.close()
    again = make(budgeted(EACH_USER), TIERGATE_DATA=str(world.folder / "data"))
    assert again.ask(chat(max_tokens=10, user=ANN)).status_code == 429
    assert again.ask(chat(max_tokens=10, user=BOB)).status_code == 200


def test_users_beyond_the_maximum_share_one_budget_in_all_processes(
    make: Make, upstream: Upstream, redis_url: str
) -> None:
    forget(redis_url)
    changes = budgeted(EACH_USER, users={"max": 1})
    first, second = make(changes, REDIS_URL=redis_url), make(changes, REDIS_URL=redis_url)
    upstream.on("/acme", whole())
    for number in range(6):
        world = (first, second)[number % 2]
        assert world.ask(chat(max_tokens=10, user=f"user {number}")).status_code == 200
        world.loop.run(world.gateway.limiter.wait_settled())
    assert second.ask(chat(max_tokens=10, user="user 7")).status_code == 429
    assert first.ask(chat(max_tokens=10, user="user 0")).status_code == 200
    with redis.Redis.from_url(redis_url) as admin:
        counters = admin.hgetall(make_key(make_tag("default"), b"users"))
        others = [value for name, value in counters.items() if b"user=open/others|" in name]
        assert others == [b"%d" % (5 * COST)]
        assert admin.hgetall(make_key(make_tag("default"), b"spent")) == {}


def forget(redis_url: str) -> None:
    """Delete the counters of earlier tests."""
    today = time.strftime("%Y-%m-%d", time.gmtime())
    with redis.Redis.from_url(redis_url) as admin:
        claims = make_key(make_tag("default"), f"users:open|{today}".encode())
        admin.delete(*make_keys(None), *make_keys("default"), claims)
