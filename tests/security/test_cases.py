"""Every case of the security plan is a test that says its name in the first words of its docstring."""

import ast
import re
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[2]
CASES: dict[str, int | tuple[int, ...]] = {
    "SEC-SSRF": 7, "SEC-SQLI": (1, 2, 4), "SEC-SSTI": (3,), "SEC-EVAL": (4,), "SEC-LEAK": (1, 2, 3, 4, 6), "SEC-CACHE": 8,
    "SEC-TIMING": 0, "SEC-BUDGET": (1, 3), "SEC-AUTH": 4, "SEC-SMUGGLE": 0, "SEC-BOMB": 0, "SEC-LOG": 0, "SEC-HDR": 0,
    "SEC-PATH": 0, "SEC-ROUTER": 5, "SEC-SUPPLY": 0,
}  # fmt: skip
"""By family: numbers 1 to so many, these, or a family that is one case."""
_SAID = re.compile(r"(SEC-[A-Z]+)((?: \d+)(?:, \d+)*)?")


def told() -> dict[str, set[str]]:
    """Tests by the cases that their first sentence names."""
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
