"""Encode rows of the ledger as the values of their columns in SQLite.

This is most of the work of a feed, and in a busy moment most columns have one value in all rows.
So rows are encoded column by column: a column with one value is encoded once.
"""

from collections.abc import Callable, Sequence
from decimal import Decimal
from operator import attrgetter
from typing import Any

import msgspec

from gateway.core import jsonio
from gateway.core.decision_record import DecisionRecord
from gateway.ledger.ingest import MAX_COUNT, make_storable
from gateway.ledger.schema import (
    ATTEMPT_COLUMNS,
    DAMAGE_COLUMNS,
    ENTRY_COLUMNS,
    FEEDBACK_COLUMNS,
    REPRICE_COLUMNS,
)

type Column = Sequence[object]

_ROWS_BETWEEN_RESTS = 64
_MAX_MONEY_LENGTH = 40
_ONE_FORM_TYPES = frozenset({str, int, bool, type(None)})
"""Types whose equal values are stored alike. Equal amounts may differ in their digits."""
_UNCHANGED_TYPES = frozenset({float, bool, type(None)})
"""Types whose values SQLite stores unchanged."""


class ColumnEncoder:
    """Encodes rows of one kind."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._get_values = attrgetter(*names)

    def encode_columns(
        self, rows: Sequence[msgspec.Struct], yield_to_calls: Callable[[], object] = int
    ) -> list[Column]:
        """Return each column as the list of its values; at least one row must be given.

        The encoder calls `yield_to_calls` before each piece of work.
        """
        value_rows: list[tuple[object, ...]] = []
        for offset in range(0, len(rows), _ROWS_BETWEEN_RESTS):
            yield_to_calls()
            value_rows += map(self._get_values, rows[offset : offset + _ROWS_BETWEEN_RESTS])
        columns: list[Column] = []
        for name, values in zip(self._names, zip(*value_rows, strict=True), strict=True):
            yield_to_calls()
            columns.append(_encode_column(name, values))
        return columns

    def encode_rows(self, rows: Sequence[msgspec.Struct]) -> list[tuple[object, ...]]:
        """Return the encoded values of each row."""
        return [*zip(*self.encode_columns(rows), strict=True)] if rows else []


_EMPTY_TEXTS: dict[type, str] = {tuple: "[]", dict: "{}"}
"""The stored form of empty lists and objects, as most are."""


def _encode_column(name: str, values: Column) -> Column:
    kinds = set(map(type, values))
    if kinds <= _UNCHANGED_TYPES:
        return values
    first_value = values[0]
    if kinds <= _ONE_FORM_TYPES and values.count(first_value) == len(values):
        return [encode_value(name, first_value)] * len(values)
    if len(kinds) == 1 and kinds <= _EMPTY_TEXTS.keys() and not any(values):
        return [_EMPTY_TEXTS[type(first_value)]] * len(values)
    return [encode_value(name, value) for value in values]


def encode_value(name: str, value: Any) -> Any:
    """Return a value as SQLite stores it: a list or an object as JSON, an amount as its digits."""
    kind = type(value)
    if (
        value is None
        or kind is float
        or kind is bool
        or (kind is str and "\0" not in value)
        or (kind is int and -MAX_COUNT < value < MAX_COUNT)
    ):
        return value
    if kind is Decimal:
        digits = str(value)
        if len(digits) < _MAX_MONEY_LENGTH and "E" not in digits and value.is_finite():
            return digits
    elif kind is DecisionRecord:
        text = jsonio.dumps(value).decode()
        if "\\u0000" not in text:
            return text
    storable = make_storable(name, value)
    if isinstance(storable, Decimal):
        return format(storable, "f")
    return jsonio.dumps(storable).decode() if isinstance(storable, list | dict) else storable


ENTRY_ENCODER = ColumnEncoder(ENTRY_COLUMNS)
ATTEMPT_ENCODER = ColumnEncoder(ATTEMPT_COLUMNS)
REPRICE_ENCODER = ColumnEncoder(REPRICE_COLUMNS)
FEEDBACK_ENCODER = ColumnEncoder(FEEDBACK_COLUMNS)
DAMAGE_ENCODER = ColumnEncoder(DAMAGE_COLUMNS)
