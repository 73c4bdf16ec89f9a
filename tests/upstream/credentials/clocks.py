"""Clocks that tests set by hand."""


class SetClock:
    """A clock that stands still until a test moves it."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class SetClocks:
    """A wall clock and a monotonic one."""

    def __init__(self) -> None:
        self.wall = SetClock(1_800_000_000.0)
        self.monotonic = SetClock(50.0)

    def move(self, seconds: float) -> None:
        """Let time pass on both."""
        self.wall.now += seconds
        self.monotonic.now += seconds
