"""A file of another gateway as plain values with lines, and what it becomes."""

import re
from collections.abc import Callable, Mapping

from gateway.importers.claude_code_router import ClaudeCodeRouterConfig
from gateway.importers.draft import ConfigDraft, Part, as_mapping
from gateway.importers.litellm import LiteLLMConfig
from gateway.importers.portkey import PortkeyConfig
from gateway.importers.providers import ShippedProviders
from gateway.settings import yaml
from gateway.settings.errors import ConfigError, Mistake

IMPORTERS: dict[
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

_TOKEN_PATTERN = re.compile(
    r'("(?:[^"\\\n]|\\.)*"|\'(?:[^\'\\\n]|\\.)*\')|(//[^\n]*|/\*.*?\*/)|(\t)', re.DOTALL
)


_VARIABLE_PATTERN = re.compile(r"os\.environ/(\w+)|\$\{?(\w+)|\{\{\s*(\w+)\s*\}\}")
"""How variables are written, in any of them."""


def convert_config(
    kind: str, text: str, file: str, shipped: ShippedProviders, environ: Mapping[str, str]
) -> ConfigDraft:
    """What a file becomes. Raises ConfigError where it is neither YAML nor JSON, or holds a NUL."""
    document = yaml.read(_blank_comments(text) if kind != "litellm" else text, file)
    if _has_nul(document.value):  # which no value of ours may have either
        raise ConfigError([Mistake(file=file, message="holds a NUL character")])
    used_variables = {name for groups in _VARIABLE_PATTERN.findall(text) for name in groups if name}
    draft = ConfigDraft(document.lines, used_variables, environ)
    IMPORTERS[kind][1](as_mapping(document.value), draft, shipped).convert()
    return draft


def _has_nul(value: yaml.Value) -> bool:
    if isinstance(value, dict):
        return any("\0" in name or _has_nul(item) for name, item in value.items())
    return any(map(_has_nul, value)) if isinstance(value, list) else "\0" in str(value)


def _blank_comments(text: str) -> str:
    """JSON with comments as YAML takes it: lines stay where they are."""

    def blank_token(match: re.Match[str]) -> str:
        if match[1] is not None:
            return match[1]
        return " " if match[3] is not None else re.sub(r"[^\n]", " ", match[2])

    return _TOKEN_PATTERN.sub(blank_token, text)
