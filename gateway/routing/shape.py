"""The form of a text as plain numbers, and its wording as places in a hashed table.

What a learned classifier reads beside the signals: none of it is a list of good or bad words. Both
are a few passes over at most `signals.LIMIT` characters, most of them in C.
"""

# ruff: noqa: SIM905 -- words, many to a line

import re
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from itertools import repeat
from math import log1p
from typing import NamedTuple
from zlib import crc32

from gateway.routing.signals import Signals

VERSION = 1
"""Of what is read and in which order: an artefact that was trained on another cannot be used."""

_TOKEN = re.compile(rb"[a-z]+|[0-9]+|[\x80-\xff]+|[^\sa-z0-9\x80-\xff]")
_LETTERS = b"abcdefghijklmnopqrstuvwxyz"
_DIGITS = b"0123456789"
_SPACES = b" \t\n\r\v\f"
_KINDS = bytes.maketrans(_LETTERS + _DIGITS, b"a" * len(_LETTERS) + b"0" * len(_DIGITS))
_SIGNS = [b"%c" % sign for sign in range(128)]
_APART = [b" %c " % sign for sign in range(128)]
_OPTION = re.compile(r"\n\(?[A-J][.)] ?([^\n]*)")
_FIGURE = re.compile(r"[\s$£€\\(+-]*[\d.,/^×x]*\d[^a-z]{0,6}[a-z^°/0-9 -]{0,8}$")  # noqa: RUF001
_SHORT = 25
"""An answer option that may be a figure is no longer."""
_ENDS = (0, 1, 2, 3, 5)
"""How many tokens, less one, at the start and at the end are a phrase of their own."""
_START, _FINISH = 0x5E, 0x24
_WORDS = 0xFFFF
_NONE = -1
_KEPT, _MOST_KEPT = 16, 4096
"""Bytes of a token, and tokens, that are kept: half a megabyte."""
_BEGIN = frozenset((*_LETTERS, *range(128, 256)))
"""What a word begins with."""
_LAST = 16
_ONES = bytes.maketrans(_DIGITS, b"1" * len(_DIGITS))
_LONG = b"11111"

_TOPICS = {
    "law": "court law legal contract defendant plaintiff statute constitutional liability tort"
    " jury crime murder owner deed landlord evidence testimony property buyer seller attorney sued",
    "money": "price demand supply market cost inflation tax firm economy monetary gdp interest rate"
    " money income profit company business management accounting cash stock bond sales",
    "life": "cell cells gene protein dna rna organism species blood plant enzyme bacteria virus"
    " membrane evolution tissue disease patient muscle hormone",
    "physics": "velocity force mass energy wavelength electron magnetic field current voltage"
    " pressure temperature charge circuit radius wave frequency heat resistance speed light",
    "chemistry": "mol acid solution atom reaction molecule ion hydrogen oxygen compound equilibrium"
    " gas ph titration element carbon",
    "history": "war century king president empire revolution treaty government political american"
    " british nation colonial congress",
    "mind": "child children behavior memory psychologist learning personality therapy cognitive"
    " emotional social anxiety theory",
    "thought": "argument moral ethics philosopher knowledge belief premise logic virtue kant truth"
    " claim fallacy wrong",
    "computing": "algorithm program function string array list python data network binary code bits"
    " return node tree assert def dict self",
    "mathematics": "integer equation polynomial probability matrix group ring prime angle"
    " triangle sum value integral graph root real x y n",
    "units": "kg m cm mm km s g j k v ft lb w hz pa atm l ml mi in inches feet miles hours"
    " minutes percent meters",
    "sums": "each per total times twice half left more than many much sold bought costs earns buys"
    " dollars",
    "people": "he she his her him they their i my me said told wants",
    "stop": "the of and to a in is that for it as was with on by be at or are from this an which"
    " have not had but one all",
    "denial": "except least false incorrect never no none without",
}
_TOPIC: dict[bytes, int] = {}
"""By word: its topic, counted from 1."""
for _at, _words in enumerate(_TOPICS.values(), 1):
    for _word in _words.split():
        _TOPIC.setdefault(_word.encode(), _at)
_CODES = range(1, len(_TOPICS) + 1)
_SHARED = [topic in ("stop", "people") for topic in _TOPICS]
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
_UPPER = _LETTERS.upper()
_PLAIN = bytes((*_LETTERS, *_UPPER, *_DIGITS, *_SPACES))

NAMES: tuple[str, ...] = (
    *(
        "chars words options option_count option_length option_figures option_spread questions"
        " ends_in_question numbers digits code maths proof reasoning build simple trace lookup"
        " counting lines blank latex word_length distinct sentence_length sentences capitals commas"
        " brackets quotes foreign equals operators percent dollars stops_per_word braces squares"
        " indent loops conditions definitions stops boxed role long_number denied colons semicolons"
    ).split(),
    *(f"topic:{topic}" for topic in _TOPICS),
    *(f"opens:{word}" for word in _OPENINGS),
    *(f"asks:{word}" for word in _ASKS),
)
"""What the numbers of `shape` are, in their order."""


