"""Each attack that docs/threats.md lists has a test that exists, and each attack test is listed."""

import re

import pytest

from tests.docs import pages
from tests.docs.pages import ROOT
from tests.security.test_cases import list_functions

PAGE = "threats.md"
ROWS = [row for table in pages.tables() if table.page == PAGE and table.head[0] == "surface" for row in table.rows]  # fmt: skip
_TEST = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


@pytest.mark.parametrize("row", ROWS, ids=[row[1] for row in ROWS])
def test_an_attack_has_its_guard_and_its_test(row: list[str]) -> None:
    surface, attack, guard, test = row
    assert all((surface, attack, guard))
    match = _TEST.fullmatch(test)
    assert match is not None, test
    path, name = match.groups()
    assert (ROOT / path).is_file(), path
    assert name in list_functions(ROOT / path), test


def test_no_two_rows_have_the_same_test() -> None:
    tests = [row[3] for row in ROWS]
    assert len(tests) == len(set(tests))


def test_each_attack_test_is_listed() -> None:
    """Tests in tests/security/*_attacks.py are attacks of the page and of nothing else."""
    listed = {test for row in ROWS for test in _TEST.findall(row[3])}
    written = {
        (path.relative_to(ROOT).as_posix(), name)
        for path in (ROOT / "tests/security").glob("test_*_attacks.py")
        for name in list_functions(path)
        if name.startswith("test_")
    }
    assert written - listed == set()
