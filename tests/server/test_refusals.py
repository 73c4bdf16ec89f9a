"""Test the gateway's own refusals: in the client's dialect, at once, and without asking a provider."""

import hashlib
import socket
import time
from contextlib import closing

import httpx
import pytest

from tests.e2e.upstream import PATIENCE, SILENT, Upstream
from tests.e2e.world import Config, Make, World, abort, chat
from tests.pace import tried, within

HI = b'"messages":[{"role":"user","content":"hi"}]'
JSON, REQUEST = "invalid_json", "invalid_request"

BODIES: list[tuple[str, bytes, int, str, str | None]] = [
    ("empty", b"", 400, JSON, None),
    ("half", b'{"model":"auto","messages":[', 400, JSON, None),
    ("two values", b'{"model":"auto","messages":[]} {}', 400, JSON, None),
    ("single quotes", b"{'model':'auto'}", 400, JSON, None),
    ("NaN", b'{"model":"auto",%b,"temperature":NaN}' % HI, 400, JSON, None),
    ("Infinity", b'{"model":"auto",%b,"temperature":-Infinity}' % HI, 400, JSON, None),
    ("too large a number", b'{"model":"auto",%b,"temperature":1e400}' % HI, 400, JSON, None),
    ("5,000 digits", b'{"model":"auto",%b,"seed":%b}' % (HI, b"1" * 5000), 400, JSON, None),
    ("bad UTF-8", b'{"model":"auto","messages":[{"role":"user","content":"\xff\xfe"}]}', 400, JSON, None),
    ("overlong UTF-8", b'{"model":"auto","messages":[{"role":"user","content":"\xc0\xaf"}]}', 400, JSON, None),
    ("surrogate bytes", b'{"model":"auto","messages":[{"role":"user","content":"\xed\xa0\x80"}]}', 400, JSON, None),
    ("lone surrogate", b'{"model":"auto","messages":[{"role":"user","content":"\\ud800"}]}', 400, JSON, None),
    ("BOM", b'\xef\xbb\xbf{"model":"auto",%b}' % HI, 400, JSON, None),
    ("UTF-16", b'{"model":"auto"}'.decode().encode("utf-16"), 400, JSON, None),
    ("NUL", b'{"model":"auto",%b}\x00' % HI, 400, JSON, None),
    ("deep", b'{"model":"auto","messages":' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400, JSON, None),
    ("a list", b"[]", 400, REQUEST, None),
    ("a string", b'"auto"', 400, REQUEST, None),
    ("no model", b"{%b}" % HI, 400, REQUEST, "model"),
    ("null model", b'{"model":null,%b}' % HI, 400, REQUEST, "model"),
    ("a number for a model", b'{"model":1,%b}' % HI, 400, REQUEST, "model"),
    ("no messages", b'{"model":"auto"}', 400, REQUEST, "messages"),
    ("text for messages", b'{"model":"auto","messages":"hi"}', 400, REQUEST, "messages"),
    ("text for a message", b'{"model":"auto","messages":["hi"]}', 400, REQUEST, "messages[0]"),
    ("text for stream", b'{"model":"auto","stream":"yes",%b}' % HI, 400, REQUEST, "stream"),
    ("C-16 system apart", b'{"model":"auto","system":"Be brief.",%b}' % HI, 400, REQUEST, "system"),
    ("C-16 tools of Messages", b'{"model":"auto","tools":[{"name":"f","input_schema":{}}],%b}' % HI, 400, REQUEST, "tools"),
    ("C-16 input", b'{"model":"auto","input":"hi"}', 400, REQUEST, "messages"),
    ("C-16 prompt", b'{"model":"auto","prompt":"hi"}', 400, REQUEST, "messages"),
    ("unknown model", b'{"model":"gpt-9",%b}' % HI, 404, "model_not_found", "model"),
    ("unknown lab", b'{"model":"acne/fast",%b}' % HI, 404, "model_not_found", "model"),
    ("a lab's unknown model", b'{"model":"acme/gpt-9",%b}' % HI, 404, "model_not_found", "model"),
    ("a name of 1 MB", b'{"model":"%b",%b}' % (b"x" * 1_000_000, HI), 404, "model_not_found", "model"),
]  # fmt: skip


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


@pytest.mark.parametrize(("body", "status", "code", "param"), [row[1:] for row in BODIES], ids=[row[0] for row in BODIES])  # fmt: skip
def test_wrong_bodies_are_refused_at_once_and_cost_nothing(world: World, upstream: Upstream, body: bytes, status: int, code: str, param: str | None) -> None:  # fmt: skip
    def send() -> httpx.Response:
        start = time.monotonic()
        answer = world.ask(body)
        within(time.monotonic() - start, 2)
        return answer

    reply = tried(send)
    check_refusal(reply, status, code, param)
    assert reply.json()["error"]["type"] == "invalid_request_error"
    assert reply.headers["x-should-retry"] == "false"
    assert not upstream.requests
    assert world.entry().cost == 0


