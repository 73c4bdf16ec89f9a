"""Read a configuration file of another gateway, and convert it into a draft of ours."""

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
"""The gateways that can be imported: the name for people, and the class that converts a file."""

_TOKEN_PATTERN = re.compile(
    r'("(?:[^"\\\n]|\\.)*"|\'(?:[^\'\\\n]|\\.)*\')|(//[^\n]*|/\*.*?\*/)|(\t)', re.DOTALL
)


_VARIABLE_PATTERN = re.compile(r"os\.environ/(\w+)|\$\{?(\w+)|\{\{\s*(\w+)\s*\}\}")
"""The forms in which any of these gateways writes a variable."""


def convert_config(
    kind: str, text: str, file: str, shipped: ShippedProviders, environ: Mapping[str, str]
) -> ConfigDraft:
    """Return the draft that a file becomes.

    Raises ConfigError if the file is neither YAML nor JSON, or if it holds a NUL.
    """
    document = yaml.read(_blank_comments(text) if kind != "litellm" else text, file)
    if _has_nul(document.value):  # a configuration of ours may not hold one either
        raise ConfigError(
            [Mistake(file=file, message="contains a NUL character.", hint="Remove it.")]
        )
    used_variables = {name for groups in _VARIABLE_PATTERN.findall(text) for name in groups if name}
    draft = ConfigDraft(document.lines, used_variables, environ)
    IMPORTERS[kind][1](as_mapping(document.value), draft, shipped).convert()
    return draft


def _has_nul(value: yaml.Value) -> bool:
    if isinstance(value, dict):
        return any("\0" in name or _has_nul(item) for name, item in value.items())
    return any(map(_has_nul, value)) if isinstance(value, list) else "\0" in str(value)


def _blank_comments(text: str) -> str:
    """Return JSON without comments and tabs, so that YAML can read it; lines keep their numbers."""

    def blank_token(match: re.Match[str]) -> str:
        if match[1] is not None:
            return match[1]
        return " " if match[3] is not None else re.sub(r"[^\n]", " ", match[2])

    return _TOKEN_PATTERN.sub(blank_token, text)
