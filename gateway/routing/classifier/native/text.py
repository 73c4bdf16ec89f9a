"""A text as the compiled kernel has read it."""

import ctypes
import re
from functools import cache
from struct import Struct
from typing import NamedTuple

from gateway.routing.classifier import language, phrases, text_features, text_signals
from gateway.routing.classifier.native import library
from gateway.routing.classifier.text_signals import TextSignals
from gateway.routing.classifier.word_lists import TOPIC_WORDS, WORD_KINDS, WORD_TOPICS
from gateway.settings.schema.rules import LANGUAGES, Language

(
    _WORD, _PHRASE, _TRACE, _PROGRAM, _MARKED, _FENCE, _FACT, _LATEX, _SIGN, _SHARED,
) = range(10)  # fmt: skip
"""Lists, as `kernel.h` numbers them."""
_POINTS = [points / 6 for points in range(7)]
"""Of code and of maths: six are certainty."""
_ResultArray = ctypes.c_int32 * 17
_unpack_results = Struct("=17i").unpack
"""All of them: in a fourth of the time that a slice takes."""
_CODE, _MATHS, _QUOTED, _LANGUAGE, _ID, _ID_HIGH = 4, 5, 10, 14, 15, 16
"""Places in what the library finds, as `kernel.h` numbers them."""
_MAX_BYTES = 4096
"""Bytes, as `kernel.h` has it."""
PLAIN_MARKS = (
    "\u00a1-\u00a9\u00ab-\u00b0\u00b4\u00b6-\u00b8\u00bb\u200b-\u200f\u2010-\u2027\u2030-\u205e"
    "\u20a0-\u20bf\u2190\u2191\u2193-\u21d1\u21d3\u21d5-\u21ff\u2500-\u2775\u2794-\u27bf\u2b00-\u2bff"
    "\ufe0e\ufe0f\U0001f300-\U0001faff"
)
"""Quotes, dashes, dots, money, arrows, pictures: ranges of characters that are no letters, digits
or spaces, and that no list knows."""
_OTHER_CHARACTER = re.compile(f"[^\\x00-\\x7f{PLAIN_MARKS}]")


class NativeWordLists(NamedTuple):
    """The library with all lists of words."""

    library: ctypes.PyDLL
    address: int
    """Where they are."""


@cache
def load_word_lists() -> NativeWordLists | None:
    """The lists, laid out for the library; None without it."""
    kernel = library()
    if isinstance(kernel, str):
        return None
    records = b"".join(_records())
    address = kernel.tiergate_words(
        records,
        len(records),
        language.ENGLISH_SIGN,
        LANGUAGES.index("unknown"),
        language.MIN_POINTS,
    )
    return None if address is None else NativeWordLists(kernel, address)


class NativeText:
    """A text that the library has read, with what `signals.Scan` would say of it."""

    __slots__ = (
        "__weakref__",
        "_signals",
        "char_count",
        "excerpt",
        "option_count",
        "pasted_code",
        "raw",
        "results",
        "text",
    )

    def __init__(
        self,
        text: str,
        excerpt: str,
        raw: bytes,
        option_count: int,
        char_count: int,
        results: "ctypes.Array[ctypes.c_int32]",
        *,
        pasted_code: bool,
    ) -> None:
        self.text = text
        self.excerpt = excerpt
        """What is read of it."""
        self.raw = raw
        """The same as bytes."""
        self.option_count = option_count
        """Lettered answer options; zero, or three and more."""
        self.char_count = char_count
        """Characters of what is read, without the options."""
        self.pasted_code = pasted_code
        """As `TextSignals.pasted_code`."""
        self.results = results
        """As the library numbers it; of the text without its options."""
        self._signals: TextSignals | None = None

    @property
    def language(self) -> Language:
        """Of the text."""
        text = self.text
        if (
            text.isascii()
            and self.excerpt is text
            and not self.option_count
            and (language_number := self.results[_LANGUAGE])
        ):
            return LANGUAGES[language_number - 1]
        return language.detect_language(text)

    @property
    def code(self) -> float:
        """As `TextSignals.code`."""
        return _POINTS[self.results[_CODE]]

    @property
    def total_code(self) -> float:
        """As `TextSignals.total_code`."""
        return 1.0 if self.pasted_code else self.code

    @property
    def maths(self) -> float:
        """As `TextSignals.maths`."""
        return _POINTS[self.results[_MATHS]]

    @property
    def trace(self) -> bool:
        """As `TextSignals.trace`."""
        return self.results[_QUOTED] == 1

    def signals(self) -> TextSignals:
        """All that there is."""
        if self._signals is None:
            (
                words, questions, numbers, digits, code, maths, proof, reasoning, build, simple,
                trace, lookup, counting, greeting, *_,
            ) = _unpack_results(self.results)  # fmt: skip
            # Of more than fifteen names Python makes a dictionary first.
            self._signals = TextSignals(
                len(self.text), words, self.option_count, questions, numbers,
                digits / max(self.char_count, 1),
                _POINTS[code], _POINTS[maths], proof, reasoning, build, simple,
                trace == 1, lookup == 1, counting == 1, greeting == 1, self.pasted_code,
            )  # fmt: skip
        return self._signals


