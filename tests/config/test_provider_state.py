"""Providers that keep state: facts of the shipped configuration, from their makers' documents."""

from gateway.core.target import TIERS
from tests.config import shipped


def test_only_openai_azure_and_xai_keep_answers_of_the_responses_api() -> None:
    """All other providers get the whole conversation."""
    providers = shipped.built(shipped.ALL_SET).providers.values()
    keeping = {provider.name for provider in providers if provider.keeps_responses}
    assert keeping == {"openai", "azure-openai", "xai"}
    for provider in providers:
        if provider.keeps_responses:
            assert "openai-responses" in provider.urls
            assert "store" not in provider.refused_members


def test_deepseek_and_kimi_k3_models_expect_their_reasoning_back() -> None:
    """DeepSeek wants it, and Moonshot from K3 on, wherever a host serves these models."""
    labs = shipped.built(shipped.ALL_SET).catalogue.labs.values()
    names = {
        target.model.rpartition("/")[2]
        for lab in labs
        for tier in TIERS
        for target in lab.tiers[tier]
        if target.facts.replays_reasoning
    }
    assert {"deepseek-flash", "deepseek-v4-pro", "kimi-k3", "kimi-k3.1-pro"} <= names
    assert all("deepseek" in name.lower() or "kimi-k3" in name.lower() for name in names), names
