"""A client leaves while the gateway waits for something other than a provider: all ends at once.

test_final_rows.py has clients that leave while a provider answers, `make leave` a thousand of all
kinds.
"""

import asyncio
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.upstream import PATIENCE, ROLE, SILENT, Upstream, chunk, failing, stream
from tests.e2e.world import Make, World, abort, chat

AT_ONCE = 0.25


class Halt:
    """A place where calls wait for ever; it records when a call came, and when it was cancelled."""

    def __init__(self) -> None:
        self.came = threading.Event()
        self.left = threading.Event()
        self.left_at = 0.0

    async def __call__(self, *_: object, **__: object) -> Any:
        self.came.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.left_at = time.monotonic()
            self.left.set()


def in_retries(world: World, halt: Halt) -> None:
    world.gateway.engine._upstream._sleep = halt


def in_admission(world: World, halt: Halt) -> None:
    world.gateway.limiter.applies_to = lambda key: True  # type: ignore[method-assign]
    world.gateway.limiter.reserve = halt  # type: ignore[method-assign]


def in_earlier_answers(world: World, halt: Halt) -> None:
    world.gateway.engine.memory.read = halt  # type: ignore[method-assign]


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(("where", "attempts"), [(in_retries, 1), (in_admission, 0), (in_earlier_answers, 0)])  # fmt: skip
def test_c_01_c_02_a_client_leaves_before_or_between_attempts(
    make: Make,
    upstream: Upstream,
    where: Callable[[World, Halt], None],
    attempts: int,
    streamed: bool,
) -> None:
    """C-01, C-02: it ends within 250 ms (the best of three: the machine may be busy).

    The call has its one row, and no provider is called any more.
    """
    upstream.on("/acme", failing(429))
    took = []
    for at in range(3):
        world, halt = make(), Halt()
        where(world, halt)
        with world.leaving(chat(stream=streamed)) as connection:
            assert halt.came.wait(PATIENCE)
            since = abort(connection)
            assert halt.left.wait(PATIENCE)
            took.append(halt.left_at - since)
        entry = world.entry()
        assert (entry.state, entry.status, entry.aborted_by) == ("aborted", 499, "client")
        assert (entry.attempts, len(upstream.requests)) == (attempts, attempts * (at + 1))
        assert not [row for row in world.log if row["event"] == "bug"]
        if took[-1] < AT_ONCE:
            break
    assert min(took) < AT_ONCE


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
def test_c_05_a_client_that_closes_its_sending_half_has_left(
    world: World, upstream: Upstream, streamed: bool
) -> None:
    """C-05: it is not served, nothing hangs, and its connection is closed."""
    upstream.on(
        "/acme", stream(ROLE, chunk({"content": "Hel"}), end="stall") if streamed else SILENT
    )
    with world.leaving(chat(stream=streamed)) as connection:
        request = upstream.arrived()
        if streamed:
            assert connection.recv(12) == b"HTTP/1.1 200"
        connection.shutdown(socket.SHUT_WR)
        assert request.left.wait(PATIENCE)
        while connection.recv(65536):
            pass
    entry = world.entry()
    assert (entry.state, entry.status, entry.aborted_by) == ("aborted", 499, "client")
