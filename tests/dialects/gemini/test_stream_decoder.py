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
    frame,
    heard,
    stream,
    text,
    whole,
)

START = Start(id="r1", model="m-1")
CALL = {"functionCall": {"name": "f", "args": {"a": 1}, "id": "c1"}}
MORE = {"functionCall": {"name": "g"}}


def content(*parts: Any, **more: Any) -> list[Event]:
    """Return the events of a whole answer, without its start and end."""
    said = TRANSLATION.decode_response(
        whole(chunk(candidate(*parts, **{"finish": "STOP", **more})))
    )
    assert (isinstance(said[0], Start), said[-1]) == (True, End())
    assert (said[0].id, said[0].model) == ("r1", "m-1")  # type: ignore[union-attr]  # a Start
    return said[1:-1]


def failed(events: list[Event]) -> str | None:
    last = events[-1] if events else None
    return last.problem.kind if isinstance(last, Failed) else None


def test_a_stream_says_its_words_and_its_end() -> None:
    assert heard(WHOLE) == [
        Start(id="r1", model="m-1", usage=Usage(input=5)), TextDelta("hel"), UsageUpdate(Usage(input=5)), TextDelta("lo"), UsageUpdate(Usage(input=5, output=2)),
        Finish("stop", "STOP"), End(),
    ]  # fmt: skip


def test_thoughts_tools_and_their_signatures() -> None:
    """A signature stays with its part."""
    assert content(text("hm", thought=True), {**CALL, "thoughtSignature": "s1"}, MORE, text("", thoughtSignature="s2")) == [
        ReasoningDelta("hm"), ReasoningEnd(),
        ToolStart(0, "c1", "f"), ToolDelta(0, '{"a":1}'), ToolEnd(0, "s1"),
        ToolStart(1, "call_cb433b26e0a7814f31723972", "g"), ToolDelta(1, "{}"), ToolEnd(1),
        ReasoningEnd("s2"), Finish("tools", "STOP"),
    ]  # fmt: skip
    assert content(text("hm", thought=True, thoughtSignature="s"), text("a")) == [
        ReasoningDelta("hm"), ReasoningEnd("s"), TextDelta("a"), Finish("stop", "STOP"),
    ]  # fmt: skip
    assert content(text("hm", thought=True)) == [
        ReasoningDelta("hm"),
        ReasoningEnd(),
        Finish("stop", "STOP"),
    ]


def test_a_call_without_an_id_gets_the_same_one_whole_or_streamed() -> None:
    answer = chunk(candidate(MORE, MORE, finish="STOP"))
    starts = [it for it in heard(stream(answer)) if isinstance(it, ToolStart)]
    assert starts == [
        it for it in TRANSLATION.decode_response(whole(answer)) if isinstance(it, ToolStart)
    ]
    assert starts[0].id != starts[1].id
    other = chunk(candidate(MORE, finish="STOP"), responseId="r2")
    assert starts[0].id not in {it.id for it in heard(stream(other)) if isinstance(it, ToolStart)}


def test_what_nobody_else_has_is_opaque() -> None:
    data = {"inlineData": {"mimeType": "image/png", "data": "aa"}, "thoughtSignature": "s"}
    nameless: Any = {"functionCall": {"args": {}}}
    assert content(data, nameless, text("w", videoMetadata={"fps": 1}), finish="MAX_TOKENS") == [
        GeneratedMedia("image", "aa", "candidates.content.inlineData", media_type="image/png"), ReasoningEnd("s"),
        Opaque("candidates.content.functionCall", nameless), TextDelta("w"), AnswerMetadata("candidates.content.videoMetadata"),
        Finish("length", "MAX_TOKENS"),
    ]  # fmt: skip


def test_media_that_are_no_answer_are_opaque() -> None:
    """Files, media without data or type, and pictures within a thought (drafts) are opaque."""
    for blob in ({"mimeType": "video/mp4", "data": "aa"}, {"mimeType": "image/png"}, {"data": "aa"}):  # fmt: skip
        part = {"inlineData": blob}
        assert content(part)[0] == Opaque("candidates.content.inlineData", part)
    draft: Any = {"inlineData": {"mimeType": "image/png", "data": "aa"}, "thought": True}
    assert isinstance(content(draft)[0], Opaque)
    speech = {"inlineData": {"mimeType": "audio/L16;rate=24000", "data": "AAAA"}}
    assert content(speech)[0] == GeneratedMedia(
        "audio", "AAAA", "candidates.content.inlineData", media_type="audio/L16;rate=24000"
    )
    assert content({"executableCode": None}) == [Finish("stop", "STOP")]


