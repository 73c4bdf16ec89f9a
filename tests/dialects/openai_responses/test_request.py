"""What routing and accounting learn of a Responses request."""

import pytest

from gateway.core.errors import ProblemError
from gateway.dialects.openai_responses import DIALECT
from tests.dialects.openai_responses.cases import ask, raw

RESULT = {"type": "function_call_output", "call_id": "c", "output": "22 degrees"}
TURNS = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "first"},
    {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}]},
    {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "one"}]},
    {
        "type": "message",
        "role": "user",
        "content": [
            {"type": "input_text", "text": "look"},
            {"type": "input_image", "image_url": "https://a.test/b.png"},
            {"type": "input_file", "file_id": "file-1"},
            {"type": "input_text", "text": "closely"},
            "no part",
        ],
    },
]


def test_a_string_is_one_turn_of_a_user() -> None:
    prompt = ask(input="Hello.", instructions="Be brief.").prompt
    assert (prompt.user, prompt.user_turns, prompt.chars) == ("Hello.", 1, 15)
    assert not prompt.tool_loop
    assert not prompt.stream


def test_items_are_counted_and_the_last_user_turn_is_the_prompt() -> None:
    prompt = ask(input=TURNS, stream=True).prompt
    assert prompt.user == "look\nclosely"
    assert (prompt.user_turns, prompt.images, prompt.files) == (2, 1, 1)
    assert prompt.chars == len("Be brief." + "first" + "hm" + "one" + "look" + "closely")
    assert prompt.stream


@pytest.mark.parametrize(
    ("item", "loop"),
    [
        (RESULT, True),
        ({"type": "custom_tool_call_output", "call_id": "c", "output": []}, True),
        ({"type": "mcp_approval_response", "approve": True}, True),
        ({"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}, False),
        ({"role": "user", "content": "stop"}, False),
        ({"type": 7}, False),
    ],
)
def test_a_result_at_the_end_is_the_middle_of_a_turn(item: dict[str, object], loop: bool) -> None:
    assert ask(input=[*TURNS, RESULT, item]).prompt.tool_loop is loop
    assert ask(input=[*TURNS, item]).prompt.tool_loop is loop


def test_results_arguments_and_actions_are_text_of_the_model() -> None:
    parts = [{"type": "input_text", "text": "12345"}, {"type": "input_image", "image_url": "u"}]
    items = [
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": '{"a":1}'},
        {"type": "function_call_output", "call_id": "c", "output": parts},
        {"type": "local_shell_call", "action": {"a": 1}},
    ]
    prompt = ask(input=items).prompt
    assert (prompt.chars, prompt.images, prompt.user_turns) == (7 + 5 + 7, 1, 0)


def test_settings_are_read_from_where_they_stand() -> None:
    prompt = ask(
        reasoning={"effort": "low"},
        max_output_tokens=99,
        temperature=0.5,
        text={"format": {"type": "json_schema", "name": "n", "schema": {}}},
        include=["message.output_text.logprobs"],
    ).prompt
    assert (prompt.effort, prompt.max_output, prompt.sampled) == ("low", 99, True)
    assert prompt.json_schema
    assert prompt.logprobs
    assert "text" in prompt.members


@pytest.mark.parametrize(
    "more",
    [
        {"reasoning": None, "max_output_tokens": True, "text": "x", "temperature": 0},
        {"reasoning": {"effort": None}, "max_output_tokens": None, "text": {"format": None}},
        {"reasoning": [], "include": "x", "top_logprobs": 0, "tools": {}},
    ],
)
def test_what_is_null_or_strange_is_not_set(more: dict[str, object]) -> None:
    prompt = ask(**more).prompt
    assert (prompt.effort, prompt.max_output, prompt.tools) == (None, None, ())
    assert (prompt.json_schema, prompt.logprobs, prompt.sampled) == (False, False, False)


def test_tools_go_by_their_name_and_hosted_ones_by_their_type() -> None:
    tools = [{"type": "function", "name": "f"}, {"type": "custom", "name": "c"}, {"type": "mcp"}, 3]
    prompt = ask(tools=tools).prompt
    assert prompt.tools == ("f", "c", "mcp", "")
    assert prompt.hosted_tools
    assert prompt.chars > len("hi")


@pytest.mark.parametrize(
    ("tool", "hosted"),
    [
        ({"type": "function", "name": "f"}, False),
        ({"type": "local_shell"}, False),
        ({"type": "web_search"}, True),
        ({"type": "shell"}, True),
        ({"type": "shell", "environment": {"type": "container_auto"}}, True),
        ({"type": "shell", "environment": {"type": "local"}}, False),
        ({"type": ["odd"]}, True),
        ("odd", False),
    ],
)
def test_a_tool_that_the_provider_runs_is_hosted(tool: object, hosted: bool) -> None:
    assert ask(tools=[tool]).prompt.hosted_tools is hosted


@pytest.mark.parametrize(
    ("choice", "forced"),
    [
        ("auto", False),
        ("required", True),
        (None, False),
        ({"type": "function", "name": "f"}, True),
        ({"type": "allowed_tools", "mode": "auto", "tools": []}, False),
        ({"type": "allowed_tools", "mode": "required", "tools": []}, True),
    ],
)
def test_a_choice_that_leaves_none_to_the_model_is_forced(choice: object, forced: bool) -> None:
    assert ask(tool_choice=choice).prompt.forced_tool is forced


@pytest.mark.parametrize(
    ("more", "stored"),
    [
        ({}, False),
        ({"store": False}, False),
        ({"store": None, "previous_response_id": None, "background": False}, False),
        ({"store": True}, True),
        ({"background": True}, True),
        ({"previous_response_id": "resp_1"}, True),
        ({"conversation": {"id": "conv_1"}}, True),
        ({"prompt": {"id": "pmpt_1"}}, True),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, True),
        ({"input": [{"id": "msg_1"}]}, True),
        (
            {"input": [{"type": "message", "id": "msg_1"}, {"type": "reasoning", "id": "rs_1"}]},
            False,
        ),
    ],
)
def test_stored_is_what_depends_on_the_provider_or_is_asked_of_it(
    more: dict[str, object], stored: bool
) -> None:
    """`store` unset is neither: the cache stays on, as equal requests may have one stored answer."""
    assert ask(**more).prompt.stored is stored


@pytest.mark.parametrize(
    ("more", "param", "words"),
    [
        ({"model": ...}, "model", '"model" is required'),
        ({"model": ""}, "model", '"model" is required'),
        ({"input": ...}, "input", '"input" is required'),
        ({"input": 3}, "input", '"input" is required'),
        ({"input": 3, "previous_response_id": "r"}, "input", '"input" is required'),
        ({"input": ["a"]}, "input[0]", "must be an object"),
        ({"stream": "yes"}, "stream", "true or false"),
        ({"messages": []}, "messages", "Chat Completions"),
    ],
)
def test_what_is_no_request_is_refused_with_its_field(
    more: dict[str, object], param: str, words: str
) -> None:
    with pytest.raises(ProblemError) as caught:
        ask(**more)
    problem = caught.value.problem
    assert (problem.kind, problem.param) == ("invalid_request", param)
    assert words in problem.message


def test_input_may_be_left_out_where_the_provider_has_it() -> None:
    body = DIALECT.read(raw(input=..., prompt={"id": "pmpt_1"}))
    assert body.prompt.user_turns == 0
    assert DIALECT.asks_usage(body)
