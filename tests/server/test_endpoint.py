"""Test sending a response: whatever stops it, the gateway closes its stream, which settles the
call.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.core.call import Call
from gateway.core.clocks import SYSTEM_CLOCKS
from gateway.dialects import OPENAI_CHAT
from gateway.pipeline.response import Response
from gateway.server.endpoint import Endpoint, _write_answer, write_reply
from gateway.server.keepalive import Keepalive
from gateway.server.request_headers import Message, Receive, Send
from gateway.server.shutdown import InFlightRequest
from gateway.upstream.write_batch import WriteBatch

CALL = Call(
    id="tg-1",
    dialect="openai-chat",
    operation="generate",
    body=b"{}",
    received_at=0.0,
    started_at=0.0,
)


class FakeEngine:
    """Serves one call, and cancels it at once when asked."""

    def __init__(self, reply: Coroutine[None, None, Response]) -> None:
        self.reply = reply

    def serve(self, _call: Call, _waiting: object) -> Coroutine[None, None, Response]:
        return self.reply

    def abort(self, _call: Call, cancel: Callable[[], object], _by: str) -> None:
        cancel()

    def forget(self, _call: Call) -> None: ...


async def serve_one(
    reply: Coroutine[None, None, Response],
    receive: Receive,
    send: Send,
    rows: Callable[[], bool] = bool,
) -> None:
    """Serve as another server would, which reports a client's leaving only when asked. `rows`
    writes the rows that wait.
    """
    revision = SimpleNamespace(enter=lambda: FakeEngine(reply), leave=lambda: None)
    unused: Any = None
    gateway: Any = SimpleNamespace(
        revision=revision, write_batch=WriteBatch(rows), clocks=SYSTEM_CLOCKS
    )
    endpoint = Endpoint(gateway, OPENAI_CHAT, unused, unused, unused)
    await endpoint.serve_call(CALL, InFlightRequest(), receive, send, None)


def make_keepalive(send: Send) -> Keepalive:
    return Keepalive(OPENAI_CHAT, "tg-1", send)


class RecordedStream:
    """A stream that knows if it was closed."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = pieces
        self.closed = False

    async def run(self) -> AsyncGenerator[bytes]:
        try:
            for piece in self.pieces:
                yield piece
        finally:
            self.closed = True

    def reply(self) -> Response:
        return Response(status=200, headers=[(b"a", b"b")], stream=self.run())


async def test_the_gateway_writes_waiting_rows_before_a_complete_response() -> None:
    order: list[str] = []

    async def reply() -> Response:
        return Response(status=200, headers=[], body=b"{}")

    async def receive() -> Message:
        return await asyncio.Future()

    async def send(message: Message) -> None:
        order.append(message["type"])

    def rows() -> bool:
        order.append("row")
        return True

    await serve_one(reply(), receive, send, rows)
    assert order == ["row", "http.response.start", "http.response.body"]


async def test_a_complete_response_is_one_message() -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    await write_reply(Response(status=404, headers=[(b"a", b"b")], body=b"{}"), send)
    assert sent == [
        {"type": "http.response.start", "status": 404, "headers": [(b"a", b"b"), (b"content-length", b"2")]},
        {"type": "http.response.body", "body": b"{}"},
    ]  # fmt: skip


async def test_a_stream_is_one_message_for_each_piece() -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    stream = RecordedStream(b"1", b"2")
    await _write_answer(stream.reply(), send, make_keepalive(send))
    assert [message.get("body") for message in sent] == [None, b"1", b"2", b""]
    assert [message.get("more_body") for message in sent] == [None, True, True, None]
    assert stream.closed


@pytest.mark.parametrize("writes", [0, 1, 2, 3])
async def test_a_failed_write_closes_the_stream(writes: int) -> None:
    """Even sending the head may fail, or wait for a reader that never comes."""
    count = 0

    async def send(_: Message) -> None:
        nonlocal count
        count += 1
        if count > writes:
            raise OSError

    stream = RecordedStream(b"1", b"2")
    with pytest.raises(OSError):
        await _write_answer(stream.reply(), send, make_keepalive(send))
    assert stream.closed


@pytest.mark.parametrize("writes", [0, 1])
async def test_a_client_that_leaves_during_a_write_ends_the_call(writes: int) -> None:
    """The client disconnects while a write waits: the gateway stops the call and closes the stream."""
    waiting, stream = asyncio.Event(), RecordedStream(b"1", b"2")
    count = 0

    async def send(_: Message) -> None:
        nonlocal count
        count += 1
        if count > writes:
            waiting.set()
            await asyncio.Event().wait()

    async def receive() -> Message:
        await waiting.wait()
        return {"type": "http.disconnect"}

    async def serve() -> Response:
        return stream.reply()

    await serve_one(serve(), receive, send)
    assert stream.closed


async def test_a_client_that_leaves_after_the_last_message_does_not_cancel() -> None:
    """The disconnect comes while the last message is on its way: the response is complete."""
    sent: list[Message] = []
    client_left = asyncio.Event()

    async def send(message: Message) -> None:
        sent.append(message)
        if len(sent) == 2:
            client_left.set()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            sent.append({"type": "written"})

    async def receive() -> Message:
        await client_left.wait()
        return {"type": "http.disconnect"}

    async def serve() -> Response:
        return Response(status=200, headers=[], body=b"{}")

    await serve_one(serve(), receive, send)
    assert [message["type"] for message in sent] == [
        "http.response.start",
        "http.response.body",
        "written",
    ]


async def test_a_cancelled_server_task_cancels_the_call() -> None:
    """A server that shuts down cancels too; the client has not left."""

    async def serve() -> Response:
        await asyncio.Event().wait()
        raise AssertionError

    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    async def send(_: Message) -> None: ...

    async def run() -> None:
        await serve_one(serve(), receive, send)

    task = asyncio.create_task(run())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
