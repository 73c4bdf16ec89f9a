"""P-01, P-02: a disk that is full, fails or is slow, or whose files another program moves."""

import asyncio
import os
import resource
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from gateway.ledger import journal
from tests.chaos import provider
from tests.chaos.all_clients import (
    FORMS,
    AllClients,
    Form,
    ask,
    cache_status,
    judge_reply,
    new_prompt,
    shared_row,
)
from tests.chaos.environment import ChaosEnvironment, make_config
from tests.chaos.gateway import ChaosGateway
from tests.chaos.provider import FaultRequest, Wire, honest
from tests.chaos.row import Expected, FaultRow, Seen, program, root
from tests.e2e.child import until
from tests.e2e.four_labs import DIALECTS

_SOON = 1.0
"""Seconds within which the gateway refuses calls, and within which it recovers."""
_PATIENCE = 10.0

type Full = Callable[[ChaosEnvironment, ChaosGateway], Iterator[None]]


class Held:
    """Answers that stop in the middle until the test releases them."""

    def __init__(self, environment: ChaosEnvironment) -> None:
        self._stage = environment
        self._go = asyncio.Event()

    async def fault(self, wire: Wire, request: FaultRequest) -> None:
        """Answer one request."""
        if request.stream:
            first, *rest = provider.frames(request.dialect)
            await wire.sse()
            await wire.chunk(first)
            await self._go.wait()
            await wire.chunk(*rest)
            await wire.end()
            return
        await self._go.wait()
        await honest(wire, request)

    def let_go(self) -> None:
        """Release all answers."""

        async def go() -> None:
            self._go.set()

        self._stage.loop.run(go())


def _before(environment: ChaosEnvironment) -> list[str]:
    """Return words that give the gateway a data folder of 2 MB in its own mount namespace."""
    data = environment.folder / "gateway0" / "data"
    mount = 'mkdir -p -m 700 "$1"; mount -t tmpfs -o size=2m,mode=700 none "$1"; shift; exec "$@"'
    return ["unshare", "-m", "sh", "-c", mount, "sh", str(data)]


@contextmanager
def _filled(environment: ChaosEnvironment, gateway: ChaosGateway) -> Iterator[None]:
    """Fill the data folder."""
    del environment
    file = gateway.data / "somebody-elses"
    with file.open("wb", buffering=0) as taken:
        for size in (65536, 1):
            with suppress(OSError):
                while True:
                    taken.write(b"x" * size)
    yield
    file.unlink()


@contextmanager
def _limited(environment: ChaosEnvironment, gateway: ChaosGateway) -> Iterator[None]:
    """Forbid the process files larger than its journal is now: EFBIG, as on a full disk."""
    del environment
    size = max(path.stat().st_size for path in journal.list_segments(gateway.data / "ledger"))
    before = resource.prlimit(gateway.child.pid, resource.RLIMIT_FSIZE, (size, -1))
    yield
    resource.prlimit(gateway.child.pid, resource.RLIMIT_FSIZE, before)


@dataclass
class _DiskPlace:
    """A way to make a disk full."""

    before: Callable[[ChaosEnvironment], list[str]]
    full: Callable[[ChaosEnvironment, ChaosGateway], object]


_TMPFS, _LIMIT = _DiskPlace(_before, _filled), _DiskPlace(lambda _: [], _limited)


def _started(environment: ChaosEnvironment, place: _DiskPlace, policy: str) -> ChaosGateway:
    value = make_config(environment)
    value["ledger"] = {"on_disk_full": policy}
    gateway = environment.start(value, warm=False, before=place.before(environment))
    if place is _TMPFS:
        gateway.set_data_folder(Path(f"/proc/{gateway.child.pid}/root{gateway.data}"))
    environment.warm(gateway)
    return gateway


