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


def model(*parts: Any) -> CanonicalTurn:
    return CanonicalTurn(role="assistant", parts=parts)


def said(*parts: Any) -> CanonicalTurn:
    return CanonicalTurn(role="user", parts=parts)


def contents(*turns: CanonicalTurn, **more: Any) -> list[Object]:
    found: list[Object] = encoded(*turns, **more).value["contents"]
    return found


def losses(*turns: CanonicalTurn, **more: Any) -> list[tuple[str, str]]:
    return [(loss.field, loss.action) for loss in encoded(*turns, **more).losses]


def test_only_what_is_set_is_written() -> None:
    found = encoded(user())
    assert found.value == {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}
    assert found.losses == ()


def test_settings_and_the_clients_names_of_them() -> None:
    found = encoded(
        max_output=9, stop=("a",), temperature=0.5, top_p=0.5, top_k=4, presence_penalty=1.0, frequency_penalty=2.0, seed=3,
        choices=2, logprobs=True, top_logprobs=5, stream=True, names={"max_output": "max_tokens", "choices": "n"},
    )  # fmt: skip
    assert found.value["stream"] is True
    assert found.value["generationConfig"] == {
        "maxOutputTokens": 9, "temperature": 0.5, "topP": 0.5, "topK": 4, "presencePenalty": 1.0, "frequencyPenalty": 2.0, "seed": 3,
        "stopSequences": ["a"], "candidateCount": 2, "responseLogprobs": True, "logprobs": 5,
    }  # fmt: skip
    assert found.client_names["generationConfig.maxOutputTokens"] == "max_tokens"
    assert found.client_names["generationConfig.topK"] == "top_k"
    assert found.client_names["contents"] == "messages"
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
def test_effort_and_budget(facts: Any, more: Any, thinking: Object, name: str) -> None:
    found = encoded(to=target(facts=facts), **more)
    assert found.value["generationConfig"] == {"thinkingConfig": thinking}
    assert found.client_names["generationConfig.thinkingConfig"] == name
    left = "budget" in more and "thinkingBudget" not in thinking
    above = more.get("effort") == "max"
    assert [(it.field, it.action) for it in found.losses] == (
        [("budget", "approximated")] * left + [("effort", "clamped")] * above
    )


def test_a_form_is_json_schema_in_words_that_gemini_takes() -> None:
    form = OutputFormat(schema={"const": 1, "uniqueItems": True}, name="n")
    found = encoded(form=form, names={"form": "text.format"})
    assert found.value["generationConfig"] == {
        "responseMimeType": "application/json",
        "responseJsonSchema": {"enum": [1], "type": "integer"},
    }
    assert [(it.field, it.action) for it in found.losses] == [("text.format", "approximated")]
    assert encoded(form=OutputFormat()).value["generationConfig"] == {
        "responseMimeType": "application/json"
    }


def test_tools() -> None:
    tools = (
        Tool(name="f", description="d", parameters={"type": "object", "not": {}}),
        Tool(name="g"),
        Tool(name="c", kind="custom"),
    )
    found = encoded(tools=tools)
    rows = found.value["tools"][0]["functionDeclarations"]
    assert rows[0] == {"name": "f", "description": "d", "parametersJsonSchema": {"type": "object"}}
    assert rows[1] == {"name": "g"}
    assert rows[2]["parametersJsonSchema"]["required"] == ["input"]
    assert [(it.field, it.action) for it in found.losses] == [("tools", "approximated")]


@pytest.mark.parametrize(
    ("choice", "calling"),
    [
        (ToolChoice(mode="auto"), {"mode": "AUTO"}), (ToolChoice(mode="none"), {"mode": "NONE"}), (ToolChoice(mode="required"), {"mode": "ANY"}),
        (ToolChoice(mode="tool", name="f"), {"mode": "ANY", "allowedFunctionNames": ["f"]}),
        (ToolChoice(mode="required", allowed=("f", "g")), {"mode": "ANY", "allowedFunctionNames": ["f", "g"]}),
        (ToolChoice(mode="auto", allowed=("f",)), {"mode": "VALIDATED", "allowedFunctionNames": ["f"]}),
    ],
)  # fmt: skip
def test_which_tools_may_be_used(choice: ToolChoice, calling: Object) -> None:
    assert encoded(tool_choice=choice).value["toolConfig"] == {"functionCallingConfig": calling}


def system(text: str) -> CanonicalTurn:
    return CanonicalTurn(role="developer", parts=(Text(text=text), Text(text="")))


