"""Exemplars: prompts to which the owner gave a tier. A turn near one gets its tier.

Nearness is the cosine of the words and pairs of words. Each weighs more the fewer exemplars have
it. The index skips words that many exemplars share, because they distinguish nothing. It is an
inverted index: a turn costs time only for what it shares with the exemplars.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from itertools import pairwise
from math import log, sqrt
from operator import mul
from typing import NamedTuple

from gateway.core.decision_context import MeaningMatch, Score, Thresholds
from gateway.core.target import Tier
from gateway.routing.classifier.heuristic import Classifier
from gateway.routing.classifier.text_signals import TextSignals

DEFAULT_NEARNESS = 0.6
"""The nearness that a turn must reach by default, 0 to 1."""
DUPLICATE_NEARNESS = 0.95
"""The nearness from which on two exemplars count as duplicates."""
_MAX_CHARS = 3_000
"""The number of characters of a turn that the index reads."""
_WORD_PATTERN = re.compile(
    r"[^\W\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff]+|[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff]"
)
_MIN_SHARED_EXEMPLARS = 32
"""The number of exemplars that may always share a word; a larger set allows one in sixteen."""


class Exemplar(NamedTuple):
    """A prompt and the tier that it should get."""

    name: str
    """The exemplar's name in a trace, which never shows its text."""
    prompt: str
    tier: Tier


