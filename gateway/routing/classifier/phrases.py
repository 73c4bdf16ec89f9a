"""Phrases, and marks of programs and of crashes, that the gateway finds by substring search.

Each begins with a word. If no word of a text ends with that word, the text cannot have the phrase,
and the gateway skips the search. Most texts have hardly any of these words.
"""

import re

from gateway.routing.classifier.word_lists import KIND_CODES, Kind

_PHRASES: tuple[tuple[str, Kind], ...] = (
    ("step by step", "reason"),
    ("step-by-step", "reason"),
    ("schritt für schritt", "reason"),
    ("étape par étape", "reason"),
    ("paso a paso", "reason"),
    ("шаг за шагом", "reason"),
    ("trade-off", "reason"),
    ("root cause", "reason"),
    ("race condition", "reason"),
    ("time complexity", "reason"),
    ("worst case", "reason"),
    ("dynamic programming", "reason"),
    ("np-hard", "proof"),
    ("np-complete", "proof"),
    ("show that", "proof"),
    ("if and only if", "proof"),
    ("zeige, dass", "proof"),
    ("montrer que", "proof"),
    ("montrez que", "proof"),
    ("muestra que", "proof"),
    ("capital of", "simple"),
    ("how many", "counting"),
    ("how much", "counting"),
    ("wie viel", "counting"),
    ("combien", "counting"),
    ("cuánto", "counting"),
    ("cuánta", "counting"),
    ("сколько", "counting"),
)
PHRASE_KINDS = {phrase: KIND_CODES[kind] for phrase, kind in _PHRASES}
"""The code of each phrase's kind."""
TRACE_MARKS = frozenset(
    (
        "traceback (most recent",
        "exception in thread",
        "segmentation fault",
        "panicked at",
        "stack trace:",
        "stacktrace:",
        "caused by: ",
    )
)
"""Marks of stack traces and crashes."""
PROGRAM_MARKS = frozenset(
    ("def ", "return ", "import ", "self.", "const ", "public ", "assert ", "console.")
)
"""Marks of programs."""

ALL_PHRASES = (*PHRASE_KINDS, *sorted(TRACE_MARKS | PROGRAM_MARKS))
_ASCII_PHRASES = tuple(phrase for phrase in ALL_PHRASES if phrase.isascii())
_FIRST_WORD = re.compile("[a-z]+")
_FIRST_WORDS = {phrase: _FIRST_WORD.findall(phrase)[0] for phrase in _ASCII_PHRASES}
_INFIXES = tuple(phrase for phrase, first in _FIRST_WORDS.items() if phrase == first)
"""Phrases of a single word, which may stand anywhere inside another word."""
_ENDINGS = ("", *sorted({*_FIRST_WORDS.values()}, key=len, reverse=True))
"""The first words of phrases, as endings that a word may have, the longest first. Their indexes are
the numbers of `find_phrase_start`. The first is empty: it stands for words with none of these
endings."""
_ANY_PHRASE = len(_ENDINGS)
PHRASES_BY_START: tuple[tuple[str, ...], ...] = (
    (),
    *(
        tuple(phrase for phrase in _ASCII_PHRASES if ending.endswith(_FIRST_WORDS[phrase]))
        for ending in _ENDINGS[1:]
    ),
    _ASCII_PHRASES,
)
"""The phrases that an ASCII text with such a word may have, by the numbers of
`find_phrase_start`."""


def find_phrase_start(word: str) -> int:
    """Return a number for the phrases that an ASCII word in lower case may begin; mostly 0."""
    if any(infix in word for infix in _INFIXES):
        return _ANY_PHRASE
    if not word.endswith(_ENDINGS[1:]):
        return 0
    return next(index for index, ending in enumerate(_ENDINGS) if index and word.endswith(ending))
