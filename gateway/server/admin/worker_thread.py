"""Work on the ledger for admins: off the loop, a little at a time."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from gateway.core.errors import Problem, ProblemError
from gateway.ledger.errors import StoreError, StoreRebuildingError
from gateway.runtime.composition import Gateway

_MAX_CONCURRENT = 2
"""Questions that are worked on at once; others wait, so that the journal is never kept waiting."""

_RETRY_SECONDS = 10.0
"""Seconds after which a question may be asked again, while the store is made anew."""


class WorkerThread:
    """One for the questions of some endpoints, which take turns."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._slots = asyncio.Semaphore(_MAX_CONCURRENT)

    async def __call__[T](self, work: Callable[[], T]) -> T:
        """Some work on the store, off the loop. Raises ProblemError: ledger."""
        with _translate_errors():
            async with self._slots:
                return await asyncio.to_thread(work)

    async def ingest_journals(self) -> None:
        """Bring what the journals have by now into the store. Raises ProblemError: ledger.

        While the store is made anew nothing is fed here, since that may take minutes.
        """
        if not self._gateway.store.state().rebuilding:
            with _translate_errors():
                await self._gateway.ledger_runtime.catch_up()


@contextmanager
def _translate_errors() -> Iterator[None]:
    """Tells of a ledger that cannot be read."""
    try:
        yield
    except StoreRebuildingError as error:
        message = f"The ledger cannot be asked now: {error}."
        problem = Problem(kind="ledger", message=message, retry_after=_RETRY_SECONDS)
        raise ProblemError(problem) from None
    except (OSError, StoreError) as error:
        message = f"The ledger cannot be read: {error}."
        raise ProblemError(Problem(kind="ledger", message=message)) from None
