"""Native requests: the facts that the gateway reads, and the bytes that a target gets."""

import json
from typing import Any

import pytest

from gateway.core.errors import ProblemError
from gateway.core.target import ModelFacts
from gateway.dialects.openai_responses import DIALECT
from tests.dialects.openai_responses.cases import Object, ask, raw, sent, target

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


def test_a_string_is_one_user_turn() -> None:
    prompt = ask(input="Hello.", instructions="Be brief.").prompt
    assert (prompt.user, prompt.user_turns, prompt.chars) == ("Hello.", 1, 15)
    assert not prompt.tool_loop
    assert not prompt.stream


def test_the_gateway_counts_items_and_reads_the_last_user_turn() -> None:
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
def test_a_tool_result_at_the_end_marks_a_tool_loop(item: dict[str, object], loop: bool) -> None:
    assert ask(input=[*TURNS, RESULT, item]).prompt.tool_loop is loop
    assert ask(input=[*TURNS, item]).prompt.tool_loop is loop


def test_tool_results_arguments_and_actions_are_counted() -> None:
    parts = [{"type": "input_text", "text": "12345"}, {"type": "input_image", "image_url": "u"}]
    items = [
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": '{"a":1}'},
        {"type": "function_call_output", "call_id": "c", "output": parts},
        {"type": "local_shell_call", "action": {"a": 1}},
    ]
    prompt = ask(input=items).prompt
    assert (prompt.chars, prompt.images, prompt.user_turns) == (7 + 5 + 7, 1, 0)


def test_the_gateway_reads_all_settings() -> None:
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
def test_null_and_malformed_members_are_not_set(more: dict[str, object]) -> None:
    prompt = ask(**more).prompt
    assert (prompt.effort, prompt.max_output, prompt.tools) == (None, None, ())
    assert (prompt.json_schema, prompt.logprobs, prompt.sampled) == (False, False, False)


def test_tools_have_their_name_or_else_their_type() -> None:
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
def test_a_tool_that_runs_at_the_provider_is_hosted(tool: object, hosted: bool) -> None:
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
def test_the_gateway_reads_a_forced_tool_choice(choice: object, forced: bool) -> None:
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
def test_a_request_that_depends_on_stored_state_is_stored(
    more: dict[str, object], stored: bool
) -> None:
    """An unset `store` is neither. The cache stays on: equal requests may share a stored answer."""
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
def test_an_invalid_request_is_refused_with_its_field(
    more: dict[str, object], param: str, words: str
) -> None:
    with pytest.raises(ProblemError) as caught:
        ask(**more)
    problem = caught.value.problem
    assert (problem.kind, problem.param) == ("invalid_request", param)
    assert words in problem.message


def test_the_input_may_be_missing_if_the_provider_stores_the_prompt() -> None:
    body = DIALECT.read(raw(input=..., prompt={"id": "pmpt_1"}))
    assert body.prompt.user_turns == 0
    assert DIALECT.asks_usage(body)


LUNA = ModelFacts(
    sampling="effort-none",
    efforts=("none", "low", "medium", "high"),
    effort_style="reasoning_effort",
    default_effort="medium",
    max_output=1000,
)
PLAIN = ModelFacts(max_output=1000)


def write(facts: ModelFacts = LUNA, more: Object | None = None, **kind: Any) -> tuple[Object, list[str]]:  # fmt: skip
    written = DIALECT.write(ask(**(more or {})), target(facts=facts, **kind))
    return sent(written), [f"{loss.field} {loss.action}" for loss in written.losses]


def test_a_request_without_changes_keeps_the_clients_bytes() -> None:
    """Law 1: the bytes stay, numbers and unknown members included."""
    body = DIALECT.read(b'{ "model":"m", "input" : "h\\u00e9", "x":1.50, "n":12345678901234567890}')
    assert DIALECT.write(body, target()).body is body.raw


def test_another_model_changes_only_that_member() -> None:
    body = DIALECT.read(b'{"model":"auto", "input":[ {"role":"user" , "content":"a"} ]}')
    written = DIALECT.write(body, target("m-2")).body
    assert written == b'{"model":"m-2","input":[ {"role":"user" , "content":"a"} ]}'


