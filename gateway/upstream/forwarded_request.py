"""A request that the gateway forwards to a provider as it is: any method, any body."""

from collections.abc import AsyncIterator, Mapping

import msgspec

_METHODS_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})


class ForwardedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request to a provider, without the provider's own headers and credential."""

    method: str
    url: str
    """The whole URL, or for a local engine its path."""
    headers: Mapping[str, str] = {}
    """The client's headers that the provider may see, with names in lower case."""
    body: bytes | AsyncIterator[bytes] | None = None
    """The body; an iterator's bytes are sent as they arrive."""
    length: int | None = None
    """The number of bytes of an iterator; None sends them in the chunked coding."""

    @property
    def is_repeatable(self) -> bool:
        """True if the gateway has the whole body, and can send it again."""
        return self.body is None or isinstance(self.body, bytes)

    def list_framing(self) -> list[tuple[str, str]]:
        """Return the header that says where the body ends; none if there is no body."""
        if self.body is None:
            return [("content-length", "0")] if self.method in _METHODS_WITH_BODY else []
        length = len(self.body) if isinstance(self.body, bytes) else self.length
        if length is None:
            return [("transfer-encoding", "chunked")]
        return [("content-length", str(length))]
