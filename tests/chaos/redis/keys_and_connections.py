"""R-10, R-11, R-13, R-14: too few connections, keys that vanish or belong to others."""

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from gateway.core.ledger_rows import FinalRow
from gateway.limits.redis import QUIET_SECONDS
from gateway.state.redis.scripts import make_keys
from tests.chaos.all_clients import (
    FORMS,
    AllClients,
    Form,
    ask,
    cache_status,
    first_quartile,
    judge_reply,
    new_prompt,
    probe_cache,
    shared_row,
)
from tests.chaos.client import Reply
from tests.chaos.environment import ChaosEnvironment, make_config
from tests.chaos.redis.redis_environment import BACK, WELL, pair, program, proxied, traffic, waited
from tests.chaos.row import Cell, Expected, FaultRow, Seen
from tests.e2e.four_labs import CHAT
from tests.e2e.world import Config

_MANY = 64
"""Concurrent calls, half of which get a connection to Redis."""
_USD = "0.004"
"""Cost of about 150 calls of 7 tokens in and 3 out, at 19 micro-USD; one reserves a thousand."""
_HITS = ("settled", "cache_hit, settled")


def _crowded(environment: ChaosEnvironment) -> Mapping[Form, Seen]:
    """Redis takes 30 ms for each answer, and calls outnumber connections two to one."""
    made = pair(environment)
    clients = AllClients(made.gateway)
    healthy = first_quartile(clients.call(4))
    with proxied(environment, made.place) as line:
        probe_cache(made.gateway, BACK)
        line.delay, line.mode = 0.03, "late"
        with ThreadPoolExecutor(_MANY) as pool:
            forms = [FORMS[at % len(FORMS)] for at in range(4 * _MANY)]
            for form, reply in zip(
                forms, pool.map(lambda it: ask(made.gateway, it), forms), strict=True
            ):
                clients.replies.setdefault(form, []).append(reply)
        line.mode = "through"
        cache = probe_cache(made.gateway, BACK)
    made.place.start_again()
    slowest = (
        max(it.seconds for form_replies in clients.replies.values() for it in form_replies)
        - healthy
    )
    return clients.seen(cache, f"in time: +{slowest * 1000:.0f} ms for {_MANY} at a time")


def _flushed(environment: ChaosEnvironment) -> Mapping[Form, Seen]:
    """FLUSHALL runs again and again while calls run."""
    made = pair(environment)
    clients = AllClients(made.gateway)
    healthy = first_quartile(clients.call(4))
    first: list[Reply] = []
    with made.place.admin() as admin, traffic(made.gateway, clients, 0.01):
        for _ in range(10):
            admin.flushall()
            first += clients.call(1)
    later = clients.call(4)
    cache = probe_cache(made.gateway, BACK)
    return clients.seen(cache, waited(environment, healthy, first, later, quiet=QUIET_SECONDS))


def _budget(environment: ChaosEnvironment, cell: Cell) -> Seen:
    """A spent budget stays spent when Redis forgets it: the ledger knows, and no call is sent."""
    made = pair(environment, change=_small, warm=False)
    form, sent, client_verdict = (cell.dialect, cell.mode), 0, ""

    def spend() -> int:
        """Call until no call passes, even after earlier calls have settled."""
        nonlocal client_verdict
        passed = refused = 0
        while refused < 5:
            assert passed < 1000, "the budget has no end"
            reply = ask(made.gateway, form, max_tokens=3)
            if reply.status == 200:
                passed, refused = passed + 1, 0
            else:
                client_verdict, refused = judge_reply(form, reply), refused + 1
                time.sleep(0.05)  # the gateway tries Redis again after a pause
        return passed

    with made.place.admin() as admin:
        sent = spend()
        admin.flushall()
        more = spend()
    spent = sum(
        round(row.cost * 1_000_000) for rows in made.gateway.all().values()
        for row in rows if isinstance(row, FinalRow) and row.cost is not None
    )  # fmt: skip
    wrong = [] if spent <= float(_USD) * 1_000_000 else [f"{spent} micro-USD spent"]
    wrong += [] if sent > 50 else [f"refused after {sent} calls"]
    return Seen(client=client_verdict, more=f"{more} more after FLUSHALL", wrong=tuple(wrong))


def _small(value: Config) -> None:
    value["budgets"] = [{"name": "all", "usd": _USD, "every": "total"}]


def _strangers(environment: ChaosEnvironment) -> Mapping[Form, Seen]:
    """The gateway's keys hold counters of another type or version, and another gateway runs too."""
    made = pair(environment)
    other = environment.start(
        make_config(environment), spare=40, REDIS_URL=f"redis://127.0.0.1:{made.place.port}/0"
    )
    clients, beside = AllClients(made.gateway), AllClients(other)
    healthy = first_quartile(clients.call(4))
    beside.call(1)
    with made.place.admin() as admin:
        admin.flushall()
        for name in make_keys("default"):
            admin.lpush(name, "not what is looked for")
            admin.set(name.replace(b":1:", b":0:"), b"of an older version")
        admin.script_flush()
        first, later = clients.call(1), clients.call(6)
        beside.call(2)
        for name in make_keys("default"):
            admin.delete(name)
    cache = probe_cache(made.gateway, BACK)
    # After FLUSHALL calls wait until counters may begin.
    seen = clients.seen(cache, waited(environment, healthy, first, later, quiet=QUIET_SECONDS))
    wrong = [f"beside: {it}" for it in beside.seen().values() if it.client != "answer"]
    assert not wrong, wrong
    return seen


def _wrong_type(environment: ChaosEnvironment) -> Mapping[Form, Seen]:
    """Every key of the cache holds a list."""
    made = pair(environment)
    clients = AllClients(made.gateway)
    healthy = first_quartile(clients.call(4))
    texts = {form: new_prompt() for form in FORMS}
    for form, text in texts.items():
        ask(made.gateway, form, text)
    probe_cache(made.gateway, BACK)
    with made.place.admin() as admin:
        for name in admin.keys("tiergate:cache:*"):
            admin.delete(name)
            admin.lpush(name, "a list")
    again = [ask(made.gateway, form, text) for form, text in texts.items()]
    wrong = [f"{cache_status(it)} of a list" for it in again if cache_status(it) != "miss"]
    for form, reply in zip(texts, again, strict=True):
        clients.replies[form].append(reply)
    return clients.seen(
        probe_cache(made.gateway, BACK), waited(environment, healthy, again, again), wrong
    )


ROWS: tuple[FaultRow, ...] = (
    shared_row("R-10", "more calls than connections", "redis", _crowded, WELL, needs=(program,)),
    shared_row("R-11", "flushed under load", "redis", _flushed,
        Expected(200, "answer", None, _HITS, "hit", "in time.*"), needs=(program,)),
    FaultRow("R-11", "a spent budget is forgotten", "redis", _budget,
        Expected(client="error insufficient_quota", more="0 more after FLUSHALL"),
        own=True, dialects=(CHAT,), modes=("whole",), needs=(program,)),
    shared_row("R-13", "other types and versions under our keys", "redis", _strangers, WELL, needs=(program,)),
    shared_row("R-14", "a list under every key", "redis", _wrong_type, WELL, needs=(program,)),
)  # fmt: skip
