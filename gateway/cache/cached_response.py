"""A stored answer as a value: its bytes, its origin, and how the gateway sends it again."""

import msgspec

from gateway.cache.codec import VersionedCodec
from gateway.core import json_size
from gateway.core.usage import Usage
from gateway.dialects import Dialect


class CachedResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A complete answer, as the gateway sent it to the client that paid for it."""

    dialect: str
    stream: bool
    """True if `body` is the frames of a stream; otherwise it is one whole answer."""
    body: bytes
    """The provider's own bytes. A stream has no usage that only the gateway asked for."""
    with_usage: bool = True
    """True if the client asked for usage in its stream."""
    usage: Usage | None
    served: str | None
    """The model that the provider says answered."""
    finish: str | None
    """The finish reason, in the provider's own word."""
    dropped: tuple[str, ...] = ()
    """Parts that the client did not get, by the provider's names."""
    provider: str
    account: str | None
    model: str
    """The model that the gateway called."""
    tier: str
    lab: str
    created: float
    """Seconds since the epoch."""


_CODEC = VersionedCodec(CachedResponse)


write = _CODEC.write
"""Write a stored answer as bytes that `read` accepts."""
read = _CODEC.read
"""Read a stored answer from bytes. Return None for another version and for any other bytes."""


def render_answer(
    cached: CachedResponse, dialect: Dialect, *, stream: bool, with_usage: bool
) -> bytes | None:
    """Return a stored answer as a stream or whole; verbatim if it was stored in that form.

    `with_usage` is True if the client asks for usage in a stream (stream_options). A whole answer
    always has usage. None is a miss: another dialect, or bytes that have no other form, or with
    too many values to make it.
    """
    if cached.dialect != dialect.name:
        return None
    body = cached.body
    if stream != cached.stream and json_size.exceeds(body, json_size.MAX_VALUES):
        return None  # the other form would take too much work
    try:
        if stream and cached.stream:
            usage = cached.usage
            if with_usage:
                return dialect.add_usage(body, usage)
            return dialect.remove_usage(body) if cached.with_usage else body
        if stream:
            return dialect.unfold(body, with_usage)
        if cached.stream:
            return dialect.fill_usage(dialect.fold(body), cached.usage)
        return body
    except (ValueError, TypeError, AttributeError, LookupError):
        # No answer has this shape: the gateway cannot convert it to the other form.
        return None
