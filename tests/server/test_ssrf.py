"""Test SEC-SSRF: no input of a client or a provider chooses where the gateway connects."""

import re
import socket
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import _IncludedRouter
from starlette.routing import BaseRoute, Route

from gateway.server.app import App
from gateway.server.paths import GEMINI_PREFIXES as DOORS_OF_GEMINI
from tests.e2e.upstream import Answer, Request, Upstream
from tests.e2e.world import Make
from tests.server.gate import (
    CHAT,
    CHAT_KEY,
    CLAUDE_KEY,
    CLIENT_KEY,
    COUNT,
    ENDPOINTS,
    GENERATE,
    GOOGLE,
    GOOGLE_KEY,
    KEYS,
    MESSAGES,
    OPENAI_KEY,
    RESPONSES,
    Gate,
    answers,
    check_refusal,
    request,
    request_model,
    valid_body,
)

MEMBERS = (
    "api_base", "base_url", "baseUrl", "endpoint", "host", "proxy", "url", "custom_host", "provider",
)  # fmt: skip
PLACES = (
    "", "user_config.model_list.litellm_params.", "extra_body.", "metadata.", "extra_headers.", "provider.",
    "x.", "x.x.", "x.x.x.", "x.x.x.x.", "x.x.x.x.x.",
)  # fmt: skip
"""Places that hold a member; `model_list` among them is a list."""
HEADERS = (
    "x-portkey-custom-host", "x-forwarded-host", "x-original-url", "x-rewrite-url", "forwarded", "x-host",
    "x-tiergate-base-url", "x-tiergate-provider", "x-upstream", "openai-base-url", "destination",
)  # fmt: skip


class ForbiddenHost:
    """A host that the gateway must never connect to."""

    def __init__(self) -> None:
        self._listening = [socket.create_server(("127.0.0.1", 0))]
        self.port = self._listening[0].getsockname()[1]
        with suppress(OSError):  # a machine without IPv6
            place = ("::1", self.port)
            self._listening.append(socket.create_server(place, family=socket.AF_INET6))
        self.came = 0
        self._threads = [threading.Thread(target=self._run, args=(one,), daemon=True) for one in self._listening]  # fmt: skip
        for thread in self._threads:
            thread.start()

    def _run(self, listening: socket.socket) -> None:
        while True:
            with closing(listening.accept()[0]) as connection:
                if connection.recv(3) == b"end":
                    return
                self.came += 1

    @property
    def forms(self) -> list[str]:
        """Forms of its address that filters often miss."""
        hosts = (
            "127.0.0.1",
            "0.0.0.0",
            "127.1",
            "2130706433",
            "0x7f000001",
            "user@127.0.0.1",
            "localhost",
            "[::1]",
            "[::ffff:127.0.0.1]",
        )
        return [f"http://{host}:{self.port}/v1" for host in hosts]

    def stop(self) -> None:
        for listening, thread in zip(self._listening, self._threads, strict=True):
            with socket.create_connection(listening.getsockname()[:2]) as connection:
                connection.sendall(b"end")
            thread.join()
            listening.close()


@pytest.fixture
def forbidden_host() -> Iterator[ForbiddenHost]:
    host = ForbiddenHost()
    yield host
    host.stop()
    assert host.came == 0


def nest(path: str, value: str) -> dict[str, Any]:
    first, _, rest = path.partition(".")
    inner = nest(rest, value) if rest else value
    return {first: [inner] if first == "model_list" else inner}


@pytest.mark.parametrize("path", ENDPOINTS)
def test_sec_ssrf_1_3_members_of_a_body_choose_no_host(
    gate: Gate, provider: Upstream, forbidden_host: ForbiddenHost, path: str
) -> None:
    """SEC-SSRF 1, 3: at the top and 1 to 5 levels deep they pass like any other member, and choose
    nothing.
    """
    for number, member in enumerate(f"{place}{name}" for place in PLACES for name in MEMBERS):
        body = valid_body(
            path, **nest(member, forbidden_host.forms[number % len(forbidden_host.forms)])
        )
        assert gate.ask(path, body).status == 200
        assert provider.requests[-1].body == body


