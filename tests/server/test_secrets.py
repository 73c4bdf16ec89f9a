"""Test clients' keys and headers: refused alike whatever their error, and never forwarded or shown."""

from pathlib import Path

import pytest

from tests.e2e.upstream import Upstream
from tests.server.gate import (
    CHAT,
    CLIENT_KEY,
    ENDPOINTS,
    GENERATE,
    GOOGLE,
    MESSAGES,
    RESPONSES,
    Gate,
    GateReply,
    answers,
    chat,
    check_refusal,
    family,
    request,
    request_model,
    valid_body,
)

GOOD = CLIENT_KEY.encode()
BEARER = b"authorization: Bearer "

KEYS = [
    ("none", []),
    ("empty", [b"authorization:"]),
    ("scheme alone", [b"authorization: Bearer"]),
    ("scheme and a space", [b"authorization: Bearer "]),
    ("unknown", [BEARER + b"client-key"]),
    ("its beginning", [BEARER + GOOD[:-1]]),
    ("more than it", [BEARER + GOOD + b"x"]),
    ("10 kB", [BEARER + b"x" * 10_000]),
    ("Basic", [b"authorization: Basic " + GOOD]),
    ("twice the scheme", [BEARER + b"Bearer " + GOOD]),
    ("in another case", [BEARER + GOOD.upper()]),
    ("not ASCII", [BEARER + "clé".encode()]),
    ("not UTF-8", [BEARER + b"\xff\xfe"]),
    ("two of one name", [BEARER + GOOD, BEARER + b"other"]),
    ("two of one name, the other way round", [BEARER + b"other", BEARER + GOOD]),
    ("in a cookie", [b"cookie: key=" + GOOD]),
    ("in a header of another", [b"x-auth: " + GOOD, b"proxy-authorization: Bearer " + GOOD]),
    ("x-api-key", [b"x-api-key: wrong"]),
    ("x-goog-api-key", [b"x-goog-api-key: wrong"]),
    ("an override of the method", [b"x-http-method-override: GET", b"x-original-url: /health"]),
]


def send(gate: Gate, path: str, lines: list[bytes]) -> GateReply:
    method = "GET" if "/models" in path and ":" not in path else "POST"
    body = b"" if method == "GET" else valid_body(path)
    data = request(path, body, *lines, b"connection: close", method=method)
    (reply,) = answers(gate.exchange(data))
    return reply


ROUTES = [
    *ENDPOINTS,
    "/v1/route",
    "/v1/models",
    "/v1/models/auto",
    "/v1beta/models",
    "/v1beta/models/auto",
    f"{CHAT}?key={CLIENT_KEY}",
]


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("lines", [row[1] for row in KEYS], ids=[row[0] for row in KEYS])
def test_sec_auth_1_without_a_valid_key_every_endpoint_answers_401(
    gate_with_keys: Gate, provider: Upstream, path: str, lines: list[bytes]
) -> None:
    """SEC-AUTH 1: every endpoint answers 401 in its dialect, and says how to send a key."""
    reply = send(gate_with_keys, path, lines)
    message = check_refusal(reply, path, 401)
    assert "key" in message
    if family(path) in (CHAT, RESPONSES):
        assert reply.json["error"]["code"] == "invalid_api_key"
    assert CLIENT_KEY not in reply.body.decode()
    assert reply.headers["x-should-retry"] == "false"
    assert not provider.requests


def test_sec_auth_1_a_key_with_a_nul_byte_is_refused(gate_with_keys: Gate) -> None:
    """SEC-AUTH 1: the parser refuses it."""
    assert send(gate_with_keys, CHAT, [BEARER + GOOD + b"\0"]).status == 400


@pytest.mark.parametrize("path", ROUTES)
def test_sec_auth_1_every_header_for_a_key_works(
    gate_with_keys: Gate, provider: Upstream, path: str
) -> None:
    """SEC-AUTH 1: a key works in each dialect's header, in any case of the scheme, with spaces
    around it.
    """
    for line in (
        BEARER + GOOD, b"Authorization: bearer " + GOOD, b"authorization: BEARER  " + GOOD + b"  ",
        b"authorization: " + GOOD, b"x-api-key: " + GOOD, b"api-key:\t" + GOOD, b"x-goog-api-key: " + GOOD,
    ):  # fmt: skip
        assert send(gate_with_keys, path, [line]).status == 200, line
    assert send(gate_with_keys, path, [BEARER + GOOD, b"x-api-key: " + GOOD]).status == 200


