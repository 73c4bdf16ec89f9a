"""Test the Host header and the forms of a request target (RFC 9112 3.2), on raw sockets."""

import pytest

from tests.server.gate import (
    CHAT,
    ENDPOINTS,
    GOOGLE,
    MESSAGES,
    Gate,
    answers,
    chat,
    check_refusal,
    valid_body,
)

LAST = b"connection: close\r\n"
VALID = [
    b"localhost", b"localhost:8484", b"127.0.0.1", b"127.0.0.1:80", b"[::1]", b"[::1]:8484",
    b"my_service", b"a.example.", b"a-b.example:", b"%6cocalhost", b"", b"[v1.a:b]", b"EXAMPLE.com",
    b"  localhost  ",
]  # fmt: skip
INVALID = [
    b"a:b:c@d", b"user@host", b"host:port", b"a/b", b"a?b", b"a#b", b"a b", b"a, b", b"http://a",
    b"[::1", b"::1", b"[]", b"[g::1]", b"[::1]x", b"a\\b", b"%zz", b"\xc3\xa4", b"a:80:80", b"<a>", b'"a"',
]  # fmt: skip


def head(method: bytes, target: bytes, *lines: bytes, version: bytes = b"1.1") -> bytes:
    """Write the head of a request that announces its end."""
    rows = [method + b" " + target + b" HTTP/" + version, *lines, LAST.strip(), b"", b""]
    return b"\r\n".join(rows)


def post(path: str, target: bytes, *lines: bytes, body: bytes | None = None) -> bytes:
    """Write a call to a target, with a body that the endpoint of `path` takes."""
    data = valid_body(path) if body is None else body
    return head(b"POST", target, b"content-length: %d" % len(data), *lines) + data


@pytest.mark.parametrize("host", VALID)
def test_the_gateway_accepts_every_valid_host(gate: Gate, host: bytes) -> None:
    """The gateway answers every form of Host that RFC 3986 knows, the empty one too."""
    (answer,) = answers(gate.exchange(head(b"GET", b"/health", b"host:" + host)))
    assert answer.status == 200


@pytest.mark.parametrize("path", [*ENDPOINTS, "/health"])
@pytest.mark.parametrize("host", INVALID)
def test_an_invalid_host_is_refused(gate: Gate, path: str, host: bytes) -> None:
    """RFC 9112 3.2: the gateway answers an invalid Host with 400, in the path's dialect."""
    (answer,) = answers(gate.exchange(post(path, path.encode(), b"host: " + host)))
    assert "Host" in check_refusal(answer, path, 400)
    assert answer.headers["connection"] == "close"


@pytest.mark.parametrize("path", [*ENDPOINTS, "/health"])
def test_a_request_without_host_is_refused(gate: Gate, path: str) -> None:
    """RFC 9112 3.2: the gateway answers an HTTP/1.1 request without Host with 400."""
    (answer,) = answers(gate.exchange(post(path, path.encode())))
    assert "Host" in check_refusal(answer, path, 400)


@pytest.mark.parametrize("same", [True, False])
def test_a_request_with_two_hosts_is_refused(gate: Gate, same: bool) -> None:
    """RFC 9112 3.2: the gateway answers several Host lines with 400, also if they are equal."""
    second = b"host: a" if same else b"host: b"
    (answer,) = answers(gate.exchange(post(CHAT, CHAT.encode(), b"host: a", second)))
    assert "Host" in check_refusal(answer, CHAT, 400)


def test_http_1_0_needs_no_host(gate: Gate) -> None:
    """HTTP/1.0 needs no Host; if a client sends one it must be valid."""
    (answer,) = answers(gate.exchange(head(b"GET", b"/health", version=b"1.0")))
    assert answer.status == 200
    data = head(b"GET", b"/health", b"host: a:b:c@d", version=b"1.0")
    (answer,) = answers(gate.exchange(data))
    check_refusal(answer, CHAT, 400)


@pytest.mark.parametrize("path", ENDPOINTS)
@pytest.mark.parametrize("scheme", [b"http://", b"https://", b"HTTP://"])
def test_the_absolute_form_is_treated_like_the_origin_form(
    gate: Gate, path: str, scheme: bytes
) -> None:
    """RFC 9112 3.2.2: a server accepts the absolute form, for every endpoint."""
    target = scheme + b"localhost:8484" + path.encode()
    (answer,) = answers(gate.exchange(post(path, target, b"host: other")))
    assert answer.status == 200, answer.body


def test_the_absolute_form_works_for_each_request_of_a_connection(gate: Gate) -> None:
    """Both forms may come on one connection, and the gateway answers repeated heads alike."""
    absolute = b"http://localhost" + CHAT.encode()
    body = chat()
    requests = [
        b"POST %b HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n%b"
        % (target, len(body), body)
        for target in (absolute, absolute, CHAT.encode(), absolute)
    ]
    with gate.dial() as connection:
        for data in requests:
            connection.sendall(data)
            received = b""
            while not received.endswith(b"}"):
                received += connection.recv(65536)
            (answer,) = answers(received)
            assert answer.json["object"] == "chat.completion"


@pytest.mark.parametrize(
    ("target", "status"),
    [
        (b"http://[::1]", 200), (b"http://localhost/", 200), (b"http://localhost?x=1", 200), (b"http://a/health", 200), (b"http://a/health?x=1", 200),
        (b"http://localhost/nowhere", 404), (b"http://a/nowhere", 403), (b"http://a", 403),
        (b"http://a:80/health", 200), (b"http://u@a/health", 400), (b"http://u:p@a/health", 400),
        (b"http:///health", 400), (b"http://a:b/health", 400), (b"ftp://a/health", 400),
    ],
)  # fmt: skip
def test_an_absolute_target_may_name_a_host_a_port_and_an_http_scheme(
    gate: Gate, target: bytes, status: int
) -> None:
    """The target may name a valid authority, without a user, and an HTTP scheme."""
    (answer,) = answers(gate.exchange(head(b"GET", target, b"host: localhost")))
    assert answer.status == status, answer.body


def test_the_absolute_form_needs_a_valid_host_too(gate: Gate) -> None:
    """RFC 9112 3.2 holds for every form: its authority replaces Host, and does not excuse it."""
    for lines in ((), (b"host: a:b:c@d",), (b"host: a", b"host: a")):
        (answer,) = answers(gate.exchange(head(b"GET", b"http://a/health", *lines)))
        assert answer.status == 400


def test_the_authority_of_a_target_replaces_the_host_header(gate: Gate) -> None:
    """Without an admin key the gateway answers loopback names only; the authority is the name."""
    data = head(b"GET", b"http://127.0.0.1/admin/entries", b"host: evil.test")
    (answer,) = answers(gate.exchange(data))
    assert answer.status == 200, answer.body
    data = head(b"GET", b"http://evil.test/admin/entries", b"host: 127.0.0.1")
    (answer,) = answers(gate.exchange(data))
    assert "the host must be 127.0.0.1" in check_refusal(answer, CHAT, 403)


def test_a_refusal_has_the_dialect_of_an_absolute_path(gate: Gate) -> None:
    """The path of an absolute form selects the dialect, like that of the origin form."""
    for path in (MESSAGES, GOOGLE[0]):
        target = b"http://localhost" + path.encode()
        (answer,) = answers(gate.exchange(post(path, target, b"host: a", body=b"{")))
        check_refusal(answer, path, 400)