class ExemplarIndex:
    """An index that finds the nearest of some prompts."""

    def __init__(self, prompts: Sequence[str]) -> None:
        words = [_split_words(prompt) for prompt in prompts]
        parts = [_list_parts(item) for item in words]
        part_counts = Counter(part for item in parts for part in item)
        prompt_count, max_holders = len(prompts), max(_MIN_SHARED_EXEMPLARS, len(prompts) // 16)
        weights = {
            part: log(1 + prompt_count / holder_count) ** 2 if holder_count <= max_holders else 0.0
            for part, holder_count in part_counts.items()
        }
        holders: dict[str, list[int]] = {part: [] for part in weights}
        for index, item in enumerate(parts):
            for part in item:
                if weights[part]:
                    holders[part].append(index)
        self._index = {part: (weights[part], tuple(indexes)) for part, indexes in holders.items()}
        self._unknown_weight = log(1 + prompt_count) ** 2
        lengths = [sqrt(sum(weights[part] for part in item)) for item in parts]
        self._inverse_lengths = [1 / item if item else 0.0 for item in lengths]
        self._index_by_words: dict[tuple[str, ...], int] = {}
        for index, prompt_words in enumerate(words):
            self._index_by_words.setdefault(tuple(prompt_words), index)

    def find_nearest(self, text: str) -> tuple[int, float]:
        """Return the index of the nearest prompt (the first one wins) and its nearness.

        The nearness is 0 to 1.
        """
        words = _split_words(text)
        index = self._index_by_words.get(tuple(words))
        if index is not None:
            return index, 1.0
        similarities = self._measure_similarities(_list_parts(words))
        best = max(similarities, default=0.0)
        return (similarities.index(best), min(best, 1.0)) if best else (0, 0.0)

    def measure_all(self, words: Sequence[str]) -> list[float]:
        """Return the nearness of each prompt, 0 to 1."""
        return [
            min(similarity, 1.0) for similarity in self._measure_similarities(_list_parts(words))
        ]

    def _measure_similarities(self, parts: set[str]) -> list[float]:
        shared_weights, length = [0.0] * len(self._inverse_lengths), 0.0
        find_part, unknown_part = self._index.get, (self._unknown_weight, ())
        for part in parts:
            weight, holders = find_part(part, unknown_part)
            length += weight
            for index in holders:
                shared_weights[index] += weight
        if not length:
            return shared_weights
        scale = 1 / sqrt(length)
        return [product * scale for product in map(mul, shared_weights, self._inverse_lengths)]


class ExemplarClassifier:
    """A classifier that uses exemplars, and another classifier for texts that are near none."""

    reads = "text"

    def __init__(
        self,
        exemplars: Sequence[Exemplar],
        base: Classifier,
        min_nearness: float = DEFAULT_NEARNESS,
    ) -> None:
        self.name = f"exemplars, {base.name}"
        content = "\0".join(field for exemplar in exemplars for field in exemplar)
        digest = blake2b(f"{min_nearness}\0{content}".encode(), digest_size=4).hexdigest()
        self.version = f"{base.version}+{digest}"
        self.thresholds: Thresholds = base.thresholds
        self._exemplars = exemplars
        self.base = base
        """The classifier for texts that are near no exemplar."""
        self._min_nearness = min_nearness
        self._index = ExemplarIndex([exemplar.prompt for exemplar in exemplars])

    def with_base(self, base: Classifier) -> "ExemplarClassifier":
        """Return a classifier with the same exemplars before another classifier."""
        return ExemplarClassifier(self._exemplars, base, self._min_nearness)

    def score(self, text: str, signals: TextSignals) -> Score:
        """Return a score for the near exemplar's tier, surer the nearer; else the base's score."""
        index, nearness = self._index.find_nearest(text)
        if nearness < self._min_nearness:
            return self.base.score(text, signals)
        exemplar = self._exemplars[index]
        fast, smart = make_probabilities(exemplar.tier, nearness, self.thresholds)
        return Score(fast, smart, exemplar.name, nearness)

    def explain(self, signals: TextSignals, score: Score) -> str:
        """Name the exemplar and its nearness, or return the base classifier's explanation."""
        if score.exemplar:
            return f"near exemplar {score.exemplar} ({score.near:.2f})"
        return self.base.explain(signals, score)


def score_match(match: MeaningMatch, thresholds: Thresholds) -> Score:
    """Return a score for the tier of an exemplar or route that a turn is near by its meaning.

    A cosine that is near enough counts no less than words that are near enough.
    """
    nearness = max(match.near, DEFAULT_NEARNESS)
    fast, smart = make_probabilities(match.tier, nearness, thresholds)
    return Score(fast, smart, match.name, match.near)


def make_probabilities(tier: Tier, nearness: float, thresholds: Thresholds) -> tuple[float, float]:
    """Return probabilities (`Score.fast`, `Score.smart`) for a tier: surer the nearer."""
    if tier == "fast":
        fast, smart = thresholds.fast + (1 - thresholds.fast) * nearness, 1.0
    elif tier == "smart":
        fast = thresholds.fast * (1 - nearness)
        smart = thresholds.smart + (1 - thresholds.smart) * nearness
    else:
        smart = thresholds.smart * (1 - nearness)
        fast = min(thresholds.fast, smart) * (1 - nearness)
    return fast, max(fast, smart)


def find_clashes(
    exemplars: Sequence[Exemplar], min_nearness: float = DUPLICATE_NEARNESS
) -> Iterator[tuple[int, int, float]]:
    """Yield pairs of near-duplicates with different tiers: their two indexes and their nearness."""
    index = ExemplarIndex([exemplar.prompt for exemplar in exemplars])
    indexes_by_words: dict[tuple[str, ...], list[int]] = {}
    for position, exemplar in enumerate(exemplars):
        words = _split_words(exemplar.prompt)
        same_positions = indexes_by_words.setdefault(tuple(words), [])
        similarities = index.measure_all(words)[:position]
        close_positions = {
            *same_positions,
            *(
                close_position
                for close_position, similarity in enumerate(similarities)
                if similarity >= min_nearness
            ),
        }
        for close_position in sorted(close_positions):
            if exemplars[close_position].tier != exemplar.tier:
                yield (
                    close_position,
                    position,
                    1.0 if close_position in same_positions else similarities[close_position],
                )
        same_positions.append(position)


def _split_words(text: str) -> list[str]:
    return _WORD_PATTERN.findall(text[:_MAX_CHARS].lower())


def _list_parts(words: Sequence[str]) -> set[str]:
    return {*words, *(f"{first} {second}" for first, second in pairwise(words))}
