"""Names of servers, each looked up once for all who wait, however silent the name server is."""

import asyncio
from ipaddress import ip_address
from socket import SOCK_STREAM
from typing import Any


class NameLookup:
    """Lookups of names under way, each for all who wait for it.

    A name server that is silent holds a thread for each lookup, for longer than anybody waits,
    and the provider's name is looked up by the same few threads.
    """

    def __init__(self) -> None:
        self._lookups: dict[str, asyncio.Future[Any]] = {}

    async def find(self, name: str) -> None:
        """Wait until a name is known: then the library need not wait for it. Raises OSError."""
        if _is_ip_address(name):
            return
        lookup = self._lookups.get(name)
        if lookup is None:
            loop = asyncio.get_running_loop()
            lookup = asyncio.ensure_future(loop.getaddrinfo(name, None, type=SOCK_STREAM))
            self._lookups[name] = lookup
            lookup.add_done_callback(lambda ended_lookup: self._forget(name, ended_lookup))
        await asyncio.shield(lookup)

    def close(self) -> None:
        """Wait for no name any more."""
        for lookup in self._lookups.values():
            lookup.cancel()

    def _forget(self, name: str, lookup: asyncio.Future[Any]) -> None:
        del self._lookups[name]
        if not lookup.cancelled():
            lookup.exception()  # nobody may wait for it any more


def _is_ip_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
