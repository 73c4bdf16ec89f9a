"""The glossary names classes that exist, and no two public classes share a name."""

import ast
import re
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROW = re.compile(r"^\| [^|]+ \| [^|]+ \| `([\w/]+\.py)` (`\w+`(?:, `\w+`)*) \|$", re.MULTILINE)
DIALECTS = re.compile(r"dialects/\w+/")
"""The four packages of dialects have the same classes each."""


def classes() -> dict[str, set[str]]:
    """Return the public classes of each module."""
    modules: dict[str, set[str]] = {}
    for file in sorted((ROOT / "gateway").rglob("*.py")):
        tree = ast.parse(file.read_text("utf-8"))
        names = [node.name for node in tree.body if isinstance(node, ast.ClassDef)]
        path = file.relative_to(ROOT / "gateway").as_posix()
        modules[path] = {name for name in names if not name.startswith("_")}
    return modules


def test_each_class_of_the_glossary_exists() -> None:
    rows = ROW.findall((ROOT / "docs/glossary.md").read_text("utf-8"))
    class_names = classes()
    assert len(rows) > 40
    for path, names in rows:
        for name in re.findall(r"\w+", names):
            assert name in class_names.get(path, set()), f"{path} has no class {name}"


def test_every_row_of_the_glossary_names_its_classes() -> None:
    text = (ROOT / "docs/glossary.md").read_text("utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| ") and "| word |" not in line]
    assert len(rows) == len(ROW.findall(text))


def test_no_two_public_classes_share_a_name() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for path, names in classes().items():
        for name in () if DIALECTS.match(path) else names:
            places[name].append(path)
    assert {name: paths for name, paths in places.items() if len(paths) > 1} == {}
