"""A gateway as a user starts it, in a process of its own, and one client of it."""

import http.client
import threading
from itertools import count
from pathlib import Path

from gateway.core import jsonio
from tests.e2e.child import GatewayChild, until
from tests.e2e.upstream import PATIENCE, Answer, Request, whole
from tests.e2e.world import chat, config

CANARY = "canary-in-a-prompt"
_HEADERS = {"content-type": "application/json"}


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

    def ask(self, text: str) -> str:
        """Call on this thread's connection, check the answer, and return the status of the cache."""
        client: http.client.HTTPConnection | None = getattr(self._own, "client", None)
        if client is None:
            client = http.client.HTTPConnection("127.0.0.1", self.child.port, PATIENCE)
            self._own.client = client
            self._clients.append(client)
        body = jsonio.dumps(chat(text))
        client.request("POST", "/v1/chat/completions", body, _HEADERS)
        reply = client.getresponse()
        data = reply.read()
        assert (reply.status, data) == (200, expected(text)), (reply.status, data[:300])
        return reply.headers["x-tiergate-cache"]

    def fresh(self) -> str:
        """Return a prompt that no client has sent before."""
        return f"{CANARY} {self._run} {next(self._number)}"

    def known(self, seconds: float = PATIENCE) -> str:
        """Return a prompt whose answer is in the cache, within `seconds` of Redis being there."""
        text = self.fresh()
        until(lambda: self.ask(text) == "hit", f"a hit; {self.child.err}", seconds)
        return text

    def stop(self) -> None:
        """Stop the gateway, and close the clients."""
        for client in self._clients:
            client.close()
        self.child.stop()
