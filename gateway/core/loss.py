"""Losses: named parts of a request or an answer that the other side does not get."""

from collections.abc import Iterable
from typing import Literal

import msgspec

LOG_PROBS = "logprobs"
"""The name for the log probabilities of an answer that has too many of them."""


class Loss(msgspec.Struct, frozen=True):
    """One field of a request that the target did not get as the client wrote it.

    It may also be one part of an answer that the client did not get.
    """

    field: str
    """The client's own name for it, e.g. "temperature"; for an answer, the provider's name."""
    action: Literal["dropped", "approximated", "clamped"]
    reason: str


_MAX_NAMES, _MAX_NAME_CHARS = 32, 64
"""The most names in a header, and the most characters of a name.

Others choose both, and clients must still be able to read the header.
"""
_ANSWER_REASON = "the client's dialect has no place for it"
_ANSWER_REASONS = {LOG_PROBS: "the answer has too many values to translate them"}


def format_dropped_header(losses: tuple[Loss, ...]) -> str:
    """Return the value of the response header x-tiergate-dropped."""
    return _join_names(loss.field for loss in losses)


def make_answer_losses(names: Iterable[str]) -> tuple[Loss, ...]:
    """Return the losses of an answer, from the provider's names for its parts."""
    return tuple(
        Loss(name[:_MAX_NAME_CHARS], "dropped", _ANSWER_REASONS.get(name, _ANSWER_REASON))
        for name in [*names][:_MAX_NAMES]
    )


def write_dropped_comment(names: Iterable[str]) -> bytes:
    """Return the comment that follows a stream and names what the client did not get."""
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
