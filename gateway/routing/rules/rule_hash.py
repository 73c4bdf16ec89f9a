"""The meaning of a condition, apart from how it is written, as a hash for outcomes in rows."""

import hashlib

from gateway.core import jsonio
from gateway.settings.schema.rules import RangePart, WhenPart
from gateway.settings.schema.schedule import TimePart

_GROUPS = ("any", "all", "not_")
_KEYWORD_CONDITIONS = ("keywords", "system_keywords")
_UNHASHED = (*_GROUPS, "traffic")
"""Parts that `_format_value` leaves out. Groups have forms of their own. A part of the traffic
depends on the rule's name, not on the call alone."""


def hash_condition(condition: WhenPart) -> str:
    """Return the hash of a condition, 16 hexadecimal digits; the same hash is the same meaning.

    The hash ignores a rule's name, its effect and `traffic`. It also ignores the order of words,
    names and conditions, a group of one, a condition that stands twice, and a range without ends.
    """
    return hashlib.blake2b(_normalize(condition).encode(), digest_size=8).hexdigest()


def _normalize(condition: WhenPart) -> str:
    return _join_items("all", _normalize_items(condition))


def _normalize_items(condition: WhenPart) -> set[str]:
    """Return the conditions that must hold together, each in its normal form."""
    items = {
        f"{name}={form}"
        for name in WhenPart.model_fields
        if (form := _format_value(condition, name))
    }
    for child in condition.all or ():
        items |= _normalize_items(child)
    if condition.any is not None:
        items.add(_join_items("any", {_normalize(child) for child in condition.any}))
    if condition.not_ is not None:
        negated = _normalize(condition.not_)
        is_double_negation = negated.startswith("not(")
        items.add(negated[len("not(") : -1] if is_double_negation else f"not({negated})")
    return items


def _join_items(operator: str, items: set[str]) -> str:
    return next(iter(items)) if len(items) == 1 else f"{operator}({','.join(sorted(items))})"


def _format_value(condition: WhenPart, name: str) -> str:
    value: object = getattr(condition, name)
    if name in _UNHASHED or value is None or value == RangePart():
        return ""
    if isinstance(value, list) and name in _KEYWORD_CONDITIONS:
        value = [" ".join(word.split()) for word in value]
    if isinstance(value, dict):
        value = [[label, sorted(set(names))] for label, names in sorted(value.items())]
    elif isinstance(value, list):
        value = sorted(set(value))
    elif isinstance(value, RangePart):
        value = [value.min, value.max]
    elif isinstance(value, TimePart):
        value = [*sorted(set(value.week_spans)), value.zone]
    return jsonio.dumps(value).decode()
