"""Test `server.cors`: web pages of listed origins may call, and read their answers."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.settings.errors import ConfigError
from gateway.settings.loader import load
from tests.e2e.upstream import DONE, ROLE, Upstream, chunk, failing, stream
from tests.e2e.world import Change, Config
from tests.server.gate import (
    CHAT,
    CLIENT_KEY,
    ENDPOINTS,
    KEYS,
    Gate,
    GateReply,
    chat,
    check_refusal,
    valid_body,
)

PAGE, EVIL = "https://app.example", "https://evil.test"
PREFLIGHT = {
    "access_control_request_method": "POST",
    "access_control_request_headers": "authorization,content-type,x-stainless-lang",
}


def allow_origins(*origins: str) -> Change:
    def change(value: Config) -> None:
        value.setdefault("server", {})["cors"] = list(origins)
        value["limits"] = [{"name": "pace", "requests": "100k/h"}]

    return change


@pytest.fixture(scope="module")
def _listed(_provider: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    """A gateway whose keys are open, and that answers one page."""
    gateway = Gate(
        tmp_path_factory.mktemp("listed") / "gateway", _provider.url, allow_origins(PAGE)
    )
    yield gateway
    gateway.stop()


@pytest.fixture(scope="module")
def _every(_provider: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    """A gateway that requires keys, and answers every page."""
    folder = tmp_path_factory.mktemp("every") / "gateway"
    gateway = Gate(
        folder,
        _provider.url,
        allow_origins("*"),
        TIERGATE_KEYS=KEYS,
        TIERGATE_ADMIN_KEY="of-an-admin-and-no-client",
    )
    yield gateway
    gateway.stop()


@pytest.fixture
def one_origin_gate(_listed: Gate, provider: Upstream) -> Gate:
    return _listed


@pytest.fixture
def any_origin_gate(_every: Gate, provider: Upstream) -> Gate:
    return _every


def cors(reply: GateReply) -> dict[str, str]:
    """Return the headers of an answer that address browsers of other origins."""
    return {k: v for k, v in reply.headers.items() if k.startswith("access-control")}


@pytest.mark.parametrize(
    "path", [*ENDPOINTS, "/v1/models", "/v1/route", "/chat/completions", "/v1/nowhere"]
)
def test_a_preflight_needs_no_key(one_origin_gate: Gate, any_origin_gate: Gate, path: str) -> None:
    """A listed origin may ask at every client path; the gateway allows the headers that the page
    wants.
    """
    reply = one_origin_gate.ask(path, b"", "OPTIONS", origin=PAGE, **PREFLIGHT)
    assert (reply.status, reply.body) == (204, b"")
    assert cors(reply) == {
        "access-control-allow-origin": PAGE,
        "access-control-allow-credentials": "true",
        "access-control-allow-methods": "DELETE, GET, HEAD, PATCH, POST, PUT",
        "access-control-allow-headers": "authorization,content-type,x-stainless-lang",
        "access-control-max-age": "600",
    }
    assert reply.headers["vary"] == "origin"
    reply = any_origin_gate.ask(path, b"", "OPTIONS", origin=EVIL, **PREFLIGHT)
    assert reply.status == 204
    assert reply.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in reply.headers
    assert "vary" not in reply.headers


@pytest.mark.parametrize("origin", [EVIL, "null", "http://app.example", "https://app.example:8443",
    "https://app.example.evil.test", "https://app.example/", ""])  # fmt: skip
def test_a_page_of_another_origin_gets_no_cors_header(one_origin_gate: Gate, origin: str) -> None:
    """The gateway compares an origin as a whole; another origin gets no header that lets a page
    read.
    """
    reply = one_origin_gate.ask(CHAT, b"", "OPTIONS", origin=origin, **PREFLIGHT)
    assert (reply.status, cors(reply)) == (403 if origin else 405, {})
    reply = one_origin_gate.ask(CHAT, chat(), origin=origin)
    if origin:
        assert "no web page of another origin" in check_refusal(reply, CHAT, 403)
    assert cors(reply) == {}


def test_without_the_setting_no_page_gets_a_cors_header(gate: Gate) -> None:
    """The default has no origins."""
    reply = gate.ask(CHAT, b"", "OPTIONS", origin=PAGE, **PREFLIGHT)
    assert (reply.status, cors(reply)) == (403, {})
    reply = gate.ask(CHAT, chat(), origin=PAGE)
    assert "no web page of another origin" in check_refusal(reply, CHAT, 403)


@pytest.mark.parametrize("path", ENDPOINTS)
def test_a_page_can_read_its_answer_and_the_decision_headers(
    one_origin_gate: Gate, path: str
) -> None:
    """The page sees the headers with the decision and the rate limits, and the id of the call."""
    reply = one_origin_gate.ask(path, valid_body(path), origin=PAGE)
    assert reply.status == 200
    assert reply.headers["access-control-allow-origin"] == PAGE
    exposed = set(reply.headers["access-control-expose-headers"].split(", "))
    decision_headers = {name for name in reply.headers if name.startswith("x-tiergate-")}
    assert {"x-request-id", "request-id", "x-tiergate-decision"} <= decision_headers | exposed
    rate_headers = {name for name in reply.headers if "ratelimit-" in name}
    assert decision_headers | rate_headers <= exposed
    assert bool(rate_headers) is (not path.startswith("/v1beta/"))


def test_a_page_can_read_a_stream(one_origin_gate: Gate, provider: Upstream) -> None:
    """The page gets all of it, byte for byte, under one head."""
    provider.on("/acme", stream(ROLE, chunk({"content": "Hi"}), chunk({}, "stop"), DONE))
    reply = one_origin_gate.ask(CHAT, chat(stream=True), origin=PAGE)
    assert (reply.status, reply.headers["access-control-allow-origin"]) == (200, PAGE)
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert "x-tiergate-model" in reply.headers["access-control-expose-headers"]
    assert reply.body.endswith(b"data: [DONE]\n\n")
    assert b"Hi" in reply.body


def test_a_page_can_read_an_error(
    one_origin_gate: Gate, any_origin_gate: Gate, provider: Upstream
) -> None:
    """Errors of the server, of a provider and of a key all reach the page."""
    provider.on("/acme", failing(400))
    for reply, status in (
        (one_origin_gate.ask(CHAT, b"{", origin=PAGE), 400),
        (one_origin_gate.ask(CHAT, chat(), origin=PAGE), 400),
        (one_origin_gate.ask("/v1/nowhere", chat(), origin=PAGE), 404),
        (one_origin_gate.ask(CHAT, b"", "GET", origin=PAGE), 405),
        (any_origin_gate.ask(CHAT, chat(), origin=PAGE), 401),
    ):
        assert reply.status == status
        assert reply.headers["access-control-allow-origin"] in (PAGE, "*")
        assert "x-request-id" in reply.headers["access-control-expose-headers"]


def test_a_page_of_an_allowed_origin_still_needs_a_key(any_origin_gate: Gate) -> None:
    """An origin that may ask still needs a key."""
    reply = any_origin_gate.ask(CHAT, chat(), origin=EVIL, authorization=f"Bearer {CLIENT_KEY}")
    assert (reply.status, reply.headers["access-control-allow-origin"]) == (200, "*")
    assert "access-control-allow-credentials" not in reply.headers
    assert any_origin_gate.ask(CHAT, chat(), origin=EVIL).status == 401


@pytest.mark.parametrize("path", ["/admin/entries", "/dashboard", "/dashboard/session", "/metrics"])
def test_no_origin_may_read_the_operators_pages(
    one_origin_gate: Gate, any_origin_gate: Gate, path: str
) -> None:
    """No list opens the gateway's own pages and figures."""
    for gate in (one_origin_gate, any_origin_gate):
        for reply in (
            gate.ask(path, b"", "OPTIONS", origin=PAGE, **PREFLIGHT),
            gate.ask(
                path, b"", "GET", origin=PAGE, authorization="Bearer of-an-admin-and-no-client"
            ),
        ):
            assert cors(reply) == {}
        assert gate.ask(path, b"", "OPTIONS", origin=PAGE, **PREFLIGHT).status != 204


