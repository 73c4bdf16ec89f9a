"""A client whose calls another dialect serves.

The tests check the target's request, the client's answer, and when an answer has begun.
"""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core import json_size
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
from tests.dialects.cases import chunk, make_usage_chunk, pieces, sse, target
from tests.dialects.request_strategies import decoded

CONTEXT = ResponseContext(id="call-1", created_at=1, model="m-1", state_label="0123456789abcdef")
TALK = [{"role": "user", "content": "hi"}]


def messages(**more: Any) -> RequestBody:
    """Make a request of the Messages API."""
    value = {"model": "auto", "max_tokens": 99, "messages": TALK, **more}
    return ANTHROPIC_MESSAGES.read(json.dumps(value).encode())


def translate(body: RequestBody) -> Translation:
    """Make the translation for a Messages client at a host of Chat Completions."""
    return Translation(ANTHROPIC_MESSAGES, OPENAI_CHAT, make_translatable(body).request, CONTEXT)


def make_translatable(body: RequestBody) -> TranslatableRequest:
    return TranslatableRequest(ANTHROPIC_MESSAGES, body)


def test_the_target_gets_the_request_in_its_dialect() -> None:
    body = messages(top_k=3, stop_sequences=["x"])
    written = translate(body).write(body, target("m-1"))
    assert written.body == (
        b'{"model":"m-1","messages":[{"role":"user","content":"hi"}],"max_completion_tokens":99,"stop":["x"]}'
    )
    assert written.losses == (Loss("top_k", "dropped", "openai-chat has no such control"),)


def test_losses_have_the_names_that_the_client_knows() -> None:
    """The target calls the cap `max_completion_tokens`, and stop sequences `stop`."""
    body = messages(max_tokens=99_999, stop_sequences=["x"])
    target_ = target("m", provider_refused_members=frozenset({"stop"}))
    facts = msgspec.structs.replace(target_.facts, max_output=10)
    written = translate(body).write(body, msgspec.structs.replace(target_, facts=facts))
    assert [(loss.field, loss.action) for loss in written.losses] == [
        ("max_tokens", "clamped"),
        ("stop_sequences", "dropped"),
    ]


def test_an_inner_member_has_the_clients_name_of_its_parent() -> None:
    body = messages(output_config={"effort": "xhigh"})
    encoded = EncodedRequest(value={}, client_names={"thinking": "effort", "a.b": "c"})
    assert translation._find_client_name(encoded, "thinking.budget_tokens") == "effort"
    assert translation._find_client_name(encoded, "a.b.x") == "c"
    assert translation._find_client_name(encoded, "a.d") == "a.d"
    assert TranslatableRequest(ANTHROPIC_MESSAGES, body).list_losses(OPENAI_CHAT, target()) == ()


def test_a_repeated_loss_is_named_once() -> None:
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
    losses = make_translatable(body).list_losses(OPENAI_RESPONSES, target())
    assert [loss.field for loss in losses] == ["messages.reasoning"]


def test_a_limit_of_the_model_replaces_one_of_the_dialect() -> None:
    """Gemini has no level "max", and this model none above "high"."""
    target_ = target("m", facts=ModelFacts(effort_style="gemini-level", efforts=("low", "high")))
    body = messages(output_config={"effort": "max"})
    assert make_translatable(body).list_losses(GEMINI, target_) == (
        Loss("output_config.effort", "clamped", "m does not accept xhigh; sent high"),
    )
    assert make_translatable(body).list_losses(GEMINI, target("m")) == (
        Loss("output_config.effort", "clamped", "gemini has no level above xhigh"),
    )


def test_routing_sees_the_translated_request() -> None:
    body = messages(tools=[{"name": "f", "input_schema": {}}], stream=True)
    prompt = make_translatable(body).translate_prompt(OPENAI_CHAT, target("m-1"))
    assert not isinstance(prompt, str)
    assert (prompt.model, prompt.tools, prompt.stream, prompt.max_output) == (
        "m-1",
        ("f",),
        True,
        99,
    )
    refusal = make_translatable(messages(stop_sequences=["x"])).translate_prompt(
        OPENAI_RESPONSES, target()
    )
    assert refusal == "stop_sequences: openai-responses has no stop sequences"


def test_a_malformed_request_is_the_clients_fault() -> None:
    with pytest.raises(ProblemError, match="messages"):
        _ = make_translatable(messages(messages=[{"role": "odd"}])).request


def test_a_request_is_decoded_once() -> None:
    translatable = make_translatable(messages())
    assert translatable.request is translatable.request


