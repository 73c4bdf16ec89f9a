"""Compares this tree with a base commit from outside: `make twin BASE=COMMIT`.

The exit status is 0 if nothing differs but what agreed.yaml names, else 1.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from pathlib import Path

import uvloop

from tests.twin import agreed, report, trees
from tests.twin.run import Run
from tests.twin.stages import stages


def main() -> int:
    """Play all stages, and print the report."""
    parser = argparse.ArgumentParser(prog="python -m tests.twin", description=__doc__)
    parser.add_argument("base", help="the commit to compare with")
    parser.add_argument("--stage", action="append", help="only this stage: keyed, opened, recorded")
    parser.add_argument("--keep", type=Path, help="a new folder that keeps what gateways write")
    options = parser.parse_args()
    entries = agreed.read()
    start = time.monotonic()

    def log(text: str) -> None:
        print(f"{time.monotonic() - start:6.1f} s  {text}", flush=True)

    corpus = os.environ.get("TIERGATE_CORPUS", "")
    if not corpus:
        log("TIERGATE_CORPUS is not set: the run leaves out recorded answers")
    pair = [trees.base_tree(options.base), trees.this_tree()]
    log(f"{pair[0].name} is ready")
    with tempfile.TemporaryDirectory(prefix="tiergate-twin-") as folder:
        run = Run(pair, options.keep or Path(folder), log)
        for stage in stages(Path(corpus) if corpus else None):
            if not options.stage or stage.name in options.stage:
                asyncio.run(run.play(stage), loop_factory=uvloop.new_event_loop)
    unexplained, covered = agreed.split(run.result.differences, entries)
    lines = [*report.counts(run.result), *report.differences(unexplained), *report.agreed(covered)]
    print("\n".join([*lines, *run.result.notices]))
    log(f"{len(unexplained)} differences, {sum(covered.values())} agreed")
    return 1 if unexplained else 0


if __name__ == "__main__":
    sys.exit(main())
