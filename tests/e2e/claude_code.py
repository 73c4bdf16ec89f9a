"""Claude Code as people run it: the unmodified program, with its own home and working folder."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.core import jsonio

_INSTALLED = Path(__file__).parents[2] / ".tools/clients/node_modules/.bin/claude"
_NAMED = os.environ.get("TIERGATE_CLAUDE", "")
"""Read before a fixture empties the environment."""
PATIENCE = 60.0
"""A run that takes more seconds has failed."""
QUIET = {
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "DISABLE_AUTOUPDATER": "1",
    "DISABLE_ERROR_REPORTING": "1",
    "DISABLE_TELEMETRY": "1",
}
"""Keep the program from contacting any other host."""


@dataclass(frozen=True)
class ClaudeRun:
    """The exit status and the output of one run."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, object]]:
        """Parse the output, one JSON value a line."""
        return [jsonio.loads(line.encode()) for line in self.out.splitlines() if line]

    @property
    def result(self) -> dict[str, object]:
        return self.lines[-1]


class ClaudeProgram:
    """Claude Code, which learns of the gateway by environment variables alone."""

    def __init__(self, folder: Path, url: str, key: str, **environ: str) -> None:
        self._program = program()
        self.home, self.work = folder / "home", folder / "work"
        self.home.mkdir(parents=True, exist_ok=True)
        self.work.mkdir(exist_ok=True)
        self._environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            "ANTHROPIC_BASE_URL": url,
            "ANTHROPIC_AUTH_TOKEN": key,
            **QUIET,
            **environ,
        }

    def ask(self, prompt: str, *flags: str, **environ: str) -> ClaudeRun:
        """Run `claude -p` once; a variable that is empty is removed from the environment."""
        variables = {name: value for name, value in (self._environ | environ).items() if value}
        ran = subprocess.run(
            [self._program, "-p", prompt, *flags],
            cwd=self.work, env=variables, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=PATIENCE, check=False,
        )  # fmt: skip
        return ClaudeRun(ran.returncode, ran.stdout, ran.stderr)


def program() -> str:
    """Return the path of the program, or skip the test if it is not installed."""
    path = shutil.which(_NAMED or _INSTALLED)
    if path is None:
        named = f"TIERGATE_CLAUDE is {_NAMED}" if _NAMED else "Claude Code is not installed"
        pytest.skip(f"{named}: `make clients` installs it (needs npm)")
    return path
