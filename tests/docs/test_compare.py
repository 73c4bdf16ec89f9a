"""The page about other gateways names a source for each claim, and only the speeds that were measured."""

import re

import pytest

from tests.docs import pages

TEXT = (pages.ROOT / "docs/compare.md").read_text("utf-8")
SOURCE = re.compile(r"\[[^]]+\](?:\(https://[^)\s]+\)|\[([\w-]+)\])")
"""A link to a source: with its address, or by a name that the page defines."""

CLAIMED = {
    "litellm": ("less", "less"),
    "portkey": ("less", "less"),
    "ferrogw": ("less", "more"),
    "nginx": ("more", "more"),
}
"""Requests per CPU-second compared with this gateway: as a plain relay, and with everything on."""


def test_who_takes_more_cpu_for_a_request() -> None:
    (table,) = (
        candidate
        for candidate in pages.tables()
        if candidate.page == "performance.md" and candidate.head[1] == "requests/CPU-s"
    )
    values = {row[0]: float(row[1].split()[0].replace(",", "")) for row in table.rows}
    own = values["tiergate"], values["tiergate-full"]
    for name, claim in CLAIMED.items():
        assert tuple("less" if values[name] < mine else "more" for mine in own) == claim, name


def test_the_versions_are_those_that_were_measured() -> None:
    page = pages.ROOT / "docs/performance.md"
    text = page.read_text("utf-8").split("<!-- measured -->")[1]
    for name, title in (("litellm", "LiteLLM"), ("portkey", "Portkey"), ("ferrogw", "ferrogw")):
        version = text.split(f"{name} ", 1)[1].split(",")[0]
        assert f"**{title}** {version}" in TEXT


@pytest.mark.parametrize("row", pages.table("", "compare.md").rows, ids=lambda row: row[0])
def test_each_cell_about_another_project_has_a_source(row: list[str]) -> None:
    for cell in row[2:]:
        assert cell == "?" or SOURCE.fullmatch(cell), cell


@pytest.mark.parametrize("row", pages.table("project", "compare.md").rows, ids=lambda row: row[0])
def test_the_state_of_each_project_has_a_source(row: list[str]) -> None:
    assert SOURCE.search(row[1])


def test_each_source_is_defined_once_and_used() -> None:
    defined = re.findall(r"^\[([\w-]+)\]: https://\S+$", TEXT, re.MULTILINE)
    assert sorted(defined) == sorted({name for name in SOURCE.findall(TEXT) if name})
