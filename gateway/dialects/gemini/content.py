"""Names as Google's JSON has them: each in camelCase, or in snake_case as its protos are written.

Google reads both, and one object where a list is meant; clients send all of these.
"""

import functools
import re
from typing import Any

from gateway.core.jsonio import Json

type Object = dict[str, Any]

_UPPER = re.compile(r"(?<!^)(?=[A-Z])")


@functools.cache
def snake(name: str) -> str:
    """A name in snake_case."""
    return _UPPER.sub("_", name).lower()


@functools.lru_cache(4096)
def camel(name: str) -> str:
    """A name in camelCase; names that clients make up are forgotten again."""
    first, *more = name.split("_")
    return first + "".join(word[:1].upper() + word[1:] for word in more)


def get(value: Object, name: str) -> Json:
    """A member by its name in camelCase, however it is spelled."""
    found = value.get(name)
    return value.get(snake(name)) if found is None else found


def spelled(value: Object, name: str) -> str:
    """How an object spells a name; as in camelCase where it has no such member."""
    other = snake(name)
    return other if other in value and name not in value else name


def group(value: Json, name: str) -> Object:
    """A member that is an object; an empty one where it is none."""
    found = get(value, name) if isinstance(value, dict) else None
    return found if isinstance(found, dict) else {}


def rows(value: Json) -> list[Object]:
    """Objects of a list, or one that stands for a list of one."""
    if isinstance(value, dict):
        return [value]
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []


def texts(content: Json) -> list[str]:
    """The texts of a content."""
    parts = rows(content.get("parts")) if isinstance(content, dict) else ()
    return [said for part in parts if isinstance(said := part.get("text"), str)]


def text(value: Json) -> str | None:
    """A string; None where it is none."""
    return value if isinstance(value, str) else None


def whole(value: Json) -> int | None:
    """A whole number, also where it is written as 8.0 or "8", as protos may be."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str) and value.lstrip("-").isdecimal() and len(value) < 20:
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) else None


def number(value: Json) -> float | None:
    """A number; None where it is none."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
