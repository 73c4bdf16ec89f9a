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
from tests.dialects.openai_responses.cases import Object, decoded, read, telling

TOLD = e.UsageUpdate(Usage(input=12, cache_read=5, output=6, reasoning=4))


def stream(*events: e.Event, as_: ResponseContext | None = None) -> list[Object]:
    encoder = TRANSLATION.make_encoder(as_ or telling())
    frames = b"".join(encoder.write(event) for event in events)
    said = read(frames)
    assert [it["sequence_number"] for it in said] == list(range(len(said)))
    return said


def kinds(*events: e.Event, as_: ResponseContext | None = None) -> list[str]:
    return [it["type"].removeprefix("response.") for it in stream(*events, as_=as_)]


def told(*events: e.Event, as_: ResponseContext | None = None) -> Object:
    value: Object = json.loads(TRANSLATION.encode_response(events, as_ or telling()))
    return value


def output(*events: e.Event, as_: ResponseContext | None = None) -> list[Object]:
    items: list[Object] = told(*events, END, as_=as_)["output"]
    return items


END = e.End()
STOP = (TOLD, e.Finish("stop"), END)


def test_text_is_a_message_in_the_order_of_the_api() -> None:
    said = stream(e.Start("chatcmpl-1", "gpt", 3), e.TextDelta("hel"), e.TextDelta("lo"), *STOP)
    assert [it["type"] for it in said] == [
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
    begun, ended = said[0]["response"], said[-1]["response"]
    assert (begun["id"], begun["model"], begun["created_at"]) == ("resp_chatcmpl-1", "gpt", 3)
    assert (begun["status"], begun["output"], begun["usage"]) == ("in_progress", [], None)
    id = "msg_chatcmpl-1_0"
    part = {"type": "output_text", "text": "hello", "annotations": [], "logprobs": []}
    item = {"id": id, "type": "message", "status": "completed", "role": "assistant", "content": [part]}  # fmt: skip
    assert said[2]["item"] == {**item, "status": "in_progress", "content": []}
    assert said[3]["part"] == {**part, "text": ""}
    assert said[4] == {
        "type": "response.output_text.delta", "item_id": id, "output_index": 0, "content_index": 0,
        "delta": "hel", "logprobs": [], "sequence_number": 4,
    }  # fmt: skip
    assert (said[6]["text"], said[7]["part"], said[8]["item"]) == ("hello", part, item)
    assert (ended["status"], ended["output"]) == ("completed", [item])
    assert (begun["completed_at"], ended["completed_at"]) == (None, 7)
    assert ended["usage"] == {
        "input_tokens": 17,
        "input_tokens_details": {"cached_tokens": 5, "cache_write_tokens": 0},
        "output_tokens": 10,
        "output_tokens_details": {"reasoning_tokens": 4},
        "total_tokens": 27,
    }


def test_a_refusal_is_a_part_of_its_own() -> None:
    assert kinds(e.Declined("n"), e.Declined("o"), e.TextDelta("a"), *STOP)[3:] == [
        "content_part.added", "refusal.delta", "refusal.delta", "refusal.done",
        "content_part.done", "content_part.added", "output_text.delta", "output_text.done",
        "content_part.done", "output_item.done", "completed",
    ]  # fmt: skip
    (message,) = output(e.Declined("n"), e.Declined("o"), e.TextDelta("a"))
    assert message["content"][0] == {"type": "refusal", "refusal": "no"}
    assert message["content"][1]["text"] == "a"


def test_log_probabilities_are_an_empty_delta_and_stand_in_the_part() -> None:
    tokens = [{"token": "a", "logprob": -1, "bytes": [97], "top_logprobs": []}]
    said = stream(e.TextDelta("a"), e.LogProbs(tokens), *STOP)
    assert (said[5]["delta"], said[5]["logprobs"]) == ("", tokens)
    assert said[6]["logprobs"] == tokens
    assert output(e.LogProbs(tokens))[0]["content"][0]["logprobs"] == tokens


FILE = {"type": "file_citation", "file_id": "f", "filename": "a", "index": 1}
OURS = {"type": "url_citation", "url": "u", "title": "t", "start_index": 0, "end_index": 2}
CHAT = {"type": "url_citation", "url_citation": {"url": "u"}}


@pytest.mark.parametrize(
    ("event", "note"),
    [
        (e.Citation(source=FILE), FILE),
        (e.Citation("u", source=OURS), OURS),
        (e.Citation("u", "t", 0, 2, CHAT), OURS),
        (e.Citation("u"), {**OURS, "title": ""}),
        (e.Citation("u", "t", source={"type": "char_location"}), OURS),
    ],
)
def test_a_source_is_an_annotation(event: e.Citation, note: Object) -> None:
    said = stream(e.TextDelta("ab"), event, *STOP)
    assert said[5]["type"] == "response.output_text.annotation.added"
    assert (said[5]["annotation"], said[5]["annotation_index"]) == (note, 0)
    assert output(e.TextDelta("ab"), event)[0]["content"][0]["annotations"] == [note]


def test_a_source_without_an_address_cannot_be_said() -> None:
    assert "output_text.annotation.added" not in kinds(
        e.TextDelta("a"), e.Citation(source=3), *STOP
    )
    assert output(e.Citation("u"))[0]["content"][0]["annotations"][0]["end_index"] == 0


def test_a_picture_is_an_item() -> None:
    picture = e.GeneratedMedia("image", "QUJD", "candidates.content.inlineData", media_type="image/png")  # fmt: skip
    said = stream(e.Start("1"), e.TextDelta("a"), picture, *STOP)
    id = "ig_1_1"
    item = {"id": id, "type": "image_generation_call", "status": "completed", "result": "QUJD", "output_format": "png"}  # fmt: skip
    added, completed, done = said[8:11]
    assert added["item"] == {**item, "status": "in_progress", "result": None}
    assert (completed["type"], completed["item_id"]) == ("response.image_generation_call.completed", id)  # fmt: skip
    assert (done["type"], done["item"], done["output_index"]) == ("response.output_item.done", item, 1)  # fmt: skip
    assert said[-1]["response"]["output"][1] == item
    assert "output_format" not in output(e.GeneratedMedia("image", "QUJD", "message.images"))[0]


def test_what_has_no_place_is_named() -> None:
    """A transcript of speech is text. Content without a place does not begin the answer either."""
    context = telling(dropped_names={})
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


def test_thinking_is_a_summary_in_parts() -> None:
    thought = (e.ReasoningDelta("o"), e.ReasoningDelta("ne"), e.ReasoningDelta("two", part=1))
    assert kinds(*thought, e.TextDelta("a"), *STOP)[2:13] == [
        "output_item.added", "reasoning_summary_part.added", "reasoning_summary_text.delta",
        "reasoning_summary_text.delta", "reasoning_summary_text.done",
        "reasoning_summary_part.done", "reasoning_summary_part.added",
        "reasoning_summary_text.delta", "reasoning_summary_text.done",
        "reasoning_summary_part.done", "output_item.done",
    ]  # fmt: skip
    found = output(*thought, e.ReasoningEnd("sig"), e.ReasoningDelta("three"), e.TextDelta("a"))
    assert [[part["text"] for part in item.get("summary", ())] for item in found] == [
        ["one", "two"],
        ["three"],
        [],
    ]
    assert "encrypted_content" not in found[0]


def test_a_state_goes_under_its_label_and_nowhere_without() -> None:
    own = telling(state_label="m1")
    (thought,) = output(e.ReasoningDelta("hm"), e.ReasoningEnd("sig"), as_=own)
    assert thought["encrypted_content"] == reasoning_state.write_label("m1", "sig")
    (hidden,) = output(e.ReasoningEnd("data", redacted=True), as_=own)
    assert hidden["encrypted_content"] == reasoning_state.write_label("m1", "redacted:data")
    assert output(e.ReasoningEnd("data", redacted=True)) == []
    assert output(e.ReasoningEnd(), as_=own) == []


def test_reasoning_without_a_state_has_the_label_alone() -> None:
    """OpenAI would look up its id.

    The gateway recognizes the label when it comes back, without a state.
    """
    found = output(
        e.ReasoningDelta("hm"), e.ReasoningEnd(), e.TextDelta("a"), as_=telling(state_label="m1")
    )
    assert found[0]["encrypted_content"] == "tg1.m1."
    assert [item["type"] for item in found] == ["reasoning", "message"]
    thought = decoded(input=found).turns[0].parts[0]
    assert (thought.text, thought.state, thought.maker) == ("hm", None, "m1")  # type: ignore[union-attr]  # a thought


def test_a_state_of_a_call_follows_it_and_comes_back_to_it() -> None:
    call = (e.ToolStart(0, "c1", "f"), e.ToolDelta(0, "{}"), e.ToolEnd(0, "sig"))
    found = output(e.TextDelta("a"), *call, as_=telling(state_label="m1"))
    assert [item["type"] for item in found] == ["message", "function_call", "reasoning"]
    assert found[2]["encrypted_content"] == reasoning_state.write_label(
        "m1", write_slot(SlotContent("sig", call="c1"))
    )
    (turn,) = decoded(input=found).turns
    assert [type(part).__name__ for part in turn.parts] == ["Text", "ToolUse"]
    assert (turn.parts[1].state, turn.parts[1].maker) == ("sig", "m1")  # type: ignore[union-attr]  # a ToolUse


def test_calls_may_be_open_beside_one_another() -> None:
    said = stream(
        e.TextDelta("I look."),
        e.ToolStart(0, "c1", "f"),
        e.ToolStart(1, "c2", "g"),
        e.ToolDelta(1, "{"),
        e.ToolDelta(0, '{"a":1}'),
        e.ToolDelta(1, "}"),
        e.ToolEnd(0),
        e.ToolEnd(1),
        TOLD,
        e.Finish("tools"),
        END,
    )
    pieces = [it for it in said if it["type"] == "response.function_call_arguments.delta"]
    assert [(it["output_index"], it["delta"]) for it in pieces] == [
        (2, "{"),
        (1, '{"a":1}'),
        (2, "}"),
    ]
    calls = said[-1]["response"]["output"][1:]
    assert [(it["id"], it["call_id"], it["name"], it["arguments"], it["status"]) for it in calls] == [
        ("fc_call1_1", "c1", "f", '{"a":1}', "completed"),
        ("fc_call1_2", "c2", "g", "{}", "completed"),
    ]  # fmt: skip
    assert said[-1]["response"]["status"] == "completed"


def test_a_function_that_is_called_with_nothing_has_an_empty_object() -> None:
    said = stream(e.ToolStart(0, "c", "f"), e.ToolEnd(0), *STOP)
    assert [it.get("delta") or it.get("arguments") for it in said[3:5]] == ["{}", "{}"]


def test_a_custom_tool_has_free_text() -> None:
    events = (e.ToolStart(0, "c", "n", custom=True), e.ToolDelta(0, "a b"), e.ToolEnd(0))
    assert kinds(*events, *STOP)[2:6] == [
        "output_item.added", "custom_tool_call_input.delta", "custom_tool_call_input.done",
        "output_item.done",
    ]  # fmt: skip
    (call,) = output(*events)
    assert (call["type"], call["input"], call["id"]) == ("custom_tool_call", "a b", "ctc_call1_0")
    (empty,) = output(e.ToolStart(0, "c", "n", custom=True), e.ToolEnd(0))
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
def test_a_function_that_stood_for_a_custom_tool_is_one_again(arguments: str, text: str) -> None:
    as_ = telling(custom_tool_names=frozenset({"n"}))
    said = stream(e.ToolStart(0, "c", "n"), e.ToolDelta(0, arguments), e.ToolEnd(0), *STOP, as_=as_)
    assert (said[2]["item"]["type"], said[2]["item"]["input"]) == ("custom_tool_call", "")
    assert (said[3]["delta"], said[4]["input"], said[5]["item"]["input"]) == (text, text, text)


def test_pieces_of_no_call_and_other_choices_are_nothing() -> None:
    assert output(e.ToolDelta(3, "x"), e.ToolEnd(3), e.TextDelta("other", choice=1)) == []
    encoder = TRANSLATION.make_encoder(telling())
    assert encoder.write(e.TextDelta("other", choice=1)) == b""
    assert encoder.write(e.Opaque("new", {})) == b""


def test_a_failure_is_told_by_the_problem_frame() -> None:
    problem = DIALECT.summarize(b"x").problem
    assert problem is not None
    encoder = TRANSLATION.make_encoder(telling())
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
def test_the_end_says_how_it_ended(reason: e.FinishReason, status: str, why: Object | None) -> None:
    events = (e.TextDelta("a"), e.Finish(reason), TOLD, END)
    assert kinds(*events)[-1] == status
    answer = told(*events)
    assert (answer["status"], answer["incomplete_details"]) == (status, why)
    assert (answer["error"] is not None) == (status == "failed")
    assert answer["output"][0]["status"] == ("incomplete" if why else "completed")


def test_a_call_that_was_cut_is_incomplete() -> None:
    events = (e.ToolStart(0, "c", "f"), e.ToolDelta(0, '{"a'), e.Finish("length"))
    (call,) = output(*events)
    assert (call["status"], call["arguments"]) == ("incomplete", '{"a')


def test_an_answer_without_an_end_has_none() -> None:
    """Law 10: the encoder never marks a broken answer as complete."""
    events = (e.Start(), e.TextDelta("a"), TOLD, e.Finish("stop"))
    assert "completed" not in kinds(*events)
    assert told(*events)["status"] == "in_progress"


def test_an_answer_that_begins_twice_or_ends_without_a_finish_is_one() -> None:
    early = e.Start("resp_9", "m-9", None, Usage(input=3, output=1))
    said = stream(early, e.Start("other"), END)
    assert [it["type"] for it in said] == [
        "response.created",
        "response.in_progress",
        "response.completed",
    ]
    assert said[-1]["response"]["id"] == "resp_9"
    assert said[-1]["response"]["created_at"] == 7
    assert said[-1]["response"]["usage"]["input_tokens"] == 3


def test_the_answer_says_again_what_the_client_asked() -> None:
    tools = [{"type": "function", "name": "f", "parameters": {}, "strict": True}]
    asked = decoded(
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
    answer = told(e.TextDelta("a"), *STOP, as_=telling(asked))
    names = ("instructions", "tools", "tool_choice", "max_output_tokens", "metadata")
    assert [answer[name] for name in names] == ["Be brief.", tools, "required", 9, {"a": "b"}]
    assert answer["reasoning"] == {"effort": "low", "summary": None}
    assert answer["text"] == {"format": {"type": "text"}, "verbosity": "low"}
    assert (answer["temperature"], answer["parallel_tool_calls"]) == (0.5, False)
    # The client does not decide what was stored, nor at which tier.
    assert (answer["store"], answer["service_tier"]) == (False, "default")
    bare = told(
        *STOP,
        as_=telling(CanonicalRequest(turns=(CanonicalTurn(role="user", parts=(Text(text="a"),)),))),
    )
    assert (bare["tools"], bare["tool_choice"], bare["model"]) == ([], "auto", "m")


WORDS = st.sampled_from(["a", "\u00e9\n", '\u2028"\\', "\U0001f600"])


@st.composite
def answers(draw: st.DrawFn) -> list[e.Event]:
    """Draw content in any order, as decoders send it."""
    found: list[e.Event] = [e.Start("resp_x", "m", 1)]
    tools = 0
    for kind in draw(st.lists(st.sampled_from("wdtcu"), max_size=5)):
        texts = draw(st.lists(WORDS, min_size=1, max_size=3))
        if kind == "w":
            found += map(e.TextDelta, texts)
        elif kind == "d":
            found += map(e.Declined, texts)
        elif kind == "t":
            found += [e.ReasoningDelta(text, part=part) for part, text in enumerate(texts)]
            found.append(e.ReasoningEnd(draw(st.sampled_from([None, "sig"]))))
        else:
            found.append(e.ToolStart(tools, f"c{tools}", "f", custom=kind == "u"))
            found += [e.ToolDelta(tools, text) for text in texts]
            found.append(e.ToolEnd(tools))
            tools += 1
    five = Usage(input=1, cache_read=0, output=2, reasoning=0)
    return [*found, e.UsageUpdate(five), e.Finish("tools" if tools else "stop", "completed"), END]


@given(answers())
def test_a_stream_and_a_whole_answer_say_the_same(events: list[e.Event]) -> None:
    """Law 2: the answer is the same whole, streamed and folded, and decoded again."""
    as_ = telling()
    encoder = TRANSLATION.make_encoder(as_)
    frames = b"".join(map(encoder.write, events))
    whole = TRANSLATION.encode_response(events, as_)
    assert DIALECT.fold(frames) == whole
    decoder = TRANSLATION.make_decoder()
    assert (
        joined(decoder.feed(frames)) == joined(TRANSLATION.decode_response(whole)) == joined(events)
    )


def joined(events: list[e.Event]) -> list[object]:
    """Join neighbouring events of a kind, as a whole answer does."""
    found: list[object] = []
    for event in events:
        if isinstance(event, e.ReasoningEnd):
            found.append("thought")
            continue
        if not isinstance(event, e.TextDelta | e.Declined | e.ReasoningDelta | e.ToolDelta):
            found.append(event)
            continue
        place = (type(event), getattr(event, "part", 0), getattr(event, "index", 0))
        if found and isinstance(found[-1], tuple) and found[-1][0] == place:
            found[-1] = (place, found[-1][1] + event.text)
        else:
            found.append((place, event.text))
    return found
