"""Native requests: the facts that routing reads, and the body that a target gets."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import ProblemError
from gateway.core.target import ModelFacts
from gateway.dialects.gemini import DIALECT
from tests.dialects.gemini.cases import (
    BUDGET,
    EITHER,
    GENERATE,
    HI,
    LEVEL,
    STREAM,
    Object,
    ask,
    config,
    raw,
    read,
    sent,
    target,
)

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


def test_a_body_without_a_path_names_the_model_and_the_stream() -> None:
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
def test_an_invalid_request_is_refused(body: bytes, path: str, kind: str) -> None:
    with pytest.raises(ProblemError) as caught:
        read(body, path)
    assert caught.value.problem.kind == kind


def test_the_gateway_counts_turns_text_and_media() -> None:
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


def test_a_function_response_marks_a_tool_loop() -> None:
    prompt = ask(contents=[*HI, CALL, RESULT]).prompt
    assert (prompt.tool_loop, prompt.user, prompt.user_turns) == (True, "hi", 1)
    assert prompt.chars == len('hi{"a":1}{"x":1}')
    media: Any = {"functionResponse": {"name": "f", "parts": [PNG]}}
    assert ask(contents=[{"role": "user", "parts": [media]}]).prompt.images == 1


@pytest.mark.parametrize("declarations", ["functionDeclarations", "function_declarations"])
def test_the_gateway_reads_the_names_of_tools(declarations: str) -> None:
    tools = [{declarations: [{"name": "f"}, {"name": 7}]}]
    prompt = ask(tools=tools).prompt
    assert (prompt.tools, prompt.hosted_tools, prompt.forced_tool) == (("f", ""), False, False)
    assert ask(tools=tools[0]).prompt.tools == ("f", "")
    assert prompt.chars > 20


def test_the_gateway_reads_hosted_and_forced_tools() -> None:
    prompt = ask(
        tools=[{"googleSearch": {}}],
        tool_config={"function_calling_config": {"mode": "any"}},
    ).prompt
    assert (prompt.hosted_tools, prompt.forced_tool, prompt.tools) == (True, True, ())


def test_the_gateway_reads_all_other_settings() -> None:
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
def test_a_member_in_two_spellings_is_refused(more: dict[str, Any], field: str, other: str) -> None:
    """Routing must not read another value than the provider reads."""
    with pytest.raises(ProblemError) as caught:
        ask(**more)
    assert caught.value.problem.param == field
    assert (
        caught.value.problem.message
        == f'The request has "{field}" twice, also as "{other}". Send one.'
    )


def test_unknown_members_may_have_two_spellings() -> None:
    more = {"x_own": 1, "xOwn": 2, "generationConfig": {"a": 1, "a_": 2, "topK": 1}}
    body = ask(**more)
    assert {"xOwn", "generationConfig.a", "generationConfig.topK"} <= body.prompt.members


@pytest.mark.parametrize("path", ["models/:generateContent", ":generateContent"])
def test_a_path_without_a_model_is_refused(path: str) -> None:
    with pytest.raises(ProblemError, match=r"The path must name a model") as caught:
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
def test_effort_is_read_from_a_level_or_a_budget(thinking: Any, effort: str | None) -> None:
    assert config(thinkingConfig=thinking).prompt.effort == effort


def test_every_answer_reports_usage() -> None:
    assert DIALECT.asks_usage(ask())
    assert DIALECT.explain_unfit(ask().prompt, None) == ""  # type: ignore[arg-type]  # not read


RAW = b'{ "contents":[{"parts":[{"text":"hi"}]}] , "x": 1.50, "generationConfig":{"topK" : 4.0}}'


def test_a_request_without_changes_keeps_the_clients_bytes() -> None:
    """Law 1 holds."""
    assert DIALECT.write(read(RAW, GENERATE), target()).body is RAW


@given(st.dictionaries(st.text(min_size=1), st.integers() | st.text() | st.lists(st.booleans())))
def test_a_request_with_unknown_members_keeps_the_clients_bytes(more: dict[str, Any]) -> None:
    """Law 1 holds for members that the gateway does not know."""
    more.pop("generationConfig", None)
    more.pop("generation_config", None)
    value = {**more, "contents": HI}
    for name in ("model", "stream"):
        value.pop(name, None)
    body = json.dumps(value).encode()
    assert DIALECT.write(read(body, GENERATE), target()).body is body


@pytest.mark.parametrize(
    ("path", "model", "tail"),
    [
        (GENERATE, "g-1", "/models/g-1:generateContent"),
        (STREAM, "g-1", "/models/g-1:streamGenerateContent?alt=sse"),
        (GENERATE, "tunedModels/mine", "/tunedModels/mine:generateContent"),
        (GENERATE, "models/g-1", "/models/g-1:generateContent"),
        (GENERATE, "a b?c", "/models/a%20b%3Fc:generateContent"),
    ],
)
def test_the_targets_model_goes_into_the_path(path: str, model: str, tail: str) -> None:
    assert DIALECT.write(ask(path), target(model)).url_suffix == tail


def test_model_and_stream_are_removed_from_the_body() -> None:
    """Google's body has neither. A translated body has them in place of a path."""
    written = DIALECT.write(ask("", model="m", stream=True, x=1), target("m"))
    assert sent(written) == {"contents": HI, "x": 1}
    assert written.url_suffix == "/models/m:streamGenerateContent?alt=sse"
    assert written.losses == ()


