"""The decoder reads streamed and whole answers as the same events."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.events import (
    AnswerMetadata,
    Citation,
    End,
    Event,
    Failed,
    Finish,
    GeneratedMedia,
    LogProbs,
    Opaque,
    ReasoningDelta,
    ReasoningEnd,
    Start,
    TextDelta,
    ToolDelta,
    ToolEnd,
    ToolStart,
    UsageUpdate,
)
from gateway.core.usage import Usage
from gateway.dialects import stream_frames
from gateway.dialects.gemini import DIALECT, TRANSLATION
from tests.dialects.cases import pieces
from tests.dialects.gemini.cases import (
    HELLO,
    LAST,
    USED,
    WHOLE,
    candidate,
    chunk,
    decode_stream,
    frame,
    stream,
    text,
    whole,
)

START = Start(id="r1", model="m-1")
CALL = {"functionCall": {"name": "f", "args": {"a": 1}, "id": "c1"}}
MORE = {"functionCall": {"name": "g"}}


def decode_content(*parts: Any, **more: Any) -> list[Event]:
    """Return the events of a whole answer, without its start and end."""
    events = TRANSLATION.decode_response(
        whole(chunk(candidate(*parts, **{"finish": "STOP", **more})))
    )
    assert (isinstance(events[0], Start), events[-1]) == (True, End())
    assert (events[0].id, events[0].model) == ("r1", "m-1")  # type: ignore[union-attr]  # a Start
    return events[1:-1]


def find_failure(events: list[Event]) -> str | None:
    last = events[-1] if events else None
    return last.problem.kind if isinstance(last, Failed) else None


def test_a_stream_decodes_to_its_words_usage_and_end() -> None:
    assert decode_stream(WHOLE) == [
        Start(id="r1", model="m-1", usage=Usage(input=5)), TextDelta("hel"), UsageUpdate(Usage(input=5)), TextDelta("lo"), UsageUpdate(Usage(input=5, output=2)),
        Finish("stop", "STOP"), End(),
    ]  # fmt: skip


def test_thoughts_and_calls_keep_their_signatures() -> None:
    """A signature stays with its part."""
    assert decode_content(text("hm", thought=True), {**CALL, "thoughtSignature": "s1"}, MORE, text("", thoughtSignature="s2")) == [
        ReasoningDelta("hm"), ReasoningEnd(),
        ToolStart(0, "c1", "f"), ToolDelta(0, '{"a":1}'), ToolEnd(0, "s1"),
        ToolStart(1, "call_cb433b26e0a7814f31723972", "g"), ToolDelta(1, "{}"), ToolEnd(1),
        ReasoningEnd("s2"), Finish("tools", "STOP"),
    ]  # fmt: skip
    assert decode_content(text("hm", thought=True, thoughtSignature="s"), text("a")) == [
        ReasoningDelta("hm"), ReasoningEnd("s"), TextDelta("a"), Finish("stop", "STOP"),
    ]  # fmt: skip
    assert decode_content(text("hm", thought=True)) == [
        ReasoningDelta("hm"),
        ReasoningEnd(),
        Finish("stop", "STOP"),
    ]


def test_a_call_without_an_id_gets_the_same_id_whole_and_streamed() -> None:
    answer = chunk(candidate(MORE, MORE, finish="STOP"))
    starts = [event for event in decode_stream(stream(answer)) if isinstance(event, ToolStart)]
    assert starts == [
        event
        for event in TRANSLATION.decode_response(whole(answer))
        if isinstance(event, ToolStart)
    ]
    assert starts[0].id != starts[1].id
    other = chunk(candidate(MORE, finish="STOP"), responseId="r2")
    assert starts[0].id not in {
        event.id for event in decode_stream(stream(other)) if isinstance(event, ToolStart)
    }


def test_a_part_that_no_other_dialect_has_is_opaque() -> None:
    data = {"inlineData": {"mimeType": "image/png", "data": "aa"}, "thoughtSignature": "s"}
    nameless: Any = {"functionCall": {"args": {}}}
    assert decode_content(data, nameless, text("w", videoMetadata={"fps": 1}), finish="MAX_TOKENS") == [
        GeneratedMedia("image", "aa", "candidates.content.inlineData", media_type="image/png"), ReasoningEnd("s"),
        Opaque("candidates.content.functionCall", nameless), TextDelta("w"), AnswerMetadata("candidates.content.videoMetadata"),
        Finish("length", "MAX_TOKENS"),
    ]  # fmt: skip


def test_drafts_and_incomplete_media_are_opaque() -> None:
    """Files, media without data or type, and pictures within a thought (drafts) are opaque."""
    for blob in ({"mimeType": "video/mp4", "data": "aa"}, {"mimeType": "image/png"}, {"data": "aa"}):  # fmt: skip
        part = {"inlineData": blob}
        assert decode_content(part)[0] == Opaque("candidates.content.inlineData", part)
    draft: Any = {"inlineData": {"mimeType": "image/png", "data": "aa"}, "thought": True}
    assert isinstance(decode_content(draft)[0], Opaque)
    speech = {"inlineData": {"mimeType": "audio/L16;rate=24000", "data": "AAAA"}}
    assert decode_content(speech)[0] == GeneratedMedia(
        "audio", "AAAA", "candidates.content.inlineData", media_type="audio/L16;rate=24000"
    )
    assert decode_content({"executableCode": None}) == [Finish("stop", "STOP")]


def test_metadata_beside_the_content_is_named() -> None:
    grounding = {
        "groundingChunks": [],
        "webSearchQueries": ["q"],
        "searchEntryPoint": {"renderedContent": "a"},
    }
    metadata: Any = {"urlMetadata": [{}]}
    others: Any = {"urlContextMetadata": metadata, "safetyRatings": [{}], "avgLogprobs": -1, "new": 0, "old": None}  # fmt: skip
    events_ = decode_content(text("a"), groundingMetadata=grounding, **others)
    assert [event.name for event in events_ if isinstance(event, AnswerMetadata)] == [
        "candidates.groundingMetadata.webSearchQueries",
        "candidates.groundingMetadata.searchEntryPoint",
        "candidates.urlContextMetadata",
        "candidates.new",
    ]
    malformed: Any = {"groundingMetadata": 3}
    assert decode_content(text("a"), **malformed) == [TextDelta("a"), Finish("stop", "STOP")]


def test_log_probabilities_decode_to_the_form_of_chat_completions() -> None:
    result = {
        "chosenCandidates": [{"token": "é", "logProbability": -0.5}, {"token": "b"}],
        "topCandidates": [{"candidates": [{"token": "é", "logProbability": -0.5}]}],
    }
    assert decode_content(text("éb"), logprobsResult=result)[1] == LogProbs(
        [
            {"token": "é", "logprob": -0.5, "bytes": [195, 169], "top_logprobs": [{"token": "é", "logprob": -0.5, "bytes": [195, 169]}]},
            {"token": "b", "logprob": 0.0, "bytes": [98], "top_logprobs": []},
        ]
    )  # fmt: skip
    assert len(decode_content(text("a"), logprobsResult={})) == 2


def test_citations_are_reported_once_with_offsets_in_characters() -> None:
    """Google counts bytes, and some chunks repeat all sources."""
    rows = [{"uri": "u", "title": "t", "startIndex": 2, "endIndex": 4}, {"uri": "v"}]
    chunk_ = chunk(candidate(text("éab"), citationMetadata={"citations": rows}))
    cited = [
        event
        for event in decode_stream(stream(chunk_, chunk_, LAST))
        if isinstance(event, Citation)
    ]
    assert cited == [
        Citation("u", "t", 1, 3, rows[0], name="candidates.citationMetadata"),
        Citation("v", source=rows[1], name="candidates.citationMetadata"),
    ]


def test_citations_are_read_by_their_name_in_the_gemini_api() -> None:
    """Google's SDK reads `citationSources` there, and `citations` at Vertex AI."""
    row: Any = {"uri": "u", "endIndex": 2}
    first, second = ({"citationSources": [row]}, {"citationSources": [row, {"uri": "v"}]})
    data = stream(chunk(candidate(text("éa"), citationMetadata=first)), chunk(candidate(finish="STOP", citationMetadata=second)))  # fmt: skip
    cited = [event.url for event in decode_stream(data) if isinstance(event, Citation)]
    assert cited == ["u", "v"]
    folded = json.loads(DIALECT.fold(data))["candidates"][0]
    assert folded["citationMetadata"] == second


