"""Read recent calls from the ledger for the quality dial, at the start and every few minutes."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable

from gateway.core.target import TIERS, Tier
from gateway.ledger.errors import StoreError
from gateway.ledger.store import LedgerStore
from gateway.routing.quality_dial import MIN_OWN_CALLS, OwnTraffic, ReferenceSet, expect_tokens
from gateway.routing.replay_decision import estimate_recorded_worth
from gateway.runtime.build import BuiltConfig, adopt_own_traffic, has_own_reference
from gateway.telemetry.log import Log

_READ_SECONDS = 300.0
"""Seconds between reads of the ledger."""
_MAX_ANSWERS = 100_000
"""The number of newest answers whose tokens are read."""
_MAX_CLASSIFIED_CALLS = 1_500
"""The number of newest calls that a reference set is drawn from."""
_REFERENCE_SIZE = 300


class OwnTrafficReader:
    """Reads recent own calls off the loop, and gives them to the configurations that decide."""

    def __init__(
        self, store: LedgerStore, list_configs: Callable[[], Iterable[BuiltConfig]], log: Log
    ) -> None:
        self._store = store
        self._list_configs = list_configs
        self._log = log
        self.latest = OwnTraffic()
        """The figures of the last read."""

    def adopt_into(self, built_config: BuiltConfig) -> None:
        """Give a configuration the figures of the last read."""
        adopt_own_traffic(built_config, self.latest)

    async def watch(self, sleep: Callable[[float], Awaitable[None]]) -> None:
        """Read now and every five minutes, until cancelled."""
        while True:
            try:
                is_own = any(map(has_own_reference, self._list_configs()))
                self.latest = await asyncio.to_thread(
                    read_own_traffic, self._store, is_reference_own=is_own
                )
            except (OSError, StoreError) as error:  # keep the figures of the last read
                self._log("ledger", error=type(error).__name__, work="own traffic")
            for built_config in self._list_configs():
                self.adopt_into(built_config)
            await sleep(_READ_SECONDS)


def read_own_traffic(store: LedgerStore, *, is_reference_own: bool) -> OwnTraffic:
    """Return how long answers are, and the reference set if own calls are to be it.

    Blocks. Raises StoreError.
    """
    means: defaultdict[str, dict[Tier, float]] = defaultdict(dict)
    for lab, name, answers, tokens in store.sum_output_tokens(_MAX_ANSWERS):
        tier = next((tier for tier in TIERS if tier == name), None)
        if tier is not None and answers >= MIN_OWN_CALLS:
            means[lab][tier] = tokens / answers
    return OwnTraffic(
        {lab: expect_tokens(lab_means) for lab, lab_means in means.items()},
        _read_reference(store) if is_reference_own else None,
    )


def _read_reference(store: LedgerStore) -> ReferenceSet | None:
    """Return a reference set drawn evenly from the newest calls that a classifier decided.

    None if there are too few.
    """
    rows = store.read_ordered(only={"source": ["classifier"]}, limit=_MAX_CLASSIFIED_CALLS).rows
    worths = [
        worth
        for row in rows
        if row.basis is not None and (worth := estimate_recorded_worth(row.basis)) is not None
    ]
    if len(worths) < MIN_OWN_CALLS:
        return None
    size = min(len(worths), _REFERENCE_SIZE)
    return ReferenceSet([worths[number * len(worths) // size] for number in range(size)])
