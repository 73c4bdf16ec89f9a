"""Fetch media from the web for targets that take data alone: behind a guard, within limits.

A client names the address, so the gateway asks nothing but public hosts. It resolves a name once.
All addresses of the name must be public, and the connection goes to a checked address: a name that
means another address a moment later changes nothing. The gateway checks each redirect like the
first address. Messages to the client contain no resolved address and no word of the resolver: a
client could map a network by them.
"""

import asyncio
import base64
import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Self
from urllib.parse import quote, urljoin, urlsplit

import msgspec

from gateway.core.canonical_request import Media
from gateway.core.errors import Problem, ProblemError, invalid_request
from gateway.dialects import FetchedMedia
from gateway.upstream.client import ProviderResponse, PublicWebClient

type Address = ipaddress.IPv4Address | ipaddress.IPv6Address
type Resolve = Callable[[str, int], Awaitable[list[str]]]
"""A function that returns a host's addresses, the preferred one first. Raises OSError."""

_MAX_FILES = 8
"""The number of files that one call may fetch."""
_MAX_CONCURRENT_FETCHES = 32
"""The number of files that all calls may fetch at a time."""
_MAX_REDIRECTS = 3
"""The number of redirects of one file."""
_MAX_ADDRESSES = 3
"""The number of addresses of one host that are tried."""
_CONNECT_TIMEOUT = 3.0
"""Seconds to connect to each address."""
_MAX_URL_LENGTH = 8_192
"""The number of characters that a URL may have."""
_DEFAULT_PORTS = {"http": 80, "https": 443}
_REDIRECT_STATUSES = frozenset({301, 302, 303, 307, 308})
_HOST_PATTERN = re.compile(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\.?")
_NUMERIC_LABEL = re.compile(r"(0x[0-9a-f]*|[0-9]+)\.?")
"""A last label that makes resolvers read the whole name as an address, in any base."""
_UNSAFE_CHARACTERS = re.compile(r"[\x00-\x20\x7f\\]")
"""Characters by which two readers of one URL may disagree on its host."""
_SAFE_URL_CHARACTERS = "/:?#[]@!$&'()*+,;=%-._~|"

_NON_PUBLIC_NETWORKS = tuple(
    ipaddress.ip_network(net)
    for net in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16",
        "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16",
        "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
        "168.63.129.16/32",  # Azure's internal services, at a public address
        "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20",
    )
)  # fmt: skip
"""Networks that are not public; the standard library's own list differs between versions."""
_GLOBAL_UNICAST_NETWORK = ipaddress.ip_network("2000::/3")
"""The part of IPv6 that is allocated for public use."""
_IPV4_MAPPED_NETWORK = ipaddress.ip_network("::ffff:0:0/96")
_NAT64_NETWORK = ipaddress.ip_network("64:ff9b::/96")

