"""Run simulations: `python -m tests.simulation COUNT FIRST_SEED [trace]`; see `make simulate`.

A first seed with an `s`, as `s1`, runs short scenarios. With `trace` it prints the hash of each
seed's trace.
"""

import gc
import os
import sys
import time
from collections import Counter

from tests.simulation.scenario import SHORT_PREFIX
from tests.simulation.simulation import simulate

_HASH_SEED = "0"
_SEEDS_BETWEEN_FREEZES = 10


def main(count: int, first: str, *, prints_trace: bool) -> int:
    """Run seeds and print what is broken. Return the exit status."""
    prefix = SHORT_PREFIX if first.startswith(SHORT_PREFIX) else ""
    number = int(first.removeprefix(prefix))
    began, seconds, failed = time.process_time(), 0.0, list[str]()
    answers, faults = Counter[str](), Counter[str]()
    for place in range(count):
        if place % _SEEDS_BETWEEN_FREEZES == 0:
            gc.freeze()  # caches of the gateway need no look after each simulation
        seed = f"{prefix}{number + place}"
        report = simulate(seed)
        if prints_trace:
            print(f"{seed} {report.trace}", flush=True)
        seconds += report.seconds
        answers += report.answers
        faults += report.faults
        if report.wrong:
            failed.append(seed)
            print(report.describe(), flush=True)
    cpu = time.process_time() - began
    print(
        f"{count} seeds, {len(failed)} failed; {seconds / 3600:.1f} virtual hours in {cpu:.0f} s "
        f"of CPU; answers: {_list_counts(answers)}; faults: {_list_counts(faults)}"
    )
    return 1 if failed else 0


def _list_counts(counts: Counter[str]) -> str:
    return ", ".join(f"{text} {number}" for text, number in counts.most_common())


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != _HASH_SEED:  # the order of sets is part of a replay
        os.environ["PYTHONHASHSEED"] = _HASH_SEED
        command = [sys.executable, "-m", "tests.simulation", *sys.argv[1:]]
        os.execv(sys.executable, command)  # noqa: S606 - this program again
    count, first, *options = sys.argv[1:]
    sys.exit(main(int(count), first, prints_trace="trace" in options))
