"""The encoder says a decoded request in this dialect, and names what it cannot say."""

import json
from typing import Any

import pytest

from gateway.core.canonical_request import (
    CanonicalRequest,
    CanonicalTurn,
    Foreign,
    Media,
    OutputFormat,
    Refused,
    Text,
    Thought,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
)
from gateway.dialects import reasoning_state, translation
from gateway.dialects.gemini import DIALECT, TRANSLATION
from gateway.dialects.gemini.reasoning_state import SKIP_SIGNATURE
from tests.dialects.gemini.cases import BUDGET, LEVEL, Object, encoded, target, user

HERE = target(facts=LEVEL)
MINE = reasoning_state.hash_maker(HERE, "gemini")
CALL = ToolUse(id="c1", name="f", arguments='{"a": 1}')
RESULT = ToolResult(id="c1", parts=(Text(text="done"),))


def make_model_turn(*parts: Any) -> CanonicalTurn:
    return CanonicalTurn(role="assistant", parts=parts)


def make_user_turn(*parts: Any) -> CanonicalTurn:
    return CanonicalTurn(role="user", parts=parts)


def contents(*turns: CanonicalTurn, **more: Any) -> list[Object]:
    items: list[Object] = encoded(*turns, **more).value["contents"]
    return items


def losses(*turns: CanonicalTurn, **more: Any) -> list[tuple[str, str]]:
    return [(loss.field, loss.action) for loss in encoded(*turns, **more).losses]


def test_the_encoder_writes_only_what_is_set() -> None:
    written = encoded(user())
    assert written.value == {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}
    assert written.losses == ()


def test_the_encoder_writes_settings_and_keeps_the_clients_names() -> None:
    written = encoded(
        max_output=9, stop=("a",), temperature=0.5, top_p=0.5, top_k=4, presence_penalty=1.0, frequency_penalty=2.0, seed=3,
        choices=2, logprobs=True, top_logprobs=5, stream=True, names={"max_output": "max_tokens", "choices": "n"},
    )  # fmt: skip
    assert written.value["stream"] is True
    assert written.value["generationConfig"] == {
        "maxOutputTokens": 9, "temperature": 0.5, "topP": 0.5, "topK": 4, "presencePenalty": 1.0, "frequencyPenalty": 2.0, "seed": 3,
        "stopSequences": ["a"], "candidateCount": 2, "responseLogprobs": True, "logprobs": 5,
    }  # fmt: skip
    assert written.client_names["generationConfig.maxOutputTokens"] == "max_tokens"
    assert written.client_names["generationConfig.topK"] == "top_k"
    assert written.client_names["contents"] == "messages"
    assert "logprobs" not in encoded(logprobs=True, top_logprobs=0).value["generationConfig"]


@pytest.mark.parametrize(
    ("facts", "more", "thinking", "name"),
    [
        (LEVEL, {"effort": "low"}, {"thinkingLevel": "LOW"}, "effort"),
        (LEVEL, {"effort": "max", "budget": 5}, {"thinkingLevel": "XHIGH"}, "effort"),
        (LEVEL, {"effort": "none"}, {"thinkingBudget": 0}, "effort"),
        (LEVEL, {"budget": 5}, {"thinkingBudget": 5}, "budget"),
        (BUDGET, {"effort": "low", "budget": 5}, {"thinkingBudget": 5}, "effort"),
        (BUDGET, {"effort": "high", "thoughts_shown": False}, {"thinkingBudget": 24576, "includeThoughts": False}, "effort"),
        (LEVEL, {"thoughts_shown": True}, {"includeThoughts": True}, "thoughts_shown"),
    ],
)  # fmt: skip
def test_effort_and_budget_become_a_thinking_config(
    facts: Any, more: Any, thinking: Object, name: str
) -> None:
    written = encoded(to=target(facts=facts), **more)
    assert written.value["generationConfig"] == {"thinkingConfig": thinking}
    assert written.client_names["generationConfig.thinkingConfig"] == name
    budget_is_left = "budget" in more and "thinkingBudget" not in thinking
    effort_is_above = more.get("effort") == "max"
    assert [(loss.field, loss.action) for loss in written.losses] == (
        [("budget", "approximated")] * budget_is_left + [("effort", "clamped")] * effort_is_above
    )


