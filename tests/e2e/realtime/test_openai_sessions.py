"""Sessions in OpenAI's form, by the real SDK and by plain clients, through a gateway process."""

import asyncio
from decimal import Decimal

import pytest
from openai import AsyncOpenAI
from websockets.exceptions import ConnectionClosed, InvalidStatus

from gateway.core import jsonio
from tests.e2e.realtime.conftest import (
    KEY,
    PROVIDER_SECRET,
    StartGateway,
    dial,
    receive,
    receive_until,
    sections,
    send,
    wait_for_rows,
)
from tests.e2e.realtime.provider import RealtimeProvider


async def test_the_sdk_talks_through_the_gateway(
    provider: RealtimeProvider, start_gateway: StartGateway
) -> None:
    """Each response is a row with its own cost; all rows share a conversation."""
    service = await start_gateway()
    client = AsyncOpenAI(api_key="x", base_url=f"http://127.0.0.1:{service.port}/v1")
    async with client.realtime.connect(model="gpt-realtime") as connection:
        assert (await connection.recv()).type == "session.created"
        await connection.session.update(session={"type": "realtime", "instructions": "hi"})
        assert (await connection.recv()).type == "session.updated"
        for _ in range(2):
            await connection.response.create()
            types = [(await connection.recv()).type for _ in range(4)]
            assert types == [
                "response.created",
                "response.output_text.delta",
                "response.output_text.delta",
                "response.done",
            ]
    rows = await wait_for_rows(service, 2)
    assert [(row.state, row.status, row.model, row.cost) for row in rows] == [
        ("settled", 200, "gpt-realtime", Decimal("0.00816")) for _ in range(2)
    ]
    assert [row.response_id for row in rows] == ["resp_1", "resp_2"]
    assert [row.operation for row in rows] == ["realtime", "realtime"]
    assert rows[0].media == {"input_audio": 200, "cache_read_audio": 80, "output_audio": 60}
    assert rows[0].conversation
    assert rows[0].conversation == rows[1].conversation
    request = provider.requests[0]
    assert request.path == "/v1/realtime?model=gpt-realtime"
    assert request.headers["authorization"] == f"Bearer {PROVIDER_SECRET}"
    assert "sec-websocket-extensions" not in request.headers


async def test_frames_pass_byte_for_byte(start_gateway: StartGateway) -> None:
    """White space, binary messages and fragments arrive as they were sent."""
    service = await start_gateway()
    text = '{ "test":"echo",  "x": 1.0e3, "é": "\\u00e9" }'
    async with dial(service) as connection:
        await receive(connection)
        await connection.send(text)
        assert await connection.recv() == text
        await connection.send(text.encode())
        assert await connection.recv() == text.encode()
        await connection.send([text[:5], text[5:9], text[9:]])
        assert await connection.recv() == text
        await connection.send('{"test":"fragments","é":"ü"}')
        parts = [part async for part in connection.recv_streaming()]
        assert len(parts) == 5  # the sender ends with an empty frame
        assert "".join(map(str, parts)) == '{"test":"fragments","é":"ü"}'


async def test_an_alias_reaches_the_model(
    provider: RealtimeProvider, start_gateway: StartGateway
) -> None:
    service = await start_gateway()
    async with dial(service, "/v1/realtime?model=voice") as connection:
        await receive(connection)
    assert provider.requests[0].path == "/v1/realtime?model=gpt-realtime"


@pytest.mark.parametrize("model", ["auto", "smart", "", "acme/auto"])
async def test_no_tier_serves_a_session(start_gateway: StartGateway, model: str) -> None:
    service = await start_gateway()
    with pytest.raises(InvalidStatus) as caught:
        async with dial(service, f"/v1/realtime?model={model}"):
            pass
    assert caught.value.response.status_code == 400
    assert b"needs the name of a model" in caught.value.response.body
    [row] = await wait_for_rows(service, 1)
    assert (row.state, row.status, row.asked) == ("refused", 400, model)
    assert row.operation == "realtime"


