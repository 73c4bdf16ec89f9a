"""Fixtures for ledger tests: processes that write, and are killed."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

type Start = Callable[[Path, str], subprocess.Popen[str]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start `tests.ledger.child`; kill what still runs at the end."""
    children: list[subprocess.Popen[str]] = []

    def start(folder: Path, mode: str) -> subprocess.Popen[str]:
        child = subprocess.Popen(
            [sys.executable, "-m", "tests.ledger.child", str(folder), mode],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        children.append(child)
        return child

    yield start
    for child in children:
        child.kill()
        child.communicate()
