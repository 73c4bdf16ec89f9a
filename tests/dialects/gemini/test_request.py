"""What routing is told of a request, however the client spells it."""

from typing import Any

import pytest

from gateway.core.errors import ProblemError
from gateway.dialects.gemini import DIALECT
from tests.dialects.gemini.cases import GENERATE, HI, ask, config, raw, read

PNG = {"inlineData": {"mimeType": "image/png", "data": "aa"}}
CALL = {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {"a": 1}}}]}
RESULT = {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"x": 1}}}]}


@pytest.mark.parametrize(
    ("path", "model", "streams"),
    [
        ("models/gemini-4-argon:generateContent", "gemini-4-argon", False),
        ("models/gemini-4-argon:streamGenerateContent", "gemini-4-argon", True),
        ("models/openai/auto:generateContent", "openai/auto", False),
        ("openai/auto:generateContent", "openai/auto", False),
        ("models/qwen3:8b:generateContent", "qwen3:8b", False),
        ("publishers/google/models/gemini-x:generateContent", "gemini-x", False),
        ("tunedModels/mine:generateContent", "tunedModels/mine", False),
    ],
)
def test_the_path_names_the_model_and_the_method(path: str, model: str, streams: bool) -> None:
    prompt = ask(path).prompt
    assert (prompt.model, prompt.stream) == (model, streams)


def test_a_body_without_a_path_names_them_itself() -> None:
    prompt = ask("", model="models/x", stream=True).prompt
    assert (prompt.model, prompt.stream) == ("x", True)
    assert prompt.members == {"contents"}


@pytest.mark.parametrize(
    ("body", "path", "kind"),
    [
        (raw(), "models/m:embedContent", "not_found"),
        (raw(), ":generateContent", "invalid_request"),
        (raw(), "", "invalid_request"),
        (raw(contents=None), GENERATE, "invalid_request"),
        (raw(contents="hi"), GENERATE, "invalid_request"),
        (raw(contents=["hi"]), GENERATE, "invalid_request"),
        (raw(generationConfig=[]), GENERATE, "invalid_request"),
        (b"[]", GENERATE, "invalid_request"),
        (b"{", GENERATE, "invalid_json"),
    ],
)
def test_what_is_no_request_is_refused(body: bytes, path: str, kind: str) -> None:
    with pytest.raises(ProblemError) as caught:
        read(body, path)
    assert caught.value.problem.kind == kind


def test_turns_text_and_media_are_counted() -> None:
    contents = [
        {"role": "user", "parts": [{"text": "one"}, PNG, {"fileData": {"mimeType": "audio/wav", "fileUri": "u"}}]},
        {"role": "model", "parts": [{"text": "two"}]},
        {"parts": [{"text": "last"}, {"text": "words"}, {"file_data": {"file_uri": "u"}}]},
    ]  # fmt: skip
    prompt = ask(contents=contents, systemInstruction={"parts": {"text": "be kind"}}).prompt
    assert (prompt.user, prompt.user_turns, prompt.chars) == ("last\nwords", 2, 22)
    assert (prompt.images, prompt.audio, prompt.files, prompt.tool_loop) == (1, 1, 1, False)
    assert ask(system_instruction="abc").prompt.chars == 5
    assert ask(systemInstruction=7).prompt.chars == 2
    assert ask(contents=HI[0]).prompt.user == "hi"


def test_a_functions_response_is_the_middle_of_a_turn() -> None:
    prompt = ask(contents=[*HI, CALL, RESULT]).prompt
    assert (prompt.tool_loop, prompt.user, prompt.user_turns) == (True, "hi", 1)
    assert prompt.chars == len('hi{"a":1}{"x":1}')
    media: Any = {"functionResponse": {"name": "f", "parts": [PNG]}}
    assert ask(contents=[{"role": "user", "parts": [media]}]).prompt.images == 1


@pytest.mark.parametrize("declarations", ["functionDeclarations", "function_declarations"])
def test_tools_are_known_by_name(declarations: str) -> None:
    tools = [{declarations: [{"name": "f"}, {"name": 7}]}]
    prompt = ask(tools=tools).prompt
    assert (prompt.tools, prompt.hosted_tools, prompt.forced_tool) == (("f", ""), False, False)
    assert ask(tools=tools[0]).prompt.tools == ("f", "")
    assert prompt.chars > 20