def test_a_preflight_with_invalid_header_names_gets_none_back(one_origin_gate: Gate) -> None:
    """The gateway does not echo a value that is no list of names."""
    reply = one_origin_gate.ask(
        CHAT, b"", "OPTIONS", origin=PAGE, access_control_request_method="POST",
        access_control_request_headers="x-a, <b>",
    )  # fmt: skip
    assert "access-control-allow-headers" not in reply.headers
    reply = one_origin_gate.ask(
        CHAT, b"", "OPTIONS", origin=PAGE, access_control_request_method="POST"
    )
    assert (reply.status, "access-control-allow-headers" in reply.headers) == (204, False)
    reply = one_origin_gate.ask(CHAT, b"", "OPTIONS", origin=PAGE)
    assert reply.status == 405


def test_the_scheme_and_host_of_an_origin_have_no_case(one_origin_gate: Gate) -> None:
    reply = one_origin_gate.ask(CHAT, chat(), origin=PAGE.upper())
    assert (reply.status, reply.headers["access-control-allow-origin"]) == (200, PAGE.upper())


@pytest.mark.parametrize(
    ("origins", "message"),
    [
        ('["https://app.example/"]', "must be an origin"),
        ('["app.example"]', "must be an origin"),
        ('["https://*.example"]', "must be an origin"),
        ('["null"]', "must be an origin"),
        ('["*", "https://app.example"]', "stands alone"),
    ],
)
def test_a_wrong_origin_is_a_configuration_error(
    tmp_path: Path, origins: str, message: str
) -> None:
    """At the start the gateway refuses a list that would never match."""
    file = tmp_path / "gateway.yaml"
    file.write_text(f"version: 1\nserver: {{cors: {origins}}}\n")
    with pytest.raises(ConfigError, match=message):
        load(file, {})


@pytest.mark.parametrize(
    ("yaml", "expected"),
    [
        ("[]", []), ('"*"', ["*"]), ("https://app.example", ["https://app.example"]),
        ('["http://localhost:5173", "chrome-extension://abc", "tauri://localhost"]',
         ["http://localhost:5173", "chrome-extension://abc", "tauri://localhost"]),
    ],
)  # fmt: skip
def test_the_configuration_accepts_one_origin_or_a_list(
    tmp_path: Path, yaml: str, expected: list[str]
) -> None:
    """A single origin may stand alone; applications have schemes of their own."""
    file = tmp_path / "gateway.yaml"
    file.write_text(f"version: 1\nserver: {{cors: {yaml}}}\n")
    assert load(file, {}).config.server.cors == expected


def test_the_gateway_warns_of_cors_for_all_origins_while_keys_are_open(
    provider: Upstream, tmp_path: Path
) -> None:
    """The gateway starts, as the operator asked, and warns."""
    gateway = Gate(tmp_path / "gateway", provider.url, allow_origins("*"))
    try:
        reply = gateway.ask(CHAT, chat(), origin=EVIL)
        assert (reply.status, reply.headers["access-control-allow-origin"]) == (200, "*")
        (text,) = [line for line in gateway.child.err.splitlines() if "server.cors" in line]
        assert "warning" in text
        assert "every web page" in text
    finally:
        gateway.stop()
