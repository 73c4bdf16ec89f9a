"""Compare each translated recording with a recording of the same task in the other dialect.

The shape of an answer is its set of objects, by their place and their `type`, with the names of
their members. The shape of a stream also has the order of events. A translated answer has no
object, member or order of events that real answers of the dialect lack. It has every member that
all of the sibling's objects of that kind have.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gateway.core import sse
from gateway.dialects import DIALECTS, ResponseContext, Translation
from tests.corpus import translated_requests
from tests.corpus.oracle import CHAT, GEMINI, MESSAGES, RESPONSES, Object, Row

WORDS = {
    "openai_chat": CHAT,
    "openai_responses": RESPONSES,
    "anthropic": MESSAGES,
    "gemini": GEMINI,
}
FREE = frozenset(
    {
        "args", "arguments", "input", "input_schema", "instructions", "metadata", "parameters", "text.format",
        "tools", "tool_choice", "logprobs", "annotations", "citations", "encrypted_content",
    }
)  # fmt: skip
"""Members whose values belong to the client or the model, and lists whose items stand elsewhere."""
_ANSWER = "is there where the answer says it"
_COUNT = "counts that other dialects do not tell: unknown is left out"
_HOST = "of one host, or new"
_MODEL = "depends on the model"
NOT_SENT: Mapping[str, Mapping[str, str]] = {
    CHAT: {
        **dict.fromkeys(("content", "tool_calls", "annotations", "role"), _ANSWER),
        **dict.fromkeys(
            (
                "completion_tokens_details", "prompt_tokens_details", "accepted_prediction_tokens",
                "rejected_prediction_tokens", "audio_tokens", "image_tokens", "text_tokens",
                "video_tokens", "cached_tokens", "prompt_cache_hit_tokens", "prompt_cache_miss_tokens", "usage",
            ),
            _COUNT,
        ),
        **dict.fromkeys(
            (
                "content_filter_results", "cost", "cost_details", "is_byok", "num_sources_used",
                "cost_in_usd_ticks", "provider", "obfuscation", "service_tier",
                "system_fingerprint", "format", "id", "index",
            ),
            _HOST,
        ),
    },
    RESPONSES: {
        **dict.fromkeys(
            (
                "billing", "content_filters", "frequency_penalty", "presence_penalty",
                "prompt_cache_retention", "tool_usage", "obfuscation", "context_details",
                "cost_in_usd_ticks", "num_server_side_tools_used", "num_sources_used",
            ),
            _HOST,
        ),
        **dict.fromkeys(("phase", "verbosity", "context", "mode"), _MODEL),
        **dict.fromkeys(("content", "status", "encrypted_content"), "optional in the SDK's type"),
    },
    MESSAGES: {
        **dict.fromkeys(
            (
                "cache_creation", "cache_creation_input_tokens", "cache_read_input_tokens",
                "output_tokens_details", "server_tool_use",
            ),
            _COUNT,
        ),
        **dict.fromkeys(("inference_geo", "service_tier", "caller"), _HOST),
    },
    GEMINI: {
        **dict.fromkeys(("text", "thought", "functionCall", "thoughtSignature"), _ANSWER),
        **dict.fromkeys(("groundingMetadata", "urlContextMetadata"), _ANSWER),
        **dict.fromkeys(
            (
                "candidatesTokensDetails", "promptTokensDetails", "thoughtsTokenCount",
                "toolUsePromptTokenCount", "toolUsePromptTokensDetails", "candidatesTokenCount",
                "totalTokenCount",
            ),
            _COUNT,
        ),
        **dict.fromkeys(("avgLogprobs", "finishMessage", "trafficType", "serviceTier"), _HOST),
        "createTime": _HOST,
        "usageMetadata": "stands in the last chunk alone",
    },
}  # fmt: skip
"""Members that all siblings have and a translated answer may lack, with the reason."""
_SLOT = "where a maker's state is kept"
_BESIDE = "calls stay open until their host ends them, and other items may come meanwhile"
OWN: Mapping[tuple[str, str], str] = {
    (RESPONSES, "image_tokens"): "the SDK's type takes it, as Chat Completions of some hosts have it",
    (CHAT, "chars"): _SLOT,
    (CHAT, "redacted"): _SLOT,
    (RESPONSES, "(response.incomplete).response.output[](message)"): "recorded ones were cut while thinking",
    (RESPONSES, "(response.incomplete).response.output[](message).content[](output_text)"): "recorded ones were cut while thinking",
}  # fmt: skip
"""Members and objects that no recorded answer of the dialect has, with the reason."""
STEPS: Mapping[tuple[str, str, str], str] = {
    (MESSAGES, "content_block_delta thinking_delta", "content_block_stop"): "reasoning without a state",
    (MESSAGES, "message_start", "message_delta"): "an answer without content",
    (GEMINI, "text", "functionCall"): "text, then calls",
    (CHAT, "reasoning_content", "reasoning_details"): _SLOT,
    (CHAT, "reasoning_details", "reasoning_content"): _SLOT,
    (RESPONSES, "response.output_item.done function_call", "response.output_item.added reasoning"): _SLOT,
    (RESPONSES, "response.output_item.done message", "response.output_item.added reasoning"): _SLOT,
    (RESPONSES, "response.output_item.done message", "response.incomplete"): "recorded ones were cut while thinking",
    (RESPONSES, "response.output_item.done reasoning", "response.function_call_arguments.done"): _BESIDE,
    (RESPONSES, "response.output_text.delta", "response.function_call_arguments.done"): _BESIDE,
    (RESPONSES, "response.function_call_arguments.delta", "response.output_item.added message"): _BESIDE,
    (RESPONSES, "response.function_call_arguments.delta", "response.output_item.added reasoning"): _BESIDE,
    (RESPONSES, "response.output_item.done function_call", "response.output_text.done"): _BESIDE,
}  # fmt: skip
"""Pairs of events in an order that no recorded stream of the dialect has, with the reason."""


@dataclass
class Shape:
    """The objects of an answer, and the order of its events."""

    some: dict[str, set[str]] = field(default_factory=dict)
    """Members of any object of a kind."""
    full: dict[str, set[str]] = field(default_factory=dict)
    """Members that have a value in all objects of a kind."""
    every: dict[str, set[str]] = field(default_factory=dict)
    """Members of all objects of a kind, null or not."""
    steps: set[tuple[str, str]] = field(default_factory=set)

    def add(self, other: "Shape") -> None:
        for kind, names in other.some.items():
            self.some.setdefault(kind, set()).update(names)
        for kind, names in other.every.items():
            self.every[kind] = self.every.get(kind, names) & names
        for kind, names in other.full.items():
            self.full[kind] = self.full.get(kind, names) & names
        self.steps |= other.steps


@dataclass
class GroupCount:
    """Results of the recordings of one pair of dialects."""

    agree: int = 0
    failed: dict[str, str] = field(default_factory=dict)


def shape(dialect: str, body: bytes, *, stream: bool) -> Shape:
    """Return the shape of an answer."""
    shape_ = Shape()
    if not stream:
        value = json.loads(body)
        _take(shape_, "", value[0] if isinstance(value, list) else value)
        return shape_
    before = "begin"
    for frame in sse.split_frames(body):
        data = sse.read_data(frame)
        if not data:
            continue
        done = data.startswith(b"[DONE]")
        value = {} if done else json.loads(data)
        name = "[DONE]" if done else _name(dialect, value)
        if name and name != before:
            shape_.steps.add((before, name))
            before = name
        if not done:
            _take(shape_, "", value)
    shape_.steps.add((before, "end"))
    return shape_


def _take(shape_: Shape, path: str, value: object) -> None:
    if isinstance(value, list):
        for item in value:
            _take(shape_, f"{path}[]", item)
    elif isinstance(value, dict):
        kind = value.get("type")
        where = f"{path}({kind})" if isinstance(kind, str) else path
        names = {name for name, item in value.items() if item is not None}
        shape_.some.setdefault(where, set()).update(value)
        shape_.full[where] = shape_.full.get(where, names) & names
        shape_.every[where] = shape_.every.get(where, set(value)) & set(value)
        for name, item in value.items():
            if name not in FREE and f"{path.rpartition('.')[2]}.{name}" not in FREE:
                _take(shape_, f"{where}.{name}", item)


def _name(dialect: str, value: Object) -> str:
    """Return the kind of an event that matters for its place in a stream."""
    if dialect in (RESPONSES, MESSAGES):
        inner = value.get("content_block") or value.get("delta") or value.get("item")
        kind = inner.get("type", "") if isinstance(inner, dict) else ""
        name = f"{value.get('type')} {kind}".strip()
        return "" if name == "ping" else name
    if dialect == GEMINI:
        first = (value.get("candidates") or [{}])[0]
        parts = (first.get("content") or {}).get("parts") or []
        kinds = {"thought" if part.get("thought") else next(iter(part), "") for part in parts}
        return " ".join([*sorted(kinds), *(["end"] if first.get("finishReason") else [])]) or "none"
    choices = value.get("choices") or []
    if not choices:
        return "usage" if value.get("usage") else ""
    delta = choices[0].get("delta") or {}
    names = [name for name, item in delta.items() if item and name not in ("role", "reasoning")]
    if choices[0].get("finish_reason"):
        names.append("finish")
    return " ".join(sorted(names))


def judge_all(corpus: Path, rows: Iterable[Row]) -> dict[tuple[str, str], GroupCount]:
    """Compare recordings of a group in each sibling's dialect; count by its own and the other."""
    real_shapes: dict[tuple[str, bool], Shape] = {}
    good = {row.id: row for row in rows if row.status == 200 and not row.raised}
    shapes = {id: shape(row.dialect, row.body, stream=row.stream) for id, row in good.items()}
    for id, row in good.items():
        real_shapes.setdefault((row.dialect, row.stream), Shape()).add(shapes[id])
    counts: dict[tuple[str, str], GroupCount] = {}
    groups = json.loads((corpus / "parallel_groups.json").read_text())
    for name, group in groups.items():
        rows_by_dialect = {
            WORDS[word]: [good[member["id"]] for member in members if member["id"] in good]
            for word, members in group.items()
            if word in WORDS
        }
        for row, other, siblings in _pairs(rows_by_dialect):
            count = counts.setdefault((row.dialect, other), GroupCount())
            expected = Shape()
            for sibling in siblings:
                expected.add(shapes[sibling.id])
            out = _translate(row, other)
            if out is None:
                continue
            actual = shape(other, out, stream=row.stream)
            wrong = list(_list_differences(other, actual, expected, real_shapes[other, row.stream]))
            if wrong:
                count.failed[f"{name} {row.id}"] = "; ".join(wrong)
            else:
                count.agree += 1
    return counts


