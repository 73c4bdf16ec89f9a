"""Test bytes that are no request: refused in time, in the dialect of their path, never a fault."""

import gzip
import http.client
import time

import pytest

from gateway.dialects import DIALECTS, Dialect
from gateway.pipeline.response import encode_response, make_problem_response
from gateway.server.http1.protocol import FULL_PROBLEM
from tests.e2e.upstream import DONE, PATIENCE, ROLE, Upstream, chunk, stream
from tests.e2e.world import Loop
from tests.pace import tried, within
from tests.server.gate import (
    CHAT,
    ENDPOINTS,
    MESSAGES,
    Gate,
    answers,
    chat,
    check_refusal,
    drain,
    request,
    valid_body,
)

HEALTH = b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n"
LAST = b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"


def is_alive(gate: Gate) -> bool:
    return gate.ask("/health", method="GET").status == 200


INVALID_REQUESTS = [
    ("HTTP/0.9", b"GET /\r\n\r\n"),
    ("HTTP/0.9 with headers", b"GET /health\r\nhost: localhost\r\n\r\n"),
    ("HTTP/1.7", b"GET /health HTTP/1.7\r\nhost: localhost\r\n\r\n"),
    ("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"),
    ("TLS hello", bytes.fromhex("16030100f8010000f40303") + b"x" * 237),
    ("CONNECT host", b"CONNECT evil.test:443 HTTP/1.1\r\nhost: evil.test\r\n\r\n" + HEALTH),
    ("CONNECT path", b"CONNECT /v1/messages HTTP/1.1\r\nhost: localhost\r\n\r\n" + HEALTH),
    ("no method", b"MAKE /health HTTP/1.1\r\nhost: localhost\r\n\r\n"),
    ("bare LF", b"GET /health HTTP/1.1\nhost: x\n\n"),
    ("CR alone", b"GET /health HTTP/1.1\rhost: x\r\r"),
    ("obs-fold", b"GET /health HTTP/1.1\r\nhost: localhost\r\nx: a\r\n b\r\n\r\n"),
    ("NUL in a value", b"GET /health HTTP/1.1\r\nhost: localhost\r\nx: a\0b\r\n\r\n"),
    ("NUL in a path", b"GET /hea\0lth HTTP/1.1\r\nhost: localhost\r\n\r\n"),
    ("space in a name", b"GET /health HTTP/1.1\r\nhost: localhost\r\nx y: a\r\n\r\n"),
    ("no colon", b"GET /health HTTP/1.1\r\nhost: localhost\r\nxy\r\n\r\n"),
    ("another authority", b"GET @evil.test HTTP/1.1\r\nhost: localhost\r\n\r\n"),
    ("noise", bytes(range(256)) * 4),
]  # fmt: skip


@pytest.mark.parametrize(
    "data", [row[1] for row in INVALID_REQUESTS], ids=[row[0] for row in INVALID_REQUESTS]
)
def test_c_14_sec_hdr_invalid_requests_are_refused_once(gate: Gate, data: bytes) -> None:
    """C-14, SEC-HDR: one 400 that an SDK can show; the connection closes and the gateway lives on."""
    (reply,) = answers(gate.exchange(data))
    message = check_refusal(reply, MESSAGES if b"/v1/messages" in data else CHAT, 400)
    assert "not a valid HTTP/1.1 request" in message
    assert reply.headers["connection"] == "close"
    assert is_alive(gate)


def test_c_14_a_hundred_requests_in_one_write_are_answered_in_order(gate: Gate) -> None:
    """C-14: a last request that is invalid is refused in its turn, not in the middle of others."""
    for last in (LAST, b"rubbish\r\n\r\n"):
        paths = [f"/v1/models/none-{number}" for number in range(100)]
        data = b"".join(request(path, method="GET") for path in paths)
        replies = answers(gate.exchange(data + last))
        assert len(replies) >= 100
        for path, reply in zip(paths, replies, strict=False):
            assert f"{path.rpartition('/')[2]!r}" in check_refusal(reply, CHAT, 404)


def test_c_14_calls_of_two_dialects_in_one_write_are_answered_in_order(gate: Gate) -> None:
    """C-14: bodies and answers of both dialects do not mix."""
    lines = (b"connection: close",)
    data = (
        request(CHAT, chat())
        + request(MESSAGES, valid_body(MESSAGES))
        + request(CHAT, b"{", *lines)
    )
    first, second, third = answers(gate.exchange(data))
    assert first.json["object"] == "chat.completion"
    assert second.json["type"] == "message"
    check_refusal(third, CHAT, 400)


