"""Clients on the simulated network: each makes calls one after another, and some leave early."""

import asyncio
import random
from contextlib import suppress
from typing import Any

from gateway.core import jsonio
from tests.e2e.budget_audit import ClientOutcome
from tests.e2e.budget_provider import MOST

_LETTERS = ("a", "word ", "ж", "🙂")


class Client:
    """One client, which draws its calls from a seed."""

    def __init__(self, name: str, seed: str, keys: dict[str, str], ports: list[int]) -> None:
        """Take the secrets of keys by name, and the ports of the gateways."""
        self.outcomes: dict[str, ClientOutcome] = {}
        """What each call came to, by its marker."""
        self._name, self._keys, self._ports = name, keys, ports
        self._chance = random.Random(f"{seed} {name}")

    async def run(
        self, calls: int, *, streamed: float, leaving: float, pause: float, patience: float
    ) -> None:
        """Make calls. Of them, `streamed` is a part and `leaving` is that of impatient ones."""
        chance = self._chance
        for number in range(calls):
            await asyncio.sleep(chance.uniform(0, pause))
            marker = f"{self._name}-{number}"
            outcome = ClientOutcome(
                chance.choice(list(self._keys)), chance.randrange(len(self._ports))
            )
            self.outcomes[marker] = outcome
            data = self._write_request(marker, outcome.key, is_stream=chance.random() < streamed)
            seconds = chance.uniform(0, patience) if chance.random() < leaving else 7200.0
            with suppress(OSError, asyncio.IncompleteReadError):  # the gateway was killed
                await self._call(data, outcome, seconds)

    async def _call(self, data: bytes, outcome: ClientOutcome, seconds: float) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._ports[outcome.gateway])
        try:
            writer.write(data)
            async with asyncio.timeout(seconds):
                await _read_answer(reader, outcome)
        except TimeoutError:
            outcome.left = True
            if self._chance.random() < 0.5:
                writer.transport.abort()
        finally:
            writer.close()

    def _write_request(self, marker: str, key: str, *, is_stream: bool) -> bytes:
        chance = self._chance
        text = f"{marker} " + chance.choice(_LETTERS) * chance.randint(0, 300)
        body: dict[str, Any] = {
            "model": chance.choice(("smart", "fast", "auto")),
            "stream": is_stream,
            "messages": [{"role": "user", "content": text}],
        }
        if chance.random() < 0.7:
            body["max_tokens"] = chance.choice((1, 20, 60, MOST, 10 * MOST))
        if chance.random() < 0.1:
            body["n"] = 2
        data = jsonio.dumps(body)
        head = (
            "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n"
            f"authorization: Bearer {self._keys[key]}\r\nx-tiergate-tags: {marker}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(data)}\r\n\r\n"
        )
        return head.encode() + data


async def _read_answer(reader: asyncio.StreamReader, outcome: ClientOutcome) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
    outcome.id = fields.get("x-request-id", "")
    outcome.attempts = int(fields.get("x-tiergate-attempts", "0"))
    status = int(head.split(" ", 2)[1])
    if "content-length" in fields:
        data = await reader.readexactly(int(fields["content-length"]))
        if status != 200:
            error = jsonio.loads(data)["error"]
            outcome.code = str(error.get("code") or error.get("type"))
    else:
        while not (await reader.readuntil(b"\n")).startswith(b"0\r"):
            pass
    outcome.status = status
