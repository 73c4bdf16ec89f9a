"""A credential of AWS, and how documents spell it."""

from datetime import UTC, datetime

import msgspec

from gateway.core import jsonio
from gateway.upstream.credentials.refreshing_credential import IssuedCredential
from gateway.upstream.credentials.request_signer import CredentialError, CredentialStatus


class SourceNotConfiguredError(CredentialError):
    """Raised by a source that nothing points to, so that the next source is asked."""


class AwsCredential(msgspec.Struct, frozen=True, kw_only=True):
    """An access key, with a session token if it is temporary."""

    access_key_id: str
    secret_access_key: str
    session_token: str | None = None

    def __repr__(self) -> str:
        return f"AwsCredential({self.access_key_id})"


type IssuedAwsCredential = IssuedCredential[AwsCredential]


class _CredentialDocument(msgspec.Struct, rename="pascal"):
    """The answer of a container's agent, of instance metadata, or of a credential process."""

    access_key_id: str
    secret_access_key: str
    token: str | None = None
    session_token: str | None = None
    expiration: str | None = None
    role_arn: str | None = None


_read_document = jsonio.make_reader(_CredentialDocument)


def issue_credential(
    source: str,
    *,
    access_key_id: str,
    secret_access_key: str,
    session_token: str | None = None,
    expiration: str | None = None,
    identity: str | None = None,
) -> IssuedAwsCredential:
    """Return a credential with its status; its identity is the access key's id unless given.

    `expiration` is a time of ISO 8601. Raises CredentialError for values that no header can carry.
    """
    for name, value in (
        ("access key id", access_key_id),
        ("secret access key", secret_access_key),
        ("session token", session_token),
    ):
        if value is not None and not _is_plain(value):
            raise CredentialError(f"the {name} is empty or has characters that AWS does not use")
    return IssuedCredential(
        value=AwsCredential(
            access_key_id=access_key_id,
            secret_access_key=secret_access_key,
            session_token=session_token,
        ),
        status=CredentialStatus(
            source=source,
            identity=identity or access_key_id,
            expires_at=None if expiration is None else parse_expiration(expiration),
        ),
    )


def read_credential(source: str, data: bytes, identity: str | None = None) -> IssuedAwsCredential:
    """Read a credential in JSON. Raises CredentialError, which quotes nothing of it."""
    try:
        document: _CredentialDocument = _read_document(data)
    except jsonio.JsonError as error:
        raise CredentialError(f"the credential in JSON cannot be read: {error}") from None
    return issue_credential(
        source,
        access_key_id=document.access_key_id,
        secret_access_key=document.secret_access_key,
        session_token=document.session_token or document.token,
        expiration=document.expiration,
        identity=identity or document.role_arn,
    )


def parse_expiration(text: str) -> float:
    """Return a time of ISO 8601 in seconds since the epoch. Raises CredentialError."""
    try:
        end = datetime.fromisoformat(text)
    except ValueError:
        raise CredentialError("the end of the credential is no time of ISO 8601") from None
    return (end if end.tzinfo else end.replace(tzinfo=UTC)).timestamp()


def _is_plain(value: str) -> bool:
    """True if a text is visible ASCII without spaces."""
    return bool(value) and value.isascii() and value.isprintable() and " " not in value
