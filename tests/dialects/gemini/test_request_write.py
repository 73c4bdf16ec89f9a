"""What a target gets: the client's bytes, changed only where the model or the host wants it."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
    read,
    sent,
    target,
)

RAW = b'{ "contents":[{"parts":[{"text":"hi"}]}] , "x": 1.50, "generationConfig":{"topK" : 4.0}}'


def test_nothing_to_change_is_the_same_bytes() -> None:
    """Law 1."""
    assert DIALECT.write(read(RAW, GENERATE), target()).body is RAW


@given(st.dictionaries(st.text(min_size=1), st.integers() | st.text() | st.lists(st.booleans())))
def test_members_of_any_name_survive(more: dict[str, Any]) -> None:
    """Law 1, for what this gateway does not know."""
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
def test_the_model_goes_into_the_path(path: str, model: str, tail: str) -> None:
    assert DIALECT.write(ask(path), target(model)).url_suffix == tail


def test_a_body_that_names_model_and_stream_loses_both() -> None:
    """Google's body has neither: one that was translated has them in place of a path."""
    written = DIALECT.write(ask("", model="m", stream=True, x=1), target("m"))
    assert sent(written) == {"contents": HI, "x": 1}
    assert written.url_suffix == "/models/m:streamGenerateContent?alt=sse"
    assert written.losses == ()


def written_config(
    facts: ModelFacts, effort: str | None, **members: Any
) -> tuple[Object, list[str]]:
    body = config(**members) if members else ask()
    written = DIALECT.write(body, target(facts=facts, effort=effort))
    return sent(written).get("generationConfig", {}), [f"{it.action} {it.field}" for it in written.losses]  # fmt: skip


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
def test_effort_is_said_as_the_model_takes_it(
    facts: ModelFacts, effort: str | None, thinking: Any, expected: Any, losses: list[str]
) -> None:
    members = {} if thinking is None else {"thinkingConfig": thinking}
    found, lost = written_config(facts, effort, **members)
    assert (found.get("thinkingConfig"), lost) == (expected, losses)


def test_a_cap_is_clamped_to_the_models_and_filled_where_it_is_missing() -> None:
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
    there = DIALECT.write(config(maxOutputTokens=None), target(max_output=50))
    assert sent(there)["generationConfig"] == {"maxOutputTokens": None}


def test_the_clients_own_spelling_stands() -> None:
    body = ask(generation_config={"max_output_tokens": 200, "thinking_config": {}})
    written = DIALECT.write(body, target(facts=ModelFacts(max_output=1, effort_style="gemini-level"), effort="low"))  # fmt: skip
    assert sent(written)["generation_config"] == {
        "max_output_tokens": 1,
        "thinking_config": {"thinkingLevel": "LOW"},
    }
    assert [it.field for it in written.losses] == ["generation_config.max_output_tokens"]


@pytest.mark.parametrize(
    ("sampling", "effort", "kept"),
    [("always", "high", True), ("never", None, False), ("effort-none", "high", False), ("effort-none", "none", True)],
)  # fmt: skip
def test_sampling_is_dropped_where_the_model_refuses_it(
    sampling: Any, effort: str | None, kept: bool
) -> None:
    facts = ModelFacts(sampling=sampling, effort_style="gemini-budget", efforts=("none", "high"))
    found, lost = written_config(facts, effort, temperature=1, seed=3)
    assert ("temperature" in found, "seed" in found) == (kept, True)
    assert lost == ([] if kept else ["dropped generationConfig.temperature"])


def test_what_a_host_refuses_is_dropped_and_named() -> None:
    refuses = frozenset({"safetySettings", "generationConfig.seed", "generationConfig.temperature", "labels"})  # fmt: skip
    body = ask(safety_settings=[], generationConfig={"seed": 1})
    written = DIALECT.write(body, target(refuses=refuses))
    assert sent(written) == {"contents": HI}
    assert [it.field for it in written.losses] == ["generationConfig.seed", "safety_settings"]


def test_what_was_dropped_once_is_not_dropped_again() -> None:
    facts = ModelFacts(
        sampling="never", refused_members=frozenset({"generationConfig.temperature"})
    )
    written = DIALECT.write(config(temperature=1, topP=1), target(facts=facts))
    assert len(written.losses) == 2
    assert sent(written) == {"contents": HI}


def test_a_refused_member_that_is_gone_is_no_loss() -> None:
    body = ask("", model="m", stream=True)
    assert DIALECT.write(body, target(refuses=frozenset({"model"}))).losses == ()