def full(place: _DiskPlace, policy: str) -> Callable[[ChaosEnvironment], Mapping[Form, Seen]]:
    """Play a disk that becomes full while calls run, and has room again later."""

    def go(environment: ChaosEnvironment) -> Mapping[Form, Seen]:
        gateway = _started(environment, place, policy)
        clients, held = AllClients(gateway), Held(environment)
        prompts = {form: new_prompt() for form in FORMS}
        for form, prompt in prompts.items():
            until(partial(_kept, gateway, form, prompt), "its answer is kept")
        with ThreadPoolExecutor(len(FORMS)) as pool:
            for dialect in DIALECTS:
                environment.provider.play(dialect, held.fault, held.fault, honest)
            hits_before = sum(environment.provider.hits[dialect] for dialect in DIALECTS)
            running = {form: pool.submit(ask, gateway, form) for form in FORMS}
            until(
                lambda: (
                    sum(map(environment.provider.hits.__getitem__, DIALECTS))
                    == hits_before + len(FORMS)
                ),
                "all run",
            )
            with place.full(environment, gateway):  # type: ignore[attr-defined]  # it is entered
                if policy == "refuse":  # the last page of the journal has room for a few rows
                    until(lambda: ask(gateway, FORMS[0]).status == 503, "it is refused", _SOON)
                clients.call(3)
                wrong = [f"{form} is not served from the cache" for form, prompt in prompts.items()
                         if cache_status(ask(gateway, form, prompt)) != "hit"]  # fmt: skip
                wrong += _late(gateway)
                held.let_go()
                ended = {
                    form: judge_reply(form, future.result()) for form, future in running.items()
                }
            wrong += [
                f"what ran was told {client_verdict}"
                for client_verdict in ended.values()
                if client_verdict != "answer"
            ]
            began = time.monotonic()
            until(lambda: ask(gateway, FORMS[0]).status == 200, "it serves again", _PATIENCE)
            until(
                lambda: not gateway.metric("tiergate_ledger_late_rows"),
                "rows are written",
                _PATIENCE,
            )
            back = time.monotonic() - began
        wrong += (
            [] if gateway.metric("tiergate_ledger_lost_rows_total") == 0 else ["rows were lost"]
        )
        wrong += _torn(gateway)
        lines = [line for line in gateway.log() if line["event"] == "ledger"]
        wrong += [] if len(lines) <= 8 else [f"{len(lines)} lines of the log"]
        return clients.seen("", f"well after {back:.1f} s, {len(lines)} lines of the log", wrong)

    return go


def _kept(gateway: ChaosGateway, form: Form, prompt: str) -> bool:
    return cache_status(ask(gateway, form, prompt)) == "hit"


def _late(gateway: ChaosGateway) -> list[str]:
    late = gateway.metric("tiergate_ledger_late_rows")
    return [] if late > 0 else ["no row waits in memory"]


def _torn(gateway: ChaosGateway) -> list[str]:
    """Report lines of the journal that are no row."""
    segments = journal.list_segments(gateway.data / "ledger")
    count = sum(row is None for path in segments for row, _ in journal.read_rows(path))
    return [f"{count} lines are torn"] if count else []


def _away(gateway: ChaosGateway) -> None:
    """Remove the ledger folder."""
    shutil.rmtree(gateway.data / "ledger")


def _renamed(gateway: ChaosGateway) -> None:
    """Rename the journal as a log rotation does, to a name that the gateway does not know."""
    for path in journal.list_segments(gateway.data / "ledger"):
        path.rename(path.with_suffix(".1"))


def _truncated(gateway: ChaosGateway) -> None:
    """Copy the journal and empty it, as a log rotation does."""
    for path in journal.list_segments(gateway.data / "ledger"):
        shutil.copy(path, path.with_suffix(".1"))
        os.truncate(path, 0)


def moved(
    how: Callable[[ChaosGateway], None], *, is_reported: bool
) -> Callable[[ChaosEnvironment], Mapping[Form, Seen]]:
    """A change to the journal by another program costs no call, and later rows are recorded.

    With `is_reported` the gateway notices the change and goes on in another file; rows that it wrote
    before it noticed are lost.
    """

    def go(environment: ChaosEnvironment) -> Mapping[Form, Seen]:
        gateway = environment.start(make_config(environment))
        clients, before = AllClients(gateway), AllClients(gateway)
        before.call(3)
        assert gateway.stored() >= {
            reply.id for replies in before.replies.values() for reply in replies
        }
        rows = set(gateway.all())
        how(gateway)
        before.call(1)
        if is_reported:
            until(
                lambda: gateway.metric("tiergate_ledger_failures_total") > 0,
                "it has noticed",
                _PATIENCE,
            )
        clients.call(2)
        seen, stored = clients.seen(), gateway.stored()
        rows |= set(gateway.all())
        gateway.forget(
            {reply.id for replies in before.replies.values() for reply in replies} - rows
        )
        lost = len({reply.id for replies in clients.replies.values() for reply in replies} - stored)
        wrong = (f"{lost} calls are not in the store",) if lost else ()
        return {form: replace(reply, wrong=wrong) for form, reply in seen.items()}

    return go


