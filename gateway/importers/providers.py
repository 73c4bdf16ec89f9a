"""Which shipped provider is meant by the names that other gateways have for it."""

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
"""By the word before a model's name (LiteLLM) or a target's `provider` (Portkey)."""
LOCAL_PROVIDERS = frozenset({"ollama", "vllm", "llamacpp"})
"""They need no key."""
_LOCAL_HOSTS = ("localhost", "host.docker.internal")


class ShippedProviders:
    """The providers, labs and models that ship, as their files have them."""

    def __init__(self, parts: list[Part]) -> None:
        self.providers: dict[str, Part] = {}
        self.models: dict[str, Part] = {}
        self.labs: dict[str, Part] = {}
        for part in parts:
            self.providers |= part.get("providers") or {}
            self.models |= part.get("models") or {}
            self.labs |= part.get("labs") or {}

    def copy_provider(self, name: str) -> Part:
        """Return what ships of a provider, but for its account and the names that it owns.

        An imported configuration serves the models that it lists, as it did before.
        """
        part = self.providers.get(name, {})
        skipped_keys = ("accounts", "enable", "prices", "names")
        return {key: value for key, value in part.items() if key not in skipped_keys}

    def find_variable(self, name: str) -> str:
        """The variable of its credential."""
        accounts = self.providers.get(name, {}).get("accounts") or {}
        credential = next(iter(accounts.values()), "")
        return credential.removeprefix("${").partition("}")[0].partition(":-")[0]

    def iter_targets(self, provider: str) -> Iterator[tuple[str, str]]:
        """Tier and model of all that ships for a provider."""
        for lab, part in self.labs.items():
            for tier in TIERS:
                for target in part.get(tier) or ():
                    if target.get("provider", lab) == provider:
                        yield tier, target["model"]

    def collect_facts(self, model: str) -> dict[str, Part]:
        """What ships of a model, with those that it is like."""
        facts_by_model: dict[str, Part] = {}
        name: str | None = model
        while name is not None and name in self.models and name not in facts_by_model:
            facts_by_model[name] = self.models[name]
            name = facts_by_model[name].get("like")
        return facts_by_model


def is_local(url: str) -> bool:
    """Whether a URL leads to this machine."""
    try:
        host = urlsplit(url).hostname or ""
        return (
            host in _LOCAL_HOSTS or ip_address(host).is_loopback or ip_address(host).is_unspecified
        )
    except ValueError:
        return False


def is_url(url: str) -> bool:
    """Whether it is a URL of HTTP that has a host."""
    try:
        url_parts = urlsplit(url)
        _ = url_parts.port
    except ValueError:
        return False
    is_plain = url.isprintable() and not set(url) & set(" ${}<>\"'\\^`|")
    return url_parts.scheme in ("http", "https") and bool(url_parts.hostname) and is_plain


def make_account(name: str, credential: str | None) -> Part:
    """What says who a provider is asked as."""
    if credential is not None:
        return {"accounts": {"main": credential}}
    return {"auth": "none"} if name in LOCAL_PROVIDERS else {}


def merge_parts(*parts: Mapping[str, Any]) -> Part:
    """Parts of a provider, the later the stronger; one without a key has no account."""
    result: Part = {}
    for part in parts:
        result |= {key: value for key, value in part.items() if value is not None}
    if result.get("auth") == "none":
        result.pop("accounts", None)
        result.pop("optional_key", None)
    return result
