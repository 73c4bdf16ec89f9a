"""Media on the web, fetched for targets that take data alone: behind a guard, within limits.

A client names the address, so nothing but public hosts is ever asked. A name is resolved once, all
that it resolves to must be public, and the connection goes to what was checked: a name that means
another address a moment later changes nothing. Each redirect is checked like the first address.
What a client is told has no address and no word of the resolver: it could map a network by them.
"""

import asyncio
import base64
import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Self
from urllib.parse import quote, urljoin, urlsplit

import msgspec

from gateway.core.canonical_request import Media
from gateway.core.errors import Problem, ProblemError, invalid
from gateway.dialects import FetchedMedia
from gateway.upstream.client import ProviderResponse, PublicWebClient

type Address = ipaddress.IPv4Address | ipaddress.IPv6Address
type Resolve = Callable[[str, int], Awaitable[list[str]]]
"""A host's addresses, the preferred one first. Raises OSError."""

_MOST = 8
"""Files of one call."""
_AT_ONCE = 32
"""Files at a time, of all calls."""
_HOPS = 3
"""Redirects of one file."""
_ADDRESSES = 3
"""Of one host that are tried."""
_CONNECT = 3.0
"""Seconds for each of them."""
_LONGEST = 8_192
"""Characters of a URL."""
_PORTS = {"http": 80, "https": 443}
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_HOST = re.compile(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\.?")
_NUMBER = re.compile(r"(0x[0-9a-f]*|[0-9]+)\.?")
"""A last label that makes resolvers read the whole name as an address, in any base."""
_UNSAFE = re.compile(r"[\x00-\x20\x7f\\]")
"""Characters by which two readers of one URL may disagree on its host."""
_PATH = "/:?#[]@!$&'()*+,;=%-._~|"

_UNROUTED = tuple(
    ipaddress.ip_network(net)
    for net in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16",
        "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16",
        "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
        "168.63.129.16/32",  # Azure's own services of a machine, at a public address
        "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20",
    )
)  # fmt: skip
"""Written out: what the standard library counts as global differs between its versions."""
_UNICAST = ipaddress.ip_network("2000::/3")
"""All of IPv6 that is given out."""
_MAPPED = ipaddress.ip_network("::ffff:0:0/96")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")

_MAGIC: tuple[tuple[str, re.Pattern[bytes]], ...] = (
    ("image/png", re.compile(rb"\x89PNG\r\n\x1a\n")),
    ("image/jpeg", re.compile(rb"\xff\xd8\xff")),
    ("image/gif", re.compile(rb"GIF8[79]a")),
    ("image/webp", re.compile(rb"RIFF....WEBP", re.DOTALL)),
    ("application/pdf", re.compile(rb"%PDF-")),
    ("audio/wav", re.compile(rb"RIFF....WAVE", re.DOTALL)),
    ("audio/flac", re.compile(rb"fLaC")),
    ("audio/ogg", re.compile(rb"OggS")),
    ("audio/mpeg", re.compile(rb"ID3|\xff[\xe2\xe3\xf2\xf3\xfa\xfb]")),
)
_ENOUGH = 12
"""Bytes by which every type is known."""
_VAGUE = frozenset({"", "application/octet-stream", "binary/octet-stream"})
"""Content types that say nothing."""
_FITS = {"image": ("image/",), "file": ("application/pdf", "image/"), "audio": ("audio/",)}
"""What a part of a kind may turn out to be."""
_KINDS = {"image": "image/", "file": "application/", "audio": "audio/"}


class MediaBounds(msgspec.Struct, frozen=True, kw_only=True):
    """What may be fetched."""

    allow: tuple[str, ...] = ()
    """Hosts, "*." before those below one, ":port" behind where it is not 80 or 443; empty: all."""
    types: frozenset[str]
    most: int
    """Bytes for one call."""
    timeout: float
    """Seconds for one call."""


class AddressGuard(msgspec.Struct, frozen=True, kw_only=True):
    """How names become addresses, and which of them may be connected to."""

    resolve: Resolve
    public: Callable[[Address], bool]


class MediaUrl(msgspec.Struct, frozen=True):
    """A URL, read."""

    scheme: str
    host: str
    port: int
    path: str
    """With its query."""

    @classmethod
    def read(cls, url: str) -> Self:
        """A URL of the web. Raises MediaRefused."""
        if len(url) > _LONGEST or _UNSAFE.search(url):
            raise MediaRefused("its URL is not valid")
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise MediaRefused("its URL is not valid") from None
        scheme = parts.scheme.lower()
        if scheme not in _PORTS:
            raise MediaRefused("its URL is neither http:// nor https://")
        if "@" in parts.netloc:
            raise MediaRefused("its URL has a user in it")
        path = quote(parts.path or "/", safe=_PATH)
        query = f"?{quote(parts.query, safe=_PATH)}" if parts.query else ""
        usual = _PORTS[scheme] if port is None else port
        return cls(scheme, _host(parts.netloc, parts.hostname or ""), usual, path + query)


