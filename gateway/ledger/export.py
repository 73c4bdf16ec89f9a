"""Format sums and rows as JSON, JSON lines and CSV. Amounts of money become exact text.

Exported text is harmless where it is shown: in a terminal or in a spreadsheet.
"""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

import msgspec

from gateway.core import jsonio
from gateway.core.ledger_rows import AttemptRow, FeedbackRow
from gateway.core.printable_text import make_printable
from gateway.ledger.query import QueryGroup
from gateway.ledger.query_params import LedgerQuery
from gateway.ledger.store import StoredRow

_FORMULA_PREFIXES = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""Characters that begin a formula in a spreadsheet, also in the wide forms that some accept. A text
that begins with one gets an apostrophe in front."""


def escape_cell(value: object) -> object:
    """Return a value as a CSV cell that is no formula: clients choose the tags and models."""
    if not isinstance(value, str):
        return value
    text = make_printable(value)
    return f"'{text}" if text.startswith(_FORMULA_PREFIXES) else text


GROUP_FIELDS = tuple(name for name in QueryGroup.__struct_fields__ if name != "names")
"""The fields of a group of calls, without its names."""
_FEEDBACK_FIELDS = ("at", "key", "verdict", "tier", "score")
CALL_FIELDS = StoredRow.__struct_fields__
"""The fields of a call, in order."""


def build_sums(
    query: LedgerQuery, groups: Iterable[QueryGroup], total: QueryGroup, *, damaged_rows: int
) -> dict[str, object]:
    """Return the answer to a query as JSON values: amounts are text, None is unknown.

    `damaged_rows` is the number of rows that the journals lack in this time: sums may lack calls.
    """
    return {
        "since": query.since,
        "until": query.until,
        "zone": query.zone,
        "by": query.by,
        "groups": [build_group(query_group, query.by) for query_group in groups],
        "total": build_group(total, ()),
        "damaged_rows": damaged_rows,
    }


def build_group(query_group: QueryGroup, by: Sequence[str]) -> dict[str, object]:
    """Return a group's names and sums."""
    fields = {name: format_exact(getattr(query_group, name)) for name in GROUP_FIELDS}
    return dict(zip(by, query_group.names, strict=True)) | fields if by else fields


def format_groups_csv(by: Sequence[str], groups: Iterable[QueryGroup]) -> str:
    """Return groups as CSV; an empty cell is unknown."""
    rows = [
        _format_cells([*query_group.names, *(getattr(query_group, name) for name in GROUP_FIELDS)])
        for query_group in groups
    ]
    return _format_csv([*by, *GROUP_FIELDS], rows)


def build_call(
    stored_row: StoredRow, attempts: Iterable[AttemptRow], feedback: FeedbackRow | None
) -> dict[str, object]:
    """Return a call with its attempts that gave no answer, and the last feedback on it."""
    return build_row(stored_row) | {
        "tries": [build_attempt(item) for item in attempts],
        "feedback": None
        if feedback is None
        else {name: getattr(feedback, name) for name in _FEEDBACK_FIELDS},
    }


def build_row(stored_row: StoredRow) -> dict[str, object]:
    """Return a call as JSON values."""
    return {"kind": "final"} | _format_fields(stored_row)


def build_attempt(attempt_row: AttemptRow) -> dict[str, object]:
    """Return an attempt as JSON values."""
    return {"kind": "attempt"} | _format_fields(attempt_row)


def format_rows_jsonl(rows: Iterable[StoredRow]) -> bytes:
    """Return calls as JSON lines."""
    return b"".join(jsonio.dumps(build_row(stored_row)) + b"\n" for stored_row in rows)


def format_rows_csv(rows: Iterable[StoredRow], *, has_header: bool = True) -> str:
    """Return calls as CSV. Lists and objects are JSON in their cells; an empty cell is unknown."""
    lines = [
        _format_cells([getattr(stored_row, name) for name in CALL_FIELDS]) for stored_row in rows
    ]
    return _format_csv(CALL_FIELDS if has_header else None, lines)


def format_exact(value: object) -> object:
    """Return an amount as text with all its digits, and any other value unchanged."""
    return format(value, "f") if isinstance(value, Decimal) else value


def _format_fields(row: msgspec.Struct) -> dict[str, object]:
    return {name: format_exact(value) for name, value in msgspec.structs.asdict(row).items()}


def _format_cells(values: Iterable[object]) -> list[object]:
    return [_format_cell(value) for value in values]


def _format_cell(value: object) -> object:
    if isinstance(value, tuple | Mapping | msgspec.Struct):
        return make_printable(jsonio.dumps(value).decode())
    return (
        format_exact(value) if isinstance(value, Decimal) else escape_cell(value)
    )  # -0.5 is no formula


def _format_csv(header: Sequence[str] | None, rows: Iterable[Sequence[object]]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    if header is not None:
        writer.writerow(header)
    writer.writerows(rows)
    return buffer.getvalue()
