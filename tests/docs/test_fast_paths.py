"""Each fast path on the page about speed exists, and so does its differential test."""

from tests.docs import pages
from tests.docs.pages import ROOT

ROWS = pages.table("fast path", "design/speed.md").rows


def test_each_fast_path_and_its_test_are_there() -> None:
    for _, where, _, worth, held_by in ROWS:
        files, tests = pages.codes(where), pages.codes(held_by)
        assert worth
        assert files
        assert tests
        assert [path for path in files if not (ROOT / path).exists()] == []
        assert [path for path in tests if not path.startswith("tests/")] == []
        assert [path for path in tests if not (ROOT / path).is_file()] == []


def test_the_lines_of_a_fast_path_are_about_those_of_its_files() -> None:
    """A path may be a part of its files; none is longer than its files."""
    for _, where, lines, _, _ in ROWS:
        files = [
            file
            for path in pages.codes(where)
            for file in ([ROOT / path] if (ROOT / path).is_file() else (ROOT / path).iterdir())
            if file.suffix in {".py", ".c", ".h"}
        ]
        there = sum(len(file.read_text("utf-8").splitlines()) for file in files)
        stated = int(lines.replace(",", ""))
        assert stated <= there * 1.15, where
