"""Mistakes of clients: wrong bodies, keys, paths, methods and headers, and requests with two readings."""

from collections.abc import Iterator

from tests.clients.model_turns import CHAT, GEMINI, MESSAGES, RESPONSES
from tests.hostile.smuggled import mutations
from tests.twin.configuration import HOST, SECRETS, SHORT
from tests.twin.exchanges.client_requests import ClientRequest
from tests.twin.exchanges.exchange import Json, TwinExchange, http_request
from tests.twin.exchanges.provider_answers import answering

_ENDPOINTS = {
    CHAT: "/v1/chat/completions", RESPONSES: "/v1/responses", MESSAGES: "/v1/messages",
    GEMINI: "/v1beta/models/every-x:generateContent",
}  # fmt: skip
_PLAIN = ClientRequest((("user", "What is the weather in Rome?"),))
_BODIES: tuple[bytes, ...] = (
    b"", b"{", b"[]", b"null", b"1", b'"text"', b"{}", b'{"model": 1}', b'{"model": "every/smart"}', b'{"model": "every/smart", "messages": []}',
    b'{"model": "every/smart", "messages": {}, "input": 1, "contents": 2}', b'{"model": "every/smart", "messages": [{"role": "nobody", "content": "x"}]}',
    b'{"model": "every/smart", "messages": [{"role": "user"}]}', b'{"model": "every/smart", "messages": [1]}',
    b'{"model": "every/smart", "model": "beta/smart", "messages": [{"role": "user", "content": "twice"}], "max_tokens": 9}',
    b'{"model": "every/smart", "messages": [{"role": "user", "content": "x"}], "max_tokens": -1}',
    b'{"model": "every/smart", "messages": [{"role": "user", "content": "x"}], "max_tokens": 1, "temperature": "hot"}',
    b'{"model": "every/smart", "messages": [{"role": "user", "content": "\xff"}], "max_tokens": 1}',
    b'{"model": "every/smart", "messages": [{"role": "user", "content": "x"}], "max_tokens": 1, "stream": "yes"}',
    b'{"model": "every/smart", "messages": [{"role": "user", "content": "x"}], "max_tokens": 1, "tools": [{"type": "x"}]}',
    b'{"model": "every/smart", "max_tokens": 1, "messages": ' + b"[" * 3000 + b"]" * 3000 + b"}",
    b'{"model": "every/smart", "max_tokens": 1e999, "messages": [{"role": "user", "content": "x"}]}',
    b'{"model": "../../etc/passwd", "messages": [{"role": "user", "content": "x"}], "max_tokens": 1}',
)  # fmt: skip
_PATHS = (
    "/v1/chat/completion", "/chat/completions", "/v1/v1/chat/completions", "/openai/deployments/every-x/chat/completions?api-version=1", "/v1/messagess",
    "/messages", "/v1beta/openai/chat/completions", "/v1/completions", "/v1/models/", "/v1/engines", "/%2e%2e/admin", "//v1/messages", "/v1/chat/completions/",
    "/v1beta/models/every-x:generateContents", "/v1beta/models/every-x:streamGenerateContent", "/v1beta/models/x%2Fy:generateContent", "/nothing/here?a=b",
)  # fmt: skip
_HEADERS: tuple[dict[str, str], ...] = (
    {"content-encoding": "gzip"}, {"content-type": "text/plain"}, {"x-tiergate-tier": ""}, {"x-tiergate-lab": "nolab"}, {"x-tiergate-unknown": "1"},
    {"x-tiergate-cache": "maybe"}, {"x-tiergate-hop": "1"}, {"x-tiergate-tags": ",".join(f"t{at}" for at in range(30))}, {"x-large": "y" * 20_000},
    {"expect": "100-continue"}, {"origin": "https://evil.example"}, {"sec-websocket-key": "x", "upgrade": "websocket"}, {"traceparent": "nonsense"},
    {**{f"x-{at}": "1" for at in range(120)}},
)  # fmt: skip


