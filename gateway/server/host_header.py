"""The host that a request names: its Host header and the forms of its target (RFC 9112 3.2)."""

import re
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address

from gateway.core.errors import Problem

HOST_PROBLEM = Problem(
    kind="invalid_request",
    message="Send exactly one Host header: a name or an address, with a port or without.",
)
_HOST_PATTERN = re.compile(
    rb"""(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|\[v[0-9A-Fa-f]+\.[\w.~!$&'()*+,;=:-]+\]"""
    rb"""|(?P<name>(?:[\w.~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*))(?::[0-9]*)?"""
)
"""`uri-host [":" port]` of RFC 3986 3.2; the name is empty if the target has no authority."""
_ABSOLUTE_URL = re.compile(rb"(?i)https?://(?P<authority>[^/?#]+)(?P<rest>.*)", re.DOTALL)

type Headers = list[tuple[bytes, bytes]]
type Address = IPv4Address | IPv6Address


def has_valid_host(headers: Headers, version: str) -> bool:
    """True if there is exactly one valid Host header; HTTP/1.0 may omit it."""
    hosts = [value for name, value in headers if name == b"host"]
    if not hosts:
        return version == "1.0"
    return len(hosts) == 1 and _is_valid(hosts[0].strip(b" \t"))


def resolve_target(url: bytes, headers: Headers) -> tuple[bytes, Headers] | None:
    """Return the target in origin form, and the headers with the host that it names.

    Returns None if the target has another scheme or an invalid host.
    """
    if url.startswith((b"/", b"*")):
        return url, headers
    target = _ABSOLUTE_URL.fullmatch(url)
    if target is None or not _is_valid(target["authority"]):
        return None
    suffix = target["rest"]
    origin = suffix if suffix.startswith(b"/") else b"/" + suffix
    other_headers = [header for header in headers if header[0] != b"host"]
    return origin, [(b"host", target["authority"]), *other_headers]


def find_value(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> bytes | None:
    """Return the value of the first header with a name, without surrounding white space."""
    return next(
        (value.strip(b" \t") for header_name, value in headers if header_name == name), None
    )


def parse_name(host: bytes) -> str:
    """Return the name of a host without its port, in lower case; empty if it is invalid."""
    match = _HOST_PATTERN.fullmatch(host)
    if match is None:
        return ""
    return (match["six"] or match["name"] or b"").decode("latin-1").lower().removesuffix(".")


def parse_address(name: str) -> Address | None:
    """Return a name as an IP address; None if it is a name to look up."""
    try:
        return ip_address(name)
    except ValueError:
        return None


def is_loopback(name: str) -> bool:
    """True if a name means this machine only, also as an IPv4-mapped IPv6 address."""
    if name == "localhost":
        return True
    address = parse_address(name)
    address = getattr(address, "ipv4_mapped", None) or address
    return address is not None and address.is_loopback


def _is_valid(host: bytes) -> bool:
    """True if this is a valid host, with or without a port. A URL's user is not allowed."""
    match = _HOST_PATTERN.fullmatch(host)
    if match is None:
        return False
    if (ipv6 := match["six"]) is None:
        return True
    try:
        IPv6Address(ipv6.decode())
    except ValueError:
        return False
    return True
