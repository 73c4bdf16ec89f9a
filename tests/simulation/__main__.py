"""Run simulations: `python -m tests.simulation COUNT FIRST_SEED [trace]`; see `make simulate`.

A first seed with an `s`, as `s1`, runs short scenarios. With `trace` it prints the hash of each
seed's trace.
"""

import gc
import os
import signal
import sys
import time
from collections import Counter
from contextlib import suppress

from tests.simulation.scenario import SHORT_PREFIX
from tests.simulation.simulation import Report, simulate

_HASH_SEED = "0"


class Totals:
    """Sums over the seeds of one run."""

    def __init__(self) -> None:
        self.seeds = 0
        self.failed: list[str] = []
        self.seconds = 0.0
        """Virtual seconds."""
        self.answers, self.faults = Counter[str](), Counter[str]()

    def add(self, report: Report) -> None:
        """Add a seed; print it if it breaks something."""
        self.seeds += 1
        self.seconds += report.seconds
        self.answers += report.answers
        self.faults += report.faults
        if report.wrong:
            self.failed.append(report.scenario.seed)
            print(report.describe(), flush=True)


def main(count: int, first: str, *, prints_trace: bool) -> int:
    """Run seeds, print what is broken, and the totals at the end or if interrupted.

    Return the exit status.
    """
    prefix = SHORT_PREFIX if first.startswith(SHORT_PREFIX) else ""
    number = int(first.removeprefix(prefix))
    began, totals = time.process_time(), Totals()
    gc.disable()  # it is enough after each simulation
    with suppress(KeyboardInterrupt):
        for place in range(count):
            gc.collect()
            gc.freeze()  # caches of the gateway need no look after each simulation
            report = simulate(f"{prefix}{number + place}")
            totals.add(report)
            if prints_trace:
                print(f"{report.scenario.seed} {report.trace}", flush=True)
    cpu = time.process_time() - began
    print(
        f"{totals.seeds} seeds, {len(totals.failed)} failed; {totals.seconds / 3600:.1f} virtual "
        f"hours in {cpu:.0f} s of CPU; answers: {_list_counts(totals.answers)}; "
        f"faults: {_list_counts(totals.faults)}"
    )
    return 1 if totals.failed else 0


def _list_counts(counts: Counter[str]) -> str:
    return ", ".join(f"{text} {number}" for text, number in counts.most_common())


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != _HASH_SEED:  # the order of sets is part of a replay
        os.environ["PYTHONHASHSEED"] = _HASH_SEED
        command = [sys.executable, "-m", "tests.simulation", *sys.argv[1:]]
        os.execv(sys.executable, command)  # noqa: S606 - this program again
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also where a shell ignores it
    count, first, *options = sys.argv[1:]
    sys.exit(main(int(count), first, prints_trace="trace" in options))
