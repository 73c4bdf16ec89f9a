"""Events and texts with too many values: no dialect parses them, and none loses an answer by them."""

import sys
from typing import Any

import orjson
import pytest

from bench.loop_shapes import MODELS, VALUES, make_answer
from gateway.core import json_size, jsonio
from gateway.core.usage import Usage
from gateway.dialects import DIALECTS, TARGET_OPERATIONS, Dialect, ResponseContext
from gateway.dialects.gemini.tools import parse_arguments
from gateway.dialects.job_results import ResultReader
from gateway.dialects.openai_responses.reasoning_state import read_slot
from gateway.dialects.realtime.gemini import GeminiMessageReader
from gateway.dialects.realtime.openai import OpenAIMessageReader

MANY = json_size.MAX_PART_VALUES + 10
EVENTS = {
    "openai-chat": b'{"id":"r","choices":[{"index":0,"delta":{"content":"hi"}}],"usage":{"x":%b}}',
    "anthropic-messages": b'{"type":"message_start","message":{"id":"r","content":[],"usage":{"x":%b}}}',
    "openai-responses": b'{"type":"response.completed","response":{"id":"r","output":[],"usage":{"x":%b}}}',
    "gemini": b'{"candidates":[{"content":{"parts":[{"text":"hi"}]},"finishReason":%b}]}',
}
REQUESTS = {
    "openai-chat": b'{"model":"m","messages":[{"role":"user","content":"hi"}]}',
    "anthropic-messages": b'{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}',
    "openai-responses": b'{"model":"m","input":"hi"}',
    "gemini": b'{"contents":[{"role":"user","parts":[{"text":"hi"}]}]}',
}


DIALECT_NAMES = dict(zip(MODELS, EVENTS, strict=True))
"""The dialects, by the names that the bench of the event loop has for them."""
CONTEXT = ResponseContext(id="c-1", created_at=1, model="m")


@pytest.fixture(autouse=True)
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Record the values of all that is parsed from here on."""
    counts: list[int] = []

    def loads(data: Any) -> Any:
        counts.append(json_size.bound_values(bytes(data)))
        return orjson.loads(data)

    class Recorder:
        JSONDecodeError = orjson.JSONDecodeError

    recorder = Recorder()
    recorder.loads = loads  # type: ignore[attr-defined]
    monkeypatch.setattr(jsonio, "orjson", recorder)
    return counts


def read(dialect: Dialect) -> Any:
    """Read a small request of a dialect."""
    raw = REQUESTS[dialect.name]
    if dialect.read_with_path is None:
        return dialect.read(raw)
    return dialect.read_with_path(raw, "/v1beta/models/m:streamGenerateContent")


@pytest.mark.parametrize("shape", VALUES)
@pytest.mark.parametrize("name", DIALECTS)
def test_no_dialect_parses_an_event_with_too_many_values(
    name: str, shape: str, parsed: list[int]
) -> None:
    dialect = DIALECTS[name]
    event = EVENTS[name] % VALUES[shape](json_size.MAX_VALUES * 2)
    assert json_size.exceeds(event, json_size.MAX_VALUES)
    frame = b"data: " + event + b"\n\n"
    inspector = dialect.inspect_stream(read(dialect))
    translation = dialect.translation
    assert translation is not None
    parsed.clear()
    inspector.feed(frame)
    translation.make_decoder().feed(frame)
    assert max(parsed, default=0) <= json_size.MAX_VALUES


def test_the_last_event_of_a_responses_stream_may_have_many_log_probabilities() -> None:
    """It has the whole answer: here 1,500 tokens, each with the 20 next best ones."""
    choice = {"token": "x", "logprob": -0.1, "bytes": [120]}
    tokens = [{**choice, "top_logprobs": [choice] * 20}] * 1_500
    part = {"type": "output_text", "text": "x" * 1_500, "annotations": [], "logprobs": tokens}
    message = {
        "type": "message",
        "id": "m",
        "role": "assistant",
        "status": "completed",
        "content": [part],
    }
    response = {
        "id": "r",
        "status": "completed",
        "output": [message],
        "usage": {"input_tokens": 5, "output_tokens": 1_500},
    }
    event = jsonio.dumps({"type": "response.completed", "sequence_number": 1, "response": response})
    dialect = DIALECTS["openai-responses"]
    inspector = dialect.inspect_stream(read(dialect))
    inspector.feed(b"event: response.completed\ndata: " + event + b"\n\n")
    assert inspector.problem is None
    assert inspector.usage == Usage(input=5, output=1_500)


@pytest.mark.parametrize("shape", VALUES)
def test_arguments_with_too_many_values_stay_a_text(shape: str, parsed: list[int]) -> None:
    """They reach the model all the same: the gateway passes them on unread."""
    text = VALUES[shape](MANY * 3).decode()
    assert parse_arguments(text) == {"_raw": text}
    read_slot(f"call:{text}")
    assert max(parsed, default=0) <= json_size.MAX_PART_VALUES


@pytest.mark.parametrize("shape", VALUES)
def test_no_message_of_a_session_with_too_many_values_is_parsed(
    shape: str, parsed: list[int]
) -> None:
    values = VALUES[shape](MANY * 3)
    assert OpenAIMessageReader().read(b'{"type":"response.done","response":%b}' % values) == []
    assert GeminiMessageReader().read(b'{"usageMetadata":%b}' % values) == []
    assert max(parsed, default=0) <= json_size.MAX_PART_VALUES


def test_the_usage_of_a_batch_result_with_too_many_values_is_unknown(parsed: list[int]) -> None:
    reader = ResultReader("m")
    reader.feed(b'{"response":{"body":%b}}\n' % VALUES["numbers"](json_size.MAX_VALUES + 1))
    assert reader.finish() is None
    assert not parsed


@pytest.mark.parametrize("client", DIALECTS)
@pytest.mark.parametrize("name", MODELS)
def test_many_calls_of_tools_take_time_in_proportion(name: str, client: str) -> None:
    """Four times as many take four times as many steps, or the thread would work for minutes."""
    source = DIALECTS[DIALECT_NAMES[name]].translation
    target = DIALECTS[client].translation
    assert source is not None
    assert target is not None
    counts: list[int] = []
    for calls in (200, 800):
        answer = make_answer(name, calls=(rb'"{\"a\":1}"', calls))
        if name == "chat":  # OpenAI numbers them
            value = orjson.loads(answer)
            for index, call in enumerate(value["choices"][0]["message"]["tool_calls"]):
                call |= {"index": index, "id": f"c{index}"}
            answer = orjson.dumps(value)
        counts.append(0)

        def count(_frame: Any, kind: str, _: Any) -> None:
            counts[-1] += kind in ("call", "c_call")

        sys.setprofile(count)
        try:
            events = source.decode_response(answer)
            target.encode_response(events, CONTEXT)
        finally:
            sys.setprofile(None)
    assert counts[1] < 6 * counts[0]


def test_all_target_dialects_are_here() -> None:
    """A dialect that only providers speak has frames of its own; it reads them as the others do."""
    assert {name for name, _ in TARGET_OPERATIONS} - set(DIALECTS) == {"bedrock-converse"}
