"""The one door to httpx: requests to providers in, responses or a Problem out."""

import asyncio
import math
import ssl
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from typing import Self

import httpx
import msgspec

from gateway.core.errors import Problem, ProblemError, unwritten
from gateway.core.target import Account, Auth, Provider, Timers
from gateway.dialects import Dialect
from gateway.upstream.http1 import (
    ConnectionPool,
    DirectSink,
    Fields,
    Http1Transport,
    IncomingResponse,
    PreparedRoute,
    ProviderConnection,
    ResponseBody,
    StaleConnection,
    UnwrittenError,
    context,
    lines,
)
from gateway.upstream.http1.httpx_transport import stock
from gateway.upstream.write_batch import TurnBarrier, WriteBatch, nobody

type Transports = Callable[[Provider], httpx.AsyncBaseTransport]
"""Gives the transport of a provider: what stands behind the door."""
type Again = Callable[[Problem], Awaitable[None] | None]
"""Told why a request is sent once more, before it is; what it returns is waited for."""

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
_OPEN = (("accept", "*/*"), ("accept-encoding", "identity"), ("user-agent", "tiergate"))
_UNSENT = (
    httpx.ConnectError, httpx.LocalProtocolError, httpx.ProxyError, httpx.UnsupportedProtocol,
)  # fmt: skip
"""What a transport raises where no byte of a request has left."""
_CROSSING = 0.25
"""Seconds after which a request that was not answered may have been read before the connection was
closed: a close that crosses it arrives sooner, and so soon nobody has worked on it."""
_MOST_DOORS = 1024
"""Doors that are kept ready: a client's query is a part of one."""
HOP = "x-tiergate-hop"
"""Marks requests of this gateway, so that one which comes back to it is refused: no loops."""


class ProviderResponse(ABC):
    """The response of a provider; its body is not read yet."""

    __slots__ = ()

    fields: Fields
    """Its headers, their names in lower case."""
    provider: str
    """The provider's name."""
    status: int

    def header(self, name: bytes) -> str | None:
        """The first header of a name, given in lower case."""
        for key, value in self.fields:
            if key == name:
                return value.decode("latin-1")
        return None

    def rest(self) -> bytes | None:
        """All of the body that has not been read, where none of it must be waited for."""
        return None

    @abstractmethod
    def read(self, idle: float, deadline: float) -> AsyncIterator[bytes]:
        """The bytes of the body as they come; see the function of that name."""
        ...

    def end(self, most: int) -> bytes | None:  # noqa: ARG002 - some have it
        """All of the body, where it is here and no longer; then the connection is let go of."""
        return None

    @abstractmethod
    async def close(self) -> None:
        """Let go of the connection, whatever was read of it."""
        ...


class HttpxSender(ProviderResponse):
    """By any transport."""

    __slots__ = ("_body", "fields", "provider", "status")

    def __init__(
        self, provider: str, status: int, fields: Fields, body: httpx.AsyncByteStream
    ) -> None:
        self.status = status
        self.provider = provider
        self.fields = fields
        self._body = body

    def read(self, idle: float, deadline: float) -> AsyncIterator[bytes]:
        """See the class that it extends."""
        return read(aiter(self._body), idle, deadline, self.provider)

    async def close(self) -> None:
        """See the class that it extends."""
        await self._body.aclose()


class _Own(ResponseBody, ProviderResponse):
    """By a transport of our own."""

    __slots__ = ("fields", "provider", "status")

    def __init__(
        self,
        provider: str,
        pool: ConnectionPool,
        connection: ProviderConnection,
        reading: IncomingResponse,
    ) -> None:
        self._connection = connection
        self._pool = pool
        self._whole = False
        self.status = reading.status
        self.provider = provider
        self.fields = reading.fields

    def read(self, idle: float, deadline: float) -> AsyncIterator[bytes]:
        return ResponseChunks(self, idle, deadline, self.provider)

    async def close(self) -> None:
        self.let_go()


class _Door(msgspec.Struct, frozen=True):
    """What requests of one account to one address have in common."""

    provider: Provider
    """Kept so that no other provider can have its identity."""
    transport: httpx.AsyncBaseTransport
    url: httpx.URL
    fields: Fields
    own: tuple[Http1Transport, PreparedRoute] | None
    """The shorter way through a transport of our own."""


