"""Run programs that `make clients` installed: alone, without a network, and for a limited time."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from gateway.core import jsonio

ROOT = Path(__file__).parents[2]
PROGRAMS = Path(__file__).parent / "programs"
NODE = ROOT / ".tools/clients/node/node_modules"
PYTHON = ROOT / ".tools/clients/python/frameworks/bin/python"
_APART = {"extract.py": "instructor", "llama.py": "llama_index"}
"""Programs that have an environment of their own, with its name."""
PATIENCE = 90.0
"""Seconds after which a run counts as failed."""
QUIET = {
    "LANG": "C.UTF-8",
    "DO_NOT_TRACK": "1",
    "OPENAI_AGENTS_DISABLE_TRACING": "1",
    "LANGSMITH_TRACING": "false",
    "LANGCHAIN_TRACING_V2": "false",
    "PYDANTIC_DISABLE_PLUGINS": "__all__",
    "NO_COLOR": "1",
    # A program that wants another host than this one fails at once: its proxy does not exist.
    "HTTPS_PROXY": "http://127.0.0.1:9",
    "HTTP_PROXY": "http://127.0.0.1:9",
    "NO_PROXY": "127.0.0.1,localhost",
}
"""Variables that keep a program from every other host."""


class Ran:
    """The result of a run."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def lines(self) -> list[Any]:
        """Return its output, parsed as JSON line by line."""
        return [jsonio.loads(line.encode()) for line in self.out.splitlines() if line.strip()]


def run(command: list[str], folder: Path, **environ: str) -> Ran:
    """Run a program in a folder, with a home of its own beside it."""
    home, work = folder / "home", folder / "work"
    for made in (home, work):
        made.mkdir(parents=True, exist_ok=True)
    ran = subprocess.run(
        command, cwd=work, env={"PATH": os.environ["PATH"], "HOME": str(home), **QUIET, **environ},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    return Ran(ran.returncode, ran.stdout, ran.stderr)


def program(name: str, folder: Path, *words: str) -> Ran:
    """Run one of the programs beside this file with these arguments."""
    if name.endswith(".py"):
        python = PYTHON.parents[2] / _APART.get(name, "frameworks") / "bin/python"
        needs(python)
        return run([str(python), str(PROGRAMS / name), *words], folder)
    needs(NODE)
    beside = folder / "node"  # Node finds packages beside the program
    beside.mkdir(parents=True)
    (beside / "node_modules").symlink_to(NODE)
    for file in PROGRAMS.glob("*.mjs"):
        (beside / file.name).write_bytes(file.read_bytes())
    return run(["node", str(beside / name), *words], folder)


def needs(path: Path) -> None:
    if not path.exists():
        pytest.skip(f"no {path.name} of clients: `make clients` installs it (needs npm)")
