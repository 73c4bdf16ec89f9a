"""Parsers for LiteLLM's references to variables, its amounts and its prices."""

import re
from decimal import Decimal, InvalidOperation

_REFERENCE_PREFIX = "os.environ/"
VARIABLE_NAME_PATTERN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MILLION = Decimal(1_000_000)


def parse_reference(value: object) -> str | None:
    """Return the environment variable that a value refers to; None if it refers to none."""
    if isinstance(value, str) and value.startswith(_REFERENCE_PREFIX):
        name = value.removeprefix(_REFERENCE_PREFIX)
        return name if VARIABLE_NAME_PATTERN.fullmatch(name) else None
    return None


def parse_price(value: object) -> float | None:
    """Return a price in USD per million tokens, from USD per token.

    None if the value is no number, or if the price is below 0, or 1,000,000 USD or more.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        amount = Decimal(str(value)) * _MILLION
    except InvalidOperation:
        return None
    return float(round(amount, 6)) if amount.is_finite() and 0 <= amount < 10**6 else None


def parse_usd(value: object) -> float | None:
    """Return an amount in USD, to the micro-dollar.

    None if the value is no number, or if it is below 0, or 1,000,000,000 USD or more.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        amount = float(value)
    except ValueError:
        return None
    return round(amount, 6) if 0 <= amount < 10**9 else None
