"""The one place that sends through httpx: requests to providers in, responses or a Problem out."""

import asyncio
import math
import ssl
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from typing import Self

import httpx
import msgspec

from gateway.core.errors import Problem, ProblemError, ledger_unwritable
from gateway.core.target import Account, Auth, Provider, Timers
from gateway.dialects import TargetDialect
from gateway.upstream.connection_pools import ConnectionPools, Transports
from gateway.upstream.credentials.cloud_credentials import CloudCredentials
from gateway.upstream.credentials.request_signer import CredentialError
from gateway.upstream.forwarded_request import ForwardedRequest
from gateway.upstream.http1 import (
    ConnectionPool,
    Connector,
    DirectSink,
    Fields,
    Http1Transport,
    IncomingResponse,
    PreparedRoute,
    ProviderConnection,
    ResponseBody,
    StaleConnection,
    UnwrittenError,
    create_tls_context,
    encode_header_lines,
    write_rows,
)
from gateway.upstream.write_batch import WriteBatch

type OnResend = Callable[[Problem], Awaitable[None]]
"""A function that takes the reason why a request is sent again; the client awaits it first."""

_AUTH_HEADERS: Mapping[Auth, Callable[[str], tuple[str, str]]] = {
    "bearer": lambda secret: ("authorization", f"Bearer {secret}"),
    "x-api-key": lambda secret: ("x-api-key", secret),
    "api-key": lambda secret: ("api-key", secret),
    "x-goog-api-key": lambda secret: ("x-goog-api-key", secret),
}
_FIXED_HEADERS = (
    ("content-type", "application/json"),
    ("accept-encoding", "identity"),
    ("user-agent", "tiergate"),
)
_FORWARDED_HEADERS = _FIXED_HEADERS[1:]
"""The fixed headers of a forwarded request, whose content type is the client's."""
_PUBLIC_HEADERS = (("accept", "*/*"), ("accept-encoding", "identity"), ("user-agent", "tiergate"))
_WEBSOCKET_SCHEMES = {"ws": "http", "wss": "https"}
_UNSENT_ERRORS = (
    httpx.ConnectError, httpx.LocalProtocolError, httpx.ProxyError, httpx.UnsupportedProtocol,
)  # fmt: skip
"""Errors that a transport raises if no byte of a request has left."""
_CROSSING_SECONDS = 0.25
"""Seconds after which a provider may have read a request before it closed the connection.

A close that crosses a request on its way arrives sooner, before the provider has worked on it.
"""
_MAX_ENDPOINTS = 1024
"""The number of endpoints that are kept ready; a client's query is part of an endpoint."""
HOP_HEADER = "x-tiergate-hop"
"""The header that marks this gateway's requests: it refuses one that comes back, so no loops."""


class ProviderResponse(ABC):
    """The response of a provider; its body is not read yet."""

    __slots__ = ()

    fields: Fields
    """The headers, with their names in lower case."""
    provider: str
    """The provider's name."""
    status: int
    secret: str
    """The credential that the request had, which an answer may quote; empty if it had none."""

    def get_header(self, name: bytes) -> str | None:
        """Return the first header of a name, which must be in lower case."""
        for key, value in self.fields:
            if key == name:
                return value.decode("latin-1")
        return None

    def take_buffered(self) -> bytes | None:
        """Return the rest of the body if all of it has arrived, else None."""
        return None

    @abstractmethod
    def read(self, idle: float, deadline: float) -> AsyncIterator[bytes]:
        """Yield the bytes of the body as they come; see the function `read`."""
        ...

    def take_whole(self, max_bytes: int) -> bytes | None:  # noqa: ARG002 - some have it
        """Return the body and release the connection, if all is here in `max_bytes`; else None."""
        return None

    @abstractmethod
    async def close(self) -> None:
        """Release the connection, however much of the body was read."""
        ...


