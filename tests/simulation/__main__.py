"""Run simulations: `python -m tests.simulation COUNT [FIRST SEED]`; see `make simulate`."""

import sys
import time
from collections import Counter

from tests.simulation.scenario import simulate


def main(count: int, first: int) -> int:
    """Run seeds and print what is broken. Return the exit status."""
    began, seconds, failed = time.process_time(), 0.0, list[int]()
    answers: Counter[str] = Counter()
    for seed in range(first, first + count):
        report = simulate(str(seed))
        seconds += report.seconds
        answers += report.answers
        if report.wrong:
            failed.append(seed)
            print(report.describe(), flush=True)
    cpu = time.process_time() - began
    print(
        f"{count} seeds, {len(failed)} failed; {seconds / 3600:.1f} virtual hours in {cpu:.0f} s "
        f"of CPU; answers: {', '.join(f'{text} {number}' for text, number in answers.most_common())}"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:] + ["1"] * (3 - len(sys.argv)))))
