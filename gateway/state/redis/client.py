"""A client of Redis that sends commands by key, each within a deadline.

The Redis may be one server, Sentinel's primary or a Cluster. If it does not answer, the client
probes it, and sends it no calls until a probe is answered.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any

from gateway.state.errors import StoreUnavailable
from gateway.state.redis.commands import encode_command
from gateway.state.redis.health import CONNECT_SECONDS, DEADLINE_SECONDS, PROBE_SECONDS, RedisHealth
from gateway.state.redis.replies import REDIRECT_CODES, Answer, RedisError, Reply
from gateway.state.redis.server_connection import ServerConnection, describe_error
from gateway.state.redis.servers import RedisServers
from gateway.state.redis.url import parse_url

_UNAVAILABLE_CODES = frozenset(("MASTERDOWN", "CLUSTERDOWN", "DENIED", *REDIRECT_CODES))
"""Error codes of a server that is the wrong one to ask, or not ready yet."""


class RedisClient:
    """A client of one Redis. It calls `note` when Redis is lost, is back, or refuses a command."""

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
        """Check the URL; the client connects when it is first used.

        `clock` returns monotonic seconds. `deadline` is in seconds, for one operation.
        `connect_timeout` is in seconds, until a connection can be used; connections open in the
        background of calls. `verify` is True to check certificates. Raises ValueError for a URL
        that the client cannot use.
        """
        address = parse_url(url, verify=verify)
        self.is_cluster = address.kind == "cluster"
        """True if keys with different tags may lie on different servers."""
        self._deadline = deadline
        self._servers = RedisServers(address, deadline, connect_timeout)
        self._bulk_servers = RedisServers(address, deadline, connect_timeout)
        """Connections for large values, opened when first used."""
        self._clock = clock
        self._renewal_due_at = float("-inf")
        self._failed_key = b""
        self._health = RedisHealth(
            address.location,
            check=self._check,
            describe_error=describe_error,
            note=note,
            clock=clock,
            deadline=deadline + self._servers.connect_deadline,
        )

    @property
    def alive(self) -> bool:
        """True if Redis answered the last call or probe, or was never used."""
        return not self._health.is_lost

    def find_open(self, key: bytes) -> ServerConnection | None:
        """Return the open connection to the server of a key; None without one."""
        return None if self._health.is_lost else self._servers.find_open(key)

    async def execute(self, key: bytes, *words: bytes) -> Reply:
        """Send a command on a key and return the answer. Raises StoreUnavailable."""
        answer = await self.execute_encoded(key, encode_command(*words))
        if isinstance(answer, RedisError):
            raise self.handle_error(key, answer)
        return answer

    def execute_raw(self, key: bytes, *words: bytes) -> Coroutine[Any, Any, Answer]:
        """Send a command and return the answer, even an error. Raises StoreUnavailable."""
        return self.execute_encoded(key, encode_command(*words))

    def execute_encoded(self, key: bytes, command: bytes) -> Coroutine[Any, Any, Answer]:
        """Send an encoded command, and return its answer to await, even an error.

        An open connection takes the command before this returns, so that a caller can send several
        commands and then await them. Awaiting raises StoreUnavailable.
        """
        connection = self.find_open(key)
        sent = None if connection is None else connection.send(command)
        return self._finish(key, command, sent)

    async def _finish(
        self, key: bytes, command: bytes, sent: asyncio.Future[Answer] | None
    ) -> Answer:
        """Return the answer to a command; send it first if no connection was open."""
        if sent is None:
            self._require_alive()
        try:
            if sent is None:
                async with asyncio.timeout(self._deadline):
                    return await self._servers.execute(key, command)
            answer = await sent
            if isinstance(answer, RedisError) and self._servers.is_redirect(answer):
                async with asyncio.timeout(self._deadline):
                    return await self._servers.follow_redirects(command, answer)
        except Exception as error:
            self._mark_lost(key)
            raise StoreUnavailable from error
        return answer

    async def execute_bulk(self, key: bytes, *words: bytes) -> Reply:
        """Do the same as `execute` for a large value, on a connection that delays no other call.

        A transfer that fails or takes too long does not mark Redis as lost. Raises
        StoreUnavailable.
        """
        self._require_alive()
        try:
            async with asyncio.timeout(self._deadline):
                answer = await self._bulk_servers.execute(key, encode_command(*words))
        except Exception as error:
            self._bulk_servers.drop()
            raise StoreUnavailable from error
        if isinstance(answer, RedisError):
            raise self.handle_error(key, answer)
        return answer

    def send_nowait(self, key: bytes, *words: bytes) -> None:
        """Send a command on a key without waiting for the answer; the command may be lost."""
        command, connection = encode_command(*words), self.find_open(key)
        if connection is None:
            self._health.spawn(self._execute_unawaited(key, command), at_once=True)
        else:
            answer = connection.send(command)
            self._health.tasks.add(answer)
            answer.add_done_callback(partial(self._take_unawaited_answer, key, command))

    async def drain(self) -> None:
        """Wait until the commands of `send_nowait` are answered or lost, and probes have ended."""
        await self._health.wait_background()

    async def _execute_unawaited(self, key: bytes, command: bytes) -> None:
        with suppress(StoreUnavailable):
            answer = await self.execute_encoded(key, command)
            if isinstance(answer, RedisError):
                self.handle_error(key, answer)

    def _take_unawaited_answer(
        self, key: bytes, command: bytes, answer: asyncio.Future[Answer]
    ) -> None:
        self._health.tasks.discard(answer)
        if answer.cancelled() or answer.exception() is not None:
            self._mark_lost(key)
        elif isinstance(error := answer.result(), RedisError):
            if self._servers.is_redirect(error):
                self._health.spawn(self._execute_unawaited(key, command), at_once=True)
            else:
                self.handle_error(key, error)

    def handle_error(self, key: bytes, error: RedisError) -> StoreUnavailable:
        """Handle an error that Redis answered, and return the exception to raise."""
        code = error.code
        if code in _UNAVAILABLE_CODES:
            self._mark_lost(key)
            return StoreUnavailable()
        now = self._clock()
        if code == "READONLY" and now >= self._renewal_due_at:
            self._renewal_due_at = now + PROBE_SECONDS
            # It is a replica now, which serves reads. A new connection may reach the primary.
            self._servers.retire()
            self._bulk_servers.retire()
        self._health.report_refusal(code)
        return StoreUnavailable()

    async def close(self) -> None:
        """Close every connection, within a deadline plus the time to open one."""
        await self._health.close()
        await self._servers.close()
        await self._bulk_servers.close()

    def _require_alive(self) -> None:
        """Raise StoreUnavailable if Redis is lost, and start a probe if one is due."""
        if self._health.is_lost:
            self._health.probe()
            raise StoreUnavailable

    def _mark_lost(self, key: bytes) -> None:
        if self._health.is_lost:  # another call has reported the same loss
            return
        self._failed_key = key
        self._servers.drop()
        self._bulk_servers.drop()
        self._health.record_failure()

    async def _check(self) -> None:
        """Ask for the key that failed, as a proxy answers pings for dead servers."""
        try:
            key = self._failed_key
            _check_available(await self._servers.execute(key, encode_command(b"EXISTS", key)))
        except BaseException:
            self._servers.drop()  # the next check opens a new connection
            raise


def _check_available(answer: Answer) -> None:
    """Raise StoreUnavailable if an answer says that the server cannot serve the key now."""
    if isinstance(answer, RedisError) and answer.code in _UNAVAILABLE_CODES:
        raise StoreUnavailable(answer.describe())
