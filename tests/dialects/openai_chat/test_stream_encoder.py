"""Events as answers: the official SDK reads the same content, streamed and whole."""

import base64
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core import sse as wire
from gateway.core.canonical_request import CanonicalRequest, Thought, ToolUse
from gateway.core.events import (
    AnswerMetadata,
    Citation,
    Declined,
    End,
    Event,
    Failed,
    Finish,
    FinishReason,
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
from gateway.dialects import OPENAI_CHAT, reasoning_state, stream_frames
from gateway.dialects.base import ResponseContext
from gateway.dialects.openai_chat import TRANSLATION, usage
from tests.dialects.cases import TEXT, Object
from tests.dialects.openai_chat import sdk

TELLING = ResponseContext(id="01", created_at=7, model="asked")
LABELLED = ResponseContext(id="01", created_at=7, model="asked", state_label="ab")
LEGACY = ResponseContext(
    id="01",
    created_at=7,
    model="asked",
    request=CanonicalRequest(turns=(), names={"tools": "functions"}),
)
START = Start(id="c1", model="m-1", created=1)
ENDED = (Finish("stop"), End())


def stream(*events: Event, telling: ResponseContext = TELLING) -> bytes:
    encoder = TRANSLATION.make_encoder(telling)
    return b"".join([encoder.write(event) for event in events])


def chunks(*events: Event, telling: ResponseContext = TELLING) -> list[Object]:
    payloads = [
        wire.read_data(frame) for frame in wire.split_frames(stream(*events, telling=telling))
    ]
    return [json.loads(payload) for payload in payloads if payload != b"[DONE]"]


def deltas(*events: Event, telling: ResponseContext = TELLING) -> list[Object]:
    """Return the deltas of events after the first delta."""
    found = chunks(START, *events, telling=telling)
    return [choice["delta"] for chunk in found[1:] for choice in chunk["choices"]]


def whole(*events: Event, telling: ResponseContext = TELLING) -> Object:
    found: Object = json.loads(TRANSLATION.encode_response(events, telling))
    return found


def message(*events: Event, telling: ResponseContext = TELLING) -> Object:
    found: Object = whole(START, *events, *ENDED, telling=telling)["choices"][0]["message"]
    return found


def test_a_stream_is_chunks_of_one_answer() -> None:
    """All chunks have one id, time and model. The role is first, then the finish, then [DONE]."""
    assert stream(START, TextDelta("h"), TextDelta("i"), *ENDED) == (
        b'data: {"id":"c1","object":"chat.completion.chunk","created":1,"model":"m-1","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}\n\n'
        b'data: {"id":"c1","object":"chat.completion.chunk","created":1,"model":"m-1","choices":[{"index":0,"delta":{"content":"h"},"finish_reason":null}]}\n\n'
        b'data: {"id":"c1","object":"chat.completion.chunk","created":1,"model":"m-1","choices":[{"index":0,"delta":{"content":"i"},"finish_reason":null}]}\n\n'
        b'data: {"id":"c1","object":"chat.completion.chunk","created":1,"model":"m-1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
        b"data: [DONE]\n\n"
    )


def test_what_the_provider_did_not_say_is_the_gateway_s() -> None:
    """The gateway fills in id, time and model, also for an answer without a start."""
    for events in ((Start(), TextDelta("a")), (TextDelta("a"),)):
        head = chunks(*events)[0]
        assert (head["id"], head["created"], head["model"]) == ("chatcmpl-01", 7, "asked")


def test_usage_is_a_chunk_of_its_own_for_who_asked() -> None:
    """The chunk has the last usage. A whole answer always has it."""
    used = Usage(input=3, cache_read=2, cache_write={"5m": 1}, output=4, reasoning=5)
    start = Start(id="c1", usage=Usage(input=9))
    events = (
        start,
        TextDelta("a"),
        UsageUpdate(Usage(input=1, output=1)),
        Finish("stop"),
        UsageUpdate(used),
        End(),
    )
    told = {
        "prompt_tokens": 6,
        "completion_tokens": 9,
        "total_tokens": 15,
        "prompt_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 1},
        "completion_tokens_details": {"reasoning_tokens": 5},
    }
    assert (chunks(*events)[-1]["choices"], chunks(*events)[-1]["usage"]) == ([], told)
    quiet = ResponseContext(id="01", created_at=7, model="asked", stream_usage=False)
    assert all("usage" not in chunk for chunk in chunks(*events, telling=quiet))
    assert stream(*events, telling=quiet).endswith(b"data: [DONE]\n\n")
    assert whole(*events, telling=quiet)["usage"] == told
    assert "usage" not in whole(start, *ENDED)


@pytest.mark.parametrize(
    "used",
    [None, Usage(), Usage(input=1), Usage(output=1)],
)
def test_usage_that_is_half_known_is_not_told(used: Usage | None) -> None:
    """The SDK's type has no place for unknown counts."""
    assert usage.write_usage(used) is None


COUNT = st.integers(0, 9)


@given(COUNT, st.none() | COUNT, st.just({}) | st.builds(lambda n: {"": n}, st.integers(1, 9)), COUNT, st.none() | COUNT)  # fmt: skip
def test_usage_that_is_told_reads_back_the_same(
    fresh: int, read: int | None, written: dict[str, int], output: int, reasoning: int | None
) -> None:
    """All five numbers come back."""
    used = Usage(
        input=fresh, cache_read=read, cache_write=written, output=output, reasoning=reasoning
    )
    told = usage.write_usage(used)
    assert told is not None
    assert usage.read(told) == used


def test_reasoning_is_reasoning_content() -> None:
    """Parts of a summary are separate paragraphs."""
    second = (ReasoningDelta("c", part=1), ReasoningDelta("d", part=1))
    said = deltas(
        ReasoningDelta("a"), ReasoningDelta("b"), *second, ReasoningEnd(), ReasoningDelta("e")
    )
    assert said == [{"reasoning_content": text} for text in ("a", "b", "\n\nc", "d", "e")]
    assert deltas(ReasoningDelta("a", part=1)) == [{"reasoning_content": "a"}]


def test_states_stand_in_reasoning_details() -> None:
    """Each state carries its label and its owner: a number of characters, nothing, or a call."""
    events = (
        ReasoningDelta("one"), ReasoningDelta("two", part=1), ReasoningEnd("s1"), ReasoningEnd("s2", redacted=True), ToolStart(0, "c", "f"),
        ToolDelta(0, "{}"), ToolEnd(0, "s3"),
    )  # fmt: skip
    expected = [
        {"type": "reasoning.encrypted", "data": "tg1.ab.s1", "index": 0, "chars": 8},
        {"type": "reasoning.encrypted", "data": "tg1.ab.s2", "index": 1, "redacted": True},
        {"type": "reasoning.encrypted", "data": "tg1.ab.s3", "index": 2, "id": "c"},
    ]
    said = message(*events, telling=LABELLED)
    assert said["reasoning_details"] == expected
    streamed = sdk.streamed(stream(START, *events, *ENDED, telling=LABELLED))
    assert streamed["choices"][0]["message"]["reasoning_details"] == expected
    assert "reasoning_details" not in message(*events)


def test_states_come_back_as_they_went() -> None:
    """The decoder reads returned states as the same thoughts and calls."""
    events = (
        ReasoningDelta("one"), ReasoningEnd("s1"), ReasoningDelta("two"), ReasoningEnd("s2"), ReasoningEnd("s3", redacted=True), TextDelta("x"),
        ToolStart(0, "c", "f"), ToolDelta(0, "{}"), ToolEnd(0, "s4"),
    )  # fmt: skip
    said = message(*events, telling=LABELLED)
    body = json.dumps({"model": "m", "messages": [said]}).encode()
    [turn] = TRANSLATION.decode_request(OPENAI_CHAT.read(body)).turns
    thoughts = [
        (it.text, it.state, it.redacted, it.maker) for it in turn.parts if isinstance(it, Thought)
    ]
    assert thoughts == [("one", "s1", False, "ab"), ("two", "s2", False, "ab"), ("", "s3", True, "ab")]  # fmt: skip
    [use] = [it for it in turn.parts if isinstance(it, ToolUse)]
    assert (use.state, use.maker) == ("s4", "ab")
    assert reasoning_state.split_label(reasoning_state.write_label("ab", "s4")) == ("ab", "s4")


def test_calls_are_numbered_as_they_begin() -> None:
    """The provider's numbers do not matter; only the first piece has id and name."""
    said = deltas(
        ToolStart(4, "a", "f"), ToolStart(2, "b", "g"), ToolDelta(2, "["), ToolDelta(4, "{"), ToolDelta(4, ""),
        ToolDelta(9, "?"), ToolDelta(4, "}"), ToolEnd(4), ToolEnd(2), ToolEnd(9),
    )  # fmt: skip
    assert [delta["tool_calls"][0] for delta in said] == [
        {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}},
        {"index": 1, "id": "b", "type": "function", "function": {"name": "g", "arguments": ""}},
        {"index": 1, "function": {"arguments": "["}},
        {"index": 0, "function": {"arguments": "{"}},
        {"index": 0, "function": {"arguments": "}"}},
    ]


