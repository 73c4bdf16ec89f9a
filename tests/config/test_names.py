"""Real model names with the shipped configuration: which provider gets each, by what is on."""

import pytest

from gateway.core.call import OPEN_KEY
from gateway.core.errors import ProblemError
from gateway.core.target import Catalogue
from gateway.routing import unlisted_models
from tests.config import shipped

MAKERS = {
    "OPENAI_API_KEY": "x", "ANTHROPIC_API_KEY": "x", "GEMINI_API_KEY": "x", "MISTRAL_API_KEY": "x",
    "CO_API_KEY": "x", "DASHSCOPE_API_KEY": "x", "DEEPSEEK_API_KEY": "x", "XAI_API_KEY": "x",
    "MOONSHOT_API_KEY": "x", "ZAI_API_KEY": "x", "OLLAMA_BASE_URL": "http://x",
}  # fmt: skip
HOSTS = {
    "OPENROUTER_API_KEY": "x", "GROQ_API_KEY": "x", "TOGETHER_API_KEY": "x",
    "FIREWORKS_API_KEY": "x", "CEREBRAS_API_KEY": "x", "AWS_BEARER_TOKEN_BEDROCK": "x",
    "AZURE_OPENAI_ENDPOINT": "https://x", "AZURE_OPENAI_API_KEY": "x", "HF_TOKEN": "x",
}  # fmt: skip

ALL_ON = MAKERS | HOSTS
NAMES = [
    ("gpt-4o", "openai"), ("gpt-4o-mini-2024-07-18", "openai"), ("chatgpt-4o-latest", "openai"),
    ("o3-mini", "openai"), ("o4-mini-deep-research", "openai"), ("ft:gpt-4o-mini:org::id", "openai"),
    ("text-embedding-ada-002", "openai"), ("dall-e-3", "openai"), ("whisper-1", "openai"),
    ("tts-1-hd", "openai"), ("omni-moderation-latest", "openai"), ("davinci-002", "openai"),
    ("openai/gpt-4o", "openai"), ("claude-3-5-haiku-latest", "anthropic"),
    ("claude-sonnet-4-5-20250929", "anthropic"), ("anthropic/claude-3-opus-20240229", "anthropic"),
    ("gemini-2.5-pro", "gemini"), ("gemini-1.5-pro-002", "gemini"), ("gemma-3-27b-it", "gemini"),
    ("google/gemini-2.5-flash", "gemini"), ("text-embedding-004", "gemini"),
    ("mistral-large-latest", "mistral"), ("open-mistral-nemo", "mistral"),
    ("codestral-2501", "mistral"), ("command-r-plus-08-2024", "cohere"),
    ("rerank-v3.5", "cohere"), ("qwen-max", "dashscope"), ("qwen2.5-72b-instruct", "dashscope"),
    ("text-embedding-v3", "dashscope"), ("deepseek-chat", "deepseek"),
    ("deepseek-reasoner", "deepseek"), ("grok-3-mini", "xai"), ("moonshot-v1-8k", "moonshot"),
    ("glm-4.5-air", "zai"), ("llama3.2:3b", "ollama"), ("qwen2.5:7b", "ollama"),
    ("llama-3.3-70b-versatile", None), ("meta-llama/Llama-3.3-70B-Instruct", None),
    ("groq/llama-3.3-70b-versatile", "groq"), ("groq/compound", "groq"),
    ("openrouter/auto", "openrouter"), ("openrouter/openai/gpt-4o", "openrouter"),
    ("perplexity/sonar-pro", "openrouter"), ("accounts/fireworks/models/qwen3-8b", "fireworks"),
    ("azure-openai/my-deployment", "azure-openai"), ("openai.gpt-oss-20b-1:0", "bedrock"),
    ("us.anthropic.claude-sonnet-4-20250514-v1:0", "bedrock-claude"),
    ("amazon.nova-pro-v1:0", "bedrock-converse"),
    ("eu.amazon.nova-pro-v1:0", "bedrock-converse"),
    ("meta.llama3-70b-instruct-v1:0", "bedrock-converse"),
    ("us.meta.llama4-scout-17b-instruct-v1:0", "bedrock-converse"),
]  # fmt: skip
"""A name, and the provider that gets it if all are on; None if the name needs a provider."""
HOSTED = [
    ("gpt-4o", "azure-openai"), ("openai/gpt-4o", "openrouter"),
    ("anthropic/claude-3.5-sonnet", "openrouter-claude"), ("google/gemini-2.5-pro", "openrouter"),
]  # fmt: skip
"""The provider of a name if no maker is on."""


def find_provider(name: str, catalogue: Catalogue) -> str | None:
    """Return the provider that gets a name; None if several could."""
    try:
        model = unlisted_models.resolve(name, catalogue, OPEN_KEY)
    except ProblemError:
        return None
    assert model is not None, name
    return model.owner.provider.name


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return shipped.built(ALL_ON).catalogue


@pytest.mark.parametrize(("name", "provider"), NAMES)
def test_a_real_name_reaches_its_provider(
    catalogue: Catalogue, name: str, provider: str | None
) -> None:
    assert find_provider(name, catalogue) == provider


@pytest.mark.parametrize(("name", "provider"), HOSTED)
def test_a_host_serves_a_name_where_its_maker_is_off(name: str, provider: str) -> None:
    assert find_provider(name, shipped.built(HOSTS).catalogue) == provider


def test_every_provider_with_a_lab_serves_any_of_its_models(catalogue: Catalogue) -> None:
    owners = {owner.provider.name: owner for owner in catalogue.name_owners}
    for name, owner in owners.items():
        if owner.provider.enabled:
            assert find_provider(f"{name}/some-model-9", catalogue) == name
    assert {"gemini-chat", "huggingface", "together", "cerebras"} <= owners.keys()
