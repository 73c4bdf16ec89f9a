"""Shipped providers, by the names that other gateways use for them."""

from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from gateway.core.target import TIERS

type Part = dict[str, Any]

SHIPPED_NAMES = {
    "openai": "openai", "anthropic": "anthropic", "azure": "azure-openai",
    "azure_ai": "azure-foundry", "azure-openai": "azure-openai", "azure-ai": "azure-foundry",
    "gemini": "gemini", "google": "gemini", "groq": "groq", "mistral": "mistral",
    "mistral-ai": "mistral", "deepseek": "deepseek", "xai": "xai", "x-ai": "xai",
    "openrouter": "openrouter", "together_ai": "together", "together-ai": "together",
    "together": "together", "fireworks_ai": "fireworks", "fireworks-ai": "fireworks",
    "cerebras": "cerebras", "huggingface": "huggingface", "cohere": "cohere",
    "cohere_chat": "cohere", "ollama": "ollama", "ollama_chat": "ollama", "hosted_vllm": "vllm",
    "vllm": "vllm", "llamafile": "llamacpp", "lm_studio": "vllm", "bedrock": "bedrock",
    "moonshot": "moonshot", "dashscope": "dashscope", "zai": "zai", "z-ai": "zai",
    "minimax": "minimax", "nova": "nova",
}  # fmt: skip
"""The shipped provider by the prefix of a model (LiteLLM) or a target's `provider` (Portkey)."""
LOCAL_PROVIDERS = frozenset({"ollama", "vllm", "llamacpp"})
"""The providers that need no key."""
_LOCAL_HOSTS = ("localhost", "host.docker.internal")


class ShippedProviders:
    """The shipped providers, labs and models, as their files have them."""

    def __init__(self, parts: list[Part]) -> None:
        self.providers: dict[str, Part] = {}
        self.models: dict[str, Part] = {}
        self.labs: dict[str, Part] = {}
        for part in parts:
            self.providers |= part.get("providers") or {}
            self.models |= part.get("models") or {}
            self.labs |= part.get("labs") or {}

    def copy_provider(self, name: str) -> Part:
        """Return a shipped provider without its accounts, `enable`, prices and model names.

        An imported configuration serves the models that it lists, as it did before.
        """
        part = self.providers.get(name, {})
        skipped_keys = ("accounts", "enable", "prices", "names", "hosted_names")
        return {key: value for key, value in part.items() if key not in skipped_keys}

    def find_variable(self, name: str) -> str:
        """Return the environment variable of a shipped provider's credential; empty if none."""
        accounts = self.providers.get(name, {}).get("accounts") or {}
        credential = next(iter(accounts.values()), "")
        return credential.removeprefix("${").partition("}")[0].partition(":-")[0]

    def iter_targets(self, provider: str) -> Iterator[tuple[str, str]]:
        """Yield the tier and the model of each shipped target of a provider."""
        for lab, part in self.labs.items():
            for tier in TIERS:
                for target in part.get(tier) or ():
                    if target.get("provider", lab) == provider:
                        yield tier, target["model"]

    def collect_facts(self, model: str) -> dict[str, Part]:
        """Return the shipped facts of a model, and of the models that its `like` leads to."""
        facts_by_model: dict[str, Part] = {}
        name: str | None = model
        while name is not None and name in self.models and name not in facts_by_model:
            facts_by_model[name] = self.models[name]
            name = facts_by_model[name].get("like")
        return facts_by_model


def is_local(url: str) -> bool:
    """Return True if a URL leads to this machine."""
    try:
        host = urlsplit(url).hostname or ""
        return (
            host in _LOCAL_HOSTS or ip_address(host).is_loopback or ip_address(host).is_unspecified
        )
    except ValueError:
        return False


def is_url(url: str) -> bool:
    """Return True if a text is a plain HTTP or HTTPS URL that has a host."""
    try:
        url_parts = urlsplit(url)
        _ = url_parts.port
    except ValueError:
        return False
    is_plain = url.isprintable() and not set(url) & set(" ${}<>\"'\\^`|")
    return url_parts.scheme in ("http", "https") and bool(url_parts.hostname) and is_plain


def make_account(name: str, credential: str | None) -> Part:
    """Return the part of a provider that holds its account.

    Without a credential, a local provider gets no authentication, and any other no account.
    """
    if credential is not None:
        return {"accounts": {"main": credential}}
    return {"auth": "none"} if name in LOCAL_PROVIDERS else {}


def merge_parts(*parts: Mapping[str, Any]) -> Part:
    """Merge parts of a provider; later parts win. One with `auth: none` gets no account."""
    result: Part = {}
    for part in parts:
        result |= {key: value for key, value in part.items() if value is not None}
    if result.get("auth") == "none":
        result.pop("accounts", None)
        result.pop("optional_key", None)
    return result
