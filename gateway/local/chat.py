"""Chat completions whose thinking reaches an answer and which stop when their reader leaves.

Thinking takes two runs of the model. The first opens a thinking block and ends where the model
closes it, ends its turn or has used its share of tokens: left alone, SmolLM2-135M mostly stops
there and answers nothing. The second replays the prompt with that thinking, closed by the chat
template, so that the model goes on with its answer. The client sees one answer:
`reasoning_content`, then `content`, one id, one finish reason, and the usage of both runs with the
prompt counted once.

llama.cpp notices that its reader has left only when it writes to it. So it is always asked to
stream, and to report its progress while it reads a prompt; those reports are dropped here, and a
whole reply is the fold of a stream.
"""

import json
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

from gateway.local.engine import Answer, Engine, Head, Reply
from gateway.local.model import MAX_OUTPUT

type Body = dict[str, Any]
type Chunks = AsyncGenerator[Body]

CAP: Final = 96  # tokens of thinking; llama.cpp's `thinking_budget_tokens` lowers it

_END: Final = "</think>"
_TARGET: Final = b"/v1/chat/completions"
_JSON: Final = (b"content-type", b"application/json; charset=utf-8")
_SSE: Final = Head(200, ((b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache")))

_LIMITS: Final = ("max_completion_tokens", "max_tokens", "n_predict")
# Set anew for both runs, which are read here in one shape.
_OURS: Final = frozenset({*_LIMITS, "thinking_budget_tokens", "reasoning_format"})
# What is asked of the answer and must not shape the thinking.
_ANSWER: Final = frozenset(
    {
        "grammar",
        "json_schema",
        "logprobs",
        "response_format",
        "stop",
        "tool_choice",
        "tools",
        "top_logprobs",
    }
)


class Refused(Exception):
    """An error that llama.cpp answered with, before or within its stream."""

    def __init__(self, head: Head, body: bytes) -> None:
        super().__init__(body)
        self.head = head
        self.body = body


@dataclass(frozen=True, slots=True)
class Asked:
    """A request: its body, the most tokens of thinking (0: none) and of thinking and all."""

    body: Body
    cap: int
    limit: int

    @property
    def streams(self) -> bool:
        """Whether the reply is wanted as SSE."""
        return self.body.get("stream") is True

    @property
    def wants_usage(self) -> bool:
        """Whether the reply carries usage: always a whole one, a streamed one when asked."""
        options = self.body.get("stream_options")
        asked = isinstance(options, dict) and options.get("include_usage") is True
        return asked or not self.streams

    def plain(self) -> Body:
        """The only run of a request that wants no thinking."""
        return self._run(frozenset())

    def first(self) -> Body:
        """The run that thinks."""
        return self._run(_OURS | _ANSWER) | {"max_tokens": self.cap, "stop": [_END]}

    def second(self, thought: str, used: int) -> Body:
        """The run that answers, after a thought of `used` tokens."""
        kwargs = self.body["chat_template_kwargs"]
        stop = self.body.get("stop") or []
        return self._run(_OURS) | {
            "max_tokens": max(1, self.limit - used),
            "chat_template_kwargs": kwargs | {"enable_thinking": False, "thought": thought},
            # An answer that copies the thought may copy its end too.
            "stop": [*([stop] if isinstance(stop, str) else stop), _END],
        }

    def _run(self, without: frozenset[str]) -> Body:
        body = {name: value for name, value in self.body.items() if name not in without}
        options = {"include_usage": True}
        # A prompt read in other batches rounds otherwise and may end in other words: who names a
        # seed wants the same answer again and pays for it with a cold cache.
        cache = {} if body.get("seed") is None else {"cache_prompt": False}
        asked = {"stream": True, "stream_options": options, "return_progress": True}
        return cache | body | asked


def read(raw: bytes) -> Asked | None:
    """What a body asks for; None where it is no JSON object and llama.cpp is to refuse it.

    Several choices, and too few tokens to think and answer, are left to llama.cpp's own way of
    thinking: one run.
    """
    try:
        body = json.loads(raw)
    except ValueError:
        return None
    if not isinstance(body, dict):
        return None
    limits = (body.get(name) for name in _LIMITS)
    limit = next((n for n in limits if isinstance(n, int) and n > 0), MAX_OUTPUT)
    cap = 0
    match body:
        case {"chat_template_kwargs": {"enable_thinking": True}} if body.get("n") in (None, 1):
            budget = body.get("thinking_budget_tokens")
            cap = min(CAP, limit // 2, budget if isinstance(budget, int) and budget >= 0 else CAP)
    return Asked(body, cap, limit)


def reply(engine: Engine, asked: Asked) -> Reply:
    """The reply, streamed or whole."""
    return _streamed(engine, asked) if asked.streams else _whole(engine, asked)


async def _streamed(engine: Engine, asked: Asked) -> Reply:
    begun = False
    async with aclosing(_said(engine, asked)) as chunks:
        try:
            async for chunk in chunks:
                if not begun:
                    yield _SSE
                    begun = True
                if chunk["choices"] or asked.wants_usage:
                    yield b"data: %b\n\n" % _encode(chunk)
        except Refused as refused:
            if begun:
                yield b"data: %b\n\n" % refused.body
            else:
                yield refused.head
                yield refused.body
            return
    yield b"data: [DONE]\n\n"


async def _whole(engine: Engine, asked: Asked) -> Reply:
    async with aclosing(_said(engine, asked)) as chunks:
        try:
            body = _encode(fold([chunk async for chunk in chunks]))
            head = Head(200, (_JSON,))
        except Refused as refused:
            head, body = refused.head, refused.body
    length = (b"content-length", b"%d" % len(body))
    yield Head(head.status, (*(one for one in head.headers if one[0] != length[0]), length))
    yield body


async def _said(engine: Engine, asked: Asked) -> Chunks:
    """The chunks of one answer, the last of them with its usage; raises `Refused`."""
    opening: Body = {}
    if not asked.cap:
        async with aclosing(_run(engine, asked.plain())) as chunks:
            async for chunk in chunks:
                opening = opening or chunk
                yield _one(chunk, opening)
        return

    usage: Body = {}
    thought = ""
    async with aclosing(_run(engine, asked.first())) as chunks:
        async for chunk in chunks:
            opening = opening or chunk
            usage = chunk.get("usage") or usage
            delta = _delta(chunk)
            thought += delta.get("reasoning_content") or ""
            if delta:  # the chunks that end the first run end nothing for the client
                yield _untimed(_one(chunk, opening))

    second = asked.second(thought.strip("\n"), usage["completion_tokens"])
    async with aclosing(_run(engine, second)) as chunks:
        async for chunk in chunks:
            if "usage" in chunk:
                total = {"usage": _sum(usage, chunk["usage"])}
                yield _untimed(_one(chunk, opening) | total)
            # llama.cpp opens the second run with a role and the thought, both said already.
            elif not {"role", "reasoning_content"} & _delta(chunk).keys():
                yield _untimed(_one(chunk, opening))


async def _run(engine: Engine, body: Body) -> Chunks:
    async with engine.send("POST", _TARGET, (_JSON,), _encode(body)) as answer:
        head = await answer.head()
        if head.status != 200:
            raise Refused(head, await answer.read())
        async with aclosing(_read(answer)) as chunks:
            async for chunk in chunks:
                if "error" in chunk:
                    status = chunk["error"].get("code")
                    raise Refused(
                        Head(status if status in range(400, 600) else 500, (_JSON,)), _encode(chunk)
                    )
                if "prompt_progress" not in chunk:
                    yield chunk


async def _read(answer: Answer) -> Chunks:
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


def _delta(chunk: Body) -> Body:
    return next((choice["delta"] for choice in chunk["choices"]), {})


def _one(part: Body, opening: Body) -> Body:
    """`part` with the identity of the opening chunk: llama.cpp lets `created` go on."""
    return part | {"id": opening["id"], "created": opening["created"]}


def _untimed(part: Body) -> Body:
    """`part` without timings, which describe one run alone."""
    return {name: value for name, value in part.items() if name != "timings"}


def _sum(first: Body, second: Body) -> Body:
    """The usage of both runs. The prompt is the first's: the second's repeats it."""
    reasoning: int = first["completion_tokens"]
    output: int = reasoning + second["completion_tokens"]
    return first | {
        "completion_tokens": output,
        "total_tokens": first["prompt_tokens"] + output,
        "completion_tokens_details": {"reasoning_tokens": reasoning},
    }


def _encode(body: Body) -> bytes:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
