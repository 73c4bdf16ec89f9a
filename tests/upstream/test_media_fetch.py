"""Test media on the web: the files that are fetched, and the addresses that are never asked."""

import asyncio
import base64
import ipaddress
from typing import Any

import pytest

from gateway.upstream import media_fetch
from gateway.upstream.client import PublicWebClient
from gateway.upstream.media_fetch import MediaBounds, MediaFetcher, MediaRefused, is_public
from tests.contract.conftest import Certificates
from tests.upstream.media import (
    PNG,
    TYPES,
    MediaHost,
    MediaNames,
    fetch,
    get,
    moved,
    ok,
    refused,
    served,
)


async def test_the_gateway_fetches_a_file_without_any_credential() -> None:
    """The gateway sends no cookie, credential or mark of its own, and asks for nothing compressed."""
    async with served(ok()) as (host, port):
        files = await get(fetch(port), f"http://Pics.Example:{port}/a%20b/c.png?x=1&y=%2F#part")
    (media_file,) = files.values()
    assert (media_file.type, base64.b64decode(media_file.data)) == ("image/png", PNG)
    assert host.asked == [
        b"GET /a%20b/c.png?x=1&y=%2F HTTP/1.1\r\n"
        b"host: pics.example:" + str(port).encode() + b"\r\n"
        b"accept: */*\r\naccept-encoding: identity\r\nuser-agent: tiergate\r\n\r\n"
    ]


async def test_the_fetcher_ignores_proxies_in_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """SEC-SSRF 6: the fetcher ignores proxies in the environment."""
    async with served(ok()) as (evil, at), served(ok()) as (_, port):
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{at}")
        assert await get(fetch(port), f"http://pics.example:{port}/")
    assert evil.connections == 0


EVIL = [
    "http://127.0.0.1:{port}/", "http://0.0.0.0:{port}/", "http://[::1]:{port}/", "http://[::]:{port}/",
    "http://localhost:{port}/", "http://127.1:{port}/", "http://127.0.1:{port}/",
    "http://2130706433:{port}/", "http://0x7f000001:{port}/", "http://0x7f.0.0.1:{port}/",
    "http://0177.0.0.1:{port}/", "http://017700000001:{port}/", "http://127.0.0.1.:{port}/",
    "http://127。0。0。1:{port}/", "http://①②⑦.⓪.⓪.①:{port}/", "http://127%2e0%2e0%2e1:{port}/",
    "http://[::ffff:127.0.0.1]:{port}/", "http://[::ffff:7f00:1]:{port}/", "http://[::127.0.0.1]:{port}/",
    "http://[64:ff9b::7f00:1]:{port}/", "http://[2002:7f00:1::]:{port}/",
    "http://[2001:0:7f00:1:0:0:80ff:fffe]:{port}/", "http://[fe80::1%25lo]:{port}/",
    "http://[fe80::5efe:7f00:1]:{port}/",
    "http://user@127.0.0.1:{port}/", "http://pics.example@127.0.0.1:{port}/",
    "http://127.0.0.1:{port}@pics.example/", "http://user:pass@pics.example:{port}/",
    "http://pics.example\\@127.0.0.1:{port}/", "http://127.0.0.1:{port}\\@pics.example/",
    "http://pics.example:{port}\r\nhost: evil/", "http://127.0.0.1:{port}/\r\nx: y", "\thttp://127.0.0.1:{port}/",
    "http://127.0.0.1:{port}/a b", "http://127.0.0.1:{port}/\0", "http://inward.example:{port}/",
    "http://mixed.example:{port}/", "http://mapped.example:{port}/", "http://nothing.example:{port}/",
    "http://metadata.example:{port}/", "http://169.254.169.254/latest/meta-data/", "http://100.100.100.200/",
    "http://168.63.129.16/", "http://10.0.0.1/", "http://172.16.0.1/", "http://192.168.0.1/",
    "http://[fd00:ec2::254]/", "http://192.0.0.192/", "http://[::ffff:169.254.169.254]/",
    "file:///etc/passwd", "gopher://127.0.0.1:{port}/_x", "data:image/png;base64,AAAA",
    "ftp://127.0.0.1:{port}/", "dict://127.0.0.1:{port}/", "javascript:alert(1)", "//127.0.0.1:{port}/",
    "http:127.0.0.1:{port}", "http:///127.0.0.1:{port}/", "http://", "http://:{port}/", "http://[::1", "http://[x]:{port}/",
    "http://127.0.0.1:{port}:80/", "http://127.0.0.1:99999/", "http://127.0.0.1:/", "http://a..b:{port}/",
    "http://" + "a" * 64 + ":{port}/", "http://" + ".".join(["a" * 60] * 5) + ":{port}/", "http://pics.example/" + "a" * 9_000,
]  # fmt: skip


