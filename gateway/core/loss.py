"""What could not be said to a target: always named, never silent."""

from typing import Literal

import msgspec


class Loss(msgspec.Struct, frozen=True):
    """One field of a request that the target did not get as the client wrote it."""

    field: str
    """The client's own name of it, e.g. "temperature"."""
    action: Literal["dropped", "approximated", "clamped"]
    reason: str


_MAX_NAMES, _MAX_NAME_CHARS = 32, 64
"""Names in a header, and characters of one: clients choose both, and must still read the answer."""


def format_dropped_header(losses: tuple[Loss, ...]) -> str:
    """The value of the response header x-tiergate-dropped."""
    fields = [*dict.fromkeys(loss.field for loss in losses)]
    shortened = [
        field if len(field) <= _MAX_NAME_CHARS else f"{field[:_MAX_NAME_CHARS]}..."
        for field in fields[:_MAX_NAMES]
    ]
    suffix = [f"{len(fields) - _MAX_NAMES} more"] if len(fields) > _MAX_NAMES else []
    return ", ".join([*shortened, *suffix])
