"""The servers that have the keys: a single one, Sentinel's primary, or the nodes of a Cluster.

The module keeps one connection to each open, and finds them again after each loss. It retries
nothing: calls have a deadline, and go on without Redis.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TypeGuard

from gateway.state.errors import StoreUnavailable
from gateway.state.redis.commands import encode_command
from gateway.state.redis.name_lookup import NameLookup
from gateway.state.redis.replies import REDIRECT_CODES, Answer, RedisError
from gateway.state.redis.server_connection import ServerConnection, describe_error
from gateway.state.redis.url import Host, RedisAddress, make_ssl_context

_MAX_REDIRECTS = 5
"""The most redirections that one command follows."""
_WHOLE_SLOT = 0
"""The slot of all keys if there is one server."""


class RedisServers:
    """Connections to the servers of an address, each opened when it is first used.

    A connection still opens if the caller that asked for it first has left.
    """

    def __init__(self, address: RedisAddress, deadline: float, connect_timeout: float) -> None:
        """Prepare; no connection opens yet. Times are in seconds.

        `deadline` is for an answer, `connect_timeout` for opening a connection. Raises ValueError
        if the URL names certificates that cannot be read.
        """
        self._address = address
        self._deadline = deadline
        self._connect_timeout = connect_timeout
        self._ssl_context = make_ssl_context(address)
        self._name_lookup = NameLookup()
        self._is_cluster = address.kind == "cluster"
        self._hosts: dict[int, Host | None] = {}
        """The host of each known slot; None for a Unix socket."""
        self._nodes: set[Host] = set()
        """The last known primaries of a Cluster, as the nodes in the URL may be gone."""
        self._locating: asyncio.Task[None] | None = None
        self._opening: dict[Host | None, asyncio.Task[ServerConnection]] = {}
        self._open: dict[Host | None, ServerConnection] = {}
        self._open_by_slot: dict[int, ServerConnection] = {}
        self.connect_deadline = connect_timeout * (1 if address.kind == "single" else 2)
        """The most seconds to find a server and open a connection to it."""

    def find_open(self, key: bytes) -> ServerConnection | None:
        """Return the open connection to the server of a key; None if there is none."""
        slot = self._find_slot(key) if self._is_cluster else _WHOLE_SLOT
        connection = self._open_by_slot.get(slot)
        return connection if connection is not None and connection.is_open else None

    async def execute(self, key: bytes, command: bytes) -> Answer:
        """Find the server of a key, send it a command, and follow redirections.

        Raises StoreUnavailable, OSError and ValueError.
        """
        slot = self._find_slot(key)
        if slot not in self._hosts:
            if self._locating is None or self._locating.done():
                self._locating = _start(self._locate())
            await _join(self._locating)
        if slot not in self._hosts:
            raise StoreUnavailable("no node of it has the keys")
        connection = await self._connect(self._hosts[slot])
        self._open_by_slot[slot] = connection
        answer = await connection.send(command)
        return await self.follow_redirects(command, answer) if self.is_redirect(answer) else answer

    def is_redirect(self, answer: Answer) -> TypeGuard[RedisError]:
        """Return True if an answer is a redirection to follow: in a Cluster, and nowhere else.

        No other server may decide where the gateway sends the password.
        """
        return self._is_cluster and isinstance(answer, RedisError) and answer.code in REDIRECT_CODES

    async def follow_redirects(self, command: bytes, answer: Answer) -> Answer:
        """Send a command to where nodes of a Cluster say that its key is. Raises as `execute`."""
        for _ in range(_MAX_REDIRECTS):
            if not self.is_redirect(answer):
                return answer
            code, slot, address = answer.text.split(" ", 2)
            name, _, port = address.rpartition(":")
            host = (name.strip("[]"), int(port))
            connection = await self._connect(host)
            if code == "MOVED":
                self._hosts[int(slot)] = host
                self._open_by_slot[int(slot)] = connection
                answer = await connection.send(command)
            else:
                asking = connection.send(encode_command(b"ASKING"))
                answer = await connection.send(command)
                await asking
        raise StoreUnavailable("its nodes send calls to one another")

    def drop(self) -> None:
        """Close every open connection; the next command finds its server anew."""
        self._forget(ServerConnection.close)

    def retire(self) -> None:
        """Close every connection once its running commands are answered."""
        self._forget(ServerConnection.retire)

    async def close(self) -> None:
        """Close every connection, and cancel all attempts to open one."""
        tasks: list[asyncio.Task[Any]] = [*self._opening.values()]
        if self._locating is not None:
            tasks.append(self._locating)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._name_lookup.close()
        connections = list(self._open.values())
        self.drop()
        for connection in connections:
            await connection.wait_closed()

    def _forget(self, end: Callable[[ServerConnection], None]) -> None:
        connections, self._open = self._open, {}
        self._open_by_slot.clear()
        self._hosts.clear()
        for connection in connections.values():
            end(connection)

    def _find_slot(self, key: bytes) -> int:
        if not self._is_cluster:
            return _WHOLE_SLOT
        from redis.crc import key_slot  # noqa: PLC0415 - 12 MB, of use in a Cluster alone

        return key_slot(key)

    async def _locate(self) -> None:
        """Find the hosts of the slots."""
        hosts = self._address.hosts
        async with asyncio.timeout(self._connect_timeout):
            if self._is_cluster:
                known_hosts = dict.fromkeys((*hosts, *self._nodes))
                slots = await _find_first(self._read_slots(host) for host in known_hosts)
                self._nodes = set(slots.values())
                self._hosts.update(slots)
            elif self._address.kind == "sentinel":
                primary = await _find_first(self._ask_sentinel(host) for host in hosts)
                self._hosts[_WHOLE_SLOT] = primary
            else:
                self._hosts[_WHOLE_SLOT] = hosts[0] if hosts else None

    async def _ask_sentinel(self, host: Host) -> Host:
        """Ask one sentinel for the primary, and return its host."""
        command = encode_command(
            b"SENTINEL", b"get-master-addr-by-name", self._address.service.encode()
        )
        reply = await self._ask_once(host, self._address.sentinel_login, command)
        if reply is None:
            raise StoreUnavailable("Sentinel does not know the service")
        name, port = reply
        return name.decode(), int(port)

    async def _read_slots(self, host: Host) -> dict[int, Host]:
        """Ask one node of a Cluster for the slots, and return the host of each."""
        slots: dict[int, Host] = {}
        for first_slot, last_slot, (name, port, *_), *_ in await self._ask_once(
            host,
            (self._address.username, self._address.password),
            encode_command(b"CLUSTER", b"SLOTS"),
        ):
            node = (name.decode() if name else host[0], port)
            slots.update(dict.fromkeys(range(first_slot, last_slot + 1), node))
        return slots

    async def _ask_once(self, host: Host, login: tuple[str, str], command: bytes) -> Any:
        """Ask a server on a connection that is closed afterwards. Raises StoreUnavailable."""
        connection = await self._dial(host, login, db=0)
        try:
            answer = await connection.send(command)
        finally:
            connection.close()
        if isinstance(answer, RedisError):
            raise StoreUnavailable(answer.describe())
        return answer

    async def _connect(self, host: Host | None) -> ServerConnection:
        """Return the connection to a server, opened once for all callers."""
        connection = self._open.get(host)
        if connection is not None and connection.is_open:
            return connection
        opening = self._opening.get(host)
        if opening is None:
            opening = self._opening[host] = _start(self._keep_open(host))
            opening.add_done_callback(lambda _: self._opening.pop(host))
        return await _join(opening)

    async def _keep_open(self, host: Host | None) -> ServerConnection:
        address = self._address
        async with asyncio.timeout(self._connect_timeout):
            connection = await self._dial(host, (address.username, address.password), db=address.db)
            if address.kind == "sentinel":
                await _require_primary(connection)
        self._open[host] = connection
        return connection

    async def _dial(
        self, host: Host | None, login: tuple[str, str], *, db: int
    ) -> ServerConnection:
        """Open a connection and log in. Raises OSError and StoreUnavailable."""
        loop = asyncio.get_running_loop()

        def make_connection() -> ServerConnection:
            return ServerConnection(self._connect_timeout)

        if host is None:
            _, connection = await loop.create_unix_connection(make_connection, self._address.path)
        else:
            await self._name_lookup.find(host[0])
            _, connection = await loop.create_connection(
                make_connection, *host, ssl=self._ssl_context
            )
        try:
            await connection.log_in(*login, db)
        except BaseException:
            connection.close()
            raise
        connection.deadline = self._deadline
        return connection


async def _require_primary(connection: ServerConnection) -> None:
    """Close a connection that is not to a primary. Raises StoreUnavailable then."""
    try:
        role = await connection.send(encode_command(b"ROLE"))
        if isinstance(role, list) and role[0] != b"master":
            raise StoreUnavailable("it is no primary any more")  # noqa: TRY301 - closed below
    except BaseException:
        connection.close()
        raise


def _start[T](coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Start a task that goes on if its callers leave."""
    task = asyncio.create_task(coroutine)
    task.add_done_callback(_read_exception)
    return task


def _read_exception(task: asyncio.Task[Any]) -> None:
    if not task.cancelled():
        task.exception()  # read it, as perhaps no caller waits any more


async def _join[T](task: asyncio.Task[T]) -> T:
    """Wait for a task of `_start`. Raises StoreUnavailable if the task was cancelled."""
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        if task.cancelled():  # the task was cancelled, not the caller
            raise StoreUnavailable("no connection") from None
        raise


async def _find_first[T](attempts: Iterable[Coroutine[Any, Any, T]]) -> T:
    """Return the result of the first attempt that succeeds.

    If none does, raise the most informative error.
    """
    tasks = [asyncio.create_task(attempt) for attempt in attempts]
    errors: list[Exception] = []
    try:
        for attempt in asyncio.as_completed(tasks):
            try:
                return await attempt
            except Exception as error:  # noqa: BLE001 - garbage from a socket raises nearly anything
                errors.append(error)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    raise min(errors, key=lambda error: describe_error(error) == "no connection")
