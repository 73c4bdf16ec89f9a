"""Reasoning that belongs to tool calls: recorded from an answer, put back into a request."""

from typing import Any

import msgspec
import pytest

from gateway.core import jsonio
from gateway.core.canonical_request import (
    CanonicalRequest,
    CanonicalTurn,
    Text,
    Thought,
    ToolResult,
    ToolUse,
)
from gateway.core.errors import Problem
from gateway.core.events import (
    Event,
    ReasoningDelta,
    ReasoningEnd,
    TextDelta,
    ToolDelta,
    ToolEnd,
    ToolStart,
)
from gateway.dialects import ANTHROPIC_MESSAGES, OPENAI_CHAT, OPENAI_RESPONSES, tool_reasoning
from gateway.dialects.tool_reasoning import (
    KeptReasoning,
    LenientPassThrough,
    PassThrough,
    ReasoningNote,
    ReasoningRecorder,
    ToolCallReasoning,
)
from tests.dialects.cases import ask, chunk, sse, target

WHO = ReasoningNote(maker="me", provider="here", model="m", account="main", calls={})


def heard(*events: Event) -> dict[str, ToolCallReasoning] | None:
    ear = ReasoningRecorder(WHO)
    for event in events:
        ear.on_event(event)
    found = ear.build_note()
    return None if found is None else found.calls


def noted(**calls: ToolCallReasoning) -> ReasoningNote:
    return ReasoningNote(maker="me", provider="here", model="m", account="main", calls=calls)


def request(*parts: Any) -> CanonicalRequest:
    user, result = CanonicalTurn(role="user", parts=(Text(text="hi"),)), ToolResult(id="a")
    return CanonicalRequest(
        turns=(
            user,
            CanonicalTurn(role="assistant", parts=parts),
            CanonicalTurn(role="user", parts=(result,)),
        )
    )


def use(id: str, **more: Any) -> ToolUse:
    return ToolUse(id=id, name="f", arguments="{}", **more)


def back(*parts: Any, **calls: ToolCallReasoning) -> tuple[Any, ...]:
    first = next(iter(calls))
    return tool_reasoning.restore_reasoning(request(*parts), {first: noted(**calls)}).turns[1].parts


def test_thoughts_belong_to_the_call_after_them() -> None:
    """The note also has the state of the call, and says if text came before the thoughts."""
    assert heard(
        ReasoningDelta("a"), ReasoningDelta("b"), ReasoningEnd("s1"), ToolStart(0, "x", "f"), ToolDelta(0, "{}"),
        ToolEnd(0, "s2"), TextDelta("so"), ReasoningDelta("c"), ReasoningEnd("s3"), ReasoningEnd("s4", redacted=True),
        ToolStart(1, "y", "f"), ToolEnd(1),
    ) == {
        "x": ToolCallReasoning((KeptReasoning("ab", "s1"),), "s2"),
        "y": ToolCallReasoning((KeptReasoning("c", "s3", late=True), KeptReasoning("", "s4", redacted=True, late=True))),
    }  # fmt: skip


def test_a_thought_that_began_before_the_text_is_not_late() -> None:
    assert heard(
        ReasoningDelta("a"), TextDelta("so"), ReasoningEnd("s"), ToolStart(0, "x", "f")
    ) == {"x": ToolCallReasoning((KeptReasoning("a", "s"),))}


@pytest.mark.parametrize(
    "events",
    [
        (),
        (ToolStart(0, "x", "f"), ToolEnd(0)),
        (ReasoningDelta("a"), ReasoningEnd(None), ToolStart(0, "x", "f"), ToolEnd(0)),
        (ReasoningDelta("a"), ReasoningEnd("s"), TextDelta("so")),
        (
            ReasoningDelta("a", choice=1),
            ReasoningEnd("s", choice=1),
            ToolStart(0, "x", "f", choice=1),
        ),
        (ToolEnd(3, "s"),),
    ],
)
def test_nothing_is_noted_where_nothing_is_needed(events: tuple[Event, ...]) -> None:
    """An answer may have no state, no call, a second choice, or a call that never began."""
    assert heard(*events) is None


def test_reasoning_goes_back_where_it_stood() -> None:
    """Reasoning stands before or after the text, and before its call.

    It replaces the client's copy.
    """
    found = back(
        Thought(text="a"), Text(text="so"), use("x"), use("y"), use("z"),
        x=ToolCallReasoning((KeptReasoning("a", "s1"), KeptReasoning("b", "s2", late=True)), "s3"),
        y=ToolCallReasoning((KeptReasoning("", "s4", redacted=True),)),
    )  # fmt: skip
    assert found == (
        Thought(text="a", state="s1", maker="me"),
        Text(text="so"),
        Thought(text="b", state="s2", maker="me"),
        use("x", state="s3", maker="me"),
        Thought(state="s4", redacted=True, maker="me"),
        use("y"),
        use("z"),
    )


def test_turns_without_a_note_stay_as_they_are() -> None:
    before = request(Text(text="so"), use("x"))
    assert (
        tool_reasoning.restore_reasoning(before, {"other": noted(other=ToolCallReasoning())})
        == before
    )
    assert tool_reasoning.restore_reasoning(request(Text(text="so")), {}) == request(
        Text(text="so")
    )


