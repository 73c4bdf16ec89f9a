"""Test the gateway's own refusals: in the client's dialect, at once, and without asking a provider."""

import hashlib
import socket
from contextlib import closing

import httpx
import pytest

from tests.e2e.upstream import PATIENCE, SILENT, Upstream
from tests.e2e.world import Config, Make, World, abort, chat

HI = b'"messages":[{"role":"user","content":"hi"}]'
REQUEST = "invalid_request"


def check_refusal(reply: httpx.Response, status: int, code: str, param: str | None = None) -> str:
    """Check a refusal in the dialect with all its headers; return its message."""
    error = reply.json()["error"]
    assert (reply.status_code, error["code"], error["param"]) == (status, code, param), reply.text
    assert list(reply.json()) == ["error"]
    assert list(error) == ["message", "type", "param", "code"]
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["x-request-id"] == reply.headers["request-id"]
    assert reply.headers["x-request-id"].startswith("tg-")
    assert len(reply.content) < 1000
    return str(error["message"])


def test_the_refusal_of_an_unknown_model_suggests_the_nearest(world: World) -> None:
    for name, suggestion in (
        ("swfit-1", "swift-1"),
        ("reasonning", "reasoning"),
    ):
        assert f"Did you mean {suggestion!r}?" in check_refusal(
            world.ask(chat(model=name)), 404, "model_not_found", "model"
        )


def test_a_refusal_never_quotes_the_prompt(world: World) -> None:
    """SEC-LEAK 4: neither the reply nor the log quotes it, whatever its error is."""
    for body in (b'{"model":"auto","messages":["my secret"', b'{"messages":[],"my secret":1}'):
        assert b"my secret" not in world.ask(body).content
    assert "my secret" not in str(world.log)


HEADERS: list[tuple[str, dict[str, str], int, str]] = [
    ("its own hop", {"x_tiergate_hop": "1"}, 508, "loop_detected"),
    ("gzip", {"content_encoding": "gzip"}, 415, "unsupported_media_type"),
    ("300 of 80 bytes", {f"x_{at}": "x" * 80 for at in range(300)}, 431, REQUEST),
    ("cache word", {"x_tiergate_cache": "maybe"}, 400, REQUEST),
    ("loss word", {"x_tiergate_on_loss": "cry"}, 400, REQUEST),
    ("word for complete", {"x_tiergate_complete": "true"}, 400, REQUEST),
    ("beyond the dial", {"x_tiergate_quality": "11"}, 400, REQUEST),
    ("no number for the dial", {"x_tiergate_quality": "best"}, 400, REQUEST),
    ("17 tags", {"x_tiergate_tags": ",".join("abcdefghijklmnopq")}, 400, REQUEST),
]


@pytest.mark.parametrize(("headers", "status", "code"), [row[1:] for row in HEADERS], ids=[row[0] for row in HEADERS])  # fmt: skip
def test_wrong_headers_are_refused_before_the_body_is_read(world: World, upstream: Upstream, headers: dict[str, str], status: int, code: str) -> None:  # fmt: skip
    """The gateway refuses before it reads the body: it makes no call, and closes the connection."""
    reply = world.ask(chat(), **headers)
    check_refusal(reply, status, code)
    assert reply.headers["connection"] == "close"
    assert reply.headers["x-should-retry"] == "false"
    assert not upstream.requests
    assert world.rows() == []


def test_an_unknown_tier_in_a_header_is_refused(world: World) -> None:
    reply = world.ask(chat(model="auto"), x_tiergate_tier="clever")
    check_refusal(reply, 400, REQUEST, "x-tiergate-tier")


