"""What a part of the gateway costs a call, in process: measured, printed, held against a bound."""

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

CALLS = 2000
ROUNDS = 20
MISSED = 1


class Cost(msgspec.Struct, frozen=True):
    """What one call costs, in microseconds."""

    what: str
    cost: float
    bound: float | None = None
    """The most that is enough; None is measured alone."""

    @property
    def met(self) -> bool:
        """Whether the bound holds."""
        return self.bound is None or self.cost <= self.bound


class Measure(Protocol):
    """Measures `calls` calls in each of some rounds; `clock` counts seconds of CPU."""

    def __call__(
        self, rounds: int, calls: int = CALLS, clock: Callable[[], float] = ...
    ) -> Sequence[Cost]:
        """The costs."""
        ...


def render(found: Sequence[Cost], bound: float) -> str:
    """The costs as a table."""
    width = max(len(one.what) for one in found) + 2
    lines = [
        f"{one.what:<{width}}{one.cost:>6.1f}{' ' if one.met else '!'}".rstrip() for one in found
    ]
    return "\n".join([*lines, f"microseconds of CPU; at most {bound:g} a call"])


def main(
    program: str,
    about: str | None,
    measure: Measure,
    bound: float,
    arguments: list[str] | None,
    clock: Callable[[], float],
) -> int:
    """Measures and prints; returns the exit status."""
    parser = argparse.ArgumentParser(prog=f"python -m {program}", description=about)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of each, the best one counts")
    parser.add_argument("--calls", type=int, default=CALLS, help="of a round")
    given = parser.parse_args(arguments)
    found = measure(given.rounds, given.calls, clock)
    sys.stdout.write(render(found, bound) + "\n")
    return 0 if all(one.met for one in found) else MISSED