def test_a_tiers_effort_fills_what_the_client_left_open() -> None:
    assert write(effort="low")[0]["reasoning"] == {"effort": "low"}
    written, lost = write(more={"reasoning": {"summary": "auto"}}, effort="low")
    assert (written["reasoning"], lost) == ({"summary": "auto", "effort": "low"}, [])
    assert write(more={"reasoning": None}, effort="low")[0]["reasoning"] == {"effort": "low"}
    assert write(more={"reasoning": {"effort": "high"}}, effort="low")[0]["reasoning"] == {
        "effort": "high"
    }
    assert "reasoning" not in write(PLAIN, effort="low")[0]
    assert write(more={"reasoning": "odd"}, effort="low")[0]["reasoning"] == "odd"


def test_the_gateway_reads_which_member_names_an_earlier_answer() -> None:
    assert ask(previous_response_id="resp_1").prompt.continuation_member == "previous_response_id"
    assert ask(previous_response_id=None, store=True).prompt.continuation_member == ""
    assert ask(conversation="conv_1").prompt.continuation_member == ""


def test_an_effort_that_the_model_does_not_take_is_clamped() -> None:
    written, lost = write(more={"reasoning": {"effort": "max", "summary": "auto"}})
    assert written["reasoning"] == {"effort": "high", "summary": "auto"}
    assert lost == ["reasoning.effort clamped"]


def test_an_effort_is_dropped_if_the_model_has_none() -> None:
    written, lost = write(PLAIN, {"reasoning": {"effort": "low"}})
    assert "reasoning" not in written
    assert lost == ["reasoning.effort dropped"]


def test_an_unknown_effort_is_sent_unchanged() -> None:
    assert write(more={"reasoning": {"effort": "silly"}})[0]["reasoning"] == {"effort": "silly"}
    assert write(ModelFacts(), {"reasoning": {"effort": "low"}})[0]["reasoning"] == {
        "effort": "low"
    }


def test_the_output_cap_is_filled_or_clamped() -> None:
    assert write(max_output=50)[0]["max_output_tokens"] == 50
    assert write(more={"max_output_tokens": None}, max_output=50)[0]["max_output_tokens"] == 50
    assert write(more={"max_output_tokens": 20}, max_output=50)[0]["max_output_tokens"] == 20
    written, lost = write(more={"max_output_tokens": 2000})
    assert (written["max_output_tokens"], lost) == (1000, ["max_output_tokens clamped"])
    assert write(ModelFacts(), {"max_output_tokens": 2000})[0]["max_output_tokens"] == 2000
    assert write(more={"max_output_tokens": "x"})[0]["max_output_tokens"] == "x"


@pytest.mark.parametrize(
    ("facts", "more", "effort", "is_sent"),
    [
        (ModelFacts(), {}, None, True),
        (LUNA, {}, None, False),
        (LUNA, {}, "none", True),
        (LUNA, {"reasoning": {"effort": "none"}}, "high", True),
        (LUNA, {"reasoning": {"effort": "minimal"}}, None, True),
        (LUNA, {"reasoning": {"effort": "max"}}, "none", False),
        (ModelFacts(sampling="never"), {"reasoning": {"effort": "none"}}, None, False),
    ],
)
def test_sampling_is_dropped_if_the_model_refuses_it(
    facts: ModelFacts, more: Object, effort: str | None, is_sent: bool
) -> None:
    written, lost = write(facts, {"temperature": 0.2, **more}, effort=effort)
    assert ("temperature" in written) is is_sent
    assert ("temperature dropped" in lost) is not is_sent


def test_members_that_the_provider_refuses_are_dropped_and_named() -> None:
    written, lost = write(
        more={"truncation": "auto", "temperature": 1},
        refuses=frozenset({"truncation", "temperature", "store"}),
    )
    assert not {"truncation", "temperature"} & set(written)
    assert lost == ["temperature dropped", "truncation dropped"]


def test_only_a_model_that_gives_log_probabilities_is_asked_for_them() -> None:
    prompt = ask(top_logprobs=2).prompt
    assert DIALECT.explain_unfit(prompt, target(facts=LUNA)) == "sends no logprobs while it reasons"
    assert DIALECT.explain_unfit(prompt, target(facts=LUNA, effort="none")) == ""
    assert (
        DIALECT.explain_unfit(prompt, target(refuses=frozenset({"include"}))) == "sends no logprobs"
    )
    assert DIALECT.explain_unfit(ask().prompt, target(facts=LUNA)) == ""


def test_a_repeated_member_is_sent_once() -> None:
    body = DIALECT.read(b'{"model":"m","input":"a","input":"b"}')
    assert json.loads(DIALECT.write(body, target()).body) == {"model": "m", "input": "b"}
    assert raw(input="b") == b'{"model": "m", "input": "b"}'