class HttpxSender(ProviderResponse):
    """A response that came through any httpx transport."""

    __slots__ = ("_body", "fields", "provider", "secret", "status")

    def __init__(
        self,
        provider: str,
        status: int,
        fields: Fields,
        body: httpx.AsyncByteStream,
        secret: str = "",
    ) -> None:
        self.status = status
        self.provider = provider
        self.secret = secret
        self.fields = fields
        self._body = body

    def read(self, idle: float, deadline: float) -> AsyncIterator[bytes]:
        """Yield the bytes of the body; see ProviderResponse."""
        return read(aiter(self._body), idle, deadline, self.provider)

    async def close(self) -> None:
        """Release the connection; see ProviderResponse."""
        await self._body.aclose()


class _OwnResponse(ResponseBody, ProviderResponse):
    """A response that came through the gateway's own transport."""

    __slots__ = ("fields", "provider", "secret", "status")

    def __init__(
        self,
        provider: str,
        pool: ConnectionPool,
        connection: ProviderConnection,
        incoming: IncomingResponse,
        secret: str,
    ) -> None:
        self._connection = connection
        self._pool = pool
        self._is_complete = False
        self.status = incoming.status
        self.provider = provider
        self.secret = secret
        self.fields = incoming.fields

    def read(self, idle: float, deadline: float) -> AsyncIterator[bytes]:
        return ResponseChunks(self, idle, deadline, self.provider)

    async def close(self) -> None:
        self.release()


class _PreparedEndpoint(msgspec.Struct, frozen=True):
    """The common parts of all requests of one account to one address."""

    provider: Provider
    """The provider, kept so that no other one can get the same `id()`."""
    transport: httpx.AsyncBaseTransport
    url: httpx.URL
    fields: Fields
    own_route: tuple[Http1Transport, PreparedRoute] | None
    """The shorter path through the gateway's own transport; None for another transport."""


class UpgradeRoute(msgspec.Struct, frozen=True):
    """The way to a provider's WebSocket: a maker of connections, the address, and the headers."""

    connector: Connector
    url: httpx.URL
    headers: tuple[tuple[str, str], ...]
    """The credential and the provider's own headers. The handshake adds its own."""
    secret: str = ""
    """The credential, which a refusal may quote; empty if there is none."""


