"""SEC-SSRF: nothing that a client or a provider says chooses where the gateway connects."""

import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.upstream import Answer, Request, Upstream
from tests.http.gate import (
    CHAT,
    CHAT_KEY,
    CLAUDE_KEY,
    COUNT,
    DOORS,
    GENERATE,
    GOOGLE,
    GOOGLE_KEY,
    MESSAGES,
    OPENAI_KEY,
    RESPONSES,
    Gate,
    answers,
    named,
    plain,
    request,
    shaped,
)

MEMBERS = (
    "api_base", "base_url", "baseUrl", "endpoint", "host", "proxy", "url", "custom_host", "provider",
    "user_config.model_list.litellm_params.api_base", "extra_body.api_base", "metadata.api_base", "x.x.x.x.base_url",
    "extra_headers.host", "provider.base_url",
)  # fmt: skip
HEADERS = (
    "x-portkey-custom-host", "x-forwarded-host", "x-original-url", "x-rewrite-url", "forwarded", "x-host",
    "x-tiergate-base-url", "x-tiergate-provider", "x-upstream", "openai-base-url", "destination",
)  # fmt: skip


class Evil:
    """A place that nobody must ever connect to."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.came = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            with closing(self._listening.accept()[0]) as connection:
                if connection.recv(3) == b"end":
                    return
                self.came += 1

    @property
    def forms(self) -> list[str]:
        """Its address as filters fail to see it."""
        hosts = (
            "127.0.0.1",
            "0.0.0.0",
            "127.1",
            "2130706433",
            "0x7f000001",
            "user@127.0.0.1",
            "localhost",
            "[::ffff:127.0.0.1]",
        )
        return [f"http://{host}:{self.port}/v1" for host in hosts]

    def stop(self) -> None:
        with socket.create_connection(("127.0.0.1", self.port)) as connection:
            connection.sendall(b"end")
        self._thread.join()
        self._listening.close()


@pytest.fixture
def evil() -> Iterator[Evil]:
    made = Evil()
    yield made
    made.stop()
    assert made.came == 0


def nested(path: str, value: str) -> dict[str, Any]:
    first, _, rest = path.partition(".")
    return {first: nested(rest, value) if rest else value}


@pytest.mark.parametrize("path", DOORS)
def test_sec_ssrf_1_3_members_of_a_body(
    gate: Gate, provider: Upstream, evil: Evil, path: str
) -> None:
    """SEC-SSRF 1, 3: they pass like any other and choose nothing."""
    for at, member in enumerate(MEMBERS):
        body = plain(path, **nested(member, evil.forms[at % len(evil.forms)]))
        assert gate.ask(path, body).status == 200
        assert provider.requests[-1].body == body


@pytest.mark.parametrize("path", DOORS)
def test_sec_ssrf_2_3_headers_and_the_request_line(
    gate: Gate, provider: Upstream, evil: Evil, path: str
) -> None:
    """SEC-SSRF 2, 3: none of them is looked at, or passed on."""
    for at, name in enumerate(HEADERS):
        form = evil.forms[at % len(evil.forms)]
        line = f"{name}: {form}".encode()
        (told,) = answers(gate.exchange(request(path, plain(path), line, b"connection: close")))
        assert told.status == 200
        assert form.encode() not in b"".join(value for _, value in provider.requests[-1].headers)
    for target in (
        f"http://127.0.0.1:{evil.port}{path}",
        f"{path}{'&' if '?' in path else '?'}base_url={evil.forms[0]}",
    ):
        data = request(target, plain(path), b"connection: close")
        host = data.replace(b"host: x", b"host: 127.0.0.1:%d" % evil.port)
        assert answers(gate.exchange(host))[0].status == 200
    assert not [one for one in provider.requests if b"base_url" in one.path.encode()]


@pytest.mark.parametrize("path", DOORS)
@pytest.mark.parametrize(
    "model",
    ["http://127.0.0.1:{port}/v1", "acme/http://127.0.0.1:{port}", "//127.0.0.1:{port}/smart"],
)
def test_sec_ssrf_3_names_of_models(
    gate: Gate, provider: Upstream, evil: Evil, path: str, model: str
) -> None:
    """SEC-SSRF 3: an address is no model."""
    shaped(gate.ask(*named(path, model.format(port=evil.port))), path, 404)
    assert not provider.requests


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("path", DOORS)
def test_sec_ssrf_4_redirects_are_not_followed(
    gate: Gate, provider: Upstream, evil: Evil, path: str, status: int
) -> None:
    """SEC-SSRF 4: 502, and the credential goes nowhere else."""
    to = (("location", evil.forms[0]), ("content-type", "text/html"))
    provider.on("/", Answer(pieces=(b"moved",), status=status, headers=to, length=5))
    for lab in ("/claude", "/reply", "/google"):
        provider.on(lab, *provider.scripts["/"])
    told = gate.ask(path, plain(path))
    shaped(told, path, 502)
    assert "location" not in told.headers
    assert str(evil.port) not in told.body.decode()


_TURNS = {CHAT: "messages", MESSAGES: "messages", COUNT: "messages", RESPONSES: "input"}


@pytest.mark.parametrize("path", DOORS)
def test_sec_ssrf_5_addresses_in_messages_are_not_fetched(
    gate: Gate, provider: Upstream, evil: Evil, path: str
) -> None:
    """SEC-SSRF 5: images and files go on as addresses."""
    at = evil.forms[0]
    parts: list[dict[str, Any]] = [
        {"fileData": {"mimeType": "image/png", "fileUri": at}},
        {"type": "input_image", "image_url": at},
        {"type": "input_file", "file_url": at},
        {"type": "image_url", "image_url": {"url": at}},
        {"type": "file", "file": {"file_id": at}},
        {"type": "image", "source": {"type": "url", "url": at}},
        {"type": "document", "source": {"type": "url", "url": at}},
        {"type": "text", "text": at},
    ]
    turn = [{"role": "user", "parts" if path in GOOGLE else "content": parts}]
    body = plain(path, **{_TURNS.get(path, "contents"): turn})
    assert gate.ask(path, body).status == 200
    assert provider.requests[-1].body == body


def test_sec_ssrf_credentials_go_to_their_provider_alone(gate: Gate, provider: Upstream) -> None:
    """SEC-SSRF 1: each in its own header, at its own door."""
    for path in (CHAT, MESSAGES, RESPONSES, GENERATE):
        assert gate.ask(path, plain(path), authorization="Bearer x", x_api_key="x").status == 200
    asked = dict(
        zip((CHAT_KEY, CLAUDE_KEY, OPENAI_KEY, GOOGLE_KEY), provider.requests, strict=True)
    )
    headers = dict.fromkeys(asked, b"authorization")
    headers |= {CLAUDE_KEY: b"x-api-key", GOOGLE_KEY: b"x-goog-api-key"}

    def carries(one: Request, key: str) -> list[bytes]:
        return [name for name, value in one.headers if key.encode() in value]

    for own, one in asked.items():
        for key in asked:
            assert carries(one, key) == ([headers[key]] if key == own else [])


def test_sec_ssrf_6_a_proxy_that_is_not_for_it(
    provider: Upstream, evil: Evil, tmp_path: Path
) -> None:
    """SEC-SSRF 6: the environment's proxies are for what it does not except; a certificate is only read."""
    at = f"http://127.0.0.1:{evil.port}"
    gate = Gate(
        tmp_path / "gateway", provider.url, HTTP_PROXY=at, ALL_PROXY=at, http_proxy=at, HTTPS_PROXY=at,
        NO_PROXY="127.0.0.1", REQUEST_METHOD="GET", SSL_CERT_FILE="/none",
    )  # fmt: skip
    try:
        for path in DOORS:
            assert gate.ask(path, plain(path), proxy=at).status == 200
    finally:
        gate.stop()


def test_sec_ssrf_7_every_route_asks_for_a_key(locked: Gate, provider: Upstream) -> None:
    """SEC-SSRF 7: but for those that say nothing: the document lists them all."""
    document = locked.ask("/openapi.json", method="GET").json
    open_to_all = {"/health", "/ready", "/metrics"}
    for path, methods in document["paths"].items():
        for method in methods:
            told = locked.ask(path.replace("{name}", "auto"), b"{}", method.upper())
            assert told.status == (200 if path in open_to_all else 401), (path, method)
    assert {"/v1/models", "/v1/route"} <= set(document["paths"])
