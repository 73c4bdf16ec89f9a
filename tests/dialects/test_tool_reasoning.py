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

EMPTY_NOTE = ReasoningNote(maker="me", provider="here", model="m", account="main", calls={})


def record(*events: Event) -> dict[str, ToolCallReasoning] | None:
    recorder = ReasoningRecorder(EMPTY_NOTE)
    for event in events:
        recorder.on_event(event)
    note = recorder.build_note()
    return None if note is None else note.calls


def make_note(**calls: ToolCallReasoning) -> ReasoningNote:
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


def restore(*parts: Any, **calls: ToolCallReasoning) -> tuple[Any, ...]:
    first = next(iter(calls))
    return (
        tool_reasoning.restore_reasoning(request(*parts), {first: make_note(**calls)})
        .turns[1]
        .parts
    )


def test_reasoning_belongs_to_the_call_after_it() -> None:
    """The note also has the state of the call, and says if text came before the thoughts."""
    assert record(
        ReasoningDelta("a"), ReasoningDelta("b"), ReasoningEnd("s1"), ToolStart(0, "x", "f"), ToolDelta(0, "{}"),
        ToolEnd(0, "s2"), TextDelta("so"), ReasoningDelta("c"), ReasoningEnd("s3"), ReasoningEnd("s4", redacted=True),
        ToolStart(1, "y", "f"), ToolEnd(1),
    ) == {
        "x": ToolCallReasoning((KeptReasoning("ab", "s1"),), "s2"),
        "y": ToolCallReasoning((KeptReasoning("c", "s3", late=True), KeptReasoning("", "s4", redacted=True, late=True))),
    }  # fmt: skip


def test_reasoning_that_began_before_the_text_is_not_late() -> None:
    assert record(
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
def test_an_answer_without_state_or_call_gives_no_note(events: tuple[Event, ...]) -> None:
    """An answer may have no state, no call, a second choice, or a call that never began."""
    assert record(*events) is None


def test_reasoning_is_restored_where_it_stood() -> None:
    """Reasoning stands before or after the text, and before its call.

    It replaces the client's copy.
    """
    restored = restore(
        Thought(text="a"), Text(text="so"), use("x"), use("y"), use("z"),
        x=ToolCallReasoning((KeptReasoning("a", "s1"), KeptReasoning("b", "s2", late=True)), "s3"),
        y=ToolCallReasoning((KeptReasoning("", "s4", redacted=True),)),
    )  # fmt: skip
    assert restored == (
        Thought(text="a", state="s1", maker="me"),
        Text(text="so"),
        Thought(text="b", state="s2", maker="me"),
        use("x", state="s3", maker="me"),
        Thought(state="s4", redacted=True, maker="me"),
        use("y"),
        use("z"),
    )


def test_turns_without_a_note_stay_unchanged() -> None:
    before = request(Text(text="so"), use("x"))
    assert (
        tool_reasoning.restore_reasoning(before, {"other": make_note(other=ToolCallReasoning())})
        == before
    )
    assert tool_reasoning.restore_reasoning(request(Text(text="so")), {}) == request(
        Text(text="so")
    )


def test_removing_reasoning_removes_all_state() -> None:
    full = request(
        Thought(text="a", state="s", maker="me"), use("x", state="s", maker="me"), use("y")
    )
    assert tool_reasoning.remove_reasoning(full) == request(use("x"), use("y"))


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ((Thought(state="s", maker="me"),), True),
        ((use("x", state="s", maker="me"),), True),
        ((Thought(state="s", maker="you"), Thought(text="a", maker="me"), use("x")), False),
    ],
)
def test_the_gateway_detects_state_of_a_maker_in_a_request(
    parts: tuple[Any, ...], expected: bool
) -> None:
    assert tool_reasoning.holds_state_of(request(*parts), "me") is expected


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
def test_a_rejection_that_mentions_state_refuses_it(problem: Any, refused: bool) -> None:
    """Errors of the request that mention a state do."""
    kind, status, body = problem
    problem_ = Problem(kind=kind, message="No.", upstream_status=status, body=body)
    assert tool_reasoning.is_state_refused(problem_) is refused


