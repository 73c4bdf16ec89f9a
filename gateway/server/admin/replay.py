"""Replays of recorded calls under edited rules: in a query process, one at a time.

A replay ends when its client leaves.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from gateway.core.call import OPEN_KEY
from gateway.core.errors import conflict
from gateway.ledger.file_lock import try_lock_file
from gateway.ledger.query_params import LedgerQuery
from gateway.runtime.composition import Gateway
from gateway.server.admin.ledger_queries import LedgerQueries
from gateway.server.disconnect import run_until
from gateway.server.queries.config_files import ConfigFiles
from gateway.server.queries.replay import ReplayQuery, collect_rule_texts, replay_calls

MAX_SECONDS = 120
"""The maximum number of seconds of a replay."""
LOCK_SECONDS = 5.0
"""Seconds to wait for the end of another replay: one whose client has left ends within moments."""
_LOCK_POLL_SECONDS = 0.05


def describe_config_files(gateway: Gateway) -> ConfigFiles:
    """Return what a query process builds the configuration of a gateway from."""
    return ConfigFiles(
        file=gateway.built_config.source.file,
        environ=dict(gateway.environ),
        data_folder=gateway.data,
        own_traffic=gateway.own_traffic.latest,
    )


class RulesReplay:
    """The replays of a gateway. One runs at a time, over all workers."""

    def __init__(
        self, gateway: Gateway, sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    ) -> None:
        self._gateway = gateway
        self._run_query = LedgerQueries(gateway)
        self._sleep = sleep

    async def __call__(
        self,
        rules: str,
        query: LedgerQuery,
        limit: int,
        wait_for_disconnect: Callable[[], Awaitable[object]],
    ) -> dict[str, Any]:
        """Return `report` and `findings`, or `findings` alone if the rules are wrong.

        The replay ends when `wait_for_disconnect` returns. `limit` is the number of changed calls
        to list. Raises ProblemError: invalid_request (409 if another replay runs), ledger (504 if
        it takes too long).
        """
        gateway = self._gateway
        replay = ReplayQuery(
            rules=rules,
            query=query,
            limit=limit,
            files=describe_config_files(gateway),
            known_values=collect_rule_texts(gateway.built_config.source.raw),
            content_folder=gateway.ledger_runtime.content_folder,
            keys=[OPEN_KEY] if gateway.keys.is_open else gateway.keys.list_keys(),
        )
        async with self._lock(gateway.data / "replay.lock"):
            return await run_until(
                wait_for_disconnect(),
                self._run_query(replay_calls, replay, seconds=MAX_SECONDS),
            )

    @asynccontextmanager
    async def _lock(self, file: Path) -> AsyncIterator[None]:
        """Hold the lock of replays during a block. Raises ProblemError if another keeps it."""
        deadline = time.monotonic() + LOCK_SECONDS
        while True:
            with try_lock_file(file) as has_lock:
                if has_lock:
                    yield
                    return
            if time.monotonic() >= deadline:
                raise conflict("Another replay is running: wait for its end, or cancel it.")
            await self._sleep(_LOCK_POLL_SECONDS)
