"""The way to the server that has a key: the one, Sentinel's primary, or a Cluster's node.

One connection to each, kept open; where it is found anew after each loss.

Names of servers looked up once for all who wait, however silent the name server is.
"""

import asyncio
import binascii
import socket
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from typing import Any, NoReturn, TypeGuard

from gateway.state.errors import BrokenConnection
from gateway.state.redis.connection import (
    RedisConnection,
    RedisError,
    Reply,
    ReplyWaiter,
    request,
    texts,
)
from gateway.state.redis.url import Host, RedisAddress, context


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


_SLOTS = 16384
_HOPS = 5
"""Redirections that one call follows."""
MOVES = ("MOVED", "ASK")
"""First words of redirections, which nodes of a Cluster send."""
_STRANGE = "what answers does not speak its protocol"


class RedisTopology:
    """Asks. `deadline` is seconds for one answer, `connect` those until a connection can be used.

    A way goes on being found when who asked first has left. Raises ValueError where the URL names
    certificates that cannot be read.
    """

    def __init__(self, address: RedisAddress, deadline: float, connect: float) -> None:
        self._address = address
        self._deadline = deadline
        self._connect = connect
        self._tls = context(address)
        self._names = NameLookup()
        self._wires: dict[Host, RedisConnection] = {}
        self._opening: dict[Host, asyncio.Task[RedisConnection]] = {}
        self._locating: asyncio.Task[None] | None = None
        self._primary: Host | None = None
        self._slots: dict[int, Host] = {}
        self._nodes: set[Host] = set()
        self.many = address.kind == "cluster"
        """True if there are several servers, which send requests to one another."""
        self._ways: dict[int, RedisConnection] = {}
        """By slot, where there are several servers."""

    def ask(self, slot: int, data: bytes) -> asyncio.Future[Reply] | None:
        """Send a request on the way that is known and open; None where there is none."""
        wire = self._ways.get(slot if self.many else 0)
        if wire is None:
            return None
        answer = wire.loop.create_future()
        return answer if wire.tell(data, answer) else None

    def tell(self, key: bytes, data: bytes, answer: ReplyWaiter) -> bool:
        """The same on a key, of which `answer` is told; False where there is no such way."""
        wire = self._ways.get(slot_of(key) if self.many else 0)
        return wire is not None and wire.tell(data, answer)

    async def find(self, slot: int, data: bytes) -> Reply:
        """Send a request to its slot; follow redirections. Raises BrokenConnection, OSError."""
        return await self._follow(slot, data, await self._way(slot))

    async def follow(self, slot: int, data: bytes, moved: RedisError) -> Reply:
        """Send a redirected request again. Raises BrokenConnection, OSError."""
        return await self._turn(slot, data, moved)

    def drop(self) -> None:
        """Close every connection and open none; the next call finds its way anew."""
        for task in self._begun():
            task.cancel()
        self._opening, self._locating = {}, None  # nobody joins what is being given up
        self.part()

    def part(self) -> None:
        """Close every open connection; the gateway goes on opening others."""
        wires, self._wires = self._wires, {}
        for wire in wires.values():
            wire.close()
        self._primary = None
        self._slots.clear()
        self._ways.clear()

    def renew(self) -> None:
        """The next call finds its way anew; those that are under way are answered."""
        wires, self._wires = self._wires, {}
        for wire in wires.values():
            wire.retire()
        self._primary = None
        self._slots.clear()
        self._ways.clear()

    async def close(self) -> None:
        """Close every connection, and wait for none."""
        begun = self._begun()
        self.drop()
        self._names.close()
        await asyncio.gather(*begun, return_exceptions=True)

    def _begun(self) -> list[asyncio.Task[Any]]:
        """Return what is under way to find servers, and to open connections."""
        locating = [] if self._locating is None else [self._locating]
        return [*self._opening.values(), *locating]

    async def _follow(self, slot: int, data: bytes, wire: RedisConnection) -> Reply:
        reply = await wire.ask(data)
        if self.moved(reply):
            return await self._turn(slot, data, reply)
        self._ways[slot if self.many else 0] = wire
        return reply

    def moved(self, reply: object) -> TypeGuard[RedisError]:
        """True if an answer is a redirection that is followed: in a Cluster, and nowhere else.

        Another server may not say who gets the password.
        """
        return self.many and type(reply) is RedisError and reply.word in MOVES

    async def _turn(self, slot: int, data: bytes, reply: Reply) -> Reply:
        for _ in range(_HOPS):
            if not self.moved(reply):
                return reply
            _, _, place = reply.text.split(" ", 2)
            host, _, port = place.rpartition(":")
            to = (host.strip("[]"), int(port))
            wire = await self._wire(to)
            if reply.word == "ASK":
                asking = wire.ask(request(b"ASKING"))
                reply = await wire.ask(data)
                await asking
            else:
                self._slots[slot] = to
                self._ways[slot] = wire
                reply = await wire.ask(data)
        raise BrokenConnection("its nodes send calls to one another")

    async def _way(self, slot: int) -> RedisConnection:
        kind = self._address.kind
        if kind == "single":
            return await self._wire(self._address.hosts[0] if self._address.hosts else ("", 0))
        if kind == "sentinel":
            if self._primary is None:
                await self._located()
            return await self._wire(self._primary or _gone())
        if slot not in self._slots:
            await self._located()
        return await self._wire(self._slots.get(slot) or _gone())

    async def _located(self) -> None:
        """Find the servers, once for all who want them. Raises BrokenConnection, OSError."""
        if self._locating is None:
            self._locating = asyncio.create_task(self._locate())
            self._locating.add_done_callback(self._has_located)
        await _joined(self._locating)

    async def _locate(self) -> None:
        async with asyncio.timeout(self._connect):
            if not self.many:
                self._primary = await self._first(self._address.hosts, self._sentinel)
                return
            nodes = dict.fromkeys([*self._address.hosts, *self._nodes])
            self._slots.update(await self._first(list(nodes), self._map))

    def _has_located(self, done: asyncio.Task[None]) -> None:
        if self._locating is done:
            self._locating = None
        if not done.cancelled():
            done.exception()  # nobody may wait for it any more

    async def _first[T](
        self, hosts: Sequence[Host], ask: Callable[[Host], Coroutine[Any, Any, T]]
    ) -> T:
        """What the first of several hosts answers. Raises BrokenConnection where none does."""
        asked = [asyncio.create_task(ask(host)) for host in hosts]
        errors: list[BaseException] = []
        try:
            for done in asyncio.as_completed(asked):
                try:
                    return await done
                except (BrokenConnection, OSError, ValueError) as error:
                    errors.append(error)
        finally:
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
        raise next(
            (one for one in errors if isinstance(one, BrokenConnection)),
            BrokenConnection("no connection"),
        )

    async def _sentinel(self, host: Host) -> Host:
        """Where the primary is, by one sentinel."""
        wire = await self._dial(host, self._address.guard)
        try:
            words = (b"SENTINEL", b"get-master-addr-by-name", self._address.service.encode())
            reply = await wire.ask(request(*words))
        finally:
            wire.close()
        if reply is None:
            raise BrokenConnection("Sentinel does not know the service")
        place, port = texts(reply)
        if not isinstance(place, bytes) or not isinstance(port, bytes):
            raise BrokenConnection(_STRANGE)
        return place.decode(), int(port)

    async def _map(self, host: Host) -> dict[int, Host]:
        """Which node has which slots, by one node."""
        wire = await self._dial(host, (self._address.username, self._address.password))
        try:
            reply = await wire.ask(request(b"CLUSTER", b"SLOTS"))
        finally:
            wire.close()
        if isinstance(reply, RedisError):
            raise BrokenConnection(f"it answers {reply.word}")
        found: dict[int, Host] = {}
        nodes: set[Host] = set()
        for row in texts(reply):
            first, last, *places = texts(row)
            hosts = [_place(place, host) for place in places]
            nodes.update(hosts)
            if not isinstance(first, int) or not isinstance(last, int):
                raise BrokenConnection(_STRANGE)
            found.update(dict.fromkeys(range(first, last + 1), hosts[0]))
        self._nodes = nodes
        return found

    async def _wire(self, host: Host) -> RedisConnection:
        """The connection to a host, opened once for all who want it."""
        wire = self._wires.get(host)
        if wire is not None and wire.open:
            return wire
        opening = self._opening.get(host)
        if opening is None:
            opening = asyncio.create_task(self._open(host))
            self._opening[host] = opening
            opening.add_done_callback(lambda done: self._opened(host, done))
        return await _joined(opening)

    async def _open(self, host: Host) -> RedisConnection:
        address = self._address
        async with asyncio.timeout(self._connect):
            wire = await self._dial(host, (address.username, address.password))
            with _kept(wire):
                if address.db:
                    _accepted(await wire.ask(request(b"SELECT", b"%d" % address.db)))
                if address.kind == "sentinel":
                    role = await wire.ask(request(b"ROLE"))
                    if isinstance(role, list) and role[0] != b"master":
                        raise BrokenConnection("it is no primary any more")
        wire.deadline = self._deadline
        self._wires[host] = wire
        return wire

    def _opened(self, host: Host, opening: asyncio.Task[RedisConnection]) -> None:
        if self._opening.get(host) is opening:
            del self._opening[host]
        if not opening.cancelled():
            opening.exception()  # nobody may wait for it any more

    async def _dial(self, host: Host, login: tuple[str, str]) -> RedisConnection:
        connect = self._connect

        def make() -> RedisConnection:
            return RedisConnection(connect)

        if self._address.path:
            _, wire = await asyncio.get_running_loop().create_unix_connection(
                make, self._address.path
            )
        else:
            wire = await self._reach(host, make)
        with _kept(wire):
            username, password = login
            if password:
                words = [word.encode() for word in (username, password) if word]
                _accepted(await wire.ask(request(b"AUTH", *words)))
        return wire

    async def _reach(self, host: Host, make: Callable[[], RedisConnection]) -> RedisConnection:
        """A connection to the first of a name's addresses that takes one. Raises OSError."""
        loop, name = asyncio.get_running_loop(), host[0] if self._tls else None
        *others, last = await self._names.find(host[0])
        for place in others:
            with suppress(OSError):
                _, wire = await loop.create_connection(
                    make, place, host[1], ssl=self._tls, server_hostname=name
                )
                return wire
        _, wire = await loop.create_connection(
            make, last, host[1], ssl=self._tls, server_hostname=name
        )
        return wire


