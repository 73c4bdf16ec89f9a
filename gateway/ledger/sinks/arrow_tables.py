"""Rows of the ledger as Arrow tables, for Parquet: a table for each kind of row.

The columns are the fields of a row, without the record of the decision. An amount is a decimal with
18 places, and so is a quantity in `units`. If one needs more digits, `inexact` has it as text.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import ROUND_HALF_EVEN, Context, Decimal
from operator import attrgetter
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from gateway.core.ledger_rows import AttemptRow, DamagedRow, FeedbackRow, FinalRow, RepriceRow
from gateway.ledger.ingest import MAX_COUNT, RowBatch, make_storable
from gateway.ledger.personal_part import PERSONAL_COLUMNS
from gateway.ledger.schema import (
    ATTEMPT_COLUMNS,
    DAMAGE_COLUMNS,
    ENTRY_COLUMNS,
    FEEDBACK_COLUMNS,
    REPRICE_COLUMNS,
)

_UNSTORED_COLUMNS: Final = frozenset({"basis"})
_INEXACT: Final = "inexact"
_MONEY_TYPE: Final = pa.decimal128(38, 18)
_MONEY_STEP: Final = Decimal("1E-18")
_MAX_MONEY: Final = Decimal(10) ** 20
_MONEY_CONTEXT: Final = Context(prec=100, rounding=ROUND_HALF_EVEN)
_TEXTS_TYPE: Final = pa.list_(pa.string())
_COUNTS_TYPE: Final = pa.map_(pa.string(), pa.int64())
_UNITS_TYPE: Final = pa.map_(pa.string(), _MONEY_TYPE)
_INEXACT_TYPE: Final = pa.map_(pa.string(), pa.string())
_ARROW_TYPES: Final[Mapping[type[msgspec.inspect.Type], Any]] = MappingProxyType(
    {
        msgspec.inspect.StrType: pa.string(),
        msgspec.inspect.LiteralType: pa.string(),
        msgspec.inspect.BoolType: pa.bool_(),
        msgspec.inspect.IntType: pa.int64(),
        msgspec.inspect.FloatType: pa.float64(),
        msgspec.inspect.DecimalType: _MONEY_TYPE,
        msgspec.inspect.VarTupleType: _TEXTS_TYPE,
        msgspec.inspect.DictType: _COUNTS_TYPE,
    }
)


class RowKind(NamedTuple):
    """A kind of rows: the name of its table, its schema, and where a batch has such rows."""

    name: str
    schema: Any
    get_rows: Callable[[RowBatch], Sequence[Any]]
    get_time: Callable[[Any], float]
    """Returns the time of a row, in seconds since the epoch; it decides on the row's day."""


def _build_kind(
    name: str,
    struct: type[msgspec.Struct],
    columns: Iterable[str],
    batch_field: str,
    time_field: str = "at",
) -> RowKind:
    type_info = msgspec.inspect.type_info(struct)
    fields = {field.name: field.type for field in type_info.fields}  # type: ignore[attr-defined]
    arrow_fields = [
        pa.field(column, _find_arrow_type(fields[column]))
        for column in columns
        if column not in _UNSTORED_COLUMNS
    ]
    if any(field.type == _MONEY_TYPE for field in arrow_fields):
        arrow_fields.append(pa.field(_INEXACT, _INEXACT_TYPE))
    return RowKind(name, pa.schema(arrow_fields), attrgetter(batch_field), attrgetter(time_field))


def _find_arrow_type(field_type: msgspec.inspect.Type) -> Any:
    if isinstance(field_type, msgspec.inspect.UnionType):  # with None
        field_type = field_type.types[0]
    if isinstance(field_type, msgspec.inspect.DictType) and isinstance(
        field_type.value_type, msgspec.inspect.DecimalType
    ):
        return _UNITS_TYPE
    return _ARROW_TYPES[type(field_type)]


CALLS: Final = _build_kind("calls", FinalRow, ENTRY_COLUMNS, "entries")
KINDS: Final = (
    CALLS,
    _build_kind("attempts", AttemptRow, ATTEMPT_COLUMNS, "attempts"),
    _build_kind("reprices", RepriceRow, REPRICE_COLUMNS, "reprices"),
    _build_kind("feedback", FeedbackRow, FEEDBACK_COLUMNS, "feedback"),
    _build_kind("damages", DamagedRow, DAMAGE_COLUMNS, "damages", "until"),
)
"""All kinds of rows that a batch has."""


