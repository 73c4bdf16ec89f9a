"""Two keys share a gateway and a Redis, and clients leave at any moment: no answer goes astray."""

import hashlib
import json
import random
import select
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection

from gateway.core import jsonio
from tests.e2e.upstream import PATIENCE, Answer, Request, whole
from tests.e2e.world import Config
from tests.server.gate import CHAT, Gate, chat

SECRETS = ("first-key-0123456789", "second-key-0123456789")
KEYS = ",".join(
    f"{name}={hashlib.sha256(secret.encode()).hexdigest()}"
    for name, secret in zip(("one", "two"), SECRETS, strict=True)
)
_POOL = 40
"""Number of prompts of each key."""


def storing(value: Config) -> None:
    """Turn the cache on, for each key apart."""
    value["cache"] = {"default": "on", "ttl": "1h"}


def echo(request: Request) -> Answer:
    """Answer with the name of the user and the prompt."""
    return whole(f"For {request.json['user']}: {request.json['messages'][-1]['content']}")


def _body(key: int, text: str) -> bytes:
    return chat(user=f"key {key}", messages=[{"role": "user", "content": text}])


def _is_right(key: int, text: str, data: bytes) -> bool:
    content = jsonio.loads(data)["choices"][0]["message"]["content"]
    return bool(content == f"For key {key}: {text}")


def crossed(gate: Gate, number: int, threads: int = 4) -> Iterator[str]:
    """SEC-CACHE 8: every second request leaves early; each answer is of its own key and prompt.

    The last line is a mistake if no client left before its answer, or the cache gave no answer.
    """
    own = threading.local()
    clients: list[HTTPConnection] = []
    left_early, hits = [0] * threads, [0] * threads

    def send_one(at: int) -> str:
        chance = random.Random(at)
        key, text = at % 2, f"Prompt {chance.randrange(_POOL)}"
        body = _body(key, text)
        if chance.random() < 0.5:
            head = (
                f"POST {CHAT} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {SECRETS[key]}\r\n"
                f"content-length: {len(body)}\r\n\r\n"
            )
            with closing(socket.create_connection(("127.0.0.1", gate.port), PATIENCE)) as leaving:
                leaving.sendall(head.encode() + body)
                early = not select.select([leaving], [], [], chance.uniform(0, 0.004))[0]
            left_early[at % threads] += early
            return ""
        client: HTTPConnection | None = getattr(own, "client", None)
        if client is None:
            client = own.client = HTTPConnection("127.0.0.1", gate.port, PATIENCE)
            clients.append(client)
        client.request("POST", CHAT, body, {"authorization": f"Bearer {SECRETS[key]}"})
        reply = client.getresponse()
        data = reply.read()
        hits[at % threads] += reply.headers["x-tiergate-cache"] == "hit"
        right = reply.status == 200 and _is_right(key, text, data)
        return "" if right else f"key {key}, {text!r}: {reply.status} {data[:300]!r}"

    with ThreadPoolExecutor(threads) as running:
        yield from running.map(send_one, range(number))
    for client in clients:
        client.close()
    yield "" if sum(left_early) and sum(hits) else f"{sum(left_early)} left, {sum(hits)} hits"


def apart(gate: Gate) -> Iterator[str]:
    """SEC-CACHE 1: a cached answer of one key is no hit for the other."""
    body = json.dumps(
        {"model": "able-1", "user": "key 0", "messages": [{"role": "user", "content": "Once."}]}
    ).encode()
    cache_headers = [
        gate.ask(CHAT, body, "POST", authorization=f"Bearer {SECRETS[key]}").headers[
            "x-tiergate-cache"
        ]
        for key in (0, 0, 1, 1)
    ]
    yield "" if cache_headers == ["miss", "hit", "miss", "hit"] else str(cache_headers)
