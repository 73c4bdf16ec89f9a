"""Whether a server that may vanish at any moment is asked at all.

    alive --a call fails--> in doubt --a probe fails--> gone --a probe is answered--> alive
                               |-----a probe is answered, nothing is said-----------> alive

In doubt and gone, calls are skipped at once. The doubtful server is probed immediately: a moment
of its own, or of this event loop, is no loss. While it is gone, about once a second one call starts
a probe beside it, so that no request waits to learn whether it is back. One that answers probes and
still fails calls is left alone for longer and longer.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

DEADLINE_SECONDS = 0.1
"""Seconds that one operation may take, whatever it consists of."""
CONNECT_SECONDS = 1.0
"""Seconds until a connection can be used, where the operator says nothing else."""
PROBE_SECONDS = 1.0
"""Seconds between two probes of a server that is gone."""
_CALM_SECONDS = 10.0
"""Seconds without a failure after which those before are forgotten."""
_MAX_FAILURES = 5
"""Calls that may fail between answered probes, and within that; each one more doubles the pause."""
_MAX_PAUSE_SECONDS = 32.0
"""Seconds that a pause grows to."""
_QUIET_SECONDS = 60.0
"""Seconds between two notes of a server that is there and refuses."""


class RedisHealth:
    """Whether a server is there, and what goes on in the background to learn it.

    `check` asks it something and raises where it does not answer, `describe_error` puts such an
    error in words, `location` is the place that notes name; `clock` is monotonic seconds,
    `deadline` those of a probe.
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
        self._is_alive = True
        self._loss_reported = self._is_closed = self._is_probing = False
        self._probe_at = 0.0
        self._quiet_until = float("-inf")
        self._failure_count = 0
        self._alive_since = clock()
        self.tasks: set[asyncio.Future[Any]] = set()

    @property
    def is_lost(self) -> bool:
        """Whether it is not to be asked."""
        return self._is_closed or not self._is_alive

    @property
    def is_closed(self) -> bool:
        """Whether nobody asks any more."""
        return self._is_closed

    def record_failure(self) -> None:
        """A call has failed."""
        self._is_alive = False
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
        """An answer was an error: it is there, so other calls go on."""
        now = self._clock()
        if now >= self._quiet_until:
            self._quiet_until = now + _QUIET_SECONDS
            self._note(f"redis refuses: {code} ({self._location})")

    def probe(self) -> None:
        """Learn beside the caller whether it is back, where that is due."""
        now = self._clock()
        if not (self._is_closed or self._is_probing) and now >= self._probe_at:
            self._is_probing = True
            self._probe_at = now + PROBE_SECONDS
            self.spawn(self._probe())

    def spawn(self, coroutine: Coroutine[Any, Any, None], *, at_once: bool = False) -> None:
        """Let work go on in the background; `at_once`: its first step is before any other."""
        # The loop itself holds tasks weakly.
        self.track(asyncio.Task(coroutine, loop=asyncio.get_running_loop(), eager_start=at_once))

    def track(self, work: asyncio.Future[Any]) -> None:
        """Have `wait_background` wait for what goes on in the background."""
        self.tasks.add(work)
        work.add_done_callback(self.tasks.discard)

    async def wait_background(self) -> None:
        """Wait for what goes on in the background."""
        while self.tasks:
            done, _ = await asyncio.wait(self.tasks)
            self.tasks -= done

    async def close(self) -> None:
        """Ask no more; a probe that is under way ends within its deadline."""
        self._is_closed = True
        await self.wait_background()

    async def _probe(self) -> None:
        try:
            async with asyncio.timeout(self._deadline):
                await self._check()
        except Exception as error:  # noqa: BLE001 - garbage from a socket raises nearly anything
            self._failure_count = 0  # a pause of its own begins
            self._report_loss(self._describe_error(error))
            return
        finally:
            self._is_probing = False
        self._is_alive = True
        self._alive_since = self._clock()
        if self._loss_reported:
            self._loss_reported = False
            self._note(f"redis is back ({self._location})")

    def _report_loss(self, reason: str) -> None:
        if not (self._loss_reported or self._is_closed):
            self._loss_reported = True
            self._note(f"redis is gone: {reason} ({self._location})")
