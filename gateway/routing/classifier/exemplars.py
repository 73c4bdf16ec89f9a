"""Exemplars: prompts that the owner has given a tier; a turn that is near enough to one gets it.

How near is the cosine of their words and pairs of words, each weighed by how few exemplars have it.
What most of them have says nothing and is not looked at. An inverted index keeps it short: what a
turn costs is what it has in common with them.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from itertools import pairwise
from math import log, sqrt
from operator import mul
from typing import NamedTuple

from gateway.core.decision_context import Score, Thresholds
from gateway.core.target import Tier
from gateway.routing.classifier.heuristic import Classifier
from gateway.routing.classifier.text_signals import TextSignals

NEAR = 0.6
"""How near a turn must be, where nobody says it."""
SAME = 0.95
"""From here on two exemplars are as good as the same."""
_READ = 3_000
"""Characters of a turn that are looked at."""
_WORD = re.compile(
    r"[^\W\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff]+|[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff]"
)
_FEW = 32
"""Exemplars that may always have a word in common; of more, one in sixteen."""


class Exemplar(NamedTuple):
    """A prompt and the tier that it should get."""

    name: str
    """What a trace calls it: never its text."""
    prompt: str
    tier: Tier


class ExemplarIndex:
    """Finds the nearest of some prompts."""

    def __init__(self, prompts: Sequence[str]) -> None:
        words = [_words(prompt) for prompt in prompts]
        parts = [_parts(one) for one in words]
        often = Counter(part for one in parts for part in one)
        many, most = len(prompts), max(_FEW, len(prompts) // 16)
        weights = {
            part: log(1 + many / few) ** 2 if few <= most else 0.0 for part, few in often.items()
        }
        holders: dict[str, list[int]] = {part: [] for part in weights}
        for at, one in enumerate(parts):
            for part in one:
                if weights[part]:
                    holders[part].append(at)
        self._index = {part: (weights[part], tuple(found)) for part, found in holders.items()}
        self._unknown = log(1 + many) ** 2
        lengths = [sqrt(sum(weights[part] for part in one)) for one in parts]
        self._inverse = [1 / one if one else 0.0 for one in lengths]
        self._same: dict[tuple[str, ...], int] = {}
        for at, line in enumerate(words):
            self._same.setdefault(tuple(line), at)

    def nearest(self, text: str) -> tuple[int, float]:
        """Which is the nearest, and how near, 0 to 1; of several the first."""
        words = _words(text)
        same = self._same.get(tuple(words))
        if same is not None:
            return same, 1.0
        found = self._near(_parts(words))
        best = max(found, default=0.0)
        return (found.index(best), min(best, 1.0)) if best else (0, 0.0)

    def all(self, words: Sequence[str]) -> list[float]:
        """How near each is."""
        return [min(one, 1.0) for one in self._near(_parts(words))]

    def _near(self, parts: set[str]) -> list[float]:
        shared, length = [0.0] * len(self._inverse), 0.0
        get, unknown = self._index.get, (self._unknown, ())
        for part in parts:
            weight, holders = get(part, unknown)
            length += weight
            for at in holders:
                shared[at] += weight
        if not length:
            return shared
        scale = 1 / sqrt(length)
        return [one * scale for one in map(mul, shared, self._inverse)]


class ExemplarClassifier:
    """A classifier that knows exemplars, and asks another one of what is near none of them."""

    reads = "text"

    def __init__(self, exemplars: Sequence[Exemplar], base: Classifier, near: float = NEAR) -> None:
        self.name = f"exemplars, {base.name}"
        said = "\0".join(part for one in exemplars for part in one)
        digest = blake2b(f"{near}\0{said}".encode(), digest_size=4).hexdigest()
        self.version = f"{base.version}+{digest}"
        self.thresholds: Thresholds = base.thresholds
        self._exemplars = exemplars
        self.base = base
        """What is asked where no exemplar is near."""
        self._near = near
        self._index = ExemplarIndex([one.prompt for one in exemplars])

    def over(self, base: Classifier) -> "ExemplarClassifier":
        """The same exemplars before another classifier."""
        return ExemplarClassifier(self._exemplars, base, self._near)

    def score(self, text: str, signals: TextSignals) -> Score:
        """The surer of the exemplar's tier, the nearer it is; else what the other one says."""
        at, near = self._index.nearest(text)
        if near < self._near:
            return self.base.score(text, signals)
        one, own = self._exemplars[at], self.thresholds
        if one.tier == "fast":
            fast, smart = own.fast + (1 - own.fast) * near, 1.0
        elif one.tier == "smart":
            fast, smart = own.fast * (1 - near), own.smart + (1 - own.smart) * near
        else:
            smart = own.smart * (1 - near)
            fast = min(own.fast, smart) * (1 - near)
        return Score(fast, max(fast, smart), one.name, near)

    def why(self, signals: TextSignals, score: Score) -> str:
        """Which exemplar and how near, or what the other one says."""
        if score.exemplar:
            return f"near exemplar {score.exemplar} ({score.near:.2f})"
        return self.base.why(signals, score)


def clashes(exemplars: Sequence[Exemplar], near: float = SAME) -> Iterator[tuple[int, int, float]]:
    """Pairs that are as good as the same and have different tiers, and how near they are."""
    index = ExemplarIndex([one.prompt for one in exemplars])
    said: dict[tuple[str, ...], list[int]] = {}
    for at, one in enumerate(exemplars):
        words = _words(one.prompt)
        same = said.setdefault(tuple(words), [])
        found = index.all(words)[:at]
        others = {*same, *(other for other, close in enumerate(found) if close >= near)}
        for other in sorted(others):
            if exemplars[other].tier != one.tier:
                yield other, at, 1.0 if other in same else found[other]
        same.append(at)


def _words(text: str) -> list[str]:
    return _WORD.findall(text[:_READ].lower())


def _parts(words: Sequence[str]) -> set[str]:
    return {*words, *(f"{one} {other}" for one, other in pairwise(words))}
