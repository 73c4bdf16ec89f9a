"""Requests to token services and metadata addresses have limits."""

import asyncio
import builtins
import socket
from typing import Any

import pytest

from gateway.upstream.credentials.identity_request import (
    ANSWER_SECONDS,
    PROBE_SECONDS,
    IdentityRequestError,
    IdentityResponse,
    send_identity_request,
)
from gateway.upstream.http1.connect import create_tls_context
from tests.upstream.credentials.scripted_cloud import ScriptedCloud


async def get(url: str, proxy: str | None = None, **headers: str) -> IdentityResponse:
    return await send_identity_request("GET", url, headers=headers, proxy=proxy)


async def fail(url: str, proxy: str | None = None, **headers: str) -> str:
    with pytest.raises(IdentityRequestError) as caught:
        await get(url, proxy, **headers)
    return str(caught.value)


@pytest.mark.jumping_clock
async def test_a_metadata_address_that_takes_no_connection_is_given_up_after_a_second() -> None:
    # Nobody accepts: the kernel drops what does not fit into the queue, as where no host is.
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(address)
        loop = asyncio.get_running_loop()
        begin = loop.time()
        message = await fail(f"http://127.0.0.1:{address[1]}/metadata")
        assert message == f"127.0.0.1:{address[1]} does not answer in time"
        assert loop.time() - begin == pytest.approx(PROBE_SECONDS, abs=0.3)
        for one in waiting:
            one.close()


@pytest.mark.jumping_clock
async def test_an_answer_that_does_not_come_is_given_up(cloud: ScriptedCloud) -> None:
    cloud.answers["/silent"] = None
    loop = asyncio.get_running_loop()
    begin = loop.time()
    assert "does not answer in time" in await fail(f"{cloud.url}/silent")
    assert loop.time() - begin == pytest.approx(ANSWER_SECONDS, abs=0.5)


@pytest.mark.jumping_clock
async def test_an_answer_in_drops_has_one_limit_for_all() -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 ok\r\ncontent-length: 1000\r\n\r\n")
        while not reader.at_eof():
            writer.write(b" ")
            await asyncio.sleep(0.9)
        writer.close()

    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    loop = asyncio.get_running_loop()
    begin = loop.time()
    async with server:
        port = server.sockets[0].getsockname()[1]
        assert "does not answer in time" in await fail(f"http://127.0.0.1:{port}/")
    assert loop.time() - begin < ANSWER_SECONDS + 2


@pytest.mark.parametrize(
    "host",
    ["10.1.2.3", "169.254.169.254", "[fd20:ce::254]", "metadata.google.internal", "localhost"],
)
async def test_addresses_of_this_network_are_asked_without_the_proxy(
    monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    assert await read_proxy(monkeypatch, f"http://{host}/x") is None


@pytest.mark.parametrize("host", ["sts.googleapis.com", "8.8.8.8"])
async def test_other_hosts_are_asked_through_the_proxy(
    monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    assert await read_proxy(monkeypatch, f"https://{host}/x") == "http://proxy:3128"


async def read_proxy(monkeypatch: pytest.MonkeyPatch, url: str) -> object:
    """Return the proxy with which a client is made for a URL."""
    options: dict[str, Any] = {}

    def make_client(**given: Any) -> None:
        options.update(given)
        raise ValueError

    monkeypatch.setattr("httpx.AsyncClient", make_client)
    await fail(url, "http://proxy:3128")
    assert options["trust_env"] is False
    assert options["follow_redirects"] is False
    return options["proxy"]


async def test_a_request_goes_through_the_proxy_to_a_host_beyond(cloud: ScriptedCloud) -> None:
    response = await get("https://oauth2.googleapis.com/nothing?a=secret", cloud.url)
    assert cloud.connects == ["oauth2.googleapis.com:443"]
    assert response.describe() == "oauth2.googleapis.com answers 404 (not_found)"


async def test_a_proxy_that_is_not_there_is_named() -> None:
    assert await fail("https://login.example/", "http://u:secret@127.0.0.1:1") == (
        "login.example cannot be reached through the proxy (All connection attempts failed)"
    )


async def test_a_certificate_that_nobody_trusts_is_named(
    cloud: ScriptedCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "gateway.upstream.credentials.identity_request.create_tls_context", create_tls_context
    )
    message = await fail("https://oauth2.googleapis.com/token", cloud.url)
    assert "CERTIFICATE_VERIFY_FAILED" in message
    assert cloud.requests == []


async def test_a_proxy_that_refuses_is_named() -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        message = await fail("https://login.example/", f"http://127.0.0.1:{port}")
    assert message.endswith("through the proxy (407 Proxy Authentication Required)")


async def test_a_socks_proxy_needs_socksio(monkeypatch: pytest.MonkeyPatch) -> None:
    real_import = builtins.__import__

    def refuse(name: str, *rest: Any) -> Any:
        if name == "socksio":
            raise ImportError
        return real_import(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)
    message = await fail("https://login.example/", "socks5://user:password@127.0.0.1:1")
    assert message == "a socks5:// proxy needs socksio: pip install 'tiergate[socks]'"


@pytest.mark.parametrize(
    ("url", "proxy", "headers", "reason"),
    [
        ("http://\x00", None, {}, "its address cannot be reached (InvalidURL)"),
        ("ftp://127.0.0.1/", None, {}, "cannot be reached (UnsupportedProtocol)"),
        ("nothing", None, {}, "its address cannot be reached (UnsupportedProtocol)"),
        (
            "https://login.example/",
            "ftp://u:secret@h",
            {},
            "login.example cannot be reached through the proxy (ValueError)",
        ),
        (
            "http://127.0.0.1/",
            None,
            {"x": "\u20acsecret"},
            "cannot be reached (UnicodeEncodeError)",
        ),
    ],
)
async def test_a_request_that_cannot_be_sent_is_an_error_without_its_secrets(
    url: str, proxy: str | None, headers: dict[str, str], reason: str
) -> None:
    message = await fail(url, proxy, **headers)
    assert message.endswith(reason)
    assert "secret" not in message


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "h answers 400"),
        (b"[1]", "h answers 400"),
        (b'{"error":"invalid_grant"}', "h answers 400 (invalid_grant)"),
        (b'{"error":"a sentence with the-secret"}', "h answers 400"),
        (b'{"error":{"status":"UNAUTHENTICATED"}}', "h answers 400 (UNAUTHENTICATED)"),
        (b'{"error":{"code":400}}', "h answers 400"),
        (b'{"error_description":"AADSTS50034: x"}', "h answers 400 (AADSTS50034, the client is not in the tenant)"),
        (b'{"error":"e","error_description":"AADSTS99999: x"}', "h answers 400 (e, AADSTS99999)"),
        (b'{"error":"e","error_description":7}', "h answers 400 (e)"),
    ],
)  # fmt: skip
def test_an_answer_is_described_by_its_codes(body: bytes, text: str) -> None:
    assert IdentityResponse("h", 400, {}, body).describe() == text
