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

from gateway.state.errors import StoreUnavailable
from gateway.state.redis.connection import (
    RedisConnection,
    RedisError,
    Reply,
    ReplyWaiter,
    encode_command,
    expect_list,
)
from gateway.state.redis.url import Host, RedisAddress, make_ssl_context


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
            lookup.add_done_callback(lambda finished_lookup: self._forget(host, finished_lookup))
        return await asyncio.shield(lookup)

    def close(self) -> None:
        """Wait for no name any more."""
        for lookup in self._lookups.values():
            lookup.cancel()

    def _forget(self, host: str, lookup: asyncio.Future[list[str]]) -> None:
        del self._lookups[host]
        if not lookup.cancelled():
            lookup.exception()  # nobody may wait for it any more


async def _look_up(host: str) -> list[str]:
    loop = asyncio.get_running_loop()
    addresses = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in addresses))


_SLOT_COUNT = 16384
_MAX_REDIRECTS = 5
"""Redirections that one call follows."""
REDIRECT_CODES = ("MOVED", "ASK")
"""First words of redirections, which nodes of a Cluster send."""
_PROTOCOL_ERROR = "what answers does not speak its protocol"


class RedisTopology:
    """Asks which server is the primary.

    `deadline` is seconds for one answer, `connect_timeout` those until a connection can be used.

    A way goes on being found when who asked first has left. Raises ValueError where the URL names
    certificates that cannot be read.
    """

    def __init__(self, address: RedisAddress, deadline: float, connect_timeout: float) -> None:
        self._address = address
        self._deadline = deadline
        self._connect_timeout = connect_timeout
        self._ssl_context = make_ssl_context(address)
        self._name_lookup = NameLookup()
        self._connections: dict[Host, RedisConnection] = {}
        self._connect_tasks: dict[Host, asyncio.Task[RedisConnection]] = {}
        self._locate_task: asyncio.Task[None] | None = None
        self._primary: Host | None = None
        self._slots: dict[int, Host] = {}
        self._nodes: set[Host] = set()
        self.is_cluster = address.kind == "cluster"
        """True if there are several servers, which send requests to one another."""
        self._slot_connections: dict[int, RedisConnection] = {}
        """By slot, where there are several servers."""

    def send_if_open(self, slot: int, data: bytes) -> asyncio.Future[Reply] | None:
        """Send a request on the way that is known and open; None where there is none."""
        connection = self._slot_connections.get(slot if self.is_cluster else 0)
        if connection is None:
            return None
        answer = connection.loop.create_future()
        return answer if connection.enqueue(data, answer) else None

    def enqueue(self, key: bytes, data: bytes, waiter: ReplyWaiter) -> bool:
        """The same on a key, of which `waiter` is told; False where there is no such way."""
        connection = self._slot_connections.get(find_slot(key) if self.is_cluster else 0)
        return connection is not None and connection.enqueue(data, waiter)

    async def execute(self, slot: int, data: bytes) -> Reply:
        """Send a request to its slot; follow redirections. Raises StoreUnavailable, OSError."""
        return await self._send_on(slot, data, await self._connect_slot(slot))

    async def follow_redirect(self, slot: int, data: bytes, redirect: RedisError) -> Reply:
        """Send a redirected request again. Raises StoreUnavailable, OSError."""
        return await self._follow_redirects(slot, data, redirect)

    def abandon(self) -> None:
        """Close every connection and open none; the next call finds its way anew."""
        for task in self._list_tasks():
            task.cancel()
        self._connect_tasks, self._locate_task = {}, None  # nobody joins what is being given up
        self.close_connections()

    def close_connections(self) -> None:
        """Close every open connection; the gateway goes on opening others."""
        connections, self._connections = self._connections, {}
        for connection in connections.values():
            connection.close()
        self._primary = None
        self._slots.clear()
        self._slot_connections.clear()

    def retire_connections(self) -> None:
        """The next call finds its way anew; those that are under way are answered."""
        connections, self._connections = self._connections, {}
        for connection in connections.values():
            connection.retire()
        self._primary = None
        self._slots.clear()
        self._slot_connections.clear()

    async def close(self) -> None:
        """Close every connection, and wait for none."""
        tasks = self._list_tasks()
        self.abandon()
        self._name_lookup.close()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _list_tasks(self) -> list[asyncio.Task[Any]]:
        """Return what is under way to find servers, and to open connections."""
        locate_tasks = [] if self._locate_task is None else [self._locate_task]
        return [*self._connect_tasks.values(), *locate_tasks]

    async def _send_on(self, slot: int, data: bytes, connection: RedisConnection) -> Reply:
        reply = await connection.send(data)
        if self.is_redirect(reply):
            return await self._follow_redirects(slot, data, reply)
        self._slot_connections[slot if self.is_cluster else 0] = connection
        return reply

    def is_redirect(self, reply: object) -> TypeGuard[RedisError]:
        """True if an answer is a redirection that is followed: in a Cluster, and nowhere else.

        Another server may not say who gets the password.
        """
        return self.is_cluster and type(reply) is RedisError and reply.code in REDIRECT_CODES

    async def _follow_redirects(self, slot: int, data: bytes, reply: Reply) -> Reply:
        for _ in range(_MAX_REDIRECTS):
            if not self.is_redirect(reply):
                return reply
            _, _, address = reply.text.split(" ", 2)
            host, _, port = address.rpartition(":")
            node = (host.strip("[]"), int(port))
            connection = await self._connect_host(node)
            if reply.code == "ASK":
                asking = connection.send(encode_command(b"ASKING"))
                reply = await connection.send(data)
                await asking
            else:
                self._slots[slot] = node
                self._slot_connections[slot] = connection
                reply = await connection.send(data)
        raise StoreUnavailable("its nodes send calls to one another")

    async def _connect_slot(self, slot: int) -> RedisConnection:
        kind = self._address.kind
        if kind == "single":
            return await self._connect_host(
                self._address.hosts[0] if self._address.hosts else ("", 0)
            )
        if kind == "sentinel":
            if self._primary is None:
                await self._ensure_located()
            return await self._connect_host(self._primary or _raise_no_node())
        if slot not in self._slots:
            await self._ensure_located()
        return await self._connect_host(self._slots.get(slot) or _raise_no_node())

    async def _ensure_located(self) -> None:
        """Find the servers, once for all who want them. Raises StoreUnavailable, OSError."""
        if self._locate_task is None:
            self._locate_task = asyncio.create_task(self._locate())
            self._locate_task.add_done_callback(self._finish_locating)
        await _join_task(self._locate_task)

    async def _locate(self) -> None:
        async with asyncio.timeout(self._connect_timeout):
            if not self.is_cluster:
                self._primary = await self._find_first_answer(
                    self._address.hosts, self._ask_sentinel
                )
                return
            nodes = dict.fromkeys([*self._address.hosts, *self._nodes])
            self._slots.update(await self._find_first_answer(list(nodes), self._read_slots))

    def _finish_locating(self, task: asyncio.Task[None]) -> None:
        if self._locate_task is task:
            self._locate_task = None
        if not task.cancelled():
            task.exception()  # nobody may wait for it any more

    async def _find_first_answer[T](
        self, hosts: Sequence[Host], ask_host: Callable[[Host], Coroutine[Any, Any, T]]
    ) -> T:
        """What the first of several hosts answers. Raises StoreUnavailable where none does."""
        tasks = [asyncio.create_task(ask_host(host)) for host in hosts]
        errors: list[BaseException] = []
        try:
            for attempt in asyncio.as_completed(tasks):
                try:
                    return await attempt
                except (StoreUnavailable, OSError, ValueError) as error:
                    errors.append(error)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        raise next(
            (failure for failure in errors if isinstance(failure, StoreUnavailable)),
            StoreUnavailable("no connection"),
        )

    async def _ask_sentinel(self, host: Host) -> Host:
        """Where the primary is, by one sentinel."""
        connection = await self._dial(host, self._address.sentinel_login)
        try:
            words = (b"SENTINEL", b"get-master-addr-by-name", self._address.service.encode())
            reply = await connection.send(encode_command(*words))
        finally:
            connection.close()
        if reply is None:
            raise StoreUnavailable("Sentinel does not know the service")
        address, port = expect_list(reply)
        if not isinstance(address, bytes) or not isinstance(port, bytes):
            raise StoreUnavailable(_PROTOCOL_ERROR)
        return address.decode(), int(port)

    async def _read_slots(self, host: Host) -> dict[int, Host]:
        """Which node has which slots, by one node."""
        connection = await self._dial(host, (self._address.username, self._address.password))
        try:
            reply = await connection.send(encode_command(b"CLUSTER", b"SLOTS"))
        finally:
            connection.close()
        if isinstance(reply, RedisError):
            raise StoreUnavailable(f"it answers {reply.code}")
        slots: dict[int, Host] = {}
        nodes: set[Host] = set()
        for row in expect_list(reply):
            first_slot, last_slot, *node_entries = expect_list(row)
            hosts = [_parse_node(node_entry, host) for node_entry in node_entries]
            nodes.update(hosts)
            if not isinstance(first_slot, int) or not isinstance(last_slot, int):
                raise StoreUnavailable(_PROTOCOL_ERROR)
            slots.update(dict.fromkeys(range(first_slot, last_slot + 1), hosts[0]))
        self._nodes = nodes
        return slots

    async def _connect_host(self, host: Host) -> RedisConnection:
        """The connection to a host, opened once for all who want it."""
        connection = self._connections.get(host)
        if connection is not None and connection.is_open:
            return connection
        connect_task = self._connect_tasks.get(host)
        if connect_task is None:
            connect_task = asyncio.create_task(self._open(host))
            self._connect_tasks[host] = connect_task
            connect_task.add_done_callback(
                lambda finished_task: self._finish_connecting(host, finished_task)
            )
        return await _join_task(connect_task)

    async def _open(self, host: Host) -> RedisConnection:
        address = self._address
        async with asyncio.timeout(self._connect_timeout):
            connection = await self._dial(host, (address.username, address.password))
            with _closing_on_error(connection):
                if address.db:
                    _check_accepted(
                        await connection.send(encode_command(b"SELECT", b"%d" % address.db))
                    )
                if address.kind == "sentinel":
                    role = await connection.send(encode_command(b"ROLE"))
                    if isinstance(role, list) and role[0] != b"master":
                        raise StoreUnavailable("it is no primary any more")
        connection.deadline = self._deadline
        self._connections[host] = connection
        return connection

    def _finish_connecting(self, host: Host, connect_task: asyncio.Task[RedisConnection]) -> None:
        if self._connect_tasks.get(host) is connect_task:
            del self._connect_tasks[host]
        if not connect_task.cancelled():
            connect_task.exception()  # nobody may wait for it any more

    async def _dial(self, host: Host, login: tuple[str, str]) -> RedisConnection:
        connect_timeout = self._connect_timeout

        def make_connection() -> RedisConnection:
            return RedisConnection(connect_timeout)

        if self._address.path:
            _, connection = await asyncio.get_running_loop().create_unix_connection(
                make_connection, self._address.path
            )
        else:
            connection = await self._dial_name(host, make_connection)
        with _closing_on_error(connection):
            username, password = login
            if password:
                words = [word.encode() for word in (username, password) if word]
                _check_accepted(await connection.send(encode_command(b"AUTH", *words)))
        return connection

    async def _dial_name(
        self, host: Host, make_connection: Callable[[], RedisConnection]
    ) -> RedisConnection:
        """A connection to the first of a name's addresses that takes one. Raises OSError."""
        loop, server_name = asyncio.get_running_loop(), host[0] if self._ssl_context else None
        *earlier_addresses, last_address = await self._name_lookup.find(host[0])
        for address in earlier_addresses:
            with suppress(OSError):
                _, connection = await loop.create_connection(
                    make_connection,
                    address,
                    host[1],
                    ssl=self._ssl_context,
                    server_hostname=server_name,
                )
                return connection
        _, connection = await loop.create_connection(
            make_connection,
            last_address,
            host[1],
            ssl=self._ssl_context,
            server_hostname=server_name,
        )
        return connection


