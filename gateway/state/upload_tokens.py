"""Tokens in upload URLs: Google's SDK sends the pieces of an upload to a URL, without a key.

The gateway writes a token into the URL that a client gets. It names the key that began the upload,
and holds for that upload alone.
"""

import base64
import binascii
import hmac
from typing import NamedTuple

from gateway.core import jsonio
from gateway.core.call import Key

QUERY_NAME = "tiergate_upload"
"""The name of the query that has the token."""
HASH_KEY_LABEL = "uploads"
"""The label of the key that is derived for these tokens."""
_MAX_TOKEN_CHARS = 600


class TokenOwner(NamedTuple):
    """The key that began an upload."""

    tenant: str
    name: str


class UploadTokens:
    """Makes and reads such tokens."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def make(self, key: Key, upload_id: str) -> str:
        """Return the token of an upload that a key has begun."""
        owner = jsonio.dumps([key.tenant, key.name])
        return f"{_encode(owner)}.{_encode(self._sign(owner, upload_id))}"

    def read(self, token: str, upload_id: str) -> TokenOwner | None:
        """Return the key that began an upload; None if the token is not one of this upload."""
        owner_text, _, signature = token[:_MAX_TOKEN_CHARS].partition(".")
        try:
            owner, signed = _decode(owner_text), _decode(signature)
        except (binascii.Error, ValueError):
            return None
        if not hmac.compare_digest(signed, self._sign(owner, upload_id)):
            return None
        tenant, name = jsonio.loads(owner)
        return TokenOwner(tenant, name)

    def _sign(self, owner: bytes, upload_id: str) -> bytes:
        return hmac.digest(self._secret, owner + b"\0" + upload_id.encode(), "sha256")


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _decode(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
