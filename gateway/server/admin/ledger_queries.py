"""Ledger queries of admins' endpoints, run in a query process."""

from collections.abc import Callable
from functools import partial

from gateway.ledger.errors import StoreDamagedError
from gateway.ledger.store import LedgerStore
from gateway.runtime.composition import Gateway
from gateway.runtime.query_pool import QUERY_SECONDS
from gateway.server.admin.worker_thread import WorkerThread, translate_errors


class LedgerQueries:
    """Runs the ledger queries of some endpoints: `await run_query(function, *arguments)`."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._worker_thread = WorkerThread(gateway)

    async def __call__[T, *Ts](
        self,
        function: Callable[[LedgerStore, *Ts], T],
        *arguments: *Ts,
        seconds: float = QUERY_SECONDS,
    ) -> T:
        """Ingest the journals, then return `function(store, *arguments)` from a query process.

        The function stands in a module of `gateway.server.queries`; its arguments and its value are
        pickled. Its rendering runs in the query process too, so it best returns bytes. Raises
        ProblemError: what the function raises, and ledger.
        """
        await self._worker_thread.ingest_journals()
        with translate_errors():
            try:
                return await self._gateway.query_pool.run(function, *arguments, seconds=seconds)
            except StoreDamagedError:
                # Only the serving process may replace a damaged file. It does when it meets it.
                return await self._worker_thread(partial(function, self._gateway.store, *arguments))
