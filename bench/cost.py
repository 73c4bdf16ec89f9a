"""Measure in process what a part of the gateway costs per call, print it, and check its bound."""

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

CALLS = 2000
ROUNDS = 20
MISSED = 1


class Cost(msgspec.Struct, frozen=True):
    """The cost of one call, in microseconds."""

    what: str
    cost: float
    bound: float | None = None
    """The largest cost that meets the bound; None has no bound."""

    @property
    def met(self) -> bool:
        """True if the bound holds, or if there is none."""
        return self.bound is None or self.cost <= self.bound


class Measure(Protocol):
    """A function that measures `calls` calls in each of `rounds` rounds; `clock` counts seconds of CPU."""

    def __call__(
        self, rounds: int, calls: int = CALLS, clock: Callable[[], float] = ...
    ) -> Sequence[Cost]:
        """Return the costs."""
        ...


def render(costs: Sequence[Cost], bound: float) -> str:
    """Format the costs as a table."""
    width = max(len(cost.what) for cost in costs) + 2
    lines = [
        f"{cost.what:<{width}}{cost.cost:>6.1f}{' ' if cost.met else '!'}".rstrip()
        for cost in costs
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
    """Measure and print; return the exit status."""
    parser = argparse.ArgumentParser(prog=f"python -m {program}", description=about)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of each, the best one counts")
    parser.add_argument("--calls", type=int, default=CALLS, help="of a round")
    given = parser.parse_args(arguments)
    costs = measure(given.rounds, given.calls, clock)
    sys.stdout.write(render(costs, bound) + "\n")
    return 0 if all(cost.met for cost in costs) else MISSED
