"""Whole answers: usage for accounting, and streams folded into answers and unfolded again."""

import json

import pytest

from gateway.core.usage import Usage
from gateway.dialects.openai_responses import DIALECT
from tests.dialects.openai_responses.cases import (
    CALL,
    CREATED,
    MESSAGE,
    WHOLE,
    Object,
    done,
    event,
    read,
    response,
)  # fmt: skip


def glance(value: object) -> tuple[str | None, str | None, str | None]:
    seen = DIALECT.summarize(json.dumps(value).encode())
    return seen.finish, seen.served_model, seen.problem.kind if seen.problem else None


def test_an_answer_tells_its_model_its_end_and_its_usage() -> None:
    seen = DIALECT.summarize(json.dumps(response(MESSAGE)).encode())
    assert (seen.finish, seen.served_model, seen.problem) == ("completed", "m-1", None)
    assert seen.usage == Usage(input=12, cache_read=5, cache_write={"": 3}, output=6, reasoning=4)


@pytest.mark.parametrize(
    ("more", "finish"),
    [
        ({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}, "max_output_tokens"),
        ({"status": "incomplete"}, "incomplete"),
        ({"status": "queued"}, "queued"),
        ({"status": None}, None),
    ],
)  # fmt: skip
def test_why_it_is_incomplete_goes_before_that_it_is(more: Object, finish: str | None) -> None:
    assert glance(response(MESSAGE, model=3, **more)) == (finish, None, None)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ([], "upstream_error"),
        ({"id": "x"}, "upstream_error"),
        ({"error": {"code": "rate_limit_exceeded"}}, "upstream_rate_limited"),
        (
            response(status="failed", error={"code": "server_error", "message": "m"}),
            "upstream_error",
        ),
        (response(status="failed"), "upstream_error"),
    ],
)
def test_a_200_without_an_answer_is_a_problem(value: object, kind: str) -> None:
    assert glance(value)[2] == kind


def test_html_is_no_answer() -> None:
    problem = DIALECT.summarize(b"<html>").problem
    assert problem is not None
    assert "not JSON" in problem.message


REASONING = {
    "id": "rs_1", "type": "reasoning", "encrypted_content": "x",
    "summary": [{"type": "summary_text", "text": "hm"}],
    "content": [{"type": "reasoning_text", "text": "hmm"}],
}  # fmt: skip
RICH = {
    **MESSAGE,
    "content": [
        {"type": "output_text", "text": "a", "annotations": [{"type": "file_path"}], "logprobs": [{"token": "a"}]},
        {"type": "refusal", "refusal": "no"},
        {"type": "new", "x": 1},
        {"x": 1},
    ],
}  # fmt: skip
CUSTOM = {"id": "ctc_1", "type": "custom_tool_call", "call_id": "c", "name": "n", "input": "a b"}
SEARCH = {"id": "ws_1", "type": "web_search_call", "status": "completed"}


def folded(stream: bytes) -> Object:
    value: Object = json.loads(DIALECT.fold(stream))
    return value


def test_the_terminal_event_holds_the_answer() -> None:
    assert folded(b": hi\n\n" + WHOLE + b"data: [DONE]\n\n") == response(MESSAGE)


def test_output_that_is_left_out_at_the_end_is_that_of_its_items() -> None:
    """Codex's provider ends with an empty output; other hosts omit the position or the model."""
    end = event("response.completed", response={"status": "completed", "output": [], "x": 1})
    stream = CREATED + done(CALL, 1) + done(MESSAGE, 0) + end
    assert folded(stream) == {**response(MESSAGE, CALL, usage=None), "x": 1}
    unplaced = event("response.output_item.done", item=MESSAGE)
    assert folded(unplaced + event("response.completed", response={}))["output"] == [MESSAGE]


def test_every_item_is_added_told_and_done_in_numbered_events() -> None:
    whole = json.dumps(response(REASONING, RICH, CALL, CUSTOM, SEARCH)).encode()
    stream = DIALECT.unfold(whole, True)
    said = read(stream)
    assert [event["sequence_number"] for event in said] == list(range(len(said)))
    kinds = [event["type"].removeprefix("response.") for event in said]
    assert kinds == [
        "created", "in_progress",
        "output_item.added", "reasoning_summary_part.added", "reasoning_summary_text.delta",
        "reasoning_summary_text.done", "reasoning_summary_part.done", "content_part.added",
        "reasoning_text.delta", "reasoning_text.done", "content_part.done", "output_item.done",
        "output_item.added", "content_part.added", "output_text.delta",
        "output_text.annotation.added", "output_text.done", "content_part.done",
        "content_part.added", "refusal.delta", "refusal.done", "content_part.done",
        "output_item.done",
        "output_item.added", "function_call_arguments.delta", "function_call_arguments.done",
        "output_item.done",
        "output_item.added", "custom_tool_call_input.delta", "custom_tool_call_input.done",
        "output_item.done",
        "output_item.added", "output_item.done",
        "completed",
    ]  # fmt: skip
    begun = [event["item"] for event in said if event["type"] == "response.output_item.added"]
    assert begun[1] == {**RICH, "status": "in_progress", "content": []}
    assert begun[2] == {**CALL, "status": "in_progress", "arguments": ""}
    assert said[0]["response"] == response(status="in_progress", usage=None)
    assert folded(stream) == json.loads(whole)


def test_an_answer_that_was_cut_ends_so() -> None:
    whole = response(MESSAGE, status="incomplete")
    stream = DIALECT.unfold(json.dumps(whole).encode(), True)
    assert read(stream)[-1]["type"] == "response.incomplete"
    watch = DIALECT.inspect_stream(DIALECT.read(b'{"model":"m","input":"a"}'))
    assert watch.feed(stream) == stream
    assert watch.complete


def test_a_response_without_output_is_a_stream_too() -> None:
    """The response has an id for later, another status, no item, or an item without a type."""
    for status, last in (("queued", "response.in_progress"), (None, "response.completed")):
        bare = {"status": status, "output": None}
        events = read(DIALECT.unfold(json.dumps(bare).encode(), True))
        assert events[-1]["type"] == last  # a queued response has no end
    odd = {"output": [{"id": "x"}]}
    assert folded(DIALECT.unfold(json.dumps(odd).encode(), True))["output"] == [{"id": "x"}]