@pytest.mark.parametrize("path", ENDPOINTS)
def test_c_16_two_different_keys_are_refused(
    gate_with_keys: Gate, provider: Upstream, path: str
) -> None:
    """C-16: the gateway picks neither key, even if it knows one; it names the headers."""
    for lines in ([BEARER + GOOD, b"x-api-key: other"], [b"x-api-key: " + GOOD, BEARER + b"other"]):
        message = check_refusal(send(gate_with_keys, path, lines), path, 400)
        assert (
            message
            == "The request has two different keys, in authorization and x-api-key: send one."
        )
    assert not provider.requests


def test_sec_auth_1_only_gemini_paths_take_a_key_in_the_url(
    gate_with_keys: Gate, provider: Upstream
) -> None:
    """SEC-AUTH 1, C-16: only Gemini's paths take it, as good as in a header, never beside another,
    and it is not forwarded.
    """
    other = b"x-goog-api-key: other"
    for path in GOOGLE:
        url = f"{path}{'&' if '?' in path else '?'}key="
        assert send(gate_with_keys, url + CLIENT_KEY, []).status == 200
        assert send(gate_with_keys, url + CLIENT_KEY, [BEARER + GOOD]).status == 200
        check_refusal(send(gate_with_keys, url + "other", []), path, 401)
        check_refusal(send(gate_with_keys, url, []), path, 401)
        for lines, key in (([other], CLIENT_KEY), ([BEARER + GOOD], "other")):
            message = check_refusal(send(gate_with_keys, url + key, lines), path, 400)
            assert message.startswith("The request has two different keys, in ")
            assert "the URL" in message
        message = check_refusal(send(gate_with_keys, f"{url}{CLIENT_KEY}&key=other", []), path, 401)
        assert message == "The request has two different keys in the URL: send one."
    assert len(provider.requests) == 2 * len(GOOGLE)
    for forwarded in provider.requests:
        assert CLIENT_KEY not in forwarded.path
        assert CLIENT_KEY.encode() not in b"".join(value for _, value in forwarded.headers)
    assert CLIENT_KEY not in gate_with_keys.child.err
    assert CLIENT_KEY.encode() not in gate_with_keys.journal()


def test_c_16_while_keys_are_open_the_gateway_ignores_keys(gate: Gate) -> None:
    """C-16: SDKs send whatever key their environment has."""
    assert send(gate, CHAT, [BEARER + b"a", b"x-api-key: b"]).status == 200


def test_sec_auth_4_no_header_sets_the_address_of_a_client(
    provider: Upstream, tmp_path: Path
) -> None:
    """SEC-AUTH 4: no header does, even if uvicorn's own variable would trust any client."""
    gate = Gate(tmp_path / "gateway", provider.url, FORWARDED_ALLOW_IPS="*")
    spoofs = ("x-forwarded-for", "x-real-ip", "forwarded", "x-client-ip", "cf-connecting-ip")
    try:
        assert gate.ask("/admin/costs", method="GET").status == 200  # this machine itself
        for name in spoofs[:3]:
            lines = [f"{name}: {value}".encode() for value in ("127.0.0.1", "for=127.0.0.1")]
            data = request("/admin/costs", b"", *lines, b"connection: close", method="GET")
            (reply,) = answers(gate.exchange(data.replace(b"host: localhost", b"host: localhost")))
            assert reply.status == 403, name
        for name in spoofs:
            reply = send(gate, CHAT, [name.encode() + b": 6.6.6.6"])
            assert reply.status == 200
        assert "6.6.6.6" not in gate.child.err
        assert b"6.6.6.6" not in gate.journal()
    finally:
        gate.stop()


ODD = [b"caf\xe9", b"\xff\xfe", "\U0001f600".encode(), b"a\tb", b"x" * 8000, b"'; --", b"{{7*7}}"]