@contextmanager
def _injected(pid: int, what: str) -> Iterator[None]:
    """Make every fdatasync of a process fail, or take long."""
    command = ["strace", "-qq", "-f", "-p", str(pid), "-e", "trace=fdatasync", "-e", f"inject=fdatasync:{what}", "-o", "/dev/null"]  # fmt: skip
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as tracer:
        until(
            lambda: f"TracerPid:\t{tracer.pid}" in Path(f"/proc/{pid}/status").read_text(),
            "it is traced",
        )
        try:
            yield
        finally:
            tracer.terminate()


def _traceable() -> str:
    """Return why no process can be traced here."""
    if why := program("strace")():
        return why
    done = subprocess.run(
        ["strace", "-qq", "-o", "/dev/null", "-e", "inject=fdatasync:error=EIO", "true"],
        check=False,
        capture_output=True,
    )
    return "" if done.returncode == 0 else "strace may not trace here"


def _mountable() -> str:
    """Return why no file system can be mounted here."""
    if why := program("unshare")() or root():
        return why
    done = subprocess.run(["unshare", "-m", "true"], check=False, capture_output=True)
    return "" if done.returncode == 0 else "no mount namespace may be made here"


def synced(what: str) -> Callable[[ChaosEnvironment], Mapping[Form, Seen]]:
    """A sync that fails or is slow delays neither calls nor the event loop."""

    def go(environment: ChaosEnvironment) -> Mapping[Form, Seen]:
        gateway = environment.start(
            make_config(environment), promised=0.5
        )  # tracing makes the whole process slow
        clients = AllClients(gateway)
        ended, lags = threading.Event(), list[float]()

        def beat() -> None:
            while not ended.wait(0.02):
                began = time.perf_counter()
                gateway.get("/health")
                lags.append(time.perf_counter() - began)

        with _injected(gateway.child.pid, what):
            clients.call(1)
            thread = threading.Thread(target=beat)
            thread.start()
            for _ in range(5):
                clients.call(2)
                time.sleep(0.2)  # load under the fault
            ended.set()
            thread.join()
        usual = sorted(lags)[len(lags) * 95 // 100]
        slow = usual > 0.5 if environment.strict else usual > 2.0
        return clients.seen(
            "", f"the loop is {'late' if slow else 'in time'}: {usual * 1000:.0f} ms"
        )

    return go


_GOOD = Expected(200, "answer", None, "settled")
_REFUSED = Expected(
    503, ("error ledger_unavailable", "error api_error", "error UNAVAILABLE"), None, "refused", None,
    "well after [0-9.]+ s, .*",
)  # fmt: skip
_SERVED = Expected(200, "answer", None, "settled", None, "well after [0-9.]+ s, .*")

ROWS: tuple[FaultRow, ...] = (
    shared_row("P-01", "the journal may not grow: refuse", "process", full(_LIMIT, "refuse"), _REFUSED, ci=True),
    shared_row("P-01", "the journal may not grow: serve", "process", full(_LIMIT, "serve"), _SERVED, ci=True),
    shared_row("P-01", "the disk is full: refuse", "process", full(_TMPFS, "refuse"), _REFUSED, needs=(_mountable,)),
    shared_row("P-01", "the disk is full: serve", "process", full(_TMPFS, "serve"), _SERVED, needs=(_mountable,)),
    shared_row("P-02", "the folder is removed", "process", moved(_away, is_reported=True), _GOOD, ci=True),
    shared_row("P-02", "the journal is renamed", "process", moved(_renamed, is_reported=True), _GOOD),
    shared_row("P-02", "the journal is copied and emptied", "process", moved(_truncated, is_reported=False), _GOOD),
    shared_row("P-02", "EIO of each sync", "process", synced("error=EIO"),
        Expected(200, "answer", None, "settled", None, "the loop is in time.*"), needs=(_traceable,)),
    shared_row("P-02", "a sync takes 2 s", "process", synced("delay_enter=2000000"),
        Expected(200, "answer", None, "settled", None, "the loop is in time.*"), needs=(_traceable,)),
)  # fmt: skip
