"""Output of commands, for terminals and for pipes: tables, numbers, colours and progress.

Variables of the environment decide on colours. Progress goes to standard error, and only to a
terminal: a pipe and a file get nothing of it.
"""

import os
import shutil
import sys
import textwrap
import time
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import ROUND_CEILING, Decimal
from typing import Any, TextIO

import click
import msgspec

from gateway.core.printable_text import make_printable


def read_color_choice(environ: Mapping[str, str] = os.environ) -> bool | None:
    """Return True or False if the environment decides on colours, and None otherwise.

    On None, a stream gets colours if it is a terminal. NO_COLOR goes first (no-color.org), then
    FORCE_COLOR or CLICOLOR_FORCE, then CLICOLOR=0 and TERM=dumb. An empty variable does not count.
    """
    if environ.get("NO_COLOR"):
        return False
    if any(environ.get(name, "0") not in ("", "0") for name in ("FORCE_COLOR", "CLICOLOR_FORCE")):
        return True
    if environ.get("CLICOLOR") == "0" or environ.get("TERM") == "dumb":
        return False
    return None


def has_colors(stream: TextIO | None = None) -> bool:
    """Return True if a stream gets colours. The default is standard output."""
    choice = read_color_choice()
    return (sys.stdout if stream is None else stream).isatty() if choice is None else choice


