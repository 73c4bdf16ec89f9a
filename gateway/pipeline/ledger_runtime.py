"""Keep and count the rows of calls, and run the work that this needs beside calls."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path

from gateway.core.call import Call
from gateway.core.clocks import SYSTEM_CLOCKS, Clocks
from gateway.core.target import Provider
from gateway.ledger import recovery, transcripts
from gateway.ledger.errors import JournalError, LedgerError, StoreError
from gateway.ledger.journal import Journal
from gateway.ledger.recovery import recover
from gateway.ledger.redaction import Redactor
from gateway.ledger.sinks.feeder import SinkFeeder
from gateway.ledger.sinks.open_sink import open_sink
from gateway.ledger.store import FEED_WAIT_SECONDS, MAX_FEED_TRIES, Rebuild, open_store
from gateway.ledger.transcripts import TranscriptWriter
from gateway.ledger.writer import LedgerWriter, Sink
from gateway.pipeline import otlp
from gateway.pipeline.response import Response
from gateway.settings.schema.root import Config
from gateway.telemetry import log as log_module
from gateway.telemetry.log import Log, locate_error
from gateway.telemetry.metrics import CounterMetric, GaugeMetric, LabelledGauges, Metrics
from gateway.telemetry.shared_metrics import SharedMemory

_FEED_SECONDS = 2.0
"""Seconds between feeds of the store from the journals."""
_REFRESH_SECONDS = 1.0
"""Seconds between looks at metrics that change by themselves, for workers that may be scraped."""
_RETRY_SECONDS = 0.5
"""Seconds between tries to deliver the last rows, at a stop."""
_SWEEP_SECONDS = 600.0
_MAX_TRANSCRIPT_BYTES = 1_000_000
"""Bytes of a streamed answer that are held for its transcript; more than the transcript keeps."""


class LedgerRuntime:
    """The journal, the store that it feeds, transcripts, metrics and traces of one process.

    The journal lies in `data_folder`. `info` has the labels of the build's metric, `shared_memory`
    is the memory in which workers count, and `strikes` remove more than secrets from transcripts.
    Raises StoreError, SinkError, TraceError, and OSError if the folder cannot be written.
    """

    def __init__(  # noqa: PLR0913 - its surroundings
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
        clocks: Clocks = SYSTEM_CLOCKS,
    ) -> None:
        ledger = config.ledger
        self._wall, self._monotonic = clocks.wall, clocks.monotonic
        self._ledger = ledger
        self._log = log
        self.journal_folder = data_folder / ledger.journal
        self.content_folder = data_folder / "content"
        self.journal = Journal(self.journal_folder, clock=clocks.wall)
        self.recovered = recover(self.journal)
        self.damaged_files = 0
        """The number of files of the store that were found damaged or gone."""
        self._logged_damaged_rows = 0
        self._logged_wrong_sums = 0
        self.store = open_store(url, on_rebuild=self._log_rebuild)
        self._sink_feeders = [
            SinkFeeder(name, open_sink(name, sink_url), self.journal_folder, log, clocks.wall)
            for name, sink_url in ledger.sinks.items()
        ]
        self._addresses = addresses = otlp.list_addresses(providers)
        """Addresses of providers, which traces and logs share."""
        if config.otlp.endpoint and "logs" in config.otlp.signals:
            log_sink = otlp.make_log_sink(config.otlp, info.get("version", ""), addresses)
            self._sink_feeders.append(
                SinkFeeder(log_sink.name, log_sink, self.journal_folder, log, clocks.wall)
            )
        metrics_config = config.metrics
        self.metrics = Metrics(
            keys=metrics_config.keys,
            tenants=metrics_config.tenants,
            teams=metrics_config.teams,
            info=info,
            memory=shared_memory,
        )
        for row in self.recovered.entries:
            self.metrics.count_row(row)
        self.traces = otlp.make_tracing(config, log, info, addresses)
        self._transcript_writer: TranscriptWriter | None = None
        self._strikes = strikes
        self.keeps_content = ledger.content == "on"
        """True if prompts and answers are kept."""
        self.writer = LedgerWriter(
            self.journal,
            ledger.on_disk_full,
            self._make_row_sinks(),
            log,
            outcome_sinks=self._make_outcome_sinks(config),
            count_rows=self.metrics.count_rows,
            clock=clocks.monotonic,
            on_failure=lambda: self.metrics.count_ledger_failure("write"),
        )
        self._register_metrics()
        self.is_ended = False
        """True if all rows are on the disk, and there will be no more."""
        self._tasks: list[asyncio.Task[None]] = []
        self._catch_up_calls = self._caught_up_calls = (
            0  # calls of `catch_up`, and how many of them a feed has served
        )
        self._feed_task: asyncio.Task[None] | None = None  # shared by all that catch up

    @property
    def sync_waiter(self) -> Callable[[], Awaitable[None]] | None:
        """The function that waits until rows are on the disk; None if calls do not wait for it."""
        return self.writer.wait_until_synced if self._ledger.durability == "each" else None

    @property
    def trace_starter(self) -> Callable[[Call], None] | None:
        """The function that takes each call before its rows; None without traces."""
        traces = self.traces
        if traces is None:
            return None
        return lambda call: traces.begin(call.id, call.operation, call.trace)

    def adopt(self, config: Config, version: str, providers: Mapping[str, Provider]) -> None:
        """Adopt another configuration; the places of rows and transcripts stay as they began."""
        self._ledger = config.ledger
        self._addresses.update(otlp.list_addresses(providers))
        policy = config.ledger.on_disk_full
        self.writer.adopt(policy, self._make_row_sinks(), self._make_outcome_sinks(config))
        self.metrics.update_info(config=version)

    async def find_refusal_reason(self) -> str:
        """Return why no row can be written, if calls are refused for that; otherwise ""."""
        return await self.writer.find_refusal_reason(needs_sync=self._ledger.durability == "each")

    def start(self) -> None:
        """Start the work beside calls, in the process that serves."""
        self.store.keep_connection()
        if self.keeps_content:
            log_error = self._log_content_error
            self._transcript_writer = TranscriptWriter(
                self.content_folder, self._strikes, on_error=log_error
            )
        if self.traces is not None:
            self.traces.start()
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
            *(
                asyncio.create_task(feeder.run(asyncio.sleep), name=f"sink {feeder.name}")
                for feeder in self._sink_feeders
            ),
        ]

    async def stop(self) -> None:
        """Write, send and feed what waits, and stop."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._feed_task is not None:
            await asyncio.wait([self._feed_task])
        await asyncio.to_thread(self._close_all)

    def keep_transcript(self, call: Call, reply: Response) -> Response:
        """Keep the text of a response, if that is switched on; return the response."""
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
        """Feed the store with what the journals have, make sums, and log damage found there."""
        self.store.feed(self.journal_folder)
        self.store.continue_sums(self.journal_folder)
        damaged_rows = self.store.state().damaged
        if damaged_rows > self._logged_damaged_rows:
            self._log(
                "ledger",
                error="rows of the journal are damaged or missing",
                rows=damaged_rows - self._logged_damaged_rows,
                folder=str(self.journal_folder),
            )
            self._logged_damaged_rows = damaged_rows
        wrong_sums = self.store.state().wrong_sums
        if wrong_sums > self._logged_wrong_sums:
            self._log(
                "ledger",
                error="sums of the store differ from its rows; it makes them again",
                sums=wrong_sums - self._logged_wrong_sums,
            )
            self._logged_wrong_sums = wrong_sums

    async def catch_up(self) -> bool:
        """Return True once the store has all that the journals have by now.

        If another task or process feeds, this waits for it, a few seconds at most; if it takes
        longer, this returns False. All callers that wait share one feed; later ones share the next
        feed. Raises OSError and StoreError.
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
            task.exception()  # read the error, as perhaps nobody waits any more

    def sweep(self) -> None:
        """Delete transcripts, journals and rows that have been kept long enough."""
        now, ledger = self._wall(), self._ledger
        transcripts.sweep(self.content_folder, now - ledger.keep_content)
        if ledger.keep_journal:
            all_offsets = [
                self.store.read_offsets(self.journal_folder),
                *(feeder.sink.read_offsets(self.journal_folder) for feeder in self._sink_feeders),
            ]

            def is_fed(path: Path) -> bool:
                size = path.stat().st_size
                return all(offsets.get(path.name, 0) >= size for offsets in all_offsets)

            recovery.sweep(self.journal_folder, now - ledger.keep_journal, is_fed)
        if ledger.keep:
            self.store.prune(now - ledger.keep)

    def close(self) -> None:
        """Close the writer and the journal, which ends a runtime that was not started."""
        self.writer.close()
        self.journal.close()

    def deliver_rest(self, sleep: Callable[[float], object] = time.sleep) -> None:
        """Give the store and each sink the rows that they lack, after all processes have ended.

        Try again for `ledger.deliver_on_stop`. Rows that an engine lacks then stay in the journal.
        """
        deadline = self._monotonic() + self._ledger.deliver_on_stop
        pending = [self._feed_rest, *(feeder.deliver_rest for feeder in self._sink_feeders)]
        while pending := [deliver for deliver in pending if not deliver()]:
            if self._monotonic() >= deadline:
                text = "the last rows wait in the journal for the next start"
                self._log("ledger", error=text, engines=len(pending))
                break
            sleep(_RETRY_SECONDS)
        self.store.close()
        for feeder in self._sink_feeders:
            feeder.sink.close()

    def _feed_rest(self) -> bool:
        """Feed the store. Return True if it has all rows; log why it has not."""
        try:
            return self.store.feed(self.journal_folder) is not None
        except (OSError, StoreError) as error:
            self._log("ledger", error=f"{error}")
        return False

    def _close_all(self) -> None:
        if self.traces is not None:
            self.traces.stop()
        if self._transcript_writer is not None:
            self._transcript_writer.close()
        self.close()
        self.is_ended = True
        try:
            self.feed()
        except Exception as error:  # noqa: BLE001 - the next start feeds it
            self._log_failure("feed", error)
        self.store.close()
        for feeder in self._sink_feeders:
            feeder.sink.close()

    def _log_rebuild(self, rebuild: Rebuild) -> None:
        """Log that a store's file was damaged or gone, and later that the new one has all rows."""
        self.damaged_files += not rebuild.done
        missing_until = rebuild.missing_until
        self._log(
            "store",
            text="rebuilt from the journals" if rebuild.done else "is being rebuilt",
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
        # The text of the ledger's own errors has no credential and nothing of a call.
        text = str(error) if isinstance(error, LedgerError) else locate_error(error)
        self._log("ledger", error=text, work=work_name)

    async def _run_every(self, seconds: float, work: Callable[[], object]) -> None:
        """Run work off the loop again and again; log a failure and try again."""
        while True:
            await asyncio.sleep(seconds)
            try:
                await asyncio.to_thread(work)
            except Exception as error:  # noqa: BLE001 - work beside calls must not end
                self._log_failure(work.__name__, error)

    def _make_row_sinks(self) -> list[Sink]:
        """Return the sinks of each row, beside the journal."""
        return [] if self.traces is None else [self.traces.note]

    def _make_outcome_sinks(self, config: Config) -> list[Sink]:
        """Return the sinks of requests' outcomes, beside the metrics."""
        sinks: list[Sink] = []
        if config.log.calls != "off":
            sinks.append(log_module.make_call_sink(self._log, config.log.calls))
        return sinks

    def _register_metrics(self) -> None:
        journal, writer = self.journal, self.writer

        def measure_lag() -> float | None:
            fed_at = self.store.state().fed_until
            return None if fed_at is None else max(0.0, self._wall() - fed_at)

        self.metrics.watch(
            gauges=[
                GaugeMetric(
                    "ledger_unsynced_rows",
                    "Rows that may not be on the disk yet.",
                    lambda: journal.written_rows - journal.synced_rows,
                ),
                GaugeMetric(
                    "ledger_late_rows",
                    "Rows that wait in memory because the journal cannot be written.",
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
                    "1 while the gateway rebuilds the store from the journals and cannot query it.",
                    lambda: float(self.store.state().rebuilding),
                    "max",
                ),
            ],
            counters=[
                CounterMetric(
                    "ledger_damaged",
                    "Store files that were damaged or missing.",
                    lambda: self.damaged_files,
                ),
                CounterMetric(
                    "ledger_damaged_rows",
                    "Rows of the journals that were found damaged or missing.",
                    lambda: self.store.state().damaged,
                ),
                CounterMetric(
                    "ledger_wrong_sums",
                    "Sums of the store that differed from its rows, and were made again.",
                    lambda: self.store.state().wrong_sums,
                ),
                CounterMetric(
                    "ledger_rows", "Rows written to the journal.", lambda: journal.written_rows
                ),
                CounterMetric(
                    "ledger_lost_rows",
                    "Rows lost because no journal could be written.",
                    lambda: writer.lost_rows,
                ),
            ],
        )
        feeders = self._sink_feeders
        if feeders:
            self.metrics.watch(
                labelled_gauges=[
                    LabelledGauges(
                        "ledger_sink_lag_seconds",
                        "How far a sink may be behind the journals.",
                        ("sink",),
                        lambda: {(feeder.name,): feeder.measure_lag() for feeder in feeders},
                        "min",
                    ),
                    LabelledGauges(
                        "ledger_sink_pending_bytes",
                        "Bytes of the journals that a sink has not acknowledged.",
                        ("sink",),
                        lambda: {
                            (feeder.name,): float(feeder.count_pending_bytes())
                            for feeder in feeders
                        },
                    ),
                    LabelledGauges(
                        "ledger_sink_failures",
                        "Deliveries to a sink that failed since the gateway started.",
                        ("sink",),
                        lambda: {(feeder.name,): float(feeder.failures) for feeder in feeders},
                        "sum",
                    ),
                ]
            )
        sender = None if self.traces is None else self.traces.sender
        if sender is not None:
            dropped = CounterMetric(
                "traces_dropped", "Calls whose spans were not sent.", lambda: sender.dropped
            )
            self.metrics.watch(counters=[dropped])


async def _record_stream(
    call: Call, stream: AsyncGenerator[bytes], transcript_writer: TranscriptWriter
) -> AsyncGenerator[bytes]:
    """Yield a stream unchanged; at its end, however it ends, keep what went on to the client."""
    parts: list[bytes] = []
    size = 0
    try:
        async with aclosing(stream):
            async for data in stream:
                if size < _MAX_TRANSCRIPT_BYTES:
                    parts.append(data[: _MAX_TRANSCRIPT_BYTES - size])
                    size += len(data)
                yield data
    finally:
        transcript_writer.keep(call.id, call.received_at, call.body, b"".join(parts))
