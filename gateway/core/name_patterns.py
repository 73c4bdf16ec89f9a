"""Patterns of model names: the form in which the configuration says which names are whose."""

import functools
import re
from collections.abc import Sequence
from fnmatch import translate

_NAME_PATTERN = re.compile(r"[A-Za-z0-9_@:+.-]+(?:/[A-Za-z0-9_@:+.-]+)*")
"""The form of a name that no lab lists: it becomes a part of a URL, a header and a row."""
_DOT_SEGMENTS = frozenset({".", ".."})
_MAX_NAME_CHARS = 200
"""The most characters of such a name: as many as a row keeps."""


def is_safe_name(name: str) -> bool:
    """True if a name that a client made up may become a part of a URL, a header and a row."""
    return (
        len(name) <= _MAX_NAME_CHARS
        and _NAME_PATTERN.fullmatch(name) is not None
        and _DOT_SEGMENTS.isdisjoint(name.split("/"))
    )


def matches_name(patterns: tuple[str, ...], name: str) -> bool:
    """True if a name matches one of some patterns, and none that excludes it.

    `*` matches anything but a slash, and a leading `!` excludes names.
    """
    included, excluded = _compile(patterns)
    return included.fullmatch(name) is not None and excluded.fullmatch(name) is None


def excludes_name(patterns: tuple[str, ...], name: str) -> bool:
    """True if a pattern excludes a name with a leading `!`."""
    return _compile(patterns)[1].fullmatch(name) is not None


def may_own_name(patterns: tuple[str, ...], name: str, provider: str, lab: str) -> bool:
    """True if a provider with these patterns may serve a model that no lab lists.

    It may serve any whose name begins with its own. The names that it owns may begin with its lab.
    """
    prefix, slash, suffix = name.partition("/")
    return is_safe_name(name) and (
        bool(slash and prefix == provider)
        or matches_name(patterns, name)
        or (prefix == lab and matches_name(patterns, suffix))
    )


@functools.lru_cache(1024)
def _compile(patterns: tuple[str, ...]) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Compile the patterns that include names, and those that exclude names."""
    included = [pattern for pattern in patterns if not pattern.startswith("!")]
    excluded = [pattern[1:] for pattern in patterns if pattern.startswith("!")]
    return _join(included), _join(excluded)


def _join(patterns: Sequence[str]) -> re.Pattern[str]:
    """Return one expression for some patterns; without patterns, one that matches nothing.

    A name has as many slashes as its pattern, so that `*` matches none of them.
    """
    parts = [
        rf"(?=[^/]*(?:/[^/]*){{{pattern.count('/')}}}\Z){translate(pattern)}"
        for pattern in patterns
    ]
    return re.compile("|".join(parts) or r"(?!)")
