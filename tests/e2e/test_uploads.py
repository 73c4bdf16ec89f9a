"""Uploads through a gateway process: flat memory, slow sides, and every way in which one can end.

`TIERGATE_UPLOAD_MB=1000` uploads a gigabyte (`make uploads`).
"""

import hashlib
import http.client
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import openai
import pytest

from gateway.core.ledger_rows import FinalRow
from tests.e2e.child import until
from tests.e2e.service import Service, read_until
from tests.e2e.upload_provider import PIECE, UploadClient, UploadProvider
from tests.e2e.upstream import PATIENCE, Upstream
from tests.e2e.world import Config, config

type Dial = Callable[..., UploadClient]

MEGABYTES = int(os.environ.get("TIERGATE_UPLOAD_MB", "64"))
MB = 1_048_576
GROWTH_BYTES = 8 * MB
"""What one upload may add to the memory of the gateway, whatever its size. Half of that is what a
gateway takes in its first seconds without calls too."""


@pytest.fixture
def provider() -> Iterator[UploadProvider]:
    with UploadProvider() as provider:
        yield provider


@pytest.fixture
def start(
    tmp_path: Path, upstream: Upstream, provider: UploadProvider
) -> Iterator[Callable[..., Service]]:
    """Start gateways before the provider: `start(**server settings)`."""
    services: list[Service] = []

    def start(**server: object) -> Service:
        value = config(provider.url)
        acme = {**value["providers"]["acme"], "endpoints": {"openai-files": ""}}
        settings: Config = {"max_upload": "2GB", **server}
        services.append(
            Service(
                tmp_path / f"gateway-{len(services)}",
                upstream,
                settings,
                providers={**value["providers"], "acme": acme},
            )
        )
        return services[-1]

    yield start
    for service in services:
        if service.process.poll() is None:
            service.kill()


@pytest.fixture
def dial() -> Iterator[Callable[..., UploadClient]]:
    """Begin uploads: `dial(service, megabytes, ...)`."""
    clients: list[UploadClient] = []

    def dial(service: Service, megabytes: int, **more: Any) -> UploadClient:
        clients.append(UploadClient(service.port, megabytes, **more))
        return clients[-1]

    yield dial
    for client in clients:
        client.connection.close()


def upload(service: Service, megabytes: int, *, chunked: bool = False) -> UploadClient:
    """Upload a form, and check its answer."""
    client = UploadClient(service.port, megabytes, chunked=chunked)
    with client.connection:
        client.send()
        status, body = client.read_answer()
    assert (status, b'"id": "file-' in body) == (200, True), body
    return client


def measure_growth(service: Service, work: Callable[[], object]) -> int:
    """Return by how many bytes the memory of a gateway exceeds what it had, at its peak."""
    Path(f"/proc/{service.process.pid}/clear_refs").write_text("5")  # forgets the peak
    before = service.figure("VmRSS")
    work()
    return service.figure("VmHWM") - before


def count_buffer_bytes() -> int:
    """Return what may wait in the kernel between a client that sends and a provider that stops."""
    reading, writing = (
        int(Path(f"/proc/sys/net/ipv4/tcp_{name}").read_text().split()[2])
        for name in ("rmem", "wmem")
    )
    return reading + 2 * writing + 8 * MB


def wait_for_row(service: Service, number: int = 1) -> FinalRow:
    """Return the row of the upload with this number."""
    return until(lambda: service.entries()[number - 1 :], "its row")[0]


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_an_upload_of_any_size_needs_the_same_memory(
    start: Callable[..., Service], provider: UploadProvider, *, chunked: bool
) -> None:
    service = start()
    upload(service, 4, chunked=chunked)
    clients: list[UploadClient] = []
    started_at, used_before = time.monotonic(), service.used()
    growth = measure_growth(
        service, lambda: clients.append(upload(service, MEGABYTES, chunked=chunked))
    )
    seconds = time.monotonic() - started_at
    print(
        f"{MEGABYTES} MB in {seconds:.1f} s, {service.used() - used_before:.2f} s of CPU,"
        f" {growth / MB:.1f} MB more memory"
    )
    received = provider.uploads[-1]
    assert (received.size, received.digest) == (clients[0].size, clients[0].digest)
    framing = b"transfer-encoding: chunked" if chunked else b"content-length: %d" % received.size
    assert framing + b"\r\n" in received.head
    assert b"content-type: multipart/form-data; boundary=B\r\n" in received.head
    assert growth < GROWTH_BYTES


