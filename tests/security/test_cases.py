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
_CASE_NAME = re.compile(r"(SEC-[A-Z]+)((?: \d+)(?:, \d+)*)?")


def find_tests_by_case() -> dict[str, set[str]]:
    """Return tests by the cases that their first sentence names."""
    tests: dict[str, set[str]] = defaultdict(set)
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                if not node.name.startswith("test_"):
                    continue
                for family, numbers in _CASE_NAME.findall(
                    (ast.get_docstring(node) or "").partition(": ")[0]
                ):
                    for number in re.findall(r"\d+", numbers) or [""]:
                        tests[f"{family} {number}".strip()].add(f"{path.name}::{node.name}")
    return tests


def test_every_case_of_the_security_plan_has_a_test() -> None:
    expected = set()
    for family, numbers in CASES.items():
        if numbers == 0:
            expected.add(family)
        else:
            range_of_cases = range(1, numbers + 1) if isinstance(numbers, int) else numbers
            expected |= {f"{family} {number}" for number in range_of_cases}
    assert expected - find_tests_by_case().keys() == set()


def list_functions(path: Path) -> set[str]:
    nodes = ast.walk(ast.parse(path.read_text("utf-8")))
    return {
        function.name
        for function in nodes
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
    }


def test_every_promise_of_the_document_has_tests_that_exist() -> None:
    """SECURITY.md names a file and its tests for each promise; each promise has one."""
    rows = pages.table("promise", "SECURITY.md").rows
    assert len(rows) > 15
    for promise, proof in rows:
        assert promise.endswith("."), promise
        parts = proof.split("; ")
        for part in parts:
            (link,) = re.findall(r"\]\(([^)]+)\)", part)
            test_names = pages.codes(part)
            assert test_names, promise
            assert set(test_names) <= list_functions(ROOT / link), (link, test_names)


def test_the_make_commands_of_the_document_exist() -> None:
    documented = set(re.findall(r"`make ([\w-]+)`", (ROOT / "SECURITY.md").read_text("utf-8")))
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert {"hostile", "timing", "rerouting"} <= documented <= targets