def read(text: str) -> NativeText | None:
    """What the library says of a text; None where it is not for it, or there is none."""
    if (word_lists := load_word_lists()) is None:
        return None
    excerpt, pasted_code = text_signals.read_excerpt(text)
    if not excerpt.isascii() and _OTHER_CHARACTER.search(excerpt) is not None:
        return None
    raw = excerpt.encode()
    if len(raw) > _MAX_BYTES:
        return None
    option_count, question = text_signals.split_options(excerpt)
    kernel_text = question.encode() if option_count else raw
    results = _ResultArray()
    word_lists.library.tiergate_read(word_lists.address, kernel_text, len(kernel_text), results)
    if option_count:
        results[_ID] = results[_ID_HIGH] = 0  # what is judged is another text
    return NativeText(
        text, excerpt, raw, option_count, len(question), results, pasted_code=pasted_code
    )


def _records() -> list[bytes]:
    """Each a list, six bytes that tell of it, and its name."""
    word_kinds = {word.encode(): kind for word, kind in WORD_KINDS.items() if word.isascii()}
    all_words = {**word_kinds, **WORD_TOPICS, **language.WORD_SIGNS, **text_features.WORD_ROLES}
    records = [
        _make_record(
            _WORD, word, word_kinds.get(word, 0), WORD_TOPICS.get(word, 0),
            language.WORD_SIGNS.get(word, 0), *text_features.WORD_ROLES.get(word, (0, 0, 0)),
        )
        for word in all_words
    ]  # fmt: skip
    records += [
        _make_record(_PHRASE, text.encode(), kind)
        for text, kind in phrases.PHRASE_KINDS.items()
        if text.isascii()
    ]
    lists = (
        (_TRACE, [*sorted(phrases.TRACE_MARKS), *text_signals.TRACES_WITH_LINE]),
        (_PROGRAM, sorted(phrases.PROGRAM_MARKS)),
        (_MARKED, text_signals.TOKENS_WITH_MARK),
        (_FENCE, (text_signals.FENCE_MARK,)),
        (_FACT, text_signals.FACT_OPENINGS),
        (_LATEX, text_signals.LATEX_COMMANDS),
    )
    records += [
        _make_record(number, text.encode())
        for number, names in lists
        for text in names
        if text.isascii()
    ]
    records += [
        _make_record(_SIGN, bytes(points), number)
        for number, points in enumerate(language.LANGUAGE_POINTS_BY_SIGN)
    ]
    records += [
        _make_record(_SHARED, name.encode(), number)
        for number, name in enumerate(TOPIC_WORDS, 1)
        if name in text_features.SHARE_TOPICS
    ]
    return records


def _make_record(list_number: int, name: bytes, *facts: int) -> bytes:
    return bytes((list_number, *facts, *[0] * (6 - len(facts)), len(name))) + name
