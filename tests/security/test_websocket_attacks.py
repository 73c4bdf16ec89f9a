"""WebSockets: frames that break the protocol or fill the memory, and messages that reach further."""

import asyncio
import struct
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus

from gateway.core import jsonio
from tests.e2e.realtime.conftest import (
    KEY,
    PROVIDER_SECRET,
    dial,
    provider,
    receive,
    receive_until,
    send,
    start_gateway,
)
from tests.e2e.realtime.provider import RealtimeProvider
from tests.e2e.service import Service

__all__ = ["provider", "start_gateway"]

type Start = Callable[..., Awaitable[Service]]

LIVE = "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent"
SMUGGLED = {
    "openai-organization": "org-other", "openai-project": "proj_other", "x-goog-user-project": "other", "cookie": "a=1",
    "x-forwarded-for": "10.0.0.1", "x-tiergate-other": "1", "proxy-authorization": "Basic x", "api-version": "x",
}  # fmt: skip
_MASK = b"\0\0\0\0"
_SECONDS = 20


def handshake(service: Service, *lines: str) -> bytes:
    head = [
        "GET /v1/realtime?model=gpt-realtime HTTP/1.1", f"host: localhost:{service.port}", "upgrade: websocket",
        "connection: Upgrade", "sec-websocket-version: 13", "sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==", *lines, "", "",
    ]  # fmt: skip
    return "\r\n".join(head).encode()


def frame(first: int, data: bytes, *, mask: bytes | None = _MASK, size: int | None = None) -> bytes:
    """Build a frame. `first` is its first byte: FIN, three reserved bits, the opcode."""
    length, bit = len(data) if size is None else size, 0x80 if mask is not None else 0
    if length < 126:
        head = bytes([first, bit | length])
    elif length < 65536:
        head = bytes([first, bit | 126]) + struct.pack(">H", length)
    else:
        head = bytes([first, bit | 127]) + struct.pack(">Q", length)
    return head + (mask or b"") + data


