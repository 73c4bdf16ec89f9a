"""Read the documents: their blocks, tables, headings and links."""

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
_TOP = ("README.md", "CONTRIBUTING.md", "SECURITY.md")
DOCUMENTS = [*(ROOT / name for name in _TOP), *sorted(ROOT.glob("docs/**/*.md"))]

_BLOCK = re.compile(
    r"^(?:<!-- not run: (?P<reason>[^\n]+) -->\n)?```(?P<kind>[\w ]*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_TABLE = re.compile(r"^(\|.+\n)\|[-:| ]+\|\n((?:\|.+\n)+)", re.MULTILINE)
_CODE = re.compile(r"`([^`]+)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


class Block(NamedTuple):
    """A fenced block; `reason` says why tests do not run it, None if they do."""

    page: str
    kind: str
    text: str
    reason: str | None


class Table(NamedTuple):
    """A table; its cells are as written."""

    page: str
    head: list[str]
    rows: list[list[str]]


def blocks() -> list[Block]:
    """Return all blocks of all documents."""
    return [
        Block(told(page), match["kind"], match["text"], match["reason"])
        for page in DOCUMENTS
        for match in _BLOCK.finditer(page.read_text("utf-8"))
    ]


def told(page: Path) -> str:
    """Return a page's name in tests: its path, relative to `docs` if the page is in there."""
    return page.relative_to(ROOT).as_posix().removeprefix("docs/")


def run(kind: str) -> list[str]:
    """Return the blocks of a kind that run against a gateway with the small local model."""
    programs = {block.text for block in clients("python")}
    texts = (block.text for block in blocks() if block.kind == kind and block.reason is None)
    return [text for text in texts if text not in programs]


def clients(kind: str) -> list[Block]:
    """Return the blocks of a kind on the pages about clients."""
    return [block for block in blocks() if block.kind == kind and block.page.startswith("clients/")]


def sections(page: Path) -> dict[str, list[Block]]:
    """Return the blocks of a page by the heading of the second level above them."""
    parts = page.read_text("utf-8").split("\n## ")[1:]
    return {
        part.partition("\n")[0]: [
            Block(told(page), match["kind"], match["text"], match["reason"])
            for match in _BLOCK.finditer(part)
        ]
        for part in parts
    }


def tables() -> list[Table]:
    """Return all tables of all documents."""
    return [
        Table(told(page), _cells(match[1]), [_cells(row) for row in match[2].splitlines()])
        for page in DOCUMENTS
        for match in _TABLE.finditer(_prose(page))
    ]


def table(head: str, page: str) -> Table:
    """Return the one table of a page whose first column has this head."""
    (match,) = [
        candidate for candidate in tables() if candidate.page == page and candidate.head[0] == head
    ]
    return match


def codes(cell: str) -> list[str]:
    """Return the texts in backticks."""
    return _CODE.findall(cell)


def links(page: Path) -> list[str]:
    """Return the targets of a page's links."""
    return _LINK.findall(_prose(page))


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page: its headings, as GitHub writes them."""
    headings = (heading.lower() for heading in _HEADING.findall(_prose(page)))
    return {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in headings}


def _prose(page: Path) -> str:
    """Return a page without its blocks."""
    return _BLOCK.sub("", page.read_text("utf-8"))


def _cells(row: str) -> list[str]:
    return [cell.strip() for cell in row.strip().strip("|").split("|")]
