"""The load of each member: its attempts in flight, and how fast it answers."""

import math
from collections.abc import AsyncIterator, Callable

from gateway.upstream.client import ProviderResponse
from gateway.upstream.provider_quota import AccountModelKey
from gateway.upstream.retry import Candidate

_LATENCY_SECONDS = 30.0
"""Seconds over which latency is averaged, and after which it has faded by two thirds."""


class MemberLoad:
    """The load of one candidate as this process sees it."""

    __slots__ = ("_latencies", "_measured_at", "in_flight")

    def __init__(self) -> None:
        self.in_flight = 0
        """Attempts whose answer has not ended."""
        self._latencies: list[float | None] = [None, None]
        """Average seconds of whole answers, and until the first content of streams."""
        self._measured_at = [0.0, 0.0]

    def record_latency(self, seconds: float, now: float, *, stream: bool) -> None:
        """Add one answer to the average, which weighs recent answers more (an EWMA over time)."""
        previous = self._latencies[stream]
        if previous is not None:
            kept = math.exp((self._measured_at[stream] - now) / _LATENCY_SECONDS)
            seconds = previous * kept + seconds * (1.0 - kept)
        self._latencies[stream], self._measured_at[stream] = seconds, now

    def get_latency(self, now: float, *, stream: bool) -> float | None:
        """Return the average latency in seconds; None if it is not known.

        It fades with time: a slow member that gets no calls is tried again.
        """
        latency = self._latencies[stream]
        if latency is None:
            return None
        return latency * math.exp((self._measured_at[stream] - now) / _LATENCY_SECONDS)


class MemberAttempt:
    """One attempt at a member, which counts as its load until the answer has ended."""

    __slots__ = ("_clock", "_is_open", "_load", "_started_at", "_stream")

    def __init__(self, load: MemberLoad, clock: Callable[[], float], *, stream: bool) -> None:
        self._load = load
        self._clock = clock
        self._stream = stream
        self._started_at = clock()
        self._is_open = True
        load.in_flight += 1

    def succeed(self) -> None:
        """Record that the answer, or the first content of a stream, has come."""
        now = self._clock()
        self._load.record_latency(now - self._started_at, now, stream=self._stream)

    def end(self) -> None:
        """Record that the answer has ended, or that none came; a second call does nothing."""
        if self._is_open:
            self._is_open = False
            self._load.in_flight -= 1

    def track(self, response: ProviderResponse) -> ProviderResponse:
        """Return the response of a stream; to close it ends the attempt."""
        return _TrackedResponse(response, self)


class _TrackedResponse(ProviderResponse):
    """The response of a stream that has begun; its end is the end of an attempt."""

    __slots__ = ("_attempt", "_response", "fields", "provider", "secret", "status")

    def __init__(self, response: ProviderResponse, attempt: MemberAttempt) -> None:
        self._response = response
        self._attempt = attempt
        self.status = response.status
        self.provider = response.provider
        self.secret = response.secret
        self.fields = response.fields

    def read(self, idle: float, deadline: float) -> AsyncIterator[bytes]:
        return self._response.read(idle, deadline)

    async def close(self) -> None:
        self._attempt.end()
        await self._response.close()


class MemberLoads:
    """The loads of all candidates that are balanced."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self._loads: dict[AccountModelKey, MemberLoad] = {}

    def find(self, candidate: Candidate) -> MemberLoad:
        """Return the load of a candidate.

        Models that no lab lists share one for each account: clients choose their names.
        """
        target = candidate.target
        model = target.model if target.is_listed else ""
        key = target.provider.name, candidate.account.name, model
        load = self._loads.get(key)
        if load is None:
            load = self._loads[key] = MemberLoad()
        return load

    def begin(self, candidate: Candidate, *, stream: bool) -> MemberAttempt:
        """Note that a request is sent to a candidate."""
        return MemberAttempt(self.find(candidate), self.clock, stream=stream)
