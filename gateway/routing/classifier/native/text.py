"""A text as the compiled kernel has read it."""

import ctypes
import re
from functools import cache
from struct import Struct
from typing import NamedTuple

from gateway.routing.classifier import language, phrases, text_features, text_signals
from gateway.routing.classifier.native import library
from gateway.routing.classifier.text_signals import TextSignals
from gateway.routing.classifier.word_lists import LEXICON, TOPIC, TOPICS
from gateway.settings.schema.rules import LANGUAGES, Language

(
    _WORD, _PHRASE, _TRACE, _PROGRAM, _MARKED, _FENCE, _FACT, _LATEX, _SIGN, _SHARED,
) = range(10)  # fmt: skip
"""Lists, as `kernel.h` numbers them."""
_POINTS = [at / 6 for at in range(7)]
"""Of code and of maths: six are certainty."""
_Found = ctypes.c_int32 * 17
_numbers = Struct("=17i").unpack
"""All of them: in a fourth of the time that a slice takes."""
_CODE, _MATHS, _QUOTED, _TOLD, _ID, _ID_HIGH = 4, 5, 10, 14, 15, 16
"""Places in what the library finds, as `kernel.h` numbers them."""
_LONGEST = 4096
"""Bytes, as `kernel.h` has it."""
MARKS = (
    "\u00a1-\u00a9\u00ab-\u00b0\u00b4\u00b6-\u00b8\u00bb\u200b-\u200f\u2010-\u2027\u2030-\u205e"
    "\u20a0-\u20bf\u2190\u2191\u2193-\u21d1\u21d3\u21d5-\u21ff\u2500-\u2775\u2794-\u27bf\u2b00-\u2bff"
    "\ufe0e\ufe0f\U0001f300-\U0001faff"
)
"""Quotes, dashes, dots, money, arrows, pictures: ranges of characters that are no letters, digits
or spaces, and that no list knows."""
_OTHERS = re.compile(f"[^\\x00-\\x7f{MARKS}]")


class NativeWordLists(NamedTuple):
    """The library with all lists of words."""

    library: ctypes.PyDLL
    at: int
    """Where they are."""


@cache
def words() -> NativeWordLists | None:
    """The lists, laid out for the library; None without it."""
    found = library()
    if isinstance(found, str):
        return None
    records = b"".join(_records())
    at = found.tiergate_words(
        records, len(records), language.ENGLISH, LANGUAGES.index("unknown"), language.ENOUGH
    )
    return None if at is None else NativeWordLists(found, at)


class NativeText:
    """A text that the library has read, with what `signals.Scan` would say of it."""

    __slots__ = ("__weakref__", "_signals", "cut", "found", "options", "raw", "size", "text")

    def __init__(
        self,
        text: str,
        cut: str,
        raw: bytes,
        options: int,
        size: int,
        found: "ctypes.Array[ctypes.c_int32]",
    ) -> None:
        self.text = text
        self.cut = cut
        """What is read of it."""
        self.raw = raw
        """The same as bytes."""
        self.options = options
        """Lettered answer options; zero, or three and more."""
        self.size = size
        """Characters of what is read, without the options."""
        self.found = found
        """As the library numbers it; of the text without its options."""
        self._signals: TextSignals | None = None

    @property
    def language(self) -> Language:
        """Of the text."""
        text = self.text
        if text.isascii() and self.cut is text and not self.options and (told := self.found[_TOLD]):
            return LANGUAGES[told - 1]
        return language.detect(text)

    @property
    def code(self) -> float:
        """As `TextSignals.code`."""
        return _POINTS[self.found[_CODE]]

    @property
    def maths(self) -> float:
        """As `TextSignals.maths`."""
        return _POINTS[self.found[_MATHS]]

    @property
    def trace(self) -> bool:
        """As `TextSignals.trace`."""
        return self.found[_QUOTED] == 1

    def signals(self) -> TextSignals:
        """All that there is."""
        if self._signals is None:
            (
                words, questions, numbers, digits, code, maths, proof, reasoning, build, simple,
                trace, lookup, counting, greeting, *_,
            ) = _numbers(self.found)  # fmt: skip
            # Of more than fifteen names Python makes a dictionary first.
            self._signals = TextSignals(
                len(self.text), words, self.options, questions, numbers, digits / max(self.size, 1),
                _POINTS[code], _POINTS[maths], proof, reasoning, build, simple,
                trace == 1, lookup == 1, counting == 1, greeting == 1,
            )  # fmt: skip
        return self._signals


def read(text: str) -> NativeText | None:
    """What the library says of a text; None where it is not for it, or there is none."""
    if (known := words()) is None:
        return None
    cut = text_signals.cut(text)
    if not cut.isascii() and _OTHERS.search(cut) is not None:
        return None
    raw = cut.encode()
    if len(raw) > _LONGEST:
        return None
    options, asked = text_signals.options(cut)
    said = asked.encode() if options else raw
    found = _Found()
    known.library.tiergate_read(known.at, said, len(said), found)
    if options:
        found[_ID] = found[_ID_HIGH] = 0  # what is judged is another text
    return NativeText(text, cut, raw, options, len(asked), found)


def _records() -> list[bytes]:
    """Each a list, six bytes that tell of it, and its name."""
    listed = {word.encode(): kind for word, kind in LEXICON.items() if word.isascii()}
    every = {**listed, **TOPIC, **language.SIGNS, **text_features.LOOKED_FOR}
    found = [
        _record(_WORD, word, listed.get(word, 0), TOPIC.get(word, 0), language.SIGNS.get(word, 0),
                *text_features.LOOKED_FOR.get(word, (0, 0, 0)))
        for word in every
    ]  # fmt: skip
    found += [
        _record(_PHRASE, one.encode(), kind)
        for one, kind in phrases.PHRASES.items()
        if one.isascii()
    ]
    lists = (
        (_TRACE, [*sorted(phrases.TRACES), *text_signals.TRACES_WITH_LINE]),
        (_PROGRAM, sorted(phrases.PROGRAM)),
        (_MARKED, text_signals.TOKENS_WITH_MARK),
        (_FENCE, (text_signals.FENCE,)),
        (_FACT, text_signals.FACT_OPENINGS),
        (_LATEX, text_signals.LATEX),
    )
    found += [_record(at, one.encode()) for at, names in lists for one in names if one.isascii()]
    found += [_record(_SIGN, bytes(points), at) for at, points in enumerate(language.EACH_SIGNED)]
    found += [
        _record(_SHARED, name.encode(), at)
        for at, name in enumerate(TOPICS, 1)
        if name in text_features.SHARED
    ]
    return found


def _record(at: int, name: bytes, *of: int) -> bytes:
    return bytes((at, *of, *[0] * (6 - len(of)), len(name))) + name
