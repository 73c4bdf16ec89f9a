"""Answers of this dialect as events: streams, partly streamed answers, and whole answers."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core import events as e
from gateway.core.usage import Usage
from gateway.dialects.openai_responses import TRANSLATION
from gateway.dialects.stream_frames import MAX_FRAME_BYTES
from tests.dialects.cases import pieces
from tests.dialects.openai_responses.cases import (
    ADDED,
    CALL,
    COMPLETED,
    CREATED,
    HELLO,
    MESSAGE,
    WHOLE,
    Object,
    added,
    delta,
    done,
    event,
    response,
)

START = e.Start("resp_1", "m-1", 5)
TOLD = e.UsageUpdate(Usage(input=12, cache_read=5, cache_write={"": 3}, output=6, reasoning=4))
ENDED = [TOLD, e.Finish("stop", "completed"), e.End()]
TOOLS = [TOLD, e.Finish("tools", "completed"), e.End()]


def run(*parts: bytes) -> list[e.Event]:
    decoder = TRANSLATION.make_decoder()
    found = [event for part in parts for event in decoder.feed(part)]
    return [*found, *decoder.end()]


def whole(*output: Object, **more: object) -> list[e.Event]:
    return TRANSLATION.decode_response(json.dumps(response(*output, **more)).encode())


def ended(*output: Object, **more: object) -> bytes:
    return event("response.completed", response=response(*output, **more))


def test_a_stream_is_told_as_it_comes() -> None:
    decoder = TRANSLATION.make_decoder()
    assert decoder.feed(CREATED + event("response.in_progress") + ADDED) == [START]
    assert decoder.feed(HELLO[:9]) == []
    assert decoder.feed(HELLO[9:]) == [e.TextDelta("hello")]
    assert decoder.feed(delta("output_text", " you") + done(MESSAGE)) == [e.TextDelta(" you")]
    assert decoder.feed(COMPLETED) == ENDED
    assert decoder.feed(HELLO) == []
    assert decoder.end() == []


def test_a_whole_answer_is_the_same_events() -> None:
    assert whole(MESSAGE) == [START, e.TextDelta("hello you"), *ENDED]


@given(st.lists(st.integers(0, len(WHOLE)), max_size=12))
def test_it_does_not_matter_where_a_read_ended(cuts: list[int]) -> None:
    assert run(*pieces(WHOLE, cuts)) == run(WHOLE)


def test_frames_may_be_crlf_with_comments_and_data_in_lines() -> None:
    stream = b": hi\r\n\r\n" + WHOLE.replace(b"\n", b"\r\n").replace(
        b'"delta"', b'\r\ndata: "delta"'
    )
    assert run(stream + b"data: [DONE]\r\n\r\n") == run(WHOLE)
    assert run(WHOLE.removesuffix(b"\n\n")) == run(WHOLE)


def test_items_of_one_id_are_as_many_as_there_are() -> None:
    found = whole(CALL, {**CALL, "call_id": "call_2"})
    assert [it.id for it in found if isinstance(it, e.ToolStart)] == ["call_1", "call_2"]


def test_what_is_not_streamed_is_told_when_it_is_done() -> None:
    """Items that are never done come at the end; nothing comes twice."""
    told = [START, e.TextDelta("hello you"), *ENDED]
    assert run(CREATED + done(MESSAGE) + done(MESSAGE) + COMPLETED) == told
    assert run(CREATED + COMPLETED) == told
    assert run(COMPLETED) == told
    unplaced = event("response.output_item.done", item=MESSAGE)
    assert run(unplaced + COMPLETED)[1:] == told[1:]


def test_an_item_is_known_by_its_id_where_its_place_is_another_at_the_end() -> None:
    """Hosts may leave items out of the final list that they counted in the stream."""
    stream = CREATED + added({**MESSAGE, "content": []}, 4) + delta("output_text", "hello you", 4)
    assert run(stream + COMPLETED) == [START, e.TextDelta("hello you"), *ENDED]
    assert run(stream + done(MESSAGE, 4) + ended(MESSAGE, CALL))[2:5] == [
        e.ToolStart(0, "call_1", "f"),
        e.ToolDelta(0, '{"a":1}'),
        e.ToolEnd(0),
    ]
    nameless = {**MESSAGE, "id": None}
    assert run(CREATED + done(nameless) + ended(nameless)) == [
        START,
        e.TextDelta("hello you"),
        *ENDED,
    ]


@pytest.mark.parametrize("cut", [b"", CREATED, CREATED + HELLO, WHOLE[: -len(COMPLETED) // 2]])
def test_a_stream_that_stops_has_no_end(cut: bytes) -> None:
    found = run(cut)
    assert e.End() not in found
    assert not any(isinstance(it, e.Failed) for it in found)


def test_a_terminal_event_may_lack_its_blank_line_and_half_of_it_is_none() -> None:
    assert run(CREATED + COMPLETED.rstrip())[-1] == e.End()
    assert run(CREATED + COMPLETED[:-20]) == [START]
    assert run(CREATED + b"data: [DONE]") == [START]


def test_a_call_is_begun_written_and_ended() -> None:
    stream = (
        CREATED
        + added({**CALL, "arguments": ""})
        + delta("function_call_arguments", '{"a":')
        + delta("function_call_arguments", "")
        + delta("function_call_arguments", "1}")
        + done(CALL)
        + ended(CALL)
    )
    assert run(stream) == [
        START,
        e.ToolStart(0, "call_1", "f"),
        e.ToolDelta(0, '{"a":'),
        e.ToolDelta(0, "1}"),
        e.ToolEnd(0),
        *TOOLS,
    ]
    assert whole(CALL) == [
        START,
        e.ToolStart(0, "call_1", "f"),
        e.ToolDelta(0, '{"a":1}'),
        e.ToolEnd(0),
        *TOOLS,
    ]


def test_two_calls_may_be_written_at_once() -> None:
    other = {**CALL, "call_id": "call_2", "arguments": ""}
    stream = added(CALL) + added(other, 1) + added(other, 1)
    stream += delta("function_call_arguments", "b", 1) + delta("function_call_arguments", "a", 0)
    stream += done(other, 1) + done(CALL)
    assert run(CREATED + stream) == [
        START,
        e.ToolStart(0, "call_1", "f"),
        e.ToolStart(1, "call_2", "f"),
        e.ToolDelta(1, "b"),
        e.ToolDelta(0, "a"),
        e.ToolEnd(1),
        e.ToolEnd(0),
    ]


def test_a_custom_tool_has_free_text_and_an_odd_call_what_it_has() -> None:
    custom = {"type": "custom_tool_call", "id": "ctc_1", "name": "c", "input": "a b"}
    assert whole(custom)[1:4] == [
        e.ToolStart(0, "ctc_1", "c", custom=True),
        e.ToolDelta(0, "a b"),
        e.ToolEnd(0),
    ]
    assert whole({"type": "function_call"})[1:3] == [e.ToolStart(0, "", ""), e.ToolEnd(0)]
    assert run(delta("custom_tool_call_input", "x")) == [e.Start()]


SUMMARY = {
    "id": "rs_1", "type": "reasoning", "encrypted_content": "enc",
    "summary": [{"type": "summary_text", "text": "one"}, {"type": "summary_text", "text": "two"}],
}  # fmt: skip


def test_a_summary_is_thinking_in_parts_and_its_state_is_that_of_the_item_that_is_done() -> None:
    stream = added({**SUMMARY, "summary": [], "encrypted_content": "begun"})
    stream += delta("reasoning_summary_text", "one", summary_index=0)
    stream += delta("reasoning_text", "raw", content_index=0)
    stream += delta("reasoning_summary_text", "two", summary_index=1) + done(SUMMARY)
    expected = [
        e.ReasoningDelta("one"),
        e.ReasoningDelta("two", part=1),
        e.ReasoningEnd("enc", id="rs_1"),
    ]
    assert run(stream)[1:] == expected
    assert whole(SUMMARY)[1:4] == expected


def test_reasoning_itself_is_thinking_too() -> None:
    raw = {"type": "reasoning", "id": 3, "summary": [], "content": [{"text": "raw"}, {"text": ""}]}
    stream = delta("reasoning_text", "raw", content_index=None) + done(raw)
    assert run(stream)[1:] == whole(raw)[1:3] == [e.ReasoningDelta("raw"), e.ReasoningEnd()]


def test_a_state_without_text_stands_for_all_and_nothing_is_nothing() -> None:
    hidden = {"type": "reasoning", "id": "rs_1", "encrypted_content": "enc"}
    assert whole(hidden)[1] == e.ReasoningEnd("enc", redacted=True, id="rs_1")
    assert whole({"type": "reasoning", "summary": []})[1:] == ENDED


NOTE = {"type": "url_citation", "url": "u", "title": "t", "start_index": 0, "end_index": 5}
FILE = {"type": "file_citation", "file_id": "f", "index": 3}
TOKENS = [{"token": "hello", "logprob": -0.1}]
NOTES = "output.message.annotations"


def test_refusals_sources_and_log_probabilities() -> None:
    text = {"type": "output_text", "text": "hello", "annotations": [NOTE, FILE], "logprobs": TOKENS}
    item = {**MESSAGE, "content": [text, {"type": "refusal", "refusal": "no"}]}
    cited = [
        e.Citation("u", "t", 0, 5, NOTE, name=NOTES),
        e.Citation(source=FILE, name=NOTES),
    ]
    assert whole(item)[1:6] == [e.TextDelta("hello"), e.LogProbs(TOKENS), *cited, e.Declined("no")]
    stream = delta("output_text", "hello", logprobs=TOKENS)
    stream += event("response.output_text.annotation.added", output_index=0, annotation=NOTE)
    stream += delta("refusal", "no") + delta("refusal", "") + done(item)
    assert run(stream)[1:] == [
        e.TextDelta("hello"),
        e.LogProbs(TOKENS),
        cited[0],
        e.Declined("no"),
        cited[1],
    ]
    assert run(delta("output_text", "", logprobs={"a": 1}))[1:] == []
    odd = event("response.output_text.annotation.added", annotation=3)
    assert run(odd)[1:] == [e.Citation(source=3, name=NOTES)]


def test_what_no_other_dialect_has_is_opaque() -> None:
    search = {"type": "web_search_call", "id": "ws_1"}
    assert whole(search)[1] == e.Opaque("output.web_search_call", source=search)
    assert whole({"x": 1})[1] == e.Opaque("output.unknown", source={"x": 1})
    new = {**MESSAGE, "content": [{"type": "output_new", "x": 1}]}
    assert whole(new)[1] == e.Opaque("output.message.output_new")


def test_a_picture_that_the_model_made() -> None:
    """Drafts are left out; an item without a picture is like any other hosted tool."""
    item = {"type": "image_generation_call", "id": "ig_1", "result": "QUJD", "output_format": "webp"}  # fmt: skip
    made = e.GeneratedMedia("image", "QUJD", "output.image_generation_call", media_type="image/webp")  # fmt: skip
    assert whole(item)[1] == made
    draft = event("response.image_generation_call.partial_image", output_index=0, partial_image_b64="QQ")  # fmt: skip
    assert run(draft + done(item))[1:] == [made]
    bare = {"type": "image_generation_call", "result": "QUJD"}
    assert whole(bare)[1] == e.GeneratedMedia("image", "QUJD", "output.image_generation_call")
    failed = {**item, "result": None}
    assert whole(failed)[1] == e.Opaque("output.image_generation_call", source=failed)


def test_events_of_no_item_are_named() -> None:
    speech = event("response.audio.delta", delta="QUJD")
    assert run(speech + speech) == [e.AnswerMetadata("response.audio.delta")]
    code = event("response.code_interpreter_call_code.delta", delta="x", output_index=0)
    assert run(code + event("keepalive") + b"data: [DONE]\n\n") == []


def test_what_is_unknown_is_named_before_the_end() -> None:
    """Its name is the same however the answer comes, but for members of the response itself."""
    item = {**MESSAGE, "x_new": True, "content": [{"type": "output_text", "text": "a", "y": 1}]}
    names = [e.AnswerMetadata("output.content.y"), e.AnswerMetadata("output.x_new")]
    assert whole(item, z=0)[-5:] == [ENDED[1], *names, e.AnswerMetadata("z"), e.End()]
    stream = CREATED + done(item) + ended(item, z=0) + event("response.new", item_id="i")
    assert run(stream)[2:] == [*names, *ENDED[:2], e.AnswerMetadata("response.z"), e.End()]


@pytest.mark.parametrize(
    ("details", "reason"),
    [
        ({"reason": "max_output_tokens"}, "length"),
        ({"reason": "content_filter"}, "filter"),
        ({"reason": "steered"}, "pause"),
        ({"reason": "new"}, "length"),
        (None, "length"),
    ],
)
def test_an_answer_that_is_incomplete_says_why(
    details: Object | None, reason: e.FinishReason
) -> None:
    word = details["reason"] if details else "incomplete"
    more: Object = {"status": "incomplete", "incomplete_details": details}
    finish = e.Finish(reason, word)
    assert whole(CALL, **more)[-2] == finish
    stream = event("response.incomplete", response=response(CALL, **more))
    assert run(stream)[-2:] == [finish, e.End()]
    assert run(event("response.incomplete"))[-2] == e.Finish("length")


@pytest.mark.parametrize(
    ("frame", "kind"),
    [
        (event("error", error={"code": "rate_limit_exceeded"}), "upstream_rate_limited"),
        (event("error", code="server_error", message="m"), "upstream_error"),
        (event("error"), "upstream_error"),
        (event("response.failed", response=response(usage=None)), "upstream_error"),
        (b'data: {"error":{"code":429}}\n\n', "upstream_rate_limited"),
        (b"data: <html>\n\n", "upstream_error"),
        (b"data: []\n\n", "upstream_error"),
    ],
)
def test_an_error_is_one_failure_and_nothing_after_it(frame: bytes, kind: str) -> None:
    found = run(CREATED + HELLO + frame + WHOLE, WHOLE)
    assert found[:2] == [START, e.TextDelta("hello")]
    (failed,) = found[2:]
    assert isinstance(failed, e.Failed)
    assert failed.problem.kind == kind


def test_the_usage_of_a_failed_answer_comes_before_the_failure() -> None:
    """The provider bills an answer that fails in the middle."""
    *found, failed = run(CREATED + HELLO + event("response.failed", response=response()))
    assert found == [START, e.TextDelta("hello"), TOLD]
    assert isinstance(failed, e.Failed)
    told, failed = whole(MESSAGE, status="failed")
    assert told == TOLD
    assert isinstance(failed, e.Failed)


def test_usage_comes_as_soon_as_it_is_told() -> None:
    """Some streams are cut: what they tell before that counts as in a native stream."""
    begun = event("response.created", response=response(status="in_progress"))
    working = event("response.in_progress", response=response(service_tier="flex"))
    flex = msgspec.structs.replace(TOLD.usage, service="flex")
    assert run(begun + begun + working) == [
        e.Start("resp_1", "m-1", 5, TOLD.usage),
        e.UsageUpdate(flex),
    ]


def test_a_frame_without_an_end_is_broken() -> None:
    decoder = TRANSLATION.make_decoder()
    (failed,) = decoder.feed(b"data: " + b"x" * MAX_FRAME_BYTES)
    assert isinstance(failed, e.Failed)
    assert decoder.feed(WHOLE) == decoder.end() == []


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"<html>", "upstream_error"),
        (b"[]", "upstream_error"),
        (b'{"error":{"code":"rate_limit_exceeded"}}', "upstream_rate_limited"),
    ],
)
def test_what_is_no_answer_is_a_failure(body: bytes, kind: str) -> None:
    (failed,) = TRANSLATION.decode_response(body)
    assert isinstance(failed, e.Failed)
    assert failed.problem.kind == kind


def test_events_that_nobody_knows_are_named_and_members_of_odd_types_are_passed_over() -> None:
    stream = event("response.new", x=1) + event("response.output_text.delta", delta=3)
    stream += event("response.refusal.delta", delta=None, output_index="x")
    stream += event("response.reasoning_text.delta") + b'data: {"type":3}\n\n'
    assert run(stream) == [e.AnswerMetadata("response.new"), e.Start(), e.AnswerMetadata("3")]
    assert TRANSLATION.decode_response(b'{"output":[3],"created_at":"x"}') == [
        e.Start(),
        e.Finish("cut"),
        e.End(),
    ]