class ProviderClient:
    """A client that sends calls to providers under one configuration."""

    def __init__(
        self,
        transports: Transports | None = None,
        *,
        hop: str = "1",
        write_batch: WriteBatch | None = None,
        credentials: CloudCredentials | None = None,
    ) -> None:
        """Create a client.

        `write_batch` writes the rows that must be written before a request is sent. `credentials`
        sign requests to providers that take the gateway's own identity in place of a key.
        """
        self._write_batch = write_batch
        self._pools = (
            transports if isinstance(transports, ConnectionPools) else ConnectionPools(transports)
        )
        self._endpoints: dict[tuple[int, Account, str, str], _PreparedEndpoint] = {}
        self._hop = hop
        self._credentials = credentials
        self._base_urls: dict[str, str] = {}
        """Base URLs of local engines by provider. A replica has its own."""

    def set_base_url(self, provider: str, base_url: str) -> None:
        """Set where a local engine is, for those of its endpoints that are only a path."""
        if self._base_urls.get(provider) != base_url:
            self._base_urls[provider] = base_url
            self._endpoints.clear()

    async def send(  # noqa: PLR0913, PLR0917 - what a request is made of, and how long it may take
        self,
        provider: Provider,
        account: Account,
        dialect: TargetDialect,
        body: bytes,
        headers: Mapping[str, str],
        timers: Timers,
        head_deadline: float | None = None,
        tail: str | None = None,
        on_resend: OnResend | None = None,
    ) -> ProviderResponse:
        """Send a body to an endpoint of a provider. Raises ProblemError if no answer comes.

        `tail` is added to the URL of the endpoint, in place of the dialect's suffix. If a kept
        connection closes while the request is on its way, the client sends it a second time. It
        first awaits `on_resend` with the reason why the first request failed.

        The client waits for the head of the answer until `head_deadline` on the loop's clock, or
        without one for `timers.headers`.
        """
        extra_headers = _encode_headers(headers.items()) if headers else []
        started_at = asyncio.get_running_loop().time()
        if head_deadline is None:
            head_deadline = started_at + timers.headers
        endpoint: _PreparedEndpoint | None = None
        try:
            endpoint = self._get_endpoint(
                provider, account, dialect.name, dialect.url_suffix if tail is None else tail
            )
            secret = account.secret
            if provider.cloud_auth is not None:
                signature = await self._sign(provider, "POST", endpoint.url, body, head_deadline)
                extra_headers += _encode_headers(signature)
                secret = _find_secret(signature)
            if endpoint.own_route is None:
                write_rows(self._write_batch)
                response = await _send_by_httpx(
                    endpoint, body, extra_headers, timers, head_deadline
                )
                return _wrap_response(provider.name, response, secret)
            transport, route = endpoint.own_route
            extra_lines = encode_header_lines(extra_headers) if extra_headers else b""
            connect_timeout, pool_timeout = timers.connect, timers.pool
            try:
                connection_and_head = await transport.post(
                    route, body, extra_lines, connect_timeout, pool_timeout, head_deadline
                )
            except StaleConnection:  # resend once: a second failure is not the connection's fault
                if asyncio.get_running_loop().time() - started_at > _CROSSING_SECONDS:
                    raise  # the provider may have read it, and worked on it
                if on_resend is not None:
                    await on_resend(_build_crossed_problem(provider.name))
                connection_and_head = await transport.post(
                    route, body, extra_lines, connect_timeout, pool_timeout, head_deadline
                )
        except UnwrittenError:
            raise ledger_unwritable() from None
        except (TimeoutError, httpx.HTTPError) as error:
            has_own_route = (
                endpoint is not None and endpoint.own_route is not None
            )  # the own route watches the time itself
            is_late = has_own_route and isinstance(error, httpx.ReadTimeout)
            # Bind the ProblemError to no name: its traceback refers to this frame, and would form a
            # cycle.
            problem = build_failure(provider.name, TimeoutError() if is_late else error)
            raise ProblemError(problem) from None
        return _OwnResponse(provider.name, route.pool, *connection_and_head, secret)

    async def forward(
        self,
        provider: Provider,
        account: Account,
        request: ForwardedRequest,
        timers: Timers,
        *,
        deadline: float = math.inf,
        on_resend: OnResend | None = None,
    ) -> ProviderResponse:
        """Send a request as it is. Raises ProblemError if no answer comes, and the body's errors.

        The provider must take more of the body every `timers.idle` seconds. The head of its answer
        must come within `timers.headers` after the body, and before `deadline` on the loop's clock.
        If the provider refuses the request before its end, the client sends no more of it.

        A request is sent a second time as `send` does, but never one whose body is an iterator.
        Raises ValueError if the URL leads to a host that is not the provider's.
        """
        started_at = asyncio.get_running_loop().time()
        try:
            try:
                return await self._forward_once(provider, account, request, timers, deadline)
            except StaleConnection:
                is_late = asyncio.get_running_loop().time() - started_at > _CROSSING_SECONDS
                if is_late or not request.is_repeatable:
                    raise
                if on_resend is not None:
                    await on_resend(_build_crossed_problem(provider.name))
                return await self._forward_once(provider, account, request, timers, deadline)
        except UnwrittenError:
            raise ledger_unwritable() from None
        except (TimeoutError, httpx.HTTPError) as error:
            is_late = isinstance(error, httpx.ReadTimeout)
            problem = build_failure(provider.name, TimeoutError() if is_late else error)
            raise ProblemError(problem) from None  # bound to no name, as in `send`

    async def _forward_once(
        self,
        provider: Provider,
        account: Account,
        request: ForwardedRequest,
        timers: Timers,
        deadline: float,
    ) -> ProviderResponse:
        url = self._find_own_url(provider, account, request.url)
        host = url.netloc.decode("ascii")
        headers = self._list_headers(provider, account, host, _FORWARDED_HEADERS)
        secret = account.secret
        if provider.cloud_auth is not None:
            body = b"" if request.body is None else request.body
            whole_body = body if isinstance(body, bytes) else None
            signature = await self._sign(provider, request.method, url, whole_body, deadline)
            headers += signature
            secret = _find_secret(signature)
        own_names = {name.lower() for name, _ in headers}
        headers += [pair for pair in request.headers.items() if pair[0] not in own_names]
        headers += request.list_framing()
        transport = self._pools(provider)
        httpx_request = httpx.Request(
            request.method,
            url,
            headers=_encode_headers(headers),
            stream=_make_stream(request.body),
            extensions={
                "timeout": {
                    "connect": timers.connect,
                    "pool": timers.pool,
                    "write": timers.idle,
                }
            },
        )
        if isinstance(transport, Http1Transport):
            return _OwnResponse(
                provider.name, *await transport.forward(httpx_request, timers, deadline), secret
            )
        write_rows(self._write_batch)
        response = await _forward_by_httpx(transport, httpx_request, timers, deadline)
        return _wrap_response(provider.name, response, secret)

    def _find_own_url(self, provider: Provider, account: Account, text: str) -> httpx.URL:
        """Return a URL of a provider. Raises ValueError if its host is not the provider's."""
        base = self._find_base_url(provider, account)
        url = httpx.URL(base + text if text.startswith("/") else text)
        for own_text in (*provider.urls.values(), *provider.endpoint_urls):
            own = httpx.URL(own_text if "://" in own_text else base + own_text)
            if (own.scheme, own.netloc) == (url.scheme, url.netloc):
                return url
        raise ValueError(f"the URL is none of {provider.name}: its credential stays here")

    def _find_base_url(self, provider: Provider, account: Account) -> str:
        """Return what stands before endpoints that are only a path; empty if there is nothing."""
        return account.base_url or self._base_urls.get(provider.name, "")

    def _list_headers(
        self,
        provider: Provider,
        account: Account,
        host: str,
        fixed_headers: Iterable[tuple[str, str]],
    ) -> list[tuple[str, str]]:
        """Return the headers that the gateway itself sends to a provider."""
        headers = [
            ("host", host),
            *fixed_headers,
            (HOP_HEADER, self._hop),
            *provider.headers.items(),
        ]
        if account.secret and provider.auth != "none":
            headers.append(_AUTH_HEADERS[provider.auth](account.secret))
        return headers

    def _get_endpoint(
        self, provider: Provider, account: Account, dialect: str, tail: str
    ) -> _PreparedEndpoint:
        """Return where an account's requests go, and what they have in common; built once.

        Two providers may share a name: the one for embeddings differs in its URLs. So the key
        contains the identity of the provider, not its name.
        """
        key = (id(provider), account, dialect, tail)
        endpoint = self._endpoints.get(key)
        if endpoint is None:
            base, endpoint_url = self._find_base_url(provider, account), provider.urls[dialect]
            whole_url = endpoint_url if "://" in endpoint_url else base + endpoint_url
            url = httpx.URL(_join_url(whole_url, tail))
            host = url.netloc.decode("ascii")
            fields = _encode_headers(self._list_headers(provider, account, host, _FIXED_HEADERS))
            transport = self._pools(provider)
            own_route = None
            if isinstance(transport, Http1Transport):
                own_route = transport, transport.prepare_route(url, fields)
            if len(self._endpoints) >= _MAX_ENDPOINTS:
                self._endpoints.clear()
            endpoint = self._endpoints[key] = _PreparedEndpoint(
                provider, transport, url, fields, own_route
            )
        return endpoint

    async def prepare_upgrade(
        self, provider: Provider, account: Account, address: str, headers: Mapping[str, str]
    ) -> UpgradeRoute:
        """Return the way to a WebSocket of a provider. Raises ProblemError if there is none.

        `address` is a URL of ws, wss, http or https, or a path at a local engine.
        """
        base = self._find_base_url(provider, account) if address.startswith("/") else ""
        url = httpx.URL(base + address)
        if url.scheme in _WEBSOCKET_SCHEMES:
            url = url.copy_with(scheme=_WEBSOCKET_SCHEMES[url.scheme])
        transport = self._pools(provider)
        try:
            connector = (
                transport.make_connector(url) if isinstance(transport, Http1Transport) else None
            )
        except httpx.HTTPError as error:
            raise ProblemError(build_failure(provider.name, error)) from None
        if connector is None or connector.has_plain_proxy:
            message = f"The gateway reaches {provider.name} over no WebSocket: see the proxy and "
            raise _build_error("upstream_unreachable", f"{message}transport of it.", "no")
        own_headers = [("user-agent", "tiergate"), (HOP_HEADER, self._hop)]
        own_headers += [*provider.headers.items(), *headers.items()]
        secret = account.secret
        if secret and provider.auth != "none":
            own_headers.append(_AUTH_HEADERS[provider.auth](account.secret))
        if provider.cloud_auth is not None:
            deadline = asyncio.get_running_loop().time() + provider.timers["fast"].headers
            signature = await self._sign(provider, "GET", url, b"", deadline)
            own_headers += signature
            secret = _find_secret(signature)
        return UpgradeRoute(connector, url, tuple(own_headers), secret)

    async def _sign(
        self, provider: Provider, method: str, url: httpx.URL, body: bytes | None, deadline: float
    ) -> list[tuple[str, str]]:
        """Return the headers that authorize a request to a provider with `cloud_auth`.

        Raises ProblemError if there is no credential until `deadline`, on the loop's clock, and
        UnwrittenError if the request's row is not written.
        """
        if self._credentials is None or provider.cloud_auth is None:
            raise ValueError(f"nothing signs requests to {provider.name}")
        # Now: a refusal of the row meanwhile would reach another request.
        write_rows(self._write_batch)
        try:
            async with asyncio.timeout_at(None if deadline == math.inf else deadline):
                signer = self._credentials.get_signer(provider.cloud_auth)
                return await signer.sign(method, url, body)
        except TimeoutError:
            problem = _build_problem(
                "upstream_timeout", f"The gateway gets no credential for {provider.name}.", "no"
            )
        except CredentialError as error:
            message = f"The gateway has no credential for {provider.name}. Tell its operator."
            problem = Problem(kind="upstream_auth", message=message, detail=str(error))
        raise ProblemError(problem)

    async def close(self) -> None:
        """Close every transport."""
        await self._pools.close()
        self._endpoints.clear()


