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

REASONING_FACTS = ModelFacts(efforts=("low", "high"), effort_style="reasoning")
TARGET = target(facts=REASONING_FACTS)
OWN = reasoning_state.hash_maker(TARGET, "openai-responses")
GRAMMAR = {"type": "grammar", "syntax": "lark", "definition": "start: A"}


def make_turn(*parts: Part, role: Role = "user") -> CanonicalTurn:
    return CanonicalTurn(role=role, parts=parts)


def make_model_turn(*parts: Part) -> CanonicalTurn:
    return make_turn(*parts, role="assistant")


def encode(*turns: CanonicalTurn, to: Target = TARGET, **more: object) -> Object:
    return TRANSLATION.encode_request(CanonicalRequest(turns=turns, **more), to).value  # type: ignore[arg-type]  # members by name


def encode_items(*turns: CanonicalTurn) -> object:
    return encode(*turns)["input"]


def test_the_encoder_writes_a_small_request_that_stores_nothing() -> None:
    """The provider stores nothing, and returns reasoning for the client to keep."""
    assert encode(make_turn(Text(text="hi"))) == {
        "input": [{"role": "user", "content": "hi"}],
        "store": False,
        "include": ["reasoning.encrypted_content"],
    }


def test_members_that_the_encoder_adds_are_left_out_for_hosts_that_refuse_them() -> None:
    """The gateway names no loss, because no client asked for these members."""
    refuses = frozenset({"store", "include", "instructions"})
    value = encode(
        make_turn(Text(text="s"), role="system"), to=target(facts=REASONING_FACTS, refuses=refuses)
    )
    assert value == {"input": [{"role": "system", "content": "s"}]}
    assert "include" not in encode(make_turn(Text(text="hi")), to=target())


def test_leading_system_turns_become_instructions_and_later_ones_stay() -> None:
    value = encode(
        make_turn(Text(text="one"), Text(text=""), role="system"),
        make_turn(Text(text="two"), role="developer"),
        make_turn(Text(text="hi")),
        make_turn(Text(text="three"), role="system"),
    )
    assert value["instructions"] == "one\n\ntwo"
    assert value["input"] == [
        {"role": "user", "content": "hi"},
        {"role": "system", "content": "three"},
    ]


def test_a_system_turn_with_a_picture_becomes_an_item() -> None:
    picture = Media(kind="image", url="https://a.test/b")
    value = encode(
        make_turn(Text(text="one"), role="system"),
        make_turn(picture, role="system"),
        make_turn(Text(text="hi")),
    )
    assert value["instructions"] == "one"
    content = [{"type": "input_image", "image_url": "https://a.test/b"}]
    assert value["input"][0] == {"role": "system", "content": content}


