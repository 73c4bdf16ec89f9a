"""`python -m tests.chaos`: the fault matrix on loopback, one line a row; see --help."""

import argparse
import sys
import time

from tests.chaos.matrix import ROWS
from tests.chaos.run import chosen, play


def main() -> int:
    """Play the chosen rows; return 1 if one failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument(
        "--only", action="append", default=[], help="an id (U-07) or a family; again for more"
    )
    parser.add_argument(
        "--dialect", action="append", default=[], help="clients of this dialect; again for more"
    )
    parser.add_argument("--ci", action="store_true", help="only what the tests play too")
    parser.add_argument("--failed", action="store_true", help="print only what did not pass")
    given = parser.parse_args()
    began, passed, failed, unrun, unmet = time.monotonic(), 0, 0, 0, 0
    for result in play(chosen(ROWS, given.only, given.dialect, ci=given.ci)):
        passed += result.ran and result.passed
        failed += result.ran and not result.passed
        unrun += not result.ran
        unmet += bool(result.ran and result.passed and result.unmet)
        if not given.failed or not result.ran or not result.passed:
            print(result, flush=True)
    print(f"{unmet} known, {unrun} not run, {time.monotonic() - began:.0f} s")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
