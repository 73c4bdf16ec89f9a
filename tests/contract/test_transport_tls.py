"""The contract of every transport for TLS and proxies."""

import asyncio
import base64
import contextlib
import importlib
import importlib.util
import ssl

import httpx
import pytest

from tests.contract.client import ask, whole
from tests.contract.conftest import Certificates, Make
from tests.contract.server import OK, RawPeer, RawServer, Script, always

_AUTH = b"Basic " + base64.b64encode(b"us:p@ss")


async def test_the_transport_trusts_a_given_authority(
    make: Make, certificates: Certificates
) -> None:
    async with RawServer(always(OK), tls=certificates.server("good")) as server:
        transport = make(tls=certificates.client(), max_idle=10)
        for _ in range(3):
            assert (await whole(transport, ask(server.url)))[1] == b"ok"
        assert server.opened == 1, "tickets behind the handshake do not make a connection unusable"


@pytest.mark.parametrize("name", ["elsewhere", "unknown"])
async def test_an_untrusted_certificate_is_a_connect_error(
    make: Make, certificates: Certificates, name: str
) -> None:
    async with RawServer(always(OK), tls=certificates.server(name)) as server:
        with pytest.raises(httpx.ConnectError):
            await whole(make(tls=certificates.client()), ask(server.url))
        assert server.requests == []


async def test_a_private_authority_is_not_trusted_by_default(
    make: Make, certificates: Certificates
) -> None:
    async with RawServer(always(OK), tls=certificates.server("good")) as server:
        with pytest.raises(httpx.ConnectError):
            await whole(make(), ask(server.url))


async def test_a_request_may_name_another_host_for_tls(
    make: Make, certificates: Certificates
) -> None:
    async with RawServer(always(OK), tls=certificates.server("elsewhere")) as server:
        transport = make(tls=certificates.client())
        request = ask(server.url)
        request.extensions["sni_hostname"] = "other.example"
        assert (await whole(transport, request))[1] == b"ok"
        with pytest.raises(httpx.ConnectError):
            await whole(transport, ask(server.url))


async def test_a_timeout_during_the_handshake_closes_the_connection(make: Make) -> None:
    async def silent(peer: RawPeer) -> None:
        await peer.left()

    async with RawServer(silent) as server:
        url = f"https://localhost:{server.port}"
        with pytest.raises((httpx.ConnectTimeout, httpx.ReadTimeout)):
            await whole(make(), ask(url, connect=0.1, read=0.1))
        async with asyncio.timeout(10):
            await server.empty.wait()


async def test_a_server_without_tls_is_a_connect_error(make: Make) -> None:
    async def plain(peer: RawPeer) -> None:
        await peer.reader.read(1)
        await peer.send(OK)

    async with RawServer(plain) as server:
        with pytest.raises(httpx.ConnectError):
            await whole(make(), ask(f"https://localhost:{server.port}"))


def _proxy(
    heads: list[bytes], *, refusal: bytes | None = None, target: str = "127.0.0.1"
) -> Script:
    """Make a proxy that tunnels for CONNECT and otherwise answers itself."""

    async def script(peer: RawPeer) -> None:
        head = await peer.reader.readuntil(b"\r\n\r\n")
        heads.append(head)
        if not head.startswith(b"CONNECT"):
            await peer.send(OK)
            return
        if refusal is not None:
            await peer.send(refusal)
            return
        port = int(head.split(b" ")[1].rsplit(b":", 1)[1])
        reader, writer = await asyncio.open_connection(target, port)
        await peer.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        try:
            await asyncio.gather(_pipe(peer.reader, writer), _pipe(reader, peer.writer))
        finally:
            writer.close()

    return script


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
        writer.close()


def _through(proxy: RawServer, user: str = "us:p%40ss@") -> str:
    scheme, _, place = proxy.url.partition("://")
    return f"{scheme}://{user}{place}"


@pytest.mark.parametrize("encrypted", [False, True], ids=["http proxy", "https proxy"])
async def test_the_transport_tunnels_https_through_a_proxy(
    make: Make, certificates: Certificates, encrypted: bool
) -> None:
    heads: list[bytes] = []
    tls = certificates.server("good") if encrypted else None
    async with (
        RawServer(always(OK), tls=certificates.server("good")) as server,
        RawServer(_proxy(heads), tls=tls) as proxy,
    ):
        transport = make(
            tls=certificates.client(),
            proxy=_through(proxy),
            proxy_tls=certificates.client() if encrypted else None,
            max_idle=10,
        )
        for _ in range(2):
            assert (await whole(transport, ask(server.url)))[1] == b"ok"
        await transport.aclose()
    (head,) = heads
    assert head.startswith(b"CONNECT localhost:%d HTTP/1.1\r\n" % server.port)
    assert _AUTH in head
    assert _AUTH not in server.requests[0].head