def test_a_picture_from_a_search_is_cited_by_its_page() -> None:
    image = {"image": {"sourceUri": "u", "imageUri": "u.png", "title": "t"}}
    grounding: Any = {"groundingMetadata": {"groundingChunks": [image]}}
    events_ = decode_content(text("a"), **grounding)
    assert events_[1] == Citation("u", "t", source=image, name=NAME)
    assert AnswerMetadata(f"{NAME}.groundingChunks.image.imageUri") in events_


def test_a_part_with_several_kinds_of_content_gives_several_events() -> None:
    code, result = {"executableCode": {"code": "1"}}, {"codeExecutionResult": {"output": "1"}}
    new: Any = {"new": {"a": 1}}
    assert decode_content({**code, **result, **new})[:-1] == [
        Opaque("candidates.content.executableCode", code),
        Opaque("candidates.content.codeExecutionResult", result),
        Opaque("candidates.content.new", new),
        AnswerMetadata("candidates.content.new"),
    ]


NAME = "candidates.groundingMetadata"


def test_search_results_cite_the_text_that_they_support() -> None:
    web, file = {"web": {"uri": "u", "title": "t"}}, {"retrievedContext": {"title": "f"}}
    events_ = decode_content(
        text("éab"),
        groundingMetadata={
            "groundingChunks": [web, file, {"new": {}}],
            "groundingSupports": [{"segment": {"endIndex": 2}, "groundingChunkIndices": [0, 9, "x"]}, {"segment": {}}],
        },
    )  # fmt: skip
    assert events_[1:-1] == [
        Citation("u", "t", 0, 1, web, name=NAME), Citation(None, "f", source=file, name=NAME),
        Citation(source={"new": {}}, name=NAME),
    ]  # fmt: skip
    assert len(decode_content(text("a"), groundingMetadata={"groundingChunks": 7})) == 2
    assert len(decode_content(text("a"), groundingMetadata=7)) == 2


