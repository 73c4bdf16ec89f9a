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
def test_bytes_go_on_as_they_came_however_they_are_read(size: int) -> None:
    watch = start()
    out = [watch.feed(WHOLE[at : at + size]) for at in range(0, len(WHOLE), size)]
    assert b"".join([*out, watch.end()]) == WHOLE
    assert (watch.complete, watch.problem, watch.finish, watch.served_model) == (
        True,
        None,
        "completed",
        "m-1",
    )
    assert watch.usage == Usage(input=12, cache_read=5, cache_write={"": 3}, output=6, reasoning=4)


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
def test_lifecycle_is_held(frame: bytes) -> None:
    watch = start()
    assert watch.feed(frame) == b""
    assert not watch.committed
    assert watch.feed(HELLO) == frame + HELLO


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
    watch = start()
    watch.feed(CREATED)
    assert watch.feed(frame) == CREATED + frame
    assert watch.committed


def test_only_a_terminal_event_is_an_end() -> None:
    watch = start()
    watch.feed(CREATED + HELLO + done(MESSAGE) + b"data: [DONE]\n\n")
    watch.end()
    assert not watch.complete
    assert watch.problem is None


def test_a_limit_is_an_end_and_is_told() -> None:
    watch = start()
    ended = response(status="incomplete", incomplete_details={"reason": "max_output_tokens"})
    watch.feed(CREATED + HELLO + event("response.incomplete", response=ended))
    assert (watch.complete, watch.finish) == (True, "max_output_tokens")


def test_an_end_without_a_response_is_one_all_the_same() -> None:
    watch = start()
    watch.feed(HELLO + event("response.completed"))
    assert (watch.complete, watch.finish, watch.served_model) == (True, None, None)


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
    watch = start()
    out = watch.feed(HELLO + frame) if b'"' in frame else watch.feed(frame)
    assert watch.problem is not None
    assert watch.problem.kind == kind
    assert (frame in out) is shown
    assert not watch.complete
    assert watch.feed(COMPLETED) == b""


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
def test_the_quick_look_misses_no_fact(stream: bytes) -> None:
    """Once content has come, the inspector reads only parts of most frames."""
    watch = start()
    watch.feed(stream)
    watch.end()
    assert list_facts(watch) == read_every_frame(stream)


def test_the_frames_of_a_whole_answer_are_few_and_read() -> None:
    quoted = delta("output_text", '"response.completed"') + event("new", x="response.completed")
    assert list_answer_frames(ADDED + quoted) == []
    found = list_answer_frames(b": hi\n\n" + WHOLE + b"data: [DONE]\n\n")
    assert [raw for raw, _ in found] == [CREATED, done(MESSAGE), COMPLETED]
    assert [frame.kind.removeprefix("response.") for _, frame in found] == [
        "created", "output_item.done", "completed",
    ]  # fmt: skip


def test_an_error_before_content_shows_nothing() -> None:
    watch = start()
    assert watch.feed(CREATED + NESTED) == b""
    assert watch.problem is not None


def test_an_item_s_own_error_is_none_of_the_stream() -> None:
    """An MCP call may fail while the model goes on."""
    watch = start()
    item = {"type": "mcp_call", "error": {"type": "x"}}
    watch.feed(HELLO + done(item) + event("response.mcp_call.failed", error={"a": 1}) + COMPLETED)
    assert watch.complete
