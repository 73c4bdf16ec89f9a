"""The encoder turns a request of another dialect into one that Converse accepts."""

import base64
import json
from typing import Any

import pytest

from gateway.core.canonical_request import (
    CanonicalRequest,
    CanonicalTurn,
    Foreign,
    Media,
    OutputFormat,
    Part,
    Refused,
    Text,
    Thought,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
)
from gateway.core.target import ModelFacts, Target
from gateway.dialects.base import EncodedRequest
from gateway.dialects.bedrock_converse import TRANSLATION
from gateway.dialects.reasoning_state import hash_maker
from tests.dialects.cases import target

type Object = dict[str, Any]

CHAT_NAMES = {"turns": "messages", "max_output": "max_completion_tokens", "effort": "reasoning_effort", "form": "response_format"}  # fmt: skip
"""Member names of a Chat Completions client."""
THINKS = ModelFacts(effort_style="nova", efforts=("none", "low", "medium", "high"))
NOVA = target("us.amazon.nova-2-lite-v1:0", facts=THINKS)
LLAMA = target("us.meta.llama3-3-70b-instruct-v1:0", facts=ModelFacts(max_output=4096))
PNG, PDF = "iVBORw0KGgo=", "JVBERi0xLjQ="


def turn(role: str, *parts: Part | str) -> CanonicalTurn:
    inner = tuple(Text(text=part) if isinstance(part, str) else part for part in parts)
    return CanonicalTurn(role=role, parts=inner)  # type: ignore[arg-type]  # of the tests


HELLO = turn("user", "hi")
USE = ToolUse(id="call_1", name="f", arguments='{"a": 1}')
F = Tool(name="f")


def encode(*turns: CanonicalTurn, to: Target = NOVA, **more: Any) -> EncodedRequest:
    return TRANSLATION.encode_request(
        CanonicalRequest(turns=turns or (HELLO,), names=CHAT_NAMES, **more), to
    )


def messages(*turns: CanonicalTurn, to: Target = NOVA, **more: Any) -> list[tuple[str, Any]]:
    value = encode(*turns, to=to, tools=(F,), **more).value["messages"]
    return [(message["role"], message["content"]) for message in value]


def list_losses(encoded: EncodedRequest) -> list[tuple[str, str]]:
    return [(loss.field, loss.action) for loss in encoded.losses]


def result(id: str, *content: Object, **more: Any) -> Object:
    return {"toolResult": {"toolUseId": id, "content": [*content], **more}}


def test_a_bare_request_is_its_messages() -> None:
    assert encode().value == {"messages": [{"role": "user", "content": [{"text": "hi"}]}]}
    assert encode().losses == ()
    assert encode(stream=True).value["stream"] is True


def test_all_settings_have_their_place() -> None:
    encoded = encode(
        turn("system", "Be brief.", " "), turn("developer", "Really."), HELLO,
        max_output=50, temperature=0.5, top_p=0.9, top_k=40, stop=("a", "b"), effort="low", service_tier="flex",
    )  # fmt: skip
    assert encoded.value == {
        "system": [{"text": "Be brief."}, {"text": "Really."}],
        "messages": [{"role": "user", "content": [{"text": "hi"}]}],
        "inferenceConfig": {"maxTokens": 50, "temperature": 0.5, "topP": 0.9, "stopSequences": ["a", "b"]},
        "additionalModelRequestFields": {
            "reasoningConfig": {"type": "enabled", "maxReasoningEffort": "low"},
            "inferenceConfig": {"topK": 40},
        },
        "serviceTier": {"type": "flex"},
    }  # fmt: skip
    assert encoded.losses == ()
    assert encoded.client_names["inferenceConfig"] == "max_completion_tokens"


