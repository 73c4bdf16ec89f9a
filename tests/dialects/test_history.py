"""The last messages of a request read the same in each dialect, for the same conversation."""

from typing import Any

import pytest

from gateway.core import jsonio
from gateway.dialects import DIALECTS, OPERATIONS
from gateway.dialects.history import (
    MAX_MESSAGES,
    MAX_PARTS,
    MAX_TEXT_CHARS,
    History,
    PastCall,
    PastMessage,
    PastResult,
)
from gateway.evaluation.sample_call import read_body

type Json = Any
SCHEMA = {"type": "object", "properties": {"name": {"type": "string"}}}
CHAT: Json = {
    "model": "auto",
    "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}},
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Who is it?"},
        {"role": "assistant", "content": None, "tool_calls": [
            {"id": "t1", "type": "function", "function": {"name": "find", "arguments": '{"a": 1}'}}
        ]},
        {"role": "tool", "tool_call_id": "t1", "content": [{"type": "text", "text": "Error: no"}]},
        {"role": "assistant", "content": "Nobody."},
        {"role": "user", "content": [{"type": "text", "text": "Again."}]},
    ],
}  # fmt: skip
MESSAGES: Json = {
    "model": "auto",
    "max_tokens": 9,
    "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}},
    "messages": [
        {"role": "user", "content": "Who is it?"},
        {"role": "assistant", "content": [
            {"type": "tool_use", "id": "t1", "name": "find", "input": {"a": 1}}
        ]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "t1", "is_error": True, "content": "Error: no"}
        ]},
        {"role": "assistant", "content": [{"type": "text", "text": "Nobody."}]},
        {"role": "user", "content": [
            {"type": "text", "text": "<system-reminder>Be kind.</system-reminder>"},
            {"type": "text", "text": "Again."},
        ]},
    ],
}  # fmt: skip
RESPONSES: Json = {
    "model": "auto",
    "text": {"format": {"type": "json_schema", "name": "a", "schema": SCHEMA}},
    "input": [
        {"role": "user", "content": "Who is it?"},
        {"type": "reasoning", "summary": []},
        {"type": "function_call", "call_id": "t1", "name": "find", "arguments": '{"a": 1}'},
        {"type": "function_call_output", "call_id": "t1", "output": "Error: no"},
        {"type": "message", "role": "assistant", "content": [
            {"type": "output_text", "text": "Nobody."}
        ]},
        {"role": "user", "content": [{"type": "input_text", "text": "Again."}]},
    ],
}  # fmt: skip
GEMINI: Json = {
    "generationConfig": {"responseMimeType": "application/json", "responseSchema": SCHEMA},
    "contents": [
        {"role": "user", "parts": [{"text": "Who is it?"}]},
        {"role": "model", "parts": [{"functionCall": {"id": "t1", "name": "find", "args": {"a": 1}}}]},
        {"role": "user", "parts": [
            {"functionResponse": {"id": "t1", "name": "find", "response": {"error": "Error: no"}}}
        ]},
        {"role": "model", "parts": [{"text": "I think.", "thought": True}, {"text": "Nobody."}]},
        {"role": "user", "parts": [{"text": "Again."}]},
    ],
}  # fmt: skip
BODIES = {
    "openai-chat": CHAT,
    "anthropic-messages": MESSAGES,
    "openai-responses": RESPONSES,
    "gemini": GEMINI,
}


def read(name: str, body: Json) -> History:
    dialect = DIALECTS[name]
    return dialect.read_history(read_body(dialect, jsonio.dumps(body), "auto"))


def newest(name: str, body: Json) -> list[PastMessage]:
    return list(read(name, body).messages)


@pytest.mark.parametrize("name", BODIES)
def test_the_gateway_reads_a_conversation_from_its_newest_message_back(name: str) -> None:
    arguments: Json = '{"a": 1}' if name.startswith("openai") else {"a": 1}
    reports_errors = name in ("anthropic-messages", "gemini")
    assert newest(name, BODIES[name]) == [
        PastMessage(speaker="user", text="Again."),
        PastMessage(speaker="assistant", text="Nobody."),
        PastMessage(
            speaker="user",
            results=(PastResult("t1", "Error: no", True if reports_errors else None),),
        ),
        PastMessage(speaker="assistant", calls=(PastCall("t1", "find", arguments),)),
        PastMessage(speaker="user", text="Who is it?"),
    ]


@pytest.mark.parametrize("name", BODIES)
def test_the_gateway_reads_the_schema_that_answers_must_have(name: str) -> None:
    history = read(name, BODIES[name])
    assert (history.wants_json, history.schema) == (True, SCHEMA)


@pytest.mark.parametrize(
    ("name", "more", "wants_json"),
    [
        ("openai-chat", {"response_format": {"type": "json_object"}}, True),
        ("openai-chat", {"response_format": {"type": "text"}}, False),
        ("openai-chat", {"response_format": "json"}, False),
        ("openai-responses", {"text": {"format": {"type": "json_object"}}}, True),
        ("openai-responses", {"text": {"verbosity": "low"}}, False),
        ("openai-responses", {"text": None, "input": "Hello"}, False),
        ("anthropic-messages", {"output_config": {"effort": "low"}}, False),
        ("anthropic-messages", {"output_config": None, "output_format": {"type": "json_schema"}}, True),
        ("gemini", {"generationConfig": {"response_json_schema": {"type": "object"}}}, True),
        ("gemini", {"generationConfig": {}}, False),
    ],
)  # fmt: skip
def test_each_dialect_has_its_own_word_for_json_answers(
    name: str, more: Json, wants_json: bool
) -> None:
    assert read(name, {**BODIES[name], **more}).wants_json is wants_json


