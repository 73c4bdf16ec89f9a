"""A client that writes requests of all dialects, and keeps the answer as it came."""

import http.client
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote

from gateway.core import jsonio
from tests.e2e.four_labs import CHAT, GEMINI, MESSAGES, RESPONSES

type End = Literal["clean", "cut", "late"]
"""Clean: as HTTP ends; cut: before that; late: not within the time that the client waits."""

PATIENCE = 60.0
"""Seconds that a client waits for each read."""
PROMPT = "A canary stands in this prompt: cobalt-heron-4711."


@dataclass(frozen=True)
class Reply:
    """The answer that a client got. Status 0: none."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    end: End
    seconds: float

    @property
    def id(self) -> str:
        return self.headers.get("x-request-id", "")


def endpoint_path(dialect: str, model: str, *, stream: bool) -> str:
    """Return the path of a request."""
    if dialect != GEMINI:
        paths = {CHAT: "/v1/chat/completions", RESPONSES: "/v1/responses", MESSAGES: "/v1/messages"}
        return paths[dialect]
    how = "streamGenerateContent?alt=sse" if stream else "generateContent"
    return f"/v1beta/models/{quote(model, safe='')}:{how}"


def make_body(
    dialect: str, model: str, *, stream: bool, prompt: str = PROMPT, **more: Any
) -> bytes:
    """Return the body of a request."""
    messages = [{"role": "user", "content": prompt}]
    value: dict[str, Any]
    if dialect == GEMINI:
        value = {"contents": [{"role": "user", "parts": [{"text": prompt}]}]}
    elif dialect == RESPONSES:
        value = {"model": model, "input": prompt, "store": False}
    elif dialect == MESSAGES:
        value = {"model": model, "max_tokens": 99, "messages": messages}
    else:
        value = {"model": model, "messages": messages}
        if stream:
            value["stream_options"] = {"include_usage": True}
    if stream and dialect != GEMINI:
        value["stream"] = True
    return jsonio.dumps(value | more)


def exchange(
    port: int,
    path: str,
    body: bytes | None,
    headers: Mapping[str, str],
    *,
    within: float = PATIENCE,
) -> Reply:
    """Send one request on a connection of its own, and read its answer to the end."""
    began = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", port, within)
    status, fields, data, end = 0, {}, b"", "clean"
    try:
        connection.request("GET" if body is None else "POST", path, body, dict(headers))
        reply = connection.getresponse()
        status, fields = reply.status, {k.lower(): v for k, v in reply.getheaders()}
        while piece := reply.read1(65536):
            data += piece
    except http.client.IncompleteRead as cut:
        data, end = data + cut.partial, "cut"
    except TimeoutError:
        end = "late"
    except (ConnectionError, http.client.HTTPException):
        end = "cut"
    finally:
        connection.close()
    return Reply(status, fields, data, end, time.monotonic() - began)  # type: ignore[arg-type]
