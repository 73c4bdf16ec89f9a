"""The gateway uses no private part of Python's library or of a package: each may change at any release.

`requires-python` and most dependencies have no upper bound for that reason.
"""

import ast
import importlib
import inspect
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.security.test_source import ROOT, SOURCES

PUBLIC = {"_replace", "_asdict", "_fields", "_exit"}
"""Names with an underscore that are documented: of named tuples, and of os."""
REVIEWED_OVERRIDES: set[tuple[str, str]] = set()
"""Private names of a base class of others that a class of ours defines anew. There is none."""


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name not in PUBLIC


def list_own_names(trees: dict[Path, ast.Module]) -> set[str]:
    """Return the private names that the gateway itself defines."""
    names = set[str]()
    for tree in trees.values():
        for node in ast.walk(tree):
            match node:
                case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name) | ast.arg(arg=name):  # fmt: skip
                    names.add(name)
                case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                    names.add(name)
                case ast.Assign(targets=[ast.Name(id="__slots__")], value=value):
                    names |= {leaf.value for leaf in ast.walk(value) if isinstance(leaf, ast.Constant) and isinstance(leaf.value, str)}  # fmt: skip
    return names


def find_private_uses(tree: ast.Module, own: set[str]) -> Iterator[str]:
    """Yield each private name of others that a module imports or reads."""
    for node in ast.walk(tree):
        match node:
            case ast.ImportFrom(module=str(module), names=names):
                if module.partition(".")[0] == "gateway":
                    continue
                for word in [*module.split("."), *(alias.name for alias in names)]:
                    if is_private(word):
                        yield f"{module} import {word}"
            case ast.Import(names=names):
                for alias in names:
                    if any(map(is_private, alias.name.split("."))):
                        yield f"import {alias.name}"
            case ast.Attribute(attr=name) if is_private(name) and name not in own:
                yield ast.unparse(node)
            case ast.Call(func=ast.Name(id="getattr" | "setattr" | "hasattr"), args=[_, ast.Constant(value=str(name)), *_]) if is_private(name):  # fmt: skip
                yield ast.unparse(node)


TREES = {file: ast.parse(file.read_text("utf-8")) for file in SOURCES}
OWN = list_own_names(TREES)


def test_no_module_imports_or_reads_a_private_part_of_others() -> None:
    uses = [
        f"{file.relative_to(ROOT)}: {use}"
        for file, tree in TREES.items()
        for use in find_private_uses(tree, OWN)
    ]
    assert uses == []


@pytest.mark.parametrize(
    "code",
    [
        "from asyncio import _overlapped",
        "from httpx._models import Response",
        "import uvicorn._types",
        "loop._ready.clear()",
        "self._make_socket_transport",
        "getattr(transport, '_sock')",
    ],
)
def test_a_private_part_is_noticed(code: str) -> None:
    assert list(find_private_uses(ast.parse(code), OWN))


def test_no_class_replaces_a_private_part_of_its_base() -> None:
    """Each class of a module that subclasses one of others defines no private name that this one has."""
    for file in SOURCES:
        if "__main__" not in file.name and "local_model" not in file.parts:
            name = ".".join(file.relative_to(ROOT).with_suffix("").parts)
            importlib.import_module(name.removesuffix(".__init__"))
    found = set[tuple[str, str]]()
    modules = [module for name, module in sys.modules.items() if name.startswith("gateway.")]
    for module in modules:
        for _, cls in inspect.getmembers(module, inspect.isclass):
            if not cls.__module__.startswith("gateway."):
                continue
            foreign = [base for base in cls.__mro__[1:] if base.__module__.partition(".")[0] in {"asyncio", "httpx", "uvicorn", "starlette", "fastapi", "redis", "websockets"}]  # fmt: skip
            taken = {name for base in foreign for name in vars(base) if is_private(name)}
            found |= {(cls.__qualname__, name) for name in vars(cls) if name in taken}
    assert found == REVIEWED_OVERRIDES


def test_python_has_no_upper_bound() -> None:
    """With one, an installer on a newer Python would take an older gateway instead of this one."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["requires-python"] == ">=3.12"
