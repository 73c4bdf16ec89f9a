"""A client whose calls another dialect serves.

The tests check the target's request, the client's answer, and when an answer has begun.
"""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.canonical_request import CanonicalRequest, CanonicalTurn, Text, Tool
from gateway.core.errors import Problem, ProblemError
from gateway.core.events import (
    AnswerMetadata,
    End,
    Event,
    Failed,
    Finish,
    Start,
    TextDelta,
    ToolDelta,
    ToolEnd,
    ToolStart,
    UsageUpdate,
)
from gateway.core.loss import Loss
from gateway.core.target import ModelFacts
from gateway.core.usage import Usage
from gateway.dialects import (
    ANTHROPIC_MESSAGES,
    DIALECTS,
    GEMINI,
    OPENAI_CHAT,
    OPENAI_RESPONSES,
    OPERATIONS,
    RequestBody,
    ResponseContext,
    TranslatableRequest,
    Translation,
    translation,
)
from gateway.dialects.base import EncodedRequest
from gateway.dialects.tool_call_filter import ToolCallFilter
from gateway.dialects.tool_reasoning import ReasoningRecorder
from tests.dialects.asks import decoded
from tests.dialects.cases import chunk, pieces, sse, target, told

TELLING = ResponseContext(id="call-1", created_at=1, model="m-1", state_label="0123456789abcdef")
TALK = [{"role": "user", "content": "hi"}]


def messages(**more: Any) -> RequestBody:
    """Make a request of the Messages API."""
    value = {"model": "auto", "max_tokens": 99, "messages": TALK, **more}
    return ANTHROPIC_MESSAGES.read(json.dumps(value).encode())


def voice(body: RequestBody) -> Translation:
    """Make the translation for a Messages client at a host of Chat Completions."""
    return Translation(ANTHROPIC_MESSAGES, OPENAI_CHAT, asked(body).request, TELLING)


def asked(body: RequestBody) -> TranslatableRequest:
    return TranslatableRequest(ANTHROPIC_MESSAGES, body)


def test_the_target_is_asked_in_its_own_words() -> None:
    body = messages(top_k=3, stop_sequences=["x"])
    written = voice(body).write(body, target("m-1"))
    assert written.body == (
        b'{"model":"m-1","messages":[{"role":"user","content":"hi"}],"max_completion_tokens":99,"stop":["x"]}'
    )
    assert written.losses == (Loss("top_k", "dropped", "openai-chat has no such control"),)


def test_losses_of_the_other_dialect_are_told_by_names_that_the_client_knows() -> None:
    """The target calls the cap `max_completion_tokens`, and stop sequences `stop`."""
    body = messages(max_tokens=99_999, stop_sequences=["x"])
    there = target("m", provider_refused_members=frozenset({"stop"}))
    facts = msgspec.structs.replace(there.facts, max_output=10)
    written = voice(body).write(body, msgspec.structs.replace(there, facts=facts))
    assert [(loss.field, loss.action) for loss in written.losses] == [
        ("max_tokens", "clamped"),
        ("stop_sequences", "dropped"),
    ]


def test_a_member_within_one_that_has_a_name_is_told_by_it_and_others_by_their_own() -> None:
    body = messages(output_config={"effort": "xhigh"})
    said = EncodedRequest(value={}, client_names={"thinking": "effort", "a.b": "c"})
    assert translation._find_client_name(said, "thinking.budget_tokens") == "effort"
    assert translation._find_client_name(said, "a.b.x") == "c"
    assert translation._find_client_name(said, "a.d") == "a.d"
    assert TranslatableRequest(ANTHROPIC_MESSAGES, body).list_losses(OPENAI_CHAT, target()) == ()


def test_a_loss_is_told_once() -> None:
    body = messages(
        messages=[
            {
                "role": "assistant",
                "content": [{"type": "thinking", "thinking": "a", "signature": "s"}],
            },
            *TALK,
        ]
        * 2
    )
    losses = asked(body).list_losses(OPENAI_RESPONSES, target())
    assert [loss.field for loss in losses] == ["messages.reasoning"]


def test_a_limit_of_the_model_is_told_in_place_of_one_of_the_dialect() -> None:
    """Gemini has no level "max", and this model none above "high"."""
    there = target("m", facts=ModelFacts(effort_style="gemini-level", efforts=("low", "high")))
    body = messages(output_config={"effort": "max"})
    assert asked(body).list_losses(GEMINI, there) == (
        Loss("output_config.effort", "clamped", "m does not take xhigh; sent high"),
    )
    assert asked(body).list_losses(GEMINI, target("m")) == (
        Loss("output_config.effort", "clamped", "gemini has no level above xhigh"),
    )


