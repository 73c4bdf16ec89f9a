"""A PostgreSQL database beside the store: fed as a store is, with its progress in the database."""

import time
from collections.abc import Callable
from pathlib import Path

from gateway.ledger.errors import SinkError, StoreError
from gateway.ledger.file_lock import lock_file
from gateway.ledger.store import IngestState


class PostgresSink:
    """A database with the tables and views of a PostgreSQL store. Raises SinkError.

    `clock` returns seconds since the epoch.
    """

    def __init__(self, name: str, url: str, clock: Callable[[], float] = time.time) -> None:
        """`name` is the sink's name in the configuration."""
        self.name = name
        self._lock_name = f"{name}.sink.lock"  # the store's feed and this one run at once
        try:
            from gateway.ledger.postgres import PostgresStore  # noqa: PLC0415 - an extra

            self._store = PostgresStore(url, clock, feed_lock=self._lock_name)
        except StoreError as error:
            raise SinkError(f"the sink {name}: {error}") from None

    def check(self) -> None:
        """Check that the database answers, and make its tables, see `LedgerSink.check`."""
        with self._store.open_writer():
            pass

    def feed(self, folder: Path, *, all_rows: bool = False) -> int | None:  # noqa: ARG002 - none waits
        """Feed what the database lacks, see `LedgerSink.feed`."""
        self._store.keep_connection()
        lines = self._store.feed(folder)
        self._store.continue_sums(folder)
        return lines

    def read_offsets(self, folder: Path) -> dict[str, int]:
        """Return the bytes of each segment at the end of this process's last feed."""
        return self._store.read_fed_sizes(folder)

    def state(self) -> IngestState:
        """Return the progress of this process's feeds."""
        return self._store.state()

    def erase_user(self, folder: Path, end_user: str) -> None:
        """Erase the personal part of a user's rows, see `LedgerSink.erase_user`."""
        with lock_file(folder / self._lock_name):
            self._store.erase_user(end_user)

    def close(self) -> None:
        """Close connections, see `LedgerSink.close`."""
        self._store.close()
