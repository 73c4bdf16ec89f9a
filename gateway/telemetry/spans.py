"""The spans of one call, from its rows, by OpenTelemetry's conventions for generative models.

The call is a server span, and each request to a provider a client span below it. Tokens are on
client spans alone, where the conventions want them, so that nobody counts them twice. Facts that
only this gateway knows start with `tiergate.`. No span has prompts, answers or keys.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Literal, NamedTuple

from gateway.core.ledger_rows import AttemptRow, FinalRow, IntentRow

type SpanValue = str | bool | int | float | tuple[str, ...]

_TRACEPARENT_PATTERN = re.compile(
    r"(?!ff)(?P<version>[0-9a-f]{2})-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})"
    r"-(?P<flags>[0-9a-f]{2})(?P<more>-.*)?"
)
_SAMPLE_SPACE = 2**64
_CLIENT = "client"
_OPERATION_NAMES = {"generate": "chat"}
"""The conventions' names of operations that differ from ours."""
_PROVIDER_NAMES = {
    "gemini": "gcp.gemini",
    "vertex": "gcp.vertex_ai",
    "mistral": "mistral_ai",
    "moonshot": "moonshot_ai",
    "xai": "x_ai",
    "nova": "aws.bedrock",
    "bedrock": "aws.bedrock",
    "bedrock-claude": "aws.bedrock",
    "bedrock-converse": "aws.bedrock",
    "azure-openai": "azure.ai.openai",
    "azure-foundry": "azure.ai.inference",
}
"""The conventions' names of providers that differ from ours: the conventions fix them."""


class ProviderAddress(NamedTuple):
    """The network address of a provider."""

    host: str
    port: int


class TraceOrigin(NamedTuple):
    """The trace that a call belongs to, and its parent span there."""

    trace_id: int
    parent_id: int | None
    sampled: bool
    """The caller's decision; True if there is none."""


class CallRows(NamedTuple):
    """All rows of one call."""

    entry: FinalRow
    origin: TraceOrigin
    operation: str
    attempts: tuple[AttemptRow, ...]
    """The attempts that gave no answer."""
    intent: IntentRow | None
    """The intent row of its last request."""


class CallSpan(NamedTuple):
    """One span; times are seconds since the epoch."""

    name: str
    kind: Literal["server", "client"]
    trace_id: int
    id: int
    parent_id: int | None
    start: float
    end: float
    attributes: dict[str, SpanValue]
    failed: bool


def find_origin(call: str, traceparent: str | None) -> TraceOrigin:
    """Return the trace of a call, from the W3C header `traceparent` or else from the call id.

    The header may be malformed; it is then ignored.
    """
    match = _TRACEPARENT_PATTERN.fullmatch(traceparent or "")
    if match is not None and not (match["version"] == "00" and match["more"]):
        trace_id, parent_id = int(match["trace"], 16), int(match["span"], 16)
        if trace_id and parent_id:
            return TraceOrigin(trace_id, parent_id, bool(int(match["flags"], 16) & 1))
    return TraceOrigin(_make_id(call, 16), None, sampled=True)


def is_in_sample(origin: TraceOrigin, share: float) -> bool:
    """Return True if a trace is in the sample; all gateways that see it decide the same."""
    return origin.sampled and origin.trace_id % _SAMPLE_SPACE < share * _SAMPLE_SPACE


def build_spans(
    call_rows: CallRows, addresses: Mapping[str, ProviderAddress]
) -> Iterator[CallSpan]:
    """Yield the spans of a call, its own first. `addresses` are those of the providers."""
    entry, intent = call_rows.entry, call_rows.intent
    root_id = _make_id(entry.id, 8)
    name = entry.operation or call_rows.operation
    operation = _OPERATION_NAMES.get(name, name)
    end = entry.at + (entry.duration or 0.0)
    yield CallSpan(
        name=f"{operation} {entry.tier or entry.model}" if entry.lab else operation,
        kind="server",
        trace_id=call_rows.origin.trace_id,
        id=root_id,
        parent_id=call_rows.origin.parent_id,
        start=entry.at,
        end=end,
        attributes=_build_attributes(_describe_call(entry)),
        failed=is_server_error(entry),
    )
    requests: tuple[AttemptRow | IntentRow, ...] = call_rows.attempts
    if intent is not None and intent.attempt not in {
        request.attempt for request in call_rows.attempts
    }:
        requests += (intent,)
    for request in requests:
        request_end = (
            request.at + (request.duration or 0.0)
            if isinstance(request, AttemptRow)
            else max(request.at, end)
        )
        request_fields: dict[str, object] = {
            "gen_ai.operation.name": operation,
            "gen_ai.provider.name": _PROVIDER_NAMES.get(request.provider, request.provider),
            "gen_ai.request.model": request.model,
            "gen_ai.request.stream": entry.stream or None,
            "gen_ai.conversation.id": entry.conversation,
            "tiergate.attempt": request.attempt,
            "tiergate.provider": request.provider,
            "tiergate.account": request.account,
        }
        request_fields |= _describe_address(addresses.get(request.provider))
        request_fields |= (
            _describe_failed_attempt(request)
            if isinstance(request, AttemptRow)
            else _describe_answer(entry, request.at)
        )
        attributes = _build_attributes(request_fields)
        yield CallSpan(
            name=f"{operation} {request.model}",
            kind="client",
            trace_id=call_rows.origin.trace_id,
            id=_make_id(f"{entry.id}/{request.attempt}", 8),
            parent_id=root_id,
            start=request.at,
            end=request_end,
            attributes=attributes,
            failed="error.type" in attributes,
        )


