"""A separate program beside the tests, which does not outlive them."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path

from tests.e2e.upstream import PATIENCE

_ROOT = str(Path(__file__).parents[2])
_LISTENING = re.compile(r"on http://127\.0\.0\.1:(\d+) ")
_KEEP = """
"$@" >"$0.out" 2>"$0.err" &
echo "$!"
exec 2>/dev/null
read -r _
kill -KILL "$!"
wait "$!"
"""
"""A shell that kills its child when its own stdin ends: also if the tests get SIGKILL."""


class Child:
    """A running program that writes into `stem`.out and `stem`.err."""

    def __init__(self, command: Sequence[str], stem: Path, **environ: str) -> None:
        inherited = {
            name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ
        }
        self._stem = stem
        for end in (".out", ".err"):
            stem.with_suffix(end).touch()
        self._shell = subprocess.Popen(
            ["/bin/sh", "-c", _KEEP, str(stem), *command],
            env={**inherited, **environ}, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            start_new_session=True, text=True,
        )  # fmt: skip
        assert self._shell.stdout is not None
        self.pid = int(self._shell.stdout.readline())

    @property
    def out(self) -> str:
        return self._stem.with_suffix(".out").read_text()

    @property
    def err(self) -> str:
        return self._stem.with_suffix(".err").read_text()

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    @property
    def open_files(self) -> int:
        """Return the number of open files, sockets among them."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))  # noqa: PTH208 - names are enough

    @property
    def sockets(self) -> int:
        """Return the number of open sockets."""
        count = 0
        for file in Path(f"/proc/{self.pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # closed since it was listed
                count += os.readlink(file).startswith("socket:")  # noqa: PTH115 - no file's path
        return count

    @property
    def resident(self) -> int:
        """Return the bytes of resident memory."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
        return int(line.split()[1]) * 1024

    @property
    def ended(self) -> bool:
        """True if the program ended by itself or by a signal."""
        try:
            status = Path(f"/proc/{self.pid}/stat").read_text()
        except FileNotFoundError:
            return True
        return status.rpartition(")")[2].split()[0] == "Z"  # ended, and not yet reaped

    def stop(self) -> int:
        """Kill the program if it runs; return its exit status as a shell does: 137 for a kill."""
        self._shell.communicate()
        return self._shell.wait()


class GatewayChild(Child):
    """A running `tiergate serve`; by default its data folder is beside its configuration."""

    def __init__(
        self,
        file: Path,
        *options: str,
        program: Sequence[str] = (sys.executable, "-m", "gateway"),
        stem: Path | None = None,
        **environ: str,
    ) -> None:
        super().__init__(
            [*program, "--config", str(file), "serve", "--port", "0", *options],
            stem or file.with_name("gateway"),
            **{
                "PYTHONPATH": _ROOT, "PYTHONUNBUFFERED": "1",
                "TIERGATE_DATA": str(file.with_name("data")), **environ,
            },
        )  # fmt: skip

    @cached_property
    def port(self) -> int:
        """Wait until the gateway listens, and return its port."""
        match = until(lambda: _LISTENING.search(self.out) or self.ended, "the gateway listens")
        assert isinstance(match, re.Match), self.err
        return int(match[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def until[T](check: Callable[[], T], expected: str, seconds: float = PATIENCE) -> T:
    """Return what `check` returns once it is true; fail if that takes too long."""
    deadline = time.monotonic() + seconds
    while not (result := check()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {expected}"
        time.sleep(0.005)  # a pause between two looks at a real process
    return result
