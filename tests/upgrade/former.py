"""Programs of the version before, from the history of this repository."""

import subprocess
import tarfile
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

ROOT = Path(__file__).parents[2]
LAST_RELEASE = ROOT / "tests/upgrade/last_release"
"""The version and the commit of the last release. `make release-next` moves it.

Before the first release the version is `none`, and the commit is the last whose rows have version 4.
"""
FORMER = LAST_RELEASE.read_text("utf-8").split()[1]
_PARTS = ("gateway", "config", "pyproject.toml")


@dataclass(frozen=True)
class Program:
    """The sources of one version. They run with the packages of this environment."""

    folder: Path
    name: str
    """The name that messages show."""


THIS = Program(ROOT, "this tree")


def unpack_former(folder: Path, commit: str = FORMER) -> Program:
    """Unpack the gateway of a commit; without that commit, return this tree.

    A shallow clone lacks the commit. The trial then replaces this version by itself, and its
    table says so.
    """
    command = ["git", "-C", str(ROOT), "archive", commit, *_PARTS]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        return Program(ROOT, f"this tree, since the clone has no {commit[:8]}")
    with tarfile.open(fileobj=BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return Program(folder, commit[:8])
