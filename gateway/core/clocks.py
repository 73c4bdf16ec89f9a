"""The clocks of a gateway: tests and simulations give it their own."""

import time
from collections.abc import Callable
from typing import NamedTuple


class Clocks(NamedTuple):
    """The clocks that a gateway reads."""

    wall: Callable[[], float]
    """Returns seconds since the epoch."""
    monotonic: Callable[[], float]
    """Returns seconds of a clock that never goes back."""


SYSTEM_CLOCKS = Clocks(time.time, time.monotonic)
"""The clocks of the machine."""
