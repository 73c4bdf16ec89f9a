"""A stored answer as a value: what a provider sent, who made it, and how it is told again."""

import msgspec

from gateway.cache.codec import VersionedCodec
from gateway.core.usage import Usage
from gateway.dialects import Dialect


class CachedResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A complete answer, as it went to the client that paid for it."""

    dialect: str
    stream: bool
    """Whether `body` is frames; else it is one whole answer."""
    body: bytes
    """The provider's own bytes; of a stream, without usage that the gateway alone asked for."""
    with_usage: bool = True
    """True if its client asked for usage in its stream."""
    usage: Usage | None
    served: str | None
    """The model that the provider says answered."""
    finish: str | None
    """The provider's own word for why it stopped."""
    dropped: tuple[str, ...] = ()
    """Parts that its client did not get, by the provider's names."""
    provider: str
    account: str | None
    model: str
    """The model that was called."""
    tier: str
    lab: str
    created: float
    """Seconds since the epoch."""


_CODEC = VersionedCodec(CachedResponse)


write = _CODEC.write
"""Write a recording as bytes that `read` takes."""
read = _CODEC.read
"""Read the recording that bytes hold; None for those of another version and for anything else."""


def render_answer(
    cached: CachedResponse, dialect: Dialect, *, stream: bool, with_usage: bool
) -> bytes | None:
    """Tell a recording again, streamed or whole; verbatim where it was recorded like that.

    `with_usage` is what a stream's client asked for (stream_options); a whole answer always tells
    usage. None is a miss: another dialect, or bytes that cannot be told in the other form.
    """
    if cached.dialect != dialect.name:
        return None
    body = cached.body
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
        # Objects of a shape that no answer has: they can be told no other way than they came.
        return None
