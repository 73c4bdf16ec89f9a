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
from gateway.routing.classifier.tokenizer import DIGITS, LETTERS, PLAIN_BYTES
from gateway.routing.classifier.word_lists import TOPIC_WORDS

VERSION = 2
"""Of what is read and in which order: an artefact that was trained on another cannot be used."""

_OPTION_PATTERN = re.compile(r"\n\(?[A-J][.)] ?([^\n]*)")
_FIGURE_PATTERN = re.compile(r"[\s$£€\\(+-]*[\d.,/^×x]*\d[^a-z]{0,6}[a-z^°/0-9 -]{0,8}$")  # noqa: RUF001
NO_OPTIONS = 0.0, 0.0, 0.0, 0.0, 0.0
_MAX_FIGURE_CHARS = 25
"""An answer option that may be a figure is no longer."""
_PROSE_MARKS = b".,?!'-:()"
"""Marks of prose; where there is no other most numbers are known to be 0."""
WORD_FIRST_BYTES = frozenset((*LETTERS, *range(128, 256)))
"""What a word begins with."""
_ENDING_TOKENS = 16
_DIGITS_TO_ONES = bytes.maketrans(DIGITS, b"1" * len(DIGITS))
_LONG_NUMBER = b"11111"

_TOPIC_CODES = range(1, len(TOPIC_WORDS) + 1)
SHARE_TOPICS = frozenset(("stop", "people"))
"""Topics that count by their share of a text."""
_IS_SHARE_TOPIC = [topic in SHARE_TOPICS for topic in TOPIC_WORDS]
_MAX_TOPIC_COUNT = 6
_OPERATORS = (b"+", b"*", b"/", b"^", b"<", b">")
_OPENING_WORDS = tuple(
    "what which who when where why how if is are does do can write find let the a you given in this"
    " complete explain for an according".split()
)
_QUESTION_WORDS = tuple("what which who when where why how".split())
_DENIAL_WORDS = frozenset(word.encode() for word in "not except least false incorrect".split())
_OPENING_VECTORS = {
    word.encode(): [float(word == opening) for opening in _OPENING_WORDS] for word in _OPENING_WORDS
}
_NO_OPENING_VECTOR = [0.0] * len(_OPENING_WORDS)
_QUESTION_TOKENS = tuple(word.encode() for word in _QUESTION_WORDS)
_QUESTION_TOKEN_SET = frozenset(_QUESTION_TOKENS)
_NO_QUESTION_VECTOR = [0.0] * len(_QUESTION_WORDS)
WORD_ROLES = {
    word: (
        _OPENING_WORDS.index(word.decode()) + 1 if word in _OPENING_VECTORS else 0,
        _QUESTION_WORDS.index(word.decode()) + 1 if word in _QUESTION_TOKEN_SET else 0,
        int(word in _DENIAL_WORDS),
    )
    for word in (*_OPENING_VECTORS, *_QUESTION_TOKENS, *_DENIAL_WORDS)
}
"""By word: its places, counted from 1, among those that open a text and those that ask at its end;
and whether it denies there."""
_UPPER_LETTERS = LETTERS.upper()

SHAPE_NAMES: tuple[str, ...] = (
    *(
        "chars words options option_count option_length option_figures option_spread questions"
        " ends_in_question numbers digits code maths proof reasoning build simple trace lookup"
        " counting lines blank latex word_length distinct sentence_length sentences capitals commas"
        " brackets quotes foreign equals operators percent dollars stops_per_word braces squares"
        " indent loops conditions definitions stops boxed role long_number denied colons semicolons"
    ).split(),
    *(f"topic:{topic}" for topic in TOPIC_WORDS),
    *(f"opens:{word}" for word in _OPENING_WORDS),
    *(f"asks:{word}" for word in _QUESTION_WORDS),
)
"""What the numbers of `compute_shape` are, in their order."""


class TextFeatures(NamedTuple):
    """A text as a learned classifier reads it."""

    terms: AbstractSet[int]
    """Its words, numbers and marks, and pairs of neighbours."""
    words: AbstractSet[int]
    """Which of them are words."""
    numbers: Sequence[float]
    """Its form: one for each of `SHAPE_NAMES`."""


def read_features(scan: TextScan, signals: TextSignals) -> TextFeatures:
    """All that is read of a text that has been looked at."""
    tokens = scan.tokens
    distinct_tokens = {*tokens}
    terms = {*map(crc32, distinct_tokens)} | hash_pairs(tokens)
    return TextFeatures(
        terms,
        {*map(crc32, filter(is_word, distinct_tokens))},
        compute_shape(scan, signals, tokens, distinct_tokens),
    )


def hash_pairs(tokens: Sequence[bytes]) -> set[int]:
    """Each pair of neighbours, as a term."""
    return {*map(crc32, tokens[1:], map(crc32, tokens))}


