"""All patterns of all rules as one RE2 set: a text is searched once, in time linear in it.

The patterns of all rules, compiled as one: a text is searched once for all of them.

RE2, whose searches take linear time: imported with the first pattern, for it is 3 MB.

A configuration without a pattern never asks for it.
"""

import re
from base64 import urlsafe_b64encode
from collections.abc import Callable, Collection, Container, Iterable, Sequence
from functools import cache, lru_cache
from hashlib import sha256
from types import ModuleType
from typing import Any

import msgspec

from gateway.routing.errors import RuleError

SIGNS = 6
"""Of a digest."""


class Patterns(msgspec.Struct, frozen=True):
    """Compiled patterns, each with its number."""

    match: Callable[[str], Sequence[int] | None]
    """The numbers of those that a text has."""
    digests: tuple[str, ...]
    """By number."""
    known: str
    """All digests, as a row keeps them."""

    def search(self, text: str) -> frozenset[int]:
        """The numbers of those that a text has."""
        return frozenset(self.match(text) or ())

    def told(self, hits: Container[int]) -> str:
        """Numbers as a row keeps them."""
        if not isinstance(hits, frozenset):
            hits = frozenset([one for one in range(len(self.digests)) if one in hits])
        return _told(self.digests, hits)


def together(match: Callable[[str], Sequence[int] | None], patterns: Iterable[str]) -> Patterns:
    """A compiled set, by its search, with the patterns that it was made of in their order."""
    digests = tuple(map(digest, patterns))
    return Patterns(match, digests, "".join(sorted(set(digests))))


@lru_cache(1024)
def _told(digests: tuple[str, ...], hits: frozenset[int]) -> str:
    """Many texts have the same patterns."""
    return "".join(sorted({digests[number] for number in hits}))


def digest(pattern: str) -> str:
    """Of a pattern, as a row keeps it: the same for the same pattern in any configuration."""
    return urlsafe_b64encode(sha256(pattern.encode()).digest())[:SIGNS].decode()


def split(digests: str) -> frozenset[str]:
    """The digests that a row keeps."""
    return frozenset(digests[at : at + SIGNS] for at in range(0, len(digests), SIGNS))


def engine() -> ModuleType:
    """The library."""
    import re2  # noqa: PLC0415 - see above

    found: ModuleType = re2
    return found


def options(**changes: object) -> Any:
    """How it compiles a pattern; errors are raised and not written to stderr."""
    made = engine().Options()
    made.log_errors = False
    for name, value in changes.items():
        setattr(made, name, value)
    return made


type Path = tuple[str | int, ...]

_MOST = 64_000_000
"""Bytes that all patterns and their search may take; repetitions of classes are what is large."""
_SCRIPTS = "\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff"
"""Thai, Lao, Japanese and Chinese: written without spaces, so that their words have no edges."""
_UNSPACED = re.compile(f"[{_SCRIPTS}]")
_PLACED = re.compile(r"[$^]|\\[AbBzZ]")
"""What holds at some places of a text alone, or may be a letter that is written so."""
_EDGE = rf"(?:[^\pL\pM\pN_]|[{_SCRIPTS}])"


@cache
def _caseless() -> Any:
    return options(case_sensitive=False, max_mem=_MOST)


class PatternPool:
    """The patterns of all rules while these are compiled, each by its number."""

    def __init__(self) -> None:
        self._set: Any = None
        self._numbers: dict[str, int] = {}
        self._wrong: list[RuleError] = []

    def add(self, pattern: str, path: Path) -> int:
        """The number of a pattern; the same pattern has one number."""
        if pattern in self._numbers:
            return self._numbers[pattern]
        re2, caseless = engine(), _caseless()
        if self._set is None:
            self._set = re2.Set.SearchSet(caseless)
        try:
            re2.compile(pattern, caseless)  # a set does not say what is wrong
            self._numbers[pattern] = self._set.Add(pattern)
        except re2.error as error:
            reason = error.args[0] if error.args else "not a pattern"
            text = reason.decode() if isinstance(reason, bytes) else str(reason)
            message = f"{pattern!r} is not a regular expression: {text}"
            self.refuse(path, message)
            return -1
        return self._numbers[pattern]

    def refuse(self, path: Path, message: str, hint: str = "") -> None:
        """Something of a rule that cannot be compiled; `compiled` raises it with all others."""
        self._wrong.append(RuleError(path, message, hint))

    def compiled(self) -> Patterns | None:
        """All of them as one, None where there are none. Raises RuleError."""
        if self._wrong:
            first = self._wrong[0]
            first.every = tuple(self._wrong)
            raise first
        if not self._numbers:
            return None
        try:
            self._set.Compile()
        except engine().error:
            message = (
                "the patterns of all rules are too large together: "
                "repeat less, as `.{0,40}` in place of `.{0,1000}`"
            )
            raise RuleError((), message) from None
        return together(self._set.Match, self._numbers)


def words(of: Iterable[str]) -> str:
    """A pattern for any of these words, whole; scripts without spaces have no word edges."""
    spaced = [_spelt(word) for word in of if _UNSPACED.search(word) is None]
    loose = [_spelt(word) for word in of if _UNSPACED.search(word) is not None]
    whole = [rf"(?:^|{_EDGE})(?:{'|'.join(spaced)})(?:{_EDGE}|$)"] if spaced else []
    return "|".join([*whole, *loose])


def _spelt(word: str) -> str:
    """A word or phrase as it stands in a text, where a line may end inside it."""
    return r"\s+".join(map(engine().escape, word.split()))


def found(word: str, text: str) -> bool:
    """Whether a text has a keyword."""
    return engine().search(words([word]), text, _caseless()) is not None


def everywhere(pattern: str) -> bool:
    """Whether a pattern is in every text: one that needs nothing, as `hello|` with its bar.

    False where that is not plain, and for what is no pattern.
    """
    if _PLACED.search(pattern):
        return False
    re2 = engine()
    try:
        return re2.search(pattern, "", _caseless()) is not None
    except re2.error:
        return False


def unspaced(word: str) -> bool:
    """Whether a word is found inside others: its script is written without spaces."""
    return _UNSPACED.search(word) is not None


def glob(names: Collection[str]) -> Callable[[str], bool]:
    """Whether a name is one of these, in which * stands for anything, also nothing."""
    exact = frozenset(name for name in names if "*" not in name)
    starts = tuple(name[:-1] for name in names if name.find("*") == len(name) - 1)
    rest = [name for name in names if "*" in name[:-1]]
    if not rest:
        return lambda name: name in exact or name.startswith(starts)
    re2 = engine()
    forms = "|".join(".*".join(map(re2.escape, name.split("*"))) for name in rest)
    like = re2.compile(f"(?s)(?:{forms})")
    return lambda name: name in exact or name.startswith(starts) or like.fullmatch(name) is not None
