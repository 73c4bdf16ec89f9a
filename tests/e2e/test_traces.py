"""Traces of a gateway as a real OTLP receiver gets them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.child import until
from tests.e2e.redis_gateway import CANARY
from tests.e2e.upstream import Answer, Request, frames, stream, whole
from tests.e2e.world import SECRET, Config, Make, chat
from tests.telemetry.tap import TraceReceiver, read_attributes

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"
NOBODY = 9
"""The port of the discard service, where nothing listens."""


@pytest.fixture
def tap(tmp_path: Path) -> Iterator[TraceReceiver]:
    receiver = TraceReceiver(tmp_path)
    yield receiver
    receiver.child.stop()


def _spare(value: Config) -> None:
    value["labs"]["acme"]["smart"].append({"model": "able-2", "provider": "spare"})
    value["models"]["able-2"] = value["models"]["able-1"]


def _provider(request: Request) -> Answer:
    if request.path.startswith("/acme"):
        return Answer(pieces=(b'{"error": {"message": "no"}}',), status=401)
    return stream(*frames()) if request.json.get("stream") else whole()


def test_a_call_is_a_child_span_of_its_caller(make: Make, tap: TraceReceiver) -> None:
    """Below it is one span for each request: to the provider that failed and to the next one."""

    def traced(value: Config) -> None:
        value["traces"] = {"endpoint": tap.url, "headers": {"x-collector": SECRET}}

    world = make(_spare, traced)
    world.upstream.on("/", _provider)
    reply = world.ask(chat(CANARY, stream=True), traceparent=f"00-{TRACE}-{SPAN}-01")
    assert reply.status_code == 200
    entry = world.entry()
    call, *attempts = tap.spans(1 + entry.attempts)
    assert {span["traceId"] for span in (call, *attempts)} == {TRACE}
    assert call["parentSpanId"] == SPAN
    assert {span["parentSpanId"] for span in attempts} == {call["spanId"]}
    assert read_attributes(call)["tiergate.call.id"] == entry.id
    assert read_attributes(call)["tiergate.cost_usd"] == pytest.approx(float(entry.cost or 0))
    lost, answer = read_attributes(attempts[0]), read_attributes(attempts[-1])
    assert (lost["tiergate.provider"], lost["error.type"]) == ("acme", "upstream_auth")
    assert lost["http.response.status_code"] == "401"
    assert (answer["tiergate.provider"], "error.type" in answer) == ("spare", False)
    assert answer["server.address"] == "127.0.0.1"
    assert answer["gen_ai.operation.name"] == "chat"
    assert answer["gen_ai.request.model"] == "able-2"
    assert answer["gen_ai.response.model"] == "served-1"
    assert entry.finish == "stop"
    assert answer["gen_ai.response.finish_reasons"]["values"] == [{"stringValue": "stop"}]
    assert (answer["gen_ai.usage.input_tokens"], answer["gen_ai.usage.output_tokens"]) == ("7", "3")
    _in_order(call, *attempts)
    assert CANARY not in tap.child.out
    assert SECRET not in tap.child.out


def test_one_endpoint_gets_traces_metrics_and_logs(make: Make, tap: TraceReceiver) -> None:
    """All three tell of the same call, and none has the prompt or a secret."""
    headers = {"x-collector": SECRET}
    otlp = {"endpoint": tap.url, "headers": headers}
    world = make(_spare, lambda value: value.update(otlp=otlp))
    world.upstream.on("/", _provider)
    assert world.ask(chat(CANARY, stream=True)).status_code == 200
    (record,) = tap.logs(1)
    entry = world.entry()
    assert read_attributes(record)["log.record.uid"] == entry.id
    (call, *_) = tap.spans(2)
    assert read_attributes(call)["tiergate.call.id"] == entry.id
    assert "gen_ai.client.operation.duration" in tap.metrics(3)
    assert CANARY not in tap.child.out
    assert SECRET not in tap.child.out


def _in_order(call: dict[str, Any], *attempts: dict[str, Any]) -> None:
    """Check that the attempts come one after the other, within the call."""
    ends = [int(call["startTimeUnixNano"])]
    for attempt in attempts:
        begin, end = int(attempt["startTimeUnixNano"]), int(attempt["endTimeUnixNano"])
        assert ends[-1] <= begin + 1_000_000, "a millisecond: the clocks of rows are two"
        assert begin <= end
        ends.append(end)
    assert ends[-1] <= int(call["endTimeUnixNano"]) + 1_000_000


def test_a_missing_trace_receiver_fails_no_call(make: Make) -> None:
    """The log reports the loss once."""

    def traced(value: Config) -> None:
        value["traces"] = {"endpoint": f"http://127.0.0.1:{NOBODY}"}

    world = make(traced)
    for number in range(20):
        assert world.ask(chat(f"Hello {number}.")).status_code == 200
    assert len(world.entries()) == 20
    lines = until(lambda: list(world.log), "a line of the log")
    assert lines == [{"event": "traces", "text": "not sent: the receiver took no spans"}]
    traces = world.gateway.ledger_runtime.traces
    assert traces is not None
    assert traces.sender is not None
    assert traces.sender.dropped == 20


def test_the_span_of_a_token_count_has_its_own_name(make: Make, tap: TraceReceiver) -> None:
    """No row says what such a call asks for."""
    world = make(lambda value: value.update(traces={"endpoint": tap.url}))
    world.client.post("/v1/messages/count_tokens", json={"model": "nobody", "messages": []})
    world.close()
    (call,) = tap.spans(1)
    assert (call["name"], read_attributes(call)["tiergate.state"]) == ("count_tokens", "refused")
