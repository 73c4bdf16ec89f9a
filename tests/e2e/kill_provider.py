"""A provider in a process of its own, which outlives every gateway and bills by its own count.

Run as `python -m tests.e2e.kill_provider BILL SEED [STALLS]`; it prints its address. It speaks both
dialects and takes its time. It writes a line to the file BILL before the first byte of each answer.
From then on the call costs, even if nobody is left to read it. It refuses some requests, which
costs nothing. It breaks some answers off before their first content, and they cost as much as whole
ones. It stalls a share STALLS of the answers, before or after they begin, and never ends them.
"""

import asyncio
import os
import random
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Literal

import msgspec

from gateway.core import jsonio


class ProviderBill(msgspec.Struct, frozen=True):
    """The cost of one request, in tokens."""

    marker: str
    """The text that the client wrote into its prompt."""
    number: int
    """The position of this request among those for its prompt, from 1."""
    id: str
    """The provider's own id, as its answer has it."""
    kind: Literal["answer", "refused", "cut", "stalled"]
    input: int
    """Fresh input tokens, not read from the cache."""
    cached: int
    output: int


def bills(file: Path) -> list[ProviderBill]:
    """Return the bill of every request that came, in order."""
    return [
        msgspec.convert(jsonio.loads(line), ProviderBill) for line in file.read_bytes().splitlines()
    ]


def drawn(
    marker: str, number: int, seed: str, stalls: float = 0.0
) -> tuple[ProviderBill, random.Random]:
    """Draw the bill of a request from the seed, and return the random generator for its pace."""
    chance = random.Random(f"{seed} {marker} {number}")
    draw = chance.randrange
    tokens = draw(1, 500), draw(0, 300), draw(1, 200)
    id = f"up-{marker}-{number}"
    fate = chance.random()
    if stalls and number == 1 and chance.random() < stalls:
        return ProviderBill(marker, number, id, "stalled", *tokens), chance
    # Seldom enough that a lab has a retry left for each: a call brings it 0.15 of one.
    if number > 2 or fate > 0.12:  # after two failures the call gets its answer
        return ProviderBill(marker, number, id, "answer", *tokens), chance
    if number > 1 or fate > 0.05:  # after a cut answer the gateway does not retry at the same host
        return ProviderBill(marker, number, id, "refused", 0, 0, 0), chance
    return ProviderBill(marker, number, id, "cut", *tokens), chance


def chat(bill: ProviderBill) -> dict[str, Any]:
    prompt = bill.input + bill.cached
    return {
        "prompt_tokens": prompt,
        "completion_tokens": bill.output,
        "total_tokens": prompt + bill.output,
        "prompt_tokens_details": {"cached_tokens": bill.cached},
    }


def messages(bill: ProviderBill, output: int | None = None) -> dict[str, Any]:
    return {
        "input_tokens": bill.input,
        "cache_read_input_tokens": bill.cached,
        "output_tokens": bill.output if output is None else output,
    }


def whole(path: str, bill: ProviderBill) -> bytes:
    if path.endswith("/chat/completions"):
        value = {
            "index": 0,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": "Hi."},
        }
        usage: dict[str, Any] = {
            "id": bill.id,
            "object": "chat.completion",
            "created": 1,
            "model": "m",
            "choices": [value],
            "usage": chat(bill),
        }
    else:
        text = {"type": "text", "text": "Hi."}
        usage = {
            "id": bill.id,
            "type": "message",
            "role": "assistant",
            "model": "m",
            "content": [text],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": messages(bill),
        }
    return jsonio.dumps(usage)