def test_values_beyond_what_converse_takes_are_named() -> None:
    encoded = encode(
        temperature=1.5, top_p=1.5, stop=("a", " "), service_tier="scale", to=LLAMA, top_k=4, max_output=9999,
    )  # fmt: skip
    assert encoded.value["inferenceConfig"] == {
        "maxTokens": 4096,
        "temperature": 1,
        "topP": 1,
        "stopSequences": ["a"],
    }
    assert list_losses(encoded) == [
        ("max_completion_tokens", "clamped"), ("temperature", "clamped"), ("top_p", "clamped"),
        ("top_k", "dropped"), ("stop", "dropped"), ("service_tier", "dropped"),
    ]  # fmt: skip
    assert encode(service_tier="default").losses == ()


def test_the_cap_is_the_clients_or_the_targets() -> None:
    def cap(to: Target, **more: Any) -> object:
        return encode(to=to, **more).value.get("inferenceConfig", {}).get("maxTokens")

    assert cap(LLAMA) is None
    assert cap(target("meta.llama", max_output=7)) == 7
    assert cap(target("meta.llama", max_output=7), max_output=5) == 5
    lowered = target("meta.llama", lowered_output=3, lowered_reason="the budget allows 3")
    assert cap(lowered) == 3
    assert encode(to=lowered).losses[0].reason == "the budget allows 3"


# Effort


@pytest.mark.parametrize(
    ("fields", "sent", "losses"),
    [
        ({"effort": "none"}, "none", []),
        ({"effort": "medium"}, "medium", []),
        ({"effort": "minimal"}, "none", ["reasoning_effort"]),
        ({"effort": "max"}, "high", ["reasoning_effort"]),
        ({"effort": "high"}, "high", []),
        ({"effort": "high", "max_output": 9}, "medium", ["reasoning_effort"]),
        ({"effort": "xhigh", "max_output": 9}, "medium", ["reasoning_effort"]),
        ({"budget": 3000}, "medium", []),
        ({"budget": 50_000}, "high", ["budget"]),
        ({}, None, []),
    ],
)
def test_the_clients_effort_is_sent_in_the_nearest_word(
    fields: Object, sent: str | None, losses: list[str]
) -> None:
    encoded = encode(**fields)
    config = encoded.value.get("additionalModelRequestFields", {}).get("reasoningConfig")
    expected = {
        None: None, "none": {"type": "disabled"},
    }.get(sent, {"type": "enabled", "maxReasoningEffort": sent})  # fmt: skip
    assert config == expected
    assert list_losses(encoded) == [(name, "clamped") for name in losses]


@pytest.mark.parametrize(
    ("effort", "fields", "sent"),
    [
        ("high", {}, "high"),
        ("high", {"max_output": 9}, "medium"),
        ("low", {"max_output": 9}, "low"),
    ],
)
def test_without_a_wish_the_targets_effort_is_sent_below_the_clients_cap(
    effort: str, fields: Object, sent: str
) -> None:
    encoded = encode(to=target(NOVA.model, facts=THINKS, effort=effort), **fields)
    config = encoded.value["additionalModelRequestFields"]["reasoningConfig"]
    assert config["maxReasoningEffort"] == sent
    assert encoded.losses == ()


def test_at_effort_high_nova_takes_no_sampling() -> None:
    encoded = encode(effort="high", temperature=0, top_p=0.5, top_k=3)
    assert set(encoded.value) == {"messages", "additionalModelRequestFields"}
    assert list_losses(encoded) == [(name, "dropped") for name in ("temperature", "top_p", "top_k")]


def test_a_model_without_effort_gets_none() -> None:
    assert list_losses(encode(to=LLAMA, effort="low")) == [("reasoning_effort", "dropped")]
    assert encode(to=LLAMA, effort="none").losses == ()
    assert list_losses(encode(to=target("x"), effort="none")) == [("reasoning_effort", "dropped")]
    assert encode(to=target("meta.llama", effort="high")).value == encode(to=LLAMA).value
    other = target(NOVA.model, facts=ModelFacts(effort_style="nova", efforts=("low", "xhigh")))
    assert list_losses(encode(to=other, effort="none")) == [("reasoning_effort", "clamped")]


