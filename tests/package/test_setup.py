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


class SetupResult(NamedTuple):
    uv_calls: list[str]
    """The arguments of each `uv sync`."""
    output: str


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout, and the programs that it needs beside it; no compiler is among them."""
    root = tmp_path / "checkout"
    for name in ("pyproject.toml", "uv.lock", "scripts/setup", "scripts/uv.txt"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, root / name)
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in PROGRAMS:
        (tools / name).symlink_to(str(shutil.which(name)))
    write_program(tools / "uv", UV)
    return root


def write_program(file: Path, text: str = "#!/bin/sh\n") -> None:
    file.write_text(text)
    file.chmod(0o755)


def run_setup(root: Path, **environ: str) -> SetupResult:
    log = root / "asked"
    log.unlink(missing_ok=True)
    process = subprocess.run(
        ["/bin/sh", root / "scripts/setup", "dev"], env={"PATH": str(root.parent / "bin"), **environ},
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    return SetupResult(log.read_text().splitlines() if log.exists() else [], process.stderr)


def test_a_second_run_of_setup_does_nothing(checkout: Path) -> None:
    first = run_setup(checkout)
    assert len(first.uv_calls) == 1
    assert first.output == "setup: .venv with gateway dev\n"
    assert run_setup(checkout) == ([], "")


@pytest.mark.parametrize("name", ["pyproject.toml", "uv.lock"])
def test_setup_runs_again_when_a_project_file_changes(checkout: Path, name: str) -> None:
    run_setup(checkout)
    with (checkout / name).open("a") as file:
        file.write("\n")
    assert len(run_setup(checkout).uv_calls) == 1
    assert run_setup(checkout).uv_calls == []


def test_a_checkout_that_was_moved_gets_a_new_environment(checkout: Path) -> None:
    run_setup(checkout)
    marker = checkout / ".venv/kept"
    marker.touch()
    moved = checkout.rename(checkout.with_name("else where"))
    assert len(run_setup(moved).uv_calls) == 1
    assert not (moved / ".venv/kept").exists()
    assert run_setup(moved).uv_calls == []
    assert os.access(moved / ".venv/bin/tiergate", os.X_OK)
