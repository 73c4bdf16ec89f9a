"""Every shipped target: its facts are known, its effort is accepted, its price was checked."""

from collections.abc import Iterator
from decimal import Decimal

import pytest

from gateway.core.price import compute_cost
from gateway.core.target import TIERS, Target, Tier
from gateway.core.usage import Usage
from gateway.dialects import OPENAI_CHAT
from gateway.dialects.openai_chat import effort
from tests.config import shipped


def targets() -> Iterator[tuple[str, Tier, Target]]:
    for name, lab in shipped.built(shipped.ALL_SET).catalogue.labs.items():
        for tier in TIERS:
            for target in lab.tiers[tier]:
                yield name, tier, target


ALL = list(targets())
IDS = [f"{lab}-{tier}-{target.name}" for lab, tier, target in ALL]
every_target = pytest.mark.parametrize(("lab", "tier", "target"), ALL, ids=IDS)

NO_MAX_OUTPUT = {
    "grok-4.3": "xAI names no limit but the window",
    "grok-4.5": "xAI names no limit but the window",
    "grok-4.7": "xAI names no limit but the window",
    "smollm2-135m": "its limits are the tiers' own and its window",
}
NO_PRICE = {
    "nova/nova-micro-v1": "Amazon gives none for this API, which is free within its rate limits",
    "nova/nova-2-lite-v1": "Amazon gives none for this API, which is free within its rate limits",
}
NO_EFFORT = {
    "nova/nova-2-lite-v1": "it leaves thinking off by leaving it out",
}
EFFORTS_UNKNOWN = ("muse-spark-open", "Muse-Spark-Open-816B-A42B")
"""Models whose efforts no source names; the effort that is sent comes from a host's example."""


def test_there_are_more_than_sixty_targets() -> None:
    assert len(ALL) > 60


@every_target
def test_the_facts_of_each_target_are_known(lab: str, tier: Tier, target: Target) -> None:
    facts = target.facts
    assert facts.context is not None, lab
    assert facts.tools is not None, tier
    assert facts.vision is not None
    assert (facts.max_output is None) == (target.model.rpartition("/")[2] in NO_MAX_OUTPUT)


@every_target
def test_the_price_of_each_target_is_known_and_dated(lab: str, tier: Tier, target: Target) -> None:
    assert (target.price is None) == (target.name in NO_PRICE), (lab, tier)
    if target.price is None:
        return
    assert target.price.version.startswith("config 2026-11-")
    assert target.price.rates.input is not None
    assert target.price.rates.output is not None


@every_target
def test_price_steps_have_a_rate_for_each_class_of_tokens(
    lab: str, tier: Tier, target: Target
) -> None:
    price = target.price
    if price is None:
        assert target.name in NO_PRICE, (lab, tier)
        return
    usage = Usage(input=400_000, cache_read=100_000, output=1_000)
    if price.rates.cache_read is not None:
        assert compute_cost(usage, price) is not None
    for step in price.steps:
        assert (step.rates.cache_write is None) == (price.rates.cache_write is None)
        assert step.rates.input is not None
        assert price.rates.input is not None
        assert step.rates.input > price.rates.input


@every_target
def test_the_effort_of_each_target_is_one_that_its_model_accepts(
    lab: str, tier: Tier, target: Target
) -> None:
    facts, urls = target.facts, target.provider.urls
    if not any(facts.find_effort_style(dialect) for dialect in urls):
        assert target.effort is None, (lab, tier)
        return
    accepted = effort.accepted(facts)
    assert bool(accepted) != target.model.endswith(EFFORTS_UNKNOWN)
    if target.effort is None:
        assert target.name in NO_EFFORT
        return
    assert target.effort in (accepted or effort.EFFORTS)


def test_the_tiers_of_a_lab_rise_in_price() -> None:
    for name, lab in shipped.built(shipped.ALL_SET).catalogue.labs.items():
        first = [lab.tiers[tier][0] for tier in TIERS]
        prices = [target.price.rates.output for target in first if target.price is not None]
        known_prices = [price for price in prices if price is not None]
        assert len(known_prices) == sum(target.name not in NO_PRICE for target in first)
        assert known_prices == sorted(known_prices), name


