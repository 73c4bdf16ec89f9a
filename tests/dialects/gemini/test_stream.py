"""Native streams keep their bytes, send nothing before content, and never end early as complete."""

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.core import jsonio
from gateway.core.usage import Usage
from gateway.dialects import stream_commit, stream_frames
from gateway.dialects.base import StreamInspector
from gateway.dialects.gemini import DIALECT
from tests.dialects.cases import TEXT, facts, pieces
from tests.dialects.full_reads import read_all_frames_in_full
from tests.dialects.gemini.cases import (
    HELLO,
    LAST,
    STREAM,
    USED,
    WHOLE,
    ask,
    candidate,
    chunk,
    frame,
    stream,
    text,
)

EMPTY = chunk(candidate(text("")))
BLOCKED = {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 5, "totalTokenCount": 5}}  # fmt: skip
ERROR = {"error": {"code": 503, "message": "m", "status": "UNAVAILABLE"}}


def run(data: bytes, *cuts: int, n: int = 1) -> tuple[bytes, StreamInspector]:
    inspector = DIALECT.inspect_stream(ask(STREAM, generationConfig={"candidateCount": n}))
    out = [inspector.feed(piece) for piece in pieces(data, cuts)]
    return b"".join([*out, inspector.end()]), inspector


@pytest.mark.parametrize(
    "first",
    [
        HELLO, chunk(candidate(text("hm", thought=True))), chunk(candidate({"functionCall": {"name": "f"}})), chunk(candidate({"inlineData": {"data": "a"}})),
        chunk(candidate(text("", thoughtSignature="s"))), chunk(candidate(finish="STOP")), BLOCKED,
    ],
)  # fmt: skip
def test_the_first_content_commits_and_releases_the_buffer(first: Any) -> None:
    inspector = DIALECT.inspect_stream(ask(STREAM))
    assert inspector.feed(frame(EMPTY)) == b""
    assert not inspector.committed
    assert inspector.feed(frame(first)) == frame(EMPTY) + frame(first)
    assert inspector.committed


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n", b": comment\n\n", frame(chunk()), frame(chunk(candidate())), frame(chunk(candidate(text("", thought=True)))),
        frame({"candidates": [7]}), frame({"candidates": [{"content": 7}]}), frame({"modelVersion": 7, "usageMetadata": 7}), b'data: {"candidates": [{"content',
    ],
)  # fmt: skip
def test_the_client_gets_nothing_before_content(data: bytes) -> None:
    inspector = DIALECT.inspect_stream(ask(STREAM))
    assert inspector.feed(data) == b""
    assert (inspector.committed, inspector.complete) == (False, False)


def test_a_whole_stream_passes_unchanged() -> None:
    out, inspector = run(WHOLE)
    assert out == WHOLE
    assert facts(inspector) == (True, True, Usage(input=5, output=2), "m-1", "STOP", None)


@given(st.lists(st.integers(0, len(WHOLE)), max_size=8))
def test_a_stream_passes_the_same_wherever_reads_end(cuts: list[int]) -> None:
    out, inspector = run(WHOLE, *sorted(cuts))
    assert (out, facts(inspector)) == (WHOLE, facts(run(WHOLE)[1]))


@given(TEXT)
def test_any_text_passes_unchanged(words: str) -> None:
    data = stream(HELLO, chunk(candidate(text(words))), LAST)
    out, inspector = run(data)
    assert (out, inspector.complete) == (data, True)


@pytest.mark.parametrize("odd", [b'{"not json', b'{"text": "half', b"<html>", b'{"text": "a"}}'])
def test_a_frame_with_broken_json_ends_the_answer(odd: bytes) -> None:
    """Behind content too, the gateway drops the frame and keeps everything before it."""
    broken = b"data: %b\r\n\r\n" % odd
    for cuts in ((), (len(stream(HELLO)),)):
        out, inspector = run(stream(HELLO) + broken + stream(LAST), *cuts)
        assert out == stream(HELLO)
        assert inspector.problem is not None
        assert not inspector.complete


