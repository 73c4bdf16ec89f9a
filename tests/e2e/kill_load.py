"""Load: many clients that call one after another, whole and streamed, in two dialects."""

import asyncio
import random
from dataclasses import dataclass, field

import httpx

PATIENCE = 30.0
_FAILED = (502, 503, 504, 529)
"""Statuses of calls whose providers failed more often than the gateway may retry."""
_ENDS = (b"data: [DONE]\n\n", b'event: message_stop\ndata: {"type":"message_stop"}\n\n')


@dataclass
class KillLoad:
    """The outcomes that clients saw, by the marker of each call."""

    url: str
    seed: str
    whole: set[str] = field(default_factory=set)
    """Calls whose answer came whole."""
    broken: set[str] = field(default_factory=set)
    """Calls that were cut: the gateway was gone before the answer or within it."""
    gone: set[str] = field(default_factory=set)
    """Broken calls that lost their connection, or got the error that the gateway is stopping."""
    wrong: list[str] = field(default_factory=list)
    """Outcomes that no kill excuses."""
    stopped: bool = False

    async def run(self, clients: int) -> None:
        """Call until `stopped`; each client finishes its current call."""
        await asyncio.gather(*(self._client(number) for number in range(clients)))

    async def _client(self, number: int) -> None:
        chance = random.Random(f"{self.seed} {number}")
        async with httpx.AsyncClient(
            base_url=self.url,
            timeout=PATIENCE,
            trust_env=False,
            verify=False,  # noqa: S501 - plain HTTP, and certificates take long to read
        ) as client:
            count = 0
            while not self.stopped:
                count += 1
                marker = f"k{number}-{count}"
                try:
                    if await self._call(client, marker, chance):
                        self.whole.add(marker)
                        continue
                except httpx.TransportError:
                    self.gone.add(marker)
                self.broken.add(marker)
                await asyncio.sleep(0.02)  # while nothing listens, avoid a busy loop

    async def _call(self, client: httpx.AsyncClient, marker: str, chance: random.Random) -> bool:
        lab, path = chance.choice((("acme", "chat/completions"), ("claude", "messages")))
        stream = chance.random() < 0.6
        body = {
            "model": f"{lab}/smart",
            "max_tokens": 500,
            "stream": stream,
            "messages": [{"role": "user", "content": marker}],
        }
        # Sometimes open a new connection, so that a worker that started later gets its share.
        ways = {"connection": "close"} if chance.random() < 0.3 else {}
        headers = {"x-tiergate-tags": marker, "anthropic-version": "2023-06-01", **ways}
        answer = await client.post(f"/v1/{path}", json=body, headers=headers)
        if answer.status_code in (503, 529) and "is stopping" in answer.text:
            self.gone.add(marker)
            return False  # its supervisor was killed, and the worker began a graceful shutdown
        if answer.status_code in _FAILED and "error" in answer.text:
            return False
        if answer.status_code != 200:
            self.wrong.append(f"{marker}: status {answer.status_code}: {answer.text[:200]}")
            return False
        if stream and not answer.content.endswith(_ENDS):
            self.wrong.append(f"{marker}: an answer without its end: ...{answer.text[-100:]}")
        return True
