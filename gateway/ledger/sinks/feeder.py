"""Feed a sink again and again, beside calls, and tell how far it is behind."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from gateway.ledger.errors import LedgerError
from gateway.ledger.ingest import read_sizes
from gateway.ledger.journal import list_segments
from gateway.ledger.sinks.base import LedgerSink
from gateway.telemetry.log import Log, locate_error

_FEED_SECONDS = 2.0
_MAX_WAIT_SECONDS = 60.0
"""The longest wait after failures, which doubles with each."""
_LOG_FAILURES = 10
"""A sink that stays away is logged at its first failure and then at each tenth."""


class SinkFeeder:
    """Feeds one sink from a journal folder. A failure delays this sink alone, and no call.

    `clock` returns seconds since the epoch.
    """

    def __init__(
        self, name: str, sink: LedgerSink, folder: Path, log: Log, clock: Callable[[], float]
    ) -> None:
        self.name = name
        self.sink = sink
        self.failures = 0
        """The number of failed deliveries since the start."""
        self._folder = folder
        self._log = log
        self._clock = clock
        self._failures_in_row = 0
        self._started_at = clock()

    @property
    def wait_seconds(self) -> float:
        """Seconds until the next delivery: longer after each failure, up to a minute."""
        return min(_MAX_WAIT_SECONDS, _FEED_SECONDS * 2.0 ** min(self._failures_in_row, 10))

    async def run(self, sleep: Callable[[float], Awaitable[object]]) -> None:
        """Deliver rows until the task is cancelled."""
        while True:
            await sleep(self.wait_seconds)
            await asyncio.to_thread(self.feed)

    def feed(self) -> None:
        """Deliver what the engine lacks; log a failure."""
        self._deliver(all_rows=False)

    def deliver_rest(self) -> bool:
        """Deliver all that the engine lacks. Return True if it has all rows then."""
        return self._deliver(all_rows=True)

    def measure_lag(self) -> float:
        """Return the seconds by which the engine may be behind; at first, since the start."""
        fed_until = self.sink.state().fed_until
        return max(0.0, self._clock() - (self._started_at if fed_until is None else fed_until))

    def count_pending_bytes(self) -> int:
        """Return the bytes of the journals that the engine has not acknowledged. Reads files."""
        offsets = self.sink.read_offsets(self._folder)
        sizes = read_sizes(list_segments(self._folder))
        return sum(max(0, size - offsets.get(name, 0)) for name, size in sizes.items())

    def _deliver(self, *, all_rows: bool) -> bool:
        """Deliver rows; log a failure. Return False also if another process delivers them."""
        try:
            has_fed = self.sink.feed(self._folder, all_rows=all_rows) is not None
        except (OSError, LedgerError) as error:
            self._count_failure(str(error))
        except Exception as error:  # noqa: BLE001 - a client's mistake must not end this work
            self._count_failure(locate_error(error))  # its text may have parts of a row
        else:
            if self._failures_in_row:
                self._log("sink", sink=self.name, text="takes rows again")
            self._failures_in_row = 0
            return has_fed
        return False

    def _count_failure(self, reason: str) -> None:
        self.failures += 1
        self._failures_in_row += 1
        if self._failures_in_row % _LOG_FAILURES == 1:
            self._log("sink", sink=self.name, error=reason, failures=self._failures_in_row)