def written_config(
    facts: ModelFacts, effort: str | None, **members: Any
) -> tuple[Object, list[str]]:
    body = config(**members) if members else ask()
    written = DIALECT.write(body, target(facts=facts, effort=effort))
    return sent(written).get("generationConfig", {}), [f"{loss.action} {loss.field}" for loss in written.losses]  # fmt: skip


THINK = "generationConfig.thinkingConfig"


@pytest.mark.parametrize(
    ("facts", "effort", "thinking", "expected", "losses"),
    [
        (LEVEL, "low", None, {"thinkingLevel": "LOW"}, []),
        (LEVEL, "none", None, {"thinkingLevel": "LOW"}, []),
        (LEVEL, "max", None, {"thinkingLevel": "HIGH"}, []),
        (EITHER, "minimal", None, {"thinkingLevel": "MINIMAL"}, []),
        (BUDGET, "none", None, {"thinkingBudget": 0}, []),
        (BUDGET, "low", None, {"thinkingBudget": 1024}, []),
        (BUDGET, "medium", None, {"thinkingBudget": 8192}, []),
        (BUDGET, "high", {"includeThoughts": True}, {"includeThoughts": True, "thinkingBudget": 24576}, []),
        (ModelFacts(), "low", None, None, []),
        (LEVEL, None, None, None, []),
        (LEVEL, "low", {"includeThoughts": True}, {"includeThoughts": True, "thinkingLevel": "LOW"}, []),
        (LEVEL, "low", [1], [1], []),
        (LEVEL, "low", {"thinkingLevel": "HIGH"}, {"thinkingLevel": "HIGH"}, []),
        (LEVEL, "low", {"thinkingLevel": "high"}, {"thinkingLevel": "high"}, []),
        (LEVEL, "low", {"thinkingLevel": "XHIGH"}, {"thinkingLevel": "HIGH"}, [f"clamped {THINK}.thinkingLevel"]),
        (LEVEL, "low", {"thinkingLevel": "NEW"}, {"thinkingLevel": "NEW"}, []),
        (LEVEL, "low", {"thinking_budget": 9000, "includeThoughts": True}, {"includeThoughts": True, "thinkingLevel": "HIGH"}, [f"approximated {THINK}.thinking_budget"]),
        (LEVEL, "low", {"thinkingBudget": 0}, {"thinkingLevel": "LOW"}, [f"clamped {THINK}.thinkingBudget"]),
        (LEVEL, "low", {"thinkingBudget": -1, "includeThoughts": True}, {"includeThoughts": True}, []),
        (LEVEL, "low", {"thinkingBudget": -1}, None, []),
        (EITHER, "low", {"thinkingBudget": 9000}, {"thinkingBudget": 9000}, []),
        (EITHER, "low", {"thinkingBudget": 0}, {"thinkingBudget": 1024}, [f"clamped {THINK}.thinkingBudget"]),
        (BUDGET, "low", {"thinkingBudget": 0}, {"thinkingBudget": 0}, []),
        (BUDGET, "low", {"thinkingBudget": 32000}, {"thinkingBudget": 32000}, []),
        (BUDGET, "low", {"thinkingBudget": -1}, {"thinkingBudget": -1}, []),
        (BUDGET, "low", {"thinkingLevel": "MEDIUM"}, {"thinkingBudget": 8192}, [f"approximated {THINK}.thinkingLevel"]),
        (BUDGET, "low", {"thinkingLevel": "none"}, {"thinkingBudget": 0}, []),
        (ModelFacts(context=9), "low", {"thinkingLevel": "LOW"}, None, [f"dropped {THINK}"]),
        (ModelFacts(context=9), "low", {"thinkingBudget": 0}, None, []),
        (ModelFacts(), "low", {"thinkingLevel": "LOW"}, {"thinkingLevel": "LOW"}, []),
        (ModelFacts(effort_style="reasoning_effort"), "low", {"thinkingLevel": "LOW"}, {"thinkingLevel": "LOW"}, []),
        (ModelFacts(effort_style="gemini-budget"), "minimal", {}, {"thinkingBudget": 1024}, []),
    ],
)  # fmt: skip
def test_effort_is_written_as_the_model_takes_it(
    facts: ModelFacts, effort: str | None, thinking: Any, expected: Any, losses: list[str]
) -> None:
    members = {} if thinking is None else {"thinkingConfig": thinking}
    generation_config, lost = written_config(facts, effort, **members)
    assert (generation_config.get("thinkingConfig"), lost) == (expected, losses)