def _join_url(endpoint_url: str, tail: str) -> str:
    """Add a tail to the path of an endpoint; the queries of both come after it."""
    path, _, query = endpoint_url.partition("?")
    added_path, _, added_query = tail.partition("?")
    queries = "&".join(filter(None, (query, added_query)))
    return f"{path}{added_path}?{queries}" if queries else f"{path}{added_path}"


def build_failure(name: str, error: Exception) -> Problem:
    """Return why no answer came, and whether the provider may have worked on one."""
    if isinstance(error, httpx.PoolTimeout):
        message = f"The gateway has no free connection to {name}. Try again soon."
        return Problem(kind="overloaded", message=message, retry_after=1.0)
    if isinstance(error, httpx.ConnectTimeout):
        return _build_problem("upstream_timeout", f"The gateway cannot reach {name} in time.", "no")
    if isinstance(error, TimeoutError):
        return _build_problem("upstream_timeout", f"{name} did not answer in time.", "maybe")
    if isinstance(error, httpx.WriteTimeout):
        message = f"{name} stopped reading the request."
        return _build_problem("upstream_timeout", message, "maybe")
    if not isinstance(error, _UNSENT_ERRORS):
        message = f"The connection to {name} broke ({_describe_error(error)})."
        return _build_problem("upstream_unreachable", message, "maybe")
    return Problem(
        kind="upstream_unreachable",
        message=f"The gateway cannot reach {name} ({_describe_error(error)}).",
        is_permanent=isinstance(error, httpx.UnsupportedProtocol)
        or isinstance(error.__cause__, ssl.SSLCertVerificationError),
    )


