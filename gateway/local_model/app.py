"""The provider's HTTP door, an ASGI app that relays raw all but chat completions."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import aclosing
from typing import Any

from gateway.local_model import chat
from gateway.local_model.llama_client import AnswerHead, LlamaClient, Reply

type Scope = MutableMapping[str, Any]
type Message = MutableMapping[str, Any]
type Receive = Callable[[], Awaitable[Message]]
type Send = Callable[[Message], Awaitable[None]]

_CHAT = frozenset({b"/v1/chat/completions", b"/chat/completions"})


class LocalModelApp:
    """The door before one engine."""

    def __init__(self, engine: LlamaClient) -> None:
        self._engine = engine

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One exchange; it ends early when the client leaves."""
        body = await _read(receive)
        if body is None:
            return
        answering = asyncio.create_task(_write(self._reply(scope, body), send))
        leaving = asyncio.create_task(_left(receive))
        try:
            await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            leaving.cancel()
            if not answering.done():
                answering.cancel()
            await asyncio.gather(answering, leaving, return_exceptions=True)
        if not answering.cancelled():
            answering.result()  # raises what went wrong, so that uvicorn cuts the connection

    def _reply(self, scope: Scope, body: bytes) -> Reply:
        path: bytes = scope["raw_path"]
        if scope["method"] == "POST" and path in _CHAT:
            asked = chat.read(body)
            if asked is not None:
                return chat.reply(self._engine, asked)
        query: bytes = scope["query_string"]
        target = path + b"?" + query if query else path
        return self._engine.relay(scope["method"], target, scope["headers"], body)


async def _read(receive: Receive) -> bytes | None:
    """The body of a request; None when the client left while sending it."""
    pieces: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        pieces.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(pieces)


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _write(reply: Reply, send: Send) -> None:
    async with aclosing(reply):
        async for part in reply:
            if isinstance(part, AnswerHead):
                await send(
                    {
                        "type": "http.response.start",
                        "status": part.status,
                        "headers": part.headers,
                    }
                )
            else:
                await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body"})
