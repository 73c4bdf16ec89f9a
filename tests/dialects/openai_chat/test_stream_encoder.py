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

CONTEXT = ResponseContext(id="01", created_at=7, model="asked")
LABELLED = ResponseContext(id="01", created_at=7, model="asked", state_label="ab")
LEGACY = ResponseContext(
    id="01",
    created_at=7,
    model="asked",
    request=CanonicalRequest(turns=(), names={"tools": "functions"}),
)
START = Start(id="c1", model="m-1", created=1)
ENDED = (Finish("stop"), End())


def encode(*events: Event, context: ResponseContext = CONTEXT) -> bytes:
    encoder = TRANSLATION.make_encoder(context)
    return b"".join([encoder.write(event) for event in events])


def encode_chunks(*events: Event, context: ResponseContext = CONTEXT) -> list[Object]:
    payloads = [
        wire.read_data(frame) for frame in wire.split_frames(encode(*events, context=context))
    ]
    return [json.loads(payload) for payload in payloads if payload != b"[DONE]"]


def encode_deltas(*events: Event, context: ResponseContext = CONTEXT) -> list[Object]:
    """Return the deltas of events after the first delta."""
    written = encode_chunks(START, *events, context=context)
    return [choice["delta"] for chunk in written[1:] for choice in chunk["choices"]]


def encode_whole(*events: Event, context: ResponseContext = CONTEXT) -> Object:
    answer: Object = json.loads(TRANSLATION.encode_response(events, context))
    return answer


def encode_message(*events: Event, context: ResponseContext = CONTEXT) -> Object:
    written: Object = encode_whole(START, *events, *ENDED, context=context)["choices"][0]["message"]
    return written


def test_a_stream_has_role_deltas_finish_and_done() -> None:
    """All chunks have one id, time and model. The role is first, then the finish, then [DONE]."""
    assert encode(START, TextDelta("h"), TextDelta("i"), *ENDED) == (
        b'data: {"id":"c1","object":"chat.completion.chunk","created":1,"model":"m-1","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}\n\n'
        b'data: {"id":"c1","object":"chat.completion.chunk","created":1,"model":"m-1","choices":[{"index":0,"delta":{"content":"h"},"finish_reason":null}]}\n\n'
        b'data: {"id":"c1","object":"chat.completion.chunk","created":1,"model":"m-1","choices":[{"index":0,"delta":{"content":"i"},"finish_reason":null}]}\n\n'
        b'data: {"id":"c1","object":"chat.completion.chunk","created":1,"model":"m-1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
        b"data: [DONE]\n\n"
    )


def test_the_gateway_fills_in_missing_id_time_and_model() -> None:
    """The gateway fills in id, time and model, also for an answer without a start."""
    for events in ((Start(), TextDelta("a")), (TextDelta("a"),)):
        head = encode_chunks(*events)[0]
        assert (head["id"], head["created"], head["model"]) == ("chatcmpl-01", 7, "asked")


def test_usage_is_a_separate_chunk_for_clients_that_asked_for_it() -> None:
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
    expected = {
        "prompt_tokens": 6,
        "completion_tokens": 9,
        "total_tokens": 15,
        "prompt_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 1},
        "completion_tokens_details": {"reasoning_tokens": 5},
    }
    assert (encode_chunks(*events)[-1]["choices"], encode_chunks(*events)[-1]["usage"]) == (
        [],
        expected,
    )
    without_usage = ResponseContext(id="01", created_at=7, model="asked", stream_usage=False)
    assert all("usage" not in chunk for chunk in encode_chunks(*events, context=without_usage))
    assert encode(*events, context=without_usage).endswith(b"data: [DONE]\n\n")
    assert encode_whole(*events, context=without_usage)["usage"] == expected
    assert "usage" not in encode_whole(start, *ENDED)


@pytest.mark.parametrize(
    "used",
    [None, Usage(), Usage(input=1), Usage(output=1)],
)
def test_partial_usage_is_not_written(used: Usage | None) -> None:
    """The SDK's type has no place for unknown counts."""
    assert usage.write_usage(used) is None


COUNT = st.integers(0, 9)


