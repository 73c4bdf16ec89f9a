"""Chat completions that stop when their reader leaves.

llama.cpp notices that its reader has left only when it writes to it. So it is always asked to
stream, and to report its progress while it reads a prompt; those reports are dropped here, and a
whole reply is the fold of a stream.
"""

import json
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

from gateway.local_model.llama_client import AnswerHead, EngineAnswer, LlamaClient, Reply

type Body = dict[str, Any]
type Chunks = AsyncGenerator[Body]

_TARGET: Final = b"/v1/chat/completions"
_JSON: Final = (b"content-type", b"application/json; charset=utf-8")
_SSE: Final = AnswerHead(
    200, ((b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache"))
)


class EngineRefused(Exception):
    """An error that llama.cpp answered with, before or within its stream."""

    def __init__(self, head: AnswerHead, body: bytes) -> None:
        super().__init__(body)
        self.head = head
        self.body = body


@dataclass(frozen=True, slots=True)
class LocalChatRequest:
    """A request."""

    body: Body

    @property
    def streams(self) -> bool:
        """True if the reply is wanted as SSE."""
        return self.body.get("stream") is True

    @property
    def wants_usage(self) -> bool:
        """True if the reply carries usage: always a whole one, a streamed one when asked."""
        options = self.body.get("stream_options")
        asked = isinstance(options, dict) and options.get("include_usage") is True
        return asked or not self.streams

    def sent(self) -> Body:
        """Make the body that llama.cpp gets."""
        options = {"include_usage": True}
        # A prompt read in other batches rounds otherwise and may end in other words: who names a
        # seed wants the same answer again and pays for it with a cold cache.
        cache = {} if self.body.get("seed") is None else {"cache_prompt": False}
        asked = {"stream": True, "stream_options": options, "return_progress": True}
        return cache | self.body | asked


def read(raw: bytes) -> LocalChatRequest | None:
    """Read a body; None where it is no JSON object and llama.cpp is to refuse it."""
    try:
        body = json.loads(raw)
    except ValueError:
        return None
    return LocalChatRequest(body) if isinstance(body, dict) else None


def reply(engine: LlamaClient, asked: LocalChatRequest) -> Reply:
    """The reply, streamed or whole."""
    return _streamed(engine, asked) if asked.streams else _whole(engine, asked)


async def _streamed(engine: LlamaClient, asked: LocalChatRequest) -> Reply:
    begun = False
    async with aclosing(_said(engine, asked)) as chunks:
        try:
            async for chunk in chunks:
                if not begun:
                    yield _SSE
                    begun = True
                if chunk["choices"] or asked.wants_usage:
                    yield b"data: %b\n\n" % _encode(chunk)
        except EngineRefused as refused:
            if begun:
                yield b"data: %b\n\n" % refused.body
            else:
                yield refused.head
                yield refused.body
            return
    yield b"data: [DONE]\n\n"


async def _whole(engine: LlamaClient, asked: LocalChatRequest) -> Reply:
    async with aclosing(_said(engine, asked)) as chunks:
        try:
            body = _encode(fold([chunk async for chunk in chunks]))
            head = AnswerHead(200, (_JSON,))
        except EngineRefused as refused:
            head, body = refused.head, refused.body
    length = (b"content-length", b"%d" % len(body))
    yield AnswerHead(head.status, (*(one for one in head.headers if one[0] != length[0]), length))
    yield body


async def _said(engine: LlamaClient, asked: LocalChatRequest) -> Chunks:
    """Yield the chunks of an answer, the last of them with its usage; raises `EngineRefused`."""
    opening: Body = {}
    async with aclosing(_run(engine, asked.sent())) as chunks:
        async for chunk in chunks:
            opening = opening or chunk
            # llama.cpp lets `created` go on: each chunk has that of the first.
            yield chunk | {"id": opening["id"], "created": opening["created"]}


async def _run(engine: LlamaClient, body: Body) -> Chunks:
    async with engine.send("POST", _TARGET, (_JSON,), _encode(body)) as answer:
        head = await answer.head()
        if head.status != 200:
            raise EngineRefused(head, await answer.read())
        async with aclosing(_read(answer)) as chunks:
            async for chunk in chunks:
                if "error" in chunk:
                    status = chunk["error"].get("code")
                    raise EngineRefused(
                        AnswerHead(status if status in range(400, 600) else 500, (_JSON,)),
                        _encode(chunk),
                    )
                if "prompt_progress" not in chunk:
                    yield chunk


async def _read(answer: EngineAnswer) -> Chunks:
    """The JSON of each `data:` line; comments (keep-alives) and the end marker are passed over."""
    buffer = b""
    async for piece in answer.body():
        *frames, buffer = (buffer + piece).split(b"\n\n")
        for frame in frames:
            if frame.startswith(b"data: ") and frame != b"data: [DONE]":
                yield json.loads(frame.removeprefix(b"data: "))


def fold(chunks: Iterable[Body]) -> Body:
    """The whole reply that a stream's chunks say."""
    reply: Body = {}
    choices: dict[int, Body] = {}
    for chunk in chunks:
        reply = chunk | reply
        for part in chunk["choices"]:
            message = {"role": "assistant", "content": ""}
            choice = choices.setdefault(part["index"], {"index": part["index"], "message": message})
            choice["finish_reason"] = part["finish_reason"]
            _add(choice["message"], part["delta"])
            if logprobs := part.get("logprobs"):
                choice.setdefault("logprobs", {"content": []})["content"] += logprobs["content"]
    ordered = [choices[index] for index in sorted(choices)]
    return reply | {"object": "chat.completion", "choices": ordered}


def _add(message: Body, delta: Body) -> None:
    for name, value in delta.items():
        if name == "tool_calls":
            for part in value:
                _call(message.setdefault("tool_calls", []), part)
        elif name != "role" and value is not None:
            message[name] = message.get(name, "") + value


def _call(calls: list[Body], part: Body) -> None:
    """Adds a piece of the tool call it is the next of, or opens one."""
    if part["index"] == len(calls):
        calls.append({"function": {"arguments": ""}})
    call = calls[part["index"]]
    function = part.get("function", {})
    arguments = call["function"]["arguments"] + function.get("arguments", "")
    named = {name: value for name, value in part.items() if name not in {"index", "function"}}
    call |= named | {"function": call["function"] | function | {"arguments": arguments}}


def _encode(body: Body) -> bytes:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