def test_c_14_an_invalid_body_behind_other_requests_has_its_own_refusal(gate: Gate) -> None:
    """C-14: the requests before it are answered first, then it is refused."""
    invalid = (
        b"POST /v1/messages HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n"
    )
    first, second = answers(gate.exchange(request(CHAT, chat()) + invalid + HEALTH))
    assert first.status == 200
    assert "not a valid HTTP/1.1 request" in check_refusal(second, MESSAGES, 400)


def test_c_14_one_connection_carries_many_requests(gate: Gate) -> None:
    """C-14: one connection carries many requests, also some that no endpoint takes."""
    connection = http.client.HTTPConnection("127.0.0.1", gate.port, PATIENCE)
    local_addresses = set()
    for number in range(100):
        is_unknown = number % 7 == 0
        connection.request(
            "POST" if is_unknown else "GET",
            "/nowhere" if is_unknown else "/health",
            b"x" * is_unknown,
        )
        reply = connection.getresponse()
        reply.read()
        assert reply.status == (404 if is_unknown else 200)
        assert connection.sock is not None
        local_addresses.add(connection.sock.getsockname())
    connection.close()
    assert len(local_addresses) == 1


@pytest.mark.parametrize("path", [*ENDPOINTS, "/v1/route"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
def test_c_14_other_methods_are_refused_with_the_allowed_one(
    gate: Gate, path: str, method: str
) -> None:
    """C-14: the gateway answers 405 in the dialect, with the methods that are allowed."""
    reply = gate.ask(path, b"", method)
    assert (reply.status, reply.headers["allow"]) == (405, "POST")
    if method != "HEAD":
        bare_path = path.partition("?")[0]
        assert f"{method} is not allowed on {bare_path}. It takes POST." in check_refusal(
            reply, path, 405
        )


PATHS = [
    "/v1/chat/completions/", "/v1//chat/completions", "//v1/chat/completions", "/V1/chat/completions",
    "/v1/%2e%2e/v1/chat/completions/", "/;/admin",
    "//admin", "/v1/../admin", "/v1/messages/", "/v1/messages/batches",
    "/v1/responses/", "/v1beta/models/auto:generate", "/v1beta/models/auto",
    "/v1beta/models/auto:generateContent/", "/v1beta/models/",
    "/v1beta/chat/completions",
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_sec_auth_2_paths_that_are_nearly_right_reach_no_endpoint(gate: Gate, path: str) -> None:
    """SEC-AUTH 2: none of them reaches an endpoint; the refusal names the right paths, in the
    dialect.
    """
    message = check_refusal(gate.ask(path, valid_body(path)), path, 404)
    assert "POST /v1/chat/completions, /v1/responses, /v1/messages or " in message


@pytest.mark.parametrize("host", ["admin", "127.0.0.1", "evil.test", ""])
def test_sec_auth_2_the_host_header_selects_no_endpoint(gate: Gate, host: str) -> None:
    """SEC-AUTH 2: the Host header selects no endpoint, and no answer links to it."""
    data = (
        f"POST /health HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
    )
    (reply,) = answers(gate.exchange(data.encode()))
    assert "not allowed on /health." in check_refusal(reply, CHAT, 405)
    is_known = host in ("127.0.0.1", "")  # while keys are open, the gateway refuses other names
    slash = gate.ask("/v1/models?x/", method="GET", host=host)
    assert slash.status == (200 if is_known else 403)
    assert gate.ask("/health/", method="GET", host=host).status == (404 if is_known else 403)


HEADS = [
    ("101 headers", b"".join(b"x-%d: y\r\n" % at for at in range(101))),
    ("1,000 headers", b"".join(b"x-%d: y\r\n" % at for at in range(1000))),
    ("one of 17 kB", b"x: " + b"y" * 17_000 + b"\r\n"),
    ("one of 100 kB", b"x: " + b"y" * 100_000 + b"\r\n"),
    ("a name of 100 kB", b"x" * 100_000 + b": y\r\n"),
]


@pytest.mark.parametrize("path", [*ENDPOINTS, "/v1/models", "/health", "/nowhere"])
@pytest.mark.parametrize("head", [row[1] for row in HEADS], ids=[row[0] for row in HEADS])
def test_c_11_too_many_or_too_long_headers_are_refused(gate: Gate, path: str, head: bytes) -> None:
    """C-11: every endpoint answers 431, also one that does not read the headers."""
    data = b"POST " + path.encode() + b" HTTP/1.1\r\nhost: localhost\r\n" + head + b"\r\n"
    (reply,) = answers(gate.exchange(data))
    assert "more than 100 or 16,384 bytes" in check_refusal(reply, path, 431)


@pytest.mark.parametrize("piece", [b"y" * 1000, b"x-y: z\r\n" * 100])
def test_c_11_a_head_without_an_end_is_refused_while_it_arrives(gate: Gate, piece: bytes) -> None:
    """C-11: the gateway refuses it while it still arrives, so memory stays bounded. Before that, 10
    MB may wait in the kernel.
    """
    with gate.dial() as connection:
        connection.sendall(b"POST /v1/messages HTTP/1.1\r\nx: ")
        sent = 0
        try:
            while sent < 50_000_000:
                connection.sendall(piece)
                sent += len(piece)
        except (BrokenPipeError, ConnectionResetError):
            pass
        assert sent < 50_000_000


def test_c_11_the_largest_allowed_head_is_accepted(gate: Gate) -> None:
    lines = [b"x-%d: %b" % (at, b"y" * 150) for at in range(95)]
    replies = answers(gate.exchange(request(CHAT, chat(), *lines, b"connection: close")))
    assert replies[0].status == 200


@pytest.mark.parametrize("head", [b"G", b"POST /v1/messages HTTP/1.1\r\nhost: localhost\r\nx: y"])
def test_c_13_slow_heads_are_refused_in_time(strict_gate: Gate, head: bytes) -> None:
    """C-13: 408 and close, however steadily the head comes, also on a reused connection."""
    for before in (b"", HEALTH):
        with strict_gate.dial() as connection:
            start = time.monotonic()
            connection.sendall(before + head)
            replies = answers(drain(connection))
            assert time.monotonic() - start < 5
        assert "did not arrive in time" in check_refusal(
            replies[-1], "/v1/messages" if b"messages" in head else CHAT, 408
        )
        assert len(replies) == 1 + bool(before)


def test_c_13_a_head_that_drips_gets_no_more_time(strict_gate: Gate) -> None:
    """C-13: bytes that keep coming do not restart the clock."""
    with strict_gate.dial() as connection:
        connection.settimeout(0.02)
        connection.sendall(b"GET /health HTTP/1.1\r\nx: ")
        start, answer = time.monotonic(), b""
        while not answer:
            assert time.monotonic() - start < 5
            try:
                connection.sendall(b"y")
                answer = connection.recv(65536)
            except TimeoutError:
                pass
        assert answer.startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("data", [b"", b"\r\n"])
def test_c_13_connections_without_a_request_are_closed(strict_gate: Gate, data: bytes) -> None:
    """C-13: the gateway closes without an answer, also after blank lines."""
    with strict_gate.dial() as connection:
        connection.sendall(data)
        assert drain(connection) == b""


def test_c_13_the_head_timeout_of_a_next_request_does_not_cut_a_call(
    strict_gate: Gate, provider: Upstream, loop: Loop
) -> None:
    """C-13: the gateway writes its answer to the end, and then closes the connection."""
    provider.on("/acme", stream(ROLE, chunk({"content": "Hi"}), None, chunk({}, "stop"), DONE))
    with strict_gate.dial() as connection:
        connection.sendall(request(CHAT, chat(stream=True)) + b"GET /hea")
        received = b""
        while b"Hi" not in received:
            received += connection.recv(65536)
        # When the head of a later connection has timed out, the first one's deadline is past too.
        with strict_gate.dial() as later:
            later.sendall(b"GET /hea")
            assert drain(later).startswith(b"HTTP/1.1 408 ")
        loop.run(provider.release())
        received += drain(connection)
    assert received.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
    assert received.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize("path", [*ENDPOINTS, "/v1/route"])
def test_c_13_slow_bodies_are_refused_in_time(strict_gate: Gate, path: str) -> None:
    """C-13, C-06: a body that stops, or is shorter than announced."""
    for data in (
        f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99\r\n\r\n{{".encode(),
        f"POST {path} HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{{".encode(),
    ):
        (reply,) = answers(strict_gate.exchange(data))
        assert "did not arrive within 0.15 s" in check_refusal(reply, path, 408)
        assert reply.headers["connection"] == "close"


def test_c_13_the_body_of_an_unknown_path_gets_no_more_time(strict_gate: Gate) -> None:
    """C-13: the endpoint does not exist, and the rest of the body never comes."""
    data = b"POST /nowhere HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99\r\n\r\n{"
    assert [reply.status for reply in answers(strict_gate.exchange(data))] == [404]


@pytest.mark.parametrize("path", [*ENDPOINTS, "/v1/route"])
def test_c_06_bodies_beyond_the_limit_are_refused(strict_gate: Gate, path: str) -> None:
    """C-06: 413 by the announced length, or as soon as the body is too long; its end is not
    awaited.
    """
    head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\n".encode()
    endless = head + b"transfer-encoding: chunked\r\n\r\n" + b"400\r\n%b\r\n" % (b"x" * 1024) * 3
    for data in (
        head + b"content-length: 100000000\r\n\r\n",
        head + b"content-length: 100000000\r\nexpect: 100-continue\r\n\r\n",
        head + b"content-length: 99999999999999999999\r\n\r\n",
        endless,
    ):
        received = strict_gate.exchange(data)
        (reply,) = answers(received)
        if b"99999999999999999999" in data:
            check_refusal(reply, path, 400)
        else:
            assert "larger than 2,000 bytes" in check_refusal(reply, path, 413)
        assert b" 100 " not in received[:40]
        assert reply.headers["connection"] == "close"


def test_c_06_a_body_within_the_limit_is_invited(gate: Gate) -> None:
    """C-06: the gateway answers `Expect: 100-continue` if the body may come."""
    body = chat()
    with gate.dial() as connection:
        connection.sendall(request(CHAT, body, b"expect: 100-continue")[: -len(body)])
        assert connection.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_c_06_bytes_behind_the_announced_length_are_another_request(gate: Gate) -> None:
    """C-06: bytes behind the announced length are another request, here an invalid one."""
    data = request(CHAT, chat()) + b"and more"
    first, *rest = answers(gate.exchange(data, b"\r\n\r\n"))
    assert first.status == 200
    assert [reply.status for reply in rest] in ([], [400])


@pytest.mark.parametrize("path", ENDPOINTS)
@pytest.mark.parametrize("offer", [b"h2c", b"websocket"])
def test_c_14_an_offer_of_another_protocol_is_ignored(gate: Gate, path: str, offer: bytes) -> None:
    """C-14: the gateway serves the request with its body, as if without the offer; Java's client
    sends one.
    """
    lines = (b"connection: Upgrade, HTTP2-Settings", b"upgrade: " + offer, b"http2-settings: AA")
    data = request(path, valid_body(path), *lines)
    for pieces in ((data,), (data[:-9], data[-9:]), (data[:-200], data[-200:])):
        first, second = answers(gate.exchange(*pieces, LAST))
        assert (first.status, second.status) == (200, 200)


BOMBS = ("gzip", "br", "zstd", "deflate", "gzip, gzip", "compress", "identity, gzip", "nonsense")


@pytest.mark.parametrize("path", ENDPOINTS)
@pytest.mark.parametrize("encoding", BOMBS)
def test_sec_bomb_encoded_bodies_are_refused_unread(gate: Gate, path: str, encoding: str) -> None:
    """SEC-BOMB: 415 at once, in the dialect, before the body is read."""
    body = gzip.compress(b"\0" * 10_000_000) if "gzip" in encoding else b"\x28\xb5\x2f\xfd" * 100

    def refuse() -> None:
        start = time.monotonic()
        data = request(path, body, b"content-encoding: " + encoding.encode())
        (reply,) = answers(gate.exchange(data))
        seconds = time.monotonic() - start
        assert "without a content-encoding" in check_refusal(reply, path, 415)
        within(seconds, 1)

    tried(refuse)


def test_sec_bomb_a_hundred_thousand_gzip_members_are_refused_unread(gate: Gate) -> None:
    """SEC-BOMB: a hundred thousand members of gzip, which decoders take one by one."""
    body = gzip.compress(b"") * 100_000
    lines = (b"content-encoding: identity", b"content-encoding: gzip")
    assert answers(gate.exchange(request(CHAT, body, *lines)))[0].status == 415
    assert gate.ask(CHAT, chat(), content_encoding="identity").status == 200


def test_invalid_requests_are_counted_in_the_log(strict_gate: Gate) -> None:
    """One log line counts many refusals by kind; the ledger has no row."""
    strict_gate.exchange(b"rubbish\r\n\r\n")
    rows = [row for row in strict_gate.rows() if row["event"] == "refused"]
    assert rows
    assert all(
        isinstance(row[kind], int) for row in rows for kind in row if kind not in ("at", "event")
    )


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=lambda one: one.name)
def test_c_15_a_full_gateway_answers_in_every_dialect(dialect: Dialect) -> None:
    """C-15: this holds for 529 too, Anthropic's own status, for which HTTP has no phrase."""
    reply = make_problem_response(FULL_PROBLEM, dialect, "tg-1", [])
    (answer,) = answers(encode_response(reply) or b"")
    assert answer.status == (529 if dialect.name == "anthropic-messages" else 503)
    assert int(answer.headers["retry-after"]) >= 1
