"""Make a call that asks for a complete answer, in the engine alone, and read what its client gets."""

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx

from gateway.core import jsonio
from gateway.core.call import Call, CompleteMode, RequestOptions
from gateway.core.ledger_rows import AttemptRow
from gateway.pipeline.response import Response
from tests.e2e.upstream import WORDS, chunk, frames
from tests.e2e.world import Config, chat, spared
from tests.pipeline.test_engine import Chunks, EngineFixture, drain

LO = chunk({"content": WORDS[1]})
TEXT = "".join(WORDS)
COST = Decimal("0.000019")
"""USD of the 7 input and 3 output tokens that the provider reports, at either target."""
LOST = Decimal("0.000010")
"""USD of an attempt that ends after "Hel": 6 input tokens and 1 output token, by estimate."""

FREE = Decimal(0)


class Waits(Chunks):
    """A body that signals when it has nothing more to send, until it is cut or gets its rest."""

    def __init__(self, *pieces: bytes) -> None:
        super().__init__(*pieces)
        self.waiting, self.cut = asyncio.Event(), asyncio.Event()
        self.rest = b""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in super().__aiter__():
            yield piece
        self.waiting.set()
        await self.cut.wait()
        if not self.rest:
            raise CUT
        yield self.rest


def priced(value: Config) -> None:
    """Give both targets of the smart tier one price."""
    spared(value)
    value["models"]["able-2"] = value["models"]["able-1"]


def made(folder: Path, *, cached: bool = False) -> EngineFixture:
    return EngineFixture(folder, cached=cached, change=priced)


def streamed(*pieces: bytes | Exception) -> httpx.Response:
    return httpx.Response(200, stream=Chunks(*pieces))


def other(*words: str, finish: str = "stop") -> httpx.Response:
    """Make a whole stream of the spare target, with a name of its own."""
    data = b"".join(frames(words or ("Hello", " you."), finish=finish))
    return streamed(data.replace(b'"up-1"', b'"up-2"').replace(b'"served-1"', b'"served-2"'))


async def ask(
    stage: EngineFixture, how: CompleteMode | None, id: str = "tg-1", **more: Any
) -> Response:
    members: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}, **more}
    call = Call(
        id=id, dialect="openai-chat", operation="generate", body=jsonio.dumps(chat(**members)),
        options=RequestOptions(complete=how), received_at=1e9, started_at=stage.now,
    )  # fmt: skip
    return await stage.engine.serve(call)


async def read(reply: Response) -> bytes:
    return reply.body if reply.stream is None else await drain(reply)


def text(data: bytes) -> str:
    """Return the text that a client reads."""
    words = ""
    for line in data.split(b"\n"):
        if line.startswith(b"data: {"):
            for choice in jsonio.loads(line[6:]).get("choices", ()):
                words += choice["delta"].get("content") or ""
    return words


def lost(stage: EngineFixture) -> list[AttemptRow]:
    return [row for row in stage.rows if isinstance(row, AttemptRow)]


def asked(stage: EngineFixture) -> list[str]:
    """Return the models that were asked, in order."""
    return [jsonio.loads(request.content)["model"] for request in stage.requests]


CUT = httpx.ReadError("gone")