def build_table(kind: RowKind, rows: Sequence[msgspec.Struct]) -> Any:
    """Return rows of one kind as an Arrow table, with the values that every store holds."""
    inexact_amounts: list[dict[str, str]] = [{} for _ in rows]
    arrays = [
        _build_array(field, [getattr(row, field.name) for row in rows], inexact_amounts)
        for field in kind.schema
        if field.name != _INEXACT
    ]
    if len(arrays) < len(kind.schema):
        values = [[*amounts.items()] if amounts else None for amounts in inexact_amounts]
        arrays.append(pa.array(values, _INEXACT_TYPE))
    return pa.table(arrays, schema=kind.schema)


def erase_personal_columns(table: Any, is_erased: Any) -> Any:
    """Return a table of calls without the personal part of some rows; `is_erased` marks these."""
    for name in PERSONAL_COLUMNS:
        index = table.schema.get_field_index(name)
        values = pc.if_else(is_erased, pa.scalar(None, pa.string()), table.column(index))
        table = table.set_column(index, table.schema.field(index), values)
    return table


def _build_array(field: Any, values: list[Any], inexact_amounts: list[dict[str, str]]) -> Any:
    name, arrow_type = field.name, field.type
    if arrow_type == _TEXTS_TYPE:
        return pa.array(
            [make_storable(name, value) if value else () for value in values], arrow_type
        )
    if arrow_type == _COUNTS_TYPE:
        pairs = [[*make_storable(name, value).items()] if value else () for value in values]
        return pa.array(pairs, arrow_type)
    if arrow_type == _MONEY_TYPE:
        return _build_money(name, values, inexact_amounts)
    if arrow_type == _UNITS_TYPE:
        return _build_units(name, values, inexact_amounts)
    try:
        array = pa.array(values, arrow_type)
    except OverflowError:
        return pa.array([make_storable(name, value) for value in values], arrow_type)
    if _needs_change(array):
        return pa.array([make_storable(name, value) for value in values], arrow_type)
    return array


def _needs_change(array: Any) -> bool:
    """True if a text has a NUL, or a count is too large."""
    if array.type == pa.string():
        return bool(pc.any(pc.match_substring(array, "\0")).as_py())
    if array.type == pa.int64():
        bounds = pc.min_max(array)
        lowest, highest = bounds["min"].as_py(), bounds["max"].as_py()
        return lowest is not None and not -MAX_COUNT <= lowest <= highest <= MAX_COUNT
    return False


def _build_money(
    name: str, values: list[Decimal | None], inexact_amounts: list[dict[str, str]]
) -> Any:
    try:
        return pa.array(values, _MONEY_TYPE)
    except (pa.ArrowInvalid, ValueError):  # one of them has more digits, or is no number
        amounts = [make_storable(name, value) for value in values]
    for index, amount in enumerate(amounts):
        if amount is not None:
            amounts[index] = _round_amount(name, amount, inexact_amounts[index])
    return pa.array(amounts, _MONEY_TYPE)


def _build_units(
    name: str, values: list[dict[str, Decimal]], inexact_amounts: list[dict[str, str]]
) -> Any:
    pairs = [
        [
            (unit, _round_amount(f"{name} {unit}", quantity, inexact))
            for unit, quantity in make_storable(name, value).items()
        ]
        for value, inexact in zip(values, inexact_amounts, strict=True)
    ]
    return pa.array(pairs, _UNITS_TYPE)


def _round_amount(name: str, amount: Decimal, inexact: dict[str, str]) -> Decimal | None:
    """Return an amount as a column holds it; `inexact` gets one that has more digits, as text."""
    rounded = _MONEY_CONTEXT.quantize(amount, _MONEY_STEP)
    is_held = -_MAX_MONEY < rounded < _MAX_MONEY
    if rounded != amount or not is_held:
        inexact[name] = format(amount, "f")
    return rounded if is_held else None