@pytest.mark.parametrize("path", ENDPOINTS)
@pytest.mark.parametrize("name", ["x-request-id", "idempotency-key", "user-agent", "anthropic-beta", "anthropic-version", "traceparent", "openai-beta", "x-tiergate-tags", "x-tiergate-conversation", "x-tiergate-lab", "x-own"])  # fmt: skip
def test_sec_hdr_odd_header_values_cause_no_fault_and_no_answer_repeats_them(
    gate: Gate, provider: Upstream, path: str, name: str
) -> None:
    """SEC-HDR: the gateway forwards, refuses or drops them, without a fault; no answer repeats one."""
    for value in ODD:
        reply = send(gate, path, [name.encode() + b": " + value])
        assert reply.status in (200, 400, 404), (value, reply.body)
        head = "\r\n".join(f"{k}: {v}" for k, v in reply.headers.items())
        assert value.decode("latin-1") not in head
        assert head.replace("\r\n", "").isascii()
        assert head.replace("\r\n", "").isprintable()
        assert reply.headers["x-request-id"].startswith("tg-")


@pytest.mark.parametrize("value", [b"a\rb", b"a\r\n b", b"a\0b", b"a\x1bb", b"a\x7fb", b"a\x0bb"])
def test_sec_hdr_the_gateway_does_not_forward_control_characters(
    gate: Gate, provider: Upstream, value: bytes
) -> None:
    """SEC-HDR: the gateway refuses or drops them, without a fault."""
    for path in ENDPOINTS:
        reply = answers(
            gate.exchange(
                request(path, valid_body(path), b"idempotency-key: " + value, b"connection: close")
            )
        )[0]
        assert reply.status in (200, 400), reply.body
    forwarded = [v for upstream_request in provider.requests for _, v in upstream_request.headers]
    assert value not in forwarded


@pytest.mark.parametrize("path", ENDPOINTS)
def test_sec_hdr_the_provider_gets_no_client_keys_cookies_or_hop_headers(
    gate_with_keys: Gate, provider: Upstream, path: str
) -> None:
    """SEC-HDR: the provider gets no client keys, cookies, hop-by-hop headers or SDK headers."""
    lines = [
        BEARER + GOOD, b"cookie: a=b", b"te: trailers", b"keep-alive: 9", b"proxy-authorization: Basic x",
        b"x-stainless-lang: python", b"x-forwarded-for: 10.0.0.1", b"forwarded: for=x", b"referer: x", b"origin: x",
    ]  # fmt: skip
    assert send(gate_with_keys, path, lines).status == 200
    (forwarded,) = provider.requests
    names = {name.decode().lower() for name, _ in forwarded.headers}
    assert not names & {line.partition(b":")[0].decode() for line in lines} - {"authorization"}
    assert CLIENT_KEY.encode() not in b"".join(value for _, value in forwarded.headers)


FORGED = (
    '\n{"at":1,"event":"forged"}',
    "\r\nforged",
    "\x1b[2J",
    "\x1b]0;x\x07",
    "\u2028{}",
    "\x85x",
    "\u202ex",
    "=1+1",
)


def test_sec_log_an_event_is_one_line_without_control_characters(
    gate: Gate, gate_with_keys: Gate, provider: Upstream
) -> None:
    """SEC-LOG: prompts, names, keys, tags and paths that try to write a line of their own."""
    for text in FORGED:
        printable = text.encode().translate(None, b"\r\n\0\x1b\x07")
        for body in (
            chat(model=text),
            chat(user=text, messages=[{"role": "user", "content": text}]),
        ):
            for lines in (
                [b"x-tiergate-tags: " + printable],
                [b"user-agent: " + printable * 900],
                [BEARER + printable],
            ):
                for server in (gate, gate_with_keys):
                    assert send_body(server, body, lines) < 500
        for path in (MESSAGES, RESPONSES, GENERATE):
            assert gate.ask(*request_model(path, text)).status == 404
    gate.exchange(b"\x1b[2J\n{}\r\n\r\n")
    for server in (gate, gate_with_keys):
        log = server.child.err
        assert len(server.rows()) == log.count("\n") > 0
        events = {row["event"] for row in server.rows()}
        assert events <= {"refused", "call", "unpriced", "audit"}  # other tests sign in and reload
        assert log.replace("\n", "").isprintable()
        assert not set(server.journal()) & set(range(32)) - {10}


def send_body(gate: Gate, body: bytes, lines: list[bytes]) -> int:
    return answers(gate.exchange(request(CHAT, body, *lines, b"connection: close")))[0].status
