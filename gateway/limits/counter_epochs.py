"""The epochs of counters in Redis: spans in which the server has forgotten no reservation.

A restart, FLUSHALL or a failover to a replica may lose reservations, so each ends the epoch of
every owner. A request for money names the epoch that its gateway knows. In another epoch Redis
grants nothing: the gateway first opens the owner, and restores the reservations of its calls.
docs/design/leases.md has the reasons.
"""

import asyncio
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from gateway.limits.counters import CounterDemand, FindRunning, Owner, RunningCall
from gateway.state.errors import StoreUnavailable
from gateway.state.redis.scripts import Script, ScriptRunner, make_keys
from gateway.state.redis.server_connection import ServerConnection

_MICROS_PER_SECOND = 1_000_000
_OPEN_SCRIPT, _RESTORE_SCRIPT = Script("open"), Script("restore")
_KINDS = {"concurrency": 3, "usd": 4}
"""The kinds of reservations that are restored, as scripts number them. Rates begin anew."""
_MAX_TRIES = 3
"""Times that the gateway opens an owner whose connection breaks meanwhile."""
_RESTORE_BATCH = 256
_encode = msgspec.msgpack.Encoder().encode
_TOLD = 5
"""The place of the key with the epoch among the keys of an owner."""
_LOOK = -1
"""Microseconds with which the script only looks for an epoch."""


def claim_first_epoch(folder: Path) -> bool:
    """Return True once for a folder: if no process has claimed it before."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(folder / "first-epoch", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except OSError:
        return False
    return True


def _sum_reservations(demands: Iterable[CounterDemand]) -> list[tuple[int, str, int]]:
    """Return the kind, the counter and the amount of reservations, each counter once."""
    sums: dict[tuple[int, str], int] = {}
    for demand in demands:
        kind = _KINDS.get(demand.kind)
        if kind is not None:
            sums[kind, demand.field] = sums.get((kind, demand.field), 0) + demand.amount
    return [(kind, field, amount) for (kind, field), amount in sums.items()]


class _OpenedOwner(msgspec.Struct, frozen=True):
    epoch: str
    connection: ServerConnection


class CounterEpochs:
    """The epoch of each owner that this gateway has opened, and the connection it was opened on.

    The server at the other end of a connection does not change, so an epoch is known to hold, or
    to be refused, as long as its connection is the one in use.
    """

    def __init__(
        self,
        scripts: ScriptRunner,
        script_time: Callable[[float], int],
        quiet_seconds: float,
        claim_first: Callable[[], bool] = bool,
    ) -> None:
        """Take `script_time`, which converts a time for scripts.

        For `quiet_seconds` after the beginning of an epoch no counter begins. `claim_first` returns
        True if no gateway has opened any owner before, in any Redis; then for this process alone.
        """
        self._scripts = scripts
        self._script_time = script_time
        self._quiet_micros = round(quiet_seconds * _MICROS_PER_SECOND)
        self._opened: dict[Owner, _OpenedOwner] = {}
        self._tasks: dict[Owner, asyncio.Task[str]] = {}
        self._claim_first = claim_first
        self._first_epoch: str | None = None
        """The epoch before which no gateway had opened an owner; empty if there may be one."""
        self._begun_first: set[Owner] = set()
        """The owners that this gateway has tried to open for the first time."""
        self.find_running: FindRunning = lambda _: ()

    def find(self, owner: Owner) -> str | None:
        """Return the epoch of an owner; None if the gateway must open it first."""
        opened = self._opened.get(owner)
        if opened is None or self._scripts.find_connection(owner) is not opened.connection:
            return None
        return opened.epoch

    async def open(self, owner: Owner, now: float) -> str:
        """Open an owner, restore what is forgotten, and return the epoch. Raises StoreUnavailable.

        Callers at the same time share the work.
        """
        task = self._tasks.get(owner)
        if task is None:
            task = self._tasks[owner] = asyncio.create_task(self._open(owner, now))
            task.add_done_callback(lambda finished_task: self._finish(owner, finished_task))
        return await asyncio.shield(task)

    def _finish(self, owner: Owner, task: asyncio.Task[str]) -> None:
        del self._tasks[owner]
        if not task.cancelled():
            task.exception()  # fetch it, since all callers may have left

    async def _open(self, owner: Owner, now: float) -> str:
        keys = make_keys(owner)
        if owner is None and self._first_epoch is None:
            self._first_epoch = await self._look(now)
        elif owner is not None and not self._scripts.is_cluster:
            if owner not in self._opened:
                await self.open(None, now)
            keys = *keys, make_keys(None)[_TOLD]
        for _ in range(_MAX_TRIES):
            connection = self._scripts.find_connection(owner)
            # Only once: an answer may be lost, and with it what others have reserved since.
            first_epoch = "" if owner in self._begun_first else self._first_epoch or ""
            self._begun_first.add(owner)
            argument = _encode((self._script_time(now), self._quiet_micros, first_epoch))
            reply = await self._scripts.run_on_keys(_OPEN_SCRIPT, keys, argument)
            if not isinstance(reply, bytes):
                raise StoreUnavailable
            if connection is None or connection is not self._scripts.find_connection(owner):
                continue  # perhaps another server has answered
            epoch, earlier = reply.decode(), self._opened.get(owner)
            if earlier is not None and earlier.epoch != epoch:
                await self.restore(owner, self.find_running(owner), now)
                if owner is not None:
                    await self.open(None, now)  # so that new tenants have their witness
            self._opened[owner] = _OpenedOwner(epoch, connection)
            return epoch
        raise StoreUnavailable

    async def _look(self, now: float) -> str:
        """Return the present as an epoch, if no gateway has opened an owner before; or nothing."""
        argument = _encode((self._script_time(now), _LOOK, ""))
        reply = await self._scripts.run(_OPEN_SCRIPT, None, argument)
        # The look comes first: what others open after the claim may begin only after a wait.
        return reply.decode() if self._claim_first() and isinstance(reply, bytes) else ""

    async def restore(self, owner: Owner, calls: Iterable[RunningCall], now: float) -> None:
        """Reserve what calls have reserved of an owner, where the server does not know it."""
        rows = [
            (
                call.id,
                max(0, round((call.expires_at - now) * _MICROS_PER_SECOND)),
                _sum_reservations(call.demands),
            )
            for call in calls
        ]
        for start in range(0, len(rows), _RESTORE_BATCH):
            batch = rows[start : start + _RESTORE_BATCH]
            argument = _encode((self._script_time(now), batch))
            await self._scripts.run(_RESTORE_SCRIPT, owner, argument)