_MAGIC_PATTERNS: tuple[tuple[str, re.Pattern[bytes]], ...] = (
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
_MAGIC_BYTES = 12
"""The number of first bytes that identify every type."""
_GENERIC_CONTENT_TYPES = frozenset({"", "application/octet-stream", "binary/octet-stream"})
"""Content types that say nothing about a file."""
_TYPE_PREFIXES_BY_KIND = {
    "image": ("image/",),
    "file": ("application/pdf", "image/"),
    "audio": ("audio/",),
}
"""Prefixes of the types that a part of a kind may have."""


class MediaBounds(msgspec.Struct, frozen=True, kw_only=True):
    """The limits on what the gateway fetches."""

    allowed_hosts: tuple[str, ...] = ()
    """Hosts that are allowed; empty allows all.

    `*.` stands before the parent of allowed hosts. `:port` follows if it is not 80 or 443.
    """
    types: frozenset[str]
    max_bytes: int
    """Bytes that the files of one call may have together."""
    timeout: float
    """Seconds in which the files of one call must arrive."""


class AddressGuard(msgspec.Struct, frozen=True, kw_only=True):
    """The functions that resolve names and decide which addresses the gateway may connect to."""

    resolve: Resolve
    is_public: Callable[[Address], bool]


class MediaUrl(msgspec.Struct, frozen=True):
    """A URL in its parts."""

    scheme: str
    host: str
    port: int
    path: str
    """The path, with the query."""

    @classmethod
    def read(cls, url: str) -> Self:
        """Read a URL of the web. Raises MediaRefused."""
        if len(url) > _MAX_URL_LENGTH or _UNSAFE_CHARACTERS.search(url):
            raise MediaRefused("its URL is not valid")
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise MediaRefused("its URL is not valid") from None
        scheme = parts.scheme.lower()
        if scheme not in _DEFAULT_PORTS:
            raise MediaRefused("its URL is neither http:// nor https://")
        if "@" in parts.netloc:
            raise MediaRefused("its URL has a user in it")
        path = quote(parts.path or "/", safe=_SAFE_URL_CHARACTERS)
        query = f"?{quote(parts.query, safe=_SAFE_URL_CHARACTERS)}" if parts.query else ""
        effective_port = _DEFAULT_PORTS[scheme] if port is None else port
        return cls(
            scheme,
            _normalize_host(parts.netloc, parts.hostname or ""),
            effective_port,
            path + query,
        )


class MediaRefused(Exception):
    """The reason why the gateway does not fetch something: a clause for the client."""


class MediaFetcher:
    """A fetcher of media. One lives as long as the gateway."""

    def __init__(
        self,
        bounds: MediaBounds,
        guard: AddressGuard | None = None,
        web_client: PublicWebClient | None = None,
    ) -> None:
        self._bounds = bounds
        self._guard = guard or PUBLIC_GUARD
        self._web_client = web_client or PublicWebClient()
        self._slots = asyncio.Semaphore(_MAX_CONCURRENT_FETCHES)

    async def fetch_all(
        self,
        media_by_url: Mapping[str, Media],
        part_names: Mapping[str, str],
        fetched_media: Mapping[str, FetchedMedia],
    ) -> dict[str, FetchedMedia]:
        """Fetch each URL once. `part_names` has the names of the request's parts, for messages.

        `fetched_media` is what the call has fetched before. Raises ProblemError (invalid_request),
        which names the first part that failed.
        """
        if len(media_by_url) + len(fetched_media) > _MAX_FILES:
            raise invalid_request(
                f"At most {_MAX_FILES} files are fetched for one request: send some as data."
            )
        budget = _ByteBudget(
            self._bounds.max_bytes - sum(len(item.data) * 3 // 4 for item in fetched_media.values())
        )
        deadline = asyncio.get_running_loop().time() + self._bounds.timeout
        tasks = {
            url: asyncio.create_task(self._fetch_one(url, media, part_names[url], budget, deadline))
            for url, media in media_by_url.items()
        }
        try:
            await asyncio.gather(*tasks.values())
        finally:
            for task in tasks.values():
                task.cancel()
            await asyncio.gather(*tasks.values(), return_exceptions=True)
        return {url: task.result() for url, task in tasks.items()}

    async def _fetch_one(
        self, url: str, media: Media, part_name: str, budget: "_ByteBudget", deadline: float
    ) -> FetchedMedia:
        host_text = ""
        try:
            media_url = MediaUrl.read(url)
            host_text = f" at {media_url.host}"
            async with asyncio.timeout_at(deadline), self._slots:
                return await self._follow_redirects(media_url, media.kind, budget, deadline)
        except TimeoutError:
            reason = "it did not arrive in time"
        except MediaRefused as error:
            reason = str(error)
        except ProblemError as error:
            reason = _describe_failure(error.problem)
        message = (
            f"{part_name}: the gateway did not fetch the file{host_text}: {reason}. "
            "Send it as data."
        )
        raise invalid_request(message, part_name)

    async def _follow_redirects(
        self, media_url: MediaUrl, kind: str, budget: "_ByteBudget", deadline: float
    ) -> FetchedMedia:
        """Return the media at a URL; follow redirects. Raises MediaRefused."""
        for _ in range(_MAX_REDIRECTS + 1):
            response = await self._request(media_url, deadline)
            try:
                location = response.get_header(b"location")
                if response.status not in _REDIRECT_STATUSES or location is None:
                    return await self._read_media(response, kind, budget, deadline)
            finally:
                await response.close()
            media_url = _resolve_redirect(media_url, location)
        raise MediaRefused("it is redirected too often")

    async def _request(self, media_url: MediaUrl, deadline: float) -> ProviderResponse:
        """Return the response of a host at one of its checked addresses. Raises MediaRefused."""
        if not _is_allowed(media_url, self._bounds.allowed_hosts):
            raise MediaRefused("this gateway does not fetch from its host")
        addresses = await self._resolve_addresses(media_url)
        for address in addresses[:-1]:
            try:
                return await self._request_address(media_url, address, deadline)
            except ProblemError:
                continue
        return await self._request_address(media_url, addresses[-1], deadline)

    async def _request_address(
        self, media_url: MediaUrl, address: str, deadline: float
    ) -> ProviderResponse:
        return await self._web_client.get(
            media_url.scheme,
            media_url.host,
            media_url.port,
            media_url.path,
            address=address,
            connect_timeout=_CONNECT_TIMEOUT,
            deadline=deadline,
        )

    async def _resolve_addresses(self, media_url: MediaUrl) -> list[str]:
        """Resolve a host once. Raises MediaRefused if an address of it is not public."""
        try:
            addresses = [ipaddress.ip_address(media_url.host)]
        except ValueError:
            try:
                address_texts = await self._guard.resolve(
                    media_url.host.rstrip("."), media_url.port
                )
                addresses = [ipaddress.ip_address(text) for text in address_texts]
            except (OSError, ValueError):
                addresses = []
        if not addresses or not all(self._guard.is_public(address) for address in addresses):
            raise MediaRefused("its host is not on the public internet")
        return [str(address) for address in dict.fromkeys(addresses)][:_MAX_ADDRESSES]

    async def _read_media(
        self, response: ProviderResponse, kind: str, budget: "_ByteBudget", deadline: float
    ) -> FetchedMedia:
        """Return the media in a response. Raises MediaRefused if it is not what it should be."""
        if response.status != 200:
            raise MediaRefused(f"its host answered with status {response.status}")
        if (response.get_header(b"content-encoding") or "identity").strip().lower() != "identity":
            raise MediaRefused("it is sent compressed")
        length = (response.get_header(b"content-length") or "").strip()
        if length.isdecimal():
            budget.check(int(length))
        content_type = (
            (response.get_header(b"content-type") or "").partition(";")[0].strip().lower()
        )
        data = bytearray()
        type = ""
        async for chunk in response.read(self._bounds.timeout, deadline):
            budget.spend(len(chunk))
            data += chunk
            if not type and len(data) >= _MAGIC_BYTES:
                type = self._detect_type(bytes(data[:_MAGIC_BYTES]), content_type, kind)
        type = type or self._detect_type(bytes(data), content_type, kind)
        return FetchedMedia(type, base64.b64encode(data).decode("ascii"))

    def _detect_type(self, first_bytes: bytes, content_type: str, kind: str) -> str:
        """Return the type of a file by its first bytes.

        Raises MediaRefused if it is not allowed.
        """
        detected_type = next(
            (type for type, magic in _MAGIC_PATTERNS if magic.match(first_bytes)), ""
        )
        if (
            not detected_type
            or detected_type not in self._bounds.types
            or not detected_type.startswith(_TYPE_PREFIXES_BY_KIND.get(kind, ()))
        ):
            raise MediaRefused(f"it is no {kind} of a type that may be fetched")
        family = detected_type.partition("/")[0] + "/"
        if content_type not in _GENERIC_CONTENT_TYPES and not content_type.startswith(family):
            raise MediaRefused("its content type is not that of its bytes")
        return detected_type


class _ByteBudget:
    """The number of bytes that may still come for one call."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = self._remaining_bytes = max_bytes

    def check(self, size: int) -> None:
        if size > self._remaining_bytes:
            raise MediaRefused(
                f"the files of one request may have {max(self._max_bytes, 0):,} bytes"
            )

    def spend(self, size: int) -> None:
        self.check(size)
        self._remaining_bytes -= size


def is_public(address: Address) -> bool:
    """Return True if an address is public; an address that wraps another is judged by that one."""
    if address.version == 6:
        if address.scope_id is not None:
            return False
        if address in _IPV4_MAPPED_NETWORK or address in _NAT64_NETWORK:
            return is_public(ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF))
        if (int(address) >> 32) & 0xFCFF_FFFF == 0x5EFE:  # ISATAP: reaches an IPv4 address
            return False
        if address not in _GLOBAL_UNICAST_NETWORK:
            return False
    return address.is_global and not any(address in net for net in _NON_PUBLIC_NETWORKS)


async def resolve(host: str, port: int) -> list[str]:
    """Return a host's addresses, as the machine resolves them."""
    loop = asyncio.get_running_loop()
    address_infos = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(socket_address[0]) for _, _, _, _, socket_address in address_infos]


PUBLIC_GUARD = AddressGuard(resolve=resolve, is_public=is_public)


def _normalize_host(netloc: str, host: str) -> str:
    """Return a host in lower-case ASCII: a name, or an address in its one usual form.

    Raises MediaRefused.
    """
    if netloc.startswith("["):
        try:
            return str(ipaddress.IPv6Address(host))
        except ValueError:
            raise MediaRefused("its URL is not valid") from None
    try:
        host = host.encode("idna").decode("ascii").lower()
    except UnicodeError:
        raise MediaRefused("its URL is not valid") from None
    if not _HOST_PATTERN.fullmatch(host) or len(host) > 253:
        raise MediaRefused("its URL is not valid")
    if _NUMERIC_LABEL.fullmatch(host.rstrip(".").rpartition(".")[2]):
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError:
            raise MediaRefused("its URL is not valid") from None
    return host


def _is_allowed(media_url: MediaUrl, allowed_hosts: tuple[str, ...]) -> bool:
    """Return True if the gateway may ask this host on this port."""
    host, has_default_port = media_url.host.rstrip("."), media_url.port in _DEFAULT_PORTS.values()
    if not allowed_hosts:
        return has_default_port
    for pattern in allowed_hosts:
        name, _, port = pattern.partition(":")
        is_subdomain = name.startswith("*.") and host.endswith(name[1:])
        if (is_subdomain or host == name) and (
            media_url.port == int(port) if port else has_default_port
        ):
            return True
    return False


def _resolve_redirect(media_url: MediaUrl, location: str) -> MediaUrl:
    """Return the URL that a redirect points to. Raises MediaRefused."""
    host_text = f"[{media_url.host}]" if ":" in media_url.host else media_url.host
    base = f"{media_url.scheme}://{host_text}:{media_url.port}{media_url.path}"
    if _UNSAFE_CHARACTERS.search(location):
        raise MediaRefused("it is redirected to a URL that is not valid")
    try:
        redirect_url = MediaUrl.read(urljoin(base, location))
    except (MediaRefused, ValueError):
        raise MediaRefused("it is redirected to a URL that is not valid") from None
    if media_url.scheme == "https" and redirect_url.scheme == "http":
        raise MediaRefused("it is redirected from https:// to http://")
    return redirect_url


def _describe_failure(problem: Problem) -> str:
    """Describe a failed connection to the client."""
    if problem.kind == "upstream_timeout":
        return "it did not arrive in time"
    if problem.kind == "upstream_truncated":
        return "it was cut off"
    return "its host cannot be reached"