@pytest.mark.parametrize("url", EVIL)
async def test_sec_ssrf_3_no_form_of_an_address_reaches_this_machine(url: str) -> None:
    """SEC-SSRF 3, 5: with the real guard, no request connects on any port; all refusals read alike."""
    names = MediaNames(
        localhost=[["127.0.0.1", "::1"]], inward_example=[["127.0.0.1"]],
        mixed_example=[["93.184.216.34", "127.0.0.1"]], mapped_example=[["::ffff:127.0.0.1"]],
        metadata_example=[["169.254.169.254"]], nothing_example=[[]],
    )  # fmt: skip
    async with served(ok()) as (evil, port):
        url = url.replace("{port}", str(port))
        hosts = ["localhost", "127.0.0.1", "*.example", "169.254.169.254", "10.0.0.1"]
        for allow in ([f"{name}:{port}" for name in hosts], []):
            message = await refused(fetch(resolve=names, public=is_public, allow=allow), url)
            for word in ("secret-resolver", "internal", "not known", "errno"):
                assert word not in message.lower()
    assert evil.connections == 0


async def test_the_refusals_of_unknown_and_internal_hosts_are_the_same() -> None:
    names = MediaNames(inward_example=[["10.1.2.3"]])
    messages = {
        (await refused(fetch(resolve=names, public=is_public, allow=[]), f"http://{host}/")).replace(host, "")
        for host in ("inward.example", "nowhere.example")
    }  # fmt: skip
    assert len(messages) == 1


async def test_a_host_name_is_resolved_once_for_check_and_fetch() -> None:
    """DNS rebinding: the name is public when checked, and loopback a moment later."""
    names = MediaNames(rebind_example=[["203.0.114.9"], ["127.0.0.1"]])
    tried: list[str] = []

    class Watched(PublicWebClient):
        async def get(self, *args: Any, address: str, **more: Any) -> Any:
            tried.append(address)
            return await super().get(*args, address="127.0.0.1", **more)

    async with served(ok()) as (_, port):
        fetcher = fetch(
            resolve=names, public=is_public, allow=[f"rebind.example:{port}"], web=Watched()
        )
        assert await get(fetcher, f"http://rebind.example:{port}/")
    assert names.asked == ["rebind.example"]
    assert tried == ["203.0.114.9"]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    "to", ["http://evil.example:{port}/", "//evil.example:{port}/", "http://127.0.0.1:{port}/"]
)
async def test_sec_ssrf_4_a_redirect_is_checked_like_the_first_address(
    status: int, to: str
) -> None:
    names = MediaNames(pics_example=[["127.0.0.1"]], evil_example=[["127.0.0.2"]])
    async with (
        served(ok()) as (evil, at),
        served(lambda _: moved(to.format(port=at), status)) as (_, port),
    ):
        fetcher = fetch(
            resolve=names,
            public=lambda address: str(address) == "127.0.0.1" and names.asked == ["pics.example"],
            allow=[f"pics.example:{port}", f"evil.example:{at}"],
        )
        message = await refused(fetcher, f"http://pics.example:{port}/")
    assert evil.connections == 0
    assert "evil.example" not in message


@pytest.mark.parametrize(
    "to",
    ["file:///etc/passwd", "http://u@pics.example/", "http://a b/", "http://[x", "gopher://x/"],
)
async def test_a_redirect_to_an_invalid_url_is_refused(to: str) -> None:
    async with served(moved(to)) as (host, port):
        message = await refused(fetch(port), f"http://pics.example:{port}/")
    assert "redirected to a URL that is not valid" in message
    assert host.connections == 1


