"""The beginnings and names of conversations, in four dialects."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import ProblemError
from gateway.dialects import DIALECTS, OPERATIONS
from gateway.dialects import conversation_start as openings
from gateway.dialects.conversation_start import MAX_TEXT_CHARS, ConversationStart

CHAT, RESPONSES, MESSAGES, GEMINI = (
    "openai-chat", "openai-responses", "anthropic-messages", "gemini",
)  # fmt: skip
SESSION = "46f56d7d-0edc-4016-93ca-a173b3233853"
REMIND = "<system-reminder>Be brief.</system-reminder>"
SYSTEM = {"role": "system", "content": "Be kind."}
HI = {"role": "user", "content": "hi"}


def read_start(dialect: str, **body: Any) -> ConversationStart:
    value = {"model": "m", "max_tokens": 1, **body} if dialect == MESSAGES else body
    if dialect in (CHAT, RESPONSES):
        value = {"model": "m", **body}
    if dialect == GEMINI:
        value = {"model": "models/m", **body}
    request = DIALECTS[dialect].read(json.dumps(value).encode())
    return DIALECTS[dialect].read_start(request)


@pytest.mark.parametrize(
    ("dialect", "body", "system", "first"),
    [
        (CHAT, {"messages": [SYSTEM, HI, SYSTEM]}, ("Be kind.",), "hi"),
        (CHAT, {"messages": [{"role": "developer", "content": [{"type": "text", "text": "A"}, {"type": "text", "text": "B"}, 7]}, HI]}, ("A", "B"), "hi"),
        (CHAT, {"messages": [HI, SYSTEM]}, (), "hi"),
        (CHAT, {"messages": []}, (), ""),
        (MESSAGES, {"system": "Be kind.", "messages": [HI]}, ("Be kind.",), "hi"),
        (MESSAGES, {"system": [{"type": "text", "text": name} for name in "abcdef"], "messages": [HI]}, ("a", "b", "c", "d"), "hi"),
        (MESSAGES, {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": REMIND}, HI]}, (), "hi"),
        (MESSAGES, {"messages": [{"role": "user", "content": REMIND}, {"role": "assistant", "content": "x"}]}, (), REMIND),
        (RESPONSES, {"instructions": "Be kind.", "input": "hi"}, ("Be kind.",), "hi"),
        (RESPONSES, {"input": [{"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "A"}]}, {"type": "reasoning"}, HI]}, ("A",), "hi"),
        (RESPONSES, {"previous_response_id": "resp_1"}, (), ""),
        (GEMINI, {"systemInstruction": {"parts": [{"text": "A"}, {}]}, "contents": [{"parts": {"text": "hi"}}]}, ("A",), "hi"),
        (GEMINI, {"system_instruction": "A", "contents": [{"role": "model", "parts": [{"text": "x"}]}, {"role": "user", "parts": [{"text": "<session_context>x</session_context>"}]}, {"role": "user", "parts": [{"text": "hi"}]}]}, ("A",), "hi"),
        (GEMINI, {"contents": []}, (), ""),
    ],
)  # fmt: skip
def test_the_gateway_reads_instructions_and_the_first_words_of_a_person(
    dialect: str, body: dict[str, Any], system: tuple[str, ...], first: str
) -> None:
    """Instructions are those before the first turn; the first words are a person's."""
    start = read_start(dialect, **body)
    assert (start.system, start.first_text) == (system, first)


