"""Native streams keep their bytes, send nothing before content, and never end early as complete."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.usage import Usage
from gateway.dialects import OPENAI_CHAT, ResponseContext, Translation
from gateway.dialects.anthropic_messages import DIALECT, TRANSLATION
from gateway.dialects.base import StreamInspector
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
from tests.dialects.cases import TEXT, facts, pieces

DONE = b"event: data\ndata: [DONE]\n\n"
ERROR = event("error", error={"type": "overloaded_error", "message": "Overloaded"})


def run(data: bytes, *cuts: int) -> tuple[bytes, StreamInspector]:
    inspector = DIALECT.inspect_stream(ask(stream=True))
    out = [inspector.feed(piece) for piece in pieces(data, cuts)]
    return b"".join([*out, inspector.end()]), inspector


@pytest.mark.parametrize(
    "first",
    [
        HELLO, delta("thinking_delta", thinking="hm"), delta("signature_delta", signature="s"), delta("input_json_delta", partial_json="{"),
        delta("citations_delta", citation={"cited_text": "c"}), begin(type="tool_use", id="t", name="f", input={}),
        begin(type="redacted_thinking", data="d"), begin(type="server_tool_use", id="t", name="f", input={}), begin(type="text", text="a"),
        begin(type="compaction", content=None), end(),
    ],
)  # fmt: skip
def test_the_first_content_commits_and_releases_the_buffer(first: bytes) -> None:
    """Text, thinking, a tool call, a whole block or a clean end commits.

    No other target takes over.
    """
    inspector = DIALECT.inspect_stream(ask(stream=True))
    assert inspector.feed(start() + PING) == b""
    assert inspector.feed(EMPTY) == b""
    assert not inspector.committed
    assert inspector.feed(first) == start() + PING + EMPTY + first
    assert inspector.committed


@pytest.mark.parametrize(
    "frame",
    [
        PING, b": comment\n\n", b"\n", b"event: ping\n\n", start(), EMPTY, begin(type="thinking", thinking="", signature=""), done(), delta(text=""),
        delta("input_json_delta", partial_json=""), end(None), event("new_event", text="a"), b'data: {"type":"content_block_start"}\n\n',
        b'data: {"type":"content_block_start","content_block":{"type":7}}\n\n', b'data: {"type":"content_block_delta"}\n\n',
        b'data: {"type":"message_start"}\n\n', b'data: {"type":"message_start","message":{"model":7}}\n\n', b'data: {"type":"message_delta"}\n\n',
        b"data: {}\n\n", DONE, b'data: {"type":"content_block_delta","delta":{"text":"half',
    ],
)  # fmt: skip
def test_the_client_gets_nothing_before_content(frame: bytes) -> None:
    inspector = DIALECT.inspect_stream(ask(stream=True))
    assert inspector.feed(frame) == b""
    assert (inspector.committed, inspector.complete) == (False, False)


def test_a_whole_stream_passes_unchanged() -> None:
    out, inspector = run(WHOLE)
    assert out == WHOLE
    assert facts(inspector) == (True, True, Usage(input=5, output=9), "m-1", "end_turn", None)


def test_after_the_commit_point_every_frame_passes_at_once() -> None:
    inspector = DIALECT.inspect_stream(ask(stream=True))
    inspector.feed(start() + HELLO)
    for frame in (PING, HELLO, done(), b": c\n\n"):
        assert inspector.feed(frame) == frame
    assert inspector.feed(b"data: {") == b""
    assert inspector.feed(b"}\n\ndata:") == b"data: {}\n\n"


@given(st.integers(0, len(WHOLE) - 1))
def test_a_cut_stream_is_complete_only_with_message_stop(at: int) -> None:
    """Law 10: SDKs take a stream that just ends for complete, so the gateway must not."""
    out, inspector = run(WHOLE[:at])
    assert inspector.complete == (at >= len(WHOLE) - len(b"\n\n"))
    assert WHOLE.startswith(out)


def test_the_output_count_of_message_start_is_ignored() -> None:
    """The output count in message_start is about one token; its input count is exact."""
    _, inspector = run(start(cache_read_input_tokens=4) + HELLO)
    assert inspector.usage == Usage(input=5, cache_read=4)


def test_the_last_usage_report_counts_and_missing_counts_stay() -> None:
    """Counts are running totals and are not added up.

    Only the start has the lifetimes of cache writes.
    """
    head = start(cache_creation_input_tokens=7, cache_creation={"ephemeral_1h_input_tokens": 7})
    first = end(None, output_tokens=4, input_tokens=6)
    last = end(output_tokens=9, input_tokens=None, output_tokens_details={"thinking_tokens": 2})
    out, inspector = run(head + HELLO + first + last + STOP)
    assert out == head + HELLO + first + last + STOP
    assert inspector.usage == Usage(input=6, cache_write={"1h": 7}, output=7, reasoning=2)


def test_an_end_without_usage_or_reason_ends_nothing() -> None:
    """The gateway takes this for no end: it drops `message_stop`, and shows no empty answer."""
    bare = event("message_delta", usage=None, delta=None)
    out, inspector = run(start() + bare + STOP)
    assert (out, facts(inspector)) == (b"", (False, False, Usage(input=5), "m-1", None, None))


def test_a_host_may_leave_out_the_stop_reason() -> None:
    """For such hosts `message_stop` ends an answer that has content."""
    for content, whole in ((HELLO, True), (b"", False)):
        inspector = DIALECT.inspect_stream(ask(stream=True), finish_optional=True)
        out = inspector.feed(start() + content + STOP)
        assert out == (start() + content + STOP if whole else b"")
        assert (inspector.complete, inspector.finish) == (whole, "stop" if whole else None)


def test_a_foreign_done_frame_is_not_passed_on_and_ends_nothing() -> None:
    """OpenRouter adds `[DONE]`, and the official SDK raises at it."""
    assert run(WHOLE + DONE)[0] == WHOLE
    out, inspector = run(start() + HELLO + end() + DONE)
    assert out == start() + HELLO + end()
    assert not inspector.complete


@pytest.mark.parametrize("cut", [b"", b"\n", b"\n\n"])
def test_the_last_frame_may_lack_its_blank_line(cut: bytes) -> None:
    tail = WHOLE.removesuffix(b"\n\n") + cut
    out, inspector = run(tail)
    assert (out, inspector.complete) == (tail, True)
    assert run(WHOLE + b"data: [DONE]")[0] == WHOLE
    assert run(start() + HELLO + b"data: {broken")[0] == start() + HELLO


@pytest.mark.parametrize("head", [b"", start() + PING, start() + EMPTY])
def test_an_error_before_content_shows_the_client_nothing(head: bytes) -> None:
    """The gateway can still try another target."""
    out, inspector = run(head + ERROR + HELLO)
    assert out == b""
    assert (inspector.committed, inspector.problem.kind if inspector.problem else None) == (
        False,
        "upstream_overloaded",
    )


def test_an_error_after_content_is_the_last_frame_that_passes() -> None:
    out, inspector = run(start() + HELLO + ERROR + HELLO + STOP)
    assert out == start() + HELLO + ERROR
    assert not inspector.complete
    assert inspector.feed(STOP) == inspector.end() == b""


@pytest.mark.parametrize(
    "frame",
    [
        b'data: {"type":"error","error":{"type":"api_error"}}\n\n', b'event: x\ndata: {"error":{"message":"m"}}\n\n',
        b"event: error\ndata: down\n\n", b'event: error\ndata: {"message":"down"}\n\n',
    ],
)  # fmt: skip
def test_an_error_that_no_sdk_recognises_is_not_passed_on(frame: bytes) -> None:
    """The gateway sends it in a form that SDKs recognize."""
    out, inspector = run(start() + HELLO + b"\n" + frame)
    assert out == start() + HELLO + b"\n"
    assert inspector.problem is not None
    assert (inspector.problem.kind, inspector.problem.spent) == ("upstream_error", "maybe")


@pytest.mark.parametrize("frame", [b"data: {broken\n\n", b"data: []\n\n"])
def test_a_broken_frame_is_a_problem(frame: bytes) -> None:
    out, inspector = run(start() + frame)
    assert out == b""
    assert inspector.problem is not None
    assert inspector.problem.kind == "upstream_error"


@given(st.data())
def test_the_stream_is_the_same_wherever_reads_end(data: st.DataObject) -> None:
    """Reads may end in a CRLF, in a character, in an escape, or between the two line ends."""
    line = data.draw(st.sampled_from([b"\n", b"\r\n"]))
    text = data.draw(TEXT)
    middle = st.sampled_from(
        [
            delta(text=text), delta(text='"type":"error"'), delta(text="event: error"), delta(text='"error":'), PING, b": c\n\n", ERROR, DONE, STOP,
            EMPTY, done(), end(), end(None), begin(type="tool_use", id="t", name="f", input={}), delta("input_json_delta", partial_json='{"error": '),
            b'data: {"error": {broken\n\n', b'data: {"type":"error"}\n\n', b"\n", start(),
        ]
    )  # fmt: skip
    stream = b"".join([start(), *data.draw(st.lists(middle, max_size=6))]).replace(b"\n", line)
    stream = stream[: len(stream) - data.draw(st.integers(0, 3))]
    whole, inspector = run(stream)
    cuts = data.draw(
        st.lists(st.integers(0, len(stream)), max_size=8) | st.just(list(range(len(stream))))
    )
    parts, inspector_in_parts = run(stream, *cuts)
    assert parts == whole
    assert facts(inspector_in_parts) == facts(inspector)


def test_a_frame_with_broken_json_ends_the_answer() -> None:
    """After the commit point too, the gateway drops the frame and keeps everything before it."""
    broken = b'event: content_block_delta\ndata: {"type":"content_block_delta",\n\n'
    before = start() + HELLO
    for cuts in ((), (len(before),), (len(before), len(before + broken))):
        out, inspector = run(before + broken + end() + STOP, *cuts)
        assert out == before
        assert inspector.problem is not None
        assert not inspector.complete


def test_a_start_without_usage_has_unknown_usage() -> None:
    """Hosts that follow the format may leave members out."""
    bare = event("message_delta", delta={"stop_reason": "end_turn"})
    out, inspector = run(
        b'event: message_start\ndata: {"type":"message_start","message":{"model":1}}\n\n'
        b'event: message_start\ndata: {"type":"message_start","message":7}\n\n'
        + HELLO + bare + STOP
    )  # fmt: skip
    assert out.endswith(STOP)
    assert (inspector.usage, inspector.served_model) == (None, None)


def test_text_that_looks_like_an_end_stays_text() -> None:
    """The gateway reads a frame that its search finds, and passes it on if it means nothing."""
    piece = delta(text="[DONE]") + delta(text="event: error")
    stream = start() + HELLO + piece + end() + STOP
    out, inspector = run(stream, len(start() + HELLO))
    assert out == stream
    assert inspector.complete


def test_a_delta_without_usage_and_reason_completes_nothing() -> None:
    """Usage and stop reason may be missing; a start's model may not be text."""
    bare = b'event: message_delta\ndata: {"type":"message_delta"}\n\n'
    out, inspector = run(start() + HELLO + bare + STOP)
    assert out.endswith(bare)
    assert (inspector.finish, inspector.complete) == (None, False)


