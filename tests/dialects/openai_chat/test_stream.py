"""Native streams keep their bytes, send nothing before content, and never end early as complete."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.usage import Usage
from gateway.dialects import OPENAI_CHAT, StreamInspector, WrittenBody, stream_commit
from tests.dialects.cases import TEXT, Object, ask, chunk, facts, make_usage_chunk, pieces, sse

COUNTED = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
USED = Usage(input=5, output=2)
ROLE = chunk({"role": "assistant", "content": ""})
DONE = b"data: [DONE]\n\n"


def start(*, usage: bool = False, n: int = 1) -> StreamInspector:
    """Begin a stream for a client that asks for usage, or else for the gateway, which then asks."""
    written = WrittenBody(b"", asks_usage=not usage)
    return OPENAI_CHAT.inspect_stream(ask(stream=True, usage=usage, n=n), written)


def run(data: bytes, *cuts: int, usage: bool = False, n: int = 1) -> tuple[bytes, StreamInspector]:
    """Return the bytes that a client gets of a stream that is read in pieces."""
    inspector = start(usage=usage, n=n)
    sent = [inspector.feed(piece) for piece in pieces(data, cuts)]
    return b"".join([*sent, inspector.end()]), inspector


CONTENT = [
    {"content": "a"}, {"content": [{"type": "thinking", "thinking": []}]}, {"reasoning_content": "a"}, {"reasoning": "a"},
    {"reasoning_text": "a"}, {"refusal": "a"}, {"tool_calls": [{"index": 0}]}, {"function_call": {"name": "f"}},
    {"audio": {"id": "a"}}, {"reasoning_details": [{"type": "reasoning.encrypted"}]},
]  # fmt: skip


@pytest.mark.parametrize("delta", CONTENT)
def test_the_first_content_commits_and_releases_the_buffer(delta: Object) -> None:
    """Text, reasoning, a tool call or a refusal commits: no other target can take over."""
    inspector = start()
    head = b": OPENROUTER PROCESSING\n\n" + sse(ROLE, done=False)
    assert inspector.feed(head) == b""
    assert not inspector.committed
    first = sse(chunk(delta), done=False)
    assert inspector.feed(first) == head + first
    assert inspector.committed


@pytest.mark.parametrize(
    "frame",
    [
        b": ping\n\n", b"event: ping\n\n", b"\n", sse(ROLE, done=False), sse(chunk({}), done=False), sse(chunk({"content": None}), done=False),
        sse(chunk({"content": "", "tool_calls": [], "reasoning": None}), done=False), b'data: {"choices":null}\n\n', b"data: {}\n\n",
        b'data: {"choices":[],"prompt_filter_results":[]}\n\n', b'data: {"choices":[7,{"delta":7}]}\n\n', b"data:\n\n",
        b'data: {"choices":[{"delta":{"content":"half',
    ],
)  # fmt: skip
def test_the_client_gets_nothing_before_content(frame: bytes) -> None:
    """The gateway holds back role chunks, comments, pings, empty deltas and unfinished frames."""
    inspector = start()
    assert inspector.feed(frame) == b""
    assert not inspector.committed
    assert not inspector.complete


def test_a_clean_end_commits_an_empty_answer() -> None:
    inspector, end = start(), sse(chunk(finish="stop"), done=False)
    assert inspector.feed(sse(ROLE, done=False)) == b""
    assert inspector.feed(end) == sse(ROLE, done=False) + end
    assert inspector.complete


def test_a_done_frame_alone_is_no_answer() -> None:
    """The gateway may then try another target."""
    inspector = start()
    assert inspector.feed(sse(ROLE)) == b""
    assert (inspector.committed, inspector.complete) == (False, False)


def test_after_the_commit_point_every_frame_passes_at_once() -> None:
    """The inspector passes each read on at once, except an unfinished frame."""
    inspector = start()
    inspector.feed(sse(chunk({"content": "a"}), done=False))
    for frame in (b": ping\n\n", sse(chunk({"content": "b"}), done=False), b"data: {}\n\n"):
        assert inspector.feed(frame) == frame
    assert inspector.feed(b"data: {") == b""
    assert inspector.feed(b"}\n\ndata:") == b"data: {}\n\n"


def test_only_content_releases_the_buffer() -> None:
    """The inspector sets no limit; its caller does."""
    inspector = start()
    frame = b": " + b"x" * 1000 + b"\n\n"
    assert b"".join([inspector.feed(frame) for _ in range(1100)]) == b""
    assert not inspector.committed
    hello = sse(chunk({"content": "a"}), done=False)
    assert inspector.feed(hello) == frame * 1100 + hello


@given(st.data())
def test_the_stream_is_the_same_wherever_reads_end(data: st.DataObject) -> None:
    """Reads may end in a CRLF, in a character, in an escape, or between the two line ends."""
    some = st.sampled_from
    end = data.draw(some([b"\n", b"\r\n"]))
    text = data.draw(TEXT)
    middle = some(
        [
            sse(chunk({"content": text}), done=False), sse(chunk({"content": '"usage": {'}), done=False),
            sse(chunk({"content": "[DONE]"}, index=1), done=False), sse(make_usage_chunk(COUNTED), done=False), b": ping\n\n",
            sse(chunk({}, finish="stop", usage=COUNTED), done=False), sse(chunk({}, finish="stop", index=1), done=False),
            b"event: error\n" + sse({"error": {"code": 502}}, done=False), b'data: {"object":"error","message":"m"}\n\n',
            b'data: {"usage": {broken\n\n', b"data: {broken\n\n", 'data: {"x":"\u2028\u4e16"}\n\n'.encode(), b"\n", DONE,
        ]
    )  # fmt: skip
    frames = data.draw(st.lists(middle, max_size=6))
    start_with = data.draw(
        some([b"", sse(ROLE, done=False), sse(chunk({"content": "a"}), done=False)])
    )
    stream = b"".join([start_with, *frames]).replace(b"\n", end)
    stream = stream[: len(stream) - data.draw(st.integers(0, 3))]
    usage, n = data.draw(st.booleans()), data.draw(st.integers(1, 2))
    whole, inspector = run(stream, usage=usage, n=n)
    cuts = data.draw(
        st.lists(st.integers(0, len(stream)), max_size=8) | st.just(list(range(len(stream))))
    )
    parts, inspector_in_parts = run(stream, *cuts, usage=usage, n=n)
    assert parts == whole
    assert facts(inspector_in_parts) == facts(inspector)


@given(st.lists(TEXT, max_size=4), st.booleans(), st.booleans(), st.data())
def test_only_usage_that_the_client_did_not_ask_for_is_removed(
    texts: list[str], separate: bool, has_usage: bool, data: st.DataObject
) -> None:
    contents = [chunk({"content": text}) for text in texts]
    last = (
        [chunk(finish="stop"), make_usage_chunk(COUNTED)]
        if separate
        else [chunk(finish="stop", usage=COUNTED)]
    )
    stream = sse(ROLE, *contents, *last)
    sent, inspector = run(stream, data.draw(st.integers(0, len(stream))), usage=has_usage)
    hidden = sse(ROLE, *contents, chunk(finish="stop"))
    assert sent == (hidden if separate and not has_usage else stream)
    assert facts(inspector) == (True, True, USED, "m-1", "stop", None)


def test_usage_that_a_host_sends_unasked_passes() -> None:
    """Together sends usage although neither the client nor the gateway asked for it."""
    stream = sse(ROLE, chunk({"content": "a"}), chunk(finish="stop"), make_usage_chunk(COUNTED))
    inspector = OPENAI_CHAT.inspect_stream(ask(stream=True))
    assert inspector.feed(stream) == stream
    assert inspector.usage == USED


def test_the_last_usage_report_counts() -> None:
    """Hosts send running totals, which do not add up.

    They are vLLM (continuous_usage_stats), Perplexity and OpenRouter.
    """
    early = {"prompt_tokens": 5, "completion_tokens": 1}
    stream = sse(
        chunk({"content": "a"}, usage=early),
        chunk(finish="stop", usage=COUNTED),
        make_usage_chunk({}),
    )
    sent, inspector = run(stream)
    assert (sent, inspector.usage) == (stream, USED)


def test_the_first_named_model_is_the_served_model() -> None:
    """Azure's first chunk names no model."""
    filtered = {"choices": [], "model": "", "prompt_filter_results": []}
    _, inspector = run(sse(filtered, chunk({"content": "a"}), chunk(finish="stop", model="m-2")))
    assert inspector.served_model == "m-1"


