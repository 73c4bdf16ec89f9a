"""How LiteLLM writes references, amounts and prices."""

import re
from decimal import Decimal, InvalidOperation

_REFERENCE_PREFIX = "os.environ/"
VARIABLE_NAME_PATTERN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MILLION = Decimal(1_000_000)


def parse_reference(value: object) -> str | None:
    """The variable that a value is read from."""
    if isinstance(value, str) and value.startswith(_REFERENCE_PREFIX):
        name = value.removeprefix(_REFERENCE_PREFIX)
        return name if VARIABLE_NAME_PATTERN.fullmatch(name) else None
    return None


def parse_price(value: object) -> float | None:
    """USD per million tokens of USD per token."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        amount = Decimal(str(value)) * _MILLION
    except InvalidOperation:
        return None
    return float(round(amount, 6)) if amount.is_finite() and 0 <= amount < 10**6 else None


def parse_usd(value: object) -> float | None:
    """An amount, to the micro-dollar."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        amount = float(value)
    except ValueError:
        return None
    return round(amount, 6) if 0 <= amount < 10**9 else None