class MediaRefused(Exception):
    """Why something is not fetched: a clause about it, for the client."""


class MediaFetcher:
    """Fetches media. One for the life of the gateway."""

    def __init__(
        self,
        bounds: MediaBounds,
        guard: AddressGuard | None = None,
        web: PublicWebClient | None = None,
    ) -> None:
        self._bounds = bounds
        self._guard = guard or PUBLIC
        self._web = web or PublicWebClient()
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def all(
        self, links: Mapping[str, Media], words: Mapping[str, str], had: Mapping[str, FetchedMedia]
    ) -> dict[str, FetchedMedia]:
        """What stands at some URLs, each asked for once; `words`: what the parts are called.

        `had` is what was fetched for the call before. Raises ProblemError, invalid_request, which
        names the first part that cannot be had.
        """
        if len(links) + len(had) > _MOST:
            raise invalid(f"At most {_MOST} files are fetched for one request: send some as data.")
        budget = _Budget(self._bounds.most - sum(len(it.data) * 3 // 4 for it in had.values()))
        until = asyncio.get_running_loop().time() + self._bounds.timeout
        tasks = {
            url: asyncio.create_task(self._one(url, part, words[url], budget, until))
            for url, part in links.items()
        }
        try:
            await asyncio.gather(*tasks.values())
        finally:
            for task in tasks.values():
                task.cancel()
            await asyncio.gather(*tasks.values(), return_exceptions=True)
        return {url: task.result() for url, task in tasks.items()}

    async def _one(
        self, url: str, part: Media, word: str, budget: "_Budget", until: float
    ) -> FetchedMedia:
        host = ""
        try:
            place = MediaUrl.read(url)
            host = f" at {place.host}"
            async with asyncio.timeout_at(until), self._slots:
                return await self._follow(place, part.kind, budget, until)
        except TimeoutError:
            why = "it did not arrive in time"
        except MediaRefused as error:
            why = str(error)
        except ProblemError as error:
            why = _broken(error.problem)
        message = f"{word}: the file{host} was not fetched: {why}. Send it as data."
        raise invalid(message, word)

    async def _follow(
        self, place: MediaUrl, kind: str, budget: "_Budget", until: float
    ) -> FetchedMedia:
        """What stands at a place, or where it points to."""
        for _ in range(_HOPS + 1):
            answer = await self._ask(place, until)
            try:
                location = answer.header(b"location")
                if answer.status not in _REDIRECTS or location is None:
                    return await self._take(answer, kind, budget, until)
            finally:
                await answer.close()
            place = _next(place, location)
        raise MediaRefused("it is redirected too often")

    async def _ask(self, place: MediaUrl, until: float) -> ProviderResponse:
        """The answer of a place, at one of the addresses that were checked."""
        if not _allowed(place, self._bounds.allow):
            raise MediaRefused("this gateway does not fetch from its host")
        addresses = await self._addresses(place)
        for address in addresses[:-1]:
            try:
                return await self._get(place, address, until)
            except ProblemError:
                continue
        return await self._get(place, addresses[-1], until)

    async def _get(self, place: MediaUrl, address: str, until: float) -> ProviderResponse:
        return await self._web.get(
            place.scheme,
            place.host,
            place.port,
            place.path,
            at=address,
            connect=_CONNECT,
            until=until,
        )

    async def _addresses(self, place: MediaUrl) -> list[str]:
        """Where a host is, resolved once; every address must be public."""
        try:
            found = [ipaddress.ip_address(place.host)]
        except ValueError:
            try:
                names = await self._guard.resolve(place.host.rstrip("."), place.port)
                found = [ipaddress.ip_address(name) for name in names]
            except (OSError, ValueError):
                found = []
        if not found or not all(self._guard.public(address) for address in found):
            raise MediaRefused("its host is not on the public internet")
        return [str(address) for address in dict.fromkeys(found)][:_ADDRESSES]

    async def _take(
        self, answer: ProviderResponse, kind: str, budget: "_Budget", until: float
    ) -> FetchedMedia:
        """The body of an answer, where it is what it should be."""
        if answer.status != 200:
            raise MediaRefused(f"its host answered with status {answer.status}")
        if (answer.header(b"content-encoding") or "identity").strip().lower() != "identity":
            raise MediaRefused("it is sent compressed")
        length = (answer.header(b"content-length") or "").strip()
        if length.isdecimal():
            budget.check(int(length))
        told = (answer.header(b"content-type") or "").partition(";")[0].strip().lower()
        data = bytearray()
        type = ""
        async for piece in answer.read(self._bounds.timeout, until):
            budget.spend(len(piece))
            data += piece
            if not type and len(data) >= _ENOUGH:
                type = self._type(bytes(data[:_ENOUGH]), told, kind)
        type = type or self._type(bytes(data), told, kind)
        return FetchedMedia(type, base64.b64encode(data).decode("ascii"))

    def _type(self, begin: bytes, told: str, kind: str) -> str:
        """The type of a file by how it begins. Raises MediaRefused where it is none that may be."""
        found = next((type for type, magic in _MAGIC if magic.match(begin)), "")
        if (
            not found
            or found not in self._bounds.types
            or not found.startswith(_FITS.get(kind, ()))
        ):
            raise MediaRefused(f"it is no {kind} of a type that may be fetched")
        family = found.partition("/")[0] + "/"
        if told not in _VAGUE and not told.startswith(family):
            raise MediaRefused("its content type is not that of its bytes")
        return found


class _Budget:
    """Bytes that may still come for one call."""

    def __init__(self, left: int) -> None:
        self._most = self._left = left

    def check(self, size: int) -> None:
        if size > self._left:
            raise MediaRefused(f"the files of one request may have {max(self._most, 0):,} bytes")

    def spend(self, size: int) -> None:
        self.check(size)
        self._left -= size


def kinds(types: Iterable[str]) -> frozenset[str]:
    """Kinds of parts that are of any of these types."""
    return frozenset(
        kind for kind, fits in _KINDS.items() for type in types if type.startswith(fits)
    )


def public(address: Address) -> bool:
    """Whether an address is on the public internet; one that wraps another is what it wraps."""
    if address.version == 6:
        if address.scope_id is not None:
            return False
        if address in _MAPPED or address in _NAT64:
            return public(ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF))
        if (int(address) >> 32) & 0xFCFF_FFFF == 0x5EFE:  # ISATAP: reaches an IPv4 address
            return False
        if address not in _UNICAST:
            return False
    return address.is_global and not any(address in net for net in _UNROUTED)


async def resolve(host: str, port: int) -> list[str]:
    """A host's addresses, as the machine resolves them."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(place[0]) for _, _, _, _, place in found]


PUBLIC = AddressGuard(resolve=resolve, public=public)


def _host(netloc: str, host: str) -> str:
    """A host in ASCII, in lower case: a name, or an address in its one usual form."""
    if netloc.startswith("["):
        try:
            return str(ipaddress.IPv6Address(host))
        except ValueError:
            raise MediaRefused("its URL is not valid") from None
    try:
        host = host.encode("idna").decode("ascii").lower()
    except UnicodeError:
        raise MediaRefused("its URL is not valid") from None
    if not _HOST.fullmatch(host) or len(host) > 253:
        raise MediaRefused("its URL is not valid")
    if _NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2]):
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError:
            raise MediaRefused("its URL is not valid") from None
    return host


def _allowed(place: MediaUrl, allow: tuple[str, ...]) -> bool:
    """Whether a place may be asked, by its host and its port."""
    host, usual = place.host.rstrip("."), place.port in _PORTS.values()
    if not allow:
        return usual
    for pattern in allow:
        name, _, port = pattern.partition(":")
        below = name.startswith("*.") and host.endswith(name[1:])
        if (below or host == name) and (place.port == int(port) if port else usual):
            return True
    return False


def _next(place: MediaUrl, location: str) -> MediaUrl:
    """Where an answer points to."""
    name = f"[{place.host}]" if ":" in place.host else place.host
    base = f"{place.scheme}://{name}:{place.port}{place.path}"
    if _UNSAFE.search(location):
        raise MediaRefused("it is redirected to a URL that is not valid")
    try:
        found = MediaUrl.read(urljoin(base, location))
    except (MediaRefused, ValueError):
        raise MediaRefused("it is redirected to a URL that is not valid") from None
    if place.scheme == "https" and found.scheme == "http":
        raise MediaRefused("it is redirected from https:// to http://")
    return found


def _broken(problem: Problem) -> str:
    """What a failed connection is to the client."""
    if problem.kind == "upstream_timeout":
        return "it did not arrive in time"
    if problem.kind == "upstream_truncated":
        return "it was cut off"
    return "its host cannot be reached"