@pytest.mark.parametrize(
    ("word", "reason"),
    [("STOP", "stop"), (1, "stop"), ("MAX_TOKENS", "length"), ("CONTINUATION", "length"), ("SAFETY", "filter"), ("SPII", "filter"), ("IMAGE_SAFETY", "filter"), ("MODEL_ARMOR", "filter"), ("NEW_WORD", "length")],
)  # fmt: skip
def test_the_finish_reason_decodes_to_a_finish(word: Any, reason: str) -> None:
    last = decode_content(text("a"), finish=word)[-1]
    assert isinstance(last, Finish)
    assert (last.reason, last.word) == (reason, word if word != 1 else "STOP")


@pytest.mark.parametrize("word", ["MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "MISSING_THOUGHT_SIGNATURE", "OTHER", "LANGUAGE"])  # fmt: skip
def test_a_failed_answer_is_an_error_with_its_usage(word: str) -> None:
    events_ = decode_stream(stream(chunk(candidate(finish=word), usageMetadata=USED)))
    assert (find_failure(events_), UsageUpdate(Usage(input=5, output=2)) in events_) == (
        "upstream_error",
        True,
    )
    assert word in str(events_[-1])


def test_an_unknown_finish_reason_without_content_is_an_error() -> None:
    assert (
        find_failure(decode_stream(stream(chunk(candidate(finish="NEW_WORD"))))) == "upstream_error"
    )
    assert (
        find_failure(TRANSLATION.decode_response(whole(chunk(candidate())))) == "upstream_truncated"
    )
    assert decode_content(text("a"), finish=None)[-1] == Finish("cut")


def test_a_blocked_prompt_is_a_filtered_answer() -> None:
    blocked = {
        "promptFeedback": {"blockReason": "SAFETY"},
        "responseId": "r1",
        "modelVersion": "m-1",
    }
    expected = [START, Finish("filter", "SAFETY"), End()]
    assert decode_stream(stream(blocked)) == TRANSLATION.decode_response(whole(blocked)) == expected
    counted = {**blocked, "usageMetadata": {"promptTokenCount": 5, "totalTokenCount": 5}}
    assert UsageUpdate(Usage(input=5, output=0)) in decode_stream(stream(counted))


def test_candidates_are_decoded_separately() -> None:
    first = chunk(candidate(text("a"), CALL), candidate(text("b"), index=1), 7)  # type: ignore[arg-type]  # odd
    second = chunk(candidate(finish="STOP"), candidate(finish="MAX_TOKENS", index=1))
    events_ = decode_stream(stream(first, second))
    assert [event for event in events_ if isinstance(event, TextDelta)] == [
        TextDelta("a"),
        TextDelta("b", 1),
    ]
    assert events_[-3:] == [
        Finish("tools", "STOP"),
        Finish("length", "MAX_TOKENS", choice=1),
        End(),
    ]
    assert not any(isinstance(event, End) for event in decode_stream(stream(first)))


def test_only_the_last_finish_reason_counts() -> None:
    middle = chunk(candidate(text("a"), finish="STOP"))
    assert sum(isinstance(event, Finish) for event in decode_stream(stream(middle, middle))) == 1
    assert not any(isinstance(event, Finish) for event in decode_stream(stream(middle, HELLO)))


@pytest.mark.parametrize("data", [frame(chunk(7, candidate(7), {"content": {"parts": 7}})), frame(chunk(usageMetadata={"x": None}))])  # type: ignore[arg-type] # odd  # fmt: skip
def test_malformed_chunks_decode_to_nothing(data: bytes) -> None:
    assert decode_stream(data) == [START]


@pytest.mark.parametrize("value", [{"candidates": 7}, {"modelVersion": 7, "createTime": 7}, {"createTime": "soon"}])  # fmt: skip
def test_a_start_may_have_no_id_and_model(value: Any) -> None:
    assert decode_stream(frame(value)) == [Start()]


def test_the_start_has_the_creation_time() -> None:
    events_ = decode_stream(frame(chunk(createTime="2026-11-24T12:00:00.5Z")))
    assert events_ == [Start(id="r1", model="m-1", created=1795521600)]


@pytest.mark.parametrize(
    ("body", "kind"),
    [(b"<", "upstream_error"), (b"{}", "upstream_error"), (b'{"error":{"code":429}}', "upstream_rate_limited"), (b'[{"error":{"code":503}}]', "upstream_overloaded")],
)  # fmt: skip
def test_a_body_that_is_no_answer_fails(body: bytes, kind: str) -> None:
    assert find_failure(TRANSLATION.decode_response(body)) == kind


def test_a_list_of_chunks_is_an_answer() -> None:
    """The method streamGenerateContent sends such a list without alt=sse."""
    assert TRANSLATION.decode_response(whole(HELLO, LAST)) == decode_stream(WHOLE)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (frame({"error": {"code": 503}}), "upstream_overloaded"), (frame([{"error": {"status": "RESOURCE_EXHAUSTED"}}]), "upstream_rate_limited"),
        (b"data: {\n\n", "upstream_error"), (frame([]), "upstream_error"), (frame("x"), "upstream_error"),
    ],
)  # fmt: skip
def test_an_error_is_the_last_event_of_a_stream(data: bytes, kind: str) -> None:
    reader = TRANSLATION.make_decoder()
    events_ = reader.feed(stream(HELLO) + data + stream(LAST))
    assert (find_failure(events_), len(events_)) == (kind, 4)
    assert (reader.feed(stream(LAST)), reader.end()) == ([], [])


