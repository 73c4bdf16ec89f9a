"""Test load shedding: the calls and endpoints that each level refuses, and the ones that stay open."""

import pytest

from gateway.limits.load_shedding import SHED_ALL, SHED_REASONING, SHED_SHARES
from tests.e2e.upstream import SILENT, Upstream, whole
from tests.e2e.world import Make, World, chat
from tests.server.test_fair_concurrency import environment_keys


def set_pressure(world: World, level: int) -> None:
    """Fix the level: the gateway takes no more samples."""
    shedder = world.gateway.load_shedder
    shedder.take_sample = lambda now, lag: None  # type: ignore[method-assign]
    shedder.level = level


def is_retry_delay(reply_after: str) -> bool:
    return int(reply_after) in range(1, 6)


@pytest.mark.parametrize(
    ("level", "refused"), [(0, False), (SHED_SHARES, False), (SHED_REASONING, True)]
)
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
def test_under_load_the_gateway_refuses_reasoning_first(
    make: Make, upstream: Upstream, level: int, refused: bool, streamed: bool
) -> None:
    """The refused call has a row, and no provider was asked; the gateway serves other tiers."""
    world = make()
    upstream.on("/acme", whole())
    set_pressure(world, level)
    reply = world.ask(chat(model="reasoning", max_tokens=9))
    assert reply.status_code == (503 if refused else 200)
    if refused:
        assert reply.json()["error"]["code"] == "overloaded"
        assert is_retry_delay(reply.headers["retry-after"])
        assert "x-should-retry" not in reply.headers
        assert not upstream.requests
    assert world.ask(chat()).status_code == 200
    first = world.entries()[0]
    assert (first.state, first.problem) == (
        ("refused", "overloaded") if refused else ("settled", None)
    )


def test_at_the_last_level_only_health_readiness_and_metrics_answer(
    make: Make, upstream: Upstream
) -> None:
    """The gateway refuses every request in its dialect, without a row; it checks keys first."""
    world = make(
        lambda value: value.update(metrics={"open": True}), TIERGATE_KEYS=environment_keys("ann")
    )
    set_pressure(world, SHED_ALL)
    key = {"authorization": "Bearer ann"}
    for path, status in (
        ("/v1/chat/completions", 503),
        ("/v1/messages", 529),
        ("/v1/responses", 503),
        ("/v1beta/models/auto:generateContent", 503),
        ("/v1/route", 503),
        ("/nowhere", 503),
    ):
        reply = world.client.post(path, content=b"{}", headers=key)
        assert (path, reply.status_code) == (path, status)
        assert is_retry_delay(reply.headers["retry-after"])
        assert "overloaded" in reply.text or "UNAVAILABLE" in reply.text
    assert world.client.post("/v1/messages", content=b"{}").status_code == 401
    assert world.client.get("/v1/models", headers=key).status_code == 503
    for path, status in (("/health", 200), ("/ready", 503), ("/metrics", 200)):
        assert world.client.get(path).status_code == status
    metrics = world.client.get("/metrics").text
    assert 'tiergate_refused_total{kind="overloaded"} 7' in metrics
    assert "tiergate_shed_total 7" in metrics
    assert "tiergate_pressure 3" in metrics
    assert world.entries() == []
    assert not upstream.requests


def test_under_load_a_key_above_its_share_is_refused_first(make: Make, upstream: Upstream) -> None:
    """Two of three calls are ann's: the gateway refuses her next one, though there is room for
    hundreds.
    """
    world = make(TIERGATE_KEYS=environment_keys("ann", "bob", "cat"))
    upstream.on("/acme", SILENT, SILENT, SILENT, whole())
    ann, bob = {"authorization": "Bearer ann"}, {"authorization": "Bearer bob"}
    with world.leaving(chat(), **ann), world.leaving(chat(), **ann), world.leaving(chat(), **bob):
        for _ in range(3):
            upstream.arrived()
        set_pressure(world, SHED_SHARES)
        reply = world.ask(chat(), **ann)
        assert (reply.status_code, reply.json()["error"]["code"]) == (429, "rate_limit_exceeded")
        assert is_retry_delay(reply.headers["retry-after"])
        assert world.ask(chat(), **bob).status_code == 200
        assert world.ask(chat(), authorization="Bearer cat").status_code == 200
