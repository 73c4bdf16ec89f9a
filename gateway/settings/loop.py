"""What leads back to where it began: aliases, and providers that are this gateway itself."""

import ipaddress
from collections.abc import Collection, Iterator, Mapping
from urllib.parse import urlsplit

from gateway.settings.errors import Mistake
from gateway.settings.loader import ConfigSource

_PORTS = {"http": 80, "https": 443}
_EVERY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - read in a URL, bound by nobody


def around(aliases: Mapping[str, str], start: str) -> list[str]:
    """The names from an alias back to itself; empty where it leads to an end."""
    path = [start]
    while (name := aliases.get(path[-1])) is not None:
        path.append(name)
        if name == start:
            return path
        if name in path[:-1]:
            break
    return []


def itself(source: ConfigSource, off: Collection[str]) -> Iterator[Mistake]:
    """Warnings of providers whose address is the one that the gateway is to listen on."""
    server = source.config.server
    for name, part in source.config.providers.items():
        if name in off or part.command:
            continue
        urls = {("base_url",): part.base_url} if part.base_url else {}
        doors = {("dialects", door): url for door, url in part.dialects.items() if "://" in url}
        for at, url in (urls | doors).items():
            where = _address(url)
            if where is not None and where[1] == server.port and _here(where[0], server.host):
                message = (
                    f"{where[0]}:{where[1]} is this gateway itself: calls would go in circles."
                )
                hint = "Give the provider's own address, or the gateway another `server.port`."
                yield source.mistake(("providers", name, *at), message, hint, warn=True)


def _address(url: str) -> tuple[str, int] | None:
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        return None
    return (parts.hostname, port) if parts.hostname and port else None


def _here(asked: str, listens: str) -> bool:
    """Whether a host that is asked for is one that the gateway listens on."""
    if asked == listens.lower():
        return True
    here, there = _ips(listens), _ips(_EVERY.get(asked, asked))
    if listens in _EVERY:
        return any(ip.is_loopback and (ip.version == 4 or listens == "::") for ip in there)
    return not here.isdisjoint(there)


def _ips(host: str) -> set[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    """What a host is for sure; nothing of a name that only a resolver knows."""
    if host == "localhost" or host.endswith(".localhost"):
        return {ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("::1")}
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return set()
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return {mapped or ip}
