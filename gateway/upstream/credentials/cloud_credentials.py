"""The signers of a process: one for each way to authenticate, which outlive a configuration."""

from collections.abc import Callable

from gateway.core.cloud_auth import CloudAuth
from gateway.upstream.credentials.request_signer import RequestSigner


class CloudCredentials:
    """Makes the signer of a way to authenticate when a request first needs it."""

    def __init__(self, make: Callable[[CloudAuth], RequestSigner]) -> None:
        """Take the function that makes a signer."""
        self._make = make
        self._signers: dict[CloudAuth, RequestSigner] = {}

    def get_signer(self, auth: CloudAuth) -> RequestSigner:
        """Return the signer; all providers with the same settings share it."""
        signer = self._signers.get(auth)
        if signer is None:
            signer = self._signers[auth] = self._make(auth)
        return signer

    async def close(self) -> None:
        """End refreshes and close connections."""
        while self._signers:
            _, signer = self._signers.popitem()
            await signer.close()
