"""The local model's HTTP front before a stand-in engine that quotes llama.cpp's wire format."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest

from gateway.local_model.app import LocalModelApp, Message
from gateway.local_model.llama_client import AnswerCut, LlamaClient

ASK = b'{"messages":[],"stream":%s}'


@dataclass
class EngineExchange:
    """One call to the front by a client that has sent its whole body."""

    path: str
    body: bytes
    query: bytes = b""
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    sent: list[Message] = field(default_factory=list)
    _asked: int = 0

    async def receive(self) -> Message:
        self._asked += 1
        if self._asked == 1:
            return {"type": "http.request", "body": self.body[:3], "more_body": True}
        if self._asked == 2:
            return {"type": "http.request", "body": self.body[3:], "more_body": False}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        self.sent.append(message)
        self.begun.set()

    async def run(self, front: LocalModelApp) -> None:
        scope = {
            "type": "http",
            "method": "POST",
            "raw_path": self.path.encode(),
            "query_string": self.query,
            "headers": [(b"host", b"front"), (b"x-own", b"1"), (b"connection", b"keep-alive")],
        }
        await front(scope, self.receive, self.send)

    @property
    def status(self) -> int:
        status: int = self.sent[0]["status"]
        return status

    @property
    def reply(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent[1:])

    @property
    def complete(self) -> bool:
        last = self.sent[-1]
        return last["type"] == "http.response.body" and not last.get("more_body", False)


@dataclass
class FakeEngineRecord:
    """The requests that the stand-in has read, one per connection, and the connections it saw closing."""

    front: LocalModelApp
    read: list[bytes] = field(default_factory=list)
    closed: asyncio.Event = field(default_factory=asyncio.Event)


@asynccontextmanager
async def engine(*replies: bytes, hold: bool = False) -> AsyncGenerator[FakeEngineRecord]:
    """Run an engine that answers its connections in turn with these bytes and closes each.

    With `hold`, it leaves the last connection open until its peer closes it.
    """
    remaining = list(replies)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        record.read.append(head + await reader.readexactly(length))
        writer.write(remaining.pop(0))
        if hold and not remaining:
            with suppress(ConnectionResetError):
                await reader.read()
            record.closed.set()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        record = FakeEngineRecord(LocalModelApp(LlamaClient(*server.sockets[0].getsockname())))
        yield record


def make_whole_answer(body: bytes, status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 %b\r\nContent-Type: a/b\r\nContent-Length: %d\r\nX-Theirs: 2\r\n\r\n%b" % (
        status,
        len(body),
        body,
    )


def make_stream(*chunks: bytes) -> bytes:
    frames = b"".join(b"data: %b\n\n" % chunk for chunk in (*chunks, b"[DONE]"))
    return (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        + b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (frames[:9], frames[9:]))
        + b"0\r\n\r\n"
    )


def make_chunk(delta: dict[str, Any], finish: str | None = None, **fields: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return json.dumps({"id": "a", "created": 1, "choices": [choice]} | fields).encode()


def make_usage(prompt: int, output: int, **fields: Any) -> bytes:
    counts = {"prompt_tokens": prompt, "completion_tokens": output}
    return json.dumps({"id": "a", "created": 1, "choices": [], "usage": counts} | fields).encode()


async def test_other_paths_pass_byte_for_byte_both_ways() -> None:
    question, reply = b"\x00\xff{1.50}\r\n\r\n", bytes(range(256)) * 300
    async with engine(make_whole_answer(reply, b"418 I'm a teapot")) as record:
        call = EngineExchange("/v1/messages", question, query=b"beta=true&x=%20")
        await call.run(record.front)
    line, *headers = record.read[0].split(b"\r\n\r\n", 1)[0].split(b"\r\n")
    assert line == b"POST /v1/messages?beta=true&x=%20 HTTP/1.1"
    assert b"x-own: 1" in headers
    assert b"host: front" not in headers
    assert b"connection: keep-alive" not in headers
    assert record.read[0].split(b"\r\n\r\n", 1)[1] == question
    assert call.status == 418
    assert (b"x-theirs", b"2") in call.sent[0]["headers"]
    assert call.reply == reply
    assert call.complete


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-",
        make_whole_answer(b"12345")[:-1],
        make_stream(b"{}")[:-5],
    ],
)
async def test_a_cut_answer_is_never_reported_as_complete(answer: bytes) -> None:
    async with engine(answer) as record:
        call = EngineExchange("/v1/responses", b"{}..")
        with pytest.raises(AnswerCut):
            await call.run(record.front)
    assert not call.sent or not call.complete


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/chat/completions"])
async def test_when_the_client_leaves_the_connection_to_the_engine_closes(path: str) -> None:
    async with engine(make_stream(make_chunk({"role": "assistant"}))[:-5], hold=True) as record:
        call = EngineExchange(path, ASK % b"true")
        running = asyncio.create_task(call.run(record.front))
        async with asyncio.timeout(5):
            await call.begun.wait()
            call.gone.set()
            await running
            await record.closed.wait()
    assert not call.complete


async def test_a_whole_reply_is_the_fold_of_a_stream() -> None:
    chunks = (
        make_chunk({"role": "assistant", "content": None}),
        make_chunk({"content": "Yes"}, "stop"),
    )
    progress = make_chunk({"role": "assistant", "content": None}, prompt_progress={"total": 9})
    async with engine(make_stream(progress, *chunks, make_usage(9, 4))) as record:
        call = EngineExchange("/v1/chat/completions", b'{"x": 1.50}')
        await call.run(record.front)
    assert json.loads(record.read[0].split(b"\r\n\r\n", 1)[1])["stream"] is True
    assert call.complete
    assert (b"content-length", b"%d" % len(call.reply)) in call.sent[0]["headers"]
    assert json.loads(call.reply) == {
        "id": "a",
        "created": 1,
        "object": "chat.completion",
        "usage": {"prompt_tokens": 9, "completion_tokens": 4},
        "choices": [
            {
                "index": 0,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": "Yes"},
            }
        ],
    }


async def test_a_stream_has_one_id_and_neither_progress_nor_unrequested_usage() -> None:
    progress = make_chunk({"role": "assistant", "content": None}, prompt_progress={"total": 9})
    sent_chunks = (make_chunk({"role": "assistant"}), make_chunk({"content": "Yes"}, created=2))
    async with engine(make_stream(progress, *sent_chunks, make_usage(9, 4))) as record:
        call = EngineExchange("/v1/chat/completions", b'{"stream":true}')
        await call.run(record.front)
    assert call.complete
    *frames, end, rest = call.reply.split(b"\n\n")
    assert (end, rest) == (b"data: [DONE]", b"")
    chunks = [json.loads(frame.removeprefix(b"data: ")) for frame in frames]
    assert [received["choices"][0]["delta"] for received in chunks] == [
        {"role": "assistant"},
        {"content": "Yes"},
    ]
    assert [received["created"] for received in chunks] == [1, 1]


@pytest.mark.parametrize("streams", [b"true", b"false"])
async def test_a_refusal_of_the_engine_is_passed_on_unchanged(streams: bytes) -> None:
    async with engine(make_whole_answer(b'{"error":{"code":400}}', b"400 Bad Request")) as record:
        call = EngineExchange("/v1/chat/completions", ASK % streams)
        await call.run(record.front)
    assert call.status == 400
    assert call.reply == b'{"error":{"code":400}}'
    assert len(record.read) == 1


FAILURE = b'{"error":{"code":500}}'


BROKEN = make_stream(make_chunk({"role": "assistant"}), make_chunk({"content": "Y"}), FAILURE)


@pytest.mark.parametrize("streams", [b"true", b"false"])
async def test_a_stream_that_opens_with_an_error_is_a_refusal(streams: bytes) -> None:
    async with engine(make_stream(FAILURE)) as record:
        call = EngineExchange("/v1/chat/completions", ASK % streams)
        await call.run(record.front)
    assert call.status == 500
    assert call.reply == FAILURE


async def test_a_failure_within_a_whole_reply_sets_its_status() -> None:
    async with engine(BROKEN) as record:
        call = EngineExchange("/v1/chat/completions", ASK % b"false")
        await call.run(record.front)
    assert call.status == 500
    assert call.reply == FAILURE


async def test_a_failure_after_the_head_is_the_last_event_of_the_stream() -> None:
    async with engine(BROKEN) as record:
        call = EngineExchange("/v1/chat/completions", ASK % b"true")
        await call.run(record.front)
    assert call.status == 200
    assert call.reply.endswith(b"data: %b\n\n" % FAILURE)
