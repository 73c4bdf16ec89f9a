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
    DOORS,
    GENERATE,
    GOOGLE,
    GOOGLE_KEY,
    KEYS,
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


class Evil:
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
def evil() -> Iterator[Evil]:
    made = Evil()
    yield made
    made.stop()
    assert made.came == 0


def nested(path: str, value: str) -> dict[str, Any]:
    first, _, rest = path.partition(".")
    inner = nested(rest, value) if rest else value
    return {first: [inner] if first == "model_list" else inner}


@pytest.mark.parametrize("path", DOORS)
def test_sec_ssrf_1_3_members_of_a_body(
    gate: Gate, provider: Upstream, evil: Evil, path: str
) -> None:
    """SEC-SSRF 1, 3: at the top and 1 to 5 levels deep they pass like any other member, and choose
    nothing.
    """
    for at, member in enumerate(f"{place}{name}" for place in PLACES for name in MEMBERS):
        body = plain(path, **nested(member, evil.forms[at % len(evil.forms)]))
        assert gate.ask(path, body).status == 200
        assert provider.requests[-1].body == body


@pytest.mark.parametrize("path", DOORS)
def test_sec_ssrf_2_3_headers_and_the_request_line(
    gate: Gate, provider: Upstream, evil: Evil, path: str
) -> None:
    """SEC-SSRF 2, 3: the gateway neither reads nor forwards any of them."""
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
        host = data.replace(b"host: localhost", b"host: 127.0.0.1:%d" % evil.port)
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
    """SEC-SSRF 4: the client gets 502, and the credential goes to no other host."""
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
    """SEC-SSRF 1: each goes in its own header, to its own endpoint."""
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
    """SEC-SSRF 6: the gateway takes no proxy from the environment, and only reads a certificate."""
    at = f"http://127.0.0.1:{evil.port}"
    gate = Gate(
        tmp_path / "gateway", provider.url, SSL_CERT_FILE="/none",
        HTTP_PROXY=at, HTTPS_PROXY=at, ALL_PROXY=at, http_proxy=at, https_proxy=at, all_proxy=at,
    )  # fmt: skip
    try:
        for path in DOORS:
            assert gate.ask(path, plain(path), proxy=at).status == 200
    finally:
        gate.stop()


OPEN = {
    ("GET", "/"), ("HEAD", "/"), ("HEAD", "/api/hello"), ("HEAD", "/health"), ("HEAD", "/ready"), ("GET", "/health"),
    ("GET", "/ready"), ("GET", "/openapi.json"), ("HEAD", "/openapi.json"),
}  # fmt: skip
"""Paths that answer without a key, and reveal nothing private."""


def leaves(routes: Iterable[BaseRoute]) -> Iterator[Route]:
    """Yield routes, also those of included routers; nothing else may stand there."""
    for route in routes:
        if isinstance(route, _IncludedRouter):
            assert not route.include_context.prefix
            yield from leaves(route.original_router.routes)
        else:
            assert isinstance(route, Route)  # no mounts and no websockets
            yield route


def inventory(app: App) -> set[tuple[str, str]]:
    """Return each method and path that the gateway serves."""
    found = {("POST", path) for path in app._endpoints}
    found |= {
        ("POST", f"{door}auto:{name}") for door in DOORS_OF_GEMINI for name in app._gemini_endpoints
    }
    for route in leaves(app.routes):
        path = re.sub(r"\{\w+(:path)?\}", "auto", route.path)
        found |= {(method, path) for method in route.methods or ()}
    return found


def _asked(path: str) -> str:
    return f"{path}?alt=sse" if ":stream" in path else path


def test_sec_ssrf_7_every_route_asks_for_a_key_and_bounds_its_body(
    make: Make, locked: Gate, provider: Upstream
) -> None:
    """SEC-SSRF 7: except routes that reveal nothing; the test finds routes that are added later,
    too.
    """
    found = inventory(App(make(TIERGATE_KEYS=KEYS).gateway))
    assert found >= OPEN | {
        ("POST", path.partition("?")[0].replace("gem-9", "auto")) for path in DOORS
    }
    assert {("POST", "/v1/embeddings"), ("POST", "/v1/route"), ("GET", "/v1/models")} <= found
    assert {path for _, path in found if path.startswith("/admin")}
    for method, path in sorted(found):
        told = locked.ask(_asked(path), b"{}", method)
        if path.startswith("/dashboard"):  # pages for browsers, and their sign-in
            assert told.status in (200, 400, 404), (method, path)
        else:
            assert told.status == (200 if (method, path) in OPEN else 401), (method, path)

    def long(path: str) -> int:
        head = f"POST {_asked(path)} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {CLIENT_KEY}\r\n"
        (told,) = answers(locked.exchange(f"{head}content-length: 100000000\r\n\r\n".encode()))
        return told.status

    posted = sorted(path for method, path in found if method == "POST")
    with ThreadPoolExecutor(len(posted)) as beside:  # each connection lingers a moment
        refused = dict(zip(posted, beside.map(long, posted), strict=True))
    # At admin-only paths the gateway checks the key before it reads anything.
    assert refused == {path: 401 if path.startswith("/admin") else 413 for path in posted}
    assert not provider.requests