async def test_a_model_without_sessions_is_refused(start_gateway: StartGateway) -> None:
    service = await start_gateway()
    with pytest.raises(InvalidStatus) as caught:
        async with dial(service, "/v1/realtime?model=gem-1"):
            pass
    assert caught.value.response.status_code == 400
    assert b"serves Realtime sessions" in caught.value.response.body


async def test_a_refused_handshake_is_answered_in_the_dialect(
    provider: RealtimeProvider, start_gateway: StartGateway
) -> None:
    """The provider's refusal reaches the client, and leaves rows of an attempt and of the call."""
    service = await start_gateway()
    body = jsonio.dumps({"error": {"message": "no such model", "code": "model_not_found"}})
    provider.refusal = 404, body
    with pytest.raises(InvalidStatus) as caught:
        async with dial(service):
            pass
    assert caught.value.response.status_code == 404
    assert b"no such model" in caught.value.response.body
    [row] = await wait_for_rows(service, 1)
    assert (row.state, row.problem) == ("failed", "upstream_model")
    assert row.cost == 0


async def test_another_account_takes_the_session(
    provider: RealtimeProvider, start_gateway: StartGateway
) -> None:
    """Its row has the account that served, and tells of both attempts."""
    value = sections(provider.url)["providers"]
    value["acme"]["accounts"] = {"main": "sk-refused-0123456789", "spare": PROVIDER_SECRET}
    provider.refused_secret = "sk-refused-0123456789"
    service = await start_gateway(providers=value)
    async with dial(service) as connection:
        await receive(connection)
        for _ in range(2):
            await send(connection, type="response.create")
            await receive_until(connection, "response.done")
    rows = await wait_for_rows(service, 2)
    assert [(row.account, row.attempts) for row in rows] == [("spare", 2), ("spare", 1)]
    assert [row.cost for row in rows] == [Decimal("0.00816")] * 2


async def test_a_session_ends_once_its_key_is_revoked(start_gateway: StartGateway) -> None:
    """At the next response, at the latest."""
    service = await start_gateway(keyed=True)
    headers = {"authorization": f"Bearer {KEY}"}
    async with dial(service, additional_headers=headers) as connection:
        await receive(connection)
        keys = service.folder.parent / "keys.yaml"
        other = {"other": {"sha256": "0" * 64}}
        keys.write_bytes(jsonio.dumps(other))
        types = set[str]()

        async def talk() -> None:
            while True:
                await send(connection, type="response.create")
                types.add((event := await receive(connection))["type"])
                while event["type"] != "response.done":
                    types.add((event := await receive(connection))["type"])
                await asyncio.sleep(0.2)

        with pytest.raises(ConnectionClosed):
            await asyncio.wait_for(talk(), 20)
        assert connection.close_code == 1008
    assert "error" in types


async def test_an_unreachable_provider_is_a_bad_gateway(
    provider: RealtimeProvider, start_gateway: StartGateway
) -> None:
    service = await start_gateway()
    await provider.stop()
    with pytest.raises(InvalidStatus) as caught:
        async with dial(service):
            pass
    assert caught.value.response.status_code == 502
    await provider.start()


async def test_a_transcription_has_a_row_at_its_own_price(start_gateway: StartGateway) -> None:
    """The model that transcribes the user's words is another one than the session's."""
    service = await start_gateway()
    async with dial(service) as connection:
        audio = {"input": {"transcription": {"model": "gpt-4o-transcribe"}}}
        await send(connection, type="session.update", session={"type": "realtime", "audio": audio})
        await receive_until(connection, "session.updated")
        await send(connection, type="input_audio_buffer.commit")
        await receive_until(connection, "conversation.item.input_audio_transcription.completed")
    rows = await wait_for_rows(service, 2)
    row = next(row for row in rows if row.state == "settled")
    assert (row.model, row.asked) == ("gpt-4o-transcribe", "gpt-4o-transcribe")
    assert row.cost == Decimal("0.00026")  # 30 tokens of audio at 6, 5 of text at 16


