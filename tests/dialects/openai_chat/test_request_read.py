"""Reading a request gives the facts that routing needs, or a clear refusal."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.call import Call
from gateway.core.errors import ProblemError
from gateway.core.prompt import Prompt
from gateway.dialects import GEMINI, OPENAI_CHAT
from gateway.dialects.openai_chat import request

READ = OPENAI_CHAT.read


def prompt(**members: Any) -> Prompt:
    return READ(json.dumps({"model": "m", "messages": [], **members}).encode()).prompt


def read_messages(*messages: Any) -> Prompt:
    return prompt(messages=list(messages))


@pytest.mark.parametrize(
    ("body", "kind", "param", "words"),
    [
        (b"", "invalid_json", None, "not valid JSON"),
        (b'{"model": NaN}', "invalid_json", None, "byte 10"),
        (b'{"a":' * 3000 + b"1" + b"}" * 3000, "invalid_json", None, "not valid JSON"),
        (b"[]", "invalid_request", None, "must be a JSON object"),
        (b'{"messages":[]}', "invalid_request", "model", "required"),
        (b'{"model":"","messages":[]}', "invalid_request", "model", "required"),
        (b'{"model":7,"messages":[]}', "invalid_request", "model", "required"),
        (b'{"model":"m"}', "invalid_request", "messages", "must be a list"),
        (b'{"model":"m","messages":{}}', "invalid_request", "messages", "must be a list"),
        (b'{"model":"m","messages":[{},"x"]}', "invalid_request", "messages[1]", "must be an object"),
        (b'{"model":"m","messages":[],"stream":"yes"}', "invalid_request", "stream", "true or false"),
        (b'{"model":"m","messages":[],"system":"s"}', "invalid_request", "system", "POST /v1/messages"),
        (b'{"model":"m","messages":[],"tools":[{"name":"f","input_schema":{}}]}', "invalid_request", "tools", "POST /v1/messages"),
    ],
)  # fmt: skip
def test_an_invalid_request_is_refused_with_its_field(
    body: bytes, kind: str, param: str | None, words: str
) -> None:
    with pytest.raises(ProblemError) as caught:
        READ(body)
    problem = caught.value.problem
    assert (problem.kind, problem.param, problem.http_status) == (kind, param, 400)
    assert words in problem.message


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(-9, 9) | st.text(max_size=3),
    lambda items: st.lists(items, max_size=3)
    | st.dictionaries(st.sampled_from(["role", "content", "type", "text", "function", "name", "arguments", "tool_calls", "x"]), items, max_size=4),
    max_leaves=8,
)  # fmt: skip
MEMBERS = [
    "stream", "tools", "tool_choice", "response_format", "n", "temperature", "reasoning_effort", "max_tokens",
    "max_completion_tokens", "store", "logprobs", "stream_options", "web_search_options",
]  # fmt: skip


@given(
    st.lists(st.dictionaries(st.sampled_from(["role", "content", "tool_calls"]), JSON)),
    st.dictionaries(st.sampled_from(MEMBERS), JSON),
)
def test_malformed_members_never_break_reading(
    messages: list[Any], members: dict[str, Any]
) -> None:
    """The provider reports other mistakes; the gateway reads the members that it understands."""
    body = {"model": "m", "messages": messages, **members}
    try:
        request_ = READ(json.dumps(body).encode())
    except ProblemError as error:
        assert error.problem.kind == "invalid_request"  # noqa: PT017 - or nothing at all
        return
    assert type(request_.prompt.choices) is int
    assert request_.prompt.members == set(body)
    OPENAI_CHAT.asks_usage(request_)


def test_the_smallest_request_has_only_model_and_members() -> None:
    assert prompt() == Prompt(model="m", members=frozenset({"model", "messages"}))


def test_the_gateway_reads_the_last_user_turn_and_counts_all_text() -> None:
    """Characters are code points. Tool definitions and arguments of calls count too."""
    facts = read_messages(
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}, {}, "x"]},
        {"role": "tool", "content": "42"},
        {"role": "user", "content": [{"type": "text", "text": "\U0001f600a"}, {"type": "text", "text": "b"}]},
    )  # fmt: skip
    assert (facts.user, facts.user_turns) == ("\U0001f600a\nb", 2)
    assert facts.chars == len("be brief") + len("first") + len("{}") + len("42") + 4
    assert not facts.tool_loop


@pytest.mark.parametrize("role", ["tool", "function"])
def test_a_tool_result_at_the_end_marks_a_tool_loop(role: str) -> None:
    assert read_messages(
        {"role": "user", "content": "go"}, {"role": role, "content": "1"}
    ).tool_loop


def test_parts_are_counted_by_kind() -> None:
    parts = [
        {"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": "data:"}}, {"type": "image_url"},
        {"type": "file"}, {"type": "input_audio"}, {"type": "video_url"}, {"type": "text", "text": 7}, "x",
    ]  # fmt: skip
    facts = read_messages({"role": "user", "content": parts})
    assert (facts.images, facts.files, facts.audio, facts.user) == (2, 1, 1, "see")


@pytest.mark.parametrize(
    ("tools", "names"),
    [
        ([{"type": "function", "function": {"name": "f"}}], ("f",)),
        ([{"function": {"name": "g"}}], ("g",)),
        ([{"type": "custom", "custom": {"name": "c"}}], ("c",)),
        ([{"type": "web_search"}, "x", {"type": "function", "function": {"name": 7}}, {"type": ["f"]}], ("", "", "", "")),
        ({}, ()),
        ([], ()),
    ],
)  # fmt: skip
def test_the_gateway_reads_the_names_of_tools(tools: Any, names: tuple[str, ...]) -> None:
    facts = prompt(tools=tools)
    assert facts.tools == names
    assert (facts.chars > 0) == bool(names)


@pytest.mark.parametrize(
    ("choice", "forced"),
    [
        ("required", True), ({"type": "function", "function": {"name": "f"}}, True), ({"type": "custom"}, True),
        ("auto", False), ("none", False), ({"type": "allowed_tools"}, False), (None, False),
    ],
)  # fmt: skip
def test_the_gateway_reads_a_forced_tool_choice(choice: Any, forced: bool) -> None:
    assert prompt(tool_choice=choice).forced_tool is forced


@pytest.mark.parametrize(
    ("members", "cap"),
    [
        ({}, None),
        ({"max_tokens": 5}, 5),
        ({"max_completion_tokens": 7, "max_tokens": 5}, 7),
        ({"max_completion_tokens": None, "max_tokens": 5}, 5),
        ({"max_tokens": "5"}, None),
        ({"max_tokens": True}, None),
    ],
)
def test_the_newer_name_of_the_output_cap_goes_first(
    members: dict[str, Any], cap: int | None
) -> None:
    """The newer name takes precedence."""
    assert prompt(**members).max_output == cap


@pytest.mark.parametrize(
    ("members", "field", "value"),
    [
        ({"stream": True}, "stream", True),
        ({"stream": None}, "stream", False),
        ({"response_format": {"type": "json_schema"}}, "json_schema", True),
        ({"response_format": {"type": "json_object"}}, "json_schema", False),
        ({"response_format": "json_schema"}, "json_schema", False),
        ({"reasoning_effort": "low"}, "effort", "low"),
        ({"reasoning_effort": 3}, "effort", None),
        ({"n": 3}, "choices", 3),
        ({"n": "3"}, "choices", 1),
        ({"n": True}, "choices", 1),
        ({"web_search_options": {}}, "hosted_tools", True),
        ({"search_parameters": {"mode": "auto"}}, "hosted_tools", True),
        ({"plugins": [{"id": "web"}]}, "hosted_tools", True),
        ({"tools": [{"type": "function"}, {"type": "web_search"}]}, "hosted_tools", True),
        ({"tools": [{"type": ["web_search"]}]}, "hosted_tools", True),
        ({"tools": [{"type": "function"}, {"type": "custom"}, {}, 7]}, "hosted_tools", False),
        ({"tools": {"type": "web_search"}}, "hosted_tools", False),
        ({"store": True}, "stored", True),
        ({"store": False}, "stored", False),
        ({"temperature": 0.1}, "sampled", True),
        ({"temperature": 0}, "sampled", False),
        ({"temperature": None}, "sampled", False),
        ({"logprobs": True}, "logprobs", True),
    ],
)
def test_the_gateway_reads_single_members(
    members: dict[str, Any], field: str, value: object
) -> None:
    fact = getattr(prompt(**members), field)
    assert fact == value
    assert type(fact) is type(value)


@pytest.mark.parametrize(
    ("options", "expected"),
    [({"include_usage": True}, True), ({"include_usage": False}, False), ({}, False), (None, False), (7, False)],
)  # fmt: skip
def test_the_gateway_reads_the_wish_for_usage_in_a_stream(options: Any, expected: bool) -> None:
    body = READ(json.dumps({"model": "m", "messages": [], "stream_options": options}).encode())
    assert OPENAI_CHAT.asks_usage(body) is expected


def test_a_gemini_request_is_read_with_its_path() -> None:
    """Gemini's model is in the URL; other dialects read the body alone."""
    call = Call(
        id="c", dialect="gemini", operation="generate", body=b'{"contents":[{"parts":[]}]}',
        received_at=0.0, started_at=0.0, path="models/m-1:streamGenerateContent",
    )  # fmt: skip
    prompt = GEMINI.read_call(call).prompt
    assert (prompt.model, prompt.stream) == ("m-1", True)
    body = b'{"model":"m","messages":[]}'
    assert OPENAI_CHAT.read_call(msgspec.structs.replace(call, body=body)).raw is body


def test_member_names_are_cached_within_bounds() -> None:
    """Clients choose the names. Many or long ones read the same, and the gateway keeps none."""
    request._known.clear()
    messages = [{"role": "user", "content": "hi"}]
    first, second = (prompt(messages=messages) for _ in range(2))
    assert first == second
    assert first.members is second.members
    long = prompt(**{"x" * 2_000: 1})
    assert long.members == {"model", "messages", "x" * 2_000}
    assert [*request._known] == [("model", "messages")]
    for number in range(600):
        prompt_ = prompt(**{f"x{number}": 1, "max_tokens": number})
        assert (prompt_.max_output, f"x{number}" in prompt_.members) == (number, True)
    assert len(request._known) <= 512
