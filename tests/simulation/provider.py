"""A provider on the simulated network: it draws the fate of each request, and bills by itself.

The client's own header names the call. Equal calls have equal bodies, so nothing else tells which
of them has sent a request. Every answer carries the id of its bill, which begins with that name.
"""

import asyncio
from collections import Counter

import msgspec

from gateway.core import jsonio
from tests.e2e.budget_provider import BilledRequest, Cut, Ended, Fate, answer, drawn
from tests.simulation.client import CALL_HEADER


class SimulatedProvider:
    """One provider; its requests and their ends are kept in order."""

    def __init__(self, seed: str, fates: dict[Fate, int], slowest: float) -> None:
        """Draw from `fates`; an answer begins within `slowest` seconds."""
        self.bills: list[BilledRequest] = []
        self.ends: dict[str, Ended] = {}
        self.open_requests: set[str] = set()
        """The ids of requests that the provider works on."""
        self._seed, self._fates, self._slowest = seed, fates, slowest
        self._numbers: Counter[str] = Counter()

    async def listen(self, port: int) -> None:
        await asyncio.start_server(self._serve, "127.0.0.1", port)

    def calm_down(self) -> None:
        """Answer every request from now on."""
        self._fates, self._slowest = {"answer": 1}, 0.01

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first_byte = asyncio.ensure_future(reader.read(1))
        try:
            while start := await first_byte:
                head = (start + await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
                length = int(_find_header(head, "content-length"))
                body = await reader.readexactly(length)
                first_byte = asyncio.ensure_future(reader.read(1))
                work = asyncio.ensure_future(
                    self._answer(_find_header(head, CALL_HEADER), body, writer)
                )
                # Watch the connection too: the provider sees a close even while it is silent.
                await asyncio.wait((work, first_byte), return_when=asyncio.FIRST_COMPLETED)
                work.cancel()
                await work
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError, Cut):
            pass  # the gateway has left, or the answer breaks off
        finally:
            first_byte.cancel()
            writer.close()

    async def _answer(self, marker: str, data: bytes, writer: asyncio.StreamWriter) -> None:
        """Answer one request; its end is noted before its last bytes leave."""
        loop, body = asyncio.get_running_loop(), jsonio.loads(data)
        text = body["messages"][0]["content"]
        named_body = {**body, "messages": [{"content": f"{marker} {text}"}]}
        self._numbers[marker] += 1
        bill, chance = drawn(named_body, self._numbers[marker], self._seed, self._fates)
        bill = msgspec.structs.replace(bill, at=loop.time())
        self.bills.append(bill)
        self.open_requests.add(bill.id)
        unsent, has_left = b"", True
        try:
            await asyncio.sleep(chance.uniform(0, self._slowest))
            async for piece in answer(bill, chance, streamed=bool(body.get("stream"))):
                writer.write(unsent)
                unsent = piece
            has_left = False
        except Cut:
            has_left = False
            raise
        finally:
            self.open_requests.discard(bill.id)
            self.ends[bill.id] = Ended(bill.id, loop.time(), has_left)
            if not has_left:
                writer.write(unsent)


def _find_header(head: str, name: str) -> str:
    return head.partition(f"{name}: ")[2].partition("\r\n")[0]
