"""Every promise of the documents names tests, fault-matrix rows and commands that exist."""

import ast
import re
from pathlib import Path

import pytest

from tests.chaos.matrix import ROWS
from tests.docs import pages
from tests.docs.pages import ROOT

PAGE = ROOT / "docs" / "promises.md"
PROMISES = pages.table("promise", PAGE.name).rows
_LINK = re.compile(r"\]\(([^)]+)\)")
_ROW = re.compile(r"\b[URPC]-\d\d\b")


def _defined(path: Path) -> set[str]:
    nodes = ast.walk(ast.parse(path.read_text("utf-8")))
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize(("promise", "proof"), [row[:2] for row in PROMISES], ids=range(len(PROMISES)))  # fmt: skip
def test_a_promise_has_its_proof(promise: str, proof: str) -> None:
    assert promise.endswith(".")
    tests, made = 0, (ROOT / "Makefile").read_text("utf-8")
    for part in proof.split("; "):
        named, linked = pages.codes(part), _LINK.findall(part)
        if linked:
            (link,) = linked
            path = (PAGE.parent / link).resolve()
            assert path.is_file(), link
            assert named, part
            assert set(named) <= _defined(path), (link, named)
            tests += len(named)
        elif named:
            (command,) = named
            assert f"\n{command.removeprefix('make ')}:" in made, command
        else:
            assert part.startswith("row"), part
    assert tests
    assert {*_ROW.findall(proof)} <= {row.id for row in ROWS}


def test_there_is_one_for_each_part() -> None:
    assert len(PROMISES) >= 15