def _pairs(rows_by_dialect: dict[str, list[Row]]) -> Iterator[tuple[Row, str, list[Row]]]:
    for own, rows in rows_by_dialect.items():
        for row in rows:
            for other, siblings in rows_by_dialect.items():
                same = [sibling for sibling in siblings if sibling.stream == row.stream]
                if other != own and same:
                    yield row, other, same


def _translate(row: Row, other: str) -> bytes | None:
    """Translate an answer to another dialect; None if it becomes a problem or has no end."""
    body, request = translated_requests.make_client_request(row, DIALECTS[other])
    context = ResponseContext(
        id="01law3", created_at=7, model="m", prompt_tokens=9, state_label="law3"
    )
    translation = Translation(DIALECTS[other], DIALECTS[row.dialect], request, context)
    if not row.stream:
        summary = translation.summarize(row.body)
        return summary.body if summary.complete else None
    inspector = translation.inspect_stream(body)
    out = inspector.feed(row.body) + inspector.end()
    return out if inspector.complete else None


def _list_differences(
    dialect: str, actual: Shape, expected: Shape, real_shape: Shape
) -> Iterator[str]:
    not_sent = NOT_SENT[dialect]
    for kind, names in actual.some.items():
        real = real_shape.some.get(kind)
        if real is None and (dialect, kind) not in OWN:
            yield f"no real answer has {kind or 'a body'} {sorted(names)}"
        new = [member for member in sorted(names - (real or names)) if (dialect, member) not in OWN]
        if new:
            yield f"no real {kind or 'body'} has {new}"
    for kind, names in actual.every.items():
        missing = sorted(expected.full.get(kind, set()) - names - not_sent.keys())
        if missing:
            yield f"every sibling's {kind or 'body'} has {missing}"
    for before, after in sorted(actual.steps - real_shape.steps):
        if (dialect, before, after) not in STEPS:
            yield f"no real stream has {after!r} after {before!r}"


def format_table(counts: dict[tuple[str, str], GroupCount]) -> list[str]:
    """Return the counts as lines, one for each pair."""
    lines = [f"{'recorded':20} {'translated to':20} {'agree':>6} {'failed':>7}"]
    for (own, other), count in counts.items():
        lines.append(f"{own:20} {other:20} {count.agree:6} {len(count.failed):7}")
    return lines
