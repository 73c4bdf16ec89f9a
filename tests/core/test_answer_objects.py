"""The objects that a provider makes while it answers a text call."""

from typing import Any

import pytest

from gateway.core import jsonio
from gateway.core.answer_objects import find_answer_objects, may_make_objects

RESPONSES, MESSAGES = "openai-responses", "anthropic-messages"


@pytest.mark.parametrize(
    ("dialect", "body", "hosted", "expected"),
    [
        (RESPONSES, {"tools": [{"type": "code_interpreter"}]}, True, True),
        (RESPONSES, {"tools": [{"environment": {"type": "container_auto"}}]}, True, True),
        (RESPONSES, {"tools": [{"type": "web_search"}]}, True, False),
        (RESPONSES, {"input": 'the "code_interpreter"'}, False, False),
        (MESSAGES, {"tools": [{"type": "code_execution_20260521"}]}, True, True),
        (MESSAGES, {"container": "c"}, False, True),
        (MESSAGES, {"thread": {"type": "create"}}, False, True),
        (MESSAGES, {"messages": []}, False, False),
        ("openai-chat", {"container": "c", "thread": 1}, True, False),
        ("gemini", {"tools": [{"codeExecution": {}}]}, True, False),
    ],
)
def test_calls_that_run_code_or_leave_a_thread_may_make_objects(
    dialect: str, body: dict[str, Any], hosted: bool, expected: bool
) -> None:
    data = jsonio.dumps(body)
    assert may_make_objects(dialect, data, body, hosted_tools=hosted) is expected


def find(dialect: str, value: Any, *, has_thread: bool = False) -> set[tuple[str, str]]:
    found = find_answer_objects(dialect, jsonio.dumps(value), has_thread=has_thread)
    return {(item.kind, item.id) for item in found}


def test_an_answer_of_responses_shows_containers() -> None:
    output = [
        {"type": "code_interpreter_call", "container_id": "cntr_1"},
        {"type": "shell_call", "environment": {"container_id": "cntr_2"}},
        {"annotations": [{"type": "file_citation", "file_id": "file-1", "container_id": None}]},
    ]
    expected = {("container", "cntr_1"), ("container", "cntr_2")}
    assert find(RESPONSES, {"id": "resp_1", "output": output}) == expected
    assert find(RESPONSES, {"text": "container_id", "file_id": "file-1"}) == set()


def test_an_answer_of_messages_shows_its_container_the_files_of_its_code_and_its_thread() -> None:
    result = {"type": "bash_code_execution_output", "file_id": "file_1"}
    answer = {
        "id": "msg_1", "type": "message", "container": {"id": "c_1", "expires_at": "later"},
        "content": [
            {"type": "bash_code_execution_tool_result", "content": {"content": [result]}},
            {"type": ["message"], "id": "x", "citations": [{"file_id": "file_9"}]},
        ],
    }  # fmt: skip
    expected = {("container", "c_1"), ("file", "file_1")}
    assert find(MESSAGES, answer) == expected
    assert find(MESSAGES, answer, has_thread=True) == {*expected, ("message", "msg_1")}
    assert find(MESSAGES, {"type": "message_delta", "delta": {"container": {"id": ""}}}) == set()


@pytest.mark.parametrize("data", [b"", b'{"container_id": ', b'"container_id"'])
def test_what_is_no_answer_shows_nothing(data: bytes) -> None:
    assert find_answer_objects(RESPONSES, data, has_thread=False) == []
