"""Thinking that always reaches an answer: a chat completion in two runs of the same model.

The first run opens a thinking block and ends where the model closes it, ends its turn or has
used its share of tokens: left alone, SmolLM2-135M mostly stops there and answers nothing. The
second run replays the prompt with that thinking, closed by the chat template, so that the model
goes on with its answer. llama.cpp still holds the first run's tokens in its cache. The client
sees one answer: `reasoning_content`, then `content`, one id, one finish reason, and the usage of
both runs with the prompt counted once.
"""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final

from gateway.local.engine import Answer, Engine, Head, Reply
from gateway.local.model import MAX_OUTPUT

type Body = dict[str, Any]

CAP: Final = 96  # tokens of thinking; llama.cpp's `thinking_budget_tokens` lowers it

_TARGET: Final = b"/v1/chat/completions"
_JSON: Final = ((b"content-type", b"application/json"),)
_SSE: Final = Head(200, ((b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache")))

_LIMITS: Final = ("max_completion_tokens", "max_tokens", "n_predict")
# Both runs are read by this module, in one shape.
_OURS: Final = frozenset({*_LIMITS, "thinking_budget_tokens", "reasoning_format", "stream_options"})
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


@dataclass(frozen=True, slots=True)
class Asked:
    """A request to think: its body, and how many tokens thinking and all may take."""

    body: Body
    cap: int
    limit: int

    @property
    def streams(self) -> bool:
        """Whether the answer is wanted as SSE."""
        return self.body.get("stream") is True

    @property
    def wants_usage(self) -> bool:
        """Whether an SSE answer ends with a usage chunk."""
        return (self.body.get("stream_options") or {}).get("include_usage") is True

    def first(self) -> Body:
        """The run that thinks."""
        body = {name: value for name, value in self.body.items() if name not in _OURS | _ANSWER}
        return self._run(body) | {"max_tokens": self.cap, "stop": ["</think>"]}

    def second(self, thought: str, used: int) -> Body:
        """The run that answers, after a thought of `used` tokens."""
        body = {name: value for name, value in self.body.items() if name not in _OURS}
        kwargs = body["chat_template_kwargs"] | {"enable_thinking": False, "thought": thought}
        return self._run(body) | {
            "max_tokens": max(1, self.limit - used),
            "chat_template_kwargs": kwargs,
        }

    def _run(self, body: Body) -> Body:
        return body | {"stream_options": {"include_usage": True}} if self.streams else body


def read(raw: bytes) -> Asked | None:
    """What a body asks to be thought about; None where llama.cpp alone is to answer it.

    That is: no thinking, a body that llama.cpp will refuse, several choices, or too few tokens
    to think and answer.
    """
    try:
        body = json.loads(raw)
    except ValueError:
        return None
    match body:
        case {"chat_template_kwargs": {"enable_thinking": True}}:
            pass
        case _:
            return None
    limits = (body.get(name) for name in _LIMITS)
    limit = next((n for n in limits if isinstance(n, int) and n > 0), MAX_OUTPUT)
    budget = body.get("thinking_budget_tokens")
    cap = min(CAP, limit // 2, budget if isinstance(budget, int) and budget >= 0 else CAP)
    return Asked(body, cap, limit) if cap > 0 and body.get("n") in (None, 1) else None


def reply(engine: Engine, asked: Asked) -> Reply:
    """The answer, streamed or whole."""
    return _streamed(engine, asked) if asked.streams else _whole(engine, asked)


async def _whole(engine: Engine, asked: Asked) -> Reply:
    async with engine.send("POST", _TARGET, _JSON, _encode(asked.first())) as answer:
        head, raw = await answer.head(), await answer.read()
    if head.status == 200:
        first = json.loads(raw)
        thought = first["choices"][0]["message"].get("reasoning_content") or ""
        used = first["usage"]["completion_tokens"]
        body = _encode(asked.second(thought.strip("\n"), used))
        async with engine.send("POST", _TARGET, _JSON, body) as answer:
            head, raw = await answer.head(), await answer.read()
        if head.status == 200:
            second = json.loads(raw)
            second["choices"][0]["message"]["reasoning_content"] = thought
            raw = _encode(_one(second, first) | {"usage": _sum(first["usage"], second["usage"])})
            head = Head(200, (*_JSON, (b"content-length", b"%d" % len(raw))))
    yield head
    yield raw


async def _streamed(engine: Engine, asked: Asked) -> Reply:
    first: Body = {}
    thought = ""
    usage: Body = {}
    async with engine.send("POST", _TARGET, _JSON, _encode(asked.first())) as answer:
        head = await answer.head()
        if head.status != 200:
            yield head
            yield await answer.read()
            return
        yield _SSE
        async for chunk in _chunks(answer):
            if "error" in chunk:
                yield _frame(chunk)
                return
            first = first or chunk
            usage = chunk.get("usage") or usage
            delta = _delta(chunk)
            thought += delta.get("reasoning_content") or ""
            if delta:  # the chunks that end the first run end nothing for the client
                yield _frame(_one(chunk, first))

    body = _encode(asked.second(thought.strip("\n"), usage["completion_tokens"]))
    async with engine.send("POST", _TARGET, _JSON, body) as answer:
        if (await answer.head()).status != 200:
            yield _frame(json.loads(await answer.read()))
            return
        async for chunk in _chunks(answer):
            if "error" in chunk:
                yield _frame(chunk)
                return
            if "usage" in chunk:
                if asked.wants_usage:
                    total = _sum(usage, chunk["usage"])
                    yield _frame(_one(chunk, first) | {"usage": total})
            # llama.cpp opens the second run with a role and the thought, both sent already.
            elif not {"role", "reasoning_content"} & _delta(chunk).keys():
                yield _frame(_one(chunk, first))
    yield b"data: [DONE]\n\n"


async def _chunks(answer: Answer) -> AsyncIterator[Body]:
    """The JSON of each `data:` line; comments (keep-alives) and the end marker are passed over."""
    buffer = b""
    async for piece in answer.body():
        *frames, buffer = (buffer + piece).split(b"\n\n")
        for frame in frames:
            if frame.startswith(b"data: ") and frame != b"data: [DONE]":
                yield json.loads(frame.removeprefix(b"data: "))


def _delta(chunk: Body) -> Body:
    return next((choice["delta"] for choice in chunk["choices"]), {})


def _one(part: Body, first: Body) -> Body:
    """`part` with the identity of the first run; timings describe one run alone and go."""
    named = {name: value for name, value in part.items() if name != "timings"}
    return named | {"id": first["id"], "created": first["created"]}


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


def _frame(chunk: Body) -> bytes:
    return b"data: %b\n\n" % _encode(chunk)
