"""A role for a token of OpenID Connect in a file: Kubernetes service accounts (IRSA), CI jobs."""

from collections.abc import Mapping

from gateway.upstream.credentials.aws.aws_credential import (
    IssuedAwsCredential,
    SourceNotConfiguredError,
)
from gateway.upstream.credentials.aws.read_file import read_token_file
from gateway.upstream.credentials.aws.token_service import DEFAULT_SESSION_NAME, TokenService
from gateway.upstream.credentials.request_signer import CredentialError


async def fetch_environment_role(
    environ: Mapping[str, str], token_service: TokenService
) -> IssuedAwsCredential:
    """Return the credential of the role that the environment names. Raises CredentialError."""
    token_file = environ.get("AWS_WEB_IDENTITY_TOKEN_FILE")
    if not token_file:
        raise SourceNotConfiguredError("AWS_WEB_IDENTITY_TOKEN_FILE is not set")
    role_arn = environ.get("AWS_ROLE_ARN")
    if not role_arn:
        raise CredentialError("AWS_WEB_IDENTITY_TOKEN_FILE is set, and AWS_ROLE_ARN is not")
    return await token_service.assume_role_with_web_identity(
        "AWS, web identity",
        role_arn,
        await read_token(token_file, environ),
        session_name=environ.get("AWS_ROLE_SESSION_NAME") or DEFAULT_SESSION_NAME,
    )


async def read_token(token_file: str, environ: Mapping[str, str]) -> str:
    """Return the token in a file, which others replace. Raises CredentialError."""
    token = (await read_token_file(token_file, environ)).strip()
    if not token:
        raise CredentialError(f"{token_file} is empty")
    return token
