"""A gateway as a user starts it, in a process of its own, and one client of it."""

import http.client
import select
import socket
import threading
import time
from contextlib import closing
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from gateway.core import jsonio
from tests.e2e.child import GatewayChild, until
from tests.e2e.upstream import PATIENCE, Answer, Request, whole
from tests.e2e.world import chat, config

CANARY = "canary-in-a-prompt"
_HEADERS = {"content-type": "application/json"}


@dataclass(frozen=True)
class TimedReply:
    """The cache header and the duration of one answer."""

    cache: str
    seconds: float


def answer_to(text: str) -> Answer:
    """Return the provider's answer to a prompt: no two prompts have the same one."""
    return whole(f"You said: {text}")


def echo(request: Request) -> Answer:
    return answer_to(request.json["messages"][-1]["content"])


def expected(text: str) -> bytes:
    """Return the bytes of the answer to a prompt."""
    piece = answer_to(text).pieces[0]
    assert piece is not None
    return piece


class RedisGateway:
    """`tiergate serve` with a REDIS_URL."""

    def __init__(self, folder: Path, upstream: str, redis_url: str) -> None:
        value = config(upstream)
        value["cache"] = {"default": "on", "ttl": "1h"}
        folder.mkdir()
        file = folder / "gateway.yaml"
        file.write_bytes(jsonio.dumps(value))
        self.child = GatewayChild(file, REDIS_URL=redis_url)
        self._number = count()
        self._run = folder.name
        self._clients: list[http.client.HTTPConnection] = []
        self._own = threading.local()

    def ask(self, text: str) -> TimedReply:
        """Call on this thread's connection, and check the answer to the last byte."""
        client: http.client.HTTPConnection | None = getattr(self._own, "client", None)
        if client is None:
            client = http.client.HTTPConnection("127.0.0.1", self.child.port, PATIENCE)
            self._own.client = client
            self._clients.append(client)
        body = jsonio.dumps(chat(text))
        started = time.perf_counter()
        client.request("POST", "/v1/chat/completions", body, _HEADERS)
        reply = client.getresponse()
        data = reply.read()
        seconds = time.perf_counter() - started
        assert (reply.status, data) == (200, expected(text)), (reply.status, data[:300])
        return TimedReply(reply.headers["x-tiergate-cache"], seconds)

    def leave(self, text: str, seconds: float) -> bool:
        """Send a request, and leave after a time. True if that was before the answer."""
        body = jsonio.dumps(chat(text))
        head = (
            "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\n\r\n"
        )
        with closing(
            socket.create_connection(("127.0.0.1", self.child.port), PATIENCE)
        ) as connection:
            connection.sendall(head.encode() + body)
            return not select.select([connection], [], [], seconds)[0]

    def fresh(self) -> str:
        """Return a prompt that no client has sent before."""
        return f"{CANARY} {self._run} {next(self._number)}"

    def misses(self, number: int) -> list[float]:
        """Return the seconds of some requests that were never made before."""
        replies = [self.ask(self.fresh()) for _ in range(number)]
        assert {each.cache for each in replies} == {"miss"}
        return [each.seconds for each in replies]

    def known(self, seconds: float = PATIENCE) -> str:
        """Return a prompt whose answer is in the cache, within `seconds` of Redis being there."""
        text = self.fresh()
        until(lambda: self.ask(text).cache == "hit", f"a hit; {self.child.err}", seconds)
        return text

    def rows(self) -> list[dict[str, Any]]:
        """Return the log so far."""
        return [jsonio.loads(line.encode()) for line in self.child.err.splitlines()]

    def notes(self) -> list[str]:
        """Return the log's messages about Redis; only the cache may have logged others."""
        rows = self.rows()
        assert {row["event"] for row in rows} <= {"redis", "cache"}, rows
        return [row["text"] for row in rows if row["event"] == "redis"]

    def stop(self) -> None:
        """Stop the gateway, and close the clients."""
        for client in self._clients:
            client.close()
        self.child.stop()
