"""State in Redis or Valkey: shared by processes and machines, and never waited for in vain.

    alive --a call fails--> in doubt --a probe fails--> gone --a probe is answered--> alive
                               |-----a probe is answered, nothing is said-----------> alive

In doubt and gone, calls are skipped at once. A probe asks for the key of the call that failed: a
proxy answers pings for servers that are dead. The doubtful server is probed immediately: a moment
of its own, or of this event loop, is no loss. While it is gone, about once a second one call starts
a probe beside it, so that no request waits to learn whether it is back. One that answers probes and
still fails calls is left alone for longer and longer. Each failure drops the client with all its
connections: none that points to a dead address is used again.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from ipaddress import ip_address
from typing import Any

import redis.asyncio as client
from redis import exceptions
from redis.asyncio.connection import Connection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

PREFIX = "tiergate:"

DEADLINE = 0.1
"""Seconds that one operation may take, whatever it consists of; half of it for each step."""
_PAUSE = 1.0
"""Seconds between two probes of a server that is gone."""
_CALM = 10.0
"""Seconds without a failure after which those before are forgotten."""
_FAILURES = 5
"""Calls that may fail between answered probes, and within that; each one more doubles the pause."""
_LONGEST = 32.0
"""Seconds that a pause grows to."""
_QUIET = 60.0
"""Seconds between two notes of a server that is there and refuses."""
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

        Raises ValueError for a URL that is not redis://, rediss:// or unix://, or that names an
        option which the client does not know.
        """
        self._note = note
        self._clock = clock
        self._deadline = deadline
        self._options = _options(url, deadline / 2)
        host = str(self._options.get("host", "localhost"))
        self._host = "" if "path" in self._options or _is_address(host) else host
        self._where = str(self._options.get("path") or f"{host}:{self._options.get('port', 6379)}")
        self._client = self._open()
        self._slots = asyncio.Semaphore(_CONNECTIONS)
        self._alive = True
        self._told = self._closed = self._probing = False
        self._probe_at = 0.0
        self._renew_at = self._quiet_until = float("-inf")
        self._asked = ""
        self._failures = 0
        self._since = clock()
        self._found = not self._host
        self._lookup: asyncio.Task[object] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def alive(self) -> bool:
        """Whether the last that was heard of it was an answer; true before it was ever used."""
        return not self._lost()

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
        self._closed = True
        await self.settle()
        if self._lookup is not None:
            self._lookup.cancel()
        await _discard(self._client)

    async def settle(self) -> None:
        """Wait for what goes on in the background: probes, and connections being closed."""
        while self._tasks:
            done, _ = await asyncio.wait(self._tasks)
            self._tasks -= done

    async def _ask(
        self,
        key: str,
        command: Callable[[client.Redis], Awaitable[object]],
        *,
        large: bool = False,
    ) -> object:
        if self._lost():
            self._probe()
            return None
        used = None
        try:
            async with asyncio.timeout(self._deadline), self._slots:
                if self._lost():  # since this call waits for a slot
                    return None
                used = self._client
                if not self._found:
                    await self._find()
                return await command(used)
        except exceptions.ResponseError as error:
            if not str(error).startswith(_DENIED):
                self._refused(error, used)
            elif used is self._client:
                self._doubt(key)
        except Exception as error:  # noqa: BLE001 - garbage from a socket raises nearly anything
            slow = isinstance(error, TimeoutError | exceptions.TimeoutError)
            # What was never asked, or fails on a client dropped meanwhile, says nothing of it.
            if used is self._client and not (large and slow):
                self._doubt(key)
        finally:
            if used is not None and (used is not self._client or self._closed):
                self._spawn(_discard(used))  # once more: this call may have connected since
        return None

    def _lost(self) -> bool:
        return self._closed or not self._alive

    def _refused(self, error: exceptions.ResponseError, used: client.Redis | None) -> None:
        """Take an answer that is an error: it is there, so other calls go on."""
        now = self._clock()
        changed = isinstance(error, exceptions.ReadOnlyError) and used is self._client
        if changed and now >= self._renew_at:
            self._renew_at = now + _PAUSE
            self._renew()  # a replica now: a new connection finds the new primary
        if now >= self._quiet_until:
            self._quiet_until = now + _QUIET
            self._note(f"redis refuses: {type(error).__name__} ({self._where})")

    def _doubt(self, key: str) -> None:
        self._alive = False
        self._asked = key
        self._found = not self._host
        self._renew()
        now = self._clock()
        self._failures = 1 if now - self._since >= _CALM else self._failures + 1
        if self._failures <= _FAILURES:
            self._probe_at = now
            self._probe()
        else:
            self._probe_at = now + min(2.0 ** (self._failures - _FAILURES - 1), _LONGEST)
            self._gone("it fails again and again")

    def _probe(self) -> None:
        now = self._clock()
        if not (self._closed or self._probing) and now >= self._probe_at:
            self._probing = True
            self._probe_at = now + _PAUSE
            self._spawn(self._look())

    async def _look(self) -> None:
        """Probe it: whatever it answers, it is there."""
        try:
            async with asyncio.timeout(self._deadline):
                if not self._found:
                    await self._find()
                await self._client.exists(PREFIX + self._asked)
        except Exception as error:  # noqa: BLE001 - as in _ask
            denied = str(error).startswith(_DENIED)
            if denied or not isinstance(error, exceptions.ResponseError):
                kinds = (text for kind, text in _WHY if isinstance(error, kind))
                why = "it is in protected mode" if denied else type(error).__name__
                self._failures = 0  # a pause of its own begins
                self._gone(next(kinds, why))
                return
        finally:
            self._probing = False
        self._alive = True
        self._since = self._clock()
        if self._told:
            self._told = False
            self._note(f"redis is back ({self._where})")

    def _gone(self, why: str) -> None:
        if not (self._told or self._closed):
            self._told = True
            self._note(f"redis is gone: {why} ({self._where})")

    async def _find(self) -> None:
        """Look its name up, once for all who need it.

        A name server that is silent holds a thread for each lookup, for longer than anybody waits,
        and the provider's name is looked up by the same few threads.
        """
        if self._lookup is None:
            loop = asyncio.get_running_loop()
            work = loop.getaddrinfo(self._host, None, type=socket.SOCK_STREAM)
            self._lookup = asyncio.ensure_future(work)
            self._lookup.add_done_callback(self._looked_up)
        await asyncio.shield(self._lookup)

    def _looked_up(self, lookup: asyncio.Task[object]) -> None:
        self._lookup = None
        self._found = not lookup.cancelled() and lookup.exception() is None

    def _open(self) -> client.Redis:
        return client.Redis.from_pool(client.ConnectionPool(**self._options))

    def _renew(self) -> None:
        dropped, self._client = self._client, self._open()
        self._spawn(_discard(dropped))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)  # the loop itself holds tasks weakly
        task.add_done_callback(self._tasks.discard)


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


async def _discard(dropped: client.Redis) -> None:
    with suppress(Exception):  # nobody is left who could do anything about it
        await dropped.aclose()


def _options(url: str, step: float) -> dict[str, Any]:
    """What the connection pool is made of: the URL's own options, but for those that bound time.

    `step` is seconds to connect, to write and to read, each.
    """
    try:
        options: dict[str, Any] = {**parse_url(url)}
    except ValueError:
        # The reason would quote parts of the URL, and those may be parts of its password.
        message = "REDIS_URL is not a valid redis://, rediss:// or unix:// URL"
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
