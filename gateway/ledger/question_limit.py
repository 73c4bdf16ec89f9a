"""A limit of the time in which the store answers questions."""

import time
from collections.abc import Callable


class QuestionLimit:
    """The time that the questions of one answer over HTTP may take together.

    Questions that sums answer take milliseconds; those that read single rows take longer.
    """

    def __init__(self, max_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.max_seconds = max_seconds
        self.reads_rows = False
        """True if a question read single rows beyond the edges of its time."""
        self._clock = clock
        self._end = clock() + max_seconds

    @property
    def remaining_seconds(self) -> float:
        """The seconds that are left; 0 if there are none."""
        return max(0.0, self._end - self._clock())
