"""A stand-in for query processes: it runs ledger queries in a thread, on the store of a gateway."""

import asyncio
from collections.abc import Callable
from typing import Any

from gateway.ledger.store import LedgerStore
from gateway.runtime.query_program import QueryReply, answer_query


class QueryThread:
    """Runs queries as a query process does, without the cost of a process."""

    def __init__(self, get_store: Callable[[], LedgerStore]) -> None:
        self._get_store = get_store

    def is_running(self) -> bool:
        return True

    async def run(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> QueryReply:
        return await asyncio.to_thread(answer_query, self._get_store, function, arguments)

    async def kill(self) -> None:
        """Do nothing: its thread ends with its query."""
