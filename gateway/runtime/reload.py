"""A running gateway goes by another configuration: as its files change, and as it is told to."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from gateway.core.jsonio import Json
from gateway.runtime.build import BuiltConfig
from gateway.runtime.reloader import EVERY, ConfigWatcher, ReloadResult
from gateway.settings.errors import ConfigError, Mistake
from gateway.telemetry.log import Log, where
from gateway.telemetry.metrics import CounterMetric, GaugeMetric

_TOLD = 20
"""Changes and mistakes that the log has of one reload."""


class Reloader:
    """Puts in force what a renewal finds: read beside the loop, swapped between two calls."""

    def __init__(
        self, renewal: ConfigWatcher, swap: Callable[[BuiltConfig], None], log: Log
    ) -> None:
        """`swap` lets calls that begin from now on go by a configuration, or raises ConfigError."""
        self.renewal = renewal
        self._swap = swap
        self._log = log
        self._turn = asyncio.Lock()
        self._tasks: set[asyncio.Task[ReloadResult]] = set()
        self.done = 0
        """Times that another configuration was put in force."""
        self.failed = 0
        """Times that one was not, as it had a mistake."""
        self.slowest = 0.0
        """Seconds that the loop was held at most to put one in force."""

    async def watch(self, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        """Look at the files once a second, until cancelled."""
        while True:
            await sleep(EVERY)
            if not self.renewal.due():
                continue
            async with self._turn:
                found = await asyncio.to_thread(self.renewal.look)
                if found is not None:
                    self._take(found)

    async def read(self, *, dry: bool = False) -> ReloadResult:
        """Read the files now; `dry`: only to say what would become of it."""
        async with self._turn:
            found = await asyncio.to_thread(self.renewal.read, dry=dry)
            if dry:
                return found
            found = self._take(found)
            if found.kind in ("taken", "same"):
                self.renewal.tell()
            return found

    async def back(self, *, dry: bool = False) -> ReloadResult:
        """Go back to what was in force before, until the files change again."""
        async with self._turn:
            found = self.renewal.back()
            if dry or found.kind == "refused":
                return found
            self.renewal.tell(back=True)
            return self._take(found)

    def soon(self) -> None:
        """Read the files now, where nobody waits for what becomes of it."""
        task = asyncio.create_task(self.read())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def settle(self) -> None:
        """Wait for what is being read."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def state(self) -> dict[str, Json]:
        """What is in force and why, as plain values."""
        renewal = self.renewal
        before = renewal.before
        return {
            "version": renewal.text.version,
            "since": round(renewal.since, 3),
            "file": str(renewal.text.written.file),
            "files": [*renewal.files()],
            "changes": [str(one) for one in renewal.last],
            "previous": None if before is None else before.version,
            "rolled_back": renewal.is_back,
            "waiting": [*renewal.waits()],
            "last_error": _wrong(renewal),
            "reloads": self.done,
            "failures": self.failed,
            "slowest_swap": round(self.slowest, 6),
        }

    def measures(self) -> tuple[tuple[GaugeMetric, ...], tuple[CounterMetric, ...]]:
        """The same in a few numbers for Prometheus."""
        stale = GaugeMetric(
            "config_refused",
            "1 where the configuration as it is written has a mistake, and an earlier one holds.",
            lambda: float(bool(self.renewal.mistakes)),
            "max",
        )
        return (stale,), (
            CounterMetric(
                "config_reloads", "Times that another was put in force.", lambda: self.done
            ),
            CounterMetric(
                "config_reload_failures", "Times that one had a mistake.", lambda: self.failed
            ),
        )

    def _take(self, found: ReloadResult) -> ReloadResult:
        """Put it in force where it may be."""
        if found.kind == "taken":
            began = time.perf_counter()
            try:
                self._swap(found.text.site)
            except ConfigError as error:
                found = ReloadResult("refused", self.renewal.text, mistakes=tuple(error.mistakes))
            except Exception as error:  # noqa: BLE001 - whatever it is, what is in force stays so
                self._log("bug", error=where(error))
                text = "it cannot be put together; the log has the reason."
                found = ReloadResult(
                    "refused", self.renewal.text, mistakes=(Mistake(message=text),)
                )
            self.slowest = max(self.slowest, time.perf_counter() - began)
        self.renewal.take(found)
        self._tell(found)
        return found

    def _tell(self, found: ReloadResult) -> None:
        version = self.renewal.text.version
        self.failed += bool(found.mistakes)
        for one in found.mistakes[:_TOLD]:
            text = f"{one.path}: {one.message}" if one.path else one.message
            text += f" {one.hint}" if one.hint else ""
            text += f" Version {version} stays in force."
            self._log("config", file=one.file or None, line=one.line, error=text)
        if found.kind == "taken":
            self.done += 1
            told = [str(one) for one in found.changes[:_TOLD]]
            left = len(found.changes) - len(told)
            told += [f"and {left} more"] if left else []
            text = "went back" if found.back else "in force"
            self._log("config", version=version, text=text, changes=told)
            if waits := self.renewal.waits():
                self._log("config", waits=waits, text="these wait until it is started anew")


def _wrong(renewal: ConfigWatcher) -> Json:
    if not renewal.mistakes:
        return None
    return {"at": round(renewal.wrong_since, 3), "mistakes": [str(one) for one in renewal.mistakes]}
