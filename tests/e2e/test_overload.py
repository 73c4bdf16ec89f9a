"""A gateway under more load than it can serve: it refuses early, and serves again afterwards."""

import selectors
import shutil
import signal
import socket
import threading
import time
from collections import Counter
from contextlib import ExitStack, suppress
from typing import Any

import pytest

from gateway.core import jsonio
from tests.e2e.child import until
from tests.e2e.service import Serve, Service, read_until, rest
from tests.e2e.upstream import PATIENCE, ROLE, SILENT, Upstream, chunk, stream, whole
from tests.e2e.world import chat

MB = 1_000_000
_PRLIMIT = shutil.which("prlimit")


def status(answer: bytes) -> int:
    """Return the status of an answer; 0 if there is none."""
    return int(answer.split()[1]) if answer else 0


def receive_from_all(connections: list[socket.socket], enough: int) -> list[bytes]:
    """Return what many connections receive until the other side has closed `enough` of them."""
    data_by_connection: dict[socket.socket, bytes] = dict.fromkeys(connections, b"")
    closed = 0
    deadline = time.monotonic() + PATIENCE
    with selectors.DefaultSelector() as selector:
        for each in connections:
            selector.register(each, selectors.EVENT_READ, each)
        while closed < enough:
            assert time.monotonic() < deadline, (closed, enough)
            for key, _ in selector.select(1.0):
                connection: socket.socket = key.data
                piece = b""
                with suppress(ConnectionError):
                    piece = connection.recv(65536)
                data_by_connection[connection] += piece
                if not piece:
                    closed += 1
                    selector.unregister(connection)
    return list(data_by_connection.values())


@pytest.mark.skipif(_PRLIMIT is None, reason="prlimit of util-linux sets the limit")
def test_p_09_the_gateway_refuses_more_clients_than_it_has_files_for(
    serve: Serve, upstream: Upstream
) -> None:
    """P-09: the gateway serves as many of 300 clients as it has files for, and refuses the others.

    It tells them so, stays alive, does not spin, and serves again when the clients have gone.
    """
    service = serve(str(_PRLIMIT), "--nofile=256:256")
    upstream.on("/acme", SILENT)
    with ExitStack() as stack:
        data = jsonio.dumps(chat(stream=True))
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(data)}\r\n\r\n"
        clients = [stack.enter_context(service.dial()) for _ in range(300)]
        for client in clients:
            with suppress(ConnectionError):
                client.sendall(head.encode() + data)
        answers = receive_from_all(clients, 300 - 83)
        counts = Counter(status(answer) for answer in answers)
        assert counts[503] + counts[0] == 300
        assert counts[503] >= 41  # as many as wait at a time; some of the others see a reset first
        assert all(b"\r\nretry-after: " in client for client in answers if client)
        requests = {upstream.arrived() for _ in range(83)}
        assert service.get("/health") == 200
        assert service.files < 256
        since, used = time.monotonic(), service.used()
        until(lambda: time.monotonic() - since > 0.5, "half a second")
        assert service.used() - used < (time.monotonic() - since) / 2
    for request in requests:
        assert request.left.wait(PATIENCE)
    upstream.on("/acme", whole())

    def answered() -> bool:
        with service.open_call() as connection:
            return status(read_until(connection, b"\r\n\r\n")) == 200

    until(answered, "it serves again")
    assert service.rows("bug") + service.rows("library") == []


