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
from tests.dialects.gemini.cases import STREAM, TELLING, Object, ask, candidate, chunk, heard, text

USED = Usage(input=5, cache_read=1, output=2, reasoning=3)
ENDED: list[Event] = [Finish("stop"), End()]
CALL: list[Event] = [ToolStart(0, "c1", "f"), ToolDelta(0, '{"a"'), ToolDelta(0, ":1}"), ToolEnd(0)]


def written(events: list[Event], label: str = "ab12") -> bytes:
    encoder = TRANSLATION.make_encoder(msgspec.structs.replace(TELLING, state_label=label))
    return b"".join(encoder.write(event) for event in events)


def frames(events: list[Event], **more: Any) -> list[Object]:
    return [json.loads(sse.read_data(it)) for it in sse.split_frames(written(events, **more))]


def parts(events: list[Event], **more: Any) -> list[Object]:
    """Return the parts of all chunks."""
    rows = [row for it in frames(events, **more) for row in it["candidates"]]
    return [part for row in rows for part in row.get("content", {}).get("parts", ())]


def test_a_stream_of_words() -> None:
    told = Start(id="r1", model="m-2", created=1, usage=Usage(input=9))
    assert frames([told, TextDelta("hel"), UsageUpdate(USED), TextDelta("lo"), *ENDED]) == [
        {**chunk(candidate(text("hel"))), "modelVersion": "m-2"},
        {**chunk(candidate(text("lo"))), "modelVersion": "m-2"},
        {
            **chunk(candidate(text(""), finish="STOP")),
            "modelVersion": "m-2",
            "usageMetadata": {"promptTokenCount": 6, "cachedContentTokenCount": 1, "candidatesTokenCount": 2, "thoughtsTokenCount": 3, "totalTokenCount": 11},
        },
    ]  # fmt: skip


def test_what_the_provider_does_not_say_the_call_does() -> None:
    last = frames([Start(), *ENDED])[0]
    assert (last["responseId"], last["modelVersion"], "usageMetadata" in last) == ("call-1", "m-1", False)  # fmt: skip


def test_a_tool_is_told_when_its_arguments_are_complete() -> None:
    assert written(CALL[:3]) == b""
    call = {"functionCall": {"id": "c1", "name": "f", "args": {"a": 1}}}
    assert parts(CALL) == [{**call, "thoughtSignature": encode_state("ab12", "")}]
    signed: list[Event] = [*CALL[:3], ToolEnd(0, "s")]
    assert parts(signed) == [{**call, "thoughtSignature": encode_state("ab12", "s")}]
    assert parts(signed, label="") == [call]


def test_tools_may_be_interleaved() -> None:
    mixed: list[Event] = [ToolStart(0, "a", "f"), ToolStart(1, "b", "g"), ToolDelta(1, "{"), ToolDelta(0, ""), ToolDelta(1, "x"), ToolEnd(1), ToolEnd(0)]  # fmt: skip
    assert [part["functionCall"] for part in parts(mixed)] == [
        {"id": "b", "name": "g", "args": {"_raw": "{x"}},
        {"id": "a", "name": "f", "args": {}},
    ]
    free: list[Event] = [ToolStart(0, "a", "f", custom=True), ToolDelta(0, "x = 1"), ToolEnd(0)]
    assert parts(free)[0]["functionCall"]["args"] == {"input": "x = 1"}


def test_reasoning_and_its_state() -> None:
    thought: list[Event] = [ReasoningDelta("hm"), ReasoningEnd("s"), ReasoningEnd(), ReasoningEnd("d", redacted=True)]  # fmt: skip
    assert parts(thought) == [
        text("hm", thought=True),
        {"text": "", "thought": True, "thoughtSignature": encode_state("ab12", "s")},
        {"text": "", "thought": True, "thoughtSignature": encode_state("ab12", "d", redacted=True)},
    ]
    assert parts(thought, label="") == [text("hm", thought=True)]


def test_a_thought_without_a_state_has_the_label_alone() -> None:
    """The label comes once, with a thought. The native path sees that Gemini did not make it."""
    thought: list[Event] = [
        ReasoningDelta("h"),
        ReasoningDelta("m"),
        ReasoningEnd(),
        ReasoningEnd(),
        *CALL,
    ]
    told = parts(thought)
    assert told[2] == {"text": "", "thought": True, "thoughtSignature": encode_state("ab12", "")}
    assert [*told[3]] == ["functionCall", "thoughtSignature"]
    turn = TRANSLATION.decode_request(ask(contents=[{"role": "model", "parts": told}])).turns[0]
    made, use = turn.parts
    assert (made.text, made.state, made.maker) == ("hm", None, "ab12")  # type: ignore[union-attr]  # a thought
    assert (use.state, use.maker) == (None, "ab12")  # type: ignore[union-attr]  # a call