def is_word(token: bytes) -> bool:
    """Whether a token is a word: no number and no mark."""
    return token[0] in WORD_FIRST_BYTES


def compute_shape(
    scan: TextScan,
    signals: TextSignals,
    tokens: Sequence[bytes],
    distinct_tokens: AbstractSet[bytes],
) -> list[float]:
    """The numbers of `SHAPE_NAMES` of a text, and its tokens: in order, and once."""
    text = scan.excerpt
    char_count, raw = max(len(text), 1), text.encode("utf-8", "surrogatepass")
    token_count, count_text, word_count = max(len(tokens), 1), text.count, max(signals.words, 1)
    marks = raw.translate(None, PLAIN_BYTES)
    count_mark = marks.count
    line_count, stop_count, question_count = count_text("\n"), count_mark(b"."), count_mark(b"?")
    sentences = 1
    if stop_count:
        sentences += count_text(". ") + count_text(".\n")
    if question_count:
        sentences += count_text("? ")
    if b"!" in marks:
        sentences += count_text("! ")
    has_rare_marks = len(marks.translate(None, _PROSE_MARKS)) > 0
    dollars = count_mark(b"$") if has_rare_marks else 0
    letter_count = len(raw) - count_text(" ") - line_count
    numbers = [
        log1p(signals.chars),
        log1p(signals.words),
        *measure_options(text, signals.options),
        min(signals.questions, 4),
        float(question_count > 0 and text.rstrip().endswith("?")),
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
        log1p(line_count),
        min(count_text("__"), 3) if has_rare_marks else 0,
        min(count_mark(b"\\") + dollars, 30) if has_rare_marks else 0,
        letter_count / word_count,
        len(distinct_tokens) / token_count,
        log1p(word_count / sentences),
        log1p(sentences),
        (len(raw) - len(raw.translate(None, _UPPER_LETTERS))) / char_count,
        count_mark(b",") / word_count,
        count_mark(b"(") / word_count,
        (count_mark(b'"') + count_text("\u201c")) / word_count if has_rare_marks else 0.0,
        (len(raw) - len(text)) / char_count,
        min(count_mark(b"="), 12) if has_rare_marks else 0,
        min(sum(map(count_mark, _OPERATORS)), 20) if has_rare_marks else 0,
        min(count_mark(b"%"), 3) if has_rare_marks else 0,
        min(dollars, 6),
        min(stop_count, 20) / word_count,
        min(count_mark(b"{"), 12) if has_rare_marks else 0,
        min(count_mark(b"["), 20) if has_rare_marks else 0,
        count_text("    ") / char_count,
        min(count_text("for "), 6),
        min(count_text("if "), 6),
        min(count_text("def "), 3),
        min(stop_count, 30),
        float("boxed" in text),
        float(text.startswith("You are")),
        float(signals.numbers > 0 and _LONG_NUMBER in raw.translate(_DIGITS_TO_ONES)),
        float(not _DENIAL_WORDS.isdisjoint(tokens[-_ENDING_TOKENS:])),
        min(count_mark(b":"), 8),
        min(count_mark(b";"), 6) if has_rare_marks else 0,
    ]
    topics = scan.topics
    numbers += [
        topic_count / token_count if is_share else min(topic_count, _MAX_TOPIC_COUNT)
        for topic_count, is_share in zip(
            map(topics.count, _TOPIC_CODES), _IS_SHARE_TOPIC, strict=True
        )
    ]
    numbers += _OPENING_VECTORS.get(tokens[0], _NO_OPENING_VECTOR) if tokens else _NO_OPENING_VECTOR
    numbers += _mark_question_words(tokens[-_ENDING_TOKENS:])
    return numbers


def measure_options(text: str, count: int) -> tuple[float, float, float, float, float]:
    """Of so many answer options: whether, how many, how long, the share of figures, the spread."""
    texts = _OPTION_PATTERN.findall(text) if count else []
    if not texts:
        return NO_OPTIONS
    lengths = [*map(len, texts)]
    mean_length = sum(lengths) / len(lengths)
    figure_count = sum(
        len(option) < _MAX_FIGURE_CHARS and _FIGURE_PATTERN.match(option) is not None
        for option in texts
    )
    spread = (max(lengths) - min(lengths)) / (mean_length + 1)
    return 1.0, min(count, 12) / 10, log1p(mean_length), figure_count / len(texts), min(spread, 4.0)


def _mark_question_words(tokens: Sequence[bytes]) -> list[float]:
    question_words = _QUESTION_TOKEN_SET.intersection(tokens)
    return (
        [float(word in question_words) for word in _QUESTION_TOKENS]
        if question_words
        else _NO_QUESTION_VECTOR
    )