@pytest.mark.parametrize(
    ("sampling", "effort", "is_sent"),
    [("never", "none", False), ("effort-none", "none", True), ("effort-none", "low", False), ("always", "low", True)],
)  # fmt: skip
def test_a_model_that_takes_no_sampling_gets_none(
    sampling: Any, effort: str, is_sent: bool
) -> None:
    facts = ModelFacts(effort_style="nova", efforts=("none", "low"), sampling=sampling)
    encoded = encode(to=target(NOVA.model, facts=facts), effort=effort, temperature=0.2)
    assert ("inferenceConfig" in encoded.value) == is_sent
    assert list_losses(encoded) == ([] if is_sent else [("temperature", "dropped")])


# Turns


def test_roles_alternate_and_the_user_begins() -> None:
    encoded = encode(
        turn("assistant", "hello"), turn("user", ""), turn("user", "a", " "), turn("system", "now"),
        turn("assistant", "b", Refused(text="no")), turn("user", ""),
    )  # fmt: skip
    assert [(it["role"], it["content"]) for it in encoded.value["messages"]] == [
        ("user", [{"text": "(no content)"}]),
        ("assistant", [{"text": "hello"}]),
        ("user", [{"text": "a"}, {"text": "<system>\nnow\n</system>"}]),
        ("assistant", [{"text": "b"}, {"text": "no"}]),
        ("user", [{"text": "(no content)"}]),
    ]  # fmt: skip


def test_the_last_of_only_system_turns_becomes_a_user_message() -> None:
    encoded = encode(turn("system", "a"), turn("system", "do it"))
    assert encoded.value["system"] == [{"text": "a"}]
    assert encoded.value["messages"] == [{"role": "user", "content": [{"text": "do it"}]}]
    assert list_losses(encoded) == [("messages", "approximated")]


def test_an_answer_that_the_client_began_stays_last() -> None:
    assert messages(HELLO, turn("assistant", "Sure: "))[-1] == ("assistant", [{"text": "Sure: "}])


def test_results_stand_in_the_message_after_their_calls() -> None:
    two = ToolUse(id="call 2", name="g h", arguments="")
    sent = messages(
        HELLO,
        turn("assistant", "t", USE, two),
        turn("user", "after", ToolResult(id="call 2", parts=(Text(text="r2"),), error=True)),
        turn("user", ToolResult(id="call_1", parts=())),
    )
    second = sent[1][1][2]["toolUse"]
    assert sent[1] == (
        "assistant",
        [
            {"text": "t"},
            {"toolUse": {"toolUseId": "call_1", "name": "f", "input": {"a": 1}}},
            {"toolUse": {**second, "input": {}}},
        ],
    )
    assert second["toolUseId"].startswith("tooluse_")
    assert second["name"].startswith("tool_")
    assert sent[2] == (
        "user",
        [
            result(second["toolUseId"], {"text": "r2"}, status="error"),
            result("call_1", {"text": "(no content)"}),
            {"text": "after"},
        ],
    )


def test_a_call_without_a_result_gets_one_and_ids_differ() -> None:
    sent = messages(HELLO, turn("assistant", USE), turn("user", "go on"), turn("assistant", USE))
    assert sent[2][1][0] == result("call_1", {"text": "No result provided"}, status="error")
    second = sent[3][1][0]["toolUse"]["toolUseId"]
    assert second != "call_1"
    assert sent[4] == ("user", [result(second, {"text": "No result provided"}, status="error")])


def test_a_result_without_its_call_becomes_text() -> None:
    encoded = encode(turn("user", ToolResult(id="x", parts=(Text(text="r"),))))
    assert encoded.value["messages"][0]["content"] == [{"text": "r"}]
    assert list_losses(encoded) == [("messages.tool_result", "approximated")]


