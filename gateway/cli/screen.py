"""A terminal that one program has for itself for a while, and gets back as it was."""

import contextlib
import os
import select
import shutil
import signal
import sys
import termios
import tty
from collections.abc import Iterator
from types import FrameType
from typing import Any, Self

_ENTER = "\x1b[?1049h\x1b[?25l\x1b[2J"
_LEAVE = "\x1b[?25h\x1b[?1049l"
_KEYS = {
    "\x1b[A": "up", "\x1b[B": "down", "\x1b[C": "right", "\x1b[D": "left", "\x1bOA": "up",
    "\x1bOB": "down", "\x1bOC": "right", "\x1bOD": "left", "\t": "right", "\x1b": "escape",
}  # fmt: skip
_ENDS = (signal.SIGTERM, signal.SIGHUP)


class Screen:
    """The whole screen, until the block ends: by a key, an error or a signal."""

    def __init__(self) -> None:
        self._in = sys.stdin.fileno()
        self._before: list[Any] | None = None
        self._woken, self._wake = os.pipe()
        os.set_blocking(self._woken, False)
        os.set_blocking(self._wake, False)

    @property
    def size(self) -> tuple[int, int]:
        """Columns and rows."""
        found = shutil.get_terminal_size()
        return found.columns, found.lines

    def wake(self) -> None:
        """Let `key` return; from any thread, also one that this outlives."""
        with contextlib.suppress(OSError):
            os.write(self._wake, b"\0")

    def draw(self, lines: list[str]) -> None:
        """Show these lines, from the first row on; the rest is empty."""
        _, rows = self.size
        shown = "\x1b[K\n".join(lines[:rows])
        sys.stdout.write(f"\x1b[H{shown}\x1b[K\x1b[J")
        sys.stdout.flush()

    def key(self, seconds: float) -> str:
        """The next key that is pressed; empty after so long, or where something else is to do."""
        ready, _, _ = select.select([self._in, self._woken], [], [], max(0.0, seconds))
        if self._woken in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(self._woken, 1_024)
        if self._in not in ready:
            return ""
        told = os.read(self._in, 64).decode("utf-8", "replace")
        if not told:
            return "q"  # the terminal is gone
        return _KEYS.get(told, told[0])

    def __enter__(self) -> Self:
        self._before = termios.tcgetattr(self._in)
        self._signals = {
            signal.SIGWINCH: signal.signal(signal.SIGWINCH, lambda *_: self.wake()),
            signal.SIGTSTP: signal.signal(signal.SIGTSTP, self._stop),
            signal.SIGCONT: signal.signal(signal.SIGCONT, self._go_on),
            **{one: signal.signal(one, _end) for one in _ENDS},
        }
        self._take()
        return self

    def __exit__(self, *_: object) -> None:
        self._give()
        for number, handler in self._signals.items():
            signal.signal(number, handler)

    def _take(self) -> None:
        tty.setcbreak(self._in)
        sys.stdout.write(_ENTER)
        sys.stdout.flush()

    def _give(self) -> None:
        with contextlib.suppress(OSError, ValueError):  # the terminal may be gone
            sys.stdout.write(_LEAVE)
            sys.stdout.flush()
        with contextlib.suppress(OSError, termios.error):
            if self._before is not None:
                termios.tcsetattr(self._in, termios.TCSADRAIN, self._before)

    def _stop(self, *_: object) -> None:
        """Ctrl-Z: the shell gets its terminal back, and this one waits."""
        self._give()
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)

    def _go_on(self, *_: object) -> None:
        signal.signal(signal.SIGTSTP, self._stop)
        self._take()
        self.wake()


def _end(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


@contextlib.contextmanager
def screen() -> Iterator[Screen]:
    """The terminal for a while."""
    with Screen() as found:
        yield found