class ProviderClient:
    """Sends calls to providers, as one configuration has them."""

    def __init__(
        self,
        transports: Transports | None = None,
        *,
        hop: str = "1",
        outbox: WriteBatch | None = None,
    ) -> None:
        """`outbox` has what is to be written before a request is sent."""
        self._outbox = outbox
        self.turn: Callable[[], TurnBarrier | None] = nobody if outbox is None else outbox.turn
        """What a call waits for before it asks, where others have come that are yet to be read."""
        self._pools = (
            transports if isinstance(transports, ConnectionPools) else ConnectionPools(transports)
        )
        self._prepared: dict[tuple[int, Account, str, str, str], _Door] = {}
        self._hop = hop
        self.bases: dict[str, str] = {}
        """Where local engines answer, by provider: the start of doors that are only a path."""

    async def send(  # noqa: PLR0913, PLR0917 - what a request is made of, and how long it may take
        self,
        provider: Provider,
        account: Account,
        dialect: Dialect,
        body: bytes,
        headers: Mapping[str, str],
        timers: Timers,
        deadline: float = math.inf,
        tail: str | None = None,
        again: Again | None = None,
    ) -> ProviderResponse:
        """Send a body to a door of a provider. Raises ProblemError where no answer comes.

        `tail` is what a request adds to the door, in place of what its dialect does. `again` is
        told why the first sending failed, and waited for, before there is a second: where a kept
        connection was closed as the request was on its way.

        The head of the answer is waited for within `timers`, and until `deadline` on the loop's
        clock at most.
        """
        more = _ascii(headers) if headers else []
        now = asyncio.get_running_loop().time()
        limit = min(now + timers.headers, deadline)
        door: _Door | None = None
        try:
            door = self._door(
                provider, account, dialect.name, dialect.tail if tail is None else tail
            )
            if door.own is None:
                if self._outbox is not None and not self._outbox.flush():
                    raise unwritten()
                return await _ask(door, provider.name, body, more, timers, limit)
            transport, route = door.own
            added = lines(more) if more else b""
            connect, wait = timers.connect, timers.pool
            try:
                came = await transport.post(route, body, added, connect, wait, limit)
            except StaleConnection:  # once: then it was not the connection
                if asyncio.get_running_loop().time() - now > _CROSSING:
                    raise  # it may have been read, and worked on
                if again is not None and (told := again(_crossed(provider.name))) is not None:
                    await told
                came = await transport.post(route, body, added, connect, wait, limit)
        except UnwrittenError:
            raise unwritten() from None
        except (TimeoutError, httpx.HTTPError) as error:
            own = door is not None and door.own is not None  # which watches the time itself
            late = own and isinstance(error, httpx.ReadTimeout)
            # No name for what was raised: it knows this frame, and would be known by it.
            problem = _failure(provider.name, TimeoutError() if late else error)
            raise ProblemError(problem) from None
        return _Own(provider.name, route.pool, *came)

    def _door(self, provider: Provider, account: Account, dialect: str, tail: str) -> _Door:
        """Return where an account's requests go, and what they have in common; made once.

        Two providers may share a name: the one that makes vectors differs in its URLs. So the
        identity of the provider is a part of the key, and its name is none.
        """
        base = self.bases.get(provider.name, "") if self.bases else ""
        where = (id(provider), account, dialect, tail, base)
        ready = self._prepared.get(where)
        if ready is None:
            door = provider.doors[dialect]
            url = httpx.URL(_joined(base + door if door.startswith("/") else door, tail))
            host = url.netloc.decode("ascii")
            fixed = [("host", host), *_FIXED, (HOP, self._hop), *provider.headers.items()]
            if account.secret and provider.auth != "none":
                fixed.append(_AUTH[provider.auth](account.secret))
            fields = [(name.encode("ascii"), value.encode("ascii")) for name, value in fixed]
            transport = self._pools(provider)
            own = None
            if isinstance(transport, Http1Transport):
                own = transport, transport.route(url, fields)
            if len(self._prepared) >= _MOST_DOORS:
                self._prepared.clear()
            ready = self._prepared[where] = _Door(provider, transport, url, fields, own)
        return ready

    async def close(self) -> None:
        """Close every transport."""
        await self._pools.close()
        self._prepared.clear()


