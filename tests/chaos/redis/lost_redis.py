"""R-01 to R-05, R-15: a Redis that is missing, dies, is slow, answers nonsense, or flaps."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from gateway.limits.redis import QUIET_SECONDS
from tests.chaos.all_clients import AllClients, Form, first_quartile, probe_cache, shared_row
from tests.chaos.environment import ChaosEnvironment
from tests.chaos.redis.commands import answering
from tests.chaos.redis.faults import FAULTS
from tests.chaos.redis.redis_environment import (
    BACK,
    WELL,
    lost,
    pair,
    program,
    proxied,
    traffic,
    waited,
)
from tests.chaos.row import Expected, FaultRow, Seen
from tests.e2e.redis_port import Place

_SLOW = 2.0
_MOST_DIALS = 20
"""Connections in total that a second of flapping may cost: a healthy pool is filled again."""


def _never(environment: ChaosEnvironment) -> Mapping[Form, Seen]:
    """Redis starts later than the gateway, which is not restarted."""
    made = pair(environment, started=False)
    clients = AllClients(made.gateway)
    first, later = clients.call(1), clients.call(8)
    ready = made.gateway.get("/ready").status
    made.place.start()
    cache = probe_cache(made.gateway, BACK)
    healthy = first_quartile(clients.call(4))
    wrong = [] if ready == 200 else [f"/ready {ready}"]
    return clients.seen(cache, waited(environment, healthy, first, later), wrong)


def _killed(environment: ChaosEnvironment) -> Mapping[Form, Seen]:
    """Redis dies and comes back several times, at any moment of a call."""
    made = pair(environment)
    clients = AllClients(made.gateway)
    healthy = first_quartile(clients.call(2))
    with traffic(made.gateway, clients):
        for _ in range(3):
            time.sleep(0.5)  # load before the fault
            made.place.kill()
            time.sleep(0.5)  # the fault lasts
            made.place.start()
    replies = [reply for form_replies in clients.replies.values() for reply in form_replies]
    cache = probe_cache(made.gateway, BACK)
    # A call waits until counters may begin, and once more if Redis forgets them again meanwhile.
    quiet = 2 * QUIET_SECONDS
    return clients.seen(cache, waited(environment, healthy, replies, replies, quiet=quiet))


def _slow(mode: str, delay: float) -> FaultRow:
    def go(environment: ChaosEnvironment) -> Mapping[Form, Seen]:
        made = pair(environment)
        clients = AllClients(made.gateway)
        healthy = first_quartile(clients.call(4))
        with proxied(environment, made.place) as line:
            probe_cache(made.gateway, BACK)
            line.delay, line.mode = delay, mode  # type: ignore[assignment]  # one of its modes
            first, later = clients.call(1), clients.call(8)
            line.mode = "through"
            cache = probe_cache(made.gateway, BACK)
        made.place.start_again()
        return clients.seen(cache, waited(environment, healthy, first, later))

    name = f"answers {delay:g} s late" if mode == "late" else f"drips a byte each {delay:g} s"
    return shared_row(
        "R-03" if mode == "late" else "R-05", name, "redis", go, WELL, needs=(program,)
    )


@contextmanager
def _paused(place: Place) -> Iterator[None]:
    """Make Redis accept commands and run them later."""
    with place.admin() as admin:
        admin.client_pause(60_000)
        yield
        admin.client_unpause()


def _flapping(environment: ChaosEnvironment) -> Mapping[Form, Seen]:
    """Redis flaps five times a second: no call fails or waits long, and Redis is not stormed."""
    made = pair(environment)
    clients = AllClients(made.gateway)
    healthy = first_quartile(clients.call(4))
    with proxied(environment, made.place) as line:
        probe_cache(made.gateway, BACK)
        dialled, began = line.dialled, time.monotonic()
        with traffic(made.gateway, clients, 0.01):
            for at in range(20):
                line.mode = "through" if at % 2 else "silent"
                time.sleep(0.2)  # a state of the line lasts
        line.mode = "through"
        dials = (line.dialled - dialled) / (time.monotonic() - began)
        cache = probe_cache(made.gateway, 40)  # after repeated failures it waits longer
    replies = [reply for form_replies in clients.replies.values() for reply in form_replies]
    wrong = [f"{dials:.1f} connections a second"] if dials > _MOST_DIALS else []
    more = waited(environment, healthy, replies, replies)
    made.place.start_again()
    return clients.seen(cache, f"{more}, {dials:.1f} connections a second", wrong)


ROWS: tuple[FaultRow, ...] = (
    shared_row("R-01", "not there at the start", "redis", _never, WELL, needs=(program,), ci=True),
    shared_row("R-02", "killed under load", "redis", _killed,
        Expected(200, "answer", None, ("settled", "cache_hit, settled"), "hit", "in time.*"), needs=(program,), ci=True),
    lost("R-02", "killed", FAULTS["killed"][0], ci=True),
    lost("R-03", "stopped", FAULTS["stopped"][0], ci=True),
    lost("R-03", "paused", _paused, restart=False),
    lost("R-03", "mute", FAULTS["mute"][0], ci=True),
    lost("R-03", "takes no connections", FAULTS["vanishing"][0]),
    lost("R-03", "answers pings alone", FAULTS["pings alone"][0]),
    _slow("late", _SLOW),
    lost("R-04", "random bytes", FAULTS["random"][0], ci=True),
    lost("R-04", "HTTP", FAULTS["HTTP"][0]),
    lost("R-04", "half an answer", FAULTS["half"][0]),
    lost("R-04", "an answer of 512 MB", answering(b"$536870912\r\n")),
    lost("R-04", "a number for all", answering(b":5\r\n")),
    lost("R-04", "a list for all", answering(b"*1\r\n:1\r\n"), ci=True),
    _slow("drip", 0.2),
    shared_row("R-15", "comes and goes", "redis", _flapping,
        Expected(200, "answer", None, ("settled", "cache_hit, settled"), "hit", "in time.*"), needs=(program,)),
)  # fmt: skip
