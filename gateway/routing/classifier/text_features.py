"""The form of a text as plain numbers, and its wording as hashes of words and pairs.

What a learned classifier reads beside the signals: none of it is a list of good or bad words. Both
are a few passes over at most `signals.LIMIT` characters, most of them in C.
"""

# ruff: noqa: SIM905 -- words, many to a line

import re
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from math import log1p
from typing import NamedTuple
from zlib import crc32

from gateway.routing.classifier.text_signals import TextScan, TextSignals
from gateway.routing.classifier.tokenizer import DIGITS, LETTERS, PLAIN
from gateway.routing.classifier.word_lists import TOPICS

VERSION = 2
"""Of what is read and in which order: an artefact that was trained on another cannot be used."""

_OPTION = re.compile(r"\n\(?[A-J][.)] ?([^\n]*)")
_FIGURE = re.compile(r"[\s$£€\\(+-]*[\d.,/^×x]*\d[^a-z]{0,6}[a-z^°/0-9 -]{0,8}$")  # noqa: RUF001
NO_OPTIONS = 0.0, 0.0, 0.0, 0.0, 0.0
_SHORT = 25
"""An answer option that may be a figure is no longer."""
_USUAL = b".,?!'-:()"
"""Marks of prose; where there is no other most numbers are known to be 0."""
BEGIN = frozenset((*LETTERS, *range(128, 256)))
"""What a word begins with."""
_LAST = 16
_ONES = bytes.maketrans(DIGITS, b"1" * len(DIGITS))
_LONG = b"11111"

_CODES = range(1, len(TOPICS) + 1)
SHARED = frozenset(("stop", "people"))
"""Topics that count by their share of a text."""
_SHARED = [topic in SHARED for topic in TOPICS]
_MOST = 6
_OPERATORS = (b"+", b"*", b"/", b"^", b"<", b">")
_OPENINGS = tuple(
    "what which who when where why how if is are does do can write find let the a you given in this"
    " complete explain for an according".split()
)
_ASKS = tuple("what which who when where why how".split())
_DENIALS = frozenset(word.encode() for word in "not except least false incorrect".split())
_OPENS = {word.encode(): [float(word == other) for other in _OPENINGS] for word in _OPENINGS}
_NO_OPENING = [0.0] * len(_OPENINGS)
_ASK = tuple(word.encode() for word in _ASKS)
_ANY_ASK = frozenset(_ASK)
_NO_ASK = [0.0] * len(_ASKS)
LOOKED_FOR = {
    word: (
        _OPENINGS.index(word.decode()) + 1 if word in _OPENS else 0,
        _ASKS.index(word.decode()) + 1 if word in _ANY_ASK else 0,
        int(word in _DENIALS),
    )
    for word in (*_OPENS, *_ASK, *_DENIALS)
}
"""By word: its places, counted from 1, among those that open a text and those that ask at its end;
and whether it denies there."""
_UPPER = LETTERS.upper()

NAMES: tuple[str, ...] = (
    *(
        "chars words options option_count option_length option_figures option_spread questions"
        " ends_in_question numbers digits code maths proof reasoning build simple trace lookup"
        " counting lines blank latex word_length distinct sentence_length sentences capitals commas"
        " brackets quotes foreign equals operators percent dollars stops_per_word braces squares"
        " indent loops conditions definitions stops boxed role long_number denied colons semicolons"
    ).split(),
    *(f"topic:{topic}" for topic in TOPICS),
    *(f"opens:{word}" for word in _OPENINGS),
    *(f"asks:{word}" for word in _ASKS),
)
"""What the numbers of `shape` are, in their order."""


class TextFeatures(NamedTuple):
    """A text as a learned classifier reads it."""

    terms: AbstractSet[int]
    """Its words, numbers and marks, and pairs of neighbours."""
    words: AbstractSet[int]
    """Which of them are words."""
    numbers: Sequence[float]
    """Its form: one for each of `NAMES`."""


def reading(scan: TextScan, signals: TextSignals) -> TextFeatures:
    """All that is read of a text that has been looked at."""
    found = scan.tokens
    each = {*found}
    terms = {*map(crc32, each)} | pairs(found)
    return TextFeatures(terms, {*map(crc32, filter(word, each))}, shape(scan, signals, found, each))


