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
from tests.corpus.oracle import GEMINI, MESSAGES, Object, Row, plain
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
NOTHING: dict[str, object] = {
    "parallel_tools": True, "top_p": 1.0, "tool_choice": ToolChoice(mode="auto"), "choices": 1,
}  # fmt: skip
"""Values that ask for the default."""


@dataclass
class Count:
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


def speech(dialect: Dialect) -> TranslationFunctions:
    return translation.get_translation(dialect)


def read(value: Object, dialect: Dialect, path: str = "models/m:generateContent") -> RequestBody:
    """Read a body as the gateway does. Raises ProblemError."""
    raw = json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")
    return (
        dialect.read(raw) if dialect.read_with_path is None else dialect.read_with_path(raw, path)
    )


def own(row: Row) -> RequestBody | None:
    """Return the recorded request; None if there is none that the gateway can read."""
    if row.request is None:
        return None
    value = row.request if row.dialect == GEMINI else {"model": "m", **row.request}
    try:
        return read(value, DIALECTS[row.dialect], row.path)
    except ProblemError:
        return None


def client(
    row: Row, dialect: Dialect, *, least: bool = False
) -> tuple[RequestBody, CanonicalRequest]:
    """Return the request of a client of a dialect, as near to the recorded one as possible.

    `least`: a request that says only hi.
    """
    value, body = _LEAST[dialect.name], None if least else own(row)
    if body is not None:
        request = speech(DIALECTS[row.dialect]).decode_request(body)
        if dialect.name == row.dialect:
            value = row.request or value
        elif not compatibility.check_request(request, dialect.name)[1]:
            value = speech(dialect).encode_request(request, target()).value
    value = {**value, "model": "m"}
    path = "models/m:generateContent"
    if dialect.name == GEMINI:
        value = {name: it for name, it in value.items() if name not in ("model", "stream")}
        path = "models/m:streamGenerateContent" if row.stream else path
    else:
        value["stream"] = row.stream
    if dialect.name == "openai-chat":
        value["stream_options"] = {"include_usage": True}
    found = read(value, dialect, path)
    return found, speech(dialect).decode_request(found)


def every(rows: Iterable[Row]) -> dict[tuple[str, str], Count]:
    """Translate every recorded request to every other dialect; count by its own and the other."""
    counts = dict[tuple[str, str], Count]()
    for row in rows:
        if row.request is None:
            continue
        body = own(row)
        for name, door in DIALECTS.items():
            if name == row.dialect:
                continue
            count = counts.setdefault((row.dialect, name), Count())
            if body is None:
                count.unread.append(row.id)
                continue
            try:
                request = speech(DIALECTS[row.dialect]).decode_request(body)
                _say(row, request, door, count)
            except Exception as error:  # noqa: BLE001 - every failure is one to show
                count.failed[row.id] = f"{type(error).__name__}: {str(error)[:300]}"
    return counts


def _say(row: Row, request: CanonicalRequest, door: Dialect, count: Count) -> None:
    losses, refusals = compatibility.check_request(request, door.name)
    if refusals:
        count.refused.append(row.id)
        return
    said = speech(door).encode_request(request, target())
    inner = read({"model": "m", **said.value}, door)
    written = translation.write_request(request, door, target())
    json.loads(written.body)
    again = speech(door).decode_request(inner)
    missing = [*_missing(request, again), *_unset(request, again)]
    if door.name == MESSAGES and "thinking" not in said.value:  # without a thought none is shown
        missing = [it for it in missing if it[0] != request.names.get("thoughts_shown")]
    names = [loss.field for loss in (*losses, *said.losses, *written.losses)]
    unnamed = [it for it in missing if not _named(it[0], names)]
    if unnamed:
        count.failed[row.id] = f"{unnamed[:3]} missing, losses {sorted(set(names))}"
    elif missing:
        count.named.append(row.id)
    else:
        count.whole.append(row.id)


