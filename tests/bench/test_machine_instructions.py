"""Instructions by function are read from files of callgrind, and compared."""

from collections import Counter
from pathlib import Path

import pytest

from bench import machine_instructions
from bench.machine_instructions import Counts, FunctionMap, parse, render

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


def test_a_function_of_python_counts_all_that_it_calls() -> None:
    functions = FunctionMap(
        ["4c8ca3c0 40 py::serve:/t/a.py", "4c8ca400 40 py::read:/t/b.py"], Path("/t")
    )
    file = FILE.replace("cfn=(2) dict_get", "cfn=(2) 0x000000004c8ca410").replace(
        "cfn=(1)\n", "cfn=(4) 0x000000004c8ca3c0'2\n"
    )
    assert parse(file.splitlines(), functions) == {"read:b.py": 600, "serve:a.py": 999}
    assert functions.find("dict_get") is None
    assert functions.find("0x000000004c8ca440") is None


def test_two_trees_are_listed_by_what_this_one_takes_more() -> None:
    this, other = Counter(eval=120, get=60), Counter(eval=100, get=70, gone=5)
    results = {"this tree": Counts(this, 180, 9), "the other": Counts(other, 175, 8)}
    assert render(results).splitlines() == [
        "this tree: 180 instructions a call in the loop's thread, 9 in others",
        "the other: 175 instructions a call in the loop's thread, 8 in others",
        "      120       100  eval",
        "        0         5  gone",
        "       60        70  get",
    ]
    del results["the other"]
    assert render(results).splitlines()[1:] == [
        "      120  eval",
        "       60  get",
    ]


def test_a_machine_without_valgrind_is_told_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SystemExit, match="install valgrind"):
        machine_instructions.main([])
