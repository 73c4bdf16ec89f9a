"""Native streams keep their bytes, send nothing before content, and are complete at their end."""

import pytest

from gateway.core.usage import Usage
from gateway.dialects.base import StreamInspector
from gateway.dialects.openai_responses import DIALECT
from gateway.dialects.openai_responses.stream import list_answer_frames
from tests.dialects.openai_responses.cases import (
    ADDED,
    CALL,
    COMPLETED,
    CREATED,
    HELLO,
    MESSAGE,
    WHOLE,
    added,
    ask,
    delta,
    done,
    event,
    list_facts,
    read_every_frame,
    response,
)

KEEPALIVE = b": keepalive\n\n"


def start() -> StreamInspector:
    return DIALECT.inspect_stream(ask(stream=True))


@pytest.mark.parametrize("size", [1, 2, 7, 64, 10_000])
def test_a_stream_passes_unchanged_however_it_is_read(size: int) -> None:
    inspector = start()
    out = [inspector.feed(WHOLE[at : at + size]) for at in range(0, len(WHOLE), size)]
    assert b"".join([*out, inspector.end()]) == WHOLE
    assert (inspector.complete, inspector.problem, inspector.finish, inspector.served_model) == (
        True,
        None,
        "completed",
        "m-1",
    )
    assert inspector.usage == Usage(
        input=12, cache_read=5, cache_write={"": 3}, output=6, reasoning=4
    )


@pytest.mark.parametrize(
    "frame",
    [
        KEEPALIVE,
        CREATED,
        event("response.in_progress", response={"id": "resp_1"}),
        ADDED,
        added({"type": "reasoning", "summary": []}),
        event("response.output_item.added", item=None),
        event("response.content_part.added", part={"type": "output_text", "text": ""}),
        delta("output_text", ""),
        event("keepalive"),
        b"data: {}\n\n",
        b"data: [DONE]\n\n",
    ],
)
def test_lifecycle_events_are_held_back(frame: bytes) -> None:
    inspector = start()
    assert inspector.feed(frame) == b""
    assert not inspector.committed
    assert inspector.feed(HELLO) == frame + HELLO


@pytest.mark.parametrize(
    "frame",
    [
        HELLO,
        delta("reasoning_summary_text", "hm"),
        delta("reasoning_text", "hm"),
        delta("function_call_arguments", "{"),
        delta("refusal", "no"),
        added({**CALL, "arguments": ""}),
        done({"type": "reasoning", "summary": [], "encrypted_content": "x"}),
        event("response.web_search_call.searching", item_id="ws_1"),
        COMPLETED,
    ],
)
def test_content_commits(frame: bytes) -> None:
    inspector = start()
    inspector.feed(CREATED)
    assert inspector.feed(frame) == CREATED + frame
    assert inspector.committed


def test_only_a_terminal_event_ends_a_stream() -> None:
    inspector = start()
    inspector.feed(CREATED + HELLO + done(MESSAGE) + b"data: [DONE]\n\n")
    inspector.end()
    assert not inspector.complete
    assert inspector.problem is None


def test_an_answer_cut_at_a_limit_is_complete_and_names_the_limit() -> None:
    inspector = start()
    ended = response(status="incomplete", incomplete_details={"reason": "max_output_tokens"})
    inspector.feed(CREATED + HELLO + event("response.incomplete", response=ended))
    assert (inspector.complete, inspector.finish) == (True, "max_output_tokens")


def test_a_terminal_event_without_a_response_ends_a_stream() -> None:
    inspector = start()
    inspector.feed(HELLO + event("response.completed"))
    assert (inspector.complete, inspector.finish, inspector.served_model) == (True, None, None)


NESTED = event("error", error={"code": "server_error", "message": "m"})
FLAT = event("error", code="rate_limit_exceeded", message="Slow down.", sequence_number=3)
BARE = b'data: {"error":{"code":429,"message":"m"}}\n\n'
FAILED = event("response.failed", response=response(error={"code": "server_error"}))


@pytest.mark.parametrize(
    ("frame", "kind", "shown"),
    [
        (NESTED, "upstream_error", True),
        (BARE, "upstream_rate_limited", True),
        (FAILED, "upstream_error", True),
        (event("response.failed"), "upstream_error", True),
        # The SDK raises only if there is a member `error`: the gateway's own frame replaces it.
        (FLAT, "upstream_rate_limited", False),
        (b"data: <html>\n\n", "upstream_error", False),
        (b"data: []\n\n", "upstream_error", False),
    ],
)
def test_an_error_after_content_ends_the_stream(frame: bytes, kind: str, shown: bool) -> None:
    """The inspector finds an error in a frame of unknown kind only before the commit point."""
    inspector = start()
    out = inspector.feed(HELLO + frame) if b'"' in frame else inspector.feed(frame)
    assert inspector.problem is not None
    assert inspector.problem.kind == kind
    assert (frame in out) is shown
    assert not inspector.complete
    assert inspector.feed(COMPLETED) == b""


SEARCH = {"type": "web_search_call", "id": "ws_1", "status": "completed"}


@pytest.mark.parametrize(
    "stream",
    [
        WHOLE,
        CREATED + added(CALL) + delta("function_call_arguments", "{") + done(CALL) + COMPLETED,
        CREATED + HELLO + done(SEARCH) + done(SEARCH, 1),
        HELLO + done(SEARCH) + event("response.completed", response=response(SEARCH)),
        CREATED + HELLO + event("response.failed", response=response(service_tier="flex")),
        HELLO + done({**MESSAGE, "status": "failed"}) + COMPLETED,
        HELLO + NESTED + COMPLETED,
        CREATED + FLAT,
    ],
)
def test_the_quick_reader_finds_the_same_facts_as_the_full_reader(stream: bytes) -> None:
    """Once content has come, the inspector reads only parts of most frames."""
    inspector = start()
    inspector.feed(stream)
    inspector.end()
    assert list_facts(inspector) == read_every_frame(stream)


def test_only_few_frames_of_a_stream_are_read_for_its_answer() -> None:
    quoted = delta("output_text", '"response.completed"') + event("new", x="response.completed")
    assert list_answer_frames(ADDED + quoted) == []
    frames = list_answer_frames(b": hi\n\n" + WHOLE + b"data: [DONE]\n\n")
    assert [raw for raw, _ in frames] == [CREATED, done(MESSAGE), COMPLETED]
    assert [frame.kind.removeprefix("response.") for _, frame in frames] == [
        "created", "output_item.done", "completed",
    ]  # fmt: skip


def test_an_error_before_content_shows_the_client_nothing() -> None:
    inspector = start()
    assert inspector.feed(CREATED + NESTED) == b""
    assert inspector.problem is not None


def test_an_error_of_an_item_does_not_end_the_stream() -> None:
    """An MCP call may fail while the model goes on."""
    inspector = start()
    item = {"type": "mcp_call", "error": {"type": "x"}}
    inspector.feed(
        HELLO + done(item) + event("response.mcp_call.failed", error={"a": 1}) + COMPLETED
    )
    assert inspector.complete
