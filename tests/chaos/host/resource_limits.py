"""P-10 to P-14: little memory, idle crowds, a busy loop, no CPU, all at once."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.chaos.all_clients import (
    FORMS,
    AllClients,
    Form,
    ask,
    first_quartile,
    judge_reply,
    new_prompt,
    shared_row,
)
from tests.chaos.caller.leaving_clients import dial
from tests.chaos.client import Reply
from tests.chaos.environment import ChaosEnvironment, make_config
from tests.chaos.gateway import ChaosGateway
from tests.chaos.host.disk import _limited
from tests.chaos.provider import FaultRequest, Wire
from tests.chaos.redis.redis_environment import pair
from tests.chaos.redis.redis_environment import program as redis
from tests.chaos.row import Expected, FaultRow, Seen, root
from tests.e2e.child import until
from tests.e2e.world import Config

_IDLE = 2_000
"""Connections that stay silent."""
_MEMORY = 512_000_000
_FLOOD = 12
"""Concurrent bodies, of `_BODY` bytes each."""
_BODY = 30_000_000
_SHED = (413, 429, 503, 529)
_PATIENCE = 30.0


def _forgotten(gateway: ChaosGateway) -> None:
    """Forget calls that the gateway refused at admission: they have no row."""
    rows = set(gateway.all())
    gateway.forget({reply.id for reply in gateway.replies if reply.status in _SHED} - rows)


@contextmanager
def _held(gateway: ChaosGateway, count: int) -> Iterator[list[socket.socket]]:
    """Hold `count` connections, or as many as the gateway accepts."""
    connections: list[socket.socket] = []
    try:
        for _ in range(count):
            with suppress(OSError):
                connections.append(dial(gateway))
        yield connections
    finally:
        for connection in connections:
            connection.close()


def _idle(environment: ChaosEnvironment) -> Mapping[Form, Seen]:
    """Thousands of silent connections need little memory, are closed soon, and disturb no call."""
    value = make_config(environment)
    value["server"] = {"connections": _IDLE + 100, "timeouts": {"head": "3s"}}
    gateway = environment.start(value, promised=1.0)
    clients = AllClients(gateway)
    before = gateway.child.resident
    with _held(gateway, _IDLE) as held:
        grown = (gateway.child.resident - before) / max(1, len(held))
        clients.call(2)
        until(lambda: gateway.child.open_files < 200, "they are let go", _PATIENCE)
    return clients.seen(
        more=f"{len(held)} idle", wrong=[f"{grown:.0f} bytes for each"] if grown > 30_000 else []
    )


@contextmanager
def _group(environment: ChaosEnvironment) -> Iterator[Path]:
    """Make a control group with little memory."""
    group = Path("/sys/fs/cgroup/memory") / f"tiergate-{os.getpid()}-{environment.folder.name}"[:60]
    group.mkdir()
    environment.at_close.insert(0, lambda: _empty(group))
    (group / "memory.limit_in_bytes").write_text(str(_MEMORY))
    yield group


def _empty(group: Path) -> None:
    with suppress(OSError):
        until(lambda: not (group / "cgroup.procs").read_text(), "it is empty", 10)
        group.rmdir()


def _groupable() -> str:
    """Return why no control group can be made here."""
    if why := root():
        return why
    try:
        made = Path("/sys/fs/cgroup/memory") / f"tiergate-try-{os.getpid()}"
        made.mkdir()
        made.rmdir()
    except OSError:
        return "no control group of memory may be made here"
    return ""


def _large(gateway: ChaosGateway, form: Form) -> Reply:
    return ask(gateway, form, new_prompt() + "x" * _BODY)


def _flooded(environment: ChaosEnvironment, value: Config, *before: str) -> Mapping[Form, Seen]:
    value["server"] = {"max_body": 32_000_000, **value.get("server", {})}
    for item in value["models"].values():
        item["context"] = 100_000_000
    gateway = environment.start(value, before=before, promised=3.0)
    clients = AllClients(gateway)
    with ThreadPoolExecutor(_FLOOD) as pool:
        replies = list(pool.map(lambda at: _large(gateway, FORMS[at % len(FORMS)]), range(_FLOOD)))
    statuses = sorted({item.status for item in replies})
    # A client that is refused while it still sends may see a reset in place of the error.
    wrong = [f"told {statuses}"] if set(statuses) - {200, 0, *_SHED} else []
    wrong += ["it was killed"] if gateway.gone() else []
    until(lambda: ask(gateway, FORMS[0]).status == 200, "it is well again", _PATIENCE)
    clients.call(2)
    _forgotten(gateway)
    served = sum(item.status == 200 for item in replies)
    return clients.seen(more=f"{served} of {_FLOOD} served", wrong=wrong)


def _caged(environment: ChaosEnvironment) -> Mapping[Form, Seen]:
    """Play the flood of bodies in a control group that kills a process that takes more memory."""
    with _group(environment) as group:
        enter = f'echo $$ > "{group}/cgroup.procs"; exec "$@"'
        return _flooded(environment, make_config(environment), "sh", "-c", enter, "sh")


def _long(environment: ChaosEnvironment) -> Mapping[Form, Seen]:
    """While the loop reads a body of a million turns, other clients wait for under two seconds."""
    gateway = environment.start(make_config(environment), promised=3.0)
    clients = AllClients(gateway)
    turns = [{"role": "user", "content": "x"}] * 500_000
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(gateway.ask, "openai-chat", "openai-chat/smart", messages=turns)
        seconds = []
        while not running.done():
            seconds.append(gateway.get("/health").seconds)
            time.sleep(0.01)  # a pause between two looks
    slow = max(seconds)
    late = slow > (2.0 if environment.strict else 20.0)
    clients.call(1)
    _forgotten(gateway)
    return clients.seen(more=f"{'late' if late else 'in time'}: {slow * 1000:.0f} ms at most")


def _starved(environment: ChaosEnvironment) -> Mapping[Form, Seen]:
    """While other processes take all of the CPU, the gateway is slower and survives."""
    gateway = environment.start(make_config(environment), promised=1.0)
    clients = AllClients(gateway)
    busy = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"])
        for _ in range(2 * (os.cpu_count() or 2))
    ]
    try:
        clients.call(3)
    finally:
        for item in busy:
            item.kill()
            item.wait()
    slow = max(item.seconds for replies in clients.replies.values() for item in replies)
    late = slow > (10.0 if environment.strict else _PATIENCE)
    return clients.seen(more=f"{'late' if late else 'in time'}: {slow:.1f} s at most")


async def _failing(wire: Wire, request: FaultRequest) -> None:
    await wire.whole(500, b'{"error":{"message":"No.","type":"server_error"}}' + b" " * 10_000)


def _together(environment: ChaosEnvironment) -> Mapping[Form, Seen]:
    """Providers fail, Redis hangs and the disk is full at once.

    The gateway's memory does not grow, later calls are not slower, and its log stays short.
    """

    def serving(value: Config) -> None:
        value["ledger"] = {"on_disk_full": "serve"}
        value["log"] = {"calls": "off"}

    made = pair(environment, change=serving)
    gateway = made.gateway
    clients = AllClients(gateway)
    clients.call(2)
    for name in ("openai-chat", "openai-responses", "anthropic-messages", "gemini"):
        environment.provider.play(name, _failing)
    failing = AllClients(gateway)
    with made.place.stopped(), _limited(environment, gateway):
        before = gateway.child.resident
        early = failing.call(2)
        for _ in range(3):
            failing.call(2)
        late = failing.call(2)
        grown = gateway.child.resident - before
    wrong = [f"{grown / 1e6:.0f} MB more"] if grown > 20_000_000 else []
    wrong += (
        [f"late calls take {first_quartile(late):.2f} s, early ones {first_quartile(early):.2f}"]
        if first_quartile(late) > 3 * first_quartile(early) + 0.5
        else []
    )
    wrong += (
        ["a call was answered"]
        if any(
            "error" not in judge_reply(form, reply)
            for form, replies in failing.replies.items()
            for reply in replies
        )
        else []
    )
    long_lines = [line for line in gateway.child.err.splitlines() if len(line) > 2_000]
    wrong += [f"{len(long_lines)} long lines of the log"] if long_lines else []
    until(lambda: not gateway.metric("tiergate_ledger_late_rows"), "rows are written", _PATIENCE)
    return {form: Seen(client="; ".join(sorted({judge_reply(form, reply).split()[0] for reply in replies})), more="flat", wrong=tuple(wrong))
            for form, replies in failing.replies.items()}  # fmt: skip


ROWS: tuple[FaultRow, ...] = (
    shared_row("P-10", "30 MB bodies in a group of 512 MB", "process", _caged, Expected(200, "answer", None, "settled", None, r"\d+ of 12 served"), needs=(_groupable,), growth=500_000_000),
    shared_row("P-11", f"{_IDLE} idle connections", "process", _idle, Expected(200, "answer", None, "settled", None, r"\d+ idle"), growth=60_000_000),
    shared_row("P-12", "a body of half a million turns", "process", _long, Expected(200, "answer", None, "settled", None, "in time.*"), growth=400_000_000),
    shared_row("P-13", "no CPU left", "process", _starved, Expected(200, "answer", None, "settled", None, "in time.*")),
    shared_row("P-14", "providers, Redis and disk fail together", "process", _together, Expected(client="error", more="flat"), needs=(redis,)),
)  # fmt: skip
