"""A fuzz target, and the cuts that it makes of its input."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from zlib import crc32

_MOST_CUTS = 4
_MOST_SINGLE_BYTES = 300


@dataclass(frozen=True)
class FuzzTarget:
    """One reader of the gateway, with what must hold for all bytes that it reads."""

    name: str
    """The name of its folder in the corpus."""
    check: Callable[[bytes], None]
    """Raises whatever shows that the reader is wrong; returns for bytes that it may refuse."""
    seeds: tuple[bytes, ...]
    """Inputs from which the search begins, written by hand."""
    words: tuple[bytes, ...] = ()
    """Words of the format, which the fuzzer inserts."""
    max_bytes: int = 2_000
    """The longest input: longer ones take more time and seldom find more."""


def cut(data: bytes) -> Iterator[list[bytes]]:
    """Yield the pieces of an input, in several ways: whole, cut somewhere, each byte alone.

    Of a long input each few bytes come together, or it would take too long.

    The cuts depend on the bytes alone, so that a replay makes the same ones.
    """
    yield [data]
    dice = random.Random(crc32(data))
    places = [dice.randint(0, len(data)) for _ in range(dice.randint(1, _MOST_CUTS))]
    yield [data[start:end] for start, end in pairwise([0, *sorted(places), len(data)])]
    size = 1 if len(data) <= _MOST_SINGLE_BYTES else 7
    yield [data[at : at + size] for at in range(0, len(data), size)]


def check_cuts[R](data: bytes, read: Callable[[list[bytes]], R]) -> R:
    """Return what a reader makes of the bytes. Raises AssertionError if cuts change that."""
    results = [read(pieces) for pieces in cut(data)]
    assert all(result == results[0] for result in results), ("cuts change the result", results)
    return results[0]
