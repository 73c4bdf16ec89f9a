"""When scripts/setup calls uv, and with what: a uv of our own stands in, which makes what is asked."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from hatch_build import FOLDER, NAME
from tests.docs.pages import ROOT

UV = """#!/bin/sh
[ "$1" = sync ] || exit 0
echo "$@" >>asked
mkdir -p .venv/bin
: >.venv/bin/tiergate
chmod +x .venv/bin/tiergate
[ -e without ] || : >{library}
"""
PROGRAMS = ("cat", "chmod", "cksum", "dirname", "mkdir", "rm", "sed", "sh")


class Done(NamedTuple):
    asked: list[str]
    """Each call of `uv sync`."""
    said: str


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A checkout, and beside it programs without a compiler."""
    root = tmp_path / "checkout"
    shutil.copytree(
        ROOT / FOLDER, root / FOLDER, ignore=shutil.ignore_patterns("*.so", "__pycache__")
    )
    for name in ("pyproject.toml", "uv.lock", "hatch_build.py", "Dockerfile", "scripts/setup"):
        (root / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, root / name)
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in PROGRAMS:
        (tools / name).symlink_to(str(shutil.which(name)))
    program(tools / "uv", UV.format(library=FOLDER / NAME))
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


@pytest.mark.parametrize(
    "name", [str(FOLDER / "kernel.h"), str(FOLDER / "read.c"), "hatch_build.py"]
)
def test_what_is_compiled_or_compiles_is_noticed_when_it_changes(place: Path, name: str) -> None:
    setup(place)
    with (place / name).open("a") as file:
        file.write("\n")
    assert len(setup(place).asked) == 1
    assert setup(place).asked == []


def test_a_new_source_is_noticed(place: Path) -> None:
    setup(place)
    (place / FOLDER / "new.c").write_text("int more;\n")
    assert len(setup(place).asked) == 1


def test_a_library_that_is_gone_is_made_whatever_uv_remembers(place: Path) -> None:
    setup(place)
    (place / FOLDER / NAME).unlink()
    (asked,) = setup(place).asked
    assert "--reinstall-package tiergate" in asked
    assert setup(place).asked == []


def test_without_a_compiler_it_works_says_so_and_tries_again_once_there_is_one(place: Path) -> None:
    (place / "without").touch()
    assert "reads prompts in Python" in setup(place).said
    assert setup(place) == ([], "")
    program(place.parent / "bin/cc")
    (place / "without").unlink()
    done = setup(place)
    (asked,) = done.asked
    assert "--reinstall-package tiergate" in asked
    assert "in Python" not in done.said
    assert (place / FOLDER / NAME).exists()


def test_where_none_is_wanted_nothing_is_missing(place: Path) -> None:
    (place / "without").touch()
    assert setup(place, TIERGATE_KERNEL="off").said == "setup: .venv with gateway dev\n"
    assert setup(place, TIERGATE_KERNEL="off") == ([], "")
    (place / "without").unlink()
    assert len(setup(place).asked) == 1, "now it is wanted"


def test_a_checkout_that_was_moved_gets_an_environment_anew(place: Path) -> None:
    setup(place)
    kept = place / ".venv/kept"
    kept.touch()
    moved = place.rename(place.with_name("else where"))
    assert len(setup(moved).asked) == 1
    assert not (moved / ".venv/kept").exists()
    assert setup(moved).asked == []
    assert os.access(moved / ".venv/bin/tiergate", os.X_OK)
