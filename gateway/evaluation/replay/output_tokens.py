"""Expected tokens of an answer on another tier, from the mean answers of both tiers in the log.

A reasoning model writes several times as much as a fast one, and its reasoning comes on top.
Replays that kept the tokens of the old answer understated a move to reasoning by a factor of 7.
"""

from gateway.core.ledger_rows import ReplayRow
from gateway.core.target import TIERS, Tier
from gateway.routing.quality_dial import MIN_OWN_CALLS, OwnTraffic


def count_output_tokens(row: ReplayRow) -> int:
    """Return the tokens of an answer, with its reasoning; 0 if they or its tier are unknown."""
    return row.output + (row.reasoning or 0) if row.tier in TIERS and row.output else 0


class TierOutputTokens:
    """The number of answers of each tier so far, and their tokens."""

    def __init__(self, own_traffic: OwnTraffic) -> None:
        """Begin without answers. `own_traffic` gives the lengths until a log has enough answers."""
        self._own_traffic = own_traffic
        self._calls: dict[str, int] = dict.fromkeys(TIERS, 0)
        self._tokens: dict[str, int] = dict.fromkeys(TIERS, 0)

    def add(self, row: ReplayRow) -> None:
        """Count the answer of a call, if its tier and its tokens are known."""
        if row.tier is not None and (tokens := count_output_tokens(row)):
            self._calls[row.tier] += 1
            self._tokens[row.tier] += tokens

    def compute_ratio(
        self, lab: str | None, tier_before: str | None, tier_after: Tier | None
    ) -> float:
        """Return the tokens of an answer on the other tier divided by those it has; 1 if unknown.

        `lab` is that of the logged answer.
        """
        if tier_before not in TIERS or tier_after is None or tier_before == tier_after:
            return 1.0
        if min(self._calls[tier_before], self._calls[tier_after]) >= MIN_OWN_CALLS:
            return self._mean(tier_after) / self._mean(tier_before)
        tokens = self._own_traffic.find_tokens(lab or "")
        return tokens[TIERS.index(tier_after)] / tokens[TIERS.index(tier_before)]

    def find_mean(self, lab: str, tier: Tier) -> int:
        """Return the usual tokens of an answer of a tier: of the log, or else of own traffic."""
        if self._calls[tier] >= MIN_OWN_CALLS:
            return round(self._mean(tier))
        return self._own_traffic.find_tokens(lab)[TIERS.index(tier)]

    def _mean(self, tier: str) -> float:
        return self._tokens[tier] / self._calls[tier]