def test_arguments_are_an_object() -> None:
    custom = ToolUse(id="a", name="f", arguments="do", custom=True)
    text = ToolUse(id="b", name="f", arguments="[1")
    empty = ToolUse(id="c", name="f", arguments=" null ")
    encoded = encode(HELLO, turn("assistant", custom, text, empty), tools=(F,))
    inputs = [it["toolUse"]["input"] for it in encoded.value["messages"][1]["content"]]
    assert inputs == [{"input": "do"}, {"_raw": "[1"}, {}]
    assert list_losses(encoded) == [("messages.arguments", "approximated")]


def test_llama_gets_results_alone_in_their_message() -> None:
    loop = (HELLO, turn("assistant", USE), turn("user", ToolResult(id="call_1"), "and?"))
    done = result("call_1", {"text": "(no content)"})
    assert messages(*loop, to=LLAMA)[2:] == [
        ("user", [done]), ("assistant", [{"text": "."}]), ("user", [{"text": "and?"}]),
    ]  # fmt: skip
    assert messages(*loop)[2:] == [("user", [done, {"text": "and?"}])]
    assert messages(*loop[:2], turn("user", ToolResult(id="call_1")), to=LLAMA)[2:] == [("user", [done])]  # fmt: skip


def test_parts_without_a_place_are_named() -> None:
    picture, film = Media(kind="image", data=PNG), Media(kind="video", data="AA")
    encoded = encode(turn("user", "a", film, Foreign(kind="x")), turn("assistant", picture))
    assert list_losses(encoded) == [
        ("messages.video", "dropped"), ("messages.foreign", "dropped"), ("messages.image", "dropped"),
    ]  # fmt: skip


# Reasoning


def test_reasoning_goes_back_to_its_maker_alone() -> None:
    own, other = hash_maker(NOVA, "bedrock-converse"), hash_maker(NOVA, "openai-chat")
    thoughts = (
        Thought(text="hm", state="c2ln", maker=own),
        Thought(state="AAEC", redacted=True, maker=own),
        Thought(text="hm", state="c2ln", maker=other),
        Thought(text="hm"),
    )
    signed = ToolUse(id="a", name="f", arguments="{}", state="s", maker=own)
    encoded = encode(HELLO, turn("assistant", *thoughts, signed), tools=(F,))
    assert encoded.value["messages"][1]["content"] == [
        {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "c2ln"}}},
        {"reasoningContent": {"redactedContent": "AAEC"}},
        {"toolUse": {"toolUseId": "a", "name": "f", "input": {}}},
    ]
    assert list_losses(encoded) == [("messages.reasoning", "dropped")]


# Media


@pytest.mark.parametrize(
    ("part", "format"),
    [
        (Media(kind="image", data=PNG), "png"),
        (Media(kind="image", type="image/png", data="/9j/4AAQ"), "jpeg"),
        (Media(kind="image", data="R0lGODlh"), "gif"),
        (Media(kind="file", type="image/webp", data="UklGRg=="), "webp"),
        (Media(kind="image", type="image/heic", data="AAAA"), "heic"),
        (Media(kind="image", data="AAAA"), "png"),
    ],
)
def test_images_have_the_format_of_their_bytes(part: Media, format: str) -> None:
    """Bedrock itself refuses a format that it does not know, with the reason."""
    [(_, content)] = messages(turn("user", part))
    assert content == [{"image": {"format": format, "source": {"bytes": part.data}}}]


@pytest.mark.parametrize(
    ("type", "name", "format"),
    [
        ("application/pdf", None, "pdf"), ("text/csv; charset=utf-8", "a", "csv"), ("text/x-python", "a.py", "txt"),
        ("text/markdown", "a", "md"), (None, "Report.DOCX", "docx"), ("application/octet-stream", "a.xlsx", "xlsx"),
        (None, None, "pdf"), ("application/zip", "a.zip", "pdf"),
    ],
)  # fmt: skip
def test_documents_have_a_format(type: str | None, name: str | None, format: str) -> None:
    [(_, content)] = messages(turn("user", "a", Media(kind="file", type=type, name=name, data=PDF)))
    assert content[1]["document"]["format"] == format