async def test_the_gateway_follows_three_redirects_and_resolves_each() -> None:
    def answer(head: bytes) -> bytes:
        at = int(head.split(b" ")[1].rpartition(b"/")[2])
        return moved(f"{at + 1}") if at < 3 else ok()

    names = MediaNames(pics_example=[["127.0.0.1"]])
    async with served(answer) as (host, port):
        assert await get(fetch(port, resolve=names), f"http://pics.example:{port}/a/0")
        assert host.paths() == ["/a/0", "/a/1", "/a/2", "/a/3"]
        assert names.asked == ["pics.example"] * 4
        host.answer = lambda _: moved("/again")
        message = await refused(fetch(port), f"http://pics.example:{port}/a/0")
        assert "redirected too often" in message
        assert len(host.asked) == 8


async def test_a_redirect_without_a_location_is_refused() -> None:
    async with served(b"HTTP/1.1 302 Moved\r\ncontent-length: 0\r\n\r\n") as (_, port):
        assert "status 302" in await refused(fetch(port), f"http://pics.example:{port}/")


async def test_https_checks_the_host_name_and_never_redirects_to_http(
    certificates: Certificates,
) -> None:
    """The certificate is checked against the host, whatever address it has."""
    server = certificates.server("elsewhere")
    names = MediaNames(pics_example=[["127.0.0.1"]], other_example=[["127.0.0.1"]])
    server_names: list[str | None] = []
    server.sni_callback = lambda _, name, __: server_names.append(name)
    async with served(ok(), server) as (host, port):
        allow = [f"pics.example:{port}", f"other.example:{port}"]
        fetcher = fetch(resolve=names, allow=allow, web=PublicWebClient(certificates.client()))
        assert await get(fetcher, f"https://other.example:{port}/")
        assert host.asked[0].split(b"\r\n")[1] == b"host: other.example:%d" % port
        message = await refused(fetcher, f"https://pics.example:{port}/")
        assert "cannot be reached" in message
        untrusting = fetch(resolve=names, allow=allow)
        assert "cannot be reached" in await refused(untrusting, f"https://other.example:{port}/")
        host.answer = lambda _: moved(f"http://other.example:{port}/")
        message = await refused(fetcher, f"https://other.example:{port}/")
        assert "from https:// to http://" in message
    assert set(server_names) == {"pics.example", "other.example"}


async def test_the_fetcher_tries_the_next_address_of_a_host() -> None:
    async with served(ok()) as (host, port):
        names = MediaNames(pics_example=[["127.0.0.3", "127.0.0.1", "::1"]])
        assert await get(fetch(port, resolve=names), f"http://pics.example:{port}/")
        assert host.connections == 1
        names = MediaNames(pics_example=[["127.0.0.3"]])
        message = await refused(fetch(port, resolve=names), f"http://pics.example:{port}/")
        assert message == (
            "messages.image: the gateway did not fetch the file at pics.example: "
            "its host cannot be reached. Send it as data."
        )


@pytest.mark.parametrize(
    ("url", "allow", "may"),
    [
        ("http://a.example/", ["a.example"], True),
        ("http://a.example./", ["a.example"], True),
        ("http://A.EXAMPLE/", ["a.example"], True),
        ("https://a.example/", ["b.example", "a.example"], True),
        ("http://x.a.example/", ["a.example"], False),
        ("http://x.a.example/", ["*.a.example"], True),
        ("http://x.y.a.example/", ["*.a.example"], True),
        ("http://a.example/", ["*.a.example"], False),
        ("http://xa.example/", ["*.a.example"], False),
        ("http://a.example.evil.example/", ["a.example", "*.a.example"], False),
        ("http://a.example:443/", [], True),
        ("http://a.example:8080/", [], False),
        ("http://a.example:8080/", ["a.example"], False),
        ("http://a.example:8080/", ["a.example:8080"], True),
        ("http://a.example/", ["a.example:8080"], False),
        ("http://a.example:22/", [], False),
    ],
)
async def test_the_configuration_decides_which_hosts_and_ports_are_fetched(
    url: str, allow: list[str], may: bool
) -> None:
    """The gateway checks this before it resolves a name."""
    names = MediaNames()
    message = await refused(fetch(resolve=names, allow=allow), url)
    assert bool(names.asked) == may
    assert ("does not fetch from its host" in message) == (not may)


