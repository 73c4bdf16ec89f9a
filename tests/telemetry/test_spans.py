"""Spans: the rows of a call in the words of the OpenTelemetry conventions."""

from decimal import Decimal
from typing import Any

import pytest

from gateway.core.ledger_rows import AttemptRow, FinalRow, IntentRow
from gateway.telemetry.spans import (
    CallRows,
    CallSpan,
    ProviderAddress,
    TraceOrigin,
    build_spans,
    find_origin,
    is_in_sample,
)
from tests.telemetry.rows import AT, CANARY, ID, attempt, entry, hit, intent, refused

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{SPAN}-01"


def make_spans(
    row: FinalRow,
    *attempts: AttemptRow,
    last: IntentRow | None = None,
    operation: str = "generate",
    parent: str | None = None,
    **addresses: ProviderAddress,
) -> list[CallSpan]:
    rows = CallRows(row, find_origin(row.id, parent), operation, attempts, last)
    return list(build_spans(rows, addresses))


def test_a_call_and_its_attempts_become_spans() -> None:
    """The call is a server span; each request below it, failed or not, is a client span."""
    call, failed, answer = make_spans(
        entry(attempts=2), attempt(), last=intent(attempt=2, at=AT + 0.3)
    )
    assert (call.name, call.kind, call.start, call.end) == ("chat smart", "server", AT, AT + 1.5)
    assert (failed.name, failed.kind, failed.start) == ("chat able-1", "client", AT + 0.1)
    assert failed.end == pytest.approx(AT + 0.3)
    assert (answer.start, answer.end) == (AT + 0.3, AT + 1.5)
    assert [call.failed, failed.failed, answer.failed] == [False, True, False]
    assert call.parent_id is None
    assert failed.parent_id == answer.parent_id == call.id
    assert len({call.id, failed.id, answer.id}) == 3
    assert {call.trace_id, failed.trace_id, answer.trace_id} == {call.trace_id}


def test_the_span_of_an_answer_uses_the_words_of_the_conventions() -> None:
    """Prompt tokens include the provider's cache, and answer tokens include reasoning."""
    address = ProviderAddress("api.acme.test", 443)
    _, answer = make_spans(
        entry(upstream_id="req-1", service="flex", conversation="c1", finish="stop"),
        last=intent(),
        acme=address,
    )
    assert answer.attributes == {
        "gen_ai.conversation.id": "c1",
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "acme",
        "gen_ai.request.model": "able-1",
        "gen_ai.request.stream": True,
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.response.model": "able-1-0924",
        "gen_ai.response.time_to_first_chunk": pytest.approx(0.3),
        "gen_ai.usage.input_tokens": 150,
        "gen_ai.usage.cache_read.input_tokens": 40,
        "gen_ai.usage.cache_creation.input_tokens": 10,
        "gen_ai.usage.output_tokens": 27,
        "gen_ai.usage.reasoning.output_tokens": 7,
        "server.address": "api.acme.test",
        "server.port": 443,
        "tiergate.account": "main",
        "tiergate.attempt": 1,
        "tiergate.attempt.cost_usd": 0.0012,
        "tiergate.provider": "acme",
        "tiergate.service": "flex",
        "tiergate.upstream_id": "req-1",
        "tiergate.usage": "provider",
    }


def test_gateway_attributes_are_on_the_span_of_the_call() -> None:
    """Tokens are not on it, or they would be counted twice."""
    call, *_ = make_spans(
        entry(
            wasted=Decimal("0.0002"), confidence=0.75, effort="low", dropped=("seed",), team="web"
        ),
        last=intent(),
    )
    assert call.attributes == {
        "http.response.status_code": 200,
        "tiergate.attempts": 1,
        "tiergate.baseline_usd": 0.02,
        "tiergate.cache": "miss",
        "tiergate.call.id": ID,
        "tiergate.confidence": 0.75,
        "tiergate.config": "c0ffee",
        "tiergate.cost_usd": 0.0012,
        "tiergate.dialect": "openai-chat",
        "tiergate.dropped": ("seed",),
        "tiergate.effort": "low",
        "tiergate.first_content_seconds": 0.4,
        "tiergate.lab": "acme",
        "tiergate.model": "able-1",
        "tiergate.provider": "acme",
        "tiergate.rule": "short",
        "tiergate.source": "rule",
        "tiergate.state": "settled",
        "tiergate.stream": True,
        "tiergate.tags": ("web",),
        "tiergate.team": "web",
        "tiergate.tenant": "shop",
        "tiergate.tier": "smart",
        "tiergate.wasted_usd": 0.0002,
    }


