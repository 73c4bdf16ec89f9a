"""Losses: parts of a request or an answer that the other side does not get. Each has a name."""

from collections.abc import Iterable
from typing import Literal

import msgspec


class Loss(msgspec.Struct, frozen=True):
    """One field of a request that the target did not get as the client wrote it.

    Or one part of an answer that the client did not get.
    """

    field: str
    """The client's own name of it, e.g. "temperature"; of an answer's part, the provider's name."""
    action: Literal["dropped", "approximated", "clamped"]
    reason: str


_MAX_NAMES, _MAX_NAME_CHARS = 32, 64
"""Names in a header, and characters of one: others choose both, and clients must still read it."""
_ANSWER_REASON = "the client's dialect has no place for it"


def format_dropped_header(losses: tuple[Loss, ...]) -> str:
    """The value of the response header x-tiergate-dropped."""
    return _join_names(loss.field for loss in losses)


def make_answer_losses(names: Iterable[str]) -> tuple[Loss, ...]:
    """Return the losses of an answer, by the provider's names of its parts."""
    return tuple(
        Loss(name[:_MAX_NAME_CHARS], "dropped", _ANSWER_REASON) for name in [*names][:_MAX_NAMES]
    )


def write_dropped_comment(names: Iterable[str]) -> bytes:
    """Return the comment that names, after the end of a stream, what the client did not get."""
    text = _join_names(names).encode("ascii", "replace")
    return b": tiergate dropped: %b\n\n" % bytes(c if 32 <= c < 127 else 63 for c in text)


def _join_names(names: Iterable[str]) -> str:
    fields = [*dict.fromkeys(names)]
    shortened = [
        field if len(field) <= _MAX_NAME_CHARS else f"{field[:_MAX_NAME_CHARS]}..."
        for field in fields[:_MAX_NAMES]
    ]
    suffix = [f"{len(fields) - _MAX_NAMES} more"] if len(fields) > _MAX_NAMES else []
    return ", ".join([*shortened, *suffix])