def bad_bodies() -> Iterator[TwinExchange]:
    """Yield bodies that a gateway cannot serve, at each endpoint."""
    for dialect, path in _ENDPOINTS.items():
        for number, body in enumerate(_BODIES):
            name = f"body {number} at {SHORT[dialect]}"
            data = http_request("POST", path, body, "main")
            yield TwinExchange("mistakes", name, data, (answering(name, _PLAIN),))
    content = b'{"model": "every/smart", "messages": [{"role": "user", "content": "%b"}]}'
    large = http_request("POST", _ENDPOINTS[CHAT], content % (b"x" * 3_200_000), "main")
    yield TwinExchange("mistakes", "a body that is too large", large, fresh=True)


def bad_requests() -> Iterator[TwinExchange]:
    """Yield wrong keys, paths, methods and headers."""
    body: Json = {"model": "every/smart", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi."}]}  # fmt: skip

    def mistake(name: str, data: bytes, *, fresh: bool = False) -> TwinExchange:
        return TwinExchange("mistakes", name, data, (answering("mistakes", _PLAIN),), fresh=fresh)

    for key in ("", "old", "gone", "admin"):
        for path in _ENDPOINTS.values():
            yield mistake(f"key {key!r} at {path}", http_request("POST", path, body, key))
        for path in ("/v1/models", "/admin/costs"):
            yield mistake(f"key {key!r} at {path}", http_request("GET", path, key=key))
    chat = _ENDPOINTS[CHAT]
    for header in ("authorization", "x-api-key", "api-key", "x-goog-api-key"):
        for secret in (SECRETS["main"], f"no-{header}", ""):
            data = http_request("POST", chat, body, headers={header: secret})
            yield mistake(f"{header}: {secret}", data)
    data = http_request("POST", chat, body, "main", {"x-api-key": SECRETS["globex"]})
    yield mistake("two keys", data)
    prompt = {"contents": [{"parts": [{"text": "Hi"}]}]}
    data = http_request("POST", f"{_ENDPOINTS[GEMINI]}?key={SECRETS['main']}", prompt)
    yield mistake("a key in the URL", data)
    for path in _PATHS:
        yield mistake(f"POST {path}", http_request("POST", path, body, "main"))
        yield mistake(f"GET {path}", http_request("GET", path, key="main"))
    for method in ("GET", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "TRACE"):
        yield mistake(f"{method} at chat", http_request(method, chat, key="main"), fresh=True)
    for number, headers in enumerate(_HEADERS):
        data = http_request("POST", chat, body, "main", headers)
        yield mistake(f"headers {number}: {next(iter(headers))}", data, fresh=True)


def smuggled(count: int) -> Iterator[TwinExchange]:
    """Yield requests that can be read in two ways, and nonsense."""
    host = f"host: {HOST}".encode()
    requests = [data.replace(b"host: localhost", host) for data, _ in mutations(count)]
    for number, data in enumerate([*requests, *_nonsense()]):
        answers = (answering("smuggled", _PLAIN),)
        yield TwinExchange("smuggled", f"smuggled {number:03}", data, answers, raw=True)


def _nonsense() -> tuple[bytes, ...]:
    plain = http_request("GET", "/v1/models/auto", key="main")
    return (
        b"\r\n\r\n", b"GET / HTTP/3\r\n\r\n", b"\x16\x03\x01\x02\x00\x01", b"GET /v1/models\r\n\r\n", plain.replace(b"host: ", b"xhost: "),
        plain.replace(b"\r\n\r\n", b"\r\nhost: other\r\n\r\n"), plain + plain, plain.replace(b"/v1/models/auto", b"http://other.example/v1/models/auto"),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", plain.replace(b"HTTP/1.1", b"HTTP/1.0"), plain.replace(b"HTTP/1.1\r\n", b"HTTP/1.1\r\nconnection: close\r\n"),
    )  # fmt: skip
