"""Times that a test holds, judged so that a stall of the machine is no fault and a fault is one.

A machine stalls now and then: for the disk, for another's work, or, in a process that has run ten
thousand tests, for a second while cycles are searched among millions of objects. That hits one
trial; what is wrong with the program hits all. So the trial is made anew where it was late, and
the quickest is what counts. All that is no time must hold in each.
"""

from collections.abc import Callable

from gateway.telemetry import process

_TRIALS = 5


class Late(AssertionError):
    """A time was longer than it may be."""


def within(seconds: float, most: float, what: str = "it took") -> None:
    """Hold a time. Raises Late."""
    if not seconds < most:
        raise Late(f"{what} {seconds:.4f} s, not less than {most:.4f} s")


def tried[T](trial: Callable[[], T], times: int = _TRIALS) -> T:
    """What the first trial gives that is not late. Raises Late of the last where all are.

    A trial begins anew: it finds nothing of the one before that would make it quicker. No cycles
    are searched meanwhile.
    """
    for _ in range(times - 1):
        try:
            with process.pause_cycle_search():
                return trial()
        except Late as late:
            print(f"tried again: {late}")
    with process.pause_cycle_search():
        return trial()
