"""Judge times so that a stall of the machine is no failure, and a fault of the program is one.

A machine stalls now and then: for the disk, for other work, or for a second of cycle search among
the millions of objects of ten thousand tests. A stall hits one trial; a fault of the program hits
all. So a late trial is repeated, and the quickest one counts. What is not a time must hold in each
trial.
"""

from collections.abc import Callable

from gateway.telemetry import process

_TRIALS = 5


class Late(AssertionError):
    """A time exceeded its bound."""


def within(seconds: float, most: float, what: str = "it took") -> None:
    """Check a time against its bound. Raises Late."""
    if not seconds < most:
        raise Late(f"{what} {seconds:.4f} s, not less than {most:.4f} s")


def tried[T](trial: Callable[[], T], times: int = _TRIALS) -> T:
    """Return the result of the first trial that is not late. Raises the last Late if all are.

    A trial begins anew: nothing that the one before left may make it quicker. Cycle search pauses
    meanwhile.
    """
    for _ in range(times - 1):
        try:
            with process.pause_cycle_search():
                return trial()
        except Late as late:
            print(f"tried again: {late}")
    with process.pause_cycle_search():
        return trial()
