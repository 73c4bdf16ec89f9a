"""State in Redis or Valkey: shared by processes and machines, and never waited for in vain.

A probe asks for the key of the call that failed: a proxy answers pings for servers that are dead.
Each failure drops the client with all its connections: none that points to a dead address is used
again.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import redis.asyncio as client
from redis import exceptions
from redis.asyncio.connection import Connection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from gateway.state.address import Address, read
from gateway.state.doubt import DEADLINE, PAUSE, Doubt
from gateway.state.name import Names, is_address

PREFIX = "tiergate:"

_LARGE = 256 * 1024
"""Bytes from which a slow write says more about the value than about the server."""
_MOST = 8 * 1024 * 1024
"""Bytes of the longest value: another one was put there by somebody else, and is not fetched."""
_CONNECTIONS = 32
"""At most; more calls than these wait for one, within their deadline."""

_DENIED = "DENIED"
"""What an error begins with where a server in protected mode turns everybody away."""

_WHY: tuple[tuple[type[Exception], str], ...] = (
    (exceptions.AuthenticationError, "it does not accept the credentials"),
    (exceptions.BusyLoadingError, "it is still loading its data"),
    (exceptions.TimeoutError, "no answer in time"),
    (exceptions.InvalidResponse, "what answers does not speak its protocol"),
    (exceptions.ConnectionError, "no connection"),
    (TimeoutError, "no answer in time"),
    (socket.gaierror, "its name is not known"),
)
"""First match wins. Texts of the client and the server are not told: they may quote anything."""


class Redis:
    """A Store in Redis. `note` is told each time that it is lost, found again, or refuses."""

    def __init__(
        self,
        url: str,
        *,
        note: Callable[[str], None],
        clock: Callable[[], float],
        deadline: float = DEADLINE,
    ) -> None:
        """Connect later, when first used; `clock` is monotonic seconds, `deadline` seconds.

        Half of it is for each step: to connect, to write and to read. Raises ValueError for a URL
        that is not redis://, rediss:// or unix://, or that names an option which the client does
        not know.
        """
        self._address = read(url)
        if self._address.kind != "single":
            message = "REDIS_URL names several servers, and one is asked for"
            raise ValueError(message)
        self._clock = clock
        self._deadline = deadline
        self._options = _options(self._address, deadline / 2)
        self._host = next((host for host, _ in self._address.hosts if not is_address(host)), "")
        self._client = self._open()
        self._slots = asyncio.Semaphore(_CONNECTIONS)
        self._renew_at = float("-inf")
        self._asked = ""
        self._found = not self._host
        self._names = Names()
        self._doubt = Doubt(
            self._address.where,
            look=self._look,
            why=_why,
            note=note,
            clock=clock,
            deadline=deadline,
        )

    @property
    def alive(self) -> bool:
        """Whether the last that was heard of it was an answer; true before it was ever used."""
        return not self._doubt.lost

    async def get(self, key: str) -> bytes | None:
        """The value of a key; None within the deadline where it does not answer."""
        value = await self._ask(key, lambda redis: redis.getrange(PREFIX + key, 0, _MOST))
        return value if isinstance(value, bytes) and 0 < len(value) <= _MOST else None

    async def put(self, key: str, value: bytes, ttl: float) -> None:
        """Keep a value; not at all where that cannot be done within the deadline."""
        if ttl > 0 and len(value) <= _MOST:
            milliseconds = max(1, int(ttl * 1000))
            await self._ask(
                key,
                lambda redis: redis.set(PREFIX + key, value, px=milliseconds),
                large=len(value) > _LARGE,
            )

    async def close(self) -> None:
        """Close every connection, those of dropped clients too; within two deadlines."""
        await self._doubt.close()
        self._names.close()
        await _discard(self._client)

    async def settle(self) -> None:
        """Wait for what goes on in the background: probes, and connections being closed."""
        await self._doubt.settle()

    async def _ask(
        self,
        key: str,
        command: Callable[[client.Redis], Awaitable[object]],
        *,
        large: bool = False,
    ) -> object:
        if not self.alive:
            self._doubt.probe()
            return None
        used = None
        try:
            async with asyncio.timeout(self._deadline), self._slots:
                if self._doubt.lost:  # since this call waits for a slot
                    return None
                used = self._client
                await self._find()
                return await command(used)
        except exceptions.ResponseError as error:
            if not str(error).startswith(_DENIED):
                self._refused(error, used)
            elif used is self._client:
                self._fail(key)
        except Exception as error:  # noqa: BLE001 - garbage from a socket raises nearly anything
            slow = isinstance(error, TimeoutError | exceptions.TimeoutError)
            # What was never asked, or fails on a client dropped meanwhile, says nothing of it.
            if used is self._client and not (large and slow):
                self._fail(key)
        finally:
            if used is not None and (used is not self._client or self._doubt.closed):
                self._doubt.spawn(_discard(used))  # once more: this call may have connected since
        return None

    def _refused(self, error: exceptions.ResponseError, used: client.Redis | None) -> None:
        """Take an answer that is an error: it is there, so other calls go on."""
        now = self._clock()
        changed = isinstance(error, exceptions.ReadOnlyError) and used is self._client
        if changed and now >= self._renew_at:
            self._renew_at = now + PAUSE
            self._renew()  # a replica now: a new connection finds the new primary
        self._doubt.refused(type(error).__name__)

    def _fail(self, key: str) -> None:
        self._asked = key
        self._found = not self._host
        self._renew()
        self._doubt.fail()

    async def _look(self) -> None:
        """Ask for the key that failed: whatever it answers, it is there."""
        await self._find()
        try:
            await self._client.exists(PREFIX + self._asked)
        except exceptions.ResponseError as error:
            if str(error).startswith(_DENIED):
                raise

    async def _find(self) -> None:
        """Look its name up, where that is not done."""
        if not self._found:
            await self._names.find(self._host)
            self._found = True

    def _open(self) -> client.Redis:
        return client.Redis.from_pool(client.ConnectionPool(**self._options))

    def _renew(self) -> None:
        dropped, self._client = self._client, self._open()
        self._doubt.spawn(_discard(dropped))


def _why(error: Exception) -> str:
    if str(error).startswith(_DENIED):
        return "it is in protected mode"
    kinds = (text for kind, text in _WHY if isinstance(error, kind))
    return next(kinds, type(error).__name__)


async def _discard(dropped: client.Redis) -> None:
    with suppress(Exception):  # nobody is left who could do anything about it
        await dropped.aclose()


def _options(address: Address, step: float) -> dict[str, Any]:
    """What the connection pool is made of: the URL's own options, but for those that bound time.

    `step` is seconds to connect, to write and to read, each.
    """
    try:
        options: dict[str, Any] = {**parse_url(address.plain)}
    except ValueError:
        # The reason would quote parts of the URL, and those may be parts of its password.
        message = "REDIS_URL has an option whose value is none"
        raise ValueError(message) from None
    options.pop("timeout", None)  # of a pool that waits: the slots do that
    options |= {
        "max_connections": _CONNECTIONS,
        "socket_connect_timeout": step,
        "socket_timeout": step,
        "retry": Retry(NoBackoff(), 0),
        "retry_on_timeout": False,
        "retry_on_error": [],
        "health_check_interval": 0,
        "decode_responses": False,
        "protocol": 2,  # no HELLO: a new connection costs no round trip of its own
        "driver_info": None,  # nor CLIENT SETINFO
    }
    try:
        kind = options.get("connection_class", Connection)
        beside = ("connection_class", "max_connections")
        kind(**{name: value for name, value in options.items() if name not in beside})
    except TypeError:
        message = "REDIS_URL has an option that the Redis client does not know"
        raise ValueError(message) from None
    return options
