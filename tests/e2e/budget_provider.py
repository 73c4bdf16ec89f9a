"""A provider that bills by its own count, in a process of its own.

Run as `python -m tests.e2e.budget_provider BOOK SEED [FATE...]`; with FATEs, it draws only those.
It prints its address. It writes a line to the file BOOK for each request before it answers
anything. From then on it bills the request in full, even if nobody is left to read the answer. It
never bills more prompt than its model can read, nor more output than the request allows.
"""

import asyncio
import os
import random
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Literal

import msgspec

from gateway.core import jsonio
from tests.e2e.kill_provider import REFUSED, ProviderBill, frames, whole

MOST = 120
"""Output tokens of its model, where a request sets no lower limit."""
type Fate = Literal["answer", "slow", "mute", "refused", "empty", "cut", "broken", "silent"]
_FATES: dict[Fate, int] = {
    "answer": 48, "slow": 8, "mute": 8, "refused": 12, "empty": 6, "cut": 6, "broken": 6, "silent": 6,
}  # fmt: skip
"""The number of requests of a hundred that get each fate.

In order: whole; whole and late; without usage; 500, which costs nothing; cut before any content;
cut within it; a stream that ends with an error; nothing at all until the timeout.
"""


class BilledRequest(ProviderBill, frozen=True):
    """A request, its bill, and its fate."""

    fate: Fate = "answer"
    at: float = 0.0
    """Seconds of the monotonic clock when the request came."""


class Ended(msgspec.Struct, frozen=True):
    """The end of a request."""

    id: str
    at: float
    left: bool
    """True if the gateway closed the connection before the end."""


def read(book: Path) -> tuple[list[BilledRequest], dict[str, Ended]]:
    """Return every request in order, and the ends that are known, by the provider's own id."""
    bills: list[BilledRequest] = []
    ended: dict[str, Ended] = {}
    for line in book.read_bytes().splitlines():
        row = jsonio.loads(line)
        if "left" in row:
            end = msgspec.convert(row, Ended)
            ended[end.id] = end
        else:
            bills.append(msgspec.convert(row, BilledRequest))
    return bills, ended


def drawn(
    body: dict[str, Any], number: int, seed: str, fates: dict[Fate, int]
) -> tuple[BilledRequest, random.Random]:
    """Draw the bill of a request from the seed, and return the random generator for its pace."""
    text = body["messages"][0]["content"]
    marker = text.split()[0]
    chance = random.Random(f"{seed} {marker} {number}")
    (fate,) = chance.choices(list(fates), list(fates.values()))
    prompt = chance.randint(1, len(text.encode()) + 200)
    cached = chance.randint(0, prompt // 2)
    each = min(MOST, body.get("max_tokens") or MOST)
    output = chance.randint(1, each) * (body.get("n") or 1)
    tokens = (0, 0, 0) if fate == "refused" else (prompt - cached, cached, output)
    kind: Literal["answer", "refused", "cut"] = "answer"
    if fate in ("refused", "empty"):
        kind = "refused" if fate == "refused" else "cut"
    bill = BilledRequest(
        marker, number, f"up-{marker}-{number}", kind, *tokens, fate, time.monotonic()
    )
    return bill, chance


class Cut(Exception):
    """The answer breaks off here."""


async def answer(
    bill: BilledRequest, chance: random.Random, *, streamed: bool
) -> AsyncIterator[bytes]:
    """Yield the bytes of one answer, at their pace. Raises Cut."""
    path, fate = "/chat/completions", bill.fate
    if fate == "silent":
        await asyncio.sleep(3600)
    await asyncio.sleep(chance.uniform(0.3, 0.6) if fate == "slow" else chance.uniform(0, 0.1))
    if fate == "refused":
        yield _head(500, REFUSED) + REFUSED
        return
    if not streamed:
        data = whole(path, bill)
        if fate == "mute":
            body = jsonio.loads(data)
            del body["usage"]
            data = jsonio.dumps(body)
        yield _head(200, data)
        await asyncio.sleep(chance.uniform(0, 0.1))
        if fate in ("empty", "cut", "broken"):
            yield data[: 0 if fate == "empty" else len(data) // 2]
            raise Cut
        yield data
        return
    yield _head(200, None)
    pieces = frames(path, bill)
    if fate == "mute":
        del pieces[-2]
    for at, data in enumerate(pieces):
        if (fate == "empty" and at == 0) or (fate == "cut" and at == 3):
            raise Cut
        if fate == "broken" and at == 2:
            data = b"data: " + REFUSED + b"\n\n"  # noqa: PLW2901 - an error replaces the frame
        yield b"%x\r\n%b\r\n" % (len(data), data)
        if fate == "broken" and at == 2:
            raise Cut
        await asyncio.sleep(chance.uniform(0, 0.05))
    yield b"0\r\n\r\n"


def _head(status: int, data: bytes | None) -> bytes:
    if data is None:
        form = "content-type: text/event-stream\r\ntransfer-encoding: chunked"
    else:
        form = f"content-type: application/json\r\ncontent-length: {len(data)}"
    return f"HTTP/1.1 {status} Said\r\n{form}\r\n\r\n".encode()


async def serve(book: int, seed: str, fates: dict[Fate, int]) -> None:  # noqa: PLR0915 - closures
    numbers: Counter[str] = Counter()

    def note(row: msgspec.Struct) -> None:
        os.write(book, jsonio.dumps(row) + b"\n")

    async def write(
        bill: BilledRequest, chance: random.Random, writer: Any, *, streamed: bool
    ) -> None:
        """Record the end of an answer before its last bytes leave: after them its place is free."""
        held = b""
        try:
            async for data in answer(bill, chance, streamed=streamed):
                if held:
                    writer.write(held)
                    await writer.drain()
                held = data
        except Cut:
            note(Ended(bill.id, time.monotonic(), left=False))
            writer.write(held)
            raise
        note(Ended(bill.id, time.monotonic(), left=False))
        writer.write(held)
        await writer.drain()

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        bill: BilledRequest | None = None
        waiting: asyncio.Task[bytes] | None = None
        try:
            while True:
                start = b"" if waiting is None else await waiting
                head = start + await reader.readuntil(b"\r\n\r\n")
                lines = head.decode("latin-1").lower().split("\r\n")
                length = next(
                    int(line[15:]) for line in lines if line.startswith("content-length:")
                )
                body = jsonio.loads(await reader.readexactly(length))
                marker = body["messages"][0]["content"].split()[0]
                numbers[marker] += 1
                bill, chance = drawn(body, numbers[marker], seed, fates)
                note(bill)
                waiting = asyncio.create_task(reader.readexactly(1))
                work = asyncio.create_task(
                    write(bill, chance, writer, streamed=bool(body.get("stream")))
                )
                # Watch the connection too: the provider sees a close even while it is silent.
                await asyncio.wait((work, waiting), return_when=asyncio.FIRST_COMPLETED)
                if not work.done():
                    work.cancel()
                    await asyncio.gather(work, return_exceptions=True)
                    note(Ended(bill.id, time.monotonic(), left=True))
                await work
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError, Cut):
            pass  # the gateway was killed, or closed a connection it did not need
        finally:
            if waiting is not None:
                waiting.cancel()
                await asyncio.gather(waiting, return_exceptions=True)
            writer.close()

    server = await asyncio.start_server(connection, "127.0.0.1", 0, backlog=1024)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    drawable = {fate: often for fate, often in _FATES.items() if fate in sys.argv[3:]} or _FATES
    asyncio.run(serve(os.open(sys.argv[1], flags, 0o600), sys.argv[2], drawable))
