"""All patterns of all rules as one RE2 set: one search of a text finds them, in linear time.

The library takes 3 MB. The gateway imports it with the first pattern, so a configuration without
patterns never loads it.
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

DIGEST_CHARS = 6
"""The number of characters of a digest."""


class Patterns(msgspec.Struct, frozen=True):
    """Compiled patterns, each with a number."""

    match: Callable[[bytes], Sequence[int] | None]
    """The function that returns the numbers of the patterns that a text in UTF-8 has."""
    digests: tuple[str, ...]
    """The digests of the patterns, by number."""
    all_digests: str
    """All digests, as a row keeps them."""

    def search(self, text: str) -> frozenset[int]:
        """Return the numbers of the patterns that a text has."""
        return frozenset(self.match(text.encode()) or ())

    def format_hits(self, hits: Container[int]) -> str:
        """Return the digests of patterns, by their numbers, as a row keeps them."""
        if not isinstance(hits, frozenset):
            hits = frozenset([index for index in range(len(self.digests)) if index in hits])
        return _join_digests(self.digests, hits)


def make_patterns(
    match: Callable[[bytes], Sequence[int] | None], patterns: Iterable[str]
) -> Patterns:
    """Return compiled patterns from a set's search function and the patterns in the set's order."""
    digests = tuple(map(digest_pattern, patterns))
    return Patterns(match, digests, "".join(sorted(set(digests))))


@lru_cache(1024)
def _join_digests(digests: tuple[str, ...], hits: frozenset[int]) -> str:
    """Join the digests of some patterns. The result is cached, because it is often the same."""
    return "".join(sorted({digests[index] for index in hits}))


def digest_pattern(pattern: str) -> str:
    """Return the digest of a pattern for rows: equal patterns have equal digests anywhere."""
    return urlsafe_b64encode(sha256(pattern.encode()).digest())[:DIGEST_CHARS].decode()


def split_digests(digests: str) -> frozenset[str]:
    """Return the digests that a row keeps."""
    return frozenset(
        digests[start : start + DIGEST_CHARS] for start in range(0, len(digests), DIGEST_CHARS)
    )


def load_re2() -> ModuleType:
    """Import and return the RE2 library."""
    import re2  # noqa: PLC0415 - see above

    module: ModuleType = re2
    return module


def make_options(**changes: object) -> Any:
    """Return options for RE2. It raises errors, and does not write them to stderr."""
    re2_options = load_re2().Options()
    re2_options.log_errors = False
    for name, value in changes.items():
        setattr(re2_options, name, value)
    return re2_options


type Path = tuple[str | int, ...]

_MAX_MEMORY_BYTES = 64_000_000
"""The maximum bytes that all patterns and their search may take. Repeated character classes take
most."""
_SCRIPTS = "\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff"
"""Thai, Lao, Japanese and Chinese: written without spaces, so their words have no edges."""
_UNSPACED = re.compile(f"[{_SCRIPTS}]")
_POSITIONAL = re.compile(r"[$^]|\\[AbBzZ]")
"""Signs of a pattern that holds only at some places of a text. They may also be plain letters."""
_EDGE = rf"(?:[^\pL\pM\pN_]|[{_SCRIPTS}])"


@cache
def _make_caseless_options() -> Any:
    return make_options(case_sensitive=False, max_mem=_MAX_MEMORY_BYTES)


class PatternPool:
    """The patterns of all rules during their compilation, each with its number."""

    def __init__(self) -> None:
        self._pattern_set: Any = None
        self._indexes: dict[str, int] = {}
        self._errors: list[RuleError] = []

    def add(self, pattern: str, path: Path) -> int:
        """Return the number of a pattern, the same for equal patterns; -1 if it is invalid."""
        if pattern in self._indexes:
            return self._indexes[pattern]
        re2, caseless_options = load_re2(), _make_caseless_options()
        if self._pattern_set is None:
            self._pattern_set = re2.Set.SearchSet(caseless_options)
        try:
            re2.compile(pattern, caseless_options)  # a set does not say what is wrong
            self._indexes[pattern] = self._pattern_set.Add(pattern)
        except re2.error as error:
            reason = error.args[0] if error.args else "not a pattern"
            text = reason.decode() if isinstance(reason, bytes) else str(reason)
            message = f"{pattern!r} is not a regular expression: {text}"
            self.add_error(path, message)
            return -1
        return self._indexes[pattern]

    def add_error(self, path: Path, message: str, hint: str = "") -> None:
        """Add an error of a rule; `compile_set` raises it together with all others."""
        self._errors.append(RuleError(path, message, hint))

    def compile_set(self) -> Patterns | None:
        """Return all patterns as one set; None if there are none. Raises RuleError."""
        if self._errors:
            first_error = self._errors[0]
            first_error.all_errors = tuple(self._errors)
            raise first_error
        if not self._indexes:
            return None
        try:
            self._pattern_set.Compile()
        except load_re2().error:
            message = (
                "the patterns of all rules are too large together: "
                "repeat less, as `.{0,40}` in place of `.{0,1000}`"
            )
            raise RuleError((), message) from None
        return make_patterns(self._pattern_set.Match, self._indexes)


def make_word_pattern(keywords: Iterable[str]) -> str:
    """Return a pattern for any of these words as whole words.

    In scripts without spaces, words have no edges.
    """
    spaced_words = [_escape_word(word) for word in keywords if _UNSPACED.search(word) is None]
    unspaced_words = [_escape_word(word) for word in keywords if _UNSPACED.search(word) is not None]
    alternatives = (
        [rf"(?:^|{_EDGE})(?:{'|'.join(spaced_words)})(?:{_EDGE}|$)"] if spaced_words else []
    )
    return "|".join([*alternatives, *unspaced_words])


def _escape_word(word: str) -> str:
    """Return the pattern of a word or phrase; a line may end inside a phrase."""
    return r"\s+".join(map(load_re2().escape, word.split()))


def contains_keyword(word: str, text: str) -> bool:
    """True if a text has a keyword."""
    return load_re2().search(make_word_pattern([word]), text, _make_caseless_options()) is not None


def matches_every_text(pattern: str) -> bool:
    """True if every text has a pattern because it matches the empty text, such as `hello|`.

    False if that is not certain, and for an invalid pattern.
    """
    if _POSITIONAL.search(pattern):
        return False
    re2 = load_re2()
    try:
        return re2.search(pattern, "", _make_caseless_options()) is not None
    except re2.error:
        return False


def is_unspaced(word: str) -> bool:
    """True if a word may stand inside others, because its script has no spaces."""
    return _UNSPACED.search(word) is not None


def compile_glob(names: Collection[str]) -> Callable[[str], bool]:
    """Return a test for any of these names, in which * stands for any text, also none."""
    exact_names = frozenset(name for name in names if "*" not in name)
    prefixes = tuple(name[:-1] for name in names if name.find("*") == len(name) - 1)
    wildcard_names = [name for name in names if "*" in name[:-1]]
    if not wildcard_names:
        return lambda name: name in exact_names or name.startswith(prefixes)
    re2 = load_re2()
    alternatives = "|".join(".*".join(map(re2.escape, name.split("*"))) for name in wildcard_names)
    wildcard_regex = re2.compile(f"(?s)(?:{alternatives})")
    return lambda name: (
        name in exact_names
        or name.startswith(prefixes)
        or wildcard_regex.fullmatch(name) is not None
    )
