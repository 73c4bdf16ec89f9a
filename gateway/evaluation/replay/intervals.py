"""95% intervals for the money and the expected quality of a replay, by resampling its calls.

The replay deals calls to blocks and resamples whole blocks, so many calls take no more memory than
few. The calls of a conversation are in one block, because they are alike. Each resample computes
the mean tokens of each tier's answers again.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from operator import mul
from random import Random
from zlib import crc32

from gateway.core.ledger_rows import ReplayRow
from gateway.core.target import TIERS
from gateway.evaluation.metrics.bootstrap import Weights, compute_intervals, make_unit_weights
from gateway.evaluation.metrics.figure import Figure
from gateway.evaluation.replay.output_tokens import count_output_tokens
from gateway.routing.quality_dial import MIN_OWN_CALLS
from gateway.routing.replay_decision import estimate_recorded_worth

_BLOCK_COUNT = 256
_MIN_BLOCKS = 20
"""The least number of blocks with calls for an interval. Fewer do not show how calls differ."""
_REPEATS = 500
_SEED = 0

type _TierMove = tuple[str, str]
"""The tiers before and after."""


class ReplaySample:
    """Sums, by block, over the calls that a replay has decided."""

    def __init__(self) -> None:
        self._calls = _make_blocks()
        """Calls whose cost is known before and after."""
        self._usd_before = _make_blocks()
        self._usd_after = _make_blocks()
        """USD after, without the part in `_expected_usd`."""
        self._expected_usd: defaultdict[_TierMove, list[float]] = defaultdict(_make_blocks)
        """USD after that rest on the expected tokens of answers on another tier, by move."""
        self._answers: defaultdict[str, list[float]] = defaultdict(_make_blocks)
        """Logged answers whose tokens are known, by tier."""
        self._tokens: defaultdict[str, list[float]] = defaultdict(_make_blocks)
        self._scored = _make_blocks()
        """Calls that have a score, and a tier before and after."""
        self._worth_before = _make_blocks()
        self._worth_after = _make_blocks()
        self._worth_of_reasoning = _make_blocks()
        self._moved_calls: defaultdict[_TierMove, int] = defaultdict(int)
        self.unscored_calls = 0
        """Calls without a score, or without a tier before or after."""

    def add_answer(self, row: ReplayRow) -> None:
        """Count the tokens of a logged answer."""
        if row.tier is not None and (tokens := count_output_tokens(row)):
            block = _find_block(row)
            self._answers[row.tier][block] += 1
            self._tokens[row.tier][block] += tokens

    def add_money(
        self,
        row: ReplayRow,
        usd_before: float,
        usd_after: float,
        expected_usd: float,
        tier_after: str | None,
    ) -> None:
        """Add the cost of a call before and after, in USD.

        `expected_usd` is the part of `usd_after` that rests on expected tokens.
        """
        block = _find_block(row)
        self._calls[block] += 1
        self._usd_before[block] += usd_before
        self._usd_after[block] += usd_after - expected_usd
        if expected_usd and row.tier is not None and tier_after is not None:
            self._expected_usd[row.tier, tier_after][block] += expected_usd
            self._moved_calls[row.tier, tier_after] += 1

    def add_quality(self, row: ReplayRow, tier_before: str | None, tier_after: str | None) -> None:
        """Add the expected quality of a call on both tiers, from the score that its row keeps."""
        worth = None if row.basis is None else estimate_recorded_worth(row.basis)
        if worth is None or tier_before not in TIERS or tier_after not in TIERS:
            self.unscored_calls += 1
            return
        block = _find_block(row)
        self._scored[block] += 1
        self._worth_before[block] += worth[TIERS.index(tier_before)]
        self._worth_after[block] += worth[TIERS.index(tier_after)]
        self._worth_of_reasoning[block] += worth.reasoning

    @property
    def scored_calls(self) -> int:
        """The number of calls that the figures of quality rest on."""
        return round(sum(self._scored))

    def count_usual_lengths(self) -> int:
        """Return the number of calls that move from or to a tier with too few logged answers.

        For them the usual lengths of answers count.
        """
        lengths = self._measure_lengths()
        return sum(
            calls for move, calls in self._moved_calls.items() if not lengths.keys() >= {*move}
        )

    def compute_figures(self) -> Mapping[str, Figure]:
        """Return money and quality before and after, and their change.

        Money is in USD. Quality is a share of the quality that reasoning for every call would
        give. Figures that rest on no call are left out.
        """
        compute = partial(self._compute, self._measure_lengths())
        used_blocks = sum(map(any, zip(self._calls, self._scored, strict=True)))
        if used_blocks < _MIN_BLOCKS:
            figures = compute(make_unit_weights(_BLOCK_COUNT))
            return {name: Figure(value) for name, value in figures.items()}
        # S311: the figures need no cryptographic randomness, and a seed gives the same ones.
        intervals = compute_intervals(compute, _BLOCK_COUNT, Random(_SEED), _REPEATS)  # noqa: S311
        return {
            name: Figure(interval.value, interval.low, interval.high)
            for name, interval in intervals.items()
            if interval is not None
        }

    def _measure_lengths(self) -> dict[str, float]:
        """Return the mean tokens of an answer, for each tier that has enough answers."""
        return {
            tier: sum(self._tokens[tier]) / count
            for tier, answers in self._answers.items()
            if (count := sum(answers)) >= MIN_OWN_CALLS
        }

    def _compute(self, lengths: Mapping[str, float], weights: Weights) -> dict[str, float]:
        """Return the figures of a resample; `lengths` are the mean tokens of all answers."""

        def add_up(blocks: Sequence[float]) -> float:
            total: float = sum(map(mul, blocks, weights))
            return total

        figures: dict[str, float] = {}
        if calls := add_up(self._calls):
            changes = {  # mean tokens of the resample's answers, divided by those of all answers
                tier: add_up(self._tokens[tier]) / count / mean
                for tier, mean in lengths.items()
                if (count := add_up(self._answers[tier]))
            }
            usd_after = add_up(self._usd_after)
            for (before, after), blocks in self._expected_usd.items():
                is_known = before in changes and after in changes
                usd_after += add_up(blocks) * (changes[after] / changes[before] if is_known else 1)
            # A resample has more or fewer calls by chance, but the log's number of calls is fixed.
            # So money is taken per call, times the calls of the log.
            scale = sum(self._calls) / calls
            figures = _compare("usd", add_up(self._usd_before) * scale, usd_after * scale)
        if best := add_up(self._worth_of_reasoning):
            worth_before, worth_after = add_up(self._worth_before), add_up(self._worth_after)
            figures |= _compare("quality", worth_before / best, worth_after / best)
        return figures


def _make_blocks() -> list[float]:
    return [0.0] * _BLOCK_COUNT


def _find_block(row: ReplayRow) -> int:
    """Return the block of a call; all calls of a conversation share one."""
    turn = None if row.basis is None else row.basis.turn
    name = row.id if turn is None or not turn.conversation else turn.conversation
    return crc32(f"{row.tenant} {row.key} {name}".encode()) % _BLOCK_COUNT


def _compare(name: str, before: float, after: float) -> dict[str, float]:
    return {f"{name} before": before, f"{name} after": after, f"{name} change": after - before}