def test_spans_of_a_pass_through_call_name_the_endpoint_and_its_units() -> None:
    units = {"image hd": Decimal(2), "image": Decimal("0.5"), "second": Decimal(9)}
    call, answer = make_spans(entry(operation="images.generate", units=units), last=intent())
    assert call.attributes["tiergate.operation"] == "images.generate"
    assert answer.attributes["gen_ai.operation.name"] == "images.generate"
    assert answer.attributes["tiergate.units.image"] == 2.5
    assert answer.attributes["tiergate.units.second"] == 9


def test_the_span_of_a_failed_attempt() -> None:
    _, failed = make_spans(
        entry(state="failed", status=503), attempt(input=9, output=3, cost=Decimal("0.01"))
    )
    assert failed.attributes == {
        "error.type": "upstream_overloaded",
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "acme",
        "gen_ai.request.model": "able-1",
        "gen_ai.request.stream": True,
        "gen_ai.usage.input_tokens": 9,
        "gen_ai.usage.output_tokens": 3,
        "http.response.status_code": 503,
        "tiergate.account": "main",
        "tiergate.attempt": 1,
        "tiergate.attempt.cost_usd": 0.01,
        "tiergate.provider": "acme",
    }


def test_unknown_values_are_left_out_of_spans() -> None:
    """Unknown values are never 0."""
    row = entry(
        input=None, cache_read=None, cache_write=None, output=None, reasoning=None, cost=None,
        wasted=None, baseline=None, first_content=None, duration=None, served=None, usage=None,
    )  # fmt: skip
    call, answer = make_spans(row, last=intent())
    names = call.attributes.keys() | answer.attributes.keys()
    assert not {name for name in names if "usage" in name or "usd" in name}
    assert "gen_ai.response.time_to_first_chunk" not in answer.attributes
    assert call.end == AT
    assert answer.end == answer.start == intent().at, "a span does not end before it begins"


def test_a_hit_and_a_refusal_have_no_attempt_span() -> None:
    (hit_span,) = make_spans(hit())
    assert hit_span.attributes["tiergate.cache"] == "hit"
    (refused_span,) = make_spans(refused())
    assert (refused_span.name, refused_span.failed) == ("chat", False)
    assert refused_span.attributes["http.response.status_code"] == 404
    assert refused_span.attributes["tiergate.problem"] == "model_not_found"
    assert "error.type" not in refused_span.attributes


@pytest.mark.parametrize(
    ("more", "call", "answer"),
    [
        ({}, None, None),
        ({"state": "failed", "status": 502, "problem": "upstream_error"}, "upstream_error", "upstream_error"),
        ({"state": "failed", "status": 400, "problem": "upstream_rejected"}, None, "upstream_rejected"),
        ({"state": "failed", "status": 200, "problem": "upstream_timeout"}, "upstream_timeout", "upstream_timeout"),
        ({"state": "aborted", "aborted_by": "upstream", "problem": "upstream_truncated"}, "upstream_truncated", "upstream_truncated"),
        ({"state": "aborted", "problem": "internal"}, "internal", "internal"),
        ({"state": "aborted", "aborted_by": "client", "status": 499}, None, None),
        ({"state": "unknown_crash", "status": None}, "unknown_crash", None),
    ],
)  # fmt: skip
def test_spans_show_errors_of_the_gateway_and_of_providers_and_not_of_clients(
    more: dict[str, Any], call: str | None, answer: str | None
) -> None:
    """A server span has the gateway's failures, not the client's; a client span has any error."""
    spans = make_spans(entry(**more), last=intent())
    assert [span.attributes.get("error.type") for span in spans] == [call, answer]
    assert [span.failed for span in spans] == [call is not None, answer is not None]