def test_eight_uploads_at_once_need_eight_times_the_memory_at_most(
    start: Callable[..., Service], provider: UploadProvider
) -> None:
    service = start()
    upload(service, 4)
    share = max(8, MEGABYTES // 8)

    def work() -> None:
        with ThreadPoolExecutor(8) as pool:
            sent = [pool.submit(upload, service, share) for _ in range(8)]
            digests = {future.result().digest for future in sent}
        assert {item.digest for item in provider.uploads[1:]} == digests

    growth = measure_growth(service, work)
    print(f"8 times {share} MB: {growth / MB:.1f} MB more memory")
    assert growth < 8 * GROWTH_BYTES


def test_a_slow_provider_slows_its_client_down(
    start: Callable[..., Service], dial: Dial, provider: UploadProvider
) -> None:
    """The client cannot send more than the buffers of two kernels and the gateway hold."""
    service = start()
    upload(service, 4)
    provider.may_read.clear()
    client = dial(service, MEGABYTES)
    sender = threading.Thread(target=client.send)

    def work() -> None:
        sender.start()
        sent = -1
        while sent != client.sent_bytes:
            sent = client.sent_bytes
            time.sleep(0.3)  # a pause between two looks at real buffers
        assert sent < count_buffer_bytes()
        provider.may_read.set()
        sender.join(PATIENCE)
        assert client.read_answer()[0] == 200

    growth = measure_growth(service, work)
    assert provider.uploads[-1].digest == client.digest
    assert growth < GROWTH_BYTES


def test_a_download_of_any_size_needs_the_same_memory(
    start: Callable[..., Service], provider: UploadProvider
) -> None:
    """A client that does not read slows its provider down."""
    service = start()
    upload(service, 4)
    provider.file_megabytes = MEGABYTES
    received = hashlib.sha256()

    def work() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", service.port, PATIENCE)
        with closing(connection):
            connection.connect()
            connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 262_144)
            connection.request("GET", "/v1/files/file-1/content")
            sent = -1
            while sent != provider.sent_bytes:
                sent = provider.sent_bytes
                time.sleep(0.3)  # a pause between two looks at real buffers
            assert sent < count_buffer_bytes()
            answer = connection.getresponse()
            while data := answer.read(262_144):
                received.update(data)

    growth = measure_growth(service, work)
    expected = hashlib.sha256()
    for _ in range(MEGABYTES):
        expected.update(PIECE)
    print(f"{MEGABYTES} MB down: {growth / MB:.1f} MB more memory")
    assert received.digest() == expected.digest()
    assert growth < GROWTH_BYTES


def test_a_slow_client_has_time_as_long_as_it_sends(
    start: Callable[..., Service], dial: Dial, provider: UploadProvider
) -> None:
    service = start(timeouts={"body": "1s", "body_rate": "1MB"})
    client = dial(service, 4)
    for piece in client.pieces():
        client.send_piece(piece)
        time.sleep(0.3)  # the client sends slowly
    assert client.read_answer()[0] == 200
    client = dial(service, 4)
    for piece, _ in zip(client.pieces(), range(2), strict=False):
        client.send_piece(piece)
    status, body = client.read_answer()
    assert (status, b"The body did not arrive within 1 s" in body) == (408, True)
    assert provider.uploads[-1].ended.wait(PATIENCE)
    assert not provider.uploads[-1].is_whole
    assert wait_for_row(service, 2).problem == "request_timeout"


def test_a_refusal_reaches_a_client_that_still_sends(
    start: Callable[..., Service], dial: Dial, provider: UploadProvider
) -> None:
    service = start()
    provider.refuses_at = MB
    client = dial(service, MEGABYTES)
    refused = False
    try:
        client.send()
    except ConnectionError:
        refused = True  # the gateway has closed; its answer waits in the client's kernel
    status, body = client.read_answer()
    assert (status, b"Too many bytes." in body) == (413, True)
    assert refused
    row = wait_for_row(service)
    assert (row.state, row.problem) == ("failed", "upstream_rejected")
    assert len(provider.uploads) == 1


def test_an_sdk_that_still_sends_reads_a_refusal(
    start: Callable[..., Service], provider: UploadProvider
) -> None:
    service = start()
    provider.refuses_at = MB
    client = openai.OpenAI(
        api_key="open", base_url=f"http://127.0.0.1:{service.port}/v1", max_retries=0
    )
    with client, pytest.raises(openai.APIStatusError, match="Too many bytes") as caught:
        client.files.create(file=("a.bin", PIECE * 16), purpose="user_data")
    assert caught.value.status_code == 413


def test_a_client_that_leaves_ends_its_upload(
    start: Callable[..., Service], dial: Dial, provider: UploadProvider
) -> None:
    service = start()
    client = dial(service, MEGABYTES)
    for piece, _ in zip(client.pieces(), range(4), strict=False):
        client.send_piece(piece)
    client.connection.close()
    until(lambda: provider.uploads, "the upload begins")
    assert provider.uploads[0].ended.wait(PATIENCE)
    assert not provider.uploads[0].is_whole
    row = wait_for_row(service)
    assert (row.state, row.aborted_by) == ("aborted", "client")
    assert len(provider.uploads) == 1


@pytest.mark.parametrize("sends", [True, False], ids=["sends", "waits"])
def test_a_provider_that_dies_is_an_error_and_is_not_asked_again(
    start: Callable[..., Service], dial: Dial, provider: UploadProvider, *, sends: bool
) -> None:
    service = start()
    provider.dies_at = MB
    client = dial(service, MEGABYTES)
    if sends:
        with suppress(ConnectionError):
            client.send()
    else:
        for piece, _ in zip(client.pieces(), range(3), strict=False):
            client.send_piece(piece)
    status, body = client.read_answer()
    assert (status, b"The connection to acme broke" in body) == (502, True)
    assert wait_for_row(service).problem == "upstream_unreachable"
    assert len(provider.uploads) == 1


def test_a_client_may_wait_for_100_continue(
    start: Callable[..., Service], dial: Dial, provider: UploadProvider
) -> None:
    service = start()
    client = dial(service, 2, expects=True)
    read_until(client.connection, b"HTTP/1.1 100 Continue\r\n\r\n")
    client.send()
    assert client.read_answer()[0] == 200
    assert b"expect:" not in provider.uploads[0].head


def test_an_upload_that_is_too_large_is_refused_before_it_is_sent(
    start: Callable[..., Service], dial: Dial, provider: UploadProvider
) -> None:
    service = start(max_upload="1MB")
    client = dial(service, 2, expects=True)
    status, body = client.read_answer()
    assert (status, b"server.max_upload" in body) == (413, True)
    client = dial(service, 2, chunked=True)
    client.send()
    assert client.read_answer()[0] == 413
    until(lambda: all(item.ended.is_set() for item in provider.uploads), "its end")
    assert not any(item.is_whole for item in provider.uploads)
