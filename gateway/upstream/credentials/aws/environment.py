"""The access key that stands in the environment."""

from collections.abc import Mapping

from gateway.upstream.credentials.aws.aws_credential import (
    IssuedAwsCredential,
    SourceNotConfiguredError,
    issue_credential,
)
from gateway.upstream.credentials.request_signer import CredentialError


def read_environment(environ: Mapping[str, str]) -> IssuedAwsCredential:
    """Return the environment's credential. Raises CredentialError."""
    access_key_id = environ.get("AWS_ACCESS_KEY_ID")
    if not access_key_id:
        raise SourceNotConfiguredError("AWS_ACCESS_KEY_ID is not set")
    secret_access_key = environ.get("AWS_SECRET_ACCESS_KEY")
    if not secret_access_key:
        raise CredentialError("AWS_ACCESS_KEY_ID is set, and AWS_SECRET_ACCESS_KEY is not")
    return issue_credential(
        "AWS, environment",
        access_key_id=access_key_id,
        secret_access_key=secret_access_key,
        session_token=environ.get("AWS_SESSION_TOKEN") or None,
        expiration=environ.get("AWS_CREDENTIAL_EXPIRATION") or None,
    )
