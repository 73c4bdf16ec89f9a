"""The decoder reads every field and part of a client's request, and names what it leaves out."""

import base64
from typing import Any

import pytest

from gateway.core.canonical_request import (
    CanonicalTurn,
    Foreign,
    Media,
    OutputFormat,
    Text,
    Thought,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
)
from gateway.dialects import DIALECTS, compatibility, reasoning_state, translation
from gateway.dialects.gemini import DIALECT, TRANSLATION
from gateway.dialects.gemini.content import Object
from gateway.dialects.gemini.reasoning_state import SKIP_SIGNATURE, encode_state
from tests.dialects.gemini.cases import HI, STREAM, ask, decoded, target

MAKER = "0123456789abcdef"
STATE = "??????>>>>>>é"
"""A state whose base64 has both of the letters in which the two alphabets differ."""


def parts(*rows: Any, role: str = "model") -> list[Any]:
    """Return the parts of one content, without their sources."""
    turns = decoded(contents=[{"role": role, "parts": list(rows)}]).turns
    return [without_source(part) for turn in turns for part in turn.parts]


def without_source(part: Any) -> Any:
    return type(part)(**{name: getattr(part, name) for name in part.__struct_fields__ if name != "source"})  # fmt: skip


def call(name: str = "f", **more: Any) -> Any:
    return {"functionCall": {"name": name, "args": {"a": 1}, **more}}


def result(name: str = "f", response: Any = None, **more: Any) -> Any:
    return {"functionResponse": {"name": name, "response": response or {"output": "x"}, **more}}


def test_decoded_settings_have_the_clients_names() -> None:
    request = decoded(
        generationConfig={
            "maxOutputTokens": 9, "stopSequences": ["a", 7], "temperature": 0, "topP": 0.5, "topK": 40.0, "presencePenalty": 1, "frequencyPenalty": 2,
            "seed": 3, "candidateCount": 2, "responseLogprobs": True, "logprobs": 5, "thinkingConfig": {"thinkingLevel": "LOW", "includeThoughts": True},
        },
        labels={"a": "b"}, serviceTier="flex",
    )  # fmt: skip
    assert (request.max_output, request.stop, request.temperature) == (9, ("a",), 0)
    assert (request.top_p, request.top_k, request.seed, request.choices) == (0.5, 40, 3, 2)
    assert (request.presence_penalty, request.frequency_penalty) == (1, 2)
    assert (request.logprobs, request.top_logprobs) == (True, 5)
    assert (request.effort, request.budget, request.thoughts_shown) == ("low", None, True)
    assert (request.metadata, request.service_tier) == ({"a": "b"}, "flex")
    assert (request.stream, request.stream_usage, request.extra_members) == (False, True, {})
    assert request.names["max_output"] == "generationConfig.maxOutputTokens"
    assert request.names["effort"] == "generationConfig.thinkingConfig.thinkingLevel"
    assert [name for name in request.names.values() if "_" in name] == []


def test_snake_case_members_are_read_and_keep_their_names() -> None:
    request = decoded(
        generation_config={"max_output_tokens": 9, "thinking_config": {"thinking_budget": 500}},
        system_instruction={"parts": [{"text": "s"}]},
        tool_config={"function_calling_config": {"mode": "NONE"}},
    )
    assert (request.max_output, request.budget, request.effort) == (9, 500, "low")
    assert request.turns[0].role == "system"
    assert request.tool_choice == ToolChoice(mode="none")
    assert request.names["max_output"] == "generation_config.max_output_tokens"
    assert request.names["effort"] == "generation_config.thinking_config.thinking_budget"
    assert request.names["tool_choice"] == "tool_config.function_calling_config"


def test_a_bare_request_sets_nothing() -> None:
    request = decoded()
    assert request.turns == (CanonicalTurn(role="user", parts=(Text(text="hi", source={"text": "hi"}),), source=HI[0]),)  # fmt: skip
    assert (request.tools, request.tool_choice, request.form, request.effort) == ((), None, None, None)  # fmt: skip
    assert compatibility.check_request(request, "openai-chat") == ([], [])
    assert TRANSLATION.decode_request(ask(STREAM)).stream
    assert decoded(generationConfig={"stopSequences": "x"}).stop == ("x",)


