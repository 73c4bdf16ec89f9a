"""`python -m tests.failover`: what clients see when the provider of their model fails."""

import argparse
import sys
import time

from tests.failover import table
from tests.failover.play import list_cells, play


def main() -> int:
    """Print the table; return 1 if a client took a cut answer as whole, or the page is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.failover", description=__doc__)
    parser.add_argument("--short", action="store_true", help="with short timers, as in the tests")
    parser.add_argument("--only", default="", help="cells with this text in their name")
    parser.add_argument("--write", action="store_true", help="write the table into the page")
    given = parser.parse_args()
    began = time.monotonic()
    cells = [cell for cell in list_cells(short=given.short) if given.only in str(cell)]
    experiences = list(play(cells, short=given.short))
    print(table.format_table(table.build_rows(experiences)))
    print(table.format_sums(table.count_kept(experiences)))
    print(f"{len(experiences)} calls of programs in {time.monotonic() - began:.0f} s")
    wrong = table.list_wrong(experiences)
    for cell, faults in wrong.items():
        print(f"WRONG: {cell}: {'; '.join(faults)}")
    if given.write and not given.short and not given.only:
        table.write_page(experiences)
    differences = [] if given.only else table.list_differences(experiences)
    for difference in differences:
        print(f"docs/failover.md: {difference}")
    return 1 if wrong or differences else 0


if __name__ == "__main__":
    sys.exit(main())