def test_names_of_documents_are_plain_and_differ() -> None:
    parts = [
        Media(kind="file", data=PDF, name=name)
        for name in (
            "a.pdf",
            "a.pdf",
            "Plan (v2) [x]-y",
            "\tÜ  b_c/d ",
            "日本",
            None,
            None,
            "x" * 300,
        )
    ]
    encoded = encode(turn("user", "see", *parts))
    names = [it["document"]["name"] for it in encoded.value["messages"][0]["content"][1:]]
    assert names == ["a pdf", "a pdf 2", "Plan (v2) [x]-y", "b c d", "Document", "Document 2", "Document 3", "x" * 190]  # fmt: skip
    assert list_losses(encoded) == [("messages.file.name", "approximated")]
    assert encode(turn("user", "see", parts[2], parts[5])).losses == ()


def test_a_document_of_text_is_bytes_and_a_message_of_documents_gets_a_text() -> None:
    [(_, content)] = messages(turn("user", Media(kind="file", text="Grüße")))
    data = base64.b64encode("Grüße".encode()).decode()
    document = {"format": "txt", "name": "Document", "source": {"bytes": data}}
    assert content == [{"text": "See the attached documents."}, {"document": document}]


def test_results_hold_the_media_that_the_model_takes_there() -> None:
    picture = Media(kind="image", data=PNG)
    file = Media(kind="file", data=PDF, name="a")
    loop = (
        HELLO,
        turn("assistant", USE),
        turn("user", ToolResult(id="call_1", parts=(picture, file))),
    )
    image = {"image": {"format": "png", "source": {"bytes": PNG}}}
    document = {"document": {"format": "pdf", "name": "a", "source": {"bytes": PDF}}}
    encoded = encode(*loop, tools=(F,))
    assert encoded.value["messages"][2]["content"] == [
        result("call_1", image), {"text": "See the attached documents."}, document,
    ]  # fmt: skip
    assert list_losses(encoded) == [("messages", "approximated")]
    assert messages(*loop, to=LLAMA)[2] == ("user", [result("call_1", image, document)])
    assert encode(*loop, tools=(F,), to=LLAMA).losses == ()


# Cache points

POINT = {"cachePoint": {"type": "default"}}


def test_cache_points_follow_what_they_mark() -> None:
    picture = Media(kind="image", data=PNG, cache="5m")
    encoded = encode(
        turn("system", Text(text="s", cache="")),
        turn("user", picture, Text(text="a", cache="1h")),
        turn("assistant", USE),
        turn("user", ToolResult(id="call_1", parts=(Text(text="r", cache=""),), cache="")),
        tools=(F,),
    )
    assert encoded.value["system"] == [{"text": "s"}, POINT]
    contents = [message["content"] for message in encoded.value["messages"]]
    image = {"image": {"format": "png", "source": {"bytes": PNG}}}
    assert contents[0] == [image, POINT, {"text": "a"}, POINT]
    assert contents[2] == [result("call_1", {"text": "r"}), POINT]
    assert list_losses(encoded) == [("cache_control.ttl", "approximated")]


def test_the_last_four_cache_points_stay() -> None:
    parts = [Text(text=str(number), cache="") for number in range(6)]
    encoded = encode(turn("user", *parts))
    assert encoded.value["messages"][0]["content"] == [
        {"text": "0"}, {"text": "1"}, {"text": "2"}, POINT, {"text": "3"}, POINT, {"text": "4"}, POINT,
        {"text": "5"}, POINT,
    ]  # fmt: skip
    assert list_losses(encoded) == [("cache_control", "dropped")]


def test_a_model_without_cache_points_gets_none() -> None:
    marked = turn("user", Text(text="a", cache="1h"))
    encoded = encode(marked, to=LLAMA, tools=(Tool(name="f", cache=""),))
    assert "cachePoint" not in json.dumps(encoded.value)
    assert [loss.action for loss in encoded.losses] == ["dropped", "dropped"]
    assert {loss.field for loss in encoded.losses} == {"cache_control"}


