"""The one door to httpx: requests to providers in, responses or a Problem out."""

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Mapping
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx
import msgspec

from gateway.core.problem import Problem, ProblemError
from gateway.core.target import Account, Auth, Provider, Timers
from gateway.dialects import Dialect
from gateway.upstream.http1 import StaleConnection, Transport
from gateway.upstream.stock import stock

type Transports = Callable[[Provider], httpx.AsyncBaseTransport]
"""Gives the transport of a provider: what stands behind the door."""

type Fields = list[tuple[bytes, bytes]]

_AUTH: Mapping[Auth, Callable[[str], tuple[str, str]]] = {
    "bearer": lambda secret: ("authorization", f"Bearer {secret}"),
    "x-api-key": lambda secret: ("x-api-key", secret),
    "api-key": lambda secret: ("api-key", secret),
    "x-goog-api-key": lambda secret: ("x-goog-api-key", secret),
}
_FIXED = (
    ("content-type", "application/json"),
    ("accept-encoding", "identity"),
    ("user-agent", "tiergate"),
)
_UNSENT = (
    httpx.ConnectError, httpx.ConnectTimeout, httpx.LocalProtocolError, httpx.PoolTimeout,
    httpx.ProxyError, httpx.UnsupportedProtocol,
)  # fmt: skip
"""What a transport raises where no byte of a request has left."""
HOP = "x-tiergate-hop"
"""Marks requests of this gateway, so that one which comes back to it is refused: no loops."""


class Answer(msgspec.Struct, kw_only=True):
    """A provider's response, its body not read yet."""

    status: int
    headers: httpx.Headers
    stream: AsyncIterator[bytes]
    body: httpx.AsyncByteStream

    def header(self, name: str) -> str | None:
        """One header, by its name in any case."""
        value: str | None = self.headers.get(name)
        return value

    async def close(self) -> None:
        """Let go of the connection, whatever was read of it."""
        await self.body.aclose()


class Client:
    """Sends calls to providers. One for the life of the gateway."""

    def __init__(self, transports: Transports | None = None, *, hop: str = "1") -> None:
        self._transports = transports or _Doors()
        self._made: dict[str, httpx.AsyncBaseTransport] = {}
        self._prepared: dict[tuple[str, str], tuple[httpx.URL, Fields]] = {}
        self._hop = hop
        self.bases: dict[str, str] = {}
        """Where local engines answer, by provider: the start of doors that are only a path."""

    async def send(
        self,
        provider: Provider,
        account: Account,
        dialect: Dialect,
        body: bytes,
        headers: Mapping[str, str],
        timers: Timers,
        deadline: float = math.inf,
        *,
        query: str = "",
    ) -> Answer:
        """Send a body to a door of a provider. Raises ProblemError where no answer comes.

        The head of the answer is waited for within `timers`, and until `deadline` on the loop's
        clock at most.
        """
        url, fixed = self._prepare(provider, account, dialect, query)
        fields = [*fixed, (b"content-length", b"%d" % len(body))]
        for name, value in headers.items():
            fields.append((name.encode("ascii"), value.encode("ascii")))
        request = httpx.Request(
            "POST",
            url,
            headers=fields,
            stream=httpx.ByteStream(body),
            extensions={"timeout": {"connect": timers.connect}},
        )
        transport = self._transport(provider)
        limit = min(asyncio.get_running_loop().time() + timers.headers, deadline)
        try:
            async with asyncio.timeout_at(limit):
                try:
                    response = await transport.handle_async_request(request)
                except StaleConnection:  # once: then it was not the connection
                    response = await transport.handle_async_request(request)
        except TimeoutError:
            message = f"{provider.name} did not answer in time."
            raise _problem("upstream_timeout", message, "maybe") from None
        except _UNSENT as error:
            message = f"{provider.name} cannot be reached ({_word(error)})."
            raise _problem("upstream_unreachable", message, "no") from None
        except httpx.HTTPError as error:
            message = f"The connection to {provider.name} broke ({_word(error)})."
            raise _problem("upstream_unreachable", message, "maybe") from None
        stream = response.stream
        if not isinstance(stream, httpx.AsyncByteStream):
            raise TypeError("the door is async only")
        return Answer(
            status=response.status_code,
            headers=response.headers,
            stream=aiter(stream),
            body=stream,
        )

    def _prepare(
        self, provider: Provider, account: Account, dialect: Dialect, query: str
    ) -> tuple[httpx.URL, Fields]:
        """URL and headers of an account's requests, made once."""
        door = provider.doors[dialect.name] + dialect.tail + (query and f"?{query}")
        if door.startswith("/"):
            door = self.bases.get(provider.name, "") + door
        where = (f"{provider.name}\n{account.name}", door)
        ready = self._prepared.get(where)
        if ready is None:
            url = httpx.URL(door)
            host = url.netloc.decode("ascii")
            fixed = [("host", host), *_FIXED, (HOP, self._hop), *provider.headers.items()]
            if account.secret and provider.auth != "none":
                fixed.append(_AUTH[provider.auth](account.secret))
            fields = [(name.encode("ascii"), value.encode("ascii")) for name, value in fixed]
            ready = self._prepared[where] = (url, fields)
        return ready

    def _transport(self, provider: Provider) -> httpx.AsyncBaseTransport:
        made = self._made.get(provider.name)
        if made is None:
            made = self._made[provider.name] = self._transports(provider)
        return made

    async def close(self) -> None:
        """Close every transport."""
        for transport in self._made.values():
            await transport.aclose()
        self._made.clear()