async def attack(service: Service, *pieces: bytes) -> bytes:
    """Open a session, write bytes, and return all that the gateway sends until it closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    try:
        async with asyncio.timeout(_SECONDS):
            writer.write(handshake(service))
            head = await reader.readuntil(b"\r\n\r\n")
            assert b" 101 " in head.split(b"\r\n")[0]
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def check_alive(service: Service) -> None:
    async with dial(service) as connection:
        assert (await receive(connection))["type"] == "session.created"
    assert "Traceback" not in service.err


BROKEN = {
    "unmasked": [frame(0x81, b"{}", mask=None)],
    "reserved bit of compression": [frame(0xC1, b"{}")],
    "other reserved bits": [frame(0xB1, b"{}")],
    "unknown opcode": [frame(0x83, b"{}")],
    "unknown control opcode": [frame(0x8B, b"")],
    "long ping": [frame(0x89, b"x" * 126)],
    "ping in fragments": [frame(0x09, b"x")],
    "continuation of nothing": [frame(0x80, b"x")],
    "a message within a message": [frame(0x01, b"x"), frame(0x81, b"y")],
    "a size of 2^63": [frame(0x82, b"", size=2**63)],
    "a size of 2^62": [frame(0x82, b"", size=2**62)],
    "a message that is too large": [frame(0x82, b"", size=2_000_000)],
    "endless fragments": [frame(0x02, b""), *[frame(0x00, b"x" * 60_000)] * 40],
    "a close of one byte": [frame(0x88, b"x")],
    "a close with an unknown code": [frame(0x88, struct.pack(">H", 99))],
    "HTTP in place of frames": [b"GET /admin/keys HTTP/1.1\r\nhost: localhost\r\n\r\n"],
}


async def test_no_broken_frame_reaches_the_provider(
    provider: RealtimeProvider, start_gateway: Start
) -> None:
    """The session ends; the gateway serves others."""
    service = await start_gateway(realtime={"max_message": 1_000_000})
    for name, pieces in BROKEN.items():
        answer = await attack(service, *pieces)
        assert b"HTTP/1.1" not in answer, name
        assert provider.messages == [], name
    await check_alive(service)


async def test_a_flood_of_frames_fills_no_memory(
    provider: RealtimeProvider, start_gateway: Start
) -> None:
    """Tiny frames, pings that want pongs, and messages that the provider does not read."""
    service = await start_gateway()
    await check_alive(service)
    before = service.figure("VmRSS")
    text = jsonio.dumps({"type": "input_audio_buffer.append", "audio": "x" * 20_000})
    for piece in (frame(0x00, b""), frame(0x89, b"x" * 100), frame(0x81, text)):
        flood = (frame(0x01, b"{") if piece[0] == 0 else b"") + piece * (4_000_000 // len(piece))
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
        writer.write(handshake(service))
        await reader.readuntil(b"\r\n\r\n")
        with pytest.raises((TimeoutError, ConnectionError)):  # noqa: PT012 - either may end it
            async with asyncio.timeout(3):
                while True:
                    writer.write(flood)
                    await writer.drain()
        assert service.figure("VmRSS") - before < 60_000_000
        writer.close()
    await check_alive(service)


async def test_no_message_is_compressed_on_either_side(
    provider: RealtimeProvider, start_gateway: Start
) -> None:
    """A compressed message could grow a thousandfold."""
    service = await start_gateway()
    async with dial(service, compression="deflate") as connection:
        await receive(connection)
        assert connection.response is not None
        assert "sec-websocket-extensions" not in connection.response.headers
    assert "sec-websocket-extensions" not in provider.requests[0].headers


async def test_no_header_of_a_handshake_chooses_an_account(
    provider: RealtimeProvider, start_gateway: Start
) -> None:
    """Neither as headers nor as the subprotocols that browsers have to use."""
    service = await start_gateway(keyed=True)
    offers = ["realtime", "openai-organization.org-other", "openai-project.proj_other"]
    headers = {**SMUGGLED, "authorization": f"Bearer {KEY}"}
    path = "/v1/realtime?model=gpt-realtime&organization=other&api-version=x&extra=1"
    async with dial(service, path, additional_headers=headers, subprotocols=offers) as connection:
        await receive(connection)
    sent = provider.requests[0].serialize().decode()
    assert provider.requests[0].path == "/v1/realtime?model=gpt-realtime"
    assert provider.requests[0].headers["authorization"] == f"Bearer {PROVIDER_SECRET}"
    assert [word for word in ("other", "10.0.0.1", "a=1", "cookie") if word in sent.lower()] == []


async def test_without_a_valid_key_no_handshake_reaches_a_provider(
    provider: RealtimeProvider, start_gateway: Start
) -> None:
    service = await start_gateway(keyed=True)
    for path in ("/v1/realtime?model=gpt-realtime", "/openai/realtime?deployment=gpt-realtime", LIVE, f"/{LIVE}"):  # fmt: skip
        for secret in (None, "", "wrong", KEY + "x"):
            headers = {} if secret is None else {"authorization": f"Bearer {secret}"}
            with pytest.raises(InvalidStatus) as caught:
                async with dial(service, path, additional_headers=headers):
                    pass
            assert caught.value.response.status_code == 401
    assert provider.requests == []


NAMING: list[dict[str, Any]] = [
    {"type": "conversation.item.create", "item": {"content": [{"type": "input_file", "file_id": "file-other"}]}},
    {"type": "session.update", "session": {"tools": [{"type": "file_search", "vector_store_ids": ["vs_other"]}]}},
    {"type": "response.create", "response": {"tools": [{"type": "code_interpreter", "container": "cntr_other"}]}},
]  # fmt: skip


async def test_no_message_of_a_session_names_a_file_of_another_key(
    provider: RealtimeProvider, start_gateway: Start
) -> None:
    """Nor any other stored object; not in fragments, nor in JSON that only some servers read."""
    service = await start_gateway()
    for text in (jsonio.dumps(event).decode() for event in NAMING):
        for message in (text, [text[:40], text[40:]], text.replace("{", '{"x":NaN,', 1)):
            async with dial(service) as connection:
                await receive(connection)
                await connection.send(message)
                assert await find_end(connection) == 1008
    assert not [data for data in provider.messages if b"other" in data]


LIVE_NAMING: list[dict[str, Any]] = [
    {"clientContent": {"turns": [{"parts": [{"fileData": {"fileUri": "https://generativelanguage.googleapis.com/v1beta/files/other"}}]}]}},
    {"client_content": {"turns": [{"parts": [{"file_data": {"file_uri": "files/other"}}]}]}},
    {"setup": {"model": "models/gemini-live", "systemInstruction": {"parts": [{"fileData": {"fileUri": "files/other"}}]}}},
    {"setup": {"model": "models/gemini-live", "tools": [{"fileSearch": {"fileSearchStoreNames": ["fileSearchStores/other"]}}]}},
]  # fmt: skip


async def test_no_message_of_a_live_session_names_a_file_of_another_key(
    provider: RealtimeProvider, start_gateway: Start
) -> None:
    service = await start_gateway()
    for turn in LIVE_NAMING:
        async with dial(service, LIVE) as connection:
            if "setup" not in turn:
                await connection.send(jsonio.dumps({"setup": {"model": "models/gemini-live"}}))
                await receive(connection)
            await connection.send(jsonio.dumps(turn))
            assert await find_end(connection) in (1007, 1008)
    assert not [data for data in provider.messages if b"other" in data]


NO_SETUP = [
    b'{"setup": {"model": "models/gemini-live", "model": "models/gemini-dear"}}',
    b'{"setup": {"model": "models/gemini-dear"}, "setup": {"model": "models/gemini-live"}}',
    b'{"setup": {}}', b'{"setup": {"model": 7}}', b'{"clientContent": {}}', b"[]", b"\xff", b"",
]  # fmt: skip


async def test_a_live_session_has_the_one_model_that_the_gateway_has_read(
    provider: RealtimeProvider, start_gateway: Start
) -> None:
    service = await start_gateway()
    for first in NO_SETUP:
        async with dial(service, LIVE) as connection:
            await connection.send(first)
            assert await find_end(connection) == 1007, first
    assert provider.requests == []


async def test_a_session_spends_no_more_than_the_budget(
    provider: RealtimeProvider, start_gateway: Start
) -> None:
    """Each response reserves anew. Without room the message stays here, and the session ends."""
    budget = {"name": "all", "usd": 1.4, "every": "day"}
    service = await start_gateway(budgets=[budget])
    async with dial(service) as connection:
        await receive(connection)
        with pytest.raises(ConnectionClosed):  # noqa: PT012 - the responses before the end
            for _ in range(200):
                await send(connection, type="response.create")
                await receive_until(connection, "response.done")
        assert connection.close_code == 1008
    asked = sum(b"response.create" in data for data in provider.messages)
    rows = await asyncio.to_thread(service.entries)
    spent = sum(row.cost or 0 for row in rows)
    assert 0 < asked == sum(row.state == "settled" for row in rows)
    assert spent <= 1.4


async def find_end(connection: ClientConnection) -> int | None:
    """Read to the end of a session, and return its close code."""
    async with asyncio.timeout(_SECONDS):
        try:
            while True:
                await connection.recv()
        except ConnectionClosed:
            return connection.close_code
