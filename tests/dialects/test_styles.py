"""A model with two endpoints gets its effort in the style of the endpoint that serves the call."""

from collections.abc import Mapping

import pytest

from gateway.core import jsonio
from gateway.core.target import ModelFacts, Provider, Target
from gateway.dialects import DIALECTS, anthropic_messages, openai_chat

BOTH = {"openai-chat": "thinking+reasoning_effort", "anthropic-messages": "anthropic-budget+effort"}
ACCEPTS = ("none", "low", "high")


def target(effort: str | None, **facts: object) -> Target:
    known = ModelFacts(efforts=ACCEPTS, **facts)  # type: ignore[arg-type]  # members by name
    return Target(provider=Provider(name="p", urls={}), model="m", effort=effort, facts=known)


def sent(there: Target, dialect: str, more: Mapping[str, object]) -> tuple[object, list[str]]:
    """Return the members that carry effort, and the losses."""
    made = {"openai-chat": openai_chat, "anthropic-messages": anthropic_messages}[dialect].DIALECT
    body = {
        "model": "m",
        "max_tokens": 5000,
        "messages": [{"role": "user", "content": "a"}],
        **more,
    }
    written = made.write(made.read(jsonio.dumps(body)), there)
    value = jsonio.loads(written.body)
    assert isinstance(value, dict)
    names = ("thinking", "reasoning_effort", "output_config")
    said = {name: value[name] for name in names if name in value}
    return said, [loss.field for loss in written.losses]


def test_a_tier_s_effort_is_said_in_the_dialect_s_own_style() -> None:
    there = target("low", effort_styles=BOTH)
    assert sent(there, "openai-chat", {}) == (
        {"thinking": {"type": "enabled"}, "reasoning_effort": "low"},
        [],
    )
    assert sent(there, "anthropic-messages", {}) == (
        {
            "thinking": {"type": "enabled", "budget_tokens": 2048},
            "output_config": {"effort": "low"},
        },
        [],
    )


@pytest.mark.parametrize(
    ("dialect", "other", "member"),
    [
        ("openai-chat", "anthropic-messages", {"reasoning_effort": "high"}),
        ("anthropic-messages", "openai-chat", {"output_config": {"effort": "high"}}),
    ],
)
def test_a_dialect_without_a_style_has_no_control_and_names_what_is_lost(
    dialect: str, other: str, member: dict[str, object]
) -> None:
    there = target("low", effort_styles={other: BOTH[other]})
    assert sent(there, dialect, {}) == ({}, [])
    said, lost = sent(there, dialect, member)
    assert "high" not in str(said)
    assert lost in (["reasoning_effort"], ["output_config.effort"])


def test_a_style_of_another_dialect_is_none_of_chat() -> None:
    """The request says no effort, and the client's own wish is named as lost."""
    there = target("low", effort_style="anthropic")
    assert sent(there, "openai-chat", {}) == ({}, [])
    assert sent(there, "openai-chat", {"reasoning_effort": "low"}) == ({}, ["reasoning_effort"])


ASKED: Mapping[str, tuple[dict[str, object], str, str]] = {
    "openai-chat": ({"messages": [], "reasoning_effort": "high"}, "reasoning_effort", '"high"'),
    "openai-responses": ({"input": "a", "reasoning": {"effort": "high"}}, "reasoning.effort", '"high"'),
    "anthropic-messages": (
        {"max_tokens": 5000, "messages": [], "output_config": {"effort": "high"}},
        "output_config.effort",
        '"high"',
    ),
    "gemini": (
        {"contents": [], "generationConfig": {"thinkingConfig": {"thinkingLevel": "HIGH"}}},
        "generationConfig.thinkingConfig",
        '"HIGH"',
    ),
}  # fmt: skip


@pytest.mark.parametrize("dialect", ASKED)
@pytest.mark.parametrize(
    "style", ["reasoning_effort", "thinking", "enable_thinking", "template", "anthropic", "gemini-level", None]
)  # fmt: skip
def test_an_effort_is_said_or_named_whatever_the_style_of_the_model(
    dialect: str, style: str | None
) -> None:
    """The catalogue may have a style of another dialect alone."""
    body, name, word = ASKED[dialect]
    made = DIALECTS[dialect]
    written = made.write(
        made.read(jsonio.dumps({"model": "m", **body})), target("low", effort_style=style)
    )
    lost = [loss.field for loss in written.losses]
    assert (word in written.body.decode()) or lost == [name]
    if style is None:
        assert (word in written.body.decode(), lost) == (False, [name])
