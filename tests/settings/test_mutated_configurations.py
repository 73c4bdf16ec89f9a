"""Configurations with any value in place of any other: the gateway reads or refuses each.

A refusal says what is wrong, and nothing else happens.
"""

import random
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gateway.core import jsonio
from gateway.limits import keys
from gateway.runtime.build import build_config
from gateway.settings.errors import ConfigError
from gateway.settings.loader import load
from tests.e2e.world import config
from tests.hostile import odd
from tests.hostile.paths import paths

NOW = datetime(2026, 11, 24, tzinfo=UTC)
ENVIRON = {"KEY": "sk-canary-0123456789"}
FULL: dict[str, Any] = {
    **config("http://127.0.0.1:9"),
    "server": {"host": "127.0.0.1", "port": 8484, "max_body": "32MB", "in_flight": 9, "workers": 1},
    "routing": {"classifier": "prior", "on_loss": "drop-and-tell"},
    "cache": {"ttl": "1h", "scope": "key", "max_bytes": "1MB", "sampled": True},
    "responses": {"ttl": "1h"},
    "media": {"fetch": "on", "max_bytes": "1MB", "timeout": "1s", "allow": ["*.example.com", "a.example:8443"], "types": ["image/png"]},
    "ledger": {"journal": "j", "store": "sqlite:///x.db", "baseline": "smart", "time_zone": "UTC", "keep": "9d", "redact": ["a+"]},
    "metrics": {"keys": True}, "log": {"calls": "all"}, "alerts": {"webhook": "http://127.0.0.1:9/x"},
    "traces": {"endpoint": "http://127.0.0.1:9", "headers": {"a": "${KEY}"}, "sample": 0.5},
    "limits": [{"name": "l", "requests": "60/m", "tokens": "9k/m", "concurrency": 3}],
    "budgets": [{"name": "b", "usd": 5, "every": "month", "soft": 0.8, "hard": True, "tier": ["smart"], "then": "fast"}],
    "guards": [{"name": "g", "when": {"tag": "t", "not": {"images": True}}, "max_tier": "smart", "deny": ["other"]}],
    "choices": [{"name": "c", "when": {"any": [{"keywords": ["a"]}, {"matches": "^b", "user_tokens": {"max": 9}}]}, "tier": "fast", "lab": "acme"}],
}  # fmt: skip
KEYS = {
    "one": {
        "sha256": "9" * 64, "tenant": "t", "lab": "acme", "labs": ["acme"], "tiers": ["fast"], "models": ["a-*"], "regions": ["eu"],
        "tags": ["t"], "allowed_tags": ["u"], "admin": True, "expires": "2027-12-31", "earlier": [{"sha256": "8" * 64, "until": "2027-01-01"}],
        "limits": {"requests": "60/m"}, "budgets": [{"usd": 5, "every": "month"}],
    },
}  # fmt: skip


def test_the_unchanged_configuration_is_valid(tmp_path: Path) -> None:
    """The whole must be valid, so that each change below changes something that is read."""
    file = tmp_path / "c.yaml"
    file.write_bytes(jsonio.dumps(FULL))
    assert build_config(load(file, ENVIRON), NOW).router.rules.choices


def test_random_changes_of_a_configuration_are_read_or_refused(tmp_path: Path) -> None:
    """The gateway reads each of 150 configurations, or names its mistakes without a secret."""
    chance, file = random.Random(6), tmp_path / "c.yaml"
    errors: list[ConfigError] = []
    for _ in range(150):
        value = odd.changed({**FULL, "secret": "${KEY}"}, chance)
        if isinstance(value, dict):
            value.pop("secret", None)
        file.write_bytes(jsonio.dumps(value))
        try:
            build_config(load(file, ENVIRON), NOW)
        except ConfigError as error:
            errors.append(error)
    assert len(errors) > 75
    assert all(error.mistakes and ENVIRON["KEY"] not in str(error) for error in errors)


def test_random_changes_of_a_key_file_are_read_or_refused(tmp_path: Path) -> None:
    chance, file = random.Random(7), tmp_path / "keys.yaml"
    refused = 0
    for _ in range(100):
        file.write_bytes(jsonio.dumps(odd.changed(KEYS, chance)))
        try:
            keys.load(str(file), tmp_path, "")
        except ConfigError:
            refused += 1
    assert refused > 50


@pytest.mark.parametrize("member", ["include", "keys", "journal", "store", "file"])
def test_sec_path_hostile_file_names_are_read_or_refused(tmp_path: Path, member: str) -> None:
    """SEC-PATH: a file name that leads elsewhere never causes a fault.

    They are their owner's words, so that they may lead anywhere.
    """
    file = tmp_path / "c.yaml"
    texts = [text for text in paths(700) if "proc" not in text and "dev" not in text]
    for text in texts[:: 4 if member == "file" else 12]:
        value: dict[str, Any] = config("http://127.0.0.1:9")
        if member == "include":
            value["include"] = [text]
        elif member == "keys":
            value["keys"] = text
        elif member == "file":
            value["providers"]["acme"]["accounts"] = {"main": f"${{file:{text}}}"}
        else:
            value["ledger"] = {member: text}
        file.write_bytes(jsonio.dumps(value))
        with suppress(ConfigError):
            source = load(file, ENVIRON)
            build_config(source, NOW)
            keys.load(source.config.keys.store, tmp_path, "")
    assert len(texts) >= 500


def test_a_nul_character_is_reported_with_its_place(tmp_path: Path) -> None:
    """No name of a file, no header and no model has a NUL."""
    file = tmp_path / "c.yaml"
    file.write_bytes(jsonio.dumps({**FULL, "keys": "a\0b"}))
    with pytest.raises(ConfigError, match="keys: holds a NUL character"):
        load(file, ENVIRON)
