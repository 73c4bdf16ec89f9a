"""Steady load: clients that read, leave, are slow, or repeat a prompt."""

import asyncio
import random
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from gateway.core import jsonio

PATIENCE = 30.0
_ENDS = (b"data: [DONE]\n\n", b'event: message_stop\ndata: {"type":"message_stop"}\n\n')
_AGAIN = 20
"""Number of prompts that clients repeat."""
_SHED = (429, 502, 503, 504, 529)
"""Statuses that a call may get if its providers fail or the gateway has no room."""


@dataclass
class SoakLoad:
    """The replies that clients got."""

    port: int
    seed: str
    rate: float
    """Calls a second, of all clients together."""
    kinds: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    """Seconds of the last whole answers."""
    left: set[str] = field(default_factory=set)
    """Calls whose client left before the end."""
    wrong: list[str] = field(default_factory=list)
    stopped: bool = False

    async def run(self, clients: int) -> None:
        """Call until stopped; each client first ends its current call."""
        await asyncio.gather(*(self._client(number, clients) for number in range(clients)))

    async def _client(self, number: int, clients: int) -> None:
        chance = random.Random(f"{self.seed} {number}")
        at, due = 0, time.monotonic() + chance.random() * clients / self.rate
        while not self.stopped:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            due = max(due, time.monotonic() - 5.0) + clients / self.rate
            at += 1
            marker, kind = f"s{number}-{at}", _kind(chance)
            if kind == "again":
                marker = f"again-{chance.randrange(_AGAIN)}"
            self.kinds[kind] += 1
            try:
                await asyncio.wait_for(self._call(marker, kind, chance), PATIENCE)
            except TimeoutError:
                self.wrong.append(f"{marker}: no end within {PATIENCE:g} s")
            except (OSError, asyncio.IncompleteReadError) as error:
                self.wrong.append(f"{marker}: {type(error).__name__}: {error}")

    async def _call(self, marker: str, kind: str, chance: random.Random) -> None:
        lab, path = chance.choice((("acme", "chat/completions"), ("claude", "messages")))
        stream = chance.random() < 0.6
        if kind == "again":  # the cache finds an answer by its request
            lab, path, stream = "acme", "chat/completions", False
        data = _request(marker, lab, path, stream=stream)
        began = time.monotonic()
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 20)
        try:
            writer.write(data)
            if kind == "leaving":
                patience = chance.choice((0.0, chance.uniform(0, 0.05), chance.uniform(0, 0.3)))
                self.left.add(marker)
                with suppress(TimeoutError):
                    await asyncio.wait_for(_read(reader), patience)
                if chance.random() < 0.5:
                    writer.transport.abort()
                return
            status, body = await (_slowly(reader, chance) if kind == "slow" else _read(reader))
            self._judge(marker, status, body, stream=stream)
            self.seconds = [*self.seconds[-200:], time.monotonic() - began]
        finally:
            writer.close()

    def _judge(self, marker: str, status: int, body: bytes, *, stream: bool) -> None:
        if status == 200 and stream and not body.endswith(_ENDS):
            if b"error" not in body[-2000:]:
                self.wrong.append(f"{marker}: no end and no error: ...{body[-100:]!r}")
            self.outcomes["200, error in the stream"] += 1
            return
        self.outcomes[str(status)] += 1
        if status != 200 and (status not in _SHED or b'"error"' not in body):
            self.wrong.append(f"{marker}: {status} {body[:200]!r}")


def _kind(chance: random.Random) -> str:
    drawn = chance.random()
    if drawn < 0.15:
        return "leaving"
    if drawn < 0.2:
        return "slow"
    return "again" if drawn < 0.35 else "reading"


def _request(marker: str, lab: str, path: str, *, stream: bool) -> bytes:
    value: dict[str, Any] = {
        "model": f"{lab}/smart",
        "max_tokens": 500,
        "stream": stream,
        "messages": [{"role": "user", "content": marker}],
    }
    body = jsonio.dumps(value)
    head = (
        f"POST /v1/{path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nconnection: close\r\n"
        f"x-tiergate-tags: {marker}\r\nanthropic-version: 2023-06-01\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def _read(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Return the status and the body of an answer after which the connection closes."""
    head = await reader.readuntil(b"\r\n\r\n")
    return int(head.split(b" ", 2)[1]), _unchunked(head, await reader.read(-1))


async def _slowly(reader: asyncio.StreamReader, chance: random.Random) -> tuple[int, bytes]:
    """Read an answer some bytes at a time; return its status and its body."""
    head, data = await reader.readuntil(b"\r\n\r\n"), b""
    while piece := await reader.read(chance.randrange(20, 400)):
        data += piece
        await asyncio.sleep(0.05)
    return int(head.split(b" ", 2)[1]), _unchunked(head, data)


def _unchunked(head: bytes, data: bytes) -> bytes:
    if b"transfer-encoding: chunked" not in head.lower():
        return data
    body = b""
    while data:
        size, _, data = data.partition(b"\r\n")
        body, data = body + data[: int(size or b"0", 16)], data[int(size or b"0", 16) + 2 :]
    return body
