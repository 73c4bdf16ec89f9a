"""Pairs of prompts, collected before any code compared them; see the files beside this one."""

from collections.abc import Iterator
from pathlib import Path

FOLDER = Path(__file__).parent


def traps() -> list[tuple[str, str, str]]:
    """Return pairs that look alike but need different answers: the difference, one, the other."""
    return [(kind, first, second) for kind, first, second in _rows("traps.tsv")]


def paraphrases() -> list[tuple[str, str]]:
    """Return pairs that ask the same in other words."""
    return [(first, second) for first, second in _rows("paraphrases.tsv")]


def _rows(name: str) -> Iterator[list[str]]:
    for line in (FOLDER / name).read_text("utf-8").splitlines():
        yield line.split("\t")
