"""Read and write results in bench/results, and show the newest in the documents."""

import re
from pathlib import Path

import msgspec

from bench import chart, table
from bench.measure import Results

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "bench" / "results"
PAGE = ROOT / "docs" / "performance.md"
DESIGN_PAGE = ROOT / "docs" / "design" / "speed.md"
PICTURE = ROOT / "docs" / "performance.svg"
_TABLES = re.compile(r"(?<=<!-- measured -->\n).*?(?=<!-- end -->)", re.DOTALL)


def read(file: Path) -> Results:
    """Read results that `write` wrote."""
    return msgspec.json.decode(file.read_bytes(), type=Results)


def write(results: Results, file: Path) -> None:
    """Write all results as JSON."""
    file.write_bytes(msgspec.json.format(msgspec.json.encode(results)) + b"\n")


def newest(folder: Path = RESULTS) -> Path:
    """Return the newest results file; its name is its day."""
    return max(folder.glob("*.json"))


def publish(
    results: Results,
    folder: Path = RESULTS,
    page: Path = PAGE,
    design_page: Path = DESIGN_PAGE,
    drawn: Path = PICTURE,
) -> None:
    """Write the results under their day, and their tables and picture into the documents."""
    write(results, folder / f"{results.at[:10]}.json")
    for file, tables in (
        (page, table.render_figures(results)),
        (design_page, table.render_comparisons(results)),
    ):
        file.write_text(fill(file.read_text("utf-8"), tables), "utf-8")
    drawn.write_text(chart.draw(results), "utf-8")


def fill(page: str, tables: str) -> str:
    """Return the page with these tables in place of its own."""
    return _TABLES.sub(lambda _: f"\n{tables}\n\n", page, count=1)