def test_an_output_format_becomes_a_json_schema_that_gemini_accepts() -> None:
    form = OutputFormat(schema={"const": 1, "uniqueItems": True}, name="n")
    written = encoded(form=form, names={"form": "text.format"})
    assert written.value["generationConfig"] == {
        "responseMimeType": "application/json",
        "responseJsonSchema": {"enum": [1], "type": "integer"},
    }
    assert [(loss.field, loss.action) for loss in written.losses] == [
        ("text.format", "approximated")
    ]
    assert encoded(form=OutputFormat()).value["generationConfig"] == {
        "responseMimeType": "application/json"
    }


def test_the_encoder_writes_function_declarations() -> None:
    tools = (
        Tool(name="f", description="d", parameters={"type": "object", "not": {}}),
        Tool(name="g"),
        Tool(name="c", kind="custom"),
    )
    written = encoded(tools=tools)
    rows = written.value["tools"][0]["functionDeclarations"]
    assert rows[0] == {"name": "f", "description": "d", "parametersJsonSchema": {"type": "object"}}
    assert rows[1] == {"name": "g"}
    assert rows[2]["parametersJsonSchema"]["required"] == ["input"]
    assert [(loss.field, loss.action) for loss in written.losses] == [("tools", "approximated")]


@pytest.mark.parametrize(
    ("choice", "calling"),
    [
        (ToolChoice(mode="auto"), {"mode": "AUTO"}), (ToolChoice(mode="none"), {"mode": "NONE"}), (ToolChoice(mode="required"), {"mode": "ANY"}),
        (ToolChoice(mode="tool", name="f"), {"mode": "ANY", "allowedFunctionNames": ["f"]}),
        (ToolChoice(mode="required", allowed=("f", "g")), {"mode": "ANY", "allowedFunctionNames": ["f", "g"]}),
        (ToolChoice(mode="auto", allowed=("f",)), {"mode": "VALIDATED", "allowedFunctionNames": ["f"]}),
    ],
)  # fmt: skip
def test_the_encoder_writes_the_tool_choice(choice: ToolChoice, calling: Object) -> None:
    assert encoded(tool_choice=choice).value["toolConfig"] == {"functionCallingConfig": calling}


def system(text: str) -> CanonicalTurn:
    return CanonicalTurn(role="developer", parts=(Text(text=text), Text(text="")))


def test_leading_system_turns_become_the_instruction_and_later_ones_are_wrapped() -> None:
    written = encoded(system("a"), system("b"), user(), system("c"))
    assert written.value["systemInstruction"] == {"parts": [{"text": "a"}, {"text": "b"}]}
    assert written.value["contents"] == [
        {"role": "user", "parts": [{"text": "hi"}, {"text": "<system>\nc\n</system>"}]}
    ]


def test_a_picture_in_a_later_system_turn_is_not_wrapped() -> None:
    picture = Media(kind="image", type="image/png", data="aa")
    written = contents(user(), CanonicalTurn(role="system", parts=(picture, Text(text="c"))))
    assert written[0]["parts"][1:] == [
        {"inlineData": {"mimeType": "image/png", "data": "aa"}},
        {"text": "<system>\nc\n</system>"},
    ]


def test_a_system_prompt_alone_becomes_a_user_turn() -> None:
    written = encoded(system("a"))
    assert written.value == {"contents": [{"role": "user", "parts": [{"text": "a"}]}]}
    assert [(loss.field, loss.action) for loss in written.losses] == [("messages", "approximated")]