def test_embeddings_have_no_history() -> None:
    dialect = OPERATIONS["openai-chat", "embeddings"]
    body = dialect.read(b'{"model": "m", "input": "Hello"}')
    assert list(dialect.read_history(body).messages) == []


def test_the_gateway_reads_only_the_end_of_a_long_conversation() -> None:
    messages = [{"role": "user", "content": str(number)} for number in range(100)]
    messages_read = newest("openai-chat", {**CHAT, "messages": messages})
    assert [message.text for message in messages_read] == [str(n) for n in reversed(range(60, 100))]
    assert len(messages_read) == MAX_MESSAGES


def test_the_gateway_reads_only_the_end_of_a_long_message() -> None:
    parts = [{"type": "text", "text": f"{number} "} for number in range(1_000)]
    (message,) = newest("anthropic-messages", {**MESSAGES, "messages": [{"role": "assistant", "content": parts}]})  # fmt: skip
    assert message.text == "".join(f"{number} " for number in range(1_000 - MAX_PARTS, 1_000))


@pytest.mark.parametrize(("length", "is_cut"), [(MAX_TEXT_CHARS, False), (MAX_TEXT_CHARS + 1, True)])  # fmt: skip
def test_a_long_answer_is_cut_and_marked_as_cut(length: int, is_cut: bool) -> None:
    messages = [{"role": "assistant", "content": "a" * length}]
    (message,) = newest("openai-chat", {**CHAT, "messages": messages})
    assert (len(message.text), message.is_cut) == (MAX_TEXT_CHARS, is_cut)


def test_the_gateway_reads_both_ends_of_a_long_tool_result() -> None:
    text = f"begins {'a' * 100_000} ends"
    messages = [{"role": "tool", "tool_call_id": "t1", "content": text}]
    ((result,),) = [message.results for message in newest("openai-chat", {**CHAT, "messages": messages})]  # fmt: skip
    assert result.text.startswith("begins a")
    assert result.text.endswith("a ends")
    assert len(result.text) < 1_000


def test_the_gateway_recognises_refusals_of_openai() -> None:
    messages = [
        {"role": "assistant", "content": None, "refusal": "No."},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
        {"role": "assistant", "content": [{"type": "text", "text": "Yes."}], "refusal": None},
    ]
    messages_read = newest("openai-chat", {**CHAT, "messages": messages})
    assert [message.is_refusal for message in messages_read] == [False, True, True]
    items = [{"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}]
    assert [message.is_refusal for message in newest("openai-responses", {**RESPONSES, "input": items})] == [True]  # fmt: skip


def test_the_gateway_reads_legacy_custom_and_shell_calls() -> None:
    old = [
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "function", "name": "f", "content": "done"},
        {"role": "assistant", "tool_calls": [
            {"id": "c", "type": "custom", "custom": {"name": "g", "input": "ls"}},
            {"id": "d", "type": ["odd"]},
        ]},
    ]  # fmt: skip
    custom, result, function = newest("openai-chat", {**CHAT, "messages": old})
    assert custom.calls == (PastCall("c", "g", "ls"),)
    assert (result.results, function.calls) == (
        (PastResult("f", "done"),),
        (PastCall("f", "f", "{}"),),
    )
    items = [{"type": "local_shell_call", "call_id": "s", "action": {"command": ["ls"]}}, "odd"]
    (shell,) = newest("openai-responses", {**RESPONSES, "input": items[:1]})
    assert shell.calls == (PastCall("s", "", {"command": ["ls"]}),)


def test_gemini_calls_without_ids_get_ids_by_their_order() -> None:
    calls = [{"functionCall": {"name": "f", "args": {"a": number}}} for number in (1, 2)]
    results = [
        {"functionResponse": {"name": "f", "response": {"output": "yes"}}},
        {"functionResponse": {"name": "f", "response": {"error": "no"}}},
    ]
    contents = [{"role": "model", "parts": calls}, {"role": "user", "parts": results}]
    answers, question = newest("gemini", {"contents": contents})
    assert [call.id for call in question.calls] == ["f 1", "f 2"]
    assert [(result.id, result.failed) for result in answers.results] == [("f 1", None), ("f 2", True)]  # fmt: skip
    assert [message.text for message in newest("gemini", {"contents": {"parts": [{"text": "a"}]}})] == ["a"]  # fmt: skip


def test_malformed_messages_have_no_content() -> None:
    messages = [{"role": "robot"}, {"role": "user"}, {"role": "assistant", "tool_calls": [3, {}]}]
    messages_read = newest("openai-chat", {**CHAT, "messages": messages})
    assert messages_read == [PastMessage(speaker="assistant"), PastMessage(speaker="user")]
    odd = [{"role": "system", "content": "a"}, {"type": "item_reference", "id": "i"}]
    assert newest("openai-responses", {**RESPONSES, "input": odd}) == []
    messages = [{"role": "system", "content": "a"}]
    assert newest("anthropic-messages", {**MESSAGES, "messages": messages}) == []