ENDED = sse(ROLE, chunk({"content": "a"}), chunk(finish="stop"), make_usage_chunk(COUNTED))


@given(st.integers(0, len(ENDED) - 1))
def test_a_cut_stream_is_complete_only_with_its_finish(at: int) -> None:
    """Law 10: hosts may leave out `[DONE]`, so the finish of the choice is an end, and no less."""
    _, inspector = run(ENDED[:at])
    finished = ENDED.index(b'"finish_reason": "stop"') + len(b'"finish_reason": "stop"}], "x')
    assert not (inspector.complete and at < finished - 4)
    assert inspector.complete == (inspector.finish == "stop")


@pytest.mark.parametrize(
    "tail", [b"data: [DONE]", b"data: [DONE]\n", b"data:[DONE]\r\n\r\n", b"data: [DONE] \n\n"]
)
def test_the_last_frame_may_lack_its_blank_line(tail: bytes) -> None:
    """The official SDKs accept such a frame too: they look at the start of the line."""
    stream = sse(chunk({"content": "a"}), chunk(finish="stop"), done=False) + tail
    sent, inspector = run(stream)
    assert sent == stream
    assert inspector.complete
    assert inspector.problem is None


def test_a_done_frame_without_a_finish_ends_nothing() -> None:
    """The client does not get `[DONE]`: an SDK would take the answer for complete."""
    sent, inspector = run(sse(ROLE, chunk({"content": "a"})))
    assert sent == sse(ROLE, chunk({"content": "a"}), done=False)
    assert (inspector.complete, inspector.finish, inspector.problem) == (False, None, None)


