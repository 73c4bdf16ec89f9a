"""R-08, R-09: Sentinel and Cluster, whose primaries die, change and move slots under calls."""

import time
from collections.abc import Callable, Mapping

from gateway.state.redis.scripts import make_keys
from tests.chaos.all_clients import AllClients, Form, first_quartile, probe_cache, shared_row
from tests.chaos.environment import ChaosEnvironment, make_config
from tests.chaos.redis.redis_environment import program, traffic, waited
from tests.chaos.row import Expected, Row, Seen
from tests.conftest import redis_program
from tests.e2e.child import until
from tests.e2e.redis_port import Place
from tests.state.redis_groups import Nodes, Sentinels

_FAILOVER = 30.0
"""Seconds within which the gateway must find another primary."""
_UNNOTICED = Expected(
    200,
    "answer",
    None,
    ("settled", "cache_hit, settled"),
    "hit",
    "in time: .*, kept again after .*",
)
_TENANT = "default"
_COUNTERS = make_keys(_TENANT)[0].decode()


def _lost(
    environment: ChaosEnvironment, url: str, lose: Callable[[], object]
) -> Mapping[Form, Seen]:
    """Lose a part of the Redis at a URL while calls run."""
    gateway = environment.start(make_config(environment), spare=60, REDIS_URL=url)
    clients = AllClients(gateway)
    healthy = first_quartile(clients.call(2))
    with traffic(gateway, clients, 0.02):
        time.sleep(0.3)  # load before the fault
        began = time.monotonic()
        lose()
        cache = probe_cache(gateway, _FAILOVER)
    replies = [reply for form_replies in clients.replies.values() for reply in form_replies]
    summary = f"{waited(environment, healthy, replies, replies)}, kept again after {time.monotonic() - began:.1f} s"
    return clients.seen(cache, summary)


def _sentinel(environment: ChaosEnvironment) -> Mapping[Form, Seen]:
    """When the primary is killed, its replica takes over."""
    with Sentinels(_program(), environment.folder) as sentinels:
        return _lost(environment, sentinels.url, sentinels.primary.kill)


def _killed(environment: ChaosEnvironment) -> Mapping[Form, Seen]:
    """When the primary that counts calls is killed, its replica takes over."""
    with Nodes(_program(), environment.folder) as nodes:
        return _lost(environment, nodes.url, lambda: nodes.primary(_COUNTERS).kill())


def _moved(environment: ChaosEnvironment) -> Mapping[Form, Seen]:
    """The slot of all counters moves to another node and back, key by key: ASK, then MOVED."""
    with Nodes(_program(), environment.folder) as nodes:

        def there_and_back() -> None:
            source = nodes.primary(_COUNTERS)
            target = next(place for place in nodes.places[:3] if place is not source)
            _move(source, target)
            time.sleep(0.3)  # the slots stay there for a while
            _move(target, source)

        return _lost(environment, nodes.url, there_and_back)


def _move(source: Place, target: Place) -> None:
    names = make_keys(_TENANT)
    with source.admin() as old, target.admin() as new:
        slot = old.execute_command("CLUSTER", "KEYSLOT", names[0])
        ids = [place.execute_command("CLUSTER", "MYID") for place in (old, new)]
        new.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[0])
        old.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[1])
        time.sleep(0.1)  # TRYAGAIN and ASK

        def moved() -> bool:
            for name in names:
                old.execute_command(
                    "MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "REPLACE", "KEYS", name
                )
            return not old.execute_command("CLUSTER", "COUNTKEYSINSLOT", slot)

        until(moved, "all keys are there")
        for place in (new, old):
            place.execute_command("CLUSTER", "SETSLOT", slot, "NODE", ids[1])


def _down(environment: ChaosEnvironment) -> Mapping[Form, Seen]:
    """All nodes with the slot of the counters stop:

    CLUSTERDOWN for everything; then they come back.
    """
    with Nodes(_program(), environment.folder) as nodes:
        first, other = nodes.pair(_COUNTERS)

        def for_a_while() -> None:
            with first.stopped(), other.stopped():
                time.sleep(2.5)  # longer than the node timeout

        return _lost(environment, nodes.url, for_a_while)


def _program() -> str:
    server = redis_program()
    assert server is not None
    return server


ROWS: tuple[Row, ...] = (
    shared_row("R-08", "Sentinel: the primary is killed", "redis", _sentinel, _UNNOTICED, needs=(program,)),
    shared_row("R-09", "Cluster: a primary is killed", "redis", _killed, _UNNOTICED, needs=(program,)),
    shared_row("R-09", "Cluster: the slot of the counters moves", "redis", _moved, _UNNOTICED, needs=(program,)),
    shared_row("R-09", "Cluster: a slot that nobody serves", "redis", _down, _UNNOTICED, needs=(program,)),
)  # fmt: skip
