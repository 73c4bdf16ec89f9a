"""Test the limits of fetched media: size, number, time and types."""

import asyncio
import base64
import gzip
from typing import Any

import pytest

from gateway.core.errors import ProblemError
from gateway.dialects import FetchedMedia
from gateway.upstream import media_fetch
from gateway.upstream.client import PublicWebClient
from gateway.upstream.media_fetch import MediaRefused
from tests.upstream.media import (
    PDF,
    PNG,
    MediaHost,
    MediaNames,
    fetch,
    get,
    ok,
    refused,
    served,
)

SIZES = [
    (ok(b"x" * 101), "may have 100 bytes"),
    (
        b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\ncontent-length: 99999999999\r\n\r\n",
        "may have 100 bytes",
    ),
    (b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\n\r\n" + PNG[:60] * 2, "may have 100 bytes"),
    (
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n40\r\n"
        + PNG[:64]
        + b"\r\n"
        + b"ffff\r\n"
        + b"x" * 200,
        "may have 100 bytes",
    ),
]


@pytest.mark.parametrize(("answer", "why"), SIZES)
async def test_the_gateway_reads_no_more_of_a_file_than_the_limit(answer: bytes, why: str) -> None:
    """The announced length decides, or else the bytes that come; then the gateway closes the
    connection.
    """
    async with served(answer) as (host, port):
        assert why in await refused(fetch(port, most=100), f"http://pics.example:{port}/")
        async with asyncio.timeout(5):
            await host.gone.wait()


async def test_the_files_of_one_call_share_the_limit() -> None:
    """Files that an earlier attempt of the call fetched count too."""
    async with served(ok()) as (_, port):
        at = f"http://pics.example:{port}"
        size = len(PNG)
        assert len(await get(fetch(port, most=2 * size), f"{at}/1", f"{at}/2")) == 2
        await refused(fetch(port, most=2 * size - 1), f"{at}/1", f"{at}/2")
        had = {"x": FetchedMedia("image/png", base64.b64encode(PNG).decode())}
        with pytest.raises(ProblemError, match="may have"):
            await get(fetch(port, most=2 * size - 1), f"{at}/1", had=had)


async def test_a_call_may_fetch_eight_files_at_most() -> None:
    async with served(ok()) as (host, port):
        urls = [f"http://pics.example:{port}/{at}" for at in range(9)]
        assert "At most 8 files" in await refused(fetch(port), *urls)
        assert host.connections == 0
        assert list(await get(fetch(port), *urls[:8])) == urls[:8]
        had = dict.fromkeys(["a", "b"], FetchedMedia("image/png", ""))
        with pytest.raises(ProblemError, match="At most 8"):
            await get(fetch(port), *urls[:7], had=had)


async def test_files_of_a_call_are_fetched_concurrently() -> None:
    """Each host answers only once both requests have come."""
    both = asyncio.Barrier(2)

    class Together(PublicWebClient):
        async def get(self, *args: Any, **more: Any) -> Any:
            async with asyncio.timeout(5):
                await both.wait()
            return await super().get(*args, **more)

    async with served(ok()) as (_, port):
        at = f"http://pics.example:{port}"
        assert await get(fetch(port, web=Together()), f"{at}/1", f"{at}/2")


async def test_a_failed_fetch_ends_the_others() -> None:
    async with served(lambda head: None if b"/slow" in head else ok(status=404)) as (_, port):
        at = f"http://pics.example:{port}"
        message = await refused(fetch(port, timeout=60), f"{at}/slow", f"{at}/gone")
        assert "answered with status 404" in message


SLOW = [
    None,
    b"HTTP/1.1 200 OK\r\n",
    ok()[:-50],
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
]


@pytest.mark.parametrize("answer", SLOW)
async def test_a_fetch_from_a_stuck_host_ends_with_the_timeout(answer: bytes | None) -> None:
    """On a busy machine the time may be over before the host reads the request: then try longer."""
    async with served(lambda _: answer) as (host, port):
        timeout = 0.05
        while not host.asked:
            message = await refused(fetch(port, timeout=timeout), f"http://pics.example:{port}/")
            assert "did not arrive in time" in message
            timeout *= 2
        await host.gone.wait()


async def test_a_fetch_with_a_stuck_resolver_ends_with_the_timeout() -> None:
    class Never(MediaNames):
        async def __call__(self, host: str, port: int) -> list[str]:
            return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]  # never

    message = await refused(fetch(resolve=Never(), allow=[], timeout=0.05), "http://pics.example/")
    assert "did not arrive in time" in message


