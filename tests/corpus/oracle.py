"""Read every recorded exchange of the four dialects, and what the official SDK decoded from it.

The result is in no dialect. The recorded oracle leaves some things out: calls from before tools,
custom tools, reasoning of whole Responses. The tests read them from the recording, by names alone.
"""

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, NamedTuple

from gateway.core import sse
from tests.corpus.exchanges import five, unreasoned
from tests.corpus.sdk_clients import SdkClients
from tests.corpus.sdk_oracle import make_oracle

type Object = dict[str, Any]

CHAT, RESPONSES, MESSAGES, GEMINI = (
    "openai-chat", "openai-responses", "anthropic-messages", "gemini",
)  # fmt: skip
ENDPOINTS = {
    "chat_completions": CHAT,
    "responses": RESPONSES,
    "messages": MESSAGES,
    "gemini_generate_content": GEMINI,
    "gemini_stream_generate_content": GEMINI,
}
REASONS = {
    **dict.fromkeys(
        (
            "stop", "end", "tool_calls", "function_call", "completed", "end_turn", "stop_sequence",
            "tool_use", "tool_call", "eos", "eos_token", "complete",
        ),
        "done",
    ),
    **dict.fromkeys(
        ("length", "max_tokens", "max_output_tokens", "model_length", "context_length_exceeded",
         "model_context_window_exceeded", "continuation"),
        "length",
    ),
    **dict.fromkeys(
        (
            "content_filter", "sensitive", "safety", "refusal", "recitation", "blocklist",
            "prohibited_content", "spii", "image_safety", "image_prohibited_content",
            "image_other", "no_image", "image_recitation", "model_armor",
        ),
        "filter",
    ),
    **dict.fromkeys(("pause_turn", "compaction", "steered"), "pause"),
    **dict.fromkeys(
        (
            "error", "failed", "network_error", "insufficient_system_resource", "abort", "other",
            "unexpected_tool_call", "malformed_function_call", "missing_thought_signature",
            "too_many_tool_calls", "malformed_response", "language",
        ),
        "error",
    ),
}  # fmt: skip
"""Finish words of the four dialects and their hosts in lower case; `done` ends an answer well."""


@dataclass(frozen=True)
class Row:
    """One recorded exchange."""

    id: str
    file: str
    """Name of its file, and its line there."""
    dialect: str
    provider: str
    status: int
    stream: bool
    body: bytes = field(repr=False)
    sizes: tuple[int, ...]
    """Sizes of the reads in which the answer came, if they were recorded."""
    request: Object | None = field(repr=False)
    path: str
    """The variable part of the path, for Gemini."""
    oracle: Object = field(repr=False)
    left: bool = False
    """True if the recorder left the stream before its end."""

    @property
    def raised(self) -> bool:
        """True if the SDK raised."""
        return bool(self.oracle["outcome"] == "error")

    @property
    def cut(self) -> bool:
        """True if a choice has no reason for its end, or the rest of the answer is missing."""
        if self.status != 200 or self.raised:
            return False
        if self.left:
            return True
        if self.dialect == CHAT:
            return not self.oracle["choices"] or unreasoned(self.oracle)
        return self.dialect == RESPONSES and self.oracle.get("status") == "queued"

    @property
    def pieces(self) -> list[bytes]:
        """Return the answer in the recorded pieces."""
        if not self.sizes:
            return [self.body]
        ends = [0, *accumulate(self.sizes)]
        return [self.body[a:b] for a, b in pairwise(ends)]


@dataclass(frozen=True)
class Meaning:
    """The content of one choice of an answer."""

    text: str = ""
    reasoning: str = ""
    declined: str = ""
    calls: tuple[tuple[str, str], ...] = ()
    """Names, and arguments in one form of JSON; invalid JSON stays as it is."""
    finish: str = "stop"
    """A value of Finish.reason."""
    custom: frozenset[str] = frozenset()
    """Names of custom tools among the calls."""
    whole: str | None = None
    """The text at the end, if the recorded pieces have less."""
    whole_reasoning: str | None = None
    """The reasoning at the end, if the recorded pieces have other words."""


