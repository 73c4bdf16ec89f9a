"""The encoder writes a request as a client of this dialect would, and names what it cannot say."""

import pytest

from gateway.core.canonical_request import (
    CanonicalRequest,
    CanonicalTurn,
    Foreign,
    Media,
    OutputFormat,
    Part,
    Refused,
    Role,
    Text,
    Thought,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
)
from gateway.core.loss import Loss
from gateway.core.target import ModelFacts, Target
from gateway.dialects import reasoning_state, tool_ids, translation
from gateway.dialects.openai_responses import DIALECT, TRANSLATION
from tests.dialects.openai_responses.cases import Object, decoded, sent, target

THINKS = ModelFacts(efforts=("low", "high"), effort_style="reasoning")
HERE = target(facts=THINKS)
OWN = reasoning_state.hash_maker(HERE, "openai-responses")
GRAMMAR = {"type": "grammar", "syntax": "lark", "definition": "start: A"}


def user(*parts: Part, role: Role = "user") -> CanonicalTurn:
    return CanonicalTurn(role=role, parts=parts)


def made(*parts: Part) -> CanonicalTurn:
    return user(*parts, role="assistant")


def said(*turns: CanonicalTurn, to: Target = HERE, **more: object) -> Object:
    return TRANSLATION.encode_request(CanonicalRequest(turns=turns, **more), to).value  # type: ignore[arg-type]  # members by name


def items(*turns: CanonicalTurn) -> object:
    return said(*turns)["input"]


def test_a_plain_question_is_little() -> None:
    """The provider stores nothing, and returns reasoning for the client to keep."""
    assert said(user(Text(text="hi"))) == {
        "input": [{"role": "user", "content": "hi"}],
        "store": False,
        "include": ["reasoning.encrypted_content"],
    }


def test_a_host_that_refuses_what_is_added_does_not_get_it() -> None:
    """The gateway names no loss, because no client asked for these members."""
    refuses = frozenset({"store", "include", "instructions"})
    value = said(user(Text(text="s"), role="system"), to=target(facts=THINKS, refuses=refuses))
    assert value == {"input": [{"role": "system", "content": "s"}]}
    assert "include" not in said(user(Text(text="hi")), to=target())


def test_system_turns_that_lead_are_instructions_and_later_ones_stay() -> None:
    value = said(
        user(Text(text="one"), Text(text=""), role="system"),
        user(Text(text="two"), role="developer"),
        user(Text(text="hi")),
        user(Text(text="three"), role="system"),
    )
    assert value["instructions"] == "one\n\ntwo"
    assert value["input"] == [
        {"role": "user", "content": "hi"},
        {"role": "system", "content": "three"},
    ]


def test_a_system_turn_with_a_picture_is_an_item_because_instructions_are_text() -> None:
    picture = Media(kind="image", url="https://a.test/b")
    value = said(
        user(Text(text="one"), role="system"),
        user(picture, role="system"),
        user(Text(text="hi")),
    )
    assert value["instructions"] == "one"
    content = [{"type": "input_image", "image_url": "https://a.test/b"}]
    assert value["input"][0] == {"role": "system", "content": content}


def test_what_the_model_made_is_items_in_their_order() -> None:
    found = items(
        made(
            Thought(text="hm", state="enc", maker=OWN),
            Thought(state="enc2", maker=OWN),
            Text(text="I look."),
            Text(text=""),
            Refused(text="No."),
            ToolUse(id="c1", name="f", arguments=""),
            ToolUse(id="c2", name="g", arguments="x", custom=True),
            Foreign(kind="new"),
        )
    )
    assert found == [
        {
            "type": "reasoning",
            "summary": [{"type": "summary_text", "text": "hm"}],
            "encrypted_content": "enc",
        },
        {"type": "reasoning", "summary": [], "encrypted_content": "enc2"},
        {"role": "assistant", "content": "I look."},
        {"role": "assistant", "content": "No."},
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
        {"type": "custom_tool_call", "call_id": "c2", "name": "g", "input": "x"},
    ]


def test_state_of_another_model_is_dropped_and_named_and_its_text_never_shown() -> None:
    request = CanonicalRequest(
        turns=(
            made(
                Thought(text="secret", state="sig", maker="other"),
                Thought(text="secret", state="sig"),
                Thought(text="secret"),
                ToolUse(id="c", name="f", arguments="{}", state="sig", maker="other"),
            ),
        ),
        names={"turns": "contents"},
    )
    found = TRANSLATION.encode_request(request, HERE)
    assert "secret" not in str(found.value)
    assert "sig" not in str(found.value)
    why = "reasoning of another model is for that model alone"
    assert found.losses == (Loss("contents.reasoning", "dropped", why),)


