"""A classifier that was trained: the prior, blended with the wording and the form of the prompt.

How much a prompt needs the stronger model, in units of the gap between the two:

    familiar * gain of the sources it is like + (1 - familiar) * transfer + forest + prior

Gains and `transfer` are linear in a hashed table of words and pairs and in the numbers of a shape.
Where nothing is familiar `transfer` speaks, which was trained on how hard prompts are and not on
the gap, because that carries over to prompts of other kinds, and the prior weighs more.
"""

from collections.abc import Set as AbstractSet
from functools import cached_property
from itertools import compress
from math import copysign, exp, log, sqrt, sumprod

from gateway.core.evidence import Score, Thresholds
from gateway.routing import prior, shape
from gateway.routing.artefact import Artefact
from gateway.routing.forest import Forest
from gateway.routing.signals import Signals, scan

_LANE = 3
"""Bytes of a lane in a sum: a text has far fewer than 2^16 places of at most 255 each."""
_MASK = (1 << 8 * _LANE) - 1
_MIDDLE = 128
_FAR = 4.0
_FAMILIAR = (0.60, 0.95)
"""Shares of known words with which nothing, and all, of a text may be familiar."""
_TRUSTED = (0.75, 0.90)
"""The same of being judged by more than the prior: other languages are not in the data."""
_LEAST = 0.02
"""No probability is nearer to 0 or 1 than this where the data say it; the prior may be surer."""
_SAID = 0.02
"""A part that moves the need by less is not told."""


