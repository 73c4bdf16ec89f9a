"""The encoder writes the same events as a stream and as a whole answer."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core import sse
from gateway.core.errors import Problem
from gateway.core.events import (
    AnswerMetadata,
    Citation,
    Declined,
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
from gateway.dialects.gemini import DIALECT, TRANSLATION
from gateway.dialects.gemini.reasoning_state import encode_state
from tests.dialects.gemini.cases import (
    CONTEXT,
    STREAM,
    Object,
    ask,
    candidate,
    chunk,
    decode_stream,
    text,
)

USED = Usage(input=5, cache_read=1, output=2, reasoning=3)
ENDED: list[Event] = [Finish("stop"), End()]
CALL: list[Event] = [ToolStart(0, "c1", "f"), ToolDelta(0, '{"a"'), ToolDelta(0, ":1}"), ToolEnd(0)]


def encode(events: list[Event], label: str = "ab12") -> bytes:
    encoder = TRANSLATION.make_encoder(msgspec.structs.replace(CONTEXT, state_label=label))
    return b"".join(encoder.write(event) for event in events)


def frames(events: list[Event], **more: Any) -> list[Object]:
    return [json.loads(sse.read_data(frame)) for frame in sse.split_frames(encode(events, **more))]


def parts(events: list[Event], **more: Any) -> list[Object]:
    """Return the parts of all chunks."""
    rows = [row for frame in frames(events, **more) for row in frame["candidates"]]
    return [part for row in rows for part in row.get("content", {}).get("parts", ())]


def test_the_encoder_writes_a_stream_of_text() -> None:
    start = Start(id="r1", model="m-2", created=1, usage=Usage(input=9))
    assert frames([start, TextDelta("hel"), UsageUpdate(USED), TextDelta("lo"), *ENDED]) == [
        {**chunk(candidate(text("hel"))), "modelVersion": "m-2"},
        {**chunk(candidate(text("lo"))), "modelVersion": "m-2"},
        {
            **chunk(candidate(text(""), finish="STOP")),
            "modelVersion": "m-2",
            "usageMetadata": {"promptTokenCount": 6, "cachedContentTokenCount": 1, "candidatesTokenCount": 2, "thoughtsTokenCount": 3, "totalTokenCount": 11},
        },
    ]  # fmt: skip


def test_id_and_model_of_the_call_fill_missing_ones() -> None:
    last = frames([Start(), *ENDED])[0]
    assert (last["responseId"], last["modelVersion"], "usageMetadata" in last) == ("call-1", "m-1", False)  # fmt: skip


def test_a_call_is_written_once_its_arguments_are_complete() -> None:
    assert encode(CALL[:3]) == b""
    call = {"functionCall": {"id": "c1", "name": "f", "args": {"a": 1}}}
    assert parts(CALL) == [{**call, "thoughtSignature": encode_state("ab12", "")}]
    signed: list[Event] = [*CALL[:3], ToolEnd(0, "s")]
    assert parts(signed) == [{**call, "thoughtSignature": encode_state("ab12", "s")}]
    assert parts(signed, label="") == [call]


def test_interleaved_calls_are_written_whole() -> None:
    mixed: list[Event] = [ToolStart(0, "a", "f"), ToolStart(1, "b", "g"), ToolDelta(1, "{"), ToolDelta(0, ""), ToolDelta(1, "x"), ToolEnd(1), ToolEnd(0)]  # fmt: skip
    assert [part["functionCall"] for part in parts(mixed)] == [
        {"id": "b", "name": "g", "args": {"_raw": "{x"}},
        {"id": "a", "name": "f", "args": {}},
    ]
    free: list[Event] = [ToolStart(0, "a", "f", custom=True), ToolDelta(0, "x = 1"), ToolEnd(0)]
    assert parts(free)[0]["functionCall"]["args"] == {"input": "x = 1"}


def test_reasoning_state_is_labelled() -> None:
    thought: list[Event] = [ReasoningDelta("hm"), ReasoningEnd("s"), ReasoningEnd(), ReasoningEnd("d", redacted=True)]  # fmt: skip
    assert parts(thought) == [
        text("hm", thought=True),
        {"text": "", "thought": True, "thoughtSignature": encode_state("ab12", "s")},
        {"text": "", "thought": True, "thoughtSignature": encode_state("ab12", "d", redacted=True)},
    ]
    assert parts(thought, label="") == [text("hm", thought=True)]


def test_a_thought_without_a_state_has_only_the_label() -> None:
    """The label comes once, with a thought. The native path sees that Gemini did not make it."""
    thought: list[Event] = [
        ReasoningDelta("h"),
        ReasoningDelta("m"),
        ReasoningEnd(),
        ReasoningEnd(),
        *CALL,
    ]
    parts_ = parts(thought)
    assert parts_[2] == {"text": "", "thought": True, "thoughtSignature": encode_state("ab12", "")}
    assert [*parts_[3]] == ["functionCall", "thoughtSignature"]
    turn = TRANSLATION.decode_request(ask(contents=[{"role": "model", "parts": parts_}])).turns[0]
    thought_part, use = turn.parts
    assert (thought_part.text, thought_part.state, thought_part.maker) == ("hm", None, "ab12")  # type: ignore[union-attr]  # a thought
    assert (use.state, use.maker) == (None, "ab12")  # type: ignore[union-attr]  # a call


def test_encoded_reasoning_decodes_to_the_same_turn() -> None:
    """A client that sends a kept stream back sends the same turn, with its maker."""
    events: list[Event] = [ReasoningDelta("h"), ReasoningDelta("m"), ReasoningEnd("s"), *CALL]
    for parts_ in (parts(events), json.loads(TRANSLATION.encode_response(events, CONTEXT))["candidates"][0]["content"]["parts"]):  # fmt: skip
        turn = TRANSLATION.decode_request(ask(contents=[{"role": "model", "parts": parts_}])).turns[
            0
        ]
        thought, use = turn.parts
        assert (thought.text, thought.state, thought.maker) == ("hm", "s", "ab12")  # type: ignore[union-attr]  # a thought
        assert (use.id, use.name, use.arguments) == ("c1", "f", '{"a":1}')  # type: ignore[union-attr]  # a call


@pytest.mark.parametrize(
    ("reason", "word"),
    [("stop", "STOP"), ("tools", "STOP"), ("pause", "STOP"), ("length", "MAX_TOKENS"), ("filter", "SAFETY"), ("error", "OTHER")],
)  # fmt: skip
def test_the_finish_becomes_a_finish_reason(reason: Any, word: str) -> None:
    assert frames([Finish(reason), End()])[0]["candidates"][0]["finishReason"] == word


def test_several_choices_finish_in_one_chunk() -> None:
    events: list[Event] = [TextDelta("b", 1), TextDelta("a", 0), Finish("length", choice=1), Finish("stop"), End()]  # fmt: skip
    last = frames(events)[-1]["candidates"]
    assert [(row["index"], row["finishReason"]) for row in last] == [(0, "STOP"), (1, "MAX_TOKENS")]
    whole = json.loads(TRANSLATION.encode_response(events, CONTEXT))["candidates"]
    assert [row["content"]["parts"] for row in whole] == [[text("a")], [text("b")]]


def test_citations_have_offsets_in_bytes() -> None:
    """`citationSources` is the name of the Gemini API, which Google's SDKs read."""
    chunks = frames(
        [TextDelta("éab"), Citation("u", "t", 1, 3), Citation(title="x"), Citation("u")]
    )
    assert chunks[1]["candidates"][0]["citationMetadata"] == {
        "citationSources": [{"startIndex": 2, "endIndex": 4, "uri": "u", "title": "t"}]
    }
    assert chunks[2]["candidates"][0]["citationMetadata"]["citationSources"] == [{"title": "x"}]


