"""Chat completions that stop when their client leaves.

llama.cpp notices that its client has left only when it writes to it. So this module always asks it
to stream, and to report its progress while it reads a prompt. The module drops those reports, and
makes a whole reply from a stream.
"""

import json
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

from gateway.local_model.llama_client import AnswerHead, EngineAnswer, LlamaClient, Reply

type Body = dict[str, Any]
type Chunks = AsyncGenerator[Body]

_CHAT_TARGET: Final = b"/v1/chat/completions"
_JSON_HEADER: Final = (b"content-type", b"application/json; charset=utf-8")
_SSE_HEAD: Final = AnswerHead(
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
    """A chat completion request."""

    body: Body

    @property
    def streams(self) -> bool:
        """True if the client wants the reply as SSE."""
        return self.body.get("stream") is True

    @property
    def wants_usage(self) -> bool:
        """True if the reply has usage: a whole one always, a streamed one if the client asks."""
        options = self.body.get("stream_options")
        is_requested = isinstance(options, dict) and options.get("include_usage") is True
        return is_requested or not self.streams

    def build_body(self) -> Body:
        """Make the body for llama.cpp."""
        stream_options = {"include_usage": True}
        # A prompt read in other batches rounds differently, and the answer may differ. A client
        # that sets a seed wants the same answer again, so its prompt is not cached.
        cache_options = {} if self.body.get("seed") is None else {"cache_prompt": False}
        forced_options = {"stream": True, "stream_options": stream_options, "return_progress": True}
        return cache_options | self.body | forced_options


def read_request(raw: bytes) -> LocalChatRequest | None:
    """Read a body; return None if it is no JSON object, so that llama.cpp refuses it."""
    try:
        body = json.loads(raw)
    except ValueError:
        return None
    return LocalChatRequest(body) if isinstance(body, dict) else None


def make_reply(engine: LlamaClient, request: LocalChatRequest) -> Reply:
    """Return the reply, streamed or whole."""
    return _stream_reply(engine, request) if request.streams else _fold_reply(engine, request)


async def _stream_reply(engine: LlamaClient, request: LocalChatRequest) -> Reply:
    has_begun = False
    async with aclosing(_stream_chunks(engine, request)) as chunks:
        try:
            async for chunk in chunks:
                if not has_begun:
                    yield _SSE_HEAD
                    has_begun = True
                if chunk["choices"] or request.wants_usage:
                    yield b"data: %b\n\n" % _encode(chunk)
        except EngineRefused as refusal:
            if has_begun:
                yield b"data: %b\n\n" % refusal.body
            else:
                yield refusal.head
                yield refusal.body
            return
    yield b"data: [DONE]\n\n"


async def _fold_reply(engine: LlamaClient, request: LocalChatRequest) -> Reply:
    async with aclosing(_stream_chunks(engine, request)) as chunks:
        try:
            body = _encode(fold_chunks([chunk async for chunk in chunks]))
            head = AnswerHead(200, (_JSON_HEADER,))
        except EngineRefused as refusal:
            head, body = refusal.head, refusal.body
    length = (b"content-length", b"%d" % len(body))
    yield AnswerHead(
        head.status, (*(header for header in head.headers if header[0] != length[0]), length)
    )
    yield body


async def _stream_chunks(engine: LlamaClient, request: LocalChatRequest) -> Chunks:
    """Yield the chunks of an answer, the last of them with its usage. Raises EngineRefused."""
    first_chunk: Body = {}
    async with aclosing(_request_chunks(engine, request.build_body())) as chunks:
        async for chunk in chunks:
            first_chunk = first_chunk or chunk
            # llama.cpp changes `created` from chunk to chunk; give each chunk that of the first.
            yield chunk | {"id": first_chunk["id"], "created": first_chunk["created"]}


async def _request_chunks(engine: LlamaClient, body: Body) -> Chunks:
    async with engine.send("POST", _CHAT_TARGET, (_JSON_HEADER,), _encode(body)) as answer:
        head = await answer.read_head()
        if head.status != 200:
            raise EngineRefused(head, await answer.read_body())
        async with aclosing(_read_chunks(answer)) as chunks:
            async for chunk in chunks:
                if "error" in chunk:
                    status = chunk["error"].get("code")
                    raise EngineRefused(
                        AnswerHead(status if status in range(400, 600) else 500, (_JSON_HEADER,)),
                        _encode(chunk),
                    )
                if "prompt_progress" not in chunk:
                    yield chunk


async def _read_chunks(answer: EngineAnswer) -> Chunks:
    """Yield the JSON of each `data:` line; skip comments (keep-alives) and the end marker."""
    buffer = b""
    async for data in answer.iterate_body():
        *frames, buffer = (buffer + data).split(b"\n\n")
        for frame in frames:
            if frame.startswith(b"data: ") and frame != b"data: [DONE]":
                yield json.loads(frame.removeprefix(b"data: "))


def fold_chunks(chunks: Iterable[Body]) -> Body:
    """Return the whole reply that the chunks of a stream make."""
    reply: Body = {}
    choices: dict[int, Body] = {}
    for chunk in chunks:
        reply = chunk | reply
        for choice_delta in chunk["choices"]:
            message = {"role": "assistant", "content": ""}
            choice = choices.setdefault(
                choice_delta["index"], {"index": choice_delta["index"], "message": message}
            )
            choice["finish_reason"] = choice_delta["finish_reason"]
            _add_delta(choice["message"], choice_delta["delta"])
            if logprobs := choice_delta.get("logprobs"):
                choice.setdefault("logprobs", {"content": []})["content"] += logprobs["content"]
    ordered = [choices[index] for index in sorted(choices)]
    return reply | {"object": "chat.completion", "choices": ordered}


def _add_delta(message: Body, delta: Body) -> None:
    for name, value in delta.items():
        if name == "tool_calls":
            for call_delta in value:
                _add_call_delta(message.setdefault("tool_calls", []), call_delta)
        elif name != "role" and value is not None:
            message[name] = message.get(name, "") + value


def _add_call_delta(calls: list[Body], call_delta: Body) -> None:
    """Add a piece to the tool call with its index, or begin a new call."""
    if call_delta["index"] == len(calls):
        calls.append({"function": {"arguments": ""}})
    call = calls[call_delta["index"]]
    function = call_delta.get("function", {})
    arguments = call["function"]["arguments"] + function.get("arguments", "")
    other_members = {
        name: value for name, value in call_delta.items() if name not in {"index", "function"}
    }
    call |= other_members | {"function": call["function"] | function | {"arguments": arguments}}


def _encode(body: Body) -> bytes:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
