"""The databases of the ledger on the simulated network: a shared store, and an engine of a sink.

Both get their rows from the journals by the gateway's own readers. They can be away for all
gateways or for one. They can also take rows while the answer is lost, so that rows come again.
"""

from collections.abc import Callable, Collection, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import msgspec

from gateway.core.ledger_rows import FinalRow
from gateway.ledger.errors import SinkError, StoreError
from gateway.ledger.file_lock import try_lock_file
from gateway.ledger.ingest import RowBatch, read_batches, read_folder_id, read_sizes
from gateway.ledger.journal import list_segments
from gateway.ledger.query import QueryGroup
from gateway.ledger.sinks.base import BatchOrigin, JournalSink, LedgerSink
from gateway.ledger.sqlite import SqliteStore
from gateway.ledger.store import IngestState, LedgerStore, Rebuild, TierAnswers, count_damaged_rows
from tests.simulation.network import Network, find_machine

STORE_PORT, SINK_PORT = 5432, 8123


class RowDatabase:
    """A server with the final rows of all gateways, by id."""

    def __init__(self, network: Network, port: int) -> None:
        self.rows: dict[str, FinalRow] = {}
        self.offsets: dict[tuple[str, str], int] = {}
        """Bytes that it has of each segment, by folder and name."""
        self._network, self._port = network, port

    def ask(self) -> None:
        """Raise ConnectionError if the machine that runs now does not reach the server."""
        if self._find_outage() not in (None, "loses answers"):
            raise ConnectionError("the database does not answer")

    def commit(self, work: Callable[[], object]) -> None:
        """Do some work in a transaction. Raises ConnectionError, also if only its answer is lost."""
        self.ask()
        work()
        if self._find_outage() is not None:
            raise ConnectionError("the connection broke off in a commit")

    def put(self, rows: Collection[FinalRow]) -> None:
        """Take rows; the gateway's own row replaces that of a recovery."""
        for row in rows:
            earlier = self.rows.get(row.id)
            if earlier is None or earlier.state == "unknown_crash":
                self.rows[row.id] = row

    def _find_outage(self) -> str | None:
        return self._network.find_outage(self._port, find_machine())


class SimulatedStore:
    """A gateway's client of the shared store: what a serving gateway asks of a `LedgerStore`."""

    def __init__(self, database: RowDatabase, clock: Callable[[], float]) -> None:
        self._database, self._clock = database, clock
        self._state = IngestState()

    def feed(self, folder: Path) -> int | None:
        """Feed new rows; the progress and the rows are one transaction, as in SQL."""
        started_at = self._clock()
        paths = list_segments(folder)
        sizes = read_sizes(paths)
        with try_lock_file(folder / "feed.lock") as locked:
            if not locked:
                return None
            self._reach(self._database.ask)
            folder_id, count = read_folder_id(folder), 0
            for path in paths:
                place = folder_id, path.name
                start = self._database.offsets.get(place, 0)
                if start == sizes.get(path.name, 0):
                    continue
                for batch in read_batches(path, start):
                    self._reach(lambda b=batch, p=place: self._database.commit(lambda: self._put(b, p)))  # type: ignore[misc]  # fmt: skip
                    count += len(batch.entries)
        self._state = msgspec.structs.replace(self._state, fed_until=started_at)
        return count

    def _put(self, batch: RowBatch, place: tuple[str, str]) -> None:
        self._database.put(batch.entries)
        self._database.offsets[place] = batch.end
        self._state = msgspec.structs.replace(
            self._state, damaged=self._state.damaged + count_damaged_rows(batch.damages)
        )

    def _reach(self, work: Callable[[], object]) -> None:
        try:
            work()
        except ConnectionError as error:
            raise StoreError(str(error)) from error

    def sum_costs(
        self,
        *,
        only: Mapping[str, Collection[str]],
        since: float | None = None,
        until: float | None = None,
    ) -> list[QueryGroup]:
        """Add up what the counter of a budget counts."""
        self._reach(self._database.ask)
        rows = [
            row
            for row in self._database.rows.values()
            if (since is None or row.at >= since)
            and (until is None or row.at < until)
            and all(getattr(row, name) in values for name, values in only.items())
        ]
        totals = QueryGroup(
            names=(), calls=len(rows), cached=0, failed=0, unknown=0, input=None, cache_read=None,
            cache_write=None, output=None, reasoning=None,
            cost=sum((row.cost or Decimal(0) for row in rows), Decimal(0)),
            reserved=sum((row.reserved or Decimal(0) for row in rows), Decimal(0)),
        )  # fmt: skip
        return [totals]

    def read_offsets(self, folder: Path) -> dict[str, int]:
        """Return how much the store has of each segment of a folder."""
        folder_id = read_folder_id(folder)
        return {name: end for (id, name), end in self._database.offsets.items() if id == folder_id}

    def state(self) -> IngestState:
        """Return the progress of this process's feeds."""
        return self._state

    def sum_output_tokens(self, _limit: int) -> list[TierAnswers]:
        """Return nothing: the dial of a new gateway knows no own traffic."""
        return []

    def read_missing_until(self) -> float | None:
        """Return None: nothing was ever removed."""
        return None

    def continue_sums(self, _folder: Path) -> None:
        """Make no sums: they only save time."""

    def keep_connection(self) -> None:
        """Keep nothing: a question is one exchange."""

    def close(self) -> None:
        """Close nothing."""


class SimulatedSink(JournalSink):
    """A sink whose engine is a server of the simulated network."""

    def __init__(self, name: str, database: RowDatabase, clock: Callable[[], float]) -> None:
        super().__init__(name, clock)
        self._database = database

    def check(self) -> None:
        self._database.ask()

    def write(self, batch: RowBatch, _origin: BatchOrigin) -> None:
        try:
            self._database.commit(lambda: self._database.put(batch.entries))
        except ConnectionError as error:
            raise SinkError(str(error)) from error

    def erase_in_engine(self, end_user: str) -> None:
        raise NotImplementedError(end_user)

    def close(self) -> None:
        """Close nothing."""


class Engines:
    """Databases that gateways open: a store that all share or one for each, and a sink."""

    def __init__(
        self,
        network: Network,
        clock: Callable[[], float],
        *,
        uses_sqlite: bool,
        shares_store: bool,
    ) -> None:
        self.sink = RowDatabase(network, SINK_PORT)
        self._stores: dict[str, RowDatabase] = {}
        """The databases of the store's server, by the URL of a gateway's store."""
        self._network, self._clock = network, clock
        self._uses_sqlite, self._shares_store = uses_sqlite, shares_store

    def list_stored_rows(self) -> dict[str, FinalRow]:
        """Return the rows of all stores, by id."""
        return {id: row for store in self._stores.values() for id, row in store.rows.items()}

    def open_store(
        self, url: str, *, on_rebuild: Callable[[Rebuild], object] | None = None
    ) -> LedgerStore:
        """Open SQLite at a URL, or a database of the store's server."""
        if self._uses_sqlite:
            return SqliteStore(url, self._clock, sleep=_rest, on_rebuild=on_rebuild)
        name = "shared" if self._shares_store else url
        store = self._stores.setdefault(name, RowDatabase(self._network, STORE_PORT))
        return cast("LedgerStore", SimulatedStore(store, self._clock))

    def open_sink(self, name: str, _url: str) -> LedgerSink:
        """Open the sink of a name."""
        return SimulatedSink(name, self.sink, self._clock)


def _rest(_seconds: float) -> Any:
    """Let nobody run: there are no threads."""