PRICES = {
    "openai/gpt-6-luna": ("0.1", "0.01", "0.125", "0.5"),
    "openai/gpt-6.2-sol": ("2", "0.1", "2.5", "10"),
    "openai/gpt-6-sol": ("2", "0.2", "2.5", "10"),
    "openai/gpt-6.2-astra": ("8", "0.4", "10", "40"),
    "gemini/gemini-3.5-flash-lite": ("0.3", "0.03", None, "2.5"),
    "gemini/gemini-4-hydrogen": ("1.5", "0.075", None, "7.5"),
    "gemini/gemini-4-argon": ("2", "0.1", None, "10"),
    "meta/muse-ember-1.0": ("0.1", "0.004", None, "0.5"),
    "meta/muse-spark-1.3": ("1.25", "0.15", None, "4.25"),
    "meta/muse-wonder-1.0": ("4", "0.2", None, "20"),
    "deepseek/deepseek-flash": ("0.15", "0.003", None, "0.6"),
    "deepseek/deepseek-v4-pro": ("0.66", "0.022", None, "1.98"),
    "mistral/mistral-small-2603": ("0.15", "0.015", None, "0.6"),
    "mistral/mistral-large-4": ("0.7", "0.07", None, "2.1"),
    "xai/grok-4.3": ("1.25", "0.2", None, "2.5"),
    "xai/grok-4.7": ("2", "0.5", None, "6"),
    "dashscope/qwen3.8-flash": ("0.15", "0.016", "0.2", "0.47"),
    "dashscope/qwen3.7-plus": ("0.32", "0.064", "0.4", "1.28"),
    "dashscope/qwen3.8-max": ("2", "0.25", "2.5", "6"),
    "moonshot/kimi-k2.6": ("0.95", "0.16", None, "4"),
    "moonshot/kimi-k3.1-pro": ("2", "0.2", "2", "10"),
    "zai/glm-5.3-flash": ("0.15", "0.03", None, "0.5"),
    "zai/glm-5.3": ("1.4", "0.26", None, "4.4"),
    "zai/glm-4.7-flashx": ("0.07", "0.01", None, "0.4"),
    "mistral/mistral-large-2512": ("0.5", "0.05", None, "1.5"),
    "gemini/gemini-3.1-pro-preview": ("2", "0.2", None, "12"),
    "minimax/MiniMax-M3.1-Flash": ("0.15", "0.015", None, "0.6"),
    "minimax/MiniMax-M3": ("0.3", "0.06", None, "1.2"),
    "cohere/command-r7b-12-2024": ("0.0375", None, None, "0.15"),
    "cohere/command-a-plus-05-2026": ("2.5", None, None, "10"),
    "cohere/command-a-reasoning-08-2025": ("2.5", None, None, "10"),
    "openrouter/cohere/command-a-plus": ("0.3", "0.15", None, "1.5"),
    "openrouter/amazon/nova-micro-v1": ("0.035", None, None, "0.14"),
    "openrouter/amazon/nova-2-lite-v1": ("0.3", None, None, "2.5"),
    "bedrock-converse/us.amazon.nova-micro-v1:0": ("0.035", "0.00875", "0.035", "0.14"),
    "bedrock-converse/us.amazon.nova-lite-v1:0": ("0.06", "0.015", "0.06", "0.24"),
    "bedrock-converse/global.amazon.nova-2-lite-v1:0": ("0.3", "0.075", "0.3", "2.5"),
    "bedrock-converse/us.meta.llama3-1-8b-instruct-v1:0": ("0.22", None, None, "0.22"),
    "bedrock-converse/us.meta.llama3-3-70b-instruct-v1:0": ("0.72", None, None, "0.72"),
    "bedrock-converse/us.meta.llama4-maverick-17b-instruct-v1:0": ("0.24", None, None, "0.97"),
    "azure-foundry/MAI-Thinking-1": ("2", "0.2", None, "8"),
    "azure-foundry/MAI-Code-1.1-Flash": ("0.2", "0.02", None, "1.2"),
    "azure-foundry/Phi-4-mini-instruct": ("0.075", None, None, "0.3"),
    "azure-openai/gpt-6-luna": ("0.1", "0.01", "0.125", "0.5"),
    "anthropic/claude-haiku-5-5": ("0.1", "0.01", "0.125", "0.5"),
    "anthropic/claude-sonnet-5-5": ("2", "0.1", "2.5", "10"),
    "anthropic/claude-opus-5-5": ("4", "0.2", "5", "20"),
    "anthropic/claude-sonnet-4-6": ("3", "0.3", "3.75", "15"),
    "azure-claude/claude-opus-5-5": ("4", "0.2", "5", "20"),
    "bedrock-claude/anthropic.claude-haiku-5-5": ("0.11", "0.011", "0.1375", "0.55"),
    "bedrock-claude/anthropic.claude-opus-5-5": ("4.4", "0.22", "5.5", "22"),
    "openrouter-claude/anthropic/claude-sonnet-5.5": ("2", "0.1", "2.5", "10"),
    "openrouter/openai/gpt-6.1-sol": ("2", "0.1", "2.5", "10"),
    "openrouter/meta/muse-wonder": ("4", "0.2", None, "20"),
    "openrouter/x-ai/grok-4.7": ("2", "0.5", None, "6"),
    "openrouter/google/gemini-3.5-flash-lite": ("0.3", "0.03", "0.083333333", "2.5"),
    "openrouter/google/gemini-3.8-flash": ("0.75", "0.075", "0.041666667", "3.75"),
    "openrouter/google/gemini-4-argon": ("2", "0.1", "0.1875", "10"),
    "openrouter/meta-llama/llama-4-maverick": ("0.35", "0.17", None, "1"),
    "groq/openai/gpt-oss-120b": ("0.15", "0.075", None, "0.6"),
    "cerebras/gpt-oss-120b": ("0.35", None, None, "0.75"),
    "together/meta-models/Muse-Spark-Open-816B-A42B": ("1.25", "0.15", None, "4.25"),
    "openrouter/meta-llama/llama-3.3-70b-instruct": ("0.71", None, None, "0.71"),
    "huggingface/meta-llama/Llama-3.3-70B-Instruct": ("0.59", None, None, "0.79"),
    "ollama/llama3.1:8b": ("0", "0", None, "0"),
    "local/smollm2-135m": ("0", "0", None, "0"),
}
"""USD per million tokens: input, cached read, cache write, output."""


