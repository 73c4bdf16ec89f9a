"""A provider with a real prompt cache, which bills from its own count.

There are two kinds of cache. `clay` works like Anthropic: the client marks what to keep, writing
costs more than input, and entries live five minutes. `oak` works like OpenAI and the hosts of open
weights: it caches everything without marks and charges nothing for that, and each replica has a
cache of its own. A token is four bytes. A test sets the answers before it asks.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from hashlib import blake2b
from typing import Any

from gateway.core import jsonio
from gateway.dialects import DIALECTS
from tests.e2e.four_labs import CHAT, MESSAGES, RESPONSES
from tests.e2e.upstream import SSE, Answer, Request

type Json = dict[str, Any]

TTL = 300.0
"""Seconds for which a prompt stays cached after its last read."""
_REPLICAS = 3
_LOOKBACK = 20
"""Number of blocks before a mark in which the provider looks for a cached prefix."""
_STEP = 128
"""An automatic cache reports its hits in multiples of this many tokens."""
LEAST = {"clay": 512, "oak": 1_024}
PRICES = {
    "clay-fast": ("0.1", "0.01", "0.125", "0.5"), "clay-smart": ("2", "0.1", "2.5", "10"),
    "clay-deep": ("4", "0.2", "5", "20"), "oak-mini": ("0.1", "0.01", None, "0.5"),
    "oak-big": ("2", "0.1", None, "10"), "oak-deep": ("8", "0.4", None, "40"),
}  # fmt: skip
"""USD per million tokens: input, cache read, cache write, output."""
_REF = re.compile(rb"\(ref ([\w.-]+)\)")
_MILLION = Decimal(1_000_000)


@dataclass(frozen=True)
class HostReply:
    """The answer to the next request of a conversation."""

    text: str
    calls: tuple[Json, ...] = ()
    """Names, arguments and ids of tool calls."""


@dataclass(frozen=True)
class HostBill:
    """Tokens of one request."""

    ref: str
    model: str
    read: int
    write: int
    fresh: int
    output: int

    @property
    def prompt(self) -> int:
        return self.read + self.write + self.fresh

    def usd(self, model: str = "") -> Decimal:
        """Return the cost with this model, or with another of the same kind."""
        fresh, read, write, output = PRICES[model or self.model]
        sums = (
            Decimal(fresh) * self.fresh, Decimal(read) * self.read,
            Decimal(write or fresh) * self.write, Decimal(output) * self.output,
        )  # fmt: skip
        return sum(sums, Decimal(0)) / _MILLION


class CachingHost:
    """A provider with both kinds of cache; `clock` returns seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._kept: dict[tuple[str, bytes], float] = {}
        """Time of the last read of each prefix, by cache and by the hash of the prefix."""
        self.replies: dict[str, HostReply] = {}
        """Answers by the name that stands in a prompt as `(ref NAME)`."""
        self.bills: list[HostBill] = []

    def forget(self) -> None:
        """Drop cache entries that have expired."""
        now = self._clock()
        self._kept = {key: at for key, at in self._kept.items() if now - at <= TTL}

    def clay(self, request: Request) -> Answer:
        body = request.json
        blocks, marks = [b"".join(map(_said, body.get("tools") or ()))], []
        for part in _messages_parts(body):
            blocks.append(_said(part))
            if "cache_control" in part:
                marks.append(len(blocks) - 1)
        where = "\0".join(["clay", body["model"], request.header("x-api-key") or "", _said(body.get("thinking")).decode()])  # fmt: skip
        sizes, hashes = _sums(blocks)
        read = self._read(where, sizes, hashes, marks, LEAST["clay"])
        write = max(0, (sizes[marks[-1]] if marks else 0) - read)
        write = write if read + write >= LEAST["clay"] else 0
        self._write(where, [hashes[mark] for mark in marks if sizes[mark] >= LEAST["clay"]])
        reply, bill = self._bill(request, body["model"], read, write, sizes[-1])
        usage = {
            "input_tokens": bill.fresh, "cache_read_input_tokens": read, "cache_creation_input_tokens": write,
            "cache_creation": {"ephemeral_5m_input_tokens": write, "ephemeral_1h_input_tokens": 0},
            "output_tokens": bill.output,
        }  # fmt: skip
        text = [{"type": "text", "text": reply.text}] if reply.text else []
        uses = [{"type": "tool_use", "id": it["id"], "name": it["name"], "input": it["input"]} for it in reply.calls]  # fmt: skip
        whole = {
            "id": f"msg_{len(self.bills)}", "type": "message", "role": "assistant", "model": body["model"],
            "content": [*text, *uses], "stop_reason": "tool_use" if uses else "end_turn", "stop_sequence": None, "usage": usage,
        }  # fmt: skip
        return _answer(MESSAGES, body, whole)

    def chat(self, request: Request) -> Answer:
        body = request.json
        parts = [body.get("tools"), *body["messages"]]
        reply, bill = self._oak(request, body, parts, body.get("reasoning_effort"))
        calls = [
            {"id": it["id"], "type": "function", "function": {"name": it["name"], "arguments": jsonio.dumps(it["input"]).decode()}}
            for it in reply.calls
        ]  # fmt: skip
        message = {"role": "assistant", "content": reply.text or None, **({"tool_calls": calls} if calls else {})}  # fmt: skip
        usage = {
            "prompt_tokens": bill.prompt, "completion_tokens": bill.output, "total_tokens": bill.prompt + bill.output,
            "prompt_tokens_details": {"cached_tokens": bill.read},
        }  # fmt: skip
        whole = {
            "id": f"chat-{len(self.bills)}", "object": "chat.completion", "created": 1, "model": body["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls" if calls else "stop"}], "usage": usage,
        }  # fmt: skip
        return _answer(CHAT, body, whole)

    def responses(self, request: Request) -> Answer:
        body = request.json
        effort = (body.get("reasoning") or {}).get("effort")
        parts = [body.get("tools"), body.get("instructions"), *body["input"]]
        reply, bill = self._oak(request, body, parts, effort)
        number = len(self.bills)
        part = {"type": "output_text", "text": reply.text, "annotations": []}
        output: list[Json] = [{"type": "message", "id": f"msg_{number}", "status": "completed", "role": "assistant", "content": [part]}] if reply.text else []  # fmt: skip
        output += [
            {"type": "function_call", "id": f"fc_{it['id']}", "call_id": it["id"], "name": it["name"], "arguments": jsonio.dumps(it["input"]).decode(), "status": "completed"}
            for it in reply.calls
        ]  # fmt: skip
        usage = {
            "input_tokens": bill.prompt, "input_tokens_details": {"cached_tokens": bill.read},
            "output_tokens": bill.output, "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": bill.prompt + bill.output,
        }  # fmt: skip
        whole = {
            "id": f"resp_{number}", "object": "response", "created_at": 1, "status": "completed", "model": body["model"],
            "output": output, "usage": usage, "error": None, "incomplete_details": None,
        }  # fmt: skip
        return _answer(RESPONSES, body, whole)

    def _oak(self, request: Request, body: Json, parts: list[Any], effort: Any) -> tuple[HostReply, HostBill]:  # fmt: skip
        blocks = [_said(part) for part in parts]
        sizes, hashes = _sums(blocks)
        # A request goes to the replica of its session; without a session, its first bytes choose
        # one.
        session = request.header("x-session-affinity") or body.get("prompt_cache_key")
        begins = session.encode() if session else b"".join(blocks)[:1_024]
        replica = blake2b(begins, digest_size=1).digest()[0] % _REPLICAS
        where = "\0".join(["oak", body["model"], str(effort), request.header("authorization") or "", str(replica)])  # fmt: skip
        read = self._read(where, sizes, hashes, range(len(blocks)), LEAST["oak"])
        read -= read % _STEP
        self._write(where, hashes)
        return self._bill(request, body["model"], read, 0, sizes[-1])

    def _read(self, where: str, sizes: list[int], hashes: list[bytes], marks: Any, least: int) -> int:  # fmt: skip
        """Return the tokens of the longest cached prefix; a read extends its life."""
        now = self._clock()
        for mark in reversed(marks):
            for at in range(mark, max(-1, mark - _LOOKBACK - 1), -1):
                seen = self._kept.get((where, hashes[at]))
                if seen is not None and now - seen <= TTL and sizes[at] >= least:
                    self._kept[where, hashes[at]] = now
                    return sizes[at]
        return 0

    def _write(self, where: str, hashes: list[bytes]) -> None:
        now = self._clock()
        for hash in hashes:
            self._kept[where, hash] = now

    def _bill(self, request: Request, model: str, read: int, write: int, size: int) -> tuple[HostReply, HostBill]:  # fmt: skip
        (ref,) = set(_REF.findall(request.body))
        reply = self.replies[ref.decode()]
        output = 4 + len(reply.text) // 4 + sum(len(_said(call)) // 4 for call in reply.calls)
        bill = HostBill(ref.decode(), model, read, write, size - read - write, output)
        self.bills.append(bill)
        return reply, bill


