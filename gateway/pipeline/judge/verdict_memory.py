"""The verdicts of judges, their calls in flight, and the pause of judges that fail."""

import time
from collections import OrderedDict
from collections.abc import Callable
from hashlib import blake2b

from gateway.core.call import Key
from gateway.core.decision_context import Score
from gateway.pipeline.subrequest import CoolDown
from gateway.telemetry.log import Log
from gateway.telemetry.metrics import CounterMetric

_MAX_VERDICTS = 4096
"""The number of verdicts that are remembered."""
_VERDICT_TTL_SECONDS = 3600.0
"""Seconds for which a verdict is remembered."""


class VerdictMemory(CoolDown):
    """The verdicts of judges, and the pause of judges that fail; it outlives configurations.

    `clock` is monotonic seconds.
    """

    def __init__(self, log: Log, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(lambda text: log("judge", text=text), clock)
        self._verdicts: OrderedDict[bytes, tuple[Score, float]] = OrderedDict()
        self.judged_turns = self.unjudged_turns = 0
        """Turns that got a verdict, and turns that should have got one and did not."""
        self.in_flight = 0
        """Calls of judges that have not ended."""
        self._asked_count = self._failure_count = 0
        self._seconds = 0.0

    def find(self, verdict_key: bytes) -> Score | None:
        """Return the remembered verdict on a text, or None."""
        score, expires_at = self._verdicts.get(verdict_key, (None, 0.0))
        if score is None or self._clock() >= expires_at:
            return None
        self._verdicts.move_to_end(verdict_key)
        return score

    def save(self, verdict_key: bytes, score: Score) -> None:
        """Remember a verdict."""
        self._verdicts[verdict_key] = score, self._clock() + _VERDICT_TTL_SECONDS
        self._verdicts.move_to_end(verdict_key)
        if len(self._verdicts) > _MAX_VERDICTS:
            self._verdicts.popitem(last=False)

    def start_call(self) -> None:
        """Note the start of a judge's call."""
        super().start_call()
        self.in_flight += 1
        self._asked_count += 1

    def end_call(self, seconds: float) -> None:
        """Note the end of a judge's call, which took some seconds."""
        self.in_flight -= 1
        self._seconds += seconds

    def record_failure(self, reason: str) -> None:
        """Record that a judge failed."""
        self._failure_count += 1
        super().record_failure(reason)

    def measures(self) -> list[CounterMetric]:
        """Return the metrics of judges for /metrics."""
        return [
            CounterMetric("judged", "Turns that a model judged.", lambda: self.judged_turns),
            CounterMetric(
                "unjudged", "Turns that it should have judged.", lambda: self.unjudged_turns
            ),
            CounterMetric("judge_asked", "Calls of judges.", lambda: self._asked_count),
            CounterMetric(
                "judge_failed",
                "Calls of judges that were too late, or that the provider failed.",
                lambda: self._failure_count,
            ),
            CounterMetric("judge_seconds", "Seconds of calls of judges.", lambda: self._seconds),
        ]


def make_verdict_key(key: Key, judge: str, text: str) -> bytes:
    """Return the key of a judge's verdict: no API key learns what another one asked."""
    identity = f"{key.tenant}\0{key.name}\0{judge}\0{text}"
    return blake2b(identity.encode("utf-8", "surrogatepass"), digest_size=16).digest()
