"""The event loop of the scripted providers, and the files that are built once."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.docs.pages import ROOT
from tests.e2e.conftest import loop, upstream

__all__ = ["loop", "upstream"]


def uv(*words: str, cwd: Path = ROOT, **environ: str) -> str:
    """Run the uv on PATH, else the one of `make dev`; return its output."""
    program = shutil.which("uv") or str(ROOT / ".tools/bin/uv")
    if not Path(program).exists():
        pytest.skip("no uv: make dev")
    keep = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"} | environ
    process = subprocess.run(
        [program, *words], cwd=cwd, env=keep, capture_output=True, text=True, timeout=300, check=False
    )  # fmt: skip
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist; `wheel` has the wheel made from it, `tree` the one made from the tree."""
    folder = tmp_path_factory.mktemp("dist")
    uv("build", "--quiet", "--sdist", "--out-dir", str(folder))
    (sdist,) = folder.glob("*.tar.gz")
    uv("build", "--quiet", "--wheel", "--out-dir", str(folder / "wheel"), str(sdist))
    uv("build", "--quiet", "--wheel", "--out-dir", str(folder / "tree"))
    return folder