def frames(path: str, bill: ProviderBill) -> list[bytes]:
    if path.endswith("/chat/completions"):
        head = {"id": bill.id, "object": "chat.completion.chunk", "created": 1, "model": "m"}

        def data(choices: list[dict[str, Any]], **more: Any) -> bytes:
            return b"data: " + jsonio.dumps({**head, "choices": choices, **more}) + b"\n\n"

        words = [
            data([{"index": 0, "delta": {"content": f"w{at} "}, "finish_reason": None}])
            for at in range(6)
        ]
        end = data([{"index": 0, "delta": {}, "finish_reason": "stop"}])
        return [*words, end, data([], usage=chat(bill)), b"data: [DONE]\n\n"]

    def event(kind: str, **more: Any) -> bytes:
        return f"event: {kind}\ndata: ".encode() + jsonio.dumps({"type": kind, **more}) + b"\n\n"

    message: dict[str, Any] = {
        "id": bill.id,
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
    }
    words = [
        event("content_block_delta", index=0, delta={"type": "text_delta", "text": f"w{at} "})
        for at in range(6)
    ]
    return [
        event("message_start", message={**message, "usage": messages(bill, 1)}),
        event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        *words,
        event("content_block_stop", index=0),
        event("message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, usage={"output_tokens": bill.output}),
        event("message_stop"),
    ]  # fmt: skip


class KillCut(Exception):
    """The answer breaks off here."""


async def answer(
    path: str, body: bytes, number: int, book: int, seed: str, stalls: float = 0.0
) -> AsyncIterator[bytes]:
    """Yield the bytes of one answer, at their pace; bill it before the first. Raises Cut."""
    request = jsonio.loads(body)
    bill, chance = drawn(request["messages"][0]["content"], number, seed, stalls)
    await asyncio.sleep(chance.uniform(0, 0.05))
    os.write(book, jsonio.dumps(bill) + b"\n")
    if bill.kind == "refused":
        yield _head(500, bill, REFUSED)
        yield REFUSED
        return
    if not request.get("stream"):
        data = whole(path, bill)
        if bill.kind == "stalled":
            await asyncio.Event().wait()
        yield _head(200, bill, data)
        await asyncio.sleep(chance.uniform(0, 0.05))
        if bill.kind == "cut":
            yield data[: len(data) // 2]
            raise KillCut
        yield data
        return
    yield _head(200, bill, None)
    last = chance.choice((0, 4)) if bill.kind == "stalled" else -1
    for at, data in enumerate(frames(path, bill)):
        if at == last:
            await asyncio.Event().wait()
        if bill.kind == "cut" and at == (0 if "chat" in path else 1):
            raise KillCut
        yield b"%x\r\n%b\r\n" % (len(data), data)
        await asyncio.sleep(chance.uniform(0, 0.03))
    yield b"0\r\n\r\n"


REFUSED = b'{"error":{"message":"No.","type":"server_error"}}'


def _head(status: int, bill: ProviderBill, data: bytes | None) -> bytes:
    """Return the head of an answer in one piece, or of a stream."""
    if data is None:
        form = "content-type: text/event-stream\r\ntransfer-encoding: chunked"
    else:
        form = f"content-type: application/json\r\ncontent-length: {len(data)}"
    return f"HTTP/1.1 {status} Said\r\nx-request-id: {bill.id}\r\n{form}\r\n\r\n".encode()


async def _tell(
    pieces: AsyncIterator[bytes], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Write an answer until the gateway closes."""

    async def write() -> None:
        async for data in pieces:
            writer.write(data)
            await writer.drain()

    writing = asyncio.ensure_future(write())
    gone = asyncio.ensure_future(_gone(reader))
    await asyncio.wait({writing, gone}, return_when=asyncio.FIRST_COMPLETED)
    gone.cancel()
    if not writing.done():
        writing.cancel()
        raise ConnectionError
    await writing


async def _gone(reader: asyncio.StreamReader) -> None:
    while not reader.at_eof():  # noqa: ASYNC110 - must not read the bytes of a next request
        await asyncio.sleep(0.05)


async def serve(book: int, seed: str, stalls: float) -> None:
    numbers: Counter[str] = Counter()

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                line, *lines = head.decode("latin-1").split("\r\n")
                length = next(
                    int(header_line[15:])
                    for header_line in lines
                    if header_line.startswith("content-length:")
                )
                body = await reader.readexactly(length)
                marker = jsonio.loads(body)["messages"][0]["content"]
                numbers[marker] += 1
                reply = answer(line.split()[1], body, numbers[marker], book, seed, stalls)
                await _tell(reply, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, KillCut):
            pass  # the gateway was killed, or closed a connection it did not need
        finally:
            writer.close()

    server = await asyncio.start_server(connection, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    print(f"http://127.0.0.1:{port}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    share = float(sys.argv[3]) if sys.argv[3:] else 0.0
    asyncio.run(serve(os.open(sys.argv[1], flags, 0o600), sys.argv[2], share))