class _Doors:
    """One transport of our own for all, one more for each proxy; a stock one where asked."""

    def __init__(self) -> None:
        self._by_proxy: dict[str | None, Transport] = {}

    def __call__(self, provider: Provider) -> httpx.AsyncBaseTransport:
        proxy = provider.proxy or _environment_proxy(next(iter(provider.doors.values()), ""))
        if provider.transport == "stock" or (proxy or "").startswith("socks"):
            return stock(proxy=proxy)  # its limit is for all hosts: one for each provider
        if proxy not in self._by_proxy:
            self._by_proxy[proxy] = Transport(proxy=proxy)
        return self._by_proxy[proxy]


def _environment_proxy(url: str) -> str | None:
    """The proxy that HTTPS_PROXY, HTTP_PROXY and NO_PROXY give for an address."""
    parts = urlsplit(url)
    if not parts.hostname or proxy_bypass(parts.hostname):
        return None
    found = getproxies()
    return found.get(parts.scheme) or found.get("all")


async def read(
    stream: AsyncIterator[bytes], idle: float, deadline: float, provider: str
) -> AsyncIterator[bytes]:
    """The bytes of an answer. Raises ProblemError where it breaks or comes too late.

    Each read may take `idle` seconds and all of them end by `deadline`, on the loop's clock. The
    time limits lie round each read alone: one round a `yield` would strike whoever consumes this.
    """
    time = asyncio.get_running_loop().time
    step = stream.__anext__
    while True:
        limit = min(time() + idle, deadline)
        try:
            async with asyncio.timeout_at(limit):
                data = await step()
        except StopAsyncIteration:
            return
        except TimeoutError:
            why = "took longer than its tier allows" if limit == deadline else "stopped sending"
            raise _problem("upstream_timeout", f"{provider} {why}.", "maybe") from None
        except httpx.HTTPError as error:
            message = f"The answer of {provider} was cut off ({_word(error)})."
            raise _problem("upstream_truncated", message, "maybe") from None
        yield data


def _problem(kind: str, message: str, spent: str) -> ProblemError:
    return ProblemError(
        msgspec.convert({"kind": kind, "message": message, "spent": spent}, Problem)
    )


def _word(error: Exception) -> str:
    return str(error) or type(error).__name__
