"""What one frame of an answer says, in pieces that can be compared with those of another answer."""

import msgspec

from gateway.core.jsonio import Json

type Object = dict[str, Json]


class Piece(msgspec.Struct, frozen=True):
    """One thing that a frame says: a stretch of some text, or what comes at once."""

    key: tuple[Json, ...]
    """What it is and where; of what comes at once, all that it says but its ids."""
    text: str | None = None
    """Of a text, the stretch; those of one key that follow one another are one text."""
    ids: tuple[Json, ...] = ()
    """Its names, which another answer has in the same order and others in their place."""
    places: tuple[tuple[Object, str], ...] = ()
    """Where in the frame it stands, object and member; of a text, one place."""


class Said(msgspec.Struct, frozen=True):
    """One frame."""

    pieces: tuple[Piece, ...] = ()
    head: bool = False
    """It begins an answer: one that was shown has begun."""
    parts: tuple[list[Json], ...] = ()
    """Lists of objects that hold pieces: one that holds nothing more goes from it."""
    stays: bool = False
    """It tells usage too: it is told again although all of its pieces were."""


HEAD = Said(head=True)


def group(value: Json, name: str) -> Object:
    """An object within another; empty where there is none."""
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, dict) else {}


def rows(value: Json) -> list[Object]:
    """The objects of a list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def bare(value: Object, *names: str) -> Object:
    """An object without some of its members."""
    return {name: item for name, item in value.items() if name not in names}
