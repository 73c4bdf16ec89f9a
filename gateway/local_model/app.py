"""The HTTP endpoint of the provider, an ASGI app that relays all but chat completions unchanged."""

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

_CHAT_PATHS = frozenset({b"/v1/chat/completions", b"/chat/completions"})


class LocalModelApp:
    """The HTTP endpoint in front of one llama.cpp server."""

    def __init__(self, engine: LlamaClient) -> None:
        self._engine = engine

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; stop early if the client leaves."""
        body = await _read_body(receive)
        if body is None:
            return
        answer_task = asyncio.create_task(_send_reply(self._make_reply(scope, body), send))
        disconnect_task = asyncio.create_task(_wait_for_disconnect(receive))
        try:
            await asyncio.wait({answer_task, disconnect_task}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            disconnect_task.cancel()
            if not answer_task.done():
                answer_task.cancel()
            await asyncio.gather(answer_task, disconnect_task, return_exceptions=True)
        if not answer_task.cancelled():
            answer_task.result()  # raises its error, so that uvicorn cuts the connection

    def _make_reply(self, scope: Scope, body: bytes) -> Reply:
        path: bytes = scope["raw_path"]
        if scope["method"] == "POST" and path in _CHAT_PATHS:
            request = chat.read_request(body)
            if request is not None:
                return chat.make_reply(self._engine, request)
        query: bytes = scope["query_string"]
        target = path + b"?" + query if query else path
        return self._engine.relay(scope["method"], target, scope["headers"], body)


async def _read_body(receive: Receive) -> bytes | None:
    """Return the body of a request; None if the client left while it sent the body."""
    chunks: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        chunks.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(chunks)


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _send_reply(reply: Reply, send: Send) -> None:
    async with aclosing(reply):
        async for item in reply:
            if isinstance(item, AnswerHead):
                await send(
                    {
                        "type": "http.response.start",
                        "status": item.status,
                        "headers": item.headers,
                    }
                )
            else:
                await send({"type": "http.response.body", "body": item, "more_body": True})
    await send({"type": "http.response.body"})
