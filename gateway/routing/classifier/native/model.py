"""A trained classifier as the compiled kernel has it."""

import ctypes
import struct
import weakref
from collections.abc import Sequence
from itertools import accumulate

from gateway.core.decision_context import Score
from gateway.routing.classifier import text_features
from gateway.routing.classifier.heuristic import FAILS, FAST, TERMS, Classifier, HeuristicClassifier
from gateway.routing.classifier.model_file import ClassifierModel
from gateway.routing.classifier.native.text import NativeText, NativeWordLists, words
from gateway.routing.classifier.text_signals import TextSignals

_Score = ctypes.c_double * 7
_scored = struct.Struct("7d").unpack
_told = struct.Struct("6d").pack
_FORMULA = (ctypes.c_double * (2 + 2 * len(TERMS)))(
    FAST, FAILS, *(weight for term in TERMS for weight in (term.fast, term.fails))
)
"""Of the prior."""
_UNKNOWN = Score(fast=0.0, smart=0.0)


class NativeModel:
    """A classifier's numbers, laid out for the library."""

    def __init__(self, known: NativeWordLists, at: int) -> None:
        self._score = known.library.tiergate_score
        self._words, self._at = known.at, at
        weakref.finalize(self, known.library.tiergate_free, at)

    def score(self, text: NativeText, signals: TextSignals, base: Classifier) -> Score:
        """As `Learned.score`; `base` is the prior."""
        raw, score = text.raw, _Score()
        plain = type(base) is HeuristicClassifier
        known = _UNKNOWN if plain else base.score("", signals)
        options = (
            text_features.options(text.cut, text.options)
            if text.options
            else text_features.NO_OPTIONS
        )
        self._score(
            self._words, self._at, raw, len(raw), len(text.text), text.found,
            _told(*options, signals.digits), _FORMULA if plain else None, known.fast, known.smart,
            score,
        )  # fmt: skip
        found = _scored(score)
        return Score(found[0], found[1], because=found[2:])


def model(
    artefact: ClassifierModel,
    ends: Sequence[tuple[float, float]],
    weights: Sequence[Sequence[float]],
    bases: Sequence[float],
) -> NativeModel | None:
    """A classifier, by what `Learned` makes of its numbers.

    None without the library, or where they do not fit it.
    """
    known = words()
    if known is None:
        return None
    cut_from = accumulate(map(len, artefact.cuts), initial=0)
    tree_from = accumulate(artefact.trees, initial=0)
    own = artefact.own > 0
    sizes = (
        len(artefact.means), len(bases), artefact.lanes, len(artefact.sources), artefact.size,
        artefact.more, own, len(artefact.trees), *cut_from, *tree_from,
    )  # fmt: skip
    mix = artefact.mix
    numbers = (
        artefact.leaf / max(len(artefact.trees), 1),
        mix.prior, mix.settled, mix.strange, mix.base, artefact.slope, artefact.level,
        *(end for pair in ends for end in pair),
        *(weight for row in zip(*weights, strict=True) for weight in row),
        *bases, *artefact.scales,
        *(cut for row in artefact.cuts for cut in row),
    )  # fmt: skip
    reasoned = bytes(at in artefact.reasoned for at in range(len(artefact.sources)))
    blob = b"".join(
        (artefact.known, reasoned, artefact.terms, artefact.more_terms, artefact.table,
         artefact.own_table, artefact.forest)
    )  # fmt: skip
    at = known.library.tiergate_model(
        struct.pack(f"={len(sizes)}I", *sizes), len(sizes),
        struct.pack(f"={len(numbers)}d", *numbers), len(numbers),
        blob, len(blob),
    )  # fmt: skip
    return None if at is None else NativeModel(known, at)
