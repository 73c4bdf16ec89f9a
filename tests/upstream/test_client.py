"""Test the client of providers: the requests that it sends, and the names of failures."""

import asyncio
import ssl
from collections.abc import AsyncIterator

import httpcore
import httpx
import msgspec
import pytest
import respx

from gateway.core.errors import Problem, ProblemError
from gateway.core.target import Account, Auth, Provider, Timers
from gateway.dialects import OPENAI_CHAT
from gateway.upstream import client as door
from gateway.upstream.client import ProviderClient, ProviderResponse, read
from gateway.upstream.connection_pools import ConnectionPools
from gateway.upstream.forwarded_request import ForwardedRequest
from gateway.upstream.http1 import Http1Transport
from gateway.upstream.write_batch import WriteBatch

URL = "https://provider.invalid/v1/chat/completions"
KEY = Account("main", "sk-1")
OK = httpx.Response(200, json={})


def provider(**more: object) -> Provider:
    values = {"name": "acme", "urls": {"openai-chat": URL}, "accounts": (KEY,), **more}
    return msgspec.convert(values, Provider, from_attributes=True)


@pytest.fixture
def router() -> respx.MockRouter:
    return respx.MockRouter(assert_all_called=False)


@pytest.fixture
async def client(router: respx.MockRouter) -> AsyncIterator[ProviderClient]:
    transport = httpx.MockTransport(router.async_handler)
    client = ProviderClient(transports=lambda _: transport, hop="h")
    yield client
    await client.close()


async def send(
    client: ProviderClient,
    to: Provider,
    *,
    account: Account = KEY,
    timers: Timers | None = None,
    **headers: str,
) -> ProviderResponse:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await client.send(to, account, OPENAI_CHAT, b'{"a": 1.50}', named, timers or Timers())


async def test_the_client_sends_exactly_these_headers_and_bytes(
    client: ProviderClient, router: respx.MockRouter
) -> None:
    route = router.post(URL).mock(return_value=OK)
    answer = await send(client, provider(headers={"x-own": "1"}), traceparent="00-1-2-01")
    assert answer.status == 200
    request = route.calls.last.request
    assert request.content == b'{"a": 1.50}'
    assert dict(request.headers) == {
        "host": "provider.invalid", "content-type": "application/json",
        "accept-encoding": "identity", "user-agent": "tiergate", "x-tiergate-hop": "h",
        "x-own": "1", "authorization": "Bearer sk-1", "traceparent": "00-1-2-01",
        "content-length": "11",
    }  # fmt: skip
    assert request.extensions["timeout"]["connect"] == 5.0


AUTH: list[tuple[Auth, dict[str, str]]] = [
    ("bearer", {"authorization": "Bearer sk-1"}),
    ("x-api-key", {"x-api-key": "sk-1"}),
    ("api-key", {"api-key": "sk-1"}),
    ("x-goog-api-key", {"x-goog-api-key": "sk-1"}),
    ("none", {}),
]


async def test_the_header_names_of_an_answer_are_in_lower_case(
    client: ProviderClient, router: respx.MockRouter
) -> None:
    router.post(URL).respond(headers={"X-RateLimit-Left": "7", "x-RateLimit-left": "8"})
    answer = await send(client, provider())
    assert answer.get_header(b"x-ratelimit-left") == "7"
    assert {name for name, _ in answer.fields} >= {b"x-ratelimit-left"}


@pytest.mark.parametrize(("auth", "headers"), AUTH)
async def test_each_auth_scheme_sends_its_own_header(
    client: ProviderClient, router: respx.MockRouter, auth: Auth, headers: dict[str, str]
) -> None:
    route = router.post(URL).mock(return_value=OK)
    await send(client, provider(auth=auth))
    names = ("authorization", "x-api-key", "api-key", "x-goog-api-key")
    sent = route.calls.last.request.headers
    assert {name: sent[name] for name in names if name in sent} == headers


async def test_each_request_has_the_credential_of_its_account(
    client: ProviderClient, router: respx.MockRouter
) -> None:
    """A prepared request is used for its own account only."""
    route = router.post(URL).mock(return_value=OK)
    for secret in ("sk-1", "sk-2", "sk-1"):
        await send(client, provider(), account=Account(secret, secret))
    keys = [call.request.headers["authorization"] for call in route.calls]
    assert keys == ["Bearer sk-1", "Bearer sk-2", "Bearer sk-1"]


