"""The sink of logs: each call becomes a record at a receiver of OTLP.

Records come from the journal, so a receiver that is away for an hour gets all of them afterwards.
"""

import time
from collections.abc import Callable, Iterable
from typing import Protocol

from gateway.core.ledger_rows import FinalRow
from gateway.ledger.errors import SinkError
from gateway.ledger.ingest import RowBatch
from gateway.ledger.sinks.base import BatchOrigin, JournalSink


class CallLogSender(Protocol):
    """A connection to a receiver of logs."""

    def send(self, entries: Iterable[FinalRow]) -> None:
        """Return once the receiver has taken a record for each call; raises OSError."""
        ...

    def close(self) -> None:
        """Close connections; the next use opens others."""
        ...


class CallLogSink(JournalSink):
    """Sends a record for each call that has ended. A record that comes twice has the same id."""

    def __init__(
        self, name: str, sender: CallLogSender, clock: Callable[[], float] = time.time
    ) -> None:
        super().__init__(name, clock)
        self._sender = sender

    def check(self) -> None:
        """Send no record; raises SinkError."""
        self._send(())

    def write(self, batch: RowBatch, origin: BatchOrigin) -> None:  # noqa: ARG002 - ids suffice
        """Send a record for each call; raises SinkError."""
        if batch.entries:
            self._send(batch.entries)

    def erase_in_engine(self, end_user: str) -> None:
        """Do nothing: OTLP takes nothing back."""

    def close(self) -> None:
        """Close connections."""
        self._sender.close()

    def _send(self, entries: Iterable[FinalRow]) -> None:
        try:
            self._sender.send(entries)
        except OSError as error:
            raise SinkError(f"{error}") from error