@pytest.mark.parametrize("sent", ["größe,東京".encode(), "größe".encode("latin-1")])
def test_tags_may_be_utf_8_or_latin_1(world: World, sent: bytes) -> None:
    """Tags are UTF-8, as curl sends them from a terminal, or Latin-1, as a browser's fetch does."""
    data = b'{"model":"smart",' + HI + b"}"
    head = [
        b"POST /v1/chat/completions HTTP/1.1", b"host: localhost", b"connection: close",
        b"content-length: %d" % len(data), b"x-tiergate-tags: " + sent, b"", data,
    ]  # fmt: skip
    assert status(exchange(world, b"\r\n".join(head))) == 200
    (row,) = world.entries()
    assert row.tags == (("größe", "東京") if "東京".encode() in sent else ("größe",))


def exchange(world: World, data: bytes) -> bytes:
    """Send bytes and read until the gateway closes."""
    with socket.create_connection(("127.0.0.1", world.port), PATIENCE) as connection:
        connection.sendall(data)
        received = b""
        while piece := connection.recv(65536):
            received += piece
        return received


def status(reply: bytes) -> int:
    return int(reply.split(b" ", 2)[1])


def limit_body(value: Config) -> None:
    value["server"] = {"max_body": "1KB"}


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/route"])
def test_a_body_above_the_limit_is_refused(make: Make, upstream: Upstream, path: str) -> None:
    """The gateway refuses by the announced length before it reads, else as soon as it is exceeded."""
    world = make(limit_body)
    for content in (b"x" * 5_000_000, iter([b"x" * 600] * 3), b"x" * 1001):
        message = check_refusal(world.client.post(path, content=content), 413, "request_too_large")
        assert "1,000" in message
    assert not upstream.requests
    assert world.rows() == []


def test_a_client_that_leaves_while_sending_its_body_makes_no_call(world: World) -> None:
    """The client has made no call; the gateway writes no row and leaves nothing behind."""
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n{"
    with closing(socket.create_connection(("127.0.0.1", world.port), PATIENCE)) as connection:
        connection.sendall(head)
    assert world.ask(chat()).status_code == 200
    assert len(world.entries()) == 1
    assert not [row for row in world.log if row["event"] == "bug"]


def test_endpoints_without_a_body_allow_only_get(world: World) -> None:
    for path in ("/v1/models", "/v1/models/auto", "/health", "/ready"):
        reply = world.client.post(path)
        check_refusal(reply, 405, "method_not_allowed")
        assert "GET" in reply.headers["allow"]


def test_unknown_paths_are_refused_with_a_list_of_endpoints(world: World) -> None:
    assert world.client.post("/").headers["allow"] == "GET, HEAD"
    for path in ("/v1", "/v1/completions", "/v1/chat/completions/x", "/%00"):
        assert "POST /v1/chat/completions" in check_refusal(
            world.client.get(path), 404, "not_found"
        )
        assert world.client.post(path).status_code == 404
    assert "<" not in check_refusal(world.client.get("/" + "<script>" * 200), 404, "not_found")[:20]


KEYS = ",".join(f"{name}={hashlib.sha256(name.encode()).hexdigest()}" for name in ("one", "two"))


def test_the_ledger_row_has_the_name_of_the_key(make: Make) -> None:
    world = make(TIERGATE_KEYS=KEYS)
    world.ask(chat(), authorization="Bearer two")
    assert world.entry().key == "two"


def test_a_call_above_the_limit_of_calls_in_flight_is_refused(
    make: Make, upstream: Upstream
) -> None:
    """The gateway refuses before it tries anything: the client may and should retry."""

    def limit_to_one(value: Config) -> None:
        value["server"] = {"in_flight": 1}

    world = make(limit_to_one)
    upstream.on("/acme", SILENT)
    with world.leaving(chat()) as connection:
        request = upstream.arrived()
        reply = world.ask(chat())
        check_refusal(reply, 503, "overloaded")
        assert reply.json()["error"]["type"] == "server_error"
        assert 1 <= int(reply.headers["retry-after"]) <= 5
        assert "x-should-retry" not in reply.headers
        abort(connection)
        assert request.left.wait(PATIENCE)
    upstream.on("/acme")
    # The abandoned call ends a moment after its connection.
    statuses = (world.ask(chat()).status_code for _ in range(1000))
    assert 200 in statuses
