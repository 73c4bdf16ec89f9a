"""All patterns of all rules as one RE2 set: a text is searched once, in time linear in it."""

import re
from collections.abc import Callable, Collection, Iterable
from functools import cache
from typing import Any

from gateway.routing.rules import linear
from gateway.routing.rules.pattern import Patterns, together

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
    return linear.options(case_sensitive=False, max_mem=_MOST)


class RuleError(ValueError):
    """A condition that cannot be compiled; `path` says where in the rule."""

    def __init__(self, path: Path, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.path = path
        self.hint = hint
        self.every: tuple[RuleError, ...] = (self,)
        """Itself, and all the others of the same rules."""


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
        re2, caseless = linear.engine(), _caseless()
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
        except linear.engine().error:
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
    return r"\s+".join(map(linear.engine().escape, word.split()))


def found(word: str, text: str) -> bool:
    """Whether a text has a keyword."""
    return linear.engine().search(words([word]), text, _caseless()) is not None


def everywhere(pattern: str) -> bool:
    """Whether a pattern is in every text: one that needs nothing, as `hello|` with its bar.

    False where that is not plain, and for what is no pattern.
    """
    if _PLACED.search(pattern):
        return False
    re2 = linear.engine()
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
    re2 = linear.engine()
    forms = "|".join(".*".join(map(re2.escape, name.split("*"))) for name in rest)
    like = re2.compile(f"(?s)(?:{forms})")
    return lambda name: name in exact or name.startswith(starts) or like.fullmatch(name) is not None