def test_a_call_without_arguments_has_an_empty_object() -> None:
    """Clients parse arguments as JSON; a custom tool's text may be empty."""
    [call] = message(ToolStart(0, "a", "f"), ToolEnd(0))["tool_calls"]
    assert call == {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    [custom] = message(ToolStart(0, "a", "c", custom=True), ToolEnd(0))["tool_calls"]
    assert custom == {"id": "a", "type": "custom", "custom": {"name": "c", "input": ""}}


@pytest.mark.parametrize(
    ("arguments", "text"),
    [('{"input":"select"}', "select"), ('{"input":7}', '{"input":7}'), ("[", "["), ("[]", "[]")],
)
def test_a_custom_tool_is_turned_back(arguments: str, text: str) -> None:
    """A function with one text stood in for the tool; other arguments go on unchanged."""
    telling = ResponseContext(
        id="01", created_at=7, model="asked", custom_tool_names=frozenset({"c"})
    )
    events = (ToolStart(0, "a", "c"), ToolDelta(0, arguments[:1]), ToolDelta(0, arguments[1:]), ToolEnd(0))  # fmt: skip
    [call] = message(*events, telling=telling)["tool_calls"]
    assert call == {"id": "a", "type": "custom", "custom": {"name": "c", "input": text}}
    own = ToolStart(0, "a", "c", custom=True)
    [kept] = message(own, ToolDelta(0, arguments), ToolEnd(0), telling=telling)["tool_calls"]
    assert kept["custom"]["input"] == arguments


def test_who_asked_with_functions_gets_a_function_call() -> None:
    """A message of those years has only one call."""
    events = (
        START, ToolStart(0, "a", "f"), ToolDelta(0, "{}"), ToolStart(1, "b", "g"), ToolEnd(0), ToolEnd(1), Finish("tools"), End(),
    )  # fmt: skip
    [choice] = whole(*events, telling=LEGACY)["choices"]
    assert choice["finish_reason"] == "function_call"
    assert choice["message"]["function_call"] == {"name": "f", "arguments": "{}"}
    assert "tool_calls" not in choice["message"]
    assert whole(START, *ENDED, telling=LEGACY)["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize(
    ("reason", "word"),
    [
        ("stop", "stop"), ("length", "length"), ("tools", "tool_calls"), ("filter", "content_filter"), ("pause", "stop"),
        ("error", "error"),
    ],
)  # fmt: skip
def test_a_finish_is_told_by_its_reason(reason: FinishReason, word: str) -> None:
    """The provider's own word belongs to another dialect."""
    choice = whole(START, Finish(reason, "end_turn"), End())["choices"][0]
    assert choice["finish_reason"] == word


def test_sources_are_told_at_the_finish() -> None:
    """Sources come in one list, since the SDK cannot join lists.

    One without an address is left out.
    """
    cited = [Citation(url=url, title="t", start=1, end=2) for url in ("u", "v", None)]
    notes = [
        {"type": "url_citation", "url_citation": {"url": url, "title": "t", "start_index": 1, "end_index": 2}}
        for url in ("u", "v")
    ]  # fmt: skip
    events: list[Event] = [START, TextDelta("a"), cited[0], TextDelta("b"), *cited[1:], *ENDED]
    assert [delta for chunk in chunks(*events) for choice in chunk["choices"] if (delta := choice["delta"])][-1] == {"annotations": notes}  # fmt: skip
    streamed = sdk.streamed(stream(*events))
    assert streamed["choices"][0]["message"]["annotations"] == notes


def test_pictures_are_in_a_member_of_their_own() -> None:
    """Each picture has the index that SDKs need in streams."""
    name = "candidates.content.inlineData"
    made: list[Event] = [
        GeneratedMedia("image", "QUJD", name, media_type="image/jpeg"), GeneratedMedia("image", "QQ==", name),
        GeneratedMedia("image", "", "message.images", url="https://a.test"),
    ]  # fmt: skip
    urls = ["data:image/jpeg;base64,QUJD", "data:image/png;base64,QQ==", "https://a.test"]
    images = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    assert deltas(*made) == [{"images": [{**it, "index": at}]} for at, it in enumerate(images)]
    message = whole(START, *made, *ENDED)["choices"][0]["message"]
    assert message == {"role": "assistant", "content": None, "images": images}
    sdk.streamed(stream(START, *made, *ENDED))


def test_speech_is_one_string_whose_pieces_can_be_joined() -> None:
    """The encoder splits pieces with padding anew, at whole samples."""
    data = bytes(range(20))
    made: list[Event] = [
        GeneratedMedia("audio", base64.b64encode(piece).decode(), "x", transcript=word)
        for piece, word in ((data[:7], "a"), (data[7:8], ""), (data[8:], "b"))
    ]
    audio = {"id": "audio_01", "data": base64.b64encode(data).decode(), "transcript": "ab", "expires_at": 7}  # fmt: skip
    assert whole(START, *made, *ENDED)["choices"][0]["message"]["audio"] == audio
    assert sdk.streamed(stream(START, *made, *ENDED))["choices"][0]["message"]["audio"] == audio
    assert deltas(*made, *ENDED)[0]["audio"] == {
        "id": "audio_01", "expires_at": 7, "data": base64.b64encode(data[:6]).decode(), "transcript": "a",
    }  # fmt: skip


def test_what_has_no_place_is_named() -> None:
    context = msgspec.structs.replace(TELLING, dropped_names={})
    lost: list[Event] = [
        Opaque("output.web_search_call"), AnswerMetadata("candidates.urlContextMetadata"), START,
        Citation(title="t", name="content.citations"), GeneratedMedia("audio", "?", "message.audio", id="s"),
    ]  # fmt: skip
    assert b'"id":"s"' in stream(*lost, *ENDED, telling=context)
    assert [*context.dropped_names] == [
        "output.web_search_call", "candidates.urlContextMetadata", "content.citations", "message.audio",
    ]  # fmt: skip


def test_refusals_and_log_probabilities() -> None:
    """Both have their own members; streams add up to the whole answer."""
    tokens: list[list[Any]] = [[{"token": text, "logprob": -1.0, "bytes": None, "top_logprobs": []}] for text in "ab"]  # fmt: skip
    events = (START, Declined("n"), Declined("o"), LogProbs(tokens[0]), LogProbs(tokens[1]), *ENDED)
    [choice] = whole(*events)["choices"]
    assert choice["message"] == {"role": "assistant", "content": None, "refusal": "no"}
    assert choice["logprobs"]["content"] == [*tokens[0], *tokens[1]]
    [streamed] = sdk.streamed(stream(*events))["choices"]
    assert streamed["message"]["refusal"] == "no"
    assert [token["token"] for token in streamed["logprobs"]["content"]] == ["a", "b"]


def test_what_the_dialect_does_not_tell_is_nothing() -> None:
    """The encoder drops hosted tools at work, and errors, which have a frame of their own."""
    assert stream(Opaque("x"), Failed(stream_frames.make_broken_problem())) == b""


def test_every_choice_begins_with_its_role() -> None:
    """A choice whose first event is its end also gets its role."""
    found = chunks(START, TextDelta("a", 1), ReasoningEnd(choice=2), Finish("stop", choice=3))
    heads = [chunk["choices"][0]["index"] for chunk in found if "role" in chunk["choices"][0]["delta"]]  # fmt: skip
    assert heads == [0, 1, 2, 3]


EVENTS = st.lists(
    st.one_of(
        st.builds(TextDelta, TEXT.filter(bool), st.integers(0, 1)),
        st.builds(ReasoningDelta, TEXT.filter(bool), st.integers(0, 1), st.integers(0, 1)),
        st.builds(ReasoningEnd, st.none() | st.sampled_from(["s", "t"]), choice=st.integers(0, 1)),
        st.builds(Declined, TEXT.filter(bool), st.integers(0, 1)),
        st.builds(Citation, url=st.sampled_from(["u", "v"]), choice=st.integers(0, 1)),
        st.builds(UsageUpdate, st.builds(Usage, input=COUNT, output=COUNT)),
    ),
    max_size=8,
)
CALLS = st.lists(st.tuples(st.sampled_from(["f", "g"]), st.lists(TEXT, max_size=3)), max_size=3)


@given(EVENTS, CALLS)
def test_streamed_and_whole_say_the_same_to_the_sdk(
    events: list[Event], calls: list[tuple[str, list[str]]]
) -> None:
    """Law 2: any events give the same, also tools that begin together and interleave."""
    starts = [ToolStart(at, f"c{at}", name) for at, (name, _) in enumerate(calls)]
    pieces = [ToolDelta(at, text) for at, (_, texts) in enumerate(calls) for text in texts]
    ends = [ToolEnd(at) for at in range(len(calls))]
    finishes = [Finish("tools" if calls else "stop"), Finish("stop", choice=1)]
    said: list[Any] = [START, *events, *starts, *reversed(pieces), *ends, *finishes, End()]
    streamed = sdk.streamed(stream(*said, telling=LABELLED))
    told = sdk.whole(TRANSLATION.encode_response(said, LABELLED))
    for found in (streamed, told):
        found.pop("object")
        for choice in found["choices"]:
            choice["message"]["content"] = choice["message"].get("content") or ""
            for call in choice["message"].get("tool_calls") or ():
                call["function"].pop("parsed_arguments", None)
                call.pop("index", None)
    assert streamed == told