@pytest.mark.parametrize("kind", ["image/png", "application/pdf", "audio/wav", "video/mp4"])
def test_an_upload_of_any_kind_refuses_other_dialects(kind: str) -> None:
    """The gateway once sent a sound stored at Google to Chat Completions with no data at all."""
    file = {"fileData": {"mimeType": kind, "fileUri": "gs://bucket/a"}}
    _, refusals = compatibility.check_request(
        decoded(contents=[{"role": "user", "parts": [file]}]), "openai-chat"
    )
    assert any("of another provider" in why for why in refusals)


def test_members_without_an_equivalent_are_extra_members() -> None:
    request = decoded(
        safetySettings=[1],
        cachedContent="c",
        model="m",
        generationConfig={"mediaResolution": "LOW", "responseMimeType": "text/x.enum", "responseSchema": {"type": "STRING"}, "responseModalities": ["AUDIO"], "seed": 1},
        toolConfig={"retrievalConfig": {}, "functionCallingConfig": {"mode": "VALIDATED"}},
    )  # fmt: skip
    assert request.extra_members == {
        "safetySettings": [1],
        "cachedContent": "c",
        "generationConfig.mediaResolution": "LOW",
        "generationConfig.responseMimeType": "text/x.enum",
        "generationConfig.responseSchema": {"type": "STRING"},
        "generationConfig.responseModalities": ["AUDIO"],
        "toolConfig.functionCallingConfig.mode": "VALIDATED",
    }
    plain = {"responseMimeType": "text/plain", "responseModalities": ["TEXT"], "x": None}
    assert decoded(generationConfig=plain).extra_members == {}


@pytest.mark.parametrize(
    ("members", "form"),
    [
        ({"responseMimeType": "application/json"}, OutputFormat()),
        ({"responseMimeType": "application/json", "responseJsonSchema": {"type": "object"}}, OutputFormat(schema={"type": "object"})),
        ({"response_schema": {"type": "OBJECT"}}, OutputFormat(schema={"type": "object"})),
        ({"responseMimeType": "text/plain", "responseSchema": {"type": "OBJECT"}}, None),
    ],
)  # fmt: skip
def test_the_decoder_reads_the_output_format(members: Any, form: OutputFormat | None) -> None:
    assert decoded(generationConfig=members).form == form


@pytest.mark.parametrize(
    ("calling", "choice"),
    [
        ({"mode": "AUTO"}, ToolChoice(mode="auto")), ({"mode": "any"}, ToolChoice(mode="required")), ({"mode": "NONE"}, ToolChoice(mode="none")),
        ({"mode": "ANY", "allowedFunctionNames": ["f"]}, ToolChoice(mode="tool", name="f")),
        ({"mode": "ANY", "allowed_function_names": ["f", "g", 7]}, ToolChoice(mode="required", allowed=("f", "g"))),
        ({"mode": "VALIDATED", "allowedFunctionNames": ["f"]}, ToolChoice(mode="auto", allowed=("f",))),
        ({"allowedFunctionNames": ["f"]}, ToolChoice(mode="auto", allowed=("f",))), ({}, None), ({"mode": "MODE_UNSPECIFIED"}, None),
    ],
)  # fmt: skip
def test_the_decoder_reads_the_tool_choice(calling: Any, choice: ToolChoice | None) -> None:
    assert decoded(toolConfig={"functionCallingConfig": calling}).tool_choice == choice


def test_the_decoder_reads_functions_and_hosted_tools() -> None:
    rows = [
        {"name": "f", "description": "d", "parametersJsonSchema": {"type": "object"}},
        {"name": "g", "parameters": {"type": "OBJECT", "properties": {"a": {"type": "STRING", "nullable": True}}}},
        {},
    ]  # fmt: skip
    tools = decoded(tools=[{"functionDeclarations": rows}, {"google_search": {}}]).tools
    assert [without_source(tool) for tool in tools] == [
        Tool(name="f", description="d", parameters={"type": "object"}),
        Tool(name="g", parameters={"type": "object", "properties": {"a": {"type": ["string", "null"]}}}),
        Tool(name=""),
        Tool(name="google_search", kind="hosted"),
    ]  # fmt: skip
    assert [tool.source for tool in tools[2:]] == [None, {"google_search": {}}]