@pytest.mark.parametrize("at", range(1, len(WHOLE)))
def test_a_cut_stream_is_never_complete(at: int) -> None:
    """Law 10: this holds for every byte outside the last blank line."""
    _, inspector = run(WHOLE[:at])
    assert inspector.complete == (at >= len(WHOLE) - 4)


def test_half_a_frame_after_the_end_leaves_the_stream_open() -> None:
    out, inspector = run(WHOLE + b'data: {"candidates"')
    assert (out, inspector.complete) == (WHOLE, False)


def test_a_finish_followed_by_content_completes_nothing() -> None:
    """A recorded Gemini stream has STOP in its middle, and again at its end."""
    middle = chunk(candidate(text("a"), finish="STOP"))
    more = chunk(candidate(text("b")))
    assert not run(stream(middle, more))[1].complete
    assert run(stream(middle, more, LAST))[1].complete
    used = chunk(candidate(), usageMetadata=USED)
    assert run(stream(middle, used))[1].usage == Usage(input=5, output=2)
    assert run(stream(middle, used))[1].complete


def test_every_candidate_must_finish() -> None:
    first = chunk(candidate(text("a"), finish="STOP"), candidate(text("b"), index=1))
    second = chunk(candidate(text("c"), finish="MAX_TOKENS", index=1))
    assert not run(stream(first), n=2)[1].complete
    assert not run(stream(first))[1].complete
    assert run(stream(first, second), n=2)[1].complete


def test_a_blocked_prompt_is_a_complete_answer() -> None:
    out, inspector = run(stream(BLOCKED))
    assert out == stream(BLOCKED)
    assert facts(inspector) == (True, True, Usage(input=5, output=0), None, "SAFETY", None)


def test_an_error_before_content_is_not_passed_on() -> None:
    out, inspector = run(stream(EMPTY, ERROR))
    assert (out, inspector.problem is not None, inspector.complete) == (b"", True, False)


@pytest.mark.parametrize(
    ("error", "passed"),
    [(ERROR, True), ([ERROR], False), ({"responseId": "r", **ERROR}, False)],
)
def test_an_error_after_content_passes_only_if_an_sdk_recognises_it(
    error: Any, passed: bool
) -> None:
    out, inspector = run(stream(HELLO) + frame(error) + stream(LAST))
    assert out == stream(HELLO) + (frame(error) if passed else b"")
    assert inspector.problem is not None
    assert (inspector.problem.kind, inspector.complete) == ("upstream_overloaded", False)


@pytest.mark.parametrize(
    "data", [b"data: [DONE]\n\n", b'data: "usageMetadata"\n\n', b"data: []\n\n"]
)
def test_a_frame_that_is_no_chunk_is_a_problem(data: bytes) -> None:
    out, inspector = run(data)
    assert (out, facts(inspector)[-1]) == (b"", "upstream_error")


def test_a_frame_without_an_end_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_commit, "MAX_FRAME_BYTES", 10)
    assert run(b"data: {" + b"a" * 20)[1].problem is not None


def test_the_last_frame_may_lack_its_blank_line() -> None:
    data = stream(HELLO) + frame(LAST, "")
    out, inspector = run(data)
    assert (out, inspector.complete) == (data, True)


def make_usage_chunk(prompt: Any, **more: Any) -> dict[str, Any]:
    """Make a chunk of content that reports usage."""
    return chunk(candidate(text("a")), usageMetadata={"promptTokenCount": prompt}, **more)


def test_the_last_usage_report_counts_however_often_it_is_read() -> None:
    """Counts are cumulative: the last one stands, after one read or many."""
    inspector = DIALECT.inspect_stream(ask(STREAM))
    inspector.feed(stream(make_usage_chunk(1), make_usage_chunk(2)))
    assert inspector.usage == Usage(input=2)
    for count in (3, 4):
        inspector.feed(frame(make_usage_chunk(count)))
    assert [inspector.usage, inspector.usage] == [Usage(input=4)] * 2
    inspector.feed(stream(make_usage_chunk(5), make_usage_chunk(6)))
    assert inspector.usage == Usage(input=6)
    inspector.feed(frame(make_usage_chunk(7)))
    inspector.feed(frame(chunk(candidate(text("b")))))
    assert inspector.usage == Usage(input=7)
    inspector.feed(stream(make_usage_chunk(8), LAST))
    assert (inspector.usage, inspector.complete) == (Usage(input=5, output=2), True)


