"""A failing target leaves the rotation, and returns by one call at a time; admins see its state."""

from typing import Any

import pytest

from tests.e2e.test_next_target import accounts
from tests.e2e.upstream import DROPPED, Answer, Upstream, failing, stream, whole
from tests.e2e.world import SECRET, Config, Make, World, chat, spared


class HealthClock:
    """The clock of the circuit breakers of a world."""

    def __init__(self, world: World) -> None:
        self.now = 1000.0
        world.gateway.upstream.health.clock = lambda: self.now


def health(world: World) -> dict[str, Any]:
    reply = world.client.get("/admin/health")
    assert reply.status_code == 200, reply.text
    assert SECRET not in reply.text
    value: dict[str, Any] = reply.json()
    return value


def target(world: World, provider: str = "acme", account: str = "main") -> dict[str, Any]:
    (row,) = [
        item
        for item in health(world)["targets"]
        if (item["provider"], item["account"]) == (provider, account)
        and item["model"] in ("able-1", "able-2")
    ]
    return dict(row)


def events(world: World) -> list[tuple[object, object, object]]:
    return [
        (row["provider"], row["model"], row["cause"] or "closed")
        for row in world.log
        if row["event"] == "health"
    ]


def test_a_failing_target_leaves_the_rotation_and_returns(make: Make, upstream: Upstream) -> None:
    world = make(spared)
    clock = HealthClock(world)
    upstream.on("/acme", *[failing(500)] * 5)
    upstream.on("/spare", whole())
    for _ in range(7):
        assert world.ask(chat()).status_code == 200
    twice = ["acme", "acme", "spare"]
    assert upstream.called == [*twice, *twice, "acme", "spare", *["spare"] * 4]
    state = target(world)
    assert (state["state"], state["cause"], state["error"]) == ("open", "failing", "upstream_error")
    assert (state["answered"], state["failed"], state["in_flight"]) == (0, 5, 0)
    assert 1 < state["until"] - state["since"] < 3
    assert target(world, "spare")["state"] == "closed"
    upstream.on("/acme", whole())
    clock.now += 7
    assert target(world)["state"] == "half-open"
    assert world.ask(chat()).headers["x-tiergate-provider"] == "acme"
    assert target(world)["state"] == "closed"
    assert events(world) == [("acme", "able-1", "failing"), ("acme", "able-1", "closed")]
    figures = world.client.get("/metrics").text
    assert 'targets_opened_total{provider="acme",account="main",model="able-1",cause="failing"} 1' in figures  # fmt: skip
    assert "tiergate_targets_out 0" in figures


def test_the_plan_names_the_targets_that_are_out_and_why(make: Make, upstream: Upstream) -> None:
    world = make(spared)
    HealthClock(world)
    upstream.on("/acme", failing(500))
    upstream.on("/spare", whole())
    for _ in range(5):
        world.ask(chat())
    route = world.client.post("/v1/route", json=chat()).json()
    assert [step["target"] for step in route["plan"]] == ["spare/able-2"]
    (skipped,) = route["skipped"]
    assert (skipped["target"], skipped["tier"]) == ("acme/able-1", "smart")
    assert skipped["reason"] == "is out (failing; upstream_error) for 2 s"
    upstream.on("/spare", failing(500))
    for _ in range(5):
        world.ask(chat())
    route = world.client.post("/v1/route", json=chat()).json()
    assert len(route["plan"]) == 2


def test_the_configured_fallback_lab_takes_over(make: Make, upstream: Upstream) -> None:
    def change(value: Config) -> None:
        value["labs"]["acme"]["fallback"] = ["other"]

    world = make(change)
    upstream.on("/acme", failing(500))
    upstream.on("/other", whole())
    reply = world.ask(chat())
    assert (reply.status_code, reply.headers["x-tiergate-provider"]) == (200, "other")
    entry = world.entry()
    assert (entry.lab, entry.provider, entry.attempts) == ("acme", "other", 3)
    plain = make()
    assert plain.ask(chat()).status_code == 502
    assert make(change).ask(chat(model="acme/smart")).status_code == 502


