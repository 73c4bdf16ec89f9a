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
USED = e.UsageUpdate(Usage(input=12, cache_read=5, cache_write={"": 3}, output=6, reasoning=4))
ENDED = [USED, e.Finish("stop", "completed"), e.End()]
TOOLS = [USED, e.Finish("tools", "completed"), e.End()]


def decode(*parts: bytes) -> list[e.Event]:
    decoder = TRANSLATION.make_decoder()
    events = [event for part in parts for event in decoder.feed(part)]
    return [*events, *decoder.end()]


def decode_whole(*output: Object, **more: object) -> list[e.Event]:
    return TRANSLATION.decode_response(json.dumps(response(*output, **more)).encode())


def make_end(*output: Object, **more: object) -> bytes:
    return event("response.completed", response=response(*output, **more))


def test_a_stream_is_decoded_as_it_arrives() -> None:
    decoder = TRANSLATION.make_decoder()
    assert decoder.feed(CREATED + event("response.in_progress") + ADDED) == [START]
    assert decoder.feed(HELLO[:9]) == []
    assert decoder.feed(HELLO[9:]) == [e.TextDelta("hello")]
    assert decoder.feed(delta("output_text", " you") + done(MESSAGE)) == [e.TextDelta(" you")]
    assert decoder.feed(COMPLETED) == ENDED
    assert decoder.feed(HELLO) == []
    assert decoder.end() == []


def test_a_whole_answer_decodes_to_the_events_of_its_stream() -> None:
    assert decode_whole(MESSAGE) == [START, e.TextDelta("hello you"), *ENDED]


@given(st.lists(st.integers(0, len(WHOLE)), max_size=12))
def test_a_stream_decodes_to_the_same_events_wherever_reads_end(cuts: list[int]) -> None:
    assert decode(*pieces(WHOLE, cuts)) == decode(WHOLE)


def test_frames_may_have_crlf_comments_and_data_over_several_lines() -> None:
    stream = b": hi\r\n\r\n" + WHOLE.replace(b"\n", b"\r\n").replace(
        b'"delta"', b'\r\ndata: "delta"'
    )
    assert decode(stream + b"data: [DONE]\r\n\r\n") == decode(WHOLE)
    assert decode(WHOLE.removesuffix(b"\n\n")) == decode(WHOLE)


def test_items_with_one_id_are_separate_items() -> None:
    events = decode_whole(CALL, {**CALL, "call_id": "call_2"})
    assert [event.id for event in events if isinstance(event, e.ToolStart)] == ["call_1", "call_2"]


def test_content_that_was_not_streamed_comes_from_the_finished_item() -> None:
    """Items that are never done come at the end; nothing comes twice."""
    expected = [START, e.TextDelta("hello you"), *ENDED]
    assert decode(CREATED + done(MESSAGE) + done(MESSAGE) + COMPLETED) == expected
    assert decode(CREATED + COMPLETED) == expected
    assert decode(COMPLETED) == expected
    unplaced = event("response.output_item.done", item=MESSAGE)
    assert decode(unplaced + COMPLETED)[1:] == expected[1:]


def test_an_item_keeps_its_identity_if_its_place_changes_at_the_end() -> None:
    """Hosts may leave items out of the final list that they counted in the stream."""
    stream = CREATED + added({**MESSAGE, "content": []}, 4) + delta("output_text", "hello you", 4)
    assert decode(stream + COMPLETED) == [START, e.TextDelta("hello you"), *ENDED]
    assert decode(stream + done(MESSAGE, 4) + make_end(MESSAGE, CALL))[2:5] == [
        e.ToolStart(0, "call_1", "f"),
        e.ToolDelta(0, '{"a":1}'),
        e.ToolEnd(0),
    ]
    nameless = {**MESSAGE, "id": None}
    assert decode(CREATED + done(nameless) + make_end(nameless)) == [
        START,
        e.TextDelta("hello you"),
        *ENDED,
    ]


