"""Signature Version 4 as a server checks it, written from AWS's documentation alone.

It shares no code with the gateway, so that one mistake cannot stand on both sides.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/]+)/(?P<day>\d{8})/(?P<region>[^/]+)/(?P<service>[^/]+)"
    r"/aws4_request, SignedHeaders=(?P<names>[a-z0-9;-]+), Signature=(?P<signature>[0-9a-f]{64})"
)
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_MAX_SKEW_SECONDS = 300


class Key(NamedTuple):
    """An access key that the server gave out."""

    secret: str
    token: str | None
    ends_at: float


def check_signature(
    request: tuple[str, str, Sequence[tuple[str, str]], bytes],
    keys: Mapping[str, Key],
    *,
    region: str,
    service: str,
    now: float,
) -> str | None:
    """Return the code of AWS's error for a request of method, target, headers and body, or None."""
    method, target, headers, body = request
    sent: dict[str, str] = {}
    for name, value in headers:
        assert name.lower() not in sent, f"{name} twice"
        sent[name.lower()] = value
    match = _AUTHORIZATION.fullmatch(sent.get("authorization", ""))
    if match is None:
        return "MissingAuthenticationToken"
    if (match["region"], match["service"]) != (region, service):
        return "InvalidSignatureException: Credential should be scoped to correct service"
    key = keys.get(match["key"])
    if key is None or sent.get("x-amz-security-token") != key.token:
        return "UnrecognizedClientException"
    names = match["names"].split(";")
    must = {"host", "x-amz-date"} | {name for name in sent if name.startswith("x-amz-")}
    if names != sorted(names) or not must <= set(names):
        return "InvalidSignatureException: headers"
    moment = datetime.strptime(sent["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    if abs(moment.timestamp() - now) > _MAX_SKEW_SECONDS:
        return "RequestTimeTooSkewed"
    if now > key.ends_at:
        return "ExpiredTokenException"
    scope = f"{match['day']}/{region}/{service}/aws4_request"
    path, _, query = target.partition("?")
    canonical = "\n".join(
        [
            method,
            _encode(_remove_dots(path).encode(), keep_slash=True),
            _sort_query(query),
            *(f"{name}:{' '.join(sent[name].split())}" for name in names),
            "",
            match["names"],
            hashlib.sha256(body).hexdigest(),
        ]
    )
    text = "\n".join(
        [
            "AWS4-HMAC-SHA256",
            sent["x-amz-date"],
            scope,
            hashlib.sha256(canonical.encode()).hexdigest(),
        ]
    )
    chain = b"AWS4" + key.secret.encode()
    for part in scope.split("/"):
        chain = hmac.new(chain, part.encode(), hashlib.sha256).digest()
    right = hmac.new(chain, text.encode(), hashlib.sha256).hexdigest()
    return None if hmac.compare_digest(right, match["signature"]) else "InvalidSignatureException"


def _encode(data: bytes, *, keep_slash: bool = False) -> str:
    return "".join(
        chr(byte) if byte in _UNRESERVED or (keep_slash and byte == 0x2F) else f"%{byte:02X}"
        for byte in data
    )


def _decode(text: str) -> bytes:
    return re.sub(
        rb"%([0-9A-Fa-f]{2})", lambda match: bytes([int(match[1], 16)]), text.encode("latin-1")
    )


def _remove_dots(path: str) -> str:
    """Normalize a path as the steps of RFC 3986 say, and make one slash of several.

    Other than there, a final `/.` or `/..` leaves no slash: so do AWS's own signers.
    """
    rest, done = re.sub(r"/+", "/", path), ""
    while rest:
        if rest.startswith("/./"):
            rest = rest[2:]
        elif rest == "/.":
            rest = ""
        elif rest.startswith("/../"):
            rest, done = rest[3:], done[: max(0, done.rfind("/"))]
        elif rest == "/..":
            rest, done = "", done[: max(0, done.rfind("/"))]
        else:
            end = rest.find("/", 1)
            end = len(rest) if end < 0 else end
            rest, done = rest[end:], done + rest[:end]
    return done or "/"


def _sort_query(query: str) -> str:
    pairs = []
    for pair in filter(None, query.split("&")):
        name, _, value = pair.partition("=")
        pairs.append((_encode(_decode(name)), _encode(_decode(value))))
    return "&".join(f"{name}={value}" for name, value in sorted(pairs))