@pytest.mark.parametrize("path", ENDPOINTS)
def test_sec_ssrf_2_3_headers_and_the_request_line_choose_no_host(
    gate: Gate, provider: Upstream, forbidden_host: ForbiddenHost, path: str
) -> None:
    """SEC-SSRF 2, 3: the gateway neither reads nor forwards any of them."""
    for number, name in enumerate(HEADERS):
        form = forbidden_host.forms[number % len(forbidden_host.forms)]
        line = f"{name}: {form}".encode()
        (reply,) = answers(
            gate.exchange(request(path, valid_body(path), line, b"connection: close"))
        )
        assert reply.status == 200
        assert form.encode() not in b"".join(value for _, value in provider.requests[-1].headers)
    for target in (
        f"http://127.0.0.1:{forbidden_host.port}{path}",
        f"{path}{'&' if '?' in path else '?'}base_url={forbidden_host.forms[0]}",
    ):
        data = request(target, valid_body(path), b"connection: close")
        host = data.replace(b"host: localhost", b"host: 127.0.0.1:%d" % forbidden_host.port)
        assert answers(gate.exchange(host))[0].status == 200
    assert not [
        upstream_request
        for upstream_request in provider.requests
        if b"base_url" in upstream_request.path.encode()
    ]


@pytest.mark.parametrize("path", ENDPOINTS)
@pytest.mark.parametrize(
    "model",
    ["http://127.0.0.1:{port}/v1", "acme/http://127.0.0.1:{port}", "//127.0.0.1:{port}/smart"],
)
def test_sec_ssrf_3_an_address_is_no_model(
    gate: Gate, provider: Upstream, forbidden_host: ForbiddenHost, path: str, model: str
) -> None:
    """SEC-SSRF 3: an address is no model."""
    check_refusal(gate.ask(*request_model(path, model.format(port=forbidden_host.port))), path, 404)
    assert not provider.requests


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("path", ENDPOINTS)
def test_sec_ssrf_4_redirects_are_not_followed(
    gate: Gate, provider: Upstream, forbidden_host: ForbiddenHost, path: str, status: int
) -> None:
    """SEC-SSRF 4: the client gets 502, and the credential goes to no other host."""
    to = (("location", forbidden_host.forms[0]), ("content-type", "text/html"))
    provider.on("/", Answer(pieces=(b"moved",), status=status, headers=to, length=5))
    for lab in ("/claude", "/reply", "/google"):
        provider.on(lab, *provider.scripts["/"])
    reply = gate.ask(path, valid_body(path))
    check_refusal(reply, path, 502)
    assert "location" not in reply.headers
    assert str(forbidden_host.port) not in reply.body.decode()


_TURNS = {CHAT: "messages", MESSAGES: "messages", COUNT: "messages", RESPONSES: "input"}


@pytest.mark.parametrize("path", ENDPOINTS)
def test_sec_ssrf_5_addresses_in_messages_are_not_fetched(
    gate: Gate, provider: Upstream, forbidden_host: ForbiddenHost, path: str
) -> None:
    """SEC-SSRF 5: images and files go on as addresses."""
    address = forbidden_host.forms[0]
    parts: list[dict[str, Any]] = [
        {"fileData": {"mimeType": "image/png", "fileUri": address}},
        {"type": "input_image", "image_url": address},
        {"type": "input_file", "file_url": address},
        {"type": "image_url", "image_url": {"url": address}},
        {"type": "image", "source": {"type": "url", "url": address}},
        {"type": "document", "source": {"type": "url", "url": address}},
        {"type": "text", "text": address},
    ]
    turn = [{"role": "user", "parts" if path in GOOGLE else "content": parts}]
    body = valid_body(path, **{_TURNS.get(path, "contents"): turn})
    assert gate.ask(path, body).status == 200
    assert provider.requests[-1].body == body
    parts.append({"type": "file", "file": {"file_id": address}})
    body = valid_body(path, **{_TURNS.get(path, "contents"): turn})
    assert gate.ask(path, body).status == (200 if path in GOOGLE else 404)


def test_sec_ssrf_1_credentials_go_to_their_provider_alone(gate: Gate, provider: Upstream) -> None:
    """SEC-SSRF 1: each goes in its own header, to its own endpoint."""
    for path in (CHAT, MESSAGES, RESPONSES, GENERATE):
        assert (
            gate.ask(path, valid_body(path), authorization="Bearer x", x_api_key="x").status == 200
        )
    requests_by_key = dict(
        zip((CHAT_KEY, CLAUDE_KEY, OPENAI_KEY, GOOGLE_KEY), provider.requests, strict=True)
    )
    headers = dict.fromkeys(requests_by_key, b"authorization")
    headers |= {CLAUDE_KEY: b"x-api-key", GOOGLE_KEY: b"x-goog-api-key"}

    def find_headers(upstream_request: Request, key: str) -> list[bytes]:
        return [name for name, value in upstream_request.headers if key.encode() in value]

    for own_key, upstream_request in requests_by_key.items():
        for key in requests_by_key:
            assert find_headers(upstream_request, key) == ([headers[key]] if key == own_key else [])