def test_nova_takes_no_cache_point_after_a_tool_or_a_document() -> None:
    file = Media(kind="file", data=PDF, cache="")
    encoded = encode(turn("user", "a", file), tools=(Tool(name="f", cache=""),))
    assert "cachePoint" not in json.dumps(encoded.value)
    assert len(encoded.losses) == 2


# Tools


def test_tools_are_functions() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
    tools = (
        Tool(name="f", description="Does it.", parameters=schema, strict=True),
        Tool(name="g", kind="custom", description=" "),
        Tool(name="h.i", parameters={"properties": {}}),
        Tool(name="s", kind="hosted"),
    )
    specs = [tool["toolSpec"] for tool in encode(tools=tools).value["toolConfig"]["tools"]]
    assert specs[0] == {"name": "f", "description": "Does it.", "inputSchema": {"json": schema}}
    assert specs[1]["name"] == "g"
    assert "description" not in specs[1]
    assert specs[1]["inputSchema"]["json"]["required"] == ["input"]
    assert specs[2]["name"].startswith("tool_")
    assert specs[2]["inputSchema"]["json"] == {"type": "object", "properties": {}}
    assert len(specs) == 3


@pytest.mark.parametrize(
    ("choice", "written"),
    [
        (None, None),
        (ToolChoice(mode="auto"), None),
        (ToolChoice(mode="required"), {"any": {}}),
        (ToolChoice(mode="tool", name="f"), {"tool": {"name": "f"}}),
    ],
)
def test_the_choice_of_tools(choice: ToolChoice | None, written: Object | None) -> None:
    config = encode(tools=(F, Tool(name="g")), tool_choice=choice).value["toolConfig"]
    assert config.get("toolChoice") == written
    assert len(config["tools"]) == 2


def test_only_allowed_tools_are_offered() -> None:
    choice = ToolChoice(mode="required", allowed=("g",))
    config = encode(tools=(F, Tool(name="g")), tool_choice=choice).value["toolConfig"]
    assert [tool["toolSpec"]["name"] for tool in config["tools"]] == ["g"]


def test_a_model_that_must_use_no_tool_gets_none_or_is_named() -> None:
    none = ToolChoice(mode="none")
    without = encode(tools=(F,), tool_choice=none)
    assert "toolConfig" not in without.value
    assert list_losses(without) == [("tool_choice", "approximated")]
    loop = (HELLO, turn("assistant", USE), turn("user", ToolResult(id="call_1")))
    kept = encode(*loop, tools=(F,), tool_choice=none)
    assert "toolChoice" not in kept.value["toolConfig"]
    assert list_losses(kept) == [("tool_choice", "approximated")]
    assert "conversation with calls" in kept.losses[0].reason


def test_the_tools_of_a_history_stand_in_for_those_that_the_client_left_out() -> None:
    loop = (HELLO, turn("assistant", USE), turn("user", ToolResult(id="call_1")))
    encoded = encode(*loop)
    spec = {"name": "f", "inputSchema": {"json": {"type": "object", "properties": {}}}}
    assert encoded.value["toolConfig"] == {"tools": [{"toolSpec": spec}]}
    assert list_losses(encoded) == [("messages.tool_calls", "approximated")]


# The form of the answer


def test_a_schema_is_sent_as_a_string() -> None:
    form = OutputFormat(schema={"type": "object"}, name="n", description="d")
    definition = {"schema": '{"type":"object"}', "name": "n", "description": "d"}
    written = {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": definition}}}
    assert encode(form=form).value["outputConfig"] == written
    bare = encode(form=OutputFormat(schema={})).value["outputConfig"]["textFormat"]["structure"]
    assert bare == {"jsonSchema": {"schema": "{}"}}


def test_json_without_a_schema_is_asked_for_in_words() -> None:
    encoded = encode(turn("system", "s"), HELLO, form=OutputFormat())
    assert "outputConfig" not in encoded.value
    assert encoded.value["system"][0] == {"text": "s"}
    assert "JSON object" in encoded.value["system"][1]["text"]
