"""What could not be said to a target: always named, never silent."""

from typing import Literal

import msgspec


class Loss(msgspec.Struct, frozen=True):
    """One field of a request that the target did not get as the client wrote it."""

    field: str
    """The client's own name of it, e.g. "temperature"."""
    action: Literal["dropped", "approximated", "clamped"]
    why: str


def names(losses: tuple[Loss, ...]) -> str:
    """The value of the response header x-tiergate-dropped."""
    return ", ".join(dict.fromkeys(loss.field for loss in losses))
