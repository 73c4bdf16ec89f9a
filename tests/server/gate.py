"""Run a gateway as a user starts it, in its own process, with clients that can write any bytes."""

import hashlib
import http.client
import re
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from gateway.core import jsonio
from tests.e2e.child import Child, until
from tests.e2e.upstream import PATIENCE
from tests.e2e.world import Change, config

CHAT, MESSAGES, COUNT = "/v1/chat/completions", "/v1/messages", "/v1/messages/count_tokens"
RESPONSES, INPUT = "/v1/responses", "/v1/responses/input_tokens"
GENERATE = "/v1beta/models/gem-9:generateContent"
STREAM = "/v1beta/models/gem-9:streamGenerateContent?alt=sse"
TOKENS = "/v1beta/models/gem-9:countTokens"
GOOGLE = (GENERATE, STREAM, TOKENS)
"""Paths that contain the model's name."""
ENDPOINTS = (CHAT, MESSAGES, COUNT, RESPONSES, INPUT, *GOOGLE)
CHAT_KEY = "sk-acme-0123456789-never-shown"
CLAUDE_KEY = "sk-ant-0123456789-never-shown"
OPENAI_KEY = "sk-proj-0123456789-never-shown"
GOOGLE_KEY = "AIza-0123456789-never-shown"
CLIENT_KEY = "client-key-0123456789-never-shown"
KEYS = f"alice={hashlib.sha256(CLIENT_KEY.encode()).hexdigest()}"

_ROOT = str(Path(__file__).parents[2])
_SERVE = """
from types import SimpleNamespace
from gateway.cli import main
from gateway.limits import key_guessing
from gateway.runtime import composition
from gateway.upstream import write_batch
from gateway.upstream.circuit_breaker import CircuitBreaker

CircuitBreaker._open = lambda *_: False  # what one test breaks, others may ask
key_guessing._MAX_TRIES = key_guessing._MAX_TOTAL_TRIES = 1_000_000  # tests of one gateway send many wrong keys
write_batch._MAX_CALLS_ALONE = 0  # all goes the way of calls that are not alone
still = SimpleNamespace(random=lambda: 0.0)
composition.random = SimpleNamespace(Random=lambda: still)  # retries do not wait
main()
"""
_ON = re.compile(r"on http://127\.0\.0\.1:(\d+) ")
_END = re.compile(rb"\r\n\r\n")
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: (\d+)\r\n")


_SPOKEN = (
    ("claude", "anthropic-messages", "/v1/messages", "x-api-key", CLAUDE_KEY),
    ("reply", "openai-responses", "/responses", "bearer", OPENAI_KEY),
    ("google", "gemini", "", "x-goog-api-key", GOOGLE_KEY),
)
_MODELS = {
    "claude": {"fast": "claude-haiku-9", "smart": "claude-sonnet-9", "reasoning": "claude-opus-9"},
    "reply": {"fast": "reply-9", "smart": "reply-10"},
    "google": {"fast": "gem-9", "smart": "gem-10"},
}


def add_labs(value: dict[str, Any]) -> None:
    """Add a lab for each of the other dialects beside those of Chat Completions."""
    base = value["providers"]["acme"]["base_url"]
    price = {"input": 1, "cache_read": 0.1, "output": 4}
    for name, dialect, path, auth, key in _SPOKEN:
        value["providers"][name] = {
            "base_url": base.replace("acme", name),
            "dialects": {dialect: path},
            "auth": auth,
            "accounts": {"main": key},
        }
        if dialect == "openai-responses":
            value["providers"][name]["counts_tokens"] = True
        models = _MODELS[name]
        value["labs"][name] = {tier: [{"model": model}] for tier, model in models.items()}
        value["models"] |= {model: {"price": price} for model in models.values()}