def test_what_the_system_says_first_stands_apart_and_later_within() -> None:
    found = encoded(system("a"), system("b"), user(), system("c"))
    assert found.value["systemInstruction"] == {"parts": [{"text": "a"}, {"text": "b"}]}
    assert found.value["contents"] == [
        {"role": "user", "parts": [{"text": "hi"}, {"text": "<system>\nc\n</system>"}]}
    ]


def test_a_picture_in_a_later_system_turn_is_not_wrapped() -> None:
    picture = Media(kind="image", type="image/png", data="aa")
    found = contents(user(), CanonicalTurn(role="system", parts=(picture, Text(text="c"))))
    assert found[0]["parts"][1:] == [
        {"inlineData": {"mimeType": "image/png", "data": "aa"}},
        {"text": "<system>\nc\n</system>"},
    ]


def test_a_system_prompt_alone_is_what_the_user_says() -> None:
    found = encoded(system("a"))
    assert found.value == {"contents": [{"role": "user", "parts": [{"text": "a"}]}]}
    assert [(it.field, it.action) for it in found.losses] == [("messages", "approximated")]


def test_parts_of_every_kind() -> None:
    parts = (
        Text(text="t"), Text(text=""), Refused(text="no"), Foreign(kind="x"),
        Media(kind="image", type="image/gif", data="aa"), Media(kind="file", data="bb"), Media(kind="file", text="plain"),
        Media(kind="video", url="https://x.test/v"), Media(kind="video", type="video/mp4", url="https://x.test/v"),
    )  # fmt: skip
    assert contents(said(*parts))[0]["parts"] == [
        {"text": "t"},
        {"text": "no"},
        {"inlineData": {"mimeType": "image/gif", "data": "aa"}},
        {"inlineData": {"mimeType": "application/pdf", "data": "bb"}},
        {"text": "plain"},
        {"fileData": {"fileUri": "https://x.test/v"}},
        {"fileData": {"fileUri": "https://x.test/v", "mimeType": "video/mp4"}},
    ]
    assert encoded(user(), model(Foreign(kind="x"))).value["contents"] == contents(user())


def test_neighbours_of_one_role_are_one_and_results_come_first() -> None:
    """Chat Completions has a turn for each result; Gemini wants all results in one."""
    second = ToolUse(id="c 2", name="g", arguments="")
    found = contents(
        user(),
        model(Text(text="so")),
        model(CALL, second),
        user("also"),
        said(ToolResult(id="c 2", name="g", parts=(Text(text="no"),), error=True)),
        said(RESULT),
    )
    assert [it["role"] for it in found] == ["user", "model", "user"]
    uses = [part["functionCall"] for part in found[1]["parts"][1:]]
    assert uses[0] == {"id": "c1", "name": "f", "args": {"a": 1}}
    assert (uses[1]["name"], uses[1]["args"]) == ("g", {})
    assert [next(iter(part)) for part in found[2]["parts"]] == ["functionResponse"] * 2 + ["text"]
    results = [part["functionResponse"] for part in found[2]["parts"][:2]]
    assert results[0] == {"id": uses[1]["id"], "name": "g", "response": {"error": "no"}}
    assert results[1] == {"id": "c1", "name": "f", "response": {"output": "done"}}


def test_a_call_without_its_result_gets_one() -> None:
    found = contents(model(CALL), user("never mind"))
    assert found[1]["parts"] == [
        {"functionResponse": {"id": "c1", "name": "f", "response": {"error": "No result was given."}}},
        {"text": "never mind"},
    ]  # fmt: skip
    assert contents(user(), model(CALL))[-1]["role"] == "model"


def test_a_result_of_an_unknown_call_has_some_name() -> None:
    assert contents(said(RESULT))[0]["parts"][0]["functionResponse"]["name"] == "unknown"


@pytest.mark.parametrize(
    ("text", "custom", "args"),
    [("", False, {}), (" ", False, {}), ("null", False, {}), ("{", False, {"_raw": "{"}), ("[1]", False, {"_raw": "[1]"}), ("free", True, {"input": "free"}), ('{"a":{"b":1}}', False, {"a": {"b": 1}})],
)  # fmt: skip
def test_arguments_are_an_object(text: str, custom: bool, args: Object) -> None:
    use = ToolUse(id="c", name="f", arguments=text, custom=custom)
    assert contents(model(use))[0]["parts"][0]["functionCall"]["args"] == args
    named = [("messages.arguments", "approximated")] if "_raw" in args else []
    assert losses(model(use)) == named