def describe_call_event(
    entry: FinalRow, addresses: Mapping[str, ProviderAddress]
) -> dict[str, SpanValue]:
    """Return the attributes of the one log record of a call, for OpenTelemetry's event."""
    operation = entry.operation or (entry.basis.operation if entry.basis else "generate")
    fields: dict[str, object] = {
        "log.record.uid": entry.id,  # a record that comes twice can be dropped
        "gen_ai.operation.name": _OPERATION_NAMES.get(operation, operation),
        "gen_ai.request.model": entry.model,
        "gen_ai.request.stream": entry.stream or None,
        "gen_ai.conversation.id": entry.conversation,
        **_describe_call(entry),
        "tiergate.key": entry.key,  # not in spans, which more people read
    }
    if entry.provider is not None:
        fields["gen_ai.provider.name"] = _PROVIDER_NAMES.get(entry.provider, entry.provider)
        fields |= _describe_address(addresses.get(entry.provider))
    if entry.state != "cache_hit" and entry.cache != "hit":
        fields |= _describe_usage(entry)
    return _build_attributes(fields)


def _describe_address(address: ProviderAddress | None) -> dict[str, object]:
    return {} if address is None else {"server.address": address.host, "server.port": address.port}


def _describe_call(entry: FinalRow) -> dict[str, object]:
    return {
        "http.response.status_code": entry.status,
        "error.type": (entry.problem or entry.state) if is_server_error(entry) else None,
        "tiergate.call.id": entry.id,
        "tiergate.team": entry.team,
        "tiergate.tenant": entry.tenant,
        "tiergate.dialect": entry.dialect,
        "tiergate.operation": entry.operation,
        "tiergate.stream": entry.stream,
        "tiergate.state": entry.state,
        "tiergate.problem": entry.problem,
        "tiergate.aborted_by": entry.aborted_by,
        "tiergate.lab": entry.lab,
        "tiergate.tier": entry.tier,
        "tiergate.source": entry.source,
        "tiergate.rule": entry.rule,
        "tiergate.arm": entry.arm,
        "tiergate.guards": entry.guards or None,
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


def _describe_answer(entry: FinalRow, start: float) -> dict[str, object]:
    """Describe the attempt that answered, or that was about to."""
    first_content = entry.first_content
    cost, wasted = entry.cost, entry.wasted
    is_cut = entry.state in ("aborted", "failed") and entry.aborted_by != _CLIENT
    return {
        "error.type": (entry.problem or entry.state) if is_cut else None,
        "gen_ai.response.time_to_first_chunk": None
        if first_content is None or not entry.stream
        else round(max(0.0, entry.at + first_content - start), 6),
        **_describe_usage(entry),
        "tiergate.attempt.cost_usd": None if cost is None or wasted is None else cost - wasted,
    }


def _describe_usage(entry: FinalRow) -> dict[str, object]:
    """Describe what the provider has answered, and counted."""
    cache_read, cache_write, reasoning = entry.cache_read, entry.cache_write, entry.reasoning
    return {
        "gen_ai.response.id": entry.response_id,
        "gen_ai.response.model": entry.served,
        "gen_ai.response.finish_reasons": None if entry.finish is None else (entry.finish,),
        "gen_ai.usage.input_tokens": None
        if entry.input is None
        else entry.input + (cache_read or 0) + (cache_write or 0),
        "gen_ai.usage.cache_read.input_tokens": cache_read,
        "gen_ai.usage.cache_creation.input_tokens": cache_write,
        "gen_ai.usage.output_tokens": None
        if entry.output is None
        else entry.output + (reasoning or 0),
        "gen_ai.usage.reasoning.output_tokens": reasoning,
        **_sum_units(entry),
        "tiergate.usage": entry.usage,
        "tiergate.service": entry.service,
        "tiergate.upstream_id": entry.upstream_id,
    }


def _sum_units(entry: FinalRow) -> dict[str, float]:
    """Add up what the provider bills beside tokens, by the word of each unit."""
    sums: dict[str, float] = {}
    for unit, quantity in entry.units.items():
        name = f"tiergate.units.{unit.partition(' ')[0]}"
        sums[name] = sums.get(name, 0.0) + float(quantity)
    return sums


def _describe_failed_attempt(attempt: AttemptRow) -> dict[str, object]:
    return {
        "error.type": attempt.problem,
        "http.response.status_code": attempt.status,
        "gen_ai.usage.input_tokens": attempt.input,
        "gen_ai.usage.output_tokens": attempt.output,
        "tiergate.attempt.cost_usd": attempt.cost,
    }


def is_server_error(entry: FinalRow) -> bool:
    """Return True if the call ended in a server error.

    Mistakes of a client, and calls that it ended, are none.
    """
    if entry.status is None or entry.status >= 500:
        return True
    failed_in_band = entry.status < 400 and entry.state in ("failed", "aborted")
    return failed_in_band and entry.aborted_by != _CLIENT


def _build_attributes(fields: dict[str, object]) -> dict[str, SpanValue]:
    """Return the attributes of a span: known values, in types that spans allow."""
    attributes: dict[str, SpanValue] = {}
    for name, value in fields.items():
        if isinstance(value, Decimal):
            attributes[name] = float(value)
        elif isinstance(value, str):
            attributes[name] = value.encode(errors="replace").decode()
        elif isinstance(value, bool | int | float | tuple):
            attributes[name] = value
    return attributes


def _make_id(text: str, size: int) -> int:
    """Return an id of `size` bytes, never 0, and always the same for the same text."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=size).digest()) or 1
