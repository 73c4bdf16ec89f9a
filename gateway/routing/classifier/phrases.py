"""What a text is searched for letter by letter: phrases, and marks of programs and of crashes.

Each begins with a word. A text of which no word ends so cannot have it, and is not searched for it;
most texts have hardly any of these words.
"""

import re

from gateway.routing.classifier.word_lists import CODES, Kind

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
PHRASES = {phrase: CODES[kind] for phrase, kind in _PHRASES}
"""By phrase: the code of its kind."""
TRACES = frozenset(
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
"""Of stack traces and crashes."""
PROGRAM = frozenset(
    ("def ", "return ", "import ", "self.", "const ", "public ", "assert ", "console.")
)
"""Of programs."""

EVERY = (*PHRASES, *sorted(TRACES | PROGRAM))
_ASCII = tuple(one for one in EVERY if one.isascii())
_FIRST = re.compile("[a-z]+")
_FIRSTS = {one: _FIRST.findall(one)[0] for one in _ASCII}
_INSIDE = tuple(one for one, first in _FIRSTS.items() if one == first)
"""What is no longer than its word may stand anywhere in another."""
_ENDINGS = ("", *sorted({*_FIRSTS.values()}, key=len, reverse=True))
"""What a word may end with, the longest first; by the numbers of `begun`. The first is not looked
for: it stands for words that do not end so."""
_ANY = len(_ENDINGS)
SEARCHED: tuple[tuple[str, ...], ...] = (
    (),
    *(tuple(one for one in _ASCII if end.endswith(_FIRSTS[one])) for end in _ENDINGS[1:]),
    _ASCII,
)
"""By the numbers of `begun`: what a text with such a word may have, where it is ASCII."""


def begun(word: str) -> int:
    """The number of what a word of ASCII in lower case may be the beginning of; mostly 0."""
    if any(one in word for one in _INSIDE):
        return _ANY
    if not word.endswith(_ENDINGS[1:]):
        return 0
    return next(at for at, end in enumerate(_ENDINGS) if at and word.endswith(end))
