"""Every case of the security plan has a test whose docstring begins with the case's name."""

import ast
import re
from collections import defaultdict
from pathlib import Path

from tests.docs import pages

ROOT = Path(__file__).parents[2]
CASES: dict[str, int | tuple[int, ...]] = {
    "SEC-SSRF": 7, "SEC-SQLI": (1, 2, 4), "SEC-SSTI": (3,), "SEC-EVAL": (4,), "SEC-LEAK": 6, "SEC-CACHE": 8,
    "SEC-TIMING": 0, "SEC-BUDGET": 7, "SEC-WALLET": 0, "SEC-AUTH": 4, "SEC-SMUGGLE": 0, "SEC-BOMB": 0, "SEC-LOG": 0, "SEC-HDR": 0,
    "SEC-PATH": 0, "SEC-ROUTER": 5, "SEC-SUPPLY": 0,
}  # fmt: skip
"""Cases by family: numbers 1 to so many, these numbers, or a family that is one case."""
_SAID = re.compile(r"(SEC-[A-Z]+)((?: \d+)(?:, \d+)*)?")


def told() -> dict[str, set[str]]:
    """Return tests by the cases that their first sentence names."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                if not node.name.startswith("test_"):
                    continue
                for family, numbers in _SAID.findall(
                    (ast.get_docstring(node) or "").partition(": ")[0]
                ):
                    for number in re.findall(r"\d+", numbers) or [""]:
                        found[f"{family} {number}".strip()].add(f"{path.name}::{node.name}")
    return found


def test_every_case_has_a_test() -> None:
    wanted = set()
    for family, numbers in CASES.items():
        if numbers == 0:
            wanted.add(family)
        else:
            those = range(1, numbers + 1) if isinstance(numbers, int) else numbers
            wanted |= {f"{family} {number}" for number in those}
    assert wanted - told().keys() == set()


def defined(path: Path) -> set[str]:
    nodes = ast.walk(ast.parse(path.read_text("utf-8")))
    return {one.name for one in nodes if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_promise_of_the_document_has_tests_that_exist() -> None:
    """SECURITY.md names a file and its tests for each promise; each promise has one."""
    rows = pages.table("promise", "SECURITY.md").rows
    assert len(rows) > 15
    for promise, proof in rows:
        assert promise.endswith("."), promise
        parts = proof.split("; ")
        for part in parts:
            (link,) = re.findall(r"\]\(([^)]+)\)", part)
            named = pages.codes(part)
            assert named, promise
            assert set(named) <= defined(ROOT / link), (link, named)


def test_commands_of_the_document_exist() -> None:
    said = set(re.findall(r"`make ([\w-]+)`", (ROOT / "SECURITY.md").read_text("utf-8")))
    made = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert {"hostile", "timing", "rerouting"} <= said <= made