def _joined(door: str, tail: str) -> str:
    """Add a tail to the path of a door; the queries of both stand behind it."""
    path, _, query = door.partition("?")
    more, _, added = tail.partition("?")
    queries = "&".join(filter(None, (query, added)))
    return f"{path}{more}?{queries}" if queries else f"{path}{more}"


def _failure(name: str, error: Exception) -> Problem:
    """Why no answer came, and whether the provider may have worked on one."""
    if isinstance(error, httpx.PoolTimeout):
        message = f"All connections to {name} are taken. Try again soon."
        return Problem(kind="overloaded", message=message, retry_after=1.0)
    if isinstance(error, httpx.ConnectTimeout):
        return _told("upstream_timeout", f"{name} cannot be reached in time.", "no")
    if isinstance(error, TimeoutError):
        return _told("upstream_timeout", f"{name} did not answer in time.", "maybe")
    if not isinstance(error, _UNSENT):
        message = f"The connection to {name} broke ({_word(error)})."
        return _told("upstream_unreachable", message, "maybe")
    return Problem(
        kind="upstream_unreachable",
        message=f"{name} cannot be reached ({_word(error)}).",
        lasting=isinstance(error, httpx.UnsupportedProtocol)
        or isinstance(error.__cause__, ssl.SSLCertVerificationError),
    )


def _ascii(headers: Mapping[str, str]) -> Fields:
    return [(name.encode("ascii"), value.encode("ascii")) for name, value in headers.items()]


async def _ask(
    door: _Door, name: str, body: bytes, more: Fields, timers: Timers, limit: float
) -> ProviderResponse:
    """Ask through any transport. Raises TimeoutError at `limit`, on the loop's clock."""
    request = httpx.Request(
        "POST",
        door.url,
        headers=[*door.fields, (b"content-length", b"%d" % len(body)), *more],
        stream=httpx.ByteStream(body),
        extensions={"timeout": {"connect": timers.connect, "pool": timers.pool}},
    )
    async with asyncio.timeout_at(limit):
        response = await door.transport.handle_async_request(request)
    stream = response.stream
    if not isinstance(stream, httpx.AsyncByteStream):
        raise TypeError("the door is async only")
    return HttpxSender(name, response.status_code, _low(response.headers.raw), stream)


def _crossed(name: str) -> Problem:
    message = f"{name} closed a kept connection as the request was on its way."
    return _told("upstream_unreachable", message, "no")


def _low(headers: list[tuple[bytes, bytes]]) -> Fields:
    return [(name.lower(), value) for name, value in headers]


