"""What could not be said to a target: always named, never silent."""

from typing import Literal

import msgspec


class Loss(msgspec.Struct, frozen=True):
    """One field of a request that the target did not get as the client wrote it."""

    field: str
    """The client's own name of it, e.g. "temperature"."""
    action: Literal["dropped", "approximated", "clamped"]
    why: str


_NAMES, _LONG = 32, 64
"""Names in a header, and characters of one: clients choose both, and must still read the answer."""


def names(losses: tuple[Loss, ...]) -> str:
    """The value of the response header x-tiergate-dropped."""
    found = [*dict.fromkeys(loss.field for loss in losses)]
    told = [one if len(one) <= _LONG else f"{one[:_LONG]}..." for one in found[:_NAMES]]
    more = [f"{len(found) - _NAMES} more"] if len(found) > _NAMES else []
    return ", ".join([*told, *more])
