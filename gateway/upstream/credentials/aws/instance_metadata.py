"""The role of an EC2 instance, by its metadata service in version 2.

Version 1 has no session token: a request forged through another server reads it. It is not asked.
"""

from collections.abc import Callable, Mapping

import httpx
import msgspec

from gateway.upstream.credentials.aws.ask_service import SendRequest, ask_metadata, parse_url
from gateway.upstream.credentials.aws.aws_credential import (
    IssuedAwsCredential,
    SourceNotConfiguredError,
    read_credential,
)
from gateway.upstream.credentials.identity_request import IdentityResponse
from gateway.upstream.credentials.request_signer import CredentialError

_ENDPOINT = "http://169.254.169.254"
_ENDPOINT_IPV6 = "http://[fd00:ec2::254]"
_TOKEN_SECONDS = "21600"  # noqa: S105 - seconds, as AWS's SDKs ask for
_ROLE_PATH = "/latest/meta-data/iam/security-credentials/"
_EXTENSION_SECONDS = 300.0
"""Seconds for which a credential that metadata did not renew in time goes on to be used."""


async def fetch_instance_role(
    environ: Mapping[str, str], send: SendRequest, wall: Callable[[], float]
) -> IssuedAwsCredential:
    """Return the credential of this instance's role. Raises CredentialError.

    It lasts for five minutes at least, even if the service gives one that ended. AWS's SDKs extend
    it too: the services decide, and an outage of the renewal need not be one of the calls.
    """
    if environ.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
        raise SourceNotConfiguredError("AWS_EC2_METADATA_DISABLED is true")
    endpoint = _get_endpoint(environ)

    async def ask(path: str, headers: Mapping[str, str], method: str = "GET") -> IdentityResponse:
        return await ask_metadata(send, method, endpoint.copy_with(raw_path=path.encode()), headers)

    try:
        token_answer = await ask(
            "/latest/api/token", {"x-aws-ec2-metadata-token-ttl-seconds": _TOKEN_SECONDS}, "PUT"
        )
    except CredentialError as error:
        raise CredentialError(
            f"{error} to the question for a session token (this is not EC2, or a container behind "
            "the instance's hop limit of 1)"
        ) from None
    headers = {"x-aws-ec2-metadata-token": _read_word(token_answer, "session token")}
    role = _read_word(await ask(_ROLE_PATH, headers), "role")
    answer = await ask(_ROLE_PATH + role, headers)
    issued = read_credential("AWS, instance role (IMDSv2)", answer.body, role)
    expires_at, now = issued.status.expires_at, wall()
    if expires_at is not None and expires_at < now + _EXTENSION_SECONDS:
        status = msgspec.structs.replace(issued.status, expires_at=now + _EXTENSION_SECONDS)
        issued = msgspec.structs.replace(issued, status=status)
    return issued


def _get_endpoint(environ: Mapping[str, str]) -> httpx.URL:
    name = "AWS_EC2_METADATA_SERVICE_ENDPOINT"
    if text := environ.get(name):
        return parse_url(name, text)
    mode = environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "").lower()
    return httpx.URL(_ENDPOINT_IPV6 if mode == "ipv6" else _ENDPOINT)


def _read_word(answer: IdentityResponse, what: str) -> str:
    """Return an answer of one word that goes into a header or a path. Raises CredentialError."""
    text = answer.body.decode("latin-1").strip()
    if not (text and text.isascii() and text.isprintable() and " " not in text):
        raise CredentialError(f"the metadata service gave no {what}")
    return text
