"""The two trees: this one as it is on the disk, and a commit in a git worktree beside it."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
WORKTREE = ROOT / ".tools" / "twin"
"""The worktree of the base commit. It has an environment of its own and stays between runs."""


@dataclass(frozen=True)
class Tree:
    """A tree of sources, and the Python that has its dependencies."""

    folder: Path
    python: Path
    name: str
    """The name that messages show."""


def this_tree() -> Tree:
    """Return the tree of this file, with what is not committed."""
    return Tree(ROOT, Path(sys.executable), "this tree")


def base_tree(commit: str) -> Tree:
    """Check a commit out and install it as `make dev` does, which is quick if nothing changed."""
    full = _git("rev-parse", "--verify", f"{commit}^{{commit}}")
    if (WORKTREE / ".git").exists():
        _git("-C", str(WORKTREE), "checkout", "--quiet", "--detach", "--force", full)
    else:
        _git("worktree", "prune")
        _git("worktree", "add", "--quiet", "--detach", str(WORKTREE), full)
    subprocess.run(["scripts/setup", *_parts()], cwd=WORKTREE, check=True)
    return Tree(WORKTREE, WORKTREE / ".venv" / "bin" / "python", f"{commit} ({full[:8]})")


def _parts() -> list[str]:
    """List the parts that this tree was installed with: they decide which labs are on."""
    stamp = (ROOT / ".venv" / ".setup").read_text().splitlines()
    return [part for part in stamp[1].split() if part != "gateway"]


def _git(*words: str) -> str:
    command = ["git", "-C", str(ROOT), *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