type Usage = tuple[int | None, ...]
"""The five classes in the order of exchanges.FIVE."""


class Corpus(NamedTuple):
    """Recorded exchanges of a folder."""

    rows: list[Row]
    """Exchanges in the order of their ids."""
    unreadable: dict[str, str]
    """The reason why a recording cannot be read, by file and line."""


def read(folder: Path) -> list[Row]:
    """Read every exchange of a dialect. Raises ValueError if one cannot be read."""
    corpus = read_corpus(folder)
    if corpus.unreadable:
        raise ValueError(f"recordings that cannot be read: {corpus.unreadable}")
    return corpus.rows


def read_corpus(folder: Path) -> Corpus:
    """Read every exchange of a dialect in a folder, or in one file.

    Without a recorded oracle, the installed SDKs make one.
    """
    unreadable: dict[str, str] = {}
    oracle: dict[str, Object] = {}
    path = folder / "oracle" / "oracle.jsonl.gz"
    if path.is_file():
        oracle = {row["id"]: row for _, row in _read_lines(path, unreadable)}
    clients = SdkClients()
    rows: list[Row] = []
    recorded = folder / "recorded" if (folder / "recorded").is_dir() else folder
    files = {*recorded.rglob("*.jsonl.gz"), *recorded.rglob("*.jsonl")}
    for path in [folder] if folder.is_file() else sorted(files):
        for place, value in _read_lines(path, unreadable):
            endpoint = value.get("endpoint") if isinstance(value, dict) else None
            if endpoint is None and isinstance(value, dict):
                endpoint = path.name.partition("__")[2].partition(".")[0]
            if not isinstance(endpoint, str):
                unreadable[place] = "no recorded exchange"
            elif endpoint in ENDPOINTS:
                try:
                    row = make_row(value, ENDPOINTS[endpoint], place, oracle, clients)
                    if row.status == 200 and not row.raised:
                        read_meanings(row), read_usage(row)
                except Exception as error:  # noqa: BLE001 - each error makes it unreadable
                    unreadable[place] = f"{type(error).__name__}: {error}"
                else:
                    rows.append(row)
    return Corpus(sorted(rows, key=lambda row: row.id), unreadable)


def lines(path: Path) -> Iterator[Object]:
    """Read the rows of a file. Raises ValueError if one cannot be read."""
    unreadable: dict[str, str] = {}
    for _, row in _read_lines(path, unreadable):
        yield row
    if unreadable:
        raise ValueError(str(unreadable))


def _read_lines(path: Path, unreadable: dict[str, str]) -> Iterator[tuple[str, Any]]:
    """Read the rows of a file, each with its place; note in `unreadable` lines that are no JSON."""
    number = 0
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8", errors="surrogatepass") as rows:
            for number, row in enumerate(rows, 1):
                if not row.strip():
                    continue
                try:
                    value = json.loads(row)
                except ValueError as error:
                    unreadable[f"{path.name}:{number}"] = f"no JSON: {error}"
                else:
                    yield f"{path.name}:{number}", value
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        unreadable[f"{path.name}:{number + 1}"] = f"{type(error).__name__}: {error}"


