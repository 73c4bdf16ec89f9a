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


def summarize(value: object) -> tuple[str | None, str | None, str | None]:
    summary = DIALECT.summarize(json.dumps(value).encode())
    return summary.finish, summary.served_model, summary.problem.kind if summary.problem else None


def test_the_gateway_reads_finish_model_and_usage_of_an_answer() -> None:
    summary = DIALECT.summarize(json.dumps(response(MESSAGE)).encode())
    assert (summary.finish, summary.served_model, summary.problem) == ("completed", "m-1", None)
    assert summary.usage == Usage(
        input=12, cache_read=5, cache_write={"": 3}, output=6, reasoning=4
    )


@pytest.mark.parametrize(
    ("more", "finish"),
    [
        ({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}, "max_output_tokens"),
        ({"status": "incomplete"}, "incomplete"),
        ({"status": "queued"}, "queued"),
        ({"status": None}, None),
    ],
)  # fmt: skip
def test_the_reason_of_an_incomplete_answer_goes_before_its_status(
    more: Object, finish: str | None
) -> None:
    assert summarize(response(MESSAGE, model=3, **more)) == (finish, None, None)


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
def test_a_200_without_an_answer_fails(value: object, kind: str) -> None:
    assert summarize(value)[2] == kind


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


def fold(stream: bytes) -> Object:
    value: Object = json.loads(DIALECT.fold(stream))
    return value


def test_the_last_event_holds_the_folded_answer() -> None:
    assert fold(b": hi\n\n" + WHOLE + b"data: [DONE]\n\n") == response(MESSAGE)


def test_a_fold_fills_missing_output_from_the_finished_items() -> None:
    """Codex's provider ends with an empty output; other hosts omit the position or the model."""
    end = event("response.completed", response={"status": "completed", "output": [], "x": 1})
    stream = CREATED + done(CALL, 1) + done(MESSAGE, 0) + end
    assert fold(stream) == {**response(MESSAGE, CALL, usage=None), "x": 1}
    unplaced = event("response.output_item.done", item=MESSAGE)
    assert fold(unplaced + event("response.completed", response={}))["output"] == [MESSAGE]


@pytest.mark.parametrize("status", ["completad", "in_progress", None])
def test_the_last_event_says_how_an_answer_ended_if_its_status_does_not(status: str | None) -> None:
    end = event("response.completed", response={"status": status, "output": [MESSAGE]})
    assert fold(CREATED + end)["status"] == "completed"
    assert fold(CREATED + end.replace(b"response.completed", b"response.incomplete"))["status"] == (
        "incomplete"
    )


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_an_answer_that_failed_stays_failed_whatever_its_last_event_is(status: str) -> None:
    end = event("response.completed", response={"status": status, "output": [MESSAGE]})
    assert fold(CREATED + end)["status"] == status


def test_an_unfolded_answer_has_numbered_events_for_every_item() -> None:
    whole = json.dumps(response(REASONING, RICH, CALL, CUSTOM, SEARCH)).encode()
    stream = DIALECT.unfold(whole, True)
    events = read(stream)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    kinds = [event["type"].removeprefix("response.") for event in events]
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
    added_items = [
        event["item"] for event in events if event["type"] == "response.output_item.added"
    ]
    assert added_items[1] == {**RICH, "status": "in_progress", "content": []}
    assert added_items[2] == {**CALL, "status": "in_progress", "arguments": ""}
    assert events[0]["response"] == response(status="in_progress", usage=None)
    assert fold(stream) == json.loads(whole)


def test_an_incomplete_answer_unfolds_to_an_incomplete_stream() -> None:
    whole = response(MESSAGE, status="incomplete")
    stream = DIALECT.unfold(json.dumps(whole).encode(), True)
    assert read(stream)[-1]["type"] == "response.incomplete"
    inspector = DIALECT.inspect_stream(DIALECT.read(b'{"model":"m","input":"a"}'))
    assert inspector.feed(stream) == stream
    assert inspector.complete


def test_a_response_without_output_can_be_unfolded() -> None:
    """The response has an id for later, another status, no item, or an item without a type."""
    for status, last in (("queued", "response.in_progress"), (None, "response.completed")):
        bare = {"status": status, "output": None}
        events = read(DIALECT.unfold(json.dumps(bare).encode(), True))
        assert events[-1]["type"] == last  # a queued response has no end
    odd = {"output": [{"id": "x"}]}
    assert fold(DIALECT.unfold(json.dumps(odd).encode(), True))["output"] == [{"id": "x"}]
