"""Mistakes in `routing.judge` of a decision model, and a warning where a new maker gets texts."""

from pathlib import Path

import pytest

from tests.settings import world

PROVIDERS = """\
  decider:
    base_url: https://decider.example/v1
    endpoints: {systemone: ""}
    accounts: {main: sk-decider-0123456789}
  other:
    base_url: https://other.example/v1
    endpoints: {openai-decisions: ""}
    accounts: {main: "${OTHER_KEY:-}"}
"""
ENDPOINTS = world.BASE.replace("labs:\n", f"{PROVIDERS}labs:\n", 1)
"""The base with two providers of decision models; only `decider` is on."""


def judge(text: str, base: str = ENDPOINTS) -> str:
    return f"{base}routing: {{judge: {{kind: decision, {text}}}}}\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("model: decider/d-1", ""),
        ("model: fast", "model: 'fast' is no decision model. Name one, as decider/MODEL."),
        ("model: acme/auto", "model: 'acme/auto' is no decision model."),
        ("model: acme/d-1", "model: the provider 'acme' has none of openai-decisions, systemone. These have one: decider, other."),
        ("model: decider/d-1, timeout: 0s", "timeout: must be above 0."),
        ("model: decider/d-1, ask: never", "ask: 'never' is not allowed. Known: always, unsure."),
        ("model: decider/d-1, unsure_below: 0", "unsure_below: must be above 0."),
        ("model: decider/d-1, calibration: {fast: [-1, 0]}", "calibration.fast"),
        ("model: decider/d-1, calibration: {fast: [1]}", "calibration.fast"),
    ],
)  # fmt: skip
def test_a_decision_model_is_named_at_a_provider_that_has_one(
    tmp_path: Path, text: str, expected: str
) -> None:
    mistakes = world.mistakes(tmp_path, judge(text))
    assert [expected in mistake for mistake in mistakes] == [True] * bool(expected), mistakes


def test_a_decision_model_needs_a_provider_with_an_endpoint_for_it(tmp_path: Path) -> None:
    (mistake,) = world.mistakes(tmp_path, judge("model: acme/d-1", world.BASE))
    assert "routing.judge.kind: no provider has openai-decisions or systemone" in mistake


def test_a_chat_model_has_no_probabilities_to_calibrate(tmp_path: Path) -> None:
    text = f"{world.BASE}routing: {{judge: {{calibration: {{fast: [1, 0]}}}}}}\n"
    (mistake,) = world.mistakes(tmp_path, text)
    assert "calibration: calibrates probabilities, and a chat model gives none." in mistake


def test_a_name_that_several_providers_may_have_is_a_mistake(tmp_path: Path) -> None:
    """Only those that are on count, as a name at the only provider is clear."""
    assert world.mistakes(tmp_path, judge("model: d-1")) == []
    environ = {**world.ON, "OTHER_KEY": "sk-other-0123456789"}
    (mistake,) = world.mistakes(tmp_path, judge("model: d-1"), environ)
    assert "routing.judge.model: Several providers may serve the model" in mistake


@pytest.mark.parametrize(
    ("text", "provider"),
    [("model: decider/d-1", "decider"), ("model: other/d-1", "other"), ("model: d-1", None)],
)
def test_a_maker_that_no_lab_uses_is_a_warning(
    tmp_path: Path, text: str, provider: str | None
) -> None:
    found = [row for row in world.warnings(tmp_path, judge(text)) if "sends texts" in row]
    assert [f"to {provider}, which no lab uses" in row for row in found] == [True] * (
        provider is not None
    )


def test_a_decision_model_of_a_lab_is_no_warning(tmp_path: Path) -> None:
    base = world.BASE.replace("accounts:", 'endpoints: {openai-decisions: ""}\n    accounts:', 1)
    for model in ("acme/d-1", "d-1", "small"):
        assert world.warnings(tmp_path, judge(f"model: {model}", base)) == []


def test_an_alias_may_stand_for_the_model(tmp_path: Path) -> None:
    base = world.BASE.replace("accounts:", 'endpoints: {openai-decisions: ""}\n    accounts:', 1)
    assert world.mistakes(tmp_path, judge("model: j", base) + "aliases: {j: small}\n") == []
    (mistake,) = world.mistakes(tmp_path, judge("model: j", base) + "aliases: {j: fast}\n")
    assert "'fast' is no decision model" in mistake
