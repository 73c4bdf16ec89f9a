"""How many tokens an answer has on another tier: by the mean answers of both in the log.

A reasoning model writes several times what a fast one does, and thinks beside it. Replays that kept
the tokens of the old answer understated a move to reasoning by a factor of 7.
"""

from gateway.core.ledger_rows import ReplayRow
from gateway.core.target import TIERS, Tier
from gateway.routing.quality_dial import EXPECTED_OUTPUT_TOKENS

MIN_CALLS = 50
"""Answers of a tier from which on its own mean counts."""


class TierOutputTokens:
    """The answers of each tier that were seen so far."""

    def __init__(self) -> None:
        self._calls: dict[str, int] = dict.fromkeys(TIERS, 0)
        self._tokens: dict[str, int] = dict.fromkeys(TIERS, 0)

    def add(self, row: ReplayRow) -> None:
        """Count the answer of a call, if its tier and its tokens are known."""
        if row.tier in self._calls and row.output:
            self._calls[row.tier] += 1
            self._tokens[row.tier] += row.output + (row.reasoning or 0)

    def compute_ratio(self, tier_before: str | None, tier_after: Tier | None) -> float:
        """Return how many times as many tokens an answer has on the other tier; 1 if unknown."""
        if tier_before not in TIERS or tier_after is None or tier_before == tier_after:
            return 1.0
        if min(self._calls[tier_before], self._calls[tier_after]) < MIN_CALLS:
            return EXPECTED_OUTPUT_TOKENS[tier_after] / EXPECTED_OUTPUT_TOKENS[tier_before]
        return self._mean(tier_after) / self._mean(tier_before)

    def _mean(self, tier: str) -> float:
        return self._tokens[tier] / self._calls[tier]
