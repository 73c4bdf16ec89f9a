"""A program in a terminal of its own: its screen, and the keys that a test presses."""

import fcntl
import os
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from tests.e2e.upstream import PATIENCE

_ROOT = str(Path(__file__).parents[2])
_OWN = (
    "import fcntl, os, signal, sys, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
    "[signal.signal(one, signal.SIG_DFL) for one in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)];"
    "os.execv(sys.argv[1], sys.argv[1:])"
)
"""Makes this terminal the one that sends Ctrl-C, and stops ignoring signals.

Tests that run in the background or under nohup ignore signals, and their children inherit that.
"""


class Terminal:
    """`python -m gateway` with arguments, in a terminal of 80 columns and 24 rows."""

    def __init__(
        self,
        words: Sequence[str | Path],
        *,
        folder: Path,
        environ: Mapping[str, str],
    ) -> None:
        self._ours, self._theirs = os.openpty()
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        keep = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        self._process = subprocess.Popen(
            [sys.executable, "-c", _OWN, sys.executable, "-m", "gateway", *map(str, words)],
            stdin=self._theirs, stdout=self._theirs, stderr=self._theirs, cwd=folder,
            env={**keep, "LANG": "C.UTF-8", "TERM": "xterm-256color", "PYTHONPATH": _ROOT, **environ},
        )  # fmt: skip
        self.text = ""
        """All that the program has shown."""
        self._seen = 0

    def press(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def until(self, text: str) -> str:
        """Return the output since the last call, up to a text that must come."""
        end = time.monotonic() + PATIENCE
        while (at := self.text.find(text, self._seen)) < 0:
            assert self._read(end), f"{text!r} did not come: {self.text[self._seen :]!r}"
        shown = self.text[self._seen : at + len(text)]
        self._seen = at + len(text)
        return shown

    def end(self, again: str = "") -> int:
        """Wait for the end and return the exit status; the whole output is in `text`.

        `again` is pressed once more now and then, as a person would. The program notices a signal
        that comes between a prompt and its reading only with the next key.
        """
        end = time.monotonic() + PATIENCE
        pressed = time.monotonic()
        while self._process.poll() is None:
            self._read(min(end, time.monotonic() + 0.1))
            if again and time.monotonic() > pressed + 1:
                self.press(again)
                pressed = time.monotonic()
            assert time.monotonic() < end, f"it goes on: {self.text[self._seen :]!r}"
        while self._read(time.monotonic()):
            pass
        return self._process.returncode

    def _read(self, end: float) -> bool:
        ready, _, _ = select.select([self._ours], [], [], max(0.0, end - time.monotonic()))
        if ready:
            self.text += os.read(self._ours, 65_536).decode("utf-8", "replace")
        return bool(ready)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._ours)
        os.close(self._theirs)
