"""The patterns of all rules, compiled as one: a text is searched once for all of them."""

from base64 import urlsafe_b64encode
from collections.abc import Callable, Container, Iterable, Sequence
from functools import lru_cache
from hashlib import sha256

import msgspec

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