def test_media_of_a_result_stand_within_it_or_after_it() -> None:
    png = Media(kind="image", type="image/png", data="aa")
    result = ToolResult(id="c1", parts=(Text(text="a"), png, Text(text="b")))
    data = {"inlineData": {"mimeType": "image/png", "data": "aa"}}
    turns = (model(CALL), said(result))
    within = contents(*turns)[1]["parts"]
    assert within[0]["functionResponse"]["parts"] == [data]
    assert within[0]["functionResponse"]["response"] == {"output": "a\nb"}
    old = target(facts=BUDGET)
    assert contents(*turns, to=old)[1]["parts"][1] == data
    assert losses(*turns, to=old) == [("messages", "approximated")]


def test_the_first_call_of_a_turn_is_signed_in_place_of_its_maker() -> None:
    """Gemini 3 and later refuse a call without a signature; models with budgets want none."""
    second = ToolUse(id="c2", name="g", arguments="{}")
    parts = contents(model(Text(text="t"), CALL, second))[0]["parts"]
    assert [part.get("thoughtSignature") for part in parts] == [None, SKIP_SIGNATURE, None]
    old = contents(model(CALL), to=target(facts=BUDGET))[0]["parts"]
    assert "thoughtSignature" not in old[0]
    assert SKIP_SIGNATURE in json.dumps(contents(model(CALL), to=target()))


def test_state_goes_to_its_own_maker_alone() -> None:
    own = ToolUse(id="c1", name="f", arguments="{}", state="sig", maker=MINE)
    assert contents(model(own))[0]["parts"][0]["thoughtSignature"] == "sig"
    assert losses(model(own)) == []
    for maker_ in (None, "other"):
        use = ToolUse(id="c1", name="f", arguments="{}", state="sig", maker=maker_)
        assert contents(model(use))[0]["parts"][0]["thoughtSignature"] == SKIP_SIGNATURE
        assert losses(model(use, use), names={"turns": "input"}) == [("input.reasoning", "dropped")]


def test_thoughts_go_to_their_own_maker_alone() -> None:
    shown = Thought(text="hm", state="sig", maker=MINE)
    silent = Thought(state="sig", maker=MINE)
    assert contents(model(shown, silent))[0]["parts"] == [
        {"text": "hm", "thoughtSignature": "sig", "thought": True},
        {"text": "", "thoughtSignature": "sig"},
    ]
    for thought in (
        Thought(text="hm"),
        Thought(text="hm", state="s"),
        Thought(state="s", maker="x"),
    ):
        found = encoded(user(), model(thought, Text(text="t")))
        assert found.value["contents"][1]["parts"] == [{"text": "t"}]
        assert [(it.field, it.action) for it in found.losses] == [("messages.reasoning", "dropped")]


def test_the_body_is_one_that_this_dialect_writes() -> None:
    """Translation does this too: it encodes, reads without a path, and writes for the target."""
    request = CanonicalRequest(turns=(user(),), max_output=9, effort="max", stream=True, names={"effort": "reasoning_effort"})  # fmt: skip
    written = translation.write_request(request, DIALECT, HERE)
    assert json.loads(written.body) == {
        "contents": [{"role": "user", "parts": [{"text": "hi"}]}],
        "generationConfig": {"maxOutputTokens": 9, "thinkingConfig": {"thinkingLevel": "HIGH"}},
    }
    assert written.url_suffix == "/models/m:streamGenerateContent?alt=sse"
    assert [(it.field, it.action) for it in written.losses] == [("reasoning_effort", "clamped")]


def test_what_is_encoded_is_decoded_again() -> None:
    """The decoder gets back all that this dialect can say."""
    request = CanonicalRequest(
        turns=(
            CanonicalTurn(role="system", parts=(Text(text="s"),)), user(),
            model(ToolUse(id="c1", name="f", arguments='{"a":1}')), said(RESULT),
        ),
        tools=(Tool(name="f", description="d", parameters={"type": "object"}),), tool_choice=ToolChoice(mode="required"),
        form=OutputFormat(schema={"type": "object"}), max_output=9, stop=("x",), temperature=0.5, top_p=0.5, top_k=3, presence_penalty=0.5,
        frequency_penalty=0.5, seed=1, choices=2, logprobs=True, top_logprobs=2, effort="high", thoughts_shown=True, stream=True,
    )  # fmt: skip
    value = TRANSLATION.encode_request(request, HERE).value
    body = DIALECT.read(json.dumps({"model": "m", **value}).encode())
    again = TRANSLATION.decode_request(body)
    for field in CanonicalRequest.__struct_fields__:
        if field not in ("turns", "tools", "names", "stream_usage"):
            assert getattr(again, field) == getattr(request, field), field
    assert TRANSLATION.encode_request(again, HERE).value == value
