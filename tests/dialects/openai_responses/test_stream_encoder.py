"""Events as answers of this dialect: every item is added and done, and the end has them all."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core import events as e
from gateway.core.canonical_request import CanonicalRequest, CanonicalTurn, Text
from gateway.core.usage import Usage
from gateway.dialects import reasoning_state
from gateway.dialects.base import ResponseContext
from gateway.dialects.openai_responses import DIALECT, TRANSLATION
from gateway.dialects.openai_responses.reasoning_state import SlotContent, write_slot
from tests.dialects.openai_responses.cases import Object, decoded, make_context, read

USED = e.UsageUpdate(Usage(input=12, cache_read=5, output=6, reasoning=4))


def encode_events(*events: e.Event, context: ResponseContext | None = None) -> list[Object]:
    encoder = TRANSLATION.make_encoder(context or make_context())
    frames = b"".join(encoder.write(event) for event in events)
    values = read(frames)
    assert [event["sequence_number"] for event in values] == list(range(len(values)))
    return values


def list_kinds(*events: e.Event, context: ResponseContext | None = None) -> list[str]:
    return [
        event["type"].removeprefix("response.") for event in encode_events(*events, context=context)
    ]


def encode_whole(*events: e.Event, context: ResponseContext | None = None) -> Object:
    value: Object = json.loads(TRANSLATION.encode_response(events, context or make_context()))
    return value


def encode_output(*events: e.Event, context: ResponseContext | None = None) -> list[Object]:
    items: list[Object] = encode_whole(*events, END, context=context)["output"]
    return items


END = e.End()
STOP = (USED, e.Finish("stop"), END)


def test_the_encoder_writes_text_as_a_message_in_the_order_of_the_api() -> None:
    events = encode_events(
        e.Start("chatcmpl-1", "gpt", 3), e.TextDelta("hel"), e.TextDelta("lo"), *STOP
    )
    assert [event["type"] for event in events] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    created, completed = events[0]["response"], events[-1]["response"]
    assert (created["id"], created["model"], created["created_at"]) == ("resp_chatcmpl-1", "gpt", 3)
    assert (created["status"], created["output"], created["usage"]) == ("in_progress", [], None)
    id = "msg_chatcmpl-1_0"
    part = {"type": "output_text", "text": "hello", "annotations": [], "logprobs": []}
    item = {"id": id, "type": "message", "status": "completed", "role": "assistant", "content": [part]}  # fmt: skip
    assert events[2]["item"] == {**item, "status": "in_progress", "content": []}
    assert events[3]["part"] == {**part, "text": ""}
    assert events[4] == {
        "type": "response.output_text.delta", "item_id": id, "output_index": 0, "content_index": 0,
        "delta": "hel", "logprobs": [], "sequence_number": 4,
    }  # fmt: skip
    assert (events[6]["text"], events[7]["part"], events[8]["item"]) == ("hello", part, item)
    assert (completed["status"], completed["output"]) == ("completed", [item])
    assert (created["completed_at"], completed["completed_at"]) == (None, 7)
    assert completed["usage"] == {
        "input_tokens": 17,
        "input_tokens_details": {"cached_tokens": 5, "cache_write_tokens": 0},
        "output_tokens": 10,
        "output_tokens_details": {"reasoning_tokens": 4},
        "total_tokens": 27,
    }


def test_a_refusal_is_a_content_part_of_its_own() -> None:
    assert list_kinds(e.Declined("n"), e.Declined("o"), e.TextDelta("a"), *STOP)[3:] == [
        "content_part.added", "refusal.delta", "refusal.delta", "refusal.done",
        "content_part.done", "content_part.added", "output_text.delta", "output_text.done",
        "content_part.done", "output_item.done", "completed",
    ]  # fmt: skip
    (message,) = encode_output(e.Declined("n"), e.Declined("o"), e.TextDelta("a"))
    assert message["content"][0] == {"type": "refusal", "refusal": "no"}
    assert message["content"][1]["text"] == "a"


def test_log_probabilities_come_in_an_empty_delta_and_in_the_part() -> None:
    tokens = [{"token": "a", "logprob": -1, "bytes": [97], "top_logprobs": []}]
    events = encode_events(e.TextDelta("a"), e.LogProbs(tokens), *STOP)
    assert (events[5]["delta"], events[5]["logprobs"]) == ("", tokens)
    assert events[6]["logprobs"] == tokens
    assert encode_output(e.LogProbs(tokens))[0]["content"][0]["logprobs"] == tokens


FILE = {"type": "file_citation", "file_id": "f", "filename": "a", "index": 1}
OURS = {"type": "url_citation", "url": "u", "title": "t", "start_index": 0, "end_index": 2}
CHAT = {"type": "url_citation", "url_citation": {"url": "u"}}


@pytest.mark.parametrize(
    ("citation", "note"),
    [
        (e.Citation(source=FILE), FILE),
        (e.Citation("u", source=OURS), OURS),
        (e.Citation("u", "t", 0, 2, CHAT), OURS),
        (e.Citation("u"), {**OURS, "title": ""}),
        (e.Citation("u", "t", source={"type": "char_location"}), OURS),
    ],
)
def test_a_citation_becomes_an_annotation(citation: e.Citation, note: Object) -> None:
    values = encode_events(e.TextDelta("ab"), citation, *STOP)
    assert values[5]["type"] == "response.output_text.annotation.added"
    assert (values[5]["annotation"], values[5]["annotation_index"]) == (note, 0)
    assert encode_output(e.TextDelta("ab"), citation)[0]["content"][0]["annotations"] == [note]


def test_a_citation_without_a_url_is_left_out() -> None:
    assert "output_text.annotation.added" not in list_kinds(
        e.TextDelta("a"), e.Citation(source=3), *STOP
    )
    assert encode_output(e.Citation("u"))[0]["content"][0]["annotations"][0]["end_index"] == 0


def test_a_generated_picture_becomes_an_item() -> None:
    picture = e.GeneratedMedia("image", "QUJD", "candidates.content.inlineData", media_type="image/png")  # fmt: skip
    events = encode_events(e.Start("1"), e.TextDelta("a"), picture, *STOP)
    id = "ig_1_1"
    item = {"id": id, "type": "image_generation_call", "status": "completed", "result": "QUJD", "output_format": "png"}  # fmt: skip
    added, completed, done = events[8:11]
    assert added["item"] == {**item, "status": "in_progress", "result": None}
    assert (completed["type"], completed["item_id"]) == ("response.image_generation_call.completed", id)  # fmt: skip
    assert (done["type"], done["item"], done["output_index"]) == ("response.output_item.done", item, 1)  # fmt: skip
    assert events[-1]["response"]["output"][1] == item
    assert (
        "output_format" not in encode_output(e.GeneratedMedia("image", "QUJD", "message.images"))[0]
    )


def test_content_without_a_place_in_the_dialect_is_named() -> None:
    """A transcript of speech is text. Content without a place does not begin the answer either."""
    context = make_context(dropped_names={})
    encoder = TRANSLATION.make_encoder(context)
    assert encoder.write(e.Opaque("content.server_tool_use")) == b""
    assert encoder.write(e.AnswerMetadata("images")) == b""
    assert encoder.write(e.Start()).startswith(b"event: response.created")
    assert encoder.write(e.Citation(source=3, name="content.citations")) == b""
    assert encoder.write(e.GeneratedMedia("image", "", "message.images", url="u")) == b""
    assert encoder.write(e.GeneratedMedia("audio", "QUJD", "message.audio")) == b""
    assert b'"delta":"hi"' in encoder.write(
        e.GeneratedMedia("audio", "", "message.audio", transcript="hi")
    )
    assert [*context.dropped_names] == [
        "content.server_tool_use", "images", "content.citations", "message.images", "message.audio",
    ]  # fmt: skip


def test_reasoning_becomes_a_summary_in_parts() -> None:
    thought = (e.ReasoningDelta("o"), e.ReasoningDelta("ne"), e.ReasoningDelta("two", part=1))
    assert list_kinds(*thought, e.TextDelta("a"), *STOP)[2:13] == [
        "output_item.added", "reasoning_summary_part.added", "reasoning_summary_text.delta",
        "reasoning_summary_text.delta", "reasoning_summary_text.done",
        "reasoning_summary_part.done", "reasoning_summary_part.added",
        "reasoning_summary_text.delta", "reasoning_summary_text.done",
        "reasoning_summary_part.done", "output_item.done",
    ]  # fmt: skip
    items = encode_output(
        *thought, e.ReasoningEnd("sig"), e.ReasoningDelta("three"), e.TextDelta("a")
    )
    assert [[part["text"] for part in item.get("summary", ())] for item in items] == [
        ["one", "two"],
        ["three"],
        [],
    ]
    assert "encrypted_content" not in items[0]


def test_a_state_is_written_only_with_a_label() -> None:
    own = make_context(state_label="m1")
    (thought,) = encode_output(e.ReasoningDelta("hm"), e.ReasoningEnd("sig"), context=own)
    assert thought["encrypted_content"] == reasoning_state.write_label("m1", "sig")
    (hidden,) = encode_output(e.ReasoningEnd("data", redacted=True), context=own)
    assert hidden["encrypted_content"] == reasoning_state.write_label("m1", "redacted:data")
    assert encode_output(e.ReasoningEnd("data", redacted=True)) == []
    assert encode_output(e.ReasoningEnd(), context=own) == []


def test_reasoning_without_a_state_has_only_the_label() -> None:
    """OpenAI would look up its id.

    The gateway recognizes the label when it comes back, without a state.
    """
    items = encode_output(
        e.ReasoningDelta("hm"),
        e.ReasoningEnd(),
        e.TextDelta("a"),
        context=make_context(state_label="m1"),
    )
    assert items[0]["encrypted_content"] == "tg1.m1."
    assert [item["type"] for item in items] == ["reasoning", "message"]
    thought = decoded(input=items).turns[0].parts[0]
    assert (thought.text, thought.state, thought.maker) == ("hm", None, "m1")  # type: ignore[union-attr]  # a thought


def test_a_state_tied_to_a_call_follows_it_and_returns_to_it() -> None:
    call = (e.ToolStart(0, "c1", "f"), e.ToolDelta(0, "{}"), e.ToolEnd(0, "sig"))
    items = encode_output(e.TextDelta("a"), *call, context=make_context(state_label="m1"))
    assert [item["type"] for item in items] == ["message", "function_call", "reasoning"]
    assert items[2]["encrypted_content"] == reasoning_state.write_label(
        "m1", write_slot(SlotContent("sig", call="c1"))
    )
    (turn,) = decoded(input=items).turns
    assert [type(part).__name__ for part in turn.parts] == ["Text", "ToolUse"]
    assert (turn.parts[1].state, turn.parts[1].maker) == ("sig", "m1")  # type: ignore[union-attr]  # a ToolUse


def test_several_calls_may_be_open_at_once() -> None:
    events = encode_events(
        e.TextDelta("I look."),
        e.ToolStart(0, "c1", "f"),
        e.ToolStart(1, "c2", "g"),
        e.ToolDelta(1, "{"),
        e.ToolDelta(0, '{"a":1}'),
        e.ToolDelta(1, "}"),
        e.ToolEnd(0),
        e.ToolEnd(1),
        USED,
        e.Finish("tools"),
        END,
    )
    pieces = [
        event for event in events if event["type"] == "response.function_call_arguments.delta"
    ]
    assert [(piece["output_index"], piece["delta"]) for piece in pieces] == [
        (2, "{"),
        (1, '{"a":1}'),
        (2, "}"),
    ]
    calls = events[-1]["response"]["output"][1:]
    assert [(call["id"], call["call_id"], call["name"], call["arguments"], call["status"]) for call in calls] == [
        ("fc_call1_1", "c1", "f", '{"a":1}', "completed"),
        ("fc_call1_2", "c2", "g", "{}", "completed"),
    ]  # fmt: skip
    assert events[-1]["response"]["status"] == "completed"


def test_a_call_without_arguments_has_an_empty_object() -> None:
    events = encode_events(e.ToolStart(0, "c", "f"), e.ToolEnd(0), *STOP)
    assert [event.get("delta") or event.get("arguments") for event in events[3:5]] == ["{}", "{}"]


def test_a_custom_call_has_free_text() -> None:
    events = (e.ToolStart(0, "c", "n", custom=True), e.ToolDelta(0, "a b"), e.ToolEnd(0))
    assert list_kinds(*events, *STOP)[2:6] == [
        "output_item.added", "custom_tool_call_input.delta", "custom_tool_call_input.done",
        "output_item.done",
    ]  # fmt: skip
    (call,) = encode_output(*events)
    assert (call["type"], call["input"], call["id"]) == ("custom_tool_call", "a b", "ctc_call1_0")
    (empty,) = encode_output(e.ToolStart(0, "c", "n", custom=True), e.ToolEnd(0))
    assert empty["input"] == ""


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ('{"input":"a b"}', "a b"),
        ('{"input":3}', '{"input":3}'),
        ('{"a":"b","c":"d"}', '{"a":"b","c":"d"}'),
        ("[1]", "[1]"),
        ("half {", "half {"),
    ],
)
def test_a_function_that_replaced_a_custom_tool_becomes_a_custom_call_again(
    arguments: str, text: str
) -> None:
    context = make_context(custom_tool_names=frozenset({"n"}))
    events = encode_events(
        e.ToolStart(0, "c", "n"), e.ToolDelta(0, arguments), e.ToolEnd(0), *STOP, context=context
    )
    assert (events[2]["item"]["type"], events[2]["item"]["input"]) == ("custom_tool_call", "")
    assert (events[3]["delta"], events[4]["input"], events[5]["item"]["input"]) == (
        text,
        text,
        text,
    )


def test_events_of_unknown_calls_and_other_choices_are_ignored() -> None:
    assert encode_output(e.ToolDelta(3, "x"), e.ToolEnd(3), e.TextDelta("other", choice=1)) == []
    encoder = TRANSLATION.make_encoder(make_context())
    assert encoder.write(e.TextDelta("other", choice=1)) == b""
    assert encoder.write(e.Opaque("new", {})) == b""


def test_a_failure_is_not_written_by_the_encoder() -> None:
    problem = DIALECT.summarize(b"x").problem
    assert problem is not None
    encoder = TRANSLATION.make_encoder(make_context())
    encoder.write(e.Start())
    assert encoder.write(e.Failed(problem)) == b""


@pytest.mark.parametrize(
    ("reason", "status", "why"),
    [
        ("stop", "completed", None),
        ("tools", "completed", None),
        ("pause", "completed", None),
        ("length", "incomplete", {"reason": "max_output_tokens"}),
        ("filter", "incomplete", {"reason": "content_filter"}),
        ("error", "failed", None),
    ],
)
def test_the_finish_becomes_a_status_and_a_reason(
    reason: e.FinishReason, status: str, why: Object | None
) -> None:
    events = (e.TextDelta("a"), e.Finish(reason), USED, END)
    assert list_kinds(*events)[-1] == status
    answer = encode_whole(*events)
    assert (answer["status"], answer["incomplete_details"]) == (status, why)
    assert (answer["error"] is not None) == (status == "failed")
    assert answer["output"][0]["status"] == ("incomplete" if why else "completed")


def test_a_cut_call_is_incomplete() -> None:
    events = (e.ToolStart(0, "c", "f"), e.ToolDelta(0, '{"a'), e.Finish("length"))
    (call,) = encode_output(*events)
    assert (call["status"], call["arguments"]) == ("incomplete", '{"a')


def test_an_answer_without_an_end_is_never_complete() -> None:
    """Law 10: the encoder never marks a broken answer as complete."""
    events = (e.Start(), e.TextDelta("a"), USED, e.Finish("stop"))
    assert "completed" not in list_kinds(*events)
    assert encode_whole(*events)["status"] == "in_progress"


def test_a_second_start_is_ignored_and_an_end_needs_no_finish() -> None:
    early = e.Start("resp_9", "m-9", None, Usage(input=3, output=1))
    events = encode_events(early, e.Start("other"), END)
    assert [event["type"] for event in events] == [
        "response.created",
        "response.in_progress",
        "response.completed",
    ]
    assert events[-1]["response"]["id"] == "resp_9"
    assert events[-1]["response"]["created_at"] == 7
    assert events[-1]["response"]["usage"]["input_tokens"] == 3


def test_the_answer_repeats_the_settings_of_the_request() -> None:
    tools = [{"type": "function", "name": "f", "parameters": {}, "strict": True}]
    request = decoded(
        instructions="Be brief.",
        tools=tools,
        tool_choice="required",
        max_output_tokens=9,
        reasoning={"effort": "low"},
        text={"verbosity": "low"},
        metadata={"a": "b"},
        temperature=0.5,
        parallel_tool_calls=False,
        service_tier="priority",
        store=True,
        user=None,
    )
    answer = encode_whole(e.TextDelta("a"), *STOP, context=make_context(request))
    names = ("instructions", "tools", "tool_choice", "max_output_tokens", "metadata")
    assert [answer[name] for name in names] == ["Be brief.", tools, "required", 9, {"a": "b"}]
    assert answer["reasoning"] == {"effort": "low", "summary": None}
    assert answer["text"] == {"format": {"type": "text"}, "verbosity": "low"}
    assert (answer["temperature"], answer["parallel_tool_calls"]) == (0.5, False)
    # The client does not decide what was stored, nor at which tier.
    assert (answer["store"], answer["service_tier"]) == (False, "default")
    bare = encode_whole(
        *STOP,
        context=make_context(
            CanonicalRequest(turns=(CanonicalTurn(role="user", parts=(Text(text="a"),)),))
        ),
    )
    assert (bare["tools"], bare["tool_choice"], bare["model"]) == ([], "auto", "m")


WORDS = st.sampled_from(["a", "\u00e9\n", '\u2028"\\', "\U0001f600"])


@st.composite
def answers(draw: st.DrawFn) -> list[e.Event]:
    """Draw content in any order, as decoders send it."""
    events: list[e.Event] = [e.Start("resp_x", "m", 1)]
    tools = 0
    for kind in draw(st.lists(st.sampled_from("wdtcu"), max_size=5)):
        texts = draw(st.lists(WORDS, min_size=1, max_size=3))
        if kind == "w":
            events += map(e.TextDelta, texts)
        elif kind == "d":
            events += map(e.Declined, texts)
        elif kind == "t":
            events += [e.ReasoningDelta(text, part=part) for part, text in enumerate(texts)]
            events.append(e.ReasoningEnd(draw(st.sampled_from([None, "sig"]))))
        else:
            events.append(e.ToolStart(tools, f"c{tools}", "f", custom=kind == "u"))
            events += [e.ToolDelta(tools, text) for text in texts]
            events.append(e.ToolEnd(tools))
            tools += 1
    five = Usage(input=1, cache_read=0, output=2, reasoning=0)
    return [*events, e.UsageUpdate(five), e.Finish("tools" if tools else "stop", "completed"), END]


@given(answers())
def test_streamed_and_whole_answers_say_the_same(events: list[e.Event]) -> None:
    """Law 2: the answer is the same whole, streamed and folded, and decoded again."""
    context = make_context()
    encoder = TRANSLATION.make_encoder(context)
    frames = b"".join(map(encoder.write, events))
    whole = TRANSLATION.encode_response(events, context)
    assert DIALECT.fold(frames) == whole
    decoder = TRANSLATION.make_decoder()
    assert (
        join_neighbours(decoder.feed(frames))
        == join_neighbours(TRANSLATION.decode_response(whole))
        == join_neighbours(events)
    )


def join_neighbours(events: list[e.Event]) -> list[object]:
    """Join neighbouring events of a kind, as a whole answer does."""
    joined: list[object] = []
    for event in events:
        if isinstance(event, e.ReasoningEnd):
            joined.append("thought")
            continue
        if not isinstance(event, e.TextDelta | e.Declined | e.ReasoningDelta | e.ToolDelta):
            joined.append(event)
            continue
        place = (type(event), getattr(event, "part", 0), getattr(event, "index", 0))
        if joined and isinstance(joined[-1], tuple) and joined[-1][0] == place:
            joined[-1] = (place, joined[-1][1] + event.text)
        else:
            joined.append((place, event.text))
    return joined
