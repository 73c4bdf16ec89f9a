"""Native streams keep their bytes, send nothing before content, and never end early as complete."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core import jsonio
from gateway.core.usage import Usage
from gateway.dialects import stream_commit, stream_frames
from gateway.dialects.base import StreamInspector
from gateway.dialects.gemini import DIALECT
from tests.dialects.cases import TEXT, pieces
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
    watch = DIALECT.inspect_stream(ask(STREAM, generationConfig={"candidateCount": n}))
    out = [watch.feed(piece) for piece in pieces(data, cuts)]
    return b"".join([*out, watch.end()]), watch


def facts(watch: StreamInspector) -> tuple[object, ...]:
    kind = watch.problem.kind if watch.problem is not None else None
    return watch.committed, watch.complete, watch.usage, watch.served_model, watch.finish, kind


@pytest.mark.parametrize(
    "first",
    [
        HELLO, chunk(candidate(text("hm", thought=True))), chunk(candidate({"functionCall": {"name": "f"}})), chunk(candidate({"inlineData": {"data": "a"}})),
        chunk(candidate(text("", thoughtSignature="s"))), chunk(candidate(finish="STOP")), BLOCKED,
    ],
)  # fmt: skip
def test_the_first_content_commits_and_lets_go_what_was_held(first: Any) -> None:
    watch = DIALECT.inspect_stream(ask(STREAM))
    assert watch.feed(frame(EMPTY)) == b""
    assert not watch.committed
    assert watch.feed(frame(first)) == frame(EMPTY) + frame(first)
    assert watch.committed


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n", b": comment\n\n", frame(chunk()), frame(chunk(candidate())), frame(chunk(candidate(text("", thought=True)))),
        frame({"candidates": [7]}), frame({"candidates": [{"content": 7}]}), frame({"modelVersion": 7, "usageMetadata": 7}), b'data: {"candidates": [{"content',
    ],
)  # fmt: skip
def test_nothing_goes_on_before_there_is_content(data: bytes) -> None:
    watch = DIALECT.inspect_stream(ask(STREAM))
    assert watch.feed(data) == b""
    assert (watch.committed, watch.complete) == (False, False)


def test_a_whole_stream_passes_as_it_came() -> None:
    out, watch = run(WHOLE)
    assert out == WHOLE
    assert facts(watch) == (True, True, Usage(input=5, output=2), "m-1", "STOP", None)


@given(st.lists(st.integers(0, len(WHOLE)), max_size=8))
def test_it_does_not_matter_where_reads_end(cuts: list[int]) -> None:
    out, watch = run(WHOLE, *sorted(cuts))
    assert (out, facts(watch)) == (WHOLE, facts(run(WHOLE)[1]))


@given(TEXT)
def test_words_pass_unseen(words: str) -> None:
    data = stream(HELLO, chunk(candidate(text(words))), LAST)
    out, watch = run(data)
    assert (out, watch.complete) == (data, True)


@pytest.mark.parametrize("odd", [b'{"not json', b'{"text": "half', b"<html>", b'{"text": "a"}}'])
def test_a_frame_that_is_no_json_ends_the_answer(odd: bytes) -> None:
    """Behind content too, the gateway drops the frame and keeps everything before it."""
    broken = b"data: %b\r\n\r\n" % odd
    for cuts in ((), (len(stream(HELLO)),)):
        out, watch = run(stream(HELLO) + broken + stream(LAST), *cuts)
        assert out == stream(HELLO)
        assert watch.problem is not None
        assert not watch.complete


@pytest.mark.parametrize("at", range(1, len(WHOLE)))
def test_a_stream_that_is_cut_is_never_complete(at: int) -> None:
    """Law 10: this holds for every byte outside the last blank line."""
    _, watch = run(WHOLE[:at])
    assert watch.complete == (at >= len(WHOLE) - 4)


def test_half_a_frame_after_the_end_shows_that_there_is_more() -> None:
    out, watch = run(WHOLE + b'data: {"candidates"')
    assert (out, watch.complete) == (WHOLE, False)


def test_a_finish_that_more_content_follows_was_none() -> None:
    """A recorded Gemini stream has STOP in its middle, and again at its end."""
    middle = chunk(candidate(text("a"), finish="STOP"))
    more = chunk(candidate(text("b")))
    assert not run(stream(middle, more))[1].complete
    assert run(stream(middle, more, LAST))[1].complete
    used = chunk(candidate(), usageMetadata=USED)
    assert run(stream(middle, used))[1].usage == Usage(input=5, output=2)
    assert run(stream(middle, used))[1].complete


def test_every_candidate_must_end() -> None:
    one = chunk(candidate(text("a"), finish="STOP"), candidate(text("b"), index=1))
    two = chunk(candidate(text("c"), finish="MAX_TOKENS", index=1))
    assert not run(stream(one), n=2)[1].complete
    assert not run(stream(one))[1].complete
    assert run(stream(one, two), n=2)[1].complete


def test_a_prompt_that_was_refused_is_an_answer() -> None:
    out, watch = run(stream(BLOCKED))
    assert out == stream(BLOCKED)
    assert facts(watch) == (True, True, Usage(input=5, output=0), None, "SAFETY", None)


def test_an_error_before_content_stays_here() -> None:
    out, watch = run(stream(EMPTY, ERROR))
    assert (out, watch.problem is not None, watch.complete) == (b"", True, False)


@pytest.mark.parametrize(
    ("said", "passed"),
    [(ERROR, True), ([ERROR], False), ({"responseId": "r", **ERROR}, False)],
)
def test_an_error_after_content_goes_on_where_an_sdk_sees_it(said: Any, passed: bool) -> None:
    out, watch = run(stream(HELLO) + frame(said) + stream(LAST))
    assert out == stream(HELLO) + (frame(said) if passed else b"")
    assert watch.problem is not None
    assert (watch.problem.kind, watch.complete) == ("upstream_overloaded", False)


@pytest.mark.parametrize(
    "data", [b"data: [DONE]\n\n", b'data: "usageMetadata"\n\n', b"data: []\n\n"]
)
def test_what_is_no_chunk_is_a_problem(data: bytes) -> None:
    out, watch = run(data)
    assert (out, facts(watch)[-1]) == (b"", "upstream_error")


def test_a_frame_without_an_end_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_commit, "MAX_FRAME_BYTES", 10)
    assert run(b"data: {" + b"a" * 20)[1].problem is not None


def test_a_last_frame_without_a_blank_line_counts() -> None:
    data = stream(HELLO) + frame(LAST, "")
    out, watch = run(data)
    assert (out, watch.complete) == (data, True)


def used(prompt: Any, **more: Any) -> dict[str, Any]:
    """Make a chunk of content that reports usage."""
    return chunk(candidate(text("a")), usageMetadata={"promptTokenCount": prompt}, **more)


def test_usage_in_every_frame_is_told_whenever_it_is_asked_for() -> None:
    """Counts are cumulative: the last one stands, after one read or many."""
    watch = DIALECT.inspect_stream(ask(STREAM))
    watch.feed(stream(used(1), used(2)))
    assert watch.usage == Usage(input=2)
    for count in (3, 4):
        watch.feed(frame(used(count)))
    assert [watch.usage, watch.usage] == [Usage(input=4)] * 2
    watch.feed(stream(used(5), used(6)))
    assert watch.usage == Usage(input=6)
    watch.feed(frame(used(7)))
    watch.feed(frame(chunk(candidate(text("b")))))
    assert watch.usage == Usage(input=7)
    watch.feed(stream(used(8), LAST))
    assert (watch.usage, watch.complete) == (Usage(input=5, output=2), True)


def test_usage_is_not_read_until_somebody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = DIALECT.inspect_stream(ask(STREAM))
    watch.feed(frame(used(1)))
    read: list[bytes] = []
    loads = jsonio.loads

    def noted(data: bytes) -> Any:
        read.append(data)
        return loads(data)

    monkeypatch.setattr(jsonio, "loads", noted)
    for count in range(2, 9):
        assert watch.feed(frame(used(count))) == frame(used(count))
    assert read == []
    assert [watch.usage, watch.usage, len(read)] == [Usage(input=8), Usage(input=8), 1]


@pytest.mark.parametrize(
    "said",
    [
        used("x"), used(-1), used(2**50), used(1e30), chunk(candidate(text("a")), usageMetadata={"totalTokenCount": 7}), chunk(candidate(text("a")), usageMetadata=None),
        chunk(candidate(text('"usageMetadata": {"promptTokenCount": 9}'))),
        chunk(candidate({"functionCall": {"name": "f", "args": {"usageMetadata": {"promptTokenCount": 9}}}})),
    ],
)  # fmt: skip
def test_what_counts_nothing_leaves_what_was_told(said: Any) -> None:
    assert run(stream(used(1), used(2), said))[1].usage == Usage(input=2)
    watch = DIALECT.inspect_stream(ask(STREAM))
    for one in (used(1), used(2), said):
        watch.feed(frame(one))
    assert watch.usage == Usage(input=2)


def test_usage_in_a_comment_is_none() -> None:
    comment = b': "usageMetadata": {"promptTokenCount": 9}\n\n'
    out, watch = run(frame(used(1)) + comment)
    assert (out, watch.usage, watch.problem) == (frame(used(1)) + comment, Usage(input=1), None)


def test_a_list_amid_a_stream_is_a_broken_frame() -> None:
    watch = DIALECT.inspect_stream(ask(STREAM))
    watch.feed(frame(used(1)))
    out = watch.feed(frame(used(2)) + frame([{"usageMetadata": {"promptTokenCount": 9}}]))
    assert out == frame(used(2))
    assert watch.usage == Usage(input=2)
    assert watch.problem == stream_frames.make_broken_problem()


def test_a_model_that_is_named_late_is_known() -> None:
    first, late = used(1), used(2)
    del first["modelVersion"]
    _, watch = run(stream(first, late))
    assert (watch.served_model, watch.usage) == ("m-1", Usage(input=2))


def test_a_refused_prompt_that_more_follows_has_no_output() -> None:
    """Gemini counts no more after the refusal, and the total has no output."""
    more = chunk(candidate(text("a")), usageMetadata={"promptTokenCount": 6, "totalTokenCount": 6})
    assert run(stream(BLOCKED, more))[1].usage == Usage(input=6, output=0)
    assert run(stream(HELLO, BLOCKED, more))[1].usage == Usage(input=6, output=0)


@pytest.mark.parametrize("more", [{}, {"usageMetadata": USED}])
@pytest.mark.parametrize(("first", "other"), [(0, 1), (1, 2)])
def test_a_candidate_that_nobody_asked_for_must_end_too(first: int, other: int, more: Any) -> None:
    one = chunk(candidate(text("a"), index=first), **more)
    two = chunk(candidate(text("b"), index=other), **more)
    ends = [chunk(candidate(finish="STOP", index=at)) for at in (first, other)]
    assert not run(stream(one, two, ends[0]))[1].complete
    assert run(stream(one, two, *ends))[1].complete


def test_the_first_candidate_is_seen_though_another_began() -> None:
    one = chunk(candidate(text("a"), index=1), usageMetadata=USED)
    two = chunk(candidate(text("b")), usageMetadata=USED)
    end = chunk(candidate(finish="STOP", index=1))
    assert not run(stream(one, two, end))[1].complete


SEARCH: Any = {"groundingMetadata": {"webSearchQueries": ["q"]}}
CHUNKS: list[Any] = [
    HELLO, LAST, EMPTY, BLOCKED, used(1), used(2), used(3, responseId="r2"), ERROR, chunk(candidate(text("b"))), chunk(candidate(text("é"), **SEARCH)),
    chunk(candidate(text("b"), index=1), usageMetadata=USED), chunk(candidate(finish="MAX_TOKENS", index=1)), chunk(usageMetadata={"totalTokenCount": 7}),
    chunk(candidate({"functionCall": {"name": "f", "args": {"a": 1}}}), usageMetadata=USED), {**ERROR, "usageMetadata": USED}, {"usageMetadata": USED}, [ERROR],
    chunk(candidate(text("hm", thought=True), finish="STOP"), usageMetadata={**USED, "thoughtsTokenCount": 4, "serviceTier": "priority"}),
]  # fmt: skip


@given(st.lists(st.sampled_from(CHUNKS), max_size=7), st.integers(1, 2))
def test_the_quick_look_finds_what_a_full_read_of_every_chunk_does(
    chunks: list[Any], n: int
) -> None:
    data = stream(*chunks)
    ends = [len(stream(*chunks[:at])) for at in range(1, len(chunks))]
    out, watch = run(data, *ends, n=n)
    kind: Any = type(watch)
    count = kind._count
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kind, "_count", lambda self, payload: count(self, payload) or True)
        full_out, full = run(data, *ends, n=n)
    assert (out, facts(watch)) == (full_out, facts(full))
    assert (watch.content_bytes, watch.response_id) == (full.content_bytes, full.response_id)


def test_usage_beside_an_error_counts() -> None:
    """Google bills what it counted before the error, also if another target then answers."""
    failed = {**ERROR, "usageMetadata": USED, "modelVersion": "m-1", "responseId": "r1"}
    for data in (frame(failed), stream(HELLO, failed)):
        _, watch = run(data)
        assert (watch.usage, watch.complete) == (Usage(input=5, output=2), False)
        assert (watch.served_model, watch.response_id) == ("m-1", "r1")
    assert not run(frame({**LAST, **ERROR}))[1].committed


def test_usage_that_nobody_asked_for_is_not_lost_at_a_use_of_a_tool() -> None:
    watch = DIALECT.inspect_stream(ask(STREAM))
    for one in (used(1), used(2), chunk(candidate(text("a"), **SEARCH))):
        watch.feed(frame(one))
    assert watch.usage == Usage(input=2, tools={"grounding": 1, "web_search": 1})


def test_usage_that_tells_less_takes_nothing_back() -> None:
    watch = DIALECT.inspect_stream(ask(STREAM))
    counted = chunk(candidate(text("a")), usageMetadata=USED)
    for one in (used(1), counted, used(5), used(6)):
        watch.feed(frame(one))
    assert watch.usage == Usage(input=6, output=2)


def test_a_finish_that_more_content_follows_is_taken_back() -> None:
    middle, more = chunk(candidate(text("a"), finish="STOP")), chunk(candidate(text("b")))
    assert run(stream(middle))[1].finish == "STOP"
    assert run(stream(middle, more))[1].finish is None
