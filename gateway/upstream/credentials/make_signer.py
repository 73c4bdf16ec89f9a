"""Make the signer of a way to authenticate.

Few gateways need one, and fewer more than one kind, so each is imported when it is first needed.
"""

from collections.abc import Callable, Mapping
from typing import assert_never

from gateway.core.cloud_auth import AwsAuth, AzureAuth, CloudAuth, GoogleAuth
from gateway.upstream.credentials.request_signer import RequestSigner


def make_signer(
    auth: CloudAuth,
    environ: Mapping[str, str],
    wall: Callable[[], float],
    jitter: Callable[[], float],
) -> RequestSigner:
    """Return a signer, which gets its credential at the first request.

    `wall` returns seconds since the epoch, `jitter` random numbers of 0 to 1.
    """
    match auth:
        case AwsAuth():
            from gateway.upstream.credentials.aws.aws_request_signer import make_aws_signer  # noqa: PLC0415

            return make_aws_signer(auth, environ, wall, jitter)
        case GoogleAuth():
            from gateway.upstream.credentials.google_credentials import make_google_signer  # noqa: PLC0415

            return make_google_signer(auth, environ, wall, jitter)
        case AzureAuth():
            from gateway.upstream.credentials.azure_credentials import make_azure_signer  # noqa: PLC0415

            return make_azure_signer(auth, environ, wall, jitter)
        case _:
            assert_never(auth)