def test_log_probabilities_become_a_logprobs_result() -> None:
    token = {"token": "a", "logprob": -1.0, "bytes": [97]}
    chunks = frames([LogProbs([{**token, "top_logprobs": [token]}]), LogProbs([token])])
    chosen = {"token": "a", "logProbability": -1.0}
    assert chunks[0]["candidates"][0]["logprobsResult"] == {
        "chosenCandidates": [chosen],
        "topCandidates": [{"candidates": [chosen]}],
    }
    assert chunks[1]["candidates"][0]["logprobsResult"] == {"chosenCandidates": [chosen]}


def test_a_token_without_a_probability_has_none() -> None:
    """Hugging Face's last token is {"token": "", "top_logprobs": [...]}."""
    [frame] = frames([LogProbs([{"token": ""}])])
    assert frame["candidates"][0]["logprobsResult"] == {"chosenCandidates": [{"token": ""}]}


def test_events_without_a_place_in_the_dialect_are_not_written() -> None:
    problem = Problem(kind="upstream_error", message="m")
    assert encode([Failed(problem), Start(), UsageUpdate(USED), Finish("stop")]) == b""
    assert parts([Declined("no")]) == [text("no")]


def test_generated_media_become_parts() -> None:
    """A transcript of speech is text.

    A picture by URL and a citation without a source have no place.
    """
    picture = GeneratedMedia("image", "QUJD", "message.images", media_type="image/png")
    speech = GeneratedMedia("audio", "AAAA", "message.audio", transcript="hi")
    assert parts([picture, speech, GeneratedMedia("audio", "", "message.audio", transcript="!")]) == [
        {"inlineData": {"mimeType": "image/png", "data": "QUJD"}},
        {"inlineData": {"mimeType": "application/octet-stream", "data": "AAAA"}},
        text("hi"), text("!"),
    ]  # fmt: skip
    context = msgspec.structs.replace(CONTEXT, dropped_names={})
    encoder = TRANSLATION.make_encoder(context)
    lost: list[Event] = [
        GeneratedMedia("image", "", "message.images", url="https://a.test"), Opaque("message.content.x"),
        AnswerMetadata("response.audio.delta"), Citation(name="message.annotations"),
    ]  # fmt: skip
    assert [encoder.write(event) for event in lost] == [b""] * 4
    assert [*context.dropped_names] == [
        "message.images", "message.content.x", "response.audio.delta", "message.annotations",
    ]  # fmt: skip