BEFORE: list[dict[str, object]] = [
    {"urls": {"openai-chat": "https://provider.invalid/v1/embeddings"}},
    {"headers": {"x-own": "2"}},
    {"auth": "x-api-key"},
    {"accounts": (Account("main", "sk-2"),)},
]


@pytest.mark.parametrize("before", BEFORE)
async def test_providers_of_the_same_name_are_not_confused(
    client: ProviderClient, router: respx.MockRouter, before: dict[str, object]
) -> None:
    """A provider of embeddings has other URLs; a new configuration may change the rest."""
    route = router.post(url__startswith="https://provider.invalid/").mock(return_value=OK)
    others = [provider(headers={"x-own": "1"}), provider(**{"headers": {"x-own": "1"}, **before})]
    sent = [[], []]  # type: list[list[tuple[str, list[tuple[str, str]]]]]
    for at in (0, 1, 0, 1):
        await send(client, others[at], account=others[at].accounts[0])
        request = route.calls.last.request
        sent[at].append((str(request.url), request.headers.multi_items()))
    assert sent[0][0] == sent[0][1] != sent[1][0] == sent[1][1]


@pytest.mark.parametrize(
    ("door", "tail", "url"),
    [
        (f"{URL}?api-version=1", "", f"{URL}?api-version=1"),
        (f"{URL}?api-version=1", "/count", f"{URL}/count?api-version=1"),
        (f"{URL}?api-version=1", "/count?beta=true", f"{URL}/count?api-version=1&beta=true"),
        (URL, "/m:stream?alt=sse", f"{URL}/m:stream?alt=sse"),
    ],
)
async def test_the_suffix_of_an_endpoint_goes_before_its_query(
    client: ProviderClient, router: respx.MockRouter, door: str, tail: str, url: str
) -> None:
    route = router.post(url__startswith=URL).mock(return_value=OK)
    to = provider(urls={"openai-chat": door})
    await client.send(to, KEY, OPENAI_CHAT, b"{}", {}, Timers(), tail=tail)
    assert str(route.calls.last.request.url) == url


async def test_the_client_follows_a_local_engine_to_a_new_port(
    client: ProviderClient, router: respx.MockRouter
) -> None:
    """The engine's endpoint is a path; its address is known once it runs, and changes on a restart."""
    first = router.post("http://127.0.0.1:1/v1/chat").mock(return_value=OK)
    second = router.post("http://127.0.0.1:2/v1/chat").mock(return_value=OK)
    engine = provider(urls={"openai-chat": "/v1/chat"}, auth="none")
    client.set_base_url("acme", "http://127.0.0.1:1")
    await send(client, engine)
    client.set_base_url("acme", "http://127.0.0.1:2")
    await send(client, engine)
    assert (first.call_count, second.call_count) == (1, 1)


async def test_each_replica_gets_its_requests_at_its_own_address(
    client: ProviderClient, router: respx.MockRouter
) -> None:
    """Also what is passed through; no credential goes to another host."""
    routes = [router.route(host=host).mock(return_value=OK) for host in ("a", "b")]
    replicas = [Account(host, "sk-1", f"http://{host}:8000/v1") for host in ("a", "b")]
    engine = provider(
        urls={"openai-chat": "/chat"}, endpoint_urls=frozenset({""}), accounts=tuple(replicas)
    )
    for replica in (*replicas, *replicas):
        await send(client, engine, account=replica)
        request = ForwardedRequest(method="GET", url="/files?limit=1")
        await client.forward(engine, replica, request, Timers())
    for route, host in zip(routes, ("a", "b"), strict=True):
        urls = [str(call.request.url) for call in route.calls]
        base = f"http://{host}:8000/v1"
        assert urls == [f"{base}/chat", f"{base}/files?limit=1"] * 2
        headers = route.calls.last.request.headers
        assert (headers["host"], headers["authorization"]) == (f"{host}:8000", "Bearer sk-1")
    elsewhere = ForwardedRequest(method="GET", url="http://b:8000/v1/files")
    with pytest.raises(ValueError, match="none of acme"):
        await client.forward(engine, replicas[0], elsewhere, Timers())