def test_sec_ssrf_6_the_gateway_uses_no_proxy_of_the_environment(
    provider: Upstream, forbidden_host: ForbiddenHost, tmp_path: Path
) -> None:
    """SEC-SSRF 6: the gateway takes no proxy from the environment, and only reads a certificate."""
    proxy_url = f"http://127.0.0.1:{forbidden_host.port}"
    gate = Gate(
        tmp_path / "gateway", provider.url, SSL_CERT_FILE="/none",
        HTTP_PROXY=proxy_url, HTTPS_PROXY=proxy_url, ALL_PROXY=proxy_url, http_proxy=proxy_url, https_proxy=proxy_url, all_proxy=proxy_url,
    )  # fmt: skip
    try:
        for path in ENDPOINTS:
            assert gate.ask(path, valid_body(path), proxy=proxy_url).status == 200
    finally:
        gate.stop()


OPEN = {
    ("GET", "/"), ("HEAD", "/"), ("HEAD", "/api/hello"), ("HEAD", "/health"), ("HEAD", "/ready"), ("GET", "/health"),
    ("GET", "/ready"), ("GET", "/usage"), ("GET", "/openapi.json"), ("HEAD", "/openapi.json"),
}  # fmt: skip
"""Paths that answer without a key, and reveal nothing private."""


def list_routes(routes: Iterable[BaseRoute]) -> Iterator[Route]:
    """Yield routes, also those of included routers; nothing else may stand there."""
    for route in routes:
        if isinstance(route, _IncludedRouter):
            assert not route.include_context.prefix
            yield from list_routes(route.original_router.routes)
        else:
            assert isinstance(route, Route)  # no mounts and no websockets
            yield route


def list_served_routes(app: App) -> set[tuple[str, str]]:
    """Return each method and path that the gateway serves."""
    routes = {("POST", path) for path in app._endpoints}
    routes |= {
        ("POST", f"{door}auto:{name}") for door in DOORS_OF_GEMINI for name in app._gemini_endpoints
    }
    for route in list_routes(app.routes):
        path = re.sub(r"\{\w+(:path)?\}", "auto", route.path)
        routes |= {(method, path) for method in route.methods or ()}
    return routes


def _with_sse(path: str) -> str:
    return f"{path}?alt=sse" if ":stream" in path else path


def test_sec_ssrf_7_every_route_needs_a_key_and_bounds_its_body(
    make: Make, gate_with_keys: Gate, provider: Upstream
) -> None:
    """SEC-SSRF 7: except routes that reveal nothing; the test finds routes that are added later,
    too.
    """
    routes = list_served_routes(App(make(TIERGATE_KEYS=KEYS).gateway))
    assert routes >= OPEN | {
        ("POST", path.partition("?")[0].replace("gem-9", "auto")) for path in ENDPOINTS
    }
    assert {("POST", "/v1/embeddings"), ("POST", "/v1/route"), ("GET", "/v1/models")} <= routes
    assert {path for _, path in routes if path.startswith("/admin")}
    for method, path in sorted(routes):
        reply = gate_with_keys.ask(_with_sse(path), b"{}", method)
        if path.startswith("/dashboard"):  # pages for browsers, and their sign-in
            assert reply.status in (200, 303, 400, 404), (method, path)
        else:
            assert reply.status == (200 if (method, path) in OPEN else 401), (method, path)

    def send_long_body(path: str) -> int:
        head = f"POST {_with_sse(path)} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {CLIENT_KEY}\r\n"
        (reply,) = answers(
            gate_with_keys.exchange(f"{head}content-length: 100000000\r\n\r\n".encode())
        )
        return reply.status

    posted = sorted(path for method, path in routes if method == "POST")
    with ThreadPoolExecutor(len(posted)) as pool:  # each connection lingers a moment
        refused = dict(zip(posted, pool.map(send_long_body, posted), strict=True))
    # At admin-only paths the gateway checks the key before it reads anything.
    assert refused == {path: 401 if path.startswith("/admin") else 413 for path in posted}
    assert not provider.requests
