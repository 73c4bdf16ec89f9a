"""A model with two endpoints gets its effort in the style of the endpoint that serves the call."""

from collections.abc import Mapping

import pytest

from gateway.core import jsonio
from gateway.core.target import ModelFacts, Provider, Target
from gateway.dialects import DIALECTS, anthropic_messages, openai_chat

BOTH = {"openai-chat": "thinking+reasoning_effort", "anthropic-messages": "anthropic-budget+effort"}
ACCEPTS = ("none", "low", "high")


def target(effort: str | None, **facts: object) -> Target:
    model_facts = ModelFacts(efforts=ACCEPTS, **facts)  # type: ignore[arg-type]  # members by name
    return Target(provider=Provider(name="p", urls={}), model="m", effort=effort, facts=model_facts)


def write_effort(
    target_: Target, dialect: str, more: Mapping[str, object]
) -> tuple[object, list[str]]:
    """Return the members that carry effort, and the losses."""
    dialect_ = {"openai-chat": openai_chat, "anthropic-messages": anthropic_messages}[
        dialect
    ].DIALECT
    body = {
        "model": "m",
        "max_tokens": 5000,
        "messages": [{"role": "user", "content": "a"}],
        **more,
    }
    written = dialect_.write(dialect_.read(jsonio.dumps(body)), target_)
    value = jsonio.loads(written.body)
    assert isinstance(value, dict)
    names = ("thinking", "reasoning_effort", "output_config")
    members = {name: value[name] for name in names if name in value}
    return members, [loss.field for loss in written.losses]


def test_a_tiers_effort_is_written_in_the_style_of_the_dialect() -> None:
    target_ = target("low", effort_styles=BOTH)
    assert write_effort(target_, "openai-chat", {}) == (
        {"thinking": {"type": "enabled"}, "reasoning_effort": "low"},
        [],
    )
    assert write_effort(target_, "anthropic-messages", {}) == (
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
def test_effort_is_dropped_and_named_if_the_dialect_has_no_style(
    dialect: str, other: str, member: dict[str, object]
) -> None:
    target_ = target("low", effort_styles={other: BOTH[other]})
    assert write_effort(target_, dialect, {}) == ({}, [])
    members, lost = write_effort(target_, dialect, member)
    assert "high" not in str(members)
    assert lost in (["reasoning_effort"], ["output_config.effort"])


def test_chat_ignores_an_effort_style_of_another_dialect() -> None:
    """The request says no effort, and the client's own wish is named as lost."""
    target_ = target("low", effort_style="anthropic")
    assert write_effort(target_, "openai-chat", {}) == ({}, [])
    assert write_effort(target_, "openai-chat", {"reasoning_effort": "low"}) == (
        {},
        ["reasoning_effort"],
    )


REQUESTS: Mapping[str, tuple[dict[str, object], str, str]] = {
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


@pytest.mark.parametrize("dialect", REQUESTS)
@pytest.mark.parametrize(
    "style", ["reasoning_effort", "thinking", "enable_thinking", "template", "anthropic", "gemini-level", None]
)  # fmt: skip
def test_an_effort_is_sent_or_named_as_a_loss_in_any_style(dialect: str, style: str | None) -> None:
    """The catalogue may have a style of another dialect alone."""
    body, name, word = REQUESTS[dialect]
    dialect_ = DIALECTS[dialect]
    written = dialect_.write(
        dialect_.read(jsonio.dumps({"model": "m", **body})), target("low", effort_style=style)
    )
    lost = [loss.field for loss in written.losses]
    assert (word in written.body.decode()) or lost == [name]
    if style is None:
        assert (word in written.body.decode(), lost) == (False, [name])