def test_the_encoder_writes_parts_of_every_kind() -> None:
    parts = (
        Text(text="t"), Text(text=""), Refused(text="no"), Foreign(kind="x"),
        Media(kind="image", type="image/gif", data="aa"), Media(kind="file", data="bb"), Media(kind="file", text="plain"),
        Media(kind="video", url="https://x.test/v"), Media(kind="video", type="video/mp4", url="https://x.test/v"),
    )  # fmt: skip
    assert contents(make_user_turn(*parts))[0]["parts"] == [
        {"text": "t"},
        {"text": "no"},
        {"inlineData": {"mimeType": "image/gif", "data": "aa"}},
        {"inlineData": {"mimeType": "application/pdf", "data": "bb"}},
        {"text": "plain"},
        {"fileData": {"fileUri": "https://x.test/v"}},
        {"fileData": {"fileUri": "https://x.test/v", "mimeType": "video/mp4"}},
    ]
    assert encoded(user(), make_model_turn(Foreign(kind="x"))).value["contents"] == contents(user())


def test_neighbouring_turns_of_one_role_are_joined_with_tool_results_first() -> None:
    """Chat Completions has a turn for each result; Gemini wants all results in one."""
    second = ToolUse(id="c 2", name="g", arguments="")
    messages = contents(
        user(),
        make_model_turn(Text(text="so")),
        make_model_turn(CALL, second),
        user("also"),
        make_user_turn(ToolResult(id="c 2", name="g", parts=(Text(text="no"),), error=True)),
        make_user_turn(RESULT),
    )
    assert [message["role"] for message in messages] == ["user", "model", "user"]
    uses = [part["functionCall"] for part in messages[1]["parts"][1:]]
    assert uses[0] == {"id": "c1", "name": "f", "args": {"a": 1}}
    assert (uses[1]["name"], uses[1]["args"]) == ("g", {})
    assert [next(iter(part)) for part in messages[2]["parts"]] == ["functionResponse"] * 2 + [
        "text"
    ]
    results = [part["functionResponse"] for part in messages[2]["parts"][:2]]
    assert results[0] == {"id": uses[1]["id"], "name": "g", "response": {"error": "no"}}
    assert results[1] == {"id": "c1", "name": "f", "response": {"output": "done"}}


def test_a_call_without_a_result_gets_an_error_result() -> None:
    written = contents(make_model_turn(CALL), user("never mind"))
    assert written[1]["parts"] == [
        {"functionResponse": {"id": "c1", "name": "f", "response": {"error": "No result was given."}}},
        {"text": "never mind"},
    ]  # fmt: skip
    assert contents(user(), make_model_turn(CALL))[-1]["role"] == "model"


def test_a_result_of_an_unknown_call_gets_a_placeholder_name() -> None:
    assert contents(make_user_turn(RESULT))[0]["parts"][0]["functionResponse"]["name"] == "unknown"


@pytest.mark.parametrize(
    ("text", "custom", "args"),
    [("", False, {}), (" ", False, {}), ("null", False, {}), ("{", False, {"_raw": "{"}), ("[1]", False, {"_raw": "[1]"}), ("free", True, {"input": "free"}), ('{"a":{"b":1}}', False, {"a": {"b": 1}})],
)  # fmt: skip
def test_arguments_always_become_an_object(text: str, custom: bool, args: Object) -> None:
    use = ToolUse(id="c", name="f", arguments=text, custom=custom)
    assert contents(make_model_turn(use))[0]["parts"][0]["functionCall"]["args"] == args
    named = [("messages.arguments", "approximated")] if "_raw" in args else []
    assert losses(make_model_turn(use)) == named


def test_media_of_a_result_are_written_inside_it_or_after_it() -> None:
    png = Media(kind="image", type="image/png", data="aa")
    result = ToolResult(id="c1", parts=(Text(text="a"), png, Text(text="b")))
    data = {"inlineData": {"mimeType": "image/png", "data": "aa"}}
    turns = (make_model_turn(CALL), make_user_turn(result))
    within = contents(*turns)[1]["parts"]
    assert within[0]["functionResponse"]["parts"] == [data]
    assert within[0]["functionResponse"]["response"] == {"output": "a\nb"}
    old = target(facts=BUDGET)
    assert contents(*turns, to=old)[1]["parts"][1] == data
    assert losses(*turns, to=old) == [("messages", "approximated")]


