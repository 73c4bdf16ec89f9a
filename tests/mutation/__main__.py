"""Play the mutants of the listed modules: python -m tests.mutation [JOBS] [MODULE].

MODULE is a listed module, or a folder of them. The exit status is 1 if a survivor is not listed, or
if a listed one does not survive.
"""

import os
import sys
from collections import Counter

from tests.mutation.play import ROOT, play_mutants
from tests.mutation.survivors import (
    compare_survivors,
    format_entry,
    read_modules,
    read_survivors,
)

_FOLDER = ROOT / ".tools" / "mutation"
"""The folder of the module that is played; the next module replaces it."""


def main(jobs: int, prefix: str) -> int:
    """Play the mutants of the modules below a prefix, print what came of them, and judge it."""
    modules = {name: tests for name, tests in read_modules().items() if name.startswith(prefix)}
    if not modules:
        print(f"no module below {prefix}: tests/mutation/modules.yaml lists them")
        return 1
    survivors, failed = read_survivors(), False
    for module, tests in modules.items():
        start = _measure_cpu()
        mutants = play_mutants(module, tests, _FOLDER, jobs)
        unlisted, gone = compare_survivors(mutants, survivors.get(module, ()))
        failed = failed or bool(unlisted or gone)
        counts = Counter(mutant.status for mutant in mutants)
        seconds = _measure_cpu() - start
        print(
            f"{module}: {len(mutants)} mutants, {dict(counts)}, {seconds:.0f} s of CPU", flush=True
        )
        for mutant in unlisted:
            print(f"not listed, {mutant.status}:\n{format_entry(mutant)}", flush=True)
        for entry in gone:
            print(f"listed, and does not survive: {entry.function}\n{entry.change}", flush=True)
    if failed:
        print("Write a test that notices the change, or list it in tests/mutation/survivors.yaml.")
    return int(failed)


def _measure_cpu() -> float:
    """Return the seconds of CPU of all processes that this one has started and that have ended."""
    times = os.times()
    return times.children_user + times.children_system


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else ""))