def _find_secret(signature: Iterable[tuple[str, str]]) -> str:
    """Return what an answer may quote of a signature: an access token, or AWS's session token."""
    for name, value in signature:
        if name == "x-amz-security-token" or value.startswith("Bearer "):
            return value.removeprefix("Bearer ")
    return ""


def _encode_headers(headers: Iterable[tuple[str, str]]) -> Fields:
    return [(name.encode("ascii"), value.encode("latin-1")) for name, value in headers]


async def _send_by_httpx(
    endpoint: _PreparedEndpoint,
    body: bytes,
    extra_headers: Fields,
    timers: Timers,
    deadline: float,
) -> httpx.Response:
    """Send through any transport. Raises TimeoutError at `deadline`, on the loop's clock."""
    request = httpx.Request(
        "POST",
        endpoint.url,
        headers=[*endpoint.fields, (b"content-length", b"%d" % len(body)), *extra_headers],
        stream=httpx.ByteStream(body),
        extensions={"timeout": {"connect": timers.connect, "pool": timers.pool}},
    )
    async with asyncio.timeout_at(deadline):
        return await endpoint.transport.handle_async_request(request)


class _IteratorStream(httpx.AsyncByteStream):
    """The bytes of an iterator."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._chunks


class _WatchedStream(httpx.AsyncByteStream):
    """A body that calls `on_end` when a transport has taken all of it."""

    def __init__(self, stream: httpx.AsyncByteStream, on_end: Callable[[], None]) -> None:
        self._stream = stream
        self._on_end = on_end

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for data in self._stream:
            yield data
        self._on_end()


def _make_stream(body: bytes | AsyncIterator[bytes] | None) -> httpx.AsyncByteStream:
    if body is None or isinstance(body, bytes):
        return httpx.ByteStream(body or b"")
    return _IteratorStream(body)


async def _forward_by_httpx(
    transport: httpx.AsyncBaseTransport,
    request: httpx.Request,
    timers: Timers,
    deadline: float,
) -> httpx.Response:
    """Forward through any transport, as `Http1Transport.forward` does."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout_at(deadline) as scope:

        def start_head_timer() -> None:
            scope.reschedule(min(deadline, loop.time() + timers.headers))

        body = request.stream
        if not isinstance(body, httpx.AsyncByteStream):
            raise TypeError("the body must be an async stream")
        request.stream = _WatchedStream(body, start_head_timer)
        return await transport.handle_async_request(request)


