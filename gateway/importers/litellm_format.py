"""How LiteLLM writes references, amounts and prices."""

import re
from decimal import Decimal, InvalidOperation

_REFERS = "os.environ/"
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MILLION = Decimal(1_000_000)


def reference(value: object) -> str | None:
    """The variable that a value is read from."""
    if isinstance(value, str) and value.startswith(_REFERS):
        name = value.removeprefix(_REFERS)
        return name if NAME.fullmatch(name) else None
    return None


def price(value: object) -> float | None:
    """USD per million tokens of USD per token."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = Decimal(str(value)) * _MILLION
    except InvalidOperation:
        return None
    return float(round(found, 6)) if found.is_finite() and 0 <= found < 10**6 else None


def usd(value: object) -> float | None:
    """An amount, to the micro-dollar."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = float(value)
    except ValueError:
        return None
    return round(found, 6) if 0 <= found < 10**9 else None
