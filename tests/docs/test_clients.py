"""Run the clients' examples with their real packages, on the labs that ship; the provider is on
loopback.

tests/clients runs the examples whose packages this project does not install (`make clients`).
"""

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator

import pytest

from tests.docs import pages
from tests.docs.stage import ANSWER, HERE, DocumentedGateway, stage
from tests.e2e.conftest import loop
from tests.e2e.world import Loop

__all__ = ["loop"]

ROWS = ["base URL", "key", "models", "streams", "tools", "headers"]


@pytest.fixture(scope="module")
def place(loop: Loop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DocumentedGateway]:
    with stage(loop, tmp_path_factory.mktemp("stage")) as made:
        yield made


PROGRAMS = [
    pytest.param(block.text, id=f"{block.page} {number}")
    for number, block in enumerate(pages.clients("python"))
    if block.reason is None
]


@pytest.mark.parametrize("program", PROGRAMS)
def test_programs_run(program: str, place: DocumentedGateway) -> None:
    """Each program prints the provider's answer and warns of nothing; one about errors prints the error."""
    done = subprocess.run(
        [sys.executable, "-c", place.here(program)],
        env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    requests = place.asked()
    if "smrt" in program:
        assert "404" in done.stdout
        assert "smart" in done.stdout, "the nearest name"
        assert not requests
    elif "count_tokens" in program:
        assert "tokens" in done.stdout
    else:
        assert ANSWER in done.stdout
        assert requests
    if "ratelimit" in program:
        assert re.search(
            r"^59\d\d requests left\nall are back (in \d+ms|at 20.+Z)$", done.stdout, re.MULTILINE
        )
    if "weather" in program:
        assert "asked for" in done.stdout
        assert len(requests) == 2


@pytest.mark.parametrize(
    ("read", "block"),
    [
        pytest.param(read, block, id=block.page)
        for kind, read in (("toml", tomllib.loads), ("json", json.loads))
        for block in pages.clients(kind)
    ],
)
def test_settings_can_be_read(read: Callable[[str], object], block: pages.Block) -> None:
    """Each settings file is valid in its format; it, or the script below it, leads to the gateway."""
    assert isinstance(read(block.text), dict)
    page = pages.ROOT / "docs" / block.page
    beside = next((it for it in pages.sections(page).values() if block in it), [block])
    assert any(HERE in it.text for it in beside)


@pytest.mark.parametrize(
    "program", [block.text for block in pages.clients("python") if block.reason is not None]
)
def test_programs_that_run_elsewhere_are_python(program: str) -> None:
    compile(program, "page", "exec")
    assert HERE in program


def test_each_page_says_how_the_client_is_set() -> None:
    """Each page has the same rows in the same order; SDK pages may add what goes beside text."""
    settings = {
        table.page: [row[0] for row in table.rows if row[0] != "beside text"]
        for table in pages.tables()
        if table.head[0] == "setting"
    }
    names = {pages.told(page) for page in pages.DOCUMENTS if page.parent.name == "clients"}
    assert settings == dict.fromkeys(sorted(names), ROWS)
