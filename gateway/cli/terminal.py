"""Tables in the terminal: the one place where they are drawn, for people and for pipes.

Whether what is printed has colours: the words of the environment for it, in one place.

How far something is, on a terminal's standard error; a pipe and a file see nothing of it.
"""

import os
import shutil
import sys
import textwrap
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import ROUND_CEILING, Decimal
from typing import TextIO

import click
import msgspec

from gateway.ledger.export import plain


def wanted(environ: Mapping[str, str] = os.environ) -> bool | None:
    """What the environment asks for; None where the stream is to decide: on a terminal.

    NO_COLOR has the last word (no-color.org), then FORCE_COLOR or CLICOLOR_FORCE, then CLICOLOR=0
    and TERM=dumb. An empty variable says nothing.
    """
    if environ.get("NO_COLOR"):
        return False
    if any(environ.get(name, "0") not in ("", "0") for name in ("FORCE_COLOR", "CLICOLOR_FORCE")):
        return True
    if environ.get("CLICOLOR") == "0" or environ.get("TERM") == "dumb":
        return False
    return None


def drawn(stream: TextIO | None = None) -> bool:
    """Whether a stream, standard output unless another is given, gets colours."""
    asked = wanted()
    return (sys.stdout if stream is None else stream).isatty() if asked is None else asked


@contextmanager
def progress(label: str, length: int) -> Iterator[Callable[[], None]]:
    """Within it, each call of what it gives is one of `length` steps."""
    with click.progressbar(
        length=length,
        label=label,
        file=sys.stderr,
        hidden=not sys.stderr.isatty(),
        update_min_steps=max(1, length // 200),
    ) as bar:
        yield lambda: bar.update(1)


_GAP = "   "
_NARROWEST = 24
"""Columns that the last cell of a row gets at least, where a terminal is too narrow for it."""
_MICRO = Decimal("0.000001")


class TableColumn(msgspec.Struct, frozen=True):
    """A column's heading; `right` aligns numbers."""

    name: str
    right: bool = False
    rank: int = 0
    """Where a terminal is too narrow, columns of the highest rank go first; those of 0 stay."""


def draw(
    columns: Sequence[TableColumn],
    rows: Iterable[Sequence[str]],
    *,
    total: Sequence[str] = (),
    notes: Iterable[str] = (),
) -> None:
    """Print rows below their headings, a last line apart from them, and notes below.

    The terminal's width applies to terminals, and so do colours unless the environment says else;
    a pipe gets plain lines of any length. Cells are text and cannot steer a terminal.
    """
    rows = list(rows)
    columns, rows, total, gone = _fitted(columns, rows, total)
    if gone:
        notes = [*notes, f"Too narrow for: {', '.join(gone)}."]
    heads = [plain(column.name) for column in columns]
    body = [[plain(cell) for cell in row] for row in rows]
    last = [plain(cell) for cell in total]
    widths = _widths([heads, *body, *([last] if last else [])])
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
        for line in _folded(plain(note)):
            _print(line, fg="yellow")


def number(value: int | None) -> str:
    """A count with thousands apart; `-` where it is unknown."""
    return "-" if value is None else f"{value:,}"


def usd(value: Decimal | None) -> str:
    """An amount to the micro-dollar; one that is smaller, but not nothing, says so."""
    if value is None:
        return "-"
    if 0 < abs(value) < _MICRO:
        return f"<{_MICRO}" if value > 0 else f">-{_MICRO}"
    return f"{value:,.6f}"


def bound(value: Decimal) -> str:
    """An amount that is not exceeded: to the cent, or below a dollar to its second digit."""
    digits = max(2, 1 - value.adjusted())
    return f"{value.quantize(Decimal(1).scaleb(-digits), ROUND_CEILING):,f}"


def _folded(note: str) -> list[str]:
    if not sys.stdout.isatty():
        return [note]
    return textwrap.wrap(note, max(shutil.get_terminal_size().columns, _NARROWEST))


def _print(line: str, **style: str | bool) -> None:
    click.echo(click.style(line, **style) if drawn() else line)  # type: ignore[arg-type]


def _line(columns: Sequence[TableColumn], cells: Sequence[str], widths: Sequence[int]) -> str:
    out = []
    for column, cell, width in zip(columns, cells, widths, strict=True):
        space = " " * (width - _width(cell))
        out.append(space + cell if column.right else cell + space)
    return _GAP.join(out).rstrip()


def _fitted(
    columns: Sequence[TableColumn], rows: Sequence[Sequence[str]], total: Sequence[str]
) -> tuple[Sequence[TableColumn], Sequence[Sequence[str]], Sequence[str], list[str]]:
    """A table without the columns that a terminal has no room for, and their names."""
    if not sys.stdout.isatty() or not any(column.rank for column in columns):
        return columns, rows, total, []
    room = shutil.get_terminal_size().columns
    widths = _widths([[column.name for column in columns], *rows, *([total] if total else [])])
    kept = list(range(len(columns)))
    while sum(widths[at] + len(_GAP) for at in kept) - len(_GAP) > room:
        last = max(kept, key=lambda at: (columns[at].rank, at))
        if not columns[last].rank:
            break
        kept.remove(last)

    def pick[T](cells: Sequence[T]) -> list[T]:
        return [cells[at] for at in kept] if cells else []

    gone = [column.name for at, column in enumerate(columns) if at not in kept]
    return pick(columns), [pick(row) for row in rows], pick(total), gone


def _widths(rows: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(_width, cells)) for cells in zip(*rows, strict=True)]


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