@pytest.mark.parametrize(("name", "expected"), PRICES.items())
def test_prices_are_those_of_the_sources(name: str, expected: tuple[str | None, ...]) -> None:
    price = next(target.price for _, _, target in ALL if target.name == name)
    assert price is not None
    rates = price.rates
    actual = (rates.input, rates.cache_read, rates.cache_write, rates.output)
    assert actual == tuple(None if text is None else Decimal(text) for text in expected)


STEPS = {
    "openai/gpt-6-luna": (272_000, "0.2", "0.02", "0.75"),
    "openai/gpt-6.2-astra": (272_000, "16", "0.8", "60"),
    "meta/muse-ember-1.0": (200_000, "0.3", "0.012", "1.5"),
    "xai/grok-4.7": (199_999, "4", "1", "12"),
    "dashscope/qwen3.7-plus": (256_000, "0.96", "0.192", "3.84"),
    "minimax/MiniMax-M3": (512_000, "0.6", "0.12", "2.4"),
    "gemini/gemini-3.1-pro-preview": (200_000, "4", "0.4", "18"),
    "anthropic/claude-haiku-5-5": (100_000, "0.5", "0.05", "2.5"),
    "bedrock-claude/anthropic.claude-haiku-5-5": (100_000, "0.55", "0.055", "2.75"),
}
"""Tokens, and USD per million tokens above them: input, cached read, output."""


