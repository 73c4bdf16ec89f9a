"""Play C-20, and write the observations as the expectations: read the diff."""

import sys

from tests.chaos.run import chosen, play
from tests.chaos.sdk import PINNED, ROWS


def main() -> int:
    """Write the file; return 1 if a row could not be played, or left something behind."""
    lines, wrong = [], 0
    cells = {str(cell): cell for cell in chosen(ROWS)}
    for result in play(list(cells.values())):
        cell = cells.get(result.what)
        if cell is None or not result.ran or result.raw is None or result.raw.wrong:
            print(result)
            wrong += bool(result.wrong)
            continue
        fault, _, client = cell.row.fault.rpartition(", ")
        seen = result.raw
        lines.append(
            f"{fault} | {cell.mode} | {client} | {seen.client} | {seen.more} | {seen.attempts} sent"
        )
    PINNED.write_text("\n".join(lines) + "\n")
    print(f"{len(lines)} lines")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