PUBLIC = [
    "93.184.216.34",
    "1.1.1.1",
    "2606:4700::1111",
    "::ffff:1.1.1.1",
    "64:ff9b::101:101",
    "172.32.0.1",
    "100.128.0.1",
]
INSIDE = [
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.127.255.255", "127.0.0.1", "127.255.255.254",
    "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.8", "192.0.0.9", "192.0.2.1", "192.88.99.1",
    "192.168.1.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.1.1.1", "240.0.0.1",
    "255.255.255.255", "168.63.129.16", "::", "::1", "::1.1.1.1", "::ffff:10.0.0.1", "::ffff:0:1.1.1.1",
    "64:ff9b::a00:1", "64:ff9b::7f00:1", "64:ff9b:1::1", "100::1", "2001::1", "2001:db8::1", "2001:10::1",
    "2002:101:101::1", "3fff::1", "5f00::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0",
    "2606:4700::1%eth0", "fec0::1", "ff02::1", "2606:4700::5efe:7f00:1", "2606:4700::200:5efe:7f00:1",
]  # fmt: skip


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", INSIDE)
def test_internal_and_special_addresses_are_not_public(address: str) -> None:
    """Each address is internal, special, or a wrapping of IPv4 that a router may unwrap."""
    assert not is_public(ipaddress.ip_address(address))


async def test_the_default_guard_uses_the_machines_resolver() -> None:
    assert await media_fetch.resolve("127.0.0.1", 80) == ["127.0.0.1"]
    assert (
        MediaFetcher(MediaBounds(types=TYPES, max_bytes=1, timeout=1.0))._guard
        is media_fetch.PUBLIC_GUARD
    )
    assert media_fetch.PUBLIC_GUARD.is_public is is_public


@pytest.mark.parametrize("sign", ["\r", "\n", "\t", " ", "\0", "\x1f", "\x7f", "\\"])
@pytest.mark.parametrize(
    "url",
    [
        "http://pics.ex{}ample/",
        "http://pics.example/a{}b",
        "http://pics.example/?a{}b",
        "{}http://pics.example/",
    ],
)
async def test_urls_with_control_characters_are_refused(url: str, sign: str) -> None:
    """Two readers of one URL must not see two hosts; this holds for redirects too."""
    with pytest.raises(MediaRefused, match="not valid"):
        media_fetch.MediaUrl.read(url.format(sign))
    with pytest.raises(MediaRefused, match="redirected to a URL that is not valid"):
        media_fetch._resolve_redirect(
            media_fetch.MediaUrl("http", "pics.example", 80, "/"), url.format(sign)
        )


def test_a_url_over_the_length_limit_is_refused() -> None:
    begin = "http://pics.example/"
    media_fetch.MediaUrl.read(begin + "a" * (8_192 - len(begin)))
    with pytest.raises(MediaRefused, match="not valid"):
        media_fetch.MediaUrl.read(begin + "a" * (8_193 - len(begin)))


async def test_the_host_header_of_an_ipv6_address_has_brackets() -> None:
    """Brackets stand in the URL, and in the Host header."""
    host = MediaHost(lambda _: ok())
    try:
        server = await asyncio.start_server(host, "::1", 0)
    except OSError:
        pytest.skip("this machine has no IPv6")
    port = server.sockets[0].getsockname()[1]
    async with server:
        web = PublicWebClient()
        until = asyncio.get_running_loop().time() + 5
        answer = await web.get(
            "http", "::1", port, "/", address="::1", connect_timeout=1.0, deadline=until
        )
        await answer.close()
        assert host.asked[0].split(b"\r\n")[1] == b"host: [::1]:%d" % port
