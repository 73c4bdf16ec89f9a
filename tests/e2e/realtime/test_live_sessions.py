"""Sessions in Google's form, by the real SDK behind a TLS proxy, and by plain clients."""

import asyncio
import contextlib
import signal
import ssl
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from google import genai
from websockets.exceptions import ConnectionClosed

from tests.contract.conftest import Certificates
from tests.e2e.realtime.conftest import (
    KEY,
    PROVIDER_SECRET,
    StartGateway,
    dial,
    receive,
    send,
    wait_for_rows,
)
from tests.e2e.realtime.provider import RealtimeProvider

PATH = "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent"


@contextlib.asynccontextmanager
async def tls_proxy(port: int, context: ssl.SSLContext) -> AsyncIterator[int]:
    """Decrypt for a gateway, as nginx does; yield the port."""

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(pipe(reader, up_writer), pipe(up_reader, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_the_sdk_talks_through_the_gateway(
    provider: RealtimeProvider, start_gateway: StartGateway, tmp_path: Path
) -> None:
    """Google's SDK opens TLS alone, so a proxy stands before the gateway."""
    certificates = Certificates(tmp_path)
    service = await start_gateway(keyed=True)
    async with tls_proxy(service.port, certificates.server("good")) as port:
        client = genai.Client(
            api_key=KEY,
            http_options={
                "base_url": f"http://localhost:{port}/",
                "async_client_args": {"ssl": certificates.client()},
            },
        )
        config: Any = {"response_modalities": ["TEXT"]}
        async with client.aio.live.connect(model="gemini-live", config=config) as session:
            for _ in range(2):
                turns: Any = {"role": "user", "parts": [{"text": "hi"}]}
                await session.send_client_content(turns=turns)
                texts = [message.text async for message in session.receive()]
                assert texts[0] == "Hello"
    rows = await wait_for_rows(service, 2)
    # 20 of text at 4, 100 of audio at 32, 40 of audio at 64
    assert [(row.state, row.model, row.cost, row.finish) for row in rows] == [
        ("settled", "gemini-live", Decimal("0.00584"), "turnComplete") for _ in range(2)
    ]
    assert rows[0].conversation == rows[1].conversation
    request = provider.requests[0]
    version = request.path.partition("generativelanguage.")[2].partition(".")[0]
    assert request.path == PATH.replace("v1beta", version)  # the SDK chooses
    assert request.headers["x-goog-api-key"] == PROVIDER_SECRET


async def test_the_key_in_the_address_reaches_no_provider_and_no_file(
    provider: RealtimeProvider, start_gateway: StartGateway
) -> None:
    service = await start_gateway(keyed=True, log={"calls": "all"})
    path = PATH.replace("v1beta", "v1alpha")
    async with dial(service, f"/{path}?key={KEY}") as connection:
        await send(connection, setup={"model": "models/gemini-live"})
        assert await receive(connection) == {"setupComplete": {}}
    await wait_for_rows(service, 1)
    assert provider.requests[0].path == path
    files = [path for path in service.folder.rglob("*") if path.is_file()]
    kept = b"".join(path.read_bytes() for path in files if path.name != "gateway.yaml")
    assert KEY.encode() not in kept
    assert KEY.encode() not in b"".join(request.serialize() for request in provider.requests)


async def test_an_alias_replaces_the_model_of_the_first_message(
    provider: RealtimeProvider, start_gateway: StartGateway
) -> None:
    service = await start_gateway(aliases={"speaker": "gemini-live"})
    async with dial(service, PATH) as connection:
        await connection.send('{"setup":{"model":"models/speaker","x":{ "y": 1.0 }}}')
        await receive(connection)
    assert provider.messages == [b'{"setup":{"model":"models/gemini-live","x":{ "y": 1.0 }}}']


@pytest.mark.parametrize(
    ("first", "code", "reason"),
    [
        ('{"clientContent":{}}', 1007, "the first message must be a setup"),
        ('{"setup":{"model":"models/auto"}}', 1007, "needs the name of a model"),
        ('{"setup":{"model":"models/nobody"}}', 1008, "does not serve the model"),
        ('{"setup":{"model":"models/gpt-realtime"}}', 1008, "serves Live sessions"),
    ],
)
async def test_a_refusal_is_a_close_frame(
    provider: RealtimeProvider, start_gateway: StartGateway, first: str, code: int, reason: str
) -> None:
    """Google's SDK reads its code and reason."""
    service = await start_gateway()
    async with dial(service, PATH) as connection:
        await connection.send(first)
        with pytest.raises(ConnectionClosed):
            await connection.recv()
        assert connection.close_code == code
        assert reason in (connection.close_reason or "")
    assert provider.requests == []


async def test_a_session_by_an_ephemeral_token_is_refused(start_gateway: StartGateway) -> None:
    service = await start_gateway()
    with pytest.raises(Exception, match="403"):
        async with dial(service, f"{PATH}Constrained"):
            pass


@pytest.mark.parametrize(
    ("first", "message"),
    [
        ('{"setup":{"model":"models/gemini-live","cachedContent":"cachedContents/z"}}', ""),
        (
            '{"setup":{"model":"models/gemini-live"}}',
            (
                '{"clientContent":{"turns":[{"parts":[{"fileData":{"fileUri":'
                '"https://generativelanguage.googleapis.com/v1beta/files/of-another"}}]}]}}'
            ),
        ),
    ],
)
async def test_an_object_of_another_key_ends_the_session(
    provider: RealtimeProvider, start_gateway: StartGateway, first: str, message: str
) -> None:
    """The message does not reach the provider."""
    service = await start_gateway(keyed=True)
    headers = {"x-goog-api-key": KEY}
    async with dial(service, PATH, additional_headers=headers) as connection:
        await connection.send(first)
        if message:
            assert await receive(connection) == {"setupComplete": {}}
            await connection.send(message)
        with pytest.raises(ConnectionClosed):
            await connection.recv()
        assert connection.close_code == 1008
        assert "This key has made no object" in (connection.close_reason or "")
    assert provider.messages == ([first.encode()] if message else [])


async def test_a_first_message_of_many_values_is_refused_unread(
    start_gateway: StartGateway,
) -> None:
    """A message of 3 MB that would take a gigabyte as values."""
    service = await start_gateway()
    async with dial(service, PATH) as connection:
        before = service.figure("VmHWM")
        await connection.send('{"setup":{"model":"x","y":[' + "[]," * 1_000_000 + "[]]}}")
        with pytest.raises(ConnectionClosed):
            await connection.recv()
        assert service.figure("VmHWM") - before < 30_000_000


async def test_a_stop_before_the_first_message_closes_with_1012(
    start_gateway: StartGateway,
) -> None:
    service = await start_gateway(server={"drain": 1})
    async with dial(service, PATH) as connection:
        service.send_signal(signal.SIGTERM)
        with pytest.raises(ConnectionClosed):
            await connection.recv()
        assert connection.close_code == 1012
