"""A body at the wrong endpoint gets a refusal that names the right one.

(reliability: wrong dialect, wrong path)
"""

from typing import Any

import pytest

from gateway.core.errors import ProblemError
from gateway.dialects import DIALECTS

TALK = b'"messages":[{"role":"user","content":"hi"}]'
CHAT = b'{"model":"m",' + TALK + b"}"
MESSAGES = b'{"model":"m","max_tokens":9,"system":"s",' + TALK + b"}"
RESPONSES = b'{"model":"m","input":"hi"}'
GEMINI = b'{"model":"m","contents":[{"parts":[{"text":"hi"}]}]}'

TO_CHAT = "A Chat Completions request goes to POST /v1/chat/completions"
TO_MESSAGES = "A request of the Messages API goes to POST /v1/messages."
TO_RESPONSES = "A Responses request goes to POST /v1/responses."
TO_GEMINI = "A Gemini request goes to POST /v1beta/models/{model}:generateContent."
EITHER = f"{TO_CHAT}, one of the Messages API to POST /v1/messages."


def read_refusal(dialect: str, body: bytes) -> str:
    reading: Any = DIALECTS[dialect].read
    with pytest.raises(ProblemError) as caught:
        reading(body)
    assert caught.value.problem.kind == "invalid_request"
    return caught.value.problem.message


@pytest.mark.parametrize(
    ("dialect", "body", "hint"),
    [
        ("openai-chat", MESSAGES, "Send the request to POST /v1/messages."),
        ("openai-chat", RESPONSES, TO_RESPONSES),
        ("openai-chat", GEMINI, TO_GEMINI),
        ("openai-chat", b'{"model":"m","messages":"hi","stop_sequences":[]}', TO_MESSAGES),
        ("anthropic-messages", CHAT, f"{TO_CHAT}."),
        ("anthropic-messages", RESPONSES, TO_RESPONSES),
        ("anthropic-messages", b'{"max_tokens":9,' + RESPONSES[1:], TO_RESPONSES),
        ("anthropic-messages", GEMINI, TO_GEMINI),
        ("openai-responses", CHAT, EITHER),
        ("openai-responses", MESSAGES, TO_MESSAGES),
        (
            "openai-responses",
            b'{"model":"m","tools":[{"input_schema":{}}],"messages":[]}',
            TO_MESSAGES,
        ),
        ("openai-responses", GEMINI, TO_GEMINI),
        ("gemini", CHAT, EITHER),
        ("gemini", MESSAGES, TO_MESSAGES),
        ("gemini", RESPONSES, TO_RESPONSES),
    ],
)
def test_a_request_at_the_wrong_endpoint_gets_a_hint_at_the_right_one(
    dialect: str, body: bytes, hint: str
) -> None:
    assert read_refusal(dialect, body).endswith(hint)


@pytest.mark.parametrize(
    ("dialect", "body"),
    [
        ("openai-chat", b'{"model":"m"}'),
        ("openai-chat", b'{"model":"m","messages":1,"tools":[]}'),
        ("openai-chat", b'{"model":"m","prompt":"hi"}'),
        ("anthropic-messages", b'{"model":"m","max_tokens":9}'),
        ("openai-responses", b'{"model":"m"}'),
        ("openai-responses", b'{"model":"m","input":1}'),
        ("gemini", b'{"model":"m"}'),
        ("gemini", b'{"model":"m","contents":1}'),
    ],
)
def test_an_unclear_request_gets_no_hint_at_another_endpoint(dialect: str, body: bytes) -> None:
    assert "POST" not in read_refusal(dialect, body)


def test_a_legacy_completions_request_gets_a_hint_to_send_messages() -> None:
    assert read_refusal("openai-chat", b'{"model":"m","prompt":"hi"}') == (
        '"messages" is required and must be a list. This endpoint does not accept "prompt". Send it as "messages".'
    )
