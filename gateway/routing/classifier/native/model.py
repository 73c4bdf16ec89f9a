"""A trained classifier as the compiled kernel has it."""

import ctypes
import struct
import weakref
from collections.abc import Sequence
from itertools import accumulate

from gateway.core.decision_context import Score
from gateway.routing.classifier import text_features
from gateway.routing.classifier.heuristic import (
    FAILS_LOGIT,
    FAST_LOGIT,
    TERMS,
    Classifier,
    HeuristicClassifier,
)
from gateway.routing.classifier.model_file import ClassifierModel
from gateway.routing.classifier.native.text import NativeText, NativeWordLists, load_word_lists
from gateway.routing.classifier.text_signals import TextSignals

_ScoreArray = ctypes.c_double * 7
_unpack_score = struct.Struct("7d").unpack
_pack_inputs = struct.Struct("6d").pack
_HEURISTIC_WEIGHTS = (ctypes.c_double * (2 + 2 * len(TERMS)))(
    FAST_LOGIT,
    FAILS_LOGIT,
    *(weight for term in TERMS for weight in (term.fast_weight, term.fails_weight)),
)
"""Of the prior."""
_UNUSED_SCORE = Score(fast=0.0, smart=0.0)


class NativeModel:
    """A classifier's numbers, laid out for the library."""

    def __init__(self, word_lists: NativeWordLists, address: int) -> None:
        self._score = word_lists.library.tiergate_score
        self._word_lists_address, self._address = word_lists.address, address
        weakref.finalize(self, word_lists.library.tiergate_free, address)

    def score(self, text: NativeText, signals: TextSignals, base: Classifier) -> Score:
        """As `Learned.score`; `base` is the prior."""
        raw, score = text.raw, _ScoreArray()
        is_heuristic = type(base) is HeuristicClassifier
        base_score = _UNUSED_SCORE if is_heuristic else base.score("", signals)
        options = (
            text_features.measure_options(text.excerpt, text.option_count)
            if text.option_count
            else text_features.NO_OPTIONS
        )
        self._score(
            self._word_lists_address, self._address, raw, len(raw), len(text.text), text.results,
            _pack_inputs(*options, signals.digits), _HEURISTIC_WEIGHTS if is_heuristic else None,
            base_score.fast, base_score.smart, score,
        )  # fmt: skip
        values = _unpack_score(score)
        return Score(values[0], values[1], because=values[2:])


def build_native_model(
    model: ClassifierModel,
    ranges: Sequence[tuple[float, float]],
    weights: Sequence[Sequence[float]],
    bases: Sequence[float],
) -> NativeModel | None:
    """A classifier, by what `Learned` makes of its numbers.

    None without the library, or where they do not fit it.
    """
    word_lists = load_word_lists()
    if word_lists is None:
        return None
    cut_from = accumulate(map(len, model.cuts), initial=0)
    tree_from = accumulate(model.trees, initial=0)
    has_own = model.own > 0
    sizes = (
        len(model.means), len(bases), model.lanes, len(model.sources), model.size,
        model.more, has_own, len(model.trees), *cut_from, *tree_from,
    )  # fmt: skip
    mix = model.mix
    numbers = (
        model.leaf / max(len(model.trees), 1),
        mix.prior, mix.settled, mix.strange, mix.base, model.slope, model.level,
        *(end for number_range in ranges for end in number_range),
        *(weight for row in zip(*weights, strict=True) for weight in row),
        *bases, *model.scales,
        *(cut for row in model.cuts for cut in row),
    )  # fmt: skip
    reasoned = bytes(at in model.reasoned for at in range(len(model.sources)))
    blob = b"".join(
        (model.known, reasoned, model.terms, model.more_terms, model.table,
         model.own_table, model.forest)
    )  # fmt: skip
    at = word_lists.library.tiergate_model(
        struct.pack(f"={len(sizes)}I", *sizes), len(sizes),
        struct.pack(f"={len(numbers)}d", *numbers), len(numbers),
        blob, len(blob),
    )  # fmt: skip
    return None if at is None else NativeModel(word_lists, at)