def test_what_is_told_beside_the_content_is_named() -> None:
    grounding = {
        "groundingChunks": [],
        "webSearchQueries": ["q"],
        "searchEntryPoint": {"renderedContent": "a"},
    }
    metadata: Any = {"urlMetadata": [{}]}
    others: Any = {"urlContextMetadata": metadata, "safetyRatings": [{}], "avgLogprobs": -1, "new": 0, "old": None}  # fmt: skip
    found = content(text("a"), groundingMetadata=grounding, **others)
    assert [it.name for it in found if isinstance(it, AnswerMetadata)] == [
        "candidates.groundingMetadata.webSearchQueries",
        "candidates.groundingMetadata.searchEntryPoint",
        "candidates.urlContextMetadata",
        "candidates.new",
    ]
    odd: Any = {"groundingMetadata": 3}
    assert content(text("a"), **odd) == [TextDelta("a"), Finish("stop", "STOP")]


def test_log_probabilities_in_the_words_of_chat_completions() -> None:
    result = {
        "chosenCandidates": [{"token": "é", "logProbability": -0.5}, {"token": "b"}],
        "topCandidates": [{"candidates": [{"token": "é", "logProbability": -0.5}]}],
    }
    assert content(text("éb"), logprobsResult=result)[1] == LogProbs(
        [
            {"token": "é", "logprob": -0.5, "bytes": [195, 169], "top_logprobs": [{"token": "é", "logprob": -0.5, "bytes": [195, 169]}]},
            {"token": "b", "logprob": 0.0, "bytes": [98], "top_logprobs": []},
        ]
    )  # fmt: skip
    assert len(content(text("a"), logprobsResult={})) == 2


def test_sources_are_told_once_with_places_in_characters() -> None:
    """Google counts bytes, and some chunks repeat all sources."""
    rows = [{"uri": "u", "title": "t", "startIndex": 2, "endIndex": 4}, {"uri": "v"}]
    one = chunk(candidate(text("éab"), citationMetadata={"citations": rows}))
    cited = [it for it in heard(stream(one, one, LAST)) if isinstance(it, Citation)]
    assert cited == [
        Citation("u", "t", 1, 3, rows[0], name="candidates.citationMetadata"),
        Citation("v", source=rows[1], name="candidates.citationMetadata"),
    ]


def test_sources_have_another_name_at_the_gemini_api() -> None:
    """Google's SDK reads `citationSources` there, and `citations` at Vertex AI."""
    row: Any = {"uri": "u", "endIndex": 2}
    one, two = ({"citationSources": [row]}, {"citationSources": [row, {"uri": "v"}]})
    data = stream(chunk(candidate(text("éa"), citationMetadata=one)), chunk(candidate(finish="STOP", citationMetadata=two)))  # fmt: skip
    cited = [it.url for it in heard(data) if isinstance(it, Citation)]
    assert cited == ["u", "v"]
    folded = json.loads(DIALECT.fold(data))["candidates"][0]
    assert folded["citationMetadata"] == two


def test_a_picture_that_a_search_found_is_told_by_its_page() -> None:
    image = {"image": {"sourceUri": "u", "imageUri": "u.png", "title": "t"}}
    grounding: Any = {"groundingMetadata": {"groundingChunks": [image]}}
    found = content(text("a"), **grounding)
    assert found[1] == Citation("u", "t", source=image, name=NAME)
    assert AnswerMetadata(f"{NAME}.groundingChunks.image.imageUri") in found


def test_all_content_of_a_part_is_told() -> None:
    code, result = {"executableCode": {"code": "1"}}, {"codeExecutionResult": {"output": "1"}}
    new: Any = {"new": {"a": 1}}
    assert content({**code, **result, **new})[:-1] == [
        Opaque("candidates.content.executableCode", code),
        Opaque("candidates.content.codeExecutionResult", result),
        Opaque("candidates.content.new", new),
        AnswerMetadata("candidates.content.new"),
    ]


NAME = "candidates.groundingMetadata"


def test_what_a_search_found_is_told_for_what_it_supports() -> None:
    web, file = {"web": {"uri": "u", "title": "t"}}, {"retrievedContext": {"title": "f"}}
    found = content(
        text("éab"),
        groundingMetadata={
            "groundingChunks": [web, file, {"new": {}}],
            "groundingSupports": [{"segment": {"endIndex": 2}, "groundingChunkIndices": [0, 9, "x"]}, {"segment": {}}],
        },
    )  # fmt: skip
    assert found[1:-1] == [
        Citation("u", "t", 0, 1, web, name=NAME), Citation(None, "f", source=file, name=NAME),
        Citation(source={"new": {}}, name=NAME),
    ]  # fmt: skip
    assert len(content(text("a"), groundingMetadata={"groundingChunks": 7})) == 2
    assert len(content(text("a"), groundingMetadata=7)) == 2