def test_results_stand_where_they_stood_and_an_error_is_told_in_words() -> None:
    image = Media(kind="image", type="image/gif", data="AA==", detail="low")
    found = items(
        user(
            ToolResult(id="c1", parts=(Text(text="a"), Text(text="b"))),
            ToolResult(id="c2", error=True),
            ToolResult(id="c3", error=True, parts=(Text(text="no"),)),
            ToolResult(id="c4", parts=(Text(text="see"), image)),
            ToolResult(id="c5", error=True, parts=(image,)),
            ToolResult(id="c 6", custom=True),
            Text(text="so?"),
            Foreign(kind="x"),
            Text(text=""),
        )
    )
    picture = {"type": "input_image", "image_url": "data:image/gif;base64,AA==", "detail": "low"}
    outputs = [
        "a\nb",
        "Error: ",
        "Error: no",
        [{"type": "input_text", "text": "see"}, picture],
        [{"type": "input_text", "text": "Error: "}, picture],
        "",
    ]
    assert isinstance(found, list)
    assert [item["output"] for item in found[:6]] == outputs
    assert found[5]["type"] == "custom_tool_call_output"
    assert found[6] == {"role": "user", "content": "so?"}
    assert len(found) == 7


def test_a_call_and_its_result_have_the_same_id_though_it_was_an_odd_one() -> None:
    found = items(made(ToolUse(id="c 6", name="f", arguments="{}")), user(ToolResult(id="c 6")))
    assert isinstance(found, list)
    assert found[0]["call_id"] == found[1]["call_id"] != "c 6"


@pytest.mark.parametrize(
    ("part", "content"),
    [
        (Media(kind="image", data="AA=="), {"type": "input_image", "image_url": "data:image/png;base64,AA=="}),
        (Media(kind="image", url="https://a.test/b"), {"type": "input_image", "image_url": "https://a.test/b"}),
        (
            Media(kind="file", data="AA=="),
            {"type": "input_file", "filename": "document.pdf", "file_data": "data:application/pdf;base64,AA=="},
        ),
        (
            Media(kind="file", data="AA==", type="text/csv"),
            {"type": "input_file", "filename": "document", "file_data": "data:text/csv;base64,AA=="},
        ),
        (Media(kind="file", url="https://a.test/b"), {"type": "input_file", "file_url": "https://a.test/b"}),
        (Media(kind="file", url="u", name="n"), {"type": "input_file", "file_url": "u", "filename": "n"}),
        (Media(kind="file", text="words"), {"type": "input_text", "text": "words"}),
        (Media(kind="file", text="words", name="a.txt"), {"type": "input_text", "text": "a.txt:\nwords"}),
        (Refused(text="no"), {"type": "input_text", "text": "no"}),
    ],
)  # fmt: skip
def test_what_a_user_shows_is_a_part(part: Part, content: Object) -> None:
    found = items(user(part, Text(text="look")))
    assert found == [{"role": "user", "content": [content, {"type": "input_text", "text": "look"}]}]


def test_sound_is_no_part_of_this_dialect() -> None:
    """The gateway skips such targets earlier; the encoder leaves sound out and does not raise."""
    assert items(user(Media(kind="audio", data="AA=="))) == []


def test_tools_are_flat_and_not_strict_unless_it_is_said() -> None:
    """The API takes a function as strict unless the request says otherwise."""
    value = said(
        tools=(
            Tool(name="f", description="d", parameters={"a": 1}, strict=True),
            Tool(name="g"),
            Tool(name="c", kind="custom", description="d", grammar=GRAMMAR),
            Tool(name="e", kind="custom", grammar={"type": "grammar", "grammar": {"syntax": "regex", "definition": "a"}}),
            Tool(name="p", kind="custom"),
        ),
        tool_choice=ToolChoice(mode="tool", name="c"),
        parallel_tools=False,
    )  # fmt: skip
    assert value["tools"] == [
        {"type": "function", "name": "f", "description": "d", "parameters": {"a": 1}, "strict": True},
        {"type": "function", "name": "g", "parameters": {"type": "object", "properties": {}}, "strict": False},
        {"type": "custom", "name": "c", "description": "d", "format": GRAMMAR},
        {"type": "custom", "name": "e", "format": {"type": "grammar", "syntax": "regex", "definition": "a"}},
        {"type": "custom", "name": "p"},
    ]  # fmt: skip
    assert value["tool_choice"] == {"type": "custom", "name": "c"}
    assert value["parallel_tool_calls"] is False


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (ToolChoice(mode="auto"), "auto"),
        (ToolChoice(mode="none"), "none"),
        (ToolChoice(mode="required"), "required"),
        (ToolChoice(mode="tool", name="f"), {"type": "function", "name": "f"}),
        (
            ToolChoice(mode="auto", allowed=("f",)),
            {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]},
        ),
        (
            ToolChoice(mode="required", allowed=("f",)),
            {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "f"}]},
        ),
    ],
)  # fmt: skip
def test_a_choice_of_tools_is_said(choice: ToolChoice, expected: object) -> None:
    assert said(tool_choice=choice)["tool_choice"] == expected