def test_the_output_cap_is_clamped_to_the_models_and_filled_if_missing() -> None:
    facts = ModelFacts(max_output=100)
    assert written_config(facts, None, maxOutputTokens=200, topK=1) == (
        {"maxOutputTokens": 100, "topK": 1},
        ["clamped generationConfig.maxOutputTokens"],
    )
    assert written_config(facts, None, maxOutputTokens=99) == ({"maxOutputTokens": 99}, [])
    filled = DIALECT.write(ask(), target(facts=LEVEL, max_output=50, effort="low"))
    assert sent(filled)["generationConfig"] == {
        "maxOutputTokens": 50,
        "thinkingConfig": {"thinkingLevel": "LOW"},
    }
    explicit = DIALECT.write(config(maxOutputTokens=None), target(max_output=50))
    assert sent(explicit)["generationConfig"] == {"maxOutputTokens": None}


def test_the_clients_spelling_stays() -> None:
    body = ask(generation_config={"max_output_tokens": 200, "thinking_config": {}})
    written = DIALECT.write(body, target(facts=ModelFacts(max_output=1, effort_style="gemini-level"), effort="low"))  # fmt: skip
    assert sent(written)["generation_config"] == {
        "max_output_tokens": 1,
        "thinking_config": {"thinkingLevel": "LOW"},
    }
    assert [loss.field for loss in written.losses] == ["generation_config.max_output_tokens"]


@pytest.mark.parametrize(
    ("sampling", "effort", "is_sent"),
    [("always", "high", True), ("never", None, False), ("effort-none", "high", False), ("effort-none", "none", True)],
)  # fmt: skip
def test_sampling_is_dropped_if_the_model_refuses_it(
    sampling: Any, effort: str | None, is_sent: bool
) -> None:
    facts = ModelFacts(sampling=sampling, effort_style="gemini-budget", efforts=("none", "high"))
    generation_config, lost = written_config(facts, effort, temperature=1, seed=3)
    assert ("temperature" in generation_config, "seed" in generation_config) == (is_sent, True)
    assert lost == ([] if is_sent else ["dropped generationConfig.temperature"])


def test_members_that_the_host_refuses_are_dropped_and_named() -> None:
    refuses = frozenset({"safetySettings", "generationConfig.seed", "generationConfig.temperature", "labels"})  # fmt: skip
    body = ask(safety_settings=[], generationConfig={"seed": 1})
    written = DIALECT.write(body, target(refuses=refuses))
    assert sent(written) == {"contents": HI}
    assert [loss.field for loss in written.losses] == ["generationConfig.seed", "safety_settings"]


def test_a_dropped_member_is_named_once() -> None:
    facts = ModelFacts(
        sampling="never", refused_members=frozenset({"generationConfig.temperature"})
    )
    written = DIALECT.write(config(temperature=1, topP=1), target(facts=facts))
    assert len(written.losses) == 2
    assert sent(written) == {"contents": HI}


def test_a_refused_member_that_is_not_sent_is_no_loss() -> None:
    body = ask("", model="m", stream=True)
    assert DIALECT.write(body, target(refuses=frozenset({"model"}))).losses == ()
