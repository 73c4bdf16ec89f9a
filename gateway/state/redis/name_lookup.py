"""Lookups of server names, one at a time for each name, even if the name server is silent."""

import asyncio
from ipaddress import ip_address
from socket import SOCK_STREAM
from typing import Any


class NameLookup:
    """Running lookups of names, each shared by all callers that wait for it.

    A silent name server blocks one thread for each lookup, for longer than any caller waits. The
    same few threads look up the names of providers.
    """

    def __init__(self) -> None:
        self._lookups: dict[str, asyncio.Future[Any]] = {}

    async def find(self, name: str) -> None:
        """Wait until a name is known, so that a connection need not wait for it. Raises OSError."""
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
        """Cancel all lookups."""
        for lookup in self._lookups.values():
            lookup.cancel()

    def _forget(self, name: str, lookup: asyncio.Future[Any]) -> None:
        del self._lookups[name]
        if not lookup.cancelled():
            lookup.exception()  # read it, as perhaps no caller waits any more


def _is_ip_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
