"""The health of a server that may vanish at any time: it decides if calls may ask the server.

    alive --a call fails--> in doubt --a probe fails--> gone --a probe is answered--> alive
                               |-----a probe is answered, without a note------------> alive

While the server is in doubt or gone, calls skip it at once. In doubt, it is probed immediately: a
short pause of the server, or of this event loop, is not a loss. While it is gone, about once a
second one call starts a probe in the background. So no request waits to learn if it is back. If the
server answers probes but still fails calls, the pauses between probes grow.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

DEADLINE_SECONDS = 0.1
"""The most seconds for one operation, with all its steps."""
CONNECT_SECONDS = 1.0
"""The most seconds until a connection can be used, unless the operator sets another value."""
PROBE_SECONDS = 1.0
"""Seconds between two probes of a server that is gone."""
_CALM_SECONDS = 10.0
"""Seconds without a failure after which the earlier failures no longer count."""
_MAX_FAILURES = 5
"""Failed calls, each within `_CALM_SECONDS` of an answered probe, before pauses begin.

Each further failure doubles the pause.
"""
_MAX_PAUSE_SECONDS = 32.0
"""The longest pause in seconds."""
_QUIET_SECONDS = 60.0
"""Seconds between two notes about a server that refuses commands."""


class RedisHealth:
    """The state of a server, with the background probes that find it out.

    `check` asks the server something, and raises if it does not answer. `describe_error` puts such
    an error in words. `location` is the place in notes. `clock` returns monotonic seconds.
    `deadline` is the seconds for a probe.
    """

    def __init__(
        self,
        location: str,
        *,
        check: Callable[[], Awaitable[object]],
        describe_error: Callable[[Exception], str],
        note: Callable[[str], None],
        clock: Callable[[], float],
        deadline: float,
    ) -> None:
        self._location = location
        self._check = check
        self._describe_error = describe_error
        self._note = note
        self._clock = clock
        self._deadline = deadline
        self.is_lost = False
        """True if calls must not ask the server."""
        self._loss_reported = self._is_closed = self._is_probing = False
        self._probe_at = 0.0
        self._quiet_until = float("-inf")
        self._failure_count = 0
        self._alive_since = clock()
        self.tasks: set[asyncio.Future[Any]] = set()

    @property
    def is_closed(self) -> bool:
        """True after `close`."""
        return self._is_closed

    def record_failure(self) -> None:
        """Record that a call failed: probe the server now, or after a pause."""
        self.is_lost = True
        now = self._clock()
        self._failure_count = (
            1 if now - self._alive_since >= _CALM_SECONDS else self._failure_count + 1
        )
        if self._failure_count <= _MAX_FAILURES:
            self._probe_at = now
            self.probe()
        else:
            self._probe_at = now + min(
                2.0 ** (self._failure_count - _MAX_FAILURES - 1), _MAX_PAUSE_SECONDS
            )
            self._report_loss("it fails again and again")

    def report_refusal(self, code: str) -> None:
        """Note that the server answered with an error; other calls go on."""
        now = self._clock()
        if now >= self._quiet_until:
            self._quiet_until = now + _QUIET_SECONDS
            self._note(f"redis refuses: {code} ({self._location})")

    def probe(self) -> None:
        """Start a probe in the background if one is due."""
        now = self._clock()
        if not (self._is_closed or self._is_probing) and now >= self._probe_at:
            self._is_probing = True
            self._probe_at = now + PROBE_SECONDS
            self.spawn(self._probe())

    def spawn(self, coroutine: Coroutine[Any, Any, None], *, at_once: bool = False) -> None:
        """Run a coroutine in the background; `at_once` runs its first step before returning."""
        # The event loop itself keeps only weak references to tasks.
        task = asyncio.Task(coroutine, loop=asyncio.get_running_loop(), eager_start=at_once)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def wait_background(self) -> None:
        """Wait until all background work has ended."""
        while self.tasks:
            done, _ = await asyncio.wait(self.tasks)
            self.tasks -= done

    async def close(self) -> None:
        """Stop all probes; a running probe ends within its deadline."""
        self._is_closed = self.is_lost = True
        await self.wait_background()

    async def _probe(self) -> None:
        try:
            async with asyncio.timeout(self._deadline):
                await self._check()
        except Exception as error:  # noqa: BLE001 - garbage from a socket raises nearly anything
            self._failure_count = 0  # from now on the pause is PROBE_SECONDS
            self._report_loss(self._describe_error(error))
            return
        finally:
            self._is_probing = False
        self.is_lost = self._is_closed
        self._alive_since = self._clock()
        if self._loss_reported:
            self._loss_reported = False
            self._note(f"redis is back ({self._location})")

    def _report_loss(self, reason: str) -> None:
        if not (self._loss_reported or self._is_closed):
            self._loss_reported = True
            self._note(f"redis is gone: {reason} ({self._location})")
