"""Bounds of a session: bytes, memory, silence, time; and how a gateway stops or dies amid one."""

import asyncio
import signal
import socket
import time
from decimal import Decimal
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from gateway.core import jsonio
from tests.e2e.realtime.conftest import (
    StartGateway,
    dial,
    receive,
    receive_until,
    send,
    wait_for_rows,
)
from tests.e2e.realtime.provider import RealtimeProvider

HANDSHAKE = (
    b"GET /v1/realtime?model=gpt-realtime HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\n"
    b"connection: upgrade\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    b"sec-websocket-version: 13\r\n\r\n"
)


@pytest.mark.parametrize("count", [1, 3])
async def test_a_message_that_is_too_big_ends_the_session(
    provider: RealtimeProvider, start_gateway: StartGateway, count: int
) -> None:
    """The bound holds for a message, however many frames it has."""
    service = await start_gateway(realtime={"max_message": "100KB"})
    async with dial(service) as connection:
        await receive(connection)
        await connection.send('{"test":"echo","x":"' + "x" * 90_000 + '"}')
        assert len(await connection.recv()) > 90_000
        await connection.send(["x" * (120_000 // count)] * count)
        with pytest.raises(ConnectionClosed):
            await connection.recv()
        assert connection.close_code == 1009
        assert "100000" in (connection.close_reason or "")
    assert len(provider.messages) == 1
    await wait_for_rows(service, 1)


async def test_a_message_of_the_provider_that_is_too_big_ends_the_session(
    start_gateway: StartGateway,
) -> None:
    service = await start_gateway(realtime={"max_message": "100KB"})
    async with dial(service) as connection:
        await receive(connection)
        await send(connection, test="flood", size=120_000, count=1, type="response.cancel")
        event = await receive_until(connection, "error")
        assert "100000 bytes" in event["error"]["message"]
        with pytest.raises(ConnectionClosed):
            await connection.recv()
        assert connection.close_code == 1009


@pytest.mark.parametrize("name", ["idle", "length"])
async def test_silence_and_length_end_a_session(start_gateway: StartGateway, name: str) -> None:
    service = await start_gateway(realtime={name: "500ms"})
    started_at = time.monotonic()
    async with dial(service) as connection:
        await receive(connection)
        with pytest.raises(ConnectionClosed):
            await receive(connection)
        assert 0.3 < time.monotonic() - started_at < 5
        assert connection.close_code == 1001
        assert f"realtime.{name}" in (connection.close_reason or "")
    [row] = await wait_for_rows(service, 1)
    assert (row.state, row.status, row.aborted_by) == ("aborted", 200, "timeout")


async def test_a_client_without_a_sign_of_life_is_dropped(
    provider: RealtimeProvider, start_gateway: StartGateway
) -> None:
    """Its machine is gone, and nothing has closed the connection."""
    service = await start_gateway(realtime={"ping": "300ms"})
    with socket.create_connection(("127.0.0.1", service.port)) as client:
        client.sendall(HANDSHAKE)
        [row] = await wait_for_rows(service, 1)
    assert (row.state, row.aborted_by) == ("aborted", "client")
    async with asyncio.timeout(5):
        await provider.connections[0].wait_closed()


async def test_pings_keep_a_silent_session(start_gateway: StartGateway) -> None:
    """A client that answers pings is alive, although it says nothing."""
    service = await start_gateway(realtime={"ping": "200ms"})
    async with dial(service) as connection:
        await receive(connection)
        await asyncio.sleep(1.5)
        await send(connection, type="response.create")
        await receive_until(connection, "response.done")


async def test_a_slow_reader_costs_no_memory(
    provider: RealtimeProvider, start_gateway: StartGateway
) -> None:
    """The provider waits until the client reads: 200 MB pass, and none of it piles up."""
    service = await start_gateway()
    count = 3_200
    async with dial(service, max_queue=1) as connection:
        await receive(connection)
        before = service.figure("VmRSS")
        await send(connection, test="flood", size=65_000, count=count, type="response.cancel")
        await asyncio.sleep(2)
        assert service.figure("VmRSS") - before < 20_000_000
        for _ in range(count):
            await receive(connection)
        assert service.figure("VmHWM") - before < 30_000_000


async def test_a_client_that_reads_nothing_is_dropped(
    provider: RealtimeProvider, start_gateway: StartGateway
) -> None:
    service = await start_gateway(server={"timeouts": {"read": "500ms"}})
    with socket.create_connection(("127.0.0.1", service.port)) as client:
        client.sendall(HANDSHAKE)
        flood = {"test": "flood", "size": 65_000, "count": 1_000, "type": "response.cancel"}
        data = jsonio.dumps(flood)
        client.sendall(bytes([0x81, 0x80 | len(data)]) + bytes(4) + data)
        [row] = await wait_for_rows(service, 1)
    assert (row.state, row.status, row.aborted_by) == ("aborted", 499, "client_slow")


async def test_a_slow_provider_costs_no_memory(
    provider: RealtimeProvider, start_gateway: StartGateway
) -> None:
    """The client waits until the provider reads."""
    service = await start_gateway()
    async with dial(service) as connection:
        await receive(connection)
        before = service.figure("VmRSS")
        provider.connections[0].transport.pause_reading()
        text = '{"type":"response.cancel","test":"nothing","x":"' + "x" * 65_000 + '"}'

        async def flood() -> None:
            for _ in range(3_200):
                await connection.send(text)

        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2):
                await flood()
        assert service.figure("VmHWM") - before < 20_000_000
        provider.connections[0].transport.resume_reading()
        connection.transport.abort()


async def test_a_flood_of_tiny_frames_leaves_time_for_others(start_gateway: StartGateway) -> None:
    """Parsing yields to other calls: a health check is answered amid a million pings."""
    service = await start_gateway()
    ping = b"\x89\x80\0\0\0\0"
    with socket.create_connection(("127.0.0.1", service.port)) as client:
        client.sendall(HANDSHAKE)
        client.setblocking(False)
        loop = asyncio.get_running_loop()

        async def flood() -> None:
            while True:
                await loop.sock_sendall(client, ping * 20_000)
                await loop.sock_recv(client, 1_000_000)

        task = asyncio.create_task(flood())
        waits = []
        for _ in range(10):
            started_at = time.monotonic()
            assert await asyncio.to_thread(service.get, "/health") == 200
            waits.append(time.monotonic() - started_at)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert sorted(waits)[5] < 0.5


async def test_a_stop_ends_sessions_with_1012(start_gateway: StartGateway) -> None:
    """A session without a response ends at once, one amid a response gets time for it."""
    service = await start_gateway(server={"drain": 4})
    async with dial(service) as idle, dial(service) as busy:
        await receive(idle)
        await receive(busy)
        await send(busy, test="hang", type="response.create")
        await receive_until(busy, "response.created")
        started_at = time.monotonic()
        service.send_signal(signal.SIGTERM)
        codes = []
        for connection in (idle, busy):
            event = await receive_until(connection, "error")
            codes.append(event["error"]["code"])
            with pytest.raises(ConnectionClosed):
                await connection.recv()
            codes.append(connection.close_code)
            codes.append(time.monotonic() - started_at < 2)
    assert codes == ["draining", 1012, True, "draining", 1012, False]
    assert await asyncio.to_thread(service.ended) == 0
    rows = service.entries()
    assert {(row.state, row.aborted_by, row.attempts) for row in rows} == {
        ("aborted", "drain", 0),
        ("aborted", "drain", 1),
    }


async def test_a_killed_gateway_keeps_what_had_ended(start_gateway: StartGateway) -> None:
    """The next start closes the one response that had not ended, with what it may cost."""
    service = await start_gateway()
    async with dial(service) as connection:
        await receive(connection)
        for _ in range(3):
            await send(connection, type="response.create")
            await receive_until(connection, "response.done")
        await send(connection, test="hang", type="response.create")
        await receive_until(connection, "response.created")
        service.kill()
    again = await start_gateway(data=service.data)
    rows = await wait_for_rows(again, 4)
    assert sorted(row.state for row in rows) == ["settled"] * 3 + ["unknown_crash"]
    assert sum(row.cost or 0 for row in rows) == Decimal("0.02448")
    [crashed] = [row for row in rows if row.state == "unknown_crash"]
    assert crashed.reserved is not None
    assert crashed.reserved > 1


async def test_a_session_ends_when_it_cannot_reserve(start_gateway: StartGateway) -> None:
    """A response may cost 1.29 USD at most, and costs 0.00816: two fit, the third does not."""
    service = await start_gateway(budgets=[{"usd": "1.30", "every": "day", "name": "all"}])
    async with dial(service) as connection:
        await receive(connection)
        for _ in range(2):
            await send(connection, type="response.create")
            await receive_until(connection, "response.done")
        await send(connection, type="response.create")
        event = await receive_until(connection, "error")
        assert event["error"]["code"] == "budget"
        with pytest.raises(ConnectionClosed):
            await connection.recv()
        assert connection.close_code == 1008
    rows = await wait_for_rows(service, 3)
    assert [row.state for row in rows] == ["settled", "settled", "refused"]
    with pytest.raises(InvalidStatus) as caught:
        async with dial(service):
            pass
    assert caught.value.response.status_code == 429


async def test_a_response_that_the_provider_begins_reserves_too(
    provider: RealtimeProvider, start_gateway: StartGateway
) -> None:
    """Voice detection makes the provider begin responses that nobody asked for."""
    service = await start_gateway(budgets=[{"usd": "2", "every": "day", "name": "all"}])
    async with dial(service) as connection:
        await receive(connection)
        side = provider.connections[0]
        await provider.begin_response(side)  # has the reservation of the session's start
        await receive_until(connection, "response.created")
        await provider.begin_response(side)
        event = await receive_until(connection, "error")
        assert event["error"]["code"].startswith("budget")
    rows = await wait_for_rows(service, 2)
    assert [row.state for row in rows] == ["aborted", "aborted"]
    assert all(row.reserved for row in rows)


async def test_a_model_without_a_price_has_no_bound(start_gateway: StartGateway) -> None:
    budget: dict[str, Any] = {"usd": "5", "every": "day", "name": "all"}
    service = await start_gateway(budgets=[budget])
    with pytest.raises(InvalidStatus) as caught:
        async with dial(service, "/v1/realtime?model=unpriced-1"):
            pass
    assert caught.value.response.status_code == 400
    error = jsonio.loads(bytes(caught.value.response.body))["error"]
    assert error["code"] == "budget_unbounded"


async def test_a_budget_that_would_lower_the_answer_refuses_the_session(
    provider: RealtimeProvider, start_gateway: StartGateway
) -> None:
    """No message tells the provider of a session a lower cap."""
    budget = {"usd": "1.2", "every": "day", "name": "all", "reserve": "fit"}
    service = await start_gateway(budgets=[budget])
    with pytest.raises(InvalidStatus) as caught:
        async with dial(service):
            pass
    assert caught.value.response.status_code == 429
    assert provider.requests == []
    [row] = await wait_for_rows(service, 1)
    assert (row.state, row.problem) == ("refused", "budget")


async def test_a_budget_may_reserve_the_usual_cost(start_gateway: StartGateway) -> None:
    """A budget of less than a response may cost at most serves sessions all the same."""
    budget = {"usd": "0.20", "every": "day", "name": "all", "reserve": "expected"}
    service = await start_gateway(budgets=[budget])
    async with dial(service) as connection:
        await receive(connection)
        for _ in range(5):
            await send(connection, type="response.create")
            await receive_until(connection, "response.done")
    rows = await wait_for_rows(service, 5)
    assert [row.state for row in rows] == ["settled"] * 5


async def test_rate_limits_count_responses(start_gateway: StartGateway) -> None:
    service = await start_gateway(limits=[{"requests": "2/h", "name": "few"}])
    async with dial(service) as connection:
        await receive(connection)
        for _ in range(2):
            await send(connection, type="response.create")
            await receive_until(connection, "response.done")
        await send(connection, type="response.create")
        event = await receive_until(connection, "error")
        assert event["error"]["code"] == "rate_limited"


async def test_a_limit_of_concurrency_counts_a_session_that_may_answer(
    start_gateway: StartGateway,
) -> None:
    """The place is free again when the session has ended."""
    service = await start_gateway(limits=[{"concurrency": 1, "name": "one"}])
    async with dial(service) as connection:
        await receive(connection)
        with pytest.raises(InvalidStatus) as caught:
            async with dial(service):
                pass
        assert caught.value.response.status_code == 429
    async with dial(service) as connection:
        await receive(connection)


@pytest.mark.parametrize("kind", ["response.create", "input_audio_buffer.append"])
async def test_a_client_that_leaves_at_once_is_charged_for_what_begins(
    provider: RealtimeProvider, start_gateway: StartGateway, kind: str
) -> None:
    """It sends what begins a response, and is gone before the response has begun."""
    service = await start_gateway()
    async with dial(service) as connection:
        await receive(connection)
        await send(connection, test="late", type=kind)
        connection.transport.abort()
    [row] = await wait_for_rows(service, 1)
    assert (row.state, row.aborted_by, row.attempts) == ("aborted", "client", 1)
    assert row.cost is None
    assert row.reserved is not None


async def test_sound_that_begins_no_response_costs_nothing(start_gateway: StartGateway) -> None:
    service = await start_gateway()
    async with dial(service) as connection:
        await receive(connection)
        await send(connection, test="nothing", type="input_audio_buffer.append")
    [row] = await wait_for_rows(service, 1)
    assert (row.finish, row.attempts) == ("no_response", 0)
    assert row.cost == 0