async def test_the_cache_of_endpoints_with_queries_is_bounded(
    client: ProviderClient, router: respx.MockRouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client chooses its query: each request goes to its URL, and the cache stays bounded."""
    monkeypatch.setattr("gateway.upstream.client._MAX_ENDPOINTS", 3)
    route = router.post(url__startswith=URL).mock(return_value=OK)
    for at in range(8):
        await client.send(provider(), KEY, OPENAI_CHAT, b"{}", {}, Timers(), tail=f"?n={at}")
    assert [str(call.request.url) for call in route.calls] == [f"{URL}?n={at}" for at in range(8)]
    assert len(client._endpoints) <= 3


FAILURES: list[tuple[type[Exception], str, str]] = [
    (httpx.ConnectError, "upstream_unreachable", "no"),
    (httpx.ConnectTimeout, "upstream_timeout", "no"),
    (httpx.PoolTimeout, "overloaded", "no"),
    (httpx.ProxyError, "upstream_unreachable", "no"),
    (httpx.LocalProtocolError, "upstream_unreachable", "no"),
    (httpx.UnsupportedProtocol, "upstream_unreachable", "no"),
    (httpx.ReadError, "upstream_unreachable", "maybe"),
    (httpx.WriteError, "upstream_unreachable", "maybe"),
    (httpx.RemoteProtocolError, "upstream_unreachable", "maybe"),
    (httpx.ReadTimeout, "upstream_unreachable", "maybe"),
    (TimeoutError, "upstream_timeout", "maybe"),
]


@pytest.mark.parametrize(("error", "kind", "spent"), FAILURES)
async def test_a_transport_error_says_if_the_provider_may_have_done_the_work(
    client: ProviderClient, router: respx.MockRouter, error: type[Exception], kind: str, spent: str
) -> None:
    """A retry depends on one question: can the provider have done the work?"""
    router.post(URL).mock(side_effect=error)
    with pytest.raises(ProblemError) as caught:
        await send(client, provider())
    problem = caught.value.problem
    assert (problem.kind, problem.spent) == (kind, spent)
    assert "acme" in problem.message
    assert "sk-1" not in problem.message


async def test_the_wait_for_the_head_ends_with_its_timeout(
    client: ProviderClient, router: respx.MockRouter
) -> None:
    async def never(_: httpx.Request) -> httpx.Response:
        await asyncio.Event().wait()
        raise AssertionError

    router.post(URL).mock(side_effect=never)
    with pytest.raises(ProblemError, match="in time"):
        await send(client, provider(), timers=Timers(headers=0.01))
    now = asyncio.get_running_loop().time()
    with pytest.raises(ProblemError, match="in time"):
        await client.send(provider(), KEY, OPENAI_CHAT, b"", {}, Timers(), now + 0.01)


async def chunks(*items: bytes | Exception | float) -> AsyncIterator[bytes]:
    """Yield a body: bytes, an error, or a silence in seconds."""
    for item in items:
        if isinstance(item, Exception):
            raise item
        if isinstance(item, float):
            await asyncio.sleep(item)
        else:
            yield item


async def collect(*items: bytes | Exception | float, idle: float = 9.0, total: float = 9.0) -> list[bytes]:  # fmt: skip
    deadline = asyncio.get_running_loop().time() + total
    return [data async for data in read(chunks(*items), idle, deadline, "acme")]


async def test_a_body_is_read_to_its_end() -> None:
    assert await collect(b"a", b"", b"b") == [b"a", b"", b"b"]


@pytest.mark.parametrize(
    ("items", "idle", "total", "kind", "word"),
    [
        ((b"a", 60.0), 0.01, 9.0, "upstream_timeout", "stopped sending"),
        ((b"a", 60.0), 9.0, 0.01, "upstream_timeout", "longer than its tier allows"),
        ((b"a", httpx.RemoteProtocolError("x")), 9.0, 9.0, "upstream_truncated", "cut off"),
        ((b"a", httpx.ReadError("")), 9.0, 9.0, "upstream_truncated", "ReadError"),
    ],
    ids=["idle", "total", "cut", "reset"],
)
async def test_a_broken_body_is_a_timeout_or_truncated(
    items: tuple[bytes | Exception | float, ...], idle: float, total: float, kind: str, word: str
) -> None:
    with pytest.raises(ProblemError, match=word) as caught:
        await collect(*items, idle=idle, total=total)
    assert (caught.value.problem.kind, caught.value.problem.spent) == (kind, "maybe")


async def test_a_slow_consumer_is_not_a_slow_provider() -> None:
    """Time that passes on the reader's side does not count."""
    deadline = asyncio.get_running_loop().time() + 9
    pieces = []
    async for data in read(chunks(b"a", b"b"), 0.005, deadline, "acme"):
        await asyncio.sleep(0.02)
        pieces.append(data)
    assert pieces == [b"a", b"b"]


def test_an_error_of_an_unknown_kind_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError):
        door._build_error("no_such_kind", "", "no")
    assert door._build_error("upstream_timeout", "x", "no").problem == Problem(
        kind="upstream_timeout", message="x"
    )


