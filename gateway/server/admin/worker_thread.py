"""Short ledger work for admins, as reads of one call: in threads, a few at a time."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from gateway.core.errors import Problem, ProblemError, invalid_request
from gateway.ledger.errors import (
    QueryTooLargeError,
    QueryTooLongError,
    StoreError,
    StoreRebuildingError,
)
from gateway.runtime.composition import Gateway

_MAX_CONCURRENT = 2
"""The maximum number of concurrent reads. Others wait, so that the journal never has to."""

_RETRY_SECONDS = 10.0
"""Seconds after which a client may retry while the store is being rebuilt."""


class WorkerThread:
    """Runs the short reads of some endpoints, which share its slots."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._slots = asyncio.Semaphore(_MAX_CONCURRENT)

    async def __call__[T](self, work: Callable[[], T]) -> T:
        """Run work on the store outside the event loop. Raises ProblemError: ledger."""
        with translate_errors():
            async with self._slots:
                return await asyncio.to_thread(work)

    async def ingest_journals(self) -> None:
        """Bring what the journals have by now into the store. Raises ProblemError: ledger.

        Does nothing while the store is being rebuilt, since that may take minutes.
        """
        if not self._gateway.store.state().rebuilding:
            with translate_errors():
                await self._gateway.ledger_runtime.catch_up()


@contextmanager
def translate_errors() -> Iterator[None]:
    """Translate errors of the ledger into a ProblemError."""
    try:
        yield
    except StoreRebuildingError as error:
        message = f"The gateway cannot query the ledger now: {error}."
        problem = Problem(kind="ledger", message=message, retry_after=_RETRY_SECONDS)
        raise ProblemError(problem) from None
    except QueryTooLongError as error:
        message = (
            f"The ledger did not answer this within {error.max_seconds:g} s: ask for a shorter "
            "time, or for fewer calls with `only`."
        )
        raise invalid_request(message) from None
    except QueryTooLargeError as error:
        message = (
            f"The gateway reads at most {error.max_calls:,} calls for this: ask for one rule, for "
            "a shorter time, or for fewer calls with `only`."
        )
        raise invalid_request(message) from None
    except (OSError, StoreError) as error:
        message = f"The gateway cannot read the ledger: {error}."
        raise ProblemError(Problem(kind="ledger", message=message)) from None