def test_a_frame_without_an_end_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_frames, "MAX_FRAME_BYTES", 10)
    assert find_failure(decode_stream(b"data: {" + b"a" * 20)) == "upstream_error"


def test_the_last_frame_may_lack_its_blank_line() -> None:
    assert decode_stream(stream(HELLO) + frame(LAST, "")) == decode_stream(WHOLE)
    assert (
        find_failure(decode_stream(stream(LAST) + frame({"error": {"code": 503}}, "")))
        == "upstream_overloaded"
    )
    assert decode_stream(b": comment\n\n" + WHOLE + b"\n\n") == decode_stream(WHOLE)


@pytest.mark.parametrize("at", range(1, len(WHOLE)))
def test_a_cut_stream_has_no_end(at: int) -> None:
    """Law 10: this holds for every byte outside the last blank line."""
    assert any(isinstance(event, End) for event in decode_stream(WHOLE[:at])) == (
        at >= len(WHOLE) - 4
    )


def test_half_a_frame_after_the_end_leaves_the_stream_open() -> None:
    assert End() not in decode_stream(WHOLE + b"data: {")


PARTS: list[Any] = [
    text("é\u2028"), text("hm", thought=True), text("x", thought=True, thoughtSignature="s"), text("", thoughtSignature="s"), CALL, MORE, {"inlineData": {}}
]  # fmt: skip
CHUNKS = st.lists(st.lists(st.sampled_from(PARTS), max_size=3), max_size=4)


