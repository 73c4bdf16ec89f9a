"""Configurations as literal YAML, and what the gateway makes of them."""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path

from gateway.core.price import Price
from gateway.dialects import DIALECTS
from gateway.runtime.build import EFFORT_STYLES, BuiltConfig, build_config
from gateway.settings import placeholder_keys as credentials_
from gateway.settings import validate
from gateway.settings.catalogue import BuiltCatalogue, build_catalogue
from gateway.settings.errors import ConfigError
from gateway.settings.loader import ConfigSource, load
from gateway.settings.unreachable import find_unreachable

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
TODAY = date(2026, 11, 24)

BASE = """\
version: 1
providers:
  acme:
    base_url: https://acme.example/v1
    dialects: {openai-chat: /chat/completions}
    accounts: {main: "${ACME_API_KEY}"}
labs:
  acme:
    fast: [{model: small, effort: none}]
    smart: [{model: large}]
models:
  small:
    effort: {style: reasoning_effort, accepts: [none, low, high]}
    price: {input: 1, output: 2}
  large: {price: {input: 3, output: 4}}
"""
"""Line 1 is `version`, 3 `acme`, 9 and 10 its targets, 12 and 15 its models; new text is line 16."""

ON = {"ACME_API_KEY": "sk-acme-0123456789"}


def write(folder: Path, text: str, name: str = "c.yaml") -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, "utf-8")
    return file


def loaded(folder: Path, text: str, environ: Mapping[str, str] = ON) -> ConfigSource:
    return load(write(folder, text), environ)


def built(
    folder: Path,
    text: str,
    environ: Mapping[str, str] = ON,
    prices: Mapping[tuple[str, str], Price] | None = None,
) -> BuiltCatalogue:
    list_prices = prices or {}
    return build_catalogue(
        loaded(folder, text, environ), lambda provider, model: list_prices.get((provider, model))
    )


def whole(folder: Path, text: str, environ: Mapping[str, str] = ON) -> BuiltConfig:
    """Do all that `check` and `serve` do before anything runs."""
    return build_config(loaded(folder, text, environ), NOW)


def mistakes(folder: Path, text: str, environ: Mapping[str, str] = ON) -> list[str]:
    """Return the mistakes of an unusable configuration, without the folder in file names."""
    try:
        whole(folder, text, environ)
    except ConfigError as error:
        return [str(item).replace(f"{folder}/", "") for item in error.mistakes]
    return []


def warnings(
    folder: Path, text: str, environ: Mapping[str, str] = ON, off: frozenset[str] = frozenset()
) -> list[str]:
    source = loaded(folder, text, environ)
    assert validate.find_errors(source, frozenset(DIALECTS), EFFORT_STYLES) == []
    mistakes_found = validate.find_warnings(source, TODAY, EFFORT_STYLES, off)
    return [str(item).replace(f"{folder}/", "") for item in mistakes_found]


def credentials(source: ConfigSource) -> list[str]:
    """Return the warnings on the credentials of a configuration."""
    return [str(item) for item in credentials_.find_placeholders(source, frozenset())]


def unreached(folder: Path, text: str, environ: Mapping[str, str] = ON) -> list[str]:
    """Return the warnings on names that a configuration cannot serve."""
    config = whole(folder, text, environ)
    unreachable = find_unreachable(config.source, config.built_catalogue.catalogue)
    return [str(item).replace(f"{folder}/", "") for item in unreachable]
