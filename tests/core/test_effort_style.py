"""Model facts that depend on the dialect through which the model is reached."""

import pytest

from gateway.core.target import UNKNOWN_FACTS, ModelFacts


@pytest.mark.parametrize(
    ("facts", "chat", "messages"),
    [
        (UNKNOWN_FACTS, None, None),
        (ModelFacts(effort_style="one"), "one", "one"),
        (ModelFacts(effort_styles={"openai-chat": "a", "anthropic-messages": "b"}), "a", "b"),
        (ModelFacts(effort_styles={"openai-chat": "a"}), "a", None),
        (ModelFacts(effort_style="one", effort_styles={"openai-chat": "a"}), "a", "one"),
    ],
)
def test_a_dialects_own_effort_style_goes_before_the_models_general_one(
    facts: ModelFacts, chat: str | None, messages: str | None
) -> None:
    assert (
        facts.find_effort_style("openai-chat"),
        facts.find_effort_style("anthropic-messages"),
    ) == (chat, messages)
