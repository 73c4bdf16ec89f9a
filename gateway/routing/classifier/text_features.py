"""The input of a learned classifier: words as places in a table, and plain numbers.

The numbers are readable signals. The code hashes the words, alone and in pairs; training learns the
value of each.
"""

from binascii import crc_hqx
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from math import log1p

import msgspec

from gateway.routing.classifier.text_signals import TextScan, TextSignals

VERSION = 4
"""The version of the features and their order. A model that was trained on another version cannot
be used."""
PLACES = 1 << 16
"""The number of places of a table, one for each value of a 16-bit CRC. Words that share a place
count alike; few words that matter do."""
NUMBER_NAMES: tuple[str, ...] = (
    "words", "numbers", "digits", "code", "maths", "proof", "reasoning", "build", "simple", "trace",
    "lookup", "counting", "options", "questions", "lines", "sentences", "sentence length",
    "ends in a question",
)  # fmt: skip
"""The names of a text's numbers, in their order."""
_SENTENCE_ENDS = (". ", "? ", "! ")
_LAST_SENTENCE_END = ".\n"


class TextFeatures(msgspec.Struct, frozen=True):
    """The input of a learned classifier for one text."""

    places: AbstractSet[int]
    """The places of the text's words, numbers and marks, and of pairs of neighbours."""
    numbers: Sequence[float]
    """The number for each of `NUMBER_NAMES`."""


def read_features(scan: TextScan, signals: TextSignals) -> TextFeatures:
    """Return the features of a scanned text."""
    hashes = scan.facts.list_hashes()
    places = {*hashes, *map(crc_hqx, scan.tokens[1:], hashes)}
    return TextFeatures(places, _list_numbers(scan.excerpt, signals))


def _list_numbers(excerpt: str, signals: TextSignals) -> tuple[float, ...]:
    line_breaks, sentences = 0, 1 + sum(map(excerpt.count, _SENTENCE_ENDS))
    if "\n" in excerpt:
        line_breaks = excerpt.count("\n")
        sentences += excerpt.count(_LAST_SENTENCE_END)
    return (
        log1p(signals.words),
        log1p(signals.numbers),
        signals.digits,
        signals.code,
        signals.maths,
        min(signals.proof_words, 2),
        min(signals.reasoning_words, 3),
        min(signals.build_words, 2),
        min(signals.simple_words, 2),
        signals.trace,
        signals.lookup,
        signals.counting,
        signals.options > 0,
        min(signals.questions, 4),
        log1p(line_breaks),
        log1p(sentences),
        log1p(signals.words / sentences),
        excerpt.rstrip().endswith("?"),
    )