def pairs(found: Sequence[bytes]) -> set[int]:
    """Each pair of neighbours, as a term."""
    return {*map(crc32, found[1:], map(crc32, found))}


def word(token: bytes) -> bool:
    """Whether a token is a word: no number and no mark."""
    return token[0] in BEGIN


def shape(
    scan: TextScan, signals: TextSignals, found: Sequence[bytes], each: AbstractSet[bytes]
) -> list[float]:
    """The numbers of `NAMES` of a text, and its tokens: in order, and once."""
    text = scan.cut
    size, raw = max(len(text), 1), text.encode("utf-8", "surrogatepass")
    all_, count, spaced = max(len(found), 1), text.count, max(signals.words, 1)
    marks = raw.translate(None, PLAIN)
    sign = marks.count
    lines, stops, questions = count("\n"), sign(b"."), sign(b"?")
    sentences = 1
    if stops:
        sentences += count(". ") + count(".\n")
    if questions:
        sentences += count("? ")
    if b"!" in marks:
        sentences += count("! ")
    rare = len(marks.translate(None, _USUAL)) > 0
    dollars = sign(b"$") if rare else 0
    letters = len(raw) - count(" ") - lines
    numbers = [
        log1p(signals.chars),
        log1p(signals.words),
        *options(text, signals.options),
        min(signals.questions, 4),
        float(questions > 0 and text.rstrip().endswith("?")),
        log1p(signals.numbers),
        signals.digits,
        signals.code,
        signals.maths,
        min(signals.proof_words, 2),
        min(signals.reasoning_words, 3),
        min(signals.build_words, 2),
        min(signals.simple_words, 2),
        float(signals.trace),
        float(signals.lookup),
        float(signals.counting),
        log1p(lines),
        min(count("__"), 3) if rare else 0,
        min(sign(b"\\") + dollars, 30) if rare else 0,
        letters / spaced,
        len(each) / all_,
        log1p(spaced / sentences),
        log1p(sentences),
        (len(raw) - len(raw.translate(None, _UPPER))) / size,
        sign(b",") / spaced,
        sign(b"(") / spaced,
        (sign(b'"') + count("\u201c")) / spaced if rare else 0.0,
        (len(raw) - len(text)) / size,
        min(sign(b"="), 12) if rare else 0,
        min(sum(map(sign, _OPERATORS)), 20) if rare else 0,
        min(sign(b"%"), 3) if rare else 0,
        min(dollars, 6),
        min(stops, 20) / spaced,
        min(sign(b"{"), 12) if rare else 0,
        min(sign(b"["), 20) if rare else 0,
        count("    ") / size,
        min(count("for "), 6),
        min(count("if "), 6),
        min(count("def "), 3),
        min(stops, 30),
        float("boxed" in text),
        float(text.startswith("You are")),
        float(signals.numbers > 0 and _LONG in raw.translate(_ONES)),
        float(not _DENIALS.isdisjoint(found[-_LAST:])),
        min(sign(b":"), 8),
        min(sign(b";"), 6) if rare else 0,
    ]
    topics = scan.topics
    numbers += [
        seen / all_ if shared else min(seen, _MOST)
        for seen, shared in zip(map(topics.count, _CODES), _SHARED, strict=True)
    ]
    numbers += _OPENS.get(found[0], _NO_OPENING) if found else _NO_OPENING
    numbers += _asks(found[-_LAST:])
    return numbers


def options(text: str, count: int) -> tuple[float, float, float, float, float]:
    """Of so many answer options: whether, how many, how long, the share of figures, the spread."""
    texts = _OPTION.findall(text) if count else []
    if not texts:
        return NO_OPTIONS
    lengths = [*map(len, texts)]
    middle = sum(lengths) / len(lengths)
    figures = sum(len(one) < _SHORT and _FIGURE.match(one) is not None for one in texts)
    spread = (max(lengths) - min(lengths)) / (middle + 1)
    return 1.0, min(count, 12) / 10, log1p(middle), figures / len(texts), min(spread, 4.0)


def _asks(found: Sequence[bytes]) -> list[float]:
    asked = _ANY_ASK.intersection(found)
    return [float(word in asked) for word in _ASK] if asked else _NO_ASK