@given(COUNT, st.none() | COUNT, st.just({}) | st.builds(lambda n: {"": n}, st.integers(1, 9)), COUNT, st.none() | COUNT)  # fmt: skip
def test_written_usage_reads_as_the_same_usage(
    fresh: int, read: int | None, written: dict[str, int], output: int, reasoning: int | None
) -> None:
    """All five numbers come back."""
    used = Usage(
        input=fresh, cache_read=read, cache_write=written, output=output, reasoning=reasoning
    )
    reported = usage.write_usage(used)
    assert reported is not None
    assert usage.read(reported) == used


def test_reasoning_becomes_reasoning_content() -> None:
    """Parts of a summary are separate paragraphs."""
    second = (ReasoningDelta("c", part=1), ReasoningDelta("d", part=1))
    written = encode_deltas(
        ReasoningDelta("a"), ReasoningDelta("b"), *second, ReasoningEnd(), ReasoningDelta("e")
    )
    assert written == [{"reasoning_content": text} for text in ("a", "b", "\n\nc", "d", "e")]
    assert encode_deltas(ReasoningDelta("a", part=1)) == [{"reasoning_content": "a"}]


def test_reasoning_states_are_written_as_details() -> None:
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
    written = encode_message(*events, context=LABELLED)
    assert written["reasoning_details"] == expected
    streamed = sdk.streamed(encode(START, *events, *ENDED, context=LABELLED))
    assert streamed["choices"][0]["message"]["reasoning_details"] == expected
    assert "reasoning_details" not in encode_message(*events)


def test_encoded_reasoning_states_decode_to_the_same_thoughts_and_calls() -> None:
    """The decoder reads returned states as the same thoughts and calls."""
    events = (
        ReasoningDelta("one"), ReasoningEnd("s1"), ReasoningDelta("two"), ReasoningEnd("s2"), ReasoningEnd("s3", redacted=True), TextDelta("x"),
        ToolStart(0, "c", "f"), ToolDelta(0, "{}"), ToolEnd(0, "s4"),
    )  # fmt: skip
    written = encode_message(*events, context=LABELLED)
    body = json.dumps({"model": "m", "messages": [written]}).encode()
    [turn] = TRANSLATION.decode_request(OPENAI_CHAT.read(body)).turns
    thoughts = [
        (part.text, part.state, part.redacted, part.maker)
        for part in turn.parts
        if isinstance(part, Thought)
    ]
    assert thoughts == [("one", "s1", False, "ab"), ("two", "s2", False, "ab"), ("", "s3", True, "ab")]  # fmt: skip
    [use] = [part for part in turn.parts if isinstance(part, ToolUse)]
    assert (use.state, use.maker) == ("s4", "ab")
    assert reasoning_state.split_label(reasoning_state.write_label("ab", "s4")) == ("ab", "s4")


def test_calls_are_numbered_in_the_order_of_their_starts() -> None:
    """The provider's numbers do not matter; only the first piece has id and name."""
    written = encode_deltas(
        ToolStart(4, "a", "f"), ToolStart(2, "b", "g"), ToolDelta(2, "["), ToolDelta(4, "{"), ToolDelta(4, ""),
        ToolDelta(9, "?"), ToolDelta(4, "}"), ToolEnd(4), ToolEnd(2), ToolEnd(9),
    )  # fmt: skip
    assert [delta["tool_calls"][0] for delta in written] == [
        {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}},
        {"index": 1, "id": "b", "type": "function", "function": {"name": "g", "arguments": ""}},
        {"index": 1, "function": {"arguments": "["}},
        {"index": 0, "function": {"arguments": "{"}},
        {"index": 0, "function": {"arguments": "}"}},
    ]