def test_a_bare_request_has_no_state() -> None:
    full = request(
        Thought(text="a", state="s", maker="me"), use("x", state="s", maker="me"), use("y")
    )
    assert tool_reasoning.remove_reasoning(full) == request(use("x"), use("y"))


@pytest.mark.parametrize(
    ("parts", "holds"),
    [
        ((Thought(state="s", maker="me"),), True),
        ((use("x", state="s", maker="me"),), True),
        ((Thought(state="s", maker="you"), Thought(text="a", maker="me"), use("x")), False),
    ],
)
def test_whether_a_request_holds_a_state_of_a_maker(parts: tuple[Any, ...], holds: bool) -> None:
    assert tool_reasoning.holds_state_of(request(*parts), "me") is holds


@pytest.mark.parametrize(
    ("problem", "refused"),
    [
        (("upstream_rejected", 400, b'{"message": "Invalid `Signature` in block"}'), True),
        (("upstream_rejected", 400, b"encrypted content could not be verified"), True),
        (("upstream_rejected", 400, None), False),
        (("upstream_rejected", 422, b"signature"), False),
        (("upstream_context", 400, b"thinking"), False),
    ],
)
def test_which_errors_refuse_a_state(problem: Any, refused: bool) -> None:
    """Errors of the request that mention a state do."""
    kind, status, body = problem
    said = Problem(kind=kind, message="No.", upstream_status=status, body=body)
    assert tool_reasoning.is_state_refused(said) is refused


def test_a_stream_at_home_is_listened_to_and_goes_on_as_it_came() -> None:
    call = {"index": 0, "id": "x", "function": {"name": "f", "arguments": "{}"}}
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    data = sse(
        chunk({"reasoning_content": "a"}), chunk({"tool_calls": [call]}),
        chunk(finish="tool_calls", usage=usage), done=False,
    )  # fmt: skip
    ear = ReasoningRecorder(WHO)
    home = PassThrough(OPENAI_CHAT, ear)
    watch, plain = (
        home.inspect_stream(ask(stream=True)),
        OPENAI_CHAT.inspect_stream(ask(stream=True)),
    )
    assert not watch.committed
    out = b"".join([watch.feed(data[:50]), watch.feed(data[50:-2]), watch.end()])
    assert out == plain.feed(data[:-2]) + plain.end()
    for name in (
        "committed",
        "usage",
        "served_model",
        "finish",
        "problem",
        "complete",
        "content_bytes",
    ):
        assert getattr(watch, name) == getattr(plain, name)
    assert watch.complete
    found = ear.build_note()
    assert found is not None
    assert found.calls == {"x": ToolCallReasoning((KeptReasoning("a", "reasoning_content"),))}


def test_a_whole_answer_at_home_is_listened_to() -> None:
    """The client gets the answer unchanged."""
    call = {"id": "x", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    message = {"role": "assistant", "content": None, "reasoning": "a", "tool_calls": [call]}
    ear = ReasoningRecorder(WHO)
    data = jsonio.dumps({"id": "c", "choices": [{"index": 0, "message": message}]})
    assert PassThrough(OPENAI_CHAT, ear).summarize(data) == OPENAI_CHAT.summarize(data)
    found = ear.build_note()
    assert found is not None
    assert found.calls == {"x": ToolCallReasoning((KeptReasoning("a", "reasoning"),))}


def test_a_whole_answer_that_is_none_is_not_listened_to() -> None:
    ear = ReasoningRecorder(WHO)
    glance = PassThrough(OPENAI_CHAT, ear).summarize(b'{"error": {"message": "No."}}')
    assert glance.problem is not None
    assert ear.build_note() is None


def test_home_says_what_the_dialect_says() -> None:
    home = PassThrough(ANTHROPIC_MESSAGES, ReasoningRecorder(WHO))
    assert home.write is ANTHROPIC_MESSAGES.write
    assert home.read_problem is ANTHROPIC_MESSAGES.read_problem
    with pytest.raises(LookupError):
        PassThrough(msgspec.structs.replace(OPENAI_CHAT, translation=None), ReasoningRecorder(WHO))


def test_a_target_is_what_it_is() -> None:
    """The catalogue must switch this fact on."""
    assert not target().facts.replays_reasoning


def test_a_host_may_leave_out_why_an_answer_ended() -> None:
    """The recorder makes no difference. An error, or work in the background, is no end."""
    body = ask(stream=True)
    for voice in (
        LenientPassThrough(OPENAI_CHAT),
        PassThrough(OPENAI_CHAT, ReasoningRecorder(WHO), finish_optional=True),
    ):
        assert voice.write is OPENAI_CHAT.write
        assert voice.read_problem is OPENAI_CHAT.read_problem
        found = voice.summarize(b'{"choices":[{"message":{"content":"a"}}]}')
        assert (found.complete, found.finish) == (True, "stop")
        found = voice.summarize(
            b'{"choices":[{"message":{"content":"a"},"finish_reason":"length"}]}'
        )
        assert (found.complete, found.finish) == (True, "length")
        assert not voice.summarize(b'{"choices":[]}').complete
        watch = voice.inspect_stream(body)
        watch.feed(sse(chunk({"content": "a"})))
        assert (watch.complete, watch.finish) == (True, "stop")
    queued = b'{"status":"queued","background":true,"output":[]}'
    found = LenientPassThrough(OPENAI_RESPONSES).summarize(queued)
    assert (found.complete, found.is_pending) == (False, True)
