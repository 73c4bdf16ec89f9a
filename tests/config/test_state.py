"""Providers that keep state: facts of the shipped configuration, from their makers' documents."""

from gateway.core.target import TIERS
from tests.config import shipped


def test_who_keeps_answers_of_the_responses_api() -> None:
    """OpenAI, Azure and xAI keep answers; all other providers get the whole conversation."""
    providers = shipped.built(shipped.ALL_SET).providers.values()
    keeping = {one.name for one in providers if one.keeps_responses}
    assert keeping == {"openai", "azure-openai", "xai"}
    for one in providers:
        if one.keeps_responses:
            assert "openai-responses" in one.urls
            assert "store" not in one.refused_members


def test_who_wants_its_reasoning_back() -> None:
    """DeepSeek wants it, and Moonshot from K3 on, wherever a host serves these models."""
    labs = shipped.built(shipped.ALL_SET).catalogue.labs.values()
    wanting = {
        target.model.rpartition("/")[2]
        for lab in labs
        for tier in TIERS
        for target in lab.tiers[tier]
        if target.facts.replays_reasoning
    }
    assert {"deepseek-flash", "deepseek-v4-pro", "kimi-k3", "kimi-k3.1-pro"} <= wanting
    assert all("deepseek" in name.lower() or "kimi-k3" in name.lower() for name in wanting), wanting
