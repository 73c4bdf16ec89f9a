"""A credential with an end, which is refreshed before: by one caller, while the others go on."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import msgspec

from gateway.telemetry.log import locate_error
from gateway.upstream.credentials.request_signer import CredentialError, CredentialStatus

_REFRESH_PART = 0.75
"""The part of its life after which a credential is refreshed."""
_JITTER_PART = 0.05
"""The part of its life by which that differs, so that processes do not ask at one time."""
_RETRY_SECONDS = 10.0
"""Seconds between two attempts to refresh a credential that is still valid."""
_FAILURE_SECONDS = 1.0
"""Seconds for which a failure is the answer for other calls too, while there is no credential."""
_CLOCK_SKEW_SECONDS = 5.0
"""Seconds before its end from which a credential is not used: it must last until it arrives."""
_FETCH_SECONDS = 30.0
"""Seconds after which a refresh is given up. Sources have shorter limits for each request."""


class IssuedCredential[T](msgspec.Struct, frozen=True, kw_only=True):
    """A credential as its source gave it."""

    value: T
    status: CredentialStatus

    def __repr__(self) -> str:
        return f"IssuedCredential({self.status!r})"


type FetchCredential[T] = Callable[[], Awaitable[IssuedCredential[T]]]
"""Gets a new credential. Raises CredentialError."""


class _Moment(msgspec.Struct, frozen=True):
    """A moment on both clocks."""

    wall: float
    clock: float


class _Failure(msgspec.Struct, frozen=True):
    """A refresh that failed.

    It has the message and no exception: each raise of one exception would add to its traceback.
    """

    at: _Moment
    message: str


class RefreshingCredential[T]:
    """Keeps a credential of one source, and gets the next one in time.

    A refresh begins at about 75% of a credential's life. The old one serves until the new one is
    there, at most to its own end. All callers share one refresh.

    Ages are those of the clock that shows more. Somebody can set the wall clock back, and the
    monotonic clock stands still while the machine sleeps.
    """

    def __init__(
        self,
        fetch: FetchCredential[T],
        *,
        wall: Callable[[], float],
        jitter: Callable[[], float],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the source, a clock in seconds since the epoch, and random numbers of 0 to 1.

        `clock` returns monotonic seconds.
        """
        self._fetch = fetch
        self._wall = wall
        self._jitter = jitter
        self._clock = clock
        self._issued: IssuedCredential[T] | None = None
        self._issued_at = _Moment(0.0, 0.0)
        self._refresh_age = self._last_age = 0.0
        self._refresh: asyncio.Task[IssuedCredential[T] | _Failure] | None = None
        self._failure: _Failure | None = None

    async def get(self) -> IssuedCredential[T]:
        """Return a credential that is valid. Raises CredentialError if there is none."""
        issued = self._issued
        if issued is not None:
            age = self._get_age(self._issued_at)
            if age < self._refresh_age:
                return issued
            if age < self._last_age:
                if self._get_failure(_RETRY_SECONDS) is None:
                    _ = self._start_refresh()
                return issued
        outcome: IssuedCredential[T] | _Failure | None = self._get_failure(_FAILURE_SECONDS)
        if outcome is None:
            refresh = self._start_refresh()
            await asyncio.wait((refresh,))  # a caller that leaves ends it for none
            if refresh.cancelled():
                raise CredentialError("The gateway stops, and gets no new credential.")
            outcome = refresh.result()
        if isinstance(outcome, _Failure):
            raise CredentialError(outcome.message)
        return outcome

    async def close(self) -> None:
        """End a refresh that runs."""
        if (refresh := self._get_running_refresh()) is not None:
            refresh.cancel()
            await asyncio.wait((refresh,))

    def _get_age(self, moment: _Moment) -> float:
        return max(self._wall() - moment.wall, self._clock() - moment.clock)

    def _get_failure(self, seconds: float) -> _Failure | None:
        """Return the failure of the last refresh, if it is younger than this."""
        failure = self._failure
        return failure if failure is not None and self._get_age(failure.at) < seconds else None

    def _get_running_refresh(self) -> "asyncio.Task[IssuedCredential[T] | _Failure] | None":
        """Return the refresh that runs; one of a loop that has ended will never be done."""
        refresh = self._refresh
        if refresh is None or refresh.done():
            return None
        return refresh if refresh.get_loop() is asyncio.get_running_loop() else None

    def _start_refresh(self) -> "asyncio.Task[IssuedCredential[T] | _Failure]":
        """Return the refresh that runs, or begin one."""
        refresh = self._get_running_refresh()
        if refresh is None:
            refresh = self._refresh = asyncio.create_task(self._run_refresh())
        return refresh

    async def _run_refresh(self) -> IssuedCredential[T] | _Failure:
        try:
            async with asyncio.timeout(_FETCH_SECONDS):
                issued = await self._fetch()
        except CredentialError as error:
            return self._fail(str(error))
        except TimeoutError:
            return self._fail(f"No credential came within {_FETCH_SECONDS:g} s.")
        except Exception as error:  # noqa: BLE001 - a fault of a source or a library is one too
            return self._fail(f"The source of the credential failed ({locate_error(error)}).")
        now = _Moment(self._wall(), self._clock())
        expires_at = issued.status.expires_at
        life = float("inf") if expires_at is None else expires_at - now.wall
        last_age = life - _CLOCK_SKEW_SECONDS
        if last_age <= 0:
            return self._fail(
                f"The credential of {issued.status.source} has ended already. "
                "Is the clock of this machine right?"
            )
        part = _REFRESH_PART + _JITTER_PART * (2 * self._jitter() - 1)
        self._issued, self._issued_at, self._failure = issued, now, None
        self._refresh_age, self._last_age = min(life * part, last_age), last_age
        return issued

    def _fail(self, message: str) -> _Failure:
        failure = self._failure = _Failure(_Moment(self._wall(), self._clock()), message)
        return failure
