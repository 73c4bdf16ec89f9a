"""JSON that is valid but means something else: any value in place of any other.

The same every time.
"""

import random
from collections.abc import Iterator
from typing import Any

_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 1.5, -0.0, 1e308, 2**31, 2**53 + 1, 2**63, -(2**63), "", "a", "auto", "\0", "\n", "1", "null",
    [], {}, [[]], [{}], [None], {"": {}}, {"type": "text"}, {"type": "text", "text": 1}, {"role": "user"}, ["a", 1, None],
    {"type": "image_url", "image_url": 1}, {"type": "tool_use", "input": []}, {"functionCall": []}, {"error": "x"}, "x" * 5000,
    {"a": {"a": {"a": {"a": []}}}}, [[[[[[]]]]]], {"type": []}, {"content": {"content": []}}, "data:image/png;base64,AAAA",
    "data:,", "http://[", {"url": None}, {"parts": 1}, {"index": -1}, {"index": 2**40}, {"index": "0"},
)  # fmt: skip


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each container, with the name or the index of an item in it."""
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for at, inner in items:
        yield value, at
        yield from places(inner)


def changed(value: Any, chance: random.Random) -> Any:
    """Return a copy with one to three items replaced, removed, doubled or moved."""
    copy = _copy(value)
    for _ in range(chance.choice((1, 1, 2, 3))):
        found_places = list(places(copy))
        if not found_places:
            return chance.choice(_VALUES)
        container, at = chance.choice(found_places)
        kind = chance.random()
        if kind < 0.6:
            container[at] = _copy(chance.choice(_VALUES))
        elif kind < 0.75:
            del container[at]
        elif kind < 0.9:
            other_container, place = chance.choice(found_places)
            container[at] = (
                _copy(other_container[place]) if place in _names(other_container) else None
            )
        elif isinstance(container, list):
            container.insert(at, _copy(container[at]))
        else:
            container[f"{at}_"] = container.pop(at)
    return copy


def _names(container: Any) -> Any:
    return container if isinstance(container, dict) else range(len(container))


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _copy(inner) for name, inner in value.items()}
    return [_copy(inner) for inner in value] if isinstance(value, list) else value