def test_the_client_gets_a_time_to_retry_when_every_target_is_out(
    world: World, upstream: Upstream
) -> None:
    """The client may retry, since nothing was sent; its row has no attempt."""
    HealthClock(world)
    upstream.on("/acme", failing(500))
    for _ in range(2):
        assert "x-should-retry" not in world.ask(chat()).headers
    request_count = len(upstream.requests)
    reply = world.ask(chat())
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "overloaded")
    assert 1 <= int(reply.headers["retry-after"]) <= 7
    assert "x-should-retry" not in reply.headers
    assert len(upstream.requests) == request_count == 5
    entry = world.entries()[-1]
    assert (entry.state, entry.attempts, entry.problem) == ("refused", 0, "overloaded")
    assert entry.cost == 0


@pytest.mark.parametrize("status", [401, 402])
def test_the_gateway_stops_using_a_refused_credential(
    make: Make, upstream: Upstream, status: int
) -> None:
    world = make(accounts)
    clock = HealthClock(world)
    upstream.on("/acme", failing(status), whole())
    for _ in range(3):
        assert world.ask(chat()).status_code == 200
    used = [request.header("authorization") for request in upstream.requests]
    assert used == [f"Bearer {SECRET}", *["Bearer sk-second"] * 3]
    (account,) = health(world)["accounts"]
    assert (account["account"], account["state"], account["cause"]) == (
        "main",
        "open",
        "credential",
    )
    assert events(world) == [("acme", None, "credential")]
    clock.now += 61
    world.ask(chat())
    assert upstream.requests[-1].header("authorization") == f"Bearer {SECRET}"
    (account,) = health(world)["accounts"]
    assert account["state"] == "closed"


def test_the_gateway_keeps_using_its_only_credential(world: World, upstream: Upstream) -> None:
    """A refusal costs nothing, and the credential may be good again."""
    HealthClock(world)
    upstream.on("/acme", failing(401), whole())
    assert world.ask(chat()).status_code == 502
    assert world.ask(chat()).status_code == 200


def test_streams_that_break_off_count_against_their_target(make: Make, upstream: Upstream) -> None:
    """Breaks count even after the first content, when no other target can take over."""
    world = make(spared)
    HealthClock(world)
    cut = stream(*stream().pieces[:2], end="cut")
    upstream.on("/acme", cut)
    upstream.on("/spare", stream())
    providers = [world.ask(chat(stream=True)).headers["x-tiergate-provider"] for _ in range(12)]
    assert providers[0] == "acme"
    assert providers[-1] == "spare"
    assert target(world)["cause"] == "shaky"


def test_a_client_retry_is_tried_once_at_each_target(make: Make, upstream: Upstream) -> None:
    world = make(spared)
    upstream.on("/acme", failing(500))
    upstream.on("/spare", failing(503))
    reply = world.ask(chat(), x_stainless_retry_count="1")
    assert (reply.status_code, reply.headers.get("x-should-retry")) == (503, None)
    assert upstream.called == ["acme", "spare"]
    assert world.waits == [0.0]


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("name", ["x_stainless_read_timeout", "x_stainless_timeout"])
def test_the_timeout_of_a_client_bounds_its_call(
    world: World, upstream: Upstream, name: str, streamed: bool
) -> None:
    """The gateway answers before the client leaves, and does not blame the provider."""
    upstream.on("/acme", Answer(status=0, end="stall"))
    for _ in range(6):
        reply = world.ask(chat(stream=streamed), **{name: "0.15"})
        assert (reply.status_code, reply.json()["error"]["code"]) == (504, "upstream_timeout")
        assert reply.headers["x-should-retry"] == "false"
    assert target(world)["state"] == "closed"


def test_admins_see_targets_limits_and_retries(make: Make, upstream: Upstream) -> None:
    """Admins see unused targets, limits that providers report, and the lab's retries."""

    def change(value: Config) -> None:
        value["labs"]["acme"]["smart"].append({"model": "able-2", "provider": "spare"})

    world = make(change)
    assert target(world)["state"] == target(world, "spare")["state"] == "closed"
    assert target(world)["limits"] is None
    upstream.on("/acme", failing(500), DROPPED)
    limits = (("x-ratelimit-remaining-requests", "7"), ("x-ratelimit-limit-requests", "9"))
    upstream.on("/spare", Answer(**{**vars(whole()), "headers": (*whole().headers, *limits)}))
    world.ask(chat())
    assert target(world, "spare")["limits"]["levels"] == [
        {"name": "requests", "left": 7, "limit": 9}
    ]
    retries = health(world)["retries"]
    assert retries == [{"lab": "acme", "calls": 1, "retries": 1, "denied": 0, "left": 9.0}]
