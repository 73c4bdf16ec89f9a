"""A Redis that is asked by key, each time within a deadline, and never in vain.

It may be one server, Sentinel's primary or a Cluster. One that does not answer is doubted, probed
and left alone.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from gateway.state.errors import StoreUnavailable
from gateway.state.redis.health import CONNECT_SECONDS, DEADLINE_SECONDS, PROBE_SECONDS, RedisHealth
from gateway.state.redis.replies import REDIRECT_CODES, Answer, RedisError, Reply
from gateway.state.redis.url import parse_url

_UNAVAILABLE_CODES = frozenset(("MASTERDOWN", "CLUSTERDOWN", "DENIED", *REDIRECT_CODES))
"""Codes of errors that say that this is not the server to ask, or not yet."""


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
        # A gateway without Redis has no library of it.
        from gateway.state.redis.server_connection import describe_error  # noqa: PLC0415
        from gateway.state.redis.servers import RedisServers  # noqa: PLC0415

        address = parse_url(url, verify=verify)
        self._deadline = deadline
        self._servers = RedisServers(address, deadline, connect_timeout)
        self._bulk_servers = RedisServers(address, deadline, connect_timeout)
        """For what is large; nothing is opened before it is used."""
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
        """True if the last that was heard of it was an answer, or it was never used."""
        return not self._health.is_lost

    async def execute(self, key: bytes, *words: bytes) -> Reply:
        """Return what a command on a key answers. Raises StoreUnavailable."""
        answer = await self.execute_raw(key, *words)
        if isinstance(answer, RedisError):
            raise self.handle_error(key, answer)
        return answer

    async def execute_raw(self, key: bytes, *words: bytes) -> Answer:
        """Return what a command answers, even an error. Raises StoreUnavailable."""
        self._require_alive()
        try:
            connection = self._servers.find_open(key)
            if connection is None:
                async with asyncio.timeout(self._deadline):
                    return await self._servers.execute(key, words)
            answer = await connection.send(*words)
            if self._servers.is_redirect(answer):
                async with asyncio.timeout(self._deadline):
                    return await self._servers.follow_redirects(words, answer)
        except Exception as error:
            self._mark_lost(key)
            raise StoreUnavailable from error
        return answer

    async def execute_bulk(self, key: bytes, *words: bytes) -> Reply:
        """Do the same as `execute` for what is large: nobody waits behind it.

        One that takes too long says nothing of the server. Raises StoreUnavailable.
        """
        self._require_alive()
        try:
            async with asyncio.timeout(self._deadline):
                answer = await self._bulk_servers.execute(key, words)
        except Exception as error:
            self._bulk_servers.drop()
            raise StoreUnavailable from error
        if isinstance(answer, RedisError):
            raise self.handle_error(key, answer)
        return answer

    def send_nowait(self, key: bytes, *words: bytes) -> None:
        """Send a command on a key, for whose answer nobody waits; it may be lost."""
        connection = None if self._health.is_lost else self._servers.find_open(key)
        if connection is None:
            self._health.spawn(self._execute_unawaited(key, words), at_once=True)
        else:
            answer = connection.send(*words)
            answer.add_done_callback(partial(self._take_unawaited_answer, key, words))
            self._health.track(answer)

    async def drain(self) -> None:
        """Wait until all that was sent so is answered, or lost, and for probes."""
        await self._health.wait_background()

    async def _execute_unawaited(self, key: bytes, words: tuple[bytes, ...]) -> None:
        with suppress(StoreUnavailable):
            await self.execute(key, *words)

    def _take_unawaited_answer(
        self, key: bytes, words: tuple[bytes, ...], answer: asyncio.Future[Answer]
    ) -> None:
        if answer.cancelled() or answer.exception() is not None:
            self._mark_lost(key)
        elif isinstance(error := answer.result(), RedisError):
            if self._servers.is_redirect(error):
                self._health.spawn(self._execute_unawaited(key, words), at_once=True)
            else:
                self.handle_error(key, error)

    def handle_error(self, key: bytes, error: RedisError) -> StoreUnavailable:
        """Take an error that was answered; return what to raise."""
        code = error.code
        if code in _UNAVAILABLE_CODES:
            self._mark_lost(key)
            return StoreUnavailable()
        now = self._clock()
        if code == "READONLY" and now >= self._renewal_due_at:
            self._renewal_due_at = now + PROBE_SECONDS
            # A replica now, which can be read: a new connection may be to the primary.
            self._servers.retire()
            self._bulk_servers.retire()
        self._health.report_refusal(code)
        return StoreUnavailable()

    async def close(self) -> None:
        """Close every connection; within a deadline and the time to open one."""
        await self._health.close()
        await self._servers.close()
        await self._bulk_servers.close()

    def _require_alive(self) -> None:
        """Raise StoreUnavailable where it is lost, and see to it that it is probed."""
        if self._health.is_lost:
            self._health.probe()
            raise StoreUnavailable

    def _mark_lost(self, key: bytes) -> None:
        if self._health.is_lost:  # another call of the same loss has told
            return
        self._failed_key = key
        self._servers.drop()
        self._bulk_servers.drop()
        self._health.record_failure()

    async def _check(self) -> None:
        """Ask for the key that failed: a proxy answers pings for servers that are dead."""
        try:
            key = self._failed_key
            _check_available(await self._servers.execute(key, (b"EXISTS", key)))
        except BaseException:
            self._servers.drop()  # the next one dials anew
            raise


def _check_available(answer: Answer) -> None:
    """Raise StoreUnavailable where an answer says that this is not the server to ask."""
    if isinstance(answer, RedisError) and answer.code in _UNAVAILABLE_CODES:
        raise StoreUnavailable(answer.describe())
