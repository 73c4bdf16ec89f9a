"""JSON values of one type: dialects read members that may hold anything."""

from gateway.core.jsonio import Json


def as_text(value: Json) -> str | None:
    """Return a string; None for any other value."""
    return value if isinstance(value, str) else None


def read_text(value: Json) -> str:
    """Return a string; empty for any other value."""
    return value if isinstance(value, str) else ""


def as_number(value: Json) -> float | None:
    """Return a number; None for any other value."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def as_whole_number(value: Json) -> int | None:
    """Return a whole number; None for any other value."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None
