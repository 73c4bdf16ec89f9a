"""The official SDK reads the streams and answers that this dialect writes."""

import openai
import pytest
from openai.types.responses import ParsedResponse

from gateway.core import events as e
from gateway.core.errors import Problem
from gateway.core.usage import Usage
from gateway.dialects.openai_responses import DIALECT, TRANSLATION
from tests.dialects.openai_chat import sdk
from tests.dialects.openai_responses.cases import make_context

EVENTS: list[e.Event] = [
    e.Start("chatcmpl-1", "gpt", 3),
    e.ReasoningDelta("Hm"),
    e.ReasoningDelta("m."),
    e.ReasoningEnd("sig"),
    e.TextDelta("Hel"),
    e.TextDelta("lo"),
    e.LogProbs([{"token": "Hello", "logprob": -0.5, "bytes": [72], "top_logprobs": []}]),
    e.Citation("https://a.test/b", "B", 0, 5),
    e.ToolStart(0, "c1", "f"),
    e.ToolStart(1, "c2", "run", custom=True),
    e.ToolDelta(0, '{"a":'),
    e.ToolDelta(1, "print(1)"),
    e.ToolDelta(0, "1}"),
    e.ToolEnd(0),
    e.ToolEnd(1),
    e.UsageUpdate(Usage(input=7, cache_read=3, output=5, reasoning=2)),
    e.Finish("tools"),
    e.End(),
]


def client(body: bytes, *, stream: bool) -> openai.OpenAI:
    return sdk.client(body, "text/event-stream" if stream else "application/json")


def frames(events: list[e.Event]) -> bytes:
    encoder = TRANSLATION.make_encoder(make_context(state_label="m1"))
    return b"".join(map(encoder.write, events))


def check(answer: "openai.types.responses.Response | ParsedResponse[object]") -> None:
    assert (answer.status, answer.output_text, answer.model) == ("completed", "Hello", "gpt")
    thought, message, call, custom = answer.output
    assert thought.type == "reasoning"
    assert [part.text for part in thought.summary] == ["Hmm."]
    assert thought.encrypted_content == "tg1.m1.sig"
    assert message.type == "message"
    (part,) = message.content
    assert part.type == "output_text"
    assert part.annotations[0].type == "url_citation"
    assert part.annotations[0].url == "https://a.test/b"
    assert part.logprobs is not None
    assert part.logprobs[0].token == "Hello"
    assert call.type == "function_call"
    assert (call.call_id, call.name, call.arguments) == ("c1", "f", '{"a":1}')
    assert custom.type == "custom_tool_call"
    assert (custom.call_id, custom.name, custom.input) == ("c2", "run", "print(1)")
    usage = answer.usage
    assert usage is not None
    assert (usage.input_tokens, usage.input_tokens_details.cached_tokens) == (10, 3)
    assert (usage.output_tokens, usage.output_tokens_details.reasoning_tokens) == (7, 2)


def test_the_sdk_reads_a_whole_answer() -> None:
    body = TRANSLATION.encode_response(EVENTS, make_context(state_label="m1"))
    check(client(body, stream=False).responses.create(model="m", input="hi"))


def test_the_sdk_reads_the_events_of_a_stream() -> None:
    """`create(stream=True)` yields events of their own types, with texts in pieces."""
    with client(frames(EVENTS), stream=True).responses.create(
        model="m", input="hi", stream=True
    ) as stream:
        events = list(stream)
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    args = [
        event.delta for event in events if event.type == "response.function_call_arguments.delta"
    ]
    summary = [
        event.delta for event in events if event.type == "response.reasoning_summary_text.delta"
    ]
    assert (text, args, summary) == ("Hello", ['{"a":', "1}"], ["Hm", "m."])
    last = events[-1]
    assert last.type == "response.completed"
    check(last.response)


def test_the_sdk_assembles_a_stream() -> None:
    """`stream()` yields growing snapshots, and its final answer is the whole one."""
    with client(frames(EVENTS), stream=True).responses.stream(model="m", input="hi") as stream:
        snapshots = [
            event.snapshot for event in stream if event.type == "response.output_text.delta"
        ]
        answer = stream.get_final_response()
    assert snapshots == ["Hel", "Hello", "Hello"]
    check(answer)


def test_the_sdk_assembles_an_unfolded_answer() -> None:
    """The native cache also answers in this way."""
    body = TRANSLATION.encode_response(EVENTS, make_context(state_label="m1"))
    unfolded = DIALECT.unfold(body, True)
    with client(unfolded, stream=True).responses.stream(model="m", input="hi") as stream:
        check(stream.get_final_response())


def test_the_sdk_reads_a_limit_as_incomplete() -> None:
    cut: list[e.Event] = [e.Start(), e.TextDelta("Hel"), e.Finish("length"), e.End()]
    with client(frames(cut), stream=True).responses.create(
        model="m", input="hi", stream=True
    ) as stream:
        *_, last = stream
    assert last.type == "response.incomplete"
    assert last.response.incomplete_details is not None
    assert last.response.incomplete_details.reason == "max_output_tokens"


@pytest.mark.parametrize("begun", [[], EVENTS[:6]])
def test_the_sdk_raises_an_error_in_a_stream(begun: list[e.Event]) -> None:
    """Law 10: whatever came before the error, the SDK does not take the stream for complete."""
    broken = Problem(kind="upstream_truncated", message="It broke off.")
    body = frames(begun) + DIALECT.write_problem_frame(broken)
    with (
        pytest.raises(openai.APIError, match=r"It broke off\."),
        client(body, stream=True).responses.create(model="m", input="hi", stream=True) as stream,
    ):
        list(stream)
    with (
        pytest.raises(openai.APIError, match=r"It broke off\."),
        client(body, stream=True).responses.stream(model="m", input="hi") as helper,
    ):
        helper.get_final_response()