class PublicWebClient:
    """Asks for what anybody may read: no credential, no cookie, no proxy, no redirect followed."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        """`tls` None: as the machine trusts it, made when first needed."""
        self._tls = tls

    async def get(
        self, scheme: str, host: str, port: int, path: str, *, at: str, connect: float, until: float
    ) -> ProviderResponse:
        """Ask a host for a path, at the IP address `at` and nowhere else. Raises ProblemError.

        The certificate must be of the host. The connection is closed with the answer; its head is
        waited for `until` then, on the loop's clock.
        """
        if scheme == "https" and self._tls is None:
            self._tls = await asyncio.to_thread(context)
        name = f"[{host}]" if ":" in host else host
        usual = port == (443 if scheme == "https" else 80)
        place = f"[{at}]" if ":" in at else at
        try:
            request = httpx.Request(
                "GET",
                f"{scheme}://{place}:{port}{path}",
                headers=[("host", name if usual else f"{name}:{port}"), *_OPEN],
                extensions={"timeout": {"connect": connect}, "sni_hostname": host},
            )
            transport = Http1Transport(tls=self._tls, limit=1, most_idle=0)
            async with asyncio.timeout_at(until):
                response = await transport.handle_async_request(request)
        except TimeoutError:
            raise _problem("upstream_timeout", f"{host} did not answer in time.", "no") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            message = f"{host} cannot be reached ({_word(error)})."
            raise _problem("upstream_unreachable", message, "no") from None
        stream = response.stream
        if not isinstance(stream, httpx.AsyncByteStream):
            raise TypeError("the door is async only")
        return HttpxSender(host, response.status_code, _low(response.headers.raw), stream)


class ConnectionPools:
    """The connections to providers, which outlive a configuration: a transport for each kind.

    One of our own for all, one more for each proxy; a stock one for each provider that asks for it,
    as its limit is for all hosts. Given `transports`, one of these for each provider.
    """

    def __init__(
        self, transports: Transports | None = None, outbox: WriteBatch | None = None
    ) -> None:
        self._transports = transports
        self._outbox = outbox
        self._made: dict[tuple[str | None, ...], httpx.AsyncBaseTransport] = {}

    def __call__(self, provider: Provider) -> httpx.AsyncBaseTransport:
        """The transport of a provider."""
        kind = self._kind(provider)
        made = self._made.get(kind)
        if made is None:
            made = self._made[kind] = self._make(provider)
        return made

    async def only(self, providers: Iterable[Provider]) -> None:
        """Close those that none of these providers uses."""
        used = {self._kind(one) for one in providers}
        for kind in [one for one in self._made if one not in used]:
            await self._made.pop(kind).aclose()

    async def close(self) -> None:
        """Close every one."""
        await self.only(())

    def _kind(self, provider: Provider) -> tuple[str | None, ...]:
        proxy = provider.proxy  # none of the environment: it was set for another program
        if self._transports is not None:
            return (provider.name,)
        if provider.transport == "stock" or (proxy or "").startswith("socks"):
            return (provider.name, proxy)
        return (None, proxy)

    def _make(self, provider: Provider) -> httpx.AsyncBaseTransport:
        if self._transports is not None:
            return self._transports(provider)
        if self._kind(provider)[0] is not None:
            return stock(proxy=provider.proxy)
        return Http1Transport(proxy=provider.proxy, outbox=self._outbox)


class ResponseChunks:
    """The bytes of an answer of a transport of our own, as `read` gives those of any."""

    __slots__ = ("_body", "_deadline", "_idle", "_provider")

    def __init__(self, body: ResponseBody, idle: float, deadline: float, provider: str) -> None:
        self._body = body
        self._idle = idle
        self._deadline = deadline
        self._provider = provider

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        try:
            data = await self._body.more(self._idle, self._deadline)
        except httpx.ReadTimeout:
            raise _late(self._provider, total=self._body.over()) from None
        except httpx.HTTPError as error:
            raise _cut(self._provider, error) from None
        if not data:
            raise StopAsyncIteration
        return data

    def pass_to(self, direct: DirectSink) -> None:
        """Have what comes while somebody waits for it go there, where that takes it."""
        self._body.pass_to(direct)


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
            raise _late(provider, total=limit == deadline) from None
        except httpx.HTTPError as error:
            raise _cut(provider, error) from None
        yield data


def _late(provider: str, *, total: bool) -> ProblemError:
    why = "took longer than its tier allows" if total else "stopped sending"
    return _problem("upstream_timeout", f"{provider} {why}.", "maybe")


def _cut(provider: str, error: httpx.HTTPError) -> ProblemError:
    message = f"The answer of {provider} was cut off ({_word(error)})."
    return _problem("upstream_truncated", message, "maybe")


def _problem(kind: str, message: str, spent: str) -> ProblemError:
    return ProblemError(_told(kind, message, spent))


def _told(kind: str, message: str, spent: str) -> Problem:
    return msgspec.convert({"kind": kind, "message": message, "spent": spent}, Problem)


def _word(error: Exception) -> str:
    """Why, and not where: a certificate of another host is told with the name of the right one."""
    return str(error).partition(", certificate")[0] or type(error).__name__


async def tell(url: str, data: bytes, within: float = 5.0) -> int | None:
    """POST some JSON to a URL of the configuration; its status, None where nobody answered."""
    try:
        async with httpx.AsyncClient(trust_env=False, timeout=within) as hook:
            answer = await hook.post(url, content=data, headers=[_FIXED[0], _FIXED[2]])
    except httpx.HTTPError:
        return None
    return answer.status_code


def read_url(url: str, secret: str, within: float = 5.0) -> tuple[int, bytes] | None:
    """GET a URL of the gateway's own; its status and body, None where nobody answered."""
    headers = {"authorization": f"Bearer {secret}"} if secret else {}
    try:
        with httpx.Client(trust_env=False, timeout=within) as client:
            answer = client.get(url, headers=headers)
    except (httpx.HTTPError, httpx.InvalidURL):
        return None
    return answer.status_code, answer.content
