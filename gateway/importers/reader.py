"""A file of another gateway as plain values with lines, and what it becomes."""

import re
from collections.abc import Callable, Mapping

from gateway.importers.claude_code_router import ClaudeCodeRouterConfig
from gateway.importers.draft import ConfigDraft, Part, mapping
from gateway.importers.litellm import LiteLLMConfig
from gateway.importers.portkey import PortkeyConfig
from gateway.importers.providers import ShippedProviders
from gateway.settings import yaml
from gateway.settings.errors import ConfigError, Mistake

KINDS: dict[
    str,
    tuple[
        str,
        Callable[
            [Part, ConfigDraft, ShippedProviders],
            LiteLLMConfig | PortkeyConfig | ClaudeCodeRouterConfig,
        ],
    ],
] = {
    "litellm": ("LiteLLM", LiteLLMConfig),
    "portkey": ("Portkey", PortkeyConfig),
    "ccr": ("claude-code-router", ClaudeCodeRouterConfig),
}
"""What can be imported: its name for people, and what converts it."""

_TOKEN = re.compile(
    r'("(?:[^"\\\n]|\\.)*"|\'(?:[^\'\\\n]|\\.)*\')|(//[^\n]*|/\*.*?\*/)|(\t)', re.DOTALL
)


_VARIABLE = re.compile(r"os\.environ/(\w+)|\$\{?(\w+)|\{\{\s*(\w+)\s*\}\}")
"""How variables are written, in any of them."""


def convert(
    kind: str, text: str, file: str, shipped: ShippedProviders, environ: Mapping[str, str]
) -> ConfigDraft:
    """What a file becomes. Raises ConfigError where it is neither YAML nor JSON, or holds a NUL."""
    document = yaml.read(_bare(text) if kind != "litellm" else text, file)
    if _nul(document.value):  # which no value of ours may have either
        raise ConfigError([Mistake(file=file, message="holds a NUL character")])
    taken = {name for found in _VARIABLE.findall(text) for name in found if name}
    draft = ConfigDraft(document.lines, taken, environ)
    KINDS[kind][1](mapping(document.value), draft, shipped).convert()
    return draft


def _nul(value: yaml.Value) -> bool:
    if isinstance(value, dict):
        return any("\0" in name or _nul(item) for name, item in value.items())
    return any(map(_nul, value)) if isinstance(value, list) else "\0" in str(value)


def _bare(text: str) -> str:
    """JSON with comments as YAML takes it: lines stay where they are."""

    def one(found: re.Match[str]) -> str:
        if found[1] is not None:
            return found[1]
        return " " if found[3] is not None else re.sub(r"[^\n]", " ", found[2])

    return _TOKEN.sub(one, text)