@given(CHUNKS, st.lists(st.integers(0, 2000), max_size=6), st.sampled_from(["\n\n", "\r\n\r\n"]))
def test_any_stream_decodes_to_the_same_events_wherever_reads_end(
    rows: Any, cuts: list[int], end: str
) -> None:
    """Law 2: reads may cut bytes anywhere, and the list of the chunks is the same answer."""
    chunks = [*[chunk(candidate(*row), usageMetadata=USED) for row in rows], LAST]
    data = b"".join(frame(chunk, end) for chunk in chunks)
    reader = TRANSLATION.make_decoder()
    events_ = [event for piece in pieces(data, sorted(cuts)) for event in reader.feed(piece)]
    assert (
        [*events_, *reader.end()]
        == decode_stream(data)
        == TRANSLATION.decode_response(json.dumps(chunks).encode())
    )


def test_usage_beside_an_error_counts() -> None:
    """The account of a translated call has it as that of a native one does."""
    counted, error = {"usageMetadata": USED}, {"error": {"code": 503}}
    start, used = Start(id="r1", model="m-1", usage=Usage(input=5, output=2)), UsageUpdate(Usage(input=5, output=2))  # fmt: skip
    answer = chunk(**counted, **error)
    for events_ in (decode_stream(stream(answer)), TRANSLATION.decode_response(whole(answer))):
        assert (events_[:-1], find_failure(events_)) == ([start, used], "upstream_overloaded")
    later = decode_stream(stream(HELLO, {**counted, **error}))
    assert (later[-2], find_failure(later)) == (used, "upstream_overloaded")
    assert [type(event) for event in decode_stream(stream(error))] == [Failed]
    malformed = chunk(
        candidate({"functionCall": {"name": "f", "partialArgs": [{"jsonPath": "?["}]}}), **counted
    )
    for events_ in (
        decode_stream(stream(malformed)),
        TRANSLATION.decode_response(whole(malformed)),
    ):
        assert (events_[:-1], find_failure(events_)) == ([start, used], "upstream_error")


def test_tools_count_without_tokens() -> None:
    search: Any = {"groundingMetadata": {"webSearchQueries": ["q"]}}
    events_ = decode_content(text("a"), **search)
    usage = Usage(tools={"grounding": 1, "web_search": 1})
    assert [event.usage for event in events_ if isinstance(event, UsageUpdate)] == [usage]
    assert DIALECT.summarize(whole(chunk(candidate(text("a"), **search)))).usage == usage


def test_a_prompt_blocked_during_an_answer_filters_it() -> None:
    refusal = {"promptFeedback": {"blockReason": "SAFETY"}}
    assert decode_stream(stream(HELLO, refusal))[-2:] == [Finish("filter", "SAFETY"), End()]
    ended = decode_stream(stream(HELLO, LAST, refusal))
    assert ended[-2:] == [Finish("stop", "STOP"), End()]


def test_a_single_object_may_stand_for_a_list() -> None:
    alone = {"candidates": {"content": {"parts": text("a")}, "finishReason": "STOP"}}
    assert decode_stream(stream(alone)) == [Start(), TextDelta("a"), Finish("stop", "STOP"), End()]
    assert json.loads(DIALECT.fold(stream(alone)))["candidates"] == [alone["candidates"]]
