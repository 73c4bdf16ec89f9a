"""All that keeps and counts the rows of calls, and what goes on beside calls for it."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path

from gateway.core.call import Call
from gateway.core.target import Provider
from gateway.ledger import recovery, transcripts
from gateway.ledger.errors import JournalError
from gateway.ledger.journal import Journal
from gateway.ledger.recovery import recover
from gateway.ledger.redaction import Strike
from gateway.ledger.store import TRIES, WAIT, Rebuild, open_store
from gateway.ledger.transcripts import TranscriptWriter
from gateway.ledger.writer import LedgerWriter, Sink
from gateway.pipeline.response import Response
from gateway.settings.schema.root import Config
from gateway.telemetry import log as lines
from gateway.telemetry import tracing
from gateway.telemetry.log import Log
from gateway.telemetry.metrics import CounterMetric, GaugeMetric, Metrics
from gateway.telemetry.shared_metrics import SharedMemory
from gateway.telemetry.spans import ProviderAddress
from gateway.telemetry.tracing import Tracing

_FEED_EVERY = 2.0
"""Seconds between feeds of the store from the journals."""
_TELL_EVERY = 1.0
"""Seconds between looks at what changes by itself, for the workers that may be scraped."""
_SWEEP_EVERY = 600.0
_MOST = 1_000_000
"""Bytes of a streamed answer that are held to be kept; more than is kept of it."""


class LedgerRuntime:
    """The journal, the store that it feeds, kept text, metrics and traces of one process.

    `folder` is the data folder, `info` what stands on the build's metric, `figures` the memory in
    which workers count, `strikes` what is struck out of kept text beside secrets. Raises
    StoreError, TraceError, and OSError where the folder cannot be written.
    """

    def __init__(
        self,
        config: Config,
        folder: Path,
        log: Log,
        *,
        url: str,
        info: Mapping[str, str],
        providers: Mapping[str, Provider],
        strikes: tuple[Strike, ...] = (),
        figures: SharedMemory | None = None,
    ) -> None:
        ledger = config.ledger
        self._ledger = ledger
        self._log = log
        self.folder = folder / ledger.journal
        self.content_folder = folder / "content"
        self.journal = Journal(self.folder)
        self.recovered = recover(self.journal)
        self.damaged = 0
        """Files of the store that were found damaged or gone."""
        self.store = open_store(url, self.journal.owns, mended=self._mended)
        told = config.metrics
        self.metrics = Metrics(keys=told.keys, tenants=told.tenants, info=info, memory=figures)
        for row in self.recovered.entries:
            self.metrics.note(row)
        self.traces = _traces(config, log, info, providers)
        self._texts: TranscriptWriter | None = None
        self._strikes = strikes
        self.keeps = ledger.content == "on"
        """Whether prompts and answers are kept."""
        self.record = LedgerWriter(
            self.journal,
            ledger.on_disk_full,
            self._sinks(),
            log,
            after=self._after(config),
            count=self.metrics.count,
            failed=lambda: self.metrics.failed("write"),
        )
        self._watch()
        self.ended = False
        """All rows are on the disk, and there will be no more."""
        self._tasks: list[asyncio.Task[None]] = []
        self._asked = self._met = 0  # who caught up, and how many of these a feed came after
        self._round: asyncio.Task[None] | None = None  # the feed that all who catch up are in

    @property
    def settled(self) -> Callable[[], Awaitable[None]] | None:
        """What waits until rows are on the disk, where calls are to wait for it."""
        return self.record.settled if self._ledger.durability == "each" else None

    @property
    def begin(self) -> Callable[[Call], None] | None:
        """What is to be told of calls before their rows."""
        traces = self.traces
        if traces is None:
            return None
        return lambda call: traces.begin(call.id, call.operation, call.trace)

    def adopt(self, config: Config, version: str, providers: Mapping[str, Provider]) -> None:
        """Follow another configuration; where rows and text are kept stays as it was begun."""
        self._ledger = config.ledger
        if self.traces is not None:
            self.traces.addresses = _addresses(providers)
        policy = config.ledger.on_disk_full
        self.record.adopt(policy, self._sinks(), self._after(config))
        self.metrics.tell(config=version)

    async def refuses(self) -> str:
        """Say why no row can be written, where no call is served without; empty where it can."""
        return await self.record.refuses(synced=self._ledger.durability == "each")

    def start(self) -> None:
        """Begin, in the process that serves."""
        self.store.keep()
        if self.keeps:
            note = self._unkept
            self._texts = TranscriptWriter(self.content_folder, self._strikes, note=note)
        if self.traces is not None:
            self.traces.sender.start()
        self._tasks = [
            asyncio.create_task(self.journal.keep(asyncio.sleep, self._unsynced), name="sync"),
            asyncio.create_task(self.record.keep(asyncio.sleep), name="late"),
            asyncio.create_task(self._every(_FEED_EVERY, self.feed), name="feed"),
            asyncio.create_task(self._every(_SWEEP_EVERY, self.sweep), name="sweep"),
            asyncio.create_task(self._every(_TELL_EVERY, self.metrics.refresh), name="figures"),
        ]

    async def stop(self) -> None:
        """Write, send and feed what waits, and end."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._round is not None:
            await asyncio.wait([self._round])
        await asyncio.to_thread(self._end)

    def kept(self, call: Call, reply: Response) -> Response:
        """A reply whose text is kept, where that is switched on."""
        texts = self._texts
        if texts is None:
            return reply
        if reply.stream is None:
            texts.keep(call.id, call.received_at, call.body, reply.body)
        else:
            reply.stream, reply.direct = _heard(call, reply.stream, texts), None
        return reply

    def feed(self) -> None:
        """Bring what the journals have into the store."""
        self.store.feed(self.folder)

    async def caught_up(self) -> bool:
        """Return True once the store has all that the journals have by now.

        Another that feeds, here or in another process, is waited for, a few seconds at most: where
        it takes longer this returns False. All who wait share one feed; those who came while it ran
        share the next one. Raises OSError and StoreError.
        """
        self._asked += 1
        mine = self._asked
        for _ in range(TRIES):
            if self._round is None:
                self._round = asyncio.create_task(self._meet())
                self._round.add_done_callback(self._rounded)
            await asyncio.shield(self._round)
            if self._met >= mine:
                return True
        return False

    async def _meet(self) -> None:
        asked = self._asked
        if await asyncio.to_thread(self.store.feed, self.folder) is None:
            await asyncio.sleep(WAIT)
        else:
            self._met = asked

    def _rounded(self, done: asyncio.Task[None]) -> None:
        self._round = None
        if not done.cancelled():
            done.exception()  # nobody may wait for it any more

    def sweep(self) -> None:
        """Let go of what has been kept for as long as it is to be."""
        now, ledger = time.time(), self._ledger
        transcripts.sweep(self.content_folder, now - ledger.keep_content)
        if ledger.keep_journal:
            offsets = self.store.offsets(self.folder)

            def fed(path: Path) -> bool:
                return offsets.get(path.name, 0) >= path.stat().st_size

            recovery.sweep(self.folder, now - ledger.keep_journal, fed)
        if ledger.keep:
            self.store.prune(now - ledger.keep)

    def close(self) -> None:
        """End one that was not started."""
        self.record.close()
        self.journal.close()

    def _end(self) -> None:
        if self.traces is not None:
            self.traces.sender.stop()
        if self._texts is not None:
            self._texts.close()
        self.close()
        self.ended = True
        try:
            self.feed()
        except Exception as error:  # noqa: BLE001 - the next start feeds it
            self._failed("feed", error)
        self.store.close()

    def _mended(self, rebuild: Rebuild) -> None:
        """Tell of a store whose file was damaged or gone, and once the new one has all rows."""
        self.damaged += not rebuild.done
        until = rebuild.missing_until
        self._log(
            "store",
            text="made anew from the journals" if rebuild.done else "is made anew",
            error=rebuild.reason,
            file=rebuild.aside,
            missing_until=None if until is None else datetime.fromtimestamp(until, UTC).isoformat(),
        )

    def _unkept(self, text: str) -> None:
        self._log("content", error=text)

    def _unsynced(self, error: JournalError) -> None:
        self.metrics.failed("sync")
        self._log("ledger", error=error.strerror)

    def _failed(self, what: str, error: Exception) -> None:
        if what == "feed":
            self.metrics.failed("feed")
        self._log("ledger", error=type(error).__name__, work=what)

    async def _every(self, seconds: float, work: Callable[[], object]) -> None:
        """Do some work off the loop again and again; a failure is logged and tried again."""
        while True:
            await asyncio.sleep(seconds)
            try:
                await asyncio.to_thread(work)
            except Exception as error:  # noqa: BLE001 - work beside calls must not end
                self._failed(work.__name__, error)

    def _sinks(self) -> list[Sink]:
        """Who is told of each row beside the journal."""
        return [] if self.traces is None else [self.traces.note]

    def _after(self, config: Config) -> list[Sink]:
        """Who is told of what became of requests, beside the metrics."""
        found: list[Sink] = []
        if config.log.calls != "off":
            found.append(lines.calls(self._log, config.log.calls))
        return found

    def _watch(self) -> None:
        journal, record = self.journal, self.record

        def lag() -> float | None:
            at = self.store.state().at
            return None if at is None else max(0.0, time.time() - at)

        self.metrics.watch(
            gauges=[
                GaugeMetric(
                    "ledger_unsynced_rows",
                    "Rows that may not be on the disk yet.",
                    lambda: journal.written - journal.synced,
                ),
                GaugeMetric(
                    "ledger_late_rows",
                    "Rows that wait in memory for a journal that takes none.",
                    lambda: record.late,
                ),
                GaugeMetric(
                    "ledger_feed_lag_seconds",
                    "How far the store may be behind the journals.",
                    lag,
                    "min",
                ),
                GaugeMetric(
                    "ledger_rebuilding",
                    "1 while the store is made anew from the journals, and cannot be asked.",
                    lambda: float(self.store.state().rebuilding),
                    "max",
                ),
            ],
            counts=[
                CounterMetric(
                    "ledger_damaged",
                    "Files of the store that were found damaged or gone.",
                    lambda: self.damaged,
                ),
                CounterMetric(
                    "ledger_rows", "Rows written to the journal.", lambda: journal.written
                ),
                CounterMetric(
                    "ledger_lost_rows", "Rows that no journal took.", lambda: record.lost
                ),
            ],
        )
        traces = self.traces
        if traces is not None:
            dropped = CounterMetric(
                "traces_dropped", "Calls whose spans were not sent.", lambda: traces.sender.dropped
            )
            self.metrics.watch(counts=[dropped])


def _traces(
    config: Config, log: Log, info: Mapping[str, str], providers: Mapping[str, Provider]
) -> Tracing | None:
    part = config.traces
    if not part.endpoint:
        return None
    sender = tracing.otlp(part.endpoint, part.headers, info.get("version", ""), log)
    return Tracing(sender, sample=part.sample, addresses=_addresses(providers))


def _addresses(providers: Mapping[str, Provider]) -> dict[str, ProviderAddress]:
    """Return the address of each provider's first endpoint, by the provider's name."""
    doors = {name: next(iter(one.doors.values()), "") for name, one in providers.items()}
    return {name: found for name, url in doors.items() if (found := tracing.address(url))}


async def _heard(
    call: Call, stream: AsyncGenerator[bytes], texts: TranscriptWriter
) -> AsyncGenerator[bytes]:
    """A stream as it is; what went on to the client is kept at its end, however it ends."""
    parts: list[bytes] = []
    size = 0
    try:
        async with aclosing(stream):
            async for data in stream:
                if size < _MOST:
                    parts.append(data)
                    size += len(data)
                yield data
    finally:
        texts.keep(call.id, call.received_at, call.body, b"".join(parts))
