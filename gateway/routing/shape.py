"""The form of a text as plain numbers, and its wording as places in a hashed table.

What a learned classifier reads beside the signals: none of it is a list of good or bad words. Both
are a few passes over at most `signals.LIMIT` characters, most of them in C.
"""

# ruff: noqa: SIM905 -- words, many to a line

import re
from collections import Counter
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from math import log1p
from typing import NamedTuple
from zlib import crc32

from gateway.routing.signals import Signals

VERSION = 1
"""Of what is read and in which order: an artefact that was trained on another cannot be used."""

_TOKEN = re.compile(rb"[a-z]+|[0-9]+|[\x80-\xff]+|[^\sa-z0-9\x80-\xff]")
_OPTION = re.compile(r"\n\(?[A-J][.)] ?([^\n]*)")
_FIGURE = re.compile(r"[\s$£€\\(+-]*[\d.,/^×x]*\d[^a-z]{0,6}[a-z^°/0-9 -]{0,8}$")  # noqa: RUF001
_SHORT = 25
"""An answer option that may be a figure is no longer."""
_ENDS = (0, 1, 2, 3, 5)
"""How many tokens, less one, at the start and at the end are a phrase of their own."""
_START, _FINISH = 0x5E, 0x24
_WORDS = 0xFFFF
_LETTERS = frozenset((*range(ord("a"), ord("z") + 1), *range(128, 256)))
_LAST = 16
_LONG = 4

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
_TOPIC: dict[bytes, str] = {}
for _topic, _words in _TOPICS.items():
    for _word in _words.split():
        _TOPIC.setdefault(_word.encode(), _topic)
_SHARES = frozenset({"stop", "people"})
_MOST = 6
_OPENINGS = tuple(
    "what which who when where why how if is are does do can write find let the a you given in this"
    " complete explain for an according".split()
)
_OPENING = {word.encode(): at for at, word in enumerate(_OPENINGS)}
_ASKS = tuple("what which who when where why how".split())
_ASK = {word.encode(): at for at, word in enumerate(_ASKS)}
_DENIALS = frozenset(word.encode() for word in "not except least false incorrect".split())
_UPPER = bytes(range(ord("A"), ord("Z") + 1))

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
    return Reading(places(found, bits), words(found), shape(text, signals, found))


def tokens(text: str) -> list[bytes]:
    """Words, numbers and marks in order, in lower case."""
    return _TOKEN.findall(text.lower().encode("utf-8", "surrogatepass"))


def places(found: Sequence[bytes], bits: int) -> set[int]:
    """Where words, pairs of neighbours, and the phrases at both ends stand in a table of 2^bits."""
    mask = (1 << bits) - 1
    words = [*map(crc32, found)]
    taken = {*map(mask.__and__, words), *map(mask.__and__, map(crc32, found[1:], words))}
    first, last = _START, _FINISH
    for at, (head, tail) in enumerate(zip(found[:6], found[:-7:-1], strict=True)):
        first, last = crc32(head, first), crc32(tail, last)
        if at in _ENDS:
            taken.add(first & mask)
            taken.add(last & mask)
    return taken


def words(found: Sequence[bytes]) -> set[int]:
    """Which words there are: no numbers and no marks."""
    return {crc32(one) & _WORDS for one in set(found) if one[0] in _LETTERS}


def shape(text: str, signals: Signals, found: Sequence[bytes]) -> list[float]:
    """The numbers of `NAMES` of a text that has been cut; `found` are its tokens."""
    size, raw = max(len(text), 1), text.encode("utf-8", "surrogatepass")
    all_, count, spaced = max(len(found), 1), text.count, max(signals.words, 1)
    topics = Counter(map(_TOPIC.get, found))
    sentences = count(". ") + count("? ") + count("! ") + count(".\n") + 1
    letters = len(raw) - count(" ") - count("\n")
    stops = count(".")
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
        log1p(count("\n")),
        min(count("__"), 3),
        min(count("\\") + count("$"), 30),
        letters / spaced,
        len(set(found)) / all_,
        log1p(spaced / sentences),
        log1p(sentences),
        (len(raw) - len(raw.translate(None, _UPPER))) / size,
        count(",") / spaced,
        count("(") / spaced,
        (count('"') + count("\u201c")) / spaced,
        (len(raw) - len(text)) / size,
        min(count("="), 12),
        min(sum(map(count, "+*/^<>")), 20),
        min(count("%"), 3),
        min(count("$"), 6),
        min(stops, 20) / spaced,
        min(count("{"), 12),
        min(count("["), 20),
        count("    ") / size,
        min(count("for "), 6),
        min(count("if "), 6),
        min(count("def "), 3),
        min(stops, 30),
        float("boxed" in text),
        float(text.startswith("You are")),
        float(signals.numbers > 0 and _long(found)),
        float(not _DENIALS.isdisjoint(found[-_LAST:])),
        min(count(":"), 8),
        min(count(";"), 6),
    ]
    for topic in _TOPICS:
        seen = topics[topic]
        numbers.append(seen / all_ if topic in _SHARES else min(seen, _MOST))
    numbers += _flags(_OPENING, found[:1])
    numbers += _flags(_ASK, found[-_LAST:])
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


def _long(found: Sequence[bytes]) -> bool:
    return any(len(one) > _LONG and one.isdigit() for one in set(found))


def _flags(known: dict[bytes, int], found: Sequence[bytes]) -> list[float]:
    flags = [0.0] * len(known)
    for one in found:
        at = known.get(one)
        if at is not None:
            flags[at] = 1.0
    return flags