@pytest.mark.parametrize(("name", "expected"), STEPS.items())
def test_long_prompts_are_priced_by_their_step(
    name: str, expected: tuple[int, str, str, str]
) -> None:
    price = next(target.price for _, _, target in ALL if target.name == name)
    assert price is not None
    above, *texts = expected
    assert price.find_rates(above) == price.rates
    rates = price.find_rates(above + 1)
    assert [rates.input, rates.cache_read, rates.output] == [Decimal(text) for text in texts]


def test_models_that_always_reason_take_no_function_tools_on_chat() -> None:
    efforts = {target.model: target.facts.chat_tool_efforts for _, _, target in ALL}
    assert efforts["gpt-6-luna"] == efforts["gpt-6-sol"] == ("none",)
    assert efforts["gpt-6.2-sol"] == efforts["gpt-6.2-astra"] == efforts["gpt-6.1-sol"] == ()
    assert efforts["grok-4.7"] is None


def test_muse_takes_neither_stop_nor_a_forced_tool() -> None:
    muse = [target for lab, _, target in ALL if lab == "meta"]
    assert {"stop" in target.facts.refused_members for target in muse} == {True}
    assert {target.facts.forced_tools for target in muse} == {False}


def test_no_target_is_of_a_maker_that_may_train_on_prompts() -> None:
    assert [target.name for _, _, target in ALL if "train" in target.facts.note] == []


def test_minimax_models_get_their_effort_in_their_own_members() -> None:
    body = OPENAI_CHAT.read(b'{"model":"auto","messages":[]}')
    bodies = {
        (tier, target.model): OPENAI_CHAT.write(body, target).body
        for lab, tier, target in ALL
        if lab == "minimax"
    }
    assert bodies["fast", "MiniMax-M3.1-Flash"].endswith(
        b'"reasoning_effort":"low","reasoning_split":true}'
    )
    assert bodies["smart", "MiniMax-M3"].endswith(b'"thinking":{"type":"disabled"}}')
    assert bodies["reasoning", "MiniMax-M3"].endswith(
        b'"thinking":{"type":"adaptive"},"reasoning_split":true}'
    )


def test_a_member_that_cohere_refuses_is_dropped_or_skips_the_target() -> None:
    cohere = next(target for lab, _, target in ALL if lab == "cohere")
    raw = b'{"model":"auto","messages":[],"store":true,"parallel_tool_calls":false,"max_tokens":9}'
    written = OPENAI_CHAT.write(OPENAI_CHAT.read(raw), cohere)
    assert written.body == b'{"model":"command-r7b-12-2024","messages":[],"max_tokens":9}'
    assert {loss.field for loss in written.losses} == {"store", "parallel_tool_calls"}
    assert {"n", "logit_bias"} <= OPENAI_CHAT.essential_members & cohere.provider.refused_members


def test_the_local_model_gets_no_effort() -> None:
    """The model cannot think: the gateway drops a client's effort and names it as a loss."""
    raw = b'{"model":"auto","messages":[],"reasoning_effort":"high"}'
    for target in (target for lab, _, target in ALL if lab == "local"):
        written = OPENAI_CHAT.write(OPENAI_CHAT.read(raw), target)
        assert b"effort" not in written.body
        assert b"think" not in written.body
        assert [(loss.field, loss.action) for loss in written.losses] == [
            ("reasoning_effort", "dropped")
        ]


def test_the_local_model_gets_temperature_0_unless_the_client_sets_one() -> None:
    """Without a client's temperature the gateway sends 0: sampling makes so small a model err."""
    targets = [target for lab, _, target in ALL if lab == "local"]
    assert len(targets) == 3
    for target in targets:
        plain = OPENAI_CHAT.write(OPENAI_CHAT.read(b'{"model":"auto","messages":[]}'), target)
        assert b'"temperature":0' in plain.body
        own = b'{"model":"auto","messages":[],"temperature":0.7}'
        assert b'"temperature":0.7' in OPENAI_CHAT.write(OPENAI_CHAT.read(own), target).body
