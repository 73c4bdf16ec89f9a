"""Play the mutants of one module: mutmut changes the code, and the module's tests must fail.

mutmut changes functions, and leaves decorated ones alone. Some properties compute money, as
`Usage.prompt`: the copy of the module that mutmut reads makes properties of plain functions.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import libcst

ROOT = Path(__file__).parents[2]
_LINKED = ("bench", "config", "docs", "scripts", "tests")
"""Folders beside `gateway` that tests read."""
_KILLED = ("killed", "timeout", "segfault")
_STRICT = re.compile(r", ?(strict=(True|False|None))?(?=\)|$)")
"""The last argument of a `zip`, also if mutmut has left only its comma."""
_CLASS_SEPARATOR = "ǁ"
"""The character between the class and the method in mutmut's names."""


@dataclass(frozen=True)
class Mutant:
    """One change of a function, and what the tests said."""

    function: str
    """The function's name, or the class's and the method's: "Price.find_rates"."""
    change: str
    """The lines without the change after "- ", those with it after "+ "."""
    status: str
    """mutmut's word: killed, timeout, segfault, survived, no tests."""

    @property
    def is_killed(self) -> bool:
        """True if a test noticed the change."""
        return self.status in _KILLED

    @property
    def only_drops_strict(self) -> bool:
        """True if it lets a `zip` check no lengths, and changes nothing else.

        `strict=True` asserts that the lengths are equal. As they are, no test can notice. Without
        it, None and no word mean the same as False.
        """
        old_code, new_code = [
            "".join(line[2:] for line in self.change.splitlines() if line.startswith(mark))
            for mark in ("- ", "+ ")
        ]
        return "strict=" in old_code and (
            _STRICT.sub("", old_code) == _STRICT.sub("", new_code)
            and ("strict=True" in old_code or "strict=True" not in new_code)
        )


def play_mutants(
    module: str, tests: Iterable[str], folder: Path, jobs: int = 1, only: Iterable[str] = ()
) -> list[Mutant]:
    """Return the mutants of a module, after its tests have run on each. `folder` is made anew.

    `only` are mutmut's names of mutants, or patterns of them; others are left out. Raises
    RuntimeError with mutmut's output if it ends without a verdict on each.
    """
    _make_folder(folder, module, tests)
    output = _run_mutmut(folder, "run", "--max-children", str(jobs), *only)
    status_by_name = dict(
        line.strip().split(": ", 1)
        for line in _run_mutmut(folder, "results", "--all", "true").splitlines()
        if "__mutmut_" in line
    )
    if only:
        played = re.findall(r"\S*__mutmut_\d+$", output, re.MULTILINE)
        status_by_name = {name: status_by_name[name] for name in played}
    if not status_by_name or "not checked" in status_by_name.values():
        raise RuntimeError(output[-4000:])
    return [
        Mutant(
            _read_function(name),
            "" if status in _KILLED else _read_change(_run_mutmut(folder, "show", name)),
            status,
        )
        for name, status in status_by_name.items()
    ]


def unwrap_properties(source: str) -> str:
    """Return the code of a module whose properties are plain functions, wrapped after the fact."""
    return libcst.parse_module(source).visit(_PropertyUnwrapper()).code


class _PropertyUnwrapper(libcst.CSTTransformer):
    """Replaces `@property` before a method by `name = property(name)` after it."""

    def leave_FunctionDef(  # noqa: N802, LibCST's name
        self, original_node: libcst.FunctionDef, updated_node: libcst.FunctionDef
    ) -> libcst.FunctionDef | libcst.FlattenSentinel[libcst.BaseStatement]:
        names = [
            item.decorator.value
            for item in original_node.decorators
            if isinstance(item.decorator, libcst.Name)
        ]
        if names not in (["property"], ["cached_property"]):
            return updated_node
        name = original_node.name.value
        wrapping = libcst.parse_statement(f"{name} = {names[0]}({name})")
        return libcst.FlattenSentinel([updated_node.with_changes(decorators=[]), wrapping])


def _make_folder(folder: Path, module: str, tests: Iterable[str]) -> None:
    """Make the folder in which mutmut runs: the tree as links, the module, mutmut's settings."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "gateway", folder / "gateway", copy_function=os.symlink, ignore=ignore)
    for name in _LINKED:
        (folder / name).symlink_to(ROOT / name)
    file = folder / module
    source = unwrap_properties(file.read_text())
    file.unlink()
    file.write_text(source)
    settings = {
        "source_paths": ["gateway"],
        "only_mutate": [module],
        "also_copy": [*_LINKED],
        "pytest_add_cli_args": ["-p", "no:cacheprovider", "--hypothesis-profile=mutation"],
        "pytest_add_cli_args_test_selection": [*tests],
        "timeout_multiplier": 3.0,
        "use_git_change_detection": False,
    }
    lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
    text = "\n".join([(ROOT / "pyproject.toml").read_text(), "[tool.mutmut]", *lines, ""])
    (folder / "pyproject.toml").write_text(text)


def _run_mutmut(folder: Path, *arguments: str) -> str:
    """Return what mutmut prints. Raises RuntimeError with it if mutmut fails."""
    done = subprocess.run(
        [Path(sys.executable).with_name("mutmut"), *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONHASHSEED": "0"},  # the same order of tests in each run
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stdout[-4000:])
    return done.stdout


def _read_function(name: str) -> str:
    """Return the function of a mutant's name, as in `gateway.core.price.xǁPriceǁfind__mutmut_2`."""
    mangled = name.rpartition("__mutmut_")[0].rpartition(".")[2]
    if _CLASS_SEPARATOR in mangled:
        return ".".join(mangled.split(_CLASS_SEPARATOR)[1:])
    return mangled.removeprefix("x_")


def _read_change(difference: str) -> str:
    """Return the changed lines of a unified difference, without their indentation."""
    return "\n".join(
        f"{line[0]} {line[1:].strip()}"
        for line in difference.splitlines()
        if line[:1] in ("-", "+") and not line.startswith(("---", "+++"))
    )