def _wrap_response(name: str, response: httpx.Response, secret: str = "") -> ProviderResponse:
    stream = response.stream
    if not isinstance(stream, httpx.AsyncByteStream):
        raise TypeError("this transport is async only")
    fields = _lower_names(response.headers.raw)
    return HttpxSender(name, response.status_code, fields, stream, secret)


def _build_crossed_problem(name: str) -> Problem:
    message = f"{name} closed a kept connection as the request was on its way."
    return _build_problem("upstream_unreachable", message, "no")


def _lower_names(headers: list[tuple[bytes, bytes]]) -> Fields:
    return [(name.lower(), value) for name, value in headers]


class PublicWebClient:
    """A client for public URLs.

    It sends no credential or cookie, uses no proxy and follows no redirect.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        """Take a TLS context; if it is None, the first https request creates one.

        That one trusts what the machine trusts.
        """
        self._tls = tls

    async def get(
        self,
        scheme: str,
        host: str,
        port: int,
        path: str,
        *,
        address: str,
        connect_timeout: float,
        deadline: float,
    ) -> ProviderResponse:
        """Get a path from a host, at the IP address `address` and nowhere else.

        Raises ProblemError.

        The certificate must be the host's. The connection closes with the answer. The client waits
        for the head of the answer until `deadline`, on the loop's clock.
        """
        if scheme == "https" and self._tls is None:
            self._tls = await asyncio.to_thread(create_tls_context)
        host_text = f"[{host}]" if ":" in host else host
        is_default_port = port == (443 if scheme == "https" else 80)
        address_text = f"[{address}]" if ":" in address else address
        try:
            request = httpx.Request(
                "GET",
                f"{scheme}://{address_text}:{port}{path}",
                headers=[
                    ("host", host_text if is_default_port else f"{host_text}:{port}"),
                    *_PUBLIC_HEADERS,
                ],
                extensions={"timeout": {"connect": connect_timeout}, "sni_hostname": host},
            )
            transport = Http1Transport(tls=self._tls, limit=1, max_idle=0)
            async with asyncio.timeout_at(deadline):
                response = await transport.handle_async_request(request)
        except TimeoutError:
            raise _build_error(
                "upstream_timeout", f"{host} did not answer in time.", "no"
            ) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            message = f"The gateway cannot reach {host} ({_describe_error(error)})."
            raise _build_error("upstream_unreachable", message, "no") from None
        return _wrap_response(host, response)


class ResponseChunks:
    """The chunks of an answer of the gateway's own transport; they raise what `read` raises."""

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
            data = await self._body.read_chunk(self._idle, self._deadline)
        except httpx.ReadTimeout:
            raise _build_late_error(self._provider, total=self._body.is_past_deadline()) from None
        except httpx.HTTPError as error:
            raise _build_cut_error(self._provider, error) from None
        if not data:
            raise StopAsyncIteration
        return data

    def pass_to(self, direct: DirectSink) -> None:
        """Give bytes that arrive while a caller waits to `direct`, if it takes them."""
        self._body.pass_to(direct)


