"""The role of a container: an ECS task, or a pod with EKS Pod Identity.

The host rule is that of AWS's SDKs (botocore's ContainerMetadataFetcher): without TLS only this
machine and the agents of ECS and EKS are asked. A foreign host would get the authorization token.
"""

from collections.abc import Mapping
from ipaddress import ip_address

import httpx

from gateway.upstream.credentials.aws.ask_service import SendRequest, ask_metadata, parse_url
from gateway.upstream.credentials.aws.aws_credential import (
    IssuedAwsCredential,
    SourceNotConfiguredError,
    read_credential,
)
from gateway.upstream.credentials.aws.read_file import read_token_file
from gateway.upstream.credentials.request_signer import CredentialError

_RELATIVE_URI = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"
_FULL_URI = "AWS_CONTAINER_CREDENTIALS_FULL_URI"
_TOKEN = "AWS_CONTAINER_AUTHORIZATION_TOKEN"  # noqa: S105 - the name of a variable
_TOKEN_FILE = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"  # noqa: S105 - the same
_ECS_AGENT = "http://169.254.170.2"
_AGENT_HOSTS = ("169.254.170.2", "169.254.170.23", "fd00:ec2::23", "localhost")
"""Hosts that are asked without TLS beside loopback addresses: ECS, EKS Pod Identity."""


async def fetch_container_role(
    environ: Mapping[str, str], send: SendRequest
) -> IssuedAwsCredential:
    """Return the credential of this container's role. Raises CredentialError."""
    url = _get_url(environ)
    headers = {"accept": "application/json"}
    if token := await _read_token(environ):
        headers["authorization"] = token
    answer = await ask_metadata(send, "GET", url, headers)
    return read_credential("AWS, container role", answer.body)


def _get_url(environ: Mapping[str, str]) -> httpx.URL:
    """Return the URL of the agent. Raises CredentialError."""
    if relative_uri := environ.get(_RELATIVE_URI):
        if not relative_uri.startswith("/"):
            raise CredentialError(f"{_RELATIVE_URI} does not begin with a slash")
        return parse_url(_RELATIVE_URI, f"{_ECS_AGENT}{relative_uri}")
    if not (full_uri := environ.get(_FULL_URI)):
        raise SourceNotConfiguredError(f"neither {_RELATIVE_URI} nor {_FULL_URI} is set")
    url = parse_url(_FULL_URI, full_uri)
    if url.scheme != "https" and url.host not in _AGENT_HOSTS and not _is_loopback(url.host):
        raise CredentialError(
            f"{_FULL_URI} names the host {url.host}: http:// reaches only this machine, "
            f"{', '.join(_AGENT_HOSTS[:-1])}"
        )
    return url


def _is_loopback(host: str) -> bool:
    """True if a host is a loopback address; a name may lead anywhere."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


async def _read_token(environ: Mapping[str, str]) -> str | None:
    token_file = environ.get(_TOKEN_FILE)
    if token_file:  # EKS replaces the file
        token = await read_token_file(token_file, environ)
    else:
        token = environ.get(_TOKEN, "")
    if not (token.isascii() and token.isprintable()):
        name = _TOKEN_FILE if token_file else _TOKEN
        raise CredentialError(f"the token of {name} has characters that no header has")
    return token or None
