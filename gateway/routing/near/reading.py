"""What somebody asks, in a form that is equal for the same question and for no other.

    reading(text)    the form; None where a text is not compared with others at all

Two texts are the same question where their forms are equal: the same way of asking, the same words
that say something, in the same order, the same tense. So numbers, units, dates, names, negations,
comparatives and code need no rule of their own: what no table calls the same is different. What is
quoted, what follows a colon or a line's end, and all of a text that asks of wording or is not plain
English are compared as they stand.
"""

# ruff: noqa: SIM905 -- words, many to a line

import re

from gateway.routing.near.frame import frame
from gateway.routing.near.spoken import NAME, spoken
from gateway.routing.near.stem import stem
from gateway.routing.near.words import (
    BE,
    BOUNDS,
    EMPTY,
    OBJECTIVE,
    OWN,
    PAST,
    PHRASES,
    SILENT,
    TOOLS,
)  # fmt: skip

type Form = tuple[str, ...]
_ARTICLES = frozenset("the a an".split())
_SPECIAL = _ARTICLES | frozenset("to in with using via".split())
_ALIKE = {"people": "person", "humans": "person", "regarding": "about", "concerning": "about"}
_DO = frozenset("do does did".split())
_NOUNS = _ARTICLES | OWN | frozenset("our your this that these those it him her them".split())
"""Words before which "to" is no mere part of a verb."""
_DEFINITE = frozenset("what who whether".split())
"""Ways of asking in which "the moon" is not "a moon"."""
_STATES = frozenset("when where how".split())
"""Ways of asking in which "is open" is not "opens"."""
_TURNING = frozenset("stop remember forget regret".split())
"""Verbs after which "doing" is not "to do"."""
_FEW = 3
"""Words of a thing that nothing else tells from others of its kind."""
_AMOUNT = frozenset("some any".split())
_ORDERS = frozenset("do give ask tips".split())
"""Ways of asking in which "some" says nothing."""
_PHRASES = tuple((re.compile(rf"(?<!\S){said}(?!\S)"), word) for said, word in PHRASES)


def reading(text: str) -> Form | None:
    """The form of a text: how it is asked, when, what, and of what."""
    said = spoken(text)
    if said is None:
        return None
    if said.exact:
        return ("exact", said.text)
    way, left = frame(said.text)
    every = [word.rstrip(",.") for word in said.text.split(" ")]
    was = not PAST.isdisjoint(every)
    done = any(stem(word)[1] for word in every if word.isalpha() and word not in PAST)
    for phrase, word in _PHRASES:
        left = phrase.sub(word, left)
    words = _owners(left.replace(",", " ,").split())
    gerund = way == "do" and _TURNING.isdisjoint(words)
    found: list[str] = []
    for at, word in enumerate(words):
        form, gone = _form(
            word, way, at, words[at + 1 : at + 3], few=len(words) <= _FEW, gerund=gerund
        )
        was = was or gone
        if form:
            found.append(form)
    past = "past" if was and way != "do" else ""
    passive = "passive" if done and way != "do" and not BE.isdisjoint(every) else ""
    return (way, past, passive, *found, "\n", said.tail)


def _form(
    word: str, way: str, at: int, behind: list[str], *, few: bool, gerund: bool
) -> tuple[str, bool]:
    """What a word says, if anything; whether it is of the past."""
    if at == 0 and word in BE and way in _STATES:
        return "be", False
    if word in _SPECIAL:
        return _special(word, way, at, behind, few=few), False
    if _silent(word, way, at):
        return "", False
    if way == "do" and word == "become":
        return "be", False
    if word in _ALIKE:
        return _ALIKE[word], False
    if word.islower() and word.isalpha():
        return stem(word, gerund=gerund)
    return word.removeprefix(NAME), False


def _special(word: str, way: str, at: int, behind: list[str], *, few: bool) -> str:
    """What articles, "to" and words for "by use of" say, by what follows them."""
    first = behind[0] if behind else ""
    if word in ("a", "an"):
        return "" if first and first not in BOUNDS else word
    if word == "the":
        return word if first == "most" or (at == 0 and way in _DEFINITE and few) else ""
    if word == "to":
        return word if first in _NOUNS or first.startswith(NAME) else ""
    tool = next((one for one in behind if one not in _ARTICLES), "")
    return "in" if tool.removeprefix(NAME).rstrip(".").lower() in TOOLS else word


def _silent(word: str, way: str, at: int) -> bool:
    return (
        word in SILENT
        or word in EMPTY
        or (at == 0 and word in _DO)
        or (way == "do" and word in OWN)
        or (way in _ORDERS and word in _AMOUNT)
    )


def _owners(words: list[str]) -> list[str]:
    """The words with "the X of Y" as "Y's X"."""
    for at in range(len(words) - 1, 0, -1):
        if words[at] != "of" or words[at - 1] in OBJECTIVE or words[at - 1] in BOUNDS:
            continue
        begin = at
        while begin and words[begin - 1] not in BOUNDS:
            begin -= 1
        first = at + 1
        while first < len(words) and words[first] in _ARTICLES | OWN:
            first += 1
        end = first
        while end < len(words) and (words[end] not in BOUNDS or words[end] == "'s"):
            end += 1
        owner, owned = words[at + 1 : end], words[begin:at]
        words = [*words[:begin], *owner, "'s", *owned, *words[end:]]
    return words
