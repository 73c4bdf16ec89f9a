"""The C that reads prompts takes whatever bytes come, and never touches a byte that is not its own."""

import re
import shutil
from pathlib import Path
from subprocess import CalledProcessError

import pytest

from tests.docs.pages import ROOT
from tests.kernel import sanitize

pytestmark = pytest.mark.skipif(
    not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="no C compiler: apt-get install gcc libc6-dev"
)  # fmt: skip
SOURCES = ROOT / "gateway/routing/classifier/native"


def test_hostile_texts_lists_and_models_are_read_within_bounds_and_as_installed(
    tmp_path: Path,
) -> None:
    """From a fixed seed; compiled as it is installed it finds the same bits. `make kernel-check` is longer."""
    own = sanitize.lists(tmp_path)
    seen = sanitize.run(sanitize.watched(tmp_path, SOURCES), 1, 250, own)
    assert seen == sanitize.run(sanitize.plain(tmp_path, SOURCES), 1, 250, own)
    counts = re.findall(r"(\d+) (taken|refused|read|judged)", seen)
    assert len(counts) == 6
    assert min(int(count) for count, _ in counts) > 20


@pytest.mark.parametrize(
    ("file", "right", "wrong"),
    [
        ("words.c", "if (length > LONGEST) length = LONGEST;", ""),
        ("model.c", "right >= count", "0"),
        ("judge.c", "while (end && ", "while ("),
    ],
)
def test_the_driver_finds_what_is_wrong(tmp_path: Path, file: str, right: str, wrong: str) -> None:
    """A text that is too long, a way out of a tree, a text of nothing but spaces."""
    broken = tmp_path / "broken"
    shutil.copytree(SOURCES, broken, ignore=shutil.ignore_patterns("*.py", "*.so", "__pycache__"))
    text = (broken / file).read_text("utf-8")
    assert right in text
    (broken / file).write_text(text.replace(right, wrong), "utf-8")
    own = sanitize.lists(tmp_path)
    with pytest.raises(CalledProcessError) as ended:
        sanitize.run(sanitize.watched(tmp_path, broken), 1, 2000, own)
    assert "AddressSanitizer" in ended.value.stderr or "runtime error" in ended.value.stderr