@pytest.mark.parametrize("cut", [b"", CREATED, CREATED + HELLO, WHOLE[: -len(COMPLETED) // 2]])
def test_a_cut_stream_has_no_end(cut: bytes) -> None:
    events = decode(cut)
    assert e.End() not in events
    assert not any(isinstance(event, e.Failed) for event in events)


def test_a_terminal_event_may_lack_its_blank_line_but_must_be_whole() -> None:
    assert decode(CREATED + COMPLETED.rstrip())[-1] == e.End()
    assert decode(CREATED + COMPLETED[:-20]) == [START]
    assert decode(CREATED + b"data: [DONE]") == [START]


def test_a_call_decodes_to_start_deltas_and_end() -> None:
    stream = (
        CREATED
        + added({**CALL, "arguments": ""})
        + delta("function_call_arguments", '{"a":')
        + delta("function_call_arguments", "")
        + delta("function_call_arguments", "1}")
        + done(CALL)
        + make_end(CALL)
    )
    assert decode(stream) == [
        START,
        e.ToolStart(0, "call_1", "f"),
        e.ToolDelta(0, '{"a":'),
        e.ToolDelta(0, "1}"),
        e.ToolEnd(0),
        *TOOLS,
    ]
    assert decode_whole(CALL) == [
        START,
        e.ToolStart(0, "call_1", "f"),
        e.ToolDelta(0, '{"a":1}'),
        e.ToolEnd(0),
        *TOOLS,
    ]


def test_two_calls_may_be_open_at_once() -> None:
    other = {**CALL, "call_id": "call_2", "arguments": ""}
    stream = added(CALL) + added(other, 1) + added(other, 1)
    stream += delta("function_call_arguments", "b", 1) + delta("function_call_arguments", "a", 0)
    stream += done(other, 1) + done(CALL)
    assert decode(CREATED + stream) == [
        START,
        e.ToolStart(0, "call_1", "f"),
        e.ToolStart(1, "call_2", "f"),
        e.ToolDelta(1, "b"),
        e.ToolDelta(0, "a"),
        e.ToolEnd(1),
        e.ToolEnd(0),
    ]


def test_a_custom_call_has_free_text_and_a_malformed_call_has_empty_names() -> None:
    custom = {"type": "custom_tool_call", "id": "ctc_1", "name": "c", "input": "a b"}
    assert decode_whole(custom)[1:4] == [
        e.ToolStart(0, "ctc_1", "c", custom=True),
        e.ToolDelta(0, "a b"),
        e.ToolEnd(0),
    ]
    assert decode_whole({"type": "function_call"})[1:3] == [e.ToolStart(0, "", ""), e.ToolEnd(0)]
    assert decode(delta("custom_tool_call_input", "x")) == [e.Start()]


SUMMARY = {
    "id": "rs_1", "type": "reasoning", "encrypted_content": "enc",
    "summary": [{"type": "summary_text", "text": "one"}, {"type": "summary_text", "text": "two"}],
}  # fmt: skip


def test_a_summary_decodes_to_parts_and_the_state_of_the_finished_item() -> None:
    stream = added({**SUMMARY, "summary": [], "encrypted_content": "begun"})
    stream += delta("reasoning_summary_text", "one", summary_index=0)
    stream += delta("reasoning_text", "raw", content_index=0)
    stream += delta("reasoning_summary_text", "two", summary_index=1) + done(SUMMARY)
    expected = [
        e.ReasoningDelta("one"),
        e.ReasoningDelta("two", part=1),
        e.ReasoningEnd("enc", id="rs_1"),
    ]
    assert decode(stream)[1:] == expected
    assert decode_whole(SUMMARY)[1:4] == expected


def test_raw_reasoning_decodes_to_reasoning() -> None:
    raw = {"type": "reasoning", "id": 3, "summary": [], "content": [{"text": "raw"}, {"text": ""}]}
    stream = delta("reasoning_text", "raw", content_index=None) + done(raw)
    assert (
        decode(stream)[1:] == decode_whole(raw)[1:3] == [e.ReasoningDelta("raw"), e.ReasoningEnd()]
    )


def test_a_state_without_text_is_redacted_reasoning() -> None:
    hidden = {"type": "reasoning", "id": "rs_1", "encrypted_content": "enc"}
    assert decode_whole(hidden)[1] == e.ReasoningEnd("enc", redacted=True, id="rs_1")
    assert decode_whole({"type": "reasoning", "summary": []})[1:] == ENDED


NOTE = {"type": "url_citation", "url": "u", "title": "t", "start_index": 0, "end_index": 5}
FILE = {"type": "file_citation", "file_id": "f", "index": 3}
TOKENS = [{"token": "hello", "logprob": -0.1}]
NOTES = "output.message.annotations"


def test_the_decoder_reads_refusals_citations_and_log_probabilities() -> None:
    text = {"type": "output_text", "text": "hello", "annotations": [NOTE, FILE], "logprobs": TOKENS}
    item = {**MESSAGE, "content": [text, {"type": "refusal", "refusal": "no"}]}
    cited = [
        e.Citation("u", "t", 0, 5, NOTE, name=NOTES),
        e.Citation(source=FILE, name=NOTES),
    ]
    assert decode_whole(item)[1:6] == [
        e.TextDelta("hello"),
        e.LogProbs(TOKENS),
        *cited,
        e.Declined("no"),
    ]
    stream = delta("output_text", "hello", logprobs=TOKENS)
    stream += event("response.output_text.annotation.added", output_index=0, annotation=NOTE)
    stream += delta("refusal", "no") + delta("refusal", "") + done(item)
    assert decode(stream)[1:] == [
        e.TextDelta("hello"),
        e.LogProbs(TOKENS),
        cited[0],
        e.Declined("no"),
        cited[1],
    ]
    assert decode(delta("output_text", "", logprobs={"a": 1}))[1:] == []
    malformed = event("response.output_text.annotation.added", annotation=3)
    assert decode(malformed)[1:] == [e.Citation(source=3, name=NOTES)]


def test_content_that_no_other_dialect_has_is_opaque() -> None:
    search = {"type": "web_search_call", "id": "ws_1"}
    assert decode_whole(search)[1] == e.Opaque("output.web_search_call", source=search)
    assert decode_whole({"x": 1})[1] == e.Opaque("output.unknown", source={"x": 1})
    new = {**MESSAGE, "content": [{"type": "output_new", "x": 1}]}
    assert decode_whole(new)[1] == e.Opaque("output.message.output_new")


def test_a_generated_picture_decodes_to_media() -> None:
    """Drafts are left out; an item without a picture is like any other hosted tool."""
    item = {"type": "image_generation_call", "id": "ig_1", "result": "QUJD", "output_format": "webp"}  # fmt: skip
    media = e.GeneratedMedia("image", "QUJD", "output.image_generation_call", media_type="image/webp")  # fmt: skip
    assert decode_whole(item)[1] == media
    draft = event("response.image_generation_call.partial_image", output_index=0, partial_image_b64="QQ")  # fmt: skip
    assert decode(draft + done(item))[1:] == [media]
    bare = {"type": "image_generation_call", "result": "QUJD"}
    assert decode_whole(bare)[1] == e.GeneratedMedia(
        "image", "QUJD", "output.image_generation_call"
    )
    failed = {**item, "result": None}
    assert decode_whole(failed)[1] == e.Opaque("output.image_generation_call", source=failed)


def test_events_without_an_item_are_named_once() -> None:
    speech = event("response.audio.delta", delta="QUJD")
    assert decode(speech + speech) == [e.AnswerMetadata("response.audio.delta")]
    code = event("response.code_interpreter_call_code.delta", delta="x", output_index=0)
    assert decode(code + event("keepalive") + b"data: [DONE]\n\n") == []


def test_unknown_members_are_named_before_the_end() -> None:
    """Its name is the same however the answer comes, but for members of the response itself."""
    item = {**MESSAGE, "x_new": True, "content": [{"type": "output_text", "text": "a", "y": 1}]}
    names = [e.AnswerMetadata("output.content.y"), e.AnswerMetadata("output.x_new")]
    assert decode_whole(item, z=0)[-5:] == [ENDED[1], *names, e.AnswerMetadata("z"), e.End()]
    stream = CREATED + done(item) + make_end(item, z=0) + event("response.new", item_id="i")
    assert decode(stream)[2:] == [*names, *ENDED[:2], e.AnswerMetadata("response.z"), e.End()]


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
def test_an_incomplete_answer_decodes_to_its_reason(
    details: Object | None, reason: e.FinishReason
) -> None:
    word = details["reason"] if details else "incomplete"
    more: Object = {"status": "incomplete", "incomplete_details": details}
    finish = e.Finish(reason, word)
    assert decode_whole(CALL, **more)[-2] == finish
    stream = event("response.incomplete", response=response(CALL, **more))
    assert decode(stream)[-2:] == [finish, e.End()]
    assert decode(event("response.incomplete"))[-2] == e.Finish("length")


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
def test_an_error_is_the_last_event_of_a_stream(frame: bytes, kind: str) -> None:
    events = decode(CREATED + HELLO + frame + WHOLE, WHOLE)
    assert events[:2] == [START, e.TextDelta("hello")]
    (failed,) = events[2:]
    assert isinstance(failed, e.Failed)
    assert failed.problem.kind == kind


def test_the_usage_of_a_failed_answer_comes_before_the_failure() -> None:
    """The provider bills an answer that fails in the middle."""
    *events, failed = decode(CREATED + HELLO + event("response.failed", response=response()))
    assert events == [START, e.TextDelta("hello"), USED]
    assert isinstance(failed, e.Failed)
    update, failed = decode_whole(MESSAGE, status="failed")
    assert update == USED
    assert isinstance(failed, e.Failed)


def test_usage_is_reported_as_soon_as_it_arrives() -> None:
    """Some streams are cut: what they tell before that counts as in a native stream."""
    created = event("response.created", response=response(status="in_progress"))
    in_progress = event("response.in_progress", response=response(service_tier="flex"))
    flex = msgspec.structs.replace(USED.usage, service="flex")
    assert decode(created + created + in_progress) == [
        e.Start("resp_1", "m-1", 5, USED.usage),
        e.UsageUpdate(flex),
    ]


def test_a_frame_without_an_end_fails() -> None:
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
def test_a_body_that_is_no_answer_fails(body: bytes, kind: str) -> None:
    (failed,) = TRANSLATION.decode_response(body)
    assert isinstance(failed, e.Failed)
    assert failed.problem.kind == kind


def test_unknown_events_are_named_and_malformed_ones_ignored() -> None:
    stream = event("response.new", x=1) + event("response.output_text.delta", delta=3)
    stream += event("response.refusal.delta", delta=None, output_index="x")
    stream += event("response.reasoning_text.delta") + b'data: {"type":3}\n\n'
    assert decode(stream) == [e.AnswerMetadata("response.new"), e.Start(), e.AnswerMetadata("3")]
    assert TRANSLATION.decode_response(b'{"output":[3],"created_at":"x"}') == [
        e.Start(),
        e.Finish("cut"),
        e.End(),
    ]