async def test_a_transcription_session_names_its_model_in_a_message(
    provider: RealtimeProvider, start_gateway: StartGateway
) -> None:
    service = await start_gateway()
    async with dial(service, "/v1/realtime?intent=transcription") as connection:
        transcription = {"model": "gpt-4o-transcribe"}
        session = {"input_audio_transcription": transcription}
        await send(connection, type="session.update", session=session)
        await receive_until(connection, "session.updated")
        await send(connection, type="input_audio_buffer.commit")
        await receive_until(connection, "conversation.item.input_audio_transcription.completed")
    assert provider.requests[0].path == "/v1/realtime?intent=transcription"
    rows = await wait_for_rows(service, 2)
    assert [row.cost for row in rows if row.state == "settled"] == [Decimal("0.00026")]


async def test_a_session_without_a_response_leaves_one_free_row(
    start_gateway: StartGateway,
) -> None:
    service = await start_gateway()
    async with dial(service) as connection:
        await receive(connection)
    [row] = await wait_for_rows(service, 1)
    assert (row.state, row.aborted_by, row.attempts) == ("aborted", "client", 0)
    assert row.cost == 0
    assert row.finish == "no_response"


async def test_a_client_that_vanishes_leaves_the_row_of_its_response(
    start_gateway: StartGateway,
) -> None:
    """What the response may cost stays charged."""
    service = await start_gateway()
    async with dial(service) as connection:
        await receive(connection)
        await send(connection, test="hang", type="response.create")
        await receive_until(connection, "response.created")
        connection.transport.abort()
    [row] = await wait_for_rows(service, 1)
    assert (row.state, row.status, row.aborted_by) == ("aborted", 499, "client")
    assert row.cost is None
    assert row.reserved is not None
    assert row.reserved > 1


async def test_a_provider_that_vanishes_is_an_error_and_a_row(start_gateway: StartGateway) -> None:
    service = await start_gateway()
    async with dial(service) as connection:
        await receive(connection)
        await send(connection, test="hang", type="response.create")
        await receive_until(connection, "response.created")
        await send(connection, test="vanish", type="response.cancel")
        event = await receive_until(connection, "error")
        assert event["error"]["code"] == "upstream_truncated"
        with pytest.raises(ConnectionClosed):
            await connection.recv()
        assert connection.close_code == 1011
    [row] = await wait_for_rows(service, 1)
    assert (row.state, row.aborted_by, row.problem) == ("aborted", "upstream", "upstream_truncated")


async def test_a_close_code_of_the_provider_reaches_the_client(start_gateway: StartGateway) -> None:
    service = await start_gateway()
    async with dial(service) as connection:
        await receive(connection)
        await send(connection, test="close", code=4008, type="response.cancel")
        with pytest.raises(ConnectionClosed):
            await receive(connection)
        assert (connection.close_code, connection.close_reason) == (4008, "as asked")


async def test_a_close_of_the_client_reaches_the_provider(
    provider: RealtimeProvider, start_gateway: StartGateway
) -> None:
    service = await start_gateway()
    async with dial(service) as connection:
        await receive(connection)
    async with asyncio.timeout(5):
        await provider.connections[0].wait_closed()
    assert provider.connections[0].close_code == 1000


async def test_the_key_may_stand_in_a_subprotocol_or_in_the_address(
    provider: RealtimeProvider, start_gateway: StartGateway
) -> None:
    """As browsers must send it. It goes to no provider, into no log and no row."""
    service = await start_gateway(keyed=True, log={"calls": "all"})
    offers = ["realtime", f"openai-insecure-api-key.{KEY}", "openai-beta.realtime-v1"]
    async with dial(service, subprotocols=offers) as connection:
        assert connection.subprotocol == "realtime"
        await receive(connection)
        await send(connection, type="response.create")
        await receive_until(connection, "response.done")
    async with dial(service, f"/openai/realtime?deployment=gpt-realtime&api-key={KEY}") as one:
        await receive(one)
    with pytest.raises(InvalidStatus) as caught:
        async with dial(service, f"/v1/realtime?model=gpt-realtime&key={KEY}-wrong"):
            pass
    assert caught.value.response.status_code == 401
    await wait_for_rows(service, 2)
    sent = b"".join(request.serialize() for request in provider.requests)
    assert b"openai-beta.realtime-v1" in sent
    files = [path for path in service.folder.rglob("*") if path.is_file()]
    kept = b"".join(path.read_bytes() for path in files if path.name != "gateway.yaml")
    for secret in (KEY, PROVIDER_SECRET):
        assert secret.encode() not in kept
    assert KEY.encode() not in sent


