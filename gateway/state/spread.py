"""State in Sentinel's primary or in a Cluster, over one connection to each server."""

from collections.abc import Callable

from gateway.state import Store
from gateway.state.address import read
from gateway.state.server import Away, Server
from gateway.state.wire import request

PREFIX = b"tiergate:"
_MOST = 8 * 1024 * 1024
"""Bytes of the longest value: another one was put there by somebody else, and is not fetched."""


class Spread(Server):
    """A Store."""

    async def get(self, key: str) -> bytes | None:
        """The value of a key; None within the deadline where it does not answer."""
        name = PREFIX + key.encode()
        try:
            value = await self.ask(name, request(b"GETRANGE", name, b"0", b"%d" % _MOST))
        except Away:
            return None
        return value if isinstance(value, bytes) and 0 < len(value) <= _MOST else None

    async def put(self, key: str, value: bytes, ttl: float) -> None:
        """Keep a value; not at all where that cannot be done within the deadline."""
        if ttl <= 0 or len(value) > _MOST:
            return
        name, milliseconds = PREFIX + key.encode(), b"%d" % max(1, int(ttl * 1000))
        try:
            await self.ask(name, request(b"SET", name, value, b"PX", milliseconds))
        except Away:
            return


def open_store(url: str, *, note: Callable[[str], None], clock: Callable[[], float]) -> Store:
    """The Store of a URL. Raises ValueError for one that cannot be used."""
    if read(url).kind != "single":
        return Spread(url, note=note, clock=clock)
    from gateway.state.redis import Redis  # noqa: PLC0415 - takes 0.2 s, few need it

    return Redis(url, note=note, clock=clock)
