"""Sums and rows in the forms that programs read: JSON, JSON lines and CSV, money as exact text.

Text that does no harm where it is shown: in a terminal, in a spreadsheet.
"""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

import msgspec

from gateway.core import jsonio
from gateway.core.ledger_rows import AttemptRow
from gateway.ledger.query import QueryGroup
from gateway.ledger.query_params import LedgerQuery
from gateway.ledger.store import StoredRow

_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What begins a formula in a spreadsheet, also in the wide form that some of them take for it; such
a text gets an apostrophe in front."""


def plain(text: str) -> str:
    """A text that cannot steer a terminal: what is not printable becomes a replacement sign."""
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text)


def cell(value: object) -> object:
    """A value in CSV: clients choose tags and models, and a spreadsheet would run a formula."""
    if not isinstance(value, str):
        return value
    text = plain(value)
    return f"'{text}" if text.startswith(_FORMULA) else text


NUMBERS = tuple(name for name in QueryGroup.__struct_fields__ if name != "names")
"""What a group tells of its calls."""
FIELDS = StoredRow.__struct_fields__
"""What is told of one call, in this order."""


def sums(
    question: LedgerQuery, groups: Iterable[QueryGroup], total: QueryGroup
) -> dict[str, object]:
    """The answer to a question, as JSON has it: money is text, None is unknown."""
    return {
        "since": question.since,
        "until": question.until,
        "zone": question.zone,
        "by": question.by,
        "groups": [group(one, question.by) for one in groups],
        "total": group(total, ()),
    }


def group(one: QueryGroup, by: Sequence[str]) -> dict[str, object]:
    """The names of a group and its sums."""
    sums = {name: exact(getattr(one, name)) for name in NUMBERS}
    return dict(zip(by, one.names, strict=True)) | sums if by else sums


def sheet(by: Sequence[str], groups: Iterable[QueryGroup]) -> str:
    """Groups as CSV; an empty cell is unknown."""
    rows = [_written([*one.names, *(getattr(one, name) for name in NUMBERS)]) for one in groups]
    return _csv([*by, *NUMBERS], rows)


def call(one: StoredRow, tries: Iterable[AttemptRow]) -> dict[str, object]:
    """A call with the requests of it that gave no answer."""
    return row(one) | {"tries": [attempt(item) for item in tries]}


def row(one: StoredRow) -> dict[str, object]:
    """A call as JSON has it."""
    return {"kind": "final"} | _exact(one)


def attempt(one: AttemptRow) -> dict[str, object]:
    """An attempt as JSON has it."""
    return {"kind": "attempt"} | _exact(one)


def lines(rows: Iterable[StoredRow]) -> bytes:
    """Calls as JSON lines."""
    return b"".join(jsonio.dumps(row(one)) + b"\n" for one in rows)


def cells(rows: Iterable[StoredRow], *, head: bool = True) -> str:
    """Calls as CSV; lists and objects are JSON within their cells, an empty cell is unknown."""
    body = [_written([getattr(one, name) for name in FIELDS]) for one in rows]
    return _csv(FIELDS if head else None, body)


def exact(value: object) -> object:
    """A value with money as text, all its digits written out."""
    return format(value, "f") if isinstance(value, Decimal) else value


def _exact(one: msgspec.Struct) -> dict[str, object]:
    return {name: exact(value) for name, value in msgspec.structs.asdict(one).items()}


def _written(values: Iterable[object]) -> list[object]:
    return [_cell(value) for value in values]


def _cell(value: object) -> object:
    if isinstance(value, tuple | Mapping | msgspec.Struct):
        return plain(jsonio.dumps(value).decode())
    return exact(value) if isinstance(value, Decimal) else cell(value)  # -0.5 is no formula


def _csv(head: Sequence[str] | None, rows: Iterable[Sequence[object]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    if head is not None:
        writer.writerow(head)
    writer.writerows(rows)
    return out.getvalue()