async def test_two_different_keys_are_refused(start_gateway: StartGateway) -> None:
    service = await start_gateway(keyed=True)
    with pytest.raises(InvalidStatus) as caught:
        async with dial(
            service,
            f"/v1/realtime?model=gpt-realtime&api-key={KEY}",
            subprotocols=["realtime", "openai-insecure-api-key.other"],
        ):
            pass
    assert caught.value.response.status_code == 400


@pytest.mark.parametrize(
    ("cors", "keyed", "origin", "passes"),
    [
        ([], False, "https://evil.example", False),
        ([], False, "null", False),
        ([], False, "http://localhost:5173", True),
        ([], False, "app://obsidian", True),
        (["https://good.example"], False, "https://good.example", True),
        ([], True, "https://evil.example", False),
        ([], True, "null", False),
        ([], True, "http://localhost:5173", False),
        ([], True, "app://obsidian", True),
        (["https://good.example"], True, "https://good.example", True),
        (["https://good.example"], True, "https://evil.example", False),
    ],
)
async def test_only_pages_that_may_call_open_a_session(
    provider: RealtimeProvider,
    start_gateway: StartGateway,
    cors: list[str],
    keyed: bool,
    origin: str,
    passes: bool,
) -> None:
    """No preflight protects a WebSocket: the gateway checks the origin, with a key too."""
    service = await start_gateway(server={"cors": cors}, keyed=keyed)
    headers = {"authorization": f"Bearer {KEY}"}
    if passes:
        async with dial(service, origin=origin, additional_headers=headers) as connection:
            await receive(connection)
        return
    with pytest.raises(InvalidStatus) as caught:
        async with dial(service, origin=origin, additional_headers=headers):
            pass
    assert caught.value.response.status_code == 403
    assert provider.requests == []


@pytest.mark.parametrize(
    "path",
    [
        "/v1/realtime/client_secrets",
        "/v1/realtime/sessions",
        "/v1/realtime/transcription_sessions",
        "/v1/realtime/calls",
        "/v1/realtime/calls/call_1/hangup",
        "/v1beta/auth_tokens",
        "/v1alpha/auth_tokens",
    ],
)
async def test_ephemeral_secrets_and_webrtc_are_refused(
    start_gateway: StartGateway, path: str
) -> None:
    service = await start_gateway()
    async with AsyncOpenAI(
        api_key="x", base_url=f"http://127.0.0.1:{service.port}", max_retries=0
    ) as client:
        with pytest.raises(Exception, match="past all limits and budgets") as caught:
            await client.post(path, cast_to=object, body={})
    assert getattr(caught.value, "status_code", None) == 403


async def test_a_call_id_is_refused(start_gateway: StartGateway) -> None:
    service = await start_gateway()
    with pytest.raises(InvalidStatus) as caught:
        async with dial(service, "/v1/realtime?call_id=rtc_1"):
            pass
    assert caught.value.response.status_code == 403


async def test_other_paths_serve_no_websocket(start_gateway: StartGateway) -> None:
    """Codex falls back to HTTP on 426."""
    service = await start_gateway()
    for path, status in (("/v1/responses", 426), ("/v1/nothing", 404)):
        with pytest.raises(InvalidStatus) as caught:
            async with dial(service, path):
                pass
        assert caught.value.response.status_code == status