async def _join_task[T](task: asyncio.Task[T]) -> T:
    """Wait for what goes on without its callers. Raises StoreUnavailable where it was given up."""
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        if task.cancelled():  # it was not the caller who left
            raise StoreUnavailable("no connection") from None
        raise


def _raise_no_node() -> NoReturn:
    raise StoreUnavailable("no node of it has the keys")


@contextmanager
def _closing_on_error(connection: RedisConnection) -> Iterator[None]:
    """Closes a connection that fails before it is of use."""
    try:
        yield
    except BaseException:
        connection.close()
        raise


def find_slot(key: bytes) -> int:
    """Which of a Cluster's slots a key is in: by what its first braces hold, if anything."""
    start = key.find(b"{") + 1
    end = key.find(b"}", start) if start else -1
    return binascii.crc_hqx(key[start:end] if end > start else key, 0) % _SLOT_COUNT


def _check_accepted(reply: Reply) -> None:
    if isinstance(reply, RedisError):
        is_denied = reply.code in ("WRONGPASS", "NOAUTH", "ERR", "NOPERM")
        reason = "it does not accept the credentials" if is_denied else f"it answers {reply.code}"
        raise StoreUnavailable(reason)


def _parse_node(reply: Reply, asked_host: Host) -> Host:
    address, port, *_ = expect_list(reply)
    if not isinstance(port, int):
        raise StoreUnavailable(_PROTOCOL_ERROR)
    return (address.decode() if isinstance(address, bytes) and address else asked_host[0]), port
