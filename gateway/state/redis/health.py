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

DEADLINE = 0.1
"""Seconds that one operation may take, whatever it consists of."""
CONNECT = 1.0
"""Seconds until a connection can be used, where the operator says nothing else."""
PAUSE = 1.0
"""Seconds between two probes of a server that is gone."""
_CALM = 10.0
"""Seconds without a failure after which those before are forgotten."""
_FAILURES = 5
"""Calls that may fail between answered probes, and within that; each one more doubles the pause."""
_LONGEST = 32.0
"""Seconds that a pause grows to."""
_QUIET = 60.0
"""Seconds between two notes of a server that is there and refuses."""


class RedisHealth:
    """Whether a server is there, and what goes on in the background to learn it.

    `look` asks it something and raises where it does not answer, `why` puts such an error in words,
    `where` is the place that notes name; `clock` is monotonic seconds, `deadline` those of a probe.
    """

    def __init__(
        self,
        where: str,
        *,
        look: Callable[[], Awaitable[object]],
        why: Callable[[Exception], str],
        note: Callable[[str], None],
        clock: Callable[[], float],
        deadline: float,
    ) -> None:
        self._where = where
        self._look = look
        self._why = why
        self._note = note
        self._clock = clock
        self._deadline = deadline
        self._alive = True
        self._told = self._closed = self._probing = False
        self._probe_at = 0.0
        self._quiet_until = float("-inf")
        self._failures = 0
        self._since = clock()
        self.tasks: set[asyncio.Task[None]] = set()

    @property
    def lost(self) -> bool:
        """Whether it is not to be asked."""
        return self._closed or not self._alive

    @property
    def closed(self) -> bool:
        """Whether nobody asks any more."""
        return self._closed

    def fail(self) -> None:
        """A call has failed."""
        self._alive = False
        now = self._clock()
        self._failures = 1 if now - self._since >= _CALM else self._failures + 1
        if self._failures <= _FAILURES:
            self._probe_at = now
            self.probe()
        else:
            self._probe_at = now + min(2.0 ** (self._failures - _FAILURES - 1), _LONGEST)
            self._gone("it fails again and again")

    def refused(self, word: str) -> None:
        """An answer was an error: it is there, so other calls go on."""
        now = self._clock()
        if now >= self._quiet_until:
            self._quiet_until = now + _QUIET
            self._note(f"redis refuses: {word} ({self._where})")

    def probe(self) -> None:
        """Learn beside the caller whether it is back, where that is due."""
        now = self._clock()
        if not (self._closed or self._probing) and now >= self._probe_at:
            self._probing = True
            self._probe_at = now + PAUSE
            self.spawn(self._probe())

    def spawn(self, work: Coroutine[Any, Any, None], *, at_once: bool = False) -> None:
        """Let work go on in the background; `at_once`: its first step is before any other."""
        task = asyncio.Task(work, loop=asyncio.get_running_loop(), eager_start=at_once)
        self.tasks.add(task)  # the loop itself holds tasks weakly
        task.add_done_callback(self.tasks.discard)

    async def settle(self) -> None:
        """Wait for what goes on in the background."""
        while self.tasks:
            done, _ = await asyncio.wait(self.tasks)
            self.tasks -= done

    async def close(self) -> None:
        """Ask no more; a probe that is under way ends within its deadline."""
        self._closed = True
        await self.settle()

    async def _probe(self) -> None:
        try:
            async with asyncio.timeout(self._deadline):
                await self._look()
        except Exception as error:  # noqa: BLE001 - garbage from a socket raises nearly anything
            self._failures = 0  # a pause of its own begins
            self._gone(self._why(error))
            return
        finally:
            self._probing = False
        self._alive = True
        self._since = self._clock()
        if self._told:
            self._told = False
            self._note(f"redis is back ({self._where})")

    def _gone(self, why: str) -> None:
        if not (self._told or self._closed):
            self._told = True
            self._note(f"redis is gone: {why} ({self._where})")
