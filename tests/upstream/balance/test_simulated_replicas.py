"""Four equal replicas, hundreds of conversations and a virtual clock: load, caches, failures."""

import asyncio
import gc
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.core.call import RequestOptions
from gateway.evaluation.replay.replay import LedgerReplay
from tests.evaluation.replay.traffic import logged
from tests.upstream.balance.simulated_replicas import (
    NAMES,
    Config,
    ReplicaWorld,
    group_config,
    replicas_config,
)

HASHED = pytest.mark.parametrize(
    "config", [replicas_config(), group_config()], ids=["replicas", "group"]
)


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    """Search no cycles among the many objects of a world until the test has ended."""
    gc.disable()
    yield
    gc.enable()


@HASHED
def test_load_is_even_and_prompt_caches_are_hit(tmp_path: Path, config: Config) -> None:
    """No replica gets more than 1.25 times the mean; nearly all later turns hit the cache."""
    world = ReplicaWorld(tmp_path, config)
    statuses = world.loop.run(world.converse_all(400, 4))
    assert statuses == [200] * 1_600
    assert world.imbalance <= 1.25
    assert world.hit_rate >= 0.95
    assert world.replicas["spare"].calls == 0
    assert world.loop.errors == []


def test_p2c_keeps_conversations_too_and_order_uses_the_first_alone(tmp_path: Path) -> None:
    drawn = ReplicaWorld(tmp_path, replicas_config("p2c"))
    drawn.loop.run(drawn.converse_all(200, 4))
    assert drawn.imbalance <= 1.25
    assert drawn.hit_rate >= 0.95
    ordered = ReplicaWorld(tmp_path, replicas_config("order"))
    ordered.loop.run(ordered.converse_all(20, 4))
    assert [item.calls for item in ordered.equals] == [80, 0, 0, 0]


@HASHED
@pytest.mark.parametrize("stream", [False, True])
def test_a_killed_replica_fails_no_call_and_moves_no_other_conversation(
    tmp_path: Path, config: Config, stream: bool
) -> None:
    """While it is out it gets a probe now and then; its conversations return with it.

    The load is light, so that no call moves because its home is busy.
    """
    world, victim = ReplicaWorld(tmp_path, config), "b"

    async def kill_and_restart() -> None:
        await asyncio.sleep(100)
        world.replicas[victim].kill()
        await asyncio.sleep(100)
        world.replicas[victim].restart()

    statuses = world.loop.run(
        world.converse_all(80, 16, pause=16, stream=stream, between=kill_and_restart)
    )
    before = world.list_servers(0, 98)
    outage = world.list_servers(100, 200)
    after = world.list_servers(230, 1_000)
    own = {name for name, servers in before.items() if servers == {victim}}
    assert set(statuses) == {200}
    assert len(own) > 10
    for name, servers in before.items():
        if name in own:
            assert victim not in outage[name]
            assert after[name] <= {victim}
        else:
            assert outage[name] | after[name] == servers
    assert len({min(outage[name]) for name in own if outage[name]}) > 1  # all others share them
    assert world.replicas[victim].refused < 30
    assert world.replicas["spare"].calls == 0


def test_a_slow_replica_gets_less_by_p2c(tmp_path: Path) -> None:
    """Calls without an earlier one go where the answers are fast."""
    world = ReplicaWorld(tmp_path, replicas_config("p2c"))
    world.replicas["a"].seconds = 3.0  # not slow enough for its breaker
    world.loop.run(world.converse_all(600, 1))
    assert world.replicas["a"].calls < 60
    assert min(world.replicas[name].calls for name in NAMES[1:]) > 120


def test_one_conversation_with_very_many_calls_does_not_drown_its_home(tmp_path: Path) -> None:
    """A client may name all its calls alike, or a conversation have many agents."""
    world = ReplicaWorld(tmp_path, replicas_config())
    options = RequestOptions(conversation="always the same")
    world.loop.run(world.converse_all(400, 1, spread=4.0, options=options))
    most = max(item.most_in_flight for item in world.equals)
    mean = sum(item.most_in_flight for item in world.equals) / len(NAMES)
    assert 40 < most <= 2.1 * mean


def test_weights_share_a_group(tmp_path: Path) -> None:
    world = ReplicaWorld(tmp_path, group_config(a=3, b=2))
    world.loop.run(world.converse_all(350, 1))
    calls = Counter({item.name: item.calls for item in world.equals})
    for name, share in (("a", 150), ("b", 100), ("c", 50), ("d", 50)):
        assert abs(calls[name] - share) <= 0.25 * share + 1


def test_other_processes_choose_the_same_homes(tmp_path: Path) -> None:
    """They share nothing; only who is over its bound may differ, by what each has seen."""
    worlds = [ReplicaWorld(tmp_path, replicas_config(), seed=seed) for seed in "12"]
    servers = []
    for world in worlds:
        world.loop.run(world.converse_all(200, 1))
        servers.append({name: names for name, ((_, names),) in world.served.items()})
    same = sum(servers[1][name] == server for name, server in servers[0].items())
    assert same >= 180


def test_a_replay_of_what_replicas_served_changes_nothing(tmp_path: Path) -> None:
    """Who of the equals served is no part of a decision: load and health chose it."""
    world = ReplicaWorld(tmp_path, group_config())

    async def kill() -> None:
        await asyncio.sleep(60)
        world.replicas["c"].kill()

    world.loop.run(world.converse_all(40, 6, model="auto", between=kill))
    replay = LedgerReplay(world.built.router)
    for row in world.rows.values():
        replay.replay_row(logged(row))
    assert replay.totals.total.calls == 240
    assert (replay.totals.total.changed, replay.totals.total.undecided) == (0, 0)
    assert len({row.provider for row in world.rows.values()}) == 4
