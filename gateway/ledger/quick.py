"""A final row read straight from its line as the values of SQLite's columns, where it is plain.

Most are. What is not is read the long way, with all care: this only says that it cannot tell.
"""

import re
from collections.abc import Callable
from decimal import Decimal
from operator import itemgetter
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import msgspec

from gateway.core import jsonio
from gateway.core.ledger_rows import FinalRow
from gateway.ledger.ingest import MAX_COUNT, MAX_TIMESTAMP
from gateway.ledger.schema import ENTRY_COLUMNS

_NUL_ESCAPE = b"\\u0000"
_MAX_MONEY_LENGTH = 40
_match_plain_amount = re.compile(r"(?:0|[1-9][0-9]*)(?:\.[0-9]+)?").fullmatch
"""A sum of money as `str` of a Decimal writes it, without an exponent."""
_CountType = Annotated[int, msgspec.Meta(gt=-MAX_COUNT, lt=MAX_COUNT)]
_TimestampType = Annotated[float, msgspec.Meta(ge=0, lt=MAX_TIMESTAMP)]


def _find_column_type(name: str, kind: Any) -> Any:
    """The type of a column, from that of an entry's field."""
    if name == "at":
        return _TimestampType
    if get_origin(kind) in (Union, UnionType):
        return Union[tuple(_find_column_type(name, member) for member in get_args(kind))]  # noqa: UP007 - of a list
    return {int: _CountType, Decimal: str}.get(kind, kind)


def _find_default(field: msgspec.structs.FieldInfo) -> Any:
    return {} if field.default_factory is dict else field.default


_FIELD_TYPES = get_type_hints(FinalRow)
_FIELDS = {field.name: field for field in msgspec.structs.fields(FinalRow)}


def _define_line_type(**overrides: tuple[Any, Any]) -> Any:
    """The type of a line, with `overrides` types and defaults of some members."""
    fields: list[Any] = []
    for name in ENTRY_COLUMNS:
        kind, default = _find_column_type(name, _FIELD_TYPES[name]), _find_default(_FIELDS[name])
        kind, default = overrides.get(name, (kind, default))
        fields.append((name, kind) if default is msgspec.NODEFAULT else (name, kind, default))
    return msgspec.defstruct("_Line", fields, tag="final", tag_field="kind", kw_only=True)


_Line = _define_line_type()
_parse_line = jsonio.make_reader(_Line)
_NULL = msgspec.Raw(b"null")
_parse_own_line = jsonio.make_reader(_define_line_type(basis=(msgspec.Raw, _NULL)))
_get_amounts = itemgetter(
    *[index for index, name in enumerate(ENTRY_COLUMNS) if Decimal in get_args(_FIELD_TYPES[name])]
)
_LIST_INDEXES = tuple(
    index for index, name in enumerate(ENTRY_COLUMNS) if get_origin(_FIELD_TYPES[name]) is tuple
)
_MAP_INDEXES = tuple(
    index for index, name in enumerate(ENTRY_COLUMNS) if get_origin(_FIELD_TYPES[name]) is dict
)
_BASIS_INDEX = ENTRY_COLUMNS.index("basis")


def parse_values(line: bytes) -> list[object] | None:
    """The values of `ENTRY` of a line; None where it is to be read with more care."""
    row_values = _parse_plain_values(line, _parse_line)
    if row_values is not None and (basis := row_values[_BASIS_INDEX]) is not None:
        row_values[_BASIS_INDEX] = jsonio.dumps(basis).decode()
    return row_values


def parse_own_values(line: bytes) -> list[object] | None:
    """The same of a line that this process has written: its basis stands there as it is stored."""
    row_values = _parse_plain_values(line, _parse_own_line)
    if row_values is not None:
        basis = str(row_values[_BASIS_INDEX], "utf-8")
        row_values[_BASIS_INDEX] = None if basis == "null" else basis
    return row_values


def _parse_plain_values(line: bytes, parse_line: Callable[[bytes], Any]) -> list[Any] | None:
    """All but the basis, which is left as it is read."""
    if b"\\" in line and _NUL_ESCAPE in line:
        return None
    try:
        row_values: list[Any] = [*msgspec.structs.astuple(parse_line(line))]
    except jsonio.JsonError:
        return None
    if not _known_amounts.issuperset(
        amounts := _get_amounts(row_values)
    ) and not _are_plain_amounts(amounts):
        return None
    for index in _LIST_INDEXES:
        if items := row_values[index]:
            if len(items) != len(set(items)):
                return None
            row_values[index] = jsonio.dumps(items).decode()
        else:
            row_values[index] = "[]"
    for index in _MAP_INDEXES:
        if row_values[index]:
            return None
        row_values[index] = "{}"
    return row_values


def _are_plain_amounts(amounts: tuple[str | None, ...]) -> bool:
    """Whether all are sums of money as they are stored; those that are will be known again."""
    for text in amounts:
        if text not in _known_amounts:
            if text is None or len(text) >= _MAX_MONEY_LENGTH or _match_plain_amount(text) is None:
                return False
            if len(_known_amounts) >= _MAX_KNOWN_AMOUNTS:
                _known_amounts.clear()
                _known_amounts.update(_USUAL_AMOUNTS)
            _known_amounts.add(text)
    return True


_MAX_KNOWN_AMOUNTS = 4096
_USUAL_AMOUNTS = (None, "0")
_known_amounts: set[str | None] = {*_USUAL_AMOUNTS}
"""Sums that have been found sound: those of most calls are nothing, or were seen before."""