def test_only_answers_are_translated_and_only_if_both_dialects_can() -> None:
    counting = OPERATIONS["anthropic-messages", "count_tokens"]
    untranslated = msgspec.structs.replace(OPENAI_CHAT, translation=None)
    body = messages()
    assert TranslatableRequest(ANTHROPIC_MESSAGES, body).can_translate_to(OPENAI_CHAT)
    assert not TranslatableRequest(counting, body).can_translate_to(OPENAI_CHAT)
    assert not TranslatableRequest(ANTHROPIC_MESSAGES, body).can_translate_to(counting)
    assert not TranslatableRequest(ANTHROPIC_MESSAGES, body).can_translate_to(untranslated)
    assert not TranslatableRequest(untranslated, body).can_translate_to(ANTHROPIC_MESSAGES)
    with pytest.raises(LookupError, match="openai-chat is not translated"):
        translation.get_translation(untranslated)
    with pytest.raises(LookupError, match="openai-chat is not translated"):
        translation.get_target_translation(untranslated)


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


def test_the_client_gets_a_whole_answer_in_its_dialect() -> None:
    summary = translate(messages()).summarize(json.dumps(WHOLE).encode())
    assert (summary.served_model, summary.finish, summary.problem) == ("m-1-2026", "stop", None)
    assert summary.usage == Usage(input=5, output=2)
    answer = json.loads(summary.body or b"")
    assert (answer["type"], answer["content"], answer["stop_reason"]) == (
        "message",
        [{"type": "text", "text": "Hello"}],
        "end_turn",
    )
    assert answer["usage"] == {"input_tokens": 5, "output_tokens": 2}


def test_an_error_in_place_of_an_answer_has_no_body_for_the_client() -> None:
    summary = translate(messages()).summarize(b'{"error":{"message":"over","code":429}}')
    assert summary.body is None
    assert summary.problem is not None
    assert summary.problem.body is None


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
def test_a_providers_error_keeps_its_message_but_not_its_shape(body: bytes, message: str) -> None:
    problem = translate(messages()).read_problem(400, body, None)
    assert (problem.kind, problem.message, problem.body) == ("upstream_rejected", message, None)


def test_the_message_is_read_from_an_error_list_too() -> None:
    """Gemini wraps errors of streams in a list."""
    request = make_translatable(messages()).request
    google = Translation(ANTHROPIC_MESSAGES, GEMINI, request, CONTEXT)
    assert google.read_problem(400, b'[{"error":{"message":"bad"}}]', None).message == "bad"
    for body in (b"[]", b'["x"]', b"1", b"{"):
        assert translation._read_error_message(body) is None


