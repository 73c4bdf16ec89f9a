"""A gateway under more load than it can serve: it refuses early, and serves again afterwards."""

import selectors
import shutil
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from gateway.core import jsonio
from tests.e2e.child import until
from tests.e2e.ending import Service, rest, seen
from tests.e2e.upstream import PATIENCE, ROLE, SILENT, Upstream, chunk, stream, whole
from tests.e2e.world import chat

type Serve = Callable[..., Service]

MB = 1_000_000
_PRLIMIT = shutil.which("prlimit")


@pytest.fixture
def serve(tmp_path: Path, upstream: Upstream) -> Iterator[Serve]:
    """Return a function that starts a gateway: `serve(*words that run it, **server settings)`."""
    made: list[Service] = []

    def serve(*before: str, **server: Any) -> Service:
        made.append(Service(tmp_path / f"{len(made)}", upstream, server, before))
        return made[-1]

    yield serve
    for one in made:
        one.kill()


def status(answer: bytes) -> int:
    """Return the status of an answer; 0 if there is none."""
    return int(answer.split()[1]) if answer else 0


def gathered(connections: list[socket.socket], enough: int) -> list[bytes]:
    """Return what many connections receive until the other side has closed `enough` of them."""
    found: dict[socket.socket, bytes] = dict.fromkeys(connections, b"")
    closed = 0
    deadline = time.monotonic() + PATIENCE
    with selectors.DefaultSelector() as selector:
        for each in connections:
            selector.register(each, selectors.EVENT_READ, each)
        while closed < enough:
            assert time.monotonic() < deadline, (closed, enough)
            for key, _ in selector.select(1.0):
                one: socket.socket = key.data
                piece = b""
                with suppress(ConnectionError):
                    piece = one.recv(65536)
                found[one] += piece
                if not piece:
                    closed += 1
                    selector.unregister(one)
    return list(found.values())


@pytest.mark.skipif(_PRLIMIT is None, reason="prlimit of util-linux sets the limit")
def test_p_09_more_clients_than_files(serve: Serve, upstream: Upstream) -> None:
    """P-09: the gateway serves as many of 300 clients as it has files for, and refuses the others.

    It tells them so, stays alive, does not spin, and serves again when the clients have gone.
    """
    service = serve(str(_PRLIMIT), "--nofile=256:256")
    upstream.on("/acme", SILENT)
    with ExitStack() as stack:
        data = jsonio.dumps(chat(stream=True))
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(data)}\r\n\r\n"
        clients = [stack.enter_context(service.dial()) for _ in range(300)]
        for one in clients:
            with suppress(ConnectionError):
                one.sendall(head.encode() + data)
        answers = gathered(clients, 300 - 83)
        told = Counter(status(answer) for answer in answers)
        assert told[503] + told[0] == 300
        assert told[503] >= 41  # as many as wait at a time; some of the others see a reset first
        assert all(b"\r\nretry-after: " in one for one in answers if one)
        served = {upstream.arrived() for _ in range(83)}
        assert service.get("/health") == 200
        assert service.files < 256
        since, used = time.monotonic(), service.used()
        until(lambda: time.monotonic() - since > 0.5, "half a second")
        assert service.used() - used < (time.monotonic() - since) / 2
    for request in served:
        assert request.left.wait(PATIENCE)
    upstream.on("/acme", whole())

    def answered() -> bool:
        with service.asking() as connection:
            return status(seen(connection, b"\r\n\r\n")) == 200

    until(answered, "it serves again")
    assert service.rows("bug") + service.rows("library") == []


