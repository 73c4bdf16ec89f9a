"""Recorded exchanges of Chat Completions, and what the official SDK decoded from each."""

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from gateway.core.usage import Usage

type Object = dict[str, Any]


@dataclass(frozen=True)
class ChatExchange:
    """One request and answer of a real provider."""

    id: str
    provider: str
    status: int
    stream: bool
    body: bytes
    """The answer, as it was recorded."""
    request: Object | None
    """None where only the answer was recorded."""
    oracle: Object = field(repr=False)
    """The oracle: choices, usage and model that the SDK decoded, or the error it raised."""

    @property
    def asks_usage(self) -> bool:
        """True if the request asked for usage in its stream."""
        options = (self.request or {}).get("stream_options")
        return isinstance(options, dict) and options.get("include_usage") is True

    @property
    def cut(self) -> bool:
        """True if a choice has no reason for its end."""
        return self.oracle["outcome"] == "ok" and unreasoned(self.oracle)

    @property
    def choices(self) -> int:
        return (self.request or {}).get("n") or 1

    @property
    def usage_counts(self) -> Object | None:
        """Return usage as the SDK decoded it."""
        usage: Object | None = self.oracle.get("usage")
        return usage


def read(folder: Path) -> list[ChatExchange]:
    """Read every exchange of Chat Completions in a corpus."""
    oracle = {row["id"]: row for row in _rows(folder / "oracle" / "oracle.jsonl.gz")}
    exchanges = []
    for path in sorted((folder / "recorded").glob("*__chat_completions.jsonl.gz")):
        for row in _rows(path):
            answer, request = row["response"], row["request"]["body"]
            exchanges.append(
                ChatExchange(
                    id=row["id"],
                    provider=row["provider"],
                    status=answer["status"],
                    stream=answer["body_kind"] == "sse",
                    body=(answer["body"] or "").encode("utf-8", "surrogatepass"),
                    request=request if isinstance(request, dict) else None,
                    oracle=oracle[row["id"]],
                )
            )
    return exchanges


def unreasoned(oracle: Object) -> bool:
    """True if the SDK decoded a choice without a reason for its end."""
    return any(not choice["finish"] for choice in oracle["choices"])


def _rows(path: Path) -> Iterator[Object]:
    with gzip.open(path, "rt", encoding="utf-8", errors="surrogatepass") as lines:
        for line in lines:
            yield json.loads(line)


def payload(frame: bytes) -> Any:
    """Decode the JSON of a frame; return None for comments and for `[DONE]`."""
    lines = [line[5:].strip() for line in frame.splitlines() if line.startswith(b"data:")]
    text = b"\n".join(lines)
    return json.loads(text) if text and not text.startswith(b"[DONE]") else None


def shown(exchange: ChatExchange, *, asks_usage: bool) -> bytes:
    """Return the stream that a client should get.

    It has the separate usage chunk only if the client asked for it. A `[DONE]` also goes if no
    reason for the end came before it.
    """
    if asks_usage and not exchange.cut:
        return exchange.body
    blank = b"\r\n\r\n" if b"\r\n\r\n" in exchange.body else b"\n\n"
    frames_sent = []
    for frame in exchange.body.split(blank):
        chunk = payload(frame)
        if not asks_usage and chunk and chunk.get("usage") and not chunk.get("choices"):
            continue
        if not (exchange.cut and frame.startswith(b"data: [DONE]")):
            frames_sent.append(frame)
    return blank.join(frames_sent)


def classes(usage: Usage | None) -> Usage | None:
    """Return usage with its token counts alone."""
    if usage is None:
        return None
    return msgspec.structs.replace(usage, tools={}, media={}, service=None, billed=None)


FIVE = ("input", "cache_read", "cache_write", "output", "reasoning")


def five(counts: Object) -> tuple[int | None, ...]:
    """Return usage as the SDK decoded it, in the five disjoint classes, in the order of FIVE."""
    prompt, completion = counts["prompt_tokens"], counts["completion_tokens"]
    inside = counts.get("prompt_tokens_details") or {}
    places = [
        inside.get("cached_tokens"),
        counts.get("prompt_cache_hit_tokens"),
        counts.get("cached_tokens"),
        counts.get("cache_read_input_tokens"),
        counts.get("num_cached_tokens"),
    ]
    cached = next((count for count in places if count is not None), None)
    written = inside.get("cache_write_tokens") or counts.get("cache_creation_input_tokens") or None
    thought = (counts.get("completion_tokens_details") or {}).get("reasoning_tokens")
    if thought is None:
        thought = counts.get("reasoning_tokens")
    beyond = counts.get("total_tokens", 0) - prompt - completion
    if beyond > 0 and thought in (None, beyond):
        thought = beyond
    elif "market_cost" in counts:  # Vercel's usage, whose output leaves reasoning out
        pass
    elif thought is not None and thought <= completion + completion // 10:
        thought = min(thought, completion)
        completion -= thought
    return prompt - (cached or 0) - (written or 0), cached, written, completion, thought