STREAM = sse(
    chunk({"role": "assistant", "content": ""}),
    chunk({"content": "Hel"}),
    chunk({"content": "lo"}),
    chunk(finish="stop"),
    make_usage_chunk({"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}),
)


def test_a_translated_stream_is_held_back_until_content() -> None:
    inspector = translate(messages(stream=True)).inspect_stream(messages(stream=True))
    first, rest = STREAM.split(b'data: {"id": "c1"', 2)[1:]
    before = inspector.feed(b'data: {"id": "c1"' + first)
    assert (before, inspector.committed) == (b"", False)
    after = inspector.feed(b'data: {"id": "c1"' + rest)
    assert inspector.committed
    assert after.startswith(b"event: message_start\n")
    assert b'"text":"Hel"' in after
    assert (after + inspector.end()).endswith(
        b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
    )
    assert (inspector.complete, inspector.served_model, inspector.finish) == (True, "m-1", "stop")
    assert (inspector.usage, inspector.problem) == (Usage(input=5, output=2), None)


@given(st.lists(st.integers(1, len(STREAM) - 1), max_size=6))
def test_a_translated_stream_is_the_same_wherever_reads_end(cuts: list[int]) -> None:
    body = messages(stream=True)
    whole, in_parts = translate(body).inspect_stream(body), translate(body).inspect_stream(body)
    parts = b"".join([in_parts.feed(piece) for piece in pieces(STREAM, cuts)]) + in_parts.end()
    assert parts == whole.feed(STREAM) + whole.end()


def test_a_translated_stream_that_ends_early_is_incomplete() -> None:
    body = messages(stream=True)
    inspector = translate(body).inspect_stream(body)
    frames = inspector.feed(STREAM[: STREAM.index(b'"finish_reason": "stop"')]) + inspector.end()
    assert b"Hel" in frames
    assert b"message_stop" not in frames
    assert not inspector.complete


def test_a_translated_stream_has_a_bounded_amount_of_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some dialects repeat all of it at the end, so the gateway keeps it until then."""
    monkeypatch.setattr(json_size, "MAX_COMPLEX_BYTES", 1_000)
    body = messages(stream=True)
    inspector = translate(body).inspect_stream(body)
    part = sse(chunk({"content": "a" * 100}), done=False)
    frames = [inspector.feed(part) for _ in range(11)]
    assert [b"aaa" in frame for frame in frames] == [True] * 10 + [False]
    assert inspector.problem is not None
    assert inspector.problem.message == "The provider sent more than 1,000 bytes of text."


def test_an_error_ends_a_translated_stream() -> None:
    body = messages(stream=True)
    inspector = translate(body).inspect_stream(body)
    before = inspector.feed(sse(chunk({"content": "a"}), done=False))
    after = inspector.feed(b'data: {"error":{"message":"over"}}\n\n' + STREAM)
    assert b'"text":"a"' in before
    assert b"Hel" not in after + inspector.end()
    assert inspector.problem is not None
    assert (inspector.complete, inspector.problem.body) == (False, None)
    early = translate(body).inspect_stream(body)
    assert early.feed(b'data: {"error":{"message":"over"}}\n\n') == b""
    assert (early.committed, early.problem is not None) == (False, True)


class ScriptedDecoder:
    """A decoder that returns given events, whatever it reads."""

    def __init__(self, *events: Event) -> None:
        self.events = [*events]

    def feed(self, data: bytes) -> list[Event]:
        events, self.events = self.events, []
        return events

    def end(self) -> list[Event]:
        return []


class EventRecorder(ReasoningRecorder):
    """A recorder that keeps the events that it hears."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def on_event(self, event: Event) -> None:
        self.events.append(event)


def make_filter(*tools: Tool) -> ToolCallFilter:
    request = CanonicalRequest(turns=(), tools=tools)
    return ToolCallFilter(request, ("", ""), {}, takes_one_tool=False)


class NameEncoder:
    """An encoder that writes the kind of each event, and the names of tools."""

    def write(self, event: Event) -> bytes:
        name = event.name if isinstance(event, ToolStart) else type(event).__name__
        return f"{name};".encode()


def test_a_later_usage_report_replaces_the_first() -> None:
    inspector = translation.TranslatedStream(
        ScriptedDecoder(
            Start(model=None, usage=Usage(input=1)), TextDelta("a"), UsageUpdate(Usage(input=2, output=3)),
            Finish("length"), End(),
        ),
        NameEncoder(),
        make_filter(),
    )  # fmt: skip
    assert inspector.feed(b"") == b"Start;TextDelta;UsageUpdate;Finish;End;"
    assert (inspector.usage, inspector.finish, inspector.served_model) == (
        Usage(input=2, output=3),
        "length",
        None,
    )
    assert inspector.complete


def test_an_end_after_an_error_completes_nothing() -> None:
    failed = Failed(
        Problem(kind="upstream_error", message="no", body=b'{"error":{"message":"own"}}')
    )
    inspector = translation.TranslatedStream(
        ScriptedDecoder(TextDelta("a"), failed, End()), NameEncoder(), make_filter()
    )
    assert inspector.feed(b"") == b"TextDelta;"
    assert inspector.problem is not None
    assert (inspector.problem.message, inspector.problem.body, inspector.complete) == (
        "own",
        None,
        False,
    )


def test_the_client_gets_its_own_names_of_tools_back() -> None:
    """A name that the target's dialect refuses is another there, and its own in the answer."""
    long = "tool of a client: \u00e9"
    value = {"model": "auto", "messages": TALK, "tools": [
        {"type": "function", "function": {"name": long}}, {"type": "function", "function": {"name": "f"}},
    ]}  # fmt: skip
    body = OPENAI_CHAT.read(json.dumps(value).encode())
    translation_ = Translation(
        OPENAI_CHAT, ANTHROPIC_MESSAGES, TranslatableRequest(OPENAI_CHAT, body).request, CONTEXT
    )
    tools = json.loads(translation_.write(body, target()).body)["tools"]
    sent = tools[0]["name"]
    assert sent.startswith("tool_")
    assert tools[1]["name"] == "f"
    use = {"type": "tool_use", "id": "t", "name": sent, "input": {}}
    answer = {"type": "message", "id": "a", "role": "assistant", "model": "m", "content": [use], "stop_reason": "tool_use", "usage": {"input_tokens": 1, "output_tokens": 1}}  # fmt: skip
    answer_sent = json.loads(translation_.summarize(json.dumps(answer).encode()).body or b"")
    assert answer_sent["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == long
    inspector = translation.TranslatedStream(
        ScriptedDecoder(
            ToolStart(0, "t", sent), ToolDelta(0, "{}"), ToolEnd(0), ToolStart(1, "u", "f")
        ),
        NameEncoder(),
        make_filter(Tool(name=long), Tool(name="f")),
    )
    assert inspector.feed(b"").decode() == f"{long};ToolDelta;ToolEnd;f;"


def test_the_encoder_gets_custom_tools_and_the_wish_for_usage() -> None:
    request = CanonicalRequest(
        turns=(CanonicalTurn(role="user", parts=(Text(text="a"),)),),
        tools=(Tool(name="g", kind="custom"), Tool(name="f")),
        stream_usage=False,
    )
    contexts: list[ResponseContext] = []

    def encoder(context: ResponseContext) -> NameEncoder:
        contexts.append(context)
        return NameEncoder()

    functions = msgspec.structs.replace(
        translation.get_translation(OPENAI_CHAT), make_encoder=encoder
    )
    client = msgspec.structs.replace(OPENAI_CHAT, translation=functions)
    Translation(client, GEMINI, request, CONTEXT).inspect_stream(messages())
    assert (contexts[0].custom_tool_names, contexts[0].stream_usage, contexts[0].request) == (
        frozenset({"g"}),
        False,
        request,
    )


@pytest.mark.parametrize("target_dialect", DIALECTS.values(), ids=DIALECTS)
@pytest.mark.parametrize("client", DIALECTS.values(), ids=DIALECTS)
def test_every_dialect_is_translated_to_every_other(client: Any, target_dialect: Any) -> None:
    value: dict[str, Any] = {"model": "auto", "max_tokens": 99, "messages": TALK}
    if client is OPENAI_RESPONSES:
        value = {"model": "auto", "input": "hi"}
    elif client is GEMINI:
        value = {"model": "auto", "contents": [{"parts": [{"text": "hi"}]}]}
    body = client.read(json.dumps(value).encode())
    translatable = TranslatableRequest(client, body)
    assert translatable.can_translate_to(target_dialect)
    written = Translation(client, target_dialect, translatable.request, CONTEXT).write(
        body, target("m-1")
    )
    assert b'"hi"' in written.body
    assert written.losses == ()


def test_the_recorder_gets_the_content_of_an_answer() -> None:
    """The recorder hears a stream except start, usage and end, and all of a whole answer."""
    body, stream, whole = messages(), EventRecorder(), EventRecorder()
    request = make_translatable(body).request
    inspector = Translation(
        ANTHROPIC_MESSAGES, OPENAI_CHAT, request, CONTEXT, listener=stream
    ).inspect_stream(body)
    inspector.feed(STREAM)
    assert stream.events == [TextDelta("Hel"), TextDelta("lo")]
    Translation(ANTHROPIC_MESSAGES, OPENAI_CHAT, request, CONTEXT, listener=whole).summarize(
        json.dumps(WHOLE).encode()
    )
    assert TextDelta("Hello") in whole.events


def test_a_client_that_takes_one_tool_call_gets_the_first() -> None:
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
        translation_ = Translation(
            ANTHROPIC_MESSAGES, GEMINI, make_translatable(body).request, CONTEXT
        )
        whole = translation_.summarize(json.dumps(value).encode()).body
        assert whole is not None
        uses = [
            block["name"] for block in json.loads(whole)["content"] if block["type"] == "tool_use"
        ]
        assert uses == (["f"] if single else ["f", "g"])
        inspector = translation_.inspect_stream(body)
        streamed = (
            inspector.feed(b"data: " + json.dumps(value).encode() + b"\r\n\r\n") + inspector.end()
        )
        assert (streamed.count(b'"tool_use","id"'), inspector.complete) == (len(uses), True)
        assert b'"text":"so"' in streamed
        losses = [
            (loss.field, loss.action)
            for loss in make_translatable(body).list_losses(GEMINI, target("m"))
        ]
        assert losses == ([("tool_choice.disable_parallel_tool_use", "approximated")] if single else [])  # fmt: skip


LIKELY = [{"token": "No", "logprob": -0.5, "bytes": [78, 111], "top_logprobs": []}]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_log_probabilities_of_a_refusal_reach_clients_that_have_a_place_for_them(
    stream: bool,
) -> None:
    """Gemini has them beside the words.

    Responses has none, because the client did not ask for them.
    """
    logprobs = {"content": None, "refusal": LIKELY}
    message_ = {"role": "assistant", "content": None, "refusal": "No"}
    choice = {"index": 0, "finish_reason": "stop", "logprobs": logprobs}
    head = {"id": "c", "created": 1, "model": "m"}
    whole = json.dumps({**head, "object": "chat.completion", "choices": [{**choice, "message": message_}]}).encode()  # fmt: skip
    frames = sse(
        {**head, "object": "chat.completion.chunk", "choices": [{**choice, "delta": message_}]}
    )
    requests = [
        (GEMINI, decoded("gemini", {"contents": [{"parts": [{"text": "hi"}]}], "generationConfig": {"responseLogprobs": True}})),
        (OPENAI_RESPONSES, decoded("openai-responses", {"model": "m", "input": "hi", "include": ["message.output_text.logprobs"]})),
    ]  # fmt: skip
    for client, request in requests:
        translation_ = Translation(client, OPENAI_CHAT, request, CONTEXT)
        if stream:
            inspector = translation_.inspect_stream(
                OPENAI_CHAT.read(b'{"model":"m","messages":[]}')
            )
            answer = json.loads(client.fold(inspector.feed(frames) + inspector.end()))
        else:
            answer = json.loads(translation_.summarize(whole).body or b"")
        if client is GEMINI:
            result = answer["candidates"][0]["logprobsResult"]
            assert result == {"chosenCandidates": [{"token": "No", "logProbability": -0.5}]}
        else:
            (message,) = answer["output"]
            assert message["content"] == [{"type": "refusal", "refusal": "No"}]
    events = translation.get_translation(OPENAI_CHAT).decode_response(whole)
    encoded_again = json.loads(
        translation.get_translation(OPENAI_CHAT).encode_response(events, CONTEXT)
    )
    assert encoded_again["choices"][0]["logprobs"] == logprobs


def translate_lenient(body: RequestBody, *, optional: bool) -> Translation:
    """Make a `voice` for a host that may leave out why its answers ended."""
    request = make_translatable(body).request
    return Translation(ANTHROPIC_MESSAGES, OPENAI_CHAT, request, CONTEXT, finish_optional=optional)


TOOL_CALL_DELTA = {"role": "assistant", "tool_calls": [{"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}  # fmt: skip


@pytest.mark.parametrize(
    ("content", "word"), [({"content": "a"}, "end_turn"), (TOOL_CALL_DELTA, "tool_use"), ({}, None)]
)
@pytest.mark.parametrize("optional", [False, True])
def test_a_host_may_leave_out_the_finish_of_a_translated_answer(
    content: dict[str, Any], word: str | None, *, optional: bool
) -> None:
    """With content the answer is complete and says what the client must do. Otherwise it is cut.

    The gateway invents no reason for the end of a cut answer.
    """
    body = messages()
    translation_ = translate_lenient(body, optional=optional)
    whole = {"choices": [{"index": 0, "message": content}]}
    summary = translation_.summarize(json.dumps(whole).encode())
    assert summary.complete == (optional and word is not None)
    if summary.body is not None:
        assert json.loads(summary.body)["stop_reason"] == (word if optional else None)
    inspector = translation_.inspect_stream(body)
    out = inspector.feed(sse(chunk(content)))
    assert inspector.complete == summary.complete
    assert (b"message_stop" in out) == inspector.complete
    assert (f'"stop_reason":"{word}"'.encode() in out) == inspector.complete


def test_an_optional_finish_completes_no_empty_answer() -> None:
    """The rule also holds in a dialect whose stream ends by itself."""
    events: list[Event] = [Start(), Finish("cut"), End()]
    translation_ = Translation(
        OPENAI_CHAT, ANTHROPIC_MESSAGES, CanonicalRequest(turns=()), CONTEXT, finish_optional=True
    )
    inspector = translation_.inspect_stream(messages())
    for event in events:
        assert inspector._translate([event]) == b""
    assert (inspector.complete, inspector.committed, inspector.finish) == (False, False, None)


def test_the_names_of_dropped_parts_are_bounded() -> None:
    context = ResponseContext(id="tg-1", created_at=0, model="m", dropped_names={})
    for index in range(1_000):
        assert context.drop(AnswerMetadata(f"message.x{index}")) == b""
    assert [*context.dropped_names] == [f"message.x{index}" for index in range(100)]
