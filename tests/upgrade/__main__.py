"""`make upgrade`: the version before becomes this one, with its data, and in a fleet under load.

    python -m tests.upgrade [SECONDS [SEED]]

Exit status: 0 if nothing is lost and no call fails, 1 otherwise, 2 if the machine lacks a program.
"""

import sys
import tempfile
import time
from pathlib import Path

from tests.e2e.scale_fleet import missing
from tests.upgrade.data import STORES, try_store
from tests.upgrade.former import unpack_former
from tests.upgrade.rollout import run_rollout, table


def main(seconds: float, seed: str) -> int:
    """Run all trials, and print what they found."""
    if absent := missing():
        sys.stdout.write(f"missing: {', '.join(absent)}. apt-get install {' '.join(absent)}\n")
        return 2
    wrong: list[str] = []
    with tempfile.TemporaryDirectory(prefix="tiergate-upgrade-") as name:
        folder = Path(name)
        former = unpack_former(folder / "former")
        sys.stdout.write(f"from {former.name}, seed {seed}\n")
        for store in STORES:
            found = try_store(folder / store, former, store)
            sys.stdout.write(f"data in {store}: {len(found)} disagreements\n")
            wrong += found
        (folder / "fleet").mkdir()
        rollout = run_rollout(folder / "fleet", former, seconds, seed)
    wrong += rollout.calls.wrong
    for label, value in table(rollout):
        sys.stdout.write(f"{label:<44}{value}\n")
    sys.stdout.write("\n".join([f"{len(wrong)} disagreements", *wrong[:40], ""]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(float((sys.argv[1:2] or ["30"])[0]), *(sys.argv[2:3] or [f"{time.time_ns()}"])))
