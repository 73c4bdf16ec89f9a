"""Whole answers: usage for accounting, and streams folded into answers and unfolded again."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.usage import Usage
from gateway.dialects.anthropic_messages import DIALECT
from tests.dialects.anthropic_messages.cases import (
    EMPTY,
    HELLO,
    PING,
    STOP,
    WHOLE,
    Object,
    ask,
    begin,
    delta,
    done,
    end,
    event,
    start,
)
from tests.dialects.cases import TEXT

SUMMARIZE, FOLD, UNFOLD = DIALECT.summarize, DIALECT.fold, DIALECT.unfold


def test_the_gateway_reads_usage_model_and_finish_of_an_answer() -> None:
    body = {"content": [], "model": "m-1", "stop_reason": "tool_use", "usage": {"input_tokens": 1, "output_tokens": 2}}  # fmt: skip
    summary = SUMMARIZE(json.dumps(body).encode())
    assert (summary.usage, summary.served_model, summary.finish, summary.problem) == (
        Usage(input=1, output=2),
        "m-1",
        "tool_use",
        None,
    )


def test_missing_members_are_unknown() -> None:
    summary = SUMMARIZE(
        b'{"content":[{"type":"text","text":"a"}],"model":7,"stop_reason":null,"error":{}}'
    )
    assert (summary.usage, summary.served_model, summary.finish, summary.problem) == (
        None,
        None,
        None,
        None,
    )
    assert not summary.complete


@pytest.mark.parametrize("content", ["", '{"type":"text","text":""}', "7", '{"type":1}'])
def test_an_answer_without_content_and_reason_fails(content: str) -> None:
    problem = SUMMARIZE(f'{{"content":[{content}],"stop_reason":null}}'.encode()).problem
    assert problem is not None
    assert (problem.kind, problem.spent) == ("upstream_truncated", "maybe")


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"<html>", "upstream_error"), (b"[]", "upstream_error"), (b"{}", "upstream_error"),
        (b'{"content":"text"}', "upstream_error"), (b'{"type":"error"}', "upstream_error"),
        (b'{"type":"error","error":{"type":"overloaded_error","message":"m"}}', "upstream_overloaded"),
        (b'{"error":{"type":"rate_limit_error"}}', "upstream_rate_limited"),
        (b'{"error":{"type":"invalid_request_error"}}', "upstream_rejected"),
    ],
)  # fmt: skip
def test_a_body_that_is_no_answer_fails(body: bytes, kind: str) -> None:
    problem = SUMMARIZE(body).problem
    assert problem is not None
    assert problem.kind == kind
    assert problem.body == (body if kind == "upstream_rejected" else None)
    assert problem.spent == ("no" if kind == "upstream_rejected" else "maybe")


def fold_frames(*frames: bytes) -> Object:
    value: Object = json.loads(FOLD(b"".join([start(), *frames, end(), STOP])))
    return value


def fold_blocks(*frames: bytes) -> list[Object]:
    blocks: list[Object] = fold_frames(*frames)["content"]
    return blocks


def test_a_stream_folds_to_a_whole_answer() -> None:
    assert json.loads(FOLD(b": ping\n\n" + WHOLE + b"event: data\ndata: [DONE]\n\n")) == {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "m-1", "content": [{"type": "text", "text": "hello you"}],
        "stop_reason": "end_turn", "stop_sequence": None, "usage": {"input_tokens": 5, "output_tokens": 9},
    }  # fmt: skip


def test_thinking_folds_with_its_signature() -> None:
    began = begin(type="thinking", thinking="", signature="")
    pieces = [delta("thinking_delta", thinking=text) for text in ("a", "b")]
    assert fold_blocks(began, *pieces, delta("signature_delta", signature="s=="), done()) == [
        {"type": "thinking", "thinking": "ab", "signature": "s=="}
    ]
    omitted = begin(type="thinking", thinking="")
    assert fold_blocks(omitted, delta("signature_delta", signature="s")) == [
        {"type": "thinking", "thinking": "", "signature": "s"}
    ]


def test_blocks_that_come_whole_fold_unchanged() -> None:
    redacted, result = {"type": "redacted_thinking", "data": "d"}, {"type": "web_search_tool_result", "content": [{"url": "u"}]}  # fmt: skip
    assert fold_blocks(begin(1, **result), begin(0, **redacted), done(), PING) == [redacted, result]


def test_the_input_of_a_tool_keeps_the_models_bytes() -> None:
    """The input keeps numbers too large for a float, and spelling that no encoder would choose."""
    tool = begin(type="tool_use", id="t", name="f", input={})
    pieces = ["", '{"n": 1234567890123', '4567890123, "x":', "1.50}"]
    stream = [tool, *(delta("input_json_delta", partial_json=piece) for piece in pieces)]
    whole = FOLD(b"".join([start(), *stream, end("tool_use"), STOP]))
    assert b'"input":{"n": 12345678901234567890123, "x":1.50}' in whole
    assert fold_blocks(tool, delta("input_json_delta", partial_json=""))[0]["input"] == {}


def test_a_cut_tool_input_is_kept_as_text() -> None:
    tool = begin(type="tool_use", id="t", name="f", input={})
    cut = delta("input_json_delta", partial_json='{"path": "/et')
    assert fold_blocks(tool, cut)[0]["input"] == {"_raw": '{"path": "/et'}


def test_citations_and_compactions_fold_to_their_blocks() -> None:
    cited = [delta("citations_delta", citation={"n": n}) for n in (1, 2)]
    assert fold_blocks(EMPTY, cited[0], HELLO, cited[1]) == [
        {"type": "text", "text": "hello", "citations": [{"n": 1}, {"n": 2}]}
    ]
    compaction = [begin(type="compaction", content=None), delta("compaction_delta", content="a", encrypted_content=None), delta("compaction_delta", content="b")]  # fmt: skip
    assert fold_blocks(*compaction) == [{"type": "compaction", "content": "ab"}]


def test_the_last_event_replaces_members_of_the_start() -> None:
    ended = event(
        "message_delta",
        delta={"stop_reason": "refusal", "stop_details": {"category": "c"}, "container": {"id": "c"}},
        usage={"output_tokens": 3, "input_tokens": None},
        context_management={"applied_edits": []},
    )  # fmt: skip
    whole = json.loads(FOLD(start(cache_read_input_tokens=4) + ended + STOP))
    assert (whole["stop_reason"], whole["stop_details"]) == ("refusal", {"category": "c"})
    assert whole["usage"] == {"input_tokens": 5, "output_tokens": 3, "cache_read_input_tokens": 4}
    assert (whole["container"], whole["context_management"]) == ({"id": "c"}, {"applied_edits": []})
    bare = event("message_start", message={"content": []}) + event("message_delta", delta={})
    assert json.loads(FOLD(bare)) == {"content": [], "usage": {}}


def message(*blocks: Object, **more: Any) -> Object:
    return {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "m-1", "content": [*blocks], "stop_reason": "end_turn",
        "stop_sequence": None, "usage": {"input_tokens": 5, "output_tokens": 9, "service_tier": "standard"}, **more,
    }  # fmt: skip


def test_a_whole_message_unfolds_to_the_events_that_sdks_read() -> None:
    """The stream has the events, names and order that SDKs assemble."""
    blocks: list[Object] = [{"type": "thinking", "thinking": "a", "signature": "s"}, {"type": "text", "text": "b", "citations": [{"n": 1}]}, {"type": "tool_use", "id": "t", "name": "f", "input": {"x": 1}}]  # fmt: skip
    head = {**message(), "stop_reason": None, "usage": {"input_tokens": 5, "output_tokens": 0, "service_tier": "standard"}}  # fmt: skip
    expected = [
        event("message_start", message=head),
        begin(0, type="thinking", thinking="", signature=""), delta("thinking_delta", 0, thinking="a"), delta("signature_delta", 0, signature="s"), done(0),
        begin(1, type="text", text="", citations=[]), delta("citations_delta", 1, citation={"n": 1}), delta("text_delta", 1, text="b"), done(1),
        begin(2, type="tool_use", id="t", name="f", input={}), delta("input_json_delta", 2, partial_json='{"x":1}'), done(2),
        end(input_tokens=5), STOP,
    ]  # fmt: skip
    frames = UNFOLD(json.dumps(message(*blocks)).encode(), True).split(b"\n\n")[:-1]
    assert len(frames) == len(expected)
    for frame, expected_frame in zip(frames, expected, strict=True):
        name, data = frame.split(b"\ndata: ")
        assert name == expected_frame.split(b"\n")[0]
        assert json.loads(data) == json.loads(expected_frame.split(b"data: ")[1])


@pytest.mark.parametrize(
    "more",
    [
        {"usage": None}, {"usage": {"input_tokens": 1}}, {"container": {"id": "c"}, "stop_details": None}, {"x": {"n": 1}},
        {"usage": {"input_tokens": 1, "output_tokens": 2, "server_tool_use": None, "cache_creation": None, "iterations": [{"type": "message"}]}},
    ],
)  # fmt: skip
def test_members_of_a_message_survive_unfolding_and_folding(more: Object) -> None:
    whole = message({"type": "text", "text": "a"}, **more)
    folded = json.loads(FOLD(UNFOLD(json.dumps(whole).encode(), True)))
    assert folded == {**whole, "usage": whole["usage"] or {}}


BLOCKS = st.one_of(
    st.builds(lambda text: {"type": "text", "text": text}, TEXT),
    st.builds(lambda text, n: {"type": "text", "text": text, "citations": [{"n": n}]}, TEXT, st.integers()),
    st.builds(lambda text: {"type": "text", "text": text, "citations": None}, TEXT),
    st.builds(lambda a, b: {"type": "thinking", "thinking": a, "signature": b}, TEXT, TEXT),
    st.builds(lambda text: {"type": "redacted_thinking", "data": text}, TEXT),
    st.builds(lambda x: {"type": "tool_use", "id": "t", "name": "f", "input": x}, st.dictionaries(TEXT, TEXT, max_size=2)),
    st.builds(lambda text: {"type": "new", "content": [text]}, TEXT),
)  # fmt: skip


@given(st.lists(BLOCKS, max_size=4), st.sampled_from(["end_turn", "tool_use", "max_tokens"]))
def test_any_message_survives_unfolding_and_folding(blocks: list[Object], why: str) -> None:
    """Law 2: both forms also give the same usage."""
    whole = message(*blocks, stop_reason=why)
    stream = UNFOLD(json.dumps(whole).encode(), False)
    assert json.loads(FOLD(stream)) == whole
    inspector = DIALECT.inspect_stream(ask(stream=True))
    assert inspector.feed(stream) == stream
    summary = DIALECT.summarize(FOLD(stream))
    assert (inspector.usage, inspector.finish, inspector.served_model) == (
        summary.usage,
        summary.finish,
        summary.served_model,
    )
    assert inspector.complete