def test_reasoning_comes_back_as_it_was() -> None:
    """A client that sends a kept stream back sends the same turn, with its maker."""
    events: list[Event] = [ReasoningDelta("h"), ReasoningDelta("m"), ReasoningEnd("s"), *CALL]
    for kept in (parts(events), json.loads(TRANSLATION.encode_response(events, TELLING))["candidates"][0]["content"]["parts"]):  # fmt: skip
        turn = TRANSLATION.decode_request(ask(contents=[{"role": "model", "parts": kept}])).turns[0]
        thought, use = turn.parts
        assert (thought.text, thought.state, thought.maker) == ("hm", "s", "ab12")  # type: ignore[union-attr]  # a thought
        assert (use.id, use.name, use.arguments) == ("c1", "f", '{"a":1}')  # type: ignore[union-attr]  # a call


@pytest.mark.parametrize(
    ("reason", "word"),
    [("stop", "STOP"), ("tools", "STOP"), ("pause", "STOP"), ("length", "MAX_TOKENS"), ("filter", "SAFETY"), ("error", "OTHER")],
)  # fmt: skip
def test_why_it_ended(reason: Any, word: str) -> None:
    assert frames([Finish(reason), End()])[0]["candidates"][0]["finishReason"] == word


def test_several_choices_end_in_one_chunk() -> None:
    said: list[Event] = [TextDelta("b", 1), TextDelta("a", 0), Finish("length", choice=1), Finish("stop"), End()]  # fmt: skip
    last = frames(said)[-1]["candidates"]
    assert [(row["index"], row["finishReason"]) for row in last] == [(0, "STOP"), (1, "MAX_TOKENS")]
    whole = json.loads(TRANSLATION.encode_response(said, TELLING))["candidates"]
    assert [row["content"]["parts"] for row in whole] == [[text("a")], [text("b")]]


def test_sources_have_places_in_bytes() -> None:
    """`citationSources` is the name of the Gemini API, which Google's SDKs read."""
    said = frames([TextDelta("éab"), Citation("u", "t", 1, 3), Citation(title="x"), Citation("u")])
    assert said[1]["candidates"][0]["citationMetadata"] == {
        "citationSources": [{"startIndex": 2, "endIndex": 4, "uri": "u", "title": "t"}]
    }
    assert said[2]["candidates"][0]["citationMetadata"]["citationSources"] == [{"title": "x"}]


def test_log_probabilities() -> None:
    near = {"token": "a", "logprob": -1.0, "bytes": [97]}
    said = frames([LogProbs([{**near, "top_logprobs": [near]}]), LogProbs([near])])
    chosen = {"token": "a", "logProbability": -1.0}
    assert said[0]["candidates"][0]["logprobsResult"] == {
        "chosenCandidates": [chosen],
        "topCandidates": [{"candidates": [chosen]}],
    }
    assert said[1]["candidates"][0]["logprobsResult"] == {"chosenCandidates": [chosen]}


def test_a_token_without_a_probability_has_none() -> None:
    """Hugging Face's last token is {"token": "", "top_logprobs": [...]}."""
    [said] = frames([LogProbs([{"token": ""}])])
    assert said["candidates"][0]["logprobsResult"] == {"chosenCandidates": [{"token": ""}]}


def test_what_has_no_word_here_is_not_told() -> None:
    problem = Problem(kind="upstream_error", message="m")
    assert written([Failed(problem), Start(), UsageUpdate(USED), Finish("stop")]) == b""
    assert parts([Declined("no")]) == [text("no")]


def test_media_are_parts() -> None:
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
    context = msgspec.structs.replace(TELLING, dropped_names={})
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
def test_streamed_and_whole_say_the_same(blocks: list[list[Event]]) -> None:
    """Law 2: also, the native inspector finds a stream of the same bytes complete."""
    events = [Start(id="r1", model="m-1"), *[it for block in blocks for it in block], UsageUpdate(USED), *ENDED]  # fmt: skip
    data = written(events)
    assert DIALECT.fold(data) == TRANSLATION.encode_response(events, TELLING)
    watch = DIALECT.inspect_stream(ask(STREAM))
    assert (watch.feed(data) + watch.end(), watch.complete, watch.finish) == (data, True, "STOP")
    assert (
        words(heard(data))
        == words(TRANSLATION.decode_response(TRANSLATION.encode_response(events, TELLING)))
        == words(events)
    )


def words(events: list[Event]) -> tuple[str, str, int]:
    """Return the text, the reasoning, and the number of tools."""
    return (
        "".join(it.text for it in events if isinstance(it, TextDelta)),
        "".join(it.text for it in events if isinstance(it, ReasoningDelta)),
        sum(isinstance(it, ToolStart) for it in events),
    )


def test_pieces_of_a_call_that_never_began_are_left_out() -> None:
    """The provider is at fault for an odd answer of another dialect, not the gateway."""
    assert parts([ToolDelta(3, "x"), ToolEnd(3), *CALL, *ENDED]) == parts([*CALL, *ENDED])


@pytest.mark.parametrize("tokens", [[1, None, "x"], [{"token": "a", "top_logprobs": 1}], [{"token": "a", "top_logprobs": ["x"]}]])  # fmt: skip
def test_tokens_of_another_shape_are_left_out(tokens: list[Any]) -> None:
    assert "topCandidates" not in str(frames([TextDelta("a"), LogProbs(tokens), *ENDED]))
