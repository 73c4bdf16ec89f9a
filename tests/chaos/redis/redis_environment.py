"""A gateway and its Redis, and what a loss of Redis may cost."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from tests.chaos.all_clients import (
    FORMS,
    AllClients,
    Form,
    ask,
    first_quartile,
    probe_cache,
    shared_row,
)
from tests.chaos.client import Reply
from tests.chaos.environment import ChaosEnvironment, make_config
from tests.chaos.gateway import ChaosGateway
from tests.chaos.redis.faults import Fault
from tests.chaos.row import Expected, FaultRow, Seen
from tests.conftest import redis_program
from tests.e2e.redis_port import Place
from tests.e2e.world import Change
from tests.state.line import RedisLine

BACK = 5.0
"""Seconds until the cache stores answers again."""
_ONCE = 0.3
"""Seconds that the first calls may wait: a deadline for each of the two clients, and slack."""
_STALL = 0.25
"""Seconds that a busy machine may add to any one call."""
_LATER = 0.03
"""Seconds that the loss may add to later calls: a useless wait for Redis costs 100 ms."""
_CONNECTIONS = 40
"""Connections to Redis: one pool for values, and one for counters."""
_NEVER = 2.0
"""Seconds that no call may wait, however busy the machine is."""
WELL = Expected(200, "answer", None, "settled", "hit", "in time.*")
"""Calls that do not notice the loss."""


@dataclass
class Pair:
    """A gateway and its Redis."""

    environment: ChaosEnvironment
    place: Place
    gateway: ChaosGateway


def program() -> str:
    """Return why there can be no Redis."""
    return "" if redis_program() else "no server of the Redis protocol: make dev"


def place(environment: ChaosEnvironment) -> Place:
    """Return a port where a Redis may run."""
    server = redis_program()
    assert server is not None
    made = Place(server, environment.folder)
    environment.at_close.append(made.kill)
    return made


def pair(
    environment: ChaosEnvironment,
    *options: str,
    change: Change | None = None,
    form: str = "redis://127.0.0.1:{port}/0",
    started: bool = True,
    warm: bool = True,
) -> Pair:
    """Start a gateway and, if `started`, its Redis; `options` are those of the Redis server."""
    there = place(environment)
    if started:
        there.start(*options)
    value = make_config(environment)
    if change is not None:
        change(value)
    url = form.format(port=there.port)
    gateway = environment.start(value, warm=warm, spare=_CONNECTIONS, REDIS_URL=url)
    return Pair(environment, there, gateway)


def waited(
    environment: ChaosEnvironment,
    healthy: float,
    first: Sequence[Reply],
    later: Sequence[Reply],
    *,
    quiet: float = 0.0,
) -> str:
    """Say if calls waited too long, and how long they and the longest of them waited.

    `quiet` is the seconds in which no counter of a budget may begin.
    """
    once = max(reply.seconds for reply in first) - healthy
    after = first_quartile(later) - healthy
    longest = max(reply.seconds for reply in (*first, *later))
    delay = (
        f"+{max(0.0, once) * 1000:.0f} ms once, {after * 1000:+.1f} ms after,"
        f" longest call {longest * 1000:.0f} ms"
    )
    late = longest > _NEVER + quiet
    if environment.strict:
        late = late or once > _ONCE + _STALL + quiet or after > _LATER
    return f"{'late' if late else 'in time'}: {delay}"


def losing(
    fault: Fault, *, restart: bool = True, times: int = 8
) -> Callable[[ChaosEnvironment], Mapping[Form, Seen]]:
    """Make calls of all forms before, during and after a fault of Redis."""

    def go(environment: ChaosEnvironment) -> Mapping[Form, Seen]:
        made = pair(environment)
        clients = AllClients(made.gateway)
        healthy = first_quartile(clients.call(4))
        with fault(made.place):
            first = clients.call(1)
            later = clients.call(times)
        if restart:
            made.place.start_again()
        cache = probe_cache(made.gateway, BACK)
        return clients.seen(cache, waited(environment, healthy, first, later))

    return go


def lost(id: str, name: str, fault: Fault, *, ci: bool = False, **more: bool) -> FaultRow:
    """Return a row in which no client notices a fault of Redis."""
    return shared_row(id, name, "redis", losing(fault, **more), WELL, needs=(program,), ci=ci)


@contextmanager
def traffic(gateway: ChaosGateway, clients: AllClients, pause: float = 0.0) -> Iterator[None]:
    """Call in all forms, each form one call at a time; half of the calls are new."""
    ended = threading.Event()
    form_replies: dict[Form, list[Reply]] = {form: [] for form in FORMS}

    def go(form: Form) -> None:
        at = 0
        while not ended.is_set():
            at += 1
            form_replies[form].append(
                ask(gateway, form, f"What of {at % 7}, {form}?" if at % 2 else "")
            )
            ended.wait(pause)

    with ThreadPoolExecutor(len(FORMS)) as pool:
        running = [pool.submit(go, form) for form in FORMS]
        try:
            yield
        finally:
            ended.set()
        for future in running:
            future.result()
    for form, replies in form_replies.items():
        clients.replies.setdefault(form, []).extend(replies)


@contextmanager
def proxied(environment: ChaosEnvironment, where: Place) -> Iterator[RedisLine]:
    """Put a proxy at the address of a Redis, which then runs elsewhere."""
    where.kill()
    behind = place(environment)
    behind.start()
    line = RedisLine(f"redis://127.0.0.1:{behind.port}/0", port=where.port)
    environment.loop.run(line.up())
    try:
        yield line
    finally:
        environment.loop.run(line.cut())
        behind.kill()
