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
from gateway.ledger.redaction import Redactor
from gateway.ledger.store import FEED_WAIT_SECONDS, MAX_FEED_TRIES, Rebuild, open_store
from gateway.ledger.transcripts import TranscriptWriter
from gateway.ledger.writer import LedgerWriter, Sink
from gateway.pipeline.response import Response
from gateway.settings.schema.root import Config
from gateway.telemetry import log as log_module
from gateway.telemetry import tracing
from gateway.telemetry.log import Log
from gateway.telemetry.metrics import CounterMetric, GaugeMetric, Metrics
from gateway.telemetry.shared_metrics import SharedMemory
from gateway.telemetry.spans import ProviderAddress
from gateway.telemetry.tracing import Tracing

_FEED_SECONDS = 2.0
"""Seconds between feeds of the store from the journals."""
_REFRESH_SECONDS = 1.0
"""Seconds between looks at what changes by itself, for the workers that may be scraped."""
_SWEEP_SECONDS = 600.0
_MAX_TRANSCRIPT_BYTES = 1_000_000
"""Bytes of a streamed answer that are held to be kept; more than is kept of it."""


class LedgerRuntime:
    """The journal, the store that it feeds, kept text, metrics and traces of one process.

    `journal_folder` is the data folder, `info` what stands on the build's metric, `shared_memory`
    the memory in which workers count, `strikes` what is struck out of kept text beside secrets.
    Raises StoreError, TraceError, and OSError where the folder cannot be written.
    """

    def __init__(
        self,
        config: Config,
        data_folder: Path,
        log: Log,
        *,
        url: str,
        info: Mapping[str, str],
        providers: Mapping[str, Provider],
        strikes: tuple[Redactor, ...] = (),
        shared_memory: SharedMemory | None = None,
    ) -> None:
        ledger = config.ledger
        self._ledger = ledger
        self._log = log
        self.journal_folder = data_folder / ledger.journal
        self.content_folder = data_folder / "content"
        self.journal = Journal(self.journal_folder)
        self.recovered = recover(self.journal)
        self.damaged_files = 0
        """Files of the store that were found damaged or gone."""
        self.store = open_store(url, on_rebuild=self._log_rebuild)
        metrics_config = config.metrics
        self.metrics = Metrics(
            keys=metrics_config.keys,
            tenants=metrics_config.tenants,
            info=info,
            memory=shared_memory,
        )
        for row in self.recovered.entries:
            self.metrics.count_row(row)
        self.traces = _make_tracing(config, log, info, providers)
        self._transcript_writer: TranscriptWriter | None = None
        self._strikes = strikes
        self.keeps_content = ledger.content == "on"
        """Whether prompts and answers are kept."""
        self.writer = LedgerWriter(
            self.journal,
            ledger.on_disk_full,
            self._make_row_sinks(),
            log,
            outcome_sinks=self._make_outcome_sinks(config),
            count_rows=self.metrics.count_rows,
            on_failure=lambda: self.metrics.count_ledger_failure("write"),
        )
        self._register_metrics()
        self.is_ended = False
        """All rows are on the disk, and there will be no more."""
        self._tasks: list[asyncio.Task[None]] = []
        self._catch_up_calls = self._caught_up_calls = (
            0  # who caught up, and how many of these a feed came after
        )
        self._feed_task: asyncio.Task[None] | None = None  # the feed that all who catch up are in

    @property
    def sync_waiter(self) -> Callable[[], Awaitable[None]] | None:
        """What waits until rows are on the disk, where calls are to wait for it."""
        return self.writer.wait_until_synced if self._ledger.durability == "each" else None

    @property
    def trace_starter(self) -> Callable[[Call], None] | None:
        """What is to be told of calls before their rows."""
        traces = self.traces
        if traces is None:
            return None
        return lambda call: traces.begin(call.id, call.operation, call.trace)

    def adopt(self, config: Config, version: str, providers: Mapping[str, Provider]) -> None:
        """Follow another configuration; where rows and text are kept stays as it was begun."""
        self._ledger = config.ledger
        if self.traces is not None:
            self.traces.addresses = _list_addresses(providers)
        policy = config.ledger.on_disk_full
        self.writer.adopt(policy, self._make_row_sinks(), self._make_outcome_sinks(config))
        self.metrics.update_info(config=version)

    async def find_refusal_reason(self) -> str:
        """Say why no row can be written, where no call is served without; empty where it can."""
        return await self.writer.find_refusal_reason(needs_sync=self._ledger.durability == "each")

    def start(self) -> None:
        """Begin, in the process that serves."""
        self.store.keep_connection()
        if self.keeps_content:
            log_error = self._log_content_error
            self._transcript_writer = TranscriptWriter(
                self.content_folder, self._strikes, on_error=log_error
            )
        if self.traces is not None:
            self.traces.sender.start()
        self._tasks = [
            asyncio.create_task(
                self.journal.sync_periodically(asyncio.sleep, self._log_sync_error), name="sync"
            ),
            asyncio.create_task(self.writer.retry_late_rows(asyncio.sleep), name="late"),
            asyncio.create_task(self._run_every(_FEED_SECONDS, self.feed), name="feed"),
            asyncio.create_task(self._run_every(_SWEEP_SECONDS, self.sweep), name="sweep"),
            asyncio.create_task(
                self._run_every(_REFRESH_SECONDS, self.metrics.refresh), name="figures"
            ),
        ]

    async def stop(self) -> None:
        """Write, send and feed what waits, and end."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._feed_task is not None:
            await asyncio.wait([self._feed_task])
        await asyncio.to_thread(self._close_all)

    def keep_transcript(self, call: Call, reply: Response) -> Response:
        """A reply whose text is kept, where that is switched on."""
        transcript_writer = self._transcript_writer
        if transcript_writer is None:
            return reply
        if reply.stream is None:
            transcript_writer.keep(call.id, call.received_at, call.body, reply.body)
        else:
            reply.stream = _record_stream(call, reply.stream, transcript_writer)
            reply.direct_relay = None
        return reply

    def feed(self) -> None:
        """Bring what the journals have into the store."""
        self.store.feed(self.journal_folder)

    async def catch_up(self) -> bool:
        """Return True once the store has all that the journals have by now.

        Another that feeds, here or in another process, is waited for, a few seconds at most: where
        it takes longer this returns False. All who wait share one feed; those who came while it ran
        share the next one. Raises OSError and StoreError.
        """
        self._catch_up_calls += 1
        call_number = self._catch_up_calls
        for _ in range(MAX_FEED_TRIES):
            if self._feed_task is None:
                self._feed_task = asyncio.create_task(self._feed_once())
                self._feed_task.add_done_callback(self._clear_feed_task)
            await asyncio.shield(self._feed_task)
            if self._caught_up_calls >= call_number:
                return True
        return False

    async def _feed_once(self) -> None:
        call_count = self._catch_up_calls
        if await asyncio.to_thread(self.store.feed, self.journal_folder) is None:
            await asyncio.sleep(FEED_WAIT_SECONDS)
        else:
            self._caught_up_calls = call_count

    def _clear_feed_task(self, task: asyncio.Task[None]) -> None:
        self._feed_task = None
        if not task.cancelled():
            task.exception()  # nobody may wait for it any more

    def sweep(self) -> None:
        """Let go of what has been kept for as long as it is to be."""
        now, ledger = time.time(), self._ledger
        transcripts.sweep(self.content_folder, now - ledger.keep_content)
        if ledger.keep_journal:
            offsets = self.store.read_offsets(self.journal_folder)

            def is_fed(path: Path) -> bool:
                return offsets.get(path.name, 0) >= path.stat().st_size

            recovery.sweep(self.journal_folder, now - ledger.keep_journal, is_fed)
        if ledger.keep:
            self.store.prune(now - ledger.keep)

    def close(self) -> None:
        """End one that was not started."""
        self.writer.close()
        self.journal.close()

    def _close_all(self) -> None:
        if self.traces is not None:
            self.traces.sender.stop()
        if self._transcript_writer is not None:
            self._transcript_writer.close()
        self.close()
        self.is_ended = True
        try:
            self.feed()
        except Exception as error:  # noqa: BLE001 - the next start feeds it
            self._log_failure("feed", error)
        self.store.close()

    def _log_rebuild(self, rebuild: Rebuild) -> None:
        """Tell of a store whose file was damaged or gone, and once the new one has all rows."""
        self.damaged_files += not rebuild.done
        missing_until = rebuild.missing_until
        self._log(
            "store",
            text="made anew from the journals" if rebuild.done else "is made anew",
            error=rebuild.reason,
            file=rebuild.aside_name,
            missing_until=None
            if missing_until is None
            else datetime.fromtimestamp(missing_until, UTC).isoformat(),
        )

    def _log_content_error(self, text: str) -> None:
        self._log("content", error=text)

    def _log_sync_error(self, error: JournalError) -> None:
        self.metrics.count_ledger_failure("sync")
        self._log("ledger", error=error.strerror)

    def _log_failure(self, work_name: str, error: Exception) -> None:
        if work_name == "feed":
            self.metrics.count_ledger_failure("feed")
        self._log("ledger", error=type(error).__name__, work=work_name)

    async def _run_every(self, seconds: float, work: Callable[[], object]) -> None:
        """Do some work off the loop again and again; a failure is logged and tried again."""
        while True:
            await asyncio.sleep(seconds)
            try:
                await asyncio.to_thread(work)
            except Exception as error:  # noqa: BLE001 - work beside calls must not end
                self._log_failure(work.__name__, error)

    def _make_row_sinks(self) -> list[Sink]:
        """Who is told of each row beside the journal."""
        return [] if self.traces is None else [self.traces.note]

    def _make_outcome_sinks(self, config: Config) -> list[Sink]:
        """Who is told of what became of requests, beside the metrics."""
        sinks: list[Sink] = []
        if config.log.calls != "off":
            sinks.append(log_module.make_call_sink(self._log, config.log.calls))
        return sinks

    def _register_metrics(self) -> None:
        journal, writer = self.journal, self.writer

        def measure_lag() -> float | None:
            fed_at = self.store.state().fed_until
            return None if fed_at is None else max(0.0, time.time() - fed_at)

        self.metrics.watch(
            gauges=[
                GaugeMetric(
                    "ledger_unsynced_rows",
                    "Rows that may not be on the disk yet.",
                    lambda: journal.written_rows - journal.synced_rows,
                ),
                GaugeMetric(
                    "ledger_late_rows",
                    "Rows that wait in memory for a journal that takes none.",
                    lambda: writer.late_row_count,
                ),
                GaugeMetric(
                    "ledger_feed_lag_seconds",
                    "How far the store may be behind the journals.",
                    measure_lag,
                    "min",
                ),
                GaugeMetric(
                    "ledger_rebuilding",
                    "1 while the store is made anew from the journals, and cannot be asked.",
                    lambda: float(self.store.state().rebuilding),
                    "max",
                ),
            ],
            counters=[
                CounterMetric(
                    "ledger_damaged",
                    "Files of the store that were found damaged or gone.",
                    lambda: self.damaged_files,
                ),
                CounterMetric(
                    "ledger_rows", "Rows written to the journal.", lambda: journal.written_rows
                ),
                CounterMetric(
                    "ledger_lost_rows", "Rows that no journal took.", lambda: writer.lost_rows
                ),
            ],
        )
        traces = self.traces
        if traces is not None:
            dropped = CounterMetric(
                "traces_dropped", "Calls whose spans were not sent.", lambda: traces.sender.dropped
            )
            self.metrics.watch(counters=[dropped])


def _make_tracing(
    config: Config, log: Log, info: Mapping[str, str], providers: Mapping[str, Provider]
) -> Tracing | None:
    traces_config = config.traces
    if not traces_config.endpoint:
        return None
    sender = tracing.make_otlp_sender(
        traces_config.endpoint, traces_config.headers, info.get("version", ""), log
    )
    return Tracing(sender, sample=traces_config.sample, addresses=_list_addresses(providers))


def _list_addresses(providers: Mapping[str, Provider]) -> dict[str, ProviderAddress]:
    """Return the address of each provider's first endpoint, by the provider's name."""
    urls = {name: next(iter(provider.urls.values()), "") for name, provider in providers.items()}
    return {name: found for name, url in urls.items() if (found := tracing.parse_address(url))}


async def _record_stream(
    call: Call, stream: AsyncGenerator[bytes], transcript_writer: TranscriptWriter
) -> AsyncGenerator[bytes]:
    """A stream as it is; what went on to the client is kept at its end, however it ends."""
    parts: list[bytes] = []
    size = 0
    try:
        async with aclosing(stream):
            async for data in stream:
                if size < _MAX_TRANSCRIPT_BYTES:
                    parts.append(data)
                    size += len(data)
                yield data
    finally:
        transcript_writer.keep(call.id, call.received_at, call.body, b"".join(parts))
