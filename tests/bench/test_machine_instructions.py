"""Instructions by function are read from files of callgrind, and compared."""

from collections import Counter

import pytest

from bench import machine_instructions
from bench.machine_instructions import parse, render

FILE = """\
version: 1
positions: line
events: Ir
fl=(1) /src/eval.c
fn=(1) eval
10 100
+1 20
cfn=(2) dict_get
calls=3 40
10 600
fn=(2)
40 60
cfn=(1)
calls=1 10
40 999
fn=(3) eval'2
* 7
"""


def test_a_function_counts_what_it_takes_itself_and_its_recursion_too() -> None:
    assert parse(FILE.splitlines()) == {"eval": 127, "dict_get": 60}


def test_two_trees_are_listed_by_what_this_one_takes_more() -> None:
    this, other = Counter(eval=120, get=60), Counter(eval=100, get=70, gone=5)
    assert render({"this tree": (this, 9), "the other": (other, 8)}).splitlines() == [
        "this tree: 180 instructions a call in the loop's thread, 9 in others",
        "the other: 175 instructions a call in the loop's thread, 8 in others",
        "      120       100  eval",
        "        0         5  gone",
        "       60        70  get",
    ]
    assert render({"this tree": (this, 9)}).splitlines()[1:] == [
        "      120  eval",
        "       60  get",
    ]


def test_a_machine_without_valgrind_is_told_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SystemExit, match="install valgrind"):
        machine_instructions.main([])