@dataclass(frozen=True)
class GateReply:
    """One answer as it was on the wire."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return jsonio.loads(self.body)


class Gate:
    """`tiergate serve` in front of a scripted provider."""

    def __init__(
        self,
        folder: Path,
        upstream: str,
        *changes: Change,
        within: tuple[float, float] = (10.0, 30.0),
        before: Sequence[str] = (),
        first: str = "",
        workers: int | None = None,
        **environ: str,
    ) -> None:
        """Start a gateway. `within`: seconds that a head and a body may take. `before`: a command
        that runs the program. `first`: Python code that runs before the program's own.
        """
        value = config(upstream)
        for change in (add_labs, *changes):
            change(value)
        head, body = within
        server = value.setdefault("server", {})
        server["timeouts"] = {"head": head, "body": body, **server.get("timeouts", {})}
        server.setdefault("max_lag", "0s")  # a busy test machine must not cause load shedding
        folder.mkdir(parents=True)
        self.folder = folder
        file = folder / "gateway.yaml"
        file.write_bytes(jsonio.dumps(value))
        program = first + _SERVE
        command = [*before, sys.executable, "-c", program, "--config", str(file), "serve"]
        command += ["--port", "0", *(["--workers", str(workers)] if workers else [])]
        self.child = Child(
            command, folder / "gateway", PYTHONPATH=_ROOT, PYTHONUNBUFFERED="1",
            TIERGATE_DATA=str(folder / "data"), **environ,
        )  # fmt: skip
        self.port = until(self._listens, f"listening; {folder}/gateway.err says why")
        self._client = http.client.HTTPConnection("127.0.0.1", self.port, PATIENCE)

    def _listens(self) -> int:
        with suppress(FileNotFoundError):  # its shell has not opened the file yet
            if match := _ON.search(self.child.out):
                return int(match[1])
        return 0

    def dial(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), PATIENCE)

    def exchange(self, *pieces: bytes) -> bytes:
        """Write pieces and read until the gateway closes."""
        with self.dial() as connection:
            with suppress(ConnectionError):  # the gateway may refuse before everything is written
                for piece in pieces:
                    connection.sendall(piece)
            return drain(connection)

    def ask(self, path: str, body: bytes = b"", method: str = "POST", **headers: str) -> GateReply:
        """Send one request; reuse the connection where possible."""
        sent_headers = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            self._client.request(method, path, body, sent_headers)
            reply = self._client.getresponse()
        except ConnectionError:  # the connection was idle too long
            self._client.close()
            self._client.request(method, path, body, sent_headers)
            reply = self._client.getresponse()
        data = reply.read()
        return GateReply(reply.status, {k.lower(): v for k, v in reply.getheaders()}, data)

    def rows(self) -> list[dict[str, Any]]:
        """Return the log so far; each line is one event."""
        return [jsonio.loads(line.encode()) for line in self.child.err.splitlines()]

    def journal(self) -> bytes:
        """Return the rows of its ledger."""
        files = sorted((self.folder / "data" / "ledger").glob("*.jsonl"))
        return b"".join(path.read_bytes() for path in files)

    def files(self) -> bytes:
        """Return all that it has written to disk: journals, the store and their side files."""
        paths = sorted(path for path in (self.folder / "data").rglob("*") if path.is_file())
        return b"".join(path.read_bytes() for path in paths)

    def stop(self) -> None:
        self._client.close()
        self.child.stop()


def drain(connection: socket.socket) -> bytes:
    """Read until the other side closes or resets the connection."""
    received = b""
    try:
        while piece := connection.recv(65536):
            received += piece
    except ConnectionResetError:
        pass
    return received


def answers(data: bytes) -> list[GateReply]:
    """Parse the complete answers that follow each other in the bytes."""
    replies = []
    while data:
        head = _END.search(data)
        assert head is not None, data
        lines = data[: head.start()].split(b"\r\n")
        fields = (line.decode().partition(": ") for line in lines[1:])
        headers = {k: v for k, _, v in fields}
        if headers.get("transfer-encoding") == "chunked":
            body, data = _chunks(data[head.end() :])
        else:
            length = _LENGTH.search(data[: head.end()])
            assert length is not None, data[: head.end()]
            end = head.end() + int(length[1])
            body, data = data[head.end() : end], data[end:]
        replies.append(GateReply(int(lines[0].split()[1]), headers, body))
    return replies


def _chunks(data: bytes) -> tuple[bytes, bytes]:
    """Return a chunked body, and the bytes behind it."""
    body, size = b"", -1
    while size:
        line, _, data = data.partition(b"\r\n")
        size = int(line, 16)
        body += data[:size]
        assert data[size : size + 2] == b"\r\n", data
        data = data[size + 2 :]
    return body, data


def request(path: str, body: bytes = b"", *lines: bytes, method: str = "POST") -> bytes:
    """Build a request on the wire; it is well formed except for what `lines` add."""
    first = f"{method} {path} HTTP/1.1".encode()
    length = b"content-length: %d" % len(body)
    return b"\r\n".join([first, b"host: localhost", length, *lines, b"", body])


def chat(**more: Any) -> bytes:
    """Build a request that names its model, so that the gateway changes nothing in it."""
    value = {"model": "able-1", "messages": [{"role": "user", "content": "Hello."}], **more}
    return jsonio.dumps(value)


def messages(**more: Any) -> bytes:
    """Build such a request in the Messages dialect."""
    return chat(**{"model": "claude-haiku-9", "max_tokens": 9, **more})


def response(**more: Any) -> bytes:
    """Build a request of the Responses dialect."""
    return jsonio.dumps({"model": "reply-9", "input": "Hello.", **more})


def contents(**more: Any) -> bytes:
    """Build a request of Gemini, whose path has the model and the method."""
    return jsonio.dumps({"contents": [{"role": "user", "parts": [{"text": "Hello."}]}], **more})


def family(path: str) -> str:
    """Return the generating path of the dialect that a path belongs to."""
    google = path.startswith(("/v1beta", "/v1alpha")) and "/openai/" not in path
    if google or ("/models/" in path and ":" in path):
        return GENERATE
    if "/message" in path:
        return MESSAGES
    return RESPONSES if "/response" in path else CHAT


_PLAIN = {CHAT: chat, MESSAGES: messages, RESPONSES: response, GENERATE: contents}
_GOOGLE = {
    400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 404: "NOT_FOUND", 405: "INVALID_ARGUMENT",
    408: "DEADLINE_EXCEEDED", 413: "INVALID_ARGUMENT", 415: "INVALID_ARGUMENT", 431: "INVALID_ARGUMENT",
    502: "INTERNAL",
}  # fmt: skip


def valid_body(path: str, **more: Any) -> bytes:
    """Build a request that the endpoint at a path accepts."""
    return _PLAIN[family(path)](**more)


def request_model(path: str, model: str) -> tuple[str, bytes]:
    """Return a path and a body that ask for a model; one of the two names it."""
    if path in GOOGLE:
        return path.replace("gem-9", quote(model, safe="")), contents()
    return path, valid_body(path, model=model)


def refused_member(reply: GateReply) -> str | None:
    """Return the member that a refusal names for programs; Messages has no place for it."""
    error = reply.json["error"]
    if "details" in error:
        (detail,) = error["details"]
        assert detail["@type"] == "type.googleapis.com/google.rpc.BadRequest"
        (broken,) = detail["fieldViolations"]
        assert broken["description"] == error["message"]
        return str(broken["field"])
    param = error.get("param")
    return None if param is None else str(param)


def check_refusal(reply: GateReply, path: str, status: int) -> str:
    """Check a refusal in the dialect of its path; return its message."""
    assert reply.status == status, (reply.status, reply.body[:300])
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["x-request-id"].startswith("tg-")
    assert reply.headers["request-id"] == reply.headers["x-request-id"]
    error, dialect = reply.json["error"], family(path)
    if dialect == MESSAGES:
        assert list(reply.json) == ["type", "error"]
        assert reply.json["type"] == "error"
        assert list(error) == ["type", "message"]
    elif dialect == GENERATE:
        assert list(reply.json) == ["error"]
        assert list(error)[:3] == ["code", "message", "status"]
        assert set(error) <= {"code", "message", "status", "details"}
        assert (error["code"], error["status"]) == (status, _GOOGLE[status])
    else:
        assert list(reply.json) == ["error"]
        assert list(error) == ["message", "type", "param", "code"]
    assert len(reply.body) < 1000
    return str(error["message"])
