"""The calls of uv by scripts/setup: a stand-in for uv records them and makes the files that they ask for."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.docs.pages import ROOT

UV = """#!/bin/sh
[ "$1" = sync ] || exit 0
echo "$@" >>asked
mkdir -p .venv/bin
: >.venv/bin/tiergate
chmod +x .venv/bin/tiergate
"""
PROGRAMS = ("cat", "chmod", "cksum", "dirname", "mkdir", "rm", "sed", "sh")


class Done(NamedTuple):
    asked: list[str]
    """The arguments of each `uv sync`."""
    said: str


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A checkout, and the programs that it needs beside it; no compiler is among them."""
    root = tmp_path / "checkout"
    for name in ("pyproject.toml", "uv.lock", "Dockerfile", "scripts/setup"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, root / name)
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in PROGRAMS:
        (tools / name).symlink_to(str(shutil.which(name)))
    program(tools / "uv", UV)
    return root


def program(file: Path, text: str = "#!/bin/sh\n") -> None:
    file.write_text(text)
    file.chmod(0o755)


def setup(root: Path, **environ: str) -> Done:
    asked = root / "asked"
    asked.unlink(missing_ok=True)
    done = subprocess.run(
        ["/bin/sh", root / "scripts/setup", "dev"], env={"PATH": str(root.parent / "bin"), **environ},
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return Done(asked.read_text().splitlines() if asked.exists() else [], done.stderr)


def test_a_second_run_does_nothing(place: Path) -> None:
    first = setup(place)
    assert len(first.asked) == 1
    assert first.said == "setup: .venv with gateway dev\n"
    assert setup(place) == ([], "")


@pytest.mark.parametrize("name", ["pyproject.toml", "uv.lock"])
def test_what_is_installed_is_noticed_when_it_changes(place: Path, name: str) -> None:
    setup(place)
    with (place / name).open("a") as file:
        file.write("\n")
    assert len(setup(place).asked) == 1
    assert setup(place).asked == []


def test_a_checkout_that_was_moved_gets_an_environment_anew(place: Path) -> None:
    setup(place)
    kept = place / ".venv/kept"
    kept.touch()
    moved = place.rename(place.with_name("else where"))
    assert len(setup(moved).asked) == 1
    assert not (moved / ".venv/kept").exists()
    assert setup(moved).asked == []
    assert os.access(moved / ".venv/bin/tiergate", os.X_OK)
