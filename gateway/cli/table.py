"""Tables in the terminal: the one place where they are drawn, for people and for pipes."""

import os
import shutil
import sys
import textwrap
import unicodedata
from collections.abc import Iterable, Sequence
from decimal import Decimal

import click
import msgspec

_GAP = "   "
_NARROWEST = 24
"""Columns that the last cell of a row gets at least, where a terminal is too narrow for it."""
_MICRO = Decimal("0.000001")


class Column(msgspec.Struct, frozen=True):
    """A column's heading; `right` aligns numbers."""

    name: str
    right: bool = False


def draw(
    columns: Sequence[Column],
    rows: Iterable[Sequence[str]],
    *,
    total: Sequence[str] = (),
    notes: Iterable[str] = (),
) -> None:
    """Print rows below their headings, a last line apart from them, and notes below.

    Colours and the terminal's width apply to terminals (without colours where NO_COLOR is set);
    a pipe gets plain lines of any length. Cells are text and cannot steer a terminal.
    """
    heads = [plain(column.name) for column in columns]
    body = [[plain(cell) for cell in row] for row in rows]
    last = [plain(cell) for cell in total]
    widths = [
        max(map(_width, cells))
        for cells in zip(heads, *body, *([last] if last else []), strict=True)
    ]
    if not columns[-1].right:
        body, widths = _wrapped(body, widths)
    rule = "─" * (sum(widths) + len(_GAP) * (len(widths) - 1))
    _print(_line(columns, heads, widths), bold=True)
    _print(rule, dim=True)
    for row in body:
        _print(_line(columns, row, widths))
    if last:
        _print(rule, dim=True)
        _print(_line(columns, last, widths), bold=True)
    for note in notes:
        _print(plain(note), fg="yellow")


def number(value: int | None) -> str:
    """A count with thousands apart; `-` where it is unknown."""
    return "-" if value is None else f"{value:,}"


def usd(value: Decimal | None) -> str:
    """An amount to the micro-dollar; one that is smaller, but not nothing, says so."""
    if value is None:
        return "-"
    if 0 < value < _MICRO:
        return f"<{_MICRO}"
    return f"{value:,.6f}"


def _print(line: str, **style: str | bool) -> None:
    plain = bool(os.environ.get("NO_COLOR")) or not sys.stdout.isatty()
    click.echo(line if plain else click.style(line, **style))  # type: ignore[arg-type]


def _line(columns: Sequence[Column], cells: Sequence[str], widths: Sequence[int]) -> str:
    out = []
    for column, cell, width in zip(columns, cells, widths, strict=True):
        space = " " * (width - _width(cell))
        out.append(space + cell if column.right else cell + space)
    return _GAP.join(out).rstrip()


def _wrapped(body: list[list[str]], widths: list[int]) -> tuple[list[list[str]], list[int]]:
    """Rows whose last cell is folded into the width of a terminal."""
    if not sys.stdout.isatty():
        return body, widths
    before = sum(widths[:-1]) + len(_GAP) * (len(widths) - 1)
    room = max(shutil.get_terminal_size().columns - before, _NARROWEST)
    if widths[-1] <= room:
        return body, widths
    folded = []
    for row in body:
        lines = textwrap.wrap(row[-1], room) or [""]
        folded.append([*row[:-1], lines[0]])
        folded += [[*[""] * (len(row) - 1), line] for line in lines[1:]]
    return folded, [*widths[:-1], room]


def _width(text: str) -> int:
    """Columns that a terminal gives to a text: two to each wide character."""
    return sum(
        0 if unicodedata.combining(sign) else 2 if unicodedata.east_asian_width(sign) in "WF" else 1
        for sign in text
    )


def plain(cell: str) -> str:
    """A text that cannot steer a terminal: what is not printable becomes a replacement sign."""
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in cell)
