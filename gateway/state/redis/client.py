"""A Redis that is asked by key, each time within a deadline, and never in vain.

It may be one server, Sentinel's primary or a Cluster. One that does not answer is doubted, probed
and left alone.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from gateway.state.errors import BrokenConnection, RedisAway
from gateway.state.redis.connection import RedisError, Reply, request
from gateway.state.redis.health import CONNECT, DEADLINE, PAUSE, RedisHealth
from gateway.state.redis.topology import MOVES, RedisTopology, slot_of
from gateway.state.redis.url import read

_AWAY = frozenset(("MASTERDOWN", "LOADING", "CLUSTERDOWN", "DENIED", "NOAUTH", *MOVES))
"""What an error begins with where this is not the server to ask, or not yet."""
_FULL = "ERR max number of clients"
_SAID = {
    "LOADING": "it is still loading its data",
    "DENIED": "it is in protected mode",
    "NOAUTH": "it does not accept the credentials",
    **dict.fromkeys(MOVES, "it is a node of a Cluster, which redis+cluster:// names"),
}


type Sent = tuple[bytes, int, bytes]
"""A key, its slot, and a request on it."""


class _Told:
    """Waits for the answer of a request in the place of nobody."""

    __slots__ = ("_data", "_key", "_server")

    def __init__(self, server: "RedisClient", key: bytes, data: bytes) -> None:
        self._server = server
        self._key = key
        self._data = data

    def done(self) -> bool:
        return False

    def set_result(self, result: Reply, /) -> None:
        self._server.told(self._key, self._data, result)

    def set_exception(self, exception: BrokenConnection, /) -> None:
        self._server.told(self._key, self._data, exception)


class RedisClient:
    """A Redis. `note` is told each time that it is lost, found again, or refuses."""

    def __init__(
        self,
        url: str,
        *,
        note: Callable[[str], None],
        clock: Callable[[], float],
        deadline: float = DEADLINE,
        connect: float = CONNECT,
        verify: bool = True,
    ) -> None:
        """Connect later, when first used; `clock` is monotonic seconds, `deadline` seconds.

        `connect` is seconds until a connection can be used: they are waited for beside calls.
        `verify` says whether certificates are checked. Raises ValueError for a URL that cannot be
        used.
        """
        address = read(url, verify=verify)
        self._deadline = deadline
        self._link = RedisTopology(address, deadline, connect)
        self._much = RedisTopology(address, deadline, connect)
        """For what is large; nothing is opened before it is used."""
        self._clock = clock
        self._renew_at = float("-inf")
        self._asked = b""
        self._told = 0
        """Requests under way whose answer nobody waits for."""
        self._drained: asyncio.Event | None = None
        steps = 1 if address.kind == "single" else 2  # finding the server is one
        self._doubt = RedisHealth(
            address.where,
            look=self._look,
            why=why,
            note=note,
            clock=clock,
            deadline=deadline + steps * connect,
        )

    @property
    def alive(self) -> bool:
        """Whether the last that was heard of it was an answer; true before it was ever used."""
        return not self._doubt.lost

    async def ask(self, key: bytes, data: bytes) -> Reply:
        """What a request on a key answers. Raises RedisAway."""
        reply = await self.try_(key, slot_of(key), data)
        if type(reply) is RedisError:
            raise self.refused(key, reply)
        return reply

    async def ask_much(self, key: bytes, data: bytes) -> Reply:
        """The same for what is large, over a connection of its own: nobody waits behind it.

        One that takes too long says nothing of the server. Raises RedisAway.
        """
        if self._doubt.lost:
            self._doubt.probe()
            raise RedisAway
        try:
            async with asyncio.timeout(self._deadline):
                reply = await self._much.find(slot_of(key), data)
        except (BrokenConnection, OSError, ValueError) as error:
            self._much.part()
            raise RedisAway from error
        if type(reply) is RedisError:
            raise self.refused(key, reply)
        return reply

    def tell(self, key: bytes, data: bytes) -> None:
        """Send a request on a key, for whose answer nobody waits; it may be lost."""
        if self._doubt.lost:
            self._doubt.probe()
        elif self._link.tell(key, data, _Told(self, key, data)):
            self._told += 1
        else:
            self._doubt.spawn(self._say(key, data), at_once=True)

    async def drain(self) -> None:
        """Wait until all that was told is answered, or lost."""
        if self._told:
            self._drained = self._drained or asyncio.Event()
            await self._drained.wait()
        await self.settle()

    def told(self, key: bytes, data: bytes, reply: Reply | BrokenConnection) -> None:
        """What came of a request for whose answer nobody waits."""
        self._told -= 1
        if not self._told and self._drained is not None:
            self._drained.set()
            self._drained = None
        if isinstance(reply, BrokenConnection):
            self._fail(key)
        elif type(reply) is RedisError:
            if self._link.moved(reply):
                self._doubt.spawn(self._say(key, data))
            else:
                self.refused(key, reply)

    async def _say(self, key: bytes, data: bytes) -> None:
        with suppress(RedisAway):
            await self.ask(key, data)

    def try_(self, key: bytes, slot: int, data: bytes) -> Coroutine[Any, Any, Reply]:
        """Send a request on a key in a slot; return its answer, even an error. Raises RedisAway."""
        return self._answered(self._send(slot, data), key, slot, data)

    async def try_both(self, one: Sent, other: Sent) -> tuple[Reply, Reply]:
        """Do the same with two requests, in one write where they go to one server."""
        sent = self._send(*one[1:]), self._send(*other[1:])
        try:
            return await self._answered(sent[0], *one), await self._answered(sent[1], *other)
        except BaseException:
            for answer in sent:
                if answer is not None and not (answer.cancel() or answer.cancelled()):
                    answer.exception()  # nobody else would look at it
            raise

    def _send(self, slot: int, data: bytes) -> asyncio.Future[Reply] | None:
        """Send a request where its way is open; None where it is not. Raises RedisAway."""
        if self._doubt.lost:
            self._doubt.probe()
            raise RedisAway
        return self._link.ask(slot, data)

    async def _answered(
        self, answer: asyncio.Future[Reply] | None, key: bytes, slot: int, data: bytes
    ) -> Reply:
        try:
            if answer is not None:
                reply = await answer
                if not self._link.moved(reply):
                    return reply
                async with asyncio.timeout(self._deadline):
                    return await self._link.follow(slot, data, reply)
            async with asyncio.timeout(self._deadline):
                return await self._link.find(slot, data)
        except (BrokenConnection, OSError, ValueError) as error:  # TimeoutError is an OSError
            self._fail(key)
            raise RedisAway from error

    def refused(self, key: bytes, reply: RedisError) -> RedisAway:
        """Take a failure that was answered."""
        if reply.word in _AWAY or reply.text.startswith(_FULL):
            self._fail(key)
            return RedisAway()
        now = self._clock()
        if reply.word == "READONLY" and now >= self._renew_at:
            self._renew_at = now + PAUSE
            self._link.renew()  # a replica now, which can be read: a new one may be the primary
            self._much.renew()
        self._doubt.refused(reply.word)
        return RedisAway()

    async def close(self) -> None:
        """Close every connection; within a deadline and the time to open one."""
        await self._doubt.close()
        await self._link.close()
        await self._much.close()

    async def settle(self) -> None:
        """Wait for what goes on in the background."""
        await self._doubt.settle()

    def _fail(self, key: bytes) -> None:
        if self._doubt.lost:  # another call of the same loss has told
            return
        self._asked = key
        self._link.drop()
        self._much.drop()
        self._doubt.fail()

    async def _look(self) -> None:
        """Ask for the key that failed: a proxy answers pings for servers that are dead."""
        try:
            ask = request(b"EXISTS", self._asked)
            _there(await self._link.find(slot_of(self._asked), ask))
        except BaseException:
            self._link.drop()  # the next one dials anew
            raise


def _there(reply: Reply) -> None:
    """Raises BrokenConnection where an answer says that this is not the server to ask."""
    if isinstance(reply, RedisError) and reply.text.startswith(_FULL):
        raise BrokenConnection("no connection is left")
    if isinstance(reply, RedisError) and reply.word in _AWAY:
        raise BrokenConnection(_SAID.get(reply.word, f"it answers {reply.word}"))


def why(error: Exception) -> str:
    """Why it is gone, in words that quote nothing."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, socket.gaierror):
        return "its name is not known"
    if isinstance(error, ssl.SSLError):
        return "no secure connection"
    return str(error) if isinstance(error, BrokenConnection) else "no connection"