def test_the_encoder_writes_the_models_parts_as_items_in_order() -> None:
    written = encode_items(
        make_model_turn(
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
    assert written == [
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


def test_foreign_reasoning_state_is_dropped_named_and_never_shown() -> None:
    request = CanonicalRequest(
        turns=(
            make_model_turn(
                Thought(text="secret", state="sig", maker="other"),
                Thought(text="secret", state="sig"),
                Thought(text="secret"),
                ToolUse(id="c", name="f", arguments="{}", state="sig", maker="other"),
            ),
        ),
        names={"turns": "contents"},
    )
    encoded = TRANSLATION.encode_request(request, TARGET)
    assert "secret" not in str(encoded.value)
    assert "sig" not in str(encoded.value)
    why = "only the model that wrote reasoning can read it"
    assert encoded.losses == (Loss("contents.reasoning", "dropped", why),)


def test_tool_results_keep_their_places_and_errors_become_text() -> None:
    image = Media(kind="image", type="image/gif", data="AA==", detail="low")
    written = encode_items(
        make_turn(
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
    assert isinstance(written, list)
    assert [item["output"] for item in written[:6]] == outputs
    assert written[5]["type"] == "custom_tool_call_output"
    assert written[6] == {"role": "user", "content": "so?"}
    assert len(written) == 7


def test_a_call_and_its_result_get_the_same_plain_id() -> None:
    written = encode_items(
        make_model_turn(ToolUse(id="c 6", name="f", arguments="{}")),
        make_turn(ToolResult(id="c 6")),
    )
    assert isinstance(written, list)
    assert written[0]["call_id"] == written[1]["call_id"] != "c 6"


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
def test_the_encoder_writes_parts_of_every_kind_of_a_user(part: Part, content: Object) -> None:
    written = encode_items(make_turn(part, Text(text="look")))
    assert written == [
        {"role": "user", "content": [content, {"type": "input_text", "text": "look"}]}
    ]


def test_audio_is_left_out() -> None:
    """The gateway skips such targets earlier; the encoder leaves sound out and does not raise."""
    assert encode_items(make_turn(Media(kind="audio", data="AA=="))) == []


def test_the_encoder_writes_flat_tools_that_are_strict_only_on_request() -> None:
    """The API takes a function as strict unless the request says otherwise."""
    value = encode(
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
def test_the_encoder_writes_the_tool_choice(choice: ToolChoice, expected: object) -> None:
    assert encode(tool_choice=choice)["tool_choice"] == expected


def test_the_encoder_writes_settings_and_keeps_the_clients_names() -> None:
    request = CanonicalRequest(
        turns=(make_turn(Text(text="hi")),),
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
    encoded = TRANSLATION.encode_request(request, TARGET)
    assert {k: v for k, v in encoded.value.items() if k not in ("input", "store")} == {
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
    assert encoded.client_names["max_output_tokens"] == "max_tokens"
    assert encoded.client_names["text"] == encoded.client_names["text.format"] == "response_format"
    assert encoded.client_names["reasoning.effort"] == "reasoning_effort"
    assert encoded.client_names["input"] == "messages"
    assert "tools" not in encoded.client_names


@pytest.mark.parametrize(
    ("budget", "effort"),
    [(1024, "low"), (4000, "medium"), (16_000, "high"), (32_000, "xhigh")],
)
def test_a_budget_becomes_an_effort_with_the_clients_name(budget: int, effort: str) -> None:
    request = CanonicalRequest(turns=(), budget=budget, names={"budget": "thinking.budget_tokens"})
    encoded = TRANSLATION.encode_request(request, TARGET)
    assert encoded.value["reasoning"] == {"effort": effort}
    assert encoded.client_names["reasoning.effort"] == "thinking.budget_tokens"


def test_the_encoder_writes_json_format_and_verbosity_alone() -> None:
    assert encode(form=OutputFormat())["text"] == {"format": {"type": "json_object"}}
    format_ = encode(form=OutputFormat(schema={}, name="n"))["text"]["format"]
    assert format_ == {"type": "json_schema", "name": "n", "schema": {}}
    request = CanonicalRequest(turns=(), verbosity="low", names={"verbosity": "v"})
    assert TRANSLATION.encode_request(request, TARGET).client_names["text"] == "v"
    assert encode(service_tier="flex")["service_tier"] == "flex"


def test_a_cap_below_the_apis_minimum_is_raised_and_named() -> None:
    request = CanonicalRequest(turns=(), max_output=1, names={"max_output": "max_tokens"})
    encoded = TRANSLATION.encode_request(request, TARGET)
    assert encoded.value["max_output_tokens"] == 16
    assert [(loss.field, loss.action) for loss in encoded.losses] == [
        ("max_tokens", "approximated")
    ]


def test_losses_of_the_model_have_the_clients_names() -> None:
    """The dialect's own `write` fits the request to the target, as any request."""
    request = CanonicalRequest(
        turns=(make_turn(Text(text="hi")),),
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
    assert {(loss.field, loss.action) for loss in written.losses} == {
        ("output_config.effort", "clamped"),
        ("max_tokens", "clamped"),
        ("temperature", "dropped"),
    }


def test_a_request_of_this_dialect_survives_decoding_and_encoding() -> None:
    members = {
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
    value = TRANSLATION.encode_request(decoded(**members), target()).value
    assert value == {**members, "store": False}


def test_long_user_ids_and_tool_names_are_shortened() -> None:
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