def make_row(
    row: Object, dialect: str, place: str, oracle: Mapping[str, Object], clients: SdkClients
) -> Row:
    """Read one recorded exchange. Raises any error that its shape causes."""
    answer, request = row["response"], row.get("request") or {}
    if answer["body_kind"] not in ("sse", "json", "text", "empty"):
        raise ValueError(f"an answer of kind {answer['body_kind']}")
    body = (answer["body"] or "").encode("utf-8", "surrogatepass")
    sizes = tuple((answer.get("wire") or {}).get("chunk_lens") or ())
    path = (request.get("path") or "").partition("?")[0].rpartition("models/")[2]
    stream = answer["body_kind"] == "sse"
    request_body = request.get("body")
    decoded = oracle.get(row["id"])
    if decoded is None and answer["status"] == 200:
        decoded = make_oracle(clients, dialect, body, stream=stream)
    return Row(
        id=row["id"],
        file=place,
        dialect=dialect,
        provider=row.get("provider") or "unknown",
        status=answer["status"],
        stream=stream,
        body=body,
        sizes=sizes if sum(sizes) == len(body) else (),
        request=request_body if isinstance(request_body, dict) else None,
        path=f"models/{path or 'm:generateContent'}",
        oracle=decoded or {"outcome": "error"},
        left=bool((row.get("doctor") or {}).get("left")),
    )


AWKWARD = (1, 2, 3, 5, 8, 13, 21, 34)
"""Sizes of reads, in turn."""


def awkward(data: bytes) -> list[bytes]:
    """Cut bytes into pieces of awkward sizes."""
    ends = [0]
    while ends[-1] < len(data):
        ends.append(min(len(data), ends[-1] + AWKWARD[len(ends) % len(AWKWARD)]))
    return [data[a:b] for a, b in pairwise(ends)]


def normalize_arguments(arguments: Any) -> str:
    """Return arguments in one form: equal values give equal text."""
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments or "{}")
        except ValueError:
            return str(arguments)
    return json.dumps(arguments, sort_keys=True)


def reason(word: str | None, calls: object) -> str:
    """Return why an answer ended, by a dialect's word.

    Without a word the answer is cut, and an unknown word is no good end.
    """
    if not word:
        return "cut"
    meaning = REASONS.get(word.lower(), "length")
    return ("tools" if calls else "stop") if meaning == "done" else meaning


def read_meanings(row: Row) -> dict[int, Meaning]:
    """Return what the SDK decoded, by choice."""
    return _READ_MEANINGS[row.dialect](row)


def read_usage(row: Row) -> Usage | None:
    """Return usage as the SDK decoded it, in five disjoint classes; None if there is none."""
    counts = row.oracle.get("usage")
    return None if counts is None else _READ_USAGE[row.dialect](counts)


def payloads(body: bytes) -> list[Object]:
    """Return the JSON objects of a stream's frames."""
    values = []
    for frame in sse.split_frames(body):
        data = sse.read_data(frame)
        if data and not data.startswith(b"[DONE]"):
            values.append(json.loads(data))
    return values


def _chat(row: Row) -> dict[int, Meaning]:
    meanings, words = {}, _spoken_words(row)
    for choice in row.oracle["choices"]:
        text, thought = choice["text"] or "", choice["reasoning"] or ""
        if isinstance(text, dict):
            text = json.dumps(text, separators=(",", ":"), ensure_ascii=False)
        elif isinstance(text, list):
            inner = [
                block for part in text if part["type"] == "thinking" for block in part["thinking"]
            ]
            thought = "".join(block["text"] for block in inner)
            text = "".join(part["text"] for part in text if part["type"] == "text")
        calls = [
            (call[1], normalize_arguments(call[2])) for call in choice["tools"]
        ] or _read_legacy_call(row)
        meanings[choice["index"]] = Meaning(
            text=text + words.get(choice["index"], ""),
            reasoning=thought,
            declined=choice["refusal"] or "",
            calls=tuple(calls),
            finish=reason(choice["finish"], calls),
        )
    return meanings


def _spoken_words(row: Row) -> dict[int, str]:
    """Return the transcript of speech by choice; clients of other dialects get it as text."""
    if row.stream or b'"transcript"' not in row.body:
        return {}
    choices = json.loads(row.body)["choices"]
    speech = {choice["index"]: choice["message"].get("audio") for choice in choices}
    return {index: audio["transcript"] or "" for index, audio in speech.items() if audio}


