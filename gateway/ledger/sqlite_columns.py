"""Encode rows of the ledger as the values of their columns in SQLite.

This is most of the work of a feed, and in a busy moment most columns have one value in all rows.
So rows are encoded column by column: a column with one value is encoded once.
"""

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import msgspec
from msgspec.structs import astuple

from gateway.core import jsonio
from gateway.core.decision_record import DecisionRecord
from gateway.core.ledger_rows import AttemptRow, DamagedRow, FeedbackRow, FinalRow, RepriceRow
from gateway.ledger.ingest import MAX_COUNT, make_storable
from gateway.ledger.schema import (
    ATTEMPT_COLUMNS,
    DAMAGE_COLUMNS,
    ENTRY_COLUMNS,
    FEEDBACK_COLUMNS,
    REPRICE_COLUMNS,
)

type Column = Sequence[object]

_MAX_MONEY_LENGTH = 40
_ONE_FORM_TYPES = frozenset({str, int, bool, type(None)})
"""Types whose equal values are stored alike. Equal amounts may differ in their digits."""
_UNCHANGED_TYPES = frozenset({float, bool, type(None)})
"""Types whose values SQLite stores unchanged."""
_EMPTY_TEXTS: dict[type, str] = {tuple: "[]", dict: "{}"}
"""The stored form of empty lists and objects, as most are."""


class ColumnEncoder:
    """Encodes rows of one kind: `names` are its columns, in order, which are all of its fields."""

    def __init__(self, kind: type[msgspec.Struct], names: Sequence[str]) -> None:
        self._fields = kind.__struct_fields__
        self._names = names

    def encode_columns(
        self, rows: Sequence[msgspec.Struct], yield_to_calls: Callable[[], object] = int
    ) -> list[Column]:
        """Return each column as the list of its values; at least one row must be given.

        The encoder calls `yield_to_calls` before each piece of work.
        """
        columns: dict[str, Column] = {}
        for field, values in zip(self._fields, zip(*map(astuple, rows), strict=True), strict=True):
            yield_to_calls()
            columns[field] = _encode_column(field, values)
        return [columns[name] for name in self._names]

    def encode_rows(self, rows: Sequence[msgspec.Struct]) -> list[tuple[object, ...]]:
        """Return the encoded values of each row."""
        return [*zip(*self.encode_columns(rows), strict=True)] if rows else []


def _encode_column(name: str, values: Sequence[Any]) -> Column:
    first_value = values[0]
    kind = type(first_value)
    if kind in _ONE_FORM_TYPES and values.count(first_value) == len(values):
        return [encode_value(name, first_value)] * len(values)
    if kind in _EMPTY_TEXTS and not any(values):
        return [_EMPTY_TEXTS[kind]] * len(values)
    kinds = set(map(type, values)) - _UNCHANGED_TYPES
    if not kinds:
        return values
    if kinds == {str} and "\0" not in "".join(filter(None, values)):
        return values
    if kinds == {int} and max(map(abs, filter(None, values)), default=0) < MAX_COUNT:
        return values
    if kinds == {Decimal}:
        texts = [None if value is None else str(value) for value in values]
        known_texts = [*filter(None, texts)]
        if (
            "".join(known_texts).replace(".", "").isdecimal()
            and max(map(len, known_texts)) < _MAX_MONEY_LENGTH
        ):
            return texts
    return [encode_value(name, value) for value in values]


def encode_value(name: str, value: Any) -> Any:
    """Return a value as SQLite stores it: a list or an object as JSON, an amount as its digits."""
    if value is None:
        return None
    if isinstance(value, DecisionRecord):
        text = jsonio.dumps(value).decode()
        if "\\u0000" not in text:
            return text
    storable = make_storable(name, value)
    if isinstance(storable, Decimal):
        return format(storable, "f")
    return jsonio.dumps(storable).decode() if isinstance(storable, list | dict) else storable


ENTRY_ENCODER = ColumnEncoder(FinalRow, ENTRY_COLUMNS)
ATTEMPT_ENCODER = ColumnEncoder(AttemptRow, ATTEMPT_COLUMNS)
REPRICE_ENCODER = ColumnEncoder(RepriceRow, REPRICE_COLUMNS)
FEEDBACK_ENCODER = ColumnEncoder(FeedbackRow, FEEDBACK_COLUMNS)
DAMAGE_ENCODER = ColumnEncoder(DamagedRow, DAMAGE_COLUMNS)
