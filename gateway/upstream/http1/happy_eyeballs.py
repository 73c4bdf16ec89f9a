"""Connect a socket to the first of a host's addresses that answers, raced as RFC 8305 says."""

import asyncio
import itertools
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from gateway.upstream.http1.connection import Loop

_HEAD_START_SECONDS = 0.25
"""Seconds that one address has before the next is tried beside it (RFC 8305, section 5)."""

type Address = tuple[int, tuple[Any, ...]]
"""Family and socket address, as socket.connect takes it."""
type Attempt = Callable[[Loop, Address], Awaitable[socket.socket]]


type _AddressInfos = Sequence[tuple[Any, ...]]
_lookups: dict[tuple[Loop, str, int], asyncio.Task[_AddressInfos]] = {}


async def connect(loop: Loop, host: str, port: int) -> socket.socket:
    """Return a socket connected to a host. Raises OSError."""
    address_infos = await _resolve(loop, host, port)
    addresses = interleave_families(
        (family, socket_address) for family, _, _, _, socket_address in address_infos
    )
    if len(addresses) == 1:
        return await connect_address(loop, addresses[0])
    return await race(loop, addresses)


async def _resolve(loop: Loop, host: str, port: int) -> _AddressInfos:
    """Return the resolver's answer for a host. Raises OSError.

    Callers that ask during a lookup wait for the same answer. The resolver has a few threads, and
    each question that a name server leaves open holds one for seconds, even if nobody waits any
    more.
    """
    lookup = _lookups.get((loop, host, port))
    if lookup is None:
        lookup = asyncio.ensure_future(loop.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        _lookups[loop, host, port] = lookup
        lookup.add_done_callback(lambda task: _forget_lookup(task, (loop, host, port)))
    await asyncio.wait([lookup])
    try:
        return lookup.result()
    finally:
        del lookup  # it holds the raised error, which refers to this frame


def _forget_lookup(task: asyncio.Task[_AddressInfos], key: tuple[Loop, str, int]) -> None:
    del _lookups[key]
    if not task.cancelled():
        task.exception()  # read the error, even if nobody waits any more


def interleave_families(addresses: Iterable[Address]) -> list[Address]:
    """Return addresses with their families in turn, in the order of the resolver."""
    groups: dict[int, list[Address]] = {}
    for address in addresses:
        groups.setdefault(address[0], []).append(address)
    rounds = itertools.zip_longest(*groups.values())
    return [
        address for round_addresses in rounds for address in round_addresses if address is not None
    ]


async def connect_address(loop: Loop, address: Address) -> socket.socket:
    """Return a socket connected to one address. Raises OSError."""
    family, socket_address = address
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)  # noqa: FBT003 - takes no name
        _keep_alive(sock)
        await loop.sock_connect(sock, socket_address)
    except BaseException:
        sock.close()
        raise
    return sock


async def race(
    loop: Loop,
    addresses: list[Address],
    *,
    attempt: Attempt = connect_address,
    head_start: float = _HEAD_START_SECONDS,
) -> socket.socket:
    """Return the first socket that connects, and close the others. Raises the last OSError."""
    tasks: set[asyncio.Future[socket.socket]] = set()
    pending_addresses = list(addresses)
    errors: list[BaseException] = [OSError("no address")]
    try:
        while pending_addresses or tasks:
            if pending_addresses:
                tasks.add(asyncio.ensure_future(attempt(loop, pending_addresses.pop(0))))
            timeout = head_start if pending_addresses else None
            await asyncio.wait(tasks, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            if (sock := _take_connected(tasks, errors)) is not None:
                return sock
        raise errors.pop()  # removed, since the raised error refers to this frame
    finally:
        for task in tasks:
            task.cancel()
            task.add_done_callback(_discard)


def _take_connected(
    tasks: set[asyncio.Future[socket.socket]], errors: list[BaseException]
) -> socket.socket | None:
    """Return a connected socket of the finished attempts; add the others' errors to `errors`."""
    for task in [future for future in tasks if future.done()]:
        tasks.remove(task)
        error = task.exception()
        if error is None:
            return task.result()
        errors.append(error)
    return None


def _discard(task: asyncio.Future[socket.socket]) -> None:
    """Close the socket of an attempt that lost the race and still connected."""
    if not task.cancelled() and task.exception() is None:
        task.result().close()


def _keep_alive(sock: socket.socket) -> None:
    """Let the kernel notice a vanished peer: a probe each minute, as the SDKs do.

    Also send small writes at once (TCP_NODELAY).
    """
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 60), ("TCP_KEEPCNT", 5)):
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
