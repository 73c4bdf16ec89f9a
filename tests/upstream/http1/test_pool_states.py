"""Whatever requests and providers do, in any order, a pool lends each connection once: a state machine.

Requests ask for connections, give them back, and are cancelled. Providers are slow, refuse, and close.
At each step no more are in use than the limit, nobody waits while a slot is free, and those who wait
get their connections in order. The loop's clock jumps, so nothing waits for real.
"""

import asyncio
import itertools
from collections.abc import Callable
from typing import Any, cast

import httpx
import hypothesis.strategies as st
import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from gateway.upstream.http1.connection import Loop, ProviderConnection
from gateway.upstream.http1.pool import ConnectionPool
from tests.jumping_clock import JumpingClockLoop

LIMIT, MAX_IDLE, EXPIRY = 2, 1, 30.0
_SLOW = 7.0
"""Seconds that a slow provider takes to connect."""
_CONNECT_TIMEOUT, _WAIT_TIMEOUT = 5.0, 9.0


class _FakeConnection:
    """A connection as the pool sees it."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.is_open = True
        self.can_be_kept = True
        self.idle_since = 0.0
        self.on_lost: Callable[[Any], object] | None = None

    def is_usable(self, unchecked_seconds: float) -> bool:
        return self.is_open

    def finish_exchange(self) -> bool:
        if self.is_open and self.can_be_kept:
            self.idle_since = asyncio.get_running_loop().time()
            return True
        self.is_open = False
        return False

    def abort(self) -> None:
        self.is_open = False


class PoolStates(RuleBasedStateMachine):
    """See the module."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=JumpingClockLoop)
        self.numbers = itertools.count()
        self.dials: list[str] = []
        """What the next connections will be: "slow" or "refused"; otherwise they work."""
        self.connections: list[_FakeConnection] = []
        self.lent: dict[int, _FakeConnection] = {}
        """Connections that requests have, by the number of the request."""
        self.waiting: dict[int, asyncio.Task[Any]] = {}
        """Requests that have not got one yet, in order."""
        self.queue: list[int] = []
        """Those of them that came when all slots were in use, in order."""
        self.errors: list[BaseException] = []
        """Errors of requests that no request may have."""
        self.pool = self.run(self.make_pool)

    def run[R](self, act: Callable[[], R]) -> R:
        """Do something in the loop, and let all that follows from it happen."""

        async def run() -> R:
            result = act()
            await asyncio.sleep(0)
            for _ in range(6):
                await asyncio.sleep(0)
            return result

        return self.runner.run(run())

    def make_pool(self) -> ConnectionPool:
        return ConnectionPool(
            asyncio.get_running_loop(), self.dial, limit=LIMIT, max_idle=MAX_IDLE, keepalive_expiry=EXPIRY
        )  # fmt: skip

    async def dial(self, loop: Loop) -> ProviderConnection:
        kind = self.dials.pop() if self.dials else ""
        if kind == "slow":
            await asyncio.sleep(_SLOW)
        if kind == "refused":
            raise httpx.ConnectError("refused")
        connection = _FakeConnection(len(self.connections))
        self.connections.append(connection)
        return cast("ProviderConnection", connection)

    def take(self, number: int, connection: Any) -> None:
        assert connection.is_open
        assert connection not in self.lent.values(), "a connection is lent twice"
        self.lent[number] = connection

    async def request(self, number: int) -> None:
        try:
            connection = await self.pool.acquire(
                connect_timeout=_CONNECT_TIMEOUT, wait_timeout=_WAIT_TIMEOUT
            )
            self.take(number, connection)
        finally:
            del self.waiting[number]
            if number in self.queue:
                if number in self.lent:
                    granted_count = len(self.queue) - self.pool.queued_count  # some still connect
                    assert number in self.queue[:granted_count], "a request has overtaken another"
                self.queue.remove(number)

    def note_end(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, httpx.TransportError):
            self.errors.append(error)

    # what requests do

    @rule(dials=st.lists(st.sampled_from(["", "", "slow", "refused"]), max_size=2))
    def ask(self, dials: list[str]) -> None:
        self.dials += dials
        number = next(self.numbers)

        def start() -> None:
            if self.pool.in_use_count >= LIMIT:
                self.queue.append(number)
            self.waiting[number] = asyncio.create_task(self.request(number))
            self.waiting[number].add_done_callback(self.note_end)

        self.run(start)

    @rule()
    def ask_for_idle(self) -> None:
        """Take an idle connection, as a request does that can be sent again."""
        idle_count = self.pool.idle_count

        def take() -> None:
            connection = self.pool.acquire_idle()
            if connection is not None:
                self.take(next(self.numbers), connection)

        before = len(self.lent)
        self.run(take)
        assert len(self.lent) - before <= idle_count

    @precondition(lambda self: self.lent)
    @rule(choice=st.integers(0, 9), can_be_kept=st.booleans())
    def give_back(self, choice: int, *, can_be_kept: bool) -> None:
        connection = self.lent.pop([*self.lent][choice % len(self.lent)])
        connection.can_be_kept = can_be_kept
        self.run(lambda: self.pool.release(cast("ProviderConnection", connection)))

    @precondition(lambda self: self.waiting)
    @rule(choice=st.integers(0, 9), also_gives_back=st.booleans())
    def cancel(self, choice: int, *, also_gives_back: bool) -> None:
        """Cancel a request that waits, perhaps in the moment in which it gets a connection."""
        task = self.waiting[[*self.waiting][choice % len(self.waiting)]]

        def act() -> None:
            if also_gives_back and self.lent:
                _, connection = self.lent.popitem()
                self.pool.release(cast("ProviderConnection", connection))
            task.cancel()

        self.run(act)

    # what providers and time do

    @rule(choice=st.integers(0, 9))
    def lose_idle(self, choice: int) -> None:
        """Close an idle connection from the other end."""
        idle = [*self.pool._idle]
        if idle:
            connection = cast("Any", idle[choice % len(idle)])

            def lose() -> None:
                connection.is_open = False
                connection.on_lost(connection)

            self.run(lose)

    @rule(seconds=st.sampled_from([0.1, 5.0, 9.0, 31.0]))
    def wait(self, seconds: float) -> None:
        async def wait() -> None:
            await asyncio.sleep(seconds)

        self.runner.run(wait())
        self.run(int)

    # what must hold

    @invariant()
    def keeps_its_bounds(self) -> None:
        pool = self.pool
        connecting = len(self.waiting) - pool.queued_count
        assert pool.in_use_count == len(self.lent) + connecting <= LIMIT
        assert pool.idle_count <= MAX_IDLE
        assert not {*pool._idle} & {*self.lent.values()}, "a lent connection is idle"
        if pool.queued_count:
            assert pool.in_use_count == LIMIT, "a request waits while a slot is free"

    @invariant()
    def no_request_fails_otherwise(self) -> None:
        assert not self.errors

    @invariant()
    def forgets_no_open_connection(self) -> None:
        known = {*self.pool._idle, *self.lent.values()}
        assert {connection for connection in self.connections if connection.is_open} <= known

    def teardown(self) -> None:
        try:
            while self.lent:
                self.give_back(0, can_be_kept=True)
            self.wait(60.0)
            while self.lent:
                self.give_back(0, can_be_kept=True)
            assert not self.waiting
            assert (self.pool.in_use_count, self.pool.queued_count) == (0, 0)
            self.run(self.pool.close)
            assert not any(connection.is_open for connection in self.connections)
        finally:
            self.runner.close()