def test_a_native_stream_is_recorded_and_passes_unchanged() -> None:
    call = {"index": 0, "id": "x", "function": {"name": "f", "arguments": "{}"}}
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    data = sse(
        chunk({"reasoning_content": "a"}), chunk({"tool_calls": [call]}),
        chunk(finish="tool_calls", usage=usage), done=False,
    )  # fmt: skip
    recorder = ReasoningRecorder(EMPTY_NOTE)
    pass_through = PassThrough(OPENAI_CHAT, recorder)
    inspector, plain = (
        pass_through.inspect_stream(ask(stream=True)),
        OPENAI_CHAT.inspect_stream(ask(stream=True)),
    )
    assert not inspector.committed
    out = b"".join([inspector.feed(data[:50]), inspector.feed(data[50:-2]), inspector.end()])
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
        assert getattr(inspector, name) == getattr(plain, name)
    assert inspector.complete
    note = recorder.build_note()
    assert note is not None
    assert note.calls == {"x": ToolCallReasoning((KeptReasoning("a", "reasoning_content"),))}


def test_a_native_whole_answer_is_recorded_and_passes_unchanged() -> None:
    """The client gets the answer unchanged."""
    call = {"id": "x", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    message = {"role": "assistant", "content": None, "reasoning": "a", "tool_calls": [call]}
    recorder = ReasoningRecorder(EMPTY_NOTE)
    data = jsonio.dumps({"id": "c", "choices": [{"index": 0, "message": message}]})
    assert PassThrough(OPENAI_CHAT, recorder).summarize(data) == OPENAI_CHAT.summarize(data)
    note = recorder.build_note()
    assert note is not None
    assert note.calls == {"x": ToolCallReasoning((KeptReasoning("a", "reasoning"),))}


def test_an_error_in_place_of_an_answer_is_not_recorded() -> None:
    recorder = ReasoningRecorder(EMPTY_NOTE)
    summary = PassThrough(OPENAI_CHAT, recorder).summarize(b'{"error": {"message": "No."}}')
    assert summary.problem is not None
    assert recorder.build_note() is None


def test_the_pass_through_uses_the_functions_of_its_dialect() -> None:
    pass_through = PassThrough(ANTHROPIC_MESSAGES, ReasoningRecorder(EMPTY_NOTE))
    assert pass_through.write is ANTHROPIC_MESSAGES.write
    assert pass_through.read_problem is ANTHROPIC_MESSAGES.read_problem
    with pytest.raises(LookupError):
        PassThrough(
            msgspec.structs.replace(OPENAI_CHAT, translation=None), ReasoningRecorder(EMPTY_NOTE)
        )


def test_a_target_replays_no_reasoning_by_default() -> None:
    """The catalogue must switch this fact on."""
    assert not target().facts.replays_reasoning


def test_a_lenient_pass_through_accepts_answers_without_a_finish() -> None:
    """The recorder makes no difference. An error, or work in the background, is no end."""
    body = ask(stream=True)
    for pass_through in (
        LenientPassThrough(OPENAI_CHAT),
        PassThrough(OPENAI_CHAT, ReasoningRecorder(EMPTY_NOTE), finish_optional=True),
    ):
        assert pass_through.write is OPENAI_CHAT.write
        assert pass_through.read_problem is OPENAI_CHAT.read_problem
        summary = pass_through.summarize(b'{"choices":[{"message":{"content":"a"}}]}')
        assert (summary.complete, summary.finish) == (True, "stop")
        summary = pass_through.summarize(
            b'{"choices":[{"message":{"content":"a"},"finish_reason":"length"}]}'
        )
        assert (summary.complete, summary.finish) == (True, "length")
        assert not pass_through.summarize(b'{"choices":[]}').complete
        inspector = pass_through.inspect_stream(body)
        inspector.feed(sse(chunk({"content": "a"})))
        assert (inspector.complete, inspector.finish) == (True, "stop")
    queued = b'{"status":"queued","background":true,"output":[]}'
    summary = LenientPassThrough(OPENAI_RESPONSES).summarize(queued)
    assert (summary.complete, summary.is_pending) == (False, True)
