"""What a condition means, apart from how it is written: by its hash outcomes are known again."""

import hashlib

from gateway.core import jsonio
from gateway.settings.schema.rules import RangePart, WhenPart
from gateway.settings.schema.schedule import TimePart

_GROUPS = ("any", "all", "not_")


def digest(when: WhenPart) -> str:
    """The hash of a condition, 16 hexadecimal digits; the same hash is the same meaning.

    Neither the name of a rule nor its effect counts, nor the order of words, names and conditions,
    nor a group of one, a condition that is written twice or a range with no end.
    """
    return hashlib.blake2b(_every(when).encode(), digest_size=8).hexdigest()


def _every(when: WhenPart) -> str:
    return _joined("all", _items(when))


def _items(when: WhenPart) -> set[str]:
    """What must hold together, each in its one form."""
    found = {f"{name}={form}" for name in WhenPart.model_fields if (form := _form(when, name))}
    for part in when.all or ():
        found |= _items(part)
    if when.any is not None:
        found.add(_joined("any", {_every(part) for part in when.any}))
    if when.not_ is not None:
        inner = _every(when.not_)
        twice = inner.startswith("not(")
        found.add(inner[len("not(") : -1] if twice else f"not({inner})")
    return found


def _joined(word: str, items: set[str]) -> str:
    return next(iter(items)) if len(items) == 1 else f"{word}({','.join(sorted(items))})"


def _form(when: WhenPart, name: str) -> str:
    value: object = getattr(when, name)
    if name in _GROUPS or value is None or value == RangePart():
        return ""
    if name == "keywords":
        value = [" ".join(word.split()) for word in when.keywords or ()]
    if isinstance(value, list):
        value = sorted(set(value))
    elif isinstance(value, RangePart):
        value = [value.min, value.max]
    elif isinstance(value, TimePart):
        value = [*sorted(set(value.spans)), value.zone]
    return jsonio.dumps(value).decode()