@pytest.mark.parametrize(
    ("dialect", "body", "expected", "user"),
    [
        (CHAT, {"session_id": "s"}, ("s", "session_id"), ""),
        (CHAT, {"prompt_cache_key": SESSION}, (SESSION, "prompt_cache_key"), ""),
        (CHAT, {"prompt_cache_key": "ses_de720772fffeJNTDVKnEV3i8dK"}, ("ses_de720772fffeJNTDVKnEV3i8dK", "prompt_cache_key"), ""),
        (CHAT, {"prompt_cache_key": "my-application-v1", "user": "ann"}, None, "ann"),
        (CHAT, {"prompt_cache_key": 7, "user": 7, "safety_identifier": "bob"}, None, "bob"),
        (RESPONSES, {"client_metadata": {"thread_id": "t", "session_id": "s"}, "prompt_cache_key": SESSION}, ("t", "thread_id"), ""),
        (RESPONSES, {"client_metadata": {"session_id": "s"}}, ("s", "session_id"), ""),
        (RESPONSES, {"client_metadata": 7, "conversation": "conv_1"}, ("conv_1", "conversation"), ""),
        (RESPONSES, {"conversation": {"id": "conv_1"}}, ("conv_1", "conversation"), ""),
        (RESPONSES, {"conversation": {"id": 7}, "previous_response_id": "resp_1"}, ("resp_1", "previous_response_id"), ""),
        (MESSAGES, {"metadata": {"user_id": json.dumps({"device_id": "d", "session_id": SESSION})}}, (SESSION, "metadata.user_id"), ...),
        (MESSAGES, {"metadata": {"user_id": f"user_ab_account_cd_session_{SESSION}"}}, (SESSION, "metadata.user_id"), ...),
        (CHAT, {"user": {"id": "ann"}}, None, "ann"),
        (CHAT, {"user": 7}, None, ""),
        (MESSAGES, {"metadata": {"user_id": "ann"}}, None, "ann"),
        (MESSAGES, {"metadata": {"user_id": "{no json"}}, None, "{no json"),
        (MESSAGES, {"metadata": {"user_id": '{"session_id":7}'}}, None, '{"session_id":7}'),
        (MESSAGES, {"metadata": {"user_id": 7}}, None, ""),
        (MESSAGES, {"metadata": 7}, None, ""),
    ],
)  # fmt: skip
def test_the_gateway_reads_the_names_of_conversation_and_user(
    dialect: str, body: dict[str, Any], expected: tuple[str, str] | None, user: object
) -> None:
    """A name belongs to one conversation: a cache key or a user of many conversations is none."""
    turns = {"input": [HI]} if dialect == RESPONSES else {"messages": [HI]}
    start = read_start(dialect, **turns, **body)
    assert start.name_and_member == expected
    assert user in (start.user, ...)


def test_long_texts_are_cut() -> None:
    start = read_start(CHAT, messages=[{**SYSTEM, "content": "a" * 9_999}, {**HI, "content": "b" * 9_999}])  # fmt: skip
    assert (len(start.system[0]), len(start.first_text)) == (MAX_TEXT_CHARS, MAX_TEXT_CHARS)


def test_embeddings_start_no_conversation() -> None:
    for (_, operation), dialect in OPERATIONS.items():
        if operation == "embeddings":
            assert (
                dialect.read_start(DIALECTS[CHAT].read(b'{"model":"m","messages":[]}'))
                == ConversationStart()
            )


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["user", "text", "input_text", REMIND]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["role", "content", "parts", "text", "type", "id", "user_id"]), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip
MEMBERS = ("messages", "input", "contents", "system", "instructions", "systemInstruction", "metadata", "client_metadata", "conversation", "user", "prompt_cache_key")  # fmt: skip


@given(st.sampled_from(sorted(DIALECTS)), st.dictionaries(st.sampled_from(MEMBERS), JSON))
def test_the_start_of_any_valid_request_can_be_read(dialect: str, body: dict[str, Any]) -> None:
    """A valid request never fails here, however odd its members."""
    try:
        start = read_start(dialect, **body)
    except ProblemError:
        return
    assert all(isinstance(text, str) for text in (*start.system, start.first_text, start.user))


USER_TEXTS = st.sampled_from(
    ["", " ", "hi", REMIND, " \n" * MAX_TEXT_CHARS + "x", "[Request interrupted by user"]
)
CONTENT = USER_TEXTS | st.lists(
    USER_TEXTS.map(lambda text: {"type": "text", "text": text}), max_size=3
)
MESSAGE = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "developer", "user", "assistant"]), "content": CONTENT}
)


@given(st.lists(MESSAGE, max_size=6))
def test_the_first_text_is_that_of_the_first_user_turn_with_text(
    messages: list[dict[str, Any]],
) -> None:
    """A first turn with a single text takes a shorter path, with the same result."""
    turns = [
        openings.read_content(message["content"], "text")
        for message in messages
        if message["role"] == "user"
    ]
    assert read_start(CHAT, messages=messages).first_text == openings.find_first_text(turns)
