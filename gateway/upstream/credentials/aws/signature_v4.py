"""AWS Signature Version 4, as AWS's documentation "Create a signed AWS API request" defines it.

Not for S3: S3 alone neither normalizes a path nor encodes it a second time.
"""

import hashlib
import hmac
import re
import time
from collections.abc import Iterable
from functools import lru_cache
from urllib.parse import quote, unquote_to_bytes

import msgspec

ALGORITHM = "AWS4-HMAC-SHA256"
_SCOPE_END = "aws4_request"
_WHITESPACE = re.compile(r"\s+")


class SigningScope(msgspec.Struct, frozen=True, kw_only=True):
    """The day, the region and the service for which a signature is valid."""

    timestamp: str
    """Seconds in UTC, as `20150830T123600Z`."""
    region: str
    service: str

    @property
    def day(self) -> str:
        """Return the day in UTC, as `20150830`."""
        return self.timestamp[:8]

    @property
    def text(self) -> str:
        """Return the scope as signatures spell it."""
        return f"{self.day}/{self.region}/{self.service}/{_SCOPE_END}"


class CanonicalAwsRequest(msgspec.Struct, frozen=True):
    """A request in the one spelling that both sides hash."""

    text: str
    signed_headers: str
    """The names of the signed headers, as `host;x-amz-date`."""


def format_timestamp(now: float) -> str:
    """Return a time in seconds since the epoch as signatures spell it."""
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))


def build_canonical_request(
    method: str,
    target: bytes,
    headers: Iterable[tuple[str, str]],
    body_hash: str,
) -> CanonicalAwsRequest:
    """Return the canonical form of a request.

    `target` is the path and the query as they are sent. All `headers` are signed. `body_hash` is
    the SHA-256 of the body in hexadecimal digits.
    """
    path, _, query = target.partition(b"?")
    values: dict[str, list[str]] = {}
    for name, value in headers:
        values.setdefault(name.lower(), []).append(_WHITESPACE.sub(" ", value.strip()))
    names = sorted(values)
    signed_headers = ";".join(names)
    header_lines = "".join(f"{name}:{','.join(values[name])}\n" for name in names)
    return CanonicalAwsRequest(
        f"{method}\n{_encode_path(path)}\n{_encode_query(query)}\n"
        f"{header_lines}\n{signed_headers}\n{body_hash}",
        signed_headers,
    )


def build_string_to_sign(scope: SigningScope, canonical_request: CanonicalAwsRequest) -> str:
    """Return the text that the signature covers."""
    digest = hashlib.sha256(canonical_request.text.encode()).hexdigest()
    return f"{ALGORITHM}\n{scope.timestamp}\n{scope.text}\n{digest}"


def derive_signing_key(secret_access_key: str, scope: SigningScope) -> bytes:
    """Return the key that signs for one day, one region and one service."""
    key = f"AWS4{secret_access_key}".encode()
    for part in (scope.day, scope.region, scope.service, _SCOPE_END):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def build_authorization(
    access_key_id: str,
    signing_key: bytes,
    scope: SigningScope,
    canonical_request: CanonicalAwsRequest,
) -> str:
    """Return the value of the header `authorization`."""
    string_to_sign = build_string_to_sign(scope, canonical_request)
    signature = hmac.digest(signing_key, string_to_sign.encode(), "sha256").hex()
    return (
        f"{ALGORITHM} Credential={access_key_id}/{scope.text}, "
        f"SignedHeaders={canonical_request.signed_headers}, Signature={signature}"
    )


@lru_cache(maxsize=256)
def _encode_path(path: bytes) -> str:
    """Normalize a path and encode it once more than it was sent.

    A `:` in a model's id is sent as `%3A` and signed as `%253A`. Other than in RFC 3986, a final
    `/.` or `/..` leaves no slash: so do botocore and aws-c-auth.
    """
    segments: list[bytes] = []
    for segment in path.split(b"/"):
        if segment == b"..":
            del segments[-1:]
        elif segment not in {b"", b"."}:
            segments.append(segment)
    if not segments:
        return "/"
    end = "/" if path.endswith(b"/") else ""
    return f"/{quote(b'/'.join(segments), safe='/-_.~')}{end}"


def _encode_query(query: bytes) -> str:
    if not query:
        return ""
    pairs = [pair.partition(b"=") for pair in query.split(b"&") if pair]
    return "&".join(
        f"{name}={value}"
        for name, value in sorted(
            (_encode_parameter(name), _encode_parameter(value)) for name, _, value in pairs
        )
    )


def _encode_parameter(text: bytes) -> str:
    return quote(unquote_to_bytes(text), safe="-_.~")