class Learned:
    """An artefact at work. It never looks at the text but through `signals` and `shape`.

    Until the first text is scored it is the artefact's bytes; then its numbers are laid out, which
    takes about 40 ms and seven times the memory. The first that asks for all of the forest takes as
    long again, and twice the memory.
    """

    name = "learned"
    reads = "text"

    def __init__(self, artefact: Artefact, base: prior.Classifier | None = None) -> None:
        """`base` is what judges where the data say nothing: the prior."""
        self.artefact = artefact
        self.version = artefact.id
        self.thresholds: Thresholds = artefact.thresholds
        self._base = base or prior.Prior()
        # Most numbers of most texts are 0: only what the others add to that is worked out.
        nothing = [
            _far(-mean / wide) for mean, wide in zip(artefact.means, artefact.spreads, strict=True)
        ]
        self._pairs = [*zip(artefact.means, artefact.spreads, nothing, strict=True)]
        *beats, always = artefact.beats
        every = (*artefact.forms, tuple(beats))
        self._columns = [*zip(*every, strict=True)]
        """By number: its weight in each form, and in what reasoning beats smart by."""
        self._bases = [sumprod(weights, nothing) for weights in every]
        """What each of these comes to where all numbers are 0."""
        self._bases[-1] += always
        self._reasoned = frozenset(artefact.reasoned)
        self._shifts = range(0, 8 * _LANE * artefact.lanes, 8 * _LANE)

    @cached_property
    def _sums(self) -> list[int]:
        return _joined(self.artefact)

    @cached_property
    def _forest(self) -> Forest:
        return Forest(self.artefact)

    @cached_property
    def _known(self) -> bytes:
        """1 for each word that was seen, else 0."""
        return bytes(byte >> at & 1 for byte in self.artefact.known for at in range(8))

    def score(self, text: str, signals: Signals) -> Score:
        """Probabilities of what it has learnt; `because` has the parts for `why`."""
        return self.judge(shape.reading(scan(text), signals, self.artefact.bits), signals)

    def judge(self, reading: shape.Reading, signals: Signals) -> Score:
        """As `score`, of a text that has been read."""
        need, fails, because = self._parts(reading, self._base.score("", signals))
        artefact = self.artefact
        fast = logistic(artefact.level - artefact.slope * need)
        return Score(fast=fast, smart=1 - (1 - fast) * fails, because=because)

    def weigh(self, reading: shape.Reading, signals: Signals) -> tuple[float, float]:
        """How much such a text needs the stronger model, in units of the gap between the two.

        And the probability that smart fails where fast does.
        """
        need, fails, _ = self._parts(reading, self._base.score("", signals))
        return need, fails

    def why(self, signals: Signals, score: Score) -> str:
        """The scores, the prior's words for what it saw, and what the rest did to them."""
        said = prior.why(signals, score)
        if not score.because:
            return said
        wording, form, familiar, nearest, own = score.because
        parts = [
            f"its {name} says {'harder' if value > 0 else 'easier'} ({value:+.2f})"
            for name, value in (("wording", wording), ("form", form), ("own labels", own))
            if abs(value) >= _SAID
        ]
        source = self.artefact.sources[int(nearest)]
        parts.append(f"like {source} {familiar:.0%}")
        return f"{said}; {', '.join(parts)}"

    def _parts(self, reading: shape.Reading, base: Score) -> tuple[float, float, tuple[float, ...]]:
        """The need, how likely smart fails where fast does, and what made the need."""
        artefact, mix = self.artefact, self.artefact.mix
        sources = len(artefact.sources)
        places, words, numbers = reading
        lanes = self._lanes(places)
        form = []
        for number, (mean, wide, nothing) in zip(
            compress(numbers, numbers), compress(self._pairs, numbers), strict=True
        ):
            far = (number - mean) / wide
            form.append((far if -_FAR < far < _FAR else copysign(_FAR, far)) - nothing)
        weights = [*zip(*compress(self._columns, numbers), strict=True)]
        bases = self._bases
        gates = [min(max(gate, 0.0), 1.0) for gate in lanes[1 + sources : 1 + 2 * sources]]
        nearest, all_ = max(gates), sum(gates)
        known_words = sum(map(self._known.__getitem__, words)) / len(words) if words else 0.0
        familiar = nearest * _ramp(known_words, _FAMILIAR)
        wording, shaped, known = 0.0, 0.0, 0.0
        for at, gate in enumerate(gates):
            if gate > 0 and familiar > 0:
                share = familiar * gate / all_
                wording += share * lanes[1 + at]
                shaped += share * (bases[1 + at] + sumprod(weights[1 + at], form))
                known += share if at in self._reasoned else 0.0
        strange = 1 - familiar
        if strange > 0:
            wording += strange * lanes[0]
            shaped += strange * (bases[0] + sumprod(weights[0], form))
        shaped += self._forest.mean(numbers) * (1 - mix.strange * strange)
        trust = _ramp(known_words, _TRUSTED)
        wording, shaped = wording * trust, shaped * trust
        logit = log(base.fast / (1 - base.fast))
        need = wording + shaped - mix.prior * (1 - mix.settled * familiar) * logit
        fails = (1 - base.smart) / (1 - base.fast)
        if known:
            beats = bases[-1] + sumprod(weights[-1], form)
            fails = (1 - known) * fails + known * min(max(beats, _LEAST), 1 - _LEAST)
        own = 0.0
        if artefact.own:
            own = (1 - mix.base) * (lanes[-1] + (bases[-2] + sumprod(weights[-2], form)))
            wording, shaped, need = wording * mix.base, shaped * mix.base, need * mix.base + own
        return need, fails, (wording, shaped, familiar, float(gates.index(nearest)), own)

    def _lanes(self, places: AbstractSet[int]) -> list[float]:
        """The sum of each lane over the places, as if the vector of places had length one."""
        if not places:
            return [0.0] * self.artefact.lanes
        count = len(places)
        total = sum(map(self._sums.__getitem__, places))
        less, unit = _MIDDLE * count, 1 / sqrt(count)
        return [
            ((total >> at & _MASK) - less) * scale * unit
            for at, scale in zip(self._shifts, self.artefact.scales, strict=True)
        ]


def _far(spreads: float) -> float:
    return max(min(spreads, _FAR), -_FAR)


def _joined(artefact: Artefact) -> list[int]:
    """All lanes of each place in one integer, so that one sum over places sums them all."""
    lanes, size = artefact.lanes, 1 << artefact.bits
    width = lanes * _LANE
    spread = bytearray(size * width)
    flipped = bytes(at ^ _MIDDLE for at in range(256))  # a signed byte, plus 128
    for lane in range(lanes):
        column = artefact.table[lane * size : (lane + 1) * size].translate(flipped)
        spread[lane * _LANE :: width] = column
    whole, read = bytes(spread), int.from_bytes
    return [read(whole[at : at + width], "little") for at in range(0, len(whole), width)]


def _ramp(share: float, ends: tuple[float, float]) -> float:
    low, high = ends
    return min(max((share - low) / (high - low), 0.0), 1.0)


def logistic(logit: float) -> float:
    """The probability of a logit."""
    # A sum of bounded parts: no logit is large enough to overflow.
    return 1 / (1 + exp(-max(min(logit, 30.0), -30.0)))
