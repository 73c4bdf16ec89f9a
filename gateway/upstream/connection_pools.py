"""The connections to providers, which outlive a configuration."""

from collections.abc import Callable, Iterable

import httpx

from gateway.core.target import Provider
from gateway.upstream.http1 import Http1Transport
from gateway.upstream.http1.httpx_transport import create_httpx_transport
from gateway.upstream.write_batch import WriteBatch

type Transports = Callable[[Provider], httpx.AsyncBaseTransport]
"""A function that returns the transport of a provider."""


class ConnectionPools:
    """The connections to providers, which outlive a configuration: a transport for each kind.

    One transport of the gateway's own serves all providers, and one more serves each proxy. A
    provider that asks for a stock transport, or has a SOCKS proxy, gets one for itself: the limit
    of a stock transport is for all hosts. If `transports` is given, it makes one for each provider.
    """

    def __init__(
        self, transports: Transports | None = None, write_batch: WriteBatch | None = None
    ) -> None:
        self._transports = transports
        self._write_batch = write_batch
        self._transports_by_kind: dict[tuple[str | None, ...], httpx.AsyncBaseTransport] = {}

    def __call__(self, provider: Provider) -> httpx.AsyncBaseTransport:
        """Return the transport of a provider."""
        kind = self._get_kind(provider)
        transport = self._transports_by_kind.get(kind)
        if transport is None:
            transport = self._transports_by_kind[kind] = self._create_transport(provider)
        return transport

    async def close_unused(self, providers: Iterable[Provider]) -> None:
        """Close the transports that none of these providers uses."""
        used_kinds = {self._get_kind(item) for item in providers}
        for kind in [item for item in self._transports_by_kind if item not in used_kinds]:
            await self._transports_by_kind.pop(kind).aclose()

    async def close(self) -> None:
        """Close every transport."""
        await self.close_unused(())

    def _get_kind(self, provider: Provider) -> tuple[str | None, ...]:
        proxy = provider.proxy  # never from the environment: that was set for another program
        if self._transports is not None:
            return (provider.name,)
        if provider.transport == "stock" or (proxy or "").startswith("socks"):
            return (provider.name, proxy)
        return (None, proxy)

    def _create_transport(self, provider: Provider) -> httpx.AsyncBaseTransport:
        if self._transports is not None:
            return self._transports(provider)
        if self._get_kind(provider)[0] is not None:
            return create_httpx_transport(proxy=provider.proxy)
        return Http1Transport(proxy=provider.proxy, write_batch=self._write_batch)