class Reading(NamedTuple):
    """A text as a learned classifier reads it."""

    places: AbstractSet[int]
    """Of its wording, in a table of the artefact's size."""
    words: AbstractSet[int]
    """Which words it has, each as one of 2^16."""
    numbers: Sequence[float]
    """Its form: one for each of `NAMES`."""


def reading(text: str, signals: Signals, bits: int) -> Reading:
    """All that is read of a text that has been cut."""
    found = tokens(text)
    each = {*found}
    return Reading(places(found, bits), words(each), shape(text, signals, found, each))


def tokens(text: str) -> list[bytes]:
    """Words, numbers and marks in order, in lower case."""
    raw = text.lower().encode("utf-8", "surrogatepass")
    if text.isascii():
        kinds = raw.translate(_KINDS)
        if b"a0" not in kinds and b"0a" not in kinds:
            # Only at marks is one token next to another: a space at each is quicker than a search.
            for sign in {*raw.translate(None, _PLAIN)}:
                raw = raw.replace(_SIGNS[sign], _APART[sign])
            return raw.split()
    return _TOKEN.findall(raw)


class _Words(dict[bytes, int]):
    """Which word a token is, for the tokens of late; prompts have most of them in common."""

    def __missing__(self, token: bytes) -> int:
        word = crc32(token) & _WORDS if token[0] in _BEGIN else _NONE
        if len(token) <= _KEPT:
            if len(self) >= _MOST_KEPT:
                self.clear()
            self[token] = word
        return word


_WORD = _Words()


def places(found: Sequence[bytes], bits: int) -> set[int]:
    """Where words, pairs of neighbours, and the phrases at both ends stand in a table of 2^bits."""
    hashes = [*map(crc32, found)]
    hashes += [*map(crc32, found[1:], hashes)]
    first, last = _START, _FINISH
    for at, (head, tail) in enumerate(zip(found[:6], found[:-7:-1], strict=True)):
        first, last = crc32(head, first), crc32(tail, last)
        if at in _ENDS:
            hashes += (first, last)
    mask = (1 << bits) - 1
    return {one & mask for one in hashes}


def words(each: AbstractSet[bytes]) -> set[int]:
    """Which words are among these tokens: no numbers and no marks."""
    every = {*map(_WORD.__getitem__, each)}
    every.discard(_NONE)
    return every


def shape(
    text: str, signals: Signals, found: Sequence[bytes], each: AbstractSet[bytes]
) -> list[float]:
    """The numbers of `NAMES` of a text that has been cut, and its tokens: in order, and once."""
    size, raw = max(len(text), 1), text.encode("utf-8", "surrogatepass")
    all_, count, spaced = max(len(found), 1), text.count, max(signals.words, 1)
    sign = raw.translate(None, _PLAIN).count
    sentences = count(". ") + count("? ") + count("! ") + count(".\n") + 1
    lines, stops, dollars = count("\n"), sign(b"."), sign(b"$")
    letters = len(raw) - count(" ") - lines
    numbers = [
        log1p(signals.chars),
        log1p(signals.words),
        float(signals.options > 0),
        min(signals.options, 12) / 10,
        *_options(text, signals),
        min(signals.questions, 4),
        float(text.rstrip().endswith("?")),
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
        min(count("__"), 3),
        min(sign(b"\\") + dollars, 30),
        letters / spaced,
        len(each) / all_,
        log1p(spaced / sentences),
        log1p(sentences),
        (len(raw) - len(raw.translate(None, _UPPER))) / size,
        sign(b",") / spaced,
        sign(b"(") / spaced,
        (sign(b'"') + count("\u201c")) / spaced,
        (len(raw) - len(text)) / size,
        min(sign(b"="), 12),
        min(sum(map(sign, _OPERATORS)), 20),
        min(sign(b"%"), 3),
        min(dollars, 6),
        min(stops, 20) / spaced,
        min(sign(b"{"), 12),
        min(sign(b"["), 20),
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
        min(sign(b";"), 6),
    ]
    topics = bytes(map(_TOPIC.get, found, repeat(0)))
    numbers += [
        seen / all_ if shared else min(seen, _MOST)
        for seen, shared in zip(map(topics.count, _CODES), _SHARED, strict=True)
    ]
    numbers += _OPENS.get(found[0], _NO_OPENING) if found else _NO_OPENING
    numbers += _asks(found[-_LAST:])
    return numbers


def _options(text: str, signals: Signals) -> tuple[float, float, float]:
    """Of the answer options: their length, the share that are figures, how they differ."""
    texts = _OPTION.findall(text) if signals.options else []
    if not texts:
        return 0.0, 0.0, 0.0
    lengths = [*map(len, texts)]
    middle = sum(lengths) / len(lengths)
    figures = sum(len(one) < _SHORT and _FIGURE.match(one) is not None for one in texts)
    spread = (max(lengths) - min(lengths)) / (middle + 1)
    return log1p(middle), figures / len(texts), min(spread, 4.0)


def _asks(found: Sequence[bytes]) -> list[float]:
    asked = _ANY_ASK.intersection(found)
    return [float(word in asked) for word in _ASK] if asked else _NO_ASK
