"""Clients on the simulated network: each makes calls one after another, and some leave early."""

import asyncio
import random
import re
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from gateway.core import jsonio
from tests.e2e.budget_audit import ClientOutcome
from tests.e2e.budget_provider import MOST

CALL_HEADER = "tracestate"
"""The header that names a call to the provider. It passes the gateway, and is no part of the
request for its cache."""
LONGEST_CALL = 45.0
"""Seconds after which a call must have ended, whatever fails: half more than the time of a tier."""
_LETTERS = ("a", "word ", "ж", "🙂")
_QUESTIONS = 3
"""The number of texts that several calls ask."""
_ANSWER_ID = re.compile(rb"up-((?:c\d+|probe)-\d+)-\d+")


class ClientPlan(NamedTuple):
    """The behaviour of all clients of a simulation."""

    calls: int
    """Calls of each client."""
    streamed: float
    """The part of calls that stream."""
    leaving: float
    """The part of calls whose client leaves early."""
    shared: float
    """The part of calls that ask what others ask, so that they may share an answer."""
    pause: float
    """The longest pause of a client, in seconds."""
    patience: float
    """The longest that a client waits that leaves early, in seconds."""


@dataclass
class SimulatedOutcome(ClientOutcome):
    """The outcome of a call of a simulation."""

    request: bytes = b""
    """The request: two calls with the same bytes here may share an answer."""
    answer_markers: set[str] = field(default_factory=set)
    """The markers of all calls whose provider's answers the client has read a part of."""
    cache: str = ""
    """The gateway's word for how the cache served the call."""
    has_ended: bool = False
    """True if the client has an answer, an error or a closed connection, or has left by itself."""


class Client:
    """One client, which draws its calls from a seed."""

    def __init__(self, name: str, seed: str, keys: dict[str, str], ports: list[int]) -> None:
        """Take the secrets of keys by name, and the ports of the gateways."""
        self.outcomes: dict[str, SimulatedOutcome] = {}
        """Outcomes by marker."""
        self._name, self._keys, self._ports = name, keys, ports
        self._chance = random.Random(f"{seed} {name}")

    async def run(self, plan: ClientPlan) -> None:
        """Make the calls of a plan."""
        chance = self._chance
        for number in range(plan.calls):
            await asyncio.sleep(chance.uniform(0, plan.pause))
            marker = f"{self._name}-{number}"
            outcome = SimulatedOutcome(
                chance.choice(list(self._keys)), chance.randrange(len(self._ports))
            )
            self.outcomes[marker] = outcome
            is_stream = chance.random() < plan.streamed
            body = self._write_shared() if chance.random() < plan.shared else self._write(marker)
            outcome.request = jsonio.dumps(body)
            seconds = chance.uniform(0, plan.patience) if chance.random() < plan.leaving else None
            await self.call(marker, {**body, "stream": is_stream}, seconds)

    async def call(self, marker: str, body: dict[str, Any], seconds: float | None) -> None:
        """Make a call, and leave after some seconds if they are given."""
        outcome = self.outcomes[marker]
        data = self._write_head(marker, self._keys[outcome.key], jsonio.dumps(body))
        try:
            async with asyncio.timeout(LONGEST_CALL):
                with suppress(OSError, asyncio.IncompleteReadError):  # the gateway was killed
                    await self._exchange(data, outcome, seconds)
                outcome.has_ended = True
        except TimeoutError:
            pass

    async def _exchange(
        self, data: bytes, outcome: SimulatedOutcome, seconds: float | None
    ) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._ports[outcome.gateway])
        deadline = asyncio.timeout(seconds)
        try:
            writer.write(data)
            async with deadline:
                await _read_answer(reader, outcome)
        except TimeoutError:
            outcome.left = True
            if self._chance.random() < 0.5:
                writer.transport.abort()
        finally:
            writer.close()

    def _write(self, marker: str) -> dict[str, Any]:
        """Draw a request that no other call makes."""
        chance = self._chance
        text = f"{marker} " + chance.choice(_LETTERS) * chance.randint(0, 300)
        body: dict[str, Any] = {
            "model": chance.choice(("smart", "fast", "auto")),
            "messages": [{"role": "user", "content": text}],
        }
        if chance.random() < 0.7:
            body["max_tokens"] = chance.choice((1, 20, 60, MOST, 10 * MOST))
        if chance.random() < 0.1:
            body["n"] = 2
        return body

    def _write_shared(self) -> dict[str, Any]:
        """Draw a request that other calls make too, of other keys as well."""
        return {
            "model": "smart",
            "messages": [{"role": "user", "content": f"q{self._chance.randrange(_QUESTIONS)}"}],
            "max_tokens": 20,
            "temperature": 0,
        }

    def _write_head(self, marker: str, secret: str, data: bytes) -> bytes:
        head = (
            "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n"
            f"authorization: Bearer {secret}\r\nx-tiergate-tags: {marker}\r\n"
            f"{CALL_HEADER}: {marker}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(data)}\r\n\r\n"
        )
        return head.encode() + data


async def _read_answer(reader: asyncio.StreamReader, outcome: SimulatedOutcome) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
    outcome.id = fields.get("x-request-id", "")
    outcome.attempts = int(fields.get("x-tiergate-attempts", "0"))
    outcome.cache = fields.get("x-tiergate-cache", "")
    status = int(head.split(" ", 2)[1])
    if "content-length" in fields:
        data = await reader.readexactly(int(fields["content-length"]))
        _note_markers(data, outcome)
        if status != 200:
            error = jsonio.loads(data)["error"]
            outcome.code = str(error.get("code") or error.get("type"))
    else:
        while not (line := await reader.readuntil(b"\n")).startswith(b"0\r"):
            _note_markers(line, outcome)
    outcome.status = status


def _note_markers(data: bytes, outcome: SimulatedOutcome) -> None:
    outcome.answer_markers.update(marker.decode() for marker in _ANSWER_ID.findall(data))
