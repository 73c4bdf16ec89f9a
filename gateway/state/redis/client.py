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

from gateway.state.errors import StoreUnavailable
from gateway.state.redis.connection import RedisError, Reply, encode_command
from gateway.state.redis.health import CONNECT_SECONDS, DEADLINE_SECONDS, PROBE_SECONDS, RedisHealth
from gateway.state.redis.topology import REDIRECT_CODES, RedisTopology, find_slot
from gateway.state.redis.url import parse_url

_UNAVAILABLE_CODES = frozenset(
    ("MASTERDOWN", "LOADING", "CLUSTERDOWN", "DENIED", "NOAUTH", *REDIRECT_CODES)
)
"""What an error begins with where this is not the server to ask, or not yet."""
_MAX_CLIENTS_ERROR = "ERR max number of clients"
_ERROR_TEXTS = {
    "LOADING": "it is still loading its data",
    "DENIED": "it is in protected mode",
    "NOAUTH": "it does not accept the credentials",
    **dict.fromkeys(REDIRECT_CODES, "it is a node of a Cluster, which redis+cluster:// names"),
}


type KeyedRequest = tuple[bytes, int, bytes]
"""A key, its slot, and a request on it."""


class _UnawaitedReply:
    """Waits for the answer of a request in the place of nobody."""

    __slots__ = ("_client", "_data", "_key")

    def __init__(self, client: "RedisClient", key: bytes, data: bytes) -> None:
        self._client = client
        self._key = key
        self._data = data

    def done(self) -> bool:
        return False

    def set_result(self, result: Reply, /) -> None:
        self._client.handle_reply(self._key, self._data, result)

    def set_exception(self, exception: StoreUnavailable, /) -> None:
        self._client.handle_reply(self._key, self._data, exception)