def test_a_host_may_leave_out_the_finish() -> None:
    """For such hosts `[DONE]` ends an answer that has content."""
    for content, whole in ((chunk({"content": "a"}), True), (chunk({}), False)):
        inspector = OPENAI_CHAT.inspect_stream(ask(stream=True), finish_optional=True)
        sent = inspector.feed(sse(ROLE, content))
        assert sent == (sse(ROLE, content) if whole else b"")
        assert (inspector.complete, inspector.finish) == (whole, "stop" if whole else None)


@pytest.mark.parametrize("frame", [
    chunk({"content": "b"}, finish="error"),
    {"choices": [{"index": 0, "delta": {}, "error": {"code": 502}, "finish_reason": None}]},
])  # fmt: skip
def test_an_error_that_no_sdk_recognises_is_not_passed_on(frame: Object) -> None:
    """The relay sends the error in the client's own shape."""
    sent, inspector = run(sse(ROLE, chunk({"content": "a"}), frame))
    assert sent == sse(ROLE, chunk({"content": "a"}), done=False)
    assert inspector.problem is not None
    assert (inspector.problem.kind, inspector.complete) == ("upstream_error", False)


def test_every_choice_must_finish() -> None:
    """A choice that never began counts too."""
    first = sse(chunk({"content": "a"}), chunk(finish="stop"), done=False)
    second = sse(chunk({"content": "b"}, index=1), done=False)
    assert not run(first, n=2)[1].complete
    assert not run(first + second, n=2)[1].complete
    assert not run(second + first)[1].complete
    both = first + second + sse(chunk(index=1, finish="length"), done=False)
    sent, inspector = run(both, n=2)
    assert (sent, inspector.complete) == (both, True)
    assert run(first + DONE, n=2)[1].complete


ERROR = b'event: error\ndata: {"error":{"message":"down","code":502}}\n\n'