@pytest.mark.parametrize(
    ("provider", "expected"),
    [
        ("gemini", "gcp.gemini"),
        ("bedrock-converse", "aws.bedrock"),
        ("xai", "x_ai"),
        ("openai", "openai"),
        ("my-vllm", "my-vllm"),
    ],
)
def test_providers_have_the_names_of_the_conventions(provider: str, expected: str) -> None:
    _, answer = make_spans(entry(), last=intent(provider=provider))
    assert answer.attributes["gen_ai.provider.name"] == expected
    assert answer.attributes["tiergate.provider"] == provider


@pytest.mark.parametrize(
    ("operation", "name"),
    [("generate", "chat"), ("embeddings", "embeddings"), ("count_tokens", "count_tokens")],
)
def test_operations_have_the_names_of_the_conventions(operation: str, name: str) -> None:
    call, answer = make_spans(entry(tier=None), last=intent(), operation=operation)
    assert call.name == answer.name == f"{name} able-1"
    assert answer.attributes["gen_ai.operation.name"] == name


def test_spans_have_no_prompt_and_no_key_name() -> None:
    """The requested name is a client's text, and a key's name may be a person's."""
    spans = make_spans(entry(key=CANARY), attempt(), last=intent(attempt=2))
    assert CANARY not in repr(spans)


def test_a_lone_surrogate_stops_no_trace() -> None:
    call, *_ = make_spans(entry(rule="a\ud800b"))
    assert call.attributes["tiergate.rule"] == "a?b"


@pytest.mark.parametrize(
    "header",
    [
        PARENT,
        f"cc-{TRACE}-{SPAN}-01",
        f"cc-{TRACE}-{SPAN}-01-what-will-be",
        f"00-{TRACE}-{SPAN}-ff",
    ],
)
def test_a_call_continues_the_trace_of_its_caller(header: str) -> None:
    """A later version of the header works too, as its specification says."""
    assert find_origin(ID, header) == TraceOrigin(int(TRACE, 16), int(SPAN, 16), sampled=True)
    call, *_ = make_spans(entry(), parent=header)
    assert (call.trace_id, call.parent_id) == (int(TRACE, 16), int(SPAN, 16))


@pytest.mark.parametrize(
    "header",
    [
        None, "", "00", PARENT + "-more", PARENT + "\n", PARENT.upper(), f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE}-{'0' * 16}-01", f"00-{TRACE[1:]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-1", "x" * 10_000,
    ],
)  # fmt: skip
def test_an_invalid_trace_header_begins_a_new_trace(header: str | None) -> None:
    """The call begins a trace, always the same one for its id."""
    origin = find_origin(ID, header)
    assert origin == find_origin(ID, None)
    assert origin.parent_id is None
    assert 0 < origin.trace_id < 2**128
    assert origin.trace_id != find_origin("tg-another", None).trace_id


def test_the_sample_is_of_whole_traces() -> None:
    """All who see a trace decide alike, and a trace that the caller leaves out stays out."""
    ids = [find_origin(f"tg-{number}", None) for number in range(2000)]
    assert 0.2 < sum(is_in_sample(origin, 0.25) for origin in ids) / 2000 < 0.3
    assert all(is_in_sample(origin, 1.0) for origin in ids)
    assert not any(is_in_sample(origin, 0.0) for origin in ids)
    sampled = {origin for origin in ids if is_in_sample(origin, 0.25)}
    assert sampled <= {origin for origin in ids if is_in_sample(origin, 0.5)}
    assert is_in_sample(find_origin(ID, PARENT), 1.0)
    assert not is_in_sample(find_origin(ID, f"00-{TRACE}-{SPAN}-00"), 1.0)