MODULE = "gateway.dialects.anthropic_messages.stream"
SEARCH: Object = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}
SEARCH_RESULT: Object = {
    "type": "web_search_tool_result",
    "tool_use_id": "s",
    "content": [{"title": "t"}],
}
LATE = event("error", error={"type": "api_error"}, usage={"output_tokens": 12})
STREAMS = (
    WHOLE,
    WHOLE + DONE,
    WHOLE.replace(b"\n", b"\r\n"),
    start() + HELLO + PING + end(None) + end("max_tokens") + end() + STOP,
    start() + begin(type="thinking", thinking="") + delta("thinking_delta", thinking="h\u00e9")
    + delta("signature_delta", signature="s") + done() + end() + STOP,
    start() + begin(type="tool_use", id="t", name="f", input={})
    + delta("input_json_delta", partial_json='{"error": "usage"}') + done() + end("tool_use") + STOP,
    start() + begin(**SEARCH) + delta("input_json_delta", partial_json='{"q":1}') + done()
    + begin(1, **SEARCH_RESULT) + done(1) + begin(2, type="compaction", content=None)
    + delta("compaction_delta", 2, content="all") + done(2) + end() + STOP,
    start() + HELLO + STOP + end() + STOP,
    start() + HELLO + event("new_event", usage={"output_tokens": 1}) + start() + end() + STOP,
    start() + HELLO + ERROR + STOP,
    start() + HELLO + LATE,
    start() + LATE,
    start() + end() + LATE,
    start() + HELLO + b"data: {broken\n\n" + STOP,
    HELLO + HELLO.replace(b'"type": "content_block_delta", ', b"") + STOP,
)  # fmt: skip
"""Streams of all kinds."""