async def test_the_client_ignores_proxies_in_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """SEC-SSRF 6: our own transport and a stock one ignore it; the provider's setting counts."""
    for name in (
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "http_proxy",
        "https_proxy",
        "all_proxy",
    ):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    pools = ConnectionPools()
    plain = pools(provider())
    assert isinstance(plain, Http1Transport)
    assert plain._proxy is None
    stocked = pools(provider(transport="stock"))
    assert isinstance(stocked, httpx.AsyncHTTPTransport)
    assert type(stocked._pool) is httpcore.AsyncConnectionPool
    proxied = pools(provider(proxy="http://p:1"))
    assert isinstance(proxied, Http1Transport)
    assert proxied is not plain
    assert proxied._proxy is not None


async def test_connections_are_closed_once_no_provider_uses_them() -> None:
    """Providers with the same proxy and TLS settings share one; the gateway closes unused ones."""
    closed = list[str]()

    class Told(httpx.MockTransport):
        def __init__(self, name: str) -> None:
            super().__init__(lambda _: httpx.Response(200))
            self.name = name

        async def aclose(self) -> None:
            closed.append(self.name)

    pools = ConnectionPools(lambda acme: Told(acme.name))
    acme, other = provider(), provider(name="other")
    first = pools(acme)
    assert pools(acme) is first
    pools(other)
    await pools.close_unused([acme])
    assert closed == ["other"]
    await pools.close()
    assert closed == ["other", "acme"]
    own = ConnectionPools()
    used_pool, unused_pool = own(acme), own(provider(proxy="http://p:1"))
    await own.close_unused([other])
    assert own(other) is used_pool
    assert own(provider(proxy="http://p:1")) is not unused_pool


def test_an_invalid_certificate_is_a_permanent_failure() -> None:
    """Repeating the request cannot help; a host that is unreachable for another reason may be back
    soon.
    """
    wrong = httpx.ConnectError("TLS: certificate has expired")
    wrong.__cause__ = ssl.SSLCertVerificationError("x")
    garbage = httpx.ConnectError("TLS: wrong version number")
    garbage.__cause__ = ssl.SSLError("x")
    problems = [
        door.build_failure("acme", item) for item in (wrong, garbage, httpx.ConnectError("refused"))
    ]
    assert [item.is_permanent for item in problems] == [True, False, False]
    assert door.build_failure("acme", httpx.UnsupportedProtocol("x")).is_permanent


def test_a_full_connection_pool_is_an_overloaded_error() -> None:
    """The client may retry: the gateway has sent nothing."""
    problem = door.build_failure("acme", httpx.PoolTimeout("x"))
    assert (problem.kind, problem.retry_after, problem.should_retry) == ("overloaded", 1.0, None)


async def test_another_transport_sends_no_request_without_its_row_either(
    router: respx.MockRouter,
) -> None:
    route = router.post(URL).mock(return_value=OK)
    room, call_counts = [False, True], list[int]()

    def write() -> bool:
        call_counts.append(route.call_count)
        return room.pop(0)

    transport = httpx.MockTransport(router.async_handler)
    client = ProviderClient(transports=lambda _: transport, write_batch=WriteBatch(write))
    with pytest.raises(ProblemError) as caught:
        await send(client, provider())
    assert (caught.value.problem.kind, route.call_count) == ("ledger", 0)
    assert (await send(client, provider())).status == 200
    assert (call_counts, route.call_count) == ([0, 0], 1)
    await client.close()
