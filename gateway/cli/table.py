"""Tables in the terminal: the one place where they are drawn, for people and for pipes."""

import sys
from collections.abc import Iterable, Sequence
from decimal import Decimal

import msgspec
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

_UNBOUND = 1_000_000  # columns of a pipe: nothing is folded
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
    a pipe gets plain lines of any length. Cells are text, never markup, and cannot steer a
    terminal.
    """
    console = Console(file=sys.stdout, highlight=False)
    if not console.is_terminal:
        console.width = _UNBOUND
    table = Table(box=box.SIMPLE, show_edge=False, pad_edge=False, show_footer=bool(total))
    for place, column in enumerate(columns):
        table.add_column(
            _text(column.name),
            footer=_text(total[place]) if total else "",
            justify="right" if column.right else "left",
            overflow="fold",
        )
    for row in rows:
        table.add_row(*map(_text, row))
    console.print(table)
    for note in notes:
        console.print(_text(note), style="yellow")


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


def _text(cell: str) -> Text:
    return Text(
        "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in cell)
    )