def test_routing_sees_what_the_target_would_be_asked() -> None:
    body = messages(tools=[{"name": "f", "input_schema": {}}], stream=True)
    prompt = asked(body).translate_prompt(OPENAI_CHAT, target("m-1"))
    assert not isinstance(prompt, str)
    assert (prompt.model, prompt.tools, prompt.stream, prompt.max_output) == (
        "m-1",
        ("f",),
        True,
        99,
    )
    refused = asked(messages(stop_sequences=["x"])).translate_prompt(OPENAI_RESPONSES, target())
    assert refused == "stop_sequences: openai-responses has no stop sequences"


def test_a_request_that_cannot_be_read_is_the_clients_fault() -> None:
    with pytest.raises(ProblemError, match="messages"):
        _ = asked(messages(messages=[{"role": "odd"}])).request


def test_a_request_is_read_once() -> None:
    one = asked(messages())
    assert one.request is one.request


def test_only_answers_are_translated_and_only_where_both_sides_can() -> None:
    counting = OPERATIONS["anthropic-messages", "count_tokens"]
    mute = msgspec.structs.replace(OPENAI_CHAT, translation=None)
    body = messages()
    assert TranslatableRequest(ANTHROPIC_MESSAGES, body).can_translate_to(OPENAI_CHAT)
    assert not TranslatableRequest(counting, body).can_translate_to(OPENAI_CHAT)
    assert not TranslatableRequest(ANTHROPIC_MESSAGES, body).can_translate_to(counting)
    assert not TranslatableRequest(ANTHROPIC_MESSAGES, body).can_translate_to(mute)
    assert not TranslatableRequest(mute, body).can_translate_to(ANTHROPIC_MESSAGES)
    with pytest.raises(LookupError, match="openai-chat is not translated"):
        translation.get_translation(mute)


WHOLE = {
    "id": "c1",
    "object": "chat.completion",
    "created": 1,
    "model": "m-1-2026",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}
    ],
    "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7},
}


def test_a_whole_answer_is_told_to_the_client_in_its_dialect() -> None:
    glance = voice(messages()).summarize(json.dumps(WHOLE).encode())
    assert (glance.served_model, glance.finish, glance.problem) == ("m-1-2026", "stop", None)
    assert glance.usage == Usage(input=5, output=2)
    said = json.loads(glance.body or b"")
    assert (said["type"], said["content"], said["stop_reason"]) == (
        "message",
        [{"type": "text", "text": "Hello"}],
        "end_turn",
    )
    assert said["usage"] == {"input_tokens": 5, "output_tokens": 2}


def test_an_error_in_place_of_an_answer_is_none_to_tell() -> None:
    glance = voice(messages()).summarize(b'{"error":{"message":"over","code":429}}')
    assert glance.body is None
    assert glance.problem is not None
    assert glance.problem.body is None


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"error":{"message":"no such thing"}}', "no such thing"),
        (b'{"error":"no such thing"}', "no such thing"),
        (b'{"message":"no such thing"}', "no such thing"),
        (b'{"error":{"message":1}}', "The provider refused the request with HTTP 400."),
        (b'{"error":{"message":""}}', "The provider refused the request with HTTP 400."),
        (b"<html>", "The provider refused the request with HTTP 400."),
    ],
)
def test_a_providers_error_has_its_words_and_no_shape(body: bytes, message: str) -> None:
    problem = voice(messages()).read_problem(400, body, None)
    assert (problem.kind, problem.message, problem.body) == ("upstream_rejected", message, None)


def test_an_error_that_is_no_object_is_read_too() -> None:
    """Gemini wraps errors of streams in a list."""
    request = asked(messages()).request
    google = Translation(ANTHROPIC_MESSAGES, GEMINI, request, TELLING)
    assert google.read_problem(400, b'[{"error":{"message":"bad"}}]', None).message == "bad"
    for body in (b"[]", b'["x"]', b"1", b"{"):
        assert translation._read_error_message(body) is None


