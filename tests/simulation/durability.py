"""What must be left of the ledger after kills, power cuts and databases that were away."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path

from gateway.core.ledger_rows import FinalRow
from gateway.ledger.journal import list_segments, read_rows


def check_safe_lines(safe_lines: Sequence[tuple[Path, bytes]]) -> Iterator[str]:
    """A power cut takes no line that was synced before it."""
    for folder in {folder for folder, _ in safe_lines}:
        left = {line for path in list_segments(folder) for line in path.read_bytes().splitlines()}
        for line in [line for at, line in safe_lines if at == folder and line not in left]:
            yield f"a line that was synced is gone: {line[:80]!r}"


def check_databases(
    databases: Mapping[str, Mapping[str, FinalRow]],
    folders: Collection[Path],
    lost: AbstractSet[str],
) -> Iterator[str]:
    """A database has the final rows of all journals, as they are there, and no others.

    `databases` has rows by id for each. It may have those of `lost` calls, which it has read before a power cut took them.
    """
    finals: dict[str, list[FinalRow]] = {}
    for folder in folders:
        for path in list_segments(folder):
            for row, _ in read_rows(path):
                if isinstance(row, FinalRow):
                    finals.setdefault(row.id, []).append(row)
    for name, stored_rows in databases.items():
        for id in sorted(finals.keys() - stored_rows.keys()):
            yield f"{id}: in a journal, and not in the {name}"
        for id, row in stored_rows.items():
            if row not in finals.get(id, ()) and id not in lost:
                yield f"{id}: the {name} has a row that no journal has"