def _messages_parts(body: Json) -> Iterator[Json]:
    yield from body.get("system") or ()  # as blocks, which every client here writes
    for message in body["messages"]:
        content = message["content"]
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        for at, part in enumerate(parts):
            yield {**part, "role": message["role"]} if at == 0 else part


def _said(part: Any) -> bytes:
    """Return a part as the model reads it, without the client's cache marks."""
    if isinstance(part, dict) and "cache_control" in part:
        part = {name: value for name, value in part.items() if name != "cache_control"}
    return jsonio.dumps(part)


def _sums(blocks: list[bytes]) -> tuple[list[int], list[bytes]]:
    """Return the tokens up to the end of each block, and a hash of all blocks up to there."""
    sizes, hashes, size, state = [], [], 0, blake2b(digest_size=16)
    for block in blocks:
        size += max(1, len(block) // 4)
        state.update(b"%d:" % len(block))
        state.update(block)
        sizes.append(size)
        hashes.append(state.copy().digest())
    return sizes, hashes


def _answer(dialect: str, body: Json, whole: Json) -> Answer:
    answer_bytes = jsonio.dumps(whole)
    if body.get("stream"):
        return Answer(pieces=(DIALECTS[dialect].unfold(answer_bytes, True),), headers=SSE)
    return Answer(pieces=(answer_bytes,), length=len(answer_bytes))
