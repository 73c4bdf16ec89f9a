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
from gateway.ledger.ingest import LAST, MOST
from gateway.ledger.schema import ENTRY

_NUL = b"\\u0000"
_SHORT = 40
_PLAIN = re.compile(r"(?:0|[1-9][0-9]*)(?:\.[0-9]+)?").fullmatch
"""A sum of money as `str` of a Decimal writes it, without an exponent."""
_COUNT = Annotated[int, msgspec.Meta(gt=-MOST, lt=MOST)]
_MOMENT = Annotated[float, msgspec.Meta(ge=0, lt=LAST)]


def _kind(name: str, kind: Any) -> Any:
    """The type of a column, from that of an entry's field."""
    if name == "at":
        return _MOMENT
    if get_origin(kind) in (Union, UnionType):
        return Union[tuple(_kind(name, one) for one in get_args(kind))]  # noqa: UP007 - of a list
    return {int: _COUNT, Decimal: str}.get(kind, kind)


def _default(field: msgspec.structs.FieldInfo) -> Any:
    return {} if field.default_factory is dict else field.default


_HINTS = get_type_hints(FinalRow)
_FIELDS = {field.name: field for field in msgspec.structs.fields(FinalRow)}


def _line(**other: tuple[Any, Any]) -> Any:
    """The type of a line, with `other` types and defaults of some members."""
    fields: list[Any] = []
    for name in ENTRY:
        kind, default = _kind(name, _HINTS[name]), _default(_FIELDS[name])
        kind, default = other.get(name, (kind, default))
        fields.append((name, kind) if default is msgspec.NODEFAULT else (name, kind, default))
    return msgspec.defstruct("_Line", fields, tag="final", tag_field="kind", kw_only=True)


_Line = _line()
_read = jsonio.reader(_Line)
_NOTHING = msgspec.Raw(b"null")
_read_own = jsonio.reader(_line(basis=(msgspec.Raw, _NOTHING)))
_sums = itemgetter(*[at for at, name in enumerate(ENTRY) if Decimal in get_args(_HINTS[name])])
_LISTS = tuple(at for at, name in enumerate(ENTRY) if get_origin(_HINTS[name]) is tuple)
_MAPS = tuple(at for at, name in enumerate(ENTRY) if get_origin(_HINTS[name]) is dict)
_BASIS = ENTRY.index("basis")


def values(line: bytes) -> list[object] | None:
    """The values of `ENTRY` of a line; None where it is to be read with more care."""
    found = _values(line, _read)
    if found is not None and (basis := found[_BASIS]) is not None:
        found[_BASIS] = jsonio.dumps(basis).decode()
    return found


def own(line: bytes) -> list[object] | None:
    """The same of a line that this process has written: its basis stands there as it is stored."""
    found = _values(line, _read_own)
    if found is not None:
        basis = str(found[_BASIS], "utf-8")
        found[_BASIS] = None if basis == "null" else basis
    return found


def _values(line: bytes, read: Callable[[bytes], Any]) -> list[Any] | None:
    """All but the basis, which is left as it is read."""
    if b"\\" in line and _NUL in line:
        return None
    try:
        found: list[Any] = [*msgspec.structs.astuple(read(line))]
    except jsonio.JsonError:
        return None
    if not _plain.issuperset(sums := _sums(found)) and not _sound(sums):
        return None
    for at in _LISTS:
        if names := found[at]:
            if len(names) != len(set(names)):
                return None
            found[at] = jsonio.dumps(names).decode()
        else:
            found[at] = "[]"
    for at in _MAPS:
        if found[at]:
            return None
        found[at] = "{}"
    return found


def _sound(sums: tuple[str | None, ...]) -> bool:
    """Whether all are sums of money as they are stored; those that are will be known again."""
    for text in sums:
        if text not in _plain:
            if text is None or len(text) >= _SHORT or _PLAIN(text) is None:
                return False
            if len(_plain) >= _MOST:
                _plain.clear()
                _plain.update(_USUAL)
            _plain.add(text)
    return True


_MOST = 4096
_USUAL = (None, "0")
_plain: set[str | None] = {*_USUAL}
"""Sums that have been found sound: those of most calls are nothing, or were seen before."""