@pytest.mark.parametrize("encrypted", [False, True], ids=["http proxy", "https proxy"])
async def test_the_transport_sends_the_whole_url_to_a_proxy_for_plain_http(
    make: Make, certificates: Certificates, encrypted: bool
) -> None:
    heads: list[bytes] = []
    tls = certificates.server("good") if encrypted else None
    async with RawServer(_proxy(heads), tls=tls) as proxy:
        options = {"proxy_tls": certificates.client()} if encrypted else {}
        transport = make(proxy=_through(proxy), **options)
        assert (await whole(transport, ask("http://provider.invalid:81/x?y")))[1] == b"ok"
    (head,) = heads
    assert head.startswith(b"GET http://provider.invalid:81/x?y HTTP/1.1\r\n")
    assert _AUTH in head


async def test_a_tunnel_to_an_ipv6_address_names_it_in_brackets(make: Make, kind: str) -> None:
    """Only httpcore forgets the brackets. No proxy understands it: the call ends in ProxyError."""
    heads: list[bytes] = []
    refusal = b"HTTP/1.1 403 Forbidden\r\n\r\n"
    async with RawServer(_proxy(heads, refusal=refusal)) as proxy:
        with pytest.raises(httpx.ProxyError):
            await whole(make(proxy=_through(proxy, "")), ask("https://[2001:db8::1]/"))
    place = b"[2001:db8::1]:443" if kind == "http1" else b"2001:db8::1:443"
    assert heads[0].startswith(b"CONNECT %b HTTP/1.1\r\n" % place)
    assert b"authorization" not in heads[0].lower()


@pytest.mark.parametrize(
    "answer",
    [b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n", b"",
     b"SSH-2.0-OpenSSH\r\n\r\n", b"HTTP/1.1 200", b"HTTP/1.1 200 " + b"a" * 200_000,
     b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"],
    ids=["407", "nothing", "not HTTP", "half", "endless", "more than was asked"],
)  # fmt: skip
async def test_a_proxy_that_refuses_the_tunnel_is_a_retryable_error(
    make: Make, certificates: Certificates, answer: bytes
) -> None:
    """The provider got no request, so the error is one that the gateway may retry."""
    async with RawServer(_proxy([], refusal=answer)) as proxy:
        transport = make(proxy=_through(proxy), tls=certificates.client())
        with pytest.raises((httpx.ProxyError, httpx.ConnectError, httpx.RemoteProtocolError)):
            await whole(transport, ask("https://provider.invalid/"))
        async with asyncio.timeout(10):
            await proxy.empty.wait()


async def test_an_untrusted_certificate_behind_a_proxy_is_a_connect_error(
    make: Make, certificates: Certificates
) -> None:
    async with (
        RawServer(always(OK), tls=certificates.server("unknown")) as server,
        RawServer(_proxy([])) as proxy,
    ):
        with pytest.raises(httpx.ConnectError):
            await whole(make(proxy=_through(proxy), tls=certificates.client()), ask(server.url))


async def test_a_proxy_of_another_kind_is_refused(make: Make, kind: str) -> None:
    if kind == "stock" and importlib.util.find_spec("socksio"):
        make(proxy="socks5://127.0.0.1:1")
        return
    with pytest.raises(ValueError, match=r"socks5|http://"):
        make(proxy="socks5://127.0.0.1:1")


@pytest.mark.parametrize("kind", ["stock"])
async def test_the_stock_transport_uses_a_socks_proxy(make: Make) -> None:
    if not importlib.util.find_spec("socksio"):
        pytest.skip("no socksio: pip install socksio")

    async def socks(peer: RawPeer) -> None:
        greeting = await peer.reader.readexactly(2)
        await peer.reader.readexactly(greeting[1])
        await peer.send(b"\x05\x00")
        assert await peer.reader.readexactly(4) in (b"\x05\x01\x00\x03", b"\x05\x01\x00\x01")
        await peer.reader.readuntil(b"\x1f\x90")  # port 8080
        await peer.send(b"\x05\x00\x00\x01\x7f\x00\x00\x01\x1f\x90")
        await peer.request()
        await peer.send(OK)

    async with RawServer(socks) as proxy:
        transport = make(proxy=f"socks5://127.0.0.1:{proxy.port}")
        assert (await whole(transport, ask("http://provider.invalid:8080/")))[1] == b"ok"


@pytest.mark.parametrize("kind", ["stock"])
async def test_the_stock_transport_uses_http2(make: Make, certificates: Certificates) -> None:
    for name in ("config", "connection", "events"):
        pytest.importorskip(f"h2.{name}", reason="no h2: pip install h2")
    h2 = importlib.import_module("h2")

    async def script(peer: RawPeer) -> None:
        shaken: ssl.SSLObject = peer.writer.get_extra_info("ssl_object")
        assert shaken.selected_alpn_protocol() == "h2"
        state = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        state.initiate_connection()
        await peer.send(state.data_to_send())
        while data := await peer.reader.read(65_536):
            for event in state.receive_data(data):
                if isinstance(event, h2.events.StreamEnded):
                    state.send_headers(event.stream_id, [(":status", "200")])
                    state.send_data(event.stream_id, b"two", end_stream=True)
            await peer.send(state.data_to_send())

    async with RawServer(script, tls=certificates.server("good", "h2", "http/1.1")) as server:
        response, body = await whole(make(tls=certificates.client()), ask(server.url))
    assert (response.http_version, body) == ("HTTP/2", b"two")
