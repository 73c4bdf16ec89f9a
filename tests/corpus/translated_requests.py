"""Recorded requests in other dialects: the translation has every part, or names it as a loss."""

import base64
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from gateway.core.canonical_request import (
    CanonicalRequest,
    Media,
    Part,
    Refused,
    Text,
    Thought,
    ToolChoice,
    ToolResult,
    ToolUse,
)
from gateway.core.errors import ProblemError
from gateway.dialects import DIALECTS, Dialect, RequestBody, compatibility, tool_ids, translation
from gateway.dialects.base import TranslationFunctions
from tests.corpus.oracle import GEMINI, MESSAGES, Object, Row, normalize_arguments
from tests.dialects.cases import target

_HI: Object = {"messages": [{"role": "user", "content": "hi"}]}
_LEAST: dict[str, Object] = {
    "openai-chat": _HI,
    "openai-responses": {"input": "hi"},
    "anthropic-messages": {**_HI, "max_tokens": 1},
    "gemini": {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]},
}


SETTINGS = (
    "max_output", "stop", "temperature", "top_p", "top_k", "presence_penalty", "frequency_penalty", "seed",
    "logit_bias", "logprobs", "top_logprobs", "verbosity", "effort", "budget", "thoughts_shown", "service_tier",
    "user", "metadata", "cache_key", "choices", "parallel_tools", "tool_choice",
)  # fmt: skip
"""Fields of a request that are compared as they are."""
DEFAULTS: dict[str, object] = {
    "parallel_tools": True, "top_p": 1.0, "tool_choice": ToolChoice(mode="auto"), "choices": 1,
}  # fmt: skip
"""Values that ask for the default."""


@dataclass
class RequestCount:
    """Results of the requests of one pair of dialects."""

    whole: list[str] = field(default_factory=list)
    """Ids of requests whose conversation is complete, except for what a Loss names."""
    named: list[str] = field(default_factory=list)
    """Ids of requests whose conversation lacks a part, which a Loss names."""
    refused: list[str] = field(default_factory=list)
    """Ids of requests for which the gateway skips the target, with the field that prevents it."""
    unread: list[str] = field(default_factory=list)
    """Ids of requests that are none of their own dialect."""
    failed: dict[str, str] = field(default_factory=dict)


def get_functions(dialect: Dialect) -> TranslationFunctions:
    return translation.get_translation(dialect)


def read(value: Object, dialect: Dialect, path: str = "models/m:generateContent") -> RequestBody:
    """Read a body as the gateway does. Raises ProblemError."""
    raw = json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")
    return (
        dialect.read(raw) if dialect.read_with_path is None else dialect.read_with_path(raw, path)
    )


def read_recorded(row: Row) -> RequestBody | None:
    """Return the recorded request; None if there is none that the gateway can read."""
    if row.request is None:
        return None
    value = row.request if row.dialect == GEMINI else {"model": "m", **row.request}
    try:
        return read(value, DIALECTS[row.dialect], row.path)
    except ProblemError:
        return None


def make_client_request(
    row: Row, dialect: Dialect, *, least: bool = False
) -> tuple[RequestBody, CanonicalRequest]:
    """Return the request of a client of a dialect, as near to the recorded one as possible.

    `least`: a request that says only hi.
    """
    value, body = _LEAST[dialect.name], None if least else read_recorded(row)
    if body is not None:
        request = get_functions(DIALECTS[row.dialect]).decode_request(body)
        if dialect.name == row.dialect:
            value = row.request or value
        elif not compatibility.check_request(request, dialect.name)[1]:
            value = get_functions(dialect).encode_request(request, target()).value
    value = {**value, "model": "m"}
    path = "models/m:generateContent"
    if dialect.name == GEMINI:
        value = {name: member for name, member in value.items() if name not in ("model", "stream")}
        path = "models/m:streamGenerateContent" if row.stream else path
    else:
        value["stream"] = row.stream
    if dialect.name == "openai-chat":
        value["stream_options"] = {"include_usage": True}
    body_sent = read(value, dialect, path)
    return body_sent, get_functions(dialect).decode_request(body_sent)


def translate_all(rows: Iterable[Row]) -> dict[tuple[str, str], RequestCount]:
    """Translate every recorded request to every other dialect; count by its own and the other."""
    counts = dict[tuple[str, str], RequestCount]()
    for row in rows:
        if row.request is None:
            continue
        body = read_recorded(row)
        for name, target_dialect in DIALECTS.items():
            if name == row.dialect:
                continue
            count = counts.setdefault((row.dialect, name), RequestCount())
            if body is None:
                count.unread.append(row.id)
                continue
            try:
                request = get_functions(DIALECTS[row.dialect]).decode_request(body)
                _translate(row, request, target_dialect, count)
            except Exception as error:  # noqa: BLE001 - every failure is one to show
                count.failed[row.id] = f"{type(error).__name__}: {str(error)[:300]}"
    return counts