class RedisClient:
    """A Redis. `note` is told each time that it is lost, found again, or refuses."""

    def __init__(
        self,
        url: str,
        *,
        note: Callable[[str], None],
        clock: Callable[[], float],
        deadline: float = DEADLINE_SECONDS,
        connect_timeout: float = CONNECT_SECONDS,
        verify: bool = True,
    ) -> None:
        """Connect later, when first used; `clock` is monotonic seconds, `deadline` seconds.

        `connect_timeout` is seconds until a connection can be used: they are waited for beside
        calls. `verify` says whether certificates are checked. Raises ValueError for a URL that
        cannot be used.
        """
        address = parse_url(url, verify=verify)
        self._deadline = deadline
        self._topology = RedisTopology(address, deadline, connect_timeout)
        self._bulk_topology = RedisTopology(address, deadline, connect_timeout)
        """For what is large; nothing is opened before it is used."""
        self._clock = clock
        self._renewal_due_at = float("-inf")
        self._failed_key = b""
        self._unawaited_count = 0
        """Requests under way whose answer nobody waits for."""
        self._drain_event: asyncio.Event | None = None
        steps = 1 if address.kind == "single" else 2  # finding the server is one
        self._health = RedisHealth(
            address.location,
            check=self._check,
            describe_error=describe_error,
            note=note,
            clock=clock,
            deadline=deadline + steps * connect_timeout,
        )

    @property
    def alive(self) -> bool:
        """Whether the last that was heard of it was an answer; true before it was ever used."""
        return not self._health.is_lost

    async def execute(self, key: bytes, data: bytes) -> Reply:
        """What a request on a key answers. Raises StoreUnavailable."""
        reply = await self.execute_raw(key, find_slot(key), data)
        if type(reply) is RedisError:
            raise self.handle_error(key, reply)
        return reply

    async def execute_bulk(self, key: bytes, data: bytes) -> Reply:
        """The same for what is large, over a connection of its own: nobody waits behind it.

        One that takes too long says nothing of the server. Raises StoreUnavailable.
        """
        if self._health.is_lost:
            self._health.probe()
            raise StoreUnavailable
        try:
            async with asyncio.timeout(self._deadline):
                reply = await self._bulk_topology.execute(find_slot(key), data)
        except (StoreUnavailable, OSError, ValueError) as error:
            self._bulk_topology.close_connections()
            raise StoreUnavailable from error
        if type(reply) is RedisError:
            raise self.handle_error(key, reply)
        return reply

    def send_nowait(self, key: bytes, data: bytes) -> None:
        """Send a request on a key, for whose answer nobody waits; it may be lost."""
        if self._health.is_lost:
            self._health.probe()
        elif self._topology.enqueue(key, data, _UnawaitedReply(self, key, data)):
            self._unawaited_count += 1
        else:
            self._health.spawn(self._execute_unawaited(key, data), at_once=True)

    async def drain(self) -> None:
        """Wait until all that was told is answered, or lost."""
        if self._unawaited_count:
            self._drain_event = self._drain_event or asyncio.Event()
            await self._drain_event.wait()
        await self.wait_background()

    def handle_reply(self, key: bytes, data: bytes, reply: Reply | StoreUnavailable) -> None:
        """What came of a request for whose answer nobody waits."""
        self._unawaited_count -= 1
        if not self._unawaited_count and self._drain_event is not None:
            self._drain_event.set()
            self._drain_event = None
        if isinstance(reply, StoreUnavailable):
            self._mark_lost(key)
        elif type(reply) is RedisError:
            if self._topology.is_redirect(reply):
                self._health.spawn(self._execute_unawaited(key, data))
            else:
                self.handle_error(key, reply)

    async def _execute_unawaited(self, key: bytes, data: bytes) -> None:
        with suppress(StoreUnavailable):
            await self.execute(key, data)

    def execute_raw(self, key: bytes, slot: int, data: bytes) -> Coroutine[Any, Any, Reply]:
        """Send a request on a key; return its answer, even an error. Raises StoreUnavailable."""
        return self._await_reply(self._send(slot, data), key, slot, data)

    async def execute_pair(self, first: KeyedRequest, second: KeyedRequest) -> tuple[Reply, Reply]:
        """Do the same with two requests, in one write where they go to one server."""
        answers = self._send(*first[1:]), self._send(*second[1:])
        try:
            return await self._await_reply(answers[0], *first), await self._await_reply(
                answers[1], *second
            )
        except BaseException:
            for answer in answers:
                if answer is not None and not (answer.cancel() or answer.cancelled()):
                    answer.exception()  # nobody else would look at it
            raise

    def _send(self, slot: int, data: bytes) -> asyncio.Future[Reply] | None:
        """Send a request where its way is open; None where it is not. Raises StoreUnavailable."""
        if self._health.is_lost:
            self._health.probe()
            raise StoreUnavailable
        return self._topology.send_if_open(slot, data)

    async def _await_reply(
        self, answer: asyncio.Future[Reply] | None, key: bytes, slot: int, data: bytes
    ) -> Reply:
        try:
            if answer is not None:
                reply = await answer
                if not self._topology.is_redirect(reply):
                    return reply
                async with asyncio.timeout(self._deadline):
                    return await self._topology.follow_redirect(slot, data, reply)
            async with asyncio.timeout(self._deadline):
                return await self._topology.execute(slot, data)
        except (StoreUnavailable, OSError, ValueError) as error:  # TimeoutError is an OSError
            self._mark_lost(key)
            raise StoreUnavailable from error

    def handle_error(self, key: bytes, reply: RedisError) -> StoreUnavailable:
        """Take a failure that was answered."""
        if reply.code in _UNAVAILABLE_CODES or reply.text.startswith(_MAX_CLIENTS_ERROR):
            self._mark_lost(key)
            return StoreUnavailable()
        now = self._clock()
        if reply.code == "READONLY" and now >= self._renewal_due_at:
            self._renewal_due_at = now + PROBE_SECONDS
            # A replica now, which can be read: a new connection may be to the primary.
            self._topology.retire_connections()
            self._bulk_topology.retire_connections()
        self._health.report_refusal(reply.code)
        return StoreUnavailable()

    async def close(self) -> None:
        """Close every connection; within a deadline and the time to open one."""
        await self._health.close()
        await self._topology.close()
        await self._bulk_topology.close()

    async def wait_background(self) -> None:
        """Wait for what goes on in the background."""
        await self._health.wait_background()

    def _mark_lost(self, key: bytes) -> None:
        if self._health.is_lost:  # another call of the same loss has told
            return
        self._failed_key = key
        self._topology.abandon()
        self._bulk_topology.abandon()
        self._health.record_failure()

    async def _check(self) -> None:
        """Ask for the key that failed: a proxy answers pings for servers that are dead."""
        try:
            data = encode_command(b"EXISTS", self._failed_key)
            _check_available(await self._topology.execute(find_slot(self._failed_key), data))
        except BaseException:
            self._topology.abandon()  # the next one dials anew
            raise


def _check_available(reply: Reply) -> None:
    """Raises StoreUnavailable where an answer says that this is not the server to ask."""
    if isinstance(reply, RedisError) and reply.text.startswith(_MAX_CLIENTS_ERROR):
        raise StoreUnavailable("no connection is left")
    if isinstance(reply, RedisError) and reply.code in _UNAVAILABLE_CODES:
        raise StoreUnavailable(_ERROR_TEXTS.get(reply.code, f"it answers {reply.code}"))


def describe_error(error: Exception) -> str:
    """Why it is gone, in words that quote nothing."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, socket.gaierror):
        return "its name is not known"
    if isinstance(error, ssl.SSLError):
        return "no secure connection"
    return str(error) if isinstance(error, StoreUnavailable) else "no connection"