TEXTS = st.text(min_size=1)
BLOCKS: st.SearchStrategy[list[Event]] = st.one_of(
    st.builds(lambda words: [TextDelta(words)], TEXTS),
    st.builds(
        lambda words, state: [ReasoningDelta(words), ReasoningEnd(state)], TEXTS, st.none() | TEXTS
    ),
    st.just([*CALL[:1], ToolDelta(0, '{"a":1}'), *CALL[3:]]),
)


@given(st.lists(BLOCKS, max_size=5))
def test_streamed_and_whole_answers_say_the_same(blocks: list[list[Event]]) -> None:
    """Law 2: also, the native inspector finds a stream of the same bytes complete."""
    events = [Start(id="r1", model="m-1"), *[event for block in blocks for event in block], UsageUpdate(USED), *ENDED]  # fmt: skip
    data = encode(events)
    assert DIALECT.fold(data) == TRANSLATION.encode_response(events, CONTEXT)
    inspector = DIALECT.inspect_stream(ask(STREAM))
    assert (inspector.feed(data) + inspector.end(), inspector.complete, inspector.finish) == (
        data,
        True,
        "STOP",
    )
    assert (
        collect_words(decode_stream(data))
        == collect_words(TRANSLATION.decode_response(TRANSLATION.encode_response(events, CONTEXT)))
        == collect_words(events)
    )


def collect_words(events: list[Event]) -> tuple[str, str, int]:
    """Return the text, the reasoning, and the number of tools."""
    return (
        "".join(event.text for event in events if isinstance(event, TextDelta)),
        "".join(event.text for event in events if isinstance(event, ReasoningDelta)),
        sum(isinstance(event, ToolStart) for event in events),
    )


def test_pieces_of_a_call_that_never_began_are_left_out() -> None:
    """The provider is at fault for an odd answer of another dialect, not the gateway."""
    assert parts([ToolDelta(3, "x"), ToolEnd(3), *CALL, *ENDED]) == parts([*CALL, *ENDED])


@pytest.mark.parametrize("tokens", [[1, None, "x"], [{"token": "a", "top_logprobs": 1}], [{"token": "a", "top_logprobs": ["x"]}]])  # fmt: skip
def test_malformed_log_probabilities_are_left_out(tokens: list[Any]) -> None:
    assert "topCandidates" not in str(frames([TextDelta("a"), LogProbs(tokens), *ENDED]))