@contextmanager
def progress(label: str, length: int) -> Iterator[Callable[[], None]]:
    """Show a progress bar of `length` steps. Each call of the yielded function is one step."""
    with click.progressbar(
        length=length,
        label=label,
        file=sys.stderr,
        hidden=not sys.stderr.isatty(),
        update_min_steps=max(1, length // 200),
    ) as bar:
        yield lambda: bar.update(1)


_PROGRESS_DELAY, _PROGRESS_INTERVAL = 1.0, 0.5
"""Seconds before progress is shown, and between two updates."""


def count_progress[T](
    items: Iterable[T], noun: str, clock: Callable[[], float] = time.monotonic
) -> Iterator[T]:
    """Yield the items. On a terminal, print their number if it takes long."""
    is_terminal = sys.stderr.isatty()
    next_update_at = clock() + _PROGRESS_DELAY
    has_printed = False
    for count, item in enumerate(items):
        if is_terminal and (now := clock()) >= next_update_at:
            next_update_at, has_printed = now + _PROGRESS_INTERVAL, True
            click.echo(f"\r{count:,} {noun}", err=True, nl=False)
        yield item
    if has_printed:
        click.echo("\r\x1b[K", err=True, nl=False)


_COLUMN_GAP = "   "
_MIN_LAST_WIDTH = 24
"""Minimum width of the last cell of a row, in characters, on a narrow terminal."""
_MICRO_USD = Decimal("0.000001")


class TableColumn(msgspec.Struct, frozen=True):
    """A column of a table. `name` is its heading; `numeric` aligns numbers to the right."""

    name: str
    numeric: bool = False
    rank: int = 0
    """On a narrow terminal, columns of the highest rank are left out first; rank 0 stays."""


def print_table(
    columns: Sequence[TableColumn],
    rows: Iterable[Sequence[str]],
    *,
    total: Sequence[str] = (),
    notes: Iterable[str] = (),
) -> None:
    """Print rows below their headings, then a separate line for the total, then notes.

    On a terminal, lines fit its width, and have colours unless the environment says otherwise. A
    pipe gets plain lines of any length. Control characters in cells do not reach the terminal.
    """
    rows = list(rows)
    columns, rows, total, dropped_names = _fit_columns(columns, rows, total)
    if dropped_names:
        notes = [*notes, f"Too narrow for: {', '.join(dropped_names)}."]
    headings = [make_printable(column.name) for column in columns]
    body = [[make_printable(cell) for cell in row] for row in rows]
    total_cells = [make_printable(cell) for cell in total]
    widths = _measure_widths([headings, *body, *([total_cells] if total_cells else [])])
    if not columns[-1].numeric:
        body, widths = _wrap_last_cells(body, widths)
    separator = "─" * (sum(widths) + len(_COLUMN_GAP) * (len(widths) - 1))
    _print_line(_format_line(columns, headings, widths), bold=True)
    _print_line(separator, dim=True)
    for row in body:
        _print_line(_format_line(columns, row, widths))
    if total_cells:
        _print_line(separator, dim=True)
        _print_line(_format_line(columns, total_cells, widths), bold=True)
    for note in notes:
        for line in _wrap_note(make_printable(note)):
            _print_line(line, fg="yellow")


def format_count(value: int | None) -> str:
    """Format a count with thousands separators; `-` if it is unknown."""
    return "-" if value is None else f"{value:,}"


def format_usd(value: Decimal | None) -> str:
    """Format USD to the micro-dollar. A smaller amount, other than 0, is shown as `<0.000001`."""
    if value is None:
        return "-"
    if 0 < abs(value) < _MICRO_USD:
        return f"<{_MICRO_USD}" if value > 0 else f">-{_MICRO_USD}"
    return f"{value:,.6f}"


def format_upper_bound(value: Decimal) -> str:
    """Format USD rounded up: to the cent, or to two significant digits if that is finer."""
    digits = max(2, 1 - value.adjusted())
    return f"{value.quantize(Decimal(1).scaleb(-digits), ROUND_CEILING):,f}"


def format_figure(figure: Mapping[str, Any], format_value: Callable[[Any], str]) -> str:
    """Return a value with its interval, as `0.912 (0.905 to 0.918)`; without one, the value."""
    value, low, high = (figure[name] for name in ("value", "low", "high"))
    if low is None:
        return format_value(value)
    return f"{format_value(value)} ({format_value(low)} to {format_value(high)})"


def _wrap_note(note: str) -> list[str]:
    if not sys.stdout.isatty():
        return [note]
    return textwrap.wrap(note, max(shutil.get_terminal_size().columns, _MIN_LAST_WIDTH))


def _print_line(line: str, **style: str | bool) -> None:
    click.echo(click.style(line, **style) if has_colors() else line)  # type: ignore[arg-type]


def _format_line(
    columns: Sequence[TableColumn], cells: Sequence[str], widths: Sequence[int]
) -> str:
    padded_cells = []
    for column, cell, width in zip(columns, cells, widths, strict=True):
        padding = " " * (width - _measure_width(cell))
        padded_cells.append(padding + cell if column.numeric else cell + padding)
    return _COLUMN_GAP.join(padded_cells).rstrip()


def _fit_columns(
    columns: Sequence[TableColumn], rows: Sequence[Sequence[str]], total: Sequence[str]
) -> tuple[Sequence[TableColumn], Sequence[Sequence[str]], Sequence[str], list[str]]:
    """Return a table without the columns that do not fit the terminal, and their names."""
    if not sys.stdout.isatty() or not any(column.rank for column in columns):
        return columns, rows, total, []
    terminal_width = shutil.get_terminal_size().columns
    widths = _measure_widths(
        [[column.name for column in columns], *rows, *([total] if total else [])]
    )
    indexes = list(range(len(columns)))
    while (
        sum(widths[index] + len(_COLUMN_GAP) for index in indexes) - len(_COLUMN_GAP)
        > terminal_width
    ):
        drop_index = max(indexes, key=lambda index: (columns[index].rank, index))
        if not columns[drop_index].rank:
            break
        indexes.remove(drop_index)

    def pick[T](cells: Sequence[T]) -> list[T]:
        return [cells[index] for index in indexes] if cells else []

    dropped_names = [column.name for index, column in enumerate(columns) if index not in indexes]
    return pick(columns), [pick(row) for row in rows], pick(total), dropped_names


def _measure_widths(rows: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(_measure_width, cells)) for cells in zip(*rows, strict=True)]


def _wrap_last_cells(body: list[list[str]], widths: list[int]) -> tuple[list[list[str]], list[int]]:
    """Wrap the last cell of each row to the width of the terminal."""
    if not sys.stdout.isatty():
        return body, widths
    leading_width = sum(widths[:-1]) + len(_COLUMN_GAP) * (len(widths) - 1)
    last_width = max(shutil.get_terminal_size().columns - leading_width, _MIN_LAST_WIDTH)
    if widths[-1] <= last_width:
        return body, widths
    wrapped_rows = []
    for row in body:
        lines = textwrap.wrap(row[-1], last_width) or [""]
        wrapped_rows.append([*row[:-1], lines[0]])
        wrapped_rows += [[*[""] * (len(row) - 1), line] for line in lines[1:]]
    return wrapped_rows, [*widths[:-1], last_width]


def _measure_width(text: str) -> int:
    """Measure the width of a text in a terminal: a wide character counts as two."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in text
    )
