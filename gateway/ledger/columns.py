"""Rows as the values of their columns in SQLite, read with all care for what it cannot hold."""

from collections.abc import Sequence
from decimal import Decimal
from operator import attrgetter

import msgspec

from gateway.core import jsonio
from gateway.core.decision_record import DecisionRecord
from gateway.ledger.ingest import MOST, plain
from gateway.ledger.schema import ATTEMPT, ENTRY, FEEDBACK, REPRICE

_SHORT = 40
_ODD = {*"EINans"}  # of what is no number, or is written with an exponent


def _short(basis: DecisionRecord) -> str:
    """A basis as JSON; empty where it is to be written with more care."""
    text = jsonio.dumps(basis).decode()
    return "" if "\\u0000" in text else text


def _value(value: object) -> object:
    if isinstance(value, Decimal):
        return format(value, "f")
    return jsonio.dumps(value).decode() if isinstance(value, list | dict) else value


class _Columns:
    """Reads a kind of row as the values of its columns: most of what feeding costs."""

    def __init__(self, columns: Sequence[str]) -> None:
        self._columns = columns
        self._get = attrgetter(*columns)

    def __call__(self, row: msgspec.Struct) -> list[object]:
        values = list(self._get(row))
        for at, value in enumerate(values):
            if value is None:
                continue
            kind = type(value)
            if kind is str:
                if "\0" not in value:
                    continue
            elif kind is int:
                if -MOST < value < MOST:
                    continue
            elif kind is Decimal:
                text = str(value)
                if len(text) < _SHORT and not _ODD & {*text}:
                    values[at] = text
                    continue
            elif kind is float or kind is bool:
                continue
            elif kind is DecisionRecord and (text := _short(value)):
                values[at] = text
                continue
            elif not value:
                values[at] = "[]" if kind is tuple else "{}"
                continue
            values[at] = _value(plain(self._columns[at], value))
        return values


entry, attempt, reprice = _Columns(ENTRY), _Columns(ATTEMPT), _Columns(REPRICE)
feedback = _Columns(FEEDBACK)