def list_facts(inspector: StreamInspector) -> tuple[object, ...]:
    return *facts(inspector), inspector.response_id, inspector.content_bytes


@pytest.mark.parametrize("stream", STREAMS)
def test_the_quick_reader_finds_the_same_facts_as_the_full_reader(
    stream: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the commit point the inspector reads few members of most frames."""
    cuts = [at + 2 for at in range(len(stream)) if stream.startswith(b"\n\n", at)]
    out, quick = run(stream, *cuts)
    monkeypatch.setattr(f"{MODULE}._CONTENT_EVENTS", frozenset())
    full_out, full = run(stream, *cuts)
    assert (out, list_facts(quick)) == (full_out, list_facts(full))


@pytest.mark.parametrize("stream", STREAMS)
def test_a_translated_stream_has_the_facts_of_the_native_one(stream: bytes) -> None:
    """The ledger gets the same facts for clients of every dialect."""
    _, native = run(stream)
    request = TRANSLATION.decode_request(ask())
    context = ResponseContext(id="0", created_at=0, model="m")
    translated = Translation(OPENAI_CHAT, DIALECT, request, context).inspect_stream(ask())
    translated.feed(stream)
    translated.end()
    if STOP + end() not in stream:  # the decoder reads nothing after a message_stop
        assert list_facts(translated) == list_facts(native)


def test_a_frame_without_a_type_is_read_by_its_event_name() -> None:
    bare = HELLO.replace(b'"type": "content_block_delta", ', b"")
    assert bare != HELLO
    inspector = DIALECT.inspect_stream(ask(stream=True))
    assert inspector.feed(start() + bare) == start() + bare
    assert (inspector.committed, inspector.content_bytes) == (True, 5)


def test_a_later_start_without_names_keeps_the_earlier_ones() -> None:
    second = event("message_start", message={"usage": {"output_tokens": 1}})
    _, inspector = run(start() + HELLO + second + end() + STOP)
    assert (inspector.served_model, inspector.response_id) == ("m-1", "msg_1")
