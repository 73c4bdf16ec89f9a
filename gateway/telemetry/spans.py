"""What the rows of one call say, as spans by OpenTelemetry's conventions for generative models.

The call is a span of a server, each of its requests to a provider one of a client below it. Tokens
stand on the client's spans alone, where the conventions put them, so that nobody counts them twice;
what only this gateway knows stands under `tiergate.`. Prompts, answers and keys are in none.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Literal, NamedTuple

from gateway.core.ledger_rows import AttemptRow, FinalRow, IntentRow

type Value = str | bool | int | float | tuple[str, ...]

_PARENT = re.compile(
    r"(?!ff)(?P<version>[0-9a-f]{2})-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})"
    r"-(?P<flags>[0-9a-f]{2})(?P<more>-.*)?"
)
_SPACE = 2**64
_CLIENT = "client"
_OPERATIONS = {"generate": "chat"}
"""What the conventions call it, where that is not our own word."""
_PROVIDERS = {
    "gemini": "gcp.gemini",
    "vertex": "gcp.vertex_ai",
    "mistral": "mistral_ai",
    "moonshot": "moonshot_ai",
    "xai": "x_ai",
    "nova": "aws.bedrock",
    "bedrock": "aws.bedrock",
    "bedrock-claude": "aws.bedrock",
    "azure-openai": "azure.ai.openai",
    "azure-foundry": "azure.ai.inference",
}
"""The same for providers: the conventions fix these names."""


class ProviderAddress(NamedTuple):
    """Where a provider is."""

    host: str
    port: int


class TraceOrigin(NamedTuple):
    """The trace that a call belongs to, and the span below which it stands there."""

    trace: int
    parent: int | None
    sampled: bool
    """What the caller has decided; True where there is none."""


class CallRows(NamedTuple):
    """All rows of one call."""

    entry: FinalRow
    origin: TraceOrigin
    operation: str
    attempts: tuple[AttemptRow, ...]
    """Those that gave no answer."""
    intent: IntentRow | None
    """Of its last request."""


class CallSpan(NamedTuple):
    """One span; times are seconds since the epoch."""

    name: str
    kind: Literal["server", "client"]
    trace: int
    id: int
    parent: int | None
    begin: float
    end: float
    attributes: dict[str, Value]
    failed: bool


def origin(call: str, traceparent: str | None) -> TraceOrigin:
    """Where a call belongs, by its id and the W3C header `traceparent`, which may be anything."""
    found = _PARENT.fullmatch(traceparent or "")
    if found is not None and not (found["version"] == "00" and found["more"]):
        trace, parent = int(found["trace"], 16), int(found["span"], 16)
        if trace and parent:
            return TraceOrigin(trace, parent, bool(int(found["flags"], 16) & 1))
    return TraceOrigin(_number(call, 16), None, sampled=True)


def taken(origin: TraceOrigin, share: float) -> bool:
    """Whether a trace is among the share that is kept: all who see it decide the same."""
    return origin.sampled and origin.trace % _SPACE < share * _SPACE


def spans(story: CallRows, addresses: Mapping[str, ProviderAddress]) -> Iterator[CallSpan]:
    """The spans of a call, its own first. `addresses` are those of the providers."""
    entry, intent = story.entry, story.intent
    root = _number(entry.id, 8)
    operation = _OPERATIONS.get(story.operation, story.operation)
    end = entry.at + (entry.duration or 0.0)
    yield CallSpan(
        name=f"{operation} {entry.tier or entry.model}" if entry.lab else operation,
        kind="server",
        trace=story.origin.trace,
        id=root,
        parent=story.origin.parent,
        begin=entry.at,
        end=end,
        attributes=_told(_of_call(entry)),
        failed=_broke(entry),
    )
    asked: tuple[AttemptRow | IntentRow, ...] = story.attempts
    if intent is not None and intent.attempt not in {one.attempt for one in story.attempts}:
        asked += (intent,)
    for one in asked:
        until = one.at + (one.duration or 0.0) if isinstance(one, AttemptRow) else max(one.at, end)
        told: dict[str, object] = {
            "gen_ai.operation.name": operation,
            "gen_ai.provider.name": _PROVIDERS.get(one.provider, one.provider),
            "gen_ai.request.model": one.model,
            "gen_ai.request.stream": entry.stream or None,
            "tiergate.attempt": one.attempt,
            "tiergate.provider": one.provider,
            "tiergate.account": one.account,
        }
        address = addresses.get(one.provider)
        if address is not None:
            told |= {"server.address": address.host, "server.port": address.port}
        told |= _of_lost(one) if isinstance(one, AttemptRow) else _of_answer(entry, one.at)
        attributes = _told(told)
        yield CallSpan(
            name=f"{operation} {one.model}",
            kind="client",
            trace=story.origin.trace,
            id=_number(f"{entry.id}/{one.attempt}", 8),
            parent=root,
            begin=one.at,
            end=until,
            attributes=attributes,
            failed="error.type" in attributes,
        )


def _of_call(entry: FinalRow) -> dict[str, object]:
    return {
        "http.response.status_code": entry.status,
        "error.type": (entry.problem or entry.state) if _broke(entry) else None,
        "tiergate.call.id": entry.id,
        "tiergate.dialect": entry.dialect,
        "tiergate.stream": entry.stream,
        "tiergate.state": entry.state,
        "tiergate.problem": entry.problem,
        "tiergate.aborted_by": entry.aborted_by,
        "tiergate.lab": entry.lab,
        "tiergate.tier": entry.tier,
        "tiergate.source": entry.source,
        "tiergate.rule": entry.rule,
        "tiergate.confidence": entry.confidence,
        "tiergate.provider": entry.provider,
        "tiergate.model": entry.model,
        "tiergate.effort": entry.effort,
        "tiergate.attempts": entry.attempts,
        "tiergate.cache": entry.cache,
        "tiergate.dropped": entry.dropped or None,
        "tiergate.tags": entry.tags or None,
        "tiergate.cost_usd": entry.cost,
        "tiergate.wasted_usd": entry.wasted,
        "tiergate.baseline_usd": entry.baseline,
        "tiergate.first_content_seconds": entry.first_content,
        "tiergate.config": entry.config,
    }


def _of_answer(entry: FinalRow, begin: float) -> dict[str, object]:
    """Of the attempt that answered, or was on its way to."""
    first = entry.first_content
    cost, wasted = entry.cost, entry.wasted
    read, written, thought = entry.cache_read, entry.cache_write, entry.reasoning
    cut = entry.state in ("aborted", "failed") and entry.aborted_by != _CLIENT
    return {
        "error.type": (entry.problem or entry.state) if cut else None,
        "gen_ai.response.id": entry.response_id,
        "gen_ai.response.model": entry.served,
        "gen_ai.response.time_to_first_chunk": None
        if first is None or not entry.stream
        else round(max(0.0, entry.at + first - begin), 6),
        "gen_ai.usage.input_tokens": None
        if entry.input is None
        else entry.input + (read or 0) + (written or 0),
        "gen_ai.usage.cache_read.input_tokens": read,
        "gen_ai.usage.cache_creation.input_tokens": written,
        "gen_ai.usage.output_tokens": None
        if entry.output is None
        else entry.output + (thought or 0),
        "gen_ai.usage.reasoning.output_tokens": thought,
        "tiergate.usage": entry.usage,
        "tiergate.service": entry.service,
        "tiergate.upstream_id": entry.upstream_id,
        "tiergate.attempt.cost_usd": None if cost is None or wasted is None else cost - wasted,
    }


def _of_lost(attempt: AttemptRow) -> dict[str, object]:
    return {
        "error.type": attempt.problem,
        "http.response.status_code": attempt.status,
        "gen_ai.usage.input_tokens": attempt.input,
        "gen_ai.usage.output_tokens": attempt.output,
        "tiergate.attempt.cost_usd": attempt.cost,
    }


def _broke(entry: FinalRow) -> bool:
    """Whether it is an error of the server's: what a client did wrong, or ended, is none."""
    if entry.status is None or entry.status >= 500:
        return True
    in_band = entry.status < 400 and entry.state in ("failed", "aborted")
    return in_band and entry.aborted_by != _CLIENT


def _told(found: dict[str, object]) -> dict[str, Value]:
    """What is known of it, as values that spans have."""
    told: dict[str, Value] = {}
    for name, value in found.items():
        if isinstance(value, Decimal):
            told[name] = float(value)
        elif isinstance(value, str):
            told[name] = value.encode(errors="replace").decode()
        elif isinstance(value, bool | int | float | tuple):
            told[name] = value
    return told


def _number(text: str, size: int) -> int:
    """An id of `size` bytes, never 0, that is always the same for a text."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=size).digest()) or 1