@pytest.mark.skipif(_PRLIMIT is None, reason="prlimit of util-linux sets the limit")
def test_p_09_the_gateway_survives_when_no_file_is_left(serve: Serve, upstream: Upstream) -> None:
    """P-09: a gateway that may have more connections than files neither spins nor ends."""
    service = serve(str(_PRLIMIT), "--nofile=64:64", connections=1000)
    with ExitStack() as stack:
        clients = [stack.enter_context(service.dial()) for _ in range(100)]
        for client in clients:
            with suppress(ConnectionError):
                client.sendall(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n")
        until(lambda: service.files >= 60, "its files are used up")
        since, used = time.monotonic(), service.used()
        until(lambda: time.monotonic() - since > 0.5, "half a second")
        assert service.used() - used < (time.monotonic() - since) / 2
    until(service.is_alive, "it answers again")


def test_p_10_the_gateway_survives_a_flood_of_large_bodies(
    serve: Serve, upstream: Upstream
) -> None:
    """P-10: the gateway admits as many bodies as it has memory for, and refuses the others.

    It tells refused clients to come again, and never uses more memory than its limit.
    """
    service = serve(max_memory="300MB")
    upstream.on("/acme", whole())
    body = jsonio.dumps(chat("x" * 20 * MB))
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n\r\n"
    counts: Counter[int] = Counter()

    def flood() -> None:
        for _ in range(3):
            with service.dial() as connection:
                with suppress(ConnectionError):
                    connection.sendall(head.encode() + body)
                answer = b""
                with suppress(ConnectionError):
                    answer = connection.recv(65536)
                counts[status(answer)] += 1

    threads = [threading.Thread(target=flood) for _ in range(8)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert service.get("/health") == 200
        time.sleep(0.02)  # a pause between two looks at a real gateway
    assert counts[200] >= 1
    assert counts[503] >= 1
    assert counts[200] + counts[503] + counts[0] == 24
    print(service.figure("VmHWM") / 1e6, counts)
    assert service.figure("VmHWM") < 300 * MB
    assert service.get("/health") == 200


def test_p_10_a_body_larger_than_memory_is_refused_for_good(serve: Serve) -> None:
    """P-10: the gateway does not ask the client to come again."""
    service = serve(max_memory="150MB")
    with service.dial() as connection:
        connection.sendall(
            b"POST /v1/messages HTTP/1.1\r\nhost: localhost\r\ncontent-length: 30000000\r\n\r\n"
        )
        answer = rest(connection)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"more memory than the gateway has" in answer


def connect_slow_client(service: Service, body: dict[str, Any]) -> socket.socket:
    """Connect a client that sends a request and reads next to nothing."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(PATIENCE)
    connection.connect(("127.0.0.1", service.port))
    data = jsonio.dumps(body)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(data)}\r\n\r\n"
    connection.sendall(head.encode() + data)
    return connection


def test_c_03_the_gateway_drops_a_client_that_reads_nothing(
    serve: Serve, upstream: Upstream
) -> None:
    """C-03: the gateway pays for no more, its row says why, and memory stays bounded."""
    service = serve(timeouts={"read": 0.3})
    words = [chunk({"content": "word " * 2000})] * 800
    upstream.on("/acme", stream(ROLE, *words, end="stall"))
    before = service.figure("VmRSS")
    with connect_slow_client(service, chat(stream=True)) as connection:
        request = upstream.arrived()
        assert connection.recv(10).startswith(b"HTTP/1.1 2")
        assert request.left.wait(PATIENCE)
        assert service.figure("VmRSS") - before < 20 * MB
    until(service.entries, "its row")
    (row,) = service.entries()
    assert (row.state, row.status, row.aborted_by) == ("aborted", 499, "client_slow")
    service.send_signal(signal.SIGTERM)
    assert service.ended() == 0


def test_c_03_a_whole_answer_that_no_client_reads_keeps_no_connection(
    serve: Serve, upstream: Upstream
) -> None:
    """C-03: the gateway pays for the answer, and its row says so; the connection closes in time."""
    service = serve(timeouts={"read": 0.3})
    upstream.on("/acme", whole("word " * 2 * MB))
    files = service.files
    with connect_slow_client(service, chat()) as connection:
        assert connection.recv(10).startswith(b"HTTP/1.1 2")
        until(service.entries, "its row")
        until(lambda: service.files <= files + 1, "its connection is gone")  # one more is upstream
    (row,) = service.entries()
    assert (row.state, row.aborted_by) == ("settled", None)


def test_c_15_the_gateway_refuses_more_connections_than_configured(
    serve: Serve, upstream: Upstream
) -> None:
    """C-15: while every connection has a request, the gateway refuses one more, in its dialect.

    It still answers health checks. A connection without a request makes room.
    """
    service = serve(connections=4)
    upstream.on("/acme", SILENT)
    with ExitStack() as stack:
        busy = [stack.enter_context(service.open_call()) for _ in range(4)]
        for _ in busy:
            upstream.arrived()
        with service.open_call({}, "/v1/messages") as connection:
            answer = rest(connection)
        assert answer.startswith(b"HTTP/1.1 529 ")
        assert b"reached its limit of connections" in answer
        assert b"\r\nconnection: close\r\n" in answer
        assert service.get("/health") == 200
    until(lambda: service.get("/v1/models") == 200, "they have gone")
    with ExitStack() as stack:
        idle = [stack.enter_context(service.dial()) for _ in range(4)]
        until(lambda: service.get("/v1/models") == 200, "the oldest was idle for a second")
        assert idle[0].recv(1) == b""


def test_an_overloaded_gateway_refuses_a_call_before_it_reads_the_body(
    serve: Serve, upstream: Upstream
) -> None:
    """The headers are enough: the gateway waits for no body that it will refuse."""
    service = serve(in_flight=1)
    upstream.on("/acme", SILENT)
    with service.open_call(), service.dial() as second:
        upstream.arrived()
        second.sendall(
            b"POST /v1/responses HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000000\r\n\r\n{"
        )
        answer = rest(second)
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b'"code":"overloaded"' in answer
    (after,) = [line for line in answer.split(b"\r\n") if line.startswith(b"retry-after: ")]
    assert int(after.split()[1]) in range(1, 6)