STREAM = sse(
    chunk({"role": "assistant", "content": ""}),
    chunk({"content": "Hel"}),
    chunk({"content": "lo"}),
    chunk(finish="stop"),
    told({"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}),
)


def test_a_stream_is_held_until_there_is_content() -> None:
    watch = voice(messages(stream=True)).inspect_stream(messages(stream=True))
    first, rest = STREAM.split(b'data: {"id": "c1"', 2)[1:]
    held = watch.feed(b'data: {"id": "c1"' + first)
    assert (held, watch.committed) == (b"", False)
    said = watch.feed(b'data: {"id": "c1"' + rest)
    assert watch.committed
    assert said.startswith(b"event: message_start\n")
    assert b'"text":"Hel"' in said
    assert (said + watch.end()).endswith(b'event: message_stop\ndata: {"type":"message_stop"}\n\n')
    assert (watch.complete, watch.served_model, watch.finish) == (True, "m-1", "stop")
    assert (watch.usage, watch.problem) == (Usage(input=5, output=2), None)


@given(st.lists(st.integers(1, len(STREAM) - 1), max_size=6))
def test_a_stream_is_the_same_however_it_is_cut(cuts: list[int]) -> None:
    body = messages(stream=True)
    whole, cut = voice(body).inspect_stream(body), voice(body).inspect_stream(body)
    parts = b"".join([cut.feed(piece) for piece in pieces(STREAM, cuts)]) + cut.end()
    assert parts == whole.feed(STREAM) + whole.end()


def test_a_stream_that_ends_too_early_is_not_complete() -> None:
    body = messages(stream=True)
    watch = voice(body).inspect_stream(body)
    said = watch.feed(STREAM[: STREAM.index(b'"finish_reason": "stop"')]) + watch.end()
    assert b"Hel" in said
    assert b"message_stop" not in said
    assert not watch.complete


def test_an_error_in_a_stream_ends_it() -> None:
    body = messages(stream=True)
    watch = voice(body).inspect_stream(body)
    before = watch.feed(sse(chunk({"content": "a"}), done=False))
    after = watch.feed(b'data: {"error":{"message":"over"}}\n\n' + STREAM)
    assert b'"text":"a"' in before
    assert b"Hel" not in after + watch.end()
    assert watch.problem is not None
    assert (watch.complete, watch.problem.body) == (False, None)
    early = voice(body).inspect_stream(body)
    assert early.feed(b'data: {"error":{"message":"over"}}\n\n') == b""
    assert (early.committed, early.problem is not None) == (False, True)


class Script:
    """A decoder that returns given events, whatever it reads."""

    def __init__(self, *events: Event) -> None:
        self.events = [*events]

    def feed(self, data: bytes) -> list[Event]:
        events, self.events = self.events, []
        return events

    def end(self) -> list[Event]:
        return []


class Heard(ReasoningRecorder):
    """A recorder that keeps the events that it hears."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def on_event(self, event: Event) -> None:
        self.events.append(event)


def make_filter(*tools: Tool) -> ToolCallFilter:
    request = CanonicalRequest(turns=(), tools=tools)
    return ToolCallFilter(request, ("", ""), {}, takes_one_tool=False)


class Names:
    """An encoder that writes the kind of each event, and the names of tools."""

    def write(self, event: Event) -> bytes:
        name = event.name if isinstance(event, ToolStart) else type(event).__name__
        return f"{name};".encode()


def test_usage_that_is_told_later_takes_the_place_of_what_was_told_at_first() -> None:
    watch = translation.TranslatedStream(
        Script(
            Start(model=None, usage=Usage(input=1)), TextDelta("a"), UsageUpdate(Usage(input=2, output=3)),
            Finish("length"), End(),
        ),
        Names(),
        make_filter(),
    )  # fmt: skip
    assert watch.feed(b"") == b"Start;TextDelta;UsageUpdate;Finish;End;"
    assert (watch.usage, watch.finish, watch.served_model) == (
        Usage(input=2, output=3),
        "length",
        None,
    )
    assert watch.complete


def test_an_end_after_an_error_is_none() -> None:
    failed = Failed(
        Problem(kind="upstream_error", message="no", body=b'{"error":{"message":"own"}}')
    )
    watch = translation.TranslatedStream(
        Script(TextDelta("a"), failed, End()), Names(), make_filter()
    )
    assert watch.feed(b"") == b"TextDelta;"
    assert watch.problem is not None
    assert (watch.problem.message, watch.problem.body, watch.complete) == ("own", None, False)


def test_tools_have_the_clients_own_names() -> None:
    """A name that the target's dialect refuses is another there, and its own in the answer."""
    long = "tool of a client: \u00e9"
    value = {"model": "auto", "messages": TALK, "tools": [
        {"type": "function", "function": {"name": long}}, {"type": "function", "function": {"name": "f"}},
    ]}  # fmt: skip
    body = OPENAI_CHAT.read(json.dumps(value).encode())
    spoken = Translation(
        OPENAI_CHAT, ANTHROPIC_MESSAGES, TranslatableRequest(OPENAI_CHAT, body).request, TELLING
    )
    tools = json.loads(spoken.write(body, target()).body)["tools"]
    sent = tools[0]["name"]
    assert sent.startswith("tool_")
    assert tools[1]["name"] == "f"
    use = {"type": "tool_use", "id": "t", "name": sent, "input": {}}
    answer = {"type": "message", "id": "a", "role": "assistant", "model": "m", "content": [use], "stop_reason": "tool_use", "usage": {"input_tokens": 1, "output_tokens": 1}}  # fmt: skip
    said = json.loads(spoken.summarize(json.dumps(answer).encode()).body or b"")
    assert said["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == long
    watch = translation.TranslatedStream(
        Script(ToolStart(0, "t", sent), ToolDelta(0, "{}"), ToolEnd(0), ToolStart(1, "u", "f")),
        Names(),
        make_filter(Tool(name=long), Tool(name="f")),
    )
    assert watch.feed(b"").decode() == f"{long};ToolDelta;ToolEnd;f;"


def test_the_encoder_knows_custom_tools_and_whether_usage_was_asked_for() -> None:
    request = CanonicalRequest(
        turns=(CanonicalTurn(role="user", parts=(Text(text="a"),)),),
        tools=(Tool(name="g", kind="custom"), Tool(name="f")),
        stream_usage=False,
    )
    seen: list[ResponseContext] = []

    def encoder(telling: ResponseContext) -> Names:
        seen.append(telling)
        return Names()

    speech = msgspec.structs.replace(translation.get_translation(OPENAI_CHAT), make_encoder=encoder)
    client = msgspec.structs.replace(OPENAI_CHAT, translation=speech)
    Translation(client, GEMINI, request, TELLING).inspect_stream(messages())
    assert (seen[0].custom_tool_names, seen[0].stream_usage, seen[0].request) == (
        frozenset({"g"}),
        False,
        request,
    )


@pytest.mark.parametrize("door", DIALECTS.values(), ids=DIALECTS)
@pytest.mark.parametrize("client", DIALECTS.values(), ids=DIALECTS)
def test_every_dialect_is_translated_to_every_other(client: Any, door: Any) -> None:
    value: dict[str, Any] = {"model": "auto", "max_tokens": 99, "messages": TALK}
    if client is OPENAI_RESPONSES:
        value = {"model": "auto", "input": "hi"}
    elif client is GEMINI:
        value = {"model": "auto", "contents": [{"parts": [{"text": "hi"}]}]}
    body = client.read(json.dumps(value).encode())
    one = TranslatableRequest(client, body)
    assert one.can_translate_to(door)
    written = Translation(client, door, one.request, TELLING).write(body, target("m-1"))
    assert b'"hi"' in written.body
    assert written.losses == ()


def test_an_ear_hears_the_content_of_an_answer() -> None:
    """The recorder hears a stream except start, usage and end, and all of a whole answer."""
    body, stream, whole = messages(), Heard(), Heard()
    request = asked(body).request
    watch = Translation(
        ANTHROPIC_MESSAGES, OPENAI_CHAT, request, TELLING, listener=stream
    ).inspect_stream(body)
    watch.feed(STREAM)
    assert stream.events == [TextDelta("Hel"), TextDelta("lo")]
    Translation(ANTHROPIC_MESSAGES, OPENAI_CHAT, request, TELLING, listener=whole).summarize(
        json.dumps(WHOLE).encode()
    )
    assert TextDelta("Hello") in whole.events


def test_one_use_of_a_tool_at_a_time_is_the_first() -> None:
    """Gemini has no switch for single calls.

    A client that takes one gets one, and the rest is named.
    """
    call = {"functionCall": {"name": "f", "args": {"a": 1}}}
    calls = [call, {"functionCall": {"name": "g", "args": {}}}, {"text": "so"}]
    value = {"candidates": [{"content": {"role": "model", "parts": calls}, "finishReason": "STOP", "index": 0}]}  # fmt: skip
    for single in (True, False):
        choice = {"type": "auto", "disable_parallel_tool_use": single}
        tools = [{"name": name, "input_schema": {}} for name in "fg"]
        body = messages(tools=tools, tool_choice=choice)
        there = Translation(ANTHROPIC_MESSAGES, GEMINI, asked(body).request, TELLING)
        whole = there.summarize(json.dumps(value).encode()).body
        assert whole is not None
        uses = [it["name"] for it in json.loads(whole)["content"] if it["type"] == "tool_use"]
        assert uses == (["f"] if single else ["f", "g"])
        watch = there.inspect_stream(body)
        streamed = watch.feed(b"data: " + json.dumps(value).encode() + b"\r\n\r\n") + watch.end()
        assert (streamed.count(b'"tool_use","id"'), watch.complete) == (len(uses), True)
        assert b'"text":"so"' in streamed
        losses = [(it.field, it.action) for it in asked(body).list_losses(GEMINI, target("m"))]
        assert losses == ([("tool_choice.disable_parallel_tool_use", "approximated")] if single else [])  # fmt: skip


LIKELY = [{"token": "No", "logprob": -0.5, "bytes": [78, 111], "top_logprobs": []}]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_log_probabilities_of_a_refusal(stream: bool) -> None:
    """Gemini has them beside the words.

    Responses has none, because the client did not ask for them.
    """
    logprobs = {"content": None, "refusal": LIKELY}
    said = {"role": "assistant", "content": None, "refusal": "No"}
    choice = {"index": 0, "finish_reason": "stop", "logprobs": logprobs}
    head = {"id": "c", "created": 1, "model": "m"}
    whole = json.dumps({**head, "object": "chat.completion", "choices": [{**choice, "message": said}]}).encode()  # fmt: skip
    frames = sse(
        {**head, "object": "chat.completion.chunk", "choices": [{**choice, "delta": said}]}
    )
    requests = [
        (GEMINI, decoded("gemini", {"contents": [{"parts": [{"text": "hi"}]}], "generationConfig": {"responseLogprobs": True}})),
        (OPENAI_RESPONSES, decoded("openai-responses", {"model": "m", "input": "hi", "include": ["message.output_text.logprobs"]})),
    ]  # fmt: skip
    for client, request in requests:
        voice = Translation(client, OPENAI_CHAT, request, TELLING)
        if stream:
            watch = voice.inspect_stream(OPENAI_CHAT.read(b'{"model":"m","messages":[]}'))
            answer = json.loads(client.fold(watch.feed(frames) + watch.end()))
        else:
            answer = json.loads(voice.summarize(whole).body or b"")
        if client is GEMINI:
            found = answer["candidates"][0]["logprobsResult"]
            assert found == {"chosenCandidates": [{"token": "No", "logProbability": -0.5}]}
        else:
            (message,) = answer["output"]
            assert message["content"] == [{"type": "refusal", "refusal": "No"}]
    events = translation.get_translation(OPENAI_CHAT).decode_response(whole)
    again = json.loads(translation.get_translation(OPENAI_CHAT).encode_response(events, TELLING))
    assert again["choices"][0]["logprobs"] == logprobs


def lenient(body: RequestBody, *, optional: bool) -> Translation:
    """Make a `voice` for a host that may leave out why its answers ended."""
    request = asked(body).request
    return Translation(ANTHROPIC_MESSAGES, OPENAI_CHAT, request, TELLING, finish_optional=optional)


CALLED = {"role": "assistant", "tool_calls": [{"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}  # fmt: skip


@pytest.mark.parametrize(
    ("said", "word"), [({"content": "a"}, "end_turn"), (CALLED, "tool_use"), ({}, None)]
)
@pytest.mark.parametrize("optional", [False, True])
def test_a_host_may_leave_out_why_an_answer_ended(
    said: dict[str, Any], word: str | None, *, optional: bool
) -> None:
    """With content the answer is complete and says what the client must do. Otherwise it is cut."""
    body = messages()
    there = lenient(body, optional=optional)
    whole = {"choices": [{"index": 0, "message": said}]}
    glance = there.summarize(json.dumps(whole).encode())
    assert glance.complete == (optional and word is not None)
    if glance.body is not None:
        assert json.loads(glance.body)["stop_reason"] == (word if optional else "max_tokens")
    watch = there.inspect_stream(body)
    out = watch.feed(sse(chunk(said)))
    assert watch.complete == glance.complete
    assert (b"message_stop" in out) == watch.complete
    assert (f'"stop_reason":"{word}"'.encode() in out) == watch.complete


def test_an_end_without_content_is_none_where_the_reason_may_be_left_out() -> None:
    """The rule also holds in a dialect whose stream ends by itself."""
    events: list[Event] = [Start(), Finish("cut"), End()]
    there = Translation(
        OPENAI_CHAT, ANTHROPIC_MESSAGES, CanonicalRequest(turns=()), TELLING, finish_optional=True
    )
    watch = there.inspect_stream(messages())
    for event in events:
        assert watch._translate([event]) == b""
    assert (watch.complete, watch.committed, watch.finish) == (False, False, None)


def test_the_names_of_dropped_parts_of_an_answer_are_bounded() -> None:
    context = ResponseContext(id="tg-1", created_at=0, model="m", dropped_names={})
    for index in range(1_000):
        assert context.drop(AnswerMetadata(f"message.x{index}")) == b""
    assert [*context.dropped_names] == [f"message.x{index}" for index in range(100)]