@pytest.mark.skipif(_PRLIMIT is None, reason="prlimit of util-linux sets the limit")
def test_p_09_it_survives_where_no_file_is_left(serve: Serve, upstream: Upstream) -> None:
    """P-09: a gateway that may have more connections than files neither spins nor ends."""
    service = serve(str(_PRLIMIT), "--nofile=64:64", connections=1000)
    with ExitStack() as stack:
        clients = [stack.enter_context(service.dial()) for _ in range(100)]
        for one in clients:
            with suppress(ConnectionError):
                one.sendall(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n")
        until(lambda: service.files >= 60, "its files are used up")
        since, used = time.monotonic(), service.used()
        until(lambda: time.monotonic() - since > 0.5, "half a second")
        assert service.used() - used < (time.monotonic() - since) / 2
    until(lambda: _alive(service), "it answers again")


def _alive(service: Service) -> bool:
    with suppress(OSError, IndexError):
        return service.get("/health") == 200
    return False


def test_p_10_a_flood_of_large_bodies(serve: Serve, upstream: Upstream) -> None:
    """P-10: the gateway admits as many bodies as it has memory for, and refuses the others.

    It tells refused clients to come again, and never uses more memory than its limit.
    """
    service = serve(max_memory="300MB")
    upstream.on("/acme", whole())
    body = jsonio.dumps(chat("x" * 20 * MB))
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n\r\n"
    told: Counter[int] = Counter()

    def flood() -> None:
        for _ in range(3):
            with service.dial() as connection:
                with suppress(ConnectionError):
                    connection.sendall(head.encode() + body)
                answer = b""
                with suppress(ConnectionError):
                    answer = connection.recv(65536)
                told[status(answer)] += 1

    threads = [threading.Thread(target=flood) for _ in range(8)]
    for one in threads:
        one.start()
    while any(one.is_alive() for one in threads):
        assert service.get("/health") == 200
        time.sleep(0.02)  # a pause between two looks at a real gateway
    assert told[200] >= 1
    assert told[503] >= 1
    assert told[200] + told[503] + told[0] == 24
    print(service.figure("VmHWM") / 1e6, told)
    assert service.figure("VmHWM") < 300 * MB
    assert service.get("/health") == 200


def test_p_10_a_body_that_could_never_fit(serve: Serve) -> None:
    """P-10: the gateway does not ask the client to come again."""
    service = serve(max_memory="150MB")
    with service.dial() as connection:
        connection.sendall(
            b"POST /v1/messages HTTP/1.1\r\nhost: localhost\r\ncontent-length: 30000000\r\n\r\n"
        )
        answer = rest(connection)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"more memory than the gateway has" in answer


def slowly(service: Service, body: dict[str, Any]) -> socket.socket:
    """Connect a client that sends a request and reads next to nothing."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(PATIENCE)
    connection.connect(("127.0.0.1", service.port))
    data = jsonio.dumps(body)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(data)}\r\n\r\n"
    connection.sendall(head.encode() + data)
    return connection


def test_c_03_a_client_that_reads_nothing_is_let_go(serve: Serve, upstream: Upstream) -> None:
    """C-03: the gateway pays for no more, its row says why, and memory stays bounded."""
    service = serve(timeouts={"read": 0.3})
    words = [chunk({"content": "word " * 2000})] * 800
    upstream.on("/acme", stream(ROLE, *words, end="stall"))
    before = service.figure("VmRSS")
    with slowly(service, chat(stream=True)) as connection:
        request = upstream.arrived()
        assert connection.recv(10).startswith(b"HTTP/1.1 2")
        assert request.left.wait(PATIENCE)
        assert service.figure("VmRSS") - before < 20 * MB
    until(service.entries, "its row")
    (row,) = service.entries()
    assert (row.state, row.status, row.aborted_by) == ("aborted", 499, "client_slow")
    service.tell(signal.SIGTERM)
    assert service.ended() == 0


def test_c_03_a_whole_answer_that_nobody_reads_keeps_no_connection(
    serve: Serve, upstream: Upstream
) -> None:
    """C-03: the gateway pays for the answer, and its row says so; the connection closes in time."""
    service = serve(timeouts={"read": 0.3})
    upstream.on("/acme", whole("word " * 2 * MB))
    files = service.files
    with slowly(service, chat()) as connection:
        assert connection.recv(10).startswith(b"HTTP/1.1 2")
        until(service.entries, "its row")
        until(lambda: service.files <= files + 1, "its connection is gone")  # one more is upstream
    (row,) = service.entries()
    assert (row.state, row.aborted_by) == ("settled", None)


def test_c_15_more_connections_than_there_may_be(serve: Serve, upstream: Upstream) -> None:
    """C-15: while every connection has a request, the gateway refuses one more, in its dialect.

    It still answers health checks. A connection without a request makes room.
    """
    service = serve(connections=4)
    upstream.on("/acme", SILENT)
    with ExitStack() as stack:
        busy = [stack.enter_context(service.asking()) for _ in range(4)]
        for _ in busy:
            upstream.arrived()
        with service.asking({}, "/v1/messages") as connection:
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


def test_shed_before_the_body_is_read(serve: Serve, upstream: Upstream) -> None:
    """The headers are enough: the gateway waits for no body that it will refuse."""
    service = serve(in_flight=1)
    upstream.on("/acme", SILENT)
    with service.asking(), service.dial() as second:
        upstream.arrived()
        second.sendall(
            b"POST /v1/responses HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000000\r\n\r\n{"
        )
        answer = rest(second)
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b'"code":"overloaded"' in answer
    (after,) = [line for line in answer.split(b"\r\n") if line.startswith(b"retry-after: ")]
    assert int(after.split()[1]) in range(1, 6)


def test_who_is_refused_while_sending_can_read_why(serve: Serve) -> None:
    """The gateway does not reset the connection while the client still sends."""
    service = serve(max_body="2KB")
    with service.dial() as connection:
        connection.sendall(
            b"POST /v1/messages HTTP/1.1\r\nhost: localhost\r\ncontent-length: 200000\r\n\r\n"
        )
        for _ in range(20):
            connection.sendall(b"x" * 10_000)
        answer = rest(connection)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"request_too_large" in answer
