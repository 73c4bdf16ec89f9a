"""Test graceful shutdown step by step, on its own clock, and the end of an in-flight request."""

import asyncio
from dataclasses import dataclass, field
from functools import partial

import pytest

from gateway.core.call import Call
from gateway.server.shutdown import (
    GracefulShutdown,
    InFlightRequest,
    ShutdownSteps,
    let_clients_leave,
    run,
)

CALL = Call(
    id="tg-1",
    dialect="openai-chat",
    operation="generate",
    body=b"{}",
    received_at=0.0,
    started_at=0.0,
)


@dataclass
class ScriptedShutdown:
    """A server whose calls end at set times, and whose clock advances as it sleeps."""

    delay: float = 3.0
    within: float = 25.0
    free: float = 0.0
    """Time at which its calls end by themselves."""
    hurry: float = 1e9
    """Time of the second signal."""
    stubborn: bool = False
    """True if calls go on although the server ends them."""
    now: float = 0.0
    ended: float = 1e9
    seen: list[tuple[str, float]] = field(default_factory=list)

    async def run(self) -> int:
        self.drain = GracefulShutdown()
        visit = InFlightRequest(abort=partial(self.abort, CALL))
        self.drain.requests.add(visit)
        steps = ShutdownSteps(self.stop, self.busy, lambda: self.now >= self.hurry)
        return await run(
            self.drain, steps, delay=self.delay, timeout_seconds=self.within,
            clock=lambda: self.now, sleep=self.sleep,
        )  # fmt: skip

    def stop(self) -> None:
        assert self.drain.has_begun
        self.seen.append(("stop", round(self.now, 1)))

    def busy(self) -> bool:
        busy = self.now < min(self.free, self.now + 1 if self.stubborn else self.ended)
        if not busy:
            self.drain.requests.clear()
        return busy

    def abort(self, call: Call, _: object, by: str) -> None:
        assert (call, by) == (CALL, "drain")
        self.ended = self.now + 0.5
        self.seen.append(("end", round(self.now, 1)))

    async def sleep(self, seconds: float) -> None:
        assert self.drain.has_begun
        since = self.now - self.seen[0][1] if self.seen else -1.0
        if since < 0 or (self.delay and since < 0.24 and self.now < self.hurry):
            assert not self.drain.is_closed or self.now >= self.within - 2
        elif since > 0.37 or not self.delay:
            assert self.drain.is_closed
        self.now += seconds


@pytest.mark.parametrize(
    ("scripted", "seen", "end"),
    [
        (ScriptedShutdown(), [("stop", 3.0)], 3.3),
        (ScriptedShutdown(delay=0.0), [("stop", 0.0)], 0.0),
        (ScriptedShutdown(free=10.0), [("stop", 3.0)], 10.0),
        (ScriptedShutdown(free=99.0), [("stop", 3.0), ("end", 23.0)], 23.5),
        (ScriptedShutdown(free=99.0, stubborn=True), [("stop", 3.0), ("end", 23.0)], 25.0),
        (ScriptedShutdown(delay=99.0, free=999.0), [("stop", 23.0), ("end", 23.0)], 23.5),
        (ScriptedShutdown(delay=0.0, within=2.0, free=99.0), [("stop", 0.0), ("end", 1.5)], 2.0),
        (ScriptedShutdown(free=99.0, hurry=1.0), [("stop", 1.0), ("end", 1.0)], 1.5),
        (ScriptedShutdown(free=99.0, hurry=7.0), [("stop", 3.0), ("end", 7.0)], 7.5),
        (ScriptedShutdown(free=99.0, hurry=7.0, stubborn=True), [("stop", 3.0), ("end", 7.0)], 9.0),
    ],
)
async def test_each_step_of_a_shutdown_has_its_time(
    scripted: ScriptedShutdown, seen: list[tuple[str, float]], end: float
) -> None:
    """The gateway takes connections during the delay, then gives late clients a moment to ask.
    Calls run until 2 s before the end; a second signal ends them now. If all calls have ended, it
    waits no longer.
    """
    ended_calls = await scripted.run()
    assert scripted.seen == seen
    assert scripted.now == pytest.approx(end, abs=0.1)
    assert ended_calls == sum(event == "end" for event, _ in seen)


async def test_waits_for_keys_end_once_the_gateway_takes_no_more_calls() -> None:
    """The gateway keeps such waits until then: while it takes calls, they may wait for providers
    too.
    """
    now, closed = 0.0, list[float]()
    drain = GracefulShutdown(lambda: closed.append(now))

    async def sleep(seconds: float) -> None:
        nonlocal now
        assert drain.is_closed == bool(closed)
        now += seconds

    steps = ShutdownSteps(lambda: None, lambda: now < 9.0, lambda: False)
    await run(drain, steps, delay=3.0, timeout_seconds=25.0, clock=lambda: now, sleep=sleep)
    assert closed == [pytest.approx(3.3, abs=0.1)]


@pytest.mark.parametrize(
    ("until", "within", "end", "remaining"),
    [(0.0, 25.0, 0.0, 25.0), (7.0, 25.0, 7.0, 18.0), (99.0, 25.0, 23.0, 2.0), (9.0, 2.0, 1.5, 0.5)],
)
async def test_a_worker_waits_for_its_clients_while_other_workers_serve(
    until: float, within: float, end: float, remaining: float
) -> None:
    """The wait leaves time to end the remaining calls, whose clients get an error."""
    drain, now = GracefulShutdown(), 0.0

    async def sleep(seconds: float) -> None:
        nonlocal now
        assert drain.closes_connections
        assert not drain.has_begun
        now += seconds

    assert not drain.closes_connections
    result = await let_clients_leave(
        drain, lambda: now < until, timeout_seconds=within, clock=lambda: now, sleep=sleep
    )
    assert now == pytest.approx(end, abs=0.06)
    assert result == pytest.approx(remaining, abs=0.06)


async def hold_request(holder: list[InFlightRequest]) -> str:
    holder.append(InFlightRequest())
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        if not holder[0].undo_cancellation():
            raise
    return holder[0].ended_by


async def test_only_the_first_reason_ends_a_request() -> None:
    holder: list[InFlightRequest] = []
    task = asyncio.create_task(hold_request(holder))
    await asyncio.sleep(0)
    holder[0].end("drain")
    holder[0].end("client")
    assert await task == "drain"


async def test_a_request_whose_answer_is_written_is_not_ended() -> None:
    holder: list[InFlightRequest] = []
    task = asyncio.create_task(hold_request(holder))
    await asyncio.sleep(0)
    holder[0].is_complete = True
    holder[0].end("client")
    assert holder[0].ended_by == ""
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
