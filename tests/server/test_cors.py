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
    DOORS,
    KEYS,
    Gate,
    Told,
    chat,
    plain,
    shaped,
)

PAGE, EVIL = "https://app.example", "https://evil.test"
PREFLIGHT = {
    "access_control_request_method": "POST",
    "access_control_request_headers": "authorization,content-type,x-stainless-lang",
}


def page(*origins: str) -> Change:
    def change(value: Config) -> None:
        value.setdefault("server", {})["cors"] = list(origins)

    return change


@pytest.fixture(scope="module")
def _listed(_provider: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    """A gateway whose keys are open, and that answers one page."""
    made = Gate(tmp_path_factory.mktemp("listed") / "gateway", _provider.url, page(PAGE))
    yield made
    made.stop()


@pytest.fixture(scope="module")
def _every(_provider: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    """A gateway that requires keys, and answers every page."""
    folder = tmp_path_factory.mktemp("every") / "gateway"
    made = Gate(
        folder,
        _provider.url,
        page("*"),
        TIERGATE_KEYS=KEYS,
        TIERGATE_ADMIN_KEY="of-an-admin-and-no-client",
    )
    yield made
    made.stop()


@pytest.fixture
def listed(_listed: Gate, provider: Upstream) -> Gate:
    return _listed


@pytest.fixture
def every(_every: Gate, provider: Upstream) -> Gate:
    return _every


def cors(told: Told) -> dict[str, str]:
    """Return the headers of an answer that address browsers of other origins."""
    return {k: v for k, v in told.headers.items() if k.startswith("access-control")}


@pytest.mark.parametrize(
    "path", [*DOORS, "/v1/models", "/v1/route", "/chat/completions", "/v1/nowhere"]
)
def test_a_preflight_is_answered_before_keys(listed: Gate, every: Gate, path: str) -> None:
    """A listed origin may ask at every client path; the gateway allows the headers that the page
    wants.
    """
    told = listed.ask(path, b"", "OPTIONS", origin=PAGE, **PREFLIGHT)
    assert (told.status, told.body) == (204, b"")
    assert cors(told) == {
        "access-control-allow-origin": PAGE,
        "access-control-allow-credentials": "true",
        "access-control-allow-methods": "DELETE, GET, HEAD, PATCH, POST, PUT",
        "access-control-allow-headers": "authorization,content-type,x-stainless-lang",
        "access-control-max-age": "600",
    }
    assert told.headers["vary"] == "origin"
    told = every.ask(path, b"", "OPTIONS", origin=EVIL, **PREFLIGHT)
    assert told.status == 204
    assert told.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in told.headers
    assert "vary" not in told.headers


@pytest.mark.parametrize("origin", [EVIL, "null", "http://app.example", "https://app.example:8443",
    "https://app.example.evil.test", "https://app.example/", ""])  # fmt: skip
def test_other_pages_are_answered_as_before(listed: Gate, origin: str) -> None:
    """The gateway compares an origin as a whole; another origin gets no header that lets a page
    read.
    """
    told = listed.ask(CHAT, b"", "OPTIONS", origin=origin, **PREFLIGHT)
    assert (told.status, cors(told)) == (403 if origin else 405, {})
    told = listed.ask(CHAT, chat(), origin=origin)
    if origin:
        assert "no web page of another origin" in shaped(told, CHAT, 403)
    assert cors(told) == {}


def test_without_the_setting_no_page_is_answered(gate: Gate) -> None:
    """The default has no origins."""
    told = gate.ask(CHAT, b"", "OPTIONS", origin=PAGE, **PREFLIGHT)
    assert (told.status, cors(told)) == (403, {})
    told = gate.ask(CHAT, chat(), origin=PAGE)
    assert "no web page of another origin" in shaped(told, CHAT, 403)


@pytest.mark.parametrize("path", DOORS)
def test_a_page_reads_its_answer(listed: Gate, path: str) -> None:
    """The page sees the headers with the decision, and the id of the call."""
    told = listed.ask(path, plain(path), origin=PAGE)
    assert told.status == 200
    assert told.headers["access-control-allow-origin"] == PAGE
    seen = set(told.headers["access-control-expose-headers"].split(", "))
    own = {name for name in told.headers if name.startswith("x-tiergate-")}
    assert {"x-request-id", "request-id", "x-tiergate-decision"} <= own | seen
    assert own <= seen


def test_a_page_reads_a_stream(listed: Gate, provider: Upstream) -> None:
    """The page gets all of it, byte for byte, under one head."""
    provider.on("/acme", stream(ROLE, chunk({"content": "Hi"}), chunk({}, "stop"), DONE))
    told = listed.ask(CHAT, chat(stream=True), origin=PAGE)
    assert (told.status, told.headers["access-control-allow-origin"]) == (200, PAGE)
    assert told.headers["content-type"].startswith("text/event-stream")
    assert "x-tiergate-model" in told.headers["access-control-expose-headers"]
    assert told.body.endswith(b"data: [DONE]\n\n")
    assert b"Hi" in told.body


def test_a_page_reads_a_refusal(listed: Gate, every: Gate, provider: Upstream) -> None:
    """Errors of the server, of a provider and of a key all reach the page."""
    provider.on("/acme", failing(400))
    for told, status in (
        (listed.ask(CHAT, b"{", origin=PAGE), 400),
        (listed.ask(CHAT, chat(), origin=PAGE), 400),
        (listed.ask("/v1/nowhere", chat(), origin=PAGE), 404),
        (listed.ask(CHAT, b"", "GET", origin=PAGE), 405),
        (every.ask(CHAT, chat(), origin=PAGE), 401),
    ):
        assert told.status == status
        assert told.headers["access-control-allow-origin"] in (PAGE, "*")
        assert "x-request-id" in told.headers["access-control-expose-headers"]


def test_a_key_is_asked_for_all_the_same(every: Gate) -> None:
    """An origin that may ask still needs a key."""
    told = every.ask(CHAT, chat(), origin=EVIL, authorization=f"Bearer {CLIENT_KEY}")
    assert (told.status, told.headers["access-control-allow-origin"]) == (200, "*")
    assert "access-control-allow-credentials" not in told.headers
    assert every.ask(CHAT, chat(), origin=EVIL).status == 401


@pytest.mark.parametrize("path", ["/admin/entries", "/dashboard", "/dashboard/session", "/metrics"])
def test_what_is_the_operators_is_for_no_other_page(listed: Gate, every: Gate, path: str) -> None:
    """No list opens the gateway's own pages and figures."""
    for gate in (listed, every):
        for told in (
            gate.ask(path, b"", "OPTIONS", origin=PAGE, **PREFLIGHT),
            gate.ask(
                path, b"", "GET", origin=PAGE, authorization="Bearer of-an-admin-and-no-client"
            ),
        ):
            assert cors(told) == {}
        assert gate.ask(path, b"", "OPTIONS", origin=PAGE, **PREFLIGHT).status != 204


def test_a_preflight_asks_for_no_more_than_names(listed: Gate) -> None:
    """The gateway does not echo a value that is no list of names."""
    told = listed.ask(
        CHAT, b"", "OPTIONS", origin=PAGE, access_control_request_method="POST",
        access_control_request_headers="x-a, <b>",
    )  # fmt: skip
    assert "access-control-allow-headers" not in told.headers
    told = listed.ask(CHAT, b"", "OPTIONS", origin=PAGE, access_control_request_method="POST")
    assert (told.status, "access-control-allow-headers" in told.headers) == (204, False)
    told = listed.ask(CHAT, b"", "OPTIONS", origin=PAGE)
    assert told.status == 405


def test_the_scheme_and_host_of_an_origin_have_no_case(listed: Gate) -> None:
    told = listed.ask(CHAT, chat(), origin=PAGE.upper())
    assert (told.status, told.headers["access-control-allow-origin"]) == (200, PAGE.upper())


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
def test_what_is_no_origin_is_a_mistake(tmp_path: Path, origins: str, message: str) -> None:
    """At the start the gateway refuses a list that would never match."""
    file = tmp_path / "gateway.yaml"
    file.write_text(f"version: 1\nserver: {{cors: {origins}}}\n")
    with pytest.raises(ConfigError, match=message):
        load(file, {})


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("[]", []), ('"*"', ["*"]), ("https://app.example", ["https://app.example"]),
        ('["http://localhost:5173", "chrome-extension://abc", "tauri://localhost"]',
         ["http://localhost:5173", "chrome-extension://abc", "tauri://localhost"]),
    ],
)  # fmt: skip
def test_what_is_an_origin(tmp_path: Path, written: str, read: list[str]) -> None:
    """A single origin may stand alone; applications have schemes of their own."""
    file = tmp_path / "gateway.yaml"
    file.write_text(f"version: 1\nserver: {{cors: {written}}}\n")
    assert load(file, {}).config.server.cors == read


def test_every_page_while_keys_are_open_is_warned_of(provider: Upstream, tmp_path: Path) -> None:
    """The gateway starts, as the operator asked, and warns."""
    made = Gate(tmp_path / "gateway", provider.url, page("*"))
    try:
        told = made.ask(CHAT, chat(), origin=EVIL)
        assert (told.status, told.headers["access-control-allow-origin"]) == (200, "*")
        (text,) = [line for line in made.child.err.splitlines() if "server.cors" in line]
        assert "warning" in text
        assert "every web page" in text
    finally:
        made.stop()