@pytest.mark.parametrize("mode", ["validated", "NEW"])
def test_a_calling_mode_that_no_other_dialect_has_is_named(mode: str) -> None:
    calling = {"function_calling_config": {"mode": mode}}
    losses, _ = compatibility.check_request(decoded(tool_config=calling), "openai-chat")
    assert [loss.field for loss in losses] == ["tool_config.function_calling_config.mode"]


@pytest.mark.parametrize(
    ("level", "detail"),
    [("MEDIA_RESOLUTION_UNSPECIFIED", None), ("MEDIA_RESOLUTION_MEDIUM", "auto"), ("MEDIA_RESOLUTION_ULTRA_HIGH", "high"), ("NEW", "auto"), ("", None)],
)  # fmt: skip
def test_the_media_resolution_of_an_image_becomes_its_detail(
    level: str, detail: str | None
) -> None:
    image = {"inlineData": {"mimeType": "image/png"}, "mediaResolution": {"level": level}}
    assert parts(image)[0].detail == detail


def test_the_media_resolution_of_a_document_is_named() -> None:
    part = {"inlineData": {"mimeType": "application/pdf", "data": "aa"}, "mediaResolution": {"level": "MEDIA_RESOLUTION_LOW"}}  # fmt: skip
    request = decoded(contents=[{"role": "user", "parts": [part]}])
    losses, _ = compatibility.check_request(request, "openai-chat")
    assert [loss.field for loss in losses] == ["contents.detail"]


def test_the_system_instruction_is_the_first_turn() -> None:
    turns = decoded(systemInstruction="be kind").turns
    assert (turns[0].role, turns[0].parts) == ("system", (Text(text="be kind"),))
    assert decoded(systemInstruction={"parts": []}).turns == decoded().turns
    assert [turn.role for turn in decoded(contents=[{"role": "system", "parts": {"text": "a"}}, *HI]).turns] == ["system", "user"]  # fmt: skip


def test_the_decoder_reads_media_of_every_kind() -> None:
    assert parts(
        {"inlineData": {"mimeType": "image/png", "data": "a-_", "displayName": "n"}, "mediaResolution": {"level": "MEDIA_RESOLUTION_LOW"}},
        {"inline_data": {"mime_type": "application/pdf", "data": "bb"}},
        {"inlineData": {"mimeType": "audio/wav"}, "mediaResolution": {"level": ["x"]}},
        {"fileData": {"mimeType": "video/mp4", "fileUri": "https://x.test/v"}},
        {"fileData": {"fileUri": "https://www.youtube.com/watch?v=1"}},
        {"fileData": {"fileUri": "https://generativelanguage.googleapis.com/v1beta/files/f"}},
        {"fileData": {"mimeType": "image/png"}},
        role="user",
    ) == [
        Media(kind="image", type="image/png", data="a+/", name="n", detail="low"),
        Media(kind="file", type="application/pdf", data="bb"),
        Media(kind="audio", type="audio/wav", data=""),
        Media(kind="video", type="video/mp4", url="https://x.test/v"),
        Media(kind="video", url="https://www.youtube.com/watch?v=1"),
        Media(kind="file", id="https://generativelanguage.googleapis.com/v1beta/files/f"),
        Media(kind="image", type="image/png", url=""),
    ]  # fmt: skip


def test_unknown_and_malformed_parts_are_foreign() -> None:
    rows: tuple[Object, ...] = (
        {"new_kind": {"a": 1}},
        {"toolCall": 7},
        {"text": {"a": 7}},
        {"functionCall": 7},
        {},
        {"text": ""},
    )
    malformed = [Foreign(kind="toolCall"), Foreign(kind="text"), Foreign(kind="functionCall")]
    assert parts(*rows, role="user") == [Foreign(kind="new_kind"), *malformed]
    assert parts(*rows, role="model") == malformed


def test_an_unknown_part_is_named_and_in_a_user_turn_refused() -> None:
    """A history may hold such a part; in a user's turn, the client depends on it."""
    for role, is_refused in (("model", False), ("user", True)):
        contents = [*HI, {"role": role, "parts": [{"newKind": {"a": 1}}]}, *HI]
        request = translation.decode_request(DIALECT, ask(contents=contents))
        losses, refusals = compatibility.check_request(request, "openai-chat")
        assert [loss.field for loss in losses] == ["contents.parts.newKind"]
        assert bool(refusals) is is_refused


def test_an_unknown_member_beside_a_known_part_is_ignored() -> None:
    assert parts({"newMember": 1, "text": "a"}, {"partMetadata": {"a": 1}}) == [Text(text="a")]
    assert parts({"newMember": 1, "text": "a", "thought": True}) == [Thought(text="a")]