async def _joined[T](task: asyncio.Task[T]) -> T:
    """Wait for what goes on without its callers. Raises BrokenConnection where it was given up."""
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        if task.cancelled():  # it was not the caller who left
            raise BrokenConnection("no connection") from None
        raise


def _gone() -> NoReturn:
    raise BrokenConnection("no node of it has the keys")


@contextmanager
def _kept(wire: RedisConnection) -> Iterator[None]:
    """Closes a connection that fails before it is of use."""
    try:
        yield
    except BaseException:
        wire.close()
        raise


def slot_of(key: bytes) -> int:
    """Which of a Cluster's slots a key is in: by what its first braces hold, if anything."""
    start = key.find(b"{") + 1
    end = key.find(b"}", start) if start else -1
    return binascii.crc_hqx(key[start:end] if end > start else key, 0) % _SLOTS


def _accepted(reply: Reply) -> None:
    if isinstance(reply, RedisError):
        denied = reply.word in ("WRONGPASS", "NOAUTH", "ERR", "NOPERM")
        why = "it does not accept the credentials" if denied else f"it answers {reply.word}"
        raise BrokenConnection(why)


def _place(reply: Reply, asked: Host) -> Host:
    place, port, *_ = texts(reply)
    if not isinstance(port, int):
        raise BrokenConnection(_STRANGE)
    return (place.decode() if isinstance(place, bytes) and place else asked[0]), port