def test_the_refusal_of_an_unknown_model_suggests_the_nearest(world: World) -> None:
    for name, suggestion in (
        ("swfit-1", "swift-1"),
        ("reasonning", "reasoning"),
        ("acme/fats", "acme/fast"),
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
    ("one of 20 kB", {"x_large": "x" * 20_000}, 431, REQUEST),
    ("300 of 80 bytes", {f"x_{at}": "x" * 80 for at in range(300)}, 431, REQUEST),
    ("150 small ones", {f"x_{at}": "x" for at in range(150)}, 431, REQUEST),
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


def test_headers_that_are_not_ascii_cause_no_fault(world: World) -> None:
    """Bytes that no header should hold cause no fault of the gateway."""
    data = b'{"model":"smart",' + HI + b"}"
    for name in (
        b"idempotency-key",
        b"traceparent",
        b"x-tiergate-tags",
        b"authorization",
        b"x-own",
    ):
        head = [
            b"POST /v1/chat/completions HTTP/1.1", b"host: localhost", b"connection: close",
            b"content-length: %d" % len(data), name + b": caf\xe9 \xff", b"", data,
        ]  # fmt: skip
        assert status(exchange(world, b"\r\n".join(head))) in (200, 400)
    assert not [row for row in world.log if row["event"] == "bug"]


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


def test_a_body_of_exactly_the_limit_is_accepted(make: Make) -> None:
    world = make(limit_body)
    body = b'{"model":"smart","messages":[{"role":"user","content":"%b"}]}'
    assert world.ask(body % (b"x" * (1000 - len(body) + 2))).status_code == 200


def test_the_gateway_does_not_invite_a_body_that_is_too_large(make: Make) -> None:
    """`Expect: 100-continue`: the gateway refuses a body that is too large without inviting it."""
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5000\r\nexpect: 100-continue\r\n\r\n"
    assert status(exchange(make(limit_body), head)) == 413


def test_a_body_that_does_not_arrive_in_time_is_refused(make: Make) -> None:
    def shorten_timeout(value: Config) -> None:
        value["server"] = {"timeouts": {"body": 0.05}}

    reply = exchange(
        make(shorten_timeout),
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n{",
    )
    assert status(reply) == 408
    assert b'"code":"request_timeout"' in reply
    assert b"\r\nconnection: close\r\n" in reply


def test_a_client_that_leaves_while_sending_its_body_makes_no_call(world: World) -> None:
    """The client has made no call; the gateway writes no row and leaves nothing behind."""
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n{"
    with closing(socket.create_connection(("127.0.0.1", world.port), PATIENCE)) as connection:
        connection.sendall(head)
    assert world.ask(chat()).status_code == 200
    assert len(world.entries()) == 1
    assert not [row for row in world.log if row["event"] == "bug"]


SMUGGLED = [
    b"content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    b"content-length: 4\r\ncontent-length: 5\r\n\r\nabcd",
    b"content-length: +4\r\n\r\nabcd",
    b"transfer-encoding: chunked\r\n\r\nzz\r\n",
    b"content-length : 4\r\n\r\nabcd",
    b"x: a\nb: c\x00\r\n\r\n",
]


@pytest.mark.parametrize("rest", SMUGGLED)
def test_ambiguous_requests_are_refused_and_hide_no_second_request(
    world: World, upstream: Upstream, rest: bytes
) -> None:
    """The parser refuses them, and the gateway closes: no second request hides in one."""
    hidden = b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n"
    reply = exchange(
        world, b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n" + rest + hidden
    )
    assert status(reply) == 400
    assert reply.count(b"x-request-id: ") == 1
    assert not upstream.requests


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
def test_a_wrong_method_is_refused_with_the_allowed_ones(world: World, method: str) -> None:
    for path, allowed in (("/v1/chat/completions", "POST"), ("/v1/route", "POST")):
        reply = world.client.request(method, path)
        assert (reply.status_code, reply.headers["allow"]) == (405, allowed)
        if method != "HEAD":
            assert f"It takes {allowed}." in check_refusal(reply, 405, "method_not_allowed")


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


@pytest.mark.parametrize(
    "path", ["/v1/chat/completions", "/v1/route", "/v1/models", "/v1/models/auto"]
)
def test_a_request_needs_a_valid_key_in_a_known_header(
    make: Make, upstream: Upstream, path: str
) -> None:
    world = make(TIERGATE_KEYS=KEYS)

    def send(**headers: str) -> httpx.Response:
        if path.startswith("/v1/models"):
            return world.client.get(path, headers=headers)
        return world.client.post(path, json=chat(), headers=headers)

    for headers in (
        {},
        {"authorization": "Bearer three"},
        {"authorization": "Bearer"},
        {"x-api-key": "x"},
    ):
        before = len(upstream.requests)
        reply = send(**headers)
        check_refusal(reply, 401, "invalid_api_key")
        assert reply.headers["x-should-retry"] == "false"
        assert len(upstream.requests) == before
    for name, value in (
        ("authorization", "Bearer one"), ("authorization", "bearer  two"), ("authorization", "one"),
        ("x-api-key", "two"), ("api-key", "one"), ("x-goog-api-key", "two"),
    ):  # fmt: skip
        assert send(**{name: value}).status_code == 200


def test_health_needs_no_key(make: Make) -> None:
    world = make(TIERGATE_KEYS=KEYS)
    assert world.client.get("/health").status_code == 200


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


def test_a_key_is_refused_models_outside_its_scope(make: Make, upstream: Upstream) -> None:
    digest = hashlib.sha256(b"one").hexdigest()
    table = {"one": {"sha256": digest, "labs": ["acme"], "tiers": ["fast", "smart"]}}

    def use_key_file(value: Config) -> None:
        value["keys"] = "keys.yaml"

    world = make(use_key_file, files={"keys.yaml": table})
    headers = {"authorization": "Bearer one"}
    assert world.ask(chat(), **headers).status_code == 200
    for model in ("reasoning", "acme/reasoning", "deep-1", "other/smart", "else-1"):
        reply = world.ask(chat(model=model), **headers)
        check_refusal(reply, 403, "model_not_allowed", "model")
        assert reply.json()["error"]["type"] == "permission_error"
        assert reply.headers["x-should-retry"] == "false"
    names = [item["id"] for item in world.client.get("/v1/models", headers=headers).json()["data"]]
    assert {"auto", "fast", "smart", "acme/fast", "able-1"} <= set(names)
    assert not {"reasoning", "deep-1", "else-1", "other/smart"} & set(names)
    assert len(upstream.requests) == 1
