"""A provider of sessions in both forms: it answers, echoes, floods, hangs and vanishes on demand."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.http11 import Request, Response

from gateway.core import jsonio

USAGE = {
    "total_tokens": 330,
    "input_tokens": 250,
    "output_tokens": 80,
    "input_token_details": {
        "text_tokens": 50,
        "audio_tokens": 200,
        "cached_tokens": 100,
        "cached_tokens_details": {"text_tokens": 20, "audio_tokens": 80},
    },
    "output_token_details": {"text_tokens": 20, "audio_tokens": 60},
}
LIVE_USAGE = {
    "promptTokenCount": 120,
    "responseTokenCount": 40,
    "totalTokenCount": 160,
    "promptTokensDetails": [
        {"modality": "TEXT", "tokenCount": 20},
        {"modality": "AUDIO", "tokenCount": 100},
    ],
    "responseTokensDetails": [{"modality": "AUDIO", "tokenCount": 40}],
}


class RealtimeProvider:
    """Servers on one port; what clients sent is kept."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.messages: list[bytes] = []
        self.connections: list[ServerConnection] = []
        self.refusal: tuple[int, bytes] | None = None
        """The status and body with which it refuses handshakes."""
        self.refused_secret = "no such secret"
        """The credential whose handshakes it refuses."""
        self._response_count = 0
        self._server: Server | None = None

    async def start(self) -> None:
        self._server = await serve(
            self._serve,
            "127.0.0.1",
            0,
            process_request=self._process_request,
            select_subprotocol=lambda _, offers: offers[0] if offers else None,
            max_size=None,
            compression="deflate",
            ping_interval=None,
        )

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{next(iter(self._server.sockets)).getsockname()[1]}"

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    async def _process_request(self, _: ServerConnection, request: Request) -> Response | None:
        self.requests.append(request)
        refusal = self.refusal
        if self.refused_secret in request.headers.get("authorization", ""):
            refusal = 401, b'{"error":{"message":"bad key","code":"invalid_api_key"}}'
        if refusal is None:
            return None
        status, body = refusal
        response = Response(status, "no", type(request.headers)(), body)
        response.headers["content-length"] = str(len(body))
        response.headers["content-type"] = "application/json"
        return response

    async def _serve(self, connection: ServerConnection) -> None:
        self.connections.append(connection)
        is_live = "BidiGenerateContent" in self.requests[-1].path
        if not is_live:
            await _send(connection, {"type": "session.created", "session": {"type": "realtime"}})
        async for data in connection:
            raw = data.encode() if isinstance(data, str) else data
            self.messages.append(raw)
            event = jsonio.loads(raw)
            if "test" in event:
                await self._obey(connection, event, data)
            elif is_live:
                await self._answer_live(connection, event)
            else:
                await self._answer(connection, event)

    async def _answer(self, connection: ServerConnection, event: dict[str, Any]) -> None:
        if event["type"] == "session.update":
            await _send(connection, {"type": "session.updated", "session": event["session"]})
        elif event["type"] == "response.create":
            id = await self.begin_response(connection)
            for word in ("Hel", "lo"):
                delta = {"type": "response.output_text.delta", "response_id": id, "delta": word}
                await _send(connection, delta)
            await self.end_response(connection, id)
        elif event["type"] == "input_audio_buffer.commit":
            transcription = {
                "type": "conversation.item.input_audio_transcription.completed",
                "transcript": "hi",
                "usage": {
                    "type": "tokens",
                    "input_tokens": 30,
                    "output_tokens": 5,
                    "total_tokens": 35,
                    "input_token_details": {"audio_tokens": 30, "text_tokens": 0},
                },
            }
            await _send(connection, transcription)

    async def begin_response(self, connection: ServerConnection) -> str:
        self._response_count += 1
        id = f"resp_{self._response_count}"
        response = {"id": id, "object": "realtime.response", "status": "in_progress"}
        await _send(connection, {"type": "response.created", "response": response})
        return id

    async def end_response(self, connection: ServerConnection, id: str) -> None:
        response = {"id": id, "object": "realtime.response", "status": "completed", "usage": USAGE}
        await _send(connection, {"type": "response.done", "response": response})

    async def _answer_live(self, connection: ServerConnection, event: dict[str, Any]) -> None:
        if "setup" in event:
            await _send_binary(connection, {"setupComplete": {}})
        elif "client_content" in event or "clientContent" in event:
            content = {"modelTurn": {"role": "model", "parts": [{"text": "Hello"}]}}
            await _send_binary(connection, {"serverContent": content})
            end = {"serverContent": {"turnComplete": True}, "usageMetadata": LIVE_USAGE}
            await _send_binary(connection, end)

    async def _obey(
        self, connection: ServerConnection, event: dict[str, Any], data: str | bytes
    ) -> None:
        match event["test"]:
            case "echo":
                await connection.send(data)
            case "fragments":
                await connection.send([part async for part in _split(data)])
            case "flood":
                text = '{"type":"rate_limits.updated","x":"' + "x" * event["size"] + '"}'
                for _ in range(event["count"]):
                    await connection.send(text)
            case "hang":
                await self.begin_response(connection)
            case "late":
                await asyncio.sleep(0.2)
                await self.begin_response(connection)
            case "vanish":
                connection.transport.abort()
            case "close":
                await connection.close(event["code"], "as asked")


async def _split(data: str | bytes) -> AsyncIterator[str | bytes]:
    for start in range(0, len(data), 7):
        yield data[start : start + 7]


async def _send(connection: ServerConnection, event: dict[str, Any]) -> None:
    await connection.send(jsonio.dumps({"event_id": "event_1", **event}).decode())


async def _send_binary(connection: ServerConnection, event: dict[str, Any]) -> None:
    await connection.send(jsonio.dumps(event))


@contextlib.asynccontextmanager
async def realtime_provider() -> AsyncIterator[RealtimeProvider]:
    provider = RealtimeProvider()
    await provider.start()
    try:
        yield provider
    finally:
        await asyncio.wait_for(provider.stop(), 10)