def test_usage_is_parsed_only_when_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    inspector = DIALECT.inspect_stream(ask(STREAM))
    inspector.feed(frame(make_usage_chunk(1)))
    payloads: list[bytes] = []
    loads = jsonio.loads

    def record_and_load(data: bytes) -> Any:
        payloads.append(data)
        return loads(data)

    monkeypatch.setattr(jsonio, "loads", record_and_load)
    for count in range(2, 9):
        assert inspector.feed(frame(make_usage_chunk(count))) == frame(make_usage_chunk(count))
    assert payloads == []
    assert [inspector.usage, inspector.usage, len(payloads)] == [Usage(input=8), Usage(input=8), 1]


@pytest.mark.parametrize(
    "chunk_",
    [
        make_usage_chunk("x"), make_usage_chunk(-1), make_usage_chunk(2**50), make_usage_chunk(1e30), chunk(candidate(text("a")), usageMetadata={"totalTokenCount": 7}), chunk(candidate(text("a")), usageMetadata=None),
        chunk(candidate(text('"usageMetadata": {"promptTokenCount": 9}'))),
        chunk(candidate({"functionCall": {"name": "f", "args": {"usageMetadata": {"promptTokenCount": 9}}}})),
    ],
)  # fmt: skip
def test_a_report_without_counts_keeps_the_earlier_usage(chunk_: Any) -> None:
    assert run(stream(make_usage_chunk(1), make_usage_chunk(2), chunk_))[1].usage == Usage(input=2)
    inspector = DIALECT.inspect_stream(ask(STREAM))
    for value in (make_usage_chunk(1), make_usage_chunk(2), chunk_):
        inspector.feed(frame(value))
    assert inspector.usage == Usage(input=2)


def test_usage_in_a_comment_does_not_count() -> None:
    comment = b': "usageMetadata": {"promptTokenCount": 9}\n\n'
    out, inspector = run(frame(make_usage_chunk(1)) + comment)
    assert (out, inspector.usage, inspector.problem) == (
        frame(make_usage_chunk(1)) + comment,
        Usage(input=1),
        None,
    )


def test_a_list_inside_a_stream_is_a_broken_frame() -> None:
    inspector = DIALECT.inspect_stream(ask(STREAM))
    inspector.feed(frame(make_usage_chunk(1)))
    out = inspector.feed(
        frame(make_usage_chunk(2)) + frame([{"usageMetadata": {"promptTokenCount": 9}}])
    )
    assert out == frame(make_usage_chunk(2))
    assert inspector.usage == Usage(input=2)
    assert inspector.problem == stream_frames.make_broken_problem()


def test_a_model_named_in_a_later_chunk_is_the_served_model() -> None:
    first, late = make_usage_chunk(1), make_usage_chunk(2)
    del first["modelVersion"]
    _, inspector = run(stream(first, late))
    assert (inspector.served_model, inspector.usage) == ("m-1", Usage(input=2))


def test_a_blocked_prompt_followed_by_content_has_no_output() -> None:
    """Gemini counts no more after the refusal, and the total has no output."""
    more = chunk(candidate(text("a")), usageMetadata={"promptTokenCount": 6, "totalTokenCount": 6})
    assert run(stream(BLOCKED, more))[1].usage == Usage(input=6, output=0)
    assert run(stream(HELLO, BLOCKED, more))[1].usage == Usage(input=6, output=0)


@pytest.mark.parametrize("more", [{}, {"usageMetadata": USED}])
@pytest.mark.parametrize(("first", "other"), [(0, 1), (1, 2)])
def test_an_unrequested_candidate_must_finish_too(first: int, other: int, more: Any) -> None:
    chunk_ = chunk(candidate(text("a"), index=first), **more)
    other_chunk = chunk(candidate(text("b"), index=other), **more)
    ends = [chunk(candidate(finish="STOP", index=at)) for at in (first, other)]
    assert not run(stream(chunk_, other_chunk, ends[0]))[1].complete
    assert run(stream(chunk_, other_chunk, *ends))[1].complete