def test_a_call_without_arguments_has_an_empty_object() -> None:
    """Clients parse arguments as JSON; a custom tool's text may be empty."""
    [call] = encode_message(ToolStart(0, "a", "f"), ToolEnd(0))["tool_calls"]
    assert call == {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    [custom] = encode_message(ToolStart(0, "a", "c", custom=True), ToolEnd(0))["tool_calls"]
    assert custom == {"id": "a", "type": "custom", "custom": {"name": "c", "input": ""}}


@pytest.mark.parametrize(
    ("arguments", "text"),
    [('{"input":"select"}', "select"), ('{"input":7}', '{"input":7}'), ("[", "["), ("[]", "[]")],
)
def test_a_function_that_replaced_a_custom_tool_becomes_a_custom_call_again(
    arguments: str, text: str
) -> None:
    """A function with one text stood in for the tool; other arguments go on unchanged."""
    context = ResponseContext(
        id="01", created_at=7, model="asked", custom_tool_names=frozenset({"c"})
    )
    events = (ToolStart(0, "a", "c"), ToolDelta(0, arguments[:1]), ToolDelta(0, arguments[1:]), ToolEnd(0))  # fmt: skip
    [call] = encode_message(*events, context=context)["tool_calls"]
    assert call == {"id": "a", "type": "custom", "custom": {"name": "c", "input": text}}
    own = ToolStart(0, "a", "c", custom=True)
    [unchanged] = encode_message(own, ToolDelta(0, arguments), ToolEnd(0), context=context)[
        "tool_calls"
    ]
    assert unchanged["custom"]["input"] == arguments


def test_a_client_with_legacy_functions_gets_a_function_call() -> None:
    """A message of those years has only one call."""
    events = (
        START, ToolStart(0, "a", "f"), ToolDelta(0, "{}"), ToolStart(1, "b", "g"), ToolEnd(0), ToolEnd(1), Finish("tools"), End(),
    )  # fmt: skip
    [choice] = encode_whole(*events, context=LEGACY)["choices"]
    assert choice["finish_reason"] == "function_call"
    assert choice["message"]["function_call"] == {"name": "f", "arguments": "{}"}
    assert "tool_calls" not in choice["message"]
    assert encode_whole(START, *ENDED, context=LEGACY)["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize(
    ("reason", "word"),
    [
        ("stop", "stop"), ("length", "length"), ("tools", "tool_calls"), ("filter", "content_filter"), ("pause", "stop"),
        ("error", "error"),
    ],
)  # fmt: skip
def test_the_finish_becomes_a_finish_reason(reason: FinishReason, word: str) -> None:
    """The provider's own word belongs to another dialect."""
    choice = encode_whole(START, Finish(reason, "end_turn"), End())["choices"][0]
    assert choice["finish_reason"] == word


def test_citations_are_written_at_the_finish() -> None:
    """Sources come in one list, since the SDK cannot join lists.

    One without an address is left out.
    """
    cited = [Citation(url=url, title="t", start=1, end=2) for url in ("u", "v", None)]
    notes = [
        {"type": "url_citation", "url_citation": {"url": url, "title": "t", "start_index": 1, "end_index": 2}}
        for url in ("u", "v")
    ]  # fmt: skip
    events: list[Event] = [START, TextDelta("a"), cited[0], TextDelta("b"), *cited[1:], *ENDED]
    assert [delta for chunk in encode_chunks(*events) for choice in chunk["choices"] if (delta := choice["delta"])][-1] == {"annotations": notes}  # fmt: skip
    streamed = sdk.streamed(encode(*events))
    assert streamed["choices"][0]["message"]["annotations"] == notes


def test_pictures_are_written_in_their_own_member() -> None:
    """Each picture has the index that SDKs need in streams."""
    name = "candidates.content.inlineData"
    media: list[Event] = [
        GeneratedMedia("image", "QUJD", name, media_type="image/jpeg"), GeneratedMedia("image", "QQ==", name),
        GeneratedMedia("image", "", "message.images", url="https://a.test"),
    ]  # fmt: skip
    urls = ["data:image/jpeg;base64,QUJD", "data:image/png;base64,QQ==", "https://a.test"]
    images = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    assert encode_deltas(*media) == [
        {"images": [{**image, "index": at}]} for at, image in enumerate(images)
    ]
    message = encode_whole(START, *media, *ENDED)["choices"][0]["message"]
    assert message == {"role": "assistant", "content": None, "images": images}
    sdk.streamed(encode(START, *media, *ENDED))


def test_speech_is_written_in_pieces_that_join_to_one_string() -> None:
    """The encoder splits pieces with padding anew, at whole samples."""
    data = bytes(range(20))
    speech: list[Event] = [
        GeneratedMedia("audio", base64.b64encode(piece).decode(), "x", transcript=word)
        for piece, word in ((data[:7], "a"), (data[7:8], ""), (data[8:], "b"))
    ]
    audio = {"id": "audio_01", "data": base64.b64encode(data).decode(), "transcript": "ab", "expires_at": 7}  # fmt: skip
    assert encode_whole(START, *speech, *ENDED)["choices"][0]["message"]["audio"] == audio
    assert sdk.streamed(encode(START, *speech, *ENDED))["choices"][0]["message"]["audio"] == audio
    assert encode_deltas(*speech, *ENDED)[0]["audio"] == {
        "id": "audio_01", "expires_at": 7, "data": base64.b64encode(data[:6]).decode(), "transcript": "a",
    }  # fmt: skip


def test_content_without_a_place_in_the_dialect_is_named() -> None:
    context = msgspec.structs.replace(CONTEXT, dropped_names={})
    lost: list[Event] = [
        Opaque("output.web_search_call"), AnswerMetadata("candidates.urlContextMetadata"), START,
        Citation(title="t", name="content.citations"), GeneratedMedia("audio", "?", "message.audio", id="s"),
    ]  # fmt: skip
    assert b'"id":"s"' in encode(*lost, *ENDED, context=context)
    assert [*context.dropped_names] == [
        "output.web_search_call", "candidates.urlContextMetadata", "content.citations", "message.audio",
    ]  # fmt: skip


def test_refusals_and_log_probabilities_have_their_own_members() -> None:
    """Both have their own members; streams add up to the whole answer."""
    tokens: list[list[Any]] = [[{"token": text, "logprob": -1.0, "bytes": None, "top_logprobs": []}] for text in "ab"]  # fmt: skip
    events = (START, Declined("n"), Declined("o"), LogProbs(tokens[0]), LogProbs(tokens[1]), *ENDED)
    [choice] = encode_whole(*events)["choices"]
    assert choice["message"] == {"role": "assistant", "content": None, "refusal": "no"}
    assert choice["logprobs"]["content"] == [*tokens[0], *tokens[1]]
    [streamed] = sdk.streamed(encode(*events))["choices"]
    assert streamed["message"]["refusal"] == "no"
    assert [token["token"] for token in streamed["logprobs"]["content"]] == ["a", "b"]


def test_hosted_tools_and_errors_are_not_written() -> None:
    """The encoder drops hosted tools at work, and errors, which have a frame of their own."""
    assert encode(Opaque("x"), Failed(stream_frames.make_broken_problem())) == b""


def test_every_choice_starts_with_its_role() -> None:
    """A choice whose first event is its end also gets its role."""
    written = encode_chunks(
        START, TextDelta("a", 1), ReasoningEnd(choice=2), Finish("stop", choice=3)
    )
    heads = [chunk["choices"][0]["index"] for chunk in written if "role" in chunk["choices"][0]["delta"]]  # fmt: skip
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
def test_the_sdk_reads_the_same_answer_streamed_and_whole(
    events: list[Event], calls: list[tuple[str, list[str]]]
) -> None:
    """Law 2: any events give the same, also tools that begin together and interleave."""
    starts = [ToolStart(at, f"c{at}", name) for at, (name, _) in enumerate(calls)]
    pieces = [ToolDelta(at, text) for at, (_, texts) in enumerate(calls) for text in texts]
    ends = [ToolEnd(at) for at in range(len(calls))]
    finishes = [Finish("tools" if calls else "stop"), Finish("stop", choice=1)]
    all_events: list[Any] = [START, *events, *starts, *reversed(pieces), *ends, *finishes, End()]
    streamed = sdk.streamed(encode(*all_events, context=LABELLED))
    whole_answer = sdk.whole(TRANSLATION.encode_response(all_events, LABELLED))
    for answer in (streamed, whole_answer):
        answer.pop("object")
        for choice in answer["choices"]:
            choice["message"]["content"] = choice["message"].get("content") or ""
            for call in choice["message"].get("tool_calls") or ():
                call["function"].pop("parsed_arguments", None)
                call.pop("index", None)
    assert streamed == whole_answer
