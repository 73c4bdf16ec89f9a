"""Shapes of JSON: a provider takes exactly these members, and anything else is wrong."""

from collections.abc import Callable, Mapping
from typing import Any

type Json = Any
type Shape = Callable[[Json, str], None]
"""Checks a value at a place. Raises Wrong."""


class Wrong(Exception):
    """A request that the provider refuses."""


def need(true: object, at: str, what: str) -> None:
    if not true:
        raise Wrong(f"{at}: {what}")


def of(*kinds: type) -> Shape:
    """Accept a value of these types; True is no number."""

    def check(value: Json, at: str) -> None:
        need(isinstance(value, kinds), at, f"{value!r:.80} is not {kinds}")
        need(bool in kinds or not isinstance(value, bool), at, f"{value!r} is not {kinds}")

    return check


TEXT, FLAG, WHOLE, NUMBER, ANY = of(str), of(bool), of(int), of(int, float), of(object, bool)
OBJECT = of(dict)


def filled(value: Json, at: str) -> None:
    """Accept text that is not blank."""
    TEXT(value, at)
    need(value.strip(), at, "is blank")


def word(*words: str | None) -> Shape:
    def check(value: Json, at: str) -> None:
        need(value in words, at, f"{value!r:.80} is none of {words}")

    return check


def listed(shape: Shape, least: int = 0) -> Shape:
    def check(value: Json, at: str) -> None:
        of(list)(value, at)
        need(len(value) >= least, at, f"has less than {least}")
        for number, item in enumerate(value):
            shape(item, f"{at}.{number}")

    return check


def record(needed: Mapping[str, Shape], more: Mapping[str, Shape] | None = None) -> Shape:
    """Accept an object with these members and no others."""
    more = more or {}

    def check(value: Json, at: str) -> None:
        OBJECT(value, at)
        for name in needed:
            need(name in value, at, f"lacks {name}")
        for name, inner in value.items():
            shape = needed.get(name) or more.get(name)
            need(shape is not None, f"{at}.{name}", "Unknown member")
            if shape is not None:
                shape(inner, f"{at}.{name}")

    return check


def by(member: str, shapes: Mapping[str | None, Shape]) -> Shape:
    """Accept an object whose shape depends on one of its members."""

    def check(value: Json, at: str) -> None:
        OBJECT(value, at)
        name = value.get(member)
        need(
            name in shapes, f"{at}.{member}", f"{name!r:.80} is none of {sorted(map(str, shapes))}"
        )
        shapes[name](value, at)

    return check


def either(*shapes: Shape) -> Shape:
    """Accept the first shape that fits; if none fits, raise the error of the last."""

    def check(value: Json, at: str) -> None:
        for shape in shapes[:-1]:
            try:
                shape(value, at)
            except Wrong:
                continue
            return
        shapes[-1](value, at)

    return check
