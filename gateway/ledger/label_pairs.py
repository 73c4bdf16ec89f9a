"""Pairs of answers that people compare, and what they said of them.

Two files in a folder of the data folder, each a JSON object a line. `tiergate label --person`
appends pairs, the gateway appends verdicts, and `tiergate label --collect` makes labels of both and
removes what it has taken. A pair has texts of users: the files are for the gateway's user alone.
"""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal

import msgspec

from gateway.core import jsonio
from gateway.core.jsonio import Json
from gateway.core.target import Tier
from gateway.ledger.file_lock import lock_file
from gateway.state.private_file import open_private

FOLDER_NAME = "labelling"
_PAIR_FILE, _VERDICT_FILE, _LOCK_FILE = "pairs.jsonl", "verdicts.jsonl", "labelling.lock"

type PairVerdict = Literal["A", "B", "same", "skip"]


class ShownAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """An answer of a pair, with the tier that nobody who compares may see."""

    tier: Tier
    text: str


class LabelPair(msgspec.Struct, frozen=True, kw_only=True):
    """Two answers to one prompt, in the order in which they are shown."""

    id: str
    request: str
    """The request, as a person reads it."""
    first: ShownAnswer
    second: ShownAnswer
    label: Json = None
    """All that the label's row says beside the comparison."""


class SavedVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """The verdict of a person on a pair. The last one counts."""

    pair: str
    better: PairVerdict
    who: str
    at: float
    """Seconds since the epoch."""


_read_pair = jsonio.make_reader(LabelPair)
_read_verdict = jsonio.make_reader(SavedVerdict)


class LabelPairs:
    """The pairs and verdicts in a data folder."""

    def __init__(self, data: Path) -> None:
        self.folder = data / FOLDER_NAME

    def read_pairs(self) -> list[LabelPair]:
        """Return all pairs, in the order in which they were made. Raises OSError."""
        return self._read(_PAIR_FILE, _read_pair)

    def read_verdicts(self) -> dict[str, SavedVerdict]:
        """Return the last verdict on each pair, by the pair's id. Raises OSError."""
        verdicts: list[SavedVerdict] = self._read(_VERDICT_FILE, _read_verdict)
        return {verdict.pair: verdict for verdict in verdicts}

    def add_pairs(self, pairs: Iterable[LabelPair]) -> None:
        """Append pairs, on the disk when this returns. Raises OSError."""
        self._append(_PAIR_FILE, pairs)

    def add_verdict(self, verdict: SavedVerdict) -> None:
        """Append a verdict, on the disk when this returns. Raises OSError."""
        self._append(_VERDICT_FILE, [verdict])

    def remove(self, ids: set[str]) -> None:
        """Remove pairs and the verdicts on them. Raises OSError."""
        with lock_file(self.folder / _LOCK_FILE):
            pairs = [pair for pair in self.read_pairs() if pair.id not in ids]
            verdicts = [item for item in self.read_verdicts().values() if item.pair not in ids]
            self._replace(_PAIR_FILE, pairs)
            self._replace(_VERDICT_FILE, verdicts)

    def _replace(self, name: str, rows: Iterable[LabelPair | SavedVerdict]) -> None:
        """Put other rows in place of a file, which stays whole if the disk is full."""
        new_file = self.folder / f"{name}.new"
        _write(new_file, rows, os.O_WRONLY | os.O_TRUNC)
        new_file.replace(self.folder / name)

    def _append(self, name: str, rows: Iterable[LabelPair | SavedVerdict]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with lock_file(self.folder / _LOCK_FILE):
            _write(self.folder / name, rows, os.O_WRONLY | os.O_APPEND)

    def _read(self, name: str, read_row: Callable[[bytes], Any]) -> list[Any]:
        """Return the rows of a file; none if it is missing. A half-written line is left out."""
        try:
            lines = (self.folder / name).read_bytes().split(b"\n")[:-1]
        except FileNotFoundError:
            return []
        rows = []
        for line in lines:
            try:
                rows.append(read_row(line))
            except jsonio.JsonError:
                continue
        return rows


def _write(file: Path, rows: Iterable[LabelPair | SavedVerdict], flags: int) -> None:
    with os.fdopen(open_private(file, flags), "wb") as out:
        for row in rows:
            out.write(jsonio.dumps(row) + b"\n")
        out.flush()
        os.fsync(out.fileno())
