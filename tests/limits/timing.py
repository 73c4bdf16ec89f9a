"""Whether the time that a refusal takes tells anything of a key: Welch's test over many look-ups.

    python -m tests.limits.timing

Wrong secrets that share 0, 8, 16 or 31 of the first characters of a known one, and one each that is
expired, revoked and unknown, are looked up in turn, in an order of chance. Exit status: 0 no kind
differs from the first by 1 us with p < 0.01, 1 one does.
"""

import hashlib
import math
import random
import statistics
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from gateway.core.problem import ProblemError
from gateway.limits.keys import load

LOOKUPS = 20_000
"""Of each kind."""
LEAST = 1_000.0
"""Nanoseconds between medians: less is noise."""
SURE = 0.01


def welch(one: list[int], other: list[int]) -> float:
    """The probability that two samples of one distribution differ so much in their means."""
    spread = statistics.variance(one) / len(one) + statistics.variance(other) / len(other)
    distance = abs(statistics.fmean(one) - statistics.fmean(other))
    return math.erfc(distance / math.sqrt(2 * spread)) if spread else float(distance == 0)


def trimmed(times: list[int]) -> list[int]:
    """Without the slowest tenth, in which the machine did something else."""
    return sorted(times)[: len(times) * 9 // 10]


def kinds() -> dict[str, str]:
    """Secrets that open nothing, of the length of one that does."""
    known = secret("known")
    shared = {f"shares {n}": known[:n] + secret(f"other {n}")[n:] for n in (0, 8, 16, 31)}
    return {**shared, "expired": secret("expired"), "revoked": secret("revoked")}


def secret(name: str) -> str:
    return f"tg-{hashlib.sha256(name.encode()).hexdigest()}"


def table() -> str:
    def line(name: str, more: str = "") -> str:
        digest = hashlib.sha256(secret(name).encode()).hexdigest()
        return f"{name}: {{sha256: '{digest}'{more}}}\n"

    return (
        line("known")
        + line("expired", ", expires: 2026-01-01")
        + line("revoked", ", revoked: 2026-01-01")
    )


def measure(lookups: int = LOOKUPS) -> dict[str, list[int]]:
    """Nanoseconds of each look-up, by kind."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "keys.yaml").write_text(table())
        keys = load("keys.yaml", Path(folder), "")
    asked = [(kind, text) for kind, text in kinds().items() for _ in range(lookups)]
    random.Random(1).shuffle(asked)
    times: dict[str, list[int]] = {kind: [] for kind in kinds()}
    for kind, text in asked:
        begun = time.perf_counter_ns()
        with suppress(ProblemError):
            keys.find(text)
        times[kind].append(time.perf_counter_ns() - begun)
    return times


def main() -> int:
    times = {kind: trimmed(one) for kind, one in measure().items()}
    first, *others = times
    worst = 0
    print(f"{first:10}  median {statistics.median(times[first]):7.0f} ns")
    for kind in others:
        median = statistics.median(times[kind])
        chance = welch(times[first], times[kind])
        apart = abs(median - statistics.median(times[first]))
        missed = apart >= LEAST and chance < SURE
        worst |= missed
        print(f"{kind:10}  median {median:7.0f} ns  p {chance:.3f}{'  TELLS' if missed else ''}")
    return int(worst)


if __name__ == "__main__":
    sys.exit(main())
