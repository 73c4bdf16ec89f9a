"""A text as words: in lower case, but for those that a capital makes another word."""

# ruff: noqa: RUF001, SIM905 -- words, many to a line; signs that people write

import re
import unicodedata
from typing import NamedTuple

from gateway.routing.near.words import CASED, ENGLISH, FOREIGN, NUMBERS, WORDING

NAME = "\0"
"""Stands before a word that has a capital: no text has this sign."""
LONG = 400
"""Characters of the longest text that is compared by its words."""
_TALE = 2
"""Sentences before the last one that make a text one that is spoken of, not a question."""
MOST = 4_000
"""Characters of the longest that is compared at all."""
_HIDDEN = frozenset({"Cc", "Cf", "Cn", "Co", "Cs"})
_GRAMMAR = frozenset(
    "it us who may will can so or and am in on at is as be do he if me my no of to up we an act "
    "go skip change case write".split()
)
_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*['’]?")
_QUOTED = re.compile(r"`[^`]*`|\"[^\"]*\"|“[^”]*”|«[^»]*»|(?<!\S)'[^']*'(?=[\s.,?!;:)]|$)")
_TAIL = re.compile(r"\n|:(?=\s)|```")
_SHORT_FORMS = {
    "won't": "will not", "can't": "can not", "cannot": "can not", "shan't": "shall not",
    "let's": "let us", "i'm": "i am", "gonna": "going to", "wanna": "want to",
    "what're": "what are",
}  # fmt: skip
_IS = frozenset("what who where how when why that it there here he she".split())
_ENDS = (
    ("n't", " not"), ("'re", " are"), ("'ll", " will"), ("'ve", " have"), ("'d", " would"),
    ("'s", " 's"), ("'", " 's"),
)  # fmt: skip


class Spoken(NamedTuple):
    """What somebody said."""

    text: str
    """Words and single spaces, quoted and strange pieces as they stand; without the tail."""
    tail: str = ""
    """What follows a colon or the first line: it is what the rest speaks of."""
    exact: bool = False
    """It is to be compared as it stands."""


def spoken(text: str) -> Spoken | None:
    """The words of a text; None where it is empty, too long, or hides something."""
    text = text.strip()
    if not text or len(text) > MOST:
        return None
    if any(unicodedata.category(sign) in _HIDDEN and sign not in "\n\t\r" for sign in text):
        return None
    cut = _TAIL.search(text)
    head, tail = (text, "") if cut is None else (text[: cut.start()], text[cut.start() :])
    if len(head) > LONG or head.isupper():
        return Spoken(text, exact=True)
    said, lower = _pieces(head)
    if said.count(". ") >= _TALE:
        return Spoken(text, exact=True)
    if lower & WORDING or not lower & ENGLISH or lower & FOREIGN:
        return Spoken(text, exact=True)
    return Spoken(said, tail)


def _pieces(head: str) -> tuple[str, set[str]]:
    found: list[str] = []
    at = 0
    for quoted in _QUOTED.finditer(head):
        found += _plain(head[at : quoted.start()], begins=not found)
        found.append(f"`{quoted[0][1:-1].encode().hex()}`")
        at = quoted.end()
    found += _plain(head[at:], begins=not found)
    said = " ".join(found)
    return said, set(said.replace(NAME, "").split(" "))


def _plain(text: str, *, begins: bool) -> list[str]:
    found: list[str] = []
    for chunk in text.split():
        bare = chunk.rstrip(".,;?!") if not any(map(str.isdigit, chunk)) else chunk.rstrip(".,;?")
        bare = bare.strip("()") if _WORD.fullmatch(bare.strip("()")) else bare
        stop = chunk[-1]
        found.append(_word(bare, begins=begins) if _WORD.fullmatch(bare) else bare)
        begins = stop in ".!?"
        if stop in ".!?,;":
            found[-1] += "," if stop in ",;" else "."
    return [one for one in found if one]


def _word(word: str, *, begins: bool) -> str:
    word = word.replace("’", "'")
    lower = word.lower()
    if lower == "i":
        return lower
    if lower in NUMBERS:
        return NUMBERS[lower]
    if _own(word, lower, begins=begins):
        return word
    if lower in _SHORT_FORMS:
        return _SHORT_FORMS[lower]
    for end, form in _ENDS:
        if lower.endswith(end):
            root = lower[: -len(end)]
            root = root if begins or word[0].islower() or root in _IS else NAME + root
            return root + (" is" if end == "'s" and root in _IS else form)
    spoken = " ".join(NUMBERS.get(part, part) for part in lower.split("-"))
    return spoken if begins or word == lower else NAME + spoken


def _own(word: str, lower: str, *, begins: bool) -> bool:
    """Whether its capitals are part of a word."""
    if lower in (word, "i"):
        return False
    if len(word) == 1:
        return not begins
    if word[0].islower():
        return True
    if lower not in CASED:
        return False
    return not begins or word.isupper() or lower not in _GRAMMAR