def _translate(
    row: Row, request: CanonicalRequest, target_dialect: Dialect, count: RequestCount
) -> None:
    losses, refusals = compatibility.check_request(request, target_dialect.name)
    if refusals:
        count.refused.append(row.id)
        return
    encoded = get_functions(target_dialect).encode_request(request, target())
    inner = read({"model": "m", **encoded.value}, target_dialect)
    written = translation.write_request(request, target_dialect, target())
    json.loads(written.body)
    decoded_again = get_functions(target_dialect).decode_request(inner)
    missing = [
        *_list_missing(request, decoded_again),
        *_list_changed_settings(request, decoded_again),
    ]
    if (
        target_dialect.name == MESSAGES and "thinking" not in encoded.value
    ):  # without a thought none is shown
        missing = [item for item in missing if item[0] != request.names.get("thoughts_shown")]
    names = [loss.field for loss in (*losses, *encoded.losses, *written.losses)]
    unnamed = [item for item in missing if not _is_named(item[0], names)]
    if unnamed:
        count.failed[row.id] = f"{unnamed[:3]} missing, losses {sorted(set(names))}"
    elif missing:
        count.named.append(row.id)
    else:
        count.whole.append(row.id)


def _is_named(kind: str, names: list[str]) -> bool:
    """True if a loss names a kind of part."""
    return any(kind in (name, name.rpartition(".")[2]) for name in names)


def list_parts(request: CanonicalRequest) -> Iterable[Part]:
    """List every part, also those inside tool results."""
    for turn in request.turns:
        for part in turn.parts:
            yield part
            if isinstance(part, ToolResult):
                yield from part.parts


def _list_missing(first: CanonicalRequest, second: CanonicalRequest) -> Iterable[tuple[str, str]]:
    """List the parts of a request that its translation lacks, by kind."""
    texts = "\n".join(_read_text(part) for part in list_parts(second))
    expected = Counter(_read_text(part) for part in list_parts(first) if _read_text(part).strip())
    for text, times in expected.items():
        if texts.count(text.strip()) < times:
            yield "text", text[:120]
    media = Counter(content for _, content in _list_media(second))
    for kind, content in _list_media(first):
        if not media[content] and _decode_text(content) not in texts:
            yield kind, content[:120]
        media[content] -= 1
    calls = _list_calls(second)
    for name, arguments, result in _list_calls(first):
        same = (call for call in calls if call[:2] == (name, arguments) and result in ("", call[2]))
        call_found = next(same, None)
        if call_found is None:
            yield "arguments", f"{name} {arguments} {result}"[:200]
        else:
            calls.remove(call_found)
    names = {tool_ids.make_plain_id(tool.name, "tool_") for tool in second.tools}
    for tool in first.tools:
        if tool_ids.make_plain_id(tool.name, "tool_") not in names:
            yield "tools", tool.name
    if any(isinstance(part, Thought) for part in list_parts(first)):
        yield "reasoning", ""


def _list_changed_settings(
    first: CanonicalRequest, second: CanonicalRequest
) -> Iterable[tuple[str, str]]:
    """List the settings that a translation lacks or changes, by the client's own names."""
    for name in SETTINGS:
        value, translated = getattr(first, name), getattr(second, name)
        if value not in (None, (), False, DEFAULTS.get(name)) and value != translated:
            yield first.names.get(name, name), f"{value} became {translated}"[:120]


def _read_text(part: Part) -> str:
    if isinstance(part, Text | Refused):
        return part.text
    return part.text or "" if isinstance(part, Media) else ""


def _list_media(request: CanonicalRequest) -> Iterable[tuple[str, str]]:
    for part in list_parts(request):
        if isinstance(part, Media) and part.text is None:
            yield part.kind, (part.data or part.url or part.id or "")


def _decode_text(data: str) -> str:
    """Decode a document of plain text, which may become text; return other data as it is."""
    try:
        return base64.b64decode(data, validate=True).decode()
    except ValueError:
        return data


def _list_calls(request: CanonicalRequest) -> list[tuple[str, str, str]]:
    """Return the calls of a request without their ids: name, arguments and result."""
    results_by_id: dict[str, list[str]] = {}
    for part in list_parts(request):
        if isinstance(part, ToolResult):
            text = "\n".join(map(_read_text, part.parts)).strip().removeprefix("Error: ")
            results_by_id.setdefault(part.id, []).append(text)
    calls = []
    for part in list_parts(request):
        if isinstance(part, ToolUse):
            arguments = (
                normalize_arguments({"input": part.arguments})
                if part.custom
                else normalize_arguments(part.arguments)
            )
            results = results_by_id.get(part.id)
            result = results.pop(0) if results else ""
            calls.append((tool_ids.make_plain_id(part.name, "tool_"), arguments, result))
    return calls


def format_table(counts: dict[tuple[str, str], RequestCount]) -> list[str]:
    """Return the counts as lines, one for each pair."""
    lines = [f"{'request':20} {'translated to':20} {'whole':>6} {'named':>6} {'refused':>8} {'unread':>7} {'failed':>7}"]  # fmt: skip
    for (own, other), count in counts.items():
        cells = f"{len(count.whole):6} {len(count.named):6} {len(count.refused):8} {len(count.unread):7} {len(count.failed):7}"  # fmt: skip
        lines.append(f"{own:20} {other:20} {cells}")
    return lines
