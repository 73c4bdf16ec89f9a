"""The signers of a process: one for each way to authenticate, which outlive a configuration."""

import random
import time
from collections.abc import Callable, Mapping

from gateway.core.cloud_auth import CloudAuth
from gateway.upstream.credentials.make_signer import make_signer
from gateway.upstream.credentials.request_signer import RequestSigner


class CloudCredentials:
    """Makes the signer of a way to authenticate when a request first needs it."""

    def __init__(
        self,
        environ: Mapping[str, str],
        *,
        wall: Callable[[], float] = time.time,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """Take the environment, a clock in seconds since the epoch, and a source of fractions."""
        self._environ = environ
        self._wall = wall
        self._jitter = jitter
        self._signers: dict[CloudAuth, RequestSigner] = {}

    def get_signer(self, auth: CloudAuth) -> RequestSigner:
        """Return the signer; all providers with the same settings share it."""
        signer = self._signers.get(auth)
        if signer is None:
            signer = make_signer(auth, self._environ, self._wall, self._jitter)
            self._signers[auth] = signer
        return signer

    async def close(self) -> None:
        """End refreshes and close connections."""
        while self._signers:
            _, signer = self._signers.popitem()
            await signer.close()
