"""The provider's prompt cache: the longest prefix of a prompt that it has seen lately."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b

_TTL = 300.0
"""Seconds for which a prompt stays cached after its last read."""
_LEAST = 1_024
"""Tokens of the shortest prefix that is cached."""
_STEP = 128
"""An automatic cache counts in multiples of this many tokens."""


@dataclass(frozen=True)
class Hit:
    """Tokens of one prompt, by the way in which the provider read them."""

    fresh: int
    read: int
    write: int


class PromptCache:
    """The caches of all hosts, one for each place (host and model). `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._seen: dict[tuple[str, bytes], float] = {}

    def automatic(self, place: str, blocks: Sequence[bytes], *, bills_writes: bool) -> Hit:
        """Read a prompt at a provider that caches every prefix by itself, like OpenAI and Google."""
        sizes, hashes = _sums(blocks)
        read = self._longest(place, sizes, hashes, range(len(blocks)))
        read -= read % _STEP
        self._keep(place, hashes)
        write = sizes[-1] - read if bills_writes and sizes[-1] >= _LEAST else 0
        write -= write % _STEP
        return Hit(sizes[-1] - read - write, read, write)

    def marked(self, place: str, blocks: Sequence[bytes], marks: Sequence[int]) -> Hit:
        """Read a prompt of a client that marks what to cache, as at Anthropic."""
        sizes, hashes = _sums(blocks)
        read = self._longest(place, sizes, hashes, marks)
        last = sizes[marks[-1]] if marks else 0
        write = last - read if last >= _LEAST else 0
        self._keep(place, [hashes[mark] for mark in marks if sizes[mark] >= _LEAST])
        return Hit(sizes[-1] - read - write, read, write)

    def _longest(
        self, place: str, sizes: Sequence[int], hashes: Sequence[bytes], marks: Sequence[int]
    ) -> int:
        """Return the tokens of the longest cached prefix; a read extends its life."""
        now = self._clock()
        for at in range(marks[-1] if marks else -1, -1, -1):
            seen = self._seen.get((place, hashes[at]))
            if seen is not None and now - seen <= _TTL and sizes[at] >= _LEAST:
                self._seen[place, hashes[at]] = now
                return sizes[at]
        return 0

    def _keep(self, place: str, hashes: Sequence[bytes]) -> None:
        now = self._clock()
        self._seen.update({(place, hash): now for hash in hashes})


def count(data: bytes) -> int:
    """Count the tokens of a text: four bytes each."""
    return max(1, len(data) // 4)


def _sums(blocks: Sequence[bytes]) -> tuple[list[int], list[bytes]]:
    """Add up tokens to the end of each block, with a hash of all up to there."""
    sizes: list[int] = []
    hashes: list[bytes] = []
    size, state = 0, blake2b(digest_size=16)
    for block in blocks:
        size += count(block)
        state.update(b"%d:" % len(block))
        state.update(block)
        sizes.append(size)
        hashes.append(state.copy().digest())
    return sizes, hashes