def _read_legacy_call(row: Row) -> list[tuple[str, str]]:
    """Return the one function call of an answer from before tools."""
    if b'"function_call"' not in row.body:
        return []
    values = payloads(row.body) if row.stream else [json.loads(row.body)]
    deltas = [
        choice.get("delta") or choice.get("message") or {}
        for v in values
        for choice in v["choices"][:1]
    ]
    pieces = [delta["function_call"] for delta in deltas if delta.get("function_call")]
    name = "".join(piece.get("name") or "" for piece in pieces)
    return (
        [(name, normalize_arguments("".join(piece.get("arguments") or "" for piece in pieces)))]
        if name
        else []
    )


def items(row: Row) -> list[Object]:
    """Return the output items of a Responses answer, each in its final form."""
    if not row.stream:
        output: list[Object] = json.loads(row.body).get("output") or []
        return output
    done: dict[int, Object] = {}
    last: list[Object] = []
    for event in payloads(row.body):
        if event.get("type") == "response.output_item.done":
            done[event.get("output_index", len(done))] = event["item"]
        elif event.get("type") in ("response.completed", "response.incomplete"):
            last = event["response"].get("output") or []
    return [done[at] for at in sorted(done)] or last


def _responses(row: Row) -> dict[int, Meaning]:
    oracle, output = row.oracle, items(row)
    calls, thoughts, declined, custom = [], "", "", set[str]()
    for item in output:
        if item["type"] in ("function_call", "custom_tool_call"):
            custom |= {item["name"]} if item["type"] == "custom_tool_call" else set()
            calls.append(
                (item["name"], normalize_arguments(item.get("arguments", item.get("input"))))
            )
        elif item["type"] == "reasoning":
            blocks = item.get("summary") or item.get("content") or ()
            thoughts += "".join(part["text"] for part in blocks)
        elif item["type"] == "message":
            declined += "".join(part.get("refusal") or "" for part in item["content"])
    listed_calls = [
        (name, normalize_arguments(arguments)) for _, name, arguments in oracle.get("tools", ())
    ]
    assert [call for call in calls if call in listed_calls] == listed_calls, row.id
    cut = oracle.get("incomplete")
    ended = oracle.get("status") or (b'"response.completed"' in row.body and "completed")
    finish = reason(cut["reason"] if cut else ended or None, calls)
    return {
        0: Meaning(
            text=oracle.get("delta_text") or oracle.get("text", ""),
            reasoning=oracle.get("delta_reasoning") or thoughts,
            declined=declined,
            calls=tuple(calls),
            finish=finish,
            custom=frozenset(custom),
            whole=oracle.get("text") or None,
            whole_reasoning=thoughts or None,
        )
    }


def _messages(row: Row) -> dict[int, Meaning]:
    blocks = row.oracle["content"]
    calls = [
        (block["name"], normalize_arguments(block["input"]))
        for block in blocks
        if block["type"] == "tool_use"
    ]
    finish = row.oracle["finish"]
    return {
        0: Meaning(
            text="".join(block["text"] for block in blocks if block["type"] == "text"),
            reasoning="".join(
                block.get("thinking", "") for block in blocks if block["type"] == "thinking"
            ),
            calls=tuple(calls),
            finish="tools" if finish == "tool_use" else reason(finish, ()),
        )
    }


def _gemini(row: Row) -> dict[int, Meaning]:
    oracle = row.oracle
    calls = tuple((name, normalize_arguments(args)) for _, name, args in oracle["tools"])
    words = oracle["finish"]
    blocked = bool(oracle.get("blocked"))
    finish = "filter" if blocked else reason(words[-1] if words else None, calls)
    return {
        0: Meaning(
            text=oracle["text"], reasoning=oracle["thought"], calls=calls, finish=finish
        )
    }  # fmt: skip