@pytest.mark.parametrize(
    "error",
    [
        ERROR, b'data: {"error":"down"}\n\n', b'data: {"choices":[],"error":{"code":429}}\n\n',
        b'data: {"error": {"code": 502}, "choices":[{"index":0,"delta":{"content":""},"finish_reason":"error"}]}\n\n',
    ],
)  # fmt: skip
def test_an_error_before_content_shows_the_client_nothing(error: bytes) -> None:
    """The gateway can still try another target."""
    for read in (sse(ROLE, done=False) + error + DONE, error):
        sent, inspector = run(read)
        assert sent == b""
        assert not inspector.committed
        assert not inspector.complete
        assert inspector.problem is not None


@pytest.mark.parametrize(
    "error",
    [
        ERROR, b'data: {"error":"down"}\n\n',
        b'data: {"error": {"code": 502}, "choices":[{"index":0,"delta":{"content":""},"finish_reason":"error"}]}\n\n',
    ],
)  # fmt: skip
def test_an_error_after_content_is_the_last_frame_that_passes(error: bytes) -> None:
    """The client's SDK raises at it. An end that follows must not make it an answer."""
    before = sse(ROLE, chunk({"content": "a"}), done=False)
    sent, inspector = run(before + error + sse(chunk(finish="stop")))
    assert sent == before + error
    assert (inspector.committed, inspector.complete) == (True, False)
    assert inspector.problem is not None
    assert inspector.feed(DONE) == b""


@pytest.mark.parametrize(
    "frame",
    [
        b'data: {"usage": {"prompt_tokens": 5\n\n', b'data: [{"error": {}}]\n\n', b'data: "error": 1\n\n',
        b'data: {"object":"error","message":"down","code":502}\n\n',
    ],
)  # fmt: skip
@pytest.mark.parametrize("content", [b"", sse(chunk({"content": "a"}), done=False)])
def test_a_frame_that_is_no_chunk_is_an_error_and_is_not_passed_on(
    content: bytes, frame: bytes
) -> None:
    """SDKs would fail to read it or take it for a chunk: the gateway sends its own error frame."""
    sent, inspector = run(content + frame + DONE)
    assert sent == content
    assert inspector.problem is not None
    assert inspector.problem.kind == "upstream_error"
    assert not inspector.complete


def test_text_that_looks_like_protocol_stays_text() -> None:
    """A model may write about this very format."""
    texts = [
        '"usage": {"prompt_tokens": 9}',
        '"finish_reason": "stop"',
        '{"error": {"code": 500}}',
        "data: [DONE]",
    ]
    stream = sse(*[chunk({"content": text}) for text in ["a", *texts]], done=False)
    sent, inspector = run(stream)
    assert sent == stream
    assert facts(inspector) == (True, False, None, "m-1", None, None)


def test_every_frame_keeps_all_its_bytes() -> None:
    """Spacing, key order, escapes, other fields and U+2028 inside strings stay."""
    frames = [
        b"id: 1\nretry: 5\nevent: x\n" + b'data:{"choices" : [ {"delta":{"content":"\\u00e9\\ud83d\\ude00 1.50"} } ] , "n":1.50}\n\n',
        'data: {"choices":[{"index":0,"delta":{"content":"\u2028\u0085"}}]}\r\n\r\n'.encode(),
        b'data: {"choices":\ndata: []}\n\n',
        b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n',
        DONE,
    ]  # fmt: skip
    sent, _ = run(b"".join(frames))
    assert sent == b"".join(frames)


def test_usage_in_a_chunk_with_choices_is_never_removed() -> None:
    """The gateway's own request for usage added only the separate chunk."""
    stream = sse(
        chunk({"content": "a"}, finish="stop", usage=COUNTED),
        json.dumps(make_usage_chunk(COUNTED)).join(["data: ", "\n\n"]).encode(),
    )
    sent, _ = run(stream)
    assert sent == sse(chunk({"content": "a"}, finish="stop", usage=COUNTED))


def test_a_frame_that_never_ends_fails_at_the_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The inspector limits the buffered bytes of a frame."""
    monkeypatch.setattr(stream_commit, "MAX_FRAME_BYTES", 64)
    inspector = start()
    assert inspector.feed(b'data: {"choices":[' + b" " * 64) == b""
    assert inspector.problem is not None
    assert not inspector.complete
