"""The signer of each cloud. What a cloud needs is imported where a provider names it."""

from collections.abc import Callable, Mapping

from gateway.core.cloud_auth import CloudAuth
from gateway.upstream.credentials.request_signer import RequestSigner


def make_signer(
    auth: CloudAuth,
    environ: Mapping[str, str],
    wall: Callable[[], float],
    jitter: Callable[[], float],
) -> RequestSigner:
    """Return a signer. Raises CredentialError if a library is missing."""
    raise NotImplementedError