def test_the_first_candidate_counts_although_another_began() -> None:
    first = chunk(candidate(text("a"), index=1), usageMetadata=USED)
    second = chunk(candidate(text("b")), usageMetadata=USED)
    end = chunk(candidate(finish="STOP", index=1))
    assert not run(stream(first, second, end))[1].complete


SEARCH: Any = {"groundingMetadata": {"webSearchQueries": ["q"]}}
CHUNKS: list[Any] = [
    HELLO, LAST, EMPTY, BLOCKED, make_usage_chunk(1), make_usage_chunk(2), make_usage_chunk(3, responseId="r2"), ERROR, chunk(candidate(text("b"))), chunk(candidate(text("é"), **SEARCH)),
    chunk(candidate(text("b"), index=1), usageMetadata=USED), chunk(candidate(finish="MAX_TOKENS", index=1)), chunk(usageMetadata={"totalTokenCount": 7}),
    chunk(candidate({"functionCall": {"name": "f", "args": {"a": 1}}}), usageMetadata=USED), {**ERROR, "usageMetadata": USED}, {"usageMetadata": USED}, [ERROR],
    chunk(candidate(text("hm", thought=True), finish="STOP"), usageMetadata={**USED, "thoughtsTokenCount": 4, "serviceTier": "priority"}),
]  # fmt: skip


@example([BLOCKED, EMPTY], 1)
@given(st.lists(st.sampled_from(CHUNKS), max_size=7), st.integers(1, 2))
def test_the_quick_reader_finds_the_same_facts_as_the_full_reader(
    chunks: list[Any], n: int
) -> None:
    data = stream(*chunks)
    ends = [len(stream(*chunks[:at])) for at in range(1, len(chunks))]
    out, inspector = run(data, *ends, n=n)
    with pytest.MonkeyPatch.context() as patch:
        read_all_frames_in_full(patch, inspector)
        full_out, full = run(data, *ends, n=n)
    assert (out, facts(inspector)) == (full_out, facts(full))
    assert (inspector.content_bytes, inspector.response_id) == (
        full.content_bytes,
        full.response_id,
    )


def test_usage_beside_an_error_counts() -> None:
    """Google bills what it counted before the error, also if another target then answers."""
    failed = {**ERROR, "usageMetadata": USED, "modelVersion": "m-1", "responseId": "r1"}
    for data in (frame(failed), stream(HELLO, failed)):
        _, inspector = run(data)
        assert (inspector.usage, inspector.complete) == (Usage(input=5, output=2), False)
        assert (inspector.served_model, inspector.response_id) == ("m-1", "r1")
    assert not run(frame({**LAST, **ERROR}))[1].committed


def test_unread_usage_survives_a_chunk_with_tools() -> None:
    inspector = DIALECT.inspect_stream(ask(STREAM))
    for value in (make_usage_chunk(1), make_usage_chunk(2), chunk(candidate(text("a"), **SEARCH))):
        inspector.feed(frame(value))
    assert inspector.usage == Usage(input=2, tools={"grounding": 1, "web_search": 1})


def test_a_smaller_usage_report_keeps_the_larger_one() -> None:
    inspector = DIALECT.inspect_stream(ask(STREAM))
    counted = chunk(candidate(text("a")), usageMetadata=USED)
    for value in (make_usage_chunk(1), counted, make_usage_chunk(5), make_usage_chunk(6)):
        inspector.feed(frame(value))
    assert inspector.usage == Usage(input=6, output=2)


def test_content_after_a_finish_removes_the_finish() -> None:
    middle, more = chunk(candidate(text("a"), finish="STOP")), chunk(candidate(text("b")))
    assert run(stream(middle))[1].finish == "STOP"
    assert run(stream(middle, more))[1].finish is None