SEARCH = "GOOGLE_SEARCH_WEB"


@pytest.mark.parametrize(
    ("work", "text"),
    [
        ({"executableCode": {"language": "PYTHON", "code": "print(2)\n"}}, "\n```python\nprint(2)\n```\n"),
        ({"executable_code": {"code": "1"}}, "\n```\n1\n```\n"),
        ({"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "2"}}, "\n```\n2\n```\n"),
        ({"toolCall": {"toolType": SEARCH, "args": {"queries": ["a", 7, "b"]}}}, "\n[google search web: a; b]\n"),
        ({"tool_call": {"args": {"url": "https://a.test"}}}, "\n[tool: https://a.test]\n"),
        ({"audioTranscription": {"text": "hi", "finished": True}}, "hi"),
        ({"codeExecutionResult": {"outcome": "OUTCOME_OK"}}, ""), ({"executableCode": {"code": " "}}, ""), ({"audioTranscription": {}}, ""),
        ({"toolCall": {"toolType": SEARCH, "args": {"page": "a"}}}, ""), ({"toolCall": {"toolType": SEARCH, "args": [1]}}, ""),
        ({"toolResponse": {"toolType": SEARCH, "response": {"searchSuggestions": "<b>a</b>"}}}, ""),
    ],
)  # fmt: skip
def test_the_work_of_googles_own_tools_becomes_text_and_is_named(work: Object, text: str) -> None:
    """The history may then go to any model."""
    contents = [*HI, {"role": "model", "parts": [work, {"text": "ok"}]}, *HI]
    request = translation.decode_request(DIALECT, ask(contents=contents))
    expected = [*([Text(text=text)] if text else []), Text(text="ok")]
    assert [without_source(part) for part in request.turns[1].parts] == expected
    for dialect in ("openai-chat", "openai-responses", "anthropic-messages"):
        losses, refusals = compatibility.check_request(request, dialect)
        is_empty = work == {"audioTranscription": {}}
        assert [loss.field for loss in losses] == ([] if is_empty else [f"contents.parts.{next(iter(work))}"])  # fmt: skip
        assert refusals == []


@pytest.mark.parametrize("family", ["image", "audio", "video"])
@pytest.mark.parametrize("name", ["openai-chat", "openai-responses", "anthropic-messages"])
def test_media_that_the_model_made_are_left_out_of_its_turns_and_named(
    name: str, family: str
) -> None:
    media = {"inlineData": {"mimeType": f"{family}/x", "data": "aa"}}
    contents = [*HI, {"role": "model", "parts": [media, {"text": "ok"}]}, *HI]
    request = translation.decode_request(DIALECT, ask(contents=contents))
    assert compatibility.check_request(request, name) == ([], [])
    encoded = translation.get_translation(DIALECTS[name]).encode_request(request, target())
    assert [loss.field for loss in encoded.losses] == [f"contents.{family}"]


def test_the_work_of_tools_inside_a_thought_stays_reasoning() -> None:
    """The decoder does not turn it into words of the answer."""
    assert parts({"thought": True, "executableCode": {"code": "1"}}, {"text": "a"}) == [
        Thought(),
        Text(text="a"),
    ]


def test_a_signature_on_the_work_of_a_tool_becomes_a_thought_after_it() -> None:
    work = {"executableCode": {"code": "1"}, "thoughtSignature": "AAAA"}
    assert parts(work) == [Text(text="\n```\n1\n```\n"), Thought(state="AAAA")]


def test_neighbouring_thoughts_become_one() -> None:
    thought = {"text": "a", "thought": True}
    assert parts(thought, {"text": "b", "thought": True, "thoughtSignature": "c2lnbg=="}, thought) == [
        Thought(text="ab", state="c2lnbg=="),
        Thought(text="a"),
    ]  # fmt: skip
    assert parts(thought, {"text": "w", "thoughtSignature": "AAAA"}) == [
        Thought(text="a"),
        Text(text="w"),
        Thought(state="AAAA"),
    ]
    assert parts({"thought": True, **call()})[0].name == "f"


def test_a_history_kept_chunk_by_chunk_becomes_one_turn() -> None:
    """Chats of google-genai keep each chunk as a content of its own."""
    slot = {"thought": True, "thoughtSignature": encode_state(MAKER, "s")}
    rows = [{"text": "a", "thought": True}, {"text": "b", "thought": True}, slot, call(id="1")]
    history = [*HI, *HI, *[{"role": "model", "parts": [row]} for row in rows]]
    turns = decoded(contents=history).turns
    assert [turn.role for turn in turns] == ["user", "user", "assistant"]
    assert without_source(turns[2].parts[0]) == Thought(text="ab", state="s", maker=MAKER)
    assert turns[2].source == history[2:]


@pytest.mark.parametrize(
    "change", [str, lambda signature: signature.replace("-", "+").replace("_", "/")]
)
def test_a_labelled_signature_names_its_maker(change: Any) -> None:
    """The label works in either base64 alphabet: SDKs decode the slot and encode it again."""
    assert {"-", "_"} < set(encode_state(MAKER, STATE))
    signature = change(encode_state(MAKER, STATE))
    slot = {"thoughtSignature": signature}
    assert parts({"text": "a", "thought": True}, {"thought": True, **slot}) == [
        Thought(text="a", state=STATE, maker=MAKER)
    ]
    assert parts({**call(id="1"), **slot}) == [
        ToolUse(id="1", name="f", arguments='{"a":1}', state=STATE, maker=MAKER)
    ]
    hidden = {"thoughtSignature": encode_state(MAKER, "s", redacted=True)}
    assert parts({"thought": True, **hidden}) == [Thought(state="s", redacted=True, maker=MAKER)]


def test_a_labelled_signature_is_valid_base64() -> None:
    raw = base64.urlsafe_b64decode(encode_state(MAKER, "s"))
    assert raw.decode() == reasoning_state.write_label(MAKER, "s")


@pytest.mark.parametrize(
    "signature", [SKIP_SIGNATURE, base64.b64encode(SKIP_SIGNATURE.encode()).decode(), "", 7]
)
def test_the_placeholder_signature_is_no_state(signature: Any) -> None:
    assert parts({**call(), "thoughtSignature": signature})[0].state is None


@pytest.mark.parametrize("signature", ["AAA", "AAAA", "tg1.", "====", "é"])
def test_googles_own_signature_stays_unchanged(signature: str) -> None:
    use = parts({**call(), "thought_signature": signature})[0]
    assert (use.state, use.maker) == (signature, None)


def test_calls_without_ids_get_ids_that_their_results_share() -> None:
    """Results find their call by name and order, or by an id if they have one."""
    turns = decoded(
        contents=[
            *HI,
            {"role": "model", "parts": [call("f"), call("g"), call("f"), call("h", id="own")]},
            {"role": "user", "parts": [result("g"), result("f"), result("x"), result("h", id="own")]},
            {"role": "function", "parts": [result("f")]},
        ]
    ).turns  # fmt: skip
    assert [part.id for part in turns[1].parts] == ["call_1", "call_2", "call_3", "own"]  # type: ignore[union-attr]  # all are calls
    assert [part.id for part in turns[2].parts] == ["call_2", "call_1", "call_3", "own"]  # type: ignore[union-attr]  # all are results
    assert (turns[3].role, turns[3].parts[0].id) == ("user", "call_5")  # type: ignore[union-attr]  # a result


@pytest.mark.parametrize(
    ("response", "text", "error"),
    [
        ({"output": "x"}, "x", False), ({"result": {"a": 1}}, '{"a":1}', False), ({"error": "no"}, "no", True), ({"a": 1}, '{"a":1}', False),
        ({"output": "x", "y": 1}, '{"output":"x","y":1}', False), ({"error": "x", "y": 1}, '{"error":"x","y":1}', False),
    ],
)  # fmt: skip
def test_the_decoder_reads_the_output_of_a_function(response: Any, text: str, error: bool) -> None:
    assert parts(result(response=response, id="1"), role="user") == [
        ToolResult(id="1", name="f", parts=(Text(text=text),), error=error)
    ]


def test_a_function_result_may_hold_media() -> None:
    png = {"inlineData": {"mimeType": "image/png", "data": "aa"}}
    result_part = parts({"functionResponse": {"id": "1", "parts": [png, {}]}}, role="user")[0]
    assert [without_source(part) for part in result_part.parts] == [
        Text(text=""),
        Media(kind="image", type="image/png", data="aa"),
    ]
