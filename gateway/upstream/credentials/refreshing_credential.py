"""A credential with an end, which is refreshed before: by one caller, while the others go on."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

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


class IssuedCredential[T](msgspec.Struct, frozen=True, kw_only=True):
    """A credential as its source gave it."""

    value: T
    status: CredentialStatus

    def __repr__(self) -> str:
        return f"IssuedCredential({self.status!r})"


type FetchCredential[T] = Callable[[], Awaitable[IssuedCredential[T]]]
"""Gets a new credential. Raises CredentialError."""


class RefreshingCredential[T]:
    """Keeps a credential of one source, and gets the next one in time.

    A refresh begins at about 75% of a credential's life. The old one serves until the new one is
    there, at most to its own end. All callers share one refresh.
    """

    def __init__(
        self,
        fetch: FetchCredential[T],
        *,
        wall: Callable[[], float],
        jitter: Callable[[], float],
    ) -> None:
        """Take the source, a clock in seconds since the epoch, and random numbers of 0 to 1."""
        self._fetch = fetch
        self._wall = wall
        self._jitter = jitter
        self._issued: IssuedCredential[T] | None = None
        self._refresh_at = 0.0
        self._refresh: asyncio.Task[IssuedCredential[T]] | None = None
        self._failure: tuple[float, CredentialError] | None = None

    async def get(self) -> IssuedCredential[T]:
        """Return a credential that is valid. Raises CredentialError if there is none."""
        issued, now = self._issued, self._wall()
        if issued is not None and now < self._refresh_at:
            return issued
        if issued is not None and _is_valid(issued, now):
            _ = self._start_refresh()  # it goes on beside this call
            return issued
        if self._failure is not None and self._failure[0] <= now < self._failure[0] + (
            _FAILURE_SECONDS
        ):
            raise self._failure[1]
        return await asyncio.shield(self._start_refresh())  # a caller that leaves ends it for none

    async def close(self) -> None:
        """End a refresh that runs."""
        refresh = self._refresh
        if refresh is not None:
            refresh.cancel()
            await asyncio.gather(refresh, return_exceptions=True)

    def _start_refresh(self) -> asyncio.Task[IssuedCredential[T]]:
        if self._refresh is None:
            self._refresh = asyncio.create_task(self._run_refresh())
            self._refresh.add_done_callback(self._end_refresh)
        return self._refresh

    def _end_refresh(self, refresh: asyncio.Task[Any]) -> None:
        self._refresh = None
        if not refresh.cancelled():
            refresh.exception()  # read here: where the old credential serves, nobody awaits it

    async def _run_refresh(self) -> IssuedCredential[T]:
        try:
            issued = await self._fetch()
        except CredentialError as error:
            now = self._wall()
            self._refresh_at = now + _RETRY_SECONDS
            self._failure = now, error
            raise
        now = self._wall()
        self._issued, self._failure = issued, None
        if (expires_at := issued.status.expires_at) is None:
            self._refresh_at = float("inf")
        else:
            part = _REFRESH_PART + _JITTER_PART * (2 * self._jitter() - 1)
            self._refresh_at = now + max(0.0, expires_at - now) * part
        return issued


def _is_valid(issued: IssuedCredential[Any], now: float) -> bool:
    expires_at = issued.status.expires_at
    return expires_at is None or now < expires_at - _CLOCK_SKEW_SECONDS