def test_settings_stand_where_this_dialect_has_them_under_the_client_s_names() -> None:
    request = CanonicalRequest(
        turns=(user(Text(text="hi")),),
        form=OutputFormat(schema={"a": 1}, strict=True, description="d"),
        verbosity="low",
        effort="low",
        thoughts_shown=True,
        max_output=99,
        temperature=0.5,
        top_p=0.9,
        logprobs=True,
        top_logprobs=2,
        service_tier="default",
        user="u",
        metadata={"a": "b"},
        cache_key="k",
        stream=True,
        names={"max_output": "max_tokens", "form": "response_format", "effort": "reasoning_effort"},
    )
    found = TRANSLATION.encode_request(request, HERE)
    assert {k: v for k, v in found.value.items() if k not in ("input", "store")} == {
        "text": {
            "format": {"type": "json_schema", "name": "answer", "schema": {"a": 1}, "strict": True, "description": "d"},
            "verbosity": "low",
        },
        "reasoning": {"effort": "low", "summary": "auto"},
        "max_output_tokens": 99,
        "temperature": 0.5,
        "top_p": 0.9,
        "include": ["message.output_text.logprobs", "reasoning.encrypted_content"],
        "top_logprobs": 2,
        "service_tier": "default",
        "safety_identifier": "u",
        "metadata": {"a": "b"},
        "prompt_cache_key": "k",
        "stream": True,
    }  # fmt: skip
    assert found.client_names["max_output_tokens"] == "max_tokens"
    assert found.client_names["text"] == found.client_names["text.format"] == "response_format"
    assert found.client_names["reasoning.effort"] == "reasoning_effort"
    assert found.client_names["input"] == "messages"
    assert "tools" not in found.client_names


@pytest.mark.parametrize(
    ("budget", "effort"),
    [(1024, "low"), (4000, "medium"), (16_000, "high"), (32_000, "xhigh")],
)
def test_a_budget_is_an_effort_by_the_client_s_name_of_it(budget: int, effort: str) -> None:
    request = CanonicalRequest(turns=(), budget=budget, names={"budget": "thinking.budget_tokens"})
    found = TRANSLATION.encode_request(request, HERE)
    assert found.value["reasoning"] == {"effort": effort}
    assert found.client_names["reasoning.effort"] == "thinking.budget_tokens"


def test_json_and_verbosity_alone() -> None:
    assert said(form=OutputFormat())["text"] == {"format": {"type": "json_object"}}
    named = said(form=OutputFormat(schema={}, name="n"))["text"]["format"]
    assert named == {"type": "json_schema", "name": "n", "schema": {}}
    request = CanonicalRequest(turns=(), verbosity="low", names={"verbosity": "v"})
    assert TRANSLATION.encode_request(request, HERE).client_names["text"] == "v"
    assert said(service_tier="flex")["service_tier"] == "flex"


def test_a_cap_below_what_the_api_takes_is_raised_and_named() -> None:
    request = CanonicalRequest(turns=(), max_output=1, names={"max_output": "max_tokens"})
    found = TRANSLATION.encode_request(request, HERE)
    assert found.value["max_output_tokens"] == 16
    assert [(it.field, it.action) for it in found.losses] == [("max_tokens", "approximated")]


def test_what_a_model_refuses_is_told_by_the_client_s_name() -> None:
    """The dialect's own `write` fits the request to the target, as any request."""
    request = CanonicalRequest(
        turns=(user(Text(text="hi")),),
        effort="xhigh",
        max_output=900,
        temperature=0.5,
        names={"effort": "output_config.effort", "max_output": "max_tokens"},
    )
    facts = ModelFacts(
        efforts=("low", "high"), effort_style="reasoning", max_output=500, sampling="never"
    )
    written = translation.write_request(request, DIALECT, target(facts=facts))
    assert sent(written)["reasoning"] == {"effort": "high"}
    assert sent(written)["max_output_tokens"] == 500
    assert {(it.field, it.action) for it in written.losses} == {
        ("output_config.effort", "clamped"),
        ("max_tokens", "clamped"),
        ("temperature", "dropped"),
    }


def test_a_request_of_this_dialect_means_the_same_when_it_is_said_again() -> None:
    given = {
        "instructions": "Be brief.",
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "a"}, {"type": "input_image", "image_url": "https://a.test/b"}]},
            {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": "22"},
        ],
        "tools": [{"type": "function", "name": "f", "parameters": {"a": 1}, "strict": True}],
        "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]},
        "text": {"format": {"type": "json_schema", "name": "n", "schema": {}, "strict": False}},
        "max_output_tokens": 50,
    }  # fmt: skip
    value = TRANSLATION.encode_request(decoded(**given), target()).value
    assert value == {**given, "store": False}


def test_names_and_the_user_fit_their_members() -> None:
    """The limit is 64 characters; Claude Code names its user in a longer JSON object."""
    user = '{"device_id":"' + "0" * 64 + '"}'
    request = CanonicalRequest(
        turns=(CanonicalTurn(role="user", parts=(Text(text="hi"),)),),
        user=user,
        tools=(Tool(name="files.read"), Tool(name="f")),
        tool_choice=ToolChoice(mode="tool", name="files.read"),
    )
    value = TRANSLATION.encode_request(request, target()).value
    plain = tool_ids.make_plain_id("files.read", "tool_")
    assert value["safety_identifier"] == tool_ids.make_plain_id(user, "user_") != user
    assert [tool["name"] for tool in value["tools"]] == [plain, "f"]
    assert value["tool_choice"] == {"type": "function", "name": plain}