def test_the_first_unsigned_call_of_a_turn_gets_a_placeholder_signature() -> None:
    """Gemini 3 and later refuse a call without a signature; models with budgets want none."""
    second = ToolUse(id="c2", name="g", arguments="{}")
    parts = contents(make_model_turn(Text(text="t"), CALL, second))[0]["parts"]
    assert [part.get("thoughtSignature") for part in parts] == [None, SKIP_SIGNATURE, None]
    old = contents(make_model_turn(CALL), to=target(facts=BUDGET))[0]["parts"]
    assert "thoughtSignature" not in old[0]
    assert SKIP_SIGNATURE in json.dumps(contents(make_model_turn(CALL), to=target()))


def test_reasoning_state_goes_only_to_its_maker() -> None:
    own = ToolUse(id="c1", name="f", arguments="{}", state="sig", maker=MINE)
    assert contents(make_model_turn(own))[0]["parts"][0]["thoughtSignature"] == "sig"
    assert losses(make_model_turn(own)) == []
    for maker_ in (None, "other"):
        use = ToolUse(id="c1", name="f", arguments="{}", state="sig", maker=maker_)
        assert contents(make_model_turn(use))[0]["parts"][0]["thoughtSignature"] == SKIP_SIGNATURE
        assert losses(make_model_turn(use, use), names={"turns": "input"}) == [
            ("input.reasoning", "dropped")
        ]


def test_thoughts_go_only_to_their_maker() -> None:
    shown = Thought(text="hm", state="sig", maker=MINE)
    silent = Thought(state="sig", maker=MINE)
    assert contents(make_model_turn(shown, silent))[0]["parts"] == [
        {"text": "hm", "thoughtSignature": "sig", "thought": True},
        {"text": "", "thoughtSignature": "sig"},
    ]
    for thought in (
        Thought(text="hm"),
        Thought(text="hm", state="s"),
        Thought(state="s", maker="x"),
    ):
        written = encoded(user(), make_model_turn(thought, Text(text="t")))
        assert written.value["contents"][1]["parts"] == [{"text": "t"}]
        assert [(loss.field, loss.action) for loss in written.losses] == [
            ("messages.reasoning", "dropped")
        ]


def test_the_dialect_writes_the_encoded_request_for_the_target() -> None:
    """Translation does this too: it encodes, reads without a path, and writes for the target."""
    request = CanonicalRequest(turns=(user(),), max_output=9, effort="max", stream=True, names={"effort": "reasoning_effort"})  # fmt: skip
    written = translation.write_request(request, DIALECT, HERE)
    assert json.loads(written.body) == {
        "contents": [{"role": "user", "parts": [{"text": "hi"}]}],
        "generationConfig": {"maxOutputTokens": 9, "thinkingConfig": {"thinkingLevel": "HIGH"}},
    }
    assert written.url_suffix == "/models/m:streamGenerateContent?alt=sse"
    assert [(loss.field, loss.action) for loss in written.losses] == [
        ("reasoning_effort", "clamped")
    ]


def test_an_encoded_request_decodes_to_the_same_request() -> None:
    """The decoder gets back all that this dialect can say."""
    request = CanonicalRequest(
        turns=(
            CanonicalTurn(role="system", parts=(Text(text="s"),)), user(),
            make_model_turn(ToolUse(id="c1", name="f", arguments='{"a":1}')), make_user_turn(RESULT),
        ),
        tools=(Tool(name="f", description="d", parameters={"type": "object"}),), tool_choice=ToolChoice(mode="required"),
        form=OutputFormat(schema={"type": "object"}), max_output=9, stop=("x",), temperature=0.5, top_p=0.5, top_k=3, presence_penalty=0.5,
        frequency_penalty=0.5, seed=1, choices=2, logprobs=True, top_logprobs=2, effort="high", thoughts_shown=True, stream=True,
    )  # fmt: skip
    value = TRANSLATION.encode_request(request, HERE).value
    body = DIALECT.read(json.dumps({"model": "m", **value}).encode())
    decoded_again = TRANSLATION.decode_request(body)
    for field in CanonicalRequest.__struct_fields__:
        if field not in ("turns", "tools", "names", "stream_usage"):
            assert getattr(decoded_again, field) == getattr(request, field), field
    assert TRANSLATION.encode_request(decoded_again, HERE).value == value
