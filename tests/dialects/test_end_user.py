"""The end user whom a request names, and the part of its id that every session shares."""

import json
from typing import Any

import pytest

from gateway.dialects import OPERATIONS
from gateway.dialects.end_user import find_stable_id

CHAT = ("openai-chat", "generate")
EMBEDDINGS = ("openai-chat", "embeddings")
RESPONSES = ("openai-responses", "generate")
MESSAGES = ("anthropic-messages", "generate")
COUNT = ("anthropic-messages", "count_tokens")
GEMINI = ("gemini", "generate")
BODIES: dict[tuple[str, str], dict[str, Any]] = {
    CHAT: {"model": "m", "messages": [{"role": "user", "content": "hi"}]},
    EMBEDDINGS: {"model": "m", "input": "hi"},
    RESPONSES: {"model": "m", "input": "hi"},
    MESSAGES: {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "hi"}]},
    COUNT: {"model": "m", "messages": [{"role": "user", "content": "hi"}]},
    GEMINI: {"model": "models/m", "contents": [{"parts": [{"text": "hi"}]}]},
}
DEVICE, ACCOUNT = "ab" * 32, "b0a1c2d3-0edc-4016-93ca-a173b3233853"
SESSION, OTHER_SESSION = "46f56d7d-0edc-4016-93ca-a173b3233853", "0-1-2"


@pytest.mark.parametrize(
    ("operation", "members", "user"),
    [
        (CHAT, {}, ""),
        (CHAT, {"user": "ann"}, "ann"),
        (CHAT, {"safety_identifier": "bob"}, "bob"),
        (CHAT, {"user": "ann", "safety_identifier": "bob"}, "bob"),
        (CHAT, {"user": "ann", "safety_identifier": None}, "ann"),
        (RESPONSES, {"user": "ann"}, "ann"),
        (RESPONSES, {"safety_identifier": "bob"}, "bob"),
        (EMBEDDINGS, {"user": "ann"}, "ann"),
        (MESSAGES, {}, ""),
        (MESSAGES, {"metadata": {"user_id": "ann"}}, "ann"),
        (MESSAGES, {"metadata": {"user_id": None}}, ""),
        (MESSAGES, {"metadata": {}}, ""),
        (MESSAGES, {"metadata": None}, ""),
        (COUNT, {"metadata": {"user_id": "ann"}}, "ann"),
        (GEMINI, {"labels": {"user": "ann"}}, ""),
    ],
)
def test_each_dialect_has_its_own_member_for_the_end_user(
    operation: tuple[str, str], members: dict[str, Any], user: str
) -> None:
    """Gemini has none: its clients send the header alone."""
    dialect = OPERATIONS[operation]
    body = dialect.read(json.dumps({**BODIES[operation], **members}).encode())
    assert dialect.read_end_user(body.outline) == user


@pytest.mark.parametrize(
    ("text", "stable_id"),
    [
        ("ann", "ann"),
        (" ann ", "ann"),
        ("my_session_1", "my_session_1"),
        ("user_1", "user_1"),
        (f"user_{DEVICE}_account_{ACCOUNT}_session_{SESSION}", ACCOUNT),
        (f"user_{DEVICE}_account_{ACCOUNT}_session_{OTHER_SESSION}", ACCOUNT),
        (f"user_{DEVICE}_account__session_{SESSION}", DEVICE),
        (json.dumps({"device_id": DEVICE, "account_uuid": ACCOUNT, "session_id": SESSION}), ACCOUNT),
        (json.dumps({"device_id": DEVICE, "account_uuid": "", "session_id": SESSION}), DEVICE),
        (json.dumps({"account_uuid": 7, "session_id": SESSION, "a": 1}), '{"a":1,"account_uuid":7}'),
        (json.dumps({"session_id": SESSION}), ""),
        ("{ann", "{ann"),
        ("", ""),
    ],
)  # fmt: skip
def test_the_session_is_no_part_of_an_end_users_id(text: str, stable_id: str) -> None:
    """The account of Claude Code names a person, whatever the device and the session are."""
    assert find_stable_id(text) == stable_id