@pytest.mark.parametrize(
    ("word", "reason"),
    [("STOP", "stop"), (1, "stop"), ("MAX_TOKENS", "length"), ("CONTINUATION", "length"), ("SAFETY", "filter"), ("SPII", "filter"), ("IMAGE_SAFETY", "filter"), ("MODEL_ARMOR", "filter"), ("NEW_WORD", "length")],
)  # fmt: skip
def test_why_it_ended(word: Any, reason: str) -> None:
    last = content(text("a"), finish=word)[-1]
    assert isinstance(last, Finish)
    assert (last.reason, last.word) == (reason, word if word != 1 else "STOP")


@pytest.mark.parametrize("word", ["MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "MISSING_THOUGHT_SIGNATURE", "OTHER", "LANGUAGE"])  # fmt: skip
def test_an_answer_that_failed_is_an_error_whose_usage_is_known(word: str) -> None:
    said = heard(stream(chunk(candidate(finish=word), usageMetadata=USED)))
    assert (failed(said), UsageUpdate(Usage(input=5, output=2)) in said) == ("upstream_error", True)
    assert word in str(said[-1])


def test_an_unknown_word_without_content_is_an_error() -> None:
    assert failed(heard(stream(chunk(candidate(finish="NEW_WORD"))))) == "upstream_error"
    assert failed(TRANSLATION.decode_response(whole(chunk(candidate())))) == "upstream_truncated"
    assert content(text("a"), finish=None)[-1] == Finish("cut")


def test_a_refused_prompt_is_filtered() -> None:
    said = {"promptFeedback": {"blockReason": "SAFETY"}, "responseId": "r1", "modelVersion": "m-1"}
    expected = [START, Finish("filter", "SAFETY"), End()]
    assert heard(stream(said)) == TRANSLATION.decode_response(whole(said)) == expected
    counted = {**said, "usageMetadata": {"promptTokenCount": 5, "totalTokenCount": 5}}
    assert UsageUpdate(Usage(input=5, output=0)) in heard(stream(counted))


def test_candidates_are_told_apart() -> None:
    one = chunk(candidate(text("a"), CALL), candidate(text("b"), index=1), 7)  # type: ignore[arg-type]  # odd
    two = chunk(candidate(finish="STOP"), candidate(finish="MAX_TOKENS", index=1))
    said = heard(stream(one, two))
    assert [it for it in said if isinstance(it, TextDelta)] == [TextDelta("a"), TextDelta("b", 1)]
    assert said[-3:] == [Finish("tools", "STOP"), Finish("length", "MAX_TOKENS", choice=1), End()]
    assert not any(isinstance(it, End) for it in heard(stream(one)))


def test_a_finish_in_the_middle_is_none() -> None:
    middle = chunk(candidate(text("a"), finish="STOP"))
    assert sum(isinstance(it, Finish) for it in heard(stream(middle, middle))) == 1
    assert not any(isinstance(it, Finish) for it in heard(stream(middle, HELLO)))


@pytest.mark.parametrize("data", [frame(chunk(7, candidate(7), {"content": {"parts": 7}})), frame(chunk(usageMetadata={"x": None}))])  # type: ignore[arg-type] # odd  # fmt: skip
def test_odd_chunks_say_nothing(data: bytes) -> None:
    assert heard(data) == [START]


@pytest.mark.parametrize("value", [{"candidates": 7}, {"modelVersion": 7, "createTime": 7}, {"createTime": "soon"}])  # fmt: skip
def test_a_start_may_know_nothing(value: Any) -> None:
    assert heard(frame(value)) == [Start()]


def test_when_it_was_made() -> None:
    said = heard(frame(chunk(createTime="2026-11-24T12:00:00.5Z")))
    assert said == [Start(id="r1", model="m-1", created=1795521600)]


@pytest.mark.parametrize(
    ("body", "kind"),
    [(b"<", "upstream_error"), (b"{}", "upstream_error"), (b'{"error":{"code":429}}', "upstream_rate_limited"), (b'[{"error":{"code":503}}]', "upstream_overloaded")],
)  # fmt: skip
def test_what_is_no_answer_fails(body: bytes, kind: str) -> None:
    assert failed(TRANSLATION.decode_response(body)) == kind


def test_a_list_of_chunks_is_an_answer() -> None:
    """The method streamGenerateContent sends such a list without alt=sse."""
    assert TRANSLATION.decode_response(whole(HELLO, LAST)) == heard(WHOLE)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (frame({"error": {"code": 503}}), "upstream_overloaded"), (frame([{"error": {"status": "RESOURCE_EXHAUSTED"}}]), "upstream_rate_limited"),
        (b"data: {\n\n", "upstream_error"), (frame([]), "upstream_error"), (frame("x"), "upstream_error"),
    ],
)  # fmt: skip
def test_an_error_ends_everything(data: bytes, kind: str) -> None:
    reader = TRANSLATION.make_decoder()
    said = reader.feed(stream(HELLO) + data + stream(LAST))
    assert (failed(said), len(said)) == (kind, 4)
    assert (reader.feed(stream(LAST)), reader.end()) == ([], [])


