"""CONTRIBUTING's first change works: its diffs apply to this tree, and its commands do what it says."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs import pages
from tests.docs.pages import ROOT

DIFFS = [block.text for block in pages.blocks() if block.kind == "diff"]
TEST, REFERENCE = "tests/routing/rules/test_compile.py", "tests/docs/test_reference.py"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the files that the change and its tests read."""
    for folder in ("config", "docs", "gateway", "tests"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=ignored)
    for name in (
        "CONTRIBUTING.md",
        "Makefile",
        "README.md",
        "SECURITY.md",
        "bench",
        "pyproject.toml",
    ):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


def apply(tree: Path, diff: str) -> None:
    command = ["git", "apply", "-C1"]
    subprocess.run(command, cwd=tree, input=diff, text=True, check=True)


def run(tree: Path, *files: str) -> str:
    """Return what pytest prints in a tree."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files]
    return subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False).stdout


def test_the_page_runs_the_tests_that_run_here() -> None:
    reason = "tests/docs/test_first_change.py runs it in a copy of the tree"
    texts = [block.text for block in pages.blocks() if block.reason == reason]
    assert [f".venv/bin/pytest -q {TEST} #" in texts[0], "make quick" in texts[1]] == [True, True]
    assert f".venv/bin/pytest -q {TEST} {REFERENCE} #" in texts[1]


def test_each_step_of_the_first_change_does_what_the_page_says(tree: Path) -> None:
    test, code, table = DIFFS
    apply(tree, test)
    printed = run(tree, "-x", TEST)
    assert "when.forced_tool" in printed
    assert "Extra inputs are not permitted" in printed
    apply(tree, code)
    printed = run(tree, TEST, f"{REFERENCE}::test_a_table_has_every_key_with_its_default")
    assert "1 failed" in printed
    assert "[when]" in printed
    apply(tree, table)
    printed = run(tree, TEST, f"{REFERENCE}::test_a_table_has_every_key_with_its_default")
    assert "failed" not in printed
    assert " passed" in printed
