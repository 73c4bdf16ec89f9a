"""The plain form of an English word, and whether it tells of the past."""

import re

from gateway.routing.near.words import IRREGULAR, PLURAL, PRESENT, SAME, UNSTEMMED

_RULES = (
    (re.compile(r"(.{2,})ies$"), r"\1y", False),
    (re.compile(r"(.+(?:ss|x|ch|sh))es$"), r"\1", False),
    (re.compile(r"(.{2,}[^siu])s$"), r"\1", False),
    (re.compile(r"(.{2,})ied$"), r"\1y", True),
    (re.compile(r"(.*[aeiouy].*)([bdgklmnprt])\2ed$"), r"\1\2", True),
    (re.compile(r"(.*[aeiouy].*)ed$"), r"\1", True),
)
_GERUND = (
    (re.compile(r"(.*[aeiouy].*)([bdgklmnprt])\2ing$"), r"\1\2", False),
    (re.compile(r"(.*[aeiouy].*)ing$"), r"\1", False),
)
_LOST = re.compile(
    r"[^aeiou]*[aeiouy][^aeiouwxy]|.*(?:at|i[zd]|[aeiou]s|v|c|dg|rg|ang|[bptgkdf]l|u|[aiu]r|[ao]g)"
)
"""What has lost an e before -ed or -ing."""
_SHORT, _LONG = 4, 30
"""Letters of words that have forms: shorter and longer ones are taken as they are."""


def stem(word: str, *, gerund: bool = False) -> tuple[str, bool]:
    """A word in lower case as its plain form; whether it is a past one.

    `gerund`: the form in -ing is taken for the verb.
    """
    past = False
    if word in IRREGULAR:
        past = word not in PRESENT
        word = IRREGULAR[word]
    elif word in PLURAL:
        word = PLURAL[word]
    elif _SHORT <= len(word) <= _LONG and word not in UNSTEMMED:
        word, past = _regular(word, _RULES + _GERUND if gerund else _RULES)
    return SAME.get(word, word), past


def _regular(word: str, rules: tuple[tuple[re.Pattern[str], str, bool], ...]) -> tuple[str, bool]:
    for rule, form, past in rules:
        made, many = rule.subn(form, word)
        if many:
            whole = word[len(made) :] in ("ed", "ing") and _LOST.fullmatch(made)
            return (made + "e" if whole else made), past
    return word, False