def test_a_frame_without_an_end_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_frames, "MAX_FRAME_BYTES", 10)
    assert failed(heard(b"data: {" + b"a" * 20)) == "upstream_error"


def test_the_last_frame_may_lack_its_blank_line() -> None:
    assert heard(stream(HELLO) + frame(LAST, "")) == heard(WHOLE)
    assert (
        failed(heard(stream(LAST) + frame({"error": {"code": 503}}, ""))) == "upstream_overloaded"
    )
    assert heard(b": comment\n\n" + WHOLE + b"\n\n") == heard(WHOLE)


@pytest.mark.parametrize("at", range(1, len(WHOLE)))
def test_a_stream_that_is_cut_has_no_end(at: int) -> None:
    """Law 10: this holds for every byte outside the last blank line."""
    assert any(isinstance(it, End) for it in heard(WHOLE[:at])) == (at >= len(WHOLE) - 4)


def test_half_a_frame_after_the_end_shows_that_there_is_more() -> None:
    assert End() not in heard(WHOLE + b"data: {")


PARTS: list[Any] = [
    text("é\u2028"), text("hm", thought=True), text("x", thought=True, thoughtSignature="s"), text("", thoughtSignature="s"), CALL, MORE, {"inlineData": {}}
]  # fmt: skip
CHUNKS = st.lists(st.lists(st.sampled_from(PARTS), max_size=3), max_size=4)


@given(CHUNKS, st.lists(st.integers(0, 2000), max_size=6), st.sampled_from(["\n\n", "\r\n\r\n"]))
def test_any_split_of_any_stream_says_the_same(rows: Any, cuts: list[int], end: str) -> None:
    """Law 2: reads may cut bytes anywhere, and the list of the chunks is the same answer."""
    chunks = [*[chunk(candidate(*row), usageMetadata=USED) for row in rows], LAST]
    data = b"".join(frame(it, end) for it in chunks)
    reader = TRANSLATION.make_decoder()
    said = [it for piece in pieces(data, sorted(cuts)) for it in reader.feed(piece)]
    assert (
        [*said, *reader.end()]
        == heard(data)
        == TRANSLATION.decode_response(json.dumps(chunks).encode())
    )


def test_usage_beside_an_error_counts() -> None:
    """The account of a translated call has it as that of a native one does."""
    counted, error = {"usageMetadata": USED}, {"error": {"code": 503}}
    start, used = Start(id="r1", model="m-1", usage=Usage(input=5, output=2)), UsageUpdate(Usage(input=5, output=2))  # fmt: skip
    answer = chunk(**counted, **error)
    for said in (heard(stream(answer)), TRANSLATION.decode_response(whole(answer))):
        assert (said[:-1], failed(said)) == ([start, used], "upstream_overloaded")
    later = heard(stream(HELLO, {**counted, **error}))
    assert (later[-2], failed(later)) == (used, "upstream_overloaded")
    assert [type(it) for it in heard(stream(error))] == [Failed]
    odd = chunk(
        candidate({"functionCall": {"name": "f", "partialArgs": [{"jsonPath": "?["}]}}), **counted
    )
    for said in (heard(stream(odd)), TRANSLATION.decode_response(whole(odd))):
        assert (said[:-1], failed(said)) == ([start, used], "upstream_error")


def test_tools_count_without_tokens() -> None:
    search: Any = {"groundingMetadata": {"webSearchQueries": ["q"]}}
    found = content(text("a"), **search)
    usage = Usage(tools={"grounding": 1, "web_search": 1})
    assert [it.usage for it in found if isinstance(it, UsageUpdate)] == [usage]
    assert DIALECT.summarize(whole(chunk(candidate(text("a"), **search)))).usage == usage


def test_a_prompt_that_is_refused_amid_an_answer_filters_it() -> None:
    refusal = {"promptFeedback": {"blockReason": "SAFETY"}}
    assert heard(stream(HELLO, refusal))[-2:] == [Finish("filter", "SAFETY"), End()]
    ended = heard(stream(HELLO, LAST, refusal))
    assert ended[-2:] == [Finish("stop", "STOP"), End()]


def test_one_object_may_stand_for_a_list() -> None:
    alone = {"candidates": {"content": {"parts": text("a")}, "finishReason": "STOP"}}
    assert heard(stream(alone)) == [Start(), TextDelta("a"), Finish("stop", "STOP"), End()]
    assert json.loads(DIALECT.fold(stream(alone)))["candidates"] == [alone["candidates"]]
