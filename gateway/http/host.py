"""Which host a request names: its Host header and the forms of its target (RFC 9112 3.2)."""

import re
from ipaddress import IPv6Address

from gateway.core.problem import Problem

PROBLEM = Problem(
    kind="invalid_request",
    message="Send exactly one Host header: a name or an address, with a port or without.",
)
_HOST = re.compile(
    rb"""(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|\[v[0-9A-Fa-f]+\.[\w.~!$&'()*+,;=:-]+\]"""
    rb"""|(?:[\w.~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*)(?::[0-9]*)?"""
)
"""`uri-host [":" port]` of RFC 3986 3.2; empty where the target has no authority."""
_ABSOLUTE = re.compile(rb"(?i)https?://(?P<authority>[^/?#]+)(?P<rest>.*)", re.DOTALL)

type Headers = list[tuple[bytes, bytes]]


def check(headers: Headers, version: str) -> bool:
    """True if Host is there once and valid; HTTP/1.0 may leave it out."""
    hosts = [value for name, value in headers if name == b"host"]
    if not hosts:
        return version == "1.0"
    return len(hosts) == 1 and _is_valid(hosts[0].strip(b" \t"))


def resolve(url: bytes, headers: Headers) -> tuple[bytes, Headers] | None:
    """Return a target in origin form, and the headers with the host that it names.

    None where the target is of another scheme, or names a host that is none.
    """
    if url.startswith((b"/", b"*")):
        return url, headers
    target = _ABSOLUTE.fullmatch(url)
    if target is None or not _is_valid(target["authority"]):
        return None
    rest = target["rest"]
    origin = rest if rest.startswith(b"/") else b"/" + rest
    others = [header for header in headers if header[0] != b"host"]
    return origin, [(b"host", target["authority"]), *others]


def _is_valid(host: bytes) -> bool:
    """True if this is a host, with a port or without; the user of a URL is no part of it."""
    parts = _HOST.fullmatch(host)
    if parts is None:
        return False
    if (six := parts["six"]) is None:
        return True
    try:
        IPv6Address(six.decode())
    except ValueError:
        return False
    return True
