"""Names of servers looked up once for all who wait, however silent the name server is."""

import asyncio
import socket
from ipaddress import ip_address


def is_address(host: str) -> bool:
    """Whether a host needs no lookup."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


class NameLookup:
    """Lookups in flight.

    A name server that is silent holds a thread for each lookup, for longer than anybody waits,
    and the provider's name is looked up by the same few threads.
    """

    def __init__(self) -> None:
        self._lookups: dict[str, asyncio.Future[list[str]]] = {}

    async def find(self, host: str) -> list[str]:
        """The addresses of a host, at least one. Raises OSError."""
        if is_address(host):
            return [host]
        lookup = self._lookups.get(host)
        if lookup is None:
            lookup = asyncio.ensure_future(_look_up(host))
            self._lookups[host] = lookup
            lookup.add_done_callback(lambda done: self._done(host, done))
        return await asyncio.shield(lookup)

    def close(self) -> None:
        """Wait for no name any more."""
        for lookup in self._lookups.values():
            lookup.cancel()

    def _done(self, host: str, lookup: asyncio.Future[list[str]]) -> None:
        del self._lookups[host]
        if not lookup.cancelled():
            lookup.exception()  # nobody may wait for it any more


async def _look_up(host: str) -> list[str]:
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(place[0]) for *_, place in found))