def read_raw_gemini(row: Row) -> dict[int, Meaning]:
    """Read a Gemini recording that the SDK cannot decode, by the names in it alone."""
    value = payloads(row.body) if row.stream else json.loads(row.body)
    chunks = value if isinstance(value, list) else [value]
    first = [candidate for chunk in chunks for candidate in (chunk.get("candidates") or ())[:1]]
    parts = [
        part for candidate in first for part in (candidate.get("content") or {}).get("parts") or ()
    ]
    calls = [part["functionCall"] for part in parts if "functionCall" in part]
    words = [candidate["finishReason"] for candidate in first if candidate.get("finishReason")]
    numbers = {1: "STOP", 2: "MAX_TOKENS", 3: "SAFETY"}
    word = numbers.get(words[-1], words[-1]) if words else None
    return {
        0: Meaning(
            text="".join(part.get("text", "") for part in parts if not part.get("thought")),
            reasoning="".join(part.get("text", "") for part in parts if part.get("thought")),
            calls=tuple(
                (call["name"], normalize_arguments(call.get("args") or {})) for call in calls
            ),
            finish=reason(word, calls),
        )
    }


def split_classes(
    prompt: int, cached: int | None, written: int | None, out: int, thought: int | None
) -> Usage:
    """Return five classes from counts that include each other: a part never exceeds its whole."""
    cached = None if cached is None else min(cached, prompt)
    written = None if written is None else min(written, prompt - (cached or 0))
    inside = min(thought or 0, out)
    return prompt - (cached or 0) - (written or 0), cached, written, out - inside, thought


def _read_chat_usage(counts: Object) -> Usage:
    fresh, cached, written, out, thought = five(counts)
    prompt = counts["prompt_tokens"]
    if (cached or 0) > prompt:
        return prompt - min(cached or 0, prompt), min(cached or 0, prompt), written, out, thought
    return fresh, cached, written, out, thought


def _read_responses_usage(counts: Object) -> Usage | None:
    if not counts or counts.get("input_tokens") is None:
        return None
    inside = counts.get("input_tokens_details") or {}
    thought = (counts.get("output_tokens_details") or {}).get("reasoning_tokens")
    prompt, out = counts["input_tokens"], counts["output_tokens"]
    if thought and counts.get("total_tokens") == prompt + out + thought:
        out += thought
    return split_classes(
        prompt, inside.get("cached_tokens"), inside.get("cache_write_tokens"), out, thought
    )


def _read_messages_usage(counts: Object) -> Usage:
    thought = (counts.get("output_tokens_details") or {}).get("thinking_tokens")
    own = [
        counts,
        *[
            iteration
            for iteration in counts.get("iterations") or ()
            if iteration.get("type") == "compaction"
        ],
    ]
    fresh = sum(iteration["input_tokens"] for iteration in own)
    cached = sum(iteration.get("cache_read_input_tokens") or 0 for iteration in own)
    written = sum(iteration.get("cache_creation_input_tokens") or 0 for iteration in own)
    out = sum(iteration["output_tokens"] for iteration in own)
    return fresh, cached, written, out - (thought or 0), thought


def _read_gemini_usage(counts: Object) -> Usage | None:
    def count(name: str) -> int | None:
        tokens: int | None = counts.get(f"{name}_token_count")
        return tokens

    prompt, cached, thought = count("prompt"), count("cached_content"), count("thoughts")
    if prompt is None:
        return None
    tools = count("tool_use_prompt") or 0
    return prompt + tools - (cached or 0), cached, None, count("candidates") or 0, thought


_READ_MEANINGS = {CHAT: _chat, RESPONSES: _responses, MESSAGES: _messages, GEMINI: _gemini}
_READ_USAGE = {
    CHAT: _read_chat_usage,
    RESPONSES: _read_responses_usage,
    MESSAGES: _read_messages_usage,
    GEMINI: _read_gemini_usage,
}