async def test_a_truncated_file_is_refused() -> None:
    class Cut(MediaHost):
        async def __call__(
            self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
        ) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(ok()[:-50])
            writer.close()

    server = await asyncio.start_server(Cut(lambda _: None), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        assert "it was cut off" in await refused(fetch(port), f"http://pics.example:{port}/")


async def test_the_gateway_refuses_compressed_files() -> None:
    """The gateway asks for identity encoding; it refuses any other before it reads the body."""
    bomb = gzip.compress(b"\0" * 10_000_000)
    async with served(ok(bomb, "content-encoding: gzip")) as (_, port):
        message = await refused(fetch(port, most=10**9), f"http://pics.example:{port}/")
        assert "it is sent compressed" in message
    async with served(ok(PNG, "content-encoding: identity")) as (_, port):
        assert await get(fetch(port), f"http://pics.example:{port}/")


TAKEN = [
    ("image", PNG, "image/png", "image/png"),
    ("image", PNG, "image/jpeg", "image/png"),
    ("image", PNG, "", "image/png"),
    ("image", PNG, "application/octet-stream", "image/png"),
    ("image", b"\xff\xd8\xff\xe0" + PNG, "IMAGE/JPEG; q=1", "image/jpeg"),
    ("image", b"GIF89a" + PNG, "image/gif", "image/gif"),
    ("image", b"GIF87a", "image/gif", "image/gif"),
    ("image", b"RIFF\n\0\0\0WEBPVP8 ", "image/webp", "image/webp"),
    ("file", PDF, "application/pdf", "application/pdf"),
    ("file", PNG, "image/png", "image/png"),
]
NOT_TAKEN = [
    ("image", b"<html><script>", "image/png", "no image"),
    ("image", b"", "image/png", "no image"),
    ("image", PDF, "application/pdf", "no image"),
    ("image", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml", "no image"),
    ("image", b"RIFF\n\0\0\0WAVEfmt ", "audio/wav", "no image"),
    ("file", b"RIFF\n\0\0\0WAVEfmt ", "audio/wav", "no file"),
    ("file", b"PK\x03\x04" + PNG, "application/zip", "no file"),
    ("audio", PNG, "image/png", "no audio"),
    ("audio", b"ID3\x04" + PNG, "audio/mpeg", "no audio"),
    ("image", PNG, "text/html", "content type is not that"),
    ("image", PNG, "image", "content type is not that"),
    ("video", PNG, "image/png", "no video"),
]


@pytest.mark.parametrize(("kind", "body", "content_type", "type"), TAKEN)
async def test_the_bytes_of_a_file_decide_its_type(
    kind: str, body: bytes, content_type: str, type: str
) -> None:
    async with served(ok(body, type=content_type)) as (_, port):
        (media_file,) = (await get(fetch(port), f"http://pics.example:{port}/", kind=kind)).values()
    assert (media_file.type, base64.b64decode(media_file.data)) == (type, body)


@pytest.mark.parametrize(("kind", "body", "content_type", "why"), NOT_TAKEN)
async def test_a_file_must_match_its_part_and_its_content_type(
    kind: str, body: bytes, content_type: str, why: str
) -> None:
    async with served(ok(body, type=content_type)) as (_, port):
        assert why in await refused(fetch(port), f"http://pics.example:{port}/", kind=kind)


@pytest.mark.parametrize(
    ("body", "type"),
    [
        (b"ID3\x04\0\0\0\0\0\0\0\0", "audio/mpeg"),
        (b"\xff\xfb\x90\0\0\0\0\0\0\0\0\0", "audio/mpeg"),
        (b"fLaC\0\0\0\x22\0\0\0\0", "audio/flac"),
        (b"OggS\0\x02\0\0\0\0\0\0", "audio/ogg"),
        (b"RIFF\n\0\0\0WAVEfmt ", "audio/wav"),
    ],
)
async def test_audio_is_fetched_if_the_configuration_allows_it(body: bytes, type: str) -> None:
    async with served(ok(body, type=type)) as (_, port):
        fetcher = fetch(port, types=frozenset({type}))
        (media_file,) = (await get(fetcher, f"http://pics.example:{port}/", kind="audio")).values()
    assert media_file.type == type


@pytest.mark.parametrize("status", [201, 206, 204, 304, 401, 404, 500])
async def test_any_status_but_200_is_refused(status: int) -> None:
    async with served(ok(b"" if status in (204, 304) else PNG, status=status)) as (_, port):
        message = await refused(fetch(port), f"http://pics.example:{port}/")
    assert f"answered with status {status}" in message


def test_a_media_url_is_parsed_and_normalised() -> None:
    assert media_fetch.MediaUrl.read("https://münchen.example/ä?ö=ü#x") == media_fetch.MediaUrl(
        "https", "xn--mnchen-3ya.example", 443, "/%C3%A4?%C3%B6=%C3%BC"
    )
    assert media_fetch.MediaUrl.read("http://[2606:4700::1111]").host == "2606:4700::1111"
    assert media_fetch.MediaUrl.read("http://8.8.8.8").host == "8.8.8.8"
    with pytest.raises(MediaRefused):
        media_fetch.MediaUrl.read("http://" + "ü" * 70 + ".example/")