async def read(
    stream: AsyncIterator[bytes], idle: float, deadline: float, provider: str
) -> AsyncIterator[bytes]:
    """Yield the bytes of an answer. Raises ProblemError if it breaks off or comes too late.

    Each read may take `idle` seconds, and all of them end by `deadline`, on the loop's clock. Each
    time limit covers one read alone: around a `yield` it would strike the consumer.
    """
    time = asyncio.get_running_loop().time
    read_next = stream.__anext__
    while True:
        step_deadline = min(time() + idle, deadline)
        try:
            async with asyncio.timeout_at(step_deadline):
                data = await read_next()
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise _build_late_error(provider, total=step_deadline == deadline) from None
        except httpx.HTTPError as error:
            raise _build_cut_error(provider, error) from None
        yield data


def _build_late_error(provider: str, *, total: bool) -> ProblemError:
    reason = "took longer than its tier allows" if total else "stopped sending"
    return _build_error("upstream_timeout", f"{provider} {reason}.", "maybe")


def _build_cut_error(provider: str, error: httpx.HTTPError) -> ProblemError:
    message = f"The answer of {provider} was cut off ({_describe_error(error)})."
    return _build_error("upstream_truncated", message, "maybe")


def _build_error(kind: str, message: str, spent: str) -> ProblemError:
    return ProblemError(_build_problem(kind, message, spent))


def _build_problem(kind: str, message: str, spent: str) -> Problem:
    return msgspec.convert({"kind": kind, "message": message, "spent": spent}, Problem)


def _describe_error(error: Exception) -> str:
    """Return the reason without the host: a certificate error ends with the right host's name."""
    return str(error).partition(", certificate")[0] or type(error).__name__


async def post_json(url: str, data: bytes, timeout_seconds: float = 5.0) -> int | None:
    """POST JSON to a URL of the configuration; return the status, or None if nobody answered."""
    try:
        async with httpx.AsyncClient(trust_env=False, timeout=timeout_seconds) as client:
            response = await client.post(
                url, content=data, headers=[_FIXED_HEADERS[0], _FIXED_HEADERS[2]]
            )
    except httpx.HTTPError:
        return None
    return response.status_code