def _named(kind: str, names: list[str]) -> bool:
    """True if a loss names a kind of part."""
    return any(kind in (name, name.rpartition(".")[2]) for name in names)


def parts(request: CanonicalRequest) -> Iterable[Part]:
    """List every part, also those inside tool results."""
    for turn in request.turns:
        for part in turn.parts:
            yield part
            if isinstance(part, ToolResult):
                yield from part.parts


def _missing(first: CanonicalRequest, second: CanonicalRequest) -> Iterable[tuple[str, str]]:
    """List the parts of a request that its translation lacks, by kind."""
    texts = "\n".join(_text(part) for part in parts(second))
    wanted = Counter(_text(part) for part in parts(first) if _text(part).strip())
    for text, times in wanted.items():
        if texts.count(text.strip()) < times:
            yield "text", text[:120]
    media = Counter(held for _, held in _media(second))
    for kind, held in _media(first):
        if not media[held] and _words(held) not in texts:
            yield kind, held[:120]
        media[held] -= 1
    calls = _calls(second)
    for name, arguments, result in _calls(first):
        same = (it for it in calls if it[:2] == (name, arguments) and result in ("", it[2]))
        found = next(same, None)
        if found is None:
            yield "arguments", f"{name} {arguments} {result}"[:200]
        else:
            calls.remove(found)
    names = {tool_ids.make_plain_id(tool.name, "tool_") for tool in second.tools}
    for tool in first.tools:
        if tool_ids.make_plain_id(tool.name, "tool_") not in names:
            yield "tools", tool.name
    if any(isinstance(part, Thought) for part in parts(first)):
        yield "reasoning", ""


def _unset(first: CanonicalRequest, second: CanonicalRequest) -> Iterable[tuple[str, str]]:
    """List the settings that a translation lacks or changes, by the client's own names."""
    for name in SETTINGS:
        value, said = getattr(first, name), getattr(second, name)
        if value not in (None, (), False, NOTHING.get(name)) and value != said:
            yield first.names.get(name, name), f"{value} became {said}"[:120]


def _text(part: Part) -> str:
    if isinstance(part, Text | Refused):
        return part.text
    return part.text or "" if isinstance(part, Media) else ""


def _media(request: CanonicalRequest) -> Iterable[tuple[str, str]]:
    for part in parts(request):
        if isinstance(part, Media) and part.text is None:
            yield part.kind, (part.data or part.url or part.id or "")


def _words(data: str) -> str:
    """Decode a document of plain text, which may become text; return other data as it is."""
    try:
        return base64.b64decode(data, validate=True).decode()
    except ValueError:
        return data


def _calls(request: CanonicalRequest) -> list[tuple[str, str, str]]:
    """Return the calls of a request without their ids: name, arguments and result."""
    given: dict[str, list[str]] = {}
    for part in parts(request):
        if isinstance(part, ToolResult):
            text = "\n".join(map(_text, part.parts)).strip().removeprefix("Error: ")
            given.setdefault(part.id, []).append(text)
    found = []
    for part in parts(request):
        if isinstance(part, ToolUse):
            arguments = plain({"input": part.arguments}) if part.custom else plain(part.arguments)
            results = given.get(part.id)
            result = results.pop(0) if results else ""
            found.append((tool_ids.make_plain_id(part.name, "tool_"), arguments, result))
    return found


def table(counts: dict[tuple[str, str], Count]) -> list[str]:
    """Return the counts as lines, one for each pair."""
    found = [f"{'request':20} {'said in':20} {'whole':>6} {'named':>6} {'refused':>8} {'unread':>7} {'failed':>7}"]  # fmt: skip
    for (own, other), it in counts.items():
        cells = f"{len(it.whole):6} {len(it.named):6} {len(it.refused):8} {len(it.unread):7} {len(it.failed):7}"  # fmt: skip
        found.append(f"{own:20} {other:20} {cells}")
    return found
