"""The lists of mutation tests fit the code, and mutmut finds in a sample what they say."""

import ast
from pathlib import Path

import pytest

from tests.mutation.play import ROOT, Mutant, play_mutants, unwrap_properties
from tests.mutation.survivors import (
    ListedSurvivor,
    compare_survivors,
    format_entry,
    read_modules,
    read_survivors,
)

SAMPLE_MODULE, SAMPLE_FUNCTION = "gateway/core/units.py", "parse_quantity"


def find_functions(module: str) -> dict[str, str]:
    """Return the code of each function of a module, by its name or "Class.method"."""
    source = (ROOT / module).read_text()
    code: dict[str, str] = {}
    for node in ast.parse(source).body:
        members = node.body if isinstance(node, ast.ClassDef) else [node]
        prefix = f"{node.name}." if isinstance(node, ast.ClassDef) else ""
        for member in members:
            if isinstance(member, ast.FunctionDef | ast.AsyncFunctionDef):
                code[prefix + member.name] = ast.get_source_segment(source, member) or ""
    return code


def test_each_listed_module_and_each_of_its_tests_exists() -> None:
    modules = read_modules()
    assert modules
    missing = [
        path
        for module, tests in modules.items()
        for path in (module, *tests)
        if not path.startswith("-k ") and not (ROOT / path).is_file()
    ]
    assert missing == []
    assert read_survivors().keys() <= modules.keys()


@pytest.mark.parametrize("module", read_survivors())
def test_each_listed_survivor_changes_lines_of_its_function(module: str) -> None:
    """An entry whose code has gone or has changed is out of date."""
    functions = find_functions(module)
    for entry in read_survivors()[module]:
        lines = {line.strip() for line in functions[entry.function].splitlines()}
        old_lines = [line[2:] for line in entry.change.splitlines() if line.startswith("- ")]
        assert old_lines, entry
        assert {*old_lines} <= lines, entry


def test_a_sample_of_mutants_dies_or_is_listed(tmp_path: Path) -> None:
    """The tool changes each operator and constant of one function: the list knows what survives."""
    mutants = play_mutants(
        SAMPLE_MODULE,
        read_modules()[SAMPLE_MODULE],
        tmp_path / "mutation",
        only=(f"gateway.core.units.x_{SAMPLE_FUNCTION}__mutmut_*",),
    )
    listed = [
        entry for entry in read_survivors()[SAMPLE_MODULE] if entry.function == SAMPLE_FUNCTION
    ]
    assert compare_survivors(mutants, listed) == ([], [])
    assert listed
    assert len(mutants) > 3 * len(listed)
    assert {mutant.function for mutant in mutants} == {SAMPLE_FUNCTION}


def test_a_survivor_without_an_entry_and_an_entry_without_a_survivor_are_reported() -> None:
    mutants = [
        Mutant("add", "", "killed"),
        Mutant("add", "- a + b\n+ a - b", "survived"),
        Mutant("add", "- 1\n+ 2", "no tests"),
        Mutant("halve", "- 2\n+ 3", "timeout"),
    ]
    known = ListedSurvivor("add", "- 1\n+ 2", "it is equivalent")
    gone = ListedSurvivor("halve", "- 2\n+ 3", "it is equivalent")
    assert compare_survivors(mutants, [known, gone]) == ([mutants[1]], [gone])


@pytest.mark.parametrize(
    ("change", "only_drops_strict"),
    [
        ("- for a, b in zip(c, d, strict=True):\n+ for a, b in zip(c, d, strict=False):", True),
        ("- for a, b in zip(c, d, strict=True):\n+ for a, b in zip(c, d, ):", True),
        ("- for a, b in zip(c, d, strict=True):\n+ for a, b in zip(c, strict=True):", False),
        ("- zip(\n- c, d, strict=True\n- ):\n+ zip(\n+ c, d, strict=None\n+ ):", True),
        ("- c, d, strict=True\n- ):\n+ c, d, ):", True),
        ("- zip(c, d, strict=False)\n+ zip(c, d, strict=None)", True),
        ("- zip(c, d, strict=False)\n+ zip(c, d, strict=True)", False),
        ("- c, d, strict=True\n- ):\n+ c, strict=True):", False),
    ],
)
def test_a_mutant_that_only_drops_strict_from_a_zip_needs_no_entry(
    change: str, only_drops_strict: bool
) -> None:
    mutant = Mutant("add", change, "survived")
    assert mutant.only_drops_strict is only_drops_strict
    assert compare_survivors([mutant], ()) == ([] if only_drops_strict else [mutant], [])


def test_an_entry_is_read_as_it_is_printed_once_it_has_a_reason(tmp_path: Path) -> None:
    file = tmp_path / "survivors.yaml"
    mutant = Mutant("Price.find_rates", "- a: b\n+ a: c", "survived")
    text = "gateway/core/price.py:\n" + format_entry(mutant)
    file.write_text(text.replace("reason: ", "reason: both are the same"))
    entry = ListedSurvivor(mutant.function, mutant.change, "both are the same")
    assert read_survivors(file) == {"gateway/core/price.py": [entry]}
    file.write_text(text)
    with pytest.raises(ValueError, match="an entry needs function, reason and changes"):
        read_survivors(file)


def test_properties_become_plain_functions_that_mutmut_changes() -> None:
    source = 'class Cat:\n    @property\n    def legs(self) -> int:\n        """Four."""\n        return 4\n'
    code = unwrap_properties(source)
    assert "    def legs(self) -> int:" in code
    assert "@property" not in code
    names: dict[str, type] = {}
    exec(compile(code, "cat.py", "exec"), names)  # noqa: S102 - the code above
    assert names["Cat"]().legs == 4
    assert unwrap_properties("@staticmethod\ndef f(): ...\n") == "@staticmethod\ndef f(): ...\n"