@pytest.fixture(autouse=True)
def no_wait_for_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock jumps at once: the loop has no sockets."""
    monkeypatch.setattr("tests.jumping_clock._KERNEL_SECONDS", 0.0)


_SETTINGS = settings(max_examples=40, stateful_step_count=30, deadline=None)


def test_no_order_of_requests_and_closes_lends_a_connection_twice_or_loses_a_slot() -> None:
    run_state_machine_as_test(PoolStates, settings=_SETTINGS)


def _lose_a_slot(patch: pytest.MonkeyPatch) -> None:
    """A request that is cancelled in the moment in which it gets a slot keeps it for ever."""
    patch.setattr("gateway.upstream.http1.pool._is_granted", lambda _: False)


def _keep_lent(patch: pytest.MonkeyPatch) -> None:
    """An idle connection that is lent stays idle."""

    def pop(self: ConnectionPool, unchecked_seconds: float = 0.0) -> ProviderConnection | None:
        return next((it for it in self._idle if it.is_usable(unchecked_seconds)), None)

    patch.setattr(ConnectionPool, "_pop_usable", pop)


def _overtake(patch: pytest.MonkeyPatch) -> None:
    """The last request of the queue gets the next slot."""

    def release(self: ConnectionPool) -> None:
        if self._queue:
            self._queue.pop().set_result(None)
        else:
            self.in_use_count -= 1

    patch.setattr(ConnectionPool, "_release_slot", release)


@pytest.mark.parametrize("plant", [_lose_a_slot, _keep_lent, _overtake])
def test_the_machine_notices_a_planted_bug(
    plant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    with pytest.raises((AssertionError, ValueError, asyncio.InvalidStateError)):
        run_state_machine_as_test(
            PoolStates, settings=settings(_SETTINGS, derandomize=True, phases=(Phase.generate,))
        )
