"""CONTRIBUTING's map has every package of the gateway, and each path that it names exists."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
MAP = TEXT.partition("## Where things are")[2].partition("\n## ")[0]
TESTS = TEXT.partition("## Which test to run")[2].partition("\n## ")[0]
CALL = TEXT.partition("## One call")[2].partition("\n## ")[0]
PART = re.compile(r"^gateway/dialects/\w+$")
"""One line of the map stands for the four packages of dialects, which have the same files."""


def test_every_package_has_a_line() -> None:
    folders = {file.parent for file in (ROOT / "gateway").rglob("*.py")} - {ROOT / "gateway"}
    packages = {folder.relative_to(ROOT).as_posix() for folder in folders}
    lines = set(re.findall(r"^\| `(gateway/[\w/]+)` \|", MAP, re.MULTILINE))
    assert lines == {package for package in packages if not PART.match(package)}


def test_each_path_of_the_map_exists() -> None:
    paths = re.findall(r"`((?:gateway|tests|config|docs|deploy|bench)[\w/.-]*)`", MAP)
    assert len(paths) > 20
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_each_file_on_the_way_of_a_call_exists() -> None:
    paths = re.findall(r"\((gateway/[\w/]+\.py)\)", CALL)
    assert len(paths) > 8
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_each_test_of_the_table_exists() -> None:
    paths = re.findall(r"tests/[\w/]+(?:\.py)?", TESTS)
    assert len(paths) > 20
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_the_table_names_each_target_that_exists() -> None:
    targets = re.findall(r"`make ([\w-]+)", TESTS)
    makefile = (ROOT / "Makefile").read_text("utf-8")
    assert [name for name in targets if f"\n{name}:" not in makefile] == []