def test_a_hosted_tool_and_a_forced_one_are_seen() -> None:
    prompt = ask(
        tools=[{"googleSearch": {}}],
        tool_config={"function_calling_config": {"mode": "any"}},
    ).prompt
    assert (prompt.hosted_tools, prompt.forced_tool, prompt.tools) == (True, True, ())


def test_the_rest_of_what_is_set() -> None:
    prompt = config(
        maxOutputTokens=9, candidateCount=2, responseLogprobs=True, temperature=0.5,
        responseJsonSchema={"type": "object"}, thinkingConfig={"thinkingLevel": "HIGH"},
    ).prompt  # fmt: skip
    assert (prompt.max_output, prompt.choices, prompt.logprobs) == (9, 2, True)
    assert (prompt.sampled, prompt.json_schema, prompt.effort) == (True, True, "high")
    assert "generationConfig.maxOutputTokens" in prompt.members
    snaked = ask(
        generation_config={"max_output_tokens": "9", "response_schema": {"type": "OBJECT"}}
    )
    assert (snaked.prompt.max_output, snaked.prompt.json_schema) == (9, True)
    assert {"generationConfig", "generationConfig.responseSchema"} <= snaked.prompt.members
    assert ask(store=True).prompt.stored
    assert ask(cachedContent="c").prompt.stored
    assert not ask().prompt.stored


@pytest.mark.parametrize(
    ("more", "field", "other"),
    [
        ({"systemInstruction": None, "system_instruction": "x"}, "systemInstruction", "system_instruction"),
        ({"generation_config": {}, "generationConfig": {}}, "generationConfig", "generation_config"),
        ({"generationConfig": {"topP": 1, "top_p": 0}}, "generationConfig.topP", "top_p"),
    ],
)  # fmt: skip
def test_a_member_in_both_its_spellings_is_refused(
    more: dict[str, Any], field: str, other: str
) -> None:
    """What is read for routing must not be another than what the provider reads."""
    with pytest.raises(ProblemError) as caught:
        ask(**more)
    assert caught.value.problem.param == field
    assert caught.value.problem.message == f'"{field}" came twice, also as "{other}": send one.'


def test_members_that_nobody_knows_may_look_alike() -> None:
    more = {"x_own": 1, "xOwn": 2, "generationConfig": {"a": 1, "a_": 2, "topK": 1}}
    body = ask(**more)
    assert {"xOwn", "generationConfig.a", "generationConfig.topK"} <= body.prompt.members


@pytest.mark.parametrize("path", ["models/:generateContent", ":generateContent"])
def test_a_path_that_names_no_model(path: str) -> None:
    with pytest.raises(ProblemError, match=r"A model must be named in the path") as caught:
        ask(path)
    assert caught.value.problem.param == "model"


@pytest.mark.parametrize(
    ("thinking", "effort"),
    [
        ({"thinkingLevel": "MINIMAL"}, "minimal"), ({"thinking_level": "low"}, "low"), ({"thinkingLevel": "THINKING_LEVEL_UNSPECIFIED"}, None),
        ({"thinkingBudget": 0}, "none"), ({"thinkingBudget": 1}, "low"), ({"thinkingBudget": 2000}, "medium"), ({"thinkingBudget": 8000}, "high"),
        ({"thinkingBudget": 24000}, "xhigh"), ({"thinkingBudget": -1}, None), ({"thinkingBudget": True}, None), ({"includeThoughts": True}, None), ([], None),
    ],
)  # fmt: skip
def test_effort_is_read_of_a_level_or_a_budget(thinking: Any, effort: str | None) -> None:
    assert config(thinkingConfig=thinking).prompt.effort == effort


def test_usage_is_always_told() -> None:
    assert DIALECT.asks_usage(ask())
    assert DIALECT.explain_unfit(ask().prompt, None) == ""  # type: ignore[arg-type]  # never looked at
